//! What authorization servers are told, from the file to the document and the token, and what the
//! validators of others say about documents.

use crate::credentials::part;
use serde_json::{Value, json};
use std::{fs, path::Path};
use symbolon_proto::workload::JwtsvidRequest;
use symbolon_tests::{AUDIENCE, Agent, Program, Setup, can_run, has_tool, workload_api};
use tokio::process::Command;

const PUBLIC: &str = "https://id.example.org/agent";

#[tokio::test]
async fn a_file_becomes_a_document_and_a_claim() {
    let setup = Setup::new().set("identity", "public_url", PUBLIC);
    let file = setup.directory().join("client.json");
    let metadata = json!({
        "client_name": "Web search",
        "redirect_uris": ["http://127.0.0.1/cb"],
        "application_type": "native",
        "dpop_bound_access_tokens": true,
    });
    fs::write(&file, metadata.to_string()).expect("written");
    let agent = setup.start().await;
    let options = [
        "--audience",
        AUDIENCE,
        "--metadata",
        file.to_str().expect("text"),
        "--authorization-server",
        "https://as.example.org",
    ];
    let selectors = Program::itself().selectors();
    agent.register_with("search", &selectors, options).await;

    let id = format!("{PUBLIC}/clients/search/client.json");
    let shown = agent.json(["client", "show", "search"]).await;
    assert_eq!(shown["client_id"], *id);
    let printed = agent.run(["client", "show", "search", "--document"]).await;
    let document: Value = serde_json::from_str(&printed.success()).expect("a document");
    assert_eq!(document["client_id"], *id);
    assert_eq!(document["dpop_bound_access_tokens"], true);
    assert_eq!(document["software_version"], "1");
    assert_eq!(document["token_endpoint_auth_method"], "private_key_jwt");

    assert_eq!(part(&token(&agent).await, 1)["client_id"], *id);

    // Applied again, the document of the registration changes nothing.
    let exported = agent.run(["client", "export", "search"]).await.success();
    let file = agent_file(&file, "search.yaml", &exported);
    let dry = ["client", "apply", "-f", &file, "--dry-run", "-o", "json"];
    let dry = agent.run(dry).await;
    assert_eq!(dry.code, Some(0), "{dry:?}");

    // No reason helps against a pattern.
    let wrong = json!({"client_name": "Other", "redirect_uris": ["https://id.example.org/*"]});
    let file = agent_file(Path::new(&file), "wrong.json", &wrong.to_string());
    let update = [
        "client",
        "update",
        "search",
        "--metadata",
        &file,
        "--accept-weak",
        "please",
    ];
    let refused = agent.run(update).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    let told = &refused.stderr;
    assert!(
        told.contains("redirect-uri-wildcard: /redirect_uris/0"),
        "{told}"
    );
    assert!(told.contains("No reason outweighs"), "{told}");
}

async fn token(agent: &Agent) -> String {
    let request = JwtsvidRequest {
        audience: vec![AUDIENCE.to_owned()],
        ..JwtsvidRequest::default()
    };
    let answer = workload_api(agent).await.fetch_jwtsvid(request).await;
    let mut svids = answer.expect("a token").into_inner().svids;
    svids.remove(0).svid
}

fn agent_file(beside: &Path, name: &str, text: &str) -> String {
    let path = beside.with_file_name(name);
    fs::write(&path, text).expect("written");
    path.to_str().expect("text").to_owned()
}

/// Runs a validator over the vectors; it compares its verdicts with theirs.
async fn compares(mut validator: Command) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace");
    let vectors = root.join("agent/src/lint/document/vectors.json");
    let output = validator.arg(vectors).kill_on_drop(true).output();
    let output = output.await.expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines = said
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let others: Vec<_> = lines
        .filter(|line| line["expected"] != line["verdict"])
        .collect();
    assert!(others.is_empty(), "{others:#?}");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaint}");
}

#[tokio::test]
async fn oidc_provider_judges_documents_as_is_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("interop/node");
    let installed = has_tool("node") && folder.join("node_modules/oidc-provider").exists();
    if can_run(
        "oidc-provider's validator",
        installed,
        "tests/interop/install node",
    ) {
        let mut node = Command::new("node");
        node.arg(folder.join("metadata_documents.js"));
        compares(node).await;
    }
}

#[tokio::test]
async fn fastmcp_judges_documents_as_is_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("interop");
    let python = folder.join(".cache/python/bin/python3");
    let mut asked = Command::new(&python);
    let asked = asked.args(["-c", "import fastmcp"]).output().await;
    let installed = asked.is_ok_and(|output| output.status.success());
    if can_run(
        "FastMCP's validator",
        installed,
        "tests/interop/install python",
    ) {
        let mut command = Command::new(python);
        command.arg(folder.join("python/metadata_documents.py"));
        compares(command).await;
    }
}
