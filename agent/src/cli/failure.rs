//! What can go wrong, as an exit code, a sentence and a next step.
//!
//! The only place that maps a gRPC status to either. The status message is the
//! agent's own sentence; the advice depends on which socket was asked.

use super::{finding::FindingView, output::printable, socket::Door};
use prost::Message as _;
use std::{
    borrow::Cow,
    fmt::{self, Display, Formatter},
    io,
    process::ExitCode,
};
use symbolon_proto::admin::WeakRegistration;
use tonic::{Code, Status};

/// The exit codes that scripts rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    Failed = 1,
    Usage = 2,
    Denied = 3,
    NotFound = 4,
    Unreachable = 5,
    /// A dry run that found something to do.
    Changes = 6,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command ends early.
#[derive(Debug)]
pub(super) enum Failure {
    /// Whoever read our output has enough (`| head`); nothing is wrong.
    OutputClosed,
    /// Something to say.
    Told { exit: Exit, told: Told },
}

/// A sentence, and what to do next where that is known.
#[derive(Debug)]
pub(super) struct Told {
    sentence: String,
    /// What the sentence sums up, one a line.
    details: Vec<String>,
    advice: Option<Cow<'static, str>>,
}

impl Display for Told {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}", printable(&self.sentence))?;
        for detail in &self.details {
            write!(f, "\n  {}", printable(detail))?;
        }
        match &self.advice {
            Some(advice) => write!(f, "\n  {}", printable(advice)),
            None => Ok(()),
        }
    }
}

impl Failure {
    pub(super) fn new(exit: Exit, sentence: impl Into<String>) -> Self {
        let sentence = sentence.into();
        Self::Told {
            exit,
            told: Told {
                sentence,
                details: Vec::new(),
                advice: None,
            },
        }
    }

    /// The same with a next step.
    pub(super) fn advise(mut self, next: impl Into<Cow<'static, str>>) -> Self {
        if let Self::Told { told, .. } = &mut self {
            told.advice = Some(next.into());
        }
        self
    }

    /// The same, of a step of a command that has several.
    pub(super) fn during(mut self, step: &str) -> Self {
        if let Self::Told { told, .. } = &mut self {
            told.sentence = format!("{step}: {}", told.sentence);
        }
        self
    }

    fn detailed(mut self, details: Vec<String>) -> Self {
        if let Self::Told { told, .. } = &mut self {
            told.details = details;
        }
        self
    }

    /// The same with a next step, where its code is `exit` and it has none.
    pub(super) fn advise_if(self, exit: Exit, next: &'static str) -> Self {
        match &self {
            Self::Told { exit: own, told } if *own == exit && told.advice.is_none() => {
                self.advise(next)
            }
            Self::Told { .. } | Self::OutputClosed => self,
        }
    }

    /// The same with another next step, where findings come with it.
    pub(super) fn advise_on_findings(self, next: &'static str) -> Self {
        match &self {
            Self::Told { told, .. } if !told.details.is_empty() => self.advise(next),
            Self::Told { .. } | Self::OutputClosed => self,
        }
    }

    /// The same with the code `other` where it would be `exit`.
    pub(super) fn exit_instead(mut self, exit: Exit, other: Exit) -> Self {
        match &mut self {
            Self::Told { exit: own, .. } if *own == exit => *own = other,
            Self::Told { .. } | Self::OutputClosed => {}
        }
        self
    }

    /// What the agent answered instead of a result.
    pub(super) fn of_status(status: &Status, door: Door) -> Self {
        let (exit, prefix) = judge(status.code());
        let message = match status.message() {
            "" => status.code().description(),
            message => message,
        };
        let failure = Self::new(exit, format!("{prefix}{message}"));
        if let Some(findings) = weaknesses(status) {
            let lines = findings.iter().map(FindingView::line).collect();
            if findings.iter().any(FindingView::is_forbidden) {
                return failure.detailed(lines).advise(
                    "No reason outweighs these: change what is registered. agent/doc/lint.md \
                     explains each finding.",
                );
            }
            return failure.detailed(lines).advise(
                "Use other selectors, or say with --accept-weak REASON why these will do: it is \
                 recorded. agent/doc/lint.md explains each finding.",
            );
        }
        match advice(status.code(), door) {
            Some(advice) => failure.advise(advice),
            None => failure,
        }
    }
}

/// What makes a registration too weak, where that is what the status says.
fn weaknesses(status: &Status) -> Option<Vec<FindingView>> {
    if status.code() != Code::FailedPrecondition || status.details().is_empty() {
        return None;
    }
    let weak = WeakRegistration::decode(status.details()).ok()?;
    let findings = FindingView::all(weak.findings);
    (!findings.is_empty()).then_some(findings)
}

/// Exit code and the words before the agent's own.
const fn judge(code: Code) -> (Exit, &'static str) {
    match code {
        Code::PermissionDenied | Code::Unauthenticated => (Exit::Denied, "denied: "),
        Code::NotFound => (Exit::NotFound, ""),
        Code::InvalidArgument | Code::OutOfRange => (Exit::Usage, ""),
        Code::Unavailable | Code::DeadlineExceeded => {
            (Exit::Unreachable, "the agent does not serve now: ")
        }
        Code::Unimplemented => (Exit::Failed, "the agent does not know this call: "),
        Code::Internal | Code::Unknown | Code::DataLoss | Code::Cancelled | Code::Ok => {
            (Exit::Failed, "the agent failed: ")
        }
        Code::AlreadyExists
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::ResourceExhausted => (Exit::Failed, ""),
    }
}

/// The next step.
const fn advice(code: Code, door: Door) -> Option<&'static str> {
    Some(match (code, door) {
        (Code::PermissionDenied | Code::Unauthenticated, Door::Workload) => {
            "You were attested as the symbolon program, run by you. `symbolon audit tail` names the \
             reason, `symbolon attest --pid $$` shows what the agent sees of your shell, and \
             `symbolon client register` registers a client."
        }
        (Code::PermissionDenied | Code::Unauthenticated, Door::Admin) => {
            "`symbolon whoami` tells what you may do here, agent/doc/operators.md which role may do \
             what; roles are given by [[operators]] in the agent's configuration."
        }
        (Code::AlreadyExists, _) => {
            "`symbolon client show NAME` shows it, `symbolon client update NAME` changes it."
        }
        (Code::Aborted, _) => {
            "Somebody changed the client meanwhile: look with `symbolon client show NAME`, then \
             repeat the command."
        }
        (Code::Unavailable | Code::ResourceExhausted, _) => {
            "It may be starting, stopping or overloaded: `symbolon health` tells. Try again in a \
             moment."
        }
        (Code::DeadlineExceeded, _) => "Try again, or allow more time with --timeout.",
        (Code::Unimplemented, _) => {
            "Agent and command are of different versions, or the socket is not the one for this \
             command: compare `symbolon version` with `symbolon health --details`."
        }
        (Code::Internal | Code::Unknown | Code::DataLoss, _) => "The agent's log has the details.",
        _ => return None,
    })
}

impl From<io::Error> for Failure {
    /// A standard stream failed.
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::OutputClosed
        } else {
            Self::new(Exit::Failed, format!("cannot write the result: {error}"))
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::new(Exit::Failed, format!("{error:#}"))
    }
}
