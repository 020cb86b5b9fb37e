//! Changes of clients: made, and recorded with who asked for them.
//!
//! Both are done also where the operator does not wait. All events of one act are one
//! record: the trail has all of them or none.

use super::{Operator, calls::AdminApi, convert, lint, status};
use crate::{
    audit::{Event, Kind},
    governance::{self, Act},
    lint::{Judged, Weak},
    registry::{Actor, Applied, Change, Client, ClientName, Reason, RegistryError},
};
use futures_util::future::join_all;
use std::{
    fmt::{self, Display, Formatter},
    str::FromStr as _,
    sync::Arc,
};
use symbolon_proto::admin;
use tokio::sync::oneshot;
use tonic::{Response, Status};

impl AdminApi {
    /// Makes a change and records it, or records that it was refused. Both are
    /// done also where the operator does not wait for them.
    pub(super) async fn change(
        &self,
        requested: Requested,
        change: Change,
    ) -> Result<Response<admin::Client>, Status> {
        let services = &self.services;
        // Taking away must not wait for the disk to have space again.
        let takes_away = matches!(requested.act.kind(), Kind::Suspended | Kind::Revoked);
        let health = services.trail.health().borrow().clone();
        if !takes_away && !health.is_recording() {
            return Err(status::of_refusing_trail(&health));
        }
        let actor = requested.operator.actor()?;
        let findings = lint::findings(&requested.judged.findings);
        let checked = requested.judged.check();
        let (reply, done) = oneshot::channel();
        let this = self.clone();
        services.supervisor.spawn(async move {
            let changed = match checked {
                Ok(()) => this.make(&requested, change, actor).await,
                Err(weak) => Err(Undone::Weak(weak)),
            };
            let recorded = match changed {
                Ok(applied) => this.record_change(&requested, applied).await,
                Err(undone) => Err(this.record_refusal(&requested, &undone).await),
            };
            if reply.send(recorded).is_err() {
                tracing::debug!("the operator did not wait for a change");
            }
        });
        let client = done
            .await
            .map_err(|_panicked| Status::internal("the change was given up"))??;
        let mut client = self.show(&client);
        if !findings.is_empty() {
            client.findings = findings;
        }
        Ok(Response::new(client))
    }

    async fn make(
        &self,
        requested: &Requested,
        change: Change,
        actor: Actor,
    ) -> Result<Applied, Undone> {
        let (name, reason) = (requested.name.clone(), requested.reason.clone());
        let changed = self.services.registry.change(name, change, actor, reason);
        changed.await.map_err(Undone::Registry)
    }

    /// Records why a change was not made, at a pace; what to answer.
    async fn record_refusal(&self, requested: &Requested, undone: &Undone) -> Status {
        let refused = vec![requested.refused(undone)];
        let recorded = requested.operator.refuse(refused, &self.services.trail);
        if let Err(error) = recorded.await {
            tracing::error!(%error, "a refusal could not be recorded");
        }
        undone.status()
    }

    async fn record_change(
        &self,
        requested: &Requested,
        applied: Applied,
    ) -> Result<Arc<Client>, Status> {
        let recorded = self
            .services
            .trail
            .record_all(self.events(requested, &applied));
        let unrecorded = recorded.await.err();
        let unrecorded = unrecorded.map(|error| status::of_unrecorded_change(&error));
        self.outcome(applied, unrecorded.as_ref())
    }

    /// Makes the same change of some clients, and records together what was made. At most so many
    /// as fit into one write of the trail. What was not made, the trail is still to be told, at the pace of
    /// refusals: [`Requested::refused`].
    pub(super) async fn change_some(
        &self,
        requested: &[Requested],
        change: impl Fn() -> Change,
    ) -> Vec<Result<Result<Arc<Client>, Status>, Undone>> {
        let made = requested.iter().map(|requested| async {
            match requested.operator.actor() {
                Ok(actor) => self.make(requested, change(), actor).await,
                Err(_bug) => Err(Undone::Unnamed),
            }
        });
        let made = join_all(made).await;
        let events = requested.iter().zip(&made);
        let events = events.filter_map(|(requested, made)| Some((requested, made.as_ref().ok()?)));
        let events = events.flat_map(|(requested, applied)| self.events(requested, applied));
        let unrecorded = self.services.trail.record_all(events.collect()).await.err();
        let unrecorded = unrecorded.map(|error| status::of_unrecorded_change(&error));
        let outcome = |applied| self.outcome(applied, unrecorded.as_ref());
        made.into_iter().map(|made| made.map(outcome)).collect()
    }

    /// What the trail says of a change.
    fn events(&self, requested: &Requested, applied: &Applied) -> Vec<Event> {
        let label = requested.operator.label();
        let reason = requested.reason.as_str();
        let events = governance::events(requested.act, applied, &label, reason);
        let changes = &self.services.metrics.changes;
        for event in &events {
            changes.get_or_create(&event.kind().as_str().into()).inc();
        }
        // What was approved is its author's, who did it from another process.
        let sign = |event: Event| match event.is_by(&label) {
            true => requested.operator.sign(event),
            false => event,
        };
        events.into_iter().map(sign).collect()
    }

    /// What the operator is told of a change, once it is recorded or could not be.
    fn outcome(
        &self,
        applied: Applied,
        unrecorded: Option<&Status>,
    ) -> Result<Arc<Client>, Status> {
        let (registry, revision) = (&self.services.registry, applied.new.revision());
        match unrecorded {
            None => {
                registry.note_told(revision);
                Ok(applied.new)
            }
            Some(unrecorded) => {
                registry.note_untold(revision);
                Err(unrecorded.clone())
            }
        }
    }
}

/// Why a change was not made.
#[derive(Debug)]
pub(super) enum Undone {
    Registry(RegistryError),
    Weak(Weak),
    /// The operator's name cannot be recorded: a bug of ours.
    Unnamed,
}

impl Undone {
    /// What to answer; where the registry failed, the log has it.
    pub(super) fn status(&self) -> Status {
        if let Self::Registry(error) = self {
            return status::of_registry(error);
        }
        self.unlogged_status()
    }

    /// Whether the registry failed, which the log has to have.
    pub(super) const fn is_failure(&self) -> bool {
        matches!(self, Self::Registry(error) if status::is_failure(error))
    }

    /// What to answer about one of many.
    pub(super) fn unlogged_status(&self) -> Status {
        match self {
            Self::Registry(error) => status::unlogged_of_registry(error),
            Self::Weak(weak) => lint::refusal(weak),
            Self::Unnamed => Status::internal(self.to_string()),
        }
    }
}

impl Display for Undone {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry(error) => Display::fmt(error, f),
            Self::Weak(weak) => Display::fmt(weak, f),
            Self::Unnamed => f.write_str("the operator has no name"),
        }
    }
}

/// A change that an operator asks for.
#[derive(Clone, Debug)]
pub(super) struct Requested {
    operator: Operator,
    act: Act,
    name: ClientName,
    reason: Reason,
    /// What was found about the registration that is asked for.
    pub(super) judged: Judged,
}

impl Requested {
    pub(super) fn new(
        operator: Operator,
        act: Act,
        name: &str,
        reason: &str,
    ) -> Result<Self, Status> {
        let reason = Reason::from_str(reason)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        Ok(Self::of(operator, act, convert::name(name)?, reason))
    }

    pub(super) fn of(operator: Operator, act: Act, name: ClientName, reason: Reason) -> Self {
        Self {
            operator,
            act,
            name,
            reason,
            judged: Judged::default(),
        }
    }

    pub(super) const fn name(&self) -> &ClientName {
        &self.name
    }

    /// What the trail says of a change that was not made, with why.
    pub(super) fn refused(&self, undone: &Undone) -> (Event, String) {
        let event = Event::new(Kind::Refused).operation(self.act.kind().as_str());
        (event, format!("{}: {undone}", self.name))
    }
}
