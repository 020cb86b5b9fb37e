use super::{Call, KeySlot, Metrics};
use crate::{authority::ForeignBundle, federation::Status};
use spiffe::TrustDomain;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::Arc,
    time::UNIX_EPOCH,
};

fn touch_workload(metrics: &Metrics, call: &Call) {
    let workload = &metrics.workload;
    let failures = &workload.attestor_failures;
    failures.get_or_create(&"systemd".into()).inc();
    let required = &workload.proofs_required;
    required.get_or_create(&"held".into()).set(1);
    let refused = &workload.connections_refused;
    refused.get_or_create(&"pin".into()).inc();
    workload.calls.calls.get_or_create(call).inc();
    let duration = &workload.calls.duration;
    duration.get_or_create(&call.method.into()).observe(0.001);
    let attestations = &workload.attestations;
    attestations.get_or_create(&"accepted".into()).inc();
}

fn touch_issuance(metrics: &Metrics) {
    let issuance = &metrics.issuance;
    issuance.issued.get_or_create(&"x509-svid".into()).inc();
    issuance.renewed.get_or_create(&"x509-svid".into()).inc();
    issuance.shown.get_or_create(&"dpop-proof".into()).inc();
    let duration = &issuance.duration;
    duration.get_or_create(&"x509-svid".into()).observe(0.001);
    issuance.denied.get_or_create(&"no-match".into()).inc();
    issuance.withdrawn.get_or_create(&"suspended".into()).inc();
    issuance.validations.get_or_create(&"accepted".into()).inc();
    let live = &metrics.live.identities;
    live.get_or_create(&"x509-svid".into()).set(1);
}

/// Metrics in which every family has a series.
fn touched() -> Metrics {
    let metrics = Metrics::new("1.2.3");
    let call = Call {
        method: "FetchX509SVID",
        code: "OK",
    };
    touch_workload(&metrics, &call);
    touch_issuance(&metrics);
    let registry = &metrics.registry;
    registry.clients.get_or_create(&"active".into()).set(3);
    registry.changes.get_or_create(&"registered".into()).inc();
    let store = &metrics.store.duration;
    store.get_or_create(&"append".into()).observe(0.001);
    let slot = KeySlot {
        kind: "jwt",
        slot: "active",
    };
    let not_after = &metrics.authority.not_after;
    not_after.get_or_create(&slot).set(1_785_240_000);
    metrics.audit.records.get_or_create(&"issued".into()).inc();
    metrics.audit.waiting.get_or_create(&"trail".into()).set(0);
    metrics.drift.looks.get_or_create(&"approved".into()).inc();
    metrics.identity.count("jwks", "200");
    metrics.identity.refuse("address");
    metrics.admin.calls.calls.get_or_create(&call).inc();
    let places = &metrics.admin.places;
    places.get_or_create(&"search".into()).set(0);
    let refused = &metrics.admin.places_refused;
    refused.get_or_create(&"search".into()).inc();
    let duration = &metrics.admin.calls.duration;
    duration.get_or_create(&"GetInfo".into()).observe(0.001);
    federate(&metrics);
    metrics
}

/// A foreign trust domain of which everything is known.
fn federate(metrics: &Metrics) {
    let domain = TrustDomain::new("other.example").unwrap();
    let document = br#"{"keys":[],"spiffe_sequence":1}"#;
    let bundle = ForeignBundle::parse(&domain, document).unwrap();
    let status = Status {
        bundle: Some(Arc::new(bundle)),
        fetched_at: Some(UNIX_EPOCH),
        ..Status::default()
    };
    let all = BTreeMap::from([(domain, status)]);
    metrics.federation.show(&all);
    metrics.federation.leave_out("other.example");
}

/// A metric as it is published.
struct Published {
    name: String,
    kind: String,
    help: String,
    labels: Option<BTreeSet<String>>,
}

/// All of them, in their order.
fn published() -> Vec<Published> {
    let text = touched().text(true).unwrap();
    let mut all: Vec<Published> = Vec::new();
    for line in text.lines().filter(|line| *line != "# EOF") {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            all.push(Published {
                name: name.to_owned(),
                kind: String::new(),
                help: help.to_owned(),
                labels: None,
            });
            continue;
        }
        let last = all.last_mut().unwrap();
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (_, kind) = rest.split_once(' ').unwrap();
            kind.clone_into(&mut last.kind);
            match kind {
                "counter" => last.name.push_str("_total"),
                "info" => last.name.push_str("_info"),
                _ => {}
            }
        } else if !line.starts_with('#') {
            last.labels.get_or_insert_default().extend(labels(line));
        }
    }
    all
}

/// The names of the labels of a sample; buckets aside.
fn labels(sample: &str) -> Vec<String> {
    let braced = sample
        .split_once('{')
        .and_then(|(_, rest)| rest.split_once('}'));
    let pairs = braced.into_iter().flat_map(|(pairs, _)| pairs.split(','));
    let names = pairs.filter_map(|pair| pair.split_once('='));
    let names = names.map(|(name, _)| name.to_owned());
    names.filter(|name| name != "le").collect()
}

/// The table of the documentation.
fn table() -> String {
    let mut text = String::from("| metric | type | labels | |\n|---|---|---|---|\n");
    for metric in published() {
        let labels = metric.labels.expect(&metric.name);
        let labels: Vec<_> = labels.iter().map(|label| format!("`{label}`")).collect();
        let (name, kind, help) = (metric.name, metric.kind, metric.help);
        let help = help.trim_end_matches('.');
        let labels = labels.join(", ");
        text.push_str(&format!("| `{name}` | {kind} | {labels} | {help} |\n"));
    }
    text
}

const BEGIN: &str = "<!-- the table of metrics -->\n";
const END: &str = "<!-- its end -->\n";

fn page() -> String {
    fs::read_to_string(path()).unwrap()
}

fn path() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("doc/metrics.md")
}

#[test]
fn every_metric_is_documented_as_it_is_published() {
    let page = page();
    let (before, rest) = page.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    let current = [before, BEGIN, &table(), END, after].concat();
    if std::env::var_os("SYMBOLON_REGENERATE").is_some() {
        fs::write(path(), &current).unwrap();
    } else {
        assert!(
            page == current,
            "agent/doc/metrics.md differs: SYMBOLON_REGENERATE=1 cargo test -p symbolon-agent \
             --lib telemetry"
        );
    }
}

#[test]
fn the_values_of_every_label_are_documented() {
    let page = page();
    let (_, values) = page.split_once("## Values of labels").unwrap();
    let mut documented: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for row in values.lines().filter_map(|line| line.strip_prefix("| `")) {
        let cells: Vec<&str> = row
            .split('|')
            .map(|cell| cell.trim().trim_matches('`'))
            .collect();
        let metric = documented.entry(cells[0].to_owned()).or_default();
        metric.insert(cells[1].to_owned());
    }
    for metric in published() {
        let labels = metric.labels.unwrap();
        let listed = documented.remove(&metric.name).unwrap_or_default();
        assert_eq!(labels, listed, "{}", metric.name);
    }
    assert!(documented.is_empty(), "{documented:?}");
}

#[test]
fn what_alerts_ask_for_is_there_before_it_happens() {
    let text = Metrics::new("1").text(true).unwrap();
    for line in [
        "symbolon_svid_renewals_failed_total{kind=\"x509-svid\"} 0",
        "symbolon_svid_renewals_failed_total{kind=\"wit-svid\"} 0",
        "symbolon_registry_store_failures_total{operation=\"append\"} 0",
        "symbolon_audit_records_refused_total 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in {text}");
    }
}

#[test]
fn series_carry_their_labels() {
    let text = touched().text(false).unwrap();
    for line in [
        "symbolon_build_info{version=\"1.2.3\"} 1",
        "symbolon_ready 0",
        "symbolon_workload_calls_total{method=\"FetchX509SVID\",code=\"OK\"} 1",
        "symbolon_authority_not_after_timestamp_seconds{kind=\"jwt\",slot=\"active\"} 1785240000",
        "symbolon_audit_records_total{event=\"issued\"} 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in {text}");
    }
}
