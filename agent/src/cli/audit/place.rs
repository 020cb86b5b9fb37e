//! Where a trail lies, for the commands that need no agent.

use super::super::{
    console::Console,
    failure::{Exit, Failure},
};
use crate::audit::AuditError;
use std::{
    io,
    path::{Path, PathBuf},
};

/// The folder of the trail in a data directory, or that folder itself: a copy of it.
pub(super) fn folder(dir: &Path) -> PathBuf {
    let inside = dir.join("audit");
    if inside.is_dir() {
        inside
    } else {
        dir.to_owned()
    }
}

/// [`folder`], in the data directory of this machine's agent where none is named.
pub(super) fn folder_or_own(dir: Option<&Path>, console: &Console) -> Result<PathBuf, Failure> {
    dir.or_else(|| console.directories.data())
        .map(folder)
        .ok_or_else(|| Failure::new(Exit::Usage, "say where the data directory is (--data-dir)"))
}

/// A trail that cannot be read.
pub(super) fn failed(error: &AuditError) -> Failure {
    let exit = match error {
        AuditError::Io { source, .. } => match source.kind() {
            io::ErrorKind::NotFound => Exit::NotFound,
            io::ErrorKind::PermissionDenied => Exit::Denied,
            _ => Exit::Failed,
        },
        _ => Exit::Failed,
    };
    let failure = Failure::new(exit, error.to_string());
    match exit {
        Exit::Denied => {
            failure.advise("The trail belongs to the agent's user: run this as that user or root.")
        }
        Exit::NotFound => failure.advise("Name the agent's data directory with --data-dir."),
        Exit::Failed | Exit::Usage | Exit::Unreachable | Exit::Changes => failure,
    }
}
