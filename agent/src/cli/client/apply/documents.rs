//! Documents from files, a folder or standard input, as what the agent is asked for.

use super::super::drafts;
use crate::{
    cli::{
        console::Console,
        failure::{Exit, Failure},
        output::printable,
    },
    registrations::{DOCUMENTS, Entry, Fault, Form, Problem, parse, repeated},
    registry::{Source, SpecRules},
};
use std::{
    fs, io,
    io::Read as _,
    path::{Path, PathBuf},
};
use symbolon_proto::admin::ApplyClient;

/// Largest file that is read: some times what as many documents have as a file may hold.
const FILE_BYTES: usize = 64 << 20;

/// What a document asks for, and where it stands.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) place: String,
    pub(super) request: ApplyClient,
}

/// All documents, each with a source where one is given; or none, and all faults are told.
pub(super) fn read(
    path: &Path,
    source: Option<&str>,
    rules: &SpecRules,
    console: &mut Console,
) -> Result<Vec<Document>, Failure> {
    let (mut entries, mut faults) = (Vec::new(), Vec::new());
    for file in files(path)? {
        let name = file.display().to_string();
        let text = text_of(&file, console);
        let text = text.map_err(|error| Failure::new(Exit::Failed, format!("{name}: {error}")))?;
        let (found, wrong) = parse(&name, &text, form_of(&file), rules);
        faults.extend(found.get(DOCUMENTS).map(too_many));
        entries.extend(found);
        faults.extend(wrong);
    }
    faults.extend(repeated(&entries));
    let (documents, wrong): (Vec<_>, Vec<_>) = entries
        .into_iter()
        .map(|entry| document(entry, source))
        .partition(Result::is_ok);
    let mut texts: Vec<_> = faults.iter().map(ToString::to_string).collect();
    texts.extend(wrong.into_iter().filter_map(Result::err));
    for text in &texts {
        console.tell(&printable(text));
    }
    if texts.is_empty() {
        return Ok(documents.into_iter().filter_map(Result::ok).collect());
    }
    Err(Failure::new(
        Exit::Usage,
        "the files have faults; nothing was changed",
    ))
}

fn too_many(entry: &Entry) -> Fault {
    Fault {
        place: entry.place.clone(),
        problem: Problem::TooMany {
            what: "documents in a file",
            limit: DOCUMENTS,
        },
    }
}

/// In the form in which the agent shows it, so that both can be compared.
fn document(entry: Entry, source: Option<&str>) -> Result<Document, String> {
    let place = entry.place.to_string();
    let mut draft = entry.spec.draft();
    if let Some(source) = source {
        let own = draft.source.get_or_insert_with(|| source.to_owned());
        if own != source {
            return Err(format!("{place}: source is {own}, and not {source}"));
        }
    }
    let accept_weak = entry.accept_weak.map(|reason| reason.to_string());
    Ok(Document {
        place,
        request: ApplyClient {
            name: entry.name.to_string(),
            spec: Some(drafts::spec_of(draft)),
            accept_weak: accept_weak.unwrap_or_default(),
            expected_last_version: None,
        },
    })
}

/// A source as the command line takes it.
pub(super) fn parse_source(text: &str) -> Result<String, String> {
    let source = text.parse::<Source>().map_err(|error| error.to_string())?;
    Ok(source.to_string())
}

fn text_of(file: &Path, console: &mut Console) -> io::Result<String> {
    let mut text = String::new();
    let most = u64::try_from(FILE_BYTES).unwrap_or(u64::MAX);
    let _read = match file.to_str() {
        Some("-") => (&mut console.stdin)
            .take(most + 1)
            .read_to_string(&mut text)?,
        _ => fs::File::open(file)?
            .take(most + 1)
            .read_to_string(&mut text)?,
    };
    if text.len() > FILE_BYTES {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(text)
}

fn form_of(file: &Path) -> Form {
    let extension = file.extension().and_then(|extension| extension.to_str());
    extension.and_then(Form::of_extension).unwrap_or(Form::Yaml)
}

/// The file itself, or those of the folder that are of registrations, by name; what begins with a
/// dot is not meant.
fn files(path: &Path) -> Result<Vec<PathBuf>, Failure> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let failed = |error| Failure::new(Exit::Failed, format!("{}: {error}", path.display()));
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        let file = entry.map_err(failed)?.path();
        let name = file.file_name().and_then(|name| name.to_str());
        let extension = name.and_then(|name| name.rsplit_once('.'));
        let is_meant = extension.is_some_and(|(stem, extension)| {
            !stem.is_empty() && !stem.starts_with('.') && Form::of_extension(extension).is_some()
        });
        if is_meant {
            files.push(file);
        }
    }
    files.sort_unstable();
    Ok(files)
}
