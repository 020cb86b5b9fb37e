//! Where the question goes among the server's bytes: right behind its first
//! frame, which is its SETTINGS (RFC 9113, section 3.4), and never inside of one.
//!
//! The server may cut its bytes anywhere; no more is kept of them than the
//! header of that frame.

use super::{
    frame::{FrameHeader, HEADER_LENGTH, flag, kind},
    question::PAYLOAD_LENGTH,
};

/// Bytes of a PING frame.
pub(super) const PING_LENGTH: usize = HEADER_LENGTH + PAYLOAD_LENGTH;

/// How far the question has come.
pub(super) struct Asking {
    state: State,
    ping: [u8; PING_LENGTH],
}

#[derive(Clone, Copy)]
enum State {
    /// So many bytes of the first frame's header were written.
    Header {
        have: usize,
        header: [u8; HEADER_LENGTH],
    },
    /// So many bytes of the first frame's payload are still to come.
    Payload { left: usize },
    /// So many bytes of the question were handed to the socket.
    Ping { sent: usize },
    /// All of it was, or there is none.
    Done,
}

impl Asking {
    /// Nothing to ask.
    pub(super) const fn done() -> Self {
        Self {
            state: State::Done,
            ping: [0; PING_LENGTH],
        }
    }

    /// A PING with this payload is to be sent.
    pub(super) fn new(payload: [u8; PAYLOAD_LENGTH]) -> Self {
        let header = FrameHeader {
            length: PAYLOAD_LENGTH,
            kind: kind::PING,
            flags: 0,
            stream: 0,
        };
        let mut ping = [0; PING_LENGTH];
        let bytes = header.to_bytes().into_iter().chain(payload);
        ping.iter_mut().zip(bytes).for_each(|(to, byte)| *to = byte);
        Self {
            state: State::Header {
                have: 0,
                header: [0; HEADER_LENGTH],
            },
            ping,
        }
    }

    /// Whether the first frame is not complete.
    pub(super) const fn is_early(&self) -> bool {
        matches!(self.state, State::Header { .. } | State::Payload { .. })
    }

    /// Whether nothing is left to be asked.
    pub(super) const fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// What has to be handed to the socket now, before anything else.
    pub(super) fn due(&self) -> Option<&[u8]> {
        match self.state {
            State::Ping { sent } => self.ping.get(sent..),
            _ => None,
        }
    }

    /// So many bytes of [`Self::due`] were handed over.
    pub(super) fn sent(&mut self, count: usize) {
        if let State::Ping { sent } = &mut self.state {
            *sent += count;
            if *sent >= PING_LENGTH {
                self.state = State::Done;
            }
        }
    }

    /// How many bytes at the start of `next` belong to the first frame.
    pub(super) fn room(&self, next: &[u8]) -> usize {
        let room = match self.state {
            State::Header { have, mut header } => {
                let owed = fill(&mut header, have, next);
                if have + owed < HEADER_LENGTH {
                    owed
                } else {
                    owed + length(&header)
                }
            }
            State::Payload { left } => left,
            State::Ping { .. } | State::Done => next.len(),
        };
        room.min(next.len())
    }

    /// These bytes of the first frame were written.
    pub(super) fn follow(&mut self, written: &[u8]) {
        self.state = match self.state {
            State::Header { have, mut header } => {
                let count = fill(&mut header, have, written);
                if have + count < HEADER_LENGTH {
                    let have = have + count;
                    State::Header { have, header }
                } else {
                    State::owing(length(&header).saturating_sub(written.len() - count))
                }
            }
            State::Payload { left } => State::owing(left.saturating_sub(written.len())),
            state => state,
        };
    }
}

impl State {
    const fn owing(left: usize) -> Self {
        if left == 0 {
            Self::Ping { sent: 0 }
        } else {
            Self::Payload { left }
        }
    }
}

/// Completes `header`, of which there is `have`; gives how many bytes of `from` that took.
fn fill(header: &mut [u8; HEADER_LENGTH], have: usize, from: &[u8]) -> usize {
    let to = header.iter_mut().skip(have);
    to.zip(from).map(|(to, byte)| *to = *byte).count()
}

fn length(header: &[u8; HEADER_LENGTH]) -> usize {
    FrameHeader::parse(header).map_or(0, |header| header.length)
}

/// Whether a frame has the form of an answer; what it answers, its payload says.
pub(super) fn is_answer(header: FrameHeader) -> bool {
    header.kind == kind::PING
        && header.has(flag::ACK)
        && header.stream == 0
        && header.length == PAYLOAD_LENGTH
}
