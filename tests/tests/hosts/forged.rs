//! Cgroups that only look like a container's.

use std::process::Stdio;
use std::time::Duration;

use symbolon_attestors::{RuntimeSocket, RuntimeSockets};
use symbolon_tests::hosts::{Containerd, Image, Runc, Scope};
use symbolon_tests::{SOMEBODY_ELSE, can_run, has_tool, within};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::process::Child;

use crate::attested::{
    assert_unconfirmed, attest, beside, beside_cri, beside_docker, selectors, sockets,
};
use crate::engine::{Answer, Engine, inspected};

/// Starts a process of the host in a cgroup below the runtime's scope; it is there when it speaks.
async fn started_in(scope: &Scope, below: &str) -> (Child, u32) {
    use tokio::io::AsyncReadExt as _;
    let mut child = scope
        .command_in(below, "sh")
        .args(["-c", "echo; read line"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = child.stdout.take().unwrap();
    let spoken = within("the process's word", output.read_u8()).await;
    assert_eq!(spoken.unwrap(), b'\n');
    let pid = child.id().unwrap();
    (child, pid)
}

#[tokio::test]
async fn a_forged_cgroup_is_in_no_container() {
    let test = "a_forged_cgroup_is_in_no_container";
    if !Containerd::can_run(test) || !Runc::can_run(test) {
        return;
    }
    let containerd = Containerd::start().await;
    let image = Image::of_busybox("localhost/symbolon-test:1");
    containerd.import(&image).await;
    let pod = containerd.run_pod(containerd.pod("shop", "a", "1")).await;
    let container = containerd.container("main", &image);
    let container = containerd.run(&pod, container).await;
    let attestor = beside_cri(containerd.socket());

    // A container that the runtime does not know, with an ID of its own making.
    let runc = Runc::new();
    let invented = "ab".repeat(32);
    let below = format!("kubepods/burstable/pod1/{invented}");
    let forged = runc.run("forged", &below).await;
    let attestation = attest(&attestor, forged.pid).await;
    assert_unconfirmed(&attestation, "it has no such container");

    // The same with the ID of a container that runs.
    for (name, below) in [
        ("plain", format!("kubepods/burstable/pod1/{}", container.id)),
        ("scope", format!("cri-containerd-{}.scope", container.id)),
    ] {
        let forged = runc.run(name, &below).await;
        let attestation = attest(&attestor, forged.pid).await;
        assert_unconfirmed(&attestation, "its first process is elsewhere");
    }
    let below = format!("other/kubepods/burstable/pod1/{}", container.id);
    let (_child, pid) = started_in(containerd.scope(), &below).await;
    let attestation = attest(&attestor, pid).await;
    assert_unconfirmed(&attestation, "its first process is elsewhere");
    let reason = crate::attested::unknown(&attestation, "container:id").unwrap();
    assert!(reason.contains(&container.id), "{reason}");

    // Whoever gets a process into the container's own cgroup has to be in its PID namespace too.
    let below = format!("kubepods/burstable/pod1/{}", container.id);
    let (_child, pid) = started_in(containerd.scope(), &below).await;
    let attestation = attest(&attestor, pid).await;
    assert_unconfirmed(&attestation, "outside of the container's PID namespace");
}

/// A cgroup of a test's own with a container's ID in its name, and two processes in it, of which an
/// engine may say anything.
struct Pretence {
    scope: Scope,
    id: String,
    first: (Child, u32),
    second: (Child, u32),
}

impl Pretence {
    async fn new() -> Self {
        let scope = Scope::new();
        let id = "cd".repeat(32);
        let below = format!("docker/{id}");
        let first = started_in(&scope, &below).await;
        let second = started_in(&scope, &below).await;
        Self {
            scope,
            id,
            first,
            second,
        }
    }

    fn engine(&self, answer: Answer) -> Engine {
        Engine::serve(self.scope.directory(), answer)
    }

    /// An engine that says that the container's first process is ours, and started then.
    fn engine_since(&self, started: OffsetDateTime) -> Engine {
        let started = started.format(&Rfc3339).unwrap();
        let document = inspected(&self.id, self.first.1, &started);
        self.engine(Answer::Document(document.to_string()))
    }
}

fn can_pretend(test: &str) -> bool {
    can_run(
        test,
        Scope::is_possible(),
        "run as root, with cgroups of version 2",
    )
}

#[tokio::test]
async fn a_number_that_was_given_again_is_no_first_process() {
    if !can_pretend("a_number_that_was_given_again_is_no_first_process") {
        return;
    }
    let pretence = Pretence::new().await;
    // Somebody waited for the container's end, and got its first process's number before the
    // engine had noticed.
    let engine = pretence.engine_since(OffsetDateTime::now_utc() - Duration::from_secs(3600));
    let attestor = beside_docker(engine.socket());
    let attestation = attest(&attestor, pretence.second.1).await;
    assert_unconfirmed(&attestation, "younger than the container");
}

#[tokio::test]
async fn the_environment_is_passed_over() {
    if !can_pretend("the_environment_is_passed_over") {
        return;
    }
    let pretence = Pretence::new().await;
    let engine = pretence.engine_since(OffsetDateTime::now_utc());
    let attestor = beside_docker(engine.socket());
    for pid in [pretence.first.1, pretence.second.1] {
        let attestation = attest(&attestor, pid).await;
        let selectors = selectors(&attestation);
        assert!(
            selectors.contains(&"container:name:forged".into()),
            "{selectors:?}"
        );
        let evidence = serde_json::to_string(attestation.evidence()).unwrap();
        assert!(!evidence.contains("not-to-be-read"));
    }
}

#[tokio::test]
async fn a_runtime_that_hangs_or_floods_or_lies_confirms_nothing() {
    if !can_pretend("a_runtime_that_hangs_or_floods_or_lies_confirms_nothing") {
        return;
    }
    let pretence = Pretence::new().await;
    let hanging = pretence.engine(Answer::Nothing);
    let attestation = attest(&beside_docker(hanging.socket()), pretence.second.1).await;
    assert_unconfirmed(&attestation, "no answer within 2s");
    std::fs::remove_file(hanging.socket()).unwrap();
    let flooding = pretence.engine(Answer::Endless);
    let attestation = attest(&beside_docker(flooding.socket()), pretence.second.1).await;
    assert_unconfirmed(&attestation, "length limit exceeded");
    std::fs::remove_file(flooding.socket()).unwrap();
    let other = inspected(&"ef".repeat(32), pretence.first.1, "2026-01-01T00:00:00Z");
    let other = pretence.engine(Answer::Document(other.to_string()));
    let attestation = attest(&beside_docker(other.socket()), pretence.second.1).await;
    assert_unconfirmed(&attestation, "it has no such container");
}

#[tokio::test]
async fn a_runtime_that_hangs_leaves_the_others_theirs() {
    if !can_pretend("a_runtime_that_hangs_leaves_the_others_theirs") {
        return;
    }
    let pretence = Pretence::new().await;
    let hanging = tempfile::tempdir().unwrap();
    let hanging = Engine::serve(hanging.path(), Answer::Nothing);
    // The names in the cgroup hint at Docker; what is left when it has not answered is too late
    // for the others. Where they hint at nobody, all are asked at once, and the first one counts.
    let below = format!("own/{}", pretence.id);
    let first = started_in(&pretence.scope, &below).await;
    let document = inspected(
        &pretence.id,
        first.1,
        &OffsetDateTime::now_utc().format(&Rfc3339).unwrap(),
    );
    let engine = pretence.engine(Answer::Document(document.to_string()));
    let attestor = beside(RuntimeSockets {
        docker: RuntimeSocket::At(hanging.socket()),
        podman: RuntimeSocket::At(engine.socket()),
        ..sockets()
    });
    let attestation = attest(&attestor, first.1).await;
    let selectors = selectors(&attestation);
    assert!(
        selectors.contains(&"container:name:forged".into()),
        "{selectors:?}"
    );
    // Callers in no container ask nobody.
    let outside = attest(&attestor, std::process::id()).await;
    let mut unknown = outside.evidence().unknown.iter();
    assert!(unknown.all(|unknown| !unknown.selector.starts_with("container:")));
}

#[tokio::test]
async fn a_runtime_that_was_started_anew_is_asked_anew() {
    if !can_pretend("a_runtime_that_was_started_anew_is_asked_anew") {
        return;
    }
    let pretence = Pretence::new().await;
    let engine = pretence.engine_since(OffsetDateTime::now_utc());
    let attestor = beside_docker(engine.socket());
    let expected = selectors(&attest(&attestor, pretence.second.1).await);
    assert!(!expected.is_empty());
    let socket = engine.socket();
    drop(engine);
    std::fs::remove_file(socket).unwrap();
    let gone = attest(&attestor, pretence.second.1).await;
    assert_unconfirmed(&gone, "engine.sock: No such file");
    let _engine = pretence.engine_since(OffsetDateTime::now_utc());
    let again = attest(&attestor, pretence.second.1).await;
    assert_eq!(selectors(&again), expected);
}

#[tokio::test]
async fn another_user_s_runtime_is_not_believed() {
    if !can_pretend("another_user_s_runtime_is_not_believed") {
        return;
    }
    let pretence = Pretence::new().await;
    let started = OffsetDateTime::now_utc().format(&Rfc3339).unwrap();
    let document = inspected(&pretence.id, pretence.first.1, &started);
    let directory = tempfile::tempdir().unwrap();
    let wide = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(directory.path(), wide).unwrap();
    let answer = Answer::Document(document.to_string());
    let engine = Engine::serve_as(SOMEBODY_ELSE, directory.path(), answer);
    let attestation = attest(&beside_docker(engine.socket()), pretence.second.1).await;
    assert_unconfirmed(&attestation, "belongs to user 65534, not to root");
}

/// Where a test tells this very program to listen, in a process of its own.
const LISTEN_AT: &str = "TEST_LISTEN_AT";

#[test]
fn a_process_that_listens_where_it_is_told() {
    use std::io::{Read as _, Write as _};
    let Some(socket) = std::env::var_os(LISTEN_AT) else {
        return;
    };
    let _listener = std::os::unix::net::UnixListener::bind(socket).unwrap();
    std::io::stdout().write_all(b"listening\n").unwrap();
    // Until the one who told it goes.
    let _end = std::io::stdin().read(&mut [0]).unwrap();
}

#[tokio::test]
async fn a_runtime_that_counts_processes_otherwise_is_not_believed() {
    use tokio::io::{AsyncBufReadExt as _, BufReader};
    let test = "a_runtime_that_counts_processes_otherwise_is_not_believed";
    if !can_pretend(test) || !can_run(test, has_tool("unshare"), "apt-get install util-linux") {
        return;
    }
    let pretence = Pretence::new().await;
    let socket = pretence.scope.directory().join("inner.sock");
    let mut runtime = pretence
        .scope
        .command("unshare")
        .args(["--pid", "--fork", "--kill-child"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture"])
        .arg("forged::a_process_that_listens_where_it_is_told")
        .env(LISTEN_AT, &socket)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(runtime.stdout.take().unwrap()).lines();
    within("the inner runtime's start", async {
        while lines.next_line().await.unwrap().unwrap() != "listening" {}
    })
    .await;
    let attestation = attest(&beside_docker(socket), pretence.second.1).await;
    assert_unconfirmed(&attestation, "answered from another PID namespace");
}
