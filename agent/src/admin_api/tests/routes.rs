//! Calls through the gate, as the server makes them.

use super::api;
use crate::{
    admin_api::{AdminRoutes, gate::tests::Door, roles::TABLE},
    operators::{Role, Roles},
    server::SideServices,
    telemetry::Metrics,
    workloads::testing::Scene,
};
use http_body_util::Full;
use tonic::{Code, body::Body};
use tower::Service as _;

/// An empty message to this path.
fn request(path: &str) -> http::Request<Body> {
    let body = Full::new(bytes::Bytes::from_static(&[0; 5]));
    let request = http::Request::post(format!("http://localhost{path}"));
    let request = request.header("content-type", "application/grpc");
    request
        .header("te", "trailers")
        .body(Body::new(body))
        .unwrap()
}

fn code(answer: &http::Response<Body>) -> Code {
    let status = answer.headers().get("grpc-status");
    status.map_or(Code::Ok, |status| Code::from_bytes(status.as_bytes()))
}

async fn ask(scene: &Scene, roles: Option<Roles>, path: &str) -> Code {
    let calls = Metrics::new("test").admin.calls;
    let mut routes = AdminRoutes::new(api(scene), SideServices::default(), calls);
    let mut request = request(path);
    if let Some(roles) = roles {
        let visitor = Door::for_own(scene, roles).enter();
        request.extensions_mut().insert(visitor);
    }
    code(&routes.call(request).await.unwrap())
}

#[tokio::test(start_paused = true)]
async fn each_role_reaches_what_its_row_says_and_nothing_else() {
    let scene = Scene::new().await;
    for role in Role::ALL {
        let roles: Roles = [role].into_iter().collect();
        for rule in TABLE {
            let path = format!("/symbolon.admin.v1.Admin/{}", rule.method);
            let code = ask(&scene, Some(roles), &path).await;
            let may = rule.who.includes(roles, false);
            assert_eq!(
                code != Code::PermissionDenied,
                may,
                "{role} {path}: {code:?}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn no_other_way_of_writing_a_path_goes_round_the_gate() {
    let scene = Scene::new().await;
    for path in [
        "//symbolon.admin.v1.Admin/GetInfo",
        "/symbolon.admin.v1.Admin//GetInfo",
        "/symbolon.admin.v1.Admin/GetInfo/",
        "/symbolon.admin.v1.Admin/%47etInfo",
        "/symbolon.admin.v1.admin/GetInfo",
        "/./symbolon.admin.v1.Admin/GetInfo",
        "/symbolon.admin.v1.Admin",
        "/",
    ] {
        let code = ask(&scene, Some(Roles::ALL), path).await;
        let refused = [Code::PermissionDenied, Code::Unimplemented];
        assert!(refused.contains(&code), "{path}: {code:?}");
    }
    let path = "/symbolon.admin.v1.Admin/GetInfo";
    assert_eq!(ask(&scene, Some(Roles::NONE), path).await, Code::Ok);
    // A query is no part of the path that is looked at, nor of the one that is served.
    let query = format!("{path}?RegisterClient");
    assert_eq!(ask(&scene, Some(Roles::NONE), &query).await, Code::Ok);
}

#[tokio::test]
async fn without_an_operator_nothing_runs() {
    let scene = Scene::new().await;
    for rule in TABLE {
        let path = format!("/symbolon.admin.v1.Admin/{}", rule.method);
        assert_eq!(ask(&scene, None, &path).await, Code::Internal);
    }
}
