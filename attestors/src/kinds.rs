//! Kinds of selectors whose attestor is asked only where somebody wants them.
//!
//! `unix` and `cgroup` are read of every process: they cost microseconds. What
//! is behind the other kinds costs more (a call to a runtime, a look at every
//! mapping), so it is read only of a process that could still fit a registration
//! in force which names a selector of that kind, or demands its attestor, and
//! where an operator asks. One kind is asked after the other, in an order of
//! their own: what the first finds may make the next needless.

use crate::Selector;
use serde::{Deserialize, Serialize};
use std::fmt::{self, Debug, Display, Formatter};

/// One attestor beside `unix` and `cgroup`.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// `code:`: what was loaded into the program.
    Code,
    /// `container:` and `k8s:`: the container and the pod around the process.
    Container,
    /// `process:`: parents, namespaces and restrictions.
    Process,
    /// `systemd:`: the unit.
    Systemd,
}

impl Kind {
    /// All of them, in the order of their names.
    pub const ALL: [Self; 4] = [Self::Code, Self::Container, Self::Process, Self::Systemd];

    /// All of them, in the order in which they are asked: what costs less comes first, and last of
    /// all what can change while the image does not.
    pub const IN_TURN: [Self; 4] = [Self::Process, Self::Systemd, Self::Container, Self::Code];

    /// The attestor whose fact `selector` is; `None` where that is read of every process.
    #[must_use]
    pub fn of(selector: &Selector) -> Option<Self> {
        Self::of_type(selector.kind())
    }

    /// The attestor of all selectors of this type, as [`Self::of`].
    #[must_use]
    pub fn of_type(kind: &str) -> Option<Self> {
        match kind {
            "code" => Some(Self::Code),
            "container" | "k8s" => Some(Self::Container),
            "process" => Some(Self::Process),
            "systemd" => Some(Self::Systemd),
            _ => None,
        }
    }

    /// The attestor's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Code => "code",
            Self::Container => "container",
            Self::Process => "process",
            Self::Systemd => "systemd",
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl Display for Kind {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A set of attestors.
#[derive(Clone, Copy, Default, Eq, PartialEq)]
pub struct Kinds(u8);

impl Kinds {
    /// None of them.
    pub const NONE: Self = Self(0);

    /// All of them.
    pub const ALL: Self = Self(0b1111);

    /// Whether `kind` is in the set.
    #[must_use]
    pub const fn has(self, kind: Kind) -> bool {
        self.0 & kind.bit() != 0
    }

    /// Whether all of `others` are in the set.
    #[must_use]
    pub const fn covers(self, others: Self) -> bool {
        self.0 & others.0 == others.0
    }

    /// The set with `kind` in it.
    #[must_use]
    pub const fn with(self, kind: Kind) -> Self {
        Self(self.0 | kind.bit())
    }

    /// What is in either set.
    #[must_use]
    pub const fn and(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// What is in this set alone.
    #[must_use]
    pub const fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    /// The one of them that is asked first.
    #[must_use]
    pub fn first(self) -> Option<Kind> {
        Kind::IN_TURN.into_iter().find(|kind| self.has(*kind))
    }

    /// What is in the set, in the order of the names.
    pub fn iter(self) -> impl Iterator<Item = Kind> {
        Kind::ALL.into_iter().filter(move |kind| self.has(*kind))
    }
}

impl FromIterator<Kind> for Kinds {
    fn from_iter<T: IntoIterator<Item = Kind>>(kinds: T) -> Self {
        kinds.into_iter().fold(Self::NONE, Self::with)
    }
}

impl Debug for Kinds {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::{Kind, Kinds};

    #[test]
    fn a_set_has_what_was_put_into_it() {
        let set = Kinds::NONE.with(Kind::Code).with(Kind::Systemd);
        assert!(set.has(Kind::Code) && !set.has(Kind::Process));
        assert!(set.covers(Kinds::NONE.with(Kind::Code)));
        assert!(!set.covers(Kinds::ALL) && Kinds::ALL.covers(set));
        assert_eq!(set.iter().collect::<Kinds>(), set);
        assert_eq!(Kind::ALL.into_iter().collect::<Kinds>(), Kinds::ALL);
        assert_eq!(Kind::IN_TURN.into_iter().collect::<Kinds>(), Kinds::ALL);
        assert_eq!(
            set.without(Kinds::NONE.with(Kind::Code)).first(),
            Some(Kind::Systemd)
        );
        assert_eq!(set.first(), Some(Kind::Systemd));
        assert_eq!(set.without(Kinds::ALL).first(), None);
    }

    #[test]
    fn selectors_lead_to_their_attestor() {
        let of = |text: &str| Kind::of(&text.parse().unwrap());
        assert_eq!(of("unix:uid:7"), None);
        assert_eq!(of("k8s:ns:default"), Some(Kind::Container));
        assert_eq!(of("systemd:id:a.service"), Some(Kind::Systemd));
    }
}
