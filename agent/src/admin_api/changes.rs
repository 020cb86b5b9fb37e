//! Changes of clients: made, and recorded with who asked for them.
//!
//! Both are done also where the operator does not wait. All events of one act are one
//! record: the trail has all of them or none.

use super::{Operator, calls::AdminApi, convert, lint, status};
use crate::{
    audit::{AuditError, Event, Kind},
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
        let Requested { act, name, .. } = requested;
        let event = Event::new(Kind::Refused).operation(act.kind().as_str());
        let refused = vec![(event, format!("{name}: {undone}"))];
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
        let changed = Ok(applied);
        let recorded = self
            .services
            .trail
            .record_all(self.events(requested, &changed));
        self.outcome(changed, &recorded.await)
    }

    /// Makes the same change of some clients, and records all of it together. At most so many as
    /// fit into one write of the trail.
    pub(super) async fn change_some(
        &self,
        requested: &[Requested],
        change: impl Fn() -> Change,
    ) -> Vec<Result<Arc<Client>, Status>> {
        let made = requested.iter().map(|requested| async {
            match requested.operator.actor() {
                Ok(actor) => self.make(requested, change(), actor).await,
                Err(_bug) => Err(Undone::Unnamed),
            }
        });
        let made = join_all(made).await;
        let events = requested.iter().zip(&made);
        let events = events.flat_map(|(requested, changed)| self.events(requested, changed));
        let recorded = self.services.trail.record_all(events.collect()).await;
        let made = made.into_iter();
        made.map(|changed| self.outcome(changed, &recorded))
            .collect()
    }

    /// What the trail says of a change, or of its refusal.
    fn events(&self, requested: &Requested, changed: &Result<Applied, Undone>) -> Vec<Event> {
        let Requested { act, name, .. } = requested;
        let label = requested.operator.label();
        let events = match changed {
            Ok(applied) => governance::events(*act, applied, &label, requested.reason.as_str()),
            Err(error) => vec![
                Event::new(Kind::Refused)
                    .operation(act.kind().as_str())
                    .operator(&*label)
                    .reason(format!("{name}: {error}")),
            ],
        };
        let changes = &self.services.metrics.changes;
        if changed.is_ok() {
            for event in &events {
                changes.get_or_create(&event.kind().as_str().into()).inc();
            }
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
        changed: Result<Applied, Undone>,
        recorded: &Result<(), AuditError>,
    ) -> Result<Arc<Client>, Status> {
        let applied = changed.map_err(|undone| undone.status())?;
        let (registry, revision) = (&self.services.registry, applied.new.revision());
        match recorded {
            Ok(()) => {
                registry.note_told(revision);
                Ok(applied.new)
            }
            Err(error) => {
                registry.note_untold(revision);
                Err(status::of_unrecorded_change(error))
            }
        }
    }
}

/// Why a change was not made.
#[derive(Debug)]
enum Undone {
    Registry(RegistryError),
    Weak(Weak),
    /// The operator's name cannot be recorded: a bug of ours.
    Unnamed,
}

impl Undone {
    fn status(&self) -> Status {
        match self {
            Self::Registry(error) => status::of_registry(error),
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
}
