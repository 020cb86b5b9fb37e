//! An X.509 authority that the operator supplies, made here with OpenSSL.

use std::path::Path;

use symbolon_tests::{Program, Setup, Workload, can_run, has_tool, symbolon, within};
use tokio::process::Command;

async fn openssl(directory: &Path, arguments: &[&str]) {
    let mut command = Command::new("openssl");
    command.args(arguments).current_dir(directory);
    let output = within("openssl", command.output()).await.unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
}

/// Makes `NAME.pem` and `NAME.key`, self-signed or signed by another such pair.
async fn make_ca(directory: &Path, name: &str, issuer: Option<&str>) {
    let (key, certificate) = (format!("{name}.key"), format!("{name}.pem"));
    let subject = format!("/O={name}");
    let key_args = [
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
    ];
    let request = [
        "req",
        "-x509",
        "-subj",
        &subject,
        "-keyout",
        &key,
        "-out",
        &certificate,
    ];
    let days = [
        "-days",
        "30",
        "-addext",
        "basicConstraints=critical,CA:TRUE",
    ];
    let usage = ["-addext", "keyUsage=critical,keyCertSign,cRLSign"];
    let signer = issuer.map(|issuer| (format!("{issuer}.pem"), format!("{issuer}.key")));
    let signer = signer
        .as_ref()
        .map(|(pem, key)| ["-CA", pem.as_str(), "-CAkey", key.as_str()]);
    let signer = signer.as_ref().map_or(&[][..], |signer| &signer[..]);
    openssl(
        directory,
        &[&request[..], &key_args, &days, &usage, signer].concat(),
    )
    .await;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(directory.join(key), mode).unwrap();
}

fn with_authority(setup: Setup, certificate: &str, key: &str) -> Setup {
    let path = |name: &str| setup.directory().join(name).to_str().unwrap().to_owned();
    let (certificate, key) = (path(certificate), path(key));
    setup
        .set("authority", "certificate_file", certificate)
        .set("authority", "key_file", key)
}

#[tokio::test]
async fn svids_chain_through_the_operators_intermediate_to_the_root() {
    let name = "svids_chain_through_the_operators_intermediate_to_the_root";
    if !can_run(name, has_tool("openssl"), "apt-get install openssl") {
        return;
    }
    let setup = Setup::new();
    let directory = setup.directory().to_owned();
    make_ca(&directory, "root", None).await;
    make_ca(&directory, "intermediate", Some("root")).await;
    let read = |name: &str| std::fs::read_to_string(directory.join(name)).unwrap();
    let chain = format!("{}{}", read("intermediate.pem"), read("root.pem"));
    std::fs::write(directory.join("chain.pem"), chain).unwrap();
    let agent = with_authority(setup, "chain.pem", "intermediate.key")
        .start()
        .await;

    let bundle = agent
        .run(["bundle", "show", "--format", "pem"])
        .await
        .success();
    assert_eq!(
        bundle.trim(),
        read("root.pem").trim(),
        "the bundle is the root alone"
    );
    agent
        .register("client", &Program::at(symbolon()).selectors())
        .await;
    let mut command = agent.command(symbolon());
    let written = Workload::start(command.args(["svid", "x509", "--write", "svid"]))
        .end()
        .await;
    assert_eq!(written.code, Some(0), "{written:?}");
    let svid = read("svid/svid.pem");
    assert_eq!(
        svid.matches("BEGIN CERTIFICATE").count(),
        2,
        "leaf and intermediate: {svid}"
    );
    let files = [
        "-CAfile",
        "root.pem",
        "-untrusted",
        "svid/svid.pem",
        "svid/svid.pem",
    ];
    openssl(
        &directory,
        &[&["verify", "-x509_strict"][..], &files].concat(),
    )
    .await;
}

#[tokio::test]
async fn a_key_that_does_not_fit_the_operators_certificate_is_refused() {
    let name = "a_key_that_does_not_fit_the_operators_certificate_is_refused";
    if !can_run(name, has_tool("openssl"), "apt-get install openssl") {
        return;
    }
    let setup = Setup::new();
    make_ca(setup.directory(), "one", None).await;
    make_ca(setup.directory(), "two", None).await;
    let refused = with_authority(setup, "one.pem", "two.key").refused().await;
    assert!(refused.text().contains("key"), "{refused:?}");
}
