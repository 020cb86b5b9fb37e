//! The key that signs checkpoints.
//!
//! It lies beside the authorities' keys and signs nothing else. A new one is
//! announced in the chain, with its public key, and the old one signs a
//! checkpoint that covers that before it goes: whoever trusts the old key can
//! trust the new one.

use crate::{
    authority::{KeyDirectory, KeyDirectoryError},
    canonical::CanonicalError,
    clock::unix_seconds,
    svid::{Jwk, KeyError, PrivateKey, PublicKey},
};
use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use std::{
    fmt::{self, Debug, Formatter},
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

const PREFIX: &str = "audit-";

/// Not that of the authorities' keys, which own theirs.
const SUFFIX: &str = ".checkpoint";

/// The most that a key file may have; a P-256 key in PKCS#8 has 138 bytes.
const MAX_KEY_BYTES: usize = 1024;

/// What stands before the point of a P-256 key in a `SubjectPublicKeyInfo` (RFC 5480).
const SPKI_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// Characters in a line of PEM (RFC 7468, section 2).
const LINE: usize = 64;
const BEGIN: &str = "-----BEGIN PUBLIC KEY-----";
const END: &str = "-----END PUBLIC KEY-----";

/// Why there is no key for checkpoints, or it cannot sign.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointKeyError {
    /// The key directory cannot be used.
    #[error(transparent)]
    Directory(#[from] KeyDirectoryError),
    /// A key file holds no key.
    #[error("the key of the audit checkpoints: {0}")]
    Key(#[from] KeyError),
    /// Not the public key that the agent exports.
    #[error("this is no P-256 public key in PEM")]
    Pem,
    /// The cryptographic library failed.
    #[error("the cryptographic library failed to sign")]
    Library,
    /// A bug of ours.
    #[error("a checkpoint has no canonical form: {0}")]
    NotCanonical(#[from] CanonicalError),
}

/// A key that signs checkpoints.
pub struct CheckpointKey {
    pair: EcdsaKeyPair,
    public: PublicKey,
    id: String,
    created: SystemTime,
}

impl Debug for CheckpointKey {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("CheckpointKey")
    }
}

impl CheckpointKey {
    fn new(key: &PrivateKey, created: SystemTime) -> Result<Self, KeyError> {
        let public = *key.public_key();
        Ok(Self {
            pair: EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.expose_pkcs8())
                .map_err(KeyError::Private)?,
            id: public.thumbprint(),
            public,
            created,
        })
    }

    /// Its thumbprint (RFC 7638).
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its public half.
    #[must_use]
    pub const fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Until when it signs.
    pub(in crate::audit) fn not_after(&self, ttl: Duration) -> SystemTime {
        self.created.checked_add(ttl).unwrap_or(self.created)
    }

    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, CheckpointKeyError> {
        self.pair
            .sign(&SystemRandom::new(), message)
            .map(|signature| signature.as_ref().to_vec())
            .map_err(|_unspecified| CheckpointKeyError::Library)
    }

    /// A public key as PEM.
    #[must_use]
    pub fn pem(public: &PublicKey) -> String {
        let mut der = SPKI_PREFIX.to_vec();
        der.extend_from_slice(public.point());
        let base64 = STANDARD.encode(der);
        let mut out = format!("{BEGIN}\n");
        let mut rest = base64.as_str();
        while !rest.is_empty() {
            // Base64 is ASCII, so every index is a boundary.
            let (line, after) = rest.split_at_checked(LINE).unwrap_or((rest, ""));
            out.push_str(line);
            out.push('\n');
            rest = after;
        }
        out + END + "\n"
    }

    /// The public key that PEM holds.
    ///
    /// # Errors
    /// [`CheckpointKeyError::Pem`] where it is anything else.
    pub fn from_pem(text: &str) -> Result<PublicKey, CheckpointKeyError> {
        let base64: String = text
            .split_once(BEGIN)
            .and_then(|(_, after)| after.split_once(END))
            .map(|(inside, _)| inside.split_whitespace().collect())
            .ok_or(CheckpointKeyError::Pem)?;
        let der = STANDARD
            .decode(base64)
            .map_err(|_malformed| CheckpointKeyError::Pem)?;
        let point = der
            .strip_prefix(&SPKI_PREFIX)
            .ok_or(CheckpointKeyError::Pem)?;
        PublicKey::from_point(point).map_err(|_malformed| CheckpointKeyError::Pem)
    }

    /// A public key as a JWK.
    #[must_use]
    pub fn jwk(public: &PublicKey) -> Jwk {
        Jwk::of(public).es256().named(public.thumbprint())
    }
}

/// The keys in their directory: one, or two while one takes over from the other.
#[derive(Debug)]
pub(in crate::audit) struct KeyStore {
    directory: KeyDirectory,
}

/// What was found.
#[derive(Debug)]
pub(in crate::audit) struct Keys {
    pub(in crate::audit) store: KeyStore,
    pub(in crate::audit) active: CheckpointKey,
    /// The one that was to take over when the agent stopped.
    pub(in crate::audit) next: Option<CheckpointKey>,
    /// Whether there was none before.
    pub(in crate::audit) is_new: bool,
}

impl KeyStore {
    /// Opens the keys, and makes the first one.
    pub(in crate::audit) fn open(path: &Path, now: SystemTime) -> Result<Keys, CheckpointKeyError> {
        let store = Self {
            directory: KeyDirectory::open(path)?,
        };
        let mut found = store.directory.names()?;
        found.retain(|name| created(name).is_some());
        found.sort_by_key(|name| created(name));
        let mut keys = Vec::new();
        for name in found {
            let created = created(&name).unwrap_or(UNIX_EPOCH);
            if let Some(der) = store.directory.read(&name, MAX_KEY_BYTES)? {
                keys.push(CheckpointKey::new(&PrivateKey::from_pkcs8(&der)?, created)?);
            }
        }
        let mut keys = keys.into_iter();
        let known = keys.next();
        let is_new = known.is_none();
        Ok(Keys {
            active: match known {
                Some(active) => active,
                None => store.create(now, None)?,
            },
            next: keys.next(),
            is_new,
            store,
        })
    }

    /// Makes a key, younger than `before`.
    pub(in crate::audit) fn create(
        &self,
        now: SystemTime,
        before: Option<&CheckpointKey>,
    ) -> Result<CheckpointKey, CheckpointKeyError> {
        let after = before.map_or(0, |key| unix_seconds(key.created) + 1);
        let seconds = unix_seconds(now).max(after);
        let key = PrivateKey::generate()?;
        let name = format!("{PREFIX}{seconds}{SUFFIX}");
        self.directory.write(&name, key.expose_pkcs8())?;
        Ok(CheckpointKey::new(&key, from_seconds(seconds))?)
    }

    /// Removes a key.
    pub(in crate::audit) fn remove(&self, key: &CheckpointKey) -> Result<(), CheckpointKeyError> {
        let name = format!("{PREFIX}{}{SUFFIX}", unix_seconds(key.created));
        Ok(self.directory.remove(&name)?)
    }
}

/// When the key in the file of this name was made; none where it is no such file.
fn created(name: &str) -> Option<SystemTime> {
    let seconds = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
    Some(from_seconds(seconds.parse().ok()?))
}

fn from_seconds(seconds: u64) -> SystemTime {
    UNIX_EPOCH
        .checked_add(Duration::from_secs(seconds))
        .unwrap_or(UNIX_EPOCH)
}
