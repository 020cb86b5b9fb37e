//! Looking at many processes without waiting for any.
//!
//! For operators' questions about the whole machine: how many processes would a
//! registration fit. What is found here entitles nobody to anything.

use super::{Attestor, Facts};
use crate::{cgroup, findings::Findings, selector::Selector, unix};
use rustix::{fs::Dir, io::Errno};
use std::time::SystemTime;

impl Attestor {
    /// The numbers of the processes that run now, at most `limit`.
    ///
    /// # Errors
    /// Where `/proc` cannot be listed.
    pub fn running(&self, limit: usize) -> Result<Vec<u32>, Errno> {
        let directory = Dir::new(self.host.root.file(".")?)?;
        let numbers = directory.filter_map(|entry| {
            let entry = entry.ok()?;
            entry.file_name().to_str().ok()?.parse().ok()
        });
        Ok(numbers.take(limit).collect())
    }

    /// What `unix` and `cgroup` see of a process, but for its program's digest, sorted. `None`
    /// where it is gone, or shows nothing.
    #[must_use]
    pub fn glance(&self, pid: u32, at: SystemTime) -> Option<Vec<Selector>> {
        let peer = self.pin_pid(pid).ok()?;
        let facts = Facts::read(&self.host, &peer).ok()?;
        let mut findings = Findings::default();
        let credentials = peer.credentials();
        unix::report_credentials(&self.host, credentials, &facts.groups, at, &mut findings);
        findings.report("unix:path", facts.path.as_ref().map_err(Clone::clone));
        let id = facts.cgroup_id;
        cgroup::report(&facts.cgroups, id, &self.host.cgroups, &mut findings);
        let (selectors, _unknown) = findings.finish();
        peer.is_alive().then_some(selectors)
    }
}

#[cfg(test)]
mod tests {
    use crate::{Attestor, AttestorConfig, Kinds};
    use std::{sync::Arc, time::SystemTime};

    #[tokio::test]
    async fn a_glance_sees_what_an_attestation_sees_but_for_the_digest() {
        let attestor = Attestor::new(AttestorConfig::default()).unwrap();
        let own = std::process::id();
        assert!(attestor.running(usize::MAX).unwrap().contains(&own));
        assert_eq!(attestor.running(1).unwrap().len(), 1);
        let at = SystemTime::UNIX_EPOCH;
        let glance = attestor.glance(own, at).unwrap();
        let peer = Arc::new(attestor.pin_pid(own).unwrap());
        let image = attestor.look(&peer).unwrap();
        let attested = attestor.attest(&peer, &image, Kinds::NONE, at);
        let full = attested.await.unwrap();
        let mut seen = full.selectors().to_vec();
        seen.retain(|selector| !selector.as_str().starts_with("unix:sha256:"));
        assert_eq!(glance, seen);
    }
}
