//! What was proved about a connection and the program at its other end.
//!
//! `SO_PEERPIDFD` says who connected, not which program holds the socket now.
//! *Held* says how the peer's end lies among the process's descriptors;
//! *answered* says whose bytes answered an unforeseeable question on it. Both
//! are properties of one connection; these are the words that evidence,
//! configuration and registrations use for them.

use crate::findings::Reason;
use serde::Serialize;

/// How the peer's end of a connection lies among the pinned process's descriptors.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Held {
    /// With close-on-exec set: the image that runs now opened it, or set the flag itself.
    CloseOnExec,
    /// Without close-on-exec, on a descriptor above 2: it may have come through an `execve`.
    Inheritable,
    /// Not at all, or inheritable on descriptor 0, 1 or 2.
    Not(Reason),
    /// It could not be found out.
    Unknown(Reason),
}

/// What the kernel's stamp on the answer is worth.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Stamp {
    /// Nobody without privilege over the agent can forge it.
    Trusted,
    /// A PID namespace between the caller's and ours belongs to another user namespace, whose
    /// privileged can name any of its processes.
    Forgeable(Reason),
}

/// The word of one proof of *held*, in evidence and configuration.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum HeldWord {
    /// See [`Held::CloseOnExec`].
    CloseOnExec,
    /// See [`Held::Inheritable`].
    Inheritable,
    /// See [`Held::Unknown`].
    Unknown,
}

/// The word of one proof of *answered*, in evidence and configuration.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum AnsweredWord {
    /// By the pinned process, and the stamp cannot be forged.
    Stamped,
    /// With the pinned process's name, by a stamp that can be forged.
    Forgeable,
    /// Not asked: the kernel or the configuration has no stamps.
    Unasked,
}

/// What was proved about a connection: part of the evidence.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize)]
pub struct Proofs {
    /// Whose bytes answered.
    pub answered: AnsweredWord,
    /// How the socket is held.
    pub held: HeldWord,
}
