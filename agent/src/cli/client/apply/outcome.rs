//! A plan as it is shown, before and after it is carried out.

use super::{
    super::content,
    plan::{Item, Plan},
};
use crate::cli::{
    finding::FindingView,
    output::{Look, View, count, printable, some},
};
use serde::Serialize;

/// What is done about each document, or would be.
#[derive(Debug, Serialize)]
pub(super) struct Outcome {
    clients: Vec<Applied>,
    dry_run: bool,
}

/// `agent/doc/cli.md` documents the fields.
#[derive(Debug, Serialize)]
struct Applied {
    name: String,
    version: Option<u64>,
    done: String,
    why: Option<String>,
    changes: Vec<content::Change>,
    voids: Option<u64>,
    findings: Vec<FindingView>,
    #[serde(skip)]
    place: String,
    #[serde(skip)]
    state: String,
}

impl Outcome {
    /// The plan; with `dry_run` what would be done, else what is.
    pub(super) fn of(plan: Plan, dry_run: bool) -> Self {
        let clients = plan.items.into_iter();
        Self {
            clients: clients.map(|item| Applied::of(item, dry_run)).collect(),
            dry_run,
        }
    }

    /// The lines of those that are not as they should be, at most so many.
    pub(super) fn lines(&self, most: usize) -> String {
        let open = || self.clients.iter().filter(|client| client.is_shown());
        let mut text: String = open()
            .take(most)
            .map(|client| client.lines(self.dry_run))
            .collect();
        let more = open().count().saturating_sub(most);
        if more > 0 {
            text.push_str(&format!("... and {more} more\n"));
        }
        text + &self.summary()
    }

    fn summary(&self) -> String {
        let words = [
            ("registered", "new"),
            ("updated", "changed"),
            ("proposed", "to be approved"),
            ("suspended", "suspended"),
            ("revoked", "revoked"),
            ("pending", "awaiting approval"),
            ("declined", "declined"),
            ("refused", "refused"),
            ("not_done", "not done"),
            ("unchanged", "unchanged"),
        ];
        let parts = words.into_iter().filter_map(|(done, word)| {
            let those = self.clients.iter().filter(|client| client.done == done);
            let number = those.count();
            (number > 0).then(|| format!("{number} {word}"))
        });
        let parts: Vec<_> = parts.collect();
        match parts.is_empty() {
            true => "No documents.\n".to_owned(),
            false => parts.join(", ") + ".\n",
        }
    }
}

impl Applied {
    fn of(item: Item, dry_run: bool) -> Self {
        let is_left = !dry_run && item.is_open() && !item.is_done;
        let answer = item.answer;
        Self {
            name: answer.name,
            version: (answer.version != 0).then_some(answer.version),
            done: match is_left {
                true => "not_done".to_owned(),
                false => answer.done,
            },
            why: some(answer.why),
            changes: item.changes,
            voids: (answer.voids != 0).then_some(answer.voids),
            findings: FindingView::all(answer.findings),
            place: item.place,
            state: answer.state,
        }
    }

    fn is_shown(&self) -> bool {
        self.done != "unchanged"
    }

    fn lines(&self, dry_run: bool) -> String {
        let version = self.version.unwrap_or_default();
        let why = self.why.as_deref().unwrap_or_default();
        let (sign, what) = match (&*self.done, dry_run) {
            ("registered", true) => ("+", "would be registered".to_owned()),
            ("registered", false) => ("+", "is registered".to_owned()),
            ("updated", true) => ("~", format!("version {version} would be put in force")),
            ("updated", false) => ("~", format!("version {version} is in force")),
            ("proposed", true) => ("~", format!("version {version} would be proposed")),
            ("proposed", false) => ("~", format!("version {version} awaits approval")),
            ("pending", _) => (
                "?",
                format!("version {version} says so and awaits approval"),
            ),
            ("declined", _) => ("!", format!("version {version} says so and was {why}")),
            ("suspended" | "revoked", true) => ("-", format!("would be {}", self.done)),
            ("suspended" | "revoked", false) => ("-", format!("is {}", self.done)),
            ("refused", _) => ("!", format!("refused: {why}")),
            ("not_done", _) => ("!", format!("not done {why}").trim_end().to_owned()),
            (other, _) => ("=", other.to_owned()),
        };
        let at = match (sign, self.place.is_empty()) {
            ("!", false) => format!("{}: ", printable(&self.place)),
            _ => String::new(),
        };
        let mut text = format!(
            "{sign} {at}{}: {}\n",
            printable(&self.name),
            printable(&what)
        );
        for line in content::lines(&self.changes).lines() {
            text.push_str(&format!("    {line}\n"));
        }
        for finding in self.findings.iter().filter(|finding| finding.is_serious()) {
            let how = if finding.is_forbidden() {
                "wrong"
            } else {
                "weak"
            };
            text.push_str(&format!("    {how}: {}\n", finding.line()));
        }
        if let Some(voids) = self.voids {
            text.push_str(&format!(
                "    version {voids}, which awaits approval, is void then\n"
            ));
        }
        if self.state == "suspended" && self.done != "revoked" {
            text.push_str(
                "    it is suspended and stays so: `symbolon client resume` lifts that\n",
            );
        }
        text
    }
}

impl View for Outcome {
    fn table(&self, _: &Look) -> String {
        self.lines(usize::MAX)
    }
}

/// `1 change`, `2 changes`.
pub(super) fn changes(number: usize) -> String {
    let number = u64::try_from(number).unwrap_or(u64::MAX);
    count(number, "change", "changes")
}
