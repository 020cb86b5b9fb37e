//! What binds a connection to the image that was attested.

use super::Attestor;
use crate::{
    events::{EventsError, ProcessEvents},
    held::{PeerEnd, PeerEndError},
    namespaces,
    pin::{PinnedPeer, ROOT_CGROUP},
    proof::{Held, Stamp},
    turns::Payer,
};
use rustix::fd::BorrowedFd;
use std::sync::Arc;

impl Attestor {
    /// Finds the other end of `socket`, an accepted connection of `peer`. Takes microseconds and
    /// never waits. Of the first caller in another network namespace it is not named yet; see
    /// [`Self::name_end`].
    ///
    /// # Errors
    /// Where the kernel does not tell, or it is closed.
    pub fn peer_end(
        &self,
        socket: BorrowedFd<'_>,
        peer: &PinnedPeer,
    ) -> Result<PeerEnd, PeerEndError> {
        self.networks.peer_end(&self.host, socket, peer)
    }

    /// Has `end` of a connection of `peer` named, where it is not yet, by a thread that asks in the
    /// process's network namespace. Takes some tens of microseconds, and waits where many of the
    /// user's processes are looked at. Where it fails [`Self::held`] says why, and it can be tried
    /// again.
    pub async fn name_end(&self, peer: &Arc<PinnedPeer>, end: &PeerEnd) {
        if end.is_named() {
            return;
        }
        let payer = Payer {
            user: self.accountable_uid(peer),
            cgroup: peer.cgroup_id().filter(|id| *id != ROOT_CGROUP),
        };
        // Seldom, and large: those who are in our network take no room.
        let named = self.networks.name(&self.host, peer, payer, end);
        Box::pin(named).await;
    }

    /// How `end` lies among the descriptors of `peer` now, and remembers where it was found. Takes
    /// a microsecond for each descriptor at which it has to look. Where the share of the user who
    /// answers for `peer` is spent before, that is unknown, and the next call goes on from there.
    #[must_use]
    pub fn held(&self, peer: &PinnedPeer, end: &PeerEnd) -> Held {
        end.held(&self.host, peer, || {
            (&self.budget, self.accountable_uid(peer))
        })
    }

    /// Whether nobody has `end` any more, so that it is in nobody's hands. False also where the
    /// kernel cannot be asked. Takes microseconds and never waits.
    #[must_use]
    pub fn is_closed(&self, end: &PeerEnd) -> bool {
        self.networks.is_closed(end)
    }

    /// What the kernel's stamp with the process ID of `peer` is worth: who owns the PID namespaces
    /// from the process's up to ours. Does not change while it lives.
    #[must_use]
    pub fn stamp(&self, peer: &PinnedPeer) -> Stamp {
        let owned = peer
            .directory(&self.host.root)
            .map_err(|error| format!("its PID namespace cannot be read: {error}").into())
            .and_then(|directory| namespaces::pids_are_ours(directory, &self.host));
        match owned {
            Ok(()) if peer.is_alive() => Stamp::Trusted,
            Ok(()) => Stamp::Forgeable("the process has exited".into()),
            Err(reason) => Stamp::Forgeable(reason),
        }
    }

    /// The user who answers for `peer`: its own, or in a user namespace below ours the one who made
    /// the outermost of them.
    #[must_use]
    pub fn accountable_uid(&self, peer: &PinnedPeer) -> u32 {
        namespaces::accountable(&self.host, peer)
    }

    /// Has the kernel tell of every `execve` and every exit on this host.
    ///
    /// # Errors
    /// Outside of the initial namespaces, and without `CAP_NET_ADMIN`.
    pub fn events(&self) -> Result<ProcessEvents, EventsError> {
        ProcessEvents::listen()
    }
}
