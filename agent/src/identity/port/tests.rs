use super::{HANDSHAKE, HEAD, LEAVE, LIFE, MAX_HEAD_BYTES, Places, Port, PortLimits};
use crate::{
    identity::{
        Certificates, Pages, PlaceLimits,
        testing::{StageKeys, documents, register, settings},
    },
    supervisor::Supervisor,
    telemetry::IdentityMetrics,
    workloads::testing::Scene,
};
use bytes::Bytes;
use futures_util::future::{FutureExt as _, LocalBoxFuture};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{CertificateParams, KeyPair};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName},
    sign::CertifiedKey,
};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    runtime::Handle,
    sync::watch,
    time::Instant,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

const NAME: &str = "id.example.org";

struct Stage {
    port: Option<Port>,
    root: CertificateDer<'static>,
    metrics: IdentityMetrics,
}

async fn stage(connections: usize, per_address: usize) -> Stage {
    let scene = Scene::new().await;
    register(&scene, "files").await;
    let keys = StageKeys::new();
    keys.set("files", r#"{"keys":[{"kid":"a"}]}"#);
    let documents = documents(&scene, &keys, settings());
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![NAME.to_owned()]).unwrap();
    let root = params.self_signed(&key).unwrap().der().clone();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let key = aws_lc_rs::sign::any_supported_type(&key).unwrap();
    let metrics = IdentityMetrics::default();
    let certificates =
        Certificates::new(CertifiedKey::new(vec![root.clone()], key), metrics.clone());
    let port = Port {
        pages: Pages::new(Arc::new(documents), metrics.clone()),
        tls: certificates.server_config().unwrap(),
        limits: PortLimits {
            places: PlaceLimits {
                connections,
                per_address,
            },
        },
        tasks: Supervisor::new(Handle::current()),
        metrics: metrics.clone(),
    };
    Stage {
        port: Some(port),
        root,
        metrics,
    }
}

impl Stage {
    /// Does `work` while the port is served.
    async fn served<T>(&mut self, work: impl AsyncFnOnce(&Self, SocketAddr) -> T) -> T {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (_stop, stopped) = watch::channel(false);
        let port = self.port.take().unwrap();
        tokio::select! {
            () = port.serve(listener, stopped) => panic!("it stopped"),
            done = work(self, address) => done,
        }
    }

    async fn shake_hands<S>(&self, stream: S, protocol: &str) -> std::io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone()).unwrap();
        let mut config = ClientConfig::builder_with_provider(aws_lc_rs::default_provider().into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![protocol.into()];
        let name = ServerName::try_from(NAME).unwrap();
        TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
    }

    async fn connect(&self, address: SocketAddr, protocol: &str) -> TlsStream<TcpStream> {
        let stream = TcpStream::connect(address).await.unwrap();
        self.shake_hands(stream, protocol).await.unwrap()
    }

    async fn sent(&self, address: SocketAddr, request: &[u8]) -> String {
        let mut stream = self.connect(address, "http/1.1").await;
        // What is refused early may be answered before it was read.
        stream.write_all(request).await.unwrap_or_default();
        let mut answer = Vec::new();
        stream
            .read_to_end(&mut answer)
            .await
            .map(drop)
            .unwrap_or_default();
        String::from_utf8(answer).unwrap()
    }
}

fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").into_bytes()
}

#[tokio::test]
async fn documents_are_served_over_http_1() {
    let mut stage = stage(8, 8).await;
    stage
        .served(async |stage, address| {
            let answer = stage.sent(address, &get("/clients/files/client.json")).await;
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
            assert!(answer.contains("\"client_name\":\"Files\""), "{answer}");
            // Two requests on one connection, the first without a body.
            let both = b"HEAD /bundle HTTP/1.1\r\nhost: x\r\n\r\nGET /x HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
            let answer = stage.sent(address, both).await;
            let (head, rest) = answer.split_once("\r\n\r\n").unwrap();
            assert!(head.contains("content-length: ") && head.contains("etag: "), "{head}");
            assert!(rest.starts_with("HTTP/1.1 404 Not Found\r\n"), "{rest}");
        })
        .await;
}

#[tokio::test]
async fn documents_are_served_over_http_2() {
    let mut stage = stage(8, 8).await;
    stage
        .served(async |stage, address| {
            let stream = stage.connect(address, "h2").await;
            let io = TokioIo::new(stream);
            let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
            let asks = async {
                for (path, status) in [
                    ("/bundle", StatusCode::OK),
                    ("/clients/files/jwks.json", StatusCode::OK),
                    ("/clients/../bundle", StatusCode::NOT_FOUND),
                ] {
                    let request = Request::get(format!("https://{NAME}{path}"));
                    let request = request.body(Empty::<Bytes>::new()).unwrap();
                    let answer = sender.clone().send_request(request).await.unwrap();
                    assert_eq!(answer.status(), status, "{path}");
                    let body = answer.into_body().collect().await.unwrap().to_bytes();
                    assert!(!body.is_empty());
                }
            };
            tokio::select! {
                ended = connection => panic!("{ended:?}"),
                () = asks => {}
            }
        })
        .await;
}

#[tokio::test]
async fn what_is_malformed_or_too_large_is_refused() {
    let long = "x".repeat(2 * MAX_HEAD_BYTES);
    let many = "a: b\r\n".repeat(100);
    let mut stage = stage(8, 8).await;
    stage
        .served(async |stage, address| {
            for (request, status) in [
                (String::from("nonsense\r\n\r\n"), "400"),
                ("GET / HTTP/1.1\r\nhost x\r\n\r\n".into(), "400"),
                ("GET /bundle HTTP/0.9\r\n\r\n".into(), ""),
                (
                    "GET bundle HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".into(),
                    "404",
                ),
                (format!("GET /{long} HTTP/1.1\r\nhost: x\r\n\r\n"), "4"),
                (format!("GET /bundle HTTP/1.1\r\na: {long}\r\n\r\n"), "431"),
                (format!("GET /bundle HTTP/1.1\r\n{many}\r\n"), "431"),
                (
                    "GET /bundle HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n".into(),
                    "400",
                ),
                (
                    "GET /bundle HTTP/1.1\r\ntransfer-encoding: x\r\n\r\n".into(),
                    "400",
                ),
                ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(), ""),
                (
                    "CONNECT id.example.org:443 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
                        .into(),
                    "405",
                ),
                (
                    "OPTIONS * HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".into(),
                    "405",
                ),
                ("GET /bundle HTTP/1.1\r\na\0: b\r\n\r\n".into(), "400"),
            ] {
                let shown: String = request.chars().take(60).collect();
                let answer = stage.sent(address, request.as_bytes()).await;
                assert!(!answer.starts_with("HTTP/1.1 200"), "{shown}: {answer}");
                let expected = format!("HTTP/1.1 {status}");
                assert!(
                    status.is_empty() || answer.starts_with(&expected),
                    "{shown}: {answer}"
                );
            }
            let answer = stage.sent(address, &get("/bundle")).await;
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        })
        .await;
}

#[tokio::test]
async fn the_body_of_a_request_is_not_read() {
    let mut stage = stage(8, 8).await;
    stage
        .served(async |stage, address| {
            for (method, status) in [("GET", "200"), ("POST", "405")] {
                let request = format!(
                    "{method} /bundle HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000000\r\n\r\n"
                );
                let answer = stage.sent(address, request.as_bytes()).await;
                assert!(
                    answer.starts_with(&format!("HTTP/1.1 {status} ")),
                    "{answer}"
                );
            }
        })
        .await;
}

#[tokio::test]
async fn plain_http_is_no_handshake() {
    let mut stage = stage(8, 8).await;
    stage
        .served(async |stage, address| {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(&get("/bundle")).await.unwrap();
            let mut answer = Vec::new();
            stream
                .read_to_end(&mut answer)
                .await
                .map(drop)
                .unwrap_or_default();
            assert!(!String::from_utf8_lossy(&answer).contains("HTTP"));
            let answer = stage.sent(address, &get("/bundle")).await;
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        })
        .await;
    let refused = &stage.metrics.connections_refused;
    assert_eq!(refused.get_or_create(&"handshake".into()).get(), 1);
}

#[tokio::test]
async fn who_has_his_share_is_refused_at_once() {
    let mut stage = stage(8, 2).await;
    stage
        .served(async |stage, address| {
            let first = TcpStream::connect(address).await.unwrap();
            let _second = stage.connect(address, "http/1.1").await;
            let third = TcpStream::connect(address).await.unwrap();
            stage.shake_hands(third, "http/1.1").await.unwrap_err();
            drop(first);
            // Another place of the same address is free once the port has noticed.
            loop {
                let stream = TcpStream::connect(address).await.unwrap();
                if let Ok(mut stream) = stage.shake_hands(stream, "http/1.1").await {
                    stream.write_all(&get("/bundle")).await.unwrap();
                    break;
                }
            }
        })
        .await;
}

/// How long the port bears a connection on which this is written.
fn patience(write: &[u8], handshake: bool) -> LocalBoxFuture<'_, Duration> {
    bear(write, handshake).boxed_local()
}

async fn bear(write: &[u8], handshake: bool) -> Duration {
    let mut stage = stage(1, 1).await;
    let port = stage.port.take().unwrap();
    let (client, server) = tokio::io::duplex(1 << 16);
    let place = Places::new(PlaceLimits {
        connections: 1,
        per_address: 1,
    });
    let place = place.take("192.0.2.1".parse().unwrap()).unwrap();
    let (_stop, stopped) = watch::channel(false);
    let begun = Instant::now();
    let peer = async {
        if !handshake {
            let mut client = client;
            client.write_all(write).await.unwrap();
            return std::future::pending::<()>().await;
        }
        let mut client = stage.shake_hands(client, "http/1.1").await.unwrap();
        client.write_all(write).await.unwrap();
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = port.converse(server, place, stopped) => begun.elapsed(),
        () = peer => unreachable!(),
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_does_nothing_is_closed_after_a_time() {
    assert_eq!(patience(b"", false).await, HANDSHAKE);
    assert_eq!(patience(b"\x16\x03\x01", false).await, HANDSHAKE);
    assert_eq!(patience(b"", true).await.as_secs(), HEAD.as_secs());
    assert_eq!(
        patience(b"GET /bundle HTTP/1.1\r\n", true).await.as_secs(),
        HEAD.as_secs()
    );
    let rested = patience(b"GET /bundle HTTP/1.1\r\nhost: x\r\n\r\n", true).await;
    assert_eq!(rested.as_secs(), HEAD.as_secs());
    // A body that never comes.
    let slow = b"GET /bundle HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n";
    assert!(patience(slow, true).await <= LIFE + LEAVE + Duration::from_secs(1));
}

#[tokio::test]
async fn the_end_of_serving_ends_open_connections() {
    let mut stage = stage(8, 8).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = watch::channel(false);
    let port = stage.port.take().unwrap();
    let client = async {
        let mut open = stage.connect(address, "http/1.1").await;
        stop.send_replace(true);
        assert!(matches!(open.read(&mut [0]).await, Ok(0) | Err(_)));
    };
    tokio::join!(port.serve(listener, stopped), client);
}
