//! The whole way of an MCP client to a tool, with peers that know nothing of the agent: the stock
//! SDKs of Python and TypeScript, an authorization server that fetches the client's document and
//! keys from the identity port, and an MCP server that checks the server's tokens.

mod caching;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use futures_util::future::join_all;
use serde_json::{Value, json};
use symbolon_proto::credentials::MintClientAssertionRequest;
use symbolon_tests::{
    Agent, Client, CredentialsApi, Program, SOMEBODY_ELSE, Setup, Workload, can_run,
    credentials_api, has_tool, within,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::Code;

use crate::credentials::part;
use crate::identity::address;

const HOST: &str = "id.example.org";
pub(crate) const SCOPE: &str = "tools:call";
pub(crate) const ID: &str = "https://id.example.org/clients/tools/client.json";
const JWKS: &str = "https://id.example.org/clients/tools/jwks.json";

/// An agent with an identity port, and an authorization server that trusts that port.
pub(crate) struct Peers {
    pub(crate) agent: Agent,
    pub(crate) server: Workload,
    pub(crate) issuer: String,
}

impl Peers {
    /// None where this machine lacks what they need.
    pub(crate) async fn start(setup: impl FnOnce(Setup) -> Setup) -> Option<Self> {
        Self::start_with(setup, &["--any-resource"]).await
    }

    /// The same with an authorization server of these options.
    pub(crate) async fn start_with(
        setup: impl FnOnce(Setup) -> Setup,
        options: &[&str],
    ) -> Option<Self> {
        let options = [&["--scope", SCOPE], options].concat();
        Self::with(setup, "authorization_server.js", &options).await
    }

    /// The same with another authorization server.
    async fn with(
        setup: impl FnOnce(Setup) -> Setup,
        server: &str,
        options: &[&str],
    ) -> Option<Self> {
        let has_openssl = can_run(
            "the OAuth loop",
            has_tool("openssl"),
            "apt-get install openssl",
        );
        let has_clients = Client::Python.is_installed() && Client::Node.is_installed();
        if !has_openssl || !has_clients {
            return None;
        }
        let own = Setup::new();
        certify(own.directory());
        let file = |name: &str| own.directory().join(name).to_str().unwrap().to_owned();
        let (certificate, key) = (file("port.pem"), file("port-key.pem"));
        let own = own
            .set("identity", "address", "127.0.0.1:0")
            .set("identity", "public_url", format!("https://{HOST}"))
            .set("identity", "certificate_file", certificate)
            .set("identity", "key_file", key);
        let agent = setup(own).start().await;
        let mut command = Client::Node.script(&agent, server);
        let here = format!("https://{HOST}={}", real_url(&agent));
        command
            .args(["--documents", &here])
            .args(options)
            .arg("--ca")
            .arg(agent.setup().directory().join("ca.pem"));
        let mut server = Workload::start(&mut command);
        let listening = server.line().await.expect("it listens");
        let listening = serde_json::from_str(&listening).expect("JSON");
        let issuer = text(&listening, "issuer");
        Some(Self {
            agent,
            server,
            issuer,
        })
    }

    /// Registers the client `tools` for these processes.
    pub(crate) async fn register(&self, selector_sets: &[Vec<String>]) {
        self.register_for(&self.issuer, selector_sets).await;
    }

    /// The same, for another authorization server.
    pub(crate) async fn register_for(&self, server: &str, selector_sets: &[Vec<String>]) {
        let document = json!({
            "name": "tools",
            "owner": "tests@example.org",
            "selector_sets": selector_sets,
            "authorization_servers": [server],
            "accept_weak": "a test",
            "metadata": {
                "client_name": "Tools",
                "grant_types": ["client_credentials"],
                "redirect_uris": [format!("https://{HOST}/callback")],
                "response_types": [],
                "scope": SCOPE,
                "token_endpoint_auth_method": "private_key_jwt",
            },
        });
        let path = self.agent.setup().directory().join("tools.json");
        fs::write(&path, document.to_string()).unwrap();
        let path = path.to_str().unwrap();
        let applied = ["client", "apply", "-f", path, "--yes"];
        self.agent.run(applied).await.success();
    }

    /// The MCP server, and its URL.
    pub(crate) async fn mcp_server(&self) -> (Workload, String) {
        self.mcp_server_of(&self.issuer).await
    }

    /// The same, where it calls its authorization server so.
    pub(crate) async fn mcp_server_of(&self, issuer: &str) -> (Workload, String) {
        let mut command = Client::Python.script(&self.agent, "mcp_server.py");
        let mut server = Workload::start(command.args([issuer, SCOPE]));
        let url = text(&server.event("listening").await, "url");
        (server, url)
    }

    /// The client program of the stock SDK.
    fn client(&self, client: Client, url: &str) -> Workload {
        let mut command = client.script(&self.agent, program_of(client));
        Workload::start(command.args([url, ID, &self.issuer, SCOPE]))
    }

    /// It ends without an assertion.
    async fn is_denied(&self, client: Workload) {
        let end = client.end().await;
        assert_eq!(end.code, Some(1), "{end:?}");
        assert_eq!(end.stdout, "");
        assert!(end.stderr.contains("PERMISSION_DENIED"), "{end:?}");
    }

    /// An assertion for this process itself.
    async fn assertion(&self) -> String {
        self.assertion_by(&mut credentials_api(&self.agent).await)
            .await
    }

    /// The same, on a connection that is kept.
    async fn assertion_by(&self, api: &mut CredentialsApi) -> String {
        let request = MintClientAssertionRequest {
            authorization_server: self.issuer.clone(),
            ..MintClientAssertionRequest::default()
        };
        let minted = within("an assertion", api.mint_client_assertion(request)).await;
        minted.unwrap().into_inner().client_assertion
    }

    /// The authorization server refuses this assertion, for this reason.
    async fn is_refused(&mut self, assertion: &str, reason: &str) {
        let (status, refused) = self.token(assertion).await;
        assert_eq!(status, 401, "{refused}");
        assert_eq!(refused["error"], "invalid_client");
        let told = self.server.next_of_kind("refused").await;
        assert!(text(&told, "description").contains(reason), "{told}");
    }

    /// What the authorization server answers to this assertion: status and body.
    async fn token(&self, assertion: &str) -> (u16, Value) {
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", ID),
            ("client_assertion", assertion),
            (
                "client_assertion_type",
                "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            ),
            ("resource", "https://mcp.example.org/"),
            ("scope", SCOPE),
        ];
        post(&format!("{}/token", self.issuer), &form).await
    }
}

/// Where the identity port really is.
pub(crate) fn real_url(agent: &Agent) -> String {
    format!("https://localhost:{}", address(agent).port())
}

fn program_of(client: Client) -> &'static str {
    match client {
        Client::Node => "dist/mcp_client.js",
        _ => "mcp_client.py",
    }
}

pub(crate) fn text(event: &Value, field: &str) -> String {
    event[field].as_str().expect("text").to_owned()
}

/// A test authority and a certificate of the identity port, as an operator would have them.
fn certify(directory: &Path) {
    const KEY: &str = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2";
    let openssl = |arguments: String| {
        let mut command = Command::new("openssl");
        command.args(["req", "-x509"]).args(KEY.split(' '));
        command.args(arguments.split(' ')).current_dir(directory);
        let output = command.output().expect("openssl runs");
        assert!(output.status.success(), "{output:?}");
    };
    openssl("-subj /CN=test-authority -keyout ca-key.pem -out ca.pem".to_owned());
    openssl(format!(
        "-subj /CN={HOST} -keyout port-key.pem -out port.pem -CA ca.pem -CAkey ca-key.pem \
         -addext basicConstraints=critical,CA:FALSE -addext subjectAltName=DNS:{HOST},DNS:localhost"
    ));
}

/// What is answered to a form: status and body.
async fn post(url: &str, form: &[(&str, &str)]) -> (u16, Value) {
    let url = url.strip_prefix("http://").expect("an address here");
    let (host, path) = url.split_once('/').expect("a path");
    let pair = |(name, value): &(&str, &str)| format!("{name}={}", encoded(value));
    let body = form.iter().map(pair).collect::<Vec<_>>().join("&");
    let request = format!(
        "POST /{path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\
         content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let stream = within("a connection", TcpStream::connect(host)).await;
    let mut stream = stream.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let read = within("an answer", stream.read_to_string(&mut answer)).await;
    read.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).expect(body))
}

fn encoded(value: &str) -> String {
    value.bytes().fold(String::new(), |mut text, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' => {
                text.push(char::from(byte));
            }
            _ => write!(text, "%{byte:02X}").unwrap(),
        }
        text
    })
}

async fn reaches_the_tool(client: Client) {
    let Some(mut peers) = Peers::start(|setup| setup).await else {
        return;
    };
    let program = client.program();
    peers.register(&[program.selectors()]).await;
    let (_mcp, url) = peers.mcp_server().await;

    let mut workload = peers.client(client, &url);
    assert_eq!(workload.event("called").await["client_id"], ID);
    let end = workload.end().await;
    assert_eq!(end.code, Some(0), "{end:?}");
    for document in [ID, JWKS] {
        let fetched = peers.server.event("fetched").await;
        assert_eq!(fetched["url"], document);
        assert_eq!(fetched["status"], 200);
    }
    let events = peers.agent.audit().await;
    let mut issued = events.iter().filter(|line| line["event"] == "issued");
    let issued = issued.next().expect("the assertion is in the trail");
    assert_eq!(issued["credential"]["kind"], "client-assertion");
    assert_eq!(issued["client"], "tools");

    peers.agent.suspend("tools").await;
    peers.is_denied(peers.client(client, &url)).await;
    peers
        .agent
        .run(["client", "resume", "tools"])
        .await
        .success();
    let mut workload = peers.client(client, &url);
    assert_eq!(workload.event("called").await["client_id"], ID);
}

#[tokio::test]
async fn the_stock_python_client_calls_a_tool_without_a_key() {
    reaches_the_tool(Client::Python).await;
}

#[tokio::test]
async fn the_stock_typescript_client_calls_a_tool_without_a_key() {
    reaches_the_tool(Client::Node).await;
}

#[tokio::test]
async fn a_copy_with_one_changed_byte_calls_no_tool() {
    let Some(peers) = Peers::start(|setup| setup).await else {
        return;
    };
    let program = Client::Node.program();
    let program = program.copy_to(peers.agent.setup().directory(), "client");
    peers.register(&[program.selectors()]).await;
    let (_mcp, url) = peers.mcp_server().await;
    let start = |program: &Program| {
        let script = Client::Node.script(&peers.agent, "dist/mcp_client.js");
        let mut command = peers.agent.command(program.path());
        command.args(script.as_std().get_args());
        Workload::start(command.args([&url, ID, &peers.issuer, SCOPE]))
    };
    let mut workload = start(&program);
    assert_eq!(workload.event("called").await["client_id"], ID);
    let end = workload.end().await;
    assert_eq!(end.code, Some(0), "{end:?}");
    let altered = program.alter_to(program.path());
    peers.is_denied(start(&altered)).await;
}

/// The program is the registered one; who runs it is not.
#[tokio::test]
async fn another_user_calls_no_tool() {
    let Some(peers) = Peers::start(|setup| setup).await else {
        return;
    };
    let (_mcp, url) = peers.mcp_server().await;
    let other = format!("unix:uid:{SOMEBODY_ELSE}");
    let set = |client: Client| vec![other.clone(), client.program().digest_selector()];
    peers
        .register(&[set(Client::Python), set(Client::Node)])
        .await;
    for client in [Client::Python, Client::Node] {
        peers.is_denied(peers.client(client, &url)).await;
    }
}

#[tokio::test]
async fn an_assertion_is_taken_once_and_by_one_server() {
    let Some(mut peers) = Peers::start(|setup| setup).await else {
        return;
    };
    peers.register(&[Program::itself().selectors()]).await;
    let assertion = peers.assertion().await;
    let (status, granted) = peers.token(&assertion).await;
    assert_eq!(status, 200, "{granted}");
    let token = granted["access_token"].as_str().unwrap();
    assert_eq!(part(token, 1)["client_id"], ID);
    assert_eq!(part(token, 1)["aud"], "https://mcp.example.org/");

    peers.is_refused(&assertion, "only be used once").await;

    let elsewhere = "https://as.example.org";
    let mut api = credentials_api(&peers.agent).await;
    let request = MintClientAssertionRequest {
        authorization_server: elsewhere.to_owned(),
        ..MintClientAssertionRequest::default()
    };
    let denied = api.mint_client_assertion(request).await.unwrap_err();
    assert_eq!(denied.code(), Code::PermissionDenied, "{denied:?}");
}

/// What was made before is worth nothing after: the keys are gone from what the server fetches.
#[tokio::test]
async fn suspension_ends_assertions_that_were_made_before() {
    let Some(mut peers) = Peers::start(|setup| setup).await else {
        return;
    };
    peers.register(&[Program::itself().selectors()]).await;
    let early = peers.assertion().await;
    let first = peers.assertion().await;
    assert_eq!(peers.token(&first).await.0, 200);
    peers.agent.suspend("tools").await;
    peers.is_refused(&early, "").await;
}

impl Peers {
    /// Four callers at once ask for tokens over two rotations of the client's key; none is refused.
    async fn outlive_two_rotations(&mut self) {
        let keys = RefCell::new(BTreeSet::new());
        let load = join_all((0..4).map(|_caller| requests(self, &keys)));
        let granted = within("two rotations", load).await;
        if granted.contains(&false) {
            panic!("{}", self.server.next_of_kind("refused").await);
        }
    }

    /// Replaces the client's key by command.
    async fn replace_key(&self) {
        let replaced = ["client", "replace-key", "tools", "--reason", "stolen"];
        self.agent.run(replaced).await.success();
    }
}

/// Token requests one after the other, until a third key has signed; whether none was refused.
async fn requests(peers: &Peers, keys: &RefCell<BTreeSet<String>>) -> bool {
    let mut api = credentials_api(&peers.agent).await;
    while keys.borrow().len() < 3 {
        let assertion = peers.assertion_by(&mut api).await;
        if peers.token(&assertion).await.0 != 200 {
            return false;
        }
        keys.borrow_mut().insert(text(&part(&assertion, 0), "kid"));
    }
    true
}

#[tokio::test]
async fn a_rotation_of_keys_fails_no_token_request() {
    let rotating = |setup: Setup| {
        setup
            .set("authority", "jwks_cache", "1s")
            .set("credentials_api", "assertion_ttl", "5s")
            .set("credentials_api", "client_key_lead", "1s")
            .set("credentials_api", "client_key_ttl", "6s")
    };
    let Some(mut peers) = Peers::start(rotating).await else {
        return;
    };
    peers.register(&[Program::itself().selectors()]).await;
    peers.outlive_two_rotations().await;
}

/// Token requests one after the other, until another key than this one was taken; no other
/// assertions are refused meanwhile than those that this one signed.
async fn requests_past(peers: &Peers, replaced: &str) {
    let mut api = credentials_api(&peers.agent).await;
    loop {
        let assertion = peers.assertion_by(&mut api).await;
        let (status, answer) = peers.token(&assertion).await;
        let is_old = part(&assertion, 0)["kid"] == *replaced;
        assert!(status == 200 || is_old, "{answer}");
        if !is_old {
            return;
        }
    }
}

#[tokio::test]
async fn a_replaced_key_is_refused_at_the_next_request() {
    let Some(mut peers) = Peers::start(|setup| setup).await else {
        return;
    };
    peers.register(&[Program::itself().selectors()]).await;
    let stolen = peers.assertion().await;
    let before = peers.assertion().await;
    assert_eq!(peers.token(&before).await.0, 200);
    let replaced = text(&part(&before, 0), "kid");
    let load = join_all((0..4).map(|_caller| requests_past(&peers, &replaced)));
    let replace = peers.replace_key();
    within("tokens by the new key", async {
        tokio::join!(load, replace)
    })
    .await;
    let after = peers.assertion().await;
    assert_ne!(part(&after, 0)["kid"], part(&before, 0)["kid"]);
    let (status, answer) = peers.token(&after).await;
    assert_eq!(status, 200, "{answer}");
    peers.is_refused(&stolen, "").await;
}
