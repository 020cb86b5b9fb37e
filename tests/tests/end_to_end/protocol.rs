//! The rules of the Workload Endpoint: the header, the codes, the services beside it.

use std::future::Future;

use symbolon_proto::workload::spiffe_workload_api_client::SpiffeWorkloadApiClient;
use symbolon_proto::workload::{
    JwtBundlesRequest, JwtsvidRequest, ValidateJwtsvidRequest, WitBundlesRequest, WitsvidRequest,
    X509BundlesRequest, X509svidRequest,
};
use symbolon_tests::{AUDIENCE, Setup, channel, workload_api};
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

async fn code<T>(call: impl Future<Output = Result<Response<T>, Status>>) -> Code {
    call.await.map_or_else(|status| status.code(), |_| Code::Ok)
}

/// What each call of the Workload API comes to with this security header.
async fn codes_with(channel: &Channel, header: Option<&'static str>) -> [Code; 7] {
    let mut api = SpiffeWorkloadApiClient::with_interceptor(
        channel.clone(),
        move |mut request: Request<()>| {
            if let Some(value) = header {
                let value = MetadataValue::from_static(value);
                request
                    .metadata_mut()
                    .insert(symbolon_proto::SECURITY_HEADER, value);
            }
            Ok(request)
        },
    );
    let jwt = JwtsvidRequest {
        audience: vec![AUDIENCE.to_owned()],
        ..Default::default()
    };
    [
        code(api.fetch_x509svid(X509svidRequest {})).await,
        code(api.fetch_x509_bundles(X509BundlesRequest {})).await,
        code(api.fetch_jwtsvid(jwt)).await,
        code(api.fetch_jwt_bundles(JwtBundlesRequest {})).await,
        code(api.validate_jwtsvid(ValidateJwtsvidRequest::default())).await,
        code(api.fetch_witsvid(WitsvidRequest::default())).await,
        code(api.fetch_wit_bundles(WitBundlesRequest {})).await,
    ]
}

#[tokio::test]
async fn every_call_without_the_security_header_is_an_invalid_argument() {
    let agent = Setup::new().start().await;
    agent.register_self("client").await;
    let channel = channel(&agent.setup().workload_socket()).await;
    for header in [None, Some("false"), Some("True"), Some("")] {
        assert_eq!(
            codes_with(&channel, header).await,
            [Code::InvalidArgument; 7],
            "{header:?}"
        );
    }
    let served = codes_with(&channel, Some("true")).await;
    assert_eq!(
        served.iter().filter(|code| **code == Code::Ok).count(),
        6,
        "{served:?}"
    );
}

#[tokio::test]
async fn requests_that_say_too_little_or_name_a_foreign_identity_are_refused() {
    let agent = Setup::new().start().await;
    agent.register_self("client").await;
    let mut api = workload_api(&agent).await;
    let jwt = |audience: &[&str], spiffe_id: &str| JwtsvidRequest {
        audience: audience.iter().map(ToString::to_string).collect(),
        spiffe_id: spiffe_id.to_owned(),
    };
    for (request, expected) in [
        (jwt(&[], ""), Code::InvalidArgument),
        (jwt(&[""], ""), Code::InvalidArgument),
        (jwt(&[AUDIENCE], "not a SPIFFE ID"), Code::InvalidArgument),
        (
            jwt(&[AUDIENCE], "spiffe://example.org/mcp/client/other"),
            Code::PermissionDenied,
        ),
    ] {
        let outcome = code(api.fetch_jwtsvid(request.clone())).await;
        assert_eq!(outcome, expected, "{request:?}");
    }
    for (audience, svid) in [("", "a.b.c"), (AUDIENCE, ""), (AUDIENCE, "a.b.c")] {
        let request = ValidateJwtsvidRequest {
            audience: audience.into(),
            svid: svid.into(),
        };
        assert_eq!(
            code(api.validate_jwtsvid(request)).await,
            Code::InvalidArgument,
            "{svid}"
        );
    }
}

#[tokio::test]
async fn health_needs_no_header_and_no_identity() {
    let agent = Setup::new().start().await;
    let mut health = HealthClient::new(channel(&agent.setup().workload_socket()).await);
    for service in ["", "SpiffeWorkloadAPI"] {
        let request = HealthCheckRequest {
            service: service.to_owned(),
        };
        let answer = health.check(request).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{service:?}");
    }
    assert_eq!(agent.run(["health"]).await.code, Some(0));
}

#[tokio::test]
async fn reflection_lists_the_services_of_the_socket() {
    use tonic_reflection::pb::v1::ServerReflectionRequest;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

    let agent = Setup::new().start().await;
    let mut reflection =
        ServerReflectionClient::new(channel(&agent.setup().workload_socket()).await);
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let call = reflection.server_reflection_info(futures_util::stream::iter([request]));
    let answer = call
        .await
        .unwrap()
        .into_inner()
        .message()
        .await
        .unwrap()
        .unwrap();
    let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else {
        panic!("{answer:?}");
    };
    let names: Vec<_> = list
        .service
        .into_iter()
        .map(|service| service.name)
        .collect();
    assert!(
        names.iter().any(|name| name == "SpiffeWorkloadAPI"),
        "{names:?}"
    );
    assert!(
        !names.iter().any(|name| name.contains("symbolon.admin")),
        "{names:?}"
    );
}

#[tokio::test]
async fn the_admin_service_is_not_on_the_workload_socket() {
    use symbolon_proto::admin::GetInfoRequest;
    use symbolon_proto::admin::admin_client::AdminClient;

    let agent = Setup::new().start().await;
    let mut admin = AdminClient::new(channel(&agent.setup().workload_socket()).await);
    assert_eq!(
        code(admin.get_info(GetInfoRequest {})).await,
        Code::Unimplemented
    );
}
