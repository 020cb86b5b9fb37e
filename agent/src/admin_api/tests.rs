use super::{AdminApi, AdminServices, AgentFacts, Authorities, OperatorGate, OperatorPolicy};
use crate::{
    server::Admit as _,
    supervisor::Supervisor,
    telemetry::{Metrics, Readiness},
    workloads::testing::{Scene, draft, until},
};
use std::{sync::Arc, time::UNIX_EPOCH};
use symbolon_proto::admin::{
    ChangeStateRequest, ClientSpec, RegisterClientRequest, SelectorSet, admin_server::Admin as _,
};
use tokio::{net::UnixStream, runtime::Handle, sync::watch};
use tonic::{Code, Request};

/// The admin API of a scene.
fn api(scene: &Scene) -> AdminApi {
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
        attestor: scene.attestor(),
        trail: scene.trail.clone(),
        metrics: Metrics::new("test").registry,
        supervisor: Supervisor::new(Handle::current()),
        clock: Arc::<crate::clock::ManualClock>::clone(&scene.clock),
        readiness,
        stopped: watch::Sender::new(false).subscribe(),
        authorities: Authorities(Box::new(Vec::new)),
    }))
}

/// A request of the test's own user.
fn request<T>(scene: &Scene, message: T) -> Request<T> {
    let policy = OperatorPolicy {
        own_uid: rustix::process::geteuid().as_raw(),
        group_configured: false,
        allow_foreign_namespaces: true,
    };
    let (socket, _peer) = UnixStream::pair().unwrap();
    let operator = OperatorGate::new(policy, scene.trail.clone()).admit(&socket);
    let mut request = Request::new(message);
    request.extensions_mut().insert(operator.unwrap());
    request
}

fn registration(name: &str) -> RegisterClientRequest {
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
        ..RegisterClientRequest::default()
    }
}

fn state_change(name: &str) -> ChangeStateRequest {
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
