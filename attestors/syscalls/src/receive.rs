//! Bytes together with whose they are (`recvmsg`, unix(7)).

use crate::{checked, peer::socklen};
use rustix::{
    fd::{AsRawFd as _, BorrowedFd},
    io::Errno,
};

/// One read of a Unix socket.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Received {
    /// How many bytes were read; 0 at the end of the stream, whose sender means nothing.
    pub bytes: usize,
    /// The process that wrote them, as our PID namespace names it: 0 where it has no number
    /// there. None without [`set_passcred`].
    pub sender: Option<u32>,
    /// Whether anything but one credential came with them. It was not accepted.
    pub other: bool,
}

/// `SO_PASSCRED`: the kernel names the sender of all that is read from now on. Accepted sockets
/// inherit it from their listener.
///
/// # Errors
/// `ENOTSOCK` where `socket` is something else.
pub fn set_passcred(socket: BorrowedFd<'_>) -> Result<(), Errno> {
    rustix::net::sockopt::set_socket_passcred(socket, true)
}

/// Room for the header of one control message and one `ucred`, and for nothing else.
const CONTROL_BYTES: usize = {
    let header = size_of::<libc::cmsghdr>().next_multiple_of(size_of::<usize>());
    header + size_of::<libc::ucred>().next_multiple_of(size_of::<usize>())
};

/// The control buffer, aligned as its headers have to be.
#[repr(C)]
union Control {
    header: libc::cmsghdr,
    bytes: [u8; CONTROL_BYTES],
}

/// Reads what has arrived, with the kernel's word on who wrote it; bytes of two senders never come
/// in one read. Never waits. Descriptors that come along find no room and are closed by the
/// kernel.
///
/// # Errors
/// `EAGAIN` where nothing has arrived, `ECONNRESET` where the peer closed with unread data,
/// `ENOTSOCK` where `socket` is something else.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<Received, Errno> {
    let mut part = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    let mut control = Control {
        bytes: [0; CONTROL_BYTES],
    };
    // SAFETY: `msghdr` consists of integers and pointers; all zeros are a valid one.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut control).cast();
    message.msg_controllen = CONTROL_BYTES;
    let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
    // SAFETY: `socket` is open for the whole call. The kernel writes at most `iov_len` bytes to
    // `buffer` and `CONTROL_BYTES` to `control`, both exclusively ours until it returns, and the
    // lengths and flags to `message`.
    let returned = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, flags) };
    let bytes = match usize::try_from(returned) {
        Ok(bytes) => bytes,
        Err(_negative) => return Err(checked(-1).err().unwrap_or(Errno::INVAL)),
    };
    let (sender, rest) = sender(&message);
    Ok(Received {
        bytes,
        sender,
        other: rest || message.msg_flags & libc::MSG_CTRUNC != 0,
    })
}

/// The first control message's process, and whether there is anything else.
fn sender(message: &libc::msghdr) -> (Option<u32>, bool) {
    // SAFETY: `message` is as `recvmsg` left it: the macro compares its length with that of a
    // header and returns its control pointer, or null.
    let first = unsafe { libc::CMSG_FIRSTHDR(message) };
    if first.is_null() {
        return (None, message.msg_controllen != 0);
    }
    // SAFETY: not null, so the buffer holds a whole header; `Control` is aligned for it.
    let header = unsafe { first.read() };
    // SAFETY: a computation with a constant.
    let length = unsafe { libc::CMSG_LEN(socklen::<libc::ucred>()) };
    let is_credential = header.cmsg_level == libc::SOL_SOCKET
        && header.cmsg_type == libc::SCM_CREDENTIALS
        && usize::try_from(length) == Ok(header.cmsg_len);
    if !is_credential {
        return (None, true);
    }
    // SAFETY: `first` is a valid header.
    let data = unsafe { libc::CMSG_DATA(first) };
    // SAFETY: the header's length was just compared: a whole `ucred`, integers only, follows it in
    // the buffer.
    let credentials = unsafe { data.cast::<libc::ucred>().read_unaligned() };
    // SAFETY: `message` and `first` are as `recvmsg` left them.
    let next = unsafe { libc::CMSG_NXTHDR(message, first) };
    let pid = u32::try_from(credentials.pid).unwrap_or(0);
    (Some(pid), !next.is_null())
}

#[cfg(test)]
mod tests {
    use super::{Received, receive, set_passcred};
    use rustix::{
        fd::{AsFd as _, BorrowedFd},
        io::Errno,
        net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags},
    };
    use std::{
        fs::File,
        io::{IoSlice, Write as _},
        mem::MaybeUninit,
        net::Shutdown,
        os::unix::net::UnixStream,
        process::{Command, Stdio},
    };

    fn stamped() -> (UnixStream, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        set_passcred(ours.as_fd()).unwrap();
        (ours, theirs)
    }

    fn send(socket: &UnixStream, message: SendAncillaryMessage<'_, '_>) {
        let mut space = [MaybeUninit::uninit(); 256];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(control.push(message));
        let flags = SendFlags::empty();
        rustix::net::sendmsg(socket, &[IoSlice::new(b"x")], &mut control, flags).unwrap();
    }

    #[test]
    fn bytes_come_with_the_process_that_wrote_them() {
        let (ours, mut theirs) = stamped();
        theirs.write_all(b"here").unwrap();
        let mut buffer = [0; 64];
        let expected = Received {
            bytes: 4,
            sender: Some(std::process::id()),
            other: false,
        };
        assert_eq!(receive(ours.as_fd(), &mut buffer), Ok(expected));
        assert_eq!(&buffer[..4], b"here");
    }

    #[test]
    fn bytes_of_two_processes_come_apart() {
        let (ours, mut theirs) = stamped();
        let other = theirs.try_clone().unwrap();
        theirs.write_all(b"one").unwrap();
        let mut child = Command::new("/bin/echo")
            .stdout(Stdio::from(std::os::fd::OwnedFd::from(other)))
            .spawn()
            .unwrap();
        child.wait().unwrap();
        let mut buffer = [0; 64];
        let first = receive(ours.as_fd(), &mut buffer).unwrap();
        assert_eq!((first.bytes, first.sender), (3, Some(std::process::id())));
        let second = receive(ours.as_fd(), &mut buffer).unwrap();
        assert_eq!((second.bytes, second.sender), (1, Some(child.id())));
    }

    #[test]
    fn a_descriptor_that_comes_along_is_noticed_and_closed() {
        let (ours, theirs) = stamped();
        let (passed, other_end) = UnixStream::pair().unwrap();
        send(&theirs, SendAncillaryMessage::ScmRights(&[passed.as_fd()]));
        drop(passed);
        let mut buffer = [0; 64];
        let received = receive(ours.as_fd(), &mut buffer).unwrap();
        assert!(received.other);
        assert_eq!(received.sender, Some(std::process::id()));
        // Nobody holds the passed end any more.
        other_end.set_nonblocking(true).unwrap();
        assert_eq!(rustix::io::read(&other_end, &mut buffer), Ok(0));
    }

    #[test]
    fn many_descriptors_are_no_different() {
        let (ours, theirs) = stamped();
        let file = File::open("/proc/self/stat").unwrap();
        let all: Vec<BorrowedFd<'_>> = std::iter::repeat_n(file.as_fd(), 30).collect();
        send(&theirs, SendAncillaryMessage::ScmRights(&all));
        let received = receive(ours.as_fd(), &mut [0; 64]).unwrap();
        assert!(received.other && received.bytes == 1);
    }

    #[test]
    fn without_the_option_there_is_no_sender() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(b"x").unwrap();
        let received = receive(ours.as_fd(), &mut [0; 64]).unwrap();
        assert_eq!((received.sender, received.other), (None, false));
        let file = File::open("/proc/self/stat").unwrap();
        send(&theirs, SendAncillaryMessage::ScmRights(&[file.as_fd()]));
        let received = receive(ours.as_fd(), &mut [0; 64]).unwrap();
        assert_eq!((received.sender, received.other), (None, true));
    }

    #[test]
    fn it_never_waits_and_tells_the_end() {
        let (ours, theirs) = stamped();
        assert_eq!(receive(ours.as_fd(), &mut [0; 64]), Err(Errno::AGAIN));
        theirs.shutdown(Shutdown::Write).unwrap();
        assert_eq!(receive(ours.as_fd(), &mut [0; 64]).unwrap().bytes, 0);
        let file = File::open("/proc/self/stat").unwrap();
        assert_eq!(set_passcred(file.as_fd()), Err(Errno::NOTSOCK));
        assert_eq!(receive(file.as_fd(), &mut [0; 64]), Err(Errno::NOTSOCK));
    }

    #[test]
    fn a_peer_that_left_data_unread_resets() {
        let (ours, theirs) = stamped();
        (&ours).write_all(b"unread").unwrap();
        drop(theirs);
        assert_eq!(receive(ours.as_fd(), &mut [0; 64]), Err(Errno::CONNRESET));
    }
}
