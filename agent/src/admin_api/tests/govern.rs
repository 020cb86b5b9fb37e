//! Approvals and changes of many, over the calls that operators make.

use super::{api, registration, request};
use crate::{
    admin_api::AdminApi,
    clock::{ManualClock, SharedClock},
    registry::{MemoryStore, Registry, RegistryConfig, SpecRules},
    workloads::testing::{Scene, actor, draft, name, reason},
};
use futures_util::StreamExt as _;
use std::{sync::Arc, time::Duration};
use symbolon_proto::admin::{
    ChangeManyStatesRequest, ChangeStateRequest, Client, DecisionRequest, GetClientHistoryRequest,
    HistoryEntry, ListClientsRequest, RollbackClientRequest, UpdateClientRequest,
    admin_server::Admin as _,
};
use tokio::task::JoinSet;
use tonic::{Code, Request, Status};

/// A request of another user.
fn by<T>(scene: &Scene, uid: u32, message: T) -> Request<T> {
    let mut request = request(scene, message);
    let operator = request
        .extensions_mut()
        .get_mut::<crate::admin_api::Operator>();
    let operator = operator.unwrap();
    operator.uid = uid;
    operator.name = format!("uid:{uid}").into();
    request
}

/// A request of a user whom the configuration names, who logged in as `login`.
fn as_named<T>(
    scene: &Scene,
    (name, uid, login): (&str, u32, Option<u32>),
    message: T,
) -> Request<T> {
    let mut request = by(scene, uid, message);
    let operator = request
        .extensions_mut()
        .get_mut::<crate::admin_api::Operator>();
    let operator = operator.unwrap();
    operator.name = name.into();
    operator.login = login;
    request
}

#[tokio::test]
async fn whoever_proposed_does_not_approve_by_another_name_user_or_login() {
    let scene = Scene::requiring(1).await;
    let api = api(&scene);
    let register = as_named(&scene, ("alice", 1001, Some(7)), registration("web"));
    let client = api.register_client(register).await.unwrap().into_inner();
    for same in [
        ("alice", 1002, None),
        ("uid:1001", 1001, None),
        ("sec/uid:1001", 1001, None),
        ("amy", 1001, Some(8)),
        ("root", 0, Some(7)),
    ] {
        let approved = api.approve_client(as_named(&scene, same, shown(&client)));
        let status = approved.await.unwrap_err();
        assert_eq!(status.code(), Code::PermissionDenied, "{same:?}");
    }
    let other = as_named(&scene, ("bob", 1002, Some(8)), shown(&client));
    let client = api.approve_client(other).await.unwrap().into_inner();
    assert_eq!(client.state, "active");
    let lines = scene.lines();
    let of = |kind: &str| lines.iter().find(|line| line["event"] == kind).unwrap();
    let approved = of("approved");
    assert_eq!(approved["operator"], "bob");
    assert_eq!(approved["login"], 8);
    assert_eq!(approved["process"]["uid"], 1002);
    // It is hers, and was not done by the process that approved it.
    let registered = of("registered");
    assert_eq!(registered["operator"], "alice");
    assert!(registered.get("process").is_none() && registered.get("login").is_none());
}

fn shown(client: &Client) -> DecisionRequest {
    let pending = client.pending.clone().unwrap();
    DecisionRequest {
        name: client.name.clone(),
        version: pending.version,
        digest: pending.digest,
        reason: "seen".to_owned(),
        resumption: 0,
    }
}

async fn approve(
    scene: &Scene,
    api: &AdminApi,
    uid: u32,
    decision: DecisionRequest,
) -> Result<Client, Status> {
    let approved = api.approve_client(by(scene, uid, decision)).await;
    approved.map(tonic::Response::into_inner)
}

/// Registers `web` as user 1; users 2 and 3 approve it.
async fn approved(scene: &Scene, api: &AdminApi) -> Client {
    let register = by(scene, 1, registration("web"));
    let client = api.register_client(register).await.unwrap().into_inner();
    assert_eq!((client.state.as_str(), client.in_force), ("new", false));
    let author = approve(scene, api, 1, shown(&client)).await.unwrap_err();
    assert_eq!(author.code(), Code::PermissionDenied);
    approve(scene, api, 2, shown(&client)).await.unwrap();
    let client = approve(scene, api, 3, shown(&client)).await.unwrap();
    assert_eq!((client.state.as_str(), client.in_force), ("active", true));
    client
}

/// Whether a line of `Scene::events` is of this kind.
fn is(line: &str, event: &str) -> bool {
    line.split(' ').next() == Some(event)
}

async fn history(scene: &Scene, api: &AdminApi) -> Vec<HistoryEntry> {
    let name = "web".to_owned();
    let history = api.get_client_history(request(scene, GetClientHistoryRequest { name }));
    let entries = history.await.unwrap().into_inner();
    entries.map(Result::unwrap).collect().await
}

fn update(client: &Client, owner: &str) -> UpdateClientRequest {
    let mut spec = client.spec.clone().unwrap();
    spec.owner = owner.to_owned();
    UpdateClientRequest {
        name: client.name.clone(),
        spec: Some(spec),
        reason: String::new(),
        expected_version: client.version,
        accept_weak: "a test".to_owned(),
    }
}

#[tokio::test]
async fn an_approval_is_one_of_what_was_shown() {
    let scene = Scene::requiring(2).await;
    let api = api(&scene);
    let client = approved(&scene, &api).await;
    let second = by(&scene, 1, update(&client, "second"));
    let second = api.update_client(second).await.unwrap().into_inner();
    assert_eq!(
        (second.version, second.spec.as_ref().unwrap().owner.as_str()),
        (1, "tests")
    );
    approve(&scene, &api, 2, shown(&second)).await.unwrap();
    let third = by(&scene, 1, update(&client, "third"));
    let third = api.update_client(third).await.unwrap().into_inner();
    let late = approve(&scene, &api, 3, shown(&second)).await.unwrap_err();
    assert_eq!(late.code(), Code::FailedPrecondition);
    let digest = &third.pending.as_ref().unwrap().digest;
    assert!(late.message().contains(digest), "{late:?}");
    misunderstood(&scene, &api, &third).await;
    approve(&scene, &api, 2, shown(&third)).await.unwrap();
    let client = approve(&scene, &api, 3, shown(&third)).await.unwrap();
    assert_eq!(
        (client.version, client.spec.unwrap().owner.as_str()),
        (3, "third")
    );

    let told = history(&scene, &api).await;
    let told: Vec<_> = told
        .iter()
        .map(|entry| format!("{} {} {}", entry.event, entry.number, entry.effect))
        .collect();
    assert_eq!(
        told,
        [
            "proposed 1 proposed",
            "approved 1 counted",
            "approved 1 in_force",
            "proposed 2 proposed",
            "approved 2 counted",
            "proposed 3 proposed",
            "approved 3 counted",
            "approved 3 in_force",
        ]
    );
    check_trail(&scene).await;
}

async fn misunderstood(scene: &Scene, api: &AdminApi, client: &Client) {
    for wrong in [
        DecisionRequest {
            version: 0,
            ..shown(client)
        },
        DecisionRequest {
            resumption: 1,
            ..shown(client)
        },
        DecisionRequest {
            digest: "9d2f".to_owned(),
            ..shown(client)
        },
    ] {
        let refused = approve(scene, api, 2, wrong).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
    }
}

async fn check_trail(scene: &Scene) {
    scene.close_trail().await;
    let events = scene.events();
    for (event, count) in [
        ("proposed", 3),
        ("approved", 5),
        ("superseded", 1),
        ("registered", 1),
        ("updated", 1),
        // The author's own approval, and the one of what was void.
        ("refused", 2),
    ] {
        let found = events.iter().filter(|found| is(found, event)).count();
        assert_eq!(found, count, "{event} in {events:?}");
    }
}

#[tokio::test]
async fn what_was_in_force_comes_back_through_approval() {
    let scene = Scene::requiring(1).await;
    let api = api(&scene);
    let register = by(&scene, 1, registration("web"));
    let first = api.register_client(register).await.unwrap().into_inner();
    let first = approve(&scene, &api, 2, shown(&first)).await.unwrap();
    let second = by(&scene, 1, update(&first, "second"));
    let second = api.update_client(second).await.unwrap().into_inner();
    approve(&scene, &api, 2, shown(&second)).await.unwrap();

    let rollback = |to_version| RollbackClientRequest {
        name: "web".to_owned(),
        to_version,
        reason: "too early".to_owned(),
        expected_version: 2,
        accept_weak: String::new(),
    };
    let unknown = by(&scene, 1, rollback(9));
    let unknown = api.rollback_client(unknown).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    let back = by(&scene, 1, rollback(1));
    let back = api.rollback_client(back).await.unwrap().into_inner();
    assert_eq!(back.version, 2);
    let pending = back.pending.as_ref().unwrap();
    assert_eq!(pending.spec.as_ref().unwrap().owner, "tests");
    let list = ListClientsRequest {
        pending: true,
        ..ListClientsRequest::default()
    };
    let list = api.list_clients(request(&scene, list)).await.unwrap();
    assert_eq!(list.into_inner().clients.len(), 1);
    let back = approve(&scene, &api, 2, shown(&back)).await.unwrap();
    assert_eq!((back.version, back.spec), (3, first.spec));
}

fn many(owner: &str, selector: &str, state: &str, reason: &str) -> ChangeManyStatesRequest {
    ChangeManyStatesRequest {
        owner: owner.to_owned(),
        selector: selector.to_owned(),
        state: state.to_owned(),
        reason: reason.to_owned(),
        ..ChangeManyStatesRequest::default()
    }
}

#[tokio::test]
async fn a_change_of_many_says_of_which_to_what_and_why() {
    let scene = Scene::requiring(1).await;
    let api = api(&scene);
    for wrong in [
        many("", "", "suspended", "r"),
        many("x", "unix:gid:1", "suspended", "r"),
        many("", "no selector", "suspended", "r"),
        many("x", "", "active", "r"),
        many("x", "", "suspended", " "),
    ] {
        let refused = api
            .change_many_states(by(&scene, 3, wrong))
            .await
            .unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
    }
}

/// A registry with so many clients of the owner of drafts, whose store takes nothing any more.
async fn failing(scene: &Scene, clients: usize) -> Registry {
    let day = Duration::from_secs(86_400);
    let config = RegistryConfig {
        rules: SpecRules {
            trust_domain: "example.org".parse().unwrap(),
            x509_ttl: Duration::from_secs(1)..=day,
            jwt_ttl: Duration::from_secs(1)..=day,
        },
        max_clients: clients,
        approvals_required: 0,
    };
    let clock: SharedClock = Arc::<ManualClock>::clone(&scene.clock);
    let opened = Registry::open(Arc::new(MemoryStore::new()), config, clock).await;
    let (registry, writer) = opened.unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(writer.run());
    for number in 0..clients {
        let client = name(&format!("client-{number}"));
        let registered = registry.register(client, draft(), actor(), reason());
        registered.await.unwrap();
    }
    tasks.shutdown().await;
    registry
}

/// The attack: to ask again and again for what fails, of many clients at once.
#[tokio::test(start_paused = true)]
async fn a_change_of_many_that_fails_is_told_at_a_pace_and_not_for_each_client() {
    let scene = Scene::new().await;
    let mut api = api(&scene);
    let registry = failing(&scene, 300).await;
    Arc::get_mut(&mut api.services).unwrap().registry = Arc::new(registry);
    let stop = many(&draft().owner, "", "suspended", "stolen");
    let begun = tokio::time::Instant::now();
    let stopped = api.change_many_states(by(&scene, 3, stop)).await.unwrap();
    let stopped = stopped.into_inner();
    assert_eq!((stopped.changed, stopped.failed), (0, 300));
    assert!(
        begun.elapsed() >= Duration::from_secs(1),
        "{:?}",
        begun.elapsed()
    );
    let lines = scene.lines();
    let refused: Vec<_> = lines
        .iter()
        .filter(|line| line["event"] == "refused")
        .collect();
    assert_eq!(refused.len(), 10);
    for (number, line) in refused.iter().enumerate() {
        assert_eq!(
            (&line["operation"], &line["operator"]),
            (&"suspended".into(), &"uid:3".into())
        );
        let why = line["reason"].as_str().unwrap();
        let others = "; 290 more clients could not be changed";
        assert_eq!(why.ends_with(others), number == 9, "{why}");
    }
}

#[tokio::test]
async fn many_are_stopped_by_one_and_resumed_one_by_one_with_approval() {
    let scene = Scene::requiring(1).await;
    let api = api(&scene);
    for (name, owner) in [("a", "x"), ("b", "x"), ("c", "y"), ("d", "x")] {
        let mut registration = registration(name);
        let spec = registration.spec.as_mut().unwrap();
        spec.owner = owner.to_owned();
        spec.selector_sets[0]
            .selectors
            .push(format!("unix:gid:{}", owner.len()));
        let register = by(&scene, 1, registration);
        let client = api.register_client(register).await.unwrap().into_inner();
        // The last one stays new.
        if name != "d" {
            approve(&scene, &api, 2, shown(&client)).await.unwrap();
        }
    }
    let stop = by(&scene, 3, many("x", "", "suspended", "stolen"));
    let stopped = api.change_many_states(stop).await.unwrap().into_inner();
    assert_eq!((stopped.changed, stopped.failed), (3, 0));
    assert_eq!(stopped.names, ["a", "b", "d"]);
    let again = by(&scene, 3, many("x", "", "suspended", "stolen"));
    let again = api.change_many_states(again).await.unwrap().into_inner();
    assert_eq!(again.changed, 0);

    let resume = ChangeStateRequest {
        name: "a".to_owned(),
        reason: String::new(),
    };
    let resume = api.resume_client(by(&scene, 1, resume)).await.unwrap();
    let resume = resume.into_inner();
    assert_eq!(resume.state, "suspended");
    let pending = resume.pending_resumption.unwrap();
    let decision = DecisionRequest {
        name: "a".to_owned(),
        version: 0,
        digest: pending.digest,
        reason: String::new(),
        resumption: pending.resumption,
    };
    let own = approve(&scene, &api, 1, decision.clone()).await;
    assert_eq!(own.unwrap_err().code(), Code::PermissionDenied);
    let resumed = approve(&scene, &api, 2, decision).await.unwrap();
    assert_eq!(resumed.state, "active");

    let revoke = by(&scene, 3, many("", "unix:gid:1", "revoked", "leaked"));
    let revoked = api.change_many_states(revoke).await.unwrap().into_inner();
    assert_eq!(revoked.names, ["a", "b", "c", "d"]);
    scene.close_trail().await;
    let events = scene.events();
    let count = |event: &str| events.iter().filter(|found| is(found, event)).count();
    assert_eq!((count("suspended"), count("revoked")), (3, 4));
}

#[tokio::test]
async fn a_change_of_many_is_recorded_for_each_of_them() {
    let scene = Scene::new().await;
    let api = api(&scene);
    let names: Vec<_> = (0..90).map(|number| format!("client-{number}")).collect();
    for name in &names {
        let mut registration = registration(name);
        registration.spec.as_mut().unwrap().owner = "x".to_owned();
        let register = by(&scene, 1, registration);
        api.register_client(register).await.unwrap();
    }
    let stop = by(&scene, 3, many("x", "", "suspended", "stolen"));
    let stopped = api.change_many_states(stop).await.unwrap().into_inner();
    assert_eq!((stopped.changed, stopped.failed), (90, 0));
    let lines = scene.lines();
    let suspended = lines.iter().filter(|line| line["event"] == "suspended");
    let mut suspended: Vec<_> = suspended
        .map(|line| {
            assert_eq!(line["operator"], "uid:3");
            assert_eq!(line["reason"], "stolen");
            line["client"].as_str().unwrap().to_owned()
        })
        .collect();
    suspended.sort();
    let mut names = names;
    names.sort();
    assert_eq!(suspended, names);
}
