//! TLS between two workloads, each with its own SVID, and OpenSSL's word on the chain.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    ClientConfig, ClientConnection, Connection, RootCertStore, ServerConfig, ServerConnection,
};
use spiffe::{SpiffeId, X509SourceBuilder};
use symbolon_tests::{Agent, Program, Setup, Workload, can_run, has_tool, symbolon, within};
use tokio::process::Command;

const SERVER_NAME: &str = "server.example.org";

/// Chain, key and trusted authorities of one side.
struct Side {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    roots: Arc<RootCertStore>,
}

/// The server: a program without SPIFFE support, which has its SVID from files.
async fn server_side(agent: &Agent) -> Side {
    let directory = agent.setup().directory().join("svid");
    write_svid(agent, &directory).await;
    let certificates = |name: &str| {
        let certificates = CertificateDer::pem_file_iter(directory.join(name)).unwrap();
        certificates.collect::<Result<Vec<_>, _>>().unwrap()
    };
    Side {
        chain: certificates("svid.pem"),
        key: PrivateKeyDer::from_pem_file(directory.join("key.pem")).unwrap(),
        roots: roots(certificates("bundle.pem")),
    }
}

async fn write_svid(agent: &Agent, directory: &Path) {
    let program = Program::at(symbolon()).copy_to(agent.setup().directory(), "server");
    let selectors = [Program::uid_selector(), program.path_selector()];
    agent
        .register_with("server", &selectors, ["--dns-name", SERVER_NAME])
        .await;
    let mut command = agent.command(program.path());
    command.args(["svid", "x509", "--write"]).arg(directory);
    let written = Workload::start(&mut command).end().await;
    assert_eq!(written.code, Some(0), "{written:?}");
}

/// The client: this process, through the `spiffe` crate.
async fn client_side(agent: &Agent) -> Side {
    agent.register_self("client").await;
    let source = X509SourceBuilder::new().endpoint(agent.endpoint()).build();
    let source = within("the X.509 source", source).await.unwrap();
    let svid = source.svid().unwrap();
    let bundles = source.bundle_set().unwrap();
    let bundle = bundles.get(svid.spiffe_id().trust_domain()).unwrap();
    let der = |certificate: &spiffe::Certificate| certificate.as_bytes().to_vec().into();
    source.shutdown().await;
    Side {
        chain: svid.cert_chain().iter().map(der).collect(),
        key: PrivateKeyDer::Pkcs8(svid.private_key().as_bytes().to_vec().into()),
        roots: roots(bundle.authorities().iter().map(der).collect()),
    }
}

fn roots(certificates: Vec<CertificateDer<'static>>) -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots.add(certificate).unwrap();
    }
    Arc::new(roots)
}

fn connections(client: Side, server: Side) -> (ClientConnection, ServerConnection) {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let client = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(client.roots)
        .with_client_auth_cert(client.chain, client.key)
        .unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(server.roots, Arc::clone(&provider))
        .build()
        .unwrap();
    let server = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(server.chain, server.key)
        .unwrap();
    let name = ServerName::try_from(SERVER_NAME).unwrap();
    (
        ClientConnection::new(Arc::new(client), name).unwrap(),
        ServerConnection::new(Arc::new(server)).unwrap(),
    )
}

/// Carries bytes to and fro until both sides have finished the handshake.
fn shake_hands(client: &mut Connection, server: &mut Connection) {
    while client.is_handshaking() || server.is_handshaking() {
        assert!(
            carry(client, server) + carry(server, client) > 0,
            "the handshake is stuck"
        );
    }
}

fn carry(from: &mut Connection, to: &mut Connection) -> usize {
    let mut bytes = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut bytes).unwrap();
    }
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        to.read_tls(&mut rest).unwrap();
        to.process_new_packets().unwrap();
    }
    bytes.len()
}

fn peer(connection: &Connection) -> String {
    let leaf = &connection.peer_certificates().expect("a certificate")[0];
    let id: SpiffeId = spiffe::cert::spiffe_id_from_der(leaf).unwrap();
    id.to_string()
}

#[tokio::test]
async fn two_workloads_prove_their_identities_to_each_other() {
    let agent = Setup::new().start().await;
    let server = server_side(&agent).await;
    let client = client_side(&agent).await;
    let (client, server) = connections(client, server);
    let (mut client, mut server) = (Connection::from(client), Connection::from(server));
    shake_hands(&mut client, &mut server);
    assert_eq!(peer(&client), "spiffe://example.org/mcp/client/server");
    assert_eq!(peer(&server), "spiffe://example.org/mcp/client/client");
}

#[tokio::test]
async fn openssl_verifies_the_chain_for_client_and_server() {
    if !can_run(
        "openssl verify",
        has_tool("openssl"),
        "apt-get install openssl",
    ) {
        return;
    }
    let agent = Setup::new().start().await;
    let directory = agent.setup().directory().join("svid");
    write_svid(&agent, &directory).await;
    for purpose in ["sslclient", "sslserver"] {
        let mut command = Command::new("openssl");
        command
            .args(["verify", "-x509_strict", "-purpose", purpose, "-CAfile"])
            .arg(directory.join("bundle.pem"))
            .arg(directory.join("svid.pem"));
        let output = within("openssl", command.output()).await.unwrap();
        assert!(output.status.success(), "{purpose}: {output:?}");
    }
}
