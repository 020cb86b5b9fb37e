//! A process at the other end of a socket, for the attestors to look at.

use crate::{
    caller::{Caller, Job},
    role::raise_open_files,
};
use std::{
    fs::File,
    io::Read as _,
    os::{
        fd::{AsFd as _, BorrowedFd},
        unix::net::{UnixListener, UnixStream},
    },
    path::Path,
    sync::Arc,
};
use symbolon_attestors::{Attestor, PinnedPeer};
use symbolon_tests::Workload;

/// A running process and our end of its connection.
#[derive(Debug)]
pub(crate) struct Peer {
    process: Workload,
    connection: UnixStream,
}

impl Peer {
    /// Starts one that holds so many descriptors more than it needs.
    pub(crate) async fn start(caller: &Caller, directory: &Path, descriptors: usize) -> Self {
        let socket = directory.join("peer.sock");
        let listener = UnixListener::bind(&socket).expect("a socket");
        // As on the agent's own: accepted connections inherit it.
        symbolon_syscalls::set_passcred(listener.as_fd()).expect("a Unix socket");
        let mut process = caller.start(Job::Peer, &socket, descriptors);
        assert_eq!(process.line().await.as_deref(), Some("ready"));
        let (connection, _) = listener.accept().expect("it has connected");
        std::fs::remove_file(socket).expect("the socket");
        Self {
            process,
            connection,
        }
    }

    /// Its process ID.
    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Our end.
    pub(crate) fn socket(&self) -> BorrowedFd<'_> {
        self.connection.as_fd()
    }

    /// The process, pinned.
    pub(crate) fn pin(&self, attestor: &Attestor) -> Arc<PinnedPeer> {
        Arc::new(attestor.pin(self.socket()).expect("a pin"))
    }
}

/// What the process does: it opens half of its descriptors, connects, opens the others, and waits
/// for its end. So, where these are many, neither the numbers at the begin of its table nor those at
/// the end lead to the connection.
pub(crate) fn play(socket: &Path, descriptors: usize) {
    raise_open_files();
    let nothing = |_| File::open("/dev/null").expect("a descriptor");
    let before: Vec<_> = (0..descriptors / 2).map(nothing).collect();
    let mut connection = UnixStream::connect(socket).expect("a connection");
    let behind: Vec<_> = (descriptors / 2..descriptors).map(nothing).collect();
    println!("ready");
    let ended = connection.read(&mut [0]).expect("the other end");
    assert_eq!(ended, 0);
    drop((before, behind));
}
