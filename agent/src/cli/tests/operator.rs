//! `attest`, `bundle`, `audit`, `health`, `version`, `completions` and `man`.

use super::{
    agent::{Agent, State},
    golden, symbolon,
};

const ISSUED: &str = r#"{"client":"payments","client_version":3,"credential":{"kind":"x509-svid","not_after":"2026-11-20T01:00:00.000Z","serial":"0a0b"},"event":"issued","prev":"00","process":{"gid":5,"pid":4711,"uid":1000},"seq":7,"time":"2026-11-20T00:00:00.000Z"}"#;
const DENIED: &str = r#"{"event":"denied","prev":"01","process":{"gid":5,"pid":4712,"uid":1000},"reason":"no client fits","seq":8,"time":"2026-11-20T00:00:01.000Z"}"#;

fn agent() -> Agent {
    Agent::new(State {
        selectors: vec!["unix:path:/tmp/\u{202e}x".into(), "unix:uid:1000".into()],
        audit: vec![ISSUED.into(), DENIED.into()],
        serving: true,
        ..State::default()
    })
}

#[test]
fn attest_explains_fits_and_misfits() {
    let agent = agent();
    let run = |format| {
        agent
            .admin(&["attest", "--pid", "4711", "-o", format])
            .done()
    };
    golden("attest.txt", &run("table"));
    golden("attest.json", &run("json"));
}

#[test]
fn attest_asks_about_one_client() {
    let agent = agent();
    agent
        .admin(&["attest", "--pid", "4711", "--client", "payments"])
        .done();
    let request = agent.state.lock().requests[0].clone();
    assert_eq!(
        request,
        r#"AttestProcessRequest { pid: 4711, client: "payments" }"#
    );
}

#[test]
fn a_bundle_is_printed_as_it_is() {
    let agent = agent();
    assert_eq!(
        agent.admin(&["bundle", "show", "--format", "jwks"]).done(),
        "{\"keys\":[{\"kid\":\"j1\",\"kty\":\"EC\",\"crv\":\"P-256\"}]}\n"
    );
    let pem = agent.admin(&["bundle", "show", "--format", "pem"]).done();
    assert!(pem.starts_with("-----BEGIN CERTIFICATE-----"));
    assert!(
        pem.ends_with("-----END CERTIFICATE-----\n")
            || pem.ends_with("-----END CERTIFICATE-----\r\n")
    );
}

#[test]
fn a_bundle_is_summed_up_in_a_table() {
    let agent = agent();
    golden(
        "bundle.txt",
        &agent.admin(&["bundle", "show", "-o", "table"]).done(),
    );
    let pem = agent
        .admin(&["bundle", "show", "--format", "pem", "-o", "table"])
        .done();
    golden("bundle-pem.txt", &pem);
    let yaml = agent.admin(&["bundle", "show", "-o", "yaml"]).done();
    golden("bundle.yaml", &yaml);
}

#[test]
fn audit_lines_are_printed_byte_for_byte_in_json() {
    let out = agent()
        .admin(&["audit", "tail", "-n", "2", "-o", "json"])
        .done();
    assert_eq!(out, format!("{ISSUED}\n{DENIED}\n"));
}

#[test]
fn audit_lines_are_summed_up_in_a_table() {
    let agent = agent();
    golden("audit.txt", &agent.admin(&["audit", "tail", "-f"]).done());
    let request = agent.state.lock().requests[0].clone();
    assert_eq!(request, "TailAuditRequest { last: 10, follow: true }");
    agent.admin(&["audit", "tail", "-n", "10001"]).refused(2);
}

#[test]
fn health_is_code_0_when_the_agent_serves() {
    let agent = agent();
    assert_eq!(agent.workload(&["health"]).done(), "Status  serving\n");
    assert_eq!(
        agent.workload(&["health", "-o", "json"]).done(),
        "{\n  \"status\": \"serving\"\n}\n"
    );
}

#[test]
fn health_is_code_1_when_the_agent_is_starting() {
    let outcome = Agent::new(State::default()).workload(&["health"]);
    assert_eq!(outcome.code, std::process::ExitCode::from(1));
    assert_eq!(outcome.out, "Status  not serving\n");
}

#[test]
fn health_has_details_for_operators() {
    let agent = agent();
    let admin = agent.path("admin.sock");
    let run = |format| {
        let socket = admin.to_str().unwrap();
        agent
            .workload(&[
                "health",
                "--details",
                "--admin-socket",
                socket,
                "-o",
                format,
            ])
            .done()
    };
    golden("health-details.txt", &run("table"));
    golden("health-details.json", &run("json"));
}

#[test]
fn whoami_tells_name_roles_and_calls() {
    let agent = agent();
    golden("whoami.txt", &agent.admin(&["whoami"]).done());
    golden(
        "whoami.json",
        &agent.admin(&["whoami", "-o", "json"]).done(),
    );
}

#[test]
fn a_list_says_whether_approval_is_off() {
    let off = agent().admin(&["client", "list"]);
    assert!(off.err.contains("Approval is off"), "{}", off.err);
    let on = Agent::new(State {
        approvals_required: 2,
        ..State::default()
    });
    assert_eq!(on.admin(&["client", "list"]).err, "");
    let json = agent().admin(&["client", "list", "-o", "json"]);
    assert_eq!(json.err, "");
}

#[test]
fn version_names_program_and_version() {
    assert_eq!(
        symbolon(&["version"]).done(),
        concat!("symbolon ", env!("CARGO_PKG_VERSION"), "\n")
    );
    assert_eq!(
        symbolon(&["--version"]).done(),
        symbolon(&["version"]).done()
    );
    assert!(
        symbolon(&["version", "-o", "json"])
            .done()
            .contains("\"name\": \"symbolon\"")
    );
}

#[test]
fn every_shell_gets_completions() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = symbolon(&["completions", shell]).done();
        assert!(script.contains("suspend"), "{shell}");
    }
}

#[test]
fn every_subcommand_gets_a_manual_page() {
    let dir = tempfile::tempdir().unwrap();
    symbolon(&["man", "--dir", dir.path().to_str().unwrap()]).done();
    for page in [
        "symbolon.1",
        "symbolon-client-register.1",
        "symbolon-svid-x509.1",
    ] {
        assert!(dir.path().join(page).exists(), "{page}");
    }
    assert!(symbolon(&["man"]).done().contains(".TH symbolon 1"));
}

#[test]
fn the_key_of_the_checkpoints_is_printed_from_the_data_directory() {
    let agent = agent();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    agent
        .admin(&["audit", "key", "--data-dir", path])
        .refused(4);
    std::fs::create_dir(dir.path().join("audit")).unwrap();
    let pem = "-----BEGIN PUBLIC KEY-----\n\
        MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEMKBCTNIcKUSDii11ySs3526iDZ8A\n\
        iTo7Tu6KPAqv7D7gS2XpJFbZiItSs3m9+9Ue6GnvHw/GW2ZZaVtszggXIw==\n\
        -----END PUBLIC KEY-----\n";
    let file = dir.path().join("audit/checkpoint.pub");
    std::fs::write(&file, pem).unwrap();
    let key = |format| {
        agent
            .admin(&["audit", "key", "--data-dir", path, "-o", format])
            .done()
    };
    assert_eq!(key("table"), pem);
    let jwk: serde_json::Value = serde_json::from_str(&key("json")).unwrap();
    assert_eq!((&jwk["kty"], &jwk["crv"]), (&"EC".into(), &"P-256".into()));
    assert_eq!(jwk["x"], "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4");
    std::fs::write(&file, "no key").unwrap();
    agent
        .admin(&["audit", "key", "--data-dir", path])
        .refused(1);
}
