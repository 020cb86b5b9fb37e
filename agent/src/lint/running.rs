//! How many running processes a selector set fits.
//!
//! What costs nothing is read of every process, once for all judgements of a
//! second. A set that names more than that (a digest, a unit, an image) is
//! compared in full only with the processes that fit its cheap part, one after
//! the other, within a deadline; the count is then "at least". What that takes is
//! on the operators' account, and not on those of the processes' users.

use super::finding::{Finding, Findings, Severity, Weakness};
use crate::{clock::SharedClock, registry::SelectorSet};
use std::{collections::HashMap, sync::Arc, time::Duration};
use symbolon_attestors::{Attestor, Kind, Kinds, Selector};
use tokio::{
    sync::Mutex,
    task::spawn_blocking,
    time::{Instant, timeout_at},
};

/// So many processes are hardly one client's.
const MANY: usize = 100;

/// Processes that are looked at.
const MAX_PROCESSES: usize = 4_096;

/// Time for attesting processes in full.
const DEADLINE: Duration = Duration::from_secs(2);

/// How long one look at all processes serves.
const FRESH: Duration = Duration::from_secs(1);

/// A process and what a glance shows of it.
type Seen = (u32, Vec<Selector>);

/// Looks at the running processes.
#[derive(Debug)]
pub(super) struct Running {
    attestor: Arc<Attestor>,
    clock: SharedClock,
    last: Mutex<Option<(Instant, Arc<[Seen]>)>>,
}

impl Running {
    pub(super) fn new(attestor: Arc<Attestor>, clock: SharedClock) -> Self {
        Self {
            attestor,
            clock,
            last: Mutex::default(),
        }
    }

    /// Whether a set fits hundreds of them.
    pub(super) async fn judge(&self, set: &SelectorSet) -> Option<Finding> {
        let seen = self.look().await;
        let (cheap, dear): (Vec<_>, Vec<_>) = set.selectors().iter().partition(|s| is_cheap(s));
        let fits = |(_, present): &&Seen| {
            let mut cheap = cheap.iter();
            cheap.all(|selector| present.binary_search(selector).is_ok())
        };
        let candidates = crowds_first(&seen.iter().filter(fits).collect::<Vec<_>>());
        if candidates.len() < MANY {
            return None;
        }
        let count = if dear.is_empty() {
            candidates.len()
        } else {
            self.attested(set, &candidates).await
        };
        (count >= MANY).then(|| {
            let mut findings = Findings::about(set.selectors());
            let text = format!("at least {count} running processes fit it now");
            findings.add(Weakness::ManyProcesses, Severity::Serious, text);
            findings.into_vec().pop()
        })?
    }

    /// All processes at a glance.
    async fn look(&self) -> Arc<[Seen]> {
        let mut last = self.last.lock().await;
        if let Some((at, seen)) = &*last
            && at.elapsed() < FRESH
        {
            return Arc::clone(seen);
        }
        let (attestor, now) = (Arc::clone(&self.attestor), self.clock.now());
        let seen = spawn_blocking(move || {
            let running = attestor.running(MAX_PROCESSES).unwrap_or_default();
            let seen = running
                .into_iter()
                .filter_map(|pid| Some((pid, attestor.glance(pid, now)?)));
            seen.collect::<Arc<[Seen]>>()
        });
        let seen = seen.await.unwrap_or_default();
        *last = Some((Instant::now(), Arc::clone(&seen)));
        seen
    }

    /// How many of the candidates fit, until there are many or the time is over.
    async fn attested(&self, set: &SelectorSet, candidates: &[u32]) -> usize {
        let kinds: Kinds = set.selectors().iter().filter_map(Kind::of).collect();
        let deadline = Instant::now() + DEADLINE;
        let mut count = 0;
        for pid in candidates {
            if count >= MANY || Instant::now() >= deadline {
                break;
            }
            let Ok(peer) = self.attestor.pin_for_operator(*pid).map(Arc::new) else {
                continue;
            };
            let Ok(image) = self.attestor.look(&peer) else {
                continue;
            };
            let attested = self.attestor.attest(&peer, &image, kinds, self.clock.now());
            if let Ok(Ok(attestation)) = timeout_at(deadline, attested).await
                && set.holds(attestation.selectors())
            {
                count += 1;
            }
        }
        count
    }
}

/// The processes in an order in which those of a program that many run come first: where there are
/// hundreds, they are found there, and one file is hashed for all of them.
fn crowds_first(seen: &[&Seen]) -> Vec<u32> {
    let mut programs: HashMap<Option<&Selector>, Vec<u32>> = HashMap::new();
    for (pid, present) in seen.iter().copied() {
        let mut present = present.iter();
        let path = present.find(|selector| selector.as_str().starts_with("unix:path:"));
        programs.entry(path).or_default().push(*pid);
    }
    let mut crowds: Vec<_> = programs.into_values().collect();
    crowds.sort_unstable_by_key(|crowd| std::cmp::Reverse(crowd.len()));
    crowds.concat()
}

/// Whether a glance shows it.
fn is_cheap(selector: &Selector) -> bool {
    match selector.kind() {
        "unix" => !selector.as_str().starts_with("unix:sha256:"),
        _ => selector.as_str().starts_with("cgroup:path:"),
    }
}

#[cfg(test)]
mod tests {
    use super::{MANY, Running};
    use crate::{clock::ManualClock, registry::SelectorSet};
    use std::{
        process::{Child, Command, Stdio},
        sync::Arc,
        time::{Duration, UNIX_EPOCH},
    };
    use symbolon_attestors::{Attestor, AttestorConfig, Kinds, Selector};

    fn running() -> Running {
        let attestor = Attestor::new(AttestorConfig::default()).unwrap();
        let now = UNIX_EPOCH + Duration::from_secs(1_795_000_000);
        Running::new(Arc::new(attestor), Arc::new(ManualClock::new(now)))
    }

    fn set(texts: &[String]) -> SelectorSet {
        SelectorSet::parse(texts).unwrap()
    }

    /// Processes that wait for the end of their input.
    struct Crowd(Vec<Child>);

    impl Crowd {
        fn of(count: usize) -> Self {
            let mut cat = Command::new("/bin/cat");
            cat.stdin(Stdio::piped());
            Self((0..count).map(|_| cat.spawn().unwrap()).collect())
        }
    }

    impl Drop for Crowd {
        fn drop(&mut self) {
            for child in &mut self.0 {
                child.kill().unwrap_or_default();
                child.wait().map(drop).unwrap_or_default();
            }
        }
    }

    #[tokio::test]
    async fn hundreds_of_processes_are_counted_also_by_digest() {
        let crowd = Crowd::of(MANY);
        let running = running();
        let pid = crowd.0[0].id();
        let peer = Arc::new(running.attestor.pin_pid(pid).unwrap());
        let image = running.attestor.look(&peer).unwrap();
        let now = running.clock.now();
        let attested = running.attestor.attest(&peer, &image, Kinds::NONE, now);
        let seen = attested.await.unwrap();
        let of = |prefix: &str| -> String {
            let selector = seen.selectors().iter().map(Selector::as_str);
            let mut selector = selector.filter(|text| text.starts_with(prefix));
            selector.next().unwrap().to_owned()
        };
        for texts in [
            vec![of("unix:path:")],
            vec![of("unix:uid:"), of("unix:sha256:")],
        ] {
            let found = running.judge(&set(&texts)).await;
            assert!(
                found.unwrap().explanation.contains("running processes"),
                "{texts:?}"
            );
        }
        let other = vec![of("unix:uid:"), format!("unix:sha256:{}", "ab".repeat(32))];
        assert_eq!(running.judge(&set(&other)).await, None);
        assert_eq!(
            running.judge(&set(&["unix:uid:4294967".into()])).await,
            None
        );
    }
}
