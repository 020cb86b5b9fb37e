//! Answers about the audit trail, in parts.

use super::State;
use symbolon_proto::admin::{ExportAuditResponse, QueryAuditResponse, TraceAuditResponse};
use tokio_stream::Iter;
use tonic::{Response, Status};

/// What is said about the trail beside its lines.
#[derive(Debug, Default)]
pub(in crate::cli::tests) struct Trail {
    /// The head of the story that a trace tells.
    pub(in crate::cli::tests) story: String,
    pub(in crate::cli::tests) key: String,
    /// Whether older lines are left out.
    pub(in crate::cli::tests) is_cut: bool,
    /// Whether an answer ends before its end.
    pub(in crate::cli::tests) breaks_off: bool,
}

pub(super) type Parts<T> = Iter<std::vec::IntoIter<Result<T, Status>>>;

/// The parts: one without anything, one for each line, and an end that is one.
fn parts<T: Default>(
    state: &State,
    first: Option<T>,
    of_line: impl Fn(String) -> T,
    last: T,
) -> Response<Parts<T>> {
    let mut parts = vec![Ok(T::default())];
    parts.extend(first.map(Ok));
    parts.extend(state.audit.iter().cloned().map(of_line).map(Ok));
    parts.push(match state.trail.breaks_off {
        true => Err(Status::resource_exhausted("the search was broken off")),
        false => Ok(last),
    });
    Response::new(tokio_stream::iter(parts))
}

pub(super) fn query(state: &State) -> Response<Parts<QueryAuditResponse>> {
    let part = |lines, cut| QueryAuditResponse { lines, cut };
    let last = part(Vec::new(), state.trail.is_cut);
    parts(state, None, |line| part(vec![line], false), last)
}

pub(super) fn export(state: &State) -> Response<Parts<ExportAuditResponse>> {
    let part = |lines| ExportAuditResponse { lines };
    parts(state, None, |line| part(vec![line]), part(Vec::new()))
}

pub(super) fn trace(state: &State) -> Response<Parts<TraceAuditResponse>> {
    let head = TraceAuditResponse {
        story: state.trail.story.clone(),
        ..TraceAuditResponse::default()
    };
    let line = |line| TraceAuditResponse {
        lines: vec![line],
        ..TraceAuditResponse::default()
    };
    let last = TraceAuditResponse {
        cut: state.trail.is_cut,
        ..TraceAuditResponse::default()
    };
    parts(state, Some(head), line, last)
}
