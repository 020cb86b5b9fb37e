//! HTTP/2 connections made of a fuzzer's bytes (RFC 9113).

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, Waker, ready},
};
use symbolon_agent::transport::{Http2Guard, Sender, Stamped, TransportError, TransportLimits};
use tokio::io::{AsyncRead, ReadBuf};

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub const HEADERS: u8 = 0x1;
pub const SETTINGS: u8 = 0x4;
pub const PUSH_PROMISE: u8 = 0x5;
pub const PING: u8 = 0x6;
pub const CONTINUATION: u8 = 0x9;
pub const END_STREAM: u8 = 0x1;
pub const END_HEADERS: u8 = 0x4;
pub const PADDED: u8 = 0x8;
pub const PRIORITY: u8 = 0x20;

/// A socket that holds all that will ever come, and gives it in pieces.
#[derive(Clone)]
pub struct Pieces {
    bytes: Vec<u8>,
    piece: usize,
    /// After the last byte, reads wait; otherwise the stream ends.
    waits: bool,
}

impl Pieces {
    pub fn ending(bytes: &[u8], piece: usize) -> Self {
        Self {
            bytes: bytes.to_vec(),
            piece,
            waits: false,
        }
    }

    pub fn waiting(bytes: &[u8], piece: usize) -> Self {
        Self {
            bytes: bytes.to_vec(),
            piece,
            waits: true,
        }
    }
}

impl AsyncRead for Pieces {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let count = self.piece.min(buf.remaining()).min(self.bytes.len());
        if count == 0 && self.waits {
            return Poll::Pending;
        }
        buf.put_slice(&self.bytes[..count]);
        self.bytes.drain(..count);
        Poll::Ready(Ok(()))
    }
}

impl Stamped for Pieces {
    fn poll_receive(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<Sender>> {
        ready!(self.poll_read(cx, buf))?;
        Poll::Ready(Ok(Sender::Unstamped))
    }
}

/// All that goes through a guard that asks nobody, read `room` bytes at a time, and the error
/// that ends it.
pub fn guarded(inner: Pieces, room: usize) -> (Vec<u8>, Option<TransportError>) {
    read_all(
        &mut Http2Guard::new(inner, TransportLimits::default()),
        room,
    )
}

/// All that goes through a guard, as [`guarded`].
pub fn read_all<S: Stamped + Unpin>(
    mut guard: &mut Http2Guard<S>,
    room: usize,
) -> (Vec<u8>, Option<TransportError>) {
    let mut space = vec![0; room];
    let mut read = Vec::new();
    loop {
        let mut buf = ReadBuf::new(&mut space);
        let mut cx = Context::from_waker(Waker::noop());
        match Pin::new(&mut guard).poll_read(&mut cx, &mut buf) {
            Poll::Ready(Ok(())) if buf.filled().is_empty() => return (read, None),
            Poll::Ready(Ok(())) => read.extend_from_slice(buf.filled()),
            Poll::Ready(Err(error)) => {
                let error = error.into_inner().and_then(|error| error.downcast().ok());
                return (read, Some(*error.expect("the guard's own error")));
            }
            Poll::Pending => unreachable!("the stream ends"),
        }
    }
}

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len())
        .expect("a short payload")
        .to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A connection with these frames after the preface and the settings.
pub fn connection(frames: impl IntoIterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut bytes = PREFACE.to_vec();
    bytes.extend(frame(SETTINGS, 0, 0, &[]));
    bytes.extend(frames.into_iter().flatten());
    bytes
}

/// Cuts bytes into chunks of two octets of choices and a payload.
pub fn chunks(mut bytes: &[u8]) -> impl Iterator<Item = (u8, u8, &[u8])> {
    std::iter::from_fn(move || {
        let [first, second, length, rest @ ..] = bytes else {
            return None;
        };
        let (payload, rest) = rest.split_at(rest.len().min(usize::from(*length)));
        bytes = rest;
        Some((*first, *second, payload))
    })
}
