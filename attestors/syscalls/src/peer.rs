//! Who connected to a Unix socket (`getsockopt`, unix(7)).

use crate::{checked, owned};
use rustix::{
    fd::{AsRawFd as _, BorrowedFd, OwnedFd},
    io::Errno,
};

/// The peer's credentials at the time when it connected, as our namespaces name them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PeerCredentials {
    /// Process ID; 0 where the peer is in a PID namespace that is not below ours.
    pub pid: u32,
    /// Effective user ID; `u32::MAX` where the socket has no peer.
    pub uid: u32,
    /// Effective group ID; `u32::MAX` where the socket has no peer.
    pub gid: u32,
}

/// `SO_PEERCRED`.
///
/// # Errors
/// `ENOTSOCK` where `socket` is something else.
pub fn peer_credentials(socket: BorrowedFd<'_>) -> Result<PeerCredentials, Errno> {
    let mut credentials = libc::ucred {
        pid: 0,
        uid: u32::MAX,
        gid: u32::MAX,
    };
    let mut length = socklen::<libc::ucred>();
    // SAFETY: `socket` is open for the whole call; the kernel writes at most
    // `length` bytes to `credentials`, which is a `ucred` of that size and
    // valid for every bit pattern, and the new length to `length`.
    let returned = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut credentials).cast(),
            &raw mut length,
        )
    };
    checked(returned)?;
    Ok(PeerCredentials {
        pid: u32::try_from(credentials.pid).unwrap_or(0),
        uid: credentials.uid,
        gid: credentials.gid,
    })
}

/// `SO_PEERPIDFD` (Linux 6.5): a descriptor of the process that connected, with close-on-exec set.
///
/// # Errors
/// `ENOPROTOOPT` on older kernels, `ENODATA` where the socket has no peer,
/// `ESRCH` or `EINVAL` where the peer has been reaped (kernels before 6.16),
/// `ENOTSOCK` where `socket` is something else.
pub fn peer_pidfd(socket: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let mut descriptor: libc::c_int = -1;
    let mut length = socklen::<libc::c_int>();
    // SAFETY: `socket` is open for the whole call; the kernel writes at most
    // `length` bytes to `descriptor`, which is an integer of that size, and
    // the new length to `length`.
    let returned = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERPIDFD,
            (&raw mut descriptor).cast(),
            &raw mut length,
        )
    };
    checked(returned)?;
    if descriptor < 0 {
        return Err(Errno::NODATA);
    }
    // SAFETY: the call succeeded, so `descriptor` is a new descriptor that the
    // kernel installed for us; only this function has seen its number.
    Ok(unsafe { owned(descriptor) })
}

/// Most groups that a process can have (`NGROUPS_MAX`).
const MAX_GROUPS: usize = 65_536;

/// Groups that most processes do not exceed.
const FEW_GROUPS: usize = 64;

/// `SO_PEERGROUPS`: the supplementary groups with which the peer connected, as our user
/// namespace names them. What it changes later, by executing another program, is not among them.
///
/// # Errors
/// `ENODATA` where the socket has no peer, `ENOTSOCK` where `socket` is something else.
pub fn peer_groups(socket: BorrowedFd<'_>) -> Result<Vec<u32>, Errno> {
    match groups_up_to(socket, FEW_GROUPS) {
        Err(Errno::RANGE) => groups_up_to(socket, MAX_GROUPS),
        groups => groups,
    }
}

fn groups_up_to(socket: BorrowedFd<'_>, most: usize) -> Result<Vec<u32>, Errno> {
    let mut groups = vec![0_u32; most];
    let room = most.saturating_mul(size_of::<u32>());
    let mut length = libc::socklen_t::try_from(room).map_err(|_large| Errno::INVAL)?;
    // SAFETY: `socket` is open for the whole call; the kernel writes at most
    // `length` bytes to `groups`, which has that many and is valid for every bit
    // pattern, and the length that it took or needs to `length`.
    let returned = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERGROUPS,
            groups.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    checked(returned)?;
    let written = usize::try_from(length).map_err(|_large| Errno::INVAL)?;
    groups.truncate(written / size_of::<u32>());
    Ok(groups)
}

/// The size of `T` as socket options carry it.
pub(crate) const fn socklen<T>() -> libc::socklen_t {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the option values here are a few bytes long"
    )]
    let length = size_of::<T>() as libc::socklen_t;
    length
}

#[cfg(test)]
mod tests {
    use super::{PeerCredentials, groups_up_to, peer_credentials, peer_groups, peer_pidfd};
    use rustix::{fd::AsFd as _, io::Errno};
    use std::{
        fs::File,
        net::{TcpListener, TcpStream},
        os::unix::net::{UnixListener, UnixStream},
        process,
    };

    #[test]
    fn the_peer_of_a_pair_is_its_creator() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let peer = peer_credentials(ours.as_fd()).unwrap();
        assert_eq!(peer.pid, process::id());
        assert_eq!(peer.uid, rustix::process::geteuid().as_raw());
        assert_eq!(peer.gid, rustix::process::getegid().as_raw());
    }

    #[test]
    fn a_pidfd_of_the_peer_is_close_on_exec() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let pidfd = peer_pidfd(ours.as_fd()).unwrap();
        let flags = rustix::io::fcntl_getfd(&pidfd).unwrap();
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
    }

    #[test]
    fn the_groups_of_a_pair_are_its_creators() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let mut groups = peer_groups(ours.as_fd()).unwrap();
        let own = rustix::process::getgroups().unwrap();
        let mut own: Vec<u32> = own.into_iter().map(|group| group.as_raw()).collect();
        groups.sort_unstable();
        own.sort_unstable();
        assert_eq!(groups, own);
        if !own.is_empty() {
            let refused = groups_up_to(ours.as_fd(), own.len() - 1);
            assert_eq!(refused, Err(Errno::RANGE));
        }
    }

    #[test]
    fn a_file_has_no_peer() {
        let file = File::open("/proc/self/stat").unwrap();
        assert_eq!(peer_credentials(file.as_fd()), Err(Errno::NOTSOCK));
        assert_eq!(peer_pidfd(file.as_fd()).unwrap_err(), Errno::NOTSOCK);
        assert_eq!(peer_groups(file.as_fd()), Err(Errno::NOTSOCK));
    }

    #[test]
    fn an_unconnected_socket_has_no_peer() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let _listener = UnixListener::bind(&path).unwrap();
        let socket = rustix::net::socket(
            rustix::net::AddressFamily::UNIX,
            rustix::net::SocketType::STREAM,
            None,
        )
        .unwrap();
        let nobody = PeerCredentials {
            pid: 0,
            uid: u32::MAX,
            gid: u32::MAX,
        };
        assert_eq!(peer_credentials(socket.as_fd()), Ok(nobody));
        assert_eq!(peer_pidfd(socket.as_fd()).unwrap_err(), Errno::NODATA);
        assert_eq!(peer_groups(socket.as_fd()), Err(Errno::NODATA));
    }

    #[test]
    fn a_tcp_peer_is_nobody() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert_eq!(peer_credentials(client.as_fd()).unwrap().pid, 0);
        peer_pidfd(client.as_fd()).unwrap_err();
    }
}
