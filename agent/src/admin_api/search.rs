//! Reading the audit trail for auditors: queries, exports, stories, and the key.
//!
//! What is asked for is outside input, and is bounded before anything is read. Each search
//! reads what was durable when it began, on a thread of its own with less priority than the
//! trail's writers, which never wait for it; there are few at a time, and each ends after a
//! while, or when its answer is not read any more (`stream`). What it keeps in memory is
//! bounded: an answer that would need more says that it is cut. That somebody searches stands in the trail
//! (`readings`).

mod stream;

pub(super) use stream::TERMS;

use super::{
    Operator,
    calls::{AdminApi, operator},
    passage::Parts,
    readings::{Asked, Reading},
    status,
};
use crate::audit::{
    CheckpointKey, Filter, Found, Keep, Reader, Search, Subject, Told, query, tell, to_ocsf,
};
use futures_util::StreamExt as _;
use serde_json::Value;
use std::time::SystemTime;
use stream::{Answer, Outbox, Part};
use symbolon_proto::admin::{
    AuditFilter, ExportAuditRequest, ExportAuditResponse, GetAuditKeyResponse, QueryAuditRequest,
    QueryAuditResponse, TraceAuditRequest, TraceAuditResponse,
};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tonic::{Request, Response, Status};

/// Bytes of one condition; the longest, a SPIFFE ID, has at most 2,048.
const MAX_TEXT: usize = 2_048;

/// Lines of which only the newest are asked for.
const MAX_LIMIT: u32 = 100_000;

/// Bytes of lines that a search keeps; some 20,000 lines. A story keeps three times as much, and
/// that some times over as values.
const KEPT_BYTES: usize = 16 << 20;

/// How checks end.
const OUTCOMES: [&str; 3] = ["accepted", "refused", "failed"];

/// What is written for each line.
#[derive(Clone, Copy, Debug)]
enum Form {
    Jsonl,
    Ocsf,
}

impl AdminApi {
    pub(super) async fn query_trail(
        &self,
        request: Request<QueryAuditRequest>,
    ) -> Result<Response<Parts<QueryAuditResponse>>, Status> {
        let operator = operator(&request)?;
        let request = request.into_inner();
        let filter = filter(request.filter)?;
        let keep = keep(request.limit)?;
        let asked = Asked::lines(&filter);
        let asked = match request.limit {
            0 => asked,
            limit => asked.with("limit", limit),
        };
        let (reading, parts) = self
            .search((&operator, "QueryAudit", asked), move |reader, out| {
                lines(&reader, (&filter, keep), Form::Jsonl, out)
            })
            .await?;
        Ok(reading.count(answer(parts, |part| {
            let mut response = QueryAuditResponse::default();
            match part {
                Part::Lines(lines) => response.lines = lines,
                Part::End { is_cut } => response.cut = is_cut,
                Part::Pulse | Part::Story(_) => {}
            }
            response
        })))
    }

    pub(super) async fn export_trail(
        &self,
        request: Request<ExportAuditRequest>,
    ) -> Result<Response<Parts<ExportAuditResponse>>, Status> {
        let operator = operator(&request)?;
        let request = request.into_inner();
        let filter = filter(request.filter)?;
        let form = match request.format.as_str() {
            "jsonl" => Form::Jsonl,
            "ocsf" => Form::Ocsf,
            _ => return Err(Status::invalid_argument("format is one of: jsonl, ocsf")),
        };
        let asked = Asked::lines(&filter).with("format", request.format);
        let (reading, parts) = self
            .search((&operator, "ExportAudit", asked), move |reader, out| {
                lines(&reader, (&filter, None), form, out)
            })
            .await?;
        Ok(reading.count(answer(parts, |part| ExportAuditResponse {
            lines: match part {
                Part::Lines(lines) => lines,
                Part::Pulse | Part::Story(_) | Part::End { .. } => Vec::new(),
            },
        })))
    }

    pub(super) async fn trace_trail(
        &self,
        request: Request<TraceAuditRequest>,
    ) -> Result<Response<Parts<TraceAuditResponse>>, Status> {
        let operator = operator(&request)?;
        let subject = subject(request.into_inner())?;
        let asked = Asked::story(&subject);
        let (reading, parts) = self
            .search((&operator, "TraceAudit", asked), move |reader, out| {
                story(&reader, subject, out)
            })
            .await?;
        Ok(reading.count(answer(parts, |part| {
            let mut response = TraceAuditResponse::default();
            match part {
                Part::Story(story) => response.story = story,
                Part::Lines(lines) => response.lines = lines,
                Part::End { is_cut } => response.cut = is_cut,
                Part::Pulse => {}
            }
            response
        })))
    }

    pub(super) fn audit_key(&self) -> Result<Response<GetAuditKeyResponse>, Status> {
        let key = self.services.trail.checkpoint_key();
        let key = key.ok_or_else(|| Status::not_found("the agent makes no checkpoints"))?;
        let pem = CheckpointKey::pem(&key);
        Ok(Response::new(GetAuditKeyResponse { pem }))
    }

    /// Records that this operator searches for what is asked for, and runs the search on what was
    /// durable before.
    async fn search(
        &self,
        (operator, operation, asked): (&Operator, &'static str, Asked),
        work: impl FnOnce(Reader, &mut Outbox) -> Result<Found, Status> + Send + 'static,
    ) -> Result<(Reading, Answer), Status> {
        let services = &self.services;
        let trail = services.trail.clone();
        let take = || Ok((self.searches.take(operator.uid)?, trail.ends()));
        let (place, ends) = self.readings.admit(operator, take).await?;
        let reading = self.readings.begin(operator, operation, asked).await?;
        let work = move |out: &mut Outbox| {
            let reader = trail.reader_to(ends);
            work(reader.map_err(|error| status::of_tail(&error))?, out)
        };
        let stopped = services.stopped.clone();
        let parts = stream::run(place, &services.supervisor, stopped, work)?;
        Ok((reading, parts))
    }
}

fn answer<T: 'static>(
    parts: Answer,
    to: impl Fn(Part) -> T + Send + 'static,
) -> Response<Parts<T>> {
    Response::new(Box::pin(parts.map(move |part| part.map(&to))))
}

/// Hands on all lines that fit, or the newest of them.
fn lines(
    reader: &Reader,
    (filter, keep): (&Filter, Option<Keep>),
    form: Form,
    out: &mut Outbox,
) -> Result<Found, Status> {
    let is_wanted = out.is_wanted();
    let search = Search {
        filter,
        keep,
        is_wanted: &is_wanted,
    };
    let found = query(reader, search, |line| match form {
        Form::Jsonl => out.line(line.to_owned()),
        // Each line that fits is a record, and so has a form there.
        Form::Ocsf => to_ocsf(line).is_none_or(|event| out.line(event.to_string())),
    });
    found.map_err(|error| status::of_tail(&error))
}

/// Hands on the story, first without its lines.
fn story(reader: &Reader, subject: Subject, out: &mut Outbox) -> Result<Found, Status> {
    let told = tell(reader, subject, KEPT_BYTES, &out.is_wanted());
    let told = told.map_err(|error| status::of_tail(&error))?;
    let Some(Told { mut story, is_cut }) = told else {
        return Err(Status::not_found("the audit trail has nothing about that"));
    };
    let events = std::mem::take(&mut story.events);
    let head = serde_json::to_string(&story)
        .map_err(|_bug| Status::internal("the story cannot be written"))?;
    let told = out.part(Part::Story(head))
        && events
            .iter()
            .map(Value::to_string)
            .all(|line| out.line(line));
    Ok(match (told, is_cut) {
        (false, _) => Found::GivenUp,
        (true, true) => Found::Newest,
        (true, false) => Found::All,
    })
}

/// How many of the newest lines; none for all of them.
fn keep(limit: u32) -> Result<Option<Keep>, Status> {
    if limit > MAX_LIMIT {
        return Err(Status::invalid_argument(format!(
            "the limit is at most {MAX_LIMIT}; without one, all lines come"
        )));
    }
    let lines = usize::try_from(limit).unwrap_or(usize::MAX);
    let bytes = KEPT_BYTES;
    Ok((limit > 0).then_some(Keep { lines, bytes }))
}

fn subject(request: TraceAuditRequest) -> Result<Subject, Status> {
    let subjects = [
        text(request.serial)?.map(|serial| Subject::Serial(serial.to_ascii_lowercase())),
        text(request.jti)?.map(Subject::Jti),
        text(request.client)?.map(Subject::Client),
        match request.pid {
            Some(pid) => Some(Subject::Process(pid, time(&request.at)?)),
            None if request.at.is_empty() => None,
            None => return Err(Status::invalid_argument("`at` is a time of a `pid`")),
        },
    ];
    let mut subjects = subjects.into_iter().flatten();
    match (subjects.next(), subjects.next()) {
        (Some(subject), None) => Ok(subject),
        _ => Err(Status::invalid_argument(
            "name one of: serial, jti, pid, client",
        )),
    }
}

fn filter(message: Option<AuditFilter>) -> Result<Filter, Status> {
    let message = message.unwrap_or_default();
    let lower = |value: String| text(value).map(|text| text.map(|t| t.to_ascii_lowercase()));
    let is_outcome = |outcome: &str| outcome.is_empty() || OUTCOMES.contains(&outcome);
    if !is_outcome(&message.outcome) {
        return Err(Status::invalid_argument(format!(
            "an outcome is one of: {}",
            OUTCOMES.join(", ")
        )));
    }
    if message.pid.is_none() && !message.at.is_empty() {
        return Err(Status::invalid_argument("`at` is a time of a `pid`"));
    }
    Ok(Filter {
        client: text(message.client)?,
        owner: text(message.owner)?,
        spiffe_id: text(message.spiffe_id)?,
        serial: lower(message.serial)?,
        jti: text(message.jti)?,
        key_thumbprint: lower(message.key_thumbprint)?,
        attestation_id: text(message.attestation_id)?,
        pid: message.pid,
        at: time(&message.at)?,
        uid: message.uid,
        event: text(message.event)?,
        outcome: text(message.outcome)?,
        since: time(&message.since)?,
        until: time(&message.until)?,
        related: None,
    })
}

fn text(value: String) -> Result<Option<String>, Status> {
    if value.len() > MAX_TEXT {
        return Err(Status::invalid_argument(format!(
            "a condition has more than {MAX_TEXT} bytes"
        )));
    }
    // No line has them, and the trail repeats what was asked for.
    if value.chars().any(char::is_control) {
        return Err(Status::invalid_argument(
            "a condition has control characters",
        ));
    }
    Ok((!value.is_empty()).then_some(value))
}

/// A time as lines have it.
fn time(value: &str) -> Result<Option<String>, Status> {
    if value.is_empty() {
        return Ok(None);
    }
    let at = OffsetDateTime::parse(value, &Rfc3339)
        .map_err(|_text| Status::invalid_argument("times are RFC 3339: 2026-07-28T12:00:00Z"))?;
    Ok(Some(Filter::time(SystemTime::from(at))))
}

#[cfg(test)]
mod tests;
