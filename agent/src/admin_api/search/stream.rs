//! From a thread that reads the trail to the answer of a call.
//!
//! The thread looks after each line whether anybody waits; a task passes on what it finds,
//! watches the time, and says now and then that the search goes on. An answer that ends
//! without [`Part::End`] is an error, so that nobody takes a part for the whole.

use crate::{
    admin_api::passage::until_stopped,
    audit::Found,
    server::{Place, Terms},
    supervisor::Supervisor,
};
use futures_util::{Stream, stream};
use std::{pin::Pin, thread, time::Duration};
use tokio::{
    sync::{mpsc, watch},
    time::{sleep, timeout},
};
use tonic::Status;

/// Searches at the same time: each keeps a core busy, and has its lines in memory.
pub(in crate::admin_api) const TERMS: Terms = Terms {
    what: "search",
    most: 4,
    most_of_one: 2,
    full: "as many searches of the audit trail run as may at a time",
};

/// How long one lasts at most: some ten times what the largest trail that is kept by default takes.
const LONGEST: Duration = Duration::from_secs(10 * 60);

/// How long a part of the answer may lie unread.
const PATIENCE: Duration = Duration::from_secs(60);

/// After so long without a line, a word that the search goes on.
const PULSE: Duration = Duration::from_secs(5);

/// Bytes of lines that are sent together.
const PART_BYTES: usize = 64 * 1024;

/// Less than the trail's writers, and whoever else has something to do.
const NICE: i32 = 10;

/// A part of an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// The search goes on.
    Pulse,
    /// The head of a story, as a JSON document.
    Story(String),
    /// Some lines.
    Lines(Vec<String>),
    /// That was all, or all of the newest that are kept.
    End { is_cut: bool },
}

/// Where a search puts what it finds.
#[derive(Debug)]
pub(super) struct Outbox {
    parts: mpsc::Sender<Result<Part, Status>>,
    lines: Vec<String>,
    bytes: usize,
}

impl Outbox {
    const fn new(parts: mpsc::Sender<Result<Part, Status>>) -> Self {
        Self {
            parts,
            lines: Vec::new(),
            bytes: 0,
        }
    }

    /// Says whether anybody waits for more.
    pub(super) fn is_wanted(&self) -> impl Fn() -> bool + use<> {
        let parts = self.parts.clone();
        move || !parts.is_closed()
    }

    /// One more line; whether more are wanted. Waits while nobody reads.
    pub(super) fn line(&mut self, line: String) -> bool {
        self.bytes += line.len();
        self.lines.push(line);
        self.bytes < PART_BYTES || self.flush()
    }

    /// A part of its own; whether more are wanted.
    pub(super) fn part(&self, part: Part) -> bool {
        self.parts.blocking_send(Ok(part)).is_ok()
    }

    fn flush(&mut self) -> bool {
        self.bytes = 0;
        let lines = std::mem::take(&mut self.lines);
        lines.is_empty() || self.part(Part::Lines(lines))
    }

    fn end(mut self, ended: Result<Found, Status>) {
        let is_cut = match ended {
            Ok(Found::All) => false,
            Ok(Found::Newest) => true,
            Ok(Found::GivenUp) => return,
            Err(status) => {
                // Nobody may wait any more.
                self.parts.blocking_send(Err(status)).unwrap_or_default();
                return;
            }
        };
        if !(self.flush() && self.part(Part::End { is_cut })) {
            tracing::debug!("nobody waits for the end of a search of the audit trail");
        }
    }
}

/// An answer under way.
pub(super) type Answer = Pin<Box<dyn Stream<Item = Result<Part, Status>> + Send>>;

/// Lets `work` search on a thread of its own.
pub(super) fn run(
    place: Place,
    supervisor: &Supervisor,
    stopped: watch::Receiver<bool>,
    work: impl FnOnce(&mut Outbox) -> Result<Found, Status> + Send + 'static,
) -> Result<Answer, Status> {
    let (parts, found) = mpsc::channel(2);
    let search = move || {
        let _place = place;
        if let Err(error) = rustix::process::setpriority_process(None, NICE) {
            tracing::debug!(%error, "a search has the agent's priority");
        }
        let mut out = Outbox::new(parts);
        let ended = work(&mut out);
        out.end(ended);
    };
    let thread = thread::Builder::new().name("audit-search".to_owned());
    thread.spawn(search).map_err(|error| {
        tracing::error!(%error, "no thread can be begun for a search of the audit trail");
        Status::resource_exhausted("no thread can be begun for the search")
    })?;
    let (to, answers) = mpsc::channel(1);
    supervisor.spawn(pass_on(found, to, stopped));
    Ok(Box::pin(answer(answers)))
}

/// Passes parts on until the last one, until it takes too long, or until nobody reads them.
async fn pass_on(
    mut found: mpsc::Receiver<Result<Part, Status>>,
    to: mpsc::Sender<Result<Part, Status>>,
    stopped: watch::Receiver<bool>,
) {
    let over = async {
        tokio::select! {
            () = sleep(LONGEST) => {}
            () = until_stopped(stopped) => {}
            () = to.closed() => {}
        }
    };
    let pass = async {
        loop {
            let part = match timeout(PULSE, found.recv()).await {
                Ok(Some(part)) => part,
                Ok(None) => return,
                Err(_elapsed) => Ok(Part::Pulse),
            };
            match timeout(PATIENCE, to.send(part)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return,
            }
        }
    };
    tokio::select! {
        () = over => {}
        () = pass => {}
    }
}

/// The parts up to the last one; where that does not come, an error in its place.
fn answer(
    parts: mpsc::Receiver<Result<Part, Status>>,
) -> impl Stream<Item = Result<Part, Status>> + Send {
    stream::unfold(Some(parts), |parts| async {
        let mut parts = parts?;
        Some(match parts.recv().await {
            Some(Ok(end @ Part::End { .. })) => (Ok(end), None),
            Some(Ok(part)) => (Ok(part), Some(parts)),
            Some(Err(status)) => (Err(status), None),
            None => (Err(broken_off()), None),
        })
    })
}

fn broken_off() -> Status {
    Status::resource_exhausted(
        "the search was broken off: it took longer than ten minutes, its answer was not read for a \
         minute, or the agent stops",
    )
}

#[cfg(test)]
mod tests;
