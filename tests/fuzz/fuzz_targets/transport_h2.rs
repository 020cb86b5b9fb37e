//! Whatever header blocks a client sends, and however it cuts and pads them:
//! each request that an HTTP/2 server sees without the guard, in plain frames,
//! it sees with the guard, and the same but for the authority, unless the guard
//! refuses the block by one of its limits.

#![no_main]

use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderMap, Method};
use libfuzzer_sys::fuzz_target;
use std::collections::HashMap;
use symbolon_agent::transport::{HpackError, Http2Guard, TransportError, TransportLimits};
use symbolon_fuzz::http2::{
    CONTINUATION, END_HEADERS, END_STREAM, HEADERS, PADDED, PRIORITY, Pieces, chunks, connection,
    frame, guarded,
};
use tokio::io::{AsyncRead, join, sink};

/// More malformed requests than this and an HTTP/2 server ends the connection.
const MAX_BLOCKS: usize = 100;

#[derive(Debug, PartialEq)]
struct Head {
    method: Method,
    path: String,
    authority: Option<String>,
    fields: HeaderMap,
}

fuzz_target!(|data: &[u8]| {
    let Some(plain) = heads(Pieces::waiting(&frames(data, plain_frame), 1000)) else {
        return;
    };
    let bytes = frames(data, dressed_frames);
    let guard = Http2Guard::new(Pieces::waiting(&bytes, 1000), TransportLimits::default());
    let Some(guarded_heads) = heads(guard) else {
        let (_, error) = guarded(Pieces::ending(&bytes, 1000), 1000);
        let by_limit = matches!(
            error,
            Some(TransportError::BlockTooLong | TransportError::Hpack(HpackError::ListTooLong))
        );
        assert!(by_limit, "{error:?}");
        return;
    };
    for (stream, mut head) in plain {
        head.authority = head.authority.map(|_| "localhost".to_owned());
        assert_eq!(guarded_heads.get(&stream), Some(&head));
    }
});

/// A connection on which each chunk is a header block with a stream of its own.
fn frames(data: &[u8], frames: impl Fn(u8, u8, u32, &[u8]) -> Vec<u8>) -> Vec<u8> {
    let blocks = (1..).step_by(2).zip(chunks(data)).take(MAX_BLOCKS);
    connection(blocks.map(|(stream, (choice, cut, payload))| {
        // POST http / and no authority: what is needed for a request.
        let request = if choice & 1 == 0 {
            &b"\x83\x86\x84"[..]
        } else {
            b""
        };
        frames(choice, cut, stream, &[request, payload].concat())
    }))
}

fn plain_frame(_: u8, _: u8, stream: u32, block: &[u8]) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, stream, block)
}

/// The block in up to two frames, perhaps with padding and priority.
fn dressed_frames(choice: u8, cut: u8, stream: u32, block: &[u8]) -> Vec<u8> {
    let whole = choice & 2 == 0;
    let (first, second) = match usize::from(cut) {
        cut if !whole && cut < block.len() => block.split_at(cut),
        _ => (block, &b""[..]),
    };
    let mut flags = END_STREAM | if whole { END_HEADERS } else { 0 };
    let mut payload = Vec::new();
    let padding = if choice & 4 == 0 { 0 } else { choice >> 4 };
    if choice & 4 != 0 {
        flags |= PADDED;
        payload.push(padding);
    }
    if choice & 8 != 0 {
        flags |= PRIORITY;
        payload.extend([0x80, 0, 0, 0, cut]);
    }
    payload.extend(first);
    payload.resize(payload.len() + usize::from(padding), 0);
    let mut frames = frame(HEADERS, flags, stream, &payload);
    if !whole {
        frames.extend(frame(CONTINUATION, END_HEADERS, stream, second));
    }
    frames
}

/// The requests that a server sees, by their streams; `None` if it ends the connection.
fn heads(io: impl AsyncRead + Unpin) -> Option<HashMap<u32, Head>> {
    let handshake = h2::server::handshake(join(io, sink())).now_or_never();
    let mut connection: h2::server::Connection<_, Bytes> = handshake?.ok()?;
    let mut heads = HashMap::new();
    while let Some(accepted) = connection.accept().now_or_never() {
        let (head, body) = accepted?.ok()?.0.into_parts();
        let seen = Head {
            method: head.method,
            path: head.uri.path().to_owned(),
            authority: head.uri.authority().map(ToString::to_string),
            fields: head.headers,
        };
        heads.insert(body.stream_id().as_u32(), seen);
    }
    Some(heads)
}
