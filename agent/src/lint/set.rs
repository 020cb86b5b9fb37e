//! One selector set, judged in itself and by what is known of the machine.
//!
//! Asks three questions: who is meant, which program is meant, and who decides
//! the facts that say so. With nothing known of the machine (listings) the same
//! questions have the answers that the texts alone give.

use super::{
    accounts::{Accounts, Person},
    finding::{Finding, Findings, Severity, Weakness},
    meaning::{self, Meaning},
    programs::{Digests, Generic, by_name},
};
use crate::registry::SelectorSet;
use std::{collections::HashSet, sync::Arc};
use symbolon_attestors::Selector;

/// What is known of the machine.
#[derive(Debug, Default)]
pub(super) struct Knowledge {
    pub(super) accounts: Accounts,
    pub(super) digests: Arc<Digests>,
    /// The agent's own program.
    pub(super) own_path: Option<String>,
    /// Registered cgroups that belong to somebody other than root.
    pub(super) delegated: HashSet<String>,
}

/// Who is meant.
#[derive(Debug, PartialEq, Eq)]
enum Who {
    /// Nobody in particular.
    Anybody,
    /// A user or group that more than this program runs as.
    Person(Person, String),
    /// Something of its own.
    Own,
}

/// Which program is meant.
#[derive(Debug, PartialEq, Eq)]
enum What {
    Any,
    Generic(Generic, String),
    Specific,
}

/// What a set says.
#[derive(Debug)]
struct Reading {
    who: Who,
    what: What,
    loose: Vec<(String, &'static str)>,
    passing: Vec<(String, &'static str)>,
    foreign: Vec<String>,
}

/// Judges a set.
pub(super) fn judge(set: &SelectorSet, known: &Knowledge) -> Vec<Finding> {
    let selectors = set.selectors();
    let reading = Reading::of(selectors, known);
    let mut findings = Findings::about(selectors);
    reading.judge_program(&mut findings);
    reading.judge_user(&mut findings);
    reading.judge_rest(&mut findings);
    if reading.who != Who::Anybody {
        judge_code(selectors, &mut findings);
    }
    findings.into_vec()
}

impl Reading {
    fn of(selectors: &[Selector], known: &Knowledge) -> Self {
        let mut reading = Self {
            who: who(selectors, known),
            what: what(selectors, known),
            loose: Vec::new(),
            passing: Vec::new(),
            foreign: Vec::new(),
        };
        for selector in selectors {
            match meaning::of(selector) {
                Meaning::Loose(why) => reading.loose.push((selector.to_string(), why)),
                Meaning::Cgroup(path) if known.delegated.contains(path) => {
                    let why = "its cgroup belongs to a user, who makes cgroups there at will";
                    reading.loose.push((selector.to_string(), why));
                }
                Meaning::Foreign => reading.foreign.push(selector.to_string()),
                _ => {}
            }
            if let Some(why) = meaning::ends_with(selector) {
                reading.passing.push((selector.to_string(), why));
            }
        }
        reading
    }

    fn judge_program(&self, findings: &mut Findings<'_>) {
        if self.who == Who::Anybody && self.what != What::Any {
            findings.add(
                Weakness::AnybodyRunsIt,
                Severity::Serious,
                "it names a program and not who runs it: whoever may execute the file can, with \
                 a library loaded before it or under a debugger, and has the identity",
            );
        }
        let What::Generic(generic, name) = &self.what else {
            return;
        };
        let severity = if self.who == Who::Own {
            Severity::Notice
        } else {
            Severity::Serious
        };
        let (weakness, why) = match generic {
            Generic::Interpreter => (
                Weakness::Interpreter,
                "runs scripts, and neither its path nor its digest says which",
            ),
            Generic::Mouthpiece => (
                Weakness::Mouthpiece,
                "passes on or runs what it is told, and so lends its identity",
            ),
            Generic::Symbolon => (
                Weakness::OwnBinary,
                "is Symbolon's own command, and gives its identity to whoever runs it",
            ),
        };
        findings.add(weakness, severity, format!("{name} {why}"));
    }

    fn judge_user(&self, findings: &mut Findings<'_>) {
        let Who::Person(person, selector) = &self.who else {
            return;
        };
        let (severity, reach) = match &self.what {
            What::Specific => (
                Severity::Notice,
                "can start the program with a library of their own loaded before it",
            ),
            What::Any | What::Generic(..) => {
                (Severity::Serious, "have the identity, whichever they are")
            }
        };
        let (weakness, who) = match person {
            Person::Root => (
                Weakness::LoginUser,
                format!("{selector} is root: all programs of root"),
            ),
            Person::Login(name) => (
                Weakness::LoginUser,
                format!("{selector} is {name}, who logs in: all sessions and programs of {name}"),
            ),
            Person::Nobody => (
                Weakness::SharedUser,
                format!("{selector} is nobody: all programs that share that user"),
            ),
        };
        findings.add(weakness, severity, format!("{who} {reach}"));
    }

    fn judge_rest(&self, findings: &mut Findings<'_>) {
        if self.who == Who::Anybody && self.what == What::Any && !self.loose.is_empty() {
            findings.add(
                Weakness::SelfChosen,
                Severity::Serious,
                format!(
                    "it names only what the process or whoever starts it chooses: {}",
                    reasons(&self.loose)
                ),
            );
        }
        if !self.passing.is_empty() {
            findings.add(
                Weakness::EndsWithRestart,
                Severity::Notice,
                reasons(&self.passing),
            );
        }
        if !self.foreign.is_empty() {
            findings.add(
                Weakness::UnknownType,
                Severity::Notice,
                format!(
                    "no attestor of this agent makes {}: the set never fits",
                    self.foreign.join(", ")
                ),
            );
        }
    }
}

/// Files say nothing of code that lies in no file.
fn judge_code(selectors: &[Selector], findings: &mut Findings<'_>) {
    let mut code = selectors.iter().filter(|s| s.kind() == "code");
    let is_closed = selectors.iter().any(|s| s.as_str() == "code:jit:false");
    if let (Some(named), false) = (code.next(), is_closed) {
        findings.add(
            Weakness::CodeWithoutJit,
            Severity::Notice,
            format!(
                "{named} is about files: a program that runs from other memory can have them mapped \
                 as well"
            ),
        );
    }
}

fn reasons(list: &[(String, &'static str)]) -> String {
    let each = list
        .iter()
        .map(|(selector, why)| format!("{selector}: {why}"));
    each.collect::<Vec<_>>().join("; ")
}

/// The strongest word on who is meant; a user outweighs groups, since it is one of them.
fn who(selectors: &[Selector], known: &Knowledge) -> Who {
    let accounts = &known.accounts;
    let (mut user, mut group) = (None, None);
    for selector in selectors {
        let person = match meaning::of(selector) {
            Meaning::Place => return Who::Own,
            Meaning::Cgroup(path) if !known.delegated.contains(path) => return Who::Own,
            Meaning::Uid(uid) => (&mut user, accounts.person(uid)),
            Meaning::User(name) => (&mut user, named(name, accounts)),
            Meaning::Gid(gid) => (&mut group, accounts.person_in(gid)),
            Meaning::Group(name) => {
                let gid = accounts.gid(name);
                (&mut group, gid.and_then(|gid| accounts.person_in(gid)))
            }
            _ => continue,
        };
        let (place, person) = person;
        let who = person.map_or(Who::Own, |person| Who::Person(person, selector.to_string()));
        if *place != Some(Who::Own) {
            *place = Some(who);
        }
    }
    user.or(group).unwrap_or(Who::Anybody)
}

fn named(name: &str, accounts: &Accounts) -> Option<Person> {
    if name == "nobody" {
        return Some(Person::Nobody);
    }
    accounts.uid(name).and_then(|uid| accounts.person(uid))
}

/// The program that is meant: one selector that shows it to be a generic one is enough.
fn what(selectors: &[Selector], known: &Knowledge) -> What {
    let mut what = What::Any;
    for selector in selectors {
        let generic = match meaning::of(selector) {
            Meaning::Path(path) if known.own_path.as_deref() == Some(path) => {
                Some((Generic::Symbolon, path.to_owned()))
            }
            Meaning::Path(path) => by_name(path).map(|generic| (generic, path.to_owned())),
            Meaning::Digest(digest) => known
                .digests
                .get(digest)
                .map(|(generic, path)| (*generic, path.display().to_string())),
            Meaning::Code => None,
            _ => continue,
        };
        match generic {
            Some((generic, name)) => return What::Generic(generic, name),
            None => what = What::Specific,
        }
    }
    what
}

#[cfg(test)]
mod tests;
