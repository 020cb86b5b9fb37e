//! What the agent sees of a process, and which clients it fits.

use super::{calls::AdminServices, convert, status};
use crate::registry::{Client, Snapshot};
use std::sync::Arc;
use symbolon_attestors::{Attestation, Selector};
use symbolon_proto::admin::{
    AttestProcessRequest, AttestProcessResponse, ClientFit, SetFit, UnknownFact,
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
        .pin_pid(number)
        .map_err(|error| status::of_pin(&error, pid))?;
    let peer = Arc::new(peer);
    let attested = services.attestor.attest(&peer, services.clock.now()).await;
    let attestation = attested.map_err(|error| status::of_attest(&error, pid))?;
    let snapshot = services.registry.snapshot();
    let clients = explain(&snapshot, &attestation, &request.client)?;
    let evidence = serde_json::to_string(attestation.evidence())
        .map_err(|_bug| Status::internal("the evidence cannot be written"))?;
    let unknown = attestation
        .evidence()
        .unknown
        .iter()
        .map(|unknown| UnknownFact {
            selector: unknown.selector.to_string(),
            reason: unknown.reason.to_string(),
        });
    Ok(AttestProcessResponse {
        pid,
        attestation_id: attestation.id().to_owned(),
        pinned_by: peer.method().as_str().to_owned(),
        selectors: attestation
            .selectors()
            .iter()
            .map(ToString::to_string)
            .collect(),
        unknown: unknown.collect(),
        clients,
        evidence_json: evidence,
    })
}

fn explain(
    snapshot: &Snapshot,
    attestation: &Attestation,
    only: &str,
) -> Result<Vec<ClientFit>, Status> {
    let present = attestation.selectors();
    if !only.is_empty() {
        let name = convert::name(only)?;
        let client = snapshot.client(&name);
        let client =
            client.ok_or_else(|| Status::not_found(format!("there is no client {name}")))?;
        return Ok(vec![fit(snapshot, client, present)]);
    }
    let mut near: Vec<(usize, &Arc<Client>)> = snapshot
        .iter()
        .filter_map(|client| Some((distance(client, present)?, client)))
        .collect();
    near.sort_by(|a, b| (a.0, a.1.name()).cmp(&(b.0, b.1.name())));
    near.truncate(MAX_CLIENTS);
    Ok(near
        .into_iter()
        .map(|(_, client)| fit(snapshot, client, present))
        .collect())
}

/// How many selectors the closest set lacks; `None` where no selector of any
/// set is there, so that the client has nothing to do with the process.
fn distance(client: &Client, present: &[Selector]) -> Option<usize> {
    let sets = client.explain(present).into_iter();
    sets.filter(|set| !set.present.is_empty())
        .map(|set| set.missing.len())
        .min()
}

fn fit(snapshot: &Snapshot, client: &Arc<Client>, present: &[Selector]) -> ClientFit {
    let state = snapshot.state_of(client);
    let sets = client.explain(present);
    let fits = sets.iter().any(|set| set.missing.is_empty());
    let texts = |selectors: &[Selector]| selectors.iter().map(ToString::to_string).collect();
    ClientFit {
        name: client.name().to_string(),
        spiffe_id: client.spec().spiffe_id().to_string(),
        state: state.as_str().to_owned(),
        fits,
        entitled: fits && state == crate::registry::ClientState::Active,
        sets: sets
            .iter()
            .filter(|set| !set.missing.is_empty())
            .map(|set| SetFit {
                present: texts(&set.present),
                missing: texts(&set.missing),
            })
            .collect(),
    }
}
