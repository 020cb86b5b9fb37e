//! The programs that started the process.
//!
//! Each ancestor is pinned like the process itself: a pidfd for the number that
//! its child names as parent, and then, while the pidfd lives, once more the
//! child's word that this is still its parent. After everything was read, and
//! hashed, the whole chain is confirmed again.
//!
//! The chain ends at PID 1, of the host or of the process's own PID namespace:
//! it is also the parent of all whose parents have exited, so its being one
//! says nothing. It ends where a parent is in another PID namespace, and it is
//! capped.

use crate::{
    attestor::Subject,
    executable::{Executable, FileIdentity},
    findings::{Fact, Findings, Reason, unread},
    host::Host,
    namespaces::{NamespaceId, accountable},
    parse,
    pin::{MAX_STAT_BYTES, MAX_STATUS_BYTES, PinError, PinnedPeer},
    procfs::ProcDir,
    read_pool::PoolError,
    unix,
};
use rustix::io::Errno;
use std::sync::Arc;
use tokio::time::timeout;

const PARENT_PATH: &str = "process:parent_path";
const PARENT_DIGEST: &str = "process:parent_sha256";
const ANCESTOR_DIGEST: &str = "process:ancestor_sha256";

/// Most ancestors that are looked at: each takes some 50 microseconds, and a shell in an editor in
/// a session has six.
const MAX_ANCESTORS: usize = 16;

/// One that started another.
struct Ancestor {
    peer: Arc<PinnedPeer>,
    executable: Fact<Arc<Executable>>,
}

/// What is above a process.
struct Chain {
    /// From the parent upwards.
    ancestors: Vec<Ancestor>,
    /// Why it goes no further.
    end: Reason,
    /// Whether there may be more that ought to be known.
    is_cut: bool,
}

/// Why a chain goes no further, and whether that is a fault.
enum End {
    Top(Reason),
    Cut(Reason),
}

/// Reports the selectors of the ancestors.
pub(super) async fn report(subject: &Subject<'_>, findings: &mut Findings) {
    let chain = climb(subject.host, subject.peer);
    let path = match chain.ancestors.first() {
        Some(parent) => path(subject.host, parent),
        None => Err(chain.end.clone()),
    };
    let deadline = subject.digests.limits().deadline;
    let digests = timeout(deadline, digests(subject, &chain)).await;
    let confirmed = confirm(subject, &chain);
    let digests = match (digests, confirmed) {
        (_, Err(reason)) => {
            for key in [PARENT_PATH, PARENT_DIGEST, ANCESTOR_DIGEST] {
                findings.lack(key, reason.clone());
            }
            return;
        }
        (Ok(digests), Ok(())) => digests,
        (Err(_elapsed), Ok(())) => vec![Err(PoolError::Timeout.reason())],
    };
    findings.report(PARENT_PATH, path);
    let parent = digests.first().cloned();
    findings.report(
        PARENT_DIGEST,
        parent.unwrap_or_else(|| Err(chain.end.clone())),
    );
    let mut unknown = (chain.is_cut || chain.ancestors.is_empty()).then_some(chain.end);
    for digest in digests {
        match digest {
            Ok(digest) => findings.know(ANCESTOR_DIGEST, digest),
            Err(reason) => unknown = unknown.or(Some(reason)),
        }
    }
    if let Some(reason) = unknown {
        findings.lack(ANCESTOR_DIGEST, reason);
    }
}

fn path(host: &Host, parent: &Ancestor) -> Fact<String> {
    let executable = parent.executable.as_ref().map_err(Clone::clone)?;
    let directory = parent
        .peer
        .directory(&host.root)
        .map_err(|error| unread("the parent's /proc", error.into()))?;
    unix::path(host, directory, executable)
}

async fn digests(subject: &Subject<'_>, chain: &Chain) -> Vec<Fact<Arc<str>>> {
    let mut digests = Vec::new();
    for ancestor in &chain.ancestors {
        let digest = match &ancestor.executable {
            Ok(executable) => {
                // On the account of whoever asks, not of who is asked about.
                let user = || accountable(subject.host, subject.peer);
                let digests = subject.digests;
                let digest = digests.of(executable, &ancestor.peer, user, subject.at);
                let content = digest.await.map_err(|error| error.reason());
                content.map(|content| content.sha256)
            }
            Err(reason) => Err(reason.clone()),
        };
        digests.push(digest);
    }
    digests
}

fn climb(host: &Host, peer: &Arc<PinnedPeer>) -> Chain {
    let mut ancestors: Vec<Ancestor> = Vec::new();
    loop {
        let child = ancestors.last().map_or(peer, |ancestor| &ancestor.peer);
        let end = if ancestors.len() >= MAX_ANCESTORS {
            End::Cut(format!("more than {MAX_ANCESTORS} ancestors: the others are unknown").into())
        } else {
            match parent(host, child) {
                Ok(ancestor) => {
                    ancestors.push(ancestor);
                    continue;
                }
                Err(end) => end,
            }
        };
        let is_cut = matches!(end, End::Cut(_));
        let (End::Top(end) | End::Cut(end)) = end;
        return Chain {
            ancestors,
            end,
            is_cut,
        };
    }
}

/// The parent of `child`, pinned.
fn parent(host: &Host, child: &PinnedPeer) -> Result<Ancestor, End> {
    let pid = parent_of(host, child).map_err(End::Cut)?;
    match pid {
        0 => {
            return Err(End::Top(
                "the agent's PID namespace has no number for its parent".into(),
            ));
        }
        1 => return Err(first_of("the host")),
        _ => {}
    }
    let gone = || End::Cut("the parent exited while it was looked at".into());
    let peer = PinnedPeer::of_pid_in(&host.root, pid).map_err(|error| match error {
        PinError::Gone => gone(),
        error => End::Cut(format!("the parent: {error}").into()),
    })?;
    // The number was this process's own all the time between the pin and here.
    if parent_of(host, child).map_err(End::Cut)? != pid || !peer.is_alive() || !child.is_alive() {
        return Err(gone());
    }
    let executable = {
        let above = directory(host, &peer)?;
        border(host, directory(host, child)?, above)?;
        executable(above)
    };
    Ok(Ancestor {
        peer: Arc::new(peer),
        executable,
    })
}

fn first_of(whose: &str) -> End {
    End::Top(
        format!("its parent is PID 1 of {whose}, which started it or took it over from another")
            .into(),
    )
}

fn directory<'a>(host: &Host, peer: &'a PinnedPeer) -> Result<&'a ProcDir, End> {
    peer.directory(&host.root)
        .map_err(|error| End::Cut(unread("/proc", error.into())))
}

/// Whether the chain ends between a process and its parent.
fn border(host: &Host, child: &ProcDir, parent: &ProcDir) -> Result<(), End> {
    let namespace = |directory| {
        NamespaceId::of_process(directory, "pid")
            .map_err(|error| End::Cut(unread("ns/pid", error.into())))
    };
    let inside = namespace(parent)?;
    if namespace(child)? != inside {
        return Err(End::Top("its parent is in another PID namespace".into()));
    }
    if host.pids().is_ok_and(|host| host == inside) {
        return Ok(());
    }
    let mut bytes = Vec::new();
    parent
        .read("status", MAX_STATUS_BYTES, &mut bytes)
        .map_err(|error| End::Cut(unread("status", error)))?;
    match parse::namespaced_pids(&bytes) {
        Ok(pids) if pids.last() == Some(&1) => Err(first_of("its PID namespace")),
        Ok(_) => Ok(()),
        Err(error) => Err(End::Cut(error.0.into())),
    }
}

fn parent_of(host: &Host, child: &PinnedPeer) -> Fact<u32> {
    let mut bytes = Vec::new();
    child
        .directory(&host.root)
        .map_err(|error| unread("stat", error.into()))?
        .read("stat", MAX_STAT_BYTES, &mut bytes)
        .map_err(|error| unread("stat", error))?;
    Ok(parse::parent(&bytes).map_err(|error| error.0)?)
}

fn executable(directory: &ProcDir) -> Fact<Arc<Executable>> {
    match Executable::of_process(directory) {
        Ok(executable) => Ok(Arc::new(executable)),
        Err(Errno::NOENT) => Err("the parent runs no file".into()),
        Err(error) => Err(unread("the parent's exe", error.into())),
    }
}

/// Whether every ancestor is still the parent of the one below, and runs what it ran.
fn confirm(subject: &Subject<'_>, chain: &Chain) -> Fact<()> {
    let mut child = subject.peer;
    for ancestor in &chain.ancestors {
        let pid = ancestor.peer.credentials().pid;
        let now = ancestor
            .peer
            .directory(&subject.host.root)
            .and_then(FileIdentity::of_process)
            .ok();
        let before = ancestor.executable.as_ref().ok();
        let is_same = now == before.map(|executable| executable.identity)
            && parent_of(subject.host, child)? == pid
            && ancestor.peer.is_alive();
        if !is_same {
            return Err("an ancestor exited, or ran another program, meanwhile".into());
        }
        child = &ancestor.peer;
    }
    Ok(())
}
