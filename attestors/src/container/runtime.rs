//! What runtimes say of containers, in one form for all of them.

use super::{cri::Cri, engine::Engine, socket::Socket};
use crate::{
    evidence::PodEvidence,
    findings::{Fact, Reason},
    host::Host,
    parse::runtime,
    turns::FairTurns,
};
use std::{collections::BTreeMap, sync::Arc};
use time::OffsetDateTime;

/// Largest answer that is read. An inspected container takes some 10 KB; its labels, mounts and
/// environment are its maker's to choose.
pub(super) const MAX_ANSWER_BYTES: usize = 8 << 20;

/// Questions to one runtime at a time; further ones wait until their deadline.
const MAX_QUESTIONS: usize = 16;

/// Those of one user.
const QUESTIONS_PER_USER: usize = 4;

/// Why a runtime gave no answer.
#[derive(Debug)]
pub(super) enum AskError {
    /// It has no such container.
    NoSuchContainer,
    /// It is not there, does not answer, or makes no sense.
    Failed(Reason),
}

impl<T: Into<Reason>> From<T> for AskError {
    fn from(reason: T) -> Self {
        Self::Failed(reason.into())
    }
}

/// What a runtime claims: to be confirmed before anything of it counts.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) id: String,
    /// The first process, as the runtime numbers it.
    pub(super) init: u32,
    pub(super) started: OffsetDateTime,
    /// `docker`, `podman`, `containerd` or `cri-o`.
    pub(super) runtime: &'static str,
    pub(super) name: String,
    pub(super) labels: BTreeMap<String, String>,
    /// What the runtime calls the image when it is asked about it.
    pub(super) image: String,
    pub(super) pod: Option<PodClaim>,
}

/// What only a CRI runtime has.
#[derive(Debug)]
pub(super) struct PodClaim {
    pub(super) sandbox: Fact<String>,
    /// Names of the image: as it was asked for, and by digest.
    pub(super) images: Vec<String>,
}

/// The rest of what a runtime knows of a container.
#[derive(Debug)]
pub(super) struct Description {
    pub(super) image_id: Fact<String>,
    pub(super) image_digests: Fact<Vec<String>>,
    /// The pod, and its labels.
    pub(super) pod: Option<Fact<(PodEvidence, BTreeMap<String, String>)>>,
}

/// One runtime.
#[derive(Debug)]
pub(super) struct Runtime {
    pub(super) socket: Socket,
    pub(super) turns: FairTurns,
    pub(super) client: Client,
}

#[derive(Debug)]
pub(super) enum Client {
    Engine(Engine),
    Cri(Cri),
}

impl Runtime {
    pub(super) fn new(socket: Socket, client: Client) -> Self {
        Self {
            socket,
            turns: FairTurns::new(MAX_QUESTIONS, QUESTIONS_PER_USER),
            client,
        }
    }

    /// Asks for the container with exactly this ID.
    pub(super) async fn inspect(&self, host: &Arc<Host>, id: &str) -> Result<Claim, AskError> {
        let claim = match &self.client {
            Client::Engine(engine) => engine.inspect(&self.socket, host, id).await?,
            Client::Cri(cri) => cri.inspect(&self.socket, host, id).await?,
        };
        // They also answer to names and to the beginnings of IDs.
        if claim.id != id {
            return Err(AskError::NoSuchContainer);
        }
        Ok(claim)
    }

    /// Asks for what else there is to know of a confirmed container.
    pub(super) async fn describe(&self, host: &Arc<Host>, claim: &Claim) -> Description {
        match &self.client {
            Client::Engine(engine) => engine.describe(&self.socket, host, claim).await,
            Client::Cri(cri) => cri.describe(&self.socket, host, claim).await,
        }
    }
}

/// An image's ID with its algorithm.
pub(super) fn image_id(text: &str) -> Fact<String> {
    runtime::image_id(text).ok_or_else(|| "the runtime names the image by no SHA-256".into())
}

/// The digests in an image's names.
pub(super) fn digests(names: &[String]) -> Fact<Vec<String>> {
    let digests = runtime::digests(names);
    if digests.is_empty() {
        return Err(
            "the image has no digest: it was made on this host and never pulled or pushed".into(),
        );
    }
    Ok(digests)
}
