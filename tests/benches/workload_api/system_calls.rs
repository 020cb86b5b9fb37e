//! The floors of the proofs: the system calls that each cannot do without, alone.

use crate::{
    peer::Peer,
    report::{Figure, Row},
    samples::Samples,
};
use rustix::{
    fd::AsFd as _,
    fs::{Mode, OFlags, fstat, open, openat, readlinkat},
    io::read,
    net::{
        AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType,
        netlink::{SOCK_DIAG, SocketAddrNetlink},
        recvfrom, sendto, socket_with,
    },
    process::{Pid, PidfdFlags, pidfd_open},
};
use std::{hint::black_box, time::Duration};
use symbolon_attestors::parse::{ANY_COOKIE, peer_request};

const ROUNDS: usize = 5_000;

/// Larger than what is read of `auxv` and than a netlink answer.
const BUFFER: usize = 4096;

/// Medians.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SystemCalls {
    /// `readlink` of one descriptor in `/proc`.
    pub(crate) readlink: Duration,
    /// A question over netlink and its answer.
    pub(crate) netlink: Duration,
    /// `PIDFD_GET_INFO`; none before Linux 6.13.
    pub(crate) pidfd_info: Option<Duration>,
    /// Open and read `auxv` in `/proc`.
    pub(crate) auxv: Duration,
}

impl SystemCalls {
    /// Measures them on `peer`.
    pub(crate) fn measure(peer: &Peer) -> Self {
        Self {
            readlink: readlink(peer),
            netlink: netlink(peer),
            pidfd_info: pidfd_info(peer),
            auxv: auxv(peer),
        }
    }

    /// What a look at an image cannot do without.
    pub(crate) fn look(&self) -> Duration {
        self.pidfd_info.unwrap_or_default() + self.auxv
    }

    pub(crate) fn rows(&self) -> Vec<Row> {
        let time = |name, time| Row::new(name, Figure::Time(time));
        let mut rows = vec![
            time("readlink of /proc/PID/fd/N", self.readlink),
            time("one netlink round trip (sock_diag)", self.netlink),
            time("open and read /proc/PID/auxv", self.auxv),
        ];
        if let Some(pidfd_info) = self.pidfd_info {
            rows.push(time("PIDFD_GET_INFO", pidfd_info));
        }
        rows
    }
}

fn process(peer: &Peer) -> impl rustix::fd::AsFd {
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    open(format!("/proc/{}", peer.pid()), flags, Mode::empty()).expect("its directory")
}

fn readlink(peer: &Peer) -> Duration {
    let directory = process(peer);
    let work = || {
        black_box(readlinkat(&directory, "fd/0", Vec::new()).expect("a link"));
    };
    Samples::of(ROUNDS, work).p50()
}

fn auxv(peer: &Peer) -> Duration {
    let directory = process(peer);
    let mut buffer = [0; BUFFER];
    let work = || {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = openat(&directory, "auxv", flags, Mode::empty()).expect("it is there");
        black_box(read(&file, &mut buffer).expect("read"));
    };
    Samples::of(ROUNDS, work).p50()
}

fn netlink(peer: &Peer) -> Duration {
    let inode = fstat(peer.socket()).expect("a socket").st_ino;
    let question = peer_request(
        1,
        u32::try_from(inode).expect("as the kernel counts sockets"),
        ANY_COOKIE,
    );
    let socket = socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        Some(SOCK_DIAG),
    );
    let socket = socket.expect("a netlink socket");
    let kernel = SocketAddrNetlink::new(0, 0);
    let mut buffer = [0; BUFFER];
    let work = || {
        sendto(&socket, &question, SendFlags::empty(), &kernel).expect("asked");
        black_box(recvfrom(&socket, &mut buffer, RecvFlags::empty()).expect("answered"));
    };
    Samples::of(ROUNDS, work).p50()
}

fn pidfd_info(peer: &Peer) -> Option<Duration> {
    let pid = i32::try_from(peer.pid()).ok().and_then(Pid::from_raw)?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).ok()?;
    symbolon_syscalls::pidfd_info(pidfd.as_fd()).ok()?;
    let work = || {
        black_box(symbolon_syscalls::pidfd_info(pidfd.as_fd()).expect("as before"));
    };
    Some(Samples::of(ROUNDS, work).p50())
}
