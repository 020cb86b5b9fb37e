//! `symbolon audit tail`: the last events, and those that follow; `audit key`: what
//! verifies the checkpoints.
//!
//! Lines are shown in the form of the trail itself: `-o json` prints them byte
//! for byte (but for a terminal), since their hashes chain. A table is a summary of them.

mod filter;
mod place;
mod query;
mod remote;
mod trace;
mod verify;

use super::{
    console::Console,
    failure::{Exit, Failure},
    output::{Format, Look, View, printable, visible_json},
    socket::AdminArgs,
};
use crate::{
    audit::{CheckpointKey, Filter, Judge, PUBLIC_KEY_FILE},
    svid::Jwk,
};
use clap::{Args, Subcommand};
use filter::FilterArgs;
use serde::Serialize;
use serde_json::Value;
use std::{
    fs, io,
    path::{Path, PathBuf},
};
use symbolon_proto::admin::{GetAuditKeyRequest, TailAuditRequest};

/// More lines the agent does not send at once.
const MAX_LAST: i64 = 10_000;

/// Read the audit trail
#[derive(Args, Debug)]
pub(super) struct AuditArgs {
    #[command(flatten)]
    admin: AdminArgs,
    #[command(subcommand)]
    command: AuditCommand,
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    Tail(TailArgs),
    Query(query::QueryArgs),
    Trace(trace::TraceArgs),
    Export(query::ExportArgs),
    Verify(verify::VerifyArgs),
    Key(KeyArgs),
}

/// Print the last events of the audit trail
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples:
  symbolon audit tail -f
  symbolon audit tail -f -n 0 --client payments --event denied
  symbolon audit tail -n 1000 -o json | jq 'select(.event == \"denied\")'")]
struct TailArgs {
    /// How many, of which those are printed that fit
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10)]
    #[arg(value_parser = clap::value_parser!(u32).range(0..=MAX_LAST))]
    last: u32,
    /// Go on with new ones as they happen
    #[arg(short, long)]
    follow: bool,
    #[command(flatten)]
    filter: FilterArgs,
}

/// Print the public key that verifies the trail's checkpoints
///
/// Asks the agent, or reads the data directory that --data-dir names. `-o json` prints a JWK, else PEM.
/// Keep a copy where the trail's writer cannot reach it: what it verifies, nobody can
/// have made without the agent's private key.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples:
  symbolon audit key > checkpoint.pub
  symbolon audit key --data-dir /mnt/copy -o json")]
struct KeyArgs {
    /// Read this data directory; the agent need not run
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

impl KeyArgs {
    async fn run(self, admin: &AdminArgs, console: &mut Console) -> Result<(), Failure> {
        let (pem, place) = match &self.data_dir {
            Some(dir) => read_key(&dir.join("audit").join(PUBLIC_KEY_FILE))?,
            None => {
                let link = admin.link(console);
                let mut client = link.admin().await.map_err(remote::or_read)?;
                let answer = link.ask(client.get_audit_key(GetAuditKeyRequest {}));
                (answer.await?.pem, "the agent's answer".to_owned())
            }
        };
        let public = CheckpointKey::from_pem(&pem)
            .map_err(|error| Failure::new(Exit::Failed, format!("{place}: {error}")))?;
        match console.format {
            None | Some(Format::Table) => console.write(CheckpointKey::pem(&public).as_bytes()),
            Some(_) => console.show(&PublicKeyView(CheckpointKey::jwk(&public))),
        }
    }
}

fn read_key(path: &Path) -> Result<(String, String), Failure> {
    let place = path.display().to_string();
    let pem = fs::read_to_string(path).map_err(|error| {
        let exit = match error.kind() {
            io::ErrorKind::NotFound => Exit::NotFound,
            io::ErrorKind::PermissionDenied => Exit::Denied,
            _ => Exit::Failed,
        };
        Failure::new(exit, format!("{place}: {error}"))
    })?;
    Ok((pem, place))
}

/// The key as a JWK.
#[derive(Debug, Serialize)]
#[serde(transparent)]
struct PublicKeyView(Jwk);

impl View for PublicKeyView {
    fn table(&self, _: &Look) -> String {
        String::new()
    }
}

impl AuditArgs {
    pub(super) async fn run(self, console: &mut Console) -> Result<(), Failure> {
        let TailArgs {
            last,
            follow,
            filter,
        } = match self.command {
            AuditCommand::Tail(args) => args,
            AuditCommand::Query(args) => return args.run(&self.admin, console).await,
            AuditCommand::Trace(args) => return args.run(&self.admin, console).await,
            AuditCommand::Export(args) => return args.run(&self.admin, console).await,
            AuditCommand::Verify(args) => return args.run(console),
            AuditCommand::Key(args) => return args.run(&self.admin, console).await,
        };
        let filter = filter.filter(console)?;
        if filter.at.is_some() {
            let failure =
                Failure::new(Exit::Usage, "the tail is of now: --at is for `audit query`");
            return Err(failure);
        }
        let mut judge = Judge::new(&filter);
        let link = self.admin.link(console);
        let mut admin = link.admin().await?;
        let request = TailAuditRequest { last, follow };
        let mut lines = link.ask(admin.tail_audit(request)).await?;
        loop {
            // With --follow the next event may be long in coming.
            let next = if follow {
                lines
                    .message()
                    .await
                    .map_err(|status| link.refused(&status))?
            } else {
                link.within(lines.message()).await?
            };
            match next {
                Some(next) if filter == Filter::default() || judge.fits(&next.line) => {
                    print(&next.line, console)?;
                }
                Some(_) => {}
                None => return Ok(()),
            }
        }
    }
}

fn print(line: &str, console: &mut Console) -> Result<(), Failure> {
    if console.format == Some(Format::Json) {
        return match console.width {
            // Nobody hashes what a terminal shows.
            Some(_) => console.write(format!("{}\n", visible_json(line)).as_bytes()),
            None => console.write(format!("{line}\n").as_bytes()),
        };
    }
    match serde_json::from_str(line) {
        Ok(event) => console.show_next(&Event(event)),
        Err(_not_json) => console.write(format!("{}\n", printable(line)).as_bytes()),
    }
}

/// What a table shows of an event beside time and kind, where the event has it.
const SUMMARY: [(&str, &str); 17] = [
    ("", "/client"),
    ("by ", "/operator"),
    ("", "/operation"),
    ("pid ", "/process/pid"),
    ("uid ", "/process/uid"),
    ("", "/credential/kind"),
    ("", "/credential/serial"),
    ("", "/credential/jti"),
    ("", "/authority/kind"),
    ("", "/authority/slot"),
    ("", "/outcome"),
    ("lines ", "/evidence/lines"),
    ("", "/summary/count"),
    ("", "/summary/event"),
    ("", "/summary/reason"),
    ("of uid ", "/summary/uid"),
    ("", "/reason"),
];

/// One event.
#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Event(Value);

impl View for Event {
    /// `2026-11-20T00:00:00.000Z  issued  payments  pid 4711 uid 1000  x509 0af3...  because`
    fn table(&self, _: &Look) -> String {
        let text = |pointer: &str| match self.0.pointer(pointer) {
            Some(Value::String(text)) => Some(text.clone()),
            Some(Value::Number(number)) => Some(number.to_string()),
            _ => None,
        };
        let mut words = vec![
            text("/time").unwrap_or_default(),
            format!("{:<10}", text("/event").unwrap_or_default()),
        ];
        for (label, pointer) in SUMMARY {
            words.extend(text(pointer).map(|value| format!("{label}{value}")));
        }
        // What a reader of the trail asked for.
        if let Some(Value::Object(asked)) = self.0.pointer("/evidence/asked") {
            words.extend(asked.iter().map(|(name, value)| match value {
                Value::String(text) => format!("{name}={text}"),
                other => format!("{name}={other}"),
            }));
        }
        printable(&words.join("  ")) + "\n"
    }
}
