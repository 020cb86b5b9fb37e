//! The last bundle of each foreign trust domain, kept beyond the agent's life.
//!
//! One file for each, written whole or not at all. It names the trust domain and the version of
//! the relationship that it was fetched for: what is found under another name, is of a version
//! before a removal, or cannot be believed, is not used, and the registered bundle is the
//! beginning again.

use crate::{
    authority::{ForeignBundle, KeyDirectory, KeyDirectoryError, MAX_BUNDLE_BYTES},
    canonical,
    clock::unix_seconds,
    registry::{Digest, RelationshipVersion, limits::LATEST_SECONDS},
};
use serde::{Deserialize, Serialize};
use spiffe::TrustDomain;
use std::{
    borrow::Borrow,
    collections::BTreeSet,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// What this agent writes; others are not read.
const FORMAT: u32 = 1;
/// A document within JSON may double, and the rest is short.
const MAX_FILE_BYTES: usize = 2 * MAX_BUNDLE_BYTES + 4_096;
const SUFFIX: &str = ".json";

/// What was fetched last.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    /// The version of the relationship that it was fetched for.
    pub(super) relationship: Digest,
    /// The number of that version.
    pub(super) number: u64,
    pub(super) bundle: Arc<ForeignBundle>,
    pub(super) fetched_at: SystemTime,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    document: String,
    fetched_at: u64,
    format: u32,
    number: u64,
    relationship: Digest,
    trust_domain: String,
}

/// The directory of these files.
#[derive(Clone, Debug)]
pub(super) struct Files(Arc<KeyDirectory>);

impl Files {
    pub(super) fn open(path: &Path) -> Result<Self, KeyDirectoryError> {
        Ok(Self(Arc::new(KeyDirectory::open(path)?)))
    }

    /// What is kept of a trust domain, where it can be believed. Blocks its thread.
    pub(super) fn read(&self, domain: &TrustDomain) -> Option<Kept> {
        let content = match self.0.read(&name(domain), MAX_FILE_BYTES) {
            Ok(content) => content?,
            Err(error) => {
                tracing::warn!(%error, "a foreign bundle that was kept cannot be read");
                return None;
            }
        };
        let kept = parse(domain, &content);
        if kept.is_none() {
            tracing::warn!(trust_domain = %domain, "a foreign bundle that was kept is damaged");
        }
        kept
    }

    /// Keeps a document. Blocks its thread.
    pub(super) fn write(
        &self,
        domain: &TrustDomain,
        (version, document): (&RelationshipVersion, &str),
        fetched_at: SystemTime,
    ) -> Result<(), KeyDirectoryError> {
        let content = Content {
            document: document.to_owned(),
            fetched_at: unix_seconds(fetched_at),
            format: FORMAT,
            number: version.number,
            relationship: version.digest,
            trust_domain: domain.to_string(),
        };
        let content = serde_json::to_vec(&content).unwrap_or_default();
        self.0.write(&name(domain), &content)
    }

    /// Forgets what is kept of any other trust domain than these. Blocks its thread.
    pub(super) fn keep_only<D: Borrow<TrustDomain>>(&self, domains: impl Iterator<Item = D>) {
        let known: BTreeSet<String> = domains.map(|domain| name(domain.borrow())).collect();
        let forget = || {
            for name in self.0.names()? {
                if name.ends_with(SUFFIX) && !known.contains(&name) {
                    self.0.remove(&name)?;
                }
            }
            Ok::<_, KeyDirectoryError>(())
        };
        if let Err(error) = forget() {
            tracing::warn!(%error, "a foreign bundle that was kept cannot be removed");
        }
    }
}

/// Names of trust domains are up to 255 bytes long, as those of files are.
fn name(domain: &TrustDomain) -> String {
    canonical::sha256_hex(domain.as_str().as_bytes()) + SUFFIX
}

fn parse(domain: &TrustDomain, content: &[u8]) -> Option<Kept> {
    let content: Content = serde_json::from_slice(content).ok()?;
    let is_ours = content.format == FORMAT && content.trust_domain == domain.as_str();
    if !is_ours || content.fetched_at > LATEST_SECONDS {
        return None;
    }
    let bundle = ForeignBundle::parse(domain, content.document.as_bytes()).ok()?;
    Some(Kept {
        relationship: content.relationship,
        number: content.number,
        bundle: Arc::new(bundle),
        fetched_at: UNIX_EPOCH.checked_add(Duration::from_secs(content.fetched_at))?,
    })
}
