//! A Docker engine that says what a test makes it say, about processes that are real.

use std::path::{Path, PathBuf};

use rustix::process::Uid;
use rustix::thread::set_thread_res_uid;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;

/// What is answered to every question about a container or an image.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// Status 200 with this document.
    Document(String),
    /// Nothing, for ever.
    Nothing,
    /// More than anybody should read.
    Endless,
}

/// The engine; it ends when dropped.
#[derive(Debug)]
pub(crate) struct Engine {
    socket: PathBuf,
    server: JoinHandle<()>,
}

impl Engine {
    pub(crate) fn serve(directory: &Path, answer: Answer) -> Self {
        let socket = directory.join("engine.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        Self::answering(socket, listener, answer)
    }

    /// One that another user serves.
    pub(crate) fn serve_as(user: u32, directory: &Path, answer: Answer) -> Self {
        let socket = directory.join("engine.sock");
        let path = socket.clone();
        // A thread can be another user for itself alone.
        let listening = std::thread::spawn(move || {
            let user = Uid::from_raw(user);
            set_thread_res_uid(user, user, user).unwrap();
            std::os::unix::net::UnixListener::bind(path).unwrap()
        });
        let listener = listening.join().unwrap();
        listener.set_nonblocking(true).unwrap();
        let listener = UnixListener::from_std(listener).unwrap();
        Self::answering(socket, listener, answer)
    }

    fn answering(socket: PathBuf, listener: UnixListener, answer: Answer) -> Self {
        #[expect(clippy::disallowed_methods, reason = "a test has no supervisor")]
        let server = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                // One after the other: the attestor keeps one connection.
                drop(converse(stream, &answer).await);
            }
        });
        Self { socket, server }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.socket.clone()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// An inspected container as Docker describes it. Its environment is no list: whoever parses it
/// fails.
pub(crate) fn inspected(id: &str, pid: u32, started: &str) -> Value {
    json!({
        "Id": id,
        "Name": "/forged",
        "Image": format!("sha256:{}", "c".repeat(64)),
        "State": { "Running": true, "Pid": pid, "StartedAt": started },
        "Config": { "Labels": null, "Env": { "SECRET": "not-to-be-read" } },
        "RepoDigests": [],
    })
}

async fn converse(mut stream: UnixStream, answer: &Answer) -> std::io::Result<()> {
    let mut asked = Vec::new();
    loop {
        let mut byte = [0];
        let _read = stream.read_exact(&mut byte).await?;
        asked.extend(byte);
        if !asked.ends_with(b"\r\n\r\n") {
            continue;
        }
        let question = String::from_utf8_lossy(&asked).into_owned();
        asked.clear();
        if question.starts_with("GET /_ping ") {
            let pong = "HTTP/1.1 200 OK\r\nApi-Version: 1.41\r\nContent-Length: 2\r\n\r\nOK";
            stream.write_all(pong.as_bytes()).await?;
            continue;
        }
        assert!(question.starts_with("GET /v1.41/"), "{question}");
        match answer {
            Answer::Document(text) => {
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", text.len());
                stream.write_all(head.as_bytes()).await?;
                stream.write_all(text.as_bytes()).await?;
            }
            Answer::Nothing => std::future::pending().await,
            Answer::Endless => {
                let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
                stream.write_all(head.as_bytes()).await?;
                let mut chunk = b"10000\r\n".to_vec();
                chunk.extend([b' '; 0x10000]);
                chunk.extend(b"\r\n");
                loop {
                    stream.write_all(&chunk).await?;
                }
            }
        }
    }
}
