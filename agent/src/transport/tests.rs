//! What a guarded connection lets through, byte by byte, and what it refuses.

mod answers;
mod clients;
mod requests;

use super::{
    HpackError, Http2Guard, Sender, Stamped, TransportError, TransportLimits,
    frame::{FrameHeader, HEADER_LENGTH, PREFACE, flag, kind},
    hpack::{Decoder, Field},
};
use std::{
    io,
    pin::Pin,
    task::{Context, Poll, Waker, ready},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

const DATA: u8 = 0x0;
const SETTINGS: u8 = 0x4;
const PING: u8 = kind::PING;
const END: u8 = flag::END_HEADERS | flag::END_STREAM;

/// A socket from which reads get at most `piece` bytes.
#[derive(Clone)]
struct Pieces {
    bytes: Vec<u8>,
    at: usize,
    piece: usize,
    /// At the end of the bytes, reads wait instead of ending.
    waits: bool,
}

impl Pieces {
    fn new(bytes: Vec<u8>, piece: usize) -> Self {
        Self {
            bytes,
            at: 0,
            piece,
            waits: false,
        }
    }
}

impl AsyncRead for Pieces {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let count = self
            .piece
            .min(buf.remaining())
            .min(self.bytes.len() - self.at);
        if count == 0 && self.waits {
            return Poll::Pending;
        }
        buf.put_slice(&self.bytes[self.at..self.at + count]);
        self.at += count;
        Poll::Ready(Ok(()))
    }
}

/// Bytes of which nobody says who wrote them.
struct Unstamped<S>(S);

impl<S: AsyncRead + Unpin> Stamped for Unstamped<S> {
    fn poll_receive(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<Sender>> {
        ready!(Pin::new(&mut self.0).poll_read(cx, buf))?;
        Poll::Ready(Ok(Sender::Unstamped))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Unstamped<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// A guard that looks at frames alone.
fn unasked<S>(inner: S) -> Http2Guard<Unstamped<S>> {
    Http2Guard::new(Unstamped(inner), TransportLimits::default())
}

/// Reads a guarded connection to its end, `room` bytes at a time.
fn read<S: Stamped + Unpin>(
    guard: &mut Http2Guard<S>,
    room: usize,
) -> (Vec<u8>, Option<TransportError>) {
    let mut read = Vec::new();
    let mut space = vec![0; room];
    loop {
        let mut buf = ReadBuf::new(&mut space);
        let mut cx = Context::from_waker(Waker::noop());
        match Pin::new(&mut *guard).poll_read(&mut cx, &mut buf) {
            Poll::Ready(Ok(())) if buf.filled().is_empty() => return (read, None),
            Poll::Ready(Ok(())) => read.extend_from_slice(buf.filled()),
            Poll::Ready(Err(error)) => {
                assert!(buf.filled().is_empty(), "an error and bytes at once");
                assert_eq!(error.kind(), io::ErrorKind::InvalidData);
                return (
                    read,
                    error.into_inner().unwrap().downcast().ok().map(|e| *e),
                );
            }
            Poll::Pending => return (read, None),
        }
    }
}

/// What the server sees of a connection, which must not depend on how it is cut.
fn seen(bytes: &[u8]) -> (Vec<u8>, Option<TransportError>) {
    let guarded = |piece, room| {
        let inner = Pieces::new(bytes.to_vec(), piece);
        read(&mut unasked(inner), room)
    };
    let whole = guarded(usize::MAX, 100_000);
    for (piece, room) in [(1, 100_000), (usize::MAX, 1), (1, 1), (8, 13), (10, 7)] {
        assert!(
            guarded(piece, room) == whole,
            "in pieces of {piece}, read by {room}"
        );
    }
    whole
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let header = FrameHeader {
        length: payload.len(),
        kind,
        flags,
        stream,
    };
    [&header.to_bytes(), payload].concat()
}

/// A connection with these frames.
fn connection(frames: &[Vec<u8>]) -> Vec<u8> {
    [PREFACE, &frames.concat()].concat()
}

fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        let (name, value) = (name.as_bytes(), value.as_bytes());
        Field {
            name,
            value,
            never_indexed: false,
        }
        .write(&mut block);
    }
    block
}

/// The frames of a connection that begins with the preface.
fn frames(bytes: &[u8]) -> Vec<(FrameHeader, Vec<u8>)> {
    let mut rest = bytes.strip_prefix(PREFACE).unwrap();
    let mut frames = Vec::new();
    while let Some(header) = FrameHeader::parse(rest) {
        let (payload, behind) = rest[HEADER_LENGTH..].split_at(header.length);
        frames.push((header, payload.to_vec()));
        rest = behind;
    }
    assert!(rest.is_empty());
    frames
}

const REQUEST: [(&str, &str); 5] = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/SpiffeWorkloadAPI/FetchX509SVID"),
    (":authority", "/run/symbolon/workload/workload.sock"),
    ("workload.spiffe.io", "true"),
];

fn harmless_request() -> Vec<u8> {
    let mut fields = REQUEST;
    fields[3].1 = "localhost";
    block(&fields)
}

/// The error that the frames end with, after all before the last one went on unchanged.
fn refusal(before: &[Vec<u8>], last: &[Vec<u8>]) -> TransportError {
    let good = connection(before);
    let (seen, error) = seen(&[&good[..], &last.concat()].concat());
    assert_eq!(seen, good);
    error.unwrap()
}

#[test]
fn other_frames_go_on_unchanged() {
    let bytes = connection(&[
        frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0]),
        frame(PING, 0, 0, b"12345678"),
        frame(DATA, 0, 1, &[7; 16 * 1024]),
        frame(DATA, 1, 1, &[]),
        frame(
            0xfa,
            0xff,
            0xffff_ffff,
            b"an unknown type, the reserved bit set",
        ),
    ]);
    assert_eq!(seen(&bytes), (bytes, None));
}

#[test]
fn the_authority_becomes_harmless_and_nothing_else_changes() {
    let (seen, error) = seen(&connection(&[
        frame(kind::HEADERS, flag::END_HEADERS, 1, &block(&REQUEST)),
        frame(DATA, 0, 1, b"request"),
        frame(kind::HEADERS, END, 1, &block(&[("trailer", "1")])),
    ]));
    assert_eq!(error, None);
    let expected = connection(&[
        frame(kind::HEADERS, flag::END_HEADERS, 1, &harmless_request()),
        frame(DATA, 0, 1, b"request"),
        frame(kind::HEADERS, END, 1, &block(&[("trailer", "1")])),
    ]);
    assert_eq!(seen, expected);
}

#[test]
fn every_authority_is_replaced_and_none_is_added() {
    let given = [
        (":authority", ""),
        ("host", "a/b"),
        (":authority", "\u{0}"),
        ("Authority", "x"),
    ];
    let mut expected = given;
    expected[0].1 = "localhost";
    expected[2].1 = "localhost";
    let (seen, _) = seen(&connection(&[frame(kind::HEADERS, END, 3, &block(&given))]));
    assert_eq!(frames(&seen)[0].1, block(&expected));
}

#[test]
fn padding_priority_and_continuations_are_taken_away() {
    let whole = block(&REQUEST);
    let (a, b) = whole.split_at(20);
    let (b, c) = b.split_at(1);
    let priority = [0x80, 0, 0, 5, 16];
    let first = [&[3][..], &priority, a, &[0; 3]].concat();
    let flags = flag::PADDED | flag::PRIORITY | flag::END_STREAM;
    let (seen, error) = seen(&connection(&[
        frame(kind::HEADERS, flags, 1, &first),
        frame(kind::CONTINUATION, 0, 1, b),
        frame(kind::CONTINUATION, 0, 1, &[]),
        frame(kind::CONTINUATION, flag::END_HEADERS, 1, c),
        frame(PING, 0, 0, b"12345678"),
    ]));
    assert_eq!(error, None);
    let expected = connection(&[
        frame(kind::HEADERS, END, 1, &harmless_request()),
        frame(PING, 0, 0, b"12345678"),
    ]);
    assert_eq!(seen, expected);
}

#[test]
fn the_dynamic_table_lives_as_long_as_the_connection() {
    let (seen, error) = seen(&connection(&[
        frame(kind::HEADERS, END, 1, b"\x40\x01a\x01b\x41\x01/"),
        frame(kind::HEADERS, END, 3, b"\xbf\xbe"),
    ]));
    assert_eq!(error, None);
    let expected = block(&[("a", "b"), (":authority", "localhost")]);
    assert_eq!(frames(&seen)[0].1, expected);
    assert_eq!(frames(&seen)[1].1, expected);
}

#[test]
fn fields_that_no_table_may_hold_stay_marked() {
    let (seen, _) = seen(&connection(&[frame(
        kind::HEADERS,
        END,
        1,
        b"\x10\x01a\x01b",
    )]));
    assert_eq!(frames(&seen)[0].1, b"\x10\x01a\x01b");
}

#[test]
fn a_connection_that_is_not_http2_is_refused() {
    for (bytes, matched) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], 0),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\r", 23),
        (b"PRI * HTTP/1.1\r\n\r\n", 11),
        (b"\x16\x03\x01", 0),
    ] {
        let expected = (bytes[..matched].to_vec(), Some(TransportError::NotHttp2));
        assert_eq!(seen(bytes), expected);
    }
}

#[test]
fn frames_that_break_the_rules_of_header_blocks_are_refused() {
    use TransportError::{BlockInterrupted, NoStream, Padding, PushPromise, StrayContinuation};
    let before = [
        frame(SETTINGS, 0, 0, &[]),
        frame(kind::HEADERS, END, 1, &harmless_request()),
    ];
    let open = frame(kind::HEADERS, 0, 1, b"\x82");
    for (last, error) in [
        (vec![frame(kind::HEADERS, END, 0, b"\x82")], NoStream),
        (
            vec![frame(kind::HEADERS, END, 0x8000_0000, b"\x82")],
            NoStream,
        ),
        (
            vec![frame(kind::PUSH_PROMISE, END, 1, b"\0\0\0\x02\x82")],
            PushPromise,
        ),
        (
            vec![frame(kind::CONTINUATION, END, 1, b"\x82")],
            StrayContinuation,
        ),
        (
            vec![open.clone(), frame(kind::CONTINUATION, END, 3, b"\x82")],
            BlockInterrupted,
        ),
        (
            vec![open.clone(), frame(kind::HEADERS, END, 1, b"\x82")],
            BlockInterrupted,
        ),
        (vec![open.clone(), frame(DATA, 0, 1, b"")], BlockInterrupted),
        (
            vec![open.clone(), frame(PING, 0, 0, b"12345678")],
            BlockInterrupted,
        ),
        (vec![open, frame(0xfa, 0, 1, b"")], BlockInterrupted),
        (
            vec![frame(kind::HEADERS, END | flag::PADDED, 1, b"")],
            Padding,
        ),
        (vec![frame(kind::HEADERS, flag::PADDED, 1, b"")], Padding),
        (
            vec![frame(kind::HEADERS, END | flag::PADDED, 1, b"\x02\x82")],
            Padding,
        ),
        (
            vec![frame(kind::HEADERS, END | flag::PRIORITY, 1, b"\0\0\0\0")],
            Padding,
        ),
        (
            vec![frame(
                kind::HEADERS,
                END | flag::PADDED | flag::PRIORITY,
                1,
                b"\x01\0\0\0\0\x10",
            )],
            Padding,
        ),
    ] {
        assert_eq!(refusal(&before, &last), error);
    }
}

#[test]
fn padding_may_fill_all_of_a_frame() {
    let bytes = connection(&[frame(kind::HEADERS, END | flag::PADDED, 1, b"\x02\0\0")]);
    assert_eq!(
        seen(&bytes),
        (connection(&[frame(kind::HEADERS, END, 1, b"")]), None)
    );
}

#[test]
fn a_block_that_cannot_be_decoded_ends_the_connection() {
    let bad = frame(kind::HEADERS, END, 1, b"\xbe");
    let error = refusal(
        &[frame(SETTINGS, 0, 0, &[])],
        &[bad, frame(PING, 0, 0, b"12345678")],
    );
    assert_eq!(error, TransportError::Hpack(HpackError::UnknownIndex));
}

#[test]
fn an_error_stays() {
    use TransportError::{Hpack, NotHttp2, StrayContinuation};
    let ping = frame(PING, 0, 0, b"12345678");
    for (bytes, error) in [
        (b"GET / HTTP/1.1".to_vec(), NotHttp2),
        (
            connection(&[frame(kind::HEADERS, END, 1, b"\xbe"), ping.clone()]),
            Hpack(HpackError::UnknownIndex),
        ),
        (
            connection(&[frame(kind::CONTINUATION, END, 1, b""), ping]),
            StrayContinuation,
        ),
    ] {
        let inner = Pieces::new(bytes, 30);
        let mut guard = unasked(inner);
        assert_eq!(read(&mut guard, 100).1, Some(error));
        for _ in 0..3 {
            assert_eq!(read(&mut guard, 100), (vec![], Some(error)));
        }
    }
}

#[test]
fn frames_longer_than_the_limit_are_refused_by_their_header() {
    for kind in [DATA, kind::HEADERS, 0xfa] {
        let header = FrameHeader {
            length: 16 * 1024 + 1,
            kind,
            flags: END,
            stream: 1,
        };
        assert_eq!(
            refusal(&[], &[header.to_bytes().to_vec()]),
            TransportError::FrameTooLong
        );
    }
    let header = FrameHeader {
        length: 0xff_ffff,
        kind: kind::CONTINUATION,
        flags: 0,
        stream: 1,
    };
    let last = [frame(kind::HEADERS, 0, 1, b""), header.to_bytes().to_vec()];
    assert_eq!(refusal(&[], &last), TransportError::FrameTooLong);
}

#[test]
fn header_blocks_longer_than_the_limit_are_refused_by_their_frames() {
    let fits = [
        frame(kind::HEADERS, flag::END_STREAM, 1, &[0x82; 100]),
        frame(kind::CONTINUATION, 0, 1, &[0x20; 16 * 1024 - 100]),
    ];
    let header = FrameHeader {
        length: 1,
        kind: kind::CONTINUATION,
        flags: END,
        stream: 1,
    };
    let last = [&fits[..], &[header.to_bytes().to_vec()]].concat();
    assert_eq!(refusal(&[], &last), TransportError::BlockTooLong);
}

/// Frames without end, also without payload (CVE-2024-27316 and its kin).
#[test]
fn continuations_without_end_are_refused() {
    for payload in [&b""[..], b"\x82"] {
        let mut frames = vec![frame(kind::CONTINUATION, 0, 1, payload); 9];
        frames.insert(0, frame(kind::HEADERS, 0, 1, payload));
        assert_eq!(refusal(&[], &frames), TransportError::TooManyContinuations);
        frames[8] = frame(kind::CONTINUATION, flag::END_HEADERS, 1, payload);
        frames.truncate(9);
        assert_eq!(seen(&connection(&frames)).1, None);
    }
}

#[test]
fn a_small_block_that_decodes_to_a_large_list_is_refused() {
    let mut payload = b"\x40\x01a\x7f\xa1\x1e".to_vec();
    payload.extend([b'b'; 4000]);
    payload.extend([0xbe; 4]);
    let bytes = connection(&[frame(kind::HEADERS, END, 1, &payload)]);
    assert_eq!(
        seen(&bytes).1,
        Some(TransportError::Hpack(HpackError::ListTooLong))
    );
}

/// The limits let every block that is written anew fit into one frame.
#[test]
fn the_longest_list_fits_into_a_frame() {
    for (fields, value) in [(390, 0), (1, 16 * 1024 - 42), (2, 8 * 1024 - 42)] {
        let value = "v".repeat(value);
        let given = vec![(":authority", value.as_str()); fields];
        let bytes = connection(&[
            frame(kind::HEADERS, 0, 1, &block(&given)[..100]),
            frame(kind::CONTINUATION, END, 1, &block(&given)[100..]),
        ]);
        let (seen, error) = seen(&bytes);
        assert_eq!(error, None);
        assert_eq!(
            frames(&seen)[0].1,
            block(&vec![(":authority", "localhost"); fields])
        );
    }
    let large = "v".repeat(16 * 1024 - 33);
    let (seen, error) = seen(&connection(&[
        frame(kind::HEADERS, 0, 1, &block(&[("n", &large)])[..9]),
        frame(kind::CONTINUATION, END, 1, &block(&[("n", &large)])[9..]),
    ]));
    assert_eq!(error, None);
    assert!(frames(&seen)[0].0.length <= 16 * 1024);
}

#[test]
fn a_larger_list_than_a_frame_is_never_allowed() {
    let limits = TransportLimits {
        max_header_list: usize::MAX,
        ..TransportLimits::default()
    };
    let block = [0x82; 16 * 1024];
    let inner = Pieces::new(
        connection(&[frame(kind::HEADERS, END, 1, &block)]),
        usize::MAX,
    );
    let (_, error) = read(&mut Http2Guard::new(Unstamped(inner), limits), 1000);
    assert_eq!(error, Some(TransportError::Hpack(HpackError::ListTooLong)));
}

/// A read never makes more than one large list, however many a client sends in it.
#[test]
fn small_blocks_that_decode_to_much_are_decoded_one_by_one() {
    let mut large = b"\x40\x01a\x7f\xa1\x1e".to_vec();
    large.extend([b'b'; 4000]);
    let mut bytes = connection(&[frame(kind::HEADERS, END, 1, &large)]);
    for _ in 0..1000 {
        bytes.extend(frame(kind::HEADERS, END, 3, b"\xbe\xbe\xbe"));
    }
    let mut guard = unasked(Pieces::new(bytes, usize::MAX));
    let mut total = 0;
    let mut space = vec![0; 20_000];
    loop {
        let mut buf = ReadBuf::new(&mut space);
        let mut cx = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut guard).poll_read(&mut cx, &mut buf).is_ready());
        if buf.filled().is_empty() {
            break;
        }
        total += buf.filled().len();
        assert!(guard.received.len() <= 20_000);
        assert!(guard.ready.len() <= HEADER_LENGTH + 16 * 1024);
    }
    assert!(total > 12_000_000);
}

#[test]
fn a_connection_at_rest_holds_no_buffer() {
    let mut bytes = connection(&[
        frame(kind::HEADERS, END, 1, &block(&REQUEST)),
        frame(DATA, 0, 1, &[0; 10_000]),
        frame(kind::HEADERS, END, 3, &block(&REQUEST)),
    ]);
    for (held, part) in [(0, 0), (5, 5)] {
        bytes.extend(&frame(PING, 0, 0, b"12345678")[..part]);
        let inner = Pieces {
            waits: true,
            ..Pieces::new(bytes.clone(), usize::MAX)
        };
        let mut guard = unasked(inner);
        assert_eq!(read(&mut guard, 16 * 1024).1, None);
        assert_eq!(guard.received.len(), held);
        assert!(
            !guard.received.try_reclaim(64),
            "no larger buffer behind it"
        );
        assert!(guard.ready.is_empty());
    }
}

#[test]
fn the_decoder_reads_what_the_guard_wrote() {
    let (seen, _) = seen(&connection(&[frame(
        kind::HEADERS,
        END,
        1,
        &block(&REQUEST),
    )]));
    let mut names = Vec::new();
    let mut decoder = Decoder::default();
    let payload = &frames(&seen)[0].1;
    decoder
        .decode(payload, 1000, |field| names.push(field.name.to_vec()))
        .unwrap();
    assert_eq!(names, REQUEST.map(|(name, _)| name.as_bytes().to_vec()));
}
