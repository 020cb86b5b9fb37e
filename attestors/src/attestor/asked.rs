//! The attestors that are asked only where somebody wants their facts.
//!
//! Each gets the same [`Subject`] and hands in what it found; one that fails or
//! takes too long says so for each of its selectors, and the others count.

use super::Facts;
use crate::{
    code,
    container::{self, Containers},
    digest::Digests,
    findings::Findings,
    host::Host,
    kinds::{Kind, Kinds},
    pin::PinnedPeer,
    process,
    read_pool::ReadPool,
    selector::Selector,
    systemd,
};
use std::{sync::Arc, time::SystemTime};

/// The process that is attested, and what reading more of it takes.
#[derive(Debug)]
pub(crate) struct Subject<'a> {
    pub(crate) host: &'a Arc<Host>,
    pub(crate) peer: &'a Arc<PinnedPeer>,
    pub(crate) facts: &'a Facts,
    pub(crate) digests: &'a Digests,
    pub(crate) pool: &'a ReadPool,
    pub(crate) systemd: &'a systemd::Systemd,
    pub(crate) containers: &'a Containers,
    pub(crate) at: SystemTime,
}

/// Which attestors are to be asked about a process with these selectors, sorted.
pub type Wanted<'a> = dyn Fn(&[Selector]) -> Kinds + Sync + 'a;

/// Asks the attestors that are `wanted`, one after the other, until nothing more is; those that
/// were asked.
pub(super) async fn report(
    subject: &Subject<'_>,
    wanted: &Wanted<'_>,
    findings: &mut Findings,
) -> Kinds {
    let mut asked = Kinds::NONE;
    while let Some(next) = wanted(findings.known()).without(asked).first() {
        match next {
            Kind::Code => code::report(subject, findings).await,
            Kind::Container => container::report(subject, findings).await,
            Kind::Process => process::report(subject, findings).await,
            Kind::Systemd => systemd::report(subject, findings).await,
        }
        asked = asked.with(next);
    }
    asked
}
