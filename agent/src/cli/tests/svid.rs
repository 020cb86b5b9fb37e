use super::{
    agent::{Agent, State, issued, jwt},
    golden, symbolon_on,
};
use std::{fs, os::unix::fs::PermissionsExt as _};
use symbolon_proto::workload::{X509svid, X509svidResponse};

fn answer(svids: Vec<X509svid>) -> X509svidResponse {
    X509svidResponse {
        svids,
        ..X509svidResponse::default()
    }
}

fn agent(svids: Vec<X509svid>) -> Agent {
    Agent::new(State {
        streams: vec![vec![Ok(answer(svids))]],
        ..State::default()
    })
}

/// Puts a word in the place of each certificate, since keys are made anew for each run.
fn without_pem(mut text: &str) -> String {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    const END: &str = "-----END CERTIFICATE-----\\n";
    let mut out = String::new();
    while let Some((before, rest)) = text.split_once(BEGIN) {
        out.push_str(before);
        out.push_str("(PEM)");
        text = rest.split_once(END).unwrap().1;
    }
    out + text
}

#[test]
fn an_x509_svid_has_stable_fields() {
    let mut answer = answer(vec![issued("payments")]);
    let foreign = ("spiffe://other.org".to_owned(), issued("payments").bundle);
    answer.federated_bundles.extend([foreign]);
    let agent = Agent::new(State {
        streams: vec![vec![Ok(answer.clone())], vec![Ok(answer)]],
        ..State::default()
    });
    let json = agent.workload(&["svid", "x509", "-o", "json"]).done();
    golden("svid-x509.json", &without_pem(&json));
    golden("svid-x509.txt", &agent.workload(&["svid", "x509"]).done());
}

#[test]
fn a_private_key_is_never_printed() {
    for format in ["table", "json", "yaml"] {
        let agent = agent(vec![issued("payments")]);
        let dir = agent.path("svid");
        let arguments = [
            "svid",
            "x509",
            "--write",
            dir.to_str().unwrap(),
            "-o",
            format,
        ];
        let outcome = agent.workload(&arguments);
        assert!(!outcome.err.contains("PRIVATE"), "{format}");
        assert!(!outcome.done().contains("PRIVATE"), "{format}");
    }
}

#[test]
fn files_hold_the_chain_the_key_and_the_bundle() {
    let agent = agent(vec![issued("payments")]);
    let dir = agent.path("svid");
    let out = agent
        .workload(&["svid", "x509", "--write", dir.to_str().unwrap()])
        .done();
    assert!(
        out.contains(&format!("Written to  {}", dir.display())),
        "{out}"
    );
    let read = |name| fs::read_to_string(dir.join(name)).unwrap();
    assert!(read("svid.pem").starts_with("-----BEGIN CERTIFICATE-----\n"));
    assert!(read("bundle.pem").starts_with("-----BEGIN CERTIFICATE-----\n"));
    let key = rcgen::KeyPair::from_pem(&read("key.pem")).unwrap();
    assert_eq!(key.serialize_der(), issued("payments").x509_svid_key);
    let mode = fs::metadata(dir.join("key.pem"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_key_that_does_not_fit_is_not_written() {
    let other = rcgen::KeyPair::generate().unwrap();
    let agent = agent(vec![X509svid {
        x509_svid_key: other.serialize_der().into(),
        ..issued("payments")
    }]);
    let dir = agent.path("svid");
    let told = agent
        .workload(&["svid", "x509", "--write", dir.to_str().unwrap()])
        .refused(1);
    assert!(told.contains("does not fit"), "{told}");
    assert!(!dir.join("key.pem").exists());
}

#[test]
fn malformed_certificates_are_refused() {
    let agent = agent(vec![X509svid {
        x509_svid: b"\x30\x82nonsense".as_slice().into(),
        ..issued("payments")
    }]);
    let told = agent.workload(&["svid", "x509"]).refused(1);
    assert!(told.contains("malformed certificate"), "{told}");
}

#[test]
fn one_of_several_identities_can_be_asked_for() {
    let both = || {
        let other = X509svid {
            hint: "external".into(),
            ..issued("billing")
        };
        agent(vec![issued("payments"), other])
    };
    let out = both()
        .workload(&["svid", "x509", "--hint", "external"])
        .done();
    assert!(
        out.contains("client/billing") && !out.contains("client/payments"),
        "{out}"
    );
    let id = "spiffe://example.org/mcp/client/payments";
    let out = both().workload(&["svid", "x509", "--spiffe-id", id]).done();
    assert!(
        out.contains("client/payments") && !out.contains("client/billing"),
        "{out}"
    );
    let told = both().workload(&["svid", "x509", "--hint", "x"]).refused(4);
    assert!(told.contains("client/billing"), "{told}");
}

#[test]
fn hooks_need_files() {
    let agent = agent(vec![]);
    agent
        .workload(&["svid", "x509", "--exec", "true"])
        .refused(2);
    agent
        .workload(&["svid", "x509", "--write", "x", "--signal", "HUP"])
        .refused(2);
}

const JWT: [&str; 4] = ["svid", "jwt", "--audience", "https://mcp.example.org"];

#[test]
fn a_jwt_svid_has_stable_fields() {
    let agent = agent(vec![]);
    let run = |more: &[&str]| agent.workload(&[&JWT, more].concat()).done();
    golden("svid-jwt.json", &run(&["-o", "json"]));
    golden("svid-jwt.txt", &run(&[]));
    let raw = run(&["--raw"]);
    assert!(raw.starts_with("eyJ") && raw.lines().count() == 1, "{raw}");
}

#[test]
fn an_audience_that_is_not_allowed_is_code_3() {
    let agent = agent(vec![]);
    agent
        .workload(&["svid", "jwt", "--audience", "https://other.example.org"])
        .refused(3);
}

#[test]
fn a_wit_svid_shows_its_key_only_when_asked() {
    let agent = agent(vec![]);
    let json = agent.workload(&["svid", "wit", "-o", "json"]).done();
    golden("svid-wit.json", &json);
    assert!(!json.contains("secret"));
    let json = agent
        .workload(&["svid", "wit", "--show-key", "-o", "json"])
        .done();
    golden("svid-wit-key.json", &json);
}

const VALIDATE: [&str; 4] = ["jwt", "validate", "--audience", "https://mcp.example.org"];

#[test]
fn a_good_token_is_code_0_with_its_claims() {
    let agent = agent(vec![]);
    let run = |format| {
        agent
            .workload(&[&VALIDATE[..], &["good", "-o", format]].concat())
            .done()
    };
    golden("jwt-validate.json", &run("json"));
    golden("jwt-validate.txt", &run("table"));
}

#[test]
fn a_bad_token_is_code_1() {
    let token = jwt("{}");
    let told = agent(vec![])
        .workload(&[&VALIDATE[..], &[&token]].concat())
        .refused(1);
    assert!(told.contains("the signature does not fit"), "{told}");
}

#[test]
fn a_token_is_read_from_standard_input() {
    let agent = agent(vec![]);
    let socket = agent.path("workload.sock");
    let arguments = [&VALIDATE[..], &["-", "--socket", socket.to_str().unwrap()]].concat();
    symbolon_on(&arguments, "good\n", |_| {}).done();
}
