//! The committed code under `src/generated` is what the `.proto` files say.
//!
//! After a change of a `.proto` file:
//! `SYMBOLON_REGENERATE=1 cargo test -p symbolon-proto --test generated`.

#![expect(clippy::expect_used, reason = "a test stops at the first surprise")]

use prost::Message as _;
use std::{fs, path::Path};

const PROTOS: [&str; 3] = [
    "spiffe/workload/workload.proto",
    "symbolon/admin/v1/admin.proto",
    "symbolon/credentials/v1/credentials.proto",
];

/// Interfaces of others that we only call: clients without servers, and nothing to reflect on.
const CALLED_PROTOS: [&str; 1] = ["runtime/v1/api.proto"];

/// Messages with keys or tokens: `src/secrets.rs` gives them a `Debug` that hides those.
const SECRET_MESSAGES: [&str; 8] = [
    "X509SVID",
    "JWTSVID",
    "WITSVID",
    "ValidateJWTSVIDRequest",
    "MintClientAssertionResponse",
    "FetchClientCredentialResponse",
    "SignDpopProofResponse",
    "SignWorkloadProofResponse",
];

fn generate(out: &Path) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto");
    let descriptors = protox::compile(PROTOS, [&root]).expect("the .proto files compile");
    fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec()).expect("written");
    tonic_prost_build::configure()
        .out_dir(out)
        .bytes(".")
        .btree_map(".")
        .skip_debug(SECRET_MESSAGES)
        .compile_fds(descriptors)
        .expect("code is generated");
    let called = protox::compile(CALLED_PROTOS, [&root]).expect("the .proto files compile");
    tonic_prost_build::configure()
        .out_dir(out)
        .bytes(".")
        .btree_map(".")
        .build_server(false)
        .compile_fds(called)
        .expect("code is generated");
}

#[test]
fn committed_code_is_current() {
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/generated");
    if std::env::var_os("SYMBOLON_REGENERATE").is_some() {
        generate(&committed);
    }
    let fresh = tempfile::tempdir().expect("a temporary directory");
    generate(fresh.path());
    let mut seen = 0;
    for entry in fs::read_dir(fresh.path()).expect("listed") {
        let entry = entry.expect("an entry");
        let kept = committed.join(entry.file_name());
        let kept = fs::read(&kept).unwrap_or_default();
        let new = fs::read(entry.path()).expect("read");
        assert!(
            kept == new,
            "{} differs: run SYMBOLON_REGENERATE=1 cargo test -p symbolon-proto --test generated",
            entry.file_name().to_string_lossy()
        );
        seen += 1;
    }
    assert!(seen >= 5, "only {seen} generated files");
}
