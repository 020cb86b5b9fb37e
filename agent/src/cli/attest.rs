//! `symbolon attest`: what the agent sees of a process, and which clients it fits.

use super::{
    console::Console,
    failure::Failure,
    output::{Fields, Look, View, printable},
    socket::AdminArgs,
};
use clap::Args;
use serde::Serialize;
use serde_json::Value;
use symbolon_proto::admin::{AttestProcessRequest, AttestProcessResponse, ClientFit};

/// Explain a process: what is seen of it and which clients it fits
///
/// For a client that it does not fit, the selectors that are missing are shown.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples:
  symbolon attest --pid $$
  symbolon attest --pid $(pidof -s payments) --client payments")]
pub(super) struct AttestArgs {
    #[command(flatten)]
    admin: AdminArgs,
    /// The process
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(i32).range(1..))]
    pid: i32,
    /// Explain only this client
    #[arg(
        long,
        value_name = "NAME",
        default_value = "",
        hide_default_value = true
    )]
    client: String,
}

impl AttestArgs {
    pub(super) async fn run(self, console: &mut Console) -> Result<(), Failure> {
        let link = self.admin.link(console);
        let mut admin = link.admin().await?;
        let request = AttestProcessRequest {
            pid: self.pid,
            client: self.client,
        };
        let seen = link.ask(admin.attest_process(request)).await?;
        console.show(&Seen::from(seen))
    }
}

/// One attestation; `agent/doc/cli.md` documents the fields.
#[derive(Debug, Serialize)]
struct Seen {
    pid: i32,
    attestation_id: String,
    pinned_by: String,
    selectors: Vec<String>,
    unknown: Vec<Unknown>,
    clients: Vec<Fit>,
    evidence: Value,
}

#[derive(Debug, Serialize)]
struct Unknown {
    selector: String,
    reason: String,
}

#[derive(Debug, Serialize)]
struct Fit {
    name: String,
    spiffe_id: String,
    state: String,
    entitled: bool,
    fits: bool,
    sets: Vec<Set>,
}

#[derive(Debug, Serialize)]
struct Set {
    present: Vec<String>,
    missing: Vec<String>,
}

impl From<AttestProcessResponse> for Seen {
    fn from(seen: AttestProcessResponse) -> Self {
        let unknown = seen.unknown.into_iter().map(|fact| Unknown {
            selector: fact.selector,
            reason: fact.reason,
        });
        Self {
            pid: seen.pid,
            attestation_id: seen.attestation_id,
            pinned_by: seen.pinned_by,
            selectors: seen.selectors,
            unknown: unknown.collect(),
            clients: seen.clients.into_iter().map(Fit::from).collect(),
            evidence: serde_json::from_str(&seen.evidence_json).unwrap_or(Value::Null),
        }
    }
}

impl From<ClientFit> for Fit {
    fn from(fit: ClientFit) -> Self {
        let sets = fit.sets.into_iter().map(|set| Set {
            present: set.present,
            missing: set.missing,
        });
        Self {
            name: fit.name,
            spiffe_id: fit.spiffe_id,
            state: fit.state,
            entitled: fit.entitled,
            fits: fit.fits,
            sets: sets.collect(),
        }
    }
}

impl View for Seen {
    fn table(&self, _: &Look) -> String {
        let mut fields = Fields::new();
        fields.add(
            "Process",
            format!("{}, pinned by {}", self.pid, self.pinned_by),
        );
        fields.add("Attestation", &self.attestation_id);
        fields.list("Selectors", &self.selectors);
        let unknown: Vec<String> = self
            .unknown
            .iter()
            .map(|fact| format!("{}: {}", fact.selector, fact.reason))
            .collect();
        fields.list("Unknown", &unknown);
        let mut out = fields.render();
        out.push('\n');
        if self.clients.is_empty() {
            out.push_str("No client is registered that could fit.\n");
        }
        for client in &self.clients {
            client.explain(&mut out);
        }
        out
    }
}

impl Fit {
    fn explain(&self, out: &mut String) {
        let name = printable(&self.name);
        if self.entitled {
            out.push_str(&format!(
                "{name}: fits, gets {}\n",
                printable(&self.spiffe_id)
            ));
            return;
        }
        let state = printable(&self.state);
        let why = match (self.fits, self.state.as_str()) {
            (true, _) => format!("fits, but is {state}"),
            (false, "active") => "does not fit".to_owned(),
            (false, _) => format!("is {state}, and does not fit by"),
        };
        out.push_str(&format!("{name}: {why}\n"));
        if self.fits {
            return;
        }
        for (index, set) in self.sets.iter().enumerate() {
            if index > 0 {
                out.push_str("  or\n");
            }
            for (mark, selectors) in [("has    ", &set.present), ("missing", &set.missing)] {
                for selector in selectors {
                    out.push_str(&format!("  {mark}  {}\n", printable(selector)));
                }
            }
        }
    }
}
