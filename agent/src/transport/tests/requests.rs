//! What an HTTP/2 server sees behind the guard, with `h2` as the second opinion:
//! any list of fields that its client encodes arrives as it was sent, and any
//! header block means the same to its server with the guard and without.

use super::{Field, Pieces, SETTINGS, connection, flag, frame, kind, unasked};
use crate::transport::{
    frame::{FrameHeader, HEADER_LENGTH, PREFACE},
    hpack::tests::hex,
};
use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use proptest::{
    collection::vec,
    option,
    prelude::{Just, Strategy, any, prop_oneof},
    proptest,
    sample::select,
    test_runner::Config,
};
use std::io;
use tokio::io::{
    AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, duplex, join, simplex, sink,
    split,
};

/// A request and its trailers, as sent or as seen.
#[derive(Clone, Debug, PartialEq)]
struct Message {
    path: String,
    authority: Option<String>,
    fields: HeaderMap,
    body: Vec<u8>,
    trailers: Option<HeaderMap>,
}

/// How a header block is cut into frames.
#[derive(Clone, Debug)]
struct Framing {
    padding: Option<u8>,
    priority: Option<[u8; 4]>,
    /// Lengths of the fragments before the last one.
    fragments: Vec<usize>,
    /// The block begins by setting the table's size to what it is.
    size_update: bool,
}

/// Names that HTTP/2 refuses, or that have to fit the body (RFC 9113, sections 8.1.1 and 8.2.2).
const MEANINGFUL: [&str; 7] = [
    "connection",
    "content-length",
    "keep-alive",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
];

fn fields() -> impl Strategy<Value = HeaderMap> {
    let known = select(vec![
        "workload.spiffe.io",
        "content-type",
        "host",
        "user-agent",
        "x",
    ]);
    let name = prop_oneof![known.prop_map(str::to_owned), "[a-z0-9_.!-]{1,40}"]
        .prop_filter("not meaningful", |name| {
            !MEANINGFUL.contains(&name.as_str())
        });
    let value = prop_oneof![
        select(vec!["true", "application/grpc", ""]).prop_map(|value| value.as_bytes().to_vec()),
        vec(0x20..=0x7e_u8, 0..80),
        vec(0x80..=0xff_u8, 0..300),
    ];
    let field = (name, value, any::<bool>()).prop_map(|(name, value, sensitive)| {
        let mut value = HeaderValue::from_bytes(&value).unwrap();
        value.set_sensitive(sensitive);
        (HeaderName::try_from(name).unwrap(), value)
    });
    vec(field, 0..12).prop_map(|fields| {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(name, value);
        }
        map
    })
}

fn message() -> impl Strategy<Value = Message> {
    let authority = option::of("[a-z]{1,9}(:[1-9][0-9]{0,3})?");
    let body = vec(any::<u8>(), 0..200);
    (
        "/[a-zA-Z0-9./]{0,40}",
        authority,
        fields(),
        body,
        option::of(fields()),
    )
        .prop_map(|(path, authority, fields, body, trailers)| Message {
            path,
            authority,
            fields,
            body,
            trailers,
        })
}

fn framing() -> impl Strategy<Value = Framing> {
    let fragments = vec(0..80_usize, 0..8);
    (
        option::of(any::<u8>()),
        option::of(any::<[u8; 4]>()),
        fragments,
        any::<bool>(),
    )
        .prop_map(|(padding, priority, fragments, size_update)| Framing {
            padding,
            priority,
            fragments,
            size_update,
        })
}

impl Framing {
    /// Sends a header block in frames cut this way.
    fn frames(&self, head: FrameHeader, block: &[u8], may_update: bool) -> Vec<u8> {
        let mut block = block.to_vec();
        if self.size_update && may_update {
            block.splice(..0, [0x3f, 0xe1, 0x1f]);
        }
        let mut fragments: Vec<&[u8]> = Vec::new();
        let mut rest = &block[..];
        for length in &self.fragments {
            let (fragment, behind) = rest.split_at(*length.min(&rest.len()));
            fragments.push(fragment);
            rest = behind;
        }
        fragments.push(rest);
        let ends = |at: usize| {
            if at + 1 == fragments.len() {
                flag::END_HEADERS
            } else {
                0
            }
        };
        let (flags, payload) = self.dress(fragments[0]);
        let flags = flags | head.flags & flag::END_STREAM | ends(0);
        let mut frames = frame(kind::HEADERS, flags, head.stream, &payload);
        for (at, fragment) in fragments.iter().enumerate().skip(1) {
            frames.extend(frame(kind::CONTINUATION, ends(at), head.stream, fragment));
        }
        frames
    }

    /// The payload of a HEADERS frame, with padding and priority.
    fn dress(&self, fragment: &[u8]) -> (u8, Vec<u8>) {
        let (mut flags, mut payload) = (0, Vec::new());
        if let Some(padding) = self.padding {
            flags |= flag::PADDED;
            payload.push(padding);
        }
        if let Some(priority) = self.priority {
            flags |= flag::PRIORITY;
            payload.extend(priority);
            payload.push(16);
        }
        payload.extend(fragment);
        payload.resize(payload.len() + usize::from(self.padding.unwrap_or(0)), 0);
        (flags, payload)
    }
}

/// Passes a client's frames on and cuts its header blocks in the given ways.
async fn reframe(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    framings: &[Framing],
    may_update: bool,
) -> io::Result<()> {
    let mut framings = framings.iter().cycle();
    let mut preface = [0; PREFACE.len()];
    from.read_exact(&mut preface).await?;
    to.write_all(&preface).await?;
    let mut start = [0; HEADER_LENGTH];
    while from.read_exact(&mut start).await.is_ok() {
        let header = FrameHeader::parse(&start).unwrap();
        let mut payload = vec![0; header.length];
        from.read_exact(&mut payload).await?;
        let frames = if header.kind == kind::HEADERS {
            assert_eq!(header.flags & !super::END, 0, "a block in one plain frame");
            framings
                .next()
                .unwrap()
                .frames(header, &payload, may_update)
        } else {
            [&start[..], &payload].concat()
        };
        to.write_all(&frames).await?;
    }
    to.shutdown().await
}

/// Sends the messages, each after the response to the one before.
async fn send(io: impl AsyncRead + AsyncWrite + Unpin, messages: &[Message]) {
    let (mut client, connection) = h2::client::handshake(io).await.unwrap();
    let exchange = async move {
        for message in messages {
            client = client.ready().await.unwrap();
            let authority = message.authority.as_deref().unwrap_or("localhost");
            let uri = format!("http://{authority}{}", message.path);
            let mut request = Request::post(uri).body(()).unwrap();
            *request.headers_mut() = message.fields.clone();
            let (response, mut stream) = client.send_request(request, false).unwrap();
            let trailers = message.trailers.clone();
            stream
                .send_data(message.body.clone().into(), trailers.is_none())
                .unwrap();
            if let Some(trailers) = trailers {
                stream.send_trailers(trailers).unwrap();
            }
            response.await.unwrap();
        }
    };
    let (_, ended) = tokio::join!(exchange, connection);
    ended.unwrap();
}

/// What an HTTP/2 server sees, and whether the connection ended without an error.
async fn serve(
    io: impl AsyncRead + AsyncWrite + Unpin,
    table: Option<u32>,
) -> (Vec<Message>, bool) {
    let mut builder = h2::server::Builder::new();
    if let Some(size) = table {
        builder.header_table_size(size);
    }
    let mut messages = Vec::new();
    let Ok(mut connection) = builder.handshake::<_, Bytes>(io).await else {
        return (messages, false);
    };
    while let Some(accepted) = connection.accept().await {
        let Ok((request, mut respond)) = accepted else {
            return (messages, false);
        };
        let (head, mut incoming) = request.into_parts();
        let reading = async {
            let mut body = Vec::new();
            while let Some(data) = incoming.data().await {
                let data = data.unwrap();
                incoming
                    .flow_control()
                    .release_capacity(data.len())
                    .unwrap();
                body.extend_from_slice(&data);
            }
            (body, incoming.trailers().await.unwrap())
        };
        tokio::pin!(reading);
        let (body, trailers) = loop {
            tokio::select! {
                read = &mut reading => break read,
                next = connection.accept() => assert!(next.is_none(), "one request at a time"),
            }
        };
        respond.send_response(Response::new(()), true).unwrap();
        messages.push(Message {
            path: head.uri.path().to_owned(),
            authority: head.uri.authority().map(ToString::to_string),
            fields: head.headers,
            body,
            trailers,
        });
    }
    (messages, true)
}

/// Sends messages through a guard in the given framing, `piece` bytes at a time.
async fn exchange(
    messages: &[Message],
    framings: &[Framing],
    table: Option<u32>,
    piece: usize,
) -> Vec<Message> {
    let (client, far) = duplex(100_000);
    let (sent, answers) = split(far);
    let (cut, cutter) = simplex(piece);
    let guard = unasked(join(cut, answers));
    let (_, reframed, (seen, clean)) = tokio::join!(
        send(client, messages),
        reframe(sent, cutter, framings, table.is_none()),
        serve(guard, table),
    );
    reframed.unwrap();
    assert!(clean);
    seen
}

/// The requests that a server sees in these bytes; `None` if it ends the connection.
fn heads(io: impl AsyncRead + Unpin) -> Option<Vec<(String, Option<String>, HeaderMap)>> {
    // Nothing ever waits here but for bytes after the last one.
    let handshake = h2::server::handshake(join(io, sink())).now_or_never();
    let mut connection: h2::server::Connection<_, Bytes> = handshake?.ok()?;
    let mut heads = Vec::new();
    while let Some(accepted) = connection.accept().now_or_never() {
        let (head, _) = accepted?.ok()?.0.into_parts();
        let authority = head.uri.authority().map(ToString::to_string);
        heads.push((head.uri.path().to_owned(), authority, head.headers));
    }
    Some(heads)
}

/// A representation of a field (RFC 7541, sections 6.1 and 6.2).
fn representation() -> impl Strategy<Value = Vec<u8>> {
    let indexed = (15..66_u8).prop_map(|index| vec![0x80 | index]);
    let name = prop_oneof![
        (15..66_u8).prop_map(|index| (index, Vec::new())),
        "[a-z-]{1,9}".prop_map(|name| (0, string(name.as_bytes()))),
    ];
    let value = prop_oneof![
        30 => vec(b' '..=b'~', 0..100),
        3 => vec(b'a'..=b'z', 1000..4100),
        // No more than ASCII, since the name may be an authority's, whose bytes
        // are only looked at without the guard.
        1 => vec(0..0x80_u8, 0..20),
    ];
    let literal = (select(vec![(0x40, 6), (0x00, 4), (0x10, 4)]), name, value).prop_map(
        |((form, prefix), (index, name), value)| {
            let mask = (1 << prefix) - 1;
            let start = match index {
                index if index < mask => vec![form | index],
                index => vec![form | mask, index - mask],
            };
            [start, name, string(&value)].concat()
        },
    );
    prop_oneof![1 => indexed, 3 => literal]
}

/// A request's block: table sizes, what every request needs, then fields.
fn request_block() -> impl Strategy<Value = Vec<u8>> {
    // 0, 31, 136, 4,096 and, refused, 4,097.
    let size = select(vec!["20", "3f00", "3f69", "3fe11f", "3fe21f"]);
    let sizes = prop_oneof![8 => Just(vec![]), 2 => vec(size.prop_map(hex), 1..3)];
    (sizes, "[a-z]{1,9}", vec(representation(), 0..6)).prop_map(|(sizes, authority, fields)| {
        let mut block = sizes.concat();
        block.extend([0x83, 0x86, 0x84, 0x41]);
        block.extend(string(authority.as_bytes()));
        block.extend(fields.concat());
        block
    })
}

/// A string without Huffman code.
fn string(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    Field {
        name: b"",
        value: text,
        never_indexed: false,
    }
    .write(&mut out);
    out.split_off(2)
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future)
}

proptest! {
    #![proptest_config(Config { failure_persistence: None, ..Config::with_cases(256) })]

    #[test]
    fn whatever_a_client_encodes_arrives_but_for_the_authority(
        messages in vec(message(), 1..6),
        framings in vec(framing(), 1..6),
        table in option::of(0..4096_u32),
        piece in prop_oneof![1..40_usize, Just(100_000)],
    ) {
        let seen = block_on(exchange(&messages, &framings, table, piece));
        let expected: Vec<Message> = messages
            .into_iter()
            .map(|message| Message { authority: Some("localhost".to_owned()), ..message })
            .collect();
        assert_eq!(seen, expected);
    }

    #[test]
    fn every_block_means_the_same_with_the_guard_and_without(
        blocks in vec(request_block(), 1..4),
    ) {
        let mut frames = vec![frame(SETTINGS, 0, 0, &[])];
        for (stream, block) in (1..).step_by(2).zip(&blocks) {
            frames.push(frame(kind::HEADERS, super::END, stream, block));
        }
        let bytes = connection(&frames);
        let pieces = Pieces { waits: true, ..Pieces::new(bytes, 100) };
        let plain = heads(pieces.clone());
        let guarded = heads(unasked(pieces));
        let harmless = plain.map(|heads| {
            let localhost = |(path, _, fields)| (path, Some("localhost".to_owned()), fields);
            heads.into_iter().map(localhost).collect::<Vec<_>>()
        });
        assert_eq!(guarded, harmless);
    }
}
