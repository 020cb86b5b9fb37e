//! What attestors hand in.
//!
//! Owns the two outcomes that a fact can have: known, and then a [`Selector`],
//! or unknown, and then a reason that an operator can act on. There is no
//! third one: an attestor that cannot read something says so here, so that
//! "has none" and "could not be seen" stay apart in the evidence.

use crate::{
    evidence::{CodeEvidence, ContainerEvidence, Unknown},
    procfs::ReadError,
    selector::Selector,
};
use rustix::io::Errno;
use std::{borrow::Cow, fmt::Display};

/// Why a fact is unknown.
pub(crate) type Reason = Cow<'static, str>;

/// A fact about a process, or why it is unknown.
pub(crate) type Fact<T> = Result<T, Reason>;

/// The selectors of one attestation, and what is missing among them.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    selectors: Vec<Selector>,
    unknown: Vec<Unknown>,
    /// The container that the process was found in.
    pub(crate) container: Option<ContainerEvidence>,
    /// What the process can execute, beside the selectors.
    pub(crate) code: Option<CodeEvidence>,
}

impl Findings {
    /// Adds the selector `key:value`. A value that no selector can hold makes it unknown.
    pub(crate) fn know(&mut self, key: &'static str, value: impl Display) {
        match format!("{key}:{value}").parse() {
            Ok(selector) => self.selectors.push(selector),
            Err(error) => self.lack(key, error.to_string().into()),
        }
    }

    /// Says that the selectors that begin with `key` could not be found out.
    pub(crate) fn lack(&mut self, key: &'static str, reason: Reason) {
        self.unknown.push(Unknown {
            reason,
            selector: key,
        });
    }

    /// Adds the selector of a fact, whichever it turned out to be.
    pub(crate) fn report(&mut self, key: &'static str, fact: Fact<impl Display>) {
        match fact {
            Ok(value) => self.know(key, value),
            Err(reason) => self.lack(key, reason),
        }
    }

    /// The selectors until now, sorted and each one once.
    pub(crate) fn known(&mut self) -> &[Selector] {
        self.selectors.sort_unstable();
        self.selectors.dedup();
        &self.selectors
    }

    /// The selectors, sorted and each one once, and what is unknown.
    pub(crate) fn finish(mut self) -> (Vec<Selector>, Vec<Unknown>) {
        self.known();
        (self.selectors, self.unknown)
    }
}

/// Why the kernel did not let the agent read `file` of a process, in words.
pub(crate) fn unread(file: &str, error: ReadError) -> Reason {
    match error {
        ReadError::System(Errno::ACCESS | Errno::PERM) => {
            format!("{file}: the agent may not read it without CAP_SYS_PTRACE").into()
        }
        error => format!("{file}: {error}").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::Findings;

    #[test]
    fn selectors_are_sorted_and_each_there_once() {
        let mut findings = Findings::default();
        findings.know("unix:uid", 7);
        findings.know("cgroup:path", "/a");
        findings.know("unix:uid", 7);
        let (selectors, unknown) = findings.finish();
        let texts: Vec<_> = selectors.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["cgroup:path:/a", "unix:uid:7"]);
        assert!(unknown.is_empty());
    }

    #[test]
    fn a_value_that_no_selector_holds_is_unknown() {
        let mut findings = Findings::default();
        findings.know("unix:path", "/a\u{202e}b");
        let (selectors, unknown) = findings.finish();
        assert!(selectors.is_empty());
        assert_eq!(unknown[0].selector, "unix:path");
    }
}
