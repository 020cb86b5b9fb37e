//! From SVIDs and bundles to the messages of the standard.

use crate::{
    authority::TrustBundle,
    issuance::{JwtSvid, WitSvid, X509Svid},
    workloads::Validated,
};
use bytes::Bytes;
use prost_types::{ListValue, Struct, value::Kind};
use serde_json::{Map, Value};
use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};
use symbolon_proto::workload::{
    JwtBundlesResponse, Jwtsvid, JwtsvidResponse, ValidateJwtsvidResponse, WitBundlesResponse,
    Witsvid, WitsvidResponse, X509BundlesResponse, X509svid, X509svidResponse,
};

/// Makes hints unique in an answer: the first of the same keeps it
/// (`SPIFFE_Workload_API.md`, sections 5.2.1, 6.2.1 and 7.2.1).
#[derive(Default)]
struct Hints<'a>(HashSet<&'a str>);

impl<'a> Hints<'a> {
    fn unique(&mut self, hint: &'a str) -> String {
        if self.0.insert(hint) {
            hint.to_owned()
        } else {
            String::new()
        }
    }
}

pub(super) fn x509_svids(svids: &[Arc<X509Svid>], bundle: &TrustBundle) -> X509svidResponse {
    let mut hints = Hints::default();
    let svids = svids.iter().map(|svid| X509svid {
        spiffe_id: svid.spiffe_id.to_string(),
        x509_svid: svid.chain.clone(),
        x509_svid_key: Bytes::copy_from_slice(svid.key.expose_pkcs8()),
        bundle: bundle.x509_der().clone(),
        hint: hints.unique(&svid.hint),
    });
    X509svidResponse {
        svids: svids.collect(),
        ..X509svidResponse::default()
    }
}

pub(super) fn wit_svids(svids: &[Arc<WitSvid>]) -> WitsvidResponse {
    let mut hints = Hints::default();
    let svids = svids.iter().map(|svid| Witsvid {
        spiffe_id: svid.spiffe_id.to_string(),
        wit_svid: svid.token.expose().to_owned(),
        wit_svid_key: svid.key_jwk.expose().to_owned(),
        hint: hints.unique(&svid.hint),
    });
    WitsvidResponse {
        svids: svids.collect(),
    }
}

pub(super) fn jwt_svids(svids: &[JwtSvid]) -> JwtsvidResponse {
    let mut hints = Hints::default();
    let svids = svids.iter().map(|svid| Jwtsvid {
        spiffe_id: svid.spiffe_id.to_string(),
        svid: svid.token.expose().to_owned(),
        hint: hints.unique(&svid.hint),
    });
    JwtsvidResponse {
        svids: svids.collect(),
    }
}

pub(super) fn x509_bundles(bundle: &TrustBundle) -> (X509BundlesResponse, Bytes) {
    let document = bundle.x509_der().clone();
    let message = X509BundlesResponse {
        bundles: keyed(bundle, document.clone()),
        ..X509BundlesResponse::default()
    };
    (message, document)
}

pub(super) fn jwt_bundles(bundle: &TrustBundle) -> (JwtBundlesResponse, Bytes) {
    let document = bundle.jwt_jwks().clone();
    let message = JwtBundlesResponse {
        bundles: keyed(bundle, document.clone()),
    };
    (message, document)
}

pub(super) fn wit_bundles(bundle: &TrustBundle) -> (WitBundlesResponse, Bytes) {
    let document = bundle.wit_jwks().clone();
    let jwks = String::from_utf8_lossy(&document).into_owned();
    let message = WitBundlesResponse {
        bundles: keyed(bundle, jwks),
    };
    (message, document)
}

/// Bundle maps are keyed by the SPIFFE ID of the trust domain.
fn keyed<T>(bundle: &TrustBundle, document: T) -> BTreeMap<String, T> {
    BTreeMap::from([(bundle.trust_domain().id_string(), document)])
}

/// The claims of a token that holds, as `google.protobuf.Struct` carries JSON:
/// numbers become floating point, as that type demands.
pub(super) fn validated(validated: Validated) -> ValidateJwtsvidResponse {
    let Validated(token) = validated;
    ValidateJwtsvidResponse {
        spiffe_id: token.spiffe_id.to_string(),
        claims: Some(to_struct(token.claims)),
    }
}

fn to_struct(map: Map<String, Value>) -> Struct {
    Struct {
        fields: map
            .into_iter()
            .map(|(name, value)| (name, to_value(value)))
            .collect(),
    }
}

/// Tokens are parsed with a bounded depth, so this recursion is bounded too.
fn to_value(value: Value) -> prost_types::Value {
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(value) => Kind::BoolValue(value),
        Value::Number(value) => Kind::NumberValue(value.as_f64().unwrap_or(f64::NAN)),
        Value::String(value) => Kind::StringValue(value),
        Value::Array(values) => Kind::ListValue(ListValue {
            values: values.into_iter().map(to_value).collect(),
        }),
        Value::Object(map) => Kind::StructValue(to_struct(map)),
    };
    prost_types::Value { kind: Some(kind) }
}
