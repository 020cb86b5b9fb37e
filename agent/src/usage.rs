//! When each client was used last.
//!
//! Owns one time for each client: when an SVID of it was issued or renewed last. Whoever
//! issues notes it, `admin_api` asks which registrations nobody needs any more. It is a
//! convenience beside the audit trail, not evidence: kept in memory, and written to one
//! small file at most each minute and at the stop ([`UsageFile`]), in one step. A crash
//! loses the uses of the last minute; a file that cannot be read loses all of them, which
//! is said, and shows in [`Usage::since`]. No failure here ever fails an issue.
//!
//! Bounded by the number of clients, whose names are never given twice. Left out on
//! purpose: who used it and how often, which the trail and the metrics tell.

mod file;
#[cfg(test)]
mod tests;

pub use file::UsageFile;

use crate::{clock::unix_seconds, registry::ClientName};
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// When each client was used last; cheap to clone.
#[derive(Clone, Debug)]
pub struct Usage(Arc<Mutex<Noted>>);

#[derive(Clone, Debug, Default)]
struct Noted {
    /// Unix seconds.
    since: u64,
    /// Unix seconds, by client.
    last: BTreeMap<ClientName, u64>,
    /// Whether there is more than the file has.
    is_changed: bool,
}

impl Usage {
    /// Nothing was used since `now`.
    #[must_use]
    pub fn new(now: SystemTime) -> Self {
        Self::of(Noted {
            since: unix_seconds(now),
            last: BTreeMap::new(),
            is_changed: true,
        })
    }

    fn of(noted: Noted) -> Self {
        Self(Arc::new(Mutex::new(noted)))
    }

    /// Notes that a client is used at `at`.
    pub fn note(&self, client: &ClientName, at: SystemTime) {
        let at = unix_seconds(at);
        let mut noted = self.0.lock();
        match noted.last.get_mut(client) {
            // A clock that was set back makes nothing unused.
            Some(last) if *last >= at => return,
            Some(last) => *last = at,
            None => {
                noted.last.insert(client.clone(), at);
            }
        }
        noted.is_changed = true;
    }

    /// When a client was used last; none where that was not since uses are noted.
    #[must_use]
    pub fn last(&self, client: &ClientName) -> Option<SystemTime> {
        self.0.lock().last.get(client).copied().map(moment)
    }

    /// Since when uses are noted.
    #[must_use]
    pub fn since(&self) -> SystemTime {
        moment(self.0.lock().since)
    }

    /// What the file does not have; it has from now on.
    fn take_changed(&self) -> Option<Noted> {
        let mut noted = self.0.lock();
        std::mem::take(&mut noted.is_changed).then(|| noted.clone())
    }

    /// The file has it not, after all.
    fn note_unwritten(&self) {
        self.0.lock().is_changed = true;
    }
}

fn moment(seconds: u64) -> SystemTime {
    let moment = UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
    moment.unwrap_or(UNIX_EPOCH)
}
