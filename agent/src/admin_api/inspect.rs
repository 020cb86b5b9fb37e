//! What the agent sees of a process, and which clients it fits.

use super::{calls::AdminServices, convert, lint, status};
use crate::{
    lint::{Subject, propose},
    registry::{Client, ClientSpec, ClientState, SelectorSet, Snapshot},
};
use std::sync::Arc;
use symbolon_attestors::{
    AnsweredWord, Attestation, HeldWord, Kind, Kinds, PinnedPeer, Proofs, Selector, Stamp,
};
use symbolon_proto::admin::{
    AttestProcessRequest, AttestProcessResponse, ClientFit, Connection, Proposal, SetFit,
    UnknownFact,
};
use tonic::Status;

/// Most clients that one answer explains: those that fit come first, then those
/// that come closest.
const MAX_CLIENTS: usize = 100;

/// Attests the process as a caller would be, and explains the match.
pub(super) async fn process(
    services: &AdminServices,
    request: AttestProcessRequest,
) -> Result<AttestProcessResponse, Status> {
    let pid = request.pid;
    let number = u32::try_from(pid).ok().filter(|pid| *pid > 0);
    let number = number.ok_or_else(|| Status::invalid_argument("a PID is a positive number"))?;
    let peer = services
        .attestor
        .pin_for_operator(number)
        .map_err(|error| status::of_pin(&error, pid))?;
    let peer = Arc::new(peer);
    let now = services.clock.now();
    let attestor = &services.attestor;
    let attested = async {
        let image = attestor.look(&peer)?;
        attestor.attest(&peer, &image, Kinds::ALL, now).await
    };
    let attested = attested.await;
    let attestation = attested.map_err(|error| status::of_attest(&error, pid))?;
    let snapshot = services.registry.snapshot();
    let process = Seen {
        forgeable: forgeable(services, &peer),
        connections: connections(services, &peer),
        attestation: &attestation,
    };
    let clients = process.explain(&snapshot, &request.client)?;
    let evidence = serde_json::to_string(attestation.evidence())
        .map_err(|_bug| Status::internal("the evidence cannot be written"))?;
    Ok(AttestProcessResponse {
        pid,
        attestation_id: attestation.id().to_owned(),
        pinned_by: peer.method().as_str().to_owned(),
        selectors: texts(attestation.selectors()),
        unknown: process.unknown().collect(),
        clients,
        evidence_json: evidence,
        proposal: Some(proposal(services, &attestation, &snapshot).await),
        connections: process.connections,
    })
}

/// How to register the process, and what is weak about that.
async fn proposal(
    services: &AdminServices,
    attestation: &Attestation,
    snapshot: &Arc<Snapshot>,
) -> Proposal {
    let proposed = propose(attestation.selectors());
    let selectors: Vec<_> = proposed.iter().map(|p| p.selector.to_string()).collect();
    let sets = SelectorSet::parse(&selectors).into_iter().collect();
    let subject = Subject {
        sets,
        ..Subject::default()
    };
    let found = services.linter.judge(subject, Arc::clone(snapshot)).await;
    lint::proposal(&proposed, &found)
}

/// What was proved about the connections that the process has open now, each distinct
/// set of proofs once.
fn connections(services: &AdminServices, peer: &PinnedPeer) -> Vec<Connection> {
    let proven = services.workloads.proven(peer).into_iter();
    let connection = |(proofs, open): (Proofs, usize)| Connection {
        held: match proofs.held {
            HeldWord::CloseOnExec => "close-on-exec",
            HeldWord::Inheritable => "inheritable",
            HeldWord::Unknown => "unknown",
        }
        .to_owned(),
        answered: match proofs.answered {
            AnsweredWord::Stamped => "stamped",
            AnsweredWord::Forgeable => "forgeable",
            AnsweredWord::Unasked => "unasked",
        }
        .to_owned(),
        open: u32::try_from(open).unwrap_or(u32::MAX),
    };
    proven.map(connection).collect()
}

/// Why the kernel's stamp on what the process writes could be forged.
fn forgeable(services: &AdminServices, peer: &PinnedPeer) -> Option<String> {
    if !services.workloads.asks() {
        return None;
    }
    match services.attestor.stamp(peer) {
        Stamp::Trusted => None,
        Stamp::Forgeable(why) => Some(why.into_owned()),
    }
}

/// What is known of the process.
struct Seen<'a> {
    attestation: &'a Attestation,
    forgeable: Option<String>,
    connections: Vec<Connection>,
}

impl Seen<'_> {
    fn unknown(&self) -> impl Iterator<Item = UnknownFact> {
        let unknown = self.attestation.evidence().unknown.iter();
        unknown.map(|unknown| UnknownFact {
            selector: unknown.selector.to_string(),
            reason: unknown.reason.to_string(),
        })
    }

    fn explain(&self, snapshot: &Snapshot, only: &str) -> Result<Vec<ClientFit>, Status> {
        if !only.is_empty() {
            let name = convert::name(only)?;
            let client = snapshot.client(&name);
            let client =
                client.ok_or_else(|| Status::not_found(format!("there is no client {name}")))?;
            return Ok(vec![self.fit(snapshot, client)]);
        }
        let present = self.attestation.selectors();
        let mut near: Vec<(usize, &Arc<Client>)> = snapshot
            .iter()
            .filter_map(|client| Some((distance(client, present)?, client)))
            .collect();
        near.sort_by(|a, b| (a.0, a.1.name()).cmp(&(b.0, b.1.name())));
        near.truncate(MAX_CLIENTS);
        let clients = near.into_iter();
        Ok(clients
            .map(|(_, client)| self.fit(snapshot, client))
            .collect())
    }

    fn fit(&self, snapshot: &Snapshot, client: &Arc<Client>) -> ClientFit {
        let state = snapshot.state_of(client);
        let sets = client.explain(self.attestation.selectors());
        let fits = sets.iter().any(crate::registry::SetFit::holds);
        let obstacles = self.obstacles(client.spec());
        ClientFit {
            name: client.name().to_string(),
            spiffe_id: client.spec().spiffe_id().to_string(),
            state: state.as_str().to_owned(),
            fits,
            entitled: fits && state == ClientState::Active && obstacles.is_empty(),
            sets: sets
                .iter()
                .filter(|set| !set.holds())
                .map(|set| self.set_fit(set))
                .collect(),
            obstacles,
            conditions: conditions(client.spec()),
        }
    }

    /// What a set lacks: that which the process does not have, and that which nobody knows.
    fn set_fit(&self, set: &crate::registry::SetFit) -> SetFit {
        let mut fit = SetFit {
            present: texts(&set.present),
            ..SetFit::default()
        };
        for selector in &set.missing {
            match self.why_unknown(selector) {
                None => fit.missing.push(selector.to_string()),
                Some(reason) => fit.unknown.push(UnknownFact {
                    selector: selector.to_string(),
                    reason,
                }),
            }
        }
        fit
    }

    fn why_unknown(&self, selector: &Selector) -> Option<String> {
        let mut unknown = self.attestation.evidence().unknown.iter();
        let unknown = unknown.find(|unknown| {
            let rest = selector.as_str().strip_prefix(unknown.selector);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
        });
        unknown.map(|unknown| unknown.reason.to_string())
    }

    /// What keeps the identity from a process that fits.
    fn obstacles(&self, spec: &ClientSpec) -> Vec<String> {
        let mut obstacles = Vec::new();
        for kind in spec.required_attestors() {
            if self.attestation.has_facts_of(*kind) {
                continue;
            }
            let lacking = self.unknown().find(|fact| is_of(*kind, &fact.selector));
            let why = lacking.map_or_else(String::new, |fact| format!(": {}", fact.reason));
            obstacles.push(format!(
                "it demands the attestor {kind}, which found nothing out{why}"
            ));
        }
        if let Some(why) = &self.forgeable
            && !spec.allows_foreign_user_namespaces()
        {
            obstacles.push(format!(
                "the stamp on its answers can be forged ({why}), which the client does not \
                 allow: symbolon client update NAME --allow-foreign-user-namespaces"
            ));
        }
        let inheritable = |connection: &Connection| connection.held == "inheritable";
        if !spec.accepts_inheritable()
            && !self.connections.is_empty()
            && self.connections.iter().all(inheritable)
        {
            obstacles.push(
                "its connections are held without close-on-exec, and the client forbids \
                 inheritable ones"
                    .to_owned(),
            );
        }
        obstacles
    }
}

/// What every connection has to prove for this client, beyond the ordinary.
fn conditions(spec: &ClientSpec) -> Vec<String> {
    let forbids = !spec.accepts_inheritable();
    let condition = "its connection has to be held with close-on-exec (--forbid-inheritable)";
    forbids.then(|| condition.to_owned()).into_iter().collect()
}

/// Whether `key` (`systemd:id`) is a fact of this attestor.
fn is_of(kind: Kind, key: &str) -> bool {
    let (first, _) = key.split_once(':').unwrap_or((key, ""));
    first == kind.as_str() || (first == "k8s" && kind == Kind::Container)
}

/// How many selectors the closest set lacks; `None` where no selector of any
/// set is there, so that the client has nothing to do with the process.
fn distance(client: &Client, present: &[Selector]) -> Option<usize> {
    let sets = client.explain(present).into_iter();
    sets.filter(|set| !set.present.is_empty())
        .map(|set| set.missing.len())
        .min()
}

fn texts(selectors: &[Selector]) -> Vec<String> {
    selectors.iter().map(ToString::to_string).collect()
}
