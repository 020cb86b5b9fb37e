//! What the demo shows, step by step.

use super::{
    DemoError,
    scene::{Running, Scene, say},
};
use crate::{
    clock::{Clock as _, SystemClock},
    svid::x509,
};
use anyhow::{Context as _, ensure};
use serde_json::Value;
use spiffe::TrustDomain;
use std::path::{Path, PathBuf};
use x509_parser::pem::Pem;

/// The trust domain of the demo.
const TRUST_DOMAIN: &str = "demo.example";

/// Who the tokens of the demo are for: an MCP server.
const SERVER: &str = "https://mcp.example/";

/// Plays all steps.
pub(super) async fn all(scene: &mut Scene) -> Result<(), DemoError> {
    say("Symbolon gives a program an identity by looking at the program itself: which user runs");
    say("it, and what its file's digest is. The program needs no password and no API key.");
    start(scene).await?;
    let program = register(scene).await?;
    let mut watching = x509(scene, &program).await?;
    jwt(scene, &program).await?;
    renewal(scene, &mut watching).await?;
    altered_copy(scene).await?;
    suspension(scene, watching).await
}

async fn start(scene: &mut Scene) -> Result<(), DemoError> {
    scene.begin("Start an agent (lifetimes lowered to seconds, so that a renewal can be seen)");
    let directory = scene.path("");
    let directory = directory.display();
    let config = format!(
        "trust_domain = \"{TRUST_DOMAIN}\"\n\
         data_dir = \"{directory}/data\"\n\
         [workload_api]\nsocket = \"{directory}/workload/workload.sock\"\n\
         [admin_api]\nsocket = \"{directory}/admin/admin.sock\"\n\
         [telemetry]\naddress = \"off\"\n\
         [limits]\nmin_x509_ttl = \"2s\"\nmin_jwt_ttl = \"2s\"\n\
         [svid]\nx509_ttl = \"6s\"\njwt_ttl = \"6s\"\n"
    );
    scene.start_agent(&config).await?;
    scene.held("the agent is ready");
    Ok(())
}

async fn register(scene: &mut Scene) -> Result<PathBuf, DemoError> {
    scene.begin("Register an MCP client: this user's program with exactly this digest");
    let program = scene.copy_program("example-mcp-client", b"")?;
    let digest = crate::canonical::sha256_hex(&std::fs::read(&program)?);
    let uid = format!("unix:uid:{}", rustix::process::geteuid().as_raw());
    let digest = format!("unix:sha256:{digest}");
    let told = scene
        .symbolon(&[
            "client",
            "register",
            "example",
            "--owner",
            "demo@example",
            "--purpose",
            "shows-how-it-works",
            "--selector",
            &uid,
            "--selector",
            &digest,
            "--audience",
            SERVER,
            // It would be Symbolon's command that anybody of this user can run.
            "--accept-weak",
            "the-example-program-is-symbolon-itself",
            "-o",
            "json",
        ])
        .await?;
    let client = told.json()?;
    let id = text(&client, "/spiffe_id").or_else(|_| text(&client, "/spec/spiffe_id"))?;
    scene.held(&format!("whoever fits is {id}"));
    Ok(program)
}

async fn x509(scene: &mut Scene, program: &Path) -> Result<Running, DemoError> {
    scene.begin("The program asks for its identity: a certificate (X.509-SVID)");
    let mut watching = scene.start(program, &["svid", "x509", "--watch", "-o", "json"])?;
    let set = watching.next().await?;
    let id = text(&set, "/svids/0/spiffe_id")?;
    let expires = text(&set, "/svids/0/not_after")?;
    verify(&set)?;
    scene.held(&format!(
        "process {} is {id}, until {expires}",
        watching.pid()?
    ));
    say("       its certificate was verified against the trust bundle");
    Ok(watching)
}

/// Verifies the certificate as any peer would, by the X.509-SVID standard.
fn verify(set: &Value) -> Result<(), DemoError> {
    let leaf = der(text(set, "/svids/0/certificates")?)?;
    let bundle = der(text(set, "/svids/0/bundle")?)?;
    let now = SystemClock.now();
    let trust_domain = TrustDomain::new(TRUST_DOMAIN)?;
    let svid = x509::validate(&leaf, &bundle, &trust_domain, now)
        .context("the certificate does not hold")?;
    let claimed = text(set, "/svids/0/spiffe_id")?;
    ensure!(svid.spiffe_id.to_string() == claimed, "another identity");
    Ok(())
}

/// The certificates of a PEM text, DER, concatenated.
fn der(pem: &str) -> Result<Vec<u8>, DemoError> {
    let blocks = Pem::iter_from_buffer(pem.as_bytes());
    let ders: Result<Vec<_>, _> = blocks
        .map(|block| block.map(|block| block.contents))
        .collect();
    Ok(ders?.concat())
}

async fn jwt(scene: &mut Scene, program: &Path) -> Result<(), DemoError> {
    scene.begin(&format!(
        "The program asks for a token for {SERVER} (JWT-SVID)"
    ));
    let args = ["svid", "jwt", "--audience", SERVER, "-o", "json"];
    let set = scene.run(program, &args).await?.json()?;
    let token = text(&set, "/svids/0/token")?;
    let args = ["jwt", "validate", "--audience", SERVER, "-o", "json", token];
    let valid = scene.run(program, &args).await?.json()?;
    scene.held(&format!(
        "issued, and validated for {}",
        text(&valid, "/spiffe_id")?
    ));
    let args = [
        "jwt",
        "validate",
        "--audience",
        "https://other.example/",
        token,
    ];
    let refused = scene.run(program, &args).await?;
    ensure!(
        refused.code != Some(0),
        "the token holds for another server"
    );
    say("       the same token is refused for another server");
    Ok(())
}

async fn renewal(scene: &mut Scene, watching: &mut Running) -> Result<(), DemoError> {
    scene.begin("Wait for a renewal: a new certificate arrives before the old one ends");
    let set = watching.next().await?;
    verify(&set)?;
    scene.held(&format!(
        "pushed to the running program, serial {}",
        text(&set, "/svids/0/serial")?
    ));
    Ok(())
}

async fn altered_copy(scene: &mut Scene) -> Result<(), DemoError> {
    scene.begin("An altered copy of the program asks: same user, one byte more");
    let altered = scene.copy_program("example-mcp-client-altered", b"\0")?;
    let told = scene.run(&altered, &["svid", "x509"]).await?;
    ensure!(
        told.code == Some(3),
        "exit code {:?} in place of 3 (denied)",
        told.code
    );
    scene.held("denied");
    Ok(())
}

async fn suspension(scene: &mut Scene, watching: Running) -> Result<(), DemoError> {
    scene.begin("An operator suspends the client: the running program loses its identity");
    let told = scene
        .symbolon(&[
            "client", "suspend", "example", "--reason", "demo", "-o", "json",
        ])
        .await?;
    told.json()?;
    let code = watching.ended().await?;
    ensure!(code == Some(3), "exit code {code:?} in place of 3 (denied)");
    scene.held("its stream ended at once");
    Ok(())
}

fn text<'a>(value: &'a Value, pointer: &str) -> Result<&'a str, DemoError> {
    let found = value.pointer(pointer).and_then(Value::as_str);
    found.with_context(|| format!("there is no {pointer} in {value}"))
}
