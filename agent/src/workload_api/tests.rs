use super::{WorkloadApi, WorkloadRoutes, messages, status, stream::PushStream};
use crate::{
    audit::AuditError,
    issuance::IssueError,
    registry::ClientDraft,
    server::SideServices,
    svid::jwt::JwtError,
    telemetry::Metrics,
    workloads::{
        Caller, Denial, ValidationError,
        testing::{Scene, draft},
    },
};
use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _};
use http_body_util::Full;
use std::{sync::Arc, time::Duration};
use symbolon_attestors::{AttestError, Changed};
use symbolon_proto::workload::{
    JwtBundlesRequest, JwtsvidRequest, ValidateJwtsvidRequest, WitsvidRequest, X509BundlesRequest,
    X509svidRequest, spiffe_workload_api_server::SpiffeWorkloadApi as _,
};
use tokio::time::timeout;
use tonic::{Code, Request, Status, body::Body};
use tower::Service as _;

const LIMIT: Duration = Duration::from_secs(30);

fn request<T>(caller: &Caller, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.extensions_mut().insert(caller.clone());
    request
}

async fn next<M>(stream: &mut PushStream<M>) -> Result<M, Status> {
    timeout(LIMIT, stream.next()).await.unwrap().unwrap()
}

/// Whether the stream has nothing to say, also after the other tasks ran.
async fn is_calm<M>(stream: &mut PushStream<M>) -> bool {
    for _ in 0..10 {
        if stream.next().now_or_never().is_some() {
            return false;
        }
        tokio::task::yield_now().await;
    }
    true
}

fn with_hint(hint: &str) -> ClientDraft {
    ClientDraft {
        hint: Some(hint.to_owned()),
        ..draft()
    }
}

#[tokio::test]
async fn each_push_is_a_full_set_and_the_loss_of_all_ends_the_stream() {
    let scene = Scene::new().await;
    scene.run();
    let api = WorkloadApi::new(Arc::clone(&scene.workloads));
    let caller = scene.own();
    scene.register("a").await;
    let x509 = api
        .fetch_x509svid(request(&caller, X509svidRequest {}))
        .await;
    let mut x509 = x509.unwrap().into_inner();
    let wit = api.fetch_witsvid(request(&caller, WitsvidRequest::default()));
    let mut wit = wit.await.unwrap().into_inner();
    assert_eq!(next(&mut x509).await.unwrap().svids.len(), 1);
    assert_eq!(next(&mut wit).await.unwrap().svids.len(), 1);

    scene.register("b").await;
    let both = next(&mut x509).await.unwrap();
    let ids: Vec<_> = both.svids.iter().map(|svid| &*svid.spiffe_id).collect();
    let expected = ["a", "b"].map(|name| format!("spiffe://example.org/mcp/client/{name}"));
    assert_eq!(ids, expected, "the oldest registration stays the default");
    assert_eq!(next(&mut wit).await.unwrap().svids.len(), 2);

    scene.suspend("a").await;
    assert_eq!(
        next(&mut x509).await.unwrap().svids[0].spiffe_id,
        expected[1]
    );
    scene.suspend("b").await;
    let end = next(&mut x509).await.unwrap_err();
    assert_eq!(end.code(), Code::PermissionDenied);
    assert!(x509.next().await.is_none());

    scene.resume("b").await;
    let again = api
        .fetch_x509svid(request(&caller, X509svidRequest {}))
        .await;
    let mut again = again.unwrap().into_inner();
    assert_eq!(next(&mut again).await.unwrap().svids.len(), 1);
}

#[tokio::test]
async fn bundle_is_pushed_where_it_is_shown_and_nowhere_else() {
    let scene = Scene::new().await;
    scene.run();
    scene.register("a").await;
    let api = WorkloadApi::new(Arc::clone(&scene.workloads));
    let caller = scene.own();
    let x509 = api
        .fetch_x509svid(request(&caller, X509svidRequest {}))
        .await;
    let mut x509 = x509.unwrap().into_inner();
    let x509_bundles = api.fetch_x509_bundles(request(&caller, X509BundlesRequest {}));
    let mut x509_bundles = x509_bundles.await.unwrap().into_inner();
    let jwt_bundles = api.fetch_jwt_bundles(request(&caller, JwtBundlesRequest {}));
    let mut jwt_bundles = jwt_bundles.await.unwrap().into_inner();
    let first = next(&mut x509).await.unwrap();
    next(&mut x509_bundles).await.unwrap();
    next(&mut jwt_bundles).await.unwrap();

    scene.authority.publish_other_jwt_keys();
    let pushed = next(&mut jwt_bundles).await.unwrap();
    assert_eq!(
        pushed.bundles.keys().collect::<Vec<_>>(),
        ["spiffe://example.org"]
    );
    assert!(is_calm(&mut x509).await && is_calm(&mut x509_bundles).await);

    scene.authority.publish_more_x509();
    next(&mut x509_bundles).await.unwrap();
    let pushed = next(&mut x509).await.unwrap();
    assert_eq!(pushed.svids[0].x509_svid, first.svids[0].x509_svid);
    assert_ne!(pushed.svids[0].bundle, first.svids[0].bundle);
    assert!(is_calm(&mut jwt_bundles).await);
}

#[tokio::test]
async fn caller_without_an_identity_learns_nothing() {
    let scene = Scene::new().await;
    let api = WorkloadApi::new(Arc::clone(&scene.workloads));
    let caller = scene.own();
    let x509 = api
        .fetch_x509svid(request(&caller, X509svidRequest {}))
        .await;
    let bundles = api
        .fetch_x509_bundles(request(&caller, X509BundlesRequest {}))
        .await;
    let jwt = api
        .fetch_jwtsvid(request(
            &caller,
            JwtsvidRequest {
                audience: vec!["x".to_owned()],
                spiffe_id: String::new(),
            },
        ))
        .await;
    for status in [x509.err(), bundles.err(), jwt.err()] {
        let status = status.unwrap();
        assert_eq!(status.code(), Code::PermissionDenied);
        assert_eq!(
            status.message(),
            status::of_denial(&Denial::NoIdentity).message()
        );
    }
    scene.close_trail().await;
    assert_eq!(scene.events(), ["attested", "denied", "denied", "denied"]);
}

#[tokio::test]
async fn mandatory_fields_are_demanded() {
    let scene = Scene::new().await;
    let api = WorkloadApi::new(Arc::clone(&scene.workloads));
    let caller = scene.own();
    let many = vec!["x".to_owned(); super::calls::MAX_AUDIENCES + 1];
    // Control characters would grow sixfold in the trail, past its longest line.
    let control = vec!["\u{1}".to_owned()];
    for audience in [
        vec![],
        vec![String::new()],
        vec!["x".repeat(2000)],
        control,
        many,
    ] {
        let wanted = JwtsvidRequest {
            audience,
            spiffe_id: String::new(),
        };
        let refused = api
            .fetch_jwtsvid(request(&caller, wanted))
            .await
            .unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
    }
    let foreign = JwtsvidRequest {
        audience: vec!["x".to_owned()],
        spiffe_id: "https://example.org".to_owned(),
    };
    let refused = api
        .fetch_jwtsvid(request(&caller, foreign))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    for (audience, svid) in [("", "x"), ("x", "")] {
        let wanted = ValidateJwtsvidRequest {
            audience: audience.to_owned(),
            svid: svid.to_owned(),
        };
        let refused = api.validate_jwtsvid(request(&caller, wanted)).await;
        assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument);
    }
    let refused = api.fetch_x509svid(Request::new(X509svidRequest {})).await;
    assert_eq!(refused.err().unwrap().code(), Code::Internal, "no caller");
}

#[tokio::test]
async fn token_is_valid_while_its_client_is_active() {
    let scene = Scene::new().await;
    let any = ClientDraft {
        audiences: vec!["*".to_owned()],
        ..draft()
    };
    scene.register_as("a", any).await;
    let api = WorkloadApi::new(Arc::clone(&scene.workloads));
    let caller = scene.own();
    let wanted = JwtsvidRequest {
        audience: vec!["x".to_owned()],
        spiffe_id: String::new(),
    };
    let issued = api.fetch_jwtsvid(request(&caller, wanted)).await.unwrap();
    let svid = issued.into_inner().svids[0].svid.clone();
    let validate = async |audience: &str| {
        let wanted = ValidateJwtsvidRequest {
            audience: audience.to_owned(),
            svid: svid.clone(),
        };
        api.validate_jwtsvid(request(&caller, wanted)).await
    };
    let valid = validate("x").await.unwrap().into_inner();
    assert_eq!(valid.spiffe_id, "spiffe://example.org/mcp/client/a");
    assert!(valid.claims.unwrap().fields.contains_key("nhi_version"));
    assert_eq!(
        validate("y").await.unwrap_err().code(),
        Code::InvalidArgument
    );
    scene.suspend("a").await;
    assert_eq!(
        validate("x").await.unwrap_err().code(),
        Code::InvalidArgument
    );
    scene.resume("a").await;
    validate("x").await.unwrap();
}

#[tokio::test]
async fn hints_are_unique_in_an_answer() {
    let scene = Scene::new().await;
    for (client, hint) in [("a", "in"), ("b", "out"), ("c", "in")] {
        scene.register_as(client, with_hint(hint)).await;
    }
    scene.register("d").await;
    let caller = scene.own();
    let asked = crate::workloads::Asked::ByCall;
    let svids = scene.workloads.x509(&caller, asked).await.unwrap();
    let message = messages::x509_svids(
        &svids,
        &scene.workloads.bundle(),
        messages::Documents::new(),
    );
    let hints: Vec<_> = message.svids.iter().map(|svid| &*svid.hint).collect();
    assert_eq!(hints, ["in", "out", "", ""]);
    let svids = scene.workloads.wit(&caller, None, asked).await.unwrap();
    let message = messages::wit_svids(&svids);
    let hints: Vec<_> = message.svids.iter().map(|svid| &*svid.hint).collect();
    assert_eq!(hints, ["in", "out", "", ""]);
}

/// The code of the answer to a call with these values of the security header.
async fn code(scene: &Scene, path: &str, header: &[&str]) -> Code {
    let metrics = Metrics::new("test").workload.calls;
    let api = WorkloadApi::new(Arc::clone(&scene.workloads));
    let mut routes = WorkloadRoutes::new(api, SideServices::default(), metrics);
    let empty_message = Full::new(Bytes::from_static(&[0; 5]));
    let mut request = http::Request::post(path)
        .header("content-type", "application/grpc")
        .body(Body::new(empty_message))
        .unwrap();
    request.extensions_mut().insert(scene.own());
    for value in header {
        let value = http::HeaderValue::from_str(value).unwrap();
        request.headers_mut().append("workload.spiffe.io", value);
    }
    let response = routes.call(request).await.unwrap();
    let status = &response.headers()["grpc-status"];
    Code::from_bytes(status.as_bytes())
}

#[tokio::test]
async fn security_header_is_demanded_exactly() {
    let scene = Scene::new().await;
    let path = "/SpiffeWorkloadAPI/FetchX509SVID";
    let bad: [&[&str]; 6] = [
        &[],
        &["false"],
        &["True"],
        &["true "],
        &["true", "true"],
        &[""],
    ];
    for header in bad {
        assert_eq!(
            code(&scene, path, header).await,
            Code::InvalidArgument,
            "{header:?}"
        );
    }
    assert!(scene.lines().is_empty(), "nobody is attested without it");
    assert_eq!(code(&scene, path, &["true"]).await, Code::PermissionDenied);
}

#[tokio::test]
async fn unknown_methods_and_services_are_unimplemented() {
    let scene = Scene::new().await;
    for path in [
        "/SpiffeWorkloadAPI/FetchNothing",
        "/SpiffeWorkloadAPIx/FetchX509SVID",
        "/symbolon.admin.v1.Admin/GetInfo",
        "//SpiffeWorkloadAPI/FetchX509SVID",
        "/",
    ] {
        assert_eq!(
            code(&scene, path, &["true"]).await,
            Code::Unimplemented,
            "{path}"
        );
    }
}

#[test]
fn denials_have_their_codes() {
    let issue = |error: IssueError| Denial::Issue(error);
    for (denial, code) in [
        (Denial::NoIdentity, Code::PermissionDenied),
        (Denial::Audience, Code::PermissionDenied),
        (Denial::AuthorizationServer, Code::PermissionDenied),
        (Denial::ProcessChanged, Code::PermissionDenied),
        (
            Denial::Unattested(AttestError::Gone),
            Code::PermissionDenied,
        ),
        (
            Denial::Unattested(AttestError::Changed(Changed::Credentials)),
            Code::PermissionDenied,
        ),
        (
            Denial::Unattested(AttestError::Traced(7)),
            Code::PermissionDenied,
        ),
        (
            Denial::Unattested(AttestError::Overloaded),
            Code::Unavailable,
        ),
        (Denial::Unattested(AttestError::Timeout), Code::Unavailable),
        (Denial::Changing, Code::Unavailable),
        (Denial::Stopping, Code::Unavailable),
        (
            issue(IssueError::Audit(AuditError::Closed)),
            Code::Unavailable,
        ),
        (issue(IssueError::Randomness), Code::Unavailable),
    ] {
        let status = status::of_denial(&denial);
        assert_eq!(status.code(), code, "{denial:?}");
    }
    let token = ValidationError::Token(JwtError::OtherAudience);
    assert_eq!(status::of_validation(&token).code(), Code::InvalidArgument);
    let inactive = ValidationError::NotActive;
    assert_eq!(
        status::of_validation(&inactive).code(),
        Code::InvalidArgument
    );
}
