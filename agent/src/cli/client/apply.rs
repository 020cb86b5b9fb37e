//! `symbolon client apply`.
//!
//! Reads the documents of `agent/doc/apply.md` and asks the agent, one after the
//! other, for what they say. All of them are checked before the first is asked for;
//! the agent checks them again, with its own bounds.

use super::Admin;
use crate::{
    cli::{
        console::Console,
        failure::{Exit, Failure},
        output::{Look, Table, View, printable},
    },
    registrations::{Entry, Form, parse},
    registry::{ClientDraft, SpecRules},
};
use clap::Args;
use serde::Serialize;
use spiffe::TrustDomain;
use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use symbolon_attestors::Kind;
use symbolon_proto::admin::{
    Client, ClientSpec, GetInfoRequest, RegisterClientRequest, SelectorSet, UpdateClientRequest,
};

/// Register and update clients from files
///
/// A file holds documents with the fields of a registration (agent/doc/apply.md).
/// Clients that no document names are left alone; one that says what is in force
/// is not changed; a suspended client is updated and stays suspended.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples:
  symbolon client apply -f clients.yaml --dry-run
  symbolon client apply -f registrations/ --reason CHG-1234")]
pub(super) struct ApplyArgs {
    /// A file (.yaml, .yml or .json), a folder of such files, or - for YAML from standard input
    #[arg(short, long, value_name = "PATH")]
    file: PathBuf,
    /// Only tell what would be done
    #[arg(long)]
    dry_run: bool,
    /// Why, for the audit trail
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
}

/// What was done about each document.
#[derive(Debug, Serialize)]
struct Outcome {
    clients: Vec<Applied>,
    dry_run: bool,
}

#[derive(Debug, Serialize)]
struct Applied {
    done: &'static str,
    name: String,
    /// The version that is in force or awaits approval; that would be, in a dry run.
    version: u64,
}

impl View for Outcome {
    fn table(&self, look: &Look) -> String {
        if self.clients.is_empty() {
            return "No documents.\n".to_owned();
        }
        let mut table = Table::new(["NAME", "VERSION", "DONE"]);
        for client in &self.clients {
            let done = match (self.dry_run, client.done) {
                (true, "registered") => "would be registered",
                (true, "updated") => "would be updated",
                (_, done) => done,
            };
            let version = client.version.to_string();
            table.row([client.name.clone(), version, done.to_owned()]);
        }
        table.render(look.width)
    }
}

impl ApplyArgs {
    pub(super) async fn run(self, admin: &mut Admin, console: &mut Console) -> Result<(), Failure> {
        let info = admin.client.get_info(GetInfoRequest {});
        let info = admin.link.ask(info).await?;
        let rules = rules(&info.trust_domain)?;
        let entries = read(&self.file, &rules, console)?;
        let mut outcome = Outcome {
            clients: Vec::new(),
            dry_run: self.dry_run,
        };
        for entry in entries {
            outcome
                .clients
                .push(self.apply(entry, &rules, admin).await?);
        }
        console.show(&outcome)
    }

    async fn apply(
        &self,
        entry: Entry,
        rules: &SpecRules,
        admin: &mut Admin,
    ) -> Result<Applied, Failure> {
        let place = entry.place.to_string();
        let told = |failure: Failure| failure.at(&place);
        let now = match admin.show(entry.name.as_str()).await {
            Ok(client) => Some(client),
            Err(Failure::Told {
                exit: Exit::NotFound,
                ..
            }) => None,
            Err(failure) => return Err(told(failure)),
        };
        let applied = |done, version| Applied {
            done,
            name: entry.name.to_string(),
            version,
        };
        let version = now.as_ref().map_or(0, |client| client.version);
        let pending = now.as_ref().and_then(|client| client.pending.as_ref());
        let says = |spec: Option<&ClientSpec>| spec.is_some_and(|spec| says(spec, &entry, rules));
        match (&now, pending) {
            (_, Some(pending)) if says(pending.spec.as_ref()) => {
                return Ok(applied("pending", pending.version));
            }
            (Some(client), None) if says(client.spec.as_ref()) => {
                return Ok(applied("unchanged", version));
            }
            _ => {}
        }
        let last = pending.map_or(version, |pending| pending.version);
        let done = if version == 0 {
            "registered"
        } else {
            "updated"
        };
        if self.dry_run {
            return Ok(applied(done, last + 1));
        }
        let client = self.send(&entry, version, admin).await;
        let client = client.map_err(told)?;
        Ok(match &client.pending {
            Some(pending) => applied("proposed", pending.version),
            None => applied(done, client.version),
        })
    }

    /// Registers, or updates what has this version.
    async fn send(
        &self,
        entry: &Entry,
        version: u64,
        admin: &mut Admin,
    ) -> Result<Client, Failure> {
        let (name, spec) = (entry.name.to_string(), Some(spec_of(&entry.draft)));
        let reason = self.reason.clone();
        let accept_weak = entry.accept_weak.as_ref().map(ToString::to_string);
        let accept_weak = accept_weak.unwrap_or_default();
        if version == 0 {
            let request = RegisterClientRequest {
                name,
                spec,
                reason,
                accept_weak,
            };
            let call = admin.client.register_client(request);
            return admin.link.ask(call).await;
        }
        let request = UpdateClientRequest {
            name,
            spec,
            reason,
            expected_version: version,
            accept_weak,
        };
        let call = admin.client.update_client(request);
        admin.link.ask(call).await
    }
}

/// The agent's trust domain, and no bounds: those are the agent's to know.
fn rules(trust_domain: &str) -> Result<SpecRules, Failure> {
    let any = Duration::from_secs(1)..=Duration::from_secs(u32::MAX.into());
    let trust_domain = TrustDomain::new(trust_domain).map_err(|error| {
        Failure::new(Exit::Failed, format!("the agent's trust domain: {error}"))
    })?;
    Ok(SpecRules {
        trust_domain,
        x509_ttl: any.clone(),
        jwt_ttl: any,
    })
}

/// All documents; or none, and all faults are told.
fn read(path: &Path, rules: &SpecRules, console: &mut Console) -> Result<Vec<Entry>, Failure> {
    let (mut entries, mut faults) = (Vec::new(), 0_usize);
    for file in files(path)? {
        let name = file.display().to_string();
        let is_json = file.extension().is_some_and(|ending| ending == "json");
        let form = if is_json { Form::Json } else { Form::Yaml };
        let text = text_of(&file)
            .map_err(|error| Failure::new(Exit::Failed, format!("{name}: {error}")))?;
        let (found, wrong) = parse(&name, &text, form, rules);
        entries.extend(found);
        faults += wrong.len();
        for fault in wrong {
            console.tell(&printable(&fault.to_string()));
        }
    }
    if faults == 0 {
        return Ok(entries);
    }
    Err(Failure::new(
        Exit::Usage,
        "the files have faults; nothing was changed",
    ))
}

fn text_of(file: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    let most = u64::try_from(crate::registrations::FILE_BYTES).unwrap_or(u64::MAX);
    let _read = match file.to_str() {
        Some("-") => std::io::stdin().take(most + 1).read_to_string(&mut text)?,
        _ => fs::File::open(file)?
            .take(most + 1)
            .read_to_string(&mut text)?,
    };
    if text.len() > crate::registrations::FILE_BYTES {
        return Err(std::io::ErrorKind::FileTooLarge.into());
    }
    Ok(text)
}

/// The file itself, or those of the folder that are of registrations, by name.
fn files(path: &Path) -> Result<Vec<PathBuf>, Failure> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let failed = |error| Failure::new(Exit::Failed, format!("{}: {error}", path.display()));
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        let file = entry.map_err(failed)?.path();
        let ending = file.extension().and_then(|ending| ending.to_str());
        if ending.is_some_and(|ending| ["yaml", "yml", "json"].contains(&ending)) {
            files.push(file);
        }
    }
    files.sort_unstable();
    Ok(files)
}

/// Whether a version says what the document does.
fn says(spec: &ClientSpec, entry: &Entry, rules: &SpecRules) -> bool {
    let draft = draft_of(spec);
    let spec = draft.and_then(|draft| draft.check(&entry.name, rules, UNIX_EPOCH).ok());
    spec.is_some_and(|spec| spec.says_what(&entry.spec))
}

fn spec_of(draft: &ClientDraft) -> ClientSpec {
    let seconds = |ttl: Option<Duration>| ttl.map_or(0, |ttl| ttl.as_secs());
    let sets = draft.selector_sets.iter().cloned();
    ClientSpec {
        owner: draft.owner.clone(),
        purpose: draft.purpose.clone(),
        spiffe_id: draft.spiffe_id.clone().unwrap_or_default(),
        selector_sets: sets.map(|selectors| SelectorSet { selectors }).collect(),
        audiences: draft.audiences.clone(),
        max_audiences: draft.max_audiences.unwrap_or_default(),
        x509_ttl: seconds(draft.x509_ttl),
        jwt_ttl: seconds(draft.jwt_ttl),
        hint: draft.hint.clone().unwrap_or_default(),
        dns_names: draft.dns_names.clone(),
        expires_at: seconds_of(draft.expires_at),
        forbid_inheritable: draft.forbid_inheritable,
        allow_foreign_user_namespaces: draft.allow_foreign_user_namespaces,
        required_attestors: draft
            .required_attestors
            .iter()
            .map(ToString::to_string)
            .collect(),
        review_by: seconds_of(draft.review_by),
        source: draft.source.clone().unwrap_or_default(),
        ..ClientSpec::default()
    }
}

fn seconds_of(at: Option<SystemTime>) -> i64 {
    let seconds = at.map_or(0, crate::clock::unix_seconds);
    i64::try_from(seconds).unwrap_or(i64::MAX)
}

/// `None` for what this program does not know.
fn draft_of(spec: &ClientSpec) -> Option<ClientDraft> {
    let seconds = |seconds| (seconds != 0).then(|| Duration::from_secs(seconds));
    let text = |text: &String| (!text.is_empty()).then(|| text.clone());
    let kind = |name: &String| Kind::ALL.into_iter().find(|kind| kind.as_str() == name);
    let expires_at = u64::try_from(spec.expires_at).ok()?;
    Some(ClientDraft {
        owner: spec.owner.clone(),
        purpose: spec.purpose.clone(),
        spiffe_id: text(&spec.spiffe_id),
        selector_sets: spec
            .selector_sets
            .iter()
            .map(|set| set.selectors.clone())
            .collect(),
        audiences: spec.audiences.clone(),
        max_audiences: (spec.max_audiences != 0).then_some(spec.max_audiences),
        x509_ttl: seconds(spec.x509_ttl),
        jwt_ttl: seconds(spec.jwt_ttl),
        hint: text(&spec.hint),
        dns_names: spec.dns_names.clone(),
        expires_at: seconds(expires_at).and_then(|since| UNIX_EPOCH.checked_add(since)),
        forbid_inheritable: spec.forbid_inheritable,
        allow_foreign_user_namespaces: spec.allow_foreign_user_namespaces,
        required_attestors: spec
            .required_attestors
            .iter()
            .map(kind)
            .collect::<Option<_>>()?,
        accepted_weaknesses: None,
        review_by: seconds(u64::try_from(spec.review_by).ok()?)
            .and_then(|since| UNIX_EPOCH.checked_add(since)),
        source: text(&spec.source),
    })
}
