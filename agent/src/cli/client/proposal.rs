//! Which of a process's selectors to register it by.
//!
//! Few and strong: who runs it, and which program it is. The digest where it
//! is known, since it says more than a path; the path otherwise. The cgroup of
//! a service, since only the service manager puts processes there. All other
//! facts are shown, so that an operator can name them instead.

use crate::cli::output::printable;
use symbolon_proto::admin::{AttestProcessResponse, UnknownFact};

/// Programs that run other programs: their digest says nothing about the script.
const INTERPRETERS: [&str; 12] = [
    "bash", "bun", "dash", "deno", "java", "node", "perl", "php", "pypy", "python", "ruby", "sh",
];

/// The proposed selectors, and what speaks for and against them.
#[derive(Debug)]
pub(super) struct Proposal {
    pub(super) selectors: Vec<String>,
    others: Vec<String>,
    unknown: Vec<UnknownFact>,
    warnings: Vec<String>,
}

impl Proposal {
    pub(super) fn of(seen: &AttestProcessResponse) -> Self {
        let digest = seen.selectors.iter().any(|s| s.starts_with("unix:sha256:"));
        let (selectors, others) = seen.selectors.iter().cloned().partition(|selector| {
            selector.starts_with("unix:uid:")
                || selector.starts_with("unix:sha256:")
                || (!digest && selector.starts_with("unix:path:"))
                || (selector.starts_with("cgroup:path:") && selector.ends_with(".service"))
        });
        let mut proposal = Self {
            selectors,
            others,
            unknown: seen.unknown.clone(),
            warnings: Vec::new(),
        };
        proposal.weigh(digest, seen);
        proposal
    }

    fn weigh(&mut self, digest: bool, seen: &AttestProcessResponse) {
        if !digest {
            self.warnings.push(
                "The program's digest is unknown: whoever may replace the file gets the identity."
                    .to_owned(),
            );
        }
        let path = seen
            .selectors
            .iter()
            .find_map(|s| s.strip_prefix("unix:path:"));
        let program = path.and_then(|path| path.rsplit('/').next());
        if let Some(program) = program.filter(|program| interprets(program)) {
            self.warnings.push(format!(
                "{program} runs scripts, and its digest does not say which: give each script's \
                 client a uid or a service of its own."
            ));
        }
    }

    /// What is proposed and why, for a reader.
    pub(super) fn explanation(&self, pid: i32) -> String {
        let mut text = format!("Process {pid} is seen with these selectors:\n");
        for (mark, selectors) in [("*", &self.selectors), (" ", &self.others)] {
            for selector in selectors {
                text.push_str(&format!("  {mark} {}\n", printable(selector)));
            }
        }
        for fact in &self.unknown {
            let (selector, reason) = (printable(&fact.selector), printable(&fact.reason));
            text.push_str(&format!("  ? {selector}  {reason}\n"));
        }
        text.push_str("Those with * are proposed.\n");
        for warning in &self.warnings {
            text.push_str(&format!("Weak: {}\n", printable(warning)));
        }
        text
    }
}

/// Whether `program` is an interpreter, whatever its version: `python3.13`, `node`.
fn interprets(program: &str) -> bool {
    let name = program.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.' || c == '-');
    INTERPRETERS.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::{Proposal, interprets};
    use symbolon_proto::admin::AttestProcessResponse;

    fn proposal(selectors: &[&str]) -> Proposal {
        Proposal::of(&AttestProcessResponse {
            selectors: selectors.iter().map(ToString::to_string).collect(),
            ..AttestProcessResponse::default()
        })
    }

    #[test]
    fn uid_and_digest_are_proposed_before_a_path() {
        let proposal = proposal(&[
            "unix:gid:5",
            "unix:path:/bin/app",
            "unix:sha256:ab",
            "unix:uid:5",
        ]);
        assert_eq!(proposal.selectors, ["unix:sha256:ab", "unix:uid:5"]);
        assert!(proposal.warnings.is_empty());
    }

    #[test]
    fn a_path_stands_in_for_an_unknown_digest() {
        let proposal = proposal(&["unix:path:/bin/app", "unix:uid:5"]);
        assert_eq!(proposal.selectors, ["unix:path:/bin/app", "unix:uid:5"]);
        assert!(
            proposal
                .explanation(7)
                .contains("Weak: The program's digest is unknown")
        );
    }

    #[test]
    fn the_cgroup_of_a_service_is_proposed_and_that_of_a_session_is_not() {
        let service = "cgroup:path:/system.slice/app.service";
        let proposal = proposal(&[service, "cgroup:path:/user.slice/session-1.scope"]);
        assert_eq!(proposal.selectors, [service]);
    }

    #[test]
    fn interpreters_are_warned_about() {
        let proposal = proposal(&[
            "unix:path:/usr/bin/python3.13",
            "unix:sha256:ab",
            "unix:uid:5",
        ]);
        assert!(
            proposal
                .warnings
                .concat()
                .contains("python3.13 runs scripts")
        );
        assert!(interprets("node") && !interprets("nodemon") && !interprets("7"));
    }
}
