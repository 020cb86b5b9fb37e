//! Agents of several trust domains that fetch each other's bundles on loopback.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
};
use serde_json::Value;
use symbolon_proto::workload::{JwtsvidRequest, ValidateJwtsvidRequest};
use symbolon_tests::{
    AUDIENCE, Agent, Client, Program, Setup, TRUST_DOMAIN, Workload, WorkloadApi, within,
    workload_api,
};
use tempfile::TempDir;
use tonic::Code;

pub(super) const OURS: &str = TRUST_DOMAIN;
pub(super) const OTHER: &str = "other.example";

const HERE: &str = "127.0.0.1";

/// How a bundle endpoint proves who it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Profile {
    Web,
    Spiffe,
}

/// The client of a library's program.
pub(super) fn name_of(library: Client) -> &'static str {
    match library {
        Client::Rust => "rust",
        Client::Go => "go",
        Client::Python => "python",
        Client::Java => "java",
        Client::Node => "node",
    }
}

/// A Web PKI that knows this machine alone.
pub(super) struct Web(TempDir);

impl Web {
    pub(super) fn new() -> Self {
        let web = Self(tempfile::tempdir().unwrap());
        let ca = authority("web");
        let key = KeyPair::generate().unwrap();
        let port = CertificateParams::new(vec![HERE.to_owned()]).unwrap();
        let port = port.signed_by(&key, &ca).unwrap();
        write(web.path("ca.pem"), &ca.pem());
        write(web.path("port.pem"), &port.pem());
        write(web.path("port-key.pem"), &key.serialize_pem());
        web
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }
}

/// A certificate authority that says nothing of a trust domain.
pub(super) fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// For its owner alone, as keys have to be.
pub(super) fn write(path: impl AsRef<Path>, text: &str) {
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
}

/// An agent with an identity port, and this process as its client `teller`.
pub(super) struct Domain {
    pub(super) agent: Agent,
    name: &'static str,
    profile: Profile,
    port: u16,
}

/// What a test has to say of an agent before it starts.
pub(super) fn setup(name: &str, profile: Profile, web: &Web) -> Setup {
    let setup = Setup::new()
        .top("trust_domain", name)
        .set("authority", "refresh_hint", "2s")
        .set("authority", "jwks_cache", "1s")
        .set("federation", "min_refresh", "1s")
        .set("federation", "max_refresh", "2s")
        .set("fetch", "allow", vec![HERE])
        .set("fetch", "ca_file", web.path("ca.pem"))
        .set("identity", "address", format!("{HERE}:0"))
        .set("identity", "public_url", format!("https://id.{name}"));
    match profile {
        Profile::Web => setup
            .set("identity", "certificate_file", web.path("port.pem"))
            .set("identity", "key_file", web.path("port-key.pem")),
        Profile::Spiffe => setup.set("identity", "tls", "svid"),
    }
}

/// Two trust domains that federate with each other.
pub(super) async fn federated(profile: Profile, web: &Web) -> (Domain, Domain) {
    let ours = Domain::start(OURS, profile, setup(OURS, profile, web)).await;
    let theirs = Domain::start(OTHER, profile, setup(OTHER, profile, web)).await;
    for (domain, other) in [(&ours, &theirs), (&theirs, &ours)] {
        let selectors = Program::itself().selectors();
        domain.register("teller", &selectors, other.name).await;
        domain.federate(other.name, other).await;
    }
    (ours, theirs)
}

impl Domain {
    pub(super) async fn start(name: &'static str, profile: Profile, setup: Setup) -> Self {
        let agent = setup.start().await;
        let port = crate::identity::address(&agent).port();
        Self {
            agent,
            name,
            profile,
            port,
        }
    }

    /// A client's SPIFFE ID.
    pub(super) fn id(&self, client: &str) -> String {
        format!("spiffe://{}/mcp/client/{client}", self.name)
    }

    /// Where its bundle is.
    pub(super) fn url(&self) -> String {
        format!("https://{HERE}:{}/bundle", self.port)
    }

    /// Registers a client that federates with `other`.
    pub(super) async fn register(&self, client: &str, selectors: &[String], other: &str) {
        let options = ["--audience", AUDIENCE, "--federates-with", other];
        self.agent.register_with(client, selectors, options).await;
    }

    /// Federates with `name`, of which that agent is said to be, and waits for its bundle.
    pub(super) async fn federate(&self, name: &str, other: &Self) {
        let mut trail = self.agent.follow_audit();
        self.propose(name, other).await;
        bundle_event(&mut trail, name, "accepted").await;
    }

    /// The same, and waits for nothing.
    pub(super) async fn propose(&self, name: &str, other: &Self) {
        let url = other.url();
        let add = [
            "federation",
            "add",
            name,
            "--reason",
            "a test",
            "--url",
            &url,
        ];
        let id = format!("spiffe://{}/symbolon/agent", other.name);
        let first = self.agent.setup().directory().join("first.json");
        let options: &[&str] = match other.profile {
            Profile::Web => &["--profile", "https_web"],
            Profile::Spiffe => {
                write(&first, &other.first_bundle().await);
                let first = first.to_str().unwrap();
                let profile = ["--profile", "https_spiffe", "--endpoint-spiffe-id", &id];
                &[&profile[..], &["--bundle", first]].concat()
            }
        };
        let all = [&add[..], options].concat();
        self.agent.run_list(&all).await.success();
    }

    /// Its bundle as an operator got it long ago: without what only a fetch can bring.
    async fn first_bundle(&self) -> String {
        let mut bundle = self.bundle().await;
        let members = bundle.as_object_mut().unwrap();
        members.remove("spiffe_sequence");
        let keys = members["keys"].as_array_mut().unwrap();
        keys.retain(|key| key["use"] == "x509-svid");
        bundle.to_string()
    }

    /// Its bundle as it is now.
    pub(super) async fn bundle(&self) -> Value {
        self.agent.run(["bundle", "show"]).await.json()
    }

    /// A connection of this process.
    pub(super) async fn api(&self) -> WorkloadApi {
        workload_api(&self.agent).await
    }

    /// A JWT-SVID of this process.
    pub(super) async fn token(&self) -> String {
        let request = JwtsvidRequest {
            audience: vec![AUDIENCE.to_owned()],
            spiffe_id: self.id("teller"),
        };
        let mut api = self.api().await;
        let answer = within("a JWT-SVID", api.fetch_jwtsvid(request)).await;
        answer.unwrap().into_inner().svids.remove(0).svid
    }

    /// What the agent says of a token: whose it is, or why not.
    pub(super) async fn validates(&self, token: &str) -> Result<String, Code> {
        let request = ValidateJwtsvidRequest {
            audience: AUDIENCE.to_owned(),
            svid: token.to_owned(),
        };
        let mut api = self.api().await;
        let answer = within("a validation", api.validate_jwtsvid(request)).await;
        answer
            .map(|answer| answer.into_inner().spiffe_id)
            .map_err(|status| status.code())
    }
}

/// The next event of this kind about the bundle of this trust domain.
pub(super) async fn bundle_event(trail: &mut Workload, name: &str, outcome: &str) -> Value {
    loop {
        let event = trail.next_of_kind("foreign_bundle").await;
        if event["trust_domain"] == name && event["outcome"] == outcome {
            return event;
        }
    }
}
