//! The answer to a call while it lasts.

use super::health::until_true;
use bytes::Bytes;
use http::{HeaderMap, header::CONTENT_TYPE};
use hyper::body::{Frame, SizeHint};
use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::sync::watch;
use tonic::{Status, body::Body};

/// Sent on every stream when the agent stops.
const STOPPING: &str = "the agent is stopping; connect again";

/// An answer that holds its call's place, and that ends as unavailable once the
/// agent stops and nothing is left to send: no stream can delay the stop.
pub(super) struct OpenCall<P> {
    body: Body,
    stopped: Pin<Box<dyn Future<Output = ()> + Send>>,
    over: bool,
    _place: P,
}

impl<P> OpenCall<P> {
    pub(super) fn new(body: Body, stopped: watch::Receiver<bool>, place: P) -> Self {
        Self {
            body,
            stopped: Box::pin(until_true(stopped)),
            over: false,
            _place: place,
        }
    }
}

// The place is never pinned.
impl<P> Unpin for OpenCall<P> {}

impl<P> hyper::body::Body for OpenCall<P> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.over {
            return Poll::Ready(None);
        }
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            return Poll::Ready(frame);
        }
        ready!(self.stopped.as_mut().poll(cx));
        self.over = true;
        Poll::Ready(Some(Ok(Frame::trailers(stopping()))))
    }

    fn is_end_stream(&self) -> bool {
        self.over || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn stopping() -> HeaderMap {
    let status = Status::unavailable(STOPPING).into_http::<()>();
    let mut trailers = status.into_parts().0.headers;
    trailers.remove(CONTENT_TYPE);
    trailers
}
