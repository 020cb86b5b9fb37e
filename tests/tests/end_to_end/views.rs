//! Who owns registrations, which nobody needs, who holds them now, and what is published.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use symbolon_tests::{Agent, Program, Setup, Workload, symbolon};

use super::operation::{get, telemetry_address};

/// A process that holds an identity of `client`, and waits for renewals.
async fn holding(agent: &Agent) -> Workload {
    let mut command = agent.command(symbolon());
    let watch = ["svid", "x509", "--watch", "--output", "json"];
    let mut workload = Workload::start(command.args(watch));
    assert!(workload.line().await.is_some(), "it has an SVID");
    workload
}

async fn registered() -> Agent {
    registered_by(Setup::new().set("telemetry", "address", "127.0.0.1:0")).await
}

async fn registered_by(setup: Setup) -> Agent {
    let agent = setup.start().await;
    let program = Program::at(symbolon());
    agent.register("client", &program.selectors()).await;
    agent
}

#[tokio::test]
async fn who_holds_an_identity_now_is_shown_with_its_evidence() {
    let agent = registered().await;
    let none = agent.json(["client", "show", "client", "--live"]).await;
    assert_eq!(none["live"]["total"], 0, "{none}");
    let workload = holding(&agent).await;
    let shown = agent.json(["client", "show", "client", "--live"]).await;
    let holder = &shown["live"]["holders"][0];
    assert_eq!(holder["pid"], workload.pid(), "{shown}");
    assert_eq!(shown["live"]["total"], 1, "{shown}");
    let credential = &holder["credentials"][0];
    assert_eq!(credential["kind"], "x509-svid");
    // What is shown is in the trail by the same names.
    let issued = agent.audit().await;
    let issued = issued
        .iter()
        .find(|line| line["event"] == "issued")
        .unwrap();
    assert_eq!(issued["attestation_id"], holder["attestation_id"]);
    assert_eq!(issued["credential"]["serial"], credential["id"], "{issued}");
    agent.suspend("client").await;
    let shown = agent.json(["client", "show", "client", "--live"]).await;
    assert_eq!(shown["live"]["total"], 0, "{shown}");
}

#[tokio::test]
async fn owners_are_told_with_what_is_theirs() {
    let agent = registered().await;
    let workload = holding(&agent).await;
    let shown = agent.json(["client", "owners"]).await;
    let owner = &shown["owners"][0];
    assert_eq!(owner["owner"], "tests@example.org");
    assert_eq!(
        (&owner["clients"], &owner["orphans"]),
        (&1.into(), &0.into())
    );
    assert_eq!(owner["authors"][0]["known"], true, "{shown}");
    assert_eq!(owner["keys"][0]["processes"], 1, "{shown}");
    drop(workload);
}

#[tokio::test]
async fn the_last_use_outlives_a_restart() {
    let agent = registered().await;
    agent.register("idle", &["unix:uid:64999".to_owned()]).await;
    drop(holding(&agent).await);
    let last_used = async |agent: &Agent| {
        let shown = agent.json(["client", "owners"]).await;
        shown["owners"][0]["last_used_at"].clone()
    };
    let before = last_used(&agent).await;
    assert!(before.is_string(), "{before}");
    let stopped = agent.stop().await;
    assert!(stopped.setup.data().join("usage.json").exists());
    let agent = stopped.setup.start().await;
    assert_eq!(last_used(&agent).await, before);
    let stale = agent.json(["client", "stale"]).await;
    assert_eq!(stale["clients"].as_array().unwrap().len(), 0, "{stale}");
    assert!(stale["noted_since"].is_string(), "{stale}");
}

/// Names, labels and values that the documentation has: of labels, none where they are no list.
struct Page {
    metrics: BTreeMap<String, (String, BTreeSet<String>)>,
    values: BTreeMap<(String, String), BTreeSet<String>>,
}

fn words(cell: &str) -> BTreeSet<String> {
    let words = cell.split('`').skip(1).step_by(2);
    words.map(str::to_owned).collect()
}

fn page() -> Page {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../agent/doc/metrics.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (first, second) = text.split_once("## Values of labels").unwrap();
    let rows = |text: &str| -> Vec<Vec<String>> {
        let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
        rows.map(|row| row.split('|').map(|cell| cell.trim().to_owned()).collect())
            .collect()
    };
    let name = |cell: &str| cell.trim_matches('`').to_owned();
    Page {
        metrics: rows(first)
            .iter()
            .map(|row| (name(&row[0]), (row[1].clone(), words(&row[2]))))
            .collect(),
        values: rows(second)
            .iter()
            .map(|row| ((name(&row[0]), name(&row[1])), words(&row[2])))
            .collect(),
    }
}

impl Page {
    fn check(&self, sample: &str) {
        let (series, _) = sample.rsplit_once(' ').unwrap();
        let (series, pairs) = series.split_once('{').unwrap_or((series, ""));
        let suffixes = ["", "_bucket", "_sum", "_count"];
        let name = suffixes.iter().find_map(|suffix| {
            let name = series.strip_suffix(suffix)?;
            self.metrics.contains_key(name).then_some(name)
        });
        let name = name.expect(sample);
        let (_, labels) = &self.metrics[name];
        let pairs = pairs.trim_end_matches('}').split(',');
        for (label, value) in pairs.filter_map(|pair| pair.split_once('=')) {
            if label == "le" {
                continue;
            }
            assert!(labels.contains(label), "{sample}");
            let values = &self.values[&(name.to_owned(), label.to_owned())];
            let value = value.trim_matches('"');
            assert!(values.is_empty() || values.contains(value), "{sample}");
        }
    }
}

#[tokio::test]
async fn what_is_published_is_documented_word_by_word() {
    let agent = registered().await;
    let address = telemetry_address(&agent);
    let workload = holding(&agent).await;
    agent.run(["svid", "jwt", "--audience", "nobody"]).await;
    agent.suspend("client").await;
    agent.run(["svid", "x509"]).await;
    let answer = get(&address, "/metrics").await;
    let (_, text) = answer.split_once("\r\n\r\n").unwrap();
    let page = page();
    for line in text.lines() {
        if let Some(typed) = line.strip_prefix("# TYPE ") {
            let (name, kind) = typed.split_once(' ').unwrap();
            let suffix = match kind {
                "counter" => "_total",
                "info" => "_info",
                _ => "",
            };
            let name = format!("{name}{suffix}");
            let documented = page.metrics.get(&name);
            assert_eq!(
                documented.map(|metric| metric.0.as_str()),
                Some(kind),
                "{name}"
            );
        } else if !line.starts_with('#') {
            page.check(line);
        }
    }
    for expected in [
        "symbolon_svids_issued_total{kind=\"x509-svid\"} 1",
        "symbolon_identities_denied_total{reason=\"audience\"} 1",
        "symbolon_identities_denied_total{reason=\"no-match\"} 1",
        "symbolon_svid_renewals_failed_total{kind=\"x509-svid\"} 0",
        "symbolon_registry_store_duration_seconds_count{operation=\"append\"} 2",
        "symbolon_clients_pending 0",
    ] {
        assert!(
            text.lines().any(|line| line == expected),
            "{expected}: {text}"
        );
    }
    drop(workload);
}

#[tokio::test]
async fn the_log_names_what_the_trail_names() {
    let agent = registered_by(Setup::new().set("log", "level", "debug")).await;
    let workload = holding(&agent).await;
    agent.suspend("client").await;
    agent.run(["svid", "x509"]).await;
    let log = std::fs::read_to_string(agent.setup().log_file()).unwrap();
    let lines: Vec<serde_json::Value> = log
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let of = |message: &str| lines.iter().find(|line| line["message"] == message);
    let withdrawn = of("withdrawn").expect("a line");
    assert_eq!(withdrawn["client"], "client");
    assert_eq!(withdrawn["pid"], workload.pid());
    let trail = agent.audit().await;
    let issued = trail.iter().find(|line| line["event"] == "issued").unwrap();
    let logged = of("recorded").expect("a line");
    assert_eq!(logged["id"], issued["credential"]["serial"], "{logged}");
    for field in ["client", "spiffe_id", "attestation_id"] {
        assert_eq!(logged[field], issued[field], "{logged}");
    }
    let denied = of("denied").expect("a line");
    let recorded = trail.iter().find(|line| line["event"] == "denied").unwrap();
    assert!(denied["attestation_id"].is_string(), "{denied}");
    assert_eq!(denied["attestation_id"], recorded["attestation_id"]);
}
