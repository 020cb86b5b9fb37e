//! An operator's process, or a workload's: makes the calls of a socket that its input names, as the
//! user who runs it.
//!
//! Usage: `symbolon-test-operator SOCKET`. Each line of the standard input is a JSON object with
//! the `path` of a method and the bytes of the request's `message`; a line with the `code` and the
//! `message` of the status answers it, once the call is over. It ends with its input.

#![expect(clippy::expect_used, reason = "a test's program fails by panicking")]
#![expect(clippy::print_stdout, reason = "what it prints is its result")]

use std::io::BufRead as _;
use std::path::PathBuf;

use bytes::{Buf as _, BufMut as _};
use http::uri::PathAndQuery;
use serde_json::{Value, json};
use symbolon_proto::SECURITY_HEADER;
use symbolon_tests::channel;
use tokio::sync::mpsc;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let socket = PathBuf::from(std::env::args().nth(1).expect("a socket"));
    let mut grpc = Grpc::new(channel(&socket).await);
    let mut calls = calls();
    while let Some(call) = calls.recv().await {
        let (code, message) = match make(&mut grpc, &call).await {
            Ok(()) => (Code::Ok, String::new()),
            Err(status) => (status.code(), status.message().to_owned()),
        };
        println!(
            "{}",
            json!({"code": format!("{code:?}"), "message": message})
        );
    }
}

/// The calls that the input asks for.
fn calls() -> mpsc::UnboundedReceiver<Value> {
    let (sender, calls) = mpsc::unbounded_channel();
    // Its end ends the program; reading it must not keep the connection waiting.
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let call = serde_json::from_str(&line.expect("text")).expect("a line of JSON");
            if sender.send(call).is_err() {
                return;
            }
        }
    });
    calls
}

/// Makes a call, and takes whatever it answers.
async fn make(grpc: &mut Grpc<Channel>, call: &Value) -> Result<(), Status> {
    let unavailable = |error: tonic::transport::Error| Status::unavailable(error.to_string());
    grpc.ready().await.map_err(unavailable)?;
    let path = call.get("path").and_then(Value::as_str).expect("a path");
    let path: PathAndQuery = path.parse().expect("a path");
    let message = call.get("message").and_then(Value::as_array);
    let byte = |value: &Value| value.as_u64().and_then(|byte| u8::try_from(byte).ok());
    let message: Option<Vec<u8>> = message.expect("bytes").iter().map(byte).collect();
    let mut request = Request::new(message.expect("bytes"));
    // The workload socket demands it, and nobody else minds.
    let header = MetadataValue::from_static("true");
    request.metadata_mut().insert(SECURITY_HEADER, header);
    let mut answers = grpc
        .server_streaming(request, path, Raw)
        .await?
        .into_inner();
    while answers.message().await?.is_some() {}
    Ok(())
}

/// Messages as their bytes.
#[derive(Clone, Copy, Debug)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = ();
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

    fn encode(&mut self, message: Vec<u8>, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put_slice(&message);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = ();
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<()>, Status> {
        from.advance(from.remaining());
        Ok(Some(()))
    }
}
