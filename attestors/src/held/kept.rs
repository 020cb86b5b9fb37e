//! Sockets to ask in network namespaces other than ours.
//!
//! One is opened by a thread that joins the namespace and ends. It keeps the
//! namespace alive, so it is kept no longer than the last watched connection
//! from there ([`Lease`]), and only a limited number is kept: a caller can make
//! any number of namespaces.
//!
//! Each belongs to the user on whose behalf it was opened. Where there are too
//! many, the user who has most loses the one that was used least recently, of
//! his cgroup that has most: so one who makes namespaces takes the place of his
//! own, and a node whose pods share a user has the room to itself. The socket
//! in our own namespace is not among them.

use super::{
    PeerEndError,
    diag::{Diag, SocketId},
};
use crate::{findings::unread, host::Host, namespaces::NamespaceId, pin::PinnedPeer, turns::Payer};
use parking_lot::Mutex;
use rustix::{
    fd::{AsFd as _, OwnedFd},
    io::Errno,
    thread::{LinkNameSpaceType, move_into_link_name_space},
};
use std::sync::{Arc, Weak};

/// Other network namespaces in which a socket is kept open. A node has a few dozen pods; each
/// costs one descriptor.
const MOST: usize = 64;

/// The sockets, the one used last at the end.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    most: usize,
    sockets: Arc<Mutex<Vec<Socket>>>,
}

#[derive(Debug)]
struct Socket {
    namespace: NamespaceId,
    payer: Payer,
    diag: Arc<Diag>,
    lease: Weak<Lease>,
}

impl Socket {
    fn leased(&self) -> Option<(Arc<Diag>, Arc<Lease>)> {
        let lease = self.lease.upgrade()?;
        Some((Arc::clone(&self.diag), lease))
    }
}

/// Held by the connections from one network namespace; with the last goes the socket there.
#[derive(Debug)]
pub(super) struct Lease {
    namespace: NamespaceId,
    sockets: Weak<Mutex<Vec<Socket>>>,
}

impl Lease {
    pub(super) const fn namespace(&self) -> NamespaceId {
        self.namespace
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(sockets) = self.sockets.upgrade() else {
            return;
        };
        let is_over = |socket: &mut Socket| {
            socket.namespace == self.namespace && socket.lease.strong_count() == 0
        };
        let mut sockets = sockets.lock();
        let over: Vec<_> = sockets.extract_if(.., is_over).collect();
        // Closed behind the lock.
        drop(sockets);
        drop(over);
    }
}

impl Default for Kept {
    fn default() -> Self {
        Self::at_most(MOST)
    }
}

impl Kept {
    pub(super) fn at_most(most: usize) -> Self {
        Self {
            most,
            sockets: Arc::default(),
        }
    }

    /// The socket in this namespace. While it is open no other namespace gets the number.
    pub(super) fn known(&self, namespace: NamespaceId) -> Option<(Arc<Diag>, Arc<Lease>)> {
        let mut sockets = self.sockets.lock();
        let is_this = |socket: &Socket| socket.namespace == namespace;
        let place = sockets.iter().position(is_this)?;
        let known = sockets.get(place)?.leased()?;
        if let Some(used) = sockets.get_mut(place..) {
            used.rotate_left(1);
        }
        Some(known)
    }

    /// The other end of the connection whose end `ours` is, as the network namespace of `peer`
    /// tells it.
    ///
    /// The thread may be left there: to be called on one that does nothing else any more.
    pub(super) fn ask(
        &self,
        host: &Host,
        peer: &PinnedPeer,
        payer: Payer,
        ours: SocketId,
    ) -> Result<(u32, Arc<Lease>), PeerEndError> {
        let hidden = |error: Errno| PeerEndError(unread("ns/net", error.into()));
        let directory = peer.directory(&host.root).map_err(hidden)?;
        let handle = directory.file("ns/net").map_err(hidden)?;
        let namespace = NamespaceId::of_handle(handle.as_fd()).map_err(hidden)?;
        let (diag, lease) = match self.known(namespace) {
            Some(known) => known,
            None => self.open(namespace, &handle, payer)?,
        };
        let end = diag.peer(ours).map_err(|error| {
            PeerEndError(
                format!(
                    "the connection is in neither the agent's nor the process's network \
                     namespace: {error}"
                )
                .into(),
            )
        })?;
        let end = end.ok_or_else(PeerEndError::closed)?;
        Ok((end, lease))
    }

    /// Opens one there, and leaves the thread there.
    pub(super) fn open(
        &self,
        namespace: NamespaceId,
        handle: &OwnedFd,
        payer: Payer,
    ) -> Result<(Arc<Diag>, Arc<Lease>), PeerEndError> {
        let kind = Some(LinkNameSpaceType::Network);
        let diag = move_into_link_name_space(handle.as_fd(), kind).and_then(|()| Diag::open());
        let diag = diag.map_err(|error| {
            PeerEndError(
                format!("the caller's network namespace cannot be asked (CAP_SYS_ADMIN): {error}")
                    .into(),
            )
        })?;
        Ok(self.keep(namespace, payer, diag))
    }

    fn keep(&self, namespace: NamespaceId, payer: Payer, diag: Diag) -> (Arc<Diag>, Arc<Lease>) {
        let mut sockets = self.sockets.lock();
        let known = sockets.iter().find(|socket| socket.namespace == namespace);
        if let Some(known) = known.and_then(Socket::leased) {
            // Another connection from there was faster; ours is closed behind the lock.
            drop(sockets);
            return known;
        }
        let lease = Arc::new(Lease {
            namespace,
            sockets: Arc::downgrade(&self.sockets),
        });
        let diag = Arc::new(diag);
        sockets.push(Socket {
            namespace,
            payer,
            diag: Arc::clone(&diag),
            lease: Arc::downgrade(&lease),
        });
        let too_many = sockets.len() > self.most;
        let over = too_many.then(|| excess(&sockets)).flatten();
        let over = over.map(|place| sockets.remove(place));
        drop(sockets);
        drop(over);
        (diag, lease)
    }

    /// How many there are.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.sockets.lock().len()
    }
}

/// Which one has to go.
fn excess(sockets: &[Socket]) -> Option<usize> {
    let shares = |payer: Payer| {
        let of_user = sockets.iter().filter(|one| one.payer.user == payer.user);
        let of_cgroup = sockets.iter().filter(|one| one.payer == payer);
        (of_user.count(), of_cgroup.count())
    };
    // The last of the greatest is taken, so this is the one in front.
    let (place, _) = sockets
        .iter()
        .enumerate()
        .rev()
        .max_by_key(|(_, socket)| shares(socket.payer))?;
    Some(place)
}
