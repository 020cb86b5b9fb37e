//! `[federation]`: how often the bundle endpoints of foreign trust domains are asked.

use super::{
    key::Key,
    reader::Reader,
    units::{DAY, MINUTE},
};
use std::time::Duration;

/// The bundles of foreign trust domains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Federation {
    /// Shortest time between two requests to one endpoint.
    pub min_refresh: Duration,
    /// Longest.
    pub max_refresh: Duration,
}

const LEAST: Duration = Duration::from_secs(1);
const MOST: Duration = Duration::from_secs(DAY);

const MIN_REFRESH: Key = Key::new(
    "federation",
    "min_refresh",
    "Shortest time between two requests to the bundle endpoint of a foreign trust domain, whatever \
     refresh hint its bundle has.",
);
const MAX_REFRESH: Key = Key::new(
    "federation",
    "max_refresh",
    "Longest time between two such requests: how late a key that was withdrawn there may be known \
     here.",
);

pub(super) const KEYS: &[&Key] = &[&MIN_REFRESH, &MAX_REFRESH];

pub(super) fn read(reader: &mut Reader<'_>) -> Federation {
    let seconds = Duration::from_secs;
    let federation = Federation {
        min_refresh: reader.within(&MIN_REFRESH, seconds(10), LEAST..=MOST),
        max_refresh: reader.within(&MAX_REFRESH, seconds(60 * MINUTE), LEAST..=MOST),
    };
    reader.at_most(
        (&MIN_REFRESH, federation.min_refresh),
        (&MAX_REFRESH, federation.max_refresh),
    );
    federation
}
