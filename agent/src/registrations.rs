//! Registrations in files: documents, the folder that holds them, and what is done about them.
//!
//! Owns the form of a registration document ([`parse`], [`write()`]) and the task that keeps the
//! registry in step with a mounted folder, `registry.apply_dir` ([`Applier`]). The
//! composition root starts it; the command line reads the same documents for
//! `symbolon client apply`.
//!
//! Whoever can write to the folder registers clients, so it is read like a key
//! file: it and everything in it belongs to root or to the agent's user and can be
//! written by nobody else, or lies on a mount that is read-only here (the kubelet
//! makes a `ConfigMap`'s folder writable for all and closes the folders above it).
//! A `ConfigMap` is swapped as a whole by a link called `..data`; that link is
//! followed once, so that no round sees half of the old and half of the new.
//!
//! Invariants: a folder with a fault changes nothing; every fault is told with its
//! file and line. What an operator decided is not undone: a client whose version in
//! force is an operator's is left alone unless its document says `adopt: true`, a
//! suspension by an operator stays, and a revocation is for ever. A name that is
//! gone is suspended, never revoked. Each change is recorded like an operator's,
//! with `file:NAME` as the operator.
//!
//! Fails closed for what is taken away and open for nothing: without an audit trail
//! only suspensions are made, and a folder that cannot be read leaves what is in
//! force. Left out on purpose: the network, templates, and files that name files.

mod applier;
mod document;
mod fault;
mod folder;
mod metadata;
mod plan;
mod watch;
mod written;

pub use applier::{Applier, ApplierServices};
pub use document::{Entry, Form, parse, repeated};
pub use fault::{Fault, Place, Problem};
pub use written::{WriteError, Written, write};

/// Largest file that is read: a `ConfigMap` as a whole has no more.
pub const FILE_BYTES: usize = 1 << 20;
/// Files in the folder.
pub const FILES: usize = 256;
/// Documents in all files together: what one round can carry out in some seconds.
pub const DOCUMENTS: usize = 10_000;

/// What an author's name begins with where it was a file.
const FILE_AUTHOR: &str = "file:";
