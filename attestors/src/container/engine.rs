//! The API of Docker's engine, which Podman serves too.
//!
//! HTTP/1.1 over a Unix socket, read with the version that the engine itself
//! offers. One connection is kept for the next caller; one who comes while it
//! is in use opens his own.

use super::{
    runtime::{AskError, Claim, Description, MAX_ANSWER_BYTES, digests, image_id},
    socket::{Socket, connect},
};
use crate::{
    findings::Reason,
    host::Host,
    parse::runtime::{self, DocumentError},
};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    client::conn::http1::{self, SendRequest},
    header::HOST,
};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use std::{pin::Pin, sync::Arc};
use tokio::net::UnixStream;

/// Asks one engine.
#[derive(Debug, Default)]
pub(super) struct Engine(Mutex<Option<Link>>);

impl Engine {
    pub(super) async fn inspect(
        &self,
        socket: &Socket,
        host: &Arc<Host>,
        id: &str,
    ) -> Result<Claim, AskError> {
        let path = format!("/containers/{id}/json");
        let (runtime, status, body) = self.ask(socket, host, &path).await?;
        if status == StatusCode::NOT_FOUND {
            return Err(AskError::NoSuchContainer);
        }
        let said = read_as(runtime::inspected, status, &body)?;
        if !said.is_running {
            return Err("the container does not run".into());
        }
        Ok(Claim {
            id: said.id,
            init: said.pid,
            started: said.started,
            runtime,
            name: said.name,
            labels: said.labels,
            image: said.image,
            pod: None,
        })
    }

    pub(super) async fn describe(
        &self,
        socket: &Socket,
        host: &Arc<Host>,
        claim: &Claim,
    ) -> Description {
        let image_id = image_id(&claim.image);
        let image_digests = match &image_id {
            Ok(id) => self.digests(socket, host, id).await,
            Err(reason) => Err(reason.clone()),
        };
        Description {
            image_id,
            image_digests,
            pod: None,
        }
    }

    async fn digests(
        &self,
        socket: &Socket,
        host: &Arc<Host>,
        id: &str,
    ) -> Result<Vec<String>, Reason> {
        let path = format!("/images/{id}/json");
        let (_, status, body) = self.ask(socket, host, &path).await?;
        digests(&read_as(runtime::repo_digests, status, &body)?)
    }

    /// The runtime's name, and its answer to one question.
    async fn ask(
        &self,
        socket: &Socket,
        host: &Arc<Host>,
        path: &str,
    ) -> Result<(&'static str, StatusCode, Bytes), Reason> {
        let kept = self.0.lock().take();
        if let Some(mut link) = kept
            && let Ok((status, body)) = link.get(path).await
        {
            return Ok(self.keep(link, status, body));
        }
        // There was none, or the runtime was started anew since.
        let mut link = Link::open(socket, host).await?;
        let (status, body) = link.get(path).await?;
        Ok(self.keep(link, status, body))
    }

    fn keep(
        &self,
        link: Link,
        status: StatusCode,
        body: Bytes,
    ) -> (&'static str, StatusCode, Bytes) {
        let runtime = link.runtime;
        if !link.ended {
            *self.0.lock() = Some(link);
        }
        (runtime, status, body)
    }
}

fn read_as<T>(
    parse: fn(&[u8]) -> Result<T, DocumentError>,
    status: StatusCode,
    body: &[u8],
) -> Result<T, Reason> {
    if status != StatusCode::OK {
        return Err(format!("the runtime answers {status}").into());
    }
    parse(body).map_err(|error| error.to_string().into())
}

/// An open connection, driven by whoever asks over it.
struct Link {
    sender: SendRequest<Empty<Bytes>>,
    driver: Pin<Box<http1::Connection<TokioIo<UnixStream>, Empty<Bytes>>>>,
    ended: bool,
    /// `/v1.41`.
    prefix: String,
    runtime: &'static str,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link")
            .field("prefix", &self.prefix)
            .field("runtime", &self.runtime)
            .finish_non_exhaustive()
    }
}

impl Link {
    async fn open(socket: &Socket, host: &Arc<Host>) -> Result<Self, Reason> {
        let stream = connect(&socket.path, host).await?;
        let (sender, driver) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(words)?;
        let mut link = Self {
            sender,
            driver: Box::pin(driver),
            ended: false,
            prefix: String::new(),
            runtime: "docker",
        };
        let (response, _body) = link.exchange("/_ping").await?;
        let header = |name| response.headers().get(name)?.to_str().ok();
        if header("libpod-api-version").is_some() {
            link.runtime = "podman";
        }
        let version = header("api-version").filter(|version| is_version(version));
        let version = version.ok_or("the runtime does not tell its API's version")?;
        link.prefix = format!("/v{version}");
        Ok(link)
    }

    async fn get(&mut self, path: &str) -> Result<(StatusCode, Bytes), Reason> {
        let path = format!("{}{path}", self.prefix);
        let (response, body) = self.exchange(&path).await?;
        Ok((response.status(), body))
    }

    async fn exchange(&mut self, path: &str) -> Result<(Response<()>, Bytes), Reason> {
        if self.ended {
            return Err("the connection has ended".into());
        }
        let request = Request::builder()
            .method(Method::GET)
            .uri(path)
            .header(HOST, "localhost")
            .body(Empty::new())
            .map_err(|error| Reason::from(error.to_string()))?;
        let sender = &mut self.sender;
        let exchange = async {
            sender.ready().await.map_err(words)?;
            read(sender.send_request(request).await.map_err(words)?).await
        };
        let mut exchange = Box::pin(exchange);
        tokio::select! {
            biased;
            answer = &mut exchange => return answer,
            _result = &mut self.driver => self.ended = true,
        }
        exchange.await
    }
}

async fn read(response: Response<Incoming>) -> Result<(Response<()>, Bytes), Reason> {
    let (head, body) = response.into_parts();
    let body = Limited::new(body, MAX_ANSWER_BYTES)
        .collect()
        .await
        .map_err(|error| format!("the runtime's answer: {error}"))?;
    Ok((Response::from_parts(head, ()), body.to_bytes()))
}

fn words(error: hyper::Error) -> Reason {
    format!("the runtime does not speak HTTP: {error}").into()
}

/// Two decimal numbers with a point between.
fn is_version(text: &str) -> bool {
    let is_number =
        |part: &str| (1..=3).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
    text.split_once('.')
        .is_some_and(|(major, minor)| is_number(major) && is_number(minor))
}
