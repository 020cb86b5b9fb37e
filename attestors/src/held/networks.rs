//! Asking for other ends in the callers' network namespaces.
//!
//! An accepted connection belongs to the network namespace of the caller, and
//! only a socket that was opened there can be asked about it. Our own namespace
//! is asked at once, and so is one where a socket is kept; neither waits. Into
//! any other one a thread has to go first: that is a job of a pool with a share
//! for each user who answers for callers, and nobody but the connection's own
//! calls waits for it. The pool is one of its own: nothing that a caller can
//! stall is done on its threads.
//!
//! The question names our end by its inode and its cookie. Inodes are given again
//! when the kernel has counted through 32 bits, cookies are not: so whichever
//! namespace answers, the answer is about this very connection.

use super::{
    PeerEnd, PeerEndError,
    diag::{Diag, SocketId},
    kept::Kept,
};
use crate::{
    host::Host,
    namespaces::NamespaceId,
    pin::PinnedPeer,
    read_pool::{PoolError, ReadPool},
    turns::Payer,
};
use rustix::{fd::BorrowedFd, fs::StatxFlags, io::Errno};
use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

/// Threads that go into other network namespaces at a time. Each takes some tens of microseconds.
const THREADS: usize = 4;

/// And of these at the expense of one user.
const THREADS_PER_USER: usize = 2;

/// Sockets to ask by network namespace.
#[derive(Debug)]
pub(crate) struct Networks {
    own: OnceLock<Diag>,
    others: Kept,
    pool: ReadPool,
}

impl PeerEndError {
    pub(super) fn closed() -> Self {
        Self("the connection's other end is closed".into())
    }
}

impl Networks {
    /// Asks by `deadline`, or says that it did not.
    pub(crate) fn new(deadline: Duration) -> Self {
        Self {
            own: OnceLock::new(),
            others: Kept::default(),
            pool: ReadPool::new(THREADS, THREADS_PER_USER, deadline),
        }
    }

    /// The other end of an accepted connection of `peer`, named where that takes no more than a
    /// question.
    pub(crate) fn peer_end(
        &self,
        host: &Host,
        socket: BorrowedFd<'_>,
        peer: &PinnedPeer,
    ) -> Result<PeerEnd, PeerEndError> {
        let refused = |error: Errno| {
            PeerEndError(
                format!("the kernel does not tell the connection's other end: {error}").into(),
            )
        };
        let ours = SocketId::of(socket).map_err(refused)?;
        let end = PeerEnd::new(ours, mount_of(socket));
        let (other, lease) = match self.own(ours) {
            Ok(other) => (other, None),
            Err(Errno::NOENT | Errno::STALE) => {
                let Some((diag, lease)) = self.known(host, peer) else {
                    return Ok(end);
                };
                match diag.peer(ours) {
                    Ok(other) => (other, Some(lease)),
                    // A job finds out why.
                    Err(_elsewhere) => return Ok(end),
                }
            }
            Err(error) => return Err(refused(error)),
        };
        end.name(other.ok_or_else(PeerEndError::closed)?, lease);
        Ok(end)
    }

    /// Names `end` as the network namespace of `peer` tells it, or notes why not.
    pub(crate) async fn name(
        &self,
        host: &Arc<Host>,
        peer: &Arc<PinnedPeer>,
        payer: Payer,
        end: &PeerEnd,
    ) {
        let (host, peer) = (Arc::clone(host), Arc::clone(peer));
        let (others, ours) = (self.others.clone(), end.ours);
        let ask = move || others.ask(&host, &peer, payer, ours);
        match self.pool.run(payer.user, ask).await {
            Ok(Ok((other, lease))) => end.name(other, Some(lease)),
            Ok(Err(PeerEndError(why))) => end.note_unnamed(why),
            Err(PoolError::Overloaded) => end.note_unnamed(
                "too many of the user's processes wait to be looked at: try again".into(),
            ),
            Err(PoolError::Timeout) => end.note_unnamed(
                "the caller's network namespace was not asked in time: try again".into(),
            ),
        }
    }

    /// Whether nobody has `end` any more, as its network namespace tells.
    pub(crate) fn is_closed(&self, end: &PeerEnd) -> bool {
        let Some(named) = end.named.get() else {
            return false;
        };
        let other = SocketId::with_inode(named.sought.inode());
        let answer = match &named.lease {
            None => self.own(other),
            Some(lease) => match self.others.known(lease.namespace()) {
                Some((diag, _lease)) => diag.peer(other),
                None => return false,
            },
        };
        answer == Err(Errno::NOENT)
    }

    fn own(&self, socket: SocketId) -> Result<Option<u32>, Errno> {
        let diag = match self.own.get() {
            Some(diag) => diag,
            None => {
                let diag = Diag::open()?;
                self.own.get_or_init(|| diag)
            }
        };
        diag.peer(socket)
    }

    fn known(&self, host: &Host, peer: &PinnedPeer) -> Option<(Arc<Diag>, Arc<super::Lease>)> {
        let directory = peer.directory(&host.root).ok()?;
        let namespace = NamespaceId::of_process(directory, "net").ok()?;
        self.others.known(namespace)
    }
}

/// The mount of all sockets, as `fdinfo` names it.
fn mount_of(socket: BorrowedFd<'_>) -> Option<u64> {
    let stat = crate::procfs::stat_handle(socket, StatxFlags::MNT_ID).ok()?;
    (stat.stx_mask & StatxFlags::MNT_ID.bits() != 0).then_some(stat.stx_mnt_id)
}
