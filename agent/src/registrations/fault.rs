//! What is wrong with a folder of registrations, and where.

use crate::registry::{SpecError, TextError};
use std::{fmt, io, sync::Arc};

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file's name in the folder, or the folder itself.
    pub file: Arc<str>,
    /// From 1; 0 where the file as a whole is meant.
    pub line: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.file),
            line => write!(f, "{}:{line}", self.file),
        }
    }
}

/// Something that is wrong.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct Fault {
    /// Where.
    pub place: Place,
    /// What.
    pub problem: Problem,
}

/// What is wrong with a file or a document.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(io::Error),
    /// It was swapped again and again while it was read.
    #[error("changes while it is read")]
    Restless,
    /// Neither a regular file nor the folder's own link.
    #[error("is not a regular file")]
    NotAFile,
    /// Its name says nothing about its form.
    #[error("is none of .yaml, .yml, .json and .toml; what is not meant begins with a dot")]
    UnknownForm,
    /// Its name cannot be an author's.
    #[error("has a name that cannot be recorded: {0}")]
    Name(TextError),
    /// Others than root and the agent's user may change it.
    #[error("can be written by others (mode {0:o}) and is not mounted read-only")]
    WritableByOthers(u32),
    /// It belongs to somebody else.
    #[error("belongs to uid {0}, neither to root nor to the agent's user")]
    Foreign(u32),
    /// It is larger than what is read.
    #[error("has more than {0} bytes")]
    TooLarge(usize),
    /// More of something than is read.
    #[error("more than {limit} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many are allowed.
        limit: usize,
    },
    /// Not UTF-8.
    #[error("is not UTF-8")]
    NotText,
    /// Not the form, an unknown field, a missing one, or a value of another type.
    #[error("{0}")]
    Form(String),
    /// A name or reason that breaks its rule.
    #[error(transparent)]
    Text(#[from] TextError),
    /// A registration that breaks a rule.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// Two documents are about the same thing.
    #[error("{what} is in {first} already")]
    Twice {
        /// A client's name or a SPIFFE ID.
        what: String,
        /// Where it stands first.
        first: Place,
    },
}
