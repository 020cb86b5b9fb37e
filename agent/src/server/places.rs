//! Places for what takes long: so many at a time, and so many of one user.
//!
//! Whoever comes when all are taken is refused with a sentence, and tries again; nobody waits in
//! the agent's memory. How many are taken, and how many were refused, can be seen from outside.

use crate::telemetry::AdminMetrics;
use parking_lot::Mutex;
use prometheus_client::metrics::{counter::Counter, gauge::Gauge};
use std::sync::Arc;
use tonic::Status;

/// What there are places for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    /// In one word.
    pub(crate) what: &'static str,
    /// At the same time.
    pub(crate) most: usize,
    /// Of those, of one user.
    pub(crate) most_of_one: usize,
    /// What to tell whoever finds none.
    pub(crate) full: &'static str,
}

/// Who has a place now.
#[derive(Debug)]
pub(crate) struct Places {
    terms: Terms,
    taken: Mutex<Vec<u32>>,
    shown: Gauge,
    refused: Counter,
}

/// A place, until dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    uid: u32,
}

impl Places {
    /// None of them taken.
    pub(crate) fn on(terms: Terms) -> Arc<Self> {
        Self::shown_by(&AdminMetrics::default(), terms)
    }

    /// As [`on`](Self::on), which these metrics show.
    pub(crate) fn shown_by(metrics: &AdminMetrics, terms: Terms) -> Arc<Self> {
        let label = terms.what.into();
        Arc::new(Self {
            terms,
            taken: Mutex::default(),
            shown: metrics.places.get_or_create(&label).clone(),
            refused: metrics.places_refused.get_or_create(&label).clone(),
        })
    }

    /// A place for one more of this user.
    pub(crate) fn take(self: &Arc<Self>, uid: u32) -> Result<Place, Status> {
        let mut taken = self.taken.lock();
        let own = taken.iter().filter(|other| **other == uid).count();
        if taken.len() >= self.terms.most || own >= self.terms.most_of_one {
            self.refused.inc();
            return Err(Status::resource_exhausted(self.terms.full));
        }
        taken.push(uid);
        self.shown.inc();
        drop(taken);
        Ok(Place {
            places: Arc::clone(self),
            uid,
        })
    }

    /// How many are taken.
    #[cfg(test)]
    pub(crate) fn taken(&self) -> usize {
        self.taken.lock().len()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock();
        if let Some(at) = taken.iter().position(|uid| *uid == self.uid) {
            taken.swap_remove(at);
            self.places.shown.dec();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{AdminMetrics, Places, Terms};
    use tonic::Code;

    #[test]
    fn no_user_takes_all_places() {
        let metrics = AdminMetrics::default();
        let terms = Terms {
            what: "search",
            most: 4,
            most_of_one: 2,
            full: "no place is left",
        };
        let places = Places::shown_by(&metrics, terms);
        let own: Vec<_> = (0..2).map(|_| places.take(1).unwrap()).collect();
        let refused = places.take(1).unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted);
        assert_eq!(refused.message(), "no place is left");
        let mut others: Vec<_> = (10..12).map(|uid| places.take(uid).unwrap()).collect();
        places.take(99).unwrap_err();
        others.pop();
        let _another = places.take(99).unwrap();
        drop(own);
        drop(places.take(1).unwrap());
        assert_eq!(places.taken(), 2);
        let label = "search".into();
        assert_eq!(metrics.places.get_or_create(&label).get(), 2);
        assert_eq!(metrics.places_refused.get_or_create(&label).get(), 2);
    }
}
