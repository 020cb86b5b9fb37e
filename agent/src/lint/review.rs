//! Whether a registration may be put in force: judged, and what is accepted of it.

use super::{Finding, Linter, Subject};
use crate::registry::{
    Acceptance, AcceptedWeaknesses, ClientDraft, ClientName, Snapshot, WeaknessReason,
};
use std::{
    fmt::{self, Display, Formatter},
    sync::Arc,
};

/// What was found about a registration that is asked for.
#[derive(Clone, Debug, Default)]
pub struct Judged {
    /// All of it, serious findings first.
    pub findings: Vec<Finding>,
    /// The serious ones that nobody has accepted.
    refused: Vec<Finding>,
}

/// A registration that is too weak to be put in force without a reason.
#[derive(Clone, Debug, thiserror::Error)]
pub struct Weak(Vec<Finding>);

impl Judged {
    /// Whether it may be put in force.
    ///
    /// # Errors
    /// Where it is weak, and nobody has accepted that.
    pub fn check(&self) -> Result<(), Weak> {
        if self.refused.is_empty() {
            Ok(())
        } else {
            Err(Weak(self.refused.clone()))
        }
    }
}

impl Weak {
    /// The serious findings that nobody has accepted.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.0
    }
}

impl Display for Weak {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut ids: Vec<_> = self.0.iter().map(|f| f.weakness.id()).collect();
        ids.sort_unstable();
        ids.dedup();
        write!(f, "the registration is weak: {}", ids.join(", "))
    }
}

impl Linter {
    /// Judges what is asked for, and notes in `draft` what is accepted by it: what `reason`
    /// accepts now, or what was accepted before for the same selector sets.
    pub async fn review(
        &self,
        name: &ClientName,
        draft: &mut ClientDraft,
        reason: Option<WeaknessReason>,
        snapshot: Arc<Snapshot>,
    ) -> Judged {
        draft.accepted_weaknesses = None;
        // What is no selector set is refused by the registry, which says why.
        let Ok(sets) = draft.selector_sets() else {
            return Judged::default();
        };
        let before = snapshot
            .client(name)
            .filter(|client| *client.spec().selector_sets() == *sets)
            .cloned();
        let before = before.as_ref().and_then(|c| c.spec().accepted_weaknesses());
        let subject = Subject {
            name: Some(name.clone()),
            owner: draft.owner.trim().to_owned(),
            sets: sets.into(),
            any_audience: draft.audiences.iter().any(|audience| audience == "*"),
        };
        let findings = self.judge(subject, snapshot).await;
        let serious: Vec<_> = findings.iter().filter(|f| f.is_serious()).collect();
        let refused = match (&reason, before) {
            (Some(_), _) => Vec::new(),
            (None, accepted) => serious
                .iter()
                .filter(|finding| !covers(accepted, finding))
                .map(|finding| Finding::clone(finding))
                .collect(),
        };
        let reason = reason.or_else(|| before.map(|before| before.reason().clone()));
        if let (false, Some(reason)) = (serious.is_empty(), reason) {
            draft.accepted_weaknesses = Some(Acceptance {
                findings: serious.iter().map(|f| f.weakness.id().to_owned()).collect(),
                reason: reason.as_str().to_owned(),
            });
        }
        Judged { findings, refused }
    }
}

fn covers(accepted: Option<&AcceptedWeaknesses>, finding: &Finding) -> bool {
    accepted.is_some_and(|accepted| accepted.covers(finding.weakness.id()))
}
