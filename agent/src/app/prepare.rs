//! What is done to the process before anything else.

use rustix::{
    fs::Mode,
    process::{
        DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit, umask,
    },
};
use std::io;

/// One error for each step.
#[derive(Debug, thiserror::Error)]
pub(super) enum PrepareError {
    #[error("cannot make the process undumpable: {0}")]
    Dumpable(io::Error),
    #[error("cannot raise the limit of open files: {0}")]
    OpenFiles(io::Error),
}

/// Makes the process hold its keys close: no core dump, no debugger of the same
/// user, no file that others can read, and as many descriptors as it may have.
pub(super) fn harden() -> Result<(), PrepareError> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|e| PrepareError::Dumpable(e.into()))?;
    umask(Mode::from_raw_mode(0o077));
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised).map_err(|e| PrepareError::OpenFiles(e.into()))
}
