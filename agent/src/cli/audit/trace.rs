//! `symbolon audit trace`: the whole story of a credential, a process or a client, from the agent
//! or from files.

use super::{
    super::{
        console::Console,
        failure::{Exit, Failure},
        moment::{Moment, parse_moment},
        output::{Fields, Look, View},
        socket::AdminArgs,
    },
    Event,
    filter::{parse_hex, time},
    place,
    remote::Remote,
};
use crate::audit::{CredentialStory, Reader, Story, Subject, VersionStory, tell};
use clap::Args;
use serde::Serialize;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Bytes of lines that are kept in each round.
const KEPT_BYTES: usize = 256 << 20;

/// Credentials in the head of a table; all of them are in the timeline.
const MAX_SHOWN: usize = 5;

/// Tell the whole story of a credential, a process or a client
///
/// Who got it, on what evidence, by which registration, written and approved by whom, what
/// was renewed and validated, and how it ended. The process need not live and the credential need
/// not be valid. Asks the agent, or reads the data directory that --data-dir names.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples:
  symbolon audit trace --serial 0a1b2c
  symbolon audit trace --jti 0Zk1
  symbolon audit trace --pid 4711 --at 2026-07-28T12:00:00Z
  symbolon audit trace --client payments -o json")]
pub(super) struct TraceArgs {
    /// Read this data directory, or a copy of its audit folder; the agent need not run
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    subject: SubjectArgs,
    /// When the process had that number
    #[arg(long, value_name = "TIME", requires = "pid", value_parser = parse_moment)]
    at: Option<Moment>,
}

/// What is traced.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
struct SubjectArgs {
    /// The serial number of an X.509-SVID
    #[arg(long, value_parser = parse_hex)]
    serial: Option<String>,
    /// The identifier of a JWT-SVID or WIT-SVID
    #[arg(long)]
    jti: Option<String>,
    /// The number of a process
    #[arg(long)]
    pid: Option<u32>,
    /// A client's name
    #[arg(long, value_name = "NAME")]
    client: Option<String>,
}

impl TraceArgs {
    pub(super) async fn run(self, admin: &AdminArgs, console: &mut Console) -> Result<(), Failure> {
        let at = self.at.map(|at| time(at, console)).transpose()?;
        let subject = match self.subject {
            SubjectArgs {
                serial: Some(serial),
                ..
            } => Subject::Serial(serial),
            SubjectArgs { jti: Some(jti), .. } => Subject::Jti(jti),
            SubjectArgs { pid: Some(pid), .. } => Subject::Process(pid, at),
            SubjectArgs { client, .. } => Subject::Client(client.unwrap_or_default()),
        };
        let (story, is_cut) = match &self.data_dir {
            Some(dir) => read(dir, subject)?,
            None => Remote::of(admin, console).await?.trace(subject).await?,
        };
        if is_cut {
            console.tell(&format!(
                "the story is long: only its newest events are told{}",
                left_out(&story)
            ));
        }
        console.show(&StoryView(story))
    }
}

/// The story in a folder, and whether it is cut.
fn read(dir: &Path, subject: Subject) -> Result<(Story, bool), Failure> {
    let reader = Reader::open(&place::folder(dir)).map_err(|error| place::failed(&error))?;
    let told = tell(&reader, subject, KEPT_BYTES, &|| true);
    let told = told.map_err(|error| place::failed(&error))?;
    let told =
        told.ok_or_else(|| Failure::new(Exit::NotFound, "the audit trail has nothing about that"))?;
    Ok((told.story, told.is_cut))
}

/// `; 12 validations are left out`, where it is known.
fn left_out(story: &Story) -> String {
    match story.left_out.is_nothing() {
        true => String::new(),
        false => format!("; left out: {}", story.left_out),
    }
}

/// The story.
#[derive(Debug, Serialize)]
#[serde(transparent)]
struct StoryView(Story);

impl View for StoryView {
    fn table(&self, look: &Look) -> String {
        let Story {
            clients,
            processes,
            credentials,
            events,
            ..
        } = &self.0;
        let mut fields = Fields::new();
        let asked: Vec<_> = credentials.iter().filter(|c| c.is_subject).collect();
        let shown = if asked.is_empty() {
            credentials.iter().rev().take(MAX_SHOWN).collect()
        } else {
            asked
        };
        for credential in shown {
            fields.add("Credential", describe(credential));
        }
        for client in clients {
            let state = if client.state.is_empty() {
                String::new()
            } else {
                format!(" ({})", client.state)
            };
            fields.add("Client", format!("{}{state}", client.name));
            let all = client.versions.iter().all(|version| !version.is_concerned);
            for version in client.versions.iter().filter(|v| all || v.is_concerned) {
                fields.add("Version", responsible(version));
            }
        }
        for process in processes.iter().take(MAX_SHOWN) {
            fields.add(
                "Process",
                format!(
                    "pid {}  uid {}  {}  attested {}",
                    process.pid, process.uid, process.executable, process.attested
                ),
            );
            fields.list("Attestation", &process.attestation_ids);
        }
        let mut out = fields.render();
        out.push('\n');
        for event in events {
            out.push_str(&Event(event.clone()).table(look));
        }
        out
    }
}

/// `x509-svid 0a1b, issued 2026-...Z, until 2026-...Z, validated 3 times`
fn describe(story: &CredentialStory) -> String {
    let text = |name: &str| {
        let value = story.credential.get(name).and_then(Value::as_str);
        value.unwrap_or_default().to_owned()
    };
    let mut out = format!(
        "{} {}{}, {}, issued {}, until {}",
        text("kind"),
        text("serial"),
        text("jti"),
        story.spiffe_id,
        story.issued,
        text("not_after"),
    );
    if story.validations > 0 {
        out.push_str(&format!(", validations {}", story.validations));
    }
    out
}

/// `3 by uid:0 at 2026-...Z: the reason; approved by alice`
fn responsible(version: &VersionStory) -> String {
    let mut out = version.version.to_string();
    if version.author.is_empty() {
        return out + ", which the trail does not have any more";
    }
    out.push_str(&format!(" by {} at {}", version.author, version.time));
    if !version.reason.is_empty() {
        out.push_str(&format!(": {}", version.reason));
    }
    if !version.approved_by.is_empty() {
        out.push_str(&format!("; approved by {}", version.approved_by.join(", ")));
    }
    out
}
