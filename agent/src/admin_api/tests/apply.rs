//! Batches of documents, over the call that operators make.

use super::{api, registration, request, unaccepted};
use crate::{
    admin_api::AdminApi,
    workloads::testing::{Scene, until},
};
use futures_util::FutureExt as _;
use std::sync::Arc;
use symbolon_proto::admin::{
    ApplyClient, ApplyClientsRequest, ApplyClientsResponse, ChangeManyStatesRequest, Client,
    DecisionRequest, RegisterClientRequest, admin_server::Admin as _,
};
use tonic::{Code, Request, Status};

/// What a registration asks for, as a document.
fn document(registration: RegisterClientRequest) -> ApplyClient {
    ApplyClient {
        name: registration.name,
        spec: registration.spec,
        accept_weak: registration.accept_weak,
        expected_last_version: None,
    }
}

fn document_of(name: &str) -> ApplyClient {
    document(registration(name))
}

/// The document with another purpose.
fn other(mut document: ApplyClient) -> ApplyClient {
    document.spec.as_mut().unwrap().purpose = "another".into();
    document
}

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

fn batch(clients: Vec<ApplyClient>) -> ApplyClientsRequest {
    ApplyClientsRequest {
        clients,
        reason: "CHG-1".into(),
        dry_run: false,
    }
}

async fn apply(
    scene: &Scene,
    api: &AdminApi,
    clients: Vec<ApplyClient>,
) -> Result<ApplyClientsResponse, Status> {
    let applied = api.apply_clients(request(scene, batch(clients))).await;
    applied.map(tonic::Response::into_inner)
}

fn words(response: &ApplyClientsResponse) -> Vec<(&str, u64)> {
    let clients = response.clients.iter();
    clients.map(|it| (it.done.as_str(), it.version)).collect()
}

#[tokio::test]
async fn a_batch_is_made_and_recorded_as_a_whole() {
    let scene = Scene::new().await;
    let api = api(&scene);
    let made = apply(&scene, &api, vec![document_of("a"), document_of("b")])
        .await
        .unwrap();
    assert!(made.applied);
    assert_eq!(words(&made), [("registered", 1), ("registered", 1)]);
    let changed = vec![other(document_of("a")), document_of("b"), document_of("c")];
    let made = apply(&scene, &api, changed).await.unwrap();
    assert_eq!(
        words(&made),
        [("updated", 2), ("unchanged", 1), ("registered", 1)]
    );
    assert_eq!(
        scene.events(),
        ["registered a", "registered b", "updated a", "registered c"]
    );
    let line = &scene.lines()[2];
    assert_eq!(line["reason"], "CHG-1");
    assert_eq!(line["process"]["pid"], std::process::id());
}

#[tokio::test]
async fn what_is_refused_of_a_batch_leaves_no_trace_but_its_records() {
    let scene = Scene::new().await;
    let api = api(&scene);
    scene.register("taken").await;
    let mut foreign = document_of("foreign");
    foreign.spec.as_mut().unwrap().spiffe_id = "spiffe://example.org/mcp/client/taken".into();
    let mut broken = document_of("broken");
    broken.spec.as_mut().unwrap().selector_sets.clear();
    let mut late = document_of("late");
    late.expected_last_version = Some(4);
    let weak = document(unaccepted("weak", &["unix:path:/usr/bin/node"]));
    let batch = vec![document_of("good"), foreign, broken, late, weak];
    let refused = apply(&scene, &api, batch).await.unwrap();
    assert!(!refused.applied);
    let done = words(&refused);
    assert_eq!(done[0], ("registered", 1));
    assert_eq!(done[1..], [("refused", 0); 4]);
    let whys: Vec<_> = refused.clients.iter().map(|it| it.why.as_str()).collect();
    assert!(whys[1].contains("belongs to client taken"), "{whys:?}");
    assert_eq!(whys[2], "at least one selector is needed");
    assert!(
        whys[3].starts_with("the last version is 0, not 4"),
        "{whys:?}"
    );
    assert_eq!(
        whys[4],
        "the registration is weak: anybody-runs-it, interpreter"
    );
    let invalid: Vec<_> = refused.clients.iter().map(|it| it.is_invalid).collect();
    assert_eq!(invalid, [false, false, true, false, false]);
    assert_eq!(scene.registry.snapshot().len(), 1);
    assert_eq!(scene.events(), ["refused"; 4]);
}

#[tokio::test]
async fn a_dry_run_tells_the_same_and_changes_and_records_nothing() {
    let scene = Scene::new().await;
    let api = api(&scene);
    apply(&scene, &api, vec![document_of("a")]).await.unwrap();
    let recorded = scene.events().len();
    let weak = document(unaccepted("weak", &["unix:path:/usr/bin/node"]));
    let plan = ApplyClientsRequest {
        dry_run: true,
        ..batch(vec![other(document_of("a")), document_of("b"), weak])
    };
    let plan = api
        .apply_clients(request(&scene, plan))
        .await
        .unwrap()
        .into_inner();
    assert!(!plan.applied);
    assert_eq!(
        words(&plan),
        [("updated", 2), ("registered", 1), ("refused", 0)]
    );
    let before = plan.clients[0].before.as_ref().unwrap();
    assert_ne!(before.purpose, "another");
    assert_eq!(plan.clients[0].last_version, 1);
    assert!(!plan.clients[2].findings.is_empty());
    assert_eq!(scene.registry.snapshot().len(), 1);
    assert_eq!(scene.events().len(), recorded);
}

#[tokio::test]
async fn a_batch_is_judged_together() {
    let scene = Scene::new().await;
    let api = api(&scene);
    let mut one = unaccepted("one", &["unix:uid:4711", "cgroup:path:/one"]);
    let mut two = unaccepted("two", &["unix:uid:4711", "cgroup:path:/one"]);
    one.spec.as_mut().unwrap().owner = "alice".into();
    two.spec.as_mut().unwrap().owner = "bob".into();
    let refused = apply(&scene, &api, vec![document(one), document(two)])
        .await
        .unwrap();
    let whys: Vec<_> = refused.clients.iter().map(|it| it.why.as_str()).collect();
    assert_eq!(whys, ["", "the registration is weak: overlap"]);
    assert!(scene.registry.snapshot().is_empty());
}

#[tokio::test]
async fn requests_are_bounded_and_name_each_client_once() {
    let scene = Scene::new().await;
    let api = api(&scene);
    let many = (0..501)
        .map(|number| document_of(&format!("c{number}")))
        .collect();
    let names = vec![document_of("a"), document_of("a")];
    for (clients, why) in [
        (many, "more than 500"),
        (names, "client a is in the request twice"),
        (vec![document_of("A b")], "a client's name"),
    ] {
        let refused = apply(&scene, &api, clients).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().contains(why), "{refused}");
    }
    assert!(words(&apply(&scene, &api, Vec::new()).await.unwrap()).is_empty());
}

fn shown(client: &Client) -> DecisionRequest {
    let pending = client.pending.clone().unwrap();
    DecisionRequest {
        name: client.name.clone(),
        version: pending.version,
        digest: pending.digest,
        reason: "no".to_owned(),
        resumption: 0,
    }
}

#[tokio::test]
async fn where_approval_is_required_documents_propose_once() {
    let scene = Scene::requiring(1).await;
    let api = api(&scene);
    let ask = async |uid, document| {
        let applied = api
            .apply_clients(by(&scene, uid, batch(vec![document])))
            .await;
        let applied = applied.unwrap().into_inner().clients.remove(0);
        (applied.done, applied.version, applied.voids)
    };
    let show = async || {
        let name = "a".to_owned();
        let request = request(&scene, symbolon_proto::admin::GetClientRequest { name });
        api.get_client(request).await.unwrap().into_inner()
    };
    let answer = |done: &str, version, voids| (done.to_owned(), version, voids);
    assert_eq!(ask(1, document_of("a")).await, answer("proposed", 1, 0));
    assert_eq!(ask(1, document_of("a")).await, answer("pending", 1, 0));
    let approved = api
        .approve_client(by(&scene, 2, shown(&show().await)))
        .await;
    approved.unwrap();
    assert_eq!(ask(1, document_of("a")).await, answer("unchanged", 1, 0));
    assert_eq!(
        ask(1, other(document_of("a"))).await,
        answer("proposed", 2, 0)
    );
    // What another has proposed stays; what is one's own is taken back.
    assert_eq!(ask(2, document_of("a")).await, answer("unchanged", 1, 0));
    assert_eq!(ask(1, document_of("a")).await, answer("proposed", 3, 2));
    api.reject_client(by(&scene, 2, shown(&show().await)))
        .await
        .unwrap();
    assert_eq!(
        ask(1, other(document_of("a"))).await,
        answer("proposed", 4, 0)
    );
    api.reject_client(by(&scene, 2, shown(&show().await)))
        .await
        .unwrap();
    assert_eq!(
        ask(1, other(document_of("a"))).await,
        answer("declined", 4, 0)
    );
    assert_eq!(ask(1, document_of("a")).await, answer("unchanged", 1, 0));
}

#[tokio::test]
async fn without_a_trail_nothing_is_applied() {
    let scene = Scene::new().await;
    let api = api(&scene);
    scene.close_trail().await;
    let made = apply(&scene, &api, vec![document_of("a")])
        .await
        .unwrap_err();
    assert!(matches!(made.code(), Code::Unavailable | Code::Internal));
}

#[tokio::test]
async fn clients_are_stopped_by_name_only_where_they_are_of_the_source() {
    let scene = Scene::new().await;
    let api = api(&scene);
    let of = |name: &str, source: &str| {
        let mut document = document_of(name);
        document.spec.as_mut().unwrap().source = source.into();
        document
    };
    let documents = vec![of("a", "git"), of("b", "cmdb"), of("c", "git")];
    apply(&scene, &api, documents).await.unwrap();
    let stop = async |names: &[&str], source: &str| {
        let many = ChangeManyStatesRequest {
            state: "suspended".into(),
            reason: "gone".into(),
            names: names.iter().map(ToString::to_string).collect(),
            source: source.into(),
            ..ChangeManyStatesRequest::default()
        };
        let stopped = api.change_many_states(request(&scene, many)).await;
        stopped.map(|stopped| stopped.into_inner().names)
    };
    assert_eq!(stop(&["a", "b", "none"], "git").await.unwrap(), ["a"]);
    for (names, source) in [(&["c"][..], ""), (&[], "git"), (&["C!"], "git")] {
        let refused = stop(names, source).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
    }
    let list = symbolon_proto::admin::ListClientsRequest {
        source: "git".into(),
        ..Default::default()
    };
    let listed = api
        .list_clients(request(&scene, list))
        .await
        .unwrap()
        .into_inner();
    let names: Vec<_> = listed
        .clients
        .iter()
        .map(|client| client.name.as_str())
        .collect();
    assert_eq!(names, ["a", "c"]);
}

#[tokio::test]
async fn so_many_batches_wait_and_no_more() {
    let scene = Scene::new().await;
    let api = api(&scene);
    let turn = Arc::clone(&api.applying).acquire_owned().await.unwrap();
    let of_user = |uid| api.apply_clients(by(&scene, uid, ApplyClientsRequest::default()));
    let mut waiting: Vec<_> = [1, 1, 1, 2, 2].map(of_user).into();
    for batch in &mut waiting {
        assert!(batch.now_or_never().is_none());
    }
    let refused = of_user(3).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    drop(turn);
    for batch in waiting {
        batch.await.unwrap();
    }
    of_user(3).await.unwrap();
}

/// The attack: batch after batch of documents, all of which are refused.
#[tokio::test(start_paused = true)]
async fn of_the_refusals_of_a_batch_the_trail_has_some_and_their_number() {
    let scene = Scene::new().await;
    let api = api(&scene);
    let documents = (0..100).map(|number| {
        let mut document = document_of(&format!("client-{number}"));
        document.expected_last_version = Some(7);
        document
    });
    let begun = tokio::time::Instant::now();
    let refused = apply(&scene, &api, documents.collect()).await.unwrap();
    assert_eq!(words(&refused), [("refused", 0); 100]);
    let lines = scene.lines();
    assert_eq!(lines.len(), 10);
    let last = lines[9]["reason"].as_str().unwrap();
    assert!(
        last.ends_with("; 90 more documents of the batch were refused"),
        "{last}"
    );
    assert!(begun.elapsed() >= std::time::Duration::from_secs(1));
}

/// The attack: batches that are refused, so that those of others wait as long as their refusals do.
#[tokio::test(start_paused = true)]
async fn nobody_waits_for_the_refusals_of_another() {
    let scene = Scene::new().await;
    let api = api(&scene);
    let mut late = document_of("late");
    late.expected_last_version = Some(4);
    let mut refused = Box::pin(apply(&scene, &api, vec![late]));
    assert!((&mut refused).now_or_never().is_none());
    // The clock stands still while this looks, and so does the pause after a refusal.
    until(|| !scene.lines().is_empty()).await;
    let free = (api.batches.taken(), api.applying.available_permits());
    assert_eq!(free, (1, 1));
    let other = by(&scene, 2, batch(vec![document_of("a")]));
    assert!(api.apply_clients(other).await.unwrap().into_inner().applied);
    assert_eq!(words(&refused.await.unwrap()), [("refused", 0)]);
}
