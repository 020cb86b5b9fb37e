//! From SVIDs and bundles to the messages of the standard.

use crate::{
    authority::{ForeignBundle, TrustBundle},
    issuance::{JwtSvid, WitSvid, X509Svid},
    workloads::{Federated, Validated},
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

/// Documents by the SPIFFE ID of their trust domain.
pub(super) type Documents = BTreeMap<String, Bytes>;

pub(super) fn x509_svids(
    svids: &[Arc<X509Svid>],
    bundle: &TrustBundle,
    federated: Documents,
) -> X509svidResponse {
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
        federated_bundles: federated,
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

pub(super) fn x509_bundles(
    bundle: &TrustBundle,
    federated: &Federated,
) -> (X509BundlesResponse, Documents) {
    let documents = with_own(x509(federated), bundle, bundle.x509_der());
    let message = X509BundlesResponse {
        bundles: documents.clone(),
        ..X509BundlesResponse::default()
    };
    (message, documents)
}

pub(super) fn jwt_bundles(
    bundle: &TrustBundle,
    federated: &Federated,
) -> (JwtBundlesResponse, Documents) {
    let foreign = federated.keyed(ForeignBundle::jwt_jwks);
    let documents = with_own(foreign, bundle, bundle.jwt_jwks());
    let message = JwtBundlesResponse {
        bundles: documents.clone(),
    };
    (message, documents)
}

pub(super) fn wit_bundles(
    bundle: &TrustBundle,
    federated: &Federated,
) -> (WitBundlesResponse, Documents) {
    let foreign = federated.keyed(ForeignBundle::wit_jwks);
    let documents = with_own(foreign, bundle, bundle.wit_jwks());
    let text = |(name, document): (&String, &Bytes)| {
        (name.clone(), String::from_utf8_lossy(document).into_owned())
    };
    let message = WitBundlesResponse {
        bundles: documents.iter().map(text).collect(),
    };
    (message, documents)
}

/// The X.509 authorities of foreign trust domains.
pub(super) fn x509(federated: &Federated) -> Documents {
    federated.keyed(ForeignBundle::x509_der)
}

/// Our own goes in last: nobody takes its place.
fn with_own(mut documents: Documents, bundle: &TrustBundle, own: &Bytes) -> Documents {
    documents.insert(bundle.trust_domain().id_string(), own.clone());
    documents
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
