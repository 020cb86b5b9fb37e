//! Clients against a stock tonic server on a Unix socket, with the guard and without.

use super::{END, Http2Guard, SETTINGS, TransportLimits, block, connection, flag, frame, kind};
use crate::transport::{
    Accepted,
    frame::{FrameHeader, HEADER_LENGTH},
    hpack::Decoder,
};
use hyper_util::rt::TokioIo;
use std::{collections::HashMap, convert::Infallible, future::Future, io};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::UnixStream,
};
use tokio_stream::StreamExt as _;
use tonic::{
    Request, Status,
    transport::{
        Endpoint, Server,
        server::{Connected, UdsConnectInfo},
    },
};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
    health_server::HealthServer,
};

const RST_STREAM: u8 = 0x3;
const PROTOCOL_ERROR: u32 = 1;

/// What different client libraries call a Unix socket.
const PATHS: [&str; 4] = [
    "/run/symbolon/workload/workload.sock",
    "run%2Fsymbolon%2Fworkload%2Fworkload.sock",
    "unix:///run/symbolon/workload/workload.sock",
    "",
];

/// The end of a call.
#[derive(Debug, PartialEq)]
enum Outcome {
    Status(String),
    Reset(u32),
}

/// Runs a client against a stock server that serves this one connection.
async fn with_server<T>(
    socket: impl AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
    client: impl Future<Output = T>,
) -> T {
    // The service demands to know its peer: the guard must not hide it.
    let service = HealthServer::with_interceptor(
        tonic_health::server::HealthService::from_health_reporter(
            tonic_health::server::HealthReporter::new(),
        ),
        |request: Request<()>| match request.extensions().get::<UdsConnectInfo>() {
            Some(_) => Ok(request),
            None => Err(Status::internal("no peer")),
        },
    );
    let incoming = tokio_stream::once(Ok::<_, Infallible>(socket)).chain(tokio_stream::pending());
    let server = Server::builder().serve_with_incoming(service, incoming);
    tokio::select! {
        ended = server => panic!("the server ended: {ended:?}"),
        outcome = client => outcome,
    }
}

fn guarded(socket: UnixStream) -> Http2Guard<Accepted> {
    Http2Guard::new(Accepted::new(socket, false), TransportLimits::default())
}

/// Calls the health service in frames made by hand.
async fn call(mut socket: UnixStream, authority: &str) -> io::Result<Outcome> {
    let request = block(&[
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/grpc.health.v1.Health/Check"),
        (":authority", authority),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ]);
    let bytes = connection(&[
        frame(SETTINGS, 0, 0, &[]),
        frame(kind::HEADERS, flag::END_HEADERS, 1, &request),
        frame(super::DATA, flag::END_STREAM, 1, &[0; 5]),
    ]);
    socket.write_all(&bytes).await?;
    let mut decoder = Decoder::default();
    loop {
        let mut start = [0; HEADER_LENGTH];
        socket.read_exact(&mut start).await?;
        let header = FrameHeader::parse(&start).unwrap();
        let mut payload = vec![0; header.length];
        socket.read_exact(&mut payload).await?;
        match header.kind {
            RST_STREAM => {
                return Ok(Outcome::Reset(u32::from_be_bytes(
                    *payload.first_chunk().unwrap(),
                )));
            }
            kind::HEADERS => {
                let mut fields = HashMap::new();
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                decoder
                    .decode(&payload, 10_000, |field| {
                        fields.insert(text(field.name), text(field.value));
                    })
                    .unwrap();
                if header.flags & END == END {
                    return Ok(Outcome::Status(fields["grpc-status"].clone()));
                }
            }
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_plain_server_resets_requests_whose_authority_is_a_path() {
    for authority in PATHS {
        let (client, server) = UnixStream::pair().unwrap();
        let outcome = with_server(server, call(client, authority)).await.unwrap();
        assert_eq!(outcome, Outcome::Reset(PROTOCOL_ERROR), "{authority}");
    }
}

#[tokio::test]
async fn behind_the_guard_every_authority_is_served() {
    for authority in PATHS.into_iter().chain(["localhost", "\u{1}\u{ff} @:"]) {
        let (client, server) = UnixStream::pair().unwrap();
        let outcome = with_server(guarded(server), call(client, authority))
            .await
            .unwrap();
        assert_eq!(outcome, Outcome::Status("0".to_owned()), "{authority}");
    }
}

#[tokio::test]
async fn a_tonic_client_calls_and_streams_through_the_guard() {
    let (client, server) = UnixStream::pair().unwrap();
    let mut socket = Some(client);
    let exchange = async {
        let connector = tower::service_fn(move |_| {
            let socket = socket.take();
            async move {
                socket
                    .map(TokioIo::new)
                    .ok_or_else(|| Status::unavailable("connected before"))
            }
        });
        let endpoint = Endpoint::from_static("http://[::1]:1");
        let channel = endpoint.connect_with_connector_lazy(connector);
        let mut client = HealthClient::new(channel);
        for _ in 0..3 {
            let request = HealthCheckRequest {
                service: String::new(),
            };
            let status = client
                .check(request.clone())
                .await
                .unwrap()
                .into_inner()
                .status();
            assert_eq!(status, ServingStatus::Serving);
            let mut stream = client.watch(request).await.unwrap().into_inner();
            let first = stream.message().await.unwrap().unwrap();
            assert_eq!(first.status(), ServingStatus::Serving);
        }
    };
    with_server(guarded(server), exchange).await;
}

#[tokio::test]
async fn a_client_that_breaks_the_rules_loses_its_connection() {
    let (mut client, server) = UnixStream::pair().unwrap();
    let exchange = async {
        let bad = connection(&[
            frame(SETTINGS, 0, 0, &[]),
            frame(kind::HEADERS, END, 1, b"\xbe"),
        ]);
        client.write_all(&bad).await.unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await
    };
    with_server(guarded(server), exchange).await.unwrap();
}
