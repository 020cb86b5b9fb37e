//! Batches of documents, as an agent takes them.

use super::{State, client};
use symbolon_proto::admin::{
    AppliedClient, ApplyClient, ApplyClientsRequest, ApplyClientsResponse, Client, Finding,
};

/// A client that is refused whatever its document says.
const WEAK: &str = "weak";

pub(super) fn apply(state: &mut State, request: ApplyClientsRequest) -> ApplyClientsResponse {
    assert!(request.clients.len() <= 500, "more than an agent takes");
    let asked = request.clients.iter();
    let clients: Vec<_> = asked.map(|asked| planned(state, asked)).collect();
    let is_refused = clients.iter().any(|client| client.done == "refused");
    let applied = !request.dry_run && !is_refused;
    if applied {
        for (asked, done) in request.clients.into_iter().zip(&clients) {
            make(state, asked, done);
        }
    }
    ApplyClientsResponse { clients, applied }
}

fn planned(state: &State, asked: &ApplyClient) -> AppliedClient {
    let known = state.clients.iter().find(|known| known.name == asked.name);
    let last = known.map_or(0, |known| known.version);
    let mut answer = AppliedClient {
        name: asked.name.clone(),
        last_version: last,
        version: last,
        before: known.and_then(|known| known.spec.clone()),
        state: known.map(|known| known.state.clone()).unwrap_or_default(),
        ..AppliedClient::default()
    };
    let required = state.approvals_required > 0;
    let is_other = asked.expected_last_version.is_some_and(|it| it != last);
    answer.done = match known {
        _ if asked.name == WEAK || is_other => "refused",
        Some(known) if known.spec == asked.spec => "unchanged",
        _ if required => "proposed",
        Some(_) => "updated",
        None => "registered",
    }
    .to_owned();
    match &*answer.done {
        "refused" => {
            answer.version = 0;
            "the registration is weak: interpreter".clone_into(&mut answer.why);
            answer.findings = vec![Finding {
                severity: "serious".into(),
                ..super::interpreter()
            }];
        }
        "unchanged" => {}
        _ => answer.version += 1,
    }
    answer
}

fn make(state: &mut State, asked: ApplyClient, done: &AppliedClient) {
    if done.done == "unchanged" {
        return;
    }
    let made = Client {
        version: done.version,
        ..client(&asked.name, asked.spec.unwrap_or_default())
    };
    match state.clients.iter_mut().find(|it| it.name == asked.name) {
        Some(known) => *known = made,
        None => state.clients.push(made),
    }
    state.clients.sort_by(|a, b| a.name.cmp(&b.name));
}
