//! The profile `https_spiffe` over a real connection.

use crate::{
    clock::{SharedClock, SystemClock},
    federation::{
        BundleRequest, BundleSource as _, Proof, SourceError, WebSource, testing::Stranger,
    },
    fetch::{Allowed, Fetcher, Roots, Trust},
    supervisor::Supervisor,
};
use bytes::Bytes;
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
};
use spiffe::SpiffeId;
use std::{net::Ipv4Addr, sync::Arc};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    runtime::Handle,
};
use tokio_rustls::TlsAcceptor;
use x509_parser::prelude::FromDer as _;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";

/// Answers each request with `{}`, as whoever the SVID says.
async fn serve((chain, key): (Vec<u8>, crate::svid::PrivateKey)) -> u16 {
    let mut certificates = Vec::new();
    let mut rest = &*chain;
    while !rest.is_empty() {
        let (after, _) = x509_parser::certificate::X509Certificate::from_der(rest).unwrap();
        let one = rest.get(..rest.len() - after.len()).unwrap();
        certificates.push(CertificateDer::from(one.to_vec()));
        rest = after;
    }
    let key = PrivatePkcs8KeyDer::from(key.expose_pkcs8().to_vec());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(certificates, PrivateKeyDer::from(key))
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    Supervisor::new(Handle::current()).spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            let mut head = [0; 1024];
            let read = stream.read(&mut head).await;
            if read.is_ok_and(|count| count > 0) {
                stream.write_all(ANSWER).await.unwrap_or_default();
                stream.shutdown().await.unwrap_or_default();
            }
        }
    });
    port
}

fn source(trust: impl Into<Trust>) -> WebSource {
    let allowed = Allowed::read(["127.0.0.0/8"]).unwrap();
    WebSource::new(Fetcher::new(allowed, trust))
}

async fn fetch(port: u16, id: SpiffeId, authorities: Bytes) -> Result<Bytes, SourceError> {
    let source = source(Roots::new(None));
    let request = BundleRequest {
        url: format!("https://127.0.0.1:{port}/bundle").into(),
        proof: Proof::Svid(id, authorities),
    };
    source.fetch(request).await
}

#[tokio::test]
async fn only_the_registered_id_under_its_own_authorities_is_believed() {
    let clock: SharedClock = Arc::new(SystemClock);
    let (other, third) = (
        Stranger::new("other.example", &clock),
        Stranger::new("third.example", &clock),
    );
    let port = serve(other.svid("/bundles")).await;
    let (der, foreign) = (
        other.bundle().x509_der().clone(),
        third.bundle().x509_der().clone(),
    );
    let body = fetch(port, other.id("/bundles"), der.clone())
        .await
        .unwrap();
    assert_eq!(&*body, b"{}");
    for (id, authorities) in [
        // Another workload of the same trust domain, whose ID it is not.
        (other.id("/others"), der.clone()),
        (other.id("/bundles/x"), der.clone()),
        // The right ID under somebody else's authorities, and under nobody's.
        (other.id("/bundles"), foreign.clone()),
        (other.id("/bundles"), Bytes::new()),
        // Another trust domain's ID, whose authorities have not signed it, or have not to.
        (third.id("/bundles"), foreign),
        (third.id("/bundles"), der),
    ] {
        let refused = fetch(port, id.clone(), authorities).await.unwrap_err();
        assert!(matches!(refused, SourceError::Fetch(_)), "{id}: {refused}");
    }
}

#[tokio::test]
async fn the_web_pki_says_nothing_of_an_svid_nor_the_other_way_round() {
    let clock: SharedClock = Arc::new(SystemClock);
    let other = Stranger::new("other.example", &clock);
    let port = serve(other.svid("/bundles")).await;
    let roots = tempfile::NamedTempFile::new().unwrap();
    let pem = other.ca_pem();
    std::fs::write(roots.path(), pem).unwrap();
    let source = source(Roots::new(Some(roots.path().to_owned())));
    let request = BundleRequest {
        url: format!("https://127.0.0.1:{port}/bundle").into(),
        proof: Proof::Web,
    };
    // Its authority is trusted here, but nothing in the certificate is the host of the URL.
    source.fetch(request).await.unwrap_err();
}
