//! What an agent refuses to start with, and what it keeps from run to run.

use std::fs::{self, Permissions};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use symbolon_proto::workload::{JwtsvidRequest, ValidateJwtsvidRequest, X509svidRequest};
use symbolon_tests::{AUDIENCE, Agent, Setup, TRUST_DOMAIN, WorkloadApi, within, workload_api};
use tonic::Code;

async fn x509_bundle(api: &mut WorkloadApi) -> Vec<u8> {
    let mut stream = api
        .fetch_x509svid(X509svidRequest {})
        .await
        .unwrap()
        .into_inner();
    let answer = within("an answer", stream.message())
        .await
        .unwrap()
        .unwrap();
    answer.svids[0].bundle.to_vec()
}

/// Every file below a directory.
fn files_below(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| {
            if path.is_dir() {
                files_below(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn a_restart_keeps_authorities_registrations_and_outstanding_tokens() {
    let agent = Setup::new().start().await;
    agent.register_self("client").await;
    agent.register_self("suspended").await;
    agent.suspend("suspended").await;
    let mut api = workload_api(&agent).await;
    let bundle = x509_bundle(&mut api).await;
    let request = JwtsvidRequest {
        audience: vec![AUDIENCE.to_owned()],
        ..Default::default()
    };
    let svid = api
        .fetch_jwtsvid(request)
        .await
        .unwrap()
        .into_inner()
        .svids
        .remove(0)
        .svid;
    let before = agent.json(["client", "list"]).await;

    let stopped = agent.stop().await;
    assert_eq!(stopped.status.code(), Some(0));
    let agent = stopped.setup.start().await;
    let mut after = agent.json(["client", "list"]).await;
    // Nobody holds it yet; all else is as it was.
    after["clients"][0]["processes"] = before["clients"][0]["processes"].clone();
    assert_eq!(after, before);
    let mut api = workload_api(&agent).await;
    assert_eq!(x509_bundle(&mut api).await, bundle);
    let validate = ValidateJwtsvidRequest {
        audience: AUDIENCE.to_owned(),
        svid,
    };
    api.validate_jwtsvid(validate).await.unwrap();
}

#[tokio::test]
async fn a_graceful_stop_ends_streams_as_unavailable() {
    let agent = Setup::new().start().await;
    agent.register_self("client").await;
    let mut api = workload_api(&agent).await;
    let mut stream = api
        .fetch_x509svid(X509svidRequest {})
        .await
        .unwrap()
        .into_inner();
    assert!(stream.message().await.unwrap().is_some());

    let stopped = agent.stop().await;
    let end = within("the end of the stream", stream.message())
        .await
        .unwrap_err();
    assert_eq!(end.code(), Code::Unavailable);
    assert_eq!(stopped.status.code(), Some(0));
    assert!(
        !stopped.setup.workload_socket().exists(),
        "an orderly stop leaves no socket"
    );
}

#[tokio::test]
async fn another_trust_domain_on_the_same_data_is_refused() {
    let stopped = Setup::new().start().await.stop().await;
    let setup = stopped.setup.top("trust_domain", "other.example.org");
    let refused = setup.refused().await;
    assert!(refused.text().contains(TRUST_DOMAIN), "{refused:?}");
    let agent = setup.top("trust_domain", TRUST_DOMAIN).start().await;
    agent.register_self("client").await;
}

#[tokio::test]
async fn sockets_and_secrets_have_their_modes() {
    let agent = Setup::new().start().await;
    let setup = agent.setup();
    assert!(
        fs::metadata(setup.workload_socket())
            .unwrap()
            .file_type()
            .is_socket()
    );
    assert_eq!(mode(&setup.workload_socket()), 0o666);
    for above in setup.workload_socket().ancestors().skip(1).take(2) {
        assert_eq!(
            mode(above),
            0o755,
            "{}: everybody has to pass",
            above.display()
        );
    }
    assert_eq!(mode(&setup.admin_socket()), 0o600);
    assert_eq!(mode(&setup.data().join("keys")), 0o700);
    let secrets = files_below(&setup.data());
    assert!(secrets.len() >= 4, "{secrets:?}");
    for file in secrets {
        assert_eq!(mode(&file) & 0o077, 0, "{}", file.display());
    }
}

#[tokio::test]
async fn keys_that_others_may_read_are_refused() {
    let mut setup = Setup::new().start().await.stop().await.setup;
    let keys = setup.data().join("keys");
    let file = files_below(&keys).into_iter().next().expect("a key file");
    for (path, wide, narrow) in [(file, 0o640, 0o600), (keys, 0o750, 0o700)] {
        fs::set_permissions(&path, Permissions::from_mode(wide)).unwrap();
        let refused = setup.refused().await;
        let named = path.file_name().unwrap().to_str().unwrap();
        assert!(refused.text().contains(named), "{named}: {refused:?}");
        fs::set_permissions(&path, Permissions::from_mode(narrow)).unwrap();
        setup = setup.start().await.stop().await.setup;
    }
}

#[tokio::test]
async fn a_second_agent_on_the_data_directory_is_refused() {
    let agent = Setup::new().start().await;
    agent.register_self("client").await;
    let second = Setup::new().top("data_dir", agent.setup().data().to_str().unwrap());
    let refused = second.refused().await;
    let data = agent.setup().data();
    assert!(
        refused.text().contains(data.to_str().unwrap()),
        "{refused:?}"
    );
    let _served = x509_bundle(&mut workload_api(&agent).await).await;
}

#[tokio::test]
async fn the_socket_of_a_live_agent_is_not_taken_over() {
    let agent = Setup::new().start().await;
    agent.register_self("client").await;
    let socket = agent.setup().workload_socket();
    let second = Setup::new().set("workload_api", "socket", socket.to_str().unwrap());
    let refused = second.refused().await;
    assert!(refused.text().contains("workload.sock"), "{refused:?}");
    let _served = x509_bundle(&mut workload_api(&agent).await).await;
}

#[tokio::test]
async fn stale_sockets_of_a_crashed_agent_are_replaced() {
    let agent = Setup::new().start().await;
    agent.register_self("client").await;
    let crashed = agent.crash().await;
    assert!(
        crashed.setup.workload_socket().exists(),
        "a crash leaves its sockets"
    );
    let agent: Agent = crashed.setup.start().await;
    let _served = x509_bundle(&mut workload_api(&agent).await).await;
}
