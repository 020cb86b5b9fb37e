//! From the fields of requests to types that hold only what may be signed.

use crate::{
    clock::unix_seconds,
    issuance::{DpopRequest, WorkloadRequest},
    registry::IssuerUrl,
    svid::proof::{Hash, ProofInputError},
    uri::Uri,
};
use std::{collections::BTreeMap, str::FromStr, time::SystemTime};
use symbolon_proto::credentials::{SignDpopProofRequest, SignWorkloadProofRequest};
use tonic::Status;

/// Bytes of a protected resource, which the trail repeats.
const RESOURCE_BYTES: usize = 1024;

/// Hashes of other tokens in one proof: requests carry one or two.
const MAX_OTHER_TOKENS: usize = 8;

/// Bytes of a header field's name.
const FIELD_BYTES: usize = 64;

/// An authorization server, as registrations name them.
pub(super) fn server(text: &str) -> Result<IssuerUrl, Status> {
    text.parse()
        .map_err(|error| Status::invalid_argument(format!("authorization_server: {error}")))
}

/// A protected resource (RFC 8707, section 2), where one is named.
pub(super) fn resource(text: &str) -> Result<Option<&str>, Status> {
    if text.is_empty() {
        return Ok(None);
    }
    // The trail repeats it: a password has no place in it.
    let is_resource = text.len() <= RESOURCE_BYTES
        && Uri::parse(text).is_ok_and(|uri| {
            uri.host().is_some() && uri.fragment.is_none() && !uri.has_user_info()
        });
    is_resource.then_some(Some(text)).ok_or_else(|| {
        Status::invalid_argument(
            "resource is an absolute URI of at most 1024 bytes without a fragment or user \
             information",
        )
    })
}

pub(super) fn dpop(request: &SignDpopProofRequest) -> Result<DpopRequest, Status> {
    Ok(DpopRequest {
        method: given(&request.method)?,
        target: given(&request.target)?,
        access_token_hash: optional(&request.access_token_hash)?,
        nonce: optional(&request.nonce)?,
    })
}

pub(super) fn workload(request: &SignWorkloadProofRequest) -> Result<WorkloadRequest, Status> {
    Ok(WorkloadRequest {
        target: given(&request.target)?,
        access_token_hash: optional(&request.access_token_hash)?,
        transaction_token_hash: optional(&request.transaction_token_hash)?,
        other_hashes: others(&request.other_token_hashes)?,
    })
}

fn given<T: FromStr<Err = ProofInputError>>(text: &str) -> Result<T, Status> {
    text.parse()
        .map_err(|error: ProofInputError| Status::invalid_argument(error.to_string()))
}

fn optional<T: FromStr<Err = ProofInputError>>(text: &str) -> Result<Option<T>, Status> {
    (!text.is_empty()).then(|| given(text)).transpose()
}

/// By the names of header fields in lower case (draft-ietf-wimse-wpt, section 2).
fn others(given_hashes: &BTreeMap<String, String>) -> Result<BTreeMap<String, Hash>, Status> {
    let is_field = |name: &str| {
        let is_lower = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        (1..=FIELD_BYTES).contains(&name.len()) && name.bytes().all(is_lower)
    };
    if given_hashes.len() > MAX_OTHER_TOKENS || !given_hashes.keys().all(|name| is_field(name)) {
        return Err(Status::invalid_argument(
            "other_token_hashes has at most 8 names of header fields, in lower case",
        ));
    }
    let hashes = given_hashes.iter();
    hashes
        .map(|(name, hash)| Ok((name.clone(), given(hash)?)))
        .collect()
}

pub(super) fn timestamp(at: SystemTime) -> i64 {
    i64::try_from(unix_seconds(at)).unwrap_or(i64::MAX)
}
