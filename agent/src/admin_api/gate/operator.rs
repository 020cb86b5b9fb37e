//! Who was let through, and what stands in the trail of that.

use super::refusals::{REFUSED_PAUSE, Refusals};
use crate::{
    audit::{self, Event, Trail},
    operators::Roles,
    registry::Actor,
};
use std::{str::FromStr as _, sync::Arc};
use tokio::time::sleep;
use tonic::Status;

/// Who calls a method that it may call. Made by [`Visitor::authorize`](super::Visitor::authorize) alone.
#[derive(Clone, Debug)]
pub struct Operator {
    /// The user, as the kernel says.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The process.
    pub pid: u32,
    /// How the operator is called.
    pub name: Arc<str>,
    /// What the operator may be.
    pub roles: Roles,
    /// Who logged in to become that, where the kernel knows.
    pub login: Option<u32>,
    /// On what evidence, where it is a program.
    pub attestation_id: Option<Arc<str>>,
    /// The line in which this user's refusals stand.
    pub(super) refusals: Arc<Refusals>,
}

impl Operator {
    /// How audit trail and listings call this operator.
    #[must_use]
    pub fn label(&self) -> String {
        self.name.to_string()
    }

    /// Who it is for the registry, which tells people apart.
    ///
    /// # Errors
    /// Where the name cannot be recorded.
    pub(in crate::admin_api) fn actor(&self) -> Result<Actor, Status> {
        let actor = Actor::from_str(&self.name);
        let actor = actor.map_err(|_bug| Status::internal("the operator has no name"))?;
        Ok(actor.with_login(self.login).with_uid(Some(self.uid)))
    }

    pub(super) const fn process(&self) -> audit::Process {
        audit::Process {
            gid: self.gid,
            pid: self.pid,
            uid: self.uid,
        }
    }

    /// The event with the operator in it.
    pub(in crate::admin_api) fn sign(&self, event: Event) -> Event {
        let event = event
            .operator(self.label())
            .login(self.login)
            .process(self.process());
        match &self.attestation_id {
            Some(id) => event.attestation(&**id),
            None => event,
        }
    }

    /// Records in the trail that something that it asked for was refused, with why: some time after
    /// the one before, so that asking again and again fills nothing.
    ///
    /// # Errors
    /// Where it cannot be recorded.
    pub(in crate::admin_api) async fn refuse(
        &self,
        refused: Vec<(Event, String)>,
        trail: &Trail,
    ) -> Result<(), audit::AuditError> {
        let signed = refused
            .into_iter()
            .map(|(event, why)| (self.sign(event), why));
        match self.refusals.queue() {
            Some(place) => place.record(signed.collect(), trail).await,
            None => {
                sleep(REFUSED_PAUSE).await;
                Ok(())
            }
        }
    }

    /// The test's own user, with every role.
    #[cfg(test)]
    pub(in crate::admin_api) fn of_test() -> Self {
        let uid = rustix::process::geteuid().as_raw();
        Self {
            uid,
            gid: rustix::process::getegid().as_raw(),
            pid: std::process::id(),
            name: format!("uid:{uid}").into(),
            roles: Roles::ALL,
            login: None,
            attestation_id: None,
            refusals: Arc::default(),
        }
    }
}
