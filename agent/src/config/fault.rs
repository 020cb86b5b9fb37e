//! What is wrong with a configuration, where, and what to write instead.

use super::units::format_duration;
use std::{fmt, io, net::SocketAddr, path::PathBuf, time::Duration};

/// Every fault of a configuration.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct Faults(Vec<Fault>);

impl Faults {
    pub(super) const fn new(faults: Vec<Fault>) -> Self {
        Self(faults)
    }

    /// The faults, in the order of the file where they stand in it.
    pub fn iter(&self) -> impl Iterator<Item = &Fault> {
        self.0.iter()
    }
}

/// One fault.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct Fault {
    /// Where it stands.
    pub place: Place,
    /// What is wrong, and what to write instead.
    pub problem: Problem,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A file as a whole.
    File(PathBuf),
    /// A line of a file, from 1.
    Line(PathBuf, usize),
    /// An environment variable.
    Variable(String),
    /// A command-line flag.
    Flag(&'static str),
    /// Nowhere: the default was taken.
    Default,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Line(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Variable(name) => f.write_str(name),
            Self::Flag(name) => f.write_str(name),
            Self::Default => f.write_str("configuration"),
        }
    }
}

/// What is wrong. The operator's fault throughout, but for [`Problem::Unreadable`].
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(#[source] io::Error),
    /// Something else than a regular file.
    #[error("not a regular file")]
    NotAFile,
    /// Others could change it.
    #[error("anybody may write to this file; take that away with `chmod o-w`")]
    WritableByOthers,
    /// Larger than any configuration.
    #[error("larger than {0} bytes")]
    TooLarge(u64),
    /// Bytes that are no text.
    #[error("not UTF-8 text")]
    NotText,
    /// Not TOML.
    #[error("not TOML: {0}")]
    Syntax(String),
    /// A key that does not exist.
    #[error("no key is named `{name}`{}", instead(nearest.as_deref()))]
    UnknownKey {
        /// The name that stands there.
        name: String,
        /// What it was probably meant to be.
        nearest: Option<String>,
    },
    /// A table that does not exist.
    #[error(
        "no table is named `[{name}]`{}",
        instead(nearest.as_ref().map(|nearest| format!("[{nearest}]")).as_deref())
    )]
    UnknownTable {
        /// The name that stands there.
        name: String,
        /// What it was probably meant to be.
        nearest: Option<String>,
    },
    /// A `SYMBOLON_*` variable that no key has.
    #[error("no key has this variable{}", instead(nearest.as_deref()))]
    UnknownVariable {
        /// The one that was probably meant.
        nearest: Option<String>,
    },
    /// A value where a table belongs.
    #[error("`{name}` is a table; write `[{name}]` and its keys below")]
    NotATable {
        /// The table's name.
        name: String,
    },
    /// A value that the key does not take.
    #[error("`{key}` cannot be {found}; write {expected}")]
    Value {
        /// The key.
        key: String,
        /// What stands there.
        found: String,
        /// What may.
        expected: String,
    },
    /// A value outside the key's range.
    #[error("`{key}` cannot be {found}; write a value from {least} to {most}")]
    OutOfRange {
        /// The key.
        key: String,
        /// What stands there.
        found: String,
        /// The smallest value.
        least: String,
        /// The largest value.
        most: String,
    },
    /// A key without a default.
    #[error("`{key}` is missing and has no default; write `{key} = {example}`, or set {variable}")]
    Missing {
        /// The key.
        key: String,
        /// What could be written.
        example: String,
        /// Its environment variable.
        variable: String,
    },
    /// An empty text.
    #[error("`{key}` is empty; give it a value or leave the line out")]
    Empty {
        /// The key.
        key: String,
    },
    /// Two values that do not go together.
    #[error("`{key}` is {found}, which is {relation} `{other}` ({bound}); change one of them")]
    Conflict {
        /// The key.
        key: String,
        /// Its value.
        found: String,
        /// How it stands to the other.
        relation: &'static str,
        /// The other key.
        other: String,
        /// The other value.
        bound: String,
    },
    /// One of two keys that only work together.
    #[error("`{key}` needs `{other}` beside it; write both or none")]
    Half {
        /// The key that is there.
        key: String,
        /// The key that is not.
        other: String,
    },
    /// An authority that would end before its successor may sign.
    #[error(
        "`{key}` is {}, too short to rotate in time: half of it has to be longer than two \
         `authority.refresh_hint` and one `authority.jwks_cache`; write more than {}",
        format_duration(*ttl), format_duration(*least)
    )]
    NoRoomForRotation {
        /// The key.
        key: String,
        /// Its value.
        ttl: Duration,
        /// It has to be longer than this.
        least: Duration,
    },
    /// A client's key that could end before its successor signs.
    #[error(
        "`credentials_api.client_key_ttl` is {}, too short to rotate in time: the next key is made \
         at half of it and published for `credentials_api.client_key_lead` before it signs; write \
         four of those and a second, {}, or more",
        format_duration(*ttl), format_duration(*least)
    )]
    NoRoomForClientKeys {
        /// Its value.
        ttl: Duration,
        /// It has to be this long.
        least: Duration,
    },
    /// An address that other machines can reach.
    #[error(
        "`telemetry.address` is {address}, which is not a loopback address; write \
         \"127.0.0.1:{}\"", address.port()
    )]
    NotLoopback {
        /// The address.
        address: SocketAddr,
    },
    /// A path that no Unix socket can have.
    #[error("`{key}` has {length} bytes; a socket's path has {most} at most")]
    SocketPathTooLong {
        /// The key.
        key: String,
        /// Its length.
        length: usize,
        /// The most there can be.
        most: usize,
    },
    /// A place that others can see although they must not.
    #[error(
        "`{key}` is {}, in the directory of `workload_api.socket` ({}), which containers mount; \
         choose another directory",
        path.display(), shared.display()
    )]
    SharedDirectory {
        /// The key.
        key: String,
        /// Its value.
        path: PathBuf,
        /// The workload socket's directory.
        shared: PathBuf,
    },
    /// Something else where tables belong.
    #[error("`{key}` cannot be {found}; write `[[{key}]]` tables into the configuration file")]
    NotTables {
        /// The key.
        key: String,
        /// What stands there.
        found: String,
    },
    /// More operators than are looked at.
    #[error("there are more than {most} operators; name a group instead of its members")]
    TooManyOperators {
        /// The most there can be.
        most: usize,
    },
    /// An operator without a field that all have.
    #[error("an operator has no `{field}`; write `{field} = {example}`")]
    OperatorLacks {
        /// The field.
        field: &'static str,
        /// What could be written.
        example: &'static str,
    },
    /// An operator whom nothing or too much tells from others.
    #[error("an operator has exactly one of `uid`, `user`, `group` and `selectors`")]
    OperatorUnrecognisable,
    /// Two operators where only one can be.
    #[error("another operator has {what} already")]
    Twice {
        /// What both have.
        what: String,
    },
    /// Selectors that no program can have.
    #[error("`selectors` cannot be this: {why}")]
    BadSelectors {
        /// Why.
        why: String,
    },
    /// More approvals than there are approvers.
    #[error(
        "`registry.approvals_required` is {asked}, and fewer `[[operators]]` have the role approver, \
         not counting an author for his own versions; give it to more of them"
    )]
    TooFewApprovers {
        /// The number asked for.
        asked: u32,
    },
}

fn instead(nearest: Option<&str>) -> String {
    nearest.map_or_else(
        || "; take it out".to_owned(),
        |nearest| format!("; write `{nearest}`"),
    )
}
