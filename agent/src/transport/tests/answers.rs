//! Whose bytes a guard takes, when it asks, and which answers count.

use super::{
    DATA, END, PING, REQUEST, SETTINGS, block, connection, flag, frame, harmless_request, kind,
    read,
};
use crate::transport::{
    Breach, Course, Heard, Http2Guard, Question, Sender, Stamped, TransportError, TransportLimits,
    frame::PREFACE,
};
use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};
use tokio::{
    io::{AsyncRead as _, AsyncWrite, ReadBuf},
    sync::watch,
};

const PAYLOAD: [u8; 8] = *b"unknowns";
const PEER: u32 = 4711;
const OTHER: u32 = 4712;

/// A socket whose reads bring what a test wrote, with its sender, at most
/// `piece` bytes at a time, and that takes at most `room` bytes at a time.
struct Stage {
    sent: VecDeque<(Sender, VecDeque<u8>)>,
    piece: usize,
    written: Vec<u8>,
    room: usize,
    /// Every other write has to wait.
    waits: Option<bool>,
}

impl Stage {
    fn new(sent: impl IntoIterator<Item = (Sender, Vec<u8>)>, piece: usize) -> Self {
        let sent = sent.into_iter().map(|(from, bytes)| (from, bytes.into()));
        Self {
            sent: sent.collect(),
            piece,
            written: Vec::new(),
            room: usize::MAX,
            waits: None,
        }
    }

    fn send(&mut self, from: Sender, bytes: &[u8]) {
        self.sent.push_back((from, bytes.iter().copied().collect()));
    }
}

impl Stamped for Stage {
    fn poll_receive(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<Sender>> {
        let piece = self.piece.min(buf.remaining());
        let Some((sender, bytes)) = self.sent.front_mut() else {
            return Poll::Pending;
        };
        let sender = *sender;
        let count = piece.min(bytes.len());
        let part: Vec<u8> = bytes.drain(..count).collect();
        buf.put_slice(&part);
        if bytes.is_empty() {
            self.sent.pop_front();
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
        if let Some(waits) = &mut self.waits {
            *waits = !*waits;
            if *waits {
                return Poll::Pending;
            }
        }
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

fn guard(stage: Stage) -> (Http2Guard<Stage>, watch::Receiver<Heard>) {
    let (tell, heard) = watch::channel(Heard::Nothing);
    let question = Question::new(PEER, PAYLOAD, tell);
    let limits = TransportLimits::default();
    (Http2Guard::asking(stage, limits, question), heard)
}

/// Writes all of it, as often as it has to be tried.
fn write(guard: &mut Http2Guard<Stage>, mut bytes: &[u8]) {
    let mut cx = Context::from_waker(Waker::noop());
    while !bytes.is_empty() {
        if let Poll::Ready(written) = Pin::new(&mut *guard).poll_write(&mut cx, bytes) {
            bytes = &bytes[written.unwrap()..];
        }
    }
}

fn flush(guard: &mut Http2Guard<Stage>) {
    let mut cx = Context::from_waker(Waker::noop());
    while Pin::new(&mut *guard).poll_flush(&mut cx).is_pending() {}
}

fn settings() -> Vec<u8> {
    frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0])
}

fn question() -> Vec<u8> {
    frame(PING, 0, 0, &PAYLOAD)
}

fn answer() -> Vec<u8> {
    frame(PING, flag::ACK, 0, &PAYLOAD)
}

const P: Sender = Sender::Process(PEER);

/// A guard that has asked, and then gets these bytes.
fn asked(
    sent: impl IntoIterator<Item = (Sender, Vec<u8>)>,
    piece: usize,
) -> (Http2Guard<Stage>, watch::Receiver<Heard>) {
    let (mut guard, heard) = guard(Stage::new(sent, piece));
    write(&mut guard, &settings());
    flush(&mut guard);
    (guard, heard)
}

#[test]
fn the_question_follows_the_first_frame_whole_however_the_server_writes() {
    let frames = [
        settings(),
        frame(SETTINGS, flag::ACK, 0, &[]),
        frame(DATA, 0, 1, &[7; 300]),
    ];
    let [first, second, third] = frames.each_ref().map(Vec::as_slice);
    let expected = [first, &question(), second, third].concat();
    for cut in [1, 2, 8, 9, 10, 15, 16, 17, 1000] {
        for room in [1, 3, 16, usize::MAX] {
            for waits in [None, Some(false)] {
                let stage = Stage {
                    room,
                    waits,
                    ..Stage::new([], 1)
                };
                let (mut guard, _) = guard(stage);
                for piece in frames.concat().chunks(cut) {
                    write(&mut guard, piece);
                }
                assert_eq!(guard.inner.written, expected, "{cut} {room}");
            }
        }
    }
}

#[test]
fn the_question_waits_for_no_second_frame() {
    for empty in [false, true] {
        let first = if empty {
            frame(SETTINGS, 0, 0, &[])
        } else {
            settings()
        };
        let (mut guard, _) = guard(Stage::new([], 1));
        flush(&mut guard);
        write(&mut guard, &first[..5]);
        flush(&mut guard);
        assert_eq!(guard.inner.written, first[..5]);
        write(&mut guard, &first[5..]);
        for _ in 0..2 {
            flush(&mut guard);
            assert_eq!(guard.inner.written, [&first[..], &question()].concat());
        }
    }
}

#[test]
fn vectored_writes_are_followed_too() {
    let (first, second) = (settings(), frame(DATA, 0, 1, b"abc"));
    let (mut guard, _) = guard(Stage::new([], 1));
    let mut cx = Context::from_waker(Waker::noop());
    let mut bytes = [&first[..], &second].concat();
    while !bytes.is_empty() {
        let slices = [IoSlice::new(&[]), IoSlice::new(&bytes)];
        let written = Pin::new(&mut guard).poll_write_vectored(&mut cx, &slices);
        let Poll::Ready(Ok(written)) = written else {
            panic!("{written:?}")
        };
        bytes.drain(..written);
    }
    assert_eq!(guard.inner.written, [first, question(), second].concat());
}

#[test]
fn the_answer_counts_and_the_server_never_sees_it() {
    let request = frame(kind::HEADERS, END, 1, &block(&REQUEST));
    let before = connection(&[settings(), request]);
    let behind = frame(DATA, 0, 1, b"x");
    let expected = connection(&[
        settings(),
        frame(kind::HEADERS, END, 1, &harmless_request()),
        behind.clone(),
    ]);
    for piece in [1, 2, 9, 16, 17, 1000] {
        for room in [1, 10, 1000] {
            let bytes = [&before[..], &answer(), &behind].concat();
            let (mut guard, heard) = asked([(P, bytes)], piece);
            assert_eq!(read(&mut guard, room), (expected.clone(), None));
            assert_eq!(*heard.borrow(), Heard::Answer);
        }
    }
}

#[test]
fn an_answer_before_the_question_was_handed_over_does_not_count() {
    for handed_over in [0, 1, 16] {
        let early = connection(&[settings(), answer()]);
        let (mut guard, heard) = guard(Stage::new([(P, early)], 1000));
        write(&mut guard, &settings());
        let mut cx = Context::from_waker(Waker::noop());
        guard.inner.room = 1;
        for _ in 0..handed_over {
            guard.asking.sent(1);
        }
        assert_eq!(read(&mut guard, 1000).1, None);
        assert_eq!(*heard.borrow(), Heard::Nothing);
        guard.inner.room = usize::MAX;
        assert!(Pin::new(&mut guard).poll_flush(&mut cx).is_ready());
        // The one that comes in time does.
        guard.inner.send(P, &answer());
        assert_eq!(read(&mut guard, 1000), (vec![], None));
        assert_eq!(*heard.borrow(), Heard::Answer);
    }
}

#[test]
fn what_is_not_the_answer_goes_to_the_server() {
    let shutdown = [0x0b, 0x7b, 0xa2, 0xf0, 0x8b, 0x9b, 0xfe, 0x54];
    for other in [
        frame(PING, flag::ACK, 0, b"unknownS"),
        frame(PING, flag::ACK, 0, &shutdown),
        frame(PING, 0, 0, &PAYLOAD),
        frame(PING, flag::ACK, 1, &PAYLOAD),
        frame(PING, flag::ACK, 0, &PAYLOAD[..7]),
        frame(PING, flag::ACK, 0, b"unknowns!"),
        frame(DATA, flag::ACK, 0, &PAYLOAD),
    ] {
        for piece in [1, 9, 1000] {
            let bytes = connection(&[settings(), other.clone(), settings()]);
            let (mut guard, heard) = asked([(P, bytes.clone())], piece);
            assert_eq!(read(&mut guard, 1000), (bytes, None));
            assert_eq!(*heard.borrow(), Heard::Nothing);
        }
    }
}

#[test]
fn unused_flags_and_the_reserved_bit_make_no_difference() {
    let odd = frame(PING, flag::ACK | 0xf0, 0x8000_0000, &PAYLOAD);
    let (mut guard, heard) = asked([(P, connection(&[odd]))], 1000);
    assert_eq!(read(&mut guard, 1000), (PREFACE.to_vec(), None));
    assert_eq!(*heard.borrow(), Heard::Answer);
}

#[test]
fn a_second_answer_of_the_same_process_is_harmless() {
    let bytes = connection(&[answer(), answer(), settings()]);
    let (mut guard, mut heard) = asked([(P, bytes)], 5);
    assert_eq!(read(&mut guard, 1000), (connection(&[settings()]), None));
    assert_eq!(*heard.borrow_and_update(), Heard::Answer);
    guard.inner.send(P, &answer());
    assert_eq!(read(&mut guard, 1000), (vec![], None));
    assert!(!heard.has_changed().unwrap(), "nobody is woken for it");
}

/// Whoever answers for ever is not read for ever.
#[test]
fn answers_without_end_leave_others_their_turn() {
    let turns = Arc::new(AtomicUsize::new(5));
    let left = Arc::clone(&turns);
    let (guard, _heard) = asked([(P, connection(&[answer()]))], 1000);
    let mut guard = guard.pausing(move || left.fetch_sub(1, Ordering::Relaxed) == 0);
    for _ in 0..10 {
        guard.inner.send(P, &answer());
    }
    let mut space = [0; 1000];
    let mut buf = ReadBuf::new(&mut space);
    let mut cx = Context::from_waker(Waker::noop());
    assert!(Pin::new(&mut guard).poll_read(&mut cx, &mut buf).is_ready());
    assert_eq!(buf.filled(), PREFACE);
    turns.store(4, Ordering::Relaxed);
    let polled = Pin::new(&mut guard).poll_read(&mut cx, &mut ReadBuf::new(&mut [0; 1000]));
    assert!(polled.is_pending());
    assert_eq!(guard.inner.sent.len(), 10 - 4);
}

#[test]
fn an_answer_inside_of_another_frame_is_none() {
    let hidden = frame(DATA, 0, 1, &answer());
    let (mut guard, heard) = asked([(P, connection(std::slice::from_ref(&hidden)))], 1000);
    assert_eq!(read(&mut guard, 1000).0, connection(&[hidden]));
    assert_eq!(*heard.borrow(), Heard::Nothing);
    // Nor does it interrupt a header block.
    let open = frame(kind::HEADERS, 0, 1, b"\x82");
    let (mut guard, heard) = asked([(P, connection(&[open, answer()]))], 1000);
    let error = read(&mut guard, 1000).1;
    assert_eq!(error, Some(TransportError::BlockInterrupted));
    assert_eq!(*heard.borrow(), Heard::Nothing);
}

/// At every byte of a connection, and of the answer on it.
#[test]
fn bytes_of_another_sender_end_the_connection_wherever_they_come() {
    let request = frame(kind::HEADERS, END, 1, &harmless_request());
    let bytes = connection(&[settings(), answer(), request]);
    for (sender, breach) in [
        (Sender::Process(OTHER), Breach::ForeignSender(OTHER)),
        (Sender::Process(0), Breach::ForeignNamespace),
        (Sender::Unstamped, Breach::Unstamped),
        (Sender::WithAncillaryData, Breach::AncillaryData),
    ] {
        for at in 0..bytes.len() {
            let (before, theirs) = bytes.split_at(at);
            let sent = [
                (P, before.to_vec()),
                (sender, theirs[..1].to_vec()),
                (P, theirs[1..].to_vec()),
            ];
            let sent = sent.into_iter().filter(|(_, bytes)| !bytes.is_empty());
            let (mut guard, heard) = asked(sent, 1000);
            let (seen, error) = read(&mut guard, 1000);
            assert_eq!(error, Some(breach.into()), "at {at}");
            assert!(seen.len() <= at, "a stranger's byte went on");
            assert_eq!(*heard.borrow(), Heard::Breach(breach));
            // For good.
            assert_eq!(read(&mut guard, 1000), (vec![], Some(breach.into())));
            assert_eq!(*heard.borrow(), Heard::Breach(breach));
        }
    }
}

#[test]
fn the_same_bytes_of_another_process_are_no_answer() {
    let sent = [
        (P, connection(&[settings()])),
        (Sender::Process(OTHER), answer()),
    ];
    let (mut guard, heard) = asked(sent, 1000);
    let breach = Breach::ForeignSender(OTHER);
    let expected = (connection(&[settings()]), Some(breach.into()));
    assert_eq!(read(&mut guard, 1000), expected);
    assert_eq!(*heard.borrow(), Heard::Breach(breach));
}

#[test]
fn a_second_answer_of_another_process_ends_the_connection() {
    let (mut guard, heard) = asked([(P, connection(&[answer()]))], 1000);
    assert_eq!(read(&mut guard, 1000).1, None);
    assert_eq!(*heard.borrow(), Heard::Answer);
    guard.inner.send(Sender::Process(OTHER), &answer());
    let breach = Breach::ForeignSender(OTHER);
    assert_eq!(read(&mut guard, 1000), (vec![], Some(breach.into())));
    assert_eq!(*heard.borrow(), Heard::Breach(breach));
}

#[test]
fn a_guard_without_a_question_asks_nobody_and_takes_answers_for_what_they_are() {
    let bytes = connection(&[settings(), answer()]);
    let stage = Stage::new([(Sender::Unstamped, bytes.clone())], 3);
    let mut guard = Http2Guard::new(stage, TransportLimits::default());
    write(&mut guard, &settings());
    flush(&mut guard);
    assert_eq!(guard.inner.written, settings());
    assert_eq!(read(&mut guard, 1000), (bytes, None));
}

#[test]
fn the_end_of_the_connection_is_told_and_is_not_taken_back() {
    let told = |sent: Vec<(Sender, Vec<u8>)>, before: Course| {
        let (tell, course) = watch::channel(before);
        let guard = Http2Guard::new(Stage::new(sent, 100), TransportLimits::default());
        read(&mut guard.telling(Some(tell)), 1000);
        *course.borrow()
    };
    let bytes = || (Sender::Unstamped, connection(&[settings()]));
    // Nothing comes in a read.
    let end = || (Sender::Unstamped, Vec::new());
    assert_eq!(told(vec![bytes()], Course::Open), Course::Open);
    for (before, after) in [
        (Course::Open, Course::Closed),
        (Course::Lost, Course::Closed),
        (Course::Over, Course::Over),
    ] {
        assert_eq!(told(vec![bytes(), end()], before), after);
    }
    assert_eq!(Course::Closed.then(Course::Lost), Course::Closed);
    assert_eq!(Course::Closed.then(Course::Over), Course::Over);
}

#[test]
fn the_payload_is_never_shown() {
    let (tell, _heard) = watch::channel(Heard::Nothing);
    let shown = format!("{:?}", Question::new(PEER, PAYLOAD, tell));
    assert_eq!(shown, "Question { sender: 4711, .. }");
}
