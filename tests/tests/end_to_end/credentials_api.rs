//! Client assertions and proofs: who gets them, who does not, and what becomes of the keys.

use serde_json::{Value, json};
use symbolon_proto::credentials::{
    MintClientAssertionRequest, MintClientAssertionResponse, SignDpopProofRequest,
};
use symbolon_tests::{
    Agent, Program, SOMEBODY_ELSE, Setup, can_run, credentials_api, is_root, within,
};
use tonic::{Code, Status};

use crate::caller::{Caller, program};
use crate::credentials::part;

const SERVER: &str = "https://as.example.org";

const MINT: &str = "/symbolon.credentials.v1.Credentials/MintClientAssertion";

async fn agent() -> Agent {
    let setup = Setup::new().set("identity", "public_url", "https://id.example.org");
    setup.start().await
}

/// Registers a client that authorization servers know by a key, for these selectors.
async fn register(agent: &Agent, name: &str, selectors: &[String]) {
    let document = json!({
        "name": name,
        "owner": "tests@example.org",
        "selector_sets": [selectors],
        "authorization_servers": [SERVER],
        "accept_weak": "a test",
        "metadata": {
            "client_name": "A test",
            "grant_types": ["client_credentials"],
            "token_endpoint_auth_method": "private_key_jwt",
        },
    });
    let path = agent.setup().directory().join(format!("{name}.json"));
    std::fs::write(&path, document.to_string()).unwrap();
    let path = path.to_str().unwrap();
    let applied = agent.run(["client", "apply", "-f", path, "--yes", "--reason", "a test"]);
    applied.await.success();
}

fn wanted(server: &str) -> MintClientAssertionRequest {
    MintClientAssertionRequest {
        authorization_server: server.to_owned(),
        ..MintClientAssertionRequest::default()
    }
}

async fn mint(agent: &Agent) -> Result<MintClientAssertionResponse, Status> {
    let mut api = credentials_api(agent).await;
    let minted = within("an assertion", api.mint_client_assertion(wanted(SERVER))).await;
    minted.map(tonic::Response::into_inner)
}

/// What a program of this user is answered.
async fn mint_with(agent: &Agent, program: &Program, uid: u32) -> String {
    let socket = agent.setup().workload_socket();
    let mut caller = Caller::start_at(&socket, agent, program, uid);
    let answered = caller.call_path(MINT, &wanted(SERVER)).await;
    answered.expect("an answer").code
}

async fn keys(agent: &Agent, name: &str) -> Vec<Value> {
    let shown = agent.json(["client", "show", name]).await;
    shown["keys"].as_array().expect("keys").clone()
}

#[tokio::test]
async fn the_registered_program_gets_an_assertion_that_the_trail_tells_of() {
    let agent = agent().await;
    register(&agent, "client", &Program::itself().selectors()).await;
    let minted = mint(&agent).await.unwrap();
    let claims = part(&minted.client_assertion, 1);
    let id = "https://id.example.org/clients/client/client.json";
    assert_eq!(claims["iss"], id);
    assert_eq!(claims["sub"], id);
    assert_eq!(claims["aud"], SERVER);
    let header = part(&minted.client_assertion, 0);
    assert_eq!(header["typ"], "client-authentication+jwt");
    let listed = keys(&agent, "client").await;
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0]["key_id"], header["kid"]);
    assert_eq!(listed[0]["slot"], "active");

    let story = agent.json(["audit", "trace", "--jti", &minted.jti]).await;
    assert_eq!(
        story["credentials"][0]["credential"]["kind"],
        "client-assertion"
    );
    assert_eq!(story["clients"][0]["name"], "client");
    assert_eq!(story["processes"][0]["pid"], std::process::id());
}

#[tokio::test]
async fn a_copy_with_one_changed_byte_gets_no_assertion() {
    let agent = agent().await;
    let program = program(&agent);
    let uid = rustix::process::geteuid().as_raw();
    register(&agent, "client", &program.selectors()).await;
    assert_eq!(mint_with(&agent, &program, uid).await, "Ok");
    let altered = program.alter_to(program.path());
    assert_eq!(mint_with(&agent, &altered, uid).await, "PermissionDenied");
}

#[tokio::test]
async fn another_user_gets_no_assertion() {
    let enable = "run the tests as root";
    if !can_run("another_user_gets_no_assertion", is_root(), enable) {
        return;
    }
    let agent = agent().await;
    let program = program(&agent);
    register(&agent, "client", &program.selectors()).await;
    let denied = mint_with(&agent, &program, SOMEBODY_ELSE).await;
    assert_eq!(denied, "PermissionDenied");
}

#[tokio::test]
async fn suspension_ends_assertions_and_proofs_at_once() {
    let agent = agent().await;
    register(&agent, "client", &Program::itself().selectors()).await;
    mint(&agent).await.unwrap();
    let mut api = credentials_api(&agent).await;
    let proof = SignDpopProofRequest {
        method: "POST".to_owned(),
        target: format!("{SERVER}/token"),
        ..SignDpopProofRequest::default()
    };
    let signed = api.sign_dpop_proof(proof.clone()).await.unwrap();
    let signed = signed.into_inner();
    assert_eq!(part(&signed.proof, 1)["htm"], "POST");
    agent.suspend("client").await;
    let denied = mint(&agent).await.unwrap_err();
    assert_eq!(denied.code(), Code::PermissionDenied);
    let denied = api.sign_dpop_proof(proof).await.unwrap_err();
    assert_eq!(denied.code(), Code::PermissionDenied);
}

#[tokio::test]
async fn a_replaced_key_is_gone_from_the_disk_and_signs_no_more() {
    let agent = agent().await;
    register(&agent, "client", &Program::itself().selectors()).await;
    let before = part(&mint(&agent).await.unwrap().client_assertion, 0);
    let file = agent.setup().data().join("keys/clients/client.json");
    let old = std::fs::read_to_string(&file).unwrap();
    let replaced = agent.run(["client", "replace-key", "client", "--reason", "stolen"]);
    replaced.await.success();
    let after = part(&mint(&agent).await.unwrap().client_assertion, 0);
    assert_ne!(before["kid"], after["kid"]);
    assert_eq!(keys(&agent, "client").await.len(), 1);
    let secret = |text: &str| {
        let stored: Value = serde_json::from_str(text).unwrap();
        stored["keys"][0]["key"].as_str().unwrap().to_owned()
    };
    let new = std::fs::read_to_string(&file).unwrap();
    assert!(!new.contains(&secret(&old)));
    let trail = agent.audit().await;
    let rotated: Vec<_> = trail
        .iter()
        .filter(|event| event["authority"]["kind"] == "client" && event["operator"].is_string())
        .collect();
    assert_eq!(rotated.len(), 2, "{rotated:?}");
    assert_eq!(rotated[0]["authority"]["key_id"], before["kid"]);
    assert_eq!(rotated[0]["authority"]["slot"], "retired");

    // A restart keeps the keys, and no log or trail has one.
    let log = std::fs::read_to_string(agent.setup().log_file()).unwrap();
    let trail = serde_json::to_string(&trail).unwrap();
    for text in [&log, &trail] {
        assert!(!text.contains(&secret(&new)) && !text.contains(&secret(&old)));
    }
    let agent = agent.stop().await.setup.start().await;
    let again = part(&mint(&agent).await.unwrap().client_assertion, 0);
    assert_eq!(again["kid"], after["kid"]);
}

/// Mounts the directory of the clients' keys anew, as the agent alone sees it.
fn remount_keys(agent: &Agent, mode: &str) {
    let folder = agent.setup().data().join("keys/clients");
    let status = std::process::Command::new("nsenter")
        .arg(format!("--mount=/proc/{}/ns/mnt", agent.pid()))
        .args(["mount", "-o", &format!("remount,bind,{mode}")])
        .arg(folder)
        .status();
    assert!(status.expect("nsenter runs").success());
}

/// Whoever has an emergency is told that it is not over, and the key is out of use all the same.
#[tokio::test]
async fn a_key_that_cannot_be_removed_is_out_of_use_and_named() {
    let name = "a_key_that_cannot_be_removed_is_out_of_use_and_named";
    if !can_run(name, is_root(), "run the tests as root") {
        return;
    }
    let setup = agent().await.stop().await.setup;
    let folder = setup.data().join("keys/clients");
    let script = format!("mount --bind '{0}' '{0}' && exec \"$@\"", folder.display());
    let unshare = ["unshare", "--mount", "--propagation", "private"];
    let setup = setup.wrapped_in([&unshare[..], &["sh", "-c", &script, "sh"]].concat());
    let agent = setup.start().await;
    register(&agent, "client", &Program::itself().selectors()).await;
    let stolen = part(&mint(&agent).await.unwrap().client_assertion, 0);

    remount_keys(&agent, "ro");
    let replaced = ["client", "replace-key", "client", "--reason", "stolen"];
    let failed = agent.run(replaced).await;
    assert_ne!(failed.code, Some(0), "{failed:?}");
    let file = folder.join("client.json");
    for told in [
        "the old keys sign no more",
        file.to_str().unwrap(),
        "before the agent is restarted",
    ] {
        assert!(failed.stderr.contains(told), "{told}: {failed:?}");
    }
    let listed = keys(&agent, "client").await;
    assert_eq!(listed[0]["key_id"], stolen["kid"]);
    assert_eq!(listed[0]["published"], false, "{listed:?}");
    let denied = mint(&agent).await.unwrap_err();
    assert_eq!(denied.code(), Code::Unavailable, "{denied:?}");
    let mut trail = agent.follow_audit();
    let told = loop {
        let event = trail.next_of_kind("rotated").await;
        if event["reason"] == "replaced by command: stolen" {
            break event;
        }
    };
    assert_eq!(told["authority"]["key_id"], stolen["kid"]);

    // As soon as that is possible, it is done.
    remount_keys(&agent, "rw");
    while trail.next_of_kind("rotated").await["reason"] != "published; signs" {}
    let after = part(&mint(&agent).await.unwrap().client_assertion, 0);
    assert_ne!(after["kid"], stolen["kid"]);
    let again = agent
        .stop()
        .await
        .setup
        .wrapped_in(Vec::new())
        .start()
        .await;
    let kept = part(&mint(&again).await.unwrap().client_assertion, 0);
    assert_eq!(kept["kid"], after["kid"]);
}
