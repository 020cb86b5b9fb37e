//! What verification found.

use serde::Serialize;

/// Findings that are told one by one.
const MAX_FINDINGS: usize = 100;

/// What was done to the trail, as far as it shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Problem {
    /// A line is not the one that was written.
    Changed,
    /// Lines are missing.
    Deleted,
    /// A line was put in.
    Inserted,
    /// A line stands in another place than its own.
    Reordered,
    /// The end of a chain is missing.
    Cut,
    /// An older copy of everything was put back.
    OlderCopy,
    /// A chain was written anew, so that it fits itself but not what was signed.
    Rewritten,
    /// A checkpoint is missing, or not what was signed.
    Checkpoint,
    /// A segment cannot be read.
    Unreadable,
}

impl Problem {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::Deleted => "deleted",
            Self::Inserted => "inserted",
            Self::Reordered => "reordered",
            Self::Cut => "cut",
            Self::OlderCopy => "older_copy",
            Self::Rewritten => "rewritten",
            Self::Checkpoint => "checkpoint",
            Self::Unreadable => "unreadable",
        }
    }
}

/// Where something is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    /// The segment's name, or the path of a file of checkpoints.
    pub file: String,
    /// The number of the line in it, from 1.
    pub line: u64,
    /// The number that the line gives itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
}

/// Something that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it is.
    pub problem: Problem,
    /// In which chain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chain: Option<&'static str>,
    /// Where.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// In a sentence.
    pub what: String,
}

/// Findings up to a number, and how many there are.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) findings: Vec<Finding>,
    pub(super) left_out: u64,
}

impl Report {
    pub(super) fn add(&mut self, finding: Finding) {
        if self.findings.len() < MAX_FINDINGS {
            self.findings.push(finding);
        } else {
            self.left_out += 1;
        }
    }
}
