//! Clients whose processes are each other's, as far as the registry shows.
//!
//! A set that holds all selectors of another fits only processes that the other
//! fits too. Sets that have nothing to do with each other (a user here, a digest
//! there) can fit the same process as well; only the process shows that.

use super::{
    Subject,
    finding::{Finding, Findings, Severity, Weakness},
};
use crate::registry::{Client, ClientName, ClientState, SelectorSet, Snapshot};
use std::sync::Arc;

/// Clients that are searched for narrower sets: with more registrations, those after the first
/// by name are found when the narrower one is judged.
const MAX_SEARCHED: usize = 5_000;

/// Clients that one finding names.
const MAX_NAMED: usize = 5;

/// Active clients that share processes with a set of `subject`.
pub(super) fn judge(subject: &Subject, snapshot: &Snapshot) -> Vec<Finding> {
    let sets = subject.sets.iter();
    sets.filter_map(|set| of_set(subject, set, snapshot))
        .collect()
}

fn of_set(subject: &Subject, set: &SelectorSet, snapshot: &Snapshot) -> Option<Finding> {
    let mut others = snapshot.matching(set.selectors());
    others.extend(narrower(set, snapshot));
    others.retain(|client| Some(client.name()) != subject.name.as_ref());
    others.sort_unstable_by(|a, b| a.name().cmp(b.name()));
    others.dedup_by(|a, b| a.name() == b.name());
    let others = others.iter().map(|client| {
        let owner = client.spec().owner().as_str();
        (client.name(), owner)
    });
    found(subject, set, &others.collect::<Vec<_>>())
}

/// As [`judge`], with registrations that are about to be made.
pub(super) fn among(subject: &Subject, made: &[Subject]) -> Vec<Finding> {
    let sets = subject.sets.iter();
    sets.filter_map(|set| {
        let overlaps =
            |other: &SelectorSet| other.holds(set.selectors()) || set.holds(other.selectors());
        let others = made.iter().filter(|other| other.sets.iter().any(overlaps));
        let others = others.filter_map(|other| Some((other.name.as_ref()?, other.owner.as_str())));
        let others = others.filter(|(name, _)| Some(*name) != subject.name.as_ref());
        found(subject, set, &others.collect::<Vec<_>>())
    })
    .collect()
}

/// The finding about a set whose processes are also those of others, by name and owner.
fn found(subject: &Subject, set: &SelectorSet, others: &[(&ClientName, &str)]) -> Option<Finding> {
    let first = others.first()?;
    let whose = others.iter().find(|(_, owner)| *owner != subject.owner);
    let severity = if whose.is_some() && !subject.owner.is_empty() {
        Severity::Serious
    } else {
        Severity::Notice
    };
    let (example, owner) = whose.unwrap_or(first);
    let mut findings = Findings::about(set.selectors());
    findings.add(
        Weakness::Overlap,
        severity,
        format!(
            "processes that fit it are those of another client too: {}; {example} belongs to {owner}",
            names(others),
        ),
    );
    findings.into_vec().pop()
}

fn narrower<'a>(
    set: &'a SelectorSet,
    snapshot: &'a Snapshot,
) -> impl Iterator<Item = Arc<Client>> + 'a {
    let clients = snapshot.iter().take(MAX_SEARCHED);
    clients
        .filter(|client| client.fits_within(set))
        .filter(|client| snapshot.state_of(client) == ClientState::Active)
        .cloned()
}

fn names(clients: &[(&ClientName, &str)]) -> String {
    let named = clients.iter().take(MAX_NAMED);
    let mut text = named
        .map(|(name, _)| name.as_str())
        .collect::<Vec<_>>()
        .join(", ");
    if let Some(more) = clients
        .len()
        .checked_sub(MAX_NAMED)
        .filter(|more| *more > 0)
    {
        text.push_str(&format!(" and {more} more"));
    }
    text
}
