//! One netlink socket that tells the other ends of connections (`sock_diag(7)`).
//!
//! The kernel answers while the question is sent, so nothing here waits. An
//! answer counts only if the kernel sent it and it is the one to our question.

use crate::parse::{self, PeerAnswer};
use parking_lot::Mutex;
use rustix::{
    fd::OwnedFd,
    io::Errno,
    net::{
        AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType,
        netlink::{self, SocketAddrNetlink},
        recvfrom, sendto, socket_with,
    },
};

/// Larger than any answer: its socket's name is not asked for.
const ANSWER_BYTES: usize = 512;

/// Messages that are read in search of the answer to one question.
const MAX_MESSAGES: usize = 16;

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

    /// The inode of the other end of the socket with this one; none where nobody holds it.
    ///
    /// `ENOENT` says that there is no such socket in this network namespace.
    pub(super) fn peer(&self, inode: u32) -> Result<Option<u32>, Errno> {
        let mut asked = self.asked.lock();
        *asked = asked.wrapping_add(1);
        let question = parse::peer_request(*asked, inode);
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
