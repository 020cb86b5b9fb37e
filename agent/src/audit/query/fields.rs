//! The fields by which lines are found, read without copying where that can be.

use serde::Deserialize;
use std::borrow::Cow;

/// A line's fields; what it has not is empty.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Fields<'a> {
    pub(super) time: &'a str,
    #[serde(borrow)]
    pub(super) event: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) client: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) owner: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) operator: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) spiffe_id: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) attestation_id: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) trust_domain: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) outcome: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) credential: Credential<'a>,
    #[serde(borrow)]
    pub(super) authority: Authority<'a>,
    #[serde(borrow)]
    pub(super) summary: Summary<'a>,
    pub(super) process: Process,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Credential<'a> {
    #[serde(borrow)]
    pub(super) serial: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) jti: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) key_thumbprint: Cow<'a, str>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Authority<'a> {
    #[serde(borrow)]
    pub(super) key_id: Cow<'a, str>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Summary<'a> {
    #[serde(borrow)]
    pub(super) event: Cow<'a, str>,
    pub(super) uid: Option<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Process {
    pub(super) pid: Option<u32>,
    pub(super) uid: Option<u32>,
}

impl<'a> Fields<'a> {
    pub(super) fn of(line: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(line).ok()
    }
}

/// When the process of an `attested` line started, where that is known.
pub(super) fn start_time(line: &[u8]) -> Option<u64> {
    #[derive(Deserialize)]
    struct Attested {
        evidence: Evidence,
    }
    #[derive(Deserialize)]
    struct Evidence {
        start_time: Option<u64>,
    }
    let attested: Attested = serde_json::from_slice(line).ok()?;
    attested.evidence.start_time
}
