//! Open streams: what they take, and how soon a suspension reaches them.

use crate::{
    caller::Caller,
    options::Options,
    report::{self, Aim, Figure, Row},
    role::monotonic,
    stage::{self, Bare, Durability, Held},
};
use std::time::Duration;

/// Processes that hold the streams together.
const PROCESSES: usize = 2;

/// Streams that belong to a process of their own each: so many processes fit into a small machine.
const OWN_PROCESSES: usize = 1_000;

/// How much a stream may take.
const MEMORY: Aim = Aim::Absolute(Figure::Bytes(36e3));

/// How soon the first stream hears of a suspension.
const FIRST: Aim = Aim::Absolute(Figure::Time(Duration::from_millis(5)));

/// Streams that belong to some processes.
#[derive(Clone, Copy)]
struct Load {
    streams: usize,
    processes: usize,
}

pub(crate) async fn measure(options: &Options, caller: &Caller) {
    let shared = options.streams.iter().map(|&streams| Load {
        streams,
        processes: PROCESSES,
    });
    let own = options
        .streams
        .iter()
        .min()
        .map(|&least| least.min(OWN_PROCESSES));
    let own = own.map(|processes| Load {
        streams: processes,
        processes,
    });
    let mut rows = Vec::new();
    for load in shared.chain(own) {
        let floors = Floors::measure(caller, load).await;
        rows.extend(load.rows(caller, floors).await);
    }
    report::print("Open streams, each on a connection of its own", &rows);
}

/// What streams take in a bare server that does nothing but end them.
struct Floors {
    memory: Figure,
    first: Figure,
    last: Figure,
}

impl Floors {
    async fn measure(caller: &Caller, load: Load) -> Self {
        let bare = Bare::stock().await;
        let before = stage::memory(bare.pid());
        let held = Held::open(caller, &bare.socket(), load.streams, load.processes).await;
        let memory = (stage::memory(bare.pid()) - before) / load.streams as f64;
        let begun = monotonic();
        bare.end_streams();
        let (first, last) = held.ended().await;
        Self {
            memory: Figure::Bytes(memory),
            first: Figure::Time(first.saturating_sub(begun)),
            last: Figure::Time(last.saturating_sub(begun)),
        }
    }
}

impl Load {
    async fn rows(self, caller: &Caller, floors: Floors) -> Vec<Row> {
        let agent = stage::agent(Durability::Sync).await;
        stage::register_by_digest(&agent, caller).await;
        let before = stage::memory(agent.pid());
        let socket = agent.setup().workload_socket();
        let held = Held::open(caller, &socket, self.streams, self.processes).await;
        let memory = (stage::memory(agent.pid()) - before) / self.streams as f64;
        let rate = self.streams as f64 / held.opened.as_secs_f64();
        let mut admin = stage::admin(&agent).await;
        let begun = monotonic();
        stage::suspend(&mut admin).await;
        let returned = monotonic();
        let (first, last) = held.ended().await;

        let name = |what: &str| {
            format!(
                "{what}, {} streams of {} processes",
                self.streams, self.processes
            )
        };
        let time = |what, time: Duration, aim| Row::new(name(what), Figure::Time(time)).aim(aim);
        vec![
            Row::new(name("memory of a stream"), Figure::Bytes(memory))
                .floor(floors.memory)
                .aim(MEMORY),
            Row::new(name("streams opened in a second"), Figure::Rate(rate)),
            time(
                "suspension returns",
                returned.saturating_sub(begun),
                Aim::None,
            ),
            time(
                "suspension reaches the first",
                first.saturating_sub(begun),
                FIRST,
            )
            .floor(floors.first),
            time(
                "suspension reaches the last",
                last.saturating_sub(begun),
                self.last(),
            )
            .floor(floors.last),
        ]
    }

    /// How soon the last stream hears of a suspension.
    const fn last(self) -> Aim {
        let limit = if self.streams > 1_000 { 500 } else { 100 };
        Aim::Absolute(Figure::Time(Duration::from_millis(limit)))
    }
}
