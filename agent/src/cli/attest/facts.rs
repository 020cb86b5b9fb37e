//! What was seen of a process and what was not, by the attestor that looked.

use super::Unknown;
use crate::cli::output::printable;

/// The order in which the attestors come; others follow by name.
const ATTESTORS: [&str; 7] = [
    "unix",
    "cgroup",
    "systemd",
    "container",
    "k8s",
    "process",
    "code",
];

/// Key and value of a fact, or why it is unknown.
struct Fact<'a> {
    attestor: &'a str,
    key: &'a str,
    value: String,
}

/// A paragraph for each attestor: what it calls a fact, and the fact.
pub(super) fn table(selectors: &[String], unknown: &[Unknown], out: &mut String) {
    let known = selectors.iter().filter_map(|selector| {
        let (attestor, fact) = selector.split_once(':')?;
        let (key, value) = fact.split_once(':').unwrap_or((fact, ""));
        let value = value.to_owned();
        Some(Fact {
            attestor,
            key,
            value,
        })
    });
    let unknown = unknown.iter().map(|fact| {
        let (attestor, key) = fact
            .selector
            .split_once(':')
            .unwrap_or((&fact.selector, ""));
        Fact {
            attestor,
            key,
            value: format!("unknown: {}", fact.reason),
        }
    });
    let facts: Vec<_> = known.chain(unknown).collect();
    let width = facts.iter().map(|fact| fact.key.chars().count()).max();
    let width = width.unwrap_or_default();
    let mut attestors: Vec<_> = facts.iter().map(|fact| fact.attestor).collect();
    let place = |attestor: &&str| ATTESTORS.iter().position(|known| known == attestor);
    attestors.sort_unstable_by_key(|attestor| (place(attestor).unwrap_or(usize::MAX), *attestor));
    attestors.dedup();
    for attestor in attestors {
        out.push_str(&format!("{}\n", printable(attestor)));
        for fact in facts.iter().filter(|fact| fact.attestor == attestor) {
            let (key, value) = (printable(fact.key), printable(&fact.value));
            out.push_str(format!("  {key:width$}  {value}").trim_end());
            out.push('\n');
        }
    }
}
