//! One request and its answer on one connection.

use super::{
    Limits, Media,
    error::{FetchError, shown},
};
use bytes::{Bytes, BytesMut};
use http::{
    HeaderMap, Request, StatusCode,
    header::{AsHeaderName, CONTENT_ENCODING, CONTENT_TYPE},
    response::Parts,
};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    body::{Body as _, Incoming},
    client::conn::http1,
};
use hyper_util::rt::TokioIo;
use std::{convert::Infallible, future};
use tokio::io::{AsyncRead, AsyncWrite};

/// Bytes of an answer's head: no document needs more.
const MAX_HEAD_BYTES: usize = 16 * 1024;
/// Header fields of an answer.
const MAX_HEADERS: usize = 64;

/// An answer within its limits.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// 200, or whatever it is where any is taken.
    pub status: StatusCode,
    /// As many as there may be.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

impl Fetched {
    /// A header, where it is there once and is text.
    #[must_use]
    pub fn header(&self, name: impl AsHeaderName) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (Some(value), None) => value.to_str().ok(),
            _ => None,
        }
    }
}

/// What an answer has to be.
#[derive(Clone, Copy, Debug)]
pub(super) enum Check {
    /// Status 200 and the right media type.
    Document,
    /// No redirect.
    Answer,
}

/// Sends `request` and reads the answer.
pub(super) async fn exchange<S>(
    stream: S,
    request: Request<Full<Bytes>>,
    limits: Limits,
    check: Check,
) -> Result<Fetched, FetchError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin,
{
    let handshake = http1::Builder::new()
        .max_buf_size(MAX_HEAD_BYTES)
        .max_headers(MAX_HEADERS)
        .handshake(TokioIo::new(stream));
    let (mut sender, connection) = handshake.await?;
    let answer = async {
        let (parts, body) = sender.send_request(request).await?.into_parts();
        judge(&parts, limits.media, check)?;
        Ok(Fetched {
            status: parts.status,
            headers: parts.headers,
            body: read(body, limits.bytes).await?,
        })
    };
    // Whatever breaks the connection reaches the one who waits for the answer.
    let driver = async {
        if let Err(error) = connection.await {
            tracing::trace!(%error, "a connection broke");
        }
        future::pending::<Infallible>().await
    };
    tokio::select! {
        answer = answer => answer,
        never = driver => match never {},
    }
}

fn judge(parts: &Parts, media: Media, check: Check) -> Result<(), FetchError> {
    if parts.status.is_redirection() {
        return Err(FetchError::Redirected(parts.status));
    }
    if let Some(encoding) = parts.headers.get(CONTENT_ENCODING)
        && !encoding.as_bytes().eq_ignore_ascii_case(b"identity")
    {
        return Err(FetchError::Encoded(shown(encoding.as_bytes())));
    }
    match check {
        Check::Answer => Ok(()),
        Check::Document if parts.status != StatusCode::OK => Err(FetchError::Status(parts.status)),
        Check::Document => judge_media(&parts.headers, media),
    }
}

fn judge_media(headers: &HeaderMap, media: Media) -> Result<(), FetchError> {
    if media == Media::Any {
        return Ok(());
    }
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(FetchError::MediaType("not named once".to_owned()));
    };
    let name = value.to_str().unwrap_or_default();
    let name = name.split(';').next().unwrap_or_default().trim();
    let name = name.to_ascii_lowercase();
    let is_json = name
        .strip_prefix("application/")
        .is_some_and(|kind| kind == "json" || kind.ends_with("+json"));
    is_json
        .then_some(())
        .ok_or_else(|| FetchError::MediaType(shown(value.as_bytes())))
}

/// The body as far as it may be; what announces more is not read at all.
async fn read(mut body: Incoming, limit: usize) -> Result<Bytes, FetchError> {
    let most = u64::try_from(limit).unwrap_or(u64::MAX);
    if body.size_hint().lower() > most {
        return Err(FetchError::TooLarge(limit));
    }
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else {
            continue;
        };
        if whole.len().saturating_add(data.len()) > limit {
            return Err(FetchError::TooLarge(limit));
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole.freeze())
}
