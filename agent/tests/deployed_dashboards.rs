//! Dashboard and alert rules ask only for metrics, labels and values that there are.
//!
//! `agent/doc/metrics.md` says which; that it says what the agent publishes is tested
//! beside the metrics, and end to end against a running one.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    reason = "a test stops at the first surprise"
)]

use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// What Prometheus adds to every series.
const ADDED: [&str; 2] = ["instance", "job"];

/// The words of the language that are used, beside metrics and labels.
const WORDS: [&str; 14] = [
    "absent",
    "and",
    "by",
    "count",
    "histogram_quantile",
    "increase",
    "label_values",
    "max",
    "min",
    "or",
    "rate",
    "sum",
    "time",
    "vector",
];

fn root(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file)
}

fn read(file: &str) -> String {
    fs::read_to_string(root(file)).expect(file)
}

/// A metric of the documentation.
#[derive(Debug)]
struct Metric {
    kind: String,
    labels: BTreeSet<String>,
}

/// What is documented.
struct Known {
    metrics: BTreeMap<String, Metric>,
    /// By metric and label, where they are a list.
    values: BTreeMap<(String, String), BTreeSet<String>>,
}

fn words(cell: &str) -> BTreeSet<String> {
    cell.split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

impl Known {
    fn of_page() -> Self {
        let page = read("agent/doc/metrics.md");
        let (first, second) = page.split_once("## Values of labels").expect("two tables");
        let rows = |text: &str| -> Vec<Vec<String>> {
            let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
            rows.map(|row| row.split('|').map(|cell| cell.trim().to_owned()).collect())
                .collect()
        };
        let metric = |row: Vec<String>| {
            let metric = Metric {
                kind: row[1].clone(),
                labels: words(&row[2]),
            };
            (row[0].trim_end_matches('`').to_owned(), metric)
        };
        let values = |row: Vec<String>| {
            let label = row[1].trim_matches('`').to_owned();
            (
                (row[0].trim_end_matches('`').to_owned(), label),
                words(&row[2]),
            )
        };
        Self {
            metrics: rows(first).into_iter().map(metric).collect(),
            values: rows(second)
                .into_iter()
                .map(values)
                .filter(|(_, values)| !values.is_empty())
                .collect(),
        }
    }

    /// The metric that a series of this name belongs to.
    fn series(&self, series: &str) -> (&str, &Metric) {
        let of_histogram = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| {
            let (name, metric) = self.metrics.get_key_value(series.strip_suffix(suffix)?)?;
            (metric.kind == "histogram").then_some((name, metric))
        });
        let plain = self.metrics.get_key_value(series);
        let plain = plain.filter(|(_, metric)| metric.kind != "histogram");
        let found = plain.or(of_histogram);
        let (name, metric) = found.unwrap_or_else(|| panic!("there is no series {series}"));
        (name, metric)
    }

    fn check(&self, expression: &str) {
        let mut labels = BTreeSet::new();
        let query = Query::read(expression);
        for selector in &query.selectors {
            let (name, metric) = self.series(&selector.series);
            labels.extend(metric.labels.iter().map(String::as_str));
            let rises = metric.kind == "counter" || metric.kind == "histogram";
            let call = selector.call.as_deref();
            let is_rate = matches!(call, Some("rate" | "increase"));
            assert_eq!(rises, is_rate, "{} in {expression}", selector.series);
            assert_eq!(selector.has_range, is_rate, "{expression}");
            if selector.series.ends_with("_bucket") {
                labels.insert("le");
            }
            for (label, pattern) in &selector.matchers {
                self.check_matcher(name, metric, (label, pattern));
            }
        }
        for label in &query.grouping {
            let is_there = labels.contains(label.as_str()) || ADDED.contains(&label.as_str());
            assert!(is_there, "{label} in {expression}");
        }
        let asks_buckets = query
            .selectors
            .iter()
            .any(|s| s.series.ends_with("_bucket"));
        assert_eq!(asks_buckets, query.grouping.contains("le"), "{expression}");
    }

    fn check_matcher(&self, name: &str, metric: &Metric, (label, pattern): (&str, &str)) {
        if ADDED.contains(&label) {
            return;
        }
        assert!(metric.labels.contains(label), "{name} has no label {label}");
        let Some(values) = self.values.get(&(name.to_owned(), label.to_owned())) else {
            return;
        };
        for value in pattern.split('|') {
            assert!(values.contains(value), "{name} has no {label} {value}");
        }
    }
}

/// What an expression asks for.
#[derive(Default)]
struct Query {
    selectors: Vec<Selector>,
    grouping: BTreeSet<String>,
}

struct Selector {
    /// The function that it is the argument of.
    call: Option<String>,
    series: String,
    matchers: Vec<(String, String)>,
    has_range: bool,
}

impl Query {
    fn read(expression: &str) -> Self {
        let mut query = Self::default();
        let mut rest = expression;
        let mut before: Option<String> = None;
        assert_eq!(
            expression.matches('(').count(),
            expression.matches(')').count(),
            "{expression}"
        );
        while let Some(c) = rest.chars().next() {
            if !c.is_ascii_alphabetic() {
                // A number, an operator or a bracket.
                before = before.filter(|_| c == '(');
                rest = &rest[c.len_utf8()..];
                continue;
            }
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            let (word, tail) = rest.split_at(end.unwrap_or(rest.len()));
            rest = tail;
            if word.starts_with("symbolon_") {
                rest = query.select(word, before.take(), rest);
            } else if word == "by" {
                let (labels, tail) = braced(rest, '(', ')').expect(expression);
                let labels = labels.split(',').map(|label| label.trim().to_owned());
                query.grouping.extend(labels);
                rest = tail;
            } else {
                assert!(WORDS.contains(&word), "{word} in {expression}");
                before = Some(word.to_owned());
            }
        }
        query
    }

    fn select<'a>(&mut self, series: &str, call: Option<String>, rest: &'a str) -> &'a str {
        let mut rest = rest;
        let mut matchers = Vec::new();
        if let Some((inside, tail)) = braced(rest, '{', '}') {
            let pairs = inside.split("\",").map(|pair| {
                let (label, value) = pair.split_once('=').expect(inside);
                let value = value.trim_start_matches('~').trim_matches('"');
                (label.trim().to_owned(), value.to_owned())
            });
            matchers = pairs.collect();
            rest = tail;
        }
        let range = braced(rest, '[', ']');
        self.selectors.push(Selector {
            call,
            series: series.to_owned(),
            matchers,
            has_range: range.is_some(),
        });
        range.map_or(rest, |(_, tail)| tail)
    }
}

/// What is between the brackets at the beginning, and what comes after.
fn braced(text: &str, open: char, close: char) -> Option<(&str, &str)> {
    text.trim_start().strip_prefix(open)?.split_once(close)
}

/// The labels that a text of an alert or a legend names.
fn named<'a>(text: &'a str, prefix: &str) -> Vec<&'a str> {
    let parts = text.split("{{").skip(1);
    let inside = parts.map(|part| part.split_once("}}").expect("closed").0.trim());
    inside
        .map(|name| name.strip_prefix(prefix).expect(text))
        .collect()
}

fn rules() -> Vec<Value> {
    let text = read("deploy/dashboards/symbolon.rules.yml");
    let file: Value = serde_saphyr::from_str(&text).expect("YAML");
    let groups = file["groups"].as_array().expect("groups").clone();
    let rules = groups
        .iter()
        .flat_map(|group| group["rules"].as_array().expect("rules"));
    rules.cloned().collect()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key]
        .as_str()
        .unwrap_or_else(|| panic!("{key} in {value}"))
}

#[test]
fn alert_rules_ask_for_what_there_is() {
    let known = Known::of_page();
    let mut names = BTreeSet::new();
    for rule in rules() {
        let expression = text(&rule, "expr");
        known.check(expression);
        assert!(names.insert(text(&rule, "alert").to_owned()), "{rule}");
        let severity = text(&rule["labels"], "severity");
        assert!(["page", "ticket", "info"].contains(&severity), "{rule}");
        if let Some(length) = rule.get("for") {
            let length = length.as_str().expect("a duration");
            let (number, unit) = length.split_at(length.len() - 1);
            assert!(
                number.parse::<u32>().is_ok() && "smhd".contains(unit),
                "{rule}"
            );
        }
        let query = Query::read(expression);
        let grouped = !query.grouping.is_empty();
        for key in ["summary", "description"] {
            for label in named(text(&rule["annotations"], key), "$labels.") {
                let is_kept = query.grouping.contains(label);
                let is_plain = !grouped
                    && query.selectors.iter().all(|selector| {
                        let (_, metric) = known.series(&selector.series);
                        metric.labels.contains(label) || ADDED.contains(&label)
                    });
                assert!(is_kept || is_plain, "{label} in {rule}");
            }
        }
    }
    assert!(names.len() > 15, "{names:?}");
}

/// Every expression of the dashboard, with its legend.
fn targets(value: &Value, found: &mut Vec<(String, String)>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| targets(item, found)),
        Value::Object(fields) => {
            if let Some(expression) = fields.get("expr").and_then(Value::as_str) {
                let legend = fields["legendFormat"].as_str().expect("a legend");
                found.push((expression.to_owned(), legend.to_owned()));
            }
            fields.values().for_each(|field| targets(field, found));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn the_dashboard_asks_for_what_there_is() {
    let known = Known::of_page();
    let dashboard = read("deploy/dashboards/symbolon.json");
    let dashboard: Value = serde_json::from_str(&dashboard).expect("JSON");
    let mut found = Vec::new();
    targets(&dashboard, &mut found);
    assert!(found.len() > 30, "{}", found.len());
    for (expression, legend) in &found {
        known.check(expression);
        let query = Query::read(expression);
        for label in named(legend, "") {
            assert!(query.grouping.contains(label), "{legend} of {expression}");
        }
    }
    for variable in dashboard["templating"]["list"]
        .as_array()
        .expect("variables")
    {
        if variable["type"] == "query" {
            let asked = text(&variable["query"], "query");
            let name = asked.strip_prefix("label_values(").expect(asked);
            let (name, _) = name.split_once(',').expect(asked);
            known.series(name);
        }
    }
    let mut ids = BTreeSet::new();
    for panel in dashboard["panels"].as_array().expect("panels") {
        assert!(ids.insert(panel["id"].as_u64()), "{panel}");
        let place = &panel["gridPos"];
        let side = |key: &str| place[key].as_u64().expect("a place");
        assert!(side("x") + side("w") <= 24, "{panel}");
    }
}

/// That every metric is on the dashboard keeps it from falling behind.
#[test]
fn every_metric_is_on_the_dashboard_or_named_here() {
    const NOT_SHOWN: [&str; 2] = [
        // One is what agents are chosen by, the other what their configuration says.
        "symbolon_build_info",
        "symbolon_workload_proofs_required",
    ];
    let dashboard = read("deploy/dashboards/symbolon.json");
    for name in Known::of_page().metrics.keys() {
        let is_shown = dashboard.contains(&format!("{name}{{"))
            || dashboard.contains(&format!("{name}_bucket{{"));
        assert_eq!(is_shown, !NOT_SHOWN.contains(&name.as_str()), "{name}");
    }
}

#[test]
fn what_there_is_not_is_noticed() {
    let known = Known::of_page();
    for wrong in [
        "symbolon_nothing > 0",
        "symbolon_svids_issued_total > 0",
        "rate(symbolon_svids_issued[5m]) > 0",
        "rate(symbolon_ready[5m]) > 0",
        "sum by (reason) (symbolon_clients)",
        "symbolon_clients{reason=\"x\"}",
        "symbolon_clients{state=\"actve\"}",
        "symbolon_clients{state=~\"active|gone\"}",
        "sum by (kind) (rate(symbolon_svid_issue_duration_seconds_bucket[5m]))",
        "rate(symbolon_svid_issue_duration_seconds[5m])",
        "summ(symbolon_clients)",
        "sum(symbolon_clients",
    ] {
        let checked = std::panic::catch_unwind(|| known.check(wrong));
        assert!(checked.is_err(), "{wrong}");
    }
    known.check("sum by (state, instance) (symbolon_clients{state=~\"active|new\"}) > 0");
}
