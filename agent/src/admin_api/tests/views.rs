//! Owners, stale clients and holders, over the calls that operators make.

use super::{api, registration, request};
use crate::{
    admin_api::{AdminApi, AdminServices, Operator},
    clock::Clock as _,
    operators::{Entry, Role, Roster, Whose},
    registry::ClientDraft,
    workloads::{
        Asked,
        testing::{Scene, draft},
    },
};
use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};
use symbolon_proto::admin::{
    ListHoldersRequest, ListOwnersRequest, ListOwnersResponse, ListStaleClientsRequest,
    ListStaleClientsResponse, OwnedClients, admin_server::Admin as _,
};
use tokio::sync::watch;
use tonic::Code;

const DAY: Duration = Duration::from_secs(86_400);

/// The admin API of a scene where alice and bob are named.
fn governed(scene: &Scene) -> AdminApi {
    let user = |name: &str, uid| Entry {
        name: name.into(),
        whose: Whose::User(uid),
        roles: [Role::Author].into_iter().collect(),
    };
    let roster = Roster::of(0, vec![user("alice", 1001), user("bob", 1002)]);
    let plain = Arc::into_inner(api(scene).services).unwrap();
    AdminApi::new(Arc::new(AdminServices {
        roster: watch::Sender::new(Arc::new(roster)).subscribe(),
        ..plain
    }))
}

/// Registers a client of `owner` as the operator `author`.
async fn register(scene: &Scene, api: &AdminApi, name: &str, owner: &str, author: (&str, u32)) {
    let mut registration = registration(name);
    registration.spec.as_mut().unwrap().owner = owner.to_owned();
    let mut request = request(scene, registration);
    let operator = request.extensions_mut().get_mut::<Operator>().unwrap();
    (operator.name, operator.uid) = (author.0.into(), author.1);
    api.register_client(request).await.unwrap();
}

async fn owners(scene: &Scene, api: &AdminApi, request: ListOwnersRequest) -> ListOwnersResponse {
    let answer = api.list_owners(super::request(scene, request)).await;
    answer.unwrap().into_inner()
}

fn names(owners: &[OwnedClients]) -> Vec<&str> {
    owners.iter().map(|owned| owned.owner.as_str()).collect()
}

const ALICE: (&str, u32) = ("alice", 1001);
const GONE: (&str, u32) = ("mallory", 1009);

#[tokio::test]
async fn owners_for_whose_clients_nobody_is_left_come_first() {
    let scene = Scene::new().await;
    let api = governed(&scene);
    for (name, owner, author) in [
        ("a1", "a-team", ALICE),
        ("b1", "bob", GONE),
        ("c1", "z-team", GONE),
        ("c2", "z-team", ALICE),
        // Of another name for the same user.
        ("d1", "d-team", ("amy", 1001)),
        ("e1", "e-team", ("uid:0", 0)),
    ] {
        register(&scene, &api, name, owner, author).await;
    }
    let all = owners(&scene, &api, ListOwnersRequest::default()).await;
    assert!(!all.more);
    let expected = ["e-team", "z-team", "a-team", "bob", "d-team"];
    assert_eq!(names(&all.owners), expected);
    let z = &all.owners[1];
    assert_eq!((z.clients, z.active, z.orphans), (2, 2, 1));
    assert_eq!(z.orphaned, ["c1"]);
    let authors: Vec<_> = z.authors.iter().map(|a| (&*a.operator, a.known)).collect();
    assert_eq!(authors, [("alice", true), ("mallory", false)]);
    // Page by page it is the same.
    let mut paged = Vec::new();
    let mut request = ListOwnersRequest {
        limit: 1,
        ..ListOwnersRequest::default()
    };
    loop {
        let page = owners(&scene, &api, request.clone()).await;
        let last = page.owners.last().unwrap();
        request.after = last.owner.clone();
        request.after_orphaned = last.orphans > 0;
        paged.extend(page.owners);
        if !page.more {
            break;
        }
    }
    assert_eq!(names(&paged), expected);
}

#[tokio::test]
async fn revoked_clients_have_no_owner() {
    let scene = Scene::new().await;
    let api = api(&scene);
    scene.register("a").await;
    let reason = "gone".parse().unwrap();
    let revoked = scene
        .registry
        .revoke("a".parse().unwrap(), "uid:0".parse().unwrap(), reason);
    revoked.await.unwrap();
    let none = owners(&scene, &api, ListOwnersRequest::default()).await;
    assert!(none.owners.is_empty());
}

#[tokio::test]
async fn owners_are_told_with_the_users_who_hold_their_keys() {
    let scene = Scene::new().await;
    let api = api(&scene);
    scene.register("a").await;
    let caller = scene.own();
    let served = scene.workloads.x509(&caller, Asked::ByCall).await;
    served.unwrap();
    let all = owners(&scene, &api, ListOwnersRequest::default()).await;
    let keys = &all.owners[0].keys;
    assert_eq!(keys.len(), 1);
    assert_eq!(keys[0].uid, rustix::process::geteuid().as_raw());
    assert_eq!(keys[0].processes, 1);
    assert!(all.owners[0].last_used_at > 0);
}

async fn stale(
    scene: &Scene,
    api: &AdminApi,
    request: ListStaleClientsRequest,
) -> ListStaleClientsResponse {
    let answer = api.list_stale_clients(super::request(scene, request)).await;
    answer.unwrap().into_inner()
}

/// Name and reasons of each.
async fn reasons(scene: &Scene, api: &AdminApi) -> Vec<String> {
    let listed = stale(scene, api, ListStaleClientsRequest::default()).await;
    let line = |client: symbolon_proto::admin::StaleClient| {
        format!("{} {}", client.name, client.reasons.join(","))
    };
    listed.clients.into_iter().map(line).collect()
}

async fn register_until(scene: &Scene, name: &str, ends: Option<SystemTime>, review: bool) {
    let draft = ClientDraft {
        expires_at: ends,
        review_by: review.then(|| scene.clock.now() + DAY),
        selector_sets: vec![vec!["unix:uid:4711".to_owned()]],
        ..draft()
    };
    scene.register_as(name, draft).await;
}

#[tokio::test]
async fn clients_are_stale_for_each_reason() {
    let scene = Scene::new().await;
    let api = api(&scene);
    let now = scene.clock.now();
    scene.register("used").await;
    register_until(&scene, "ending", Some(now + 31 * DAY), false).await;
    register_until(&scene, "review", None, true).await;
    let served = scene.workloads.x509(&scene.own(), Asked::ByCall).await;
    served.unwrap();
    assert!(reasons(&scene, &api).await.is_empty());
    scene.clock.set(now + DAY);
    let expected = [
        "ending never-used,expiring",
        "review never-used,review-overdue",
    ];
    assert_eq!(reasons(&scene, &api).await, expected);
    scene.clock.set(now + 90 * DAY);
    let expected = [
        "ending never-used,expired",
        "review never-used,review-overdue",
        "used unused",
    ];
    assert_eq!(reasons(&scene, &api).await, expected);
    let listed = ListStaleClientsRequest {
        unused_for: 91 * 86_400,
        limit: 1,
        ..ListStaleClientsRequest::default()
    };
    let first = stale(&scene, &api, listed.clone()).await;
    assert!(first.more);
    let after = ListStaleClientsRequest {
        after: first.clients[0].name.clone(),
        ..listed
    };
    let second = stale(&scene, &api, after).await;
    assert_eq!(second.clients[0].name, "review");
    assert!(!second.more, "the one that was used is not stale then");
}

#[tokio::test]
async fn nobody_is_called_unused_of_whom_nothing_is_known() {
    let scene = Scene::new().await;
    let api = api(&scene);
    let now = scene.clock.now();
    // Uses are noted since the scene began; this client is older.
    scene.clock.set(now - 100 * DAY);
    register_until(&scene, "older", None, false).await;
    scene.clock.set(now + 89 * DAY);
    assert!(reasons(&scene, &api).await.is_empty());
    scene.clock.set(now + 90 * DAY);
    assert_eq!(reasons(&scene, &api).await, ["older unused"]);
}

#[tokio::test]
async fn holders_are_told_of_clients_that_there_are() {
    let scene = Scene::new().await;
    let api = api(&scene);
    scene.register("a").await;
    let holders = async |name: &str| {
        let request = ListHoldersRequest {
            name: name.to_owned(),
            limit: 0,
        };
        api.list_holders(super::request(&scene, request)).await
    };
    let none = holders("a").await.unwrap().into_inner();
    assert_eq!((none.holders.len(), none.total), (0, 0));
    let served = scene.workloads.x509(&scene.own(), Asked::ByCall).await;
    served.unwrap();
    assert_eq!(holders("b").await.unwrap_err().code(), Code::NotFound);
    assert_eq!(
        holders("A B").await.unwrap_err().code(),
        Code::InvalidArgument
    );
}

#[tokio::test]
async fn a_page_begins_behind_a_name() {
    let scene = Scene::new().await;
    let api = api(&scene);
    let bad = ListStaleClientsRequest {
        after: "A B".to_owned(),
        ..ListStaleClientsRequest::default()
    };
    let refused = api.list_stale_clients(request(&scene, bad)).await;
    assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument);
}
