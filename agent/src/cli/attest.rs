//! `symbolon attest`: what the agent sees of a process, and which clients it fits.

mod facts;
mod suggestion;

use super::{
    console::Console,
    failure::Failure,
    output::{Fields, Look, View, printable},
    socket::AdminArgs,
};
use clap::Args;
use serde::Serialize;
use serde_json::Value;
use symbolon_proto::admin::{AttestProcessRequest, AttestProcessResponse, ClientFit, UnknownFact};

pub(super) use suggestion::Suggestion;

/// Explain a process: what is seen of it, which clients it fits, how to register it
///
/// Every attestor is asked, whether or not a registration needs it. For a client that the process does not fit, the
/// selectors are shown that it lacks, and those that cannot be known with the reason; for one that it fits, what is in the
/// way of an identity all the same.
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
    proposal: Option<Suggestion>,
    connections: Vec<Connection>,
    evidence: Value,
}

/// What was proved about connections.
#[derive(Debug, Serialize)]
struct Connection {
    held: String,
    answered: String,
    open: u32,
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
    obstacles: Vec<String>,
    conditions: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Set {
    present: Vec<String>,
    missing: Vec<String>,
    unknown: Vec<Unknown>,
}

impl From<UnknownFact> for Unknown {
    fn from(fact: UnknownFact) -> Self {
        Self {
            selector: fact.selector,
            reason: fact.reason,
        }
    }
}

impl From<AttestProcessResponse> for Seen {
    fn from(seen: AttestProcessResponse) -> Self {
        let connections = seen.connections.into_iter().map(|connection| Connection {
            held: connection.held,
            answered: connection.answered,
            open: connection.open,
        });
        Self {
            pid: seen.pid,
            attestation_id: seen.attestation_id,
            pinned_by: seen.pinned_by,
            selectors: seen.selectors,
            unknown: seen.unknown.into_iter().map(Unknown::from).collect(),
            clients: seen.clients.into_iter().map(Fit::from).collect(),
            proposal: seen.proposal.map(Suggestion::from),
            connections: connections.collect(),
            evidence: serde_json::from_str(&seen.evidence_json).unwrap_or(Value::Null),
        }
    }
}

impl From<ClientFit> for Fit {
    fn from(fit: ClientFit) -> Self {
        let sets = fit.sets.into_iter().map(|set| Set {
            present: set.present,
            missing: set.missing,
            unknown: set.unknown.into_iter().map(Unknown::from).collect(),
        });
        Self {
            name: fit.name,
            spiffe_id: fit.spiffe_id,
            state: fit.state,
            entitled: fit.entitled,
            fits: fit.fits,
            sets: sets.collect(),
            obstacles: fit.obstacles,
            conditions: fit.conditions,
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
        let connections = self.connections.iter();
        let connections: Vec<String> = connections
            .map(|connection| {
                let Connection {
                    held,
                    answered,
                    open,
                } = connection;
                format!("{open}: held {held}, answered {answered}")
            })
            .collect();
        fields.list("Connections", &connections);
        let mut out = fields.render();
        out.push('\n');
        facts::table(&self.selectors, &self.unknown, &mut out);
        out.push('\n');
        if self.clients.is_empty() {
            out.push_str("No client is registered that could fit.\n");
        }
        for client in &self.clients {
            client.explain(&mut out);
        }
        if let Some(proposal) = &self.proposal {
            out.push('\n');
            proposal.table(&mut out);
        }
        out
    }
}

impl Fit {
    fn explain(&self, out: &mut String) {
        let name = printable(&self.name);
        out.push_str(&format!("{name}: {}\n", self.verdict()));
        for (mark, lines) in [("refused", &self.obstacles), ("demands", &self.conditions)] {
            for line in lines {
                out.push_str(&format!("  {mark}  {}\n", printable(line)));
            }
        }
        if self.fits {
            return;
        }
        for (index, set) in self.sets.iter().enumerate() {
            if index > 0 {
                out.push_str("  or\n");
            }
            set.explain(out);
        }
    }

    fn verdict(&self) -> String {
        if self.entitled {
            return format!("fits, gets {}", printable(&self.spiffe_id));
        }
        let state = printable(&self.state);
        match (self.fits, self.state.as_str()) {
            (true, "active") => "fits, but is refused all the same".to_owned(),
            (true, _) => format!("fits, but is {state}"),
            (false, "active") => "does not fit".to_owned(),
            (false, _) => format!("is {state}, and does not fit by"),
        }
    }
}

impl Set {
    fn explain(&self, out: &mut String) {
        for (mark, selectors) in [("has    ", &self.present), ("missing", &self.missing)] {
            for selector in selectors {
                out.push_str(&format!("  {mark}  {}\n", printable(selector)));
            }
        }
        for Unknown { selector, reason } in &self.unknown {
            let (selector, reason) = (printable(selector), printable(reason));
            out.push_str(&format!("  unknown  {selector}: {reason}\n"));
        }
    }
}
