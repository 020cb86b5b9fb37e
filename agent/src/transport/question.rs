//! What the peer of a connection has to answer, and what was heard of it.

use super::Sender;
use std::fmt;
use tokio::sync::watch;

/// Bytes of a PING's payload (RFC 9113, section 6.7).
pub const PAYLOAD_LENGTH: usize = 8;

/// How the bytes of a connection were not the pinned process's alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Breach {
    /// Another process wrote to the socket: it was passed on, or inherited.
    #[error("process {0} wrote to a socket that another process connected")]
    ForeignSender(u32),
    /// A process that has no number here wrote to the socket.
    #[error("a process of a foreign PID namespace wrote to the socket")]
    ForeignNamespace,
    /// The kernel named nobody.
    #[error("bytes came without the kernel's word on who wrote them")]
    Unstamped,
    /// Descriptors, or other data that nobody asked for, came with the bytes.
    #[error("ancillary data came with the bytes")]
    AncillaryData,
}

/// What was heard on a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Heard {
    /// No answer yet.
    #[default]
    Nothing,
    /// The pinned process answered, and every byte was its own.
    Answer,
    /// The connection is over.
    Breach(Breach),
}

/// How far a connection has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Course {
    /// It is open.
    #[default]
    Open,
    /// Its peer does not hold it any more: it closes it at this moment, or somebody else has it.
    Lost,
    /// Nothing comes any more: the peer has closed it, or whoever has its other end shut it down.
    Closed,
    /// It has to end.
    Over,
}

impl Course {
    /// Goes on to `next`, never back.
    #[must_use]
    pub const fn then(self, next: Self) -> Self {
        match self {
            Self::Open | Self::Lost => next,
            Self::Closed if matches!(next, Self::Over) => next,
            Self::Closed | Self::Over => self,
        }
    }
}

/// A question to one process, and where it is told what was heard.
///
/// The payload has to be random and used once.
pub struct Question {
    sender: u32,
    payload: [u8; PAYLOAD_LENGTH],
    heard: watch::Sender<Heard>,
}

impl Question {
    /// Asks the process `sender`, as the agent's PID namespace numbers it.
    #[must_use]
    pub const fn new(
        sender: u32,
        payload: [u8; PAYLOAD_LENGTH],
        heard: watch::Sender<Heard>,
    ) -> Self {
        Self {
            sender,
            payload,
            heard,
        }
    }

    pub(super) const fn payload(&self) -> [u8; PAYLOAD_LENGTH] {
        self.payload
    }

    /// Only bytes that are the asked process's alone count.
    pub(super) const fn check(&self, sender: Sender) -> Result<(), Breach> {
        match sender {
            Sender::Process(0) => Err(Breach::ForeignNamespace),
            Sender::Process(pid) if pid == self.sender => Ok(()),
            Sender::Process(pid) => Err(Breach::ForeignSender(pid)),
            Sender::Unstamped => Err(Breach::Unstamped),
            Sender::WithAncillaryData => Err(Breach::AncillaryData),
        }
    }

    /// A breach is never taken back, and an answer counts once.
    pub(super) fn tell(&self, what: Heard) {
        self.heard.send_if_modified(|heard| {
            let news = *heard != what && !matches!(heard, Heard::Breach(_));
            if news {
                *heard = what;
            }
            news
        });
    }
}

/// Without the payload: whoever reads it could answer.
impl fmt::Debug for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Question")
            .field("sender", &self.sender)
            .finish_non_exhaustive()
    }
}
