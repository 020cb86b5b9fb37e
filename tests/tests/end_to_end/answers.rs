//! Which identities, tokens and bundles an answer holds, and for whom.

use symbolon_proto::workload::{
    JwtsvidRequest, JwtsvidResponse, ValidateJwtsvidRequest, X509BundlesRequest, X509svidRequest,
};
use symbolon_tests::{AUDIENCE, Agent, Program, Setup, Workload, symbolon, within, workload_api};
use tokio::io::AsyncReadExt as _;
use tokio::net::UnixStream;
use tonic::{Code, Status};

async fn jwt_svids(agent: &Agent, audience: &[&str]) -> Result<JwtsvidResponse, Status> {
    let audience = audience.iter().map(ToString::to_string).collect();
    let request = JwtsvidRequest {
        audience,
        ..Default::default()
    };
    let mut api = workload_api(agent).await;
    api.fetch_jwtsvid(request)
        .await
        .map(tonic::Response::into_inner)
}

fn ids(response: &JwtsvidResponse) -> Vec<&str> {
    response
        .svids
        .iter()
        .map(|svid| svid.spiffe_id.as_str())
        .collect()
}

#[tokio::test]
async fn tokens_come_from_those_clients_that_list_every_audience() {
    let agent = Setup::new().start().await;
    let selectors = Program::itself().selectors();
    let both = [
        "--audience",
        "one",
        "--audience",
        "two",
        "--max-audiences",
        "2",
    ];
    agent.register_with("both", &selectors, both).await;
    agent
        .register_with("two", &selectors, ["--audience", "two"])
        .await;
    let (both, two) = (
        "spiffe://example.org/mcp/client/both",
        "spiffe://example.org/mcp/client/two",
    );
    assert_eq!(ids(&jwt_svids(&agent, &["one"]).await.unwrap()), [both]);
    assert_eq!(
        ids(&jwt_svids(&agent, &["two"]).await.unwrap()),
        [both, two]
    );
    assert_eq!(
        ids(&jwt_svids(&agent, &["one", "two"]).await.unwrap()),
        [both]
    );
    let none = jwt_svids(&agent, &["three"]).await.unwrap_err();
    assert_eq!(none.code(), Code::PermissionDenied);
}

#[tokio::test]
async fn hints_are_unique_in_an_answer() {
    let agent = Setup::new().start().await;
    let selectors = Program::itself().selectors();
    for name in ["first", "second"] {
        agent
            .register_with(name, &selectors, ["--hint", "same"])
            .await;
    }
    let mut api = workload_api(&agent).await;
    let mut stream = api
        .fetch_x509svid(X509svidRequest {})
        .await
        .unwrap()
        .into_inner();
    let answer = within("an answer", stream.message())
        .await
        .unwrap()
        .unwrap();
    let hinted = answer.svids.iter().filter(|svid| svid.hint == "same");
    assert_eq!(hinted.count(), 1, "{answer:?}");
}

#[tokio::test]
async fn a_process_without_an_identity_may_validate_tokens() {
    let agent = Setup::new().start().await;
    let program = Program::at(symbolon()).copy_to(agent.setup().directory(), "workload");
    agent.register("client", &program.selectors()).await;
    let mut command = agent.command(program.path());
    command.args(["svid", "jwt", "--raw", "--audience", AUDIENCE]);
    let token = Workload::start(&mut command).end().await.success();

    let mut api = workload_api(&agent).await;
    let mut validate = ValidateJwtsvidRequest {
        audience: AUDIENCE.to_owned(),
        svid: token.trim().to_owned(),
    };
    let valid = api
        .validate_jwtsvid(validate.clone())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(valid.spiffe_id, "spiffe://example.org/mcp/client/client");
    assert!(valid.claims.unwrap().fields.contains_key("jti"));
    validate.svid.push('x');
    let forged = api.validate_jwtsvid(validate).await.unwrap_err();
    assert_eq!(forged.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn bundles_are_for_any_process_where_configured() {
    for (bundles, served) in [("identified", false), ("any", true)] {
        let setup = Setup::new().set("workload_api", "bundles", bundles);
        let agent = setup.start().await;
        let mut api = workload_api(&agent).await;
        let first = async {
            let call = api.fetch_x509_bundles(X509BundlesRequest {}).await?;
            call.into_inner().message().await
        };
        match within("an answer", first).await {
            Ok(answer) => assert!(served && answer.is_some(), "{bundles}: {answer:?}"),
            Err(status) => {
                assert_eq!((served, status.code()), (false, Code::PermissionDenied));
            }
        }
    }
}

#[tokio::test]
async fn one_user_cannot_take_all_connections() {
    let setup = Setup::new().set("limits", "max_connections_per_uid", 3);
    let agent = setup.start().await;
    agent.register_self("client").await;
    let socket = agent.setup().workload_socket();
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(UnixStream::connect(&socket).await.unwrap());
    }
    let mut refused = UnixStream::connect(&socket).await.unwrap();
    // Closed at once, without or with a reset.
    let end = within("the end of the connection", refused.read(&mut [0])).await;
    assert_eq!(end.unwrap_or(0), 0);
    // Operators have a socket of their own.
    assert_eq!(agent.run(["client", "list"]).await.code, Some(0));
}
