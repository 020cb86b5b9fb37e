//! What the fuzz targets call: the fields of requests, with what has to hold of what is taken.

use super::convert;
use crate::{uri::Uri, workload_api::requested_id};
use std::collections::BTreeMap;
use symbolon_proto::credentials::{SignDpopProofRequest, SignWorkloadProofRequest};

/// The fields of requests, in any combination.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a> {
    /// An authorization server.
    pub server: &'a str,
    /// A protected resource, or the address of a request.
    pub resource: &'a str,
    /// The method of a request.
    pub method: &'a str,
    /// The hash of a token.
    pub hash: &'a str,
    /// What a server gave.
    pub nonce: &'a str,
    /// The one that is asked for.
    pub spiffe_id: &'a str,
}

/// What is taken stands in the trail and in what is signed as it was written: it is one line, names
/// no user, and leads to where it seems to.
pub fn request(fields: Fields<'_>, other_tokens: &BTreeMap<String, String>) {
    if let Ok(server) = convert::server(fields.server) {
        assert!(server.to_string() == fields.server);
        let uri = Uri::parse(fields.server).unwrap();
        assert!(uri.host().is_some() && !uri.has_user_info());
        assert!(uri.query.is_none() && uri.fragment.is_none());
    }
    if let Ok(Some(resource)) = convert::resource(fields.resource) {
        let uri = Uri::parse(resource).unwrap();
        assert!(resource == fields.resource && resource.len() <= 1024);
        assert!(uri.host().is_some() && !uri.has_user_info() && uri.fragment.is_none());
        assert!(resource.bytes().all(|byte| byte.is_ascii_graphic()));
    }
    if let Ok(Some(id)) = requested_id(fields.spiffe_id) {
        // Trust domains have no case (SPIFFE-ID.md, section 2.1).
        assert!(id.to_string().eq_ignore_ascii_case(fields.spiffe_id));
    }
    dpop(fields);
    workload(fields, other_tokens);
}

fn dpop(fields: Fields<'_>) {
    let Ok(wanted) = convert::dpop(&SignDpopProofRequest {
        method: fields.method.to_owned(),
        target: fields.resource.to_owned(),
        access_token_hash: fields.hash.to_owned(),
        nonce: fields.nonce.to_owned(),
        spiffe_id: fields.spiffe_id.to_owned(),
    }) else {
        return;
    };
    assert!(wanted.method.as_str() == fields.method && wanted.target.as_str() == fields.resource);
    leads_to_a_host(fields.resource);
    assert!(wanted.nonce.is_some() != fields.nonce.is_empty());
    assert!(wanted.access_token_hash.is_some() != fields.hash.is_empty());
    assert!(fields.nonce.bytes().all(|byte| byte.is_ascii_graphic()));
}

fn workload(fields: Fields<'_>, other_tokens: &BTreeMap<String, String>) {
    let Ok(wanted) = convert::workload(&SignWorkloadProofRequest {
        target: fields.resource.to_owned(),
        access_token_hash: fields.hash.to_owned(),
        transaction_token_hash: fields.hash.to_owned(),
        other_token_hashes: other_tokens.clone().into_iter().collect(),
        spiffe_id: fields.spiffe_id.to_owned(),
    }) else {
        return;
    };
    leads_to_a_host(wanted.target.as_str());
    assert!(wanted.other_hashes.len() == other_tokens.len() && other_tokens.len() <= 8);
    assert!(other_tokens.values().all(|hash| hash.len() == 43));
}

fn leads_to_a_host(target: &str) {
    let uri = Uri::parse(target).unwrap();
    assert!(uri.scheme == "https" || uri.scheme == "http" && uri.is_loopback());
    assert!(uri.host().is_some() && !uri.has_user_info());
    assert!(uri.query.is_none() && uri.fragment.is_none());
}
