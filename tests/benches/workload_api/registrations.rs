//! Start and memory with many registrations.

use crate::{
    options::Options,
    report::{self, Aim, Figure, Row},
    stage::{self, Durability},
};
use futures_util::{StreamExt as _, stream};
use std::time::{Duration, Instant};
use symbolon_proto::admin::{ClientSpec, RegisterClientRequest, SelectorSet};
use symbolon_tests::Agent;

/// Registrations under way at the same time: the admin socket takes 32 from a connection.
const AT_ONCE: usize = 32;

/// What an agent takes at rest.
struct Rest {
    start: Duration,
    memory: f64,
}

pub(crate) async fn measure(options: &Options) {
    let mut rows = Vec::new();
    for &count in &options.registrations {
        let (empty, written, full) = with(count).await;
        let name = |what: &str| format!("{what}, {count} registrations");
        let rate = count as f64 / written.as_secs_f64();
        rows.extend([
            Row::new(name("registered in a second"), Figure::Rate(rate)),
            Row::new(name("start"), Figure::Time(full.start))
                .floor(Figure::Time(empty.start))
                .aim(Aim::Absolute(Figure::Time(Duration::from_millis(500)))),
            Row::new(name("memory after the start"), Figure::Bytes(full.memory))
                .floor(Figure::Bytes(empty.memory))
                .aim(Aim::Absolute(Figure::Bytes(100e6))),
        ]);
    }
    report::print("Registrations (the floor is an empty agent)", &rows);
}

/// An empty agent, the time of `count` registrations, and the agent that starts with them.
async fn with(count: usize) -> (Rest, Duration, Rest) {
    let agent = stage::agent(Durability::Sync).await;
    let (agent, empty) = restarted(agent).await;
    let begun = Instant::now();
    register(&agent, count).await;
    let written = begun.elapsed();
    let (_agent, full) = restarted(agent).await;
    (empty, written, full)
}

async fn restarted(agent: Agent) -> (Agent, Rest) {
    let setup = agent.stop().await.setup;
    let begun = Instant::now();
    let agent = setup.start().await;
    let rest = Rest {
        start: begun.elapsed(),
        memory: stage::memory(agent.pid()),
    };
    (agent, rest)
}

async fn register(agent: &Agent, count: usize) {
    let admin = &stage::admin(agent).await;
    let registered = stream::iter(0..count).map(|number| async move {
        let request = RegisterClientRequest {
            name: format!("client-{number}"),
            spec: Some(spec(number)),
            reason: "a benchmark".to_owned(),
            ..RegisterClientRequest::default()
        };
        admin
            .clone()
            .register_client(request)
            .await
            .expect("registered");
    });
    registered
        .buffer_unordered(AT_ONCE)
        .for_each(|()| std::future::ready(()))
        .await;
}

/// Everybody has a user, a program and an audience of its own, as on a busy node.
fn spec(number: usize) -> ClientSpec {
    let selectors = vec![
        format!("unix:uid:{}", 10_000 + number),
        format!("unix:sha256:{number:064x}"),
    ];
    ClientSpec {
        owner: format!("team-{}@example.org", number % 100),
        purpose: "an MCP client that is measured".to_owned(),
        selector_sets: vec![SelectorSet { selectors }],
        audiences: vec![format!("https://mcp-{}.example.org/", number % 1_000)],
        ..ClientSpec::default()
    }
}
