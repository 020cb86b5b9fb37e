//! `symbolon token` against real peers: an MCP server that publishes where its tokens come from
//! and checks them, and an authorization server that makes them.

use std::fs;
use std::path::PathBuf;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use symbolon_tests::{Client, Output, Program, Workload, can_run, has_tool, symbolon, within};

use crate::credentials::part;
use crate::oauth::{ID, Peers, SCOPE, real_url, text};

/// The agent and the servers, with `symbolon` itself as the client `tools`.
async fn peers(options: &[&str]) -> Option<Peers> {
    if !can_run(
        "symbolon token with a client",
        has_tool("curl"),
        "apt-get install curl",
    ) {
        return None;
    }
    let peers = Peers::start_with(|setup| setup, options).await?;
    peers.register(&[Program::at(symbolon()).selectors()]).await;
    Some(peers)
}

/// What `symbolon token` fails with: this exit code, and nothing on standard output.
async fn failure<const N: usize>(peers: &Peers, code: i32, arguments: [&str; N]) -> String {
    let failed = peers.agent.run(arguments).await;
    assert_eq!(failed.code, Some(code), "{failed:?}");
    assert_eq!(failed.stdout, "");
    // Neither an assertion nor a token.
    assert!(!failed.stderr.contains("eyJ"), "{failed:?}");
    failed.stderr
}

/// The client ID that the tool sees where the stock client sends these header lines.
async fn called(peers: &Peers, url: &str, headers: &str) -> Value {
    let mut command = Client::Python.script(&peers.agent, "mcp_headers.py");
    let mut workload = Workload::start(command.arg(url).env("HEADERS", headers));
    workload.event("called").await["client_id"].clone()
}

/// The RFC 7638 thumbprint of the key in a proof.
fn thumbprint(proof: &str) -> String {
    let jwk = &part(proof, 0)["jwk"];
    let [x, y] = ["x", "y"].map(|name| text(jwk, name));
    let canonical = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
    hash(&canonical)
}

fn hash(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, text.as_bytes()))
}

/// What the resource answers to a request with these headers.
async fn ask(peers: &Peers, headers: &[String]) -> Output {
    let mut command = symbolon_tests::command("curl".as_ref());
    command.args(["--silent", "--show-error", "--fail", "--request", "POST"]);
    for header in headers {
        command.args(["--header", header]);
    }
    command.arg(format!("{}/mcp", peers.issuer));
    let asked = within("the resource's answer", command.output()).await;
    Output::from(asked.expect("curl runs"))
}

#[tokio::test]
async fn the_mcp_server_takes_the_token() {
    let Some(peers) = peers(&["--any-resource"]).await else {
        return;
    };
    let (_mcp, url) = peers.mcp_server().await;
    let agent = &peers.agent;
    let token = agent.run(["token", &url]).await.success();
    let token = token.strip_suffix('\n').expect("a line");
    let claims = part(token, 1);
    assert_eq!(claims["client_id"], ID);
    assert_eq!(claims["aud"], *url);
    assert_eq!(claims["scope"], SCOPE, "what the server says it needs");
    let header = format!("Authorization: Bearer {token}");
    assert_eq!(called(&peers, &url, &header).await, ID);

    let header = agent.run(["token", "--header", &url]).await.success();
    assert_eq!(called(&peers, &url, &header).await, ID);

    let told = agent.json(["token", "--scope", SCOPE, &url]).await;
    let token = text(&told, "access_token");
    let header = format!("Authorization: {} {token}", text(&told, "token_type"));
    assert_eq!(called(&peers, &url, &header).await, ID);
    for (field, value) in [
        ("authorization_server", &*peers.issuer),
        ("client_id", ID),
        ("resource", &url),
        ("scope", SCOPE),
        ("spiffe_id", "spiffe://example.org/mcp/client/tools"),
        ("token_type", "Bearer"),
    ] {
        assert_eq!(told[field], value, "{told}");
    }
    assert!(told["expires_at"].is_string() && told.get("dpop_proof").is_none());
    let jti = text(&told, "assertion_jti");
    let trail = agent.audit().await;
    let mut made = trail.iter().filter(|e| e["credential"]["jti"] == *jti);
    let made = made.next().expect("the assertion is in the trail");
    assert_eq!(made["credential"]["kind"], "client-assertion");
    assert_eq!(made["credential"]["audiences"], json!([peers.issuer]));
    assert!(text(made, "reason").contains(&url), "{made}");
}

#[tokio::test]
async fn a_bound_token_comes_with_the_proof_for_one_request() {
    let Some(mut peers) = peers(&[]).await else {
        return;
    };
    let url = format!("{}/mcp", peers.issuer);
    let told = peers.agent.json(["token", "--dpop", &url]).await;
    let (token, proof) = (text(&told, "access_token"), text(&told, "dpop_proof"));
    assert_eq!(told["token_type"], "DPoP");
    let bound = &part(&token, 1)["cnf"]["jkt"];
    assert_eq!(*bound, thumbprint(&proof));
    let claims = part(&proof, 1);
    assert_eq!(claims["htm"], "POST");
    assert_eq!(claims["htu"], *url);
    assert_eq!(claims["ath"], hash(&token));
    // The proof's key is what the trail tells of, and the private half is nowhere to be seen.
    let jti = text(&claims, "jti");
    let story = peers.agent.json(["audit", "trace", "--jti", &jti]).await;
    let made = story["credentials"].as_array().expect("a list");
    let made = made.iter().find(|made| made["credential"]["jti"] == *jti);
    let made = &made.expect("the proof")["credential"];
    assert_eq!(made["kind"], "dpop-proof");
    assert!(made.to_string().contains(bound.as_str().unwrap()), "{made}");
    assert!(part(&proof, 0)["jwk"].get("d").is_none());

    let [token, proof] = [
        format!("Authorization: DPoP {token}"),
        format!("DPoP: {proof}"),
    ];
    let seen = ask(&peers, &[token.clone(), proof.clone()]).await.json();
    assert_eq!(seen["client_id"], ID);
    let called = peers.server.next_of_kind("called").await;
    assert_eq!(called["client_id"], ID);

    // Lines are headers as they are.
    let lines = peers.agent.run(["token", "--dpop", &url]).await.success();
    let lines: Vec<_> = lines.lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert_eq!(ask(&peers, &lines).await.json()["client_id"], ID);

    // Another process has another key, and without its proof the token is worth nothing.
    for headers in [
        vec![token.clone()],
        vec![token.clone(), lines[1].clone()],
        vec![token.replace("DPoP", "Bearer")],
    ] {
        let refused = ask(&peers, &headers).await;
        assert_ne!(refused.code, Some(0), "{refused:?}");
        peers.server.next_of_kind("rejected").await;
    }
}

#[tokio::test]
async fn a_nonce_that_the_server_wants_is_in_the_second_proof() {
    let Some(peers) = peers(&["--nonce"]).await else {
        return;
    };
    let url = format!("{}/mcp", peers.issuer);
    let lines = peers.agent.run(["token", "--dpop", &url]).await.success();
    let lines: Vec<_> = lines.lines().map(str::to_owned).collect();
    assert_eq!(ask(&peers, &lines).await.json()["client_id"], ID);
}

#[tokio::test]
async fn nobody_else_gets_a_token() {
    let Some(peers) = Peers::start(|setup| setup).await else {
        return;
    };
    let (_mcp, url) = peers.mcp_server().await;
    // Nobody, and then somebody else than the program that asks.
    let told = failure(&peers, 3, ["token", &url]).await;
    let issuer = &peers.issuer;
    let start = format!("symbolon: the client assertion for {issuer}: denied: no identity issued");
    assert!(told.starts_with(&start), "{told}");
    peers.register(&[Program::itself().selectors()]).await;
    failure(&peers, 3, ["token", &url]).await;
    // The right one, for another server.
    let own = Program::at(symbolon()).selectors();
    let elsewhere = "https://as.example.org";
    peers
        .register_for(elsewhere, std::slice::from_ref(&own))
        .await;
    let told = failure(&peers, 3, ["token", &url]).await;
    let start =
        format!("symbolon: the client assertion for {issuer}: denied: authorization server");
    assert!(told.starts_with(&start), "{told}");
    // And the right one.
    peers.register(&[own]).await;
    peers.agent.run(["token", &url]).await.success();
    peers.agent.suspend("tools").await;
    failure(&peers, 3, ["token", &url]).await;
    let resumed = peers.agent.run(["client", "resume", "tools"]);
    resumed.await.success();
    peers.agent.run(["token", &url]).await.success();
}

#[tokio::test]
async fn failures_name_the_step_and_the_server() {
    let Some(mut peers) = peers(&[]).await else {
        return;
    };
    let issuer = peers.issuer.clone();

    let (_mcp, url) = peers.mcp_server().await;
    let told = failure(&peers, 1, ["token", &url]).await;
    let start = format!("symbolon: the token request: {issuer}/token: answered 400 Bad Request");
    assert!(told.starts_with(&start), "{told}");
    assert!(told.contains("(invalid_target: "), "{told}");
    let refused = peers.server.next_of_kind("refused").await;
    assert_eq!(refused["error"], "invalid_target");

    let told = failure(&peers, 1, ["token", &format!("{issuer}/nothing")]).await;
    assert!(told.contains("the resource's metadata: "), "{told}");
    assert!(told.contains("answered 404 Not Found"), "{told}");

    // The MCP server calls its authorization server by another name than that does itself.
    let alias = issuer.replace("127.0.0.1", "localhost");
    let (_mcp, url) = peers.mcp_server_of(&alias).await;
    let told = failure(&peers, 1, ["token", &url]).await;
    let part = format!("is of the issuer {issuer}, not of {alias}");
    assert!(told.contains(&part), "{told}");

    // The identity port is a server with TLS, and no resource.
    let secure = format!("{}/mcp", real_url(&peers.agent));
    let told = failure(&peers, 1, ["token", &secure]).await;
    let start = format!("symbolon: the resource: {secure}: no TLS connection: ");
    assert!(told.starts_with(&start), "{told}");
    assert!(told.contains("UnknownIssuer"), "{told}");
    let ca = peers.agent.setup().directory().join("ca.pem");
    let ca = ca.to_str().unwrap();
    let told = failure(&peers, 1, ["token", "--ca-file", ca, &secure]).await;
    assert!(told.contains("the resource's metadata: "), "{told}");
}

/// The process may create no file that is not empty, and leaves none.
#[tokio::test]
async fn nothing_is_written_to_disk() {
    let Some(peers) = peers(&[]).await else {
        return;
    };
    let url = format!("{}/mcp", peers.issuer);
    let home = peers.agent.setup().directory().join("home");
    fs::create_dir(&home).unwrap();
    for option in ["--header", "--dpop"] {
        let mut command = peers.agent.command("sh".as_ref());
        command.args(["-c", "ulimit -f 0 && exec \"$@\"", "sh"]);
        command.arg(symbolon()).args(["token", option, &url]);
        command.current_dir(&home);
        for variable in [
            "HOME",
            "TMPDIR",
            "XDG_CACHE_HOME",
            "XDG_CONFIG_HOME",
            "XDG_DATA_HOME",
            "XDG_RUNTIME_DIR",
            "XDG_STATE_HOME",
        ] {
            command.env(variable, &home);
        }
        let got = within("a token", command.output()).await;
        let got = Output::from(got.expect("it runs")).success();
        assert!(got.starts_with("Authorization: "), "{got}");
    }
    let left: Vec<PathBuf> = fs::read_dir(&home)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(left, Vec::<PathBuf>::new());
    // Nor has the agent anything of it in its files.
    let told = peers.agent.json(["token", &url]).await;
    let token = text(&told, "access_token");
    let signature = token.rsplit('.').next().unwrap();
    let mut files = 0_u32;
    let mut places = vec![peers.agent.setup().directory().to_owned()];
    while let Some(place) = places.pop() {
        for entry in fs::read_dir(place).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                places.push(path);
            } else if path.is_file() {
                files += 1;
                let content = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
                assert!(!content.contains(signature), "{}", path.display());
            }
        }
    }
    assert!(files > 3, "data and log of the agent");
}
