//! Whatever a client sends: what the server sees does not depend on how the
//! bytes arrive, has every header block in one frame, and would go through
//! another guard unchanged.

#![no_main]

use libfuzzer_sys::fuzz_target;
use symbolon_fuzz::http2::{
    CONTINUATION, END_HEADERS, HEADERS, PING, PREFACE, PUSH_PROMISE, Pieces, chunks, connection,
    frame, guarded,
};

fuzz_target!(|input: (bool, u8, u8, &[u8])| {
    let (framed, piece, room, data) = input;
    let bytes = if framed {
        frames(data)
    } else {
        [PREFACE, data].concat()
    };
    let whole = guarded(Pieces::ending(&bytes, usize::MAX), 1 << 20);
    let (piece, room) = (usize::from(piece) + 1, usize::from(room) + 1);
    assert!(guarded(Pieces::ending(&bytes, piece), room) == whole);
    assert!(guarded(Pieces::ending(&bytes, usize::MAX), room) == whole);
    check(&whole.0);
    assert!(guarded(Pieces::ending(&whole.0, piece), 1 << 20) == (whole.0, None));
    // Without a preface, too.
    guarded(Pieces::ending(data, piece), room);
});

fn frames(data: &[u8]) -> Vec<u8> {
    connection(chunks(data).map(|(choice, flags, payload)| {
        let kinds = [
            HEADERS,
            HEADERS,
            CONTINUATION,
            CONTINUATION,
            PING,
            0,
            PUSH_PROMISE,
            0xfa,
        ];
        let kind = kinds[usize::from(choice & 7)];
        frame(kind, flags, u32::from(choice >> 3), payload)
    }))
}

fn check(seen: &[u8]) {
    let Some(mut rest) = seen.strip_prefix(PREFACE) else {
        return;
    };
    while let [l0, l1, l2, kind, flags, _, _, _, _, behind @ ..] = rest {
        let length = usize::from(*l0) << 16 | usize::from(*l1) << 8 | usize::from(*l2);
        assert!(length <= 16 * 1024);
        match *kind {
            HEADERS => assert!(flags & !1 == END_HEADERS && length <= behind.len()),
            kind => assert!(kind != CONTINUATION && kind != PUSH_PROMISE),
        }
        rest = &behind[length.min(behind.len())..];
    }
    assert!(rest.is_empty(), "part of a frame's header");
}
