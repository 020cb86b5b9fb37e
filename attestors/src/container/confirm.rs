//! Whether a process is in the container that a runtime tells of.
//!
//! The runtime names the container's first process by a number. That process
//! is pinned and has to live, to be the one that the runtime started, and to
//! be in the very cgroup whose name carried the container's ID; the subject has
//! to be in that cgroup too, and in the first process's PID namespace or one
//! below. A cgroup that only looks like a container's, also one with a real
//! container's ID in its name, does not have that container's first process.
//!
//! Left: whoever can put a process into a container's cgroup puts it into the
//! container. That takes root on the host, or a container that may write the
//! host's cgroups; in a pod that shares the host's PID namespace nothing else
//! tells its processes from the host's.

use super::runtime::Claim;
use crate::{
    attestor::{Subject, cgroups_now},
    findings::{Fact, Reason, unread},
    host::Host,
    namespaces::NamespaceId,
    parse::{self, container::Candidate},
    pin::{MAX_STAT_BYTES, PinnedPeer},
};
use rustix::{
    fd::AsFd as _,
    io::Errno,
    param::clock_ticks_per_second,
    time::{ClockId, clock_gettime},
};
use std::time::Duration;
use symbolon_syscalls::namespace_parent;
use time::OffsetDateTime;

/// PID namespaces nest at most 32 deep (`pid_namespaces(7)`).
const MAX_DEPTH: usize = 33;

/// When a runtime has long noticed that a container has ended.
const NOTICED: Duration = Duration::from_secs(10);

/// How much younger than its container a first process may seem: ticks of the clock.
const SLACK: Duration = Duration::from_millis(100);

/// Confirms that the subject is in the container of `claim`, whose cgroup would be `candidate`'s.
/// The container's first process, pinned.
pub(super) fn confirm(
    subject: &Subject<'_>,
    candidate: &Candidate,
    claim: &Claim,
) -> Fact<PinnedPeer> {
    let init = PinnedPeer::of_pid_in(&subject.host.root, claim.init)
        .map_err(|error| format!("the container's first process: {error}"))?;
    is_first(subject.host, &init, claim.started)?;
    if !is_in(subject.host, &init, candidate)? {
        return Err(
            "the cgroup only looks like the container's: its first process is elsewhere".into(),
        );
    }
    if !is_in(subject.host, subject.peer, candidate)? {
        return Err("the process was moved to another cgroup while it was looked at".into());
    }
    if !is_below(subject, &init).map_err(|error| unread("ns/pid", error.into()))? {
        return Err("the process is outside of the container's PID namespace".into());
    }
    // Last: their numbers were their own all the time.
    if init.is_alive() && subject.peer.is_alive() {
        Ok(init)
    } else {
        Err("the container is ending".into())
    }
}

/// Whether `init` is the process that the runtime started. A container may have ended an instant
/// ago, without the runtime's knowing it, and the number may have gone to a process of somebody
/// who waited for that. Such a one is younger than the container.
fn is_first(host: &Host, init: &PinnedPeer, started: OffsetDateTime) -> Fact<()> {
    let age = age(host, init)?;
    let now = clock_gettime(ClockId::Realtime);
    let now = time::Duration::new(now.tv_sec, i32::try_from(now.tv_nsec).unwrap_or_default());
    let container = OffsetDateTime::UNIX_EPOCH + now - started;
    if is_too_young(age, container) {
        return Err("the process that the runtime names is younger than the container".into());
    }
    Ok(())
}

/// After some seconds only the process's own age counts: the host's clock may have been set since.
fn is_too_young(process: Duration, container: time::Duration) -> bool {
    process < NOTICED && container > process + SLACK
}

fn age(host: &Host, process: &PinnedPeer) -> Fact<Duration> {
    let mut bytes = Vec::new();
    process
        .directory(&host.root)
        .map_err(Into::into)
        .and_then(|directory| directory.read("stat", MAX_STAT_BYTES, &mut bytes))
        .map_err(|error| unread("stat", error))?;
    let ticks = parse::start_time(&bytes).map_err(|error| Reason::from(error.0))?;
    let second = clock_ticks_per_second().max(1);
    let nanos = (ticks % second).saturating_mul(1_000_000_000) / second;
    let start = Duration::from_secs(ticks / second) + Duration::from_nanos(nanos);
    let now = clock_gettime(ClockId::Boottime);
    let now = Duration::new(
        u64::try_from(now.tv_sec).unwrap_or_default(),
        u32::try_from(now.tv_nsec).unwrap_or_default(),
    );
    Ok(now.saturating_sub(start))
}

fn is_in(host: &Host, process: &PinnedPeer, candidate: &Candidate) -> Fact<bool> {
    let (_id, cgroups) = cgroups_now(host, process)?;
    let cgroups = cgroups?;
    Ok(candidate
        .hierarchy
        .path(&cgroups)
        .is_some_and(|path| candidate.holds(path)))
}

/// Whether the subject's PID namespace is that of `init` or lies below it.
fn is_below(subject: &Subject<'_>, init: &PinnedPeer) -> Result<bool, Errno> {
    let root = &subject.host.root;
    let wanted = NamespaceId::of_process(init.directory(root)?, "pid")?;
    let mut namespace = subject.peer.directory(root)?.file("ns/pid")?;
    for _ in 0..MAX_DEPTH {
        if NamespaceId::of_handle(namespace.as_fd())? == wanted {
            return Ok(true);
        }
        match namespace_parent(namespace.as_fd()) {
            Ok(parent) => namespace = parent,
            // There is none, or it is outside of our own.
            Err(Errno::PERM) => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::is_too_young;
    use std::time::Duration;

    #[test]
    fn a_first_process_is_as_old_as_its_container() {
        let too_young = |process, container| {
            let container = time::Duration::milliseconds(container);
            is_too_young(Duration::from_millis(process), container)
        };
        assert!(!too_young(50, 0), "it starts before the container counts");
        assert!(!too_young(50, 140), "clocks tick");
        assert!(too_young(50, 1_000), "the number went to another process");
        assert!(too_young(9_999, 60_000));
        assert!(!too_young(10_000, 3_600_000), "the clock was set since");
        assert!(!too_young(50, -3_600_000));
    }
}
