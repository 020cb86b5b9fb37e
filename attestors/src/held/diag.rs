//! One netlink socket that tells the other ends of connections (`sock_diag(7)`).
//!
//! The kernel answers while the question is sent, so nothing here waits. An
//! answer counts only if the kernel sent it and it is the one to our question.

use crate::parse::{self, ANY_COOKIE, PeerAnswer};
use parking_lot::Mutex;
use rustix::{
    fd::{AsFd, OwnedFd},
    fs::fstat,
    io::Errno,
    net::{
        AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType,
        netlink::{self, SocketAddrNetlink},
        recvfrom, sendto, socket_with,
        sockopt::socket_cookie,
    },
};

/// Larger than any answer: its socket's name is not asked for.
const ANSWER_BYTES: usize = 512;

/// Messages that are read in search of the answer to one question.
const MAX_MESSAGES: usize = 16;

/// A socket, as the kernel names it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct SocketId {
    pub(super) inode: u32,
    /// Given once since the machine started.
    pub(super) cookie: u64,
}

impl SocketId {
    /// Of a socket of ours.
    pub(super) fn of(socket: impl AsFd) -> Result<Self, Errno> {
        let inode = fstat(&socket)?.st_ino;
        Ok(Self {
            inode: u32::try_from(inode).map_err(|_wide| Errno::OVERFLOW)?,
            cookie: socket_cookie(socket)?,
        })
    }

    /// Whichever has this inode now.
    pub(super) const fn with_inode(inode: u32) -> Self {
        Self {
            inode,
            cookie: ANY_COOKIE,
        }
    }
}

/// Asks in the network namespace in which it was opened.
#[derive(Debug)]
pub(super) struct Diag {
    socket: OwnedFd,
    asked: Mutex<u32>,
}

impl Diag {
    /// Opens one in the thread's network namespace.
    pub(super) fn open() -> Result<Self, Errno> {
        let socket = socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            Some(netlink::SOCK_DIAG),
        )?;
        Ok(Self {
            socket,
            asked: Mutex::new(0),
        })
    }

    /// The inode of the other end of this socket; none where nobody holds it.
    ///
    /// `ENOENT` and `ESTALE` say that there is no such socket in this network namespace.
    pub(super) fn peer(&self, socket: SocketId) -> Result<Option<u32>, Errno> {
        let SocketId { inode, cookie } = socket;
        let mut asked = self.asked.lock();
        *asked = asked.wrapping_add(1);
        let question = parse::peer_request(*asked, inode, cookie);
        sendto(
            &self.socket,
            &question,
            SendFlags::empty(),
            &SocketAddrNetlink::new(0, 0),
        )?;
        let mut buffer = [0; ANSWER_BYTES];
        for _ in 0..MAX_MESSAGES {
            let (bytes, whole, address) = match recvfrom(
                &self.socket,
                &mut buffer,
                RecvFlags::DONTWAIT | RecvFlags::TRUNC,
            ) {
                Err(Errno::INTR) => continue,
                received => received?,
            };
            let sender = address.and_then(|address| SocketAddrNetlink::try_from(address).ok());
            if sender.is_none_or(|sender| sender.pid() != 0) || whole > ANSWER_BYTES {
                continue;
            }
            let answer = buffer.get(..bytes).unwrap_or_default();
            match parse::peer_answer(answer, *asked, inode) {
                Ok(Some(PeerAnswer::Found(peer))) => return Ok(peer),
                Ok(Some(PeerAnswer::Refused(error))) => {
                    return Err(Errno::from_raw_os_error(error));
                }
                Ok(None) => {}
                Err(_malformed) => return Err(Errno::BADMSG),
            }
        }
        Err(Errno::AGAIN)
    }
}
