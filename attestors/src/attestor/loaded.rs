//! What can make the attested program another one without an `execve`: code that
//! was loaded into it, and a tracer.

use super::{AttestError, Attestor, Changed, Facts};
use crate::{
    code::{self, CodeError},
    evidence::Attestation,
    findings::Fact,
    pin::PinnedPeer,
    read_pool::PoolError,
    tracer,
};
use std::sync::Arc;

impl Attestor {
    /// Reads again what `peer` can execute, where `attestation` says something of it. To be called
    /// before each use of such facts, as [`unchanged`](Self::unchanged) is before all; it takes a
    /// thread of the pool, and a moment, on the account of the user.
    ///
    /// # Errors
    /// [`Changed::Code`] where it is not what it was: then the process is to be attested again. Also
    /// where it is traced now, is gone, or cannot be looked at.
    pub async fn code_unchanged(
        &self,
        peer: &Arc<PinnedPeer>,
        attestation: &Attestation,
    ) -> Result<(), AttestError> {
        let Some(before) = &attestation.evidence().code else {
            return Ok(());
        };
        if peer.key() != attestation.image().process() {
            return Err(Changed::Process.into());
        }
        let first = Facts::read(&self.host, peer)?.tracer;
        // There are such facts of processes only that nobody traced.
        if self.tracer(peer, &first).await? != Ok(None) {
            return Err(Changed::Code.into());
        }
        let now = code::of(&self.host, peer, &self.pool).await;
        if !peer.is_alive() {
            return Err(AttestError::Gone);
        }
        match now {
            Ok(now) if *now.mapped == *before.mapped => Ok(()),
            Ok(_) | Err(CodeError::Unknown(_)) => Err(Changed::Code.into()),
            Err(CodeError::Pool(PoolError::Overloaded)) => Err(AttestError::Overloaded),
            Err(CodeError::Pool(PoolError::Timeout)) => Err(AttestError::Timeout),
        }
    }

    /// Who traces `peer`, where that is allowed.
    pub(super) async fn tracer(
        &self,
        peer: &Arc<PinnedPeer>,
        first: &Fact<Option<u32>>,
    ) -> Result<Fact<Option<u32>>, AttestError> {
        match tracer::of(&self.host, peer, &self.pool, first).await? {
            Ok(Some(tracer)) if !self.allow_traced => Err(AttestError::Traced(tracer)),
            found => Ok(found),
        }
    }
}
