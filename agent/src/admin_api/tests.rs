mod routes;

use super::{AdminApi, AdminServices, AgentFacts, Authorities, Operator};
use crate::{
    lint::{Linter, document::Policy},
    operators::Roster,
    supervisor::Supervisor,
    telemetry::{Metrics, Readiness},
    workloads::{
        Asked,
        testing::{Scene, draft, until},
    },
};
use prost::Message as _;
use std::{sync::Arc, time::UNIX_EPOCH};
use symbolon_proto::admin::{
    AttestProcessRequest, ChangeStateRequest, ClientSpec, LintClientsRequest,
    RegisterClientRequest, SelectorSet, UpdateClientRequest, WeakRegistration,
    admin_server::Admin as _,
};
use tokio::{runtime::Handle, sync::watch};
use tonic::{Code, Request};

mod apply;
mod backup;
mod federation;
mod govern;
mod metadata;
mod views;

/// The admin API of a scene.
pub(super) fn api(scene: &Scene) -> AdminApi {
    let (readiness, _starting) = Readiness::blocked_by("test");
    AdminApi::new(Arc::new(AdminServices {
        facts: AgentFacts {
            version: "0",
            data_dir: String::new(),
            workload_socket: String::new(),
            admin_socket: String::new(),
            started_at: UNIX_EPOCH,
            limitations: Vec::new(),
        },
        registry: Arc::clone(&scene.registry),
        workloads: Arc::clone(&scene.workloads),
        federation: Arc::default(),
        attestor: scene.attestor(),
        linter: Arc::new(
            Linter::new(
                scene.attestor(),
                Arc::<crate::clock::ManualClock>::clone(&scene.clock),
            )
            .with_policy(Policy {
                public_url: "https://id.example.org".parse().ok(),
                ..Policy::default()
            }),
        ),
        trail: scene.trail.clone(),
        metrics: Metrics::new("test").registry,
        admin_metrics: Metrics::new("test").admin,
        supervisor: Supervisor::new(Handle::current()),
        clock: Arc::<crate::clock::ManualClock>::clone(&scene.clock),
        readiness,
        stopped: watch::Sender::new(false).subscribe(),
        authorities: Authorities(Box::new(Vec::new)),
        roster: watch::Sender::new(Arc::new(Roster::nobody(0, false))).subscribe(),
        looks: crate::drift::Looks::default(),
    }))
}

/// A request of the test's own user.
pub(super) fn request<T>(_scene: &Scene, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.extensions_mut().insert(Operator::of_test());
    request
}

pub(super) fn registration(name: &str) -> RegisterClientRequest {
    let draft = draft();
    let sets = draft.selector_sets.into_iter();
    RegisterClientRequest {
        name: name.to_owned(),
        spec: Some(ClientSpec {
            owner: draft.owner,
            purpose: draft.purpose,
            selector_sets: sets.map(|selectors| SelectorSet { selectors }).collect(),
            ..ClientSpec::default()
        }),
        // The test's user is root, or somebody who logs in.
        accept_weak: "a test".to_owned(),
        ..RegisterClientRequest::default()
    }
}

/// A registration without a reason for anything.
fn unaccepted(name: &str, selectors: &[&str]) -> RegisterClientRequest {
    let mut request = registration(name);
    let selectors = selectors.iter().map(ToString::to_string).collect();
    request.spec.as_mut().unwrap().selector_sets = vec![SelectorSet { selectors }];
    request.accept_weak.clear();
    request
}

pub(super) fn state_change(name: &str) -> ChangeStateRequest {
    ChangeStateRequest {
        name: name.to_owned(),
        reason: "a test".to_owned(),
    }
}

#[tokio::test]
async fn change_is_recorded_also_if_the_operator_does_not_wait() {
    let scene = Scene::silent().await;
    let api = api(&scene);
    tokio::select! {
        _ = api.register_client(request(&scene, registration("a"))) => panic!("nothing is recorded"),
        () = until(|| scene.registry.snapshot().len() == 1) => {}
    }
    scene.write_trail();
    let refused = api
        .register_client(request(&scene, registration("a")))
        .await;
    assert_eq!(refused.unwrap_err().code(), Code::AlreadyExists);
    assert_eq!(scene.events(), ["registered a", "refused"]);
}

#[tokio::test]
async fn change_that_cannot_be_recorded_is_not_called_undone() {
    let scene = Scene::new().await;
    let api = api(&scene);
    let registered = api
        .register_client(request(&scene, registration("a")))
        .await;
    registered.unwrap();
    scene.close_trail().await;
    let refused = api.suspend_client(request(&scene, state_change("a"))).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code(), Code::Internal);
    assert!(refused.message().contains("is in force"), "{refused}");
}

#[tokio::test]
async fn request_without_an_operator_changes_nothing() {
    let scene = Scene::new().await;
    let api = api(&scene);
    let refused = api.register_client(Request::new(registration("a"))).await;
    assert_eq!(refused.unwrap_err().code(), Code::Internal);
    assert!(scene.registry.snapshot().is_empty());
}

fn update(client: &symbolon_proto::admin::Client, selectors: &[&str]) -> UpdateClientRequest {
    let mut spec = client.spec.clone().unwrap();
    spec.jwt_ttl += 60;
    if !selectors.is_empty() {
        let selectors = selectors.iter().map(ToString::to_string).collect();
        spec.selector_sets = vec![SelectorSet { selectors }];
    }
    UpdateClientRequest {
        name: client.name.clone(),
        spec: Some(spec),
        ..UpdateClientRequest::default()
    }
}

fn ids(findings: &[symbolon_proto::admin::Finding]) -> Vec<&str> {
    findings.iter().map(|finding| finding.id.as_str()).collect()
}

const OPEN: &str = "unix:path:/usr/bin/node";

#[tokio::test]
async fn a_weak_registration_is_refused_and_the_refusal_recorded() {
    let scene = Scene::new().await;
    let api = api(&scene);
    let refused = api
        .register_client(request(&scene, unaccepted("a", &[OPEN])))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    let details = WeakRegistration::decode(refused.details()).unwrap();
    assert_eq!(ids(&details.findings), ["anybody-runs-it", "interpreter"]);
    assert!(scene.registry.snapshot().is_empty());
    assert_eq!(scene.events(), ["refused"]);
    let line = &scene.lines()[0];
    assert_eq!(
        line["reason"],
        "a: the registration is weak: anybody-runs-it, interpreter"
    );
}

#[tokio::test]
async fn what_is_accepted_is_part_of_the_version_and_of_its_event() {
    let scene = Scene::new().await;
    let api = api(&scene);
    let mut registration = unaccepted("a", &[OPEN]);
    registration.accept_weak = "the machine is mine".to_owned();
    let registered = api.register_client(request(&scene, registration)).await;
    let client = registered.unwrap().into_inner();
    assert!(ids(&client.findings).contains(&"interpreter"));
    let spec = client.spec.as_ref().unwrap();
    let accepted = spec.accepted_weaknesses.as_ref().unwrap();
    assert_eq!(accepted.findings, ["anybody-runs-it", "interpreter"]);
    let line = &scene.lines()[0]["accepted_weaknesses"];
    assert_eq!(line["reason"], "the machine is mine");
    assert_eq!(line["findings"][1], "interpreter");
}

#[tokio::test]
async fn what_was_accepted_holds_for_the_same_selectors() {
    let scene = Scene::new().await;
    let api = api(&scene);
    let mut registration = unaccepted("a", &[OPEN]);
    registration.accept_weak = "one".to_owned();
    let registered = api.register_client(request(&scene, registration)).await;
    let client = registered.unwrap().into_inner();
    let update = async |selectors: &[&str], accept_weak: &str| {
        let mut update = update(&client, selectors);
        update.accept_weak = accept_weak.to_owned();
        let updated = api.update_client(request(&scene, update)).await;
        let accepted = |client: symbolon_proto::admin::Client| {
            client
                .spec
                .unwrap()
                .accepted_weaknesses
                .map(|accepted| accepted.reason)
        };
        updated.map(|updated| accepted(updated.into_inner()))
    };
    assert_eq!(update(&[], "").await.unwrap().as_deref(), Some("one"));
    let other = update(&["unix:path:/usr/bin/cat"], "").await;
    assert_eq!(other.unwrap_err().code(), Code::FailedPrecondition);
    assert_eq!(update(&[], "two").await.unwrap().as_deref(), Some("two"));
    assert_eq!(update(&["unix:uid:998"], "unneeded").await.unwrap(), None);
    let blank = update(&[OPEN], " ").await;
    assert_eq!(blank.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_request_cannot_say_itself_what_was_accepted() {
    let scene = Scene::new().await;
    let api = api(&scene);
    let mut registration = unaccepted("a", &[OPEN]);
    registration.spec.as_mut().unwrap().accepted_weaknesses =
        Some(symbolon_proto::admin::AcceptedWeaknesses {
            findings: vec!["anybody-runs-it".into(), "interpreter".into()],
            reason: "smuggled".into(),
        });
    let refused = api.register_client(request(&scene, registration)).await;
    assert_eq!(refused.unwrap_err().code(), Code::FailedPrecondition);
}

#[tokio::test]
async fn lint_goes_through_all_that_may_hold_identities() {
    let scene = Scene::new().await;
    let api = api(&scene);
    for name in ["a", "b", "c"] {
        scene.register(name).await;
    }
    scene.suspend("c").await;
    let reason = "gone".parse().unwrap();
    let revoked = scene
        .registry
        .revoke("b".parse().unwrap(), "uid:0".parse().unwrap(), reason);
    revoked.await.unwrap();
    let lint = async |name: &str, after: &str| {
        let lint = LintClientsRequest {
            name: name.to_owned(),
            after: after.to_owned(),
            limit: 2,
        };
        let answer = api.lint_clients(request(&scene, lint)).await;
        answer.map(tonic::Response::into_inner)
    };
    let first = lint("", "").await.unwrap();
    assert_eq!((first.judged, first.more, &*first.last), (1, true, "b"));
    let second = lint("", &first.last).await.unwrap();
    assert_eq!((second.judged, second.more, &*second.last), (1, false, "c"));
    assert_eq!(lint("b", "").await.unwrap().clients[0].state, "revoked");
    assert_eq!(lint("z", "").await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn attest_tells_what_is_unknown_from_what_is_not_so() {
    let scene = Scene::new().await;
    let api = api(&scene);
    let uid = format!("unix:uid:{}", rustix::process::geteuid().as_raw());
    let draft = crate::registry::ClientDraft {
        selector_sets: vec![vec![uid.clone(), "unix:gid:4711".into()]],
        ..draft()
    };
    scene.register_as("other", draft).await;
    let strict = crate::registry::ClientDraft {
        forbid_inheritable: true,
        ..crate::workloads::testing::draft()
    };
    scene.register_as("strict", strict).await;
    let attest = AttestProcessRequest {
        pid: i32::try_from(std::process::id()).unwrap(),
        client: String::new(),
    };
    let seen = api.attest_process(request(&scene, attest)).await;
    let seen = seen.unwrap().into_inner();
    let [strict, other] = seen.clients.as_slice() else {
        panic!("{seen:?}");
    };
    assert!(strict.entitled && strict.obstacles.is_empty());
    assert!(strict.conditions[0].contains("close-on-exec"));
    assert_eq!(other.sets[0].missing, ["unix:gid:4711"]);
    assert!(other.sets[0].unknown.is_empty());
    let proposal = seen.proposal.unwrap();
    assert!(proposal.selectors.iter().any(|p| p.selector == uid));
    assert!(proposal.selectors.iter().all(|p| !p.reason.is_empty()));
}

#[tokio::test]
async fn attest_tells_what_was_proved_of_open_connections() {
    let scene = Scene::new().await;
    let api = api(&scene);
    scene.register_as("a", draft()).await;
    let attest = async || {
        let attest = AttestProcessRequest {
            pid: i32::try_from(std::process::id()).unwrap(),
            client: String::new(),
        };
        let seen = api.attest_process(request(&scene, attest)).await;
        seen.unwrap().into_inner().connections
    };
    let callers = [scene.own(), scene.own(), scene.own()];
    assert!(attest().await.is_empty(), "nothing is proved yet");
    for caller in &callers[..2] {
        let served = scene.workloads.x509(caller, Asked::ByCall).await;
        assert_eq!(served.unwrap().len(), 1);
    }
    let seen = attest().await;
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert_eq!((&*seen[0].held, seen[0].open), ("close-on-exec", 2));
    assert_eq!(seen[0].answered, "unasked");
    drop(callers);
    assert!(attest().await.is_empty());
}

/// The attack: an operator asks again and again for what is refused by its content.
#[tokio::test(start_paused = true)]
async fn what_is_refused_by_its_content_is_recorded_at_a_pace() {
    let scene = Scene::new().await;
    let api = api(&scene);
    let operator = Operator::of_test();
    let suspend = || {
        let mut asked = Request::new(state_change("nobody"));
        asked.extensions_mut().insert(operator.clone());
        api.suspend_client(asked)
    };
    let begun = tokio::time::Instant::now();
    for refused in futures_util::future::join_all((0..100).map(|_| suspend())).await {
        assert_eq!(refused.unwrap_err().code(), Code::NotFound);
    }
    let recorded = scene.lines().len();
    assert!(recorded <= 65, "{recorded}");
    let pace = u32::try_from(recorded).unwrap() * std::time::Duration::from_millis(100);
    assert!(begun.elapsed() >= pace, "{recorded}");
    // Those that are not there are counted.
    suspend().await.unwrap_err();
    let reasons = scene.lines().into_iter().map(|line| line["reason"].clone());
    let more: Vec<_> = reasons
        .filter(|reason| reason.as_str().unwrap().contains(" more before that"))
        .collect();
    assert!(!more.is_empty());
}
