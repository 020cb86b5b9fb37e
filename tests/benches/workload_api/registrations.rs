//! Start and memory with many registrations, documents that are applied, and a revocation among many.

use crate::{
    options::Options,
    report::{self, Aim, Figure, Row},
    samples::Samples,
    stage::{self, Durability},
};
use futures_util::{StreamExt as _, stream};
use std::{
    path::Path,
    time::{Duration, Instant},
};
use symbolon_proto::admin::{ChangeStateRequest, ClientSpec, RegisterClientRequest, SelectorSet};
use symbolon_tests::{Agent, symbolon};

/// Registrations under way at the same time: the admin socket takes 32 from a connection.
const AT_ONCE: usize = 32;

/// Documents of a file: an agent's file has no more.
const DOCUMENTS: usize = 10_000;

/// Clients that are revoked, one after the other.
const REVOKED: usize = 200;

/// What an agent takes at rest.
struct Rest {
    start: Duration,
    memory: f64,
}

pub(crate) async fn measure(options: &Options) {
    let mut rows = Vec::new();
    for &count in &options.registrations {
        let Measured {
            empty,
            written,
            full,
            revoked,
        } = with(count).await;
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
            Row::of(name("revocation of one among them"), &revoked),
        ]);
    }
    rows.extend(documents().await);
    report::print("Registrations (the floor is an empty agent)", &rows);
}

/// An empty agent, the time of `count` registrations, the agent that starts with them, and how
/// long it takes there to revoke one.
struct Measured {
    empty: Rest,
    written: Duration,
    full: Rest,
    revoked: Samples,
}

async fn with(count: usize) -> Measured {
    let agent = stage::agent(Durability::Sync).await;
    let (agent, empty) = restarted(agent).await;
    let begun = Instant::now();
    register(&agent, count).await;
    let written = begun.elapsed();
    let (agent, full) = restarted(agent).await;
    Measured {
        empty,
        written,
        full,
        revoked: revoke(&agent, count).await,
    }
}

/// Durable in registry and trail, and in force, when the answer is there.
async fn revoke(agent: &Agent, count: usize) -> Samples {
    let mut admin = stage::admin(agent).await;
    let mut times = Vec::new();
    for turn in 0..REVOKED.min(count) {
        let request = ChangeStateRequest {
            name: format!("client-{}", turn * (count / REVOKED.min(count))),
            reason: "a benchmark".to_owned(),
        };
        let begun = Instant::now();
        admin.revoke_client(request).await.expect("revoked");
        times.push(begun.elapsed());
    }
    times.into_iter().collect()
}

/// A file of as many documents as one can have, by the command line: from reading the file to
/// the last event on the disk.
async fn documents() -> Vec<Row> {
    let agent = stage::agent(Durability::Sync).await;
    let file = agent.setup().directory().join("clients.yaml");
    std::fs::write(&file, yaml("30m")).expect("written");
    let applied = apply(&agent, &file, "--yes", 0).await;
    let unchanged = apply(&agent, &file, "--dry-run", 0).await;
    std::fs::write(&file, yaml("45m")).expect("written");
    let planned = apply(&agent, &file, "--dry-run", 6).await;
    let changed = apply(&agent, &file, "--yes", 0).await;
    let row = |what: &str, time| {
        let name = format!("{what}, {DOCUMENTS} documents");
        Row::new(name, Figure::Time(time))
    };
    vec![
        row("client apply of new clients", applied),
        row("client apply --dry-run, all unchanged", unchanged),
        row("client apply --dry-run, all changed", planned),
        row("client apply, all changed", changed),
    ]
}

async fn apply(agent: &Agent, file: &Path, how: &str, code: i32) -> Duration {
    let mut command = agent.command(symbolon());
    command.args(["client", "apply", how, "--file"]).arg(file);
    let begun = Instant::now();
    let output = command.output().await.expect("it runs");
    let time = begun.elapsed();
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    time
}

fn yaml(ttl: &str) -> String {
    let document = |number| {
        let spec = spec(number);
        format!(
            "name: client-{number}\nowner: {}\npurpose: {}\nselector_sets: [[\"{}\"]]\n\
             audiences: [{}]\nx509_ttl: {ttl}\n",
            spec.owner,
            spec.purpose,
            spec.selector_sets[0].selectors.join("\", \""),
            spec.audiences[0],
        )
    };
    let documents: Vec<_> = (0..DOCUMENTS).map(document).collect();
    documents.join("---\n")
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
