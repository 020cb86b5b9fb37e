//! Foreign trust domains.

use super::State;
use crate::cli::tests::NOW;
use symbolon_proto::admin::{BundleEndpoint, FederationVersion, ForeignBundle, TrustDomain};
use tonic::Status;

fn version(name: &str, number: u64) -> FederationVersion {
    FederationVersion {
        number,
        digest: "e1".repeat(32),
        author: "alice".into(),
        at: NOW - 600,
        reason: "their MCP servers".into(),
        approvals_required: 0,
        approvals: vec![],
        endpoint: Some(BundleEndpoint {
            url: format!("https://{name}/bundle"),
            profile: "https_spiffe".into(),
            endpoint_spiffe_id: format!("spiffe://{name}/bundles"),
            bundle: "{\"keys\":[]}".into(),
            bundle_digest: "b1".repeat(32),
        }),
    }
}

/// A trust domain whose endpoint fails since a while.
pub(in crate::cli::tests) fn federated(name: &str) -> TrustDomain {
    TrustDomain {
        name: name.into(),
        state: "active".into(),
        in_force: Some(version(name, 1)),
        bundle: Some(ForeignBundle {
            sequence: 7,
            digest: "b2".repeat(32),
            refresh_hint: 300,
            x509_authorities: 2,
            jwt_authorities: 1,
            wit_authorities: 0,
        }),
        fetched_at: NOW - 1_200,
        failing_since: NOW - 900,
        failure: "no connection: refused\u{1b}[2J".into(),
        next_at: NOW + 200,
        clients: 3,
        left_out: 2,
        ..TrustDomain::default()
    }
}

/// One that awaits approval.
pub(in crate::cli::tests) fn awaiting(name: &str) -> TrustDomain {
    let mut pending = version(name, 1);
    pending.approvals_required = 2;
    TrustDomain {
        name: name.into(),
        state: "new".into(),
        pending: Some(pending),
        ..TrustDomain::default()
    }
}

/// The trust domain of this name.
pub(super) fn find(state: &State, name: &str) -> Result<TrustDomain, Status> {
    let mut all = state.trust_domains.iter();
    let found = all.find(|domain| domain.name == name).cloned();
    found.ok_or_else(|| Status::not_found(format!("there never was a federation with {name}")))
}
