//! Records of those who are not let in.
//!
//! Anybody may knock where the socket is open to operators of several users. Each
//! user's knocks are recorded one by one up to a rate; of more, the next record
//! has the number. Nothing here waits: whoever knocks delays nobody.

use crate::{
    audit::{Event, Kind, Process, Trail},
    server::Refused,
    workloads::Rate,
};
use parking_lot::Mutex;
use std::{collections::HashMap, time::Duration};
use tokio::time::Instant;

/// Records of one user in the long run.
const PER_SECOND: u32 = 10;

/// And as many at once as come together in this time.
const SAVED: Duration = Duration::from_secs(10);

/// Users who are told apart; those who have been quiet are forgotten first.
const MOST_USERS: usize = 1024;

/// The user of those who have none that can be told.
const UNKNOWN: u32 = u32::MAX;

/// Who knocked, and how often nobody was told.
#[derive(Debug, Default)]
pub(super) struct Strangers(Mutex<HashMap<u32, Stranger>>);

#[derive(Debug)]
struct Stranger {
    rate: Rate,
    untold: u64,
}

impl Strangers {
    /// Records that a connection was refused.
    pub(super) fn note(&self, trail: &Trail, process: Option<Process>, why: &Refused) {
        let now = Instant::now();
        let uid = process.map_or(UNKNOWN, |process| process.uid);
        let mut strangers = self.0.lock();
        if strangers.len() >= MOST_USERS {
            strangers.retain(|_, stranger| stranger.rate.is_behind(now));
        }
        let is_full = strangers.len() >= MOST_USERS && !strangers.contains_key(&uid);
        let uid = if is_full { UNKNOWN } else { uid };
        let stranger = strangers.entry(uid).or_insert_with(|| Stranger {
            rate: Rate::new(PER_SECOND, SAVED),
            untold: 0,
        });
        let recorded =
            stranger.rate.allow(now) && trail.offer(event(process, why, stranger.untold)).is_ok();
        stranger.untold = if recorded {
            0
        } else {
            stranger.untold.saturating_add(1)
        };
    }
}

fn event(process: Option<Process>, why: &Refused, untold: u64) -> Event {
    let reason = match untold {
        0 => why.to_string(),
        more => format!("{why}; {more} more before that were not recorded one by one"),
    };
    let event = Event::new(Kind::Refused)
        .operation("connect")
        .reason(reason);
    match process {
        Some(process) => event.process(process),
        None => event,
    }
}
