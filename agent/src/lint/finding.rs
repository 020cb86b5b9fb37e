//! What can be weak about a registration: stable words, severities, advice.
//!
//! `agent/doc/lint.md` has a section for each word; a test compares.

use symbolon_attestors::Selector;

/// How much a weakness matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing.
    Notice,
    /// Others than meant can have the identity: refused unless accepted with a reason.
    Serious,
}

impl Severity {
    /// The word for it in answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Notice => "notice",
            Self::Serious => "serious",
        }
    }
}

macro_rules! weaknesses {
    ($($(#[$doc:meta])* $name:ident = $id:literal, $instead:literal;)*) => {
        /// A kind of weakness.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Weakness {
            $($(#[$doc])* $name,)*
        }

        impl Weakness {
            /// All of them, in the order of their words.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The stable word for it.
            #[must_use]
            pub const fn id(self) -> &'static str {
                match self {
                    $(Self::$name => $id,)*
                }
            }

            /// What to use instead.
            #[must_use]
            pub const fn instead(self) -> &'static str {
                match self {
                    $(Self::$name => $instead,)*
                }
            }
        }
    };
}

weaknesses! {
    /// The audience `*`.
    AnyAudience = "any-audience",
        "List the audiences that the client needs.";
    /// A digest or path without any word on who runs it.
    AnybodyRunsIt = "anybody-runs-it",
        "Add who runs it: its own unix:uid, a systemd:id or a container's image digest.";
    /// Words on loaded files that leave executable memory of no file open.
    CodeWithoutJit = "code-without-jit",
        "Add code:jit:false, unless the program makes code while it runs.";
    /// A fact that does not outlive a restart.
    EndsWithRestart = "ends-with-restart",
        "Name what comes back: the systemd unit, the image digest, the uid.";
    /// A program that runs other programs' text.
    Interpreter = "interpreter",
        "Give the script a systemd unit, a container image or a uid of its own, and name that.";
    /// A user that people log in as, or root.
    LoginUser = "login-user",
        "Run the client as a user of its own, which nobody logs in as, or as a systemd unit.";
    /// Hundreds of processes fit now.
    ManyProcesses = "many-processes",
        "Add what only this client's processes have: unit, image digest, program digest.";
    /// There is no such file.
    MissingPath = "missing-path",
        "Install the program first, or register it by its digest.";
    /// A program that passes on what it is told.
    Mouthpiece = "mouthpiece",
        "Register the program behind it, by digest, with a unit or a uid of its own.";
    /// The machine did not answer in time.
    NotJudged = "not-judged",
        "Look at the path and its file system, then ask again with: symbolon client lint NAME";
    /// Another client fits the same processes.
    Overlap = "overlap",
        "Add to each set what the other client's processes do not have.";
    /// Symbolon itself.
    OwnBinary = "own-binary",
        "Register the program that uses the identity; it can ask the socket itself.";
    /// Nothing but what the process, or who starts it, chooses.
    SelfChosen = "self-chosen",
        "Add a fact that the kernel or the service manager decides: uid, unit, image digest.";
    /// A user that many programs share.
    SharedUser = "shared-user",
        "Give the client a uid of its own, or name its unit or image digest.";
    /// A link, and not the file that it leads to.
    SymlinkPath = "symlink-path",
        "Name the file that the link leads to: realpath PATH shows it.";
    /// A type that no attestor makes.
    UnknownType = "unknown-type",
        "Use the selectors that symbolon attest --pid PID shows.";
    /// A file that others can replace.
    WritablePath = "writable-path",
        "Install the program where only root can write, or add its unix:sha256.";
}

/// One weakness of one registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which.
    pub weakness: Weakness,
    /// How much it matters here.
    pub severity: Severity,
    /// The selector set that is meant; empty where it is the whole registration.
    pub selectors: Vec<Selector>,
    /// Why, in a sentence about this registration.
    pub explanation: String,
}

impl Finding {
    /// Whether it keeps the registration from being put in force unless it is accepted.
    #[must_use]
    pub const fn is_serious(&self) -> bool {
        matches!(self.severity, Severity::Serious)
    }
}

/// Collects what is found in one selector set.
#[derive(Debug)]
pub(super) struct Findings<'a> {
    selectors: &'a [Selector],
    found: Vec<Finding>,
}

impl<'a> Findings<'a> {
    pub(super) const fn about(selectors: &'a [Selector]) -> Self {
        Self {
            selectors,
            found: Vec::new(),
        }
    }

    pub(super) fn add(
        &mut self,
        weakness: Weakness,
        severity: Severity,
        explanation: impl Into<String>,
    ) {
        self.found.push(Finding {
            weakness,
            severity,
            selectors: self.selectors.to_vec(),
            explanation: explanation.into(),
        });
    }

    pub(super) fn into_vec(self) -> Vec<Finding> {
        self.found
    }
}

#[cfg(test)]
mod tests {
    use super::Weakness;
    use std::{fs, path::Path};

    #[test]
    fn words_are_sorted_and_documented() {
        let ids: Vec<_> = Weakness::ALL.iter().map(|weakness| weakness.id()).collect();
        assert!(ids.is_sorted());
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("doc/lint.md");
        let page = fs::read_to_string(page).unwrap();
        let documented: Vec<_> = page
            .lines()
            .filter_map(|line| line.strip_prefix("### "))
            .collect();
        assert_eq!(ids, documented);
    }
}
