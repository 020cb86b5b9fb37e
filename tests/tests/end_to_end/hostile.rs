//! Bytes that no client of good will sends. Whatever comes, others stay served.

use bytes::{Buf as _, BufMut as _};
use http::uri::PathAndQuery;
use symbolon_proto::workload::X509svidRequest;
use symbolon_tests::{Agent, Setup, channel, within, workload_api};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::MetadataValue;
use tonic::{Code, Request, Status};

/// The connection preface of HTTP/2 (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// An empty SETTINGS frame.
const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];

/// Sends and takes messages as the bytes that they are.
#[derive(Clone, Copy, Debug, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining()).to_vec()))
    }
}

/// What the agent answers to these bytes as the request of this method.
async fn answer(agent: &Agent, method: &'static str, message: Vec<u8>) -> Result<Vec<u8>, Status> {
    let mut grpc = Grpc::new(channel(&agent.setup().workload_socket()).await);
    grpc.ready().await.expect("a connection");
    let mut request = Request::new(message);
    let header = MetadataValue::from_static("true");
    request
        .metadata_mut()
        .insert(symbolon_proto::SECURITY_HEADER, header);
    let call = grpc.unary(request, PathAndQuery::from_static(method), Raw);
    within("an answer", call)
        .await
        .map(tonic::Response::into_inner)
}

/// Sends these bytes on a fresh connection and waits until the agent closes it.
async fn closed_after(agent: &Agent, bytes: &[u8]) {
    let mut socket = UnixStream::connect(agent.setup().workload_socket())
        .await
        .unwrap();
    // The agent may close before it has read everything.
    let _sent = socket.write_all(bytes).await;
    let mut answer = Vec::new();
    let _end = within("the end of the connection", socket.read_to_end(&mut answer)).await;
}

async fn still_serves(agent: &Agent) {
    let mut api = workload_api(agent).await;
    let mut stream = api
        .fetch_x509svid(X509svidRequest {})
        .await
        .unwrap()
        .into_inner();
    assert!(stream.message().await.unwrap().is_some());
}

/// A frame header (RFC 9113, section 4.1) and its payload.
fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let [_, a, b, c] = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&[a, b, c, kind, flags, 0, 0, 0, stream], payload].concat()
}

#[tokio::test]
async fn malformed_protobuf_is_refused() {
    let agent = Setup::new().start().await;
    agent.register_self("client").await;
    let truncated_string = vec![0x0a, 0x7f, b'x'];
    let wrong_type = vec![0x08, 0x01];
    let not_utf8 = vec![0x0a, 0x02, 0xff, 0xfe];
    for message in [truncated_string, wrong_type, not_utf8] {
        let method = "/SpiffeWorkloadAPI/FetchJWTSVID";
        let status = answer(&agent, method, message.clone()).await.unwrap_err();
        assert!(
            matches!(status.code(), Code::Internal | Code::InvalidArgument),
            "{message:?}: {status:?}"
        );
    }
    still_serves(&agent).await;
}

#[tokio::test]
async fn an_oversized_message_is_refused() {
    let agent = Setup::new().start().await;
    agent.register_self("client").await;
    let method = "/SpiffeWorkloadAPI/ValidateJWTSVID";
    let status = answer(&agent, method, vec![0; 8 << 20]).await.unwrap_err();
    assert!(
        matches!(status.code(), Code::OutOfRange | Code::ResourceExhausted),
        "{status:?}"
    );
    still_serves(&agent).await;
}

#[tokio::test]
async fn an_unknown_method_is_unimplemented() {
    let agent = Setup::new().start().await;
    for method in ["/SpiffeWorkloadAPI/FetchEverything", "/Nobody/Nothing"] {
        let status = answer(&agent, method, Vec::new()).await.unwrap_err();
        assert_eq!(status.code(), Code::Unimplemented, "{status:?}");
    }
}

#[tokio::test]
async fn malformed_http2_ends_its_connection_and_no_other() {
    let agent = Setup::new().start().await;
    agent.register_self("client").await;
    let mut api = workload_api(&agent).await;
    let mut stream = api
        .fetch_x509svid(X509svidRequest {})
        .await
        .unwrap()
        .into_inner();
    assert!(stream.message().await.unwrap().is_some());

    let after_settings = |bytes: Vec<u8>| [PREFACE, &SETTINGS, &bytes].concat();
    let hostile: [(&str, Vec<u8>); 8] = [
        (
            "another protocol",
            b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n".to_vec(),
        ),
        ("no preface", vec![0; 64]),
        (
            "a frame that is too large",
            [PREFACE, &[0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1]].concat(),
        ),
        (
            "headers that are no HPACK",
            after_settings(frame(1, 4, 1, &[0xff; 32])),
        ),
        (
            "an index outside of the table",
            after_settings(frame(1, 4, 1, &[0xbf])),
        ),
        (
            "a continuation of nothing",
            after_settings(frame(9, 4, 1, &[0x82])),
        ),
        (
            "data for a stream that is not",
            after_settings(frame(0, 0, 7, b"data")),
        ),
        (
            "headers on stream 0",
            after_settings(frame(1, 4, 0, &[0x82])),
        ),
    ];
    for (name, bytes) in hostile {
        println!("{name}");
        closed_after(&agent, &bytes).await;
    }
    still_serves(&agent).await;

    agent
        .run(["client", "update", "client", "--hint", "alive"])
        .await
        .success();
    let pushed = within("a push", stream.message()).await.unwrap().unwrap();
    assert_eq!(pushed.svids[0].hint, "alive");
}

#[tokio::test]
async fn a_flood_of_continuations_ends_the_connection() {
    let agent = Setup::new().start().await;
    agent.register_self("client").await;
    let mut flood = [PREFACE, &SETTINGS].concat();
    flood.extend(frame(1, 0, 1, &[0x82]));
    for _ in 0..100_000 {
        flood.extend(frame(9, 0, 1, &[]));
    }
    closed_after(&agent, &flood).await;
    still_serves(&agent).await;
}

#[tokio::test]
async fn a_silent_connection_keeps_nobody_waiting() {
    let agent = Setup::new().start().await;
    agent.register_self("client").await;
    let _nothing = UnixStream::connect(agent.setup().workload_socket())
        .await
        .unwrap();
    let mut half = UnixStream::connect(agent.setup().workload_socket())
        .await
        .unwrap();
    half.write_all(&PREFACE[..10]).await.unwrap();
    still_serves(&agent).await;
}
