//! What differs between the configuration in force and a new one.

use super::{
    Config,
    key::{Key, Reload},
};
use std::fmt;

/// A key whose value changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The key.
    pub key: &'static Key,
    /// The value in force, as TOML has it.
    pub from: Option<String>,
    /// The new value.
    pub to: Option<String>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let from = self.from.as_deref().unwrap_or("nothing");
        let to = self.to.as_deref().unwrap_or("nothing");
        write!(f, "{} from {from} to {to}", self.key.path())
    }
}

/// The changed keys, by whether a running agent can take them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReloadDifferences {
    /// These can be taken at once.
    pub live: Vec<Change>,
    /// These need a restart; while there is one, the old configuration stays as a whole.
    pub restart: Vec<Change>,
}

impl Config {
    /// Which keys have other values in `new` than in `old`.
    #[must_use]
    pub fn reload_differences(old: &Self, new: &Self) -> ReloadDifferences {
        let mut differences = ReloadDifferences::default();
        for (before, after) in old.effective.iter().zip(&new.effective) {
            if before.value == after.value {
                continue;
            }
            let change = Change {
                key: after.key,
                from: before.value.clone(),
                to: after.value.clone(),
            };
            match after.key.reload {
                Reload::Live => differences.live.push(change),
                Reload::Restart => differences.restart.push(change),
            }
        }
        differences
    }
}
