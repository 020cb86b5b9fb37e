//! `[[operators]]`: who may use the admin socket, and for what.
//!
//! One table for each operator. They stand in the file alone: no variable and no
//! flag can make somebody an operator. Names of users and groups are looked up
//! where the roster is made, not here.

use super::{
    fault::Problem,
    key::Key,
    reader::Reader,
    setting::{Raw, Setting, one_of, quoted},
};
use crate::operators::{Role, Roles, is_name};
use crate::registry::SelectorSet;
use std::collections::BTreeSet;

/// An operator as the file names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operator {
    /// The name for trail and listings.
    pub name: String,
    /// Whom it is about.
    pub known_by: KnownBy,
    /// What they may be.
    pub roles: Roles,
}

/// How an operator is recognised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KnownBy {
    /// The number of a user.
    Uid(u32),
    /// The name of a user.
    User(String),
    /// The name or number of a group.
    Group(String),
    /// Selectors of a program.
    Selectors(SelectorSet),
}

/// Fields of a table, as its lines name them.
pub(super) const FIELDS: [&str; 6] = ["name", "uid", "user", "group", "selectors", "roles"];

/// Of these a table has exactly one.
const RECOGNISED_BY: [&str; 4] = ["uid", "user", "group", "selectors"];

/// More than anybody can oversee; each is looked at in every call.
pub(super) const MOST_OPERATORS: usize = 256;

/// `nobody`: the kernel calls all those so whom it has no number for.
const NOBODY: u32 = 65_534;

pub(super) const OPERATORS: Key = Key::new(
    "",
    "operators",
    "Who may use the admin socket, and for what: one table for each operator. Recognised by uid, \
     user, group or selectors (of a program, which is attested); roles are reader, author, \
     approver, responder, auditor and administrator (agent/doc/operators.md). Without any, root and \
     the agent's own user may do everything; with some, only those who are named may do anything. \
     To be set in the file alone.",
)
.tables("[[operators]]\nname = \"alice\"\nuser = \"alice\"\nroles = [\"author\"]")
.live();

pub(super) const KEYS: &[&Key] = &[&OPERATORS];

/// The path of a table in faults and entries.
pub(super) fn path(index: usize) -> String {
    format!("operators[{index}]")
}

pub(super) fn read(reader: &mut Reader<'_>) -> Vec<Operator> {
    let count = reader.tables(&OPERATORS);
    if count > MOST_OPERATORS {
        reader.refuse(
            &OPERATORS,
            Problem::TooManyOperators {
                most: MOST_OPERATORS,
            },
        );
    }
    let operators: Vec<Operator> = (0..count.min(MOST_OPERATORS))
        .filter_map(|index| operator(reader, &path(index)))
        .collect();
    let mut names = BTreeSet::new();
    for (index, operator) in operators.iter().enumerate() {
        if !names.insert(operator.name.as_str()) {
            refuse(
                reader,
                &path(index),
                Problem::Twice {
                    what: format!("the name {:?}", operator.name),
                },
            );
        }
    }
    reader.record_tables(&OPERATORS, render(&operators));
    operators
}

/// Whose versions are meant.
#[derive(Clone, Copy, Debug)]
pub(super) enum Authors {
    /// At least one author's.
    Some,
    /// Every author's.
    Each,
}

/// Who there is to write, and to approve.
#[derive(Debug)]
pub(super) struct Quorum {
    /// How many approvers; none where they are members of groups, who are not counted.
    pub(super) approvers: Option<usize>,
    /// Of each author, whether it is an approver too.
    pub(super) authors: Vec<bool>,
}

pub(super) fn quorum(operators: &[Operator]) -> Quorum {
    let is_group = |operator: &Operator| matches!(operator.known_by, KnownBy::Group(_));
    let is_approver = |operator: &&Operator| operator.roles.has(Role::Approver);
    let approvers = || operators.iter().filter(is_approver);
    let authors = operators
        .iter()
        .filter(|operator| operator.roles.has(Role::Author));
    Quorum {
        approvers: (!approvers().any(is_group)).then(|| approvers().count()),
        authors: authors.map(|author| is_approver(&author)).collect(),
    }
}

fn operator(reader: &mut Reader<'_>, path: &str) -> Option<Operator> {
    let name = required::<Name>(reader, path, "name", "\"alice\"");
    let roles = required::<Roles>(reader, path, "roles", "[\"reader\"]");
    let known_by = known_by(reader, path);
    Some(Operator {
        name: name?.0,
        known_by: known_by?,
        roles: roles?,
    })
}

fn known_by(reader: &mut Reader<'_>, path: &str) -> Option<KnownBy> {
    let field = |field: &str| format!("{path}.{field}");
    let given: Vec<&str> = RECOGNISED_BY
        .into_iter()
        .filter(|name| reader.has_entry(&field(name)))
        .collect();
    match given.as_slice() {
        ["uid"] => reader
            .entry::<Uid>(&field("uid"))
            .map(|uid| KnownBy::Uid(uid.0)),
        ["user"] => reader
            .entry::<Account>(&field("user"))
            .map(|user| KnownBy::User(user.0)),
        ["group"] => reader
            .entry::<Account>(&field("group"))
            .map(|group| KnownBy::Group(group.0)),
        ["selectors"] => selectors(reader, &field("selectors")).map(KnownBy::Selectors),
        _ => {
            refuse(reader, path, Problem::OperatorUnrecognisable);
            None
        }
    }
}

fn selectors(reader: &mut Reader<'_>, path: &str) -> Option<SelectorSet> {
    let texts = reader.entry::<Words>(path)?.0;
    let set = match texts.as_slice() {
        [] => Err("it is empty".to_owned()),
        texts => SelectorSet::parse(texts).map_err(|error| error.to_string()),
    };
    match set {
        Ok(set) => Some(set),
        Err(why) => {
            refuse(reader, path, Problem::BadSelectors { why });
            None
        }
    }
}

fn required<T: Setting>(
    reader: &mut Reader<'_>,
    path: &str,
    field: &'static str,
    example: &'static str,
) -> Option<T> {
    let full = format!("{path}.{field}");
    if !reader.has_entry(&full) {
        refuse(reader, path, Problem::OperatorLacks { field, example });
        return None;
    }
    reader.entry(&full)
}

fn refuse(reader: &mut Reader<'_>, path: &str, problem: Problem) {
    reader.refuse_entry(path, problem);
}

/// The operators as TOML has them in a line, to see what a reload changes.
fn render(operators: &[Operator]) -> Option<String> {
    let one = |operator: &Operator| {
        let known_by = match &operator.known_by {
            KnownBy::Uid(uid) => format!("uid = {uid}"),
            KnownBy::User(user) => format!("user = {}", quoted(user)),
            KnownBy::Group(group) => format!("group = {}", quoted(group)),
            KnownBy::Selectors(set) => {
                let set: Vec<_> = set.selectors().iter().map(|s| quoted(s.as_str())).collect();
                format!("selectors = [{}]", set.join(", "))
            }
        };
        let (name, roles) = (quoted(&operator.name), operator.roles.render());
        format!("{{ name = {name}, {known_by}, roles = {roles} }}")
    };
    let all: Vec<_> = operators.iter().map(one).collect();
    (!all.is_empty()).then(|| format!("[{}]", all.join(", ")))
}

struct Name(String);

impl Setting for Name {
    fn expected() -> String {
        "a name of at most 64 letters, digits, \".\", \"_\", \"-\" and \"@\", such as \"alice\", \
         and not \"agent\", who is the agent itself"
            .to_owned()
    }

    fn parse(raw: &Raw) -> Option<Self> {
        String::parse(raw).filter(|name| is_name(name)).map(Self)
    }

    fn render(&self) -> String {
        quoted(&self.0)
    }
}

/// A user who is one user.
struct Uid(u32);

impl Setting for Uid {
    fn expected() -> String {
        "the number of a user, but not that of nobody".to_owned()
    }

    fn parse(raw: &Raw) -> Option<Self> {
        let uid = u32::parse(raw)?;
        (uid != NOBODY && uid != u32::MAX).then_some(Self(uid))
    }

    fn render(&self) -> String {
        self.0.to_string()
    }
}

/// The name of a user or a group.
struct Account(String);

impl Setting for Account {
    fn expected() -> String {
        "a name from /etc/passwd or /etc/group".to_owned()
    }

    fn parse(raw: &Raw) -> Option<Self> {
        let usable = |name: &String| {
            !name.is_empty() && name != "nobody" && !name.contains([':', ',', '\n', '\0'])
        };
        String::parse(raw).filter(usable).map(Self)
    }

    fn render(&self) -> String {
        quoted(&self.0)
    }
}

struct Words(Vec<String>);

impl Setting for Words {
    fn expected() -> String {
        "a list of selectors without commas, such as [\"unix:uid:998\"]".to_owned()
    }

    fn parse(raw: &Raw) -> Option<Self> {
        let words = raw.as_list()?.into_iter();
        Some(Self(words.map(str::to_owned).collect()))
    }

    fn render(&self) -> String {
        let words: Vec<_> = self.0.iter().map(|word| quoted(word)).collect();
        format!("[{}]", words.join(", "))
    }
}

impl Setting for Roles {
    fn expected() -> String {
        let words = Role::ALL.map(Role::as_str);
        format!("a list of {}", one_of(&words).replace(" or ", " and "))
    }

    fn parse(raw: &Raw) -> Option<Self> {
        let roles: Result<Self, _> = raw.as_list()?.into_iter().map(str::parse::<Role>).collect();
        roles.ok().filter(|roles| !roles.is_empty())
    }

    fn render(&self) -> String {
        let words: Vec<_> = self.iter().map(|role| quoted(role.as_str())).collect();
        format!("[{}]", words.join(", "))
    }
}
