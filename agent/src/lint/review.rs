//! Whether a registration may be put in force: judged, and what is accepted of it.

use super::{Finding, Linter, Subject, document, overlap};
use crate::registry::{
    Acceptance, AcceptedWeaknesses, ClientDraft, ClientName, ClientSpec, Snapshot, WeaknessReason,
};
use futures_util::future::join_all;
use std::{
    cmp::Reverse,
    fmt::{self, Display, Formatter},
    sync::Arc,
};

/// Registrations that are judged at the same time: each has a deadline, and waits for a thread.
const TOGETHER: usize = 32;

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
        let what = match self.0.iter().any(Finding::is_forbidden) {
            true => "the registration breaks rules that no reason outweighs",
            false => "the registration is weak",
        };
        write!(f, "{what}: {}", ids.join(", "))
    }
}

/// A registration that is asked for.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Of which client.
    pub name: ClientName,
    /// What is asked for. What is accepted of it is noted here.
    pub draft: ClientDraft,
    /// Why it is wanted all the same, where it is weak.
    pub reason: Option<WeaknessReason>,
}

impl Linter {
    /// Judges what is asked for, and notes in its draft what is accepted by it: what the reason
    /// accepts now, or what was accepted before for the same selector sets.
    pub async fn review(&self, asked: &mut Asked, snapshot: &Arc<Snapshot>) -> Judged {
        asked.draft.accepted_weaknesses = None;
        match self.found(asked, snapshot).await {
            Some((_, findings)) => asked.conclude(findings, snapshot),
            None => Judged::default(),
        }
    }

    /// Judges what awaits approval: machine and registry may have changed since it was proposed.
    /// What was accepted then stays accepted, and nothing else is.
    pub async fn review_again(
        &self,
        name: &ClientName,
        spec: &ClientSpec,
        snapshot: &Arc<Snapshot>,
    ) -> Judged {
        let subject = Subject::of_spec(name, spec);
        let findings = self.judge(subject, Arc::clone(snapshot)).await;
        let accepted = spec.accepted_weaknesses();
        let serious = findings.iter().filter(|finding| finding.is_serious());
        let refused =
            serious.filter(|finding| finding.is_forbidden() || !covers(accepted, finding));
        Judged {
            refused: refused.cloned().collect(),
            findings,
        }
    }

    /// As [`Self::review`], for registrations that are made in this order, each beside those
    /// before it that may be put in force.
    pub async fn review_all(&self, asked: &mut [Asked], snapshot: &Arc<Snapshot>) -> Vec<Judged> {
        for asked in &mut *asked {
            asked.draft.accepted_weaknesses = None;
        }
        // Some take longer, and the machine is the same for all.
        let mut found = Vec::with_capacity(asked.len());
        for some in asked.chunks(TOGETHER) {
            let some = some.iter().map(|asked| self.found(asked, snapshot));
            found.extend(join_all(some).await);
        }
        let (mut made, mut documents) = (Vec::new(), Vec::new());
        let judged = asked.iter_mut().zip(found).map(|(asked, found)| {
            let Some((subject, mut findings)) = found else {
                return Judged::default();
            };
            findings.extend(overlap::among(&subject, &made));
            let document = subject.document(self.policy());
            if let Some(document) = &document {
                findings.extend(document::among(&subject, document, &documents));
            }
            findings.sort_by_key(|finding| Reverse(finding.severity));
            let judged = asked.conclude(findings, snapshot);
            if judged.check().is_ok() {
                documents.extend(subject.name.clone().zip(document));
                made.push(subject);
            }
            judged
        });
        judged.collect()
    }

    /// What is found about a registration. What is no selector set is refused by the registry, which
    /// says why.
    async fn found(
        &self,
        asked: &Asked,
        snapshot: &Arc<Snapshot>,
    ) -> Option<(Subject, Vec<Finding>)> {
        let draft = &asked.draft;
        let subject = Subject {
            name: Some(asked.name.clone()),
            owner: draft.owner.trim().to_owned(),
            sets: draft.selector_sets().ok()?.into(),
            any_audience: draft.audiences.iter().any(|audience| audience == "*"),
            metadata: draft.metadata.clone(),
            spiffe_id: draft.spiffe_id.clone(),
        };
        let findings = self.judge(subject.clone(), Arc::clone(snapshot)).await;
        Some((subject, findings))
    }
}

impl Asked {
    fn conclude(&mut self, findings: Vec<Finding>, snapshot: &Snapshot) -> Judged {
        let draft = &mut self.draft;
        let sets = draft.selector_sets().unwrap_or_default();
        let before = snapshot
            .client(&self.name)
            .filter(|client| *client.spec().selector_sets() == *sets);
        let metadata = before.and_then(|client| client.spec().metadata());
        let says_the_same = match (&draft.metadata, metadata) {
            (Some(asked), Some(before)) => asked.says(before),
            (asked, before) => asked.is_none() && before.is_none(),
        };
        let before = before.and_then(|client| client.spec().accepted_weaknesses());
        // What was accepted of one document is not accepted of another.
        let is_accepted = |finding: &Finding| {
            covers(before, finding) && (finding.pointer.is_empty() || says_the_same)
        };
        let serious: Vec<_> = findings.iter().filter(|f| f.is_serious()).collect();
        let is_refused = |finding: &&&Finding| {
            let accepted = self.reason.is_some() || is_accepted(finding);
            finding.is_forbidden() || !accepted
        };
        let refused = serious.iter().filter(is_refused);
        let refused = refused.map(|finding| Finding::clone(finding)).collect();
        let serious: Vec<_> = serious.iter().filter(|f| !f.is_forbidden()).collect();
        let reason = self
            .reason
            .as_ref()
            .or_else(|| before.map(AcceptedWeaknesses::reason));
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
