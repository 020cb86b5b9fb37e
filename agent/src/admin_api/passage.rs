//! From what an answer is made of to the answer of a call, by a task of its own.
//!
//! A caller may leave an answer unread, and open no window for it: then nobody polls it, and what
//! it holds would be held for ever. So a task makes it, and gives it up where no part is taken for
//! a while. An answer that is given up, or that the agent's stop breaks off, ends with an error, so
//! that nobody takes it for the whole.

use crate::{server::Place, supervisor::Supervisor};
use futures_util::{Stream, StreamExt as _, stream};
use std::{
    future::pending,
    pin::{Pin, pin},
    time::Duration,
};
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};
use tonic::Status;

/// An answer in parts.
pub(super) type Parts<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// What an answer holds while it is made.
pub(super) struct Terms {
    /// Its place, given back at its end.
    pub(super) place: Place,
    /// How long a part may lie unread.
    pub(super) patience: Duration,
    /// True once the agent stops.
    pub(super) stopped: watch::Receiver<bool>,
    /// How it ends then.
    pub(super) at_stop: AtStop,
}

/// How an answer ends when the agent stops.
#[derive(Clone, Copy, Debug)]
pub(super) enum AtStop {
    /// Regularly: it has no end of its own.
    End,
    /// With this error: it is a part of what was asked for.
    Fail(&'static str),
}

/// Lets a task make the answer.
pub(super) fn open<T: Send + 'static>(
    made: impl Stream<Item = Result<T, Status>> + Send + 'static,
    terms: Terms,
    supervisor: &Supervisor,
) -> Parts<T> {
    let (to, parts) = mpsc::channel(1);
    let broken_off = BrokenOff {
        stopped: terms.stopped.clone(),
        at_stop: terms.at_stop,
    };
    supervisor.spawn(pass_on(made, to, terms));
    Box::pin(answer(parts, broken_off))
}

/// Hands the parts on, and none after the last.
async fn pass_on<T>(
    made: impl Stream<Item = Result<T, Status>>,
    to: mpsc::Sender<Option<Result<T, Status>>>,
    terms: Terms,
) {
    let _place = terms.place;
    let mut made = pin!(made);
    let mut stop = pin!(until_stopped(terms.stopped));
    loop {
        let part = tokio::select! {
            biased;
            () = to.closed() => return,
            () = &mut stop => match terms.at_stop {
                AtStop::End => None,
                AtStop::Fail(_) => return,
            },
            part = made.next() => part,
        };
        let is_end = part.is_none();
        let taken = timeout(terms.patience, to.send(part)).await;
        if is_end || !matches!(taken, Ok(Ok(()))) {
            return;
        }
    }
}

fn answer<T>(
    parts: mpsc::Receiver<Option<Result<T, Status>>>,
    broken_off: BrokenOff,
) -> impl Stream<Item = Result<T, Status>> {
    stream::unfold(Some((parts, broken_off)), |open| async {
        let (mut parts, broken_off) = open?;
        match parts.recv().await {
            Some(Some(part)) => Some((part, Some((parts, broken_off)))),
            Some(None) => None,
            None => Some((Err(broken_off.why()), None)),
        }
    })
}

/// Tells why an answer has no end.
struct BrokenOff {
    stopped: watch::Receiver<bool>,
    at_stop: AtStop,
}

impl BrokenOff {
    fn why(&self) -> Status {
        match self.at_stop {
            AtStop::Fail(why) if *self.stopped.borrow() => Status::unavailable(why),
            AtStop::Fail(_) | AtStop::End => {
                Status::resource_exhausted("the answer was given up: it was not read for too long")
            }
        }
    }
}

/// Resolves when the agent stops.
pub(super) async fn until_stopped(mut stopped: watch::Receiver<bool>) {
    if stopped.wait_for(|stopped| *stopped).await.is_err() {
        // Nobody will ever say so.
        pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use super::{AtStop, Terms, open};
    use crate::{
        server::{self, Places},
        supervisor::Supervisor,
        workloads::testing::until,
    };
    use futures_util::{StreamExt as _, stream};
    use std::{sync::Arc, time::Duration};
    use tokio::{runtime::Handle, sync::watch, time::Instant};
    use tonic::{Code, Status};

    const PATIENCE: Duration = Duration::from_secs(60);

    struct Stage {
        places: Arc<Places>,
        stop: watch::Sender<bool>,
    }

    impl Stage {
        fn new() -> Self {
            let places = Places::on(server::Terms {
                what: "test",
                most: 1,
                most_of_one: 1,
                full: "full",
            });
            let stop = watch::Sender::new(false);
            Self { places, stop }
        }

        fn open(
            &self,
            made: impl futures_util::Stream<Item = Result<u32, Status>> + Send + 'static,
        ) -> super::Parts<u32> {
            self.open_with(made, AtStop::Fail("the agent stops"))
        }

        fn open_with(
            &self,
            made: impl futures_util::Stream<Item = Result<u32, Status>> + Send + 'static,
            at_stop: AtStop,
        ) -> super::Parts<u32> {
            let terms = Terms {
                at_stop,
                place: self.places.take(1).unwrap(),
                patience: PATIENCE,
                stopped: self.stop.subscribe(),
            };
            open(made, terms, &Supervisor::new(Handle::current()))
        }

        async fn is_free(&self) {
            until(|| self.places.taken() == 0).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_made_comes_in_its_order_and_ends() {
        let stage = Stage::new();
        let made = stream::iter([Ok(1), Ok(2), Err(Status::data_loss("lost"))]);
        let parts: Vec<_> = stage.open(made).collect().await;
        let codes = parts
            .iter()
            .map(|part| part.as_ref().map_err(Status::code).copied());
        let codes: Vec<_> = codes.collect();
        assert_eq!(codes, [Ok(1), Ok(2), Err(Code::DataLoss)]);
        stage.is_free().await;
    }

    /// The attack: answers are asked for, and never read.
    #[tokio::test(start_paused = true)]
    async fn an_answer_that_nobody_reads_is_given_up_with_its_place() {
        let stage = Stage::new();
        let begun = Instant::now();
        let answer = stage.open(stream::iter((0..100).map(Ok)));
        tokio::time::sleep(PATIENCE + Duration::from_secs(1)).await;
        assert_eq!(stage.places.taken(), 0);
        assert!(begun.elapsed() >= PATIENCE);
        let parts: Vec<_> = answer.collect().await;
        let end = parts.last().unwrap().as_ref().unwrap_err();
        assert_eq!(end.code(), Code::ResourceExhausted);
        assert!(parts.len() < 5, "{}", parts.len());
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_ends_when_its_caller_goes() {
        let stage = Stage::new();
        drop(stage.open(stream::pending()));
        stage.is_free().await;
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_without_an_end_of_its_own_ends_when_the_agent_stops() {
        let stage = Stage::new();
        let answer = stage.open_with(stream::pending(), AtStop::End);
        stage.stop.send_replace(true);
        assert_eq!(answer.count().await, 0);
        stage.is_free().await;
    }

    /// Else a part would be taken for the whole.
    #[tokio::test(start_paused = true)]
    async fn an_answer_that_the_stop_breaks_off_ends_with_an_error() {
        let stage = Stage::new();
        let made = stream::iter([Ok(1)]).chain(stream::pending());
        let mut answer = stage.open(made);
        assert_eq!(answer.next().await.unwrap().unwrap(), 1);
        stage.stop.send_replace(true);
        let end = answer.next().await.unwrap().unwrap_err();
        assert_eq!(
            (end.code(), end.message()),
            (Code::Unavailable, "the agent stops")
        );
        assert!(answer.next().await.is_none());
        stage.is_free().await;
    }
}
