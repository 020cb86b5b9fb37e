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
    use super::{PeerCredentials, peer_credentials, peer_pidfd};
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
    fn a_file_has_no_peer() {
        let file = File::open("/proc/self/stat").unwrap();
        assert_eq!(peer_credentials(file.as_fd()), Err(Errno::NOTSOCK));
        assert_eq!(peer_pidfd(file.as_fd()).unwrap_err(), Errno::NOTSOCK);
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
    }

    #[test]
    fn a_tcp_peer_is_nobody() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert_eq!(peer_credentials(client.as_fd()).unwrap().pid, 0);
        peer_pidfd(client.as_fd()).unwrap_err();
    }
}
