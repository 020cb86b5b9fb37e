//! The registration that a process suggests.

use crate::cli::{finding::FindingView, output::printable};
use serde::Serialize;
use symbolon_proto::admin::Proposal;

const REGISTER: &str = "symbolon client register NAME --owner OWNER";

/// Selectors to register a process by; `agent/doc/cli.md` documents the fields.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct Suggestion {
    /// The command to type, name and owner left open.
    command: String,
    /// Its options, each with its value.
    #[serde(skip)]
    options: Vec<String>,
    pub(in crate::cli) selectors: Vec<Proposed>,
    findings: Vec<FindingView>,
}

#[derive(Debug, Serialize)]
pub(in crate::cli) struct Proposed {
    pub(in crate::cli) selector: String,
    reason: String,
}

impl From<Proposal> for Suggestion {
    fn from(proposal: Proposal) -> Self {
        let findings = FindingView::all(proposal.findings);
        let selectors = proposal.selectors.into_iter().map(|proposed| Proposed {
            selector: proposed.selector,
            reason: proposed.reason,
        });
        let selectors: Vec<_> = selectors.collect();
        let options = options(&selectors, &findings);
        Self {
            command: format!("{REGISTER} {}", options.join(" ")),
            options,
            selectors,
            findings,
        }
    }
}

impl Suggestion {
    /// The command, then why, then what is weak about it.
    pub(super) fn table(&self, out: &mut String) {
        if self.selectors.is_empty() {
            out.push_str("Nothing is known of it that could be registered.\n");
            return;
        }
        out.push_str("To register this process:\n");
        out.push_str(&format!("  {REGISTER}"));
        for option in &self.options {
            out.push_str(&format!(" \\\n      {}", printable(option)));
        }
        out.push('\n');
        out.push_str(&self.why("  "));
    }

    /// Why these selectors, and what is weak about them.
    pub(in crate::cli) fn why(&self, indent: &str) -> String {
        let mut text = String::new();
        for Proposed { selector, reason } in &self.selectors {
            let kind: Vec<_> = selector.splitn(3, ':').take(2).collect();
            let kind = printable(&kind.join(":"));
            text.push_str(&format!("{indent}{kind}: {}\n", printable(reason)));
        }
        for finding in &self.findings {
            text.push_str(&format!(
                "{indent}weak, {}: {}\n",
                finding.severity,
                finding.line()
            ));
        }
        text
    }
}

fn options(selectors: &[Proposed], findings: &[FindingView]) -> Vec<String> {
    let selectors = selectors.iter();
    let mut options: Vec<_> = selectors
        .map(|proposed| format!("--selector {}", quoted(&proposed.selector)))
        .collect();
    if findings.iter().any(FindingView::is_serious) {
        options.push("--accept-weak REASON".to_owned());
    }
    options
}

/// One word for a shell: paths are chosen by others.
fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./:@+,=".contains(c);
    if text.chars().all(is_plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn what_others_choose_stays_one_word_of_a_shell() {
        assert_eq!(quoted("unix:path:/usr/bin/app"), "unix:path:/usr/bin/app");
        assert_eq!(quoted("unix:path:/a b"), "'unix:path:/a b'");
        assert_eq!(quoted("x:$(id)`id`'; id"), r"'x:$(id)`id`'\''; id'");
    }
}
