//! Foreign trust domains with keys of their own.

use crate::{
    authority::{
        Authority as _, AuthorityConfig, EmbeddedCa, ForeignBundle, JwtRequest, TraceClaims,
        X509Request,
    },
    clock::SharedClock,
    svid::PrivateKey,
};
use futures_util::FutureExt as _;
use serde_json::Value;
use spiffe::{SpiffeId, TrustDomain};
use std::{sync::Arc, time::Duration};
use tempfile::TempDir;

const HOUR: Duration = Duration::from_secs(3_600);

/// A foreign trust domain, with keys that nobody else has.
pub(crate) struct Stranger {
    _folder: TempDir,
    pub(crate) ca: EmbeddedCa,
    pub(crate) domain: TrustDomain,
}

impl Stranger {
    pub(crate) fn new(name: &str, clock: &SharedClock) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let domain = TrustDomain::new(name).unwrap();
        let config = AuthorityConfig {
            issuer: None,
            trust_domain: domain.clone(),
            x509_ca_ttl: 2160 * HOUR,
            jwt_key_ttl: 720 * HOUR,
            wit_key_ttl: 720 * HOUR,
            refresh_hint: HOUR / 12,
            jwks_cache: HOUR / 12,
            max_x509_ttl: 24 * HOUR,
            max_jwt_ttl: HOUR,
            operator: None,
        };
        let keys = folder.path().join("keys");
        Self {
            ca: EmbeddedCa::open(&keys, config, Arc::clone(clock)).unwrap(),
            _folder: folder,
            domain,
        }
    }

    /// Its bundle as its endpoint serves it, with this sequence; without one for `None`.
    pub(crate) fn document(&self, sequence: Option<u64>) -> String {
        let bundle = Arc::clone(&self.ca.bundle().borrow());
        let mut document: Value = serde_json::from_slice(bundle.spiffe_json()).unwrap();
        let members = document.as_object_mut().unwrap();
        match sequence {
            Some(sequence) => drop(members.insert("spiffe_sequence".into(), sequence.into())),
            None => drop(members.remove("spiffe_sequence")),
        }
        document.to_string()
    }

    /// Its bundle, as it is read for it.
    pub(crate) fn bundle(&self) -> Arc<ForeignBundle> {
        let document = self.document(Some(1));
        Arc::new(ForeignBundle::parse(&self.domain, document.as_bytes()).unwrap())
    }

    pub(crate) fn id(&self, path: &str) -> SpiffeId {
        SpiffeId::new(format!("spiffe://{}{path}", self.domain)).unwrap()
    }

    /// A JWT-SVID for audience `a`.
    pub(crate) fn token(&self, path: &str) -> String {
        let request = JwtRequest {
            spiffe_id: &self.id(path),
            audiences: &["a".to_owned()],
            lifetime: HOUR / 12,
            trace: TraceClaims::default(),
        };
        let signed = self.ca.sign_jwt(request).now_or_never().unwrap();
        signed.unwrap().token.expose().to_owned()
    }

    /// Its X.509 authorities as PEM.
    pub(crate) fn ca_pem(&self) -> Vec<u8> {
        self.ca.bundle().borrow().x509_pem().to_vec()
    }

    /// An X.509-SVID, and its key.
    pub(crate) fn svid(&self, path: &str) -> (Vec<u8>, PrivateKey) {
        let key = PrivateKey::generate().unwrap();
        let request = X509Request {
            spiffe_id: &self.id(path),
            dns_names: &[],
            public_key: key.public_key(),
            lifetime: HOUR,
        };
        let signed = self.ca.sign_x509(request).now_or_never().unwrap();
        (signed.unwrap().chain.to_vec(), key)
    }
}
