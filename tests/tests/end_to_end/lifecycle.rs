//! What becomes of an open stream when the registration behind it changes.

use symbolon_proto::workload::{
    JwtsvidRequest, ValidateJwtsvidRequest, X509BundlesRequest, X509svidRequest, X509svidResponse,
};
use symbolon_tests::{AUDIENCE, Program, Setup, WorkloadApi, within, workload_api};
use tonic::{Code, Status, Streaming};

type X509Stream = Streaming<X509svidResponse>;

async fn open(api: &mut WorkloadApi) -> Result<X509Stream, Status> {
    let call = api.fetch_x509svid(X509svidRequest {});
    within("the answer's head", call)
        .await
        .map(tonic::Response::into_inner)
}

/// The next pushed set.
async fn pushed(stream: &mut X509Stream) -> X509svidResponse {
    let message = within("a push", stream.message()).await;
    message
        .expect("a message, not an end")
        .expect("not the end")
}

/// The status that ends the stream.
async fn end(stream: &mut X509Stream) -> Status {
    let end = within("the end of the stream", stream.message()).await;
    end.expect_err("an end with a status")
}

fn names(response: &X509svidResponse) -> Vec<&str> {
    let ids = response.svids.iter().map(|svid| svid.spiffe_id.as_str());
    ids.map(|id| id.trim_start_matches("spiffe://example.org/mcp/client/"))
        .collect()
}

#[tokio::test]
async fn a_registration_reaches_an_open_stream() {
    let agent = Setup::new().start().await;
    agent.register_self("first").await;
    let mut stream = open(&mut workload_api(&agent).await).await.unwrap();
    let before = pushed(&mut stream).await;
    assert_eq!(names(&before), ["first"]);

    agent.register("second", &[Program::uid_selector()]).await;
    let after = pushed(&mut stream).await;
    assert_eq!(
        names(&after),
        ["first", "second"],
        "a full set in a stable order"
    );
    assert_eq!(
        after.svids[0], before.svids[0],
        "nothing is issued anew without a reason"
    );
}

#[tokio::test]
async fn a_change_of_the_registration_reaches_an_open_stream() {
    let agent = Setup::new().start().await;
    agent.register_self("client").await;
    let mut stream = open(&mut workload_api(&agent).await).await.unwrap();
    assert_eq!(pushed(&mut stream).await.svids[0].hint, "");

    agent
        .run(["client", "update", "client", "--hint", "database"])
        .await
        .success();
    assert_eq!(pushed(&mut stream).await.svids[0].hint, "database");
}

#[tokio::test]
async fn a_change_of_the_selectors_takes_the_identity_away() {
    let agent = Setup::new().start().await;
    agent.register_self("client").await;
    let mut stream = open(&mut workload_api(&agent).await).await.unwrap();
    let _issued = pushed(&mut stream).await;

    let elsewhere = ["client", "update", "client", "--selector", "unix:uid:12345"];
    agent.run(elsewhere).await.success();
    assert_eq!(end(&mut stream).await.code(), Code::PermissionDenied);
}

#[tokio::test]
async fn losing_one_of_two_identities_leaves_the_other() {
    let agent = Setup::new().start().await;
    agent.register_self("first").await;
    agent.register_self("second").await;
    let mut stream = open(&mut workload_api(&agent).await).await.unwrap();
    let before = pushed(&mut stream).await;
    assert_eq!(names(&before), ["first", "second"]);

    agent.suspend("first").await;
    let after = pushed(&mut stream).await;
    assert_eq!(names(&after), ["second"]);
    assert_eq!(after.svids[0], before.svids[1]);
}

#[tokio::test]
async fn a_suspension_ends_every_stream_of_the_client_and_no_other() {
    let agent = Setup::new().start().await;
    agent.register_self("client").await;
    let mut streams = Vec::new();
    for _connection in 0..10 {
        let mut api = workload_api(&agent).await;
        for _stream in 0..20 {
            let mut stream = open(&mut api).await.unwrap();
            assert_eq!(names(&pushed(&mut stream).await), ["client"]);
            streams.push(stream);
        }
    }
    let other = symbolon_tests::Client::Rust;
    agent.register("other", &other.selectors()).await;
    let mut workload = other.start(&agent);
    workload.event("x509").await;
    workload.event("jwt").await;

    agent.suspend("client").await;
    for mut stream in streams {
        assert_eq!(end(&mut stream).await.code(), Code::PermissionDenied);
    }
    agent.suspend("other").await;
    assert_eq!(workload.event("ended").await["code"], "PERMISSION_DENIED");
}

#[tokio::test]
async fn a_suspension_ends_the_stream_and_a_resumption_serves_the_next_call() {
    let agent = Setup::new().start().await;
    agent.register_self("client").await;
    let mut api = workload_api(&agent).await;
    let mut stream = open(&mut api).await.unwrap();
    let before = pushed(&mut stream).await;

    agent.suspend("client").await;
    assert_eq!(end(&mut stream).await.code(), Code::PermissionDenied);
    assert_eq!(first_refusal(&mut api).await.code(), Code::PermissionDenied);

    agent.run(["client", "resume", "client"]).await.success();
    let after = pushed(&mut open(&mut api).await.unwrap()).await;
    assert_eq!(after.svids[0].spiffe_id, before.svids[0].spiffe_id);
}

/// The status of a stream that brings nothing.
async fn first_refusal(api: &mut WorkloadApi) -> Status {
    match open(api).await {
        Ok(mut stream) => end(&mut stream).await,
        Err(status) => status,
    }
}

#[tokio::test]
async fn a_revocation_is_final_for_the_name_and_the_spiffe_id() {
    let agent = Setup::new().start().await;
    agent.register_self("client").await;
    let mut stream = open(&mut workload_api(&agent).await).await.unwrap();
    let _issued = pushed(&mut stream).await;

    agent.revoke("client").await;
    assert_eq!(end(&mut stream).await.code(), Code::PermissionDenied);

    let resumed = agent.run(["client", "resume", "client"]).await;
    assert_eq!(resumed.code, Some(1), "{resumed:?}");
    let id = "spiffe://example.org/mcp/client/client";
    for (name, options) in [("client", None), ("other", Some(id))] {
        let mut arguments = vec!["client", "register", name, "--owner", "tests@example.org"];
        arguments.extend(["--selector", "unix:uid:12345"]);
        arguments.extend(options.iter().flat_map(|id| ["--spiffe-id", id]));
        let again = agent.run_list(&arguments).await;
        assert_eq!(again.code, Some(1), "{name}: {again:?}");
    }
    assert_eq!(
        agent.json(["client", "show", "client"]).await["state"],
        "revoked"
    );
}

#[tokio::test]
async fn an_expiry_ends_the_stream_without_anybody_acting() {
    let agent = Setup::new().start().await;
    // The first registration has the machine's interpreters hashed, which takes its time.
    agent.register_self("client").await;
    agent
        .run(["client", "update", "client", "--expires-at", "3s"])
        .await
        .success();
    let mut stream = open(&mut workload_api(&agent).await).await.unwrap();
    let _issued = pushed(&mut stream).await;

    assert_eq!(end(&mut stream).await.code(), Code::PermissionDenied);
    assert_eq!(
        agent.json(["client", "show", "client"]).await["state"],
        "expired"
    );
}

#[tokio::test]
async fn a_call_before_the_registration_is_held_where_configured() {
    let setup = Setup::new().set("workload_api", "wait_for_registration", "50s");
    let agent = setup.start().await;
    let mut api = workload_api(&agent).await;
    let held = async { pushed(&mut open(&mut api).await.unwrap()).await };
    let (response, ()) = tokio::join!(held, agent.register_self("late"));
    assert_eq!(names(&response), ["late"]);
}

#[tokio::test]
async fn the_bundle_stream_ends_with_the_last_identity() {
    let agent = Setup::new().start().await;
    agent.register_self("client").await;
    let mut api = workload_api(&agent).await;
    let mut bundles = api
        .fetch_x509_bundles(X509BundlesRequest {})
        .await
        .unwrap()
        .into_inner();
    assert!(bundles.message().await.unwrap().is_some());

    agent.suspend("client").await;
    let end = within("the end of the bundle stream", bundles.message())
        .await
        .unwrap_err();
    assert_eq!(end.code(), Code::PermissionDenied);
}

#[tokio::test]
async fn the_token_of_a_suspended_client_is_no_longer_valid() {
    let agent = Setup::new().start().await;
    agent.register_self("judge").await;
    let audience = ["--audience", AUDIENCE];
    agent
        .register_with("defendant", &[Program::uid_selector()], audience)
        .await;
    let mut api = workload_api(&agent).await;
    let request = JwtsvidRequest {
        audience: vec![AUDIENCE.to_owned()],
        spiffe_id: "spiffe://example.org/mcp/client/defendant".to_owned(),
    };
    let svid = api
        .fetch_jwtsvid(request)
        .await
        .unwrap()
        .into_inner()
        .svids
        .remove(0)
        .svid;
    let validate = ValidateJwtsvidRequest {
        audience: AUDIENCE.to_owned(),
        svid,
    };
    api.validate_jwtsvid(validate.clone()).await.unwrap();

    agent.suspend("defendant").await;
    let refusal = api.validate_jwtsvid(validate.clone()).await.unwrap_err();
    assert_eq!(refusal.code(), Code::InvalidArgument);
    agent.run(["client", "resume", "defendant"]).await.success();
    api.validate_jwtsvid(validate).await.unwrap();
}

#[tokio::test]
async fn the_exit_of_a_process_is_noticed() {
    let agent = Setup::new().start().await;
    agent
        .register("client", &symbolon_tests::Client::Rust.selectors())
        .await;
    let mut workload = symbolon_tests::Client::Rust.start(&agent);
    let _issued = workload.event("x509").await;
    assert_eq!(
        agent.json(["client", "show", "client"]).await["processes"],
        1
    );
    let mut trail = agent.follow_audit();
    let pid = workload.pid();

    drop(workload);
    let withdrawn = trail.next_of_kind("withdrawn").await;
    assert_eq!(withdrawn["process"]["pid"], pid);
    assert_eq!(
        agent.json(["client", "show", "client"]).await["processes"],
        0
    );
}
