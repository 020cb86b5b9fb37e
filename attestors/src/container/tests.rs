//! An engine that answers some questions and not others. What real ones say is tested with hosts.

use super::{Candidate, Containers, RuntimeSocket, RuntimeSockets, candidates};
use crate::{
    Credentials, PinnedPeer,
    attestor::{Facts, Subject},
    digest::{DigestLimits, Digests},
    host::Host,
    parse,
    read_pool::ReadPool,
    systemd::Systemd,
};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, UNIX_EPOCH},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufStream},
    net::{UnixListener, UnixStream},
};

/// No test waits as long, unless it is the wait that is tested.
const DEADLINE: Duration = Duration::from_secs(60);

/// Questions about containers with this in their ID are never answered.
const SLOW: &str = "eeee";

/// Serves an engine that knows no container.
fn engine() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(directory.path().join("engine")).unwrap();
    let serving = async move {
        let mut conversations = FuturesUnordered::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => conversations.push(converse(accepted.unwrap().0)),
                Some(()) = conversations.next() => {}
            }
        }
    };
    #[expect(
        clippy::disallowed_methods,
        reason = "the other end, for as long as the test runs"
    )]
    drop(tokio::spawn(serving));
    directory
}

/// Until the other end hangs up.
async fn converse(stream: UnixStream) {
    let mut stream = BufStream::new(stream);
    let mut asked = String::new();
    while let Ok(1..) = stream.read_line(&mut asked).await {
        if !asked.ends_with("\r\n\r\n") {
            continue;
        }
        let answer = if asked.starts_with("GET /_ping ") {
            "HTTP/1.1 200 OK\r\nApi-Version: 1.41\r\nContent-Length: 0\r\n\r\n"
        } else if asked.contains(SLOW) {
            ""
        } else {
            "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
        };
        asked.clear();
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
    }
}

/// Asks about processes of users and containers that a test makes up.
struct Asker {
    host: Arc<Host>,
    pool: ReadPool,
    digests: Digests,
    systemd: Systemd,
    containers: Containers,
}

impl Asker {
    fn of(engine: &TempDir, deadline: Duration) -> Self {
        let host = Host::survey(Path::new("/proc"), Path::new("/etc"), &mut Vec::new()).unwrap();
        let host = Arc::new(host);
        let pool = ReadPool::new(1, 1, deadline);
        let limits = DigestLimits {
            max_bytes: 1,
            hash_remote: false,
            cache_entries: 1,
            deadline,
        };
        let sockets = RuntimeSockets {
            docker: RuntimeSocket::At(engine.path().join("engine")),
            podman: RuntimeSocket::Off,
            cri: RuntimeSocket::Off,
        };
        Self {
            digests: Digests::new(Arc::clone(&host), pool.clone(), limits),
            systemd: Systemd::new(None, deadline),
            containers: Containers::new(&sockets, deadline),
            host,
            pool,
        }
    }

    /// Why a process of `user` in `cgroup`, which seems to be a container's, is in none.
    async fn refused(&self, user: u32, cgroup: Option<u64>, candidates: &[Candidate]) -> String {
        let pid = std::process::id();
        let credentials = Credentials {
            pid,
            uid: user,
            gid: user,
        };
        let peer = PinnedPeer::stand_in(credentials, self.host.root.process(pid).unwrap());
        let facts = Facts {
            start_time: Err("".into()),
            tracer: Ok(None),
            groups: Err("".into()),
            cgroups: Err("".into()),
            executable: Err("".into()),
            path: Err("".into()),
            cgroup_id: cgroup,
        };
        let subject = Subject {
            host: &self.host,
            peer: &Arc::new(peer),
            facts: &facts,
            digests: &self.digests,
            pool: &self.pool,
            systemd: &self.systemd,
            containers: &self.containers,
            at: UNIX_EPOCH,
        };
        let found = self.containers.find(&subject, candidates).await;
        found.unwrap_err().into_owned()
    }
}

/// A container of Docker's whose ID repeats `digits`.
fn container(digits: &str) -> Vec<Candidate> {
    let id = digits.repeat(64 / digits.len());
    let cgroups = parse::cgroups(format!("0::/docker/{id}\n").as_bytes());
    candidates(&cgroups.unwrap())
}

#[tokio::test]
async fn a_flood_of_one_user_at_a_slow_runtime_leaves_the_others_their_turns() {
    let engine = engine();
    let asker = Asker::of(&engine, DEADLINE);
    let (slow, quick) = (container(SLOW), container("0a"));
    let flood = (0..1000).map(|_| asker.refused(1000, None, &slow));
    let mut flood: FuturesUnordered<_> = flood.collect();
    let flooding = async {
        while let Some(reason) = flood.next().await {
            assert!(reason.contains("too many questions"), "{reason}");
        }
    };
    let others = async {
        for user in 1001..1020 {
            let reason = asker.refused(user, None, &quick).await;
            assert!(reason.contains("no such container"), "{reason}");
        }
    };
    // The flood is first.
    tokio::select! {
        biased;
        () = flooding => panic!("nobody answered it"),
        () = others => {}
    }
}

#[tokio::test]
async fn pods_of_one_user_take_turns() {
    let engine = engine();
    let asker = Asker::of(&engine, DEADLINE);
    let quick = container("0a");
    let answered = AtomicUsize::new(0);
    let flood = (0..200).map(|_| async {
        asker.refused(0, Some(1), &quick).await;
        answered.fetch_add(1, Ordering::Relaxed);
    });
    let mut flood: FuturesUnordered<_> = flood.collect();
    let flooding = async { while flood.next().await.is_some() {} };
    let neighbour = async {
        let reason = asker.refused(0, Some(2), &quick).await;
        assert!(reason.contains("no such container"), "{reason}");
        answered.load(Ordering::Relaxed)
    };
    let before = tokio::select! {
        biased;
        () = flooding => panic!("the neighbour was last"),
        before = neighbour => before,
    };
    assert!(before < 100, "{before} of the flood were answered before");
}

#[tokio::test]
async fn one_question_that_hangs_holds_up_no_other_one() {
    let engine = engine();
    let asker = Asker::of(&engine, DEADLINE);
    let (slow, quick) = (container(SLOW), container("0a"));
    let others = async {
        for _ in 0..20 {
            let reason = asker.refused(1000, None, &quick).await;
            assert!(reason.contains("no such container"), "{reason}");
        }
    };
    tokio::select! {
        biased;
        reason = asker.refused(1000, None, &slow) => panic!("{reason}"),
        () = others => {}
    }
}
