//! One look at a client's document and its keys.

use super::{
    class::{Class, Finding},
    compare,
};
use crate::{
    fetch::{FetchError, FetchUrl, Fetcher, Limits, Reader},
    registry::{Client, ClientMetadata, Digest},
    svid::json,
};
use bytes::Bytes;
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use tokio::join;

/// What a look came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// What is not as it was approved, sorted; empty where all is.
    pub findings: Vec<Finding>,
    /// SHA-256 of the document, where one could be had.
    pub document: Option<Digest>,
    /// SHA-256 of its key set, where one could be had.
    pub keys: Option<Digest>,
    /// SHA-256 of the document that authorization servers are shown, where it is another one.
    pub document_for_others: Option<Digest>,
    /// SHA-256 of the key set that they are shown, where it is another one.
    pub keys_for_others: Option<Digest>,
    /// Those of the findings that the registration's policy is for: what keys are that were not
    /// approved themselves is told and no more.
    acting: BTreeSet<Finding>,
}

/// What a look is to the registration's policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Ground {
    /// No ground to act.
    #[default]
    Nothing,
    /// Something could not be had, and nothing else is wrong.
    Unreachable,
    /// Something else is served than what was approved.
    Drift,
}

impl Look {
    /// Whether all is as it was approved.
    #[must_use]
    pub fn is_approved(&self) -> bool {
        self.findings.is_empty()
    }

    /// Whether something could not be had, and nothing else is wrong.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        let unreachable = |finding: &Finding| finding.class == Class::Unreachable;
        !self.is_approved() && self.findings.iter().all(unreachable)
    }

    /// What it is to the registration's policy.
    pub(super) fn ground(&self) -> Ground {
        let unreachable = |finding: &Finding| finding.class == Class::Unreachable;
        match self.acting.is_empty() {
            true => Ground::Nothing,
            false if self.acting.iter().all(unreachable) => Ground::Unreachable,
            false => Ground::Drift,
        }
    }

    /// Whether it says something else than the one before it. Nothing to be had is nothing, in
    /// whatever way; and what differs with each reader differs each time.
    pub(super) fn is_news_after(&self, before: &Self) -> bool {
        let varies = |finding: &Finding| finding.class == Class::VariesByReader;
        match (self.is_unreachable(), before.is_unreachable()) {
            (true, true) => false,
            (false, false) if self.findings.iter().any(varies) => self.findings != before.findings,
            (false, false) if self.is_approved() => !before.is_approved(),
            (false, false) => self != before,
            _ => true,
        }
    }

    /// "approved", "drifted" or "unreachable".
    #[must_use]
    pub fn outcome(&self) -> &'static str {
        match (self.is_approved(), self.is_unreachable()) {
            (true, _) => "approved",
            (false, true) => "unreachable",
            (false, false) => "drifted",
        }
    }
}

/// The keys that others are compared with: the set that has the approved digest, or where none was
/// approved the first that was seen.
#[derive(Clone, Debug, Default)]
pub(super) struct KnownKeys(Option<(Digest, BTreeSet<String>)>);

/// Reads and compares.
pub(super) async fn look(
    fetcher: &Fetcher,
    client: &Client,
    mut known: KnownKeys,
) -> (Look, KnownKeys) {
    let mut look = Look::default();
    let Some(metadata) = client.spec().metadata() else {
        return (look, known);
    };
    let document = metadata.client_id().map(ToString::to_string);
    let keys = metadata.other().get("jwks_uri").and_then(Value::as_str);
    let (document, keys) = join!(
        read_twice(fetcher, document.as_deref()),
        read_twice(fetcher, keys)
    );
    let mut findings = BTreeSet::new();
    if let Some(found) = document {
        (look.document, look.document_for_others) = judge(found, &mut findings, |bytes, to| {
            to.extend(compare_document(metadata, bytes));
        });
    }
    let mut about_keys = BTreeSet::new();
    if let Some(found) = keys {
        (look.keys, look.keys_for_others) = judge(found, &mut about_keys, |bytes, to| {
            to.extend(known.compare(metadata.jwks_digest(), bytes));
        });
    }
    let is_pinned = metadata.jwks_digest().is_some();
    let is_for_policy = |finding: &&Finding| is_pinned || finding.class == Class::Unreachable;
    look.acting.clone_from(&findings);
    look.acting
        .extend(about_keys.iter().filter(is_for_policy).cloned());
    findings.append(&mut about_keys);
    look.findings = findings.into_iter().collect();
    (look, known)
}

/// What both readers were shown.
type Found = (Result<Bytes, Finding>, Result<Bytes, Finding>);

async fn read_twice(fetcher: &Fetcher, url: Option<&str>) -> Option<Found> {
    let text = url?;
    let Ok(url) = text.parse::<FetchUrl>() else {
        let finding = Finding::new(Class::Unreachable, "not a URL that is fetched");
        return Some((Err(finding.clone()), Err(finding)));
    };
    let read = |reader| {
        let (fetcher, url) = (fetcher, &url);
        async move {
            let fetched = fetcher.get_as(reader, url, Limits::DOCUMENT).await;
            let unreachable = |error: FetchError| Finding::new(Class::Unreachable, error.class());
            fetched.map(|fetched| fetched.body).map_err(|error| {
                tracing::debug!(%url, %error, "a document cannot be had");
                unreachable(error)
            })
        }
    };
    Some(join!(
        read(Reader::Agent),
        read(Reader::AuthorizationServer)
    ))
}

/// Compares each of what was shown; the digests of what the agent itself was, and of what others
/// were where that is something else.
fn judge(
    (own, other): Found,
    findings: &mut BTreeSet<Finding>,
    mut compare: impl FnMut(&Bytes, &mut BTreeSet<Finding>),
) -> (Option<Digest>, Option<Digest>) {
    match (own, other) {
        (Ok(own), Ok(other)) => {
            compare(&own, findings);
            let varies = own != other;
            if varies {
                compare(&other, findings);
                let what = "others are shown something else than this agent";
                findings.insert(Finding::new(Class::VariesByReader, what));
            }
            let others = varies.then(|| Digest::of(&other));
            (Some(Digest::of(&own)), others)
        }
        // What one of them is shown is still told.
        (Ok(bytes), Err(finding)) | (Err(finding), Ok(bytes)) => {
            compare(&bytes, findings);
            findings.insert(finding);
            (Some(Digest::of(&bytes)), None)
        }
        (Err(finding), Err(_same)) => {
            findings.insert(finding);
            (None, None)
        }
    }
}

fn compare_document(metadata: &ClientMetadata, bytes: &Bytes) -> Vec<Finding> {
    if metadata.document_digest() == Some(&Digest::of(bytes)) {
        return Vec::new();
    }
    match json::object(bytes) {
        Ok(found) => compare::documents(&approved(metadata), &found),
        Err(_error) => {
            let what = "not one JSON object in which no name stands twice";
            vec![Finding::new(Class::Invalid, what)]
        }
    }
}

/// The members that were approved, with the one that is a field of its own.
fn approved(metadata: &ClientMetadata) -> Map<String, Value> {
    let mut members = metadata.members();
    if let Some(id) = metadata.client_id() {
        members.insert("client_id".to_owned(), id.to_string().into());
    }
    members
}

impl KnownKeys {
    fn compare(&mut self, approved: Option<&Digest>, bytes: &Bytes) -> Vec<Finding> {
        let digest = Digest::of(bytes);
        let found = json::object(bytes)
            .ok()
            .and_then(|set| compare::thumbprints(&set));
        let Some(found) = found else {
            // Approved bytes are approved, whatever they are.
            let is_approved = approved == Some(&digest);
            let invalid = || Finding::new(Class::Invalid, "no set of public keys");
            return (!is_approved).then(invalid).into_iter().collect();
        };
        let is_baseline = match approved {
            Some(approved) => *approved == digest,
            None => self.0.is_none(),
        };
        if is_baseline {
            self.0 = Some((digest, found));
            return Vec::new();
        }
        match &self.0 {
            Some((known, keys)) if *known != digest => compare::key_sets(keys, &found),
            Some(_) => Vec::new(),
            None => vec![Finding::new(
                Class::KeysChanged,
                "the digest of the key set",
            )],
        }
    }
}
