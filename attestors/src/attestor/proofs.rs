//! What binds a connection to the image that was attested.

use super::Attestor;
use crate::{
    events::{EventsError, ProcessEvents},
    held::{PeerEnd, PeerEndError},
    namespaces,
    pin::PinnedPeer,
    proof::{Held, Stamp},
};
use rustix::fd::BorrowedFd;

impl Attestor {
    /// Finds the other end of `socket`, an accepted connection of `peer`. Takes microseconds; some
    /// tens of them for the first caller in a network namespace of its own.
    ///
    /// # Errors
    /// Where the kernel does not tell, or not for the caller's network namespace.
    pub fn peer_end(
        &self,
        socket: BorrowedFd<'_>,
        peer: &PinnedPeer,
    ) -> Result<PeerEnd, PeerEndError> {
        self.networks.peer_end(&self.host, socket, peer)
    }

    /// How `end` lies among the descriptors of `peer` now, and remembers where it was found. Takes
    /// a microsecond for each descriptor at which it has to look.
    #[must_use]
    pub fn held(&self, peer: &PinnedPeer, end: &PeerEnd) -> Held {
        end.held(&self.host, peer, || {
            (&self.budget, self.accountable_uid(peer))
        })
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
