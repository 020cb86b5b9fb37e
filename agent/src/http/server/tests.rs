use super::{MAX_CONNECTION_LIFE, MAX_CONNECTIONS, MAX_HEAD_BYTES, MAX_HEADERS, converse, serve};
use crate::{
    http::Telemetry,
    telemetry::{Metrics, Readiness},
};
use futures_util::FutureExt as _;
use std::{future, net::SocketAddr, pin::pin};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    time::Instant,
};

/// Does `work` while the telemetry port is served, as ready.
async fn served<T>(work: impl AsyncFnOnce(SocketAddr) -> T) -> T {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (readiness, starting) = Readiness::blocked_by("starting");
    drop(starting);
    let metrics = Metrics::new("1.2.3");
    let telemetry = Telemetry { readiness, metrics };
    tokio::select! {
        () = serve(listener, telemetry, future::pending()) => panic!("it stopped"),
        done = work(address) => done,
    }
}

async fn sent(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A refused request may be answered by a reset in place of an end.
    let end = stream.read_to_end(&mut answer).await;
    assert!(end.is_ok() || !answer.is_empty() || request.len() > MAX_HEAD_BYTES);
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn each_connection_gets_one_answer_and_an_end() {
    served(async |address| {
        for _ in 0..3 * MAX_CONNECTIONS {
            let answer = sent(address, "GET /ready HTTP/1.1\r\nhost: x\r\n\r\n").await;
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
            assert!(answer.ends_with("\r\n\r\nready\n"), "{answer}");
        }
    })
    .await;
}

#[tokio::test]
async fn head_gets_no_body() {
    served(async |address| {
        let answer = sent(address, "HEAD /live HTTP/1.1\r\nhost: x\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains("content-length: 5\r\n"), "{answer}");
        assert!(answer.ends_with("\r\n\r\n"), "{answer}");
    })
    .await;
}

#[tokio::test]
async fn oversized_and_malformed_requests_are_refused() {
    let long = "x".repeat(MAX_HEAD_BYTES);
    let many = "a: b\r\n".repeat(MAX_HEADERS + 1);
    for (request, status) in [
        ("nonsense\r\n\r\n".into(), "400"),
        (format!("GET /live HTTP/1.1\r\n{many}\r\n"), "431"),
        (format!("GET /live HTTP/1.1\r\na: {long}\r\n\r\n"), "431"),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(), ""),
    ] {
        let answer = served(async |address| sent(address, &request).await).await;
        assert!(
            !answer.contains(" 200 ") && answer.contains(status),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn a_request_with_a_body_is_answered_without_reading_it() {
    served(async |address| {
        let request = "POST /live HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n";
        let answer = sent(address, request).await;
        assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
    })
    .await;
}

#[tokio::test]
async fn who_comes_to_a_full_house_waits_for_room() {
    served(async |address| {
        let mut silent = Vec::new();
        for _ in 0..MAX_CONNECTIONS {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        let mut waiting = pin!(sent(address, "GET /live HTTP/1.1\r\nhost: x\r\n\r\n"));
        assert!(waiting.as_mut().now_or_never().is_none());
        silent.pop();
        let answer = waiting.await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_silent_connection_is_closed_after_a_time() {
    let (readiness, _starting) = Readiness::blocked_by("starting");
    let metrics = Metrics::new("1.2.3");
    let (mut client, server) = tokio::io::duplex(64);
    client.write_all(b"GET /live HTTP/1.1\r\n").await.unwrap();
    let begun = Instant::now();
    converse(server, Telemetry { readiness, metrics }).await;
    assert_eq!(begun.elapsed().as_secs(), MAX_CONNECTION_LIFE.as_secs());
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
}

#[tokio::test]
async fn the_end_of_serving_ends_open_connections() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (readiness, _starting) = Readiness::blocked_by("starting");
    let metrics = Metrics::new("1.2.3");
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = serve(listener, Telemetry { readiness, metrics }, async {
        stopped.await.unwrap_err();
    });
    let client = async {
        let answer = sent(address, "GET /ready HTTP/1.1\r\nhost: x\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        let mut open = TcpStream::connect(address).await.unwrap();
        drop(stop);
        assert!(matches!(open.read(&mut [0]).await, Ok(0) | Err(_)));
    };
    tokio::join!(serving, client);
}
