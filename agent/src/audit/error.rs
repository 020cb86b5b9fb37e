//! Why the trail cannot be opened, written or read.

use super::checkpoint::CheckpointKeyError;
use crate::canonical::CanonicalError;
use std::{io, path::PathBuf, sync::Arc};

/// A failure of the audit trail, by whose fault.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AuditError {
    // The operator's.
    /// The folder or the segment may be reached by others.
    #[error("{path} has mode {mode:04o}; take the rights of group and others away (chmod go-rwx)")]
    TooWide {
        /// What has the mode.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The folder or the segment belongs to another user.
    #[error("{path} belongs to uid {uid}, not to the agent's uid {ours}")]
    ForeignOwner {
        /// What belongs to the other user.
        path: PathBuf,
        /// The owner.
        uid: u32,
        /// The agent's effective user.
        ours: u32,
    },
    /// The segment is not a regular file.
    #[error("{path} is not a regular file")]
    NotAFile {
        /// What stands where the segment should be.
        path: PathBuf,
    },
    /// Another process writes to the trail.
    #[error("{path} is in use by another agent")]
    InUse {
        /// The locked segment.
        path: PathBuf,
    },
    /// A complete line does not fit the chain.
    #[error(
        "{path} is damaged in the line that starts at byte {offset}: {problem}; keep the file as \
         evidence and move it out of the folder to begin a new trail"
    )]
    Damaged {
        /// The segment.
        path: PathBuf,
        /// Where the offending line starts.
        offset: u64,
        /// What is wrong with it.
        problem: &'static str,
    },

    /// The key that signs checkpoints cannot be used.
    #[error("{0}")]
    Key(Arc<CheckpointKeyError>),

    // The machine's.
    /// A system call failed while the trail was opened or read.
    #[error("cannot {step} {path}: {source}")]
    Io {
        /// What was tried, such as "open".
        step: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: Arc<io::Error>,
    },
    /// The record could not be made durable; nothing of it is left in the trail.
    #[error("the audit trail cannot be written: {0}")]
    Unwritable(Arc<io::Error>),
    /// The trail was closed; nothing can be recorded any more.
    #[error("the audit trail is closed")]
    Closed,

    // A bug of ours.
    /// The event's evidence has no canonical form.
    #[error("the event has no canonical form: {0}")]
    NotCanonical(Arc<CanonicalError>),
    /// The event is longer than a line may be.
    #[error("the event's line would have {0} bytes")]
    TooLong(usize),
}

impl AuditError {
    /// For `map_err`.
    pub(super) fn key(error: CheckpointKeyError) -> Self {
        Self::Key(Arc::new(error))
    }

    /// For `map_err`: a failed `step` on `path`.
    pub(super) fn io<E: Into<io::Error>>(
        step: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(E) -> Self {
        move |source| Self::Io {
            step,
            path: path.into(),
            source: Arc::new(source.into()),
        }
    }
}

impl From<CanonicalError> for AuditError {
    fn from(error: CanonicalError) -> Self {
        Self::NotCanonical(Arc::new(error))
    }
}
