//! The `container` attestor: which container, image and pod a process is in.
//!
//! The paths of a process's cgroups say which containers it may be in
//! ([`candidates`]); the runtimes on the host are asked about those, and what
//! one says counts only once it is confirmed for this very process
//! ([`confirm`]). A process whose cgroup names no container has none of these
//! selectors; where none could be confirmed all of them are unknown, with what
//! each runtime said.
//!
//! Runtimes are local daemons that can hang: each question has a deadline, and
//! each runtime a number of questions at a time and for each user a share of
//! them, so that one that does not answer holds up neither the others nor
//! callers outside of its containers.
//! Environment values are in what runtimes answer, and are never parsed.
//! `doc/container.md` says what each selector is good for and how it can be
//! abused.

use crate::{
    attestor::Subject,
    findings::{Findings, Reason},
    parse::container::{Candidate, Family, candidates},
    turns::Payer,
};
use confirm::confirm;
use cri::Cri;
use engine::Engine;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use report::Confirmed;
use runtime::{AskError, Client, Runtime};
use std::{fmt::Write as _, time::Duration};
use tokio::time::{Instant, timeout_at};

mod confirm;
mod cri;
mod engine;
mod report;
mod runtime;
mod socket;
#[cfg(test)]
mod tests;

pub use socket::{RuntimeSocket, RuntimeSockets};

const DOCKER_SOCKETS: [&str; 1] = ["/run/docker.sock"];
const PODMAN_SOCKETS: [&str; 1] = ["/run/podman/podman.sock"];
const CRI_SOCKETS: [&str; 2] = ["/run/containerd/containerd.sock", "/run/crio/crio.sock"];

const KEYS: [&str; 7] = [
    "container:id",
    "container:image_digest",
    "container:image_id",
    "container:label",
    "container:name",
    "container:path",
    "container:runtime",
];

const POD_KEYS: [&str; 6] = [
    "k8s:container-image",
    "k8s:container-name",
    "k8s:ns",
    "k8s:pod-label",
    "k8s:pod-name",
    "k8s:pod-uid",
];

/// The runtimes of the host.
#[derive(Debug)]
pub(crate) struct Containers {
    runtimes: Vec<(Family, Runtime)>,
    deadline: Duration,
}

/// Why a runtime confirmed nothing.
enum Refusal {
    /// There is no such runtime.
    Absent,
    /// It has no such container.
    Unknown,
    /// It cannot be asked, or what it says does not hold.
    Because(Reason),
}

impl Containers {
    /// Reaches the runtimes at `sockets`; all questions about one process take at most `deadline`.
    pub(crate) fn new(sockets: &RuntimeSockets, deadline: Duration) -> Self {
        let engine = || Client::Engine(Engine::default());
        let cri = || Client::Cri(Cri::default());
        let mut runtimes = Vec::new();
        for socket in sockets.docker.sockets(&DOCKER_SOCKETS) {
            runtimes.push((Family::Docker, Runtime::new(socket, engine())));
        }
        for socket in sockets.podman.sockets(&PODMAN_SOCKETS) {
            runtimes.push((Family::Podman, Runtime::new(socket, engine())));
        }
        for socket in sockets.cri.sockets(&CRI_SOCKETS) {
            runtimes.push((Family::Cri, Runtime::new(socket, cri())));
        }
        Self { runtimes, deadline }
    }

    /// The container of the subject: first the runtimes that its cgroup's name hints at are asked,
    /// then all others at the same time.
    async fn find(
        &self,
        subject: &Subject<'_>,
        candidates: &[Candidate],
    ) -> Result<Confirmed, Reason> {
        let until = Instant::now() + self.deadline;
        let hint = candidates.iter().find_map(Candidate::family);
        let mut refusals = String::new();
        for hinted in [true, false] {
            let mut asked: FuturesUnordered<_> = self
                .runtimes
                .iter()
                .filter(|(family, _)| (Some(*family) == hint) == hinted)
                .map(|(_, runtime)| self.ask(runtime, subject, candidates, until))
                .collect();
            while let Some((runtime, answer)) = asked.next().await {
                let reason = match answer {
                    Ok(confirmed) => return Ok(*confirmed),
                    Err(Refusal::Absent) => continue,
                    Err(Refusal::Unknown) => "it has no such container".into(),
                    Err(Refusal::Because(reason)) => reason,
                };
                // Writing to a string does not fail.
                let _ok = write!(refusals, "; {}: {reason}", runtime.socket.path.display());
            }
        }
        if refusals.is_empty() {
            refusals.push_str("; no container runtime is reached: none is at its usual place");
        }
        let Candidate { id, .. } = candidates.first().ok_or("its cgroup names no container")?;
        Err(format!("container {id}, as its cgroup has it, is not confirmed{refusals}").into())
    }

    async fn ask<'a>(
        &self,
        runtime: &'a Runtime,
        subject: &Subject<'_>,
        candidates: &[Candidate],
        until: Instant,
    ) -> (&'a Runtime, Result<Box<Confirmed>, Refusal>) {
        if runtime.socket.optional && !runtime.socket.path.exists() {
            return (runtime, Err(Refusal::Absent));
        }
        let payer = Payer::of(subject);
        let turn = timeout_at(until, runtime.turns.take(payer)).await;
        let Ok(Ok(_turn)) = turn else {
            let reason = "too many questions are under way";
            return (runtime, Err(Refusal::Because(reason.into())));
        };
        let questions = timeout_at(until, Box::pin(question(runtime, subject, candidates)));
        let answer = questions.await.unwrap_or_else(|_elapsed| {
            let reason = format!("no answer within {:?}", self.deadline);
            Err(Refusal::Because(reason.into()))
        });
        (runtime, answer)
    }
}

/// Asks one runtime about one candidate after the other.
async fn question(
    runtime: &Runtime,
    subject: &Subject<'_>,
    candidates: &[Candidate],
) -> Result<Box<Confirmed>, Refusal> {
    let mut refusal = Refusal::Unknown;
    for candidate in candidates {
        let claim = match runtime.inspect(subject.host, &candidate.id).await {
            Ok(claim) => claim,
            Err(AskError::NoSuchContainer) => continue,
            Err(AskError::Failed(reason)) => return Err(Refusal::Because(reason)),
        };
        match confirm(subject, candidate, &claim) {
            Ok(init) => {
                let description = runtime.describe(subject.host, &claim).await;
                return Ok(Box::new(Confirmed {
                    claim,
                    description,
                    init,
                }));
            }
            Err(reason) => refusal = Refusal::Because(reason),
        }
    }
    Err(refusal)
}

/// Reports the selectors of the subject's container and pod.
pub(crate) async fn report(subject: &Subject<'_>, findings: &mut Findings) {
    let candidates = match &subject.facts.cgroups {
        Ok(cgroups) => candidates(cgroups),
        Err(reason) => return report::lack(reason, findings),
    };
    if candidates.is_empty() {
        return;
    }
    match subject.containers.find(subject, &candidates).await {
        Ok(confirmed) => confirmed.report(subject, findings),
        Err(reason) => report::lack(&reason, findings),
    }
}
