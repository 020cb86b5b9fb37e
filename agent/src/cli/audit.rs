//! `symbolon audit tail`: the last events, and those that follow.
//!
//! Lines are shown in the form of the trail itself: `-o json` prints them byte
//! for byte (but for a terminal), since their hashes chain. A table is a summary of them.

use super::{
    console::Console,
    failure::Failure,
    output::{Format, Look, View, printable, visible_json},
    socket::AdminArgs,
};
use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::Value;
use symbolon_proto::admin::TailAuditRequest;

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
}

/// Print the last events of the audit trail
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples:
  symbolon audit tail -f
  symbolon audit tail -n 1000 -o json | jq 'select(.event == \"denied\")'")]
struct TailArgs {
    /// How many
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10)]
    #[arg(value_parser = clap::value_parser!(u32).range(0..=MAX_LAST))]
    last: u32,
    /// Go on with new ones as they happen
    #[arg(short, long)]
    follow: bool,
}

impl AuditArgs {
    pub(super) async fn run(self, console: &mut Console) -> Result<(), Failure> {
        let AuditCommand::Tail(TailArgs { last, follow }) = self.command;
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
                Some(next) => print(&next.line, console)?,
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
const SUMMARY: [(&str, &str); 12] = [
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
        printable(&words.join("  ")) + "\n"
    }
}
