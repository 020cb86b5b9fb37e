//! How often one user may read.
//!
//! Some readings at once, and then one each three seconds: whoever asks again sooner waits. With two
//! events for each, of some three thousand bytes together where all conditions are long ones, a reader in
//! an endless loop causes some 100 MB a day, and so less in the trail's default retention than its
//! default budget of bytes.

use parking_lot::Mutex;
use std::{collections::HashMap, time::Duration};
use tokio::time::{Instant, sleep_until};
use tonic::Status;

/// Readings at once, of somebody who looks into something.
pub(super) const BURST: u32 = 120;

/// Between two readings, when those are used up.
pub(super) const INTERVAL: Duration = Duration::from_secs(3);

/// Whoever would wait longer is refused.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// The users who read not long ago, and when each would have all his readings again.
#[derive(Debug, Default)]
pub(super) struct Pace(Mutex<HashMap<u32, Instant>>);

impl Pace {
    /// Waits for this user's turn.
    pub(super) async fn turn(&self, uid: u32) -> Result<(), Status> {
        let turn = self.book(uid, Instant::now());
        sleep_until(turn.ok_or_else(too_often)?).await;
        Ok(())
    }

    /// When this user may read; none where that is too late, and nothing is booked.
    fn book(&self, uid: u32, now: Instant) -> Option<Instant> {
        let mut users = self.0.lock();
        // Those who are let in are operators, and few.
        users.retain(|_, full_at| *full_at > now);
        let full_at = users.get(&uid).copied().unwrap_or(now) + INTERVAL;
        let turn = full_at
            .checked_sub(INTERVAL * BURST)
            .unwrap_or(now)
            .max(now);
        if turn > now + LONGEST_WAIT {
            return None;
        }
        users.insert(uid, full_at);
        Some(turn)
    }
}

fn too_often() -> Status {
    Status::resource_exhausted(
        "what may be read is read too often: each reading stands in the audit trail; try again in \
         a minute, or follow the trail with one `audit tail --follow`",
    )
}

#[cfg(test)]
mod tests {
    use super::{BURST, INTERVAL, LONGEST_WAIT, Pace};
    use tokio::time::Instant;
    use tonic::Code;

    /// The attack: a loop.
    #[tokio::test(start_paused = true)]
    async fn a_reader_in_a_loop_waits_and_nobody_else_does() {
        let pace = Pace::default();
        let begun = Instant::now();
        for _ in 0..BURST {
            pace.turn(1).await.unwrap();
        }
        assert_eq!(begun.elapsed().as_secs(), 0);
        for _ in 0..5 {
            pace.turn(1).await.unwrap();
        }
        assert_eq!(begun.elapsed().as_secs(), (INTERVAL * 5).as_secs());
        let others = Instant::now();
        pace.turn(2).await.unwrap();
        assert_eq!(others.elapsed().as_secs(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn only_some_readings_wait() {
        let pace = Pace::default();
        let now = Instant::now();
        let booked = (0..1_000).filter(|_| pace.book(1, now).is_some()).count();
        let waiting = LONGEST_WAIT.as_secs() / INTERVAL.as_secs();
        assert_eq!(booked as u64, u64::from(BURST) + waiting);
        assert_eq!(
            pace.turn(1).await.unwrap_err().code(),
            Code::ResourceExhausted
        );
        // Who was refused is not charged for it.
        tokio::time::advance(INTERVAL).await;
        pace.turn(1).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_not_read_for_a_while_is_forgotten() {
        let pace = Pace::default();
        pace.turn(1).await.unwrap();
        tokio::time::advance(INTERVAL).await;
        pace.turn(2).await.unwrap();
        assert_eq!(pace.0.lock().len(), 1);
    }
}
