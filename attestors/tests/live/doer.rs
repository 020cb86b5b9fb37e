//! What a peer does with its descriptors.

use rustix::{
    fd::{AsFd as _, OwnedFd},
    io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd},
    process::{Resource, getrlimit, setrlimit},
};
use std::{
    fs::File,
    os::unix::{net::UnixStream, process::CommandExt as _},
    process::{Child, Command, Stdio},
    thread,
};

/// Its connection, and what else it has open.
pub(crate) struct Doer {
    subject: Option<UnixStream>,
    others: Vec<OwnedFd>,
    children: Vec<Child>,
}

impl Doer {
    pub(crate) fn new(subject: Option<UnixStream>) -> Self {
        Self {
            subject,
            others: Vec::new(),
            children: Vec::new(),
        }
    }

    pub(crate) fn subject(&self) -> &UnixStream {
        self.subject.as_ref().unwrap()
    }

    /// Whether it knows how to do that, and has.
    pub(crate) fn has_done(&mut self, name: &str, arguments: &[&str]) -> bool {
        match (name, arguments) {
            ("inheritable", []) => fcntl_setfd(self.subject(), FdFlags::empty()).unwrap(),
            ("close-on-exec", []) => fcntl_setfd(self.subject(), FdFlags::CLOEXEC).unwrap(),
            ("close", []) => self.subject = None,
            ("open", [count]) => self.open(count.parse().unwrap()),
            // One of those, by the order in which they were opened.
            ("close-other", [place]) => drop(self.others.remove(place.parse().unwrap())),
            // Onto the lowest free number from there.
            ("move", [number]) => {
                let moved = fcntl_dupfd_cloexec(self.subject(), number.parse().unwrap()).unwrap();
                self.subject = Some(moved.into());
            }
            // A second descriptor of it, inheritable.
            ("copy", [number]) => {
                let copy = fcntl_dupfd_cloexec(self.subject(), number.parse().unwrap()).unwrap();
                fcntl_setfd(&copy, FdFlags::empty()).unwrap();
                self.others.push(copy);
            }
            ("hand-over", []) => {
                let subject = OwnedFd::from(self.subject.take().unwrap());
                let mut child = Command::new("cat");
                let child = child.stdin(subject).stdout(Stdio::null()).spawn().unwrap();
                self.children.push(child);
            }
            ("reconnect-apart", [path]) => self.reconnect_apart(path),
            _ => return false,
        }
        true
    }

    fn open(&mut self, count: usize) {
        let mut limit = getrlimit(Resource::Nofile);
        limit.current = limit.maximum;
        setrlimit(Resource::Nofile, limit).unwrap();
        let null = || OwnedFd::from(File::open("/dev/null").unwrap());
        self.others.extend(std::iter::repeat_with(null).take(count));
    }

    /// Connects from a thread with a descriptor table of its own.
    fn reconnect_apart(&mut self, path: &str) {
        let path = path.to_owned();
        let (done, connected) = std::sync::mpsc::channel();
        thread::spawn(move || {
            #[expect(deprecated, reason = "the flag given leaves memory as it is")]
            rustix::thread::unshare(rustix::thread::UnshareFlags::FILES).unwrap();
            let stream = UnixStream::connect(path).unwrap();
            done.send(()).unwrap();
            // Until the other side ends it.
            drop(std::io::Read::read(&mut &stream, &mut [0]));
        });
        connected.recv().unwrap();
        self.subject = None;
    }

    /// Becomes `command`, with the subject on `number` and `control` as input and output.
    pub(crate) fn inherit(&self, number: i32, mut command: Command, control: UnixStream) {
        let _inherited = self.leave_open(number);
        let output = OwnedFd::from(control.try_clone().unwrap());
        let error = command.stdin(OwnedFd::from(control)).stdout(output).exec();
        panic!("{error}");
    }

    /// Executes its own program again.
    pub(crate) fn again(&self, number: i32, control: UnixStream) {
        let _inherited = (number != 0).then(|| self.leave_open(number));
        let error = Command::new(crate::peer::binary())
            .args(["--exact", "peer::process", "--nocapture"])
            .env("SYMBOLON_TEST_PEER_AGAIN", "1")
            .stdin(OwnedFd::from(control))
            .stdout(Stdio::null())
            .exec();
        panic!("{error}");
    }

    fn leave_open(&self, number: i32) -> OwnedFd {
        let inherited = fcntl_dupfd_cloexec(self.subject().as_fd(), number).unwrap();
        fcntl_setfd(&inherited, FdFlags::empty()).unwrap();
        inherited
    }
}

impl Drop for Doer {
    fn drop(&mut self) {
        for child in &mut self.children {
            drop(child.kill());
            drop(child.wait());
        }
    }
}
