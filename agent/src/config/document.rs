//! The configuration file: TOML with one table for each section.

use super::{
    fault::{Fault, Place, Problem},
    key::Key,
    keys,
    nearest::nearest,
    operators,
    setting::{Form, Raw},
    sources::{Entries, Given},
};
use std::{fs::File, io::Read as _, os::unix::fs::PermissionsExt as _, path::Path};
use toml::{
    Spanned,
    de::{DeInteger, DeTable, DeValue},
};

/// Largest file that is read; the full example has some kilobytes.
const MOST_BYTES: u64 = 1 << 20;
/// Mode bit that lets anybody write.
const WRITABLE_BY_OTHERS: u32 = 0o002;

/// What stands in a file.
#[derive(Debug, Default)]
pub(super) struct Document {
    pub(super) entries: Entries,
    pub(super) faults: Vec<Fault>,
    /// Whether some of it is not TOML.
    pub(super) is_damaged: bool,
}

/// The text of the file at `path`: a regular one, within bounds, that not everybody may change.
pub(super) fn read(path: &Path) -> Result<String, Problem> {
    // Looked at before it is opened: opening a FIFO would wait for its other end.
    if !path.metadata().map_err(Problem::Unreadable)?.is_file() {
        return Err(Problem::NotAFile);
    }
    let file = File::open(path).map_err(Problem::Unreadable)?;
    let metadata = file.metadata().map_err(Problem::Unreadable)?;
    if metadata.permissions().mode() & WRITABLE_BY_OTHERS != 0 {
        return Err(Problem::WritableByOthers);
    }
    let mut bytes = Vec::new();
    file.take(MOST_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(Problem::Unreadable)?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(Problem::TooLarge(MOST_BYTES));
    }
    String::from_utf8(bytes).map_err(|_where| Problem::NotText)
}

/// Takes `text` apart. What is not understood becomes a fault, the rest is kept.
pub(super) fn parse(path: &Path, text: &str) -> Document {
    let (root, errors) = DeTable::parse_recoverable(text);
    let mut parser = Parser {
        path,
        text,
        document: Document {
            is_damaged: !errors.is_empty(),
            ..Document::default()
        },
    };
    for error in errors {
        let start = error.span().map_or(0, |span| span.start);
        parser.refuse(start, Problem::Syntax(error.message().to_owned()));
    }
    let damaged: Vec<Place> = parser
        .document
        .faults
        .iter()
        .map(|fault| fault.place.clone())
        .collect();
    parser.root(root.get_ref());
    // What was recovered from a damaged line says nothing.
    let Document {
        entries, faults, ..
    } = &mut parser.document;
    entries.retain(|_, given| !damaged.contains(&given.place));
    faults.retain(|fault| {
        matches!(fault.problem, Problem::Syntax(_)) || !damaged.contains(&fault.place)
    });
    parser.document
}

struct Parser<'a> {
    path: &'a Path,
    text: &'a str,
    document: Document,
}

impl Parser<'_> {
    fn root(&mut self, table: &DeTable<'_>) {
        for (name, value) in table {
            let start = name.span().start;
            let name = name.get_ref().as_ref();
            if let Some(key) = find("", name) {
                self.keep(key, start, value.get_ref());
                if let (true, DeValue::Array(tables)) = (key.is_tables, value.get_ref()) {
                    let tables = tables.iter().enumerate();
                    tables.for_each(|(index, table)| self.operator(index, table));
                }
            } else if keys().any(|key| key.section == name) {
                match value.get_ref() {
                    DeValue::Table(section) => self.section(name, section),
                    _ => self.refuse(start, Problem::NotATable { name: name.into() }),
                }
            } else if let DeValue::Table(_) = value.get_ref() {
                let nearest = nearest(name, keys().map(|key| key.section.to_owned()));
                self.refuse(
                    start,
                    Problem::UnknownTable {
                        name: name.into(),
                        nearest,
                    },
                );
            } else {
                self.unknown("", name, start);
            }
        }
    }

    fn section(&mut self, section: &str, table: &DeTable<'_>) {
        for (name, value) in table {
            let start = name.span().start;
            let name = name.get_ref().as_ref();
            match find(section, name) {
                Some(key) => self.keep(key, start, value.get_ref()),
                None => self.unknown(section, name, start),
            }
        }
    }

    /// One table of `[[operators]]`: an entry for itself and one for each of its fields.
    fn operator(&mut self, index: usize, table: &Spanned<DeValue<'_>>) {
        let (path, start) = (operators::path(index), table.span().start);
        let place = self.place(start);
        let given = Given {
            place,
            raw: raw(table.get_ref()),
        };
        self.document.entries.insert(path.clone(), given);
        let DeValue::Table(fields) = table.get_ref() else {
            let (key, found) = ("operators".to_owned(), raw(table.get_ref()).shown());
            return self.refuse(start, Problem::NotTables { key, found });
        };
        for (name, value) in fields {
            let (start, name) = (name.span().start, name.get_ref().as_ref());
            if operators::FIELDS.contains(&name) {
                let (place, raw) = (self.place(start), raw(value.get_ref()));
                let path = format!("{path}.{name}");
                self.document.entries.insert(path, Given { place, raw });
            } else {
                let fields = operators::FIELDS.iter().map(ToString::to_string);
                let problem = Problem::UnknownKey {
                    name: format!("operators.{name}"),
                    nearest: nearest(name, fields),
                };
                self.refuse(start, problem);
            }
        }
    }

    fn keep(&mut self, key: &'static Key, start: usize, value: &DeValue<'_>) {
        let place = self.place(start);
        let raw = raw(value);
        self.document
            .entries
            .insert(key.path(), Given { place, raw });
    }

    fn unknown(&mut self, section: &str, name: &str, start: usize) {
        let elsewhere = keys().find(|key| key.name == name).map(Key::path);
        let nearest = elsewhere.or_else(|| {
            let here = keys().filter(|key| key.section == section);
            let like = nearest(name, here.map(|key| key.name.to_owned()))?;
            find(section, &like).map(Key::path)
        });
        let name = [section, name].join(".");
        self.refuse(
            start,
            Problem::UnknownKey {
                name: name.trim_start_matches('.').to_owned(),
                nearest,
            },
        );
    }

    fn refuse(&mut self, start: usize, problem: Problem) {
        let place = self.place(start);
        self.document.faults.push(Fault { place, problem });
    }

    fn place(&self, start: usize) -> Place {
        let before = self.text.bytes().take(start);
        let line = 1 + before.filter(|byte| *byte == b'\n').count();
        Place::Line(self.path.to_owned(), line)
    }
}

fn find(section: &str, name: &str) -> Option<&'static Key> {
    keys().find(|key| key.section == section && key.name == name)
}

fn raw(value: &DeValue<'_>) -> Raw {
    let (form, text) = match value {
        DeValue::String(text) => (Form::String, text.to_string()),
        DeValue::Integer(number) => (Form::Integer, decimal(number)),
        DeValue::Boolean(value) => (Form::Boolean, value.to_string()),
        DeValue::Float(_) => (Form::Other("a number with a fraction"), String::new()),
        DeValue::Datetime(_) => (Form::Other("a date"), String::new()),
        DeValue::Array(items) => list(items.iter().map(|item| item.get_ref())),
        DeValue::Table(_) => (Form::Other("a table"), String::new()),
    };
    Raw { text, form }
}

/// A list of words as the environment has it: with commas between.
fn list<'a>(items: impl Iterator<Item = &'a DeValue<'a>>) -> (Form, String) {
    let words = items.map(|item| match item {
        DeValue::String(word) if !word.contains(',') => Some(word.as_ref()),
        _ => None,
    });
    match words.collect::<Option<Vec<_>>>() {
        Some(words) => (Form::List, words.join(",")),
        None => (
            Form::Other("a list of other things than words"),
            String::new(),
        ),
    }
}

/// TOML also has hexadecimal, octal and binary integers; those of more than 128 bits stay as they
/// are, for no key takes them.
fn decimal(number: &DeInteger<'_>) -> String {
    i128::from_str_radix(number.as_str(), number.radix())
        .map_or_else(|_| number.to_string(), |number| number.to_string())
}
