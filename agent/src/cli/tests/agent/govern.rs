//! What awaits approval, and what became of it.

use super::{State, spec};
use crate::cli::tests::NOW;
use symbolon_proto::admin::{
    Approval, ChangeManyStatesRequest, ChangeManyStatesResponse, Client, ClientSpec, Declined,
    FailedChange, HistoryEntry, PendingVersion,
};

fn by(operator: &str) -> Approval {
    Approval {
        operator: operator.into(),
        at: NOW - 60,
        reason: String::new(),
        login: Some(1001),
    }
}

/// `client` with another version that awaits a second approval.
pub(in crate::cli::tests) fn proposed(mut client: Client) -> Client {
    let mut spec = client.spec.clone().unwrap_or_default();
    spec.owner = "bob".into();
    spec.audiences = vec!["https://mcp.example.org".into()];
    client.pending = Some(PendingVersion {
        version: client.version + 1,
        digest: "d2".repeat(32),
        author: "alice".into(),
        at: NOW - 600,
        reason: "fewer audiences".into(),
        approvals_required: 2,
        approvals: vec![by("carol")],
        spec: Some(spec),
        findings: vec![],
    });
    client
}

pub(super) const fn awaits(client: &Client) -> bool {
    client.pending.is_some() || client.pending_resumption.is_some()
}

pub(super) fn approve(client: &mut Client) {
    let Some(mut pending) = client.pending.take() else {
        return;
    };
    pending.approvals.push(by("dave"));
    if pending.approvals.len() >= 2 {
        client.version = pending.version;
        client.digest = pending.digest;
        client.approvals = pending.approvals;
        client.approvals_required = pending.approvals_required;
        client.spec = pending.spec;
        client.in_force = true;
    } else {
        client.pending = Some(pending);
    }
}

pub(super) fn decline(client: &mut Client, verdict: &str) {
    let pending = client.pending.take().unwrap_or_default();
    client.declined = Some(Declined {
        number: pending.version,
        digest: pending.digest,
        author: pending.author,
        verdict: verdict.into(),
        operator: "dave".into(),
        at: NOW,
        reason: "too much".into(),
    });
}

pub(super) fn many() -> ChangeManyStatesResponse {
    ChangeManyStatesResponse {
        changed: 2,
        names: vec!["billing".into(), "payments".into()],
        failed: 1,
        failures: vec![FailedChange {
            name: "reports".into(),
            why: "the store failed".into(),
        }],
    }
}

/// Those clients that are named and of the source.
pub(super) fn named(
    state: &mut State,
    request: &ChangeManyStatesRequest,
) -> ChangeManyStatesResponse {
    let mut response = ChangeManyStatesResponse::default();
    for client in &mut state.clients {
        let source = client.spec.as_ref().map(|spec| &spec.source);
        if request.names.contains(&client.name) && source == Some(&request.source) {
            client.state.clone_from(&request.state);
            client.state_reason.clone_from(&request.reason);
            response.names.push(client.name.clone());
            response.changed += 1;
        }
    }
    response
}

pub(super) fn history() -> Vec<HistoryEntry> {
    let version = |revision, event: &str, number, spec: ClientSpec| HistoryEntry {
        revision,
        event: event.into(),
        about: "version".into(),
        number,
        digest: format!("d{number}").repeat(32),
        author: "alice".into(),
        at: NOW - 86_400,
        effect: "in_force".into(),
        state: "active".into(),
        version_in_force: number,
        spec: Some(spec),
        ..HistoryEntry::default()
    };
    let mut second = spec();
    second.owner = "bob".into();
    second.audiences.pop();
    vec![
        version(1, "registered", 1, spec()),
        HistoryEntry {
            effect: "proposed".into(),
            version_in_force: 1,
            approvals_required: 2,
            reason: "fewer audiences".into(),
            ..version(4, "proposed", 2, second)
        },
        HistoryEntry {
            author: "carol".into(),
            login: Some(1003),
            effect: "counted".into(),
            version_in_force: 1,
            approvals_required: 2,
            approvals: 1,
            spec: None,
            ..version(5, "approved", 2, spec())
        },
        HistoryEntry {
            author: "dave".into(),
            approvals_required: 2,
            approvals: 2,
            spec: None,
            ..version(7, "approved", 2, spec())
        },
        HistoryEntry {
            about: "state".into(),
            author: "erin".into(),
            reason: "leaked".into(),
            state: "suspended".into(),
            version_in_force: 2,
            spec: None,
            ..version(9, "suspended", 1, spec())
        },
    ]
}
