use super::{LONGEST, Outbox, PATIENCE, PULSE, Part, TERMS, answer, pass_on, run};
use crate::{audit::Found, server::Places, supervisor::Supervisor};
use futures_util::{Stream, StreamExt as _};
use std::{sync::Arc, time::Duration};
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
    time::Instant,
};
use tonic::{Code, Status};

type Item = Result<Part, Status>;

/// Both ends of what passes parts on.
struct Passage {
    found: mpsc::Sender<Item>,
    answers: mpsc::Receiver<Item>,
    stop: watch::Sender<bool>,
    passing: JoinHandle<()>,
}

impl Passage {
    fn open() -> Self {
        let (found, waiting) = mpsc::channel(2);
        let (to, answers) = mpsc::channel(1);
        let stop = watch::Sender::new(false);
        let passing = Handle::current().spawn(pass_on(waiting, to, stop.subscribe()));
        Self {
            found,
            answers,
            stop,
            passing,
        }
    }
}

fn line(text: &str) -> Part {
    Part::Lines(vec![text.to_owned()])
}

/// The parts, and the code of the error at their end.
async fn all(answer: impl Stream<Item = Item>) -> (Vec<Part>, Option<Code>) {
    let mut answer = Box::pin(answer);
    let mut parts = Vec::new();
    while let Some(part) = answer.next().await {
        match part {
            Ok(Part::Pulse) => {}
            Ok(part) => parts.push(part),
            Err(status) => {
                assert!(answer.next().await.is_none());
                return (parts, Some(status.code()));
            }
        }
    }
    (parts, None)
}

/// A search on a place of its own.
fn search(
    searches: &Arc<Places>,
    work: impl FnOnce(&mut Outbox) -> Result<Found, Status> + Send + 'static,
) -> super::Answer {
    let supervisor = Supervisor::new(Handle::current());
    let stopped = watch::Sender::new(false).subscribe();
    let place = searches.take(1).unwrap();
    run(place, &supervisor, stopped, work).unwrap()
}

#[tokio::test]
async fn what_a_search_finds_comes_in_its_order_and_ends() {
    for (ended, is_cut) in [(Found::All, false), (Found::Newest, true)] {
        let searches = Places::on(TERMS);
        let answer = search(&searches, move |out| {
            assert!(out.part(Part::Story("a story".to_owned())));
            for number in 0..10_000 {
                assert!(out.line(format!("line {number}")));
            }
            Ok(ended)
        });
        let (parts, error) = all(answer).await;
        assert_eq!(error, None);
        assert_eq!(parts.first(), Some(&Part::Story("a story".to_owned())));
        assert_eq!(parts.last(), Some(&Part::End { is_cut }));
        let lines = parts.into_iter().filter_map(|part| match part {
            Part::Lines(lines) => Some(lines),
            _ => None,
        });
        let lines: Vec<_> = lines.flatten().collect();
        assert_eq!(lines.len(), 10_000);
        assert!((0..10_000).all(|number| lines[number] == format!("line {number}")));
    }
}

#[tokio::test]
async fn a_failure_is_told_and_a_panic_is_no_end() {
    let searches = Places::on(TERMS);
    let failed = search(&searches, |_| Err(Status::not_found("nothing")));
    assert_eq!(all(failed).await, (Vec::new(), Some(Code::NotFound)));
    let panicked = search(&searches, |_| panic!("a test"));
    let broken_off = (Vec::new(), Some(Code::ResourceExhausted));
    assert_eq!(all(panicked).await, broken_off);
}

#[tokio::test]
async fn a_search_whose_caller_has_gone_ends() {
    let searches = Places::on(TERMS);
    let (ended, end) = oneshot::channel();
    let answer = search(&searches, move |out| {
        let is_wanted = out.is_wanted();
        while is_wanted() {
            std::thread::yield_now();
        }
        ended.send(()).unwrap();
        Ok(Found::GivenUp)
    });
    drop(answer);
    end.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_search_that_finds_nothing_for_long_says_that_it_goes_on() {
    let mut passage = Passage::open();
    let begun = Instant::now();
    for _ in 0..3 {
        let part = passage.answers.recv().await.unwrap();
        assert_eq!(part.unwrap(), Part::Pulse);
    }
    assert!(begun.elapsed() >= 3 * PULSE);
    passage.found.send(Ok(line("a"))).await.unwrap();
    assert_eq!(passage.answers.recv().await.unwrap().unwrap(), line("a"));
}

#[tokio::test(start_paused = true)]
async fn a_search_that_takes_too_long_is_broken_off() {
    let passage = Passage::open();
    let begun = Instant::now();
    let (parts, error) = all(answer(passage.answers)).await;
    assert_eq!((parts, error), (Vec::new(), Some(Code::ResourceExhausted)));
    assert!(begun.elapsed() >= LONGEST);
    assert!(passage.found.is_closed());
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_nobody_reads_is_broken_off() {
    let mut passage = Passage::open();
    let begun = Instant::now();
    passage.found.send(Ok(line("a"))).await.unwrap();
    (&mut passage.passing).await.unwrap();
    let waited = begun.elapsed();
    assert!((PATIENCE..PATIENCE + 2 * PULSE + Duration::from_secs(1)).contains(&waited));
    assert!(passage.found.is_closed());
    // What was there is there, and no end.
    let (parts, error) = all(answer(passage.answers)).await;
    let broken_off = Some(Code::ResourceExhausted);
    assert_eq!((parts, error), (vec![line("a")], broken_off));
}

#[tokio::test(start_paused = true)]
async fn searches_end_when_the_agent_stops_or_the_caller_goes() {
    let passage = Passage::open();
    passage.stop.send_replace(true);
    passage.passing.await.unwrap();
    assert!(passage.found.is_closed());
    let passage = Passage::open();
    drop(passage.answers);
    passage.passing.await.unwrap();
    assert!(passage.found.is_closed());
}
