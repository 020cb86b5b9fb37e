//! Whatever whoever sends to a guard that asks: no byte of anybody but the asked process goes
//! on, what goes on is what a guard that asks nobody lets through, but for the answers, and the
//! question stands behind the server's first frame, however that is written.

#![no_main]

use libfuzzer_sys::fuzz_target;
use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    task::{Context, Poll, Waker},
};
use symbolon_agent::transport::{
    Breach, Heard, Http2Guard, Question, Sender, Stamped, TransportLimits,
};
use symbolon_fuzz::http2::{
    CONTINUATION, HEADERS, PING, PREFACE, Pieces, SETTINGS, chunks, connection, frame, guarded,
    read_all,
};
use tokio::{
    io::{AsyncWrite, ReadBuf},
    sync::watch,
};

const ASKED: u32 = 7;
const PAYLOAD: [u8; 8] = *b"question";
const ACK: u8 = 0x1;

/// What arrives, with its senders, and what was written.
struct Stage {
    arrived: VecDeque<(Sender, Vec<u8>)>,
    written: Vec<u8>,
    room: usize,
}

impl Stamped for Stage {
    fn poll_receive(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<Sender>> {
        let Some((sender, bytes)) = self.arrived.front_mut() else {
            return Poll::Ready(Ok(Sender::Unstamped));
        };
        let sender = *sender;
        let count = bytes.len().min(buf.remaining());
        buf.put_slice(&bytes[..count]);
        bytes.drain(..count);
        if bytes.is_empty() {
            self.arrived.pop_front();
        }
        Poll::Ready(Ok(sender))
    }
}

impl AsyncWrite for Stage {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let count = buf.len().min(self.room);
        self.written.extend(&buf[..count]);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fuzz_target!(|input: (u8, u8, u8, &[u8], Vec<(u8, u8)>, &[u8])| {
    let (room, cut, sizes, data, senders, server) = input;
    let bytes = frames(data);
    let arrived = arrivals(&bytes, &senders);
    let (tell, heard) = watch::channel(Heard::Nothing);
    let stage = Stage {
        arrived: arrived.iter().cloned().collect(),
        written: Vec::new(),
        room: usize::from(sizes) + 1,
    };
    let limits = TransportLimits::default();
    let question = Question::new(ASKED, PAYLOAD, tell);
    let mut guard = Http2Guard::asking(stage, limits, question);
    let asks = sizes & 1 == 0;
    if asks {
        write(
            &mut guard,
            &frame(SETTINGS, 0, 0, server),
            usize::from(cut) + 1,
        );
    }
    let (seen, error) = read_all(&mut guard, usize::from(room) + 1);

    let own = arrived
        .iter()
        .take_while(|(sender, _)| *sender == Sender::Process(ASKED));
    let own: Vec<u8> = own.flat_map(|(_, bytes)| bytes.iter().copied()).collect();
    let (expected, rule) = guarded(Pieces::ending(&own, usize::MAX), 1 << 20);
    let (expected, answers) = without_answers(&expected);
    assert_eq!(seen, expected);
    let stranger = arrived
        .iter()
        .find(|(sender, _)| *sender != Sender::Process(ASKED));
    let breach = stranger
        .filter(|_| rule.is_none())
        .map(|(sender, _)| breach(*sender));
    assert_eq!(error, rule.or(breach.map(Into::into)));
    let told = match breach {
        Some(breach) => Heard::Breach(breach),
        None if asks && answers > 0 => Heard::Answer,
        None => Heard::Nothing,
    };
    assert_eq!(*heard.borrow(), told);
});

/// A connection with frames of all sorts, answers and what is like them above all.
fn frames(data: &[u8]) -> Vec<u8> {
    connection(chunks(data).map(|(choice, flags, payload)| {
        let stream = u32::from(choice >> 4);
        match choice & 7 {
            0 | 1 => frame(PING, flags | ACK, 0, &PAYLOAD),
            2 => frame(PING, flags, stream, &PAYLOAD),
            3 => frame(PING, flags, stream, payload),
            4 => frame(HEADERS, flags, stream, payload),
            5 => frame(CONTINUATION, flags, stream, payload),
            6 => payload.to_vec(),
            _ => frame(choice, flags, stream, payload),
        }
    }))
}

/// The bytes in pieces, each with its sender.
fn arrivals(mut bytes: &[u8], senders: &[(u8, u8)]) -> Vec<(Sender, Vec<u8>)> {
    let mut arrivals = Vec::new();
    for (who, count) in senders {
        let (piece, rest) = bytes.split_at(bytes.len().min(usize::from(*count)));
        bytes = rest;
        let sender = match who {
            0 => Sender::Process(0),
            1 => Sender::Process(8),
            2 => Sender::Unstamped,
            3 => Sender::WithAncillaryData,
            _ => Sender::Process(ASKED),
        };
        arrivals.push((sender, piece.to_vec()));
    }
    arrivals.push((Sender::Process(ASKED), bytes.to_vec()));
    arrivals.retain(|(_, piece)| !piece.is_empty());
    arrivals
}

fn breach(sender: Sender) -> Breach {
    match sender {
        Sender::Process(0) => Breach::ForeignNamespace,
        Sender::Process(pid) => Breach::ForeignSender(pid),
        Sender::Unstamped => Breach::Unstamped,
        Sender::WithAncillaryData => Breach::AncillaryData,
    }
}

/// What a guard that asks lets through of it, and how many answers it holds. What may become
/// one at the end is held back.
fn without_answers(seen: &[u8]) -> (Vec<u8>, usize) {
    let Some(mut rest) = seen.strip_prefix(PREFACE) else {
        return (seen.to_vec(), 0);
    };
    let (mut left, mut answers) = (PREFACE.to_vec(), 0);
    while let [l0, l1, l2, kind, flags, s0, s1, s2, s3, behind @ ..] = rest {
        let length = usize::from(*l0) << 16 | usize::from(*l1) << 8 | usize::from(*l2);
        let (payload, after) = behind.split_at(length.min(behind.len()));
        let form = *kind == PING && flags & ACK != 0 && length == 8;
        let may_answer = form && [s0 & 0x7f, *s1, *s2, *s3] == [0; 4];
        if !may_answer || (payload.len() == length && *payload != PAYLOAD) {
            left.extend(&rest[..9 + payload.len()]);
        } else if payload == PAYLOAD {
            answers += 1;
        }
        rest = after;
    }
    (left, answers)
}

/// Writes the server's first frame and one more byte, and finds the question between them.
fn write(guard: &mut Http2Guard<Stage>, first: &[u8], cut: usize) {
    let mut cx = Context::from_waker(Waker::noop());
    let bytes = [first, &[0]].concat();
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        let part = &rest[..rest.len().min(cut)];
        let written = Pin::new(&mut *guard).poll_write(&mut cx, part);
        let Poll::Ready(Ok(count)) = written else {
            panic!("{written:?}")
        };
        rest = &rest[count..];
    }
    let question = frame(PING, 0, 0, &PAYLOAD);
    assert_eq!(guard.get_ref().written, [first, &question, &[0]].concat());
}
