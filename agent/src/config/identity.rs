//! `[identity]`: what the world sees of the agent.

use super::{
    authority::{Authority, JWKS_CACHE},
    fault::Problem,
    key::Key,
    reader::Reader,
    setting::{Address, Raw, Setting, named_values, quoted},
    units::DAY,
};
use crate::metadata::PublicUrl;
use std::{net::SocketAddr, path::PathBuf, time::Duration};

/// The public documents, and the port that serves them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Where to listen; `None` where the port is off.
    pub address: Option<SocketAddr>,
    /// Where the world finds them; `None`: nowhere.
    pub public_url: Option<PublicUrl>,
    /// `iss` of JWT-SVIDs, and the issuer of OpenID discovery.
    pub issuer: Option<PublicUrl>,
    /// Whose certificate the port shows.
    pub tls: IdentityTls,
    /// Certificate and key of the port, where they come from files.
    pub certificate: Option<CertificateFiles>,
    /// Directory that the documents are written to.
    pub publish_dir: Option<PathBuf>,
    /// How long a document may be kept.
    pub cache_max_age: Duration,
    /// Connections to the port.
    pub max_connections: usize,
    /// Of these, how many one address may hold.
    pub max_connections_per_address: usize,
}

/// Files of a certificate that the operator renews.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// PEM file with the certificate, then its issuers.
    pub certificate_file: PathBuf,
    /// PEM file with its private key.
    pub key_file: PathBuf,
}

named_values! {
    /// Whose certificate the identity port shows.
    pub enum IdentityTls {
        /// One that the operator renews.
        Files = "files",
        /// The agent's own SVID.
        Svid = "svid",
    }
}

/// Each connection costs some tens of kilobytes, and a descriptor.
const MOST_CONNECTIONS: usize = 1 << 16;

const ADDRESS: Key = Key::new(
    "identity",
    "address",
    "Address and port for the public documents (HTTPS, for anybody; agent/doc/identity.md), or \
     \"off\".",
);
const PUBLIC_URL: Key = Key::new(
    "identity",
    "public_url",
    "URL at which the world finds the agent's public documents, without a slash at its end. A \
     governed client's client_id begins with it, so a change gives all of them other IDs. Without \
     it there are no governed client IDs.",
)
.without_default("https://id.example.org");
const ISSUER: Key = Key::new(
    "identity",
    "issuer",
    "Issuer of JWT-SVIDs (iss) and of OpenID discovery: public_url, unless something else stands \
     here. Without either, JWT-SVIDs have no iss and there is no discovery.",
)
.without_default("https://id.example.org");
const TLS: Key = Key::new(
    "identity",
    "tls",
    "Certificate of the port: \"files\" (certificate_file and key_file) or \"svid\" (the agent's own \
     X.509-SVID, which federation by https_spiffe looks for).",
);
const CERTIFICATE_FILE: Key = Key::new(
    "identity",
    "certificate_file",
    "PEM file of the port's certificate, then its issuers; read again every few seconds and on \
     SIGHUP. Needs key_file.",
)
.without_default("/etc/symbolon/identity.pem");
pub(super) const KEY_FILE: Key = Key::new(
    "identity",
    "key_file",
    "PEM file of that certificate's private key; not for everybody to read. Needs certificate_file.",
)
.without_default("/etc/symbolon/identity-key.pem");
pub(super) const PUBLISH_DIR: Key = Key::new(
    "identity",
    "publish_dir",
    "Directory that the same documents are written to, for a web server of your own; nothing else \
     may lie in it.",
)
.without_default("/var/www/symbolon");
const CACHE_MAX_AGE: Key = Key::new(
    "identity",
    "cache_max_age",
    "How long a document may be kept by whoever fetched it: authority.jwks_cache, or less.",
);
const MAX_CONNECTIONS: Key = Key::new(
    "identity",
    "max_connections",
    "Connections to the port. Others wait.",
);
const MAX_CONNECTIONS_PER_ADDRESS: Key = Key::new(
    "identity",
    "max_connections_per_address",
    "Of these, how many one address, or one IPv6 network of 64 bits, may hold. A wide network (24 \
     bits of IPv4, 48 of IPv6) may hold a quarter of max_connections, or this if it is more. Raise \
     it behind a proxy, which is one address.",
);

pub(super) const KEYS: &[&Key] = &[
    &ADDRESS,
    &PUBLIC_URL,
    &ISSUER,
    &TLS,
    &CERTIFICATE_FILE,
    &KEY_FILE,
    &PUBLISH_DIR,
    &CACHE_MAX_AGE,
    &MAX_CONNECTIONS,
    &MAX_CONNECTIONS_PER_ADDRESS,
];

pub(super) fn read(reader: &mut Reader<'_>, authority: &Authority) -> Identity {
    let Address(address) = reader.value(&ADDRESS, Address(None));
    let public_url: Option<PublicUrl> = reader.optional(&PUBLIC_URL);
    let issuer = reader.optional(&ISSUER).or_else(|| public_url.clone());
    let tls = reader.value(&TLS, IdentityTls::Files);
    let certificate = certificate(reader);
    if address.is_some() && tls == IdentityTls::Files && certificate.is_none() {
        let problem = Problem::Half {
            key: ADDRESS.path(),
            other: CERTIFICATE_FILE.path(),
        };
        reader.refuse(&ADDRESS, problem);
    }
    let publish_dir = reader.optional(&PUBLISH_DIR);
    let longest = Duration::from_secs(DAY);
    let cache = authority.jwks_cache;
    let cache_max_age = reader.within(&CACHE_MAX_AGE, cache, Duration::ZERO..=longest);
    // Keys are published for as long as that before they sign.
    reader.at_most((&CACHE_MAX_AGE, cache_max_age), (&JWKS_CACHE, cache));
    let count = 1..=MOST_CONNECTIONS;
    let max_connections = reader.within(&MAX_CONNECTIONS, 1024, count.clone());
    let per_address = reader.within(&MAX_CONNECTIONS_PER_ADDRESS, 64, count);
    reader.at_most(
        (&MAX_CONNECTIONS_PER_ADDRESS, per_address),
        (&MAX_CONNECTIONS, max_connections),
    );
    Identity {
        address,
        public_url,
        issuer,
        tls,
        certificate,
        publish_dir,
        cache_max_age,
        max_connections,
        max_connections_per_address: per_address,
    }
}

fn certificate(reader: &mut Reader<'_>) -> Option<CertificateFiles> {
    let certificate_file = reader.optional(&CERTIFICATE_FILE);
    let key_file = reader.optional(&KEY_FILE);
    reader.together(&CERTIFICATE_FILE, &KEY_FILE);
    Some(CertificateFiles {
        certificate_file: certificate_file?,
        key_file: key_file?,
    })
}

impl Setting for PublicUrl {
    fn expected() -> String {
        "an https URL such as \"https://id.example.org\", with a host in lower case and no slash \
         at its end"
            .to_owned()
    }

    fn parse(raw: &Raw) -> Option<Self> {
        String::parse(raw)?.parse().ok()
    }

    fn render(&self) -> String {
        quoted(self.as_str())
    }
}
