//! What operators read of the trail, and take out of the registry, stands in the trail.
//!
//! An event tells who reads, with which roles, and what was asked for, before the first line
//! leaves; another one, at the end, how much was given. Lines that follow are not told one by one:
//! an end of the trail that is followed shows its own reading once.
//!
//! The readings of one user have a pace, so that a reader in a loop fills nothing: some at once,
//! and beyond that he waits, or is refused. While the trail cannot be written, operators have to be
//! able to look why: some readings are let through then, stand in the log at once, and in the trail
//! as soon as it can be written.

mod asked;
mod late;
mod pace;
#[cfg(test)]
mod tests;

pub(super) use asked::Asked;

use super::{Operator, passage::Parts, status};
use crate::{
    audit::{AuditError, Event, Kind, Outcome, Trail},
    backup::moment,
    clock::SharedClock,
    supervisor::Supervisor,
};
use futures_util::{StreamExt as _, stream};
use late::Late;
use pace::Pace;
use serde::Serialize;
use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use symbolon_proto::admin::{
    BackupResponse, ExportAuditResponse, QueryAuditResponse, TailAuditResponse, TraceAuditResponse,
};
use tonic::{Response, Status};

/// Everybody's readings.
#[derive(Clone, Debug)]
pub(super) struct Readings(Arc<State>);

struct State {
    trail: Trail,
    clock: SharedClock,
    supervisor: Supervisor,
    pace: Pace,
    late: Late,
    begun: AtomicU64,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readings").finish_non_exhaustive()
    }
}

/// One that stands in the trail; where it is dropped, it tells that it was not given to its end.
#[derive(Debug)]
pub(super) struct Reading {
    readings: Readings,
    operator: Operator,
    operation: &'static str,
    number: u64,
    given: Given,
    /// Whether it goes on until its caller leaves.
    is_endless: bool,
    is_open: bool,
}

/// How much was given.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Given {
    lines: u64,
    bytes: u64,
}

/// What the trail tells of a reading that begins. Fields stand in the order of their names.
#[derive(Serialize)]
struct Begun<'a> {
    asked: &'a BTreeMap<&'static str, serde_json::Value>,
    /// When, where it could not be recorded then.
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<String>,
    reading: u64,
    roles: Vec<String>,
}

/// What it tells of its end.
#[derive(Serialize)]
struct Ended {
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<String>,
    bytes: u64,
    lines: u64,
    reading: u64,
}

/// The roles of an operator, as the trail has them.
pub(super) fn roles(operator: &Operator) -> Vec<String> {
    operator.roles.iter().map(|role| role.to_string()).collect()
}

impl Readings {
    pub(super) fn new(trail: Trail, clock: SharedClock, supervisor: Supervisor) -> Self {
        Self(Arc::new(State {
            late: Late::new(trail.clone(), supervisor.clone()),
            trail,
            clock,
            supervisor,
            pace: Pace::default(),
            begun: AtomicU64::new(0),
        }))
    }

    /// Waits until this user may read again, and then takes a place for it.
    ///
    /// # Errors
    /// Where he would wait for too long, or there is no place.
    pub(super) async fn admit<T>(
        &self,
        operator: &Operator,
        take: impl FnOnce() -> Result<T, Status>,
    ) -> Result<T, Status> {
        self.0.pace.turn(operator.uid).await?;
        take()
    }

    /// Records that this operator reads what is asked for. Nothing may be given before.
    ///
    /// # Errors
    /// Where it cannot be recorded, nor kept until it can.
    pub(super) async fn begin(
        &self,
        operator: &Operator,
        operation: &'static str,
        asked: Asked,
    ) -> Result<Reading, Status> {
        let mut reading = self.numbered(operator, operation);
        reading.is_endless = asked.is_endless();
        // Also where its caller leaves while that is recorded.
        reading.is_open = true;
        let (number, roles) = (reading.number, roles(operator));
        let event = |at| {
            let begun = Begun {
                asked: &asked.0,
                at,
                reading: number,
                roles: roles.clone(),
            };
            let event = Event::new(Kind::Read).operation(operation);
            Ok(operator.sign(event.evidence(&begun)?))
        };
        let recorded = match self.0.record(event).await {
            Err(AuditError::Unwritable(_)) if self.0.late.has_room() => {
                tracing::warn!(
                    operator = &*operator.name,
                    operation,
                    asked = ?asked,
                    "the trail is read and cannot be written; it is recorded as soon as it can"
                );
                self.0.defer(event)
            }
            recorded => recorded,
        };
        reading.is_open = recorded.is_ok();
        recorded.map_err(|error| status::of_unrecorded_reading(&error))?;
        Ok(reading)
    }

    /// A reading whose beginning has an event of its own.
    pub(super) fn numbered(&self, operator: &Operator, operation: &'static str) -> Reading {
        Reading {
            readings: self.clone(),
            operator: operator.clone(),
            operation,
            number: self.0.begun.fetch_add(1, Ordering::Relaxed) + 1,
            given: Given::default(),
            is_endless: false,
            is_open: false,
        }
    }
}

impl State {
    async fn record(
        &self,
        event: impl Fn(Option<String>) -> Result<Event, AuditError>,
    ) -> Result<(), AuditError> {
        self.trail.record(event(None)?).await
    }

    /// Has it recorded as soon as that can be done.
    fn defer(
        &self,
        event: impl Fn(Option<String>) -> Result<Event, AuditError>,
    ) -> Result<(), AuditError> {
        let event = event(Some(moment(self.clock.now())))?;
        self.late.add(event);
        Ok(())
    }
}

impl Reading {
    /// Its number, which its end has as well: of so many since the agent began to serve.
    pub(super) const fn number(&self) -> u64 {
        self.number
    }

    /// Its beginning is recorded.
    pub(super) const fn has_begun(&mut self) {
        self.is_open = true;
    }

    /// The answer, whose end is recorded with what was given.
    pub(super) fn count<T: Weigh>(self, answer: Response<Parts<T>>) -> Response<Parts<T>> {
        answer.map(|parts| {
            let counted = stream::unfold(Some((parts, self)), |open| async {
                let (mut parts, mut reading) = open?;
                match parts.next().await {
                    Some(Ok(part)) => {
                        part.add_to(&mut reading.given);
                        Some((Ok(part), Some((parts, reading))))
                    }
                    Some(Err(status)) => {
                        reading.end(Outcome::Failed, status.message()).await;
                        Some((Err(status), None))
                    }
                    None => {
                        reading.end(Outcome::Accepted, "given to its end").await;
                        None
                    }
                }
            });
            let counted: Parts<T> = Box::pin(counted);
            counted
        })
    }

    /// Waits until its end is recorded, so that whoever has the answer finds it there.
    async fn end(&mut self, outcome: Outcome, why: &str) {
        let state = Arc::clone(&self.readings.0);
        self.is_open = false;
        let event = |at| self.ended(outcome, why, at);
        let recorded = match state.record(event).await {
            Err(AuditError::Unwritable(_)) => state.defer(event),
            recorded => recorded,
        };
        if let Err(error) = recorded {
            tracing::error!(%error, "the end of a reading could not be recorded");
        }
    }

    fn ended(&self, outcome: Outcome, why: &str, at: Option<String>) -> Result<Event, AuditError> {
        let ended = Ended {
            at,
            bytes: self.given.bytes,
            lines: self.given.lines,
            reading: self.number,
        };
        let event = Event::new(Kind::Read).operation(self.operation);
        let event = event.outcome(outcome).reason(why).evidence(&ended)?;
        Ok(self.operator.sign(event))
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        if !self.is_open {
            return;
        }
        let (outcome, why) = match self.is_endless {
            true => (Outcome::Accepted, "its reader left"),
            false => (Outcome::Failed, "not given to its end"),
        };
        let state = Arc::clone(&self.readings.0);
        let recorded = if state.trail.health().borrow().is_recording() {
            // At once: the agent may be stopping.
            self.ended(outcome, why, None).map(|event| {
                if let Err(event) = state.trail.offer(event) {
                    let trail = state.trail.clone();
                    state.supervisor.spawn(async move {
                        if let Err(error) = trail.record(*event).await {
                            tracing::error!(%error, "the end of a reading could not be recorded");
                        }
                    });
                }
            })
        } else {
            state.defer(|at| self.ended(outcome, why, at))
        };
        if let Err(error) = recorded {
            tracing::error!(%error, "the end of a reading could not be recorded");
        }
    }
}

/// A part of an answer.
pub(super) trait Weigh: Send + 'static {
    /// Adds what it gives.
    fn add_to(&self, given: &mut Given);
}

impl Given {
    fn add(&mut self, lines: &[String]) {
        for line in lines {
            self.lines = self.lines.saturating_add(1);
            self.add_bytes(line.len());
        }
    }

    fn add_bytes(&mut self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

impl Weigh for QueryAuditResponse {
    fn add_to(&self, given: &mut Given) {
        given.add(&self.lines);
    }
}

impl Weigh for ExportAuditResponse {
    fn add_to(&self, given: &mut Given) {
        given.add(&self.lines);
    }
}

impl Weigh for TraceAuditResponse {
    fn add_to(&self, given: &mut Given) {
        given.add_bytes(self.story.len());
        given.add(&self.lines);
    }
}

impl Weigh for TailAuditResponse {
    fn add_to(&self, given: &mut Given) {
        given.add(std::slice::from_ref(&self.line));
    }
}

impl Weigh for BackupResponse {
    fn add_to(&self, given: &mut Given) {
        given.add_bytes(self.data.len());
    }
}
