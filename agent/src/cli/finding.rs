//! What makes a registration weak, as the command line shows it.

use super::output::{printable, some};
use crate::lint;
use serde::Serialize;
use symbolon_proto::admin::{AcceptedWeaknesses, Finding};

/// One finding; `agent/doc/lint.md` has a section for each identifier.
#[derive(Clone, Debug, Serialize)]
pub(super) struct FindingView {
    pub(super) id: String,
    pub(super) severity: String,
    pub(super) selectors: Vec<String>,
    pointer: Option<String>,
    explanation: String,
    instead: String,
}

/// What an operator accepted.
#[derive(Clone, Debug, Serialize)]
pub(super) struct AcceptedView {
    findings: Vec<String>,
    reason: String,
}

impl From<Finding> for FindingView {
    fn from(finding: Finding) -> Self {
        Self {
            id: finding.id,
            severity: finding.severity,
            selectors: finding.selectors,
            pointer: some(finding.pointer),
            explanation: finding.explanation,
            instead: finding.instead,
        }
    }
}

impl From<&lint::Finding> for FindingView {
    fn from(finding: &lint::Finding) -> Self {
        Self {
            id: finding.weakness.id().to_owned(),
            severity: finding.severity.as_str().to_owned(),
            selectors: finding.selectors.iter().map(ToString::to_string).collect(),
            pointer: some(finding.pointer.clone()),
            explanation: finding.explanation.clone(),
            instead: finding.weakness.instead().to_owned(),
        }
    }
}

impl From<AcceptedWeaknesses> for AcceptedView {
    fn from(accepted: AcceptedWeaknesses) -> Self {
        Self {
            findings: accepted.findings,
            reason: accepted.reason,
        }
    }
}

impl FindingView {
    pub(super) fn all(findings: Vec<Finding>) -> Vec<Self> {
        findings.into_iter().map(Self::from).collect()
    }

    pub(super) fn is_serious(&self) -> bool {
        self.severity == "serious" || self.is_forbidden()
    }

    /// Those that matter most first.
    pub(super) fn rank(&self) -> u8 {
        match self.severity.as_str() {
            "forbidden" => 0,
            "serious" => 1,
            _ => 2,
        }
    }

    pub(super) fn is_forbidden(&self) -> bool {
        self.severity == "forbidden"
    }

    /// What is wrong, and where.
    pub(super) fn sentence(&self) -> String {
        match &self.pointer {
            None => format!("{}: {}", self.id, self.explanation),
            Some(pointer) => format!("{}: {pointer}: {}", self.id, self.explanation),
        }
    }

    /// What is wrong and what to do, in one line.
    pub(super) fn line(&self) -> String {
        printable(&format!("{}. {}", self.sentence(), self.instead))
    }

    /// The same in two, the second one further in.
    pub(super) fn lines(&self, indent: &str) -> String {
        let (severity, instead) = (printable(&self.severity), printable(&self.instead));
        let sentence = printable(&self.sentence());
        format!("{indent}{severity:<7}  {sentence}\n{indent}         {instead}\n")
    }
}

impl AcceptedView {
    pub(super) fn covers(&self, finding: &FindingView) -> bool {
        !finding.is_forbidden() && self.findings.contains(&finding.id)
    }

    pub(super) fn line(&self) -> String {
        format!("{}: {}", self.findings.join(", "), self.reason)
    }
}
