//! What has to be proved of a connection before anything leaves on it, and what
//! this machine can prove.

use std::{
    io::Write as _,
    os::{fd::AsFd as _, unix::net::UnixStream},
};
use symbolon_attestors::Attestor;
use symbolon_syscalls::{receive, set_passcred};

/// How the peer's end has to be held.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum HeldRequirement {
    /// With close-on-exec.
    CloseOnExec,
    /// With it or without.
    Any,
    /// It need not be known. Where it is known that it is not held, that still counts.
    None,
}

/// What has to be proved of a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Requirements {
    /// The kernel named the very process that connected.
    pub pidfd: bool,
    /// How its end of the socket is held.
    pub held: HeldRequirement,
    /// A PING is answered by the process, and every byte is its own.
    pub answered: bool,
}

impl Requirements {
    /// What is demanded where the kernel has all of it.
    pub const STANDARD: Self = Self {
        pidfd: true,
        held: HeldRequirement::Any,
        answered: true,
    };

    /// What of [`Self::STANDARD`] can be proved on this machine; found out by trying.
    #[must_use]
    pub fn possible(attestor: &Attestor) -> Self {
        let capabilities = attestor.capabilities();
        Self {
            pidfd: capabilities.pidfd,
            held: if capabilities.held {
                HeldRequirement::Any
            } else {
                HeldRequirement::None
            },
            answered: UnixStream::pair().is_ok_and(|(ours, theirs)| stamps(&ours, &theirs)),
        }
    }

    /// Each word of the configuration, and whether it is demanded.
    #[must_use]
    pub fn words(self) -> [(&'static str, bool); 4] {
        [
            ("pidfd", self.pidfd),
            ("held", self.held == HeldRequirement::CloseOnExec),
            ("held-or-inheritable", self.held != HeldRequirement::None),
            ("answered", self.answered),
        ]
    }

    /// What `self` demands that `possible` does not have, in the words of the configuration.
    #[must_use]
    pub fn beyond(self, possible: Self) -> Vec<&'static str> {
        let held = self.held != HeldRequirement::None && possible.held == HeldRequirement::None;
        [
            (self.pidfd && !possible.pidfd, "pidfd"),
            (held, "held"),
            (self.answered && !possible.answered, "answered"),
        ]
        .into_iter()
        .filter_map(|(lacks, word)| lacks.then_some(word))
        .collect()
    }

    /// What is weaker than [`Self::STANDARD`], in sentences for the operator.
    #[must_use]
    pub fn limitations(self) -> Vec<String> {
        let sentences = [
            (
                !self.pidfd,
                "pidfd is not required: a caller may be pinned by process ID and start time",
            ),
            (
                self.held == HeldRequirement::None,
                "held is not required: a program may be given the socket of another one, which \
                 then answers in its place",
            ),
            (
                !self.answered,
                "answered is not required: the bytes of a connection may be another process's \
                 than the one that connected",
            ),
        ];
        let weaker = sentences.into_iter().filter(|(weaker, _)| *weaker);
        weaker.map(|(_, sentence)| sentence.to_owned()).collect()
    }
}

/// Whether the kernel names us as the writer of what we write.
fn stamps(ours: &UnixStream, theirs: &UnixStream) -> bool {
    let mut byte = [0];
    let mut theirs = theirs;
    set_passcred(ours.as_fd()).is_ok()
        && theirs.write_all(b"?").is_ok()
        && receive(ours.as_fd(), &mut byte)
            .is_ok_and(|received| !received.other && received.sender == Some(std::process::id()))
}

#[cfg(test)]
mod tests {
    use super::{HeldRequirement, Requirements};
    use symbolon_attestors::{Attestor, AttestorConfig};

    const NOTHING: Requirements = Requirements {
        pidfd: false,
        held: HeldRequirement::None,
        answered: false,
    };

    #[test]
    fn what_cannot_be_proved_is_named() {
        let strict = Requirements {
            held: HeldRequirement::CloseOnExec,
            ..Requirements::STANDARD
        };
        assert_eq!(strict.beyond(NOTHING), ["pidfd", "held", "answered"]);
        assert!(strict.beyond(Requirements::STANDARD).is_empty());
        assert!(NOTHING.beyond(NOTHING).is_empty());
        assert_eq!(NOTHING.limitations().len(), 3);
        assert!(Requirements::STANDARD.limitations().is_empty());
    }

    #[test]
    fn a_forced_fallback_pin_is_no_pidfd() {
        let config = AttestorConfig {
            force_fallback_pin: true,
            ..AttestorConfig::default()
        };
        let possible = Requirements::possible(&Attestor::new(config).unwrap());
        assert!(!possible.pidfd);
        assert!(possible.answered, "every Linux stamps");
    }
}
