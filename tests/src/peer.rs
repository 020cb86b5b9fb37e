//! The programs under `interop/` that meet workloads of other trust domains.
//!
//! Each takes `SPIFFE_ENDPOINT_SOCKET` from the environment, keeps its SVID and its bundles up to
//! date with its library, and prints a line of JSON for each event:
//!
//! * `serve PEER AUDIENCE` lets one SPIFFE ID in: `{"event":"listening","address":...}`, and
//!   `{"event":"refused","error":...}` for each connection that comes to nothing;
//! * `meet ADDRESS PEER AUDIENCE` connects to that again and again, dozens of times in a second,
//!   and prints `{"event":"met","authority":...,"key":...,"peer_authority":...,"peer_key":...}`
//!   for the first meeting, and whenever another key has signed an X.509-SVID or a JWT-SVID of one
//!   of both. It ends with `{"event":"failed","error":...}` at the first that fails;
//! * `force ADDRESS AUDIENCE` (of Go alone) shows what it has to whoever is there, as attackers do:
//!   `{"event":"forced"}` where it was let in, `{"event":"failed","error":...}` where it was not;
//! * `judge AUDIENCE TOKEN...` prints `{"event":"token","here":ID,"there":ID}` for each token: by
//!   the library with the bundles that the agent gave, and by the agent's own word; the ID is empty
//!   where it is refused.
//!
//! At each meeting both sides make a TLS connection with their X.509-SVIDs and show each other a
//! JWT-SVID, which the other side has to take here and there.

use serde_json::Value;
use tokio::process::Command;

use crate::interop::{folder, java};
use crate::{AUDIENCE, Agent, Client, Program, Workload};

/// A library's program for other trust domains.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Peer(Client);

impl Peer {
    /// That of a library, where it is installed; those of Python and Java judge tokens, and meet
    /// nobody.
    #[must_use]
    pub fn of(library: Client) -> Option<Self> {
        library.is_installed().then_some(Self(library))
    }

    /// The executable that runs.
    #[must_use]
    pub fn program(self) -> Program {
        match self.0 {
            Client::Rust => Program::beside_the_tests("symbolon-test-peer"),
            Client::Go => Program::at(&folder().join(".cache/go/peer")),
            other => other.program(),
        }
    }

    /// Selectors that fit it.
    #[must_use]
    pub fn selectors(self) -> Vec<String> {
        match self.0 {
            Client::Rust | Client::Go => self.program().selectors(),
            other => other.selectors(),
        }
    }

    /// Lets `peer` in, and where.
    pub async fn serve(self, agent: &Agent, peer: &str) -> (Workload, String) {
        let mut command = agent.command(self.program().path());
        let mut server = Workload::start(command.args(["serve", peer, AUDIENCE]));
        let address = server.event("listening").await["address"].clone();
        (server, address.as_str().unwrap_or_default().to_owned())
    }

    /// Meets `peer` there, again and again.
    #[must_use]
    pub fn meet(self, agent: &Agent, address: &str, peer: &str) -> Workload {
        let mut command = agent.command(self.program().path());
        Workload::start(command.args(["meet", address, peer, AUDIENCE]))
    }

    /// Shows what the agent gives to this copy of Go's program to whoever is there; whether it was
    /// let in.
    pub async fn force(copy: &Program, agent: &Agent, address: &str) -> bool {
        let mut command = agent.command(copy.path());
        let forced = Workload::start(command.args(["force", address, AUDIENCE]));
        let end = forced.end().await;
        let is_let_in = end.stdout.contains("forced");
        assert!(is_let_in || end.stdout.contains("failed"), "{end:?}");
        is_let_in
    }

    /// What it makes of these tokens.
    pub async fn judge(self, agent: &Agent, tokens: &[&str]) -> Vec<Judgement> {
        let mut command = self.judging(agent);
        let mut judge = Workload::start(command.arg(AUDIENCE).args(tokens));
        let mut judgements = Vec::new();
        for _token in tokens {
            judgements.push(Judgement::from(judge.event("token").await));
        }
        judgements
    }

    fn judging(self, agent: &Agent) -> Command {
        match self.0 {
            Client::Rust | Client::Go => {
                let mut command = agent.command(self.program().path());
                command.arg("judge");
                command
            }
            Client::Python => self.0.script(agent, "judge.py"),
            Client::Java => {
                let mut command = java(agent);
                command.arg("-cp");
                command.arg(folder().join(".cache/java/workload.jar"));
                command.arg("Judge");
                command
            }
            Client::Node => panic!("it has no library that judges tokens"),
        }
    }
}

/// Whose a token is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Judgement {
    /// By the library, with the bundles that the agent gave.
    pub here: String,
    /// By the agent.
    pub there: String,
}

impl Judgement {
    /// The same here and there.
    #[must_use]
    pub fn both(id: &str) -> Self {
        Self {
            here: id.to_owned(),
            there: id.to_owned(),
        }
    }

    /// Refused here and there.
    #[must_use]
    pub fn refused() -> Self {
        Self::both("")
    }
}

impl From<Value> for Judgement {
    fn from(event: Value) -> Self {
        let text = |field: &str| event[field].as_str().expect("text").to_owned();
        Self {
            here: text("here"),
            there: text("there"),
        }
    }
}
