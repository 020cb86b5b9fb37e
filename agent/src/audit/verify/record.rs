//! What a line has to hold to be one, and what some of them say about the trail.

use crate::svid::PublicKey;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// The fields that every line has, and those that verification follows.
#[derive(Debug, Deserialize)]
pub(super) struct Record<'a> {
    pub(super) seq: u64,
    pub(super) prev: &'a str,
    #[serde(borrow)]
    pub(super) time: &'a str,
    #[serde(borrow)]
    pub(super) event: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) chain: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    evidence: Option<&'a RawValue>,
    #[serde(borrow, default)]
    authority: Option<&'a RawValue>,
}

/// What `expunged` says: these lines were removed.
#[derive(Debug, Deserialize)]
pub(super) struct Expunged {
    pub(super) first_seq: u64,
    pub(super) last_seq: u64,
    pub(super) last_digest: String,
}

/// A key for checkpoints that the chain announces.
#[derive(Clone, Debug)]
pub(super) struct Announced {
    /// The line that does it.
    pub(super) seq: u64,
    pub(super) key: PublicKey,
}

impl<'a> Record<'a> {
    pub(super) fn of(line: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(line).ok()
    }

    pub(super) fn expunged(&self) -> Option<Expunged> {
        serde_json::from_str(self.evidence?.get()).ok()
    }

    /// The key that signs checkpoints, where it is that one which was rotated.
    pub(super) fn announced(&self) -> Option<Announced> {
        #[derive(Deserialize)]
        struct Authority<'a> {
            #[serde(borrow)]
            kind: Cow<'a, str>,
        }
        #[derive(Deserialize)]
        struct Evidence {
            public_key: Coordinates,
        }
        #[derive(Deserialize)]
        struct Coordinates {
            x: String,
            y: String,
        }
        let authority: Authority<'_> = serde_json::from_str(self.authority?.get()).ok()?;
        if authority.kind != "audit" {
            return None;
        }
        let Evidence { public_key } = serde_json::from_str(self.evidence?.get()).ok()?;
        let key = PublicKey::from_coordinates(&public_key.x, &public_key.y).ok()?;
        Some(Announced { seq: self.seq, key })
    }
}
