use super::State;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use parking_lot::Mutex;
use prost_types::{Struct, Value, value::Kind};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType,
    SerialNumber, date_time_ymd,
};
use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{Arc, LazyLock},
};
use symbolon_proto::{
    SECURITY_HEADER,
    workload::{
        JwtBundlesRequest, JwtBundlesResponse, Jwtsvid, JwtsvidRequest, JwtsvidResponse,
        ValidateJwtsvidRequest, ValidateJwtsvidResponse, WitBundlesRequest, WitBundlesResponse,
        Witsvid, WitsvidRequest, WitsvidResponse, X509BundlesRequest, X509BundlesResponse,
        X509svid, X509svidRequest, X509svidResponse, spiffe_workload_api_server::SpiffeWorkloadApi,
    },
};
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status};

/// One message of a stream.
pub(in crate::cli::tests) type Push = Result<X509svidResponse, Status>;

type Answer<T> = Result<Response<T>, Status>;
type Pushes<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// A CA and a P-256 leaf of it.
pub(super) struct Identity {
    pub(super) authority: CertifiedIssuer<'static, KeyPair>,
    svid: X509svid,
}

/// The identity that all tests share.
pub(super) fn identity() -> &'static Identity {
    static IDENTITY: LazyLock<Identity> = LazyLock::new(|| {
        let authority = authority();
        let svid = leaf(&authority);
        Identity { authority, svid }
    });
    &IDENTITY
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
        .distinguished_name
        .push(DnType::OrganizationName, "Test");
    params.serial_number = Some(SerialNumber::from(1_u64));
    params.not_after = date_time_ymd(2027, 2, 18);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn leaf(authority: &CertifiedIssuer<'static, KeyPair>) -> X509svid {
    let spiffe_id = "spiffe://example.org/mcp/client/payments".to_owned();
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![
        SanType::URI(spiffe_id.as_str().try_into().unwrap()),
        SanType::DnsName("payments.example.org".try_into().unwrap()),
    ];
    params.serial_number = Some(SerialNumber::from(0x0a0b_0c0d_u64));
    params.not_before = date_time_ymd(2026, 11, 19);
    params.not_after = date_time_ymd(2026, 11, 21);
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, authority).unwrap();
    X509svid {
        spiffe_id,
        x509_svid: certificate.der().to_vec().into(),
        x509_svid_key: key.serialize_der().into(),
        bundle: authority.der().to_vec().into(),
        hint: "internal".into(),
    }
}

/// The shared X.509-SVID under `name`.
pub(in crate::cli::tests) fn issued(name: &str) -> X509svid {
    X509svid {
        spiffe_id: format!("spiffe://example.org/mcp/client/{name}"),
        ..identity().svid.clone()
    }
}

/// A token whose signature nobody looks at.
pub(in crate::cli::tests) fn jwt(claims: &str) -> String {
    let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
    format!("{}.{}.c2ln", encode(r#"{"alg":"ES256"}"#), encode(claims))
}

/// Refuses what does not carry the security header.
pub(super) fn demand_header(request: Request<()>) -> Result<Request<()>, Status> {
    match request.metadata().get(SECURITY_HEADER) {
        Some(value) if value == "true" => Ok(request),
        _ => Err(Status::invalid_argument("security header missing")),
    }
}

#[derive(Clone, Debug)]
pub(super) struct FakeWorkload(pub(super) Arc<Mutex<State>>);

#[tonic::async_trait]
impl SpiffeWorkloadApi for FakeWorkload {
    type FetchX509SVIDStream = Pushes<X509svidResponse>;
    type FetchX509BundlesStream = Pushes<X509BundlesResponse>;
    type FetchJWTBundlesStream = Pushes<JwtBundlesResponse>;
    type FetchWITSVIDStream = Pushes<WitsvidResponse>;
    type FetchWITBundlesStream = Pushes<WitBundlesResponse>;

    async fn fetch_x509svid(
        &self,
        _: Request<X509svidRequest>,
    ) -> Answer<Self::FetchX509SVIDStream> {
        let mut state = self.0.lock();
        if state.streams.is_empty() {
            return Err(Status::permission_denied("no identity issued"));
        }
        let pushes = state.streams.remove(0);
        Ok(Response::new(Box::pin(tokio_stream::iter(pushes))))
    }

    async fn fetch_jwtsvid(&self, request: Request<JwtsvidRequest>) -> Answer<JwtsvidResponse> {
        let request = request.into_inner();
        if request.audience == ["https://other.example.org"] {
            return Err(Status::permission_denied("the audience is not allowed"));
        }
        let claims = serde_json::json!({
            "aud": request.audience, "exp": 1_795_133_100, "iat": 1_795_132_800, "jti": "j-1",
        });
        Ok(Response::new(JwtsvidResponse {
            svids: vec![Jwtsvid {
                spiffe_id: "spiffe://example.org/mcp/client/payments".into(),
                svid: jwt(&claims.to_string()),
                hint: String::new(),
            }],
        }))
    }

    async fn validate_jwtsvid(
        &self,
        request: Request<ValidateJwtsvidRequest>,
    ) -> Answer<ValidateJwtsvidResponse> {
        let request = request.into_inner();
        if request.svid != "good" {
            return Err(Status::invalid_argument("the signature does not fit"));
        }
        let text = |text: &str| Value {
            kind: Some(Kind::StringValue(text.to_owned())),
        };
        let number = |number| Value {
            kind: Some(Kind::NumberValue(number)),
        };
        let fields = BTreeMap::from([
            ("aud".to_owned(), text(&request.audience)),
            ("exp".to_owned(), number(1_795_133_100.0)),
            ("nhi_version".to_owned(), number(3.0)),
            (
                "sub".to_owned(),
                text("spiffe://example.org/mcp/client/payments"),
            ),
        ]);
        Ok(Response::new(ValidateJwtsvidResponse {
            spiffe_id: "spiffe://example.org/mcp/client/payments".into(),
            claims: Some(Struct { fields }),
        }))
    }

    async fn fetch_witsvid(&self, _: Request<WitsvidRequest>) -> Answer<Self::FetchWITSVIDStream> {
        let answer = WitsvidResponse {
            svids: vec![Witsvid {
                spiffe_id: "spiffe://example.org/mcp/client/payments".into(),
                wit_svid: jwt(r#"{"exp":1795136400,"jti":"w-1"}"#),
                wit_svid_key: r#"{"kty":"EC","d":"secret"}"#.into(),
                hint: "internal".into(),
            }],
        };
        Ok(Response::new(Box::pin(
            tokio_stream::once(Ok(answer)).chain(tokio_stream::pending()),
        )))
    }

    async fn fetch_x509_bundles(
        &self,
        _: Request<X509BundlesRequest>,
    ) -> Answer<Self::FetchX509BundlesStream> {
        Err(Status::unimplemented("no command asks for it"))
    }

    async fn fetch_jwt_bundles(
        &self,
        _: Request<JwtBundlesRequest>,
    ) -> Answer<Self::FetchJWTBundlesStream> {
        Err(Status::unimplemented("no command asks for it"))
    }

    async fn fetch_wit_bundles(
        &self,
        _: Request<WitBundlesRequest>,
    ) -> Answer<Self::FetchWITBundlesStream> {
        Err(Status::unimplemented("no command asks for it"))
    }
}
