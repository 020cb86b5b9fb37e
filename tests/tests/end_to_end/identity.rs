//! The identity port: public documents for anybody, and nothing else, whatever is sent.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use symbolon_tests::{AUDIENCE, Agent, Program, Setup, Workload, python_program, symbolon, within};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const URL: &str = "https://id.example.org";
const NAME: &str = "id.example.org";
const DOCUMENT: &str = "/clients/files/client.json";
const PAGES: [&str; 5] = [
    "/.well-known/openid-configuration",
    "/.well-known/jwks.json",
    "/bundle",
    DOCUMENT,
    "/clients/files/jwks.json",
];

/// Nothing lies there, however near it looks.
const OTHER_PATHS: [&str; 26] = [
    "/",
    "//bundle",
    "/bundle/",
    "/bundle?a=b",
    "/%62undle",
    "/bundle%00.json",
    "/clients/",
    "/clients/files",
    "/clients/files/",
    "/clients/files/../files/client.json",
    "/clients/%66iles/client.json",
    "/clients/files%2fclient.json",
    "/clients/../../data/keys/authorities.json",
    "/clients/..%2f..%2fdata%2fregistry.redb/client.json",
    "/../data/registry.redb",
    "/%2e%2e/%2e%2e/etc/passwd",
    "/..\\..\\etc\\passwd",
    "/.symbolon",
    "/.well-known/",
    "/.well-known/acme-challenge/x",
    "/metrics",
    "/ready",
    "/admin",
    "/symbolon.admin.v1.Admin/ListClients",
    "/SpiffeWorkloadAPI/FetchX509SVID",
    "http://169.254.169.254/latest/meta-data/",
];

/// The DER before the 32 bytes of a P-256 private key (RFC 5915, section 3).
const BEFORE_KEY: [u8; 5] = [2, 1, 1, 4, 32];

fn setup() -> Setup {
    let setup = Setup::new()
        .set("identity", "address", "127.0.0.1:0")
        .set("identity", "public_url", URL)
        .set("identity", "tls", "svid");
    let public = setup.directory().join("public");
    setup.set("identity", "publish_dir", public.to_str().unwrap())
}

/// An agent with a client that has a document.
async fn start(setup: Setup) -> Agent {
    let agent = setup.start().await;
    let selectors = serde_json::to_string(&Program::at(symbolon()).selectors()).unwrap();
    let document = format!(
        "name: files\nowner: tests@example.org\nselector_sets: [{selectors}]\n\
         audiences: ['{AUDIENCE}']\naccept_weak: a test\n\
         metadata:\n  client_name: Files\n  grant_types: [client_credentials]\n  \
         redirect_uris: ['{URL}/callback']\n"
    );
    let file = agent.setup().directory().join("files.yaml");
    fs::write(&file, document).unwrap();
    let file = file.to_str().unwrap();
    let mut recorded = agent.follow_audit();
    agent
        .run(["client", "apply", "--yes", "-f", file])
        .await
        .success();
    // Once it has a key.
    published(&mut recorded, |line| line["evidence"]["path"] == DOCUMENT).await;
    drop(recorded);
    agent
}

/// Where the port listens, as the agent's log says it.
pub(crate) fn address(agent: &Agent) -> SocketAddr {
    let log = fs::read_to_string(agent.setup().log_file()).unwrap();
    let lines = log.lines();
    let lines = lines.filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut told = lines.filter(|line| line["message"] == "identity port");
    let line = told.next().expect("the identity port is told");
    line["address"].as_str().unwrap().parse().unwrap()
}

/// What trusts the agent's own authority.
async fn connector(agent: &Agent) -> TlsConnector {
    let bundle = agent.run(["bundle", "show", "--format", "pem"]).await;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(bundle.success().as_bytes()) {
        roots.add(certificate.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

struct Web {
    connector: TlsConnector,
    address: SocketAddr,
}

impl Web {
    async fn of(agent: &Agent) -> Self {
        Self {
            connector: connector(agent).await,
            address: address(agent),
        }
    }

    async fn connect_from(&self, from: Ipv4Addr) -> TlsStream<TcpStream> {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((from, 0).into()).unwrap();
        let stream = within("a connection", socket.connect(self.address)).await;
        let name = ServerName::try_from(NAME).unwrap();
        let stream = self.connector.connect(name, stream.unwrap());
        within("a handshake", stream).await.unwrap()
    }

    /// What comes of these bytes until the port closes the connection.
    async fn send(&self, request: &[u8]) -> Vec<u8> {
        let mut stream = self.connect_from(Ipv4Addr::LOCALHOST).await;
        // What is refused early may be answered before it was read.
        stream.write_all(request).await.unwrap_or_default();
        let mut answer = Vec::new();
        let read = within("the end of an answer", stream.read_to_end(&mut answer)).await;
        read.map(drop).unwrap_or_default();
        answer
    }

    /// Status, head and body.
    async fn get(&self, path: &str) -> (u16, String, Vec<u8>) {
        let request = format!("GET {path} HTTP/1.1\r\nhost: {NAME}\r\nconnection: close\r\n\r\n");
        split(&self.send(request.as_bytes()).await)
    }
}

fn split(answer: &[u8]) -> (u16, String, Vec<u8>) {
    let end = answer.windows(4).position(|it| it == b"\r\n\r\n");
    let end = end.unwrap_or_else(|| panic!("{:?}", String::from_utf8_lossy(answer)));
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head, answer[end + 4..].to_vec())
}

/// The next `published` event of this kind.
async fn published(recorded: &mut Workload, which: impl Fn(&Value) -> bool) -> Value {
    loop {
        let line = recorded.next_of_kind("published").await;
        if which(&line) {
            return line;
        }
    }
}

/// The files below a directory, with their content.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                files.insert(entry.path(), fs::read(entry.path()).unwrap());
            }
        }
    }
    files
}

#[tokio::test]
async fn documents_are_served_and_published_and_end_with_the_client() {
    let agent = start(setup()).await;
    let web = Web::of(&agent).await;
    let public = agent.setup().directory().join("public");
    let mut recorded = agent.follow_audit();
    for path in PAGES {
        let (status, head, _body) = web.get(path).await;
        assert_eq!(status, 200, "{path}: {head}");
        assert!(head.contains("etag: \"") && head.contains("cache-control: public, max-age="));
    }
    // After that of its keys.
    published(&mut recorded, |line| line["evidence"]["path"] == DOCUMENT).await;
    let (_, _, document) = web.get(DOCUMENT).await;
    let document: Value = serde_json::from_slice(&document).unwrap();
    assert_eq!(document["client_id"], format!("{URL}{DOCUMENT}"));
    assert_eq!(
        document["spiffe_id"],
        "spiffe://example.org/mcp/client/files"
    );

    agent.suspend("files").await;
    assert_eq!(web.get(DOCUMENT).await.0, 404);
    let (status, _, keys) = web.get("/clients/files/jwks.json").await;
    assert_eq!((status, &*keys), (200, &br#"{"keys":[]}"#[..]));
    let down = published(&mut recorded, |line| line["reason"] == "taken down").await;
    assert_eq!(down["evidence"]["path"], DOCUMENT);
    assert!(!public.join(DOCUMENT.trim_start_matches('/')).exists());
    // What the port has is what lies there.
    for path in [PAGES[0], PAGES[1], PAGES[2]] {
        assert_eq!(
            fs::read(public.join(path.trim_start_matches('/'))).unwrap(),
            web.get(path).await.2
        );
    }
}

/// What was not read yet would look like a client without keys.
#[tokio::test]
async fn a_restart_takes_no_keys_down_and_puts_none_up() {
    const KEYS: &str = "/clients/files/jwks.json";
    let told = async |agent: &Agent| {
        let trail = agent.audit().await;
        let is_told =
            |event: &&Value| event["event"] == "published" && event["evidence"]["path"] == KEYS;
        trail.iter().filter(is_told).count()
    };
    let agent = start(setup()).await;
    let (status, _, before) = Web::of(&agent).await.get(KEYS).await;
    assert_eq!(status, 200);
    let set: Value = serde_json::from_slice(&before).unwrap();
    assert_eq!(set["keys"].as_array().map(Vec::len), Some(1), "{set}");
    let told_before = told(&agent).await;
    let agent = agent.stop().await.setup.start().await;
    let written = agent.setup().directory().join(format!("public{KEYS}"));
    assert_eq!(fs::read(written).unwrap(), before);
    assert_eq!(told(&agent).await, told_before);
}

/// Of a JWT-SVID: by issuer and key alone, as a verifier does that knows nothing of SPIFFE.
#[tokio::test]
async fn a_token_leads_to_the_keys_that_verify_it() {
    let agent = start(setup()).await;
    let web = Web::of(&agent).await;
    let token = agent
        .run(["svid", "jwt", "--audience", AUDIENCE, "--raw"])
        .await;
    let token = token.success().trim().to_owned();
    let parts: Vec<_> = token.split('.').collect();
    let json = |part: &str| -> Value {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
    };
    let (header, claims) = (json(parts[0]), json(parts[1]));
    assert_eq!(claims["iss"], URL);

    let (_, _, discovery) = web.get(PAGES[0]).await;
    let discovery: Value = serde_json::from_slice(&discovery).unwrap();
    assert_eq!(discovery["issuer"], claims["iss"]);
    let keys = discovery["jwks_uri"]
        .as_str()
        .unwrap()
        .strip_prefix(URL)
        .unwrap();
    let (_, _, keys) = web.get(keys).await;
    let keys: Value = serde_json::from_slice(&keys).unwrap();
    let key = keys["keys"].as_array().unwrap().iter();
    let key = key.clone().find(|key| key["kid"] == header["kid"]).unwrap();
    let part = |name: &str| URL_SAFE_NO_PAD.decode(key[name].as_str().unwrap()).unwrap();
    let point = [vec![4], part("x"), part("y")].concat();
    let algorithm = &aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED;
    let signed = token.rsplit_once('.').unwrap().0;
    let signature = URL_SAFE_NO_PAD.decode(parts[2]).unwrap();
    aws_lc_rs::signature::UnparsedPublicKey::new(algorithm, point)
        .verify(signed.as_bytes(), &signature)
        .unwrap();
    let valid = agent
        .run(["jwt", "validate", "--audience", AUDIENCE, &token])
        .await;
    valid.success();
}

/// The stock verifier of an MCP server: by issuer, key set and audience.
#[tokio::test]
async fn fastmcp_takes_a_token_for_its_audience_and_no_other() {
    const OTHER: &str = "https://other.example.org/";
    const HOST: &str = "https://localhost";
    let Some(mut verifier) = python_program("verifier.py") else {
        return;
    };
    // Its name is in the certificate; the port is whichever is free.
    let agent = start(setup().set("identity", "public_url", HOST)).await;
    let program = Program::at(symbolon()).selectors();
    agent
        .register_with("caller", &program, ["--audience", OTHER])
        .await;
    let bundle = agent.run(["bundle", "show", "--format", "pem"]).await;
    let trusted = agent.setup().directory().join("bundle.pem");
    fs::write(&trusted, bundle.success()).unwrap();
    let keys = format!("{HOST}:{}/.well-known/jwks.json", address(&agent).port());
    verifier
        .env("SSL_CERT_FILE", &trusted)
        .args([&*keys, HOST, AUDIENCE]);
    for audience in [AUDIENCE, OTHER] {
        let token = agent
            .run(["svid", "jwt", "--audience", audience, "--raw"])
            .await;
        verifier.arg(token.success().trim());
    }
    verifier.arg("no.token.at-all");
    let mut verifier = Workload::start(&mut verifier);
    let accepted = verifier.event("accepted").await;
    assert_eq!(accepted["subject"], "spiffe://example.org/mcp/client/files");
    for _ in ["for another audience", "no token"] {
        assert_eq!(verifier.event("refused").await["status"], 401);
    }
}

#[tokio::test]
async fn no_request_gets_anything_but_public_documents() {
    let agent = start(setup()).await;
    let web = Web::of(&agent).await;
    let public: Vec<Vec<u8>> = {
        let mut bodies = Vec::new();
        for path in PAGES {
            bodies.push(web.get(path).await.2);
        }
        bodies
    };
    for path in OTHER_PATHS {
        let (status, _, body) = web.get(path).await;
        assert_eq!((status, &*body), (404, &b"not found\n"[..]), "{path}");
    }
    let long = "x".repeat(64 * 1024);
    let many = "a: b\r\n".repeat(1_000);
    let chunk = format!("GET / HTTP/1.1\r\nhost: x\r\n{long}");
    for request in [
        &b"\r\n\r\n\r\n\r\n"[..],
        b"\0\0\0\0\0\0\0\0\0",
        b"GET\r\n\r\n",
        b"GET /bundle\r\n\r\n",
        b"GET /bundle HTTP/3.0\r\n\r\n",
        b"GET /bundle HTTP/1.1\r\n folded: x\r\n\r\n",
        b"GET /bundle HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, x\r\n\r\n0\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET file:///etc/passwd HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET /bundle\r\nHTTP/1.1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
        b"\x16\x03\x01\0\x05\x01\0\0\x01\0",
        format!("GET /{long} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes(),
        format!("GET /bundle HTTP/1.1\r\ncookie: {long}\r\n\r\n").as_bytes(),
        format!("GET /bundle HTTP/1.1\r\n{many}\r\n").as_bytes(),
        format!("{long} /bundle HTTP/1.1\r\n\r\n").as_bytes(),
        chunk.as_bytes(),
    ] {
        let answer = web.send(request).await;
        let shown = String::from_utf8_lossy(&request[..request.len().min(60)]).into_owned();
        assert!(!answer.starts_with(b"HTTP/1.1 200"), "{shown}");
        for body in &public {
            assert!(!contains(&answer, body), "{shown}");
        }
    }
    // And still it serves; what was sent is nowhere in full.
    assert_eq!(web.get("/bundle").await.0, 200);
    let log = fs::read_to_string(agent.setup().log_file()).unwrap();
    assert!(log.lines().all(|line| line.len() < 4096));
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    text(haystack).contains(&text(needle))
}

/// Each byte as one character: texts are searched fast.
fn text(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

/// Each private key below `folder`, in the forms in which it could leak.
fn secrets(folder: &Path) -> Vec<String> {
    let mut secrets = Vec::new();
    for content in files(folder).into_values() {
        let pem = text(&content);
        let base64: String = pem
            .lines()
            .filter(|line| !line.starts_with("---"))
            .collect();
        let der = STANDARD.decode(base64).unwrap_or(content);
        let Some(at) = der.windows(5).position(|it| it == BEFORE_KEY) else {
            continue;
        };
        let key = &der[at + 5..at + 37];
        let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        secrets.extend([text(key), hex.to_uppercase(), hex]);
        // Wherever it begins in something longer, these bytes are encoded as they are here.
        for skipped in 0..3 {
            let part = &key[skipped..skipped + 27];
            secrets.extend([STANDARD.encode(part), URL_SAFE_NO_PAD.encode(part)]);
        }
    }
    secrets
}

#[tokio::test]
async fn no_private_key_is_anywhere_but_in_the_key_store() {
    let agent = start(setup()).await;
    let web = Web::of(&agent).await;
    let mut seen = Vec::new();
    for path in PAGES {
        let (status, head, body) = web.get(path).await;
        assert_eq!(status, 200, "{path}");
        seen.push((path.to_owned(), [head.into_bytes(), body].concat()));
    }
    agent
        .run(["svid", "jwt", "--audience", AUDIENCE])
        .await
        .success();
    for arguments in [
        ["bundle", "show", "--format", "spiffe"],
        ["client", "show", "files", "--output=json"],
    ] {
        let said = agent.run(arguments).await.success();
        seen.push((arguments.join(" "), said.as_bytes().to_vec()));
    }
    let stopped = agent.stop().await;
    let keys = stopped.setup.data().join("keys");
    let secrets = secrets(&keys);
    // Three authorities and the trail's own key, each in nine forms.
    assert!(secrets.len() >= 4 * 9, "{}", secrets.len());
    for (path, content) in files(stopped.setup.directory()) {
        if !path.starts_with(&keys) {
            seen.push((path.display().to_string(), content));
        }
    }
    for (place, mut content) in seen {
        let raw = text(&content);
        // PEM breaks lines.
        content.retain(|byte| !byte.is_ascii_whitespace());
        let unbroken = text(&content);
        for secret in &secrets {
            assert!(
                !raw.contains(secret) && !unbroken.contains(secret),
                "{place}"
            );
        }
    }
}

#[tokio::test]
async fn thousands_of_idle_connections_keep_nobody_else_away() {
    const IDLE: usize = 3_000;
    let files = getrlimit(Resource::Nofile);
    let enough = files.maximum.unwrap_or(u64::MAX).min(2 * 3_000);
    let raised = Rlimit {
        current: Some(files.current.unwrap_or(u64::MAX).max(enough)),
        maximum: files.maximum,
    };
    setrlimit(Resource::Nofile, raised).unwrap();
    let agent = start(setup()).await;
    let web = Web::of(&agent).await;
    let mut idle = Vec::new();
    for _ in 0..IDLE {
        idle.push(
            within("a connection", TcpStream::connect(web.address))
                .await
                .unwrap(),
        );
    }
    let neighbour = Ipv4Addr::new(127, 0, 0, 2);
    let mut stream = web.connect_from(neighbour).await;
    let request = b"GET /bundle HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    let read = within("an answer", stream.read_to_end(&mut answer)).await;
    read.unwrap();
    assert_eq!(split(&answer).0, 200);
    // The sockets of the agent notice nothing.
    agent
        .run(["svid", "jwt", "--audience", AUDIENCE])
        .await
        .success();
    // Each of them is closed, at once or after its deadline.
    for mut stream in idle {
        let end = within("the end of an idle connection", stream.read(&mut [0])).await;
        assert!(matches!(end, Ok(0) | Err(_)));
    }
    assert_eq!(web.get("/bundle").await.0, 200);
}

#[tokio::test]
async fn a_full_house_makes_room_by_itself() {
    let setup = setup().set("identity", "max_connections", 4).set(
        "identity",
        "max_connections_per_address",
        4,
    );
    let agent = start(setup).await;
    let web = Web::of(&agent).await;
    let mut idle = Vec::new();
    for _ in 0..4 {
        idle.push(TcpStream::connect(web.address).await.unwrap());
    }
    let mut waiting = web.connect_from(Ipv4Addr::new(127, 0, 0, 2)).await;
    waiting.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_directory_that_cannot_be_written_keeps_the_agent_from_starting() {
    let setup = setup();
    let public = setup.directory().join("public");
    fs::create_dir(&public).unwrap();
    fs::write(public.join("index.html"), "a page of somebody else").unwrap();
    let refused = setup.refused().await;
    assert!(
        refused.text().contains("identity.publish_dir"),
        "{refused:?}"
    );
}
