//! Asking for other ends in the callers' network namespaces.
//!
//! An accepted connection belongs to the network namespace of the caller, and
//! only a socket that was opened there can be asked about it. One is opened by
//! a thread that joins the namespace and ends. It keeps the namespace alive, so
//! it is kept no longer than the last watched connection from there
//! ([`Lease`]), and only for the namespaces used last: a caller can make any
//! number of them.
//!
//! Our own is asked first. Inodes of sockets are given once for all
//! namespaces, so an answer from there is about this very connection.

use super::{PeerEnd, PeerEndError, diag::Diag};
use crate::{findings::unread, host::Host, namespaces::NamespaceId, pin::PinnedPeer};
use parking_lot::Mutex;
use rustix::{
    fd::{AsFd as _, BorrowedFd, OwnedFd},
    fs::{StatxFlags, fstat},
    io::Errno,
    thread::{LinkNameSpaceType, move_into_link_name_space},
};
use std::{
    io,
    sync::{Arc, OnceLock, Weak},
    thread,
};

/// Other network namespaces in which a socket is kept open. A node has a few dozen pods; each
/// costs one descriptor.
const MAX_OTHERS: usize = 64;

/// Stack of the thread that joins a namespace: it makes three system calls.
const STACK_BYTES: usize = 64 << 10;

/// Sockets to ask by network namespace.
#[derive(Debug)]
pub(crate) struct Networks {
    max_others: usize,
    own: OnceLock<Diag>,
    others: Arc<Mutex<Others>>,
}

/// Those of other namespaces, the one used last at the end.
#[derive(Debug, Default)]
struct Others(Vec<Other>);

#[derive(Debug)]
struct Other {
    namespace: NamespaceId,
    diag: Arc<Diag>,
    lease: Weak<Lease>,
}

/// Held by the connections from one network namespace; with the last goes the socket there.
#[derive(Debug)]
pub(crate) struct Lease {
    namespace: NamespaceId,
    others: Weak<Mutex<Others>>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(others) = self.others.upgrade() {
            let is_over = |other: &Other| {
                other.namespace == self.namespace && other.lease.strong_count() == 0
            };
            let mut others = others.lock();
            let over = others.0.extract_if(.., |other| is_over(other));
            // Closed behind the lock.
            let over: Vec<_> = over.collect();
            drop(others);
            drop(over);
        }
    }
}

impl Default for Networks {
    fn default() -> Self {
        Self::with_room_for(MAX_OTHERS)
    }
}

impl Networks {
    pub(super) fn with_room_for(max_others: usize) -> Self {
        Self {
            max_others,
            own: OnceLock::new(),
            others: Arc::default(),
        }
    }

    /// The other end of an accepted connection of `peer`.
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
        let inode = fstat(socket).map_err(refused)?.st_ino;
        let inode = u32::try_from(inode).map_err(|_wide| refused(Errno::OVERFLOW))?;
        let mount = mount_of(socket);
        let closed = || PeerEndError("the connection's other end is closed".into());
        match self.own(inode) {
            Ok(end) => return Ok(PeerEnd::new(end.ok_or_else(closed)?, mount, None)),
            Err(Errno::NOENT) => {}
            Err(error) => return Err(refused(error)),
        }
        let (end, lease) = self.elsewhere(host, peer, inode)?;
        Ok(PeerEnd::new(end.ok_or_else(closed)?, mount, Some(lease)))
    }

    fn own(&self, inode: u32) -> Result<Option<u32>, Errno> {
        let diag = match self.own.get() {
            Some(diag) => diag,
            None => {
                let diag = Diag::open()?;
                self.own.get_or_init(|| diag)
            }
        };
        diag.peer(inode)
    }

    fn elsewhere(
        &self,
        host: &Host,
        peer: &PinnedPeer,
        inode: u32,
    ) -> Result<(Option<u32>, Arc<Lease>), PeerEndError> {
        let hidden = |error: Errno| PeerEndError(unread("ns/net", error.into()));
        let directory = peer.directory(&host.root).map_err(hidden)?;
        let namespace = directory.file("ns/net").map_err(hidden)?;
        let id = NamespaceId::of_handle(namespace.as_fd()).map_err(hidden)?;
        let (diag, lease) = match self.known(id) {
            Some(known) => known,
            None => self.open(id, namespace)?,
        };
        let end = diag.peer(inode).map_err(|error| {
            PeerEndError(
                format!(
                    "the connection is in neither the agent's nor the process's network \
                     namespace: {error}"
                )
                .into(),
            )
        })?;
        Ok((end, lease))
    }

    /// The socket in this namespace. While it is open no other namespace gets the number.
    pub(super) fn known(&self, namespace: NamespaceId) -> Option<(Arc<Diag>, Arc<Lease>)> {
        let mut others = self.others.lock();
        let place = others.0.iter().position(|o| o.namespace == namespace)?;
        let other = others.0.remove(place);
        let known = other
            .lease
            .upgrade()
            .map(|lease| (Arc::clone(&other.diag), lease));
        if known.is_some() {
            others.0.push(other);
        }
        known
    }

    pub(super) fn open(
        &self,
        namespace: NamespaceId,
        handle: OwnedFd,
    ) -> Result<(Arc<Diag>, Arc<Lease>), PeerEndError> {
        let diag = open_in(handle).map_err(|error| {
            PeerEndError(
                format!("the caller's network namespace cannot be asked (CAP_SYS_ADMIN): {error}")
                    .into(),
            )
        })?;
        let diag = Arc::new(diag);
        let lease = Arc::new(Lease {
            namespace,
            others: Arc::downgrade(&self.others),
        });
        let mut others = self.others.lock();
        let mut over: Vec<_> = others
            .0
            .extract_if(.., |other| other.namespace == namespace)
            .collect();
        if others.0.len() >= self.max_others {
            over.push(others.0.remove(0));
        }
        others.0.push(Other {
            namespace,
            diag: Arc::clone(&diag),
            lease: Arc::downgrade(&lease),
        });
        drop(others);
        drop(over);
        Ok((diag, lease))
    }

    /// How many sockets are kept in other namespaces.
    #[cfg(test)]
    pub(super) fn others(&self) -> usize {
        self.others.lock().0.len()
    }
}

/// Opens a socket in another network namespace, on a thread that ends there.
fn open_in(namespace: OwnedFd) -> io::Result<Diag> {
    let join = move || {
        let kind = Some(LinkNameSpaceType::Network);
        move_into_link_name_space(namespace.as_fd(), kind)?;
        Diag::open()
    };
    let joined = thread::Builder::new()
        .name("join-network".into())
        .stack_size(STACK_BYTES)
        .spawn(join)?
        .join();
    let diag = joined.map_err(|_panic| io::Error::other("the thread did not end well"))?;
    Ok(diag?)
}

/// The mount of all sockets, as `fdinfo` names it.
fn mount_of(socket: BorrowedFd<'_>) -> Option<u64> {
    let stat = crate::procfs::stat_handle(socket, StatxFlags::MNT_ID).ok()?;
    (stat.stx_mask & StatxFlags::MNT_ID.bits() != 0).then_some(stat.stx_mnt_id)
}
