//! `[shutdown]`: how the agent ends.

use super::{key::Key, reader::Reader, units::MINUTE};
use std::time::Duration;

/// A graceful stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shutdown {
    /// How long open calls may take to end.
    pub grace: Duration,
}

/// Longer than any service manager waits by default.
const MOST_GRACE: Duration = Duration::from_secs(5 * MINUTE);

const GRACE: Key = Key::new(
    "shutdown",
    "grace",
    "How long open calls may take to end when the agent is told to stop.",
)
.live();

pub(super) const KEYS: &[&Key] = &[&GRACE];

pub(super) fn read(reader: &mut Reader<'_>) -> Shutdown {
    Shutdown {
        grace: reader.within(&GRACE, Duration::from_secs(10), Duration::ZERO..=MOST_GRACE),
    }
}
