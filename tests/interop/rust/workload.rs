//! A workload that gets its identity with the `spiffe` crate.
//!
//! Usage: `symbolon-test-workload AUDIENCE`, with `SPIFFE_ENDPOINT_SOCKET` set.
//! `tests/src/interop.rs` says which lines it prints. It ends with code 0 once
//! the agent has ended its stream, and with code 1 and a message at any surprise.
//! It holds an `X509Source` and a `JwtSource` beside the stream, as programs do,
//! and checks that all of them see the same X.509-SVID.

#![expect(clippy::print_stdout, reason = "what it prints is its result")]

use std::error::Error;

use futures_util::StreamExt as _;
use serde_json::{Value, json};
use spiffe::{
    BundleSource as _, JwtSource, JwtSvid, WorkloadApiClient, WorkloadApiError, X509Context,
    X509Source,
};
use x509_parser::prelude::{FromDer as _, X509Certificate};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let audience = std::env::args()
        .nth(1)
        .ok_or("usage: symbolon-test-workload AUDIENCE")?;
    let client = WorkloadApiClient::connect_env().await?;
    let mut updates = client.stream_x509_contexts().await?;
    let mut fetched = false;
    while let Some(update) = updates.next().await {
        match update {
            Ok(context) => show_x509(&context)?,
            Err(end) if fetched => return show_end(end),
            Err(refusal) => return Err(refusal.into()),
        }
        if !fetched {
            show_jwt(&client, &audience).await?;
            fetched = true;
        }
    }
    Err("the stream ended without a status".into())
}

/// Verifies the default X.509-SVID against its bundle, and reports it.
fn show_x509(context: &X509Context) -> Result<(), Box<dyn Error>> {
    let svid = context.default_svid().ok_or("no X.509-SVID")?;
    let trust_domain = svid.spiffe_id().trust_domain();
    let bundle = context
        .bundle_set()
        .bundle_for_trust_domain(trust_domain)?
        .ok_or("no bundle")?;
    let (_, leaf) = X509Certificate::from_der(svid.leaf().as_bytes())?;
    let root = bundle.authorities().last().ok_or("an empty bundle")?;
    let (_, root) = X509Certificate::from_der(root.as_bytes())?;
    leaf.verify_signature(Some(root.public_key()))?;
    let serial = format!("{:0>32}", leaf.serial.to_str_radix(16));
    emit(&json!({"event": "x509", "spiffe_id": svid.spiffe_id().to_string(), "serial": serial}));
    Ok(())
}

/// Fetches a JWT-SVID through a source and validates it here and through the agent.
async fn show_jwt(client: &WorkloadApiClient, audience: &str) -> Result<(), Box<dyn Error>> {
    let x509 = X509Source::new().await?;
    if x509.svid()?.leaf() != client.fetch_x509_svid().await?.leaf() {
        return Err("two streams of one process, and two X.509-SVIDs".into());
    }
    let source = JwtSource::new().await?;
    let svid = source.fetch_jwt_svid([audience]).await?;
    let there = client.validate_jwt_token(audience, svid.token()).await?;
    let here = JwtSvid::parse_and_validate(svid.token(), &source, &[audience])?;
    if here.spiffe_id() != there.spiffe_id() {
        return Err(format!("{} here, {} there", here.spiffe_id(), there.spiffe_id()).into());
    }
    emit(&json!({"event": "jwt", "spiffe_id": here.spiffe_id().to_string()}));
    x509.shutdown().await;
    source.shutdown().await;
    Ok(())
}

/// Reports the status that ended the stream.
fn show_end(end: WorkloadApiError) -> Result<(), Box<dyn Error>> {
    match end {
        WorkloadApiError::NoIdentityIssued | WorkloadApiError::PermissionDenied(_) => {
            emit(&json!({"event": "ended", "code": "PERMISSION_DENIED"}));
            Ok(())
        }
        other => Err(other.into()),
    }
}

fn emit(event: &Value) {
    println!("{event}");
}
