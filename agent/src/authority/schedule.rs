//! When authorities are prepared, activated and removed: pure decisions on one kind's entries.
//!
//! An entry is *usable* within its validity, and *ripe* when it has been in the
//! published bundle for two refresh hints and one cache time, so that every
//! verifier knows it. The rules never depend on how time came to be what it
//! is, so a clock that is set back or forward leads to another right answer,
//! not to a stuck one: what is not usable does not sign, whatever it is; what
//! is ripe and newest signs; and if nothing can sign, something new does, at
//! once. Entries are removed by the caller after all that they signed expired.
//!
//! `client_keys` rotates by the same rules.

use super::{Window, from_seconds};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// One authority of a kind. Times are seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    /// Names it and orders it; never used twice.
    pub(crate) generation: u64,
    /// Since when it is in the bundle.
    pub(crate) published_at: u64,
    pub(crate) not_before: u64,
    pub(crate) not_after: u64,
    /// Seconds of the longest SVID that it may have signed.
    pub(crate) longest_svid: u64,
    /// Since when it does not sign any more.
    pub(crate) retired_at: Option<u64>,
    /// Supplied by an operator; its key is not ours and it is not rotated.
    pub(crate) operator: bool,
    /// X.509 alone: the issuing certificate, then those above it, base64 DER.
    pub(crate) certificates: Vec<String>,
}

impl Entry {
    const fn is_valid(&self, now: u64) -> bool {
        self.not_before <= now && now < self.not_after
    }

    /// When it may sign.
    pub(super) fn window(&self) -> Window {
        Window {
            not_before: from_seconds(self.not_before),
            not_after: from_seconds(self.not_after),
        }
    }

    /// When all that it signed has expired: nothing outlives the authority itself.
    fn needed_until(&self) -> u64 {
        self.retired_at.map_or(self.not_after, |retired_at| {
            self.not_after
                .min(retired_at.saturating_add(self.longest_svid))
        })
    }
}

/// The authorities of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ring {
    /// The generation that signs.
    pub(crate) active: u64,
    /// In order of their generations, which start at 1.
    pub(crate) entries: Vec<Entry>,
}

/// How long things last.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    /// Life of an authority.
    pub(crate) ttl: Duration,
    /// How long it is published before it signs.
    pub(crate) overlap: Duration,
}

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Make a new authority and publish it.
    Prepare,
    /// Let an authority sign.
    Activate {
        /// Which.
        generation: u64,
        /// Before it is ripe, because nothing else can sign.
        early: bool,
    },
    /// Make a new authority and let it sign at once, because nothing else can.
    Replace,
}

impl Ring {
    /// The authority that signs.
    pub(crate) fn active(&self) -> Option<&Entry> {
        self.entry(self.active)
    }

    /// The authority of a generation.
    pub(crate) fn entry(&self, generation: u64) -> Option<&Entry> {
        self.entries.iter().find(|e| e.generation == generation)
    }

    /// What is to be done at `now`, or nothing.
    pub(crate) fn next_step(&self, now: u64, timing: Timing) -> Option<Step> {
        let is_ripe = |e: &Entry| now >= e.published_at.saturating_add(timing.overlap.as_secs());
        let usable = || self.ours().filter(|e| e.is_valid(now));
        let Some(active) = usable().find(|e| e.generation == self.active) else {
            let best = usable().max_by_key(|e| (is_ripe(e), e.generation));
            return Some(best.map_or(Step::Replace, |e| Step::Activate {
                generation: e.generation,
                early: !is_ripe(e),
            }));
        };
        let newer = || self.ours().filter(|e| e.generation > active.generation);
        if let Some(ready) = newer().rfind(|e| e.is_valid(now) && is_ripe(e)) {
            return Some(Step::Activate {
                generation: ready.generation,
                early: false,
            });
        }
        // A shorter life in the configuration counts at once, a longer one from the next on.
        let life = timing
            .ttl
            .as_secs()
            .min(active.not_after.saturating_sub(active.published_at));
        let half_life = active.published_at.saturating_add(life / 2);
        let waits = newer().any(|e| now < e.not_after);
        (now >= half_life && !waits).then_some(Step::Prepare)
    }

    /// Lets `generation` sign from `now` on, and retires what is older.
    pub(crate) fn activate(&mut self, generation: u64, now: u64) {
        self.active = generation;
        for entry in &mut self.entries {
            if entry.generation < generation {
                entry.retired_at.get_or_insert(now);
            } else {
                entry.retired_at = None;
            }
        }
    }

    /// The generations that nobody needs any more at `now`.
    pub(crate) fn removable(&self, now: u64) -> impl Iterator<Item = u64> {
        self.entries
            .iter()
            .filter(move |e| e.generation != self.active && e.needed_until() <= now)
            .map(|e| e.generation)
    }

    /// Those whose keys we have.
    fn ours(&self) -> impl DoubleEndedIterator<Item = &Entry> {
        self.entries.iter().filter(|e| !e.operator)
    }
}

#[cfg(test)]
mod tests;
