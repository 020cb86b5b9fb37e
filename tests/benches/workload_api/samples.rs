//! Measured times and their percentiles.

use std::time::Duration;

/// Times of one kind, sorted.
#[derive(Clone, Debug)]
pub(crate) struct Samples(Vec<Duration>);

impl Samples {
    /// The time of each of `count` runs of `work`, after a tenth of them that do not count.
    pub(crate) fn of(count: usize, mut work: impl FnMut()) -> Self {
        for _ in 0..count / 10 {
            work();
        }
        let timed = (0..count).map(|_| {
            let begun = std::time::Instant::now();
            work();
            begun.elapsed()
        });
        timed.collect()
    }

    /// Those of several runs.
    pub(crate) fn together(runs: Vec<Self>) -> Self {
        runs.into_iter().flat_map(|run| run.0).collect()
    }

    /// The middle one.
    pub(crate) fn p50(&self) -> Duration {
        self.at(50)
    }

    /// The one that 99 of 100 stay below.
    pub(crate) fn p99(&self) -> Duration {
        self.at(99)
    }

    fn at(&self, percent: usize) -> Duration {
        let last = self.0.len().checked_sub(1).expect("there are samples");
        self.0[last * percent / 100]
    }
}

impl FromIterator<Duration> for Samples {
    fn from_iter<I: IntoIterator<Item = Duration>>(times: I) -> Self {
        let mut times: Vec<_> = times.into_iter().collect();
        times.sort_unstable();
        Self(times)
    }
}
