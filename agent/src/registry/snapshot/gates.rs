//! From a workload's selectors to the attestors that have to be asked about it.
//!
//! Attestors are asked in turn ([`Kind::IN_TURN`], after `unix` and `cgroup`,
//! which are asked always). A selector set wants one of them asked where all its
//! selectors of those before it are the workload's: otherwise it does not fit,
//! whatever is found out next. Those selectors are the attestor's gate. Sets
//! with the same gate share it, and a gate is found under one of its selectors
//! as a set is in the index, so the work does not grow with the number of
//! clients. A gate without any is open to everybody.
//!
//! Nothing is found out about `code` before its turn, the last: whether it is
//! wanted does not depend on what was found the last time.

use super::shards::Shards;
use crate::registry::{ClientSpec, SelectorSet};
use std::sync::Arc;
use symbolon_attestors::{Kind, Kinds, Selector};

/// The gates of selector sets: those of all clients that may hold identities, or those that
/// operators are recognised by.
#[derive(Clone, Debug)]
pub struct Gates {
    /// Each under one of its conditions.
    gates: Shards<Selector, Arc<[Gate]>>,
    /// Without conditions.
    open: Counts,
    /// With conditions or without.
    all: Counts,
}

#[derive(Clone, Debug)]
struct Gate {
    /// Sorted; at least one.
    conditions: Arc<[Selector]>,
    behind: Counts,
}

/// How many sets want each attestor, in the order of [`Kind::ALL`].
#[derive(Clone, Copy, Debug, Default)]
struct Counts([usize; Kind::ALL.len()]);

impl Gates {
    /// Nobody wants anything.
    pub(super) fn new() -> Self {
        Self {
            gates: Shards::new(),
            open: Counts::default(),
            all: Counts::default(),
        }
    }

    /// Those of sets that are no client's.
    #[must_use]
    pub fn of(sets: &[SelectorSet]) -> Self {
        let mut gates = Self::new();
        for set in sets {
            let kinds: Kinds = set.selectors().iter().filter_map(Kind::of).collect();
            gates.change_set(set, kinds, |count| count + 1);
        }
        gates
    }

    /// Adds those of a client.
    pub(super) fn add(&mut self, spec: &ClientSpec) {
        self.change(spec, |count| count + 1);
    }

    /// Takes those of a client out, as they were added.
    pub(super) fn remove(&mut self, spec: &ClientSpec) {
        self.change(spec, |count| count.saturating_sub(1));
    }

    /// The attestors that have to be asked about a workload with `present`, which must be sorted.
    #[must_use]
    pub fn wanted(&self, present: &[Selector]) -> Kinds {
        let all = self.all.kinds();
        let mut wanted = self.open.kinds();
        for selector in present {
            if wanted.covers(all) {
                break;
            }
            let gates = self.under(selector).iter();
            let passed = gates.filter(|gate| gate.lets_pass(present));
            wanted = passed.fold(wanted, |wanted, gate| wanted.and(gate.behind.kinds()));
        }
        wanted
    }

    fn change(&mut self, spec: &ClientSpec, change: fn(usize) -> usize) {
        for set in spec.selector_sets() {
            self.change_set(set, spec.kinds_for(set), change);
        }
    }

    fn change_set(&mut self, set: &SelectorSet, kinds: Kinds, change: fn(usize) -> usize) {
        for kind in kinds.iter() {
            let conditions = conditions(set, kind);
            self.all.change(kind, change);
            if conditions.is_empty() {
                self.open.change(kind, change);
            } else {
                self.change_gate(conditions, kind, change);
            }
        }
    }

    fn change_gate(&mut self, conditions: Vec<Selector>, kind: Kind, change: fn(usize) -> usize) {
        let is_it = |gate: &Gate| *gate.conditions == *conditions;
        let mut places = conditions.iter();
        let known = places.find(|place| self.under(place).iter().any(is_it));
        let rarest = || conditions.iter().min_by_key(|s| self.under(s).len());
        let Some(place) = known.or_else(rarest).cloned() else {
            return;
        };
        let (same, mut others): (Vec<_>, Vec<_>) =
            self.under(&place).iter().cloned().partition(is_it);
        let mut gate = same.into_iter().next().unwrap_or_else(|| Gate {
            conditions: conditions.into(),
            behind: Counts::default(),
        });
        gate.behind.change(kind, change);
        if gate.behind.kinds() != Kinds::NONE {
            others.push(gate);
        }
        if others.is_empty() {
            self.gates.remove(&place);
        } else {
            self.gates.insert(place, others.into());
        }
    }

    fn under(&self, selector: &Selector) -> &[Gate] {
        self.gates.find(selector).map_or(&[], |gates| gates)
    }
}

impl Gate {
    fn lets_pass(&self, present: &[Selector]) -> bool {
        let mut conditions = self.conditions.iter();
        conditions.all(|condition| present.binary_search(condition).is_ok())
    }
}

impl Counts {
    fn kinds(self) -> Kinds {
        let counts = Kind::ALL.into_iter().zip(self.0);
        counts
            .filter_map(|(kind, count)| (count > 0).then_some(kind))
            .collect()
    }

    fn change(&mut self, kind: Kind, change: fn(usize) -> usize) {
        for (known, count) in Kind::ALL.into_iter().zip(&mut self.0) {
            if known == kind {
                *count = change(*count);
            }
        }
    }
}

/// What has to hold before the set wants `kind` asked: its selectors of those before.
fn conditions(set: &SelectorSet, kind: Kind) -> Vec<Selector> {
    let earlier = Kind::IN_TURN.into_iter().take_while(|other| *other != kind);
    let earlier: Kinds = earlier.collect();
    let is_known = |selector: &&Selector| Kind::of(selector).is_none_or(|kind| earlier.has(kind));
    set.selectors().iter().filter(is_known).cloned().collect()
}
