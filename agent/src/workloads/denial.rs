//! Why a caller got nothing. The detail is for log and audit trail; endpoints
//! answer with a fixed sentence.

use super::Unproven;
use crate::issuance::IssueError;
use symbolon_attestors::AttestError;

/// Why a caller got nothing.
#[derive(Debug, thiserror::Error)]
pub enum Denial {
    // The caller's.
    /// No active registration fits the process.
    #[error("no active registration fits")]
    NoIdentity,
    /// No fitting registration lists the requested audiences.
    #[error("no fitting registration lists the audiences")]
    Audience,
    /// No fitting registration lists the authorization server, or is known there.
    #[error("no fitting registration lists the authorization server")]
    AuthorizationServer,
    /// The process executed another program since it connected.
    #[error("the process changed")]
    ProcessChanged,
    /// What has to be proved of the connection is not.
    #[error("not proved: {0}")]
    Unproven(Unproven),
    // Nobody's: it can be tried again.
    /// The process could not be attested.
    #[error("not attested: {0}")]
    Unattested(#[from] AttestError),
    /// The registry kept changing while the answer was made.
    #[error("the registry is changing")]
    Changing,
    /// The agent stops.
    #[error("the agent is stopping")]
    Stopping,
    // The agent's.
    /// Nothing could be issued.
    #[error("not issued: {0}")]
    Issue(#[from] IssueError),
}
