//! Reads one key after another and keeps every fault.
//!
//! The owner of a section asks for its keys; a value that is not acceptable is
//! recorded as a fault and its default handed out, so that reading goes on and
//! the operator sees everything that is wrong at once. A configuration with a
//! fault never leaves [`Reader::finish`].

use super::{
    directories::Directories,
    fault::{Fault, Faults, Place, Problem},
    key::Key,
    setting::{Form, Setting, quoted},
    sources::{Collected, Given},
};
use std::{ops::RangeInclusive, path::PathBuf};

/// Longest path of a Unix socket: `sun_path` has 108 bytes and ends with a zero.
const MOST_SOCKET_PATH: usize = 107;

/// A key's value as it is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effective {
    /// The key.
    pub key: &'static Key,
    /// The value as TOML has it; `None` where there is neither value nor default.
    pub value: Option<String>,
    /// Where it comes from.
    pub place: Place,
}

#[derive(Debug)]
pub(super) struct Reader<'a> {
    collected: Collected,
    directories: &'a Directories,
    effective: Vec<Effective>,
}

impl<'a> Reader<'a> {
    pub(super) const fn new(collected: Collected, directories: &'a Directories) -> Self {
        Self {
            collected,
            directories,
            effective: Vec::new(),
        }
    }

    pub(super) const fn directories(&self) -> &'a Directories {
        self.directories
    }

    /// The value of a key that has a default.
    pub(super) fn value<T: Setting>(&mut self, key: &'static Key, default: T) -> T {
        let value = self.given(key).unwrap_or(default);
        self.record(key, Some(&value));
        value
    }

    /// The value of a key that has a default, if it is in the range.
    pub(super) fn within<T: Setting + PartialOrd>(
        &mut self,
        key: &'static Key,
        default: T,
        range: RangeInclusive<T>,
    ) -> T {
        let value = self.value(key, default);
        if !range.contains(&value) {
            self.refuse(
                key,
                Problem::OutOfRange {
                    key: key.path(),
                    found: value.render(),
                    least: range.start().render(),
                    most: range.end().render(),
                },
            );
        }
        value
    }

    /// The value of a key that may be absent.
    pub(super) fn optional<T: Setting>(&mut self, key: &'static Key) -> Option<T> {
        let value = self.given(key);
        self.record(key, value.as_ref());
        value
    }

    /// The value of a key that must have one, from a source or the default that this user has.
    pub(super) fn required<T: Setting>(
        &mut self,
        key: &'static Key,
        default: Option<T>,
    ) -> Option<T> {
        let value = self.given(key).or(default);
        self.record(key, value.as_ref());
        if value.is_none() && !self.is_given(key) && !self.collected.file_is_damaged {
            self.refuse(
                key,
                Problem::Missing {
                    key: key.path(),
                    example: quoted(key.example.unwrap_or("/absolute/path")),
                    variable: key.variable(),
                },
            );
        }
        value
    }

    /// The path of a Unix socket.
    pub(super) fn socket(
        &mut self,
        key: &'static Key,
        default: Option<PathBuf>,
    ) -> Option<PathBuf> {
        let path = self.required(key, default)?;
        let length = path.as_os_str().len();
        if length > MOST_SOCKET_PATH {
            self.refuse(
                key,
                Problem::SocketPathTooLong {
                    key: key.path(),
                    length,
                    most: MOST_SOCKET_PATH,
                },
            );
        }
        Some(path)
    }

    /// Refuses one of two keys without the other.
    pub(super) fn together(&mut self, one: &'static Key, two: &'static Key) {
        for (key, other) in [(one, two), (two, one)] {
            if self.is_given(key) && !self.is_given(other) {
                self.refuse(
                    key,
                    Problem::Half {
                        key: key.path(),
                        other: other.path(),
                    },
                );
            }
        }
    }

    /// Refuses a value below that of another key.
    pub(super) fn at_least<T: Setting + PartialOrd>(
        &mut self,
        (key, value): (&'static Key, T),
        (other, bound): (&'static Key, T),
    ) {
        if value < bound {
            self.conflict((key, &value), "less than", (other, &bound));
        }
    }

    /// Refuses a value above that of another key.
    pub(super) fn at_most<T: Setting + PartialOrd>(
        &mut self,
        (key, value): (&'static Key, T),
        (other, bound): (&'static Key, T),
    ) {
        if value > bound {
            self.conflict((key, &value), "more than", (other, &bound));
        }
    }

    fn conflict<T: Setting>(
        &mut self,
        (key, value): (&'static Key, &T),
        relation: &'static str,
        (other, bound): (&'static Key, &T),
    ) {
        // Shown where somebody wrote something, not at a default.
        let at = match self.place(key) {
            Place::Default => other,
            _ => key,
        };
        self.refuse(
            at,
            Problem::Conflict {
                key: key.path(),
                found: value.render(),
                relation,
                other: other.path(),
                bound: bound.render(),
            },
        );
    }

    /// Records a fault of this key's value.
    pub(super) fn refuse(&mut self, key: &'static Key, problem: Problem) {
        let place = self.place(key);
        self.collected.faults.push(Fault { place, problem });
    }

    /// The configuration with what is in force, if nothing was refused.
    pub(super) fn finish<T>(self, config: Option<T>) -> Result<(T, Vec<Effective>), Faults> {
        let mut faults = self.collected.faults;
        match config {
            Some(config) if faults.is_empty() => Ok((config, self.effective)),
            _ => {
                faults.sort_by(|a, b| a.place.cmp(&b.place));
                Err(Faults::new(faults))
            }
        }
    }

    fn given<T: Setting>(&mut self, key: &'static Key) -> Option<T> {
        self.entry(&key.path())
    }

    /// The value at this path, where any source has it.
    pub(super) fn entry<T: Setting>(&mut self, path: &str) -> Option<T> {
        let given = self.collected.entries.get(path)?;
        let value = T::parse(&given.raw);
        if value.is_none() {
            let problem = Problem::Value {
                key: path.to_owned(),
                found: given.raw.shown(),
                expected: T::expected(),
            };
            self.refuse_entry(path, problem);
        }
        value
    }

    /// Whether any source has something at this path.
    pub(super) fn has_entry(&self, path: &str) -> bool {
        self.collected.entries.contains_key(path)
    }

    /// Records a fault of what stands at this path.
    pub(super) fn refuse_entry(&mut self, path: &str, problem: Problem) {
        let given = self.collected.entries.get(path);
        let place = given.map_or(Place::Default, |given| given.place.clone());
        self.collected.faults.push(Fault { place, problem });
    }

    /// How many tables a key has that is an array of tables.
    pub(super) fn tables(&mut self, key: &'static Key) -> usize {
        let path = |index: usize| format!("{}[{index}]", key.path());
        let count = (0..)
            .take_while(|index| self.has_entry(&path(*index)))
            .count();
        let given = self.collected.entries.get(&key.path());
        let is_tables = |given: &Given| match given.place {
            Place::Variable(_) | Place::Flag(_) => false,
            _ => count > 0 || given.raw.form == Form::List,
        };
        if let Some(given) = given.filter(|given| !is_tables(given)) {
            let problem = Problem::NotTables {
                key: key.path(),
                found: given.raw.shown(),
            };
            self.refuse(key, problem);
        }
        count
    }

    /// Notes what is in force of a key that is an array of tables.
    pub(super) fn record_tables(&mut self, key: &'static Key, value: Option<String>) {
        self.effective.push(Effective {
            key,
            value,
            place: self.place(key),
        });
    }

    /// Whether any source has the key.
    pub(super) fn is_given(&self, key: &Key) -> bool {
        self.collected.entries.contains_key(&key.path())
    }

    fn record<T: Setting>(&mut self, key: &'static Key, value: Option<&T>) {
        self.effective.push(Effective {
            key,
            value: value.map(Setting::render),
            place: self.place(key),
        });
    }

    fn place(&self, key: &Key) -> Place {
        self.collected
            .entries
            .get(&key.path())
            .map_or(Place::Default, |given| given.place.clone())
    }
}
