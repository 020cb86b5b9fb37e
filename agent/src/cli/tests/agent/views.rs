//! Canned answers about many clients.

use crate::cli::tests::NOW;
use symbolon_proto::admin::{
    AnsweringPerson, HeldCredential, Holder, KeyHolder, ListHoldersResponse, ListOwnersRequest,
    ListOwnersResponse, ListStaleClientsRequest, ListStaleClientsResponse, OwnedClients,
    StaleClient,
};

const DAY: i64 = 86_400;

/// Two pages of one owner each.
pub(super) fn owners(request: &ListOwnersRequest) -> ListOwnersResponse {
    let person = |operator: &str, known, clients| AnsweringPerson {
        operator: operator.into(),
        known,
        clients,
    };
    if request.after.is_empty() {
        return ListOwnersResponse {
            owners: vec![OwnedClients {
                owner: "payments\u{1b}[2J".into(),
                clients: 3,
                active: 2,
                pending: 1,
                orphans: 2,
                orphaned: vec!["billing".into(), "reports".into()],
                authors: vec![person("mallory", false, 2), person("alice", true, 1)],
                ..OwnedClients::default()
            }],
            more: true,
        };
    }
    assert!(request.after_orphaned, "{request:?}");
    ListOwnersResponse {
        owners: vec![OwnedClients {
            owner: "ops".into(),
            clients: 1,
            active: 1,
            authors: vec![person("alice", true, 1)],
            approvers: vec![person("bob", true, 1)],
            more_approvers: 3,
            keys: vec![
                KeyHolder {
                    uid: 998,
                    processes: 2,
                },
                KeyHolder {
                    uid: 1000,
                    processes: 1,
                },
            ],
            last_used_at: NOW - 90,
            ..OwnedClients::default()
        }],
        more: false,
    }
}

pub(super) fn stale(request: &ListStaleClientsRequest) -> ListStaleClientsResponse {
    let all = [
        StaleClient {
            name: "billing".into(),
            owner: "alice".into(),
            state: "active".into(),
            reasons: vec!["never-used".into()],
            created_at: NOW - 2 * DAY,
            ..StaleClient::default()
        },
        StaleClient {
            name: "reports".into(),
            owner: "bob".into(),
            state: "suspended".into(),
            reasons: vec!["unused".into(), "review-overdue".into(), "expiring".into()],
            created_at: NOW - 300 * DAY,
            last_used_at: NOW - 100 * DAY,
            review_by: NOW - DAY,
            expires_at: NOW + 3 * DAY,
        },
    ];
    let clients = all
        .into_iter()
        .filter(|client| request.owner.is_empty() || client.owner == request.owner);
    let mut rest = clients.filter(|client| client.name > request.after);
    ListStaleClientsResponse {
        clients: rest.next().into_iter().collect(),
        more: rest.next().is_some(),
        noted_since: NOW - 60 * DAY,
    }
}

pub(super) fn holders() -> ListHoldersResponse {
    let credential = |kind: &str, id: &str, left| HeldCredential {
        kind: kind.into(),
        id: id.into(),
        issued_at: NOW - 600,
        expires_at: NOW + left,
    };
    let holder = Holder {
        pid: 4711,
        uid: 1000,
        gid: 100,
        executable: "/opt/app\u{202e}".into(),
        executable_sha256: "ab".repeat(32),
        attestation_id: "5f".repeat(32),
        since: NOW - 7_200,
        credentials: vec![
            credential("x509-svid", "0a1b", 3_000),
            credential("jwt-svid", "j1", 300),
        ],
    };
    let bare = Holder {
        pid: 4712,
        uid: 1000,
        gid: 100,
        attestation_id: "60".repeat(32),
        since: NOW - 60,
        credentials: vec![credential("wit-svid", "w1", 3_000)],
        ..Holder::default()
    };
    ListHoldersResponse {
        holders: vec![holder, bare],
        total: 3,
    }
}
