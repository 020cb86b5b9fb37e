//! The form of a registration document; `agent/doc/apply.md` describes it for operators.
//!
//! YAML files hold documents between `---` lines, JSON files one object after the
//! other, TOML files an array of tables, `[[clients]]`. Fields are those of a registration and two that are about the file's own
//! standing (`adopt`, `accept_weak`); an unknown field, a field twice, a tag, or a
//! merge key is refused. In YAML one document's mistake does not hide those of the
//! next; after broken syntax, and in TOML after any mistake, nothing more can be told of a file.

use super::{
    DOCUMENTS,
    fault::{Fault, Place, Problem},
    metadata::Metadata,
};
use crate::{
    config::units,
    registry::{
        ClientDraft, ClientName, ClientSpec, SpecRules, WeaknessReason, limits::METADATA_DEPTH,
    },
};
use serde::{
    Deserialize, Deserializer,
    de::{self, Error as _, MapAccess, Visitor, value::MapAccessDeserializer},
};
use serde_saphyr::{
    Options, Spanned,
    options::{DuplicateKeyPolicy, MergeKeyPolicy},
};
use std::{
    borrow::Borrow,
    collections::HashMap,
    fmt,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use symbolon_attestors::Kind;
use time::{
    Date, OffsetDateTime, Time, format_description::well_known::Rfc3339, macros::format_description,
};

/// Nodes of one document: more than a registration with all its limits used has.
const NODES: usize = 4_096;
/// Levels of a document: members of metadata that are not known, below three mappings, and some to
/// spare.
const DEPTH: usize = METADATA_DEPTH + 6;
/// Bytes of text in one document: more than the registry stores of one.
const TEXT_BYTES: usize = 512 * 1_024;

/// How a file's text is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Documents between `---` lines.
    Yaml,
    /// One object after the other.
    Json,
    /// An array of tables, `[[clients]]`.
    Toml,
}

impl Form {
    /// The form of a file whose name ends so.
    #[must_use]
    pub fn of_extension(extension: &str) -> Option<Self> {
        match extension {
            "yaml" | "yml" => Some(Self::Yaml),
            "json" => Some(Self::Json),
            "toml" => Some(Self::Toml),
            _ => None,
        }
    }
}

/// One document, checked against the rules of registrations.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Where it stands.
    pub place: Place,
    /// The client.
    pub name: ClientName,
    /// What the document says.
    pub draft: ClientDraft,
    /// What that comes to.
    pub spec: ClientSpec,
    /// Whether a client that an operator registered or updated is taken over.
    pub adopt: bool,
    /// Why a registration that is judged weak is wanted all the same.
    pub accept_weak: Option<WeaknessReason>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "the fields of a document, each of which stands for itself"
)]
struct Document {
    name: String,
    owner: String,
    #[serde(default)]
    purpose: String,
    #[serde(default)]
    spiffe_id: Option<String>,
    selector_sets: Vec<Vec<String>>,
    #[serde(default)]
    audiences: Vec<String>,
    #[serde(default)]
    max_audiences: Option<u32>,
    #[serde(default, deserialize_with = "duration")]
    x509_ttl: Option<Duration>,
    #[serde(default, deserialize_with = "duration")]
    jwt_ttl: Option<Duration>,
    #[serde(default)]
    hint: Option<String>,
    #[serde(default)]
    dns_names: Vec<String>,
    #[serde(default, deserialize_with = "moment")]
    expires_at: Option<SystemTime>,
    #[serde(default, deserialize_with = "moment")]
    review_by: Option<SystemTime>,
    #[serde(default)]
    source: Option<String>,
    #[serde(default)]
    forbid_inheritable: bool,
    #[serde(default)]
    allow_foreign_user_namespaces: bool,
    #[serde(default)]
    required_attestors: Vec<Kind>,
    #[serde(default)]
    metadata: Option<Metadata>,
    #[serde(default)]
    authorization_servers: Vec<String>,
    #[serde(default)]
    federates_with: Vec<String>,
    #[serde(default)]
    accept_weak: Option<String>,
    #[serde(default)]
    adopt: bool,
}

/// The documents of a file called `file`, and everything that is wrong with it.
///
/// Whether `expires_at` has passed is not looked at: a registration that ran out
/// is still the registration that it was.
#[must_use]
pub fn parse(file: &str, text: &str, form: Form, rules: &SpecRules) -> (Vec<Entry>, Vec<Fault>) {
    let file: Arc<str> = file.into();
    let read = match form {
        Form::Yaml => yaml(text),
        Form::Json => json(text),
        Form::Toml => toml(text),
    };
    let (mut entries, mut faults) = (Vec::new(), Vec::new());
    for (line, document) in read {
        let place = Place {
            file: Arc::clone(&file),
            line,
        };
        let entry = document.and_then(|document| document.entry(place.clone(), rules));
        match entry {
            Ok(entry) => entries.push(entry),
            Err(problem) => faults.push(Fault { place, problem }),
        }
    }
    (entries, faults)
}

type Read = Vec<(u64, Result<Document, Problem>)>;

fn yaml(text: &str) -> Read {
    let mut bytes = text.as_bytes();
    let documents =
        serde_saphyr::read_with_options::<_, Spanned<Document>>(&mut bytes, yaml_options());
    documents
        .take(DOCUMENTS + 1)
        .map(|document| match document {
            Ok(Spanned {
                value, referenced, ..
            }) => (referenced.line(), Ok(value)),
            Err(error) => {
                let line = error.location().map_or(0, |at| at.line());
                (line, Err(Problem::Form(without_place(&error.to_string()))))
            }
        })
        .collect()
}

fn yaml_options() -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: DEPTH,
            max_nodes: NODES,
            max_events: 4 * NODES,
            max_aliases: NODES,
            max_anchors: NODES,
            max_recorded_anchor_events: 4 * NODES,
            max_recorded_anchor_bytes: TEXT_BYTES,
            max_total_scalar_bytes: TEXT_BYTES,
            flow_nesting_limit: DEPTH,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 4 * NODES,
            max_replay_stack_depth: DEPTH,
        },
        duplicate_keys: DuplicateKeyPolicy::Error,
        merge_keys: MergeKeyPolicy::Error,
        strict_booleans: true,
        reject_unsupported_tags: true,
        with_snippet: false,
    }
}

fn json(text: &str) -> Read {
    let mut documents = serde_json::Deserializer::from_str(text).into_iter::<Document>();
    let mut lines = Lines::of(text);
    let mut read = Vec::new();
    loop {
        let before = documents.byte_offset();
        let Some(document) = documents.next() else {
            return read;
        };
        match document {
            Ok(document) => read.push((lines.after(before), Ok(document))),
            Err(error) => {
                let line = u64::try_from(error.line()).unwrap_or_default();
                let problem = Problem::Form(without_place(&error.to_string()));
                read.push((line, Err(problem)));
                return read;
            }
        }
        if read.len() > DOCUMENTS {
            return read;
        }
    }
}

/// What a TOML file holds.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tables {
    #[serde(default)]
    clients: Vec<toml::Spanned<Document>>,
}

fn toml(text: &str) -> Read {
    let mut lines = Lines::of(text);
    match toml::from_str::<Tables>(text) {
        Ok(tables) => {
            let documents = tables.clients.into_iter().take(DOCUMENTS + 1);
            documents
                .map(|document| {
                    (
                        lines.after(document.span().start),
                        Ok(document.into_inner()),
                    )
                })
                .collect()
        }
        Err(error) => {
            let line = error.span().map_or(0, |span| lines.after(span.start));
            let problem = Problem::Form(error.message().trim_end().to_owned());
            vec![(line, Err(problem))]
        }
    }
}

/// Counts lines on the way through a text.
struct Lines<'a> {
    text: &'a str,
    at: usize,
    line: u64,
}

impl<'a> Lines<'a> {
    const fn of(text: &'a str) -> Self {
        Self {
            text,
            at: 0,
            line: 1,
        }
    }

    /// The line of the first thing behind `offset`, which is not before the one asked for last.
    fn after(&mut self, offset: usize) -> u64 {
        let rest = self.text.get(offset..).unwrap_or_default();
        let start = offset + (rest.len() - rest.trim_start().len());
        let passed = self.text.as_bytes().get(self.at..start);
        let feeds = passed.unwrap_or_default().iter();
        let feeds = feeds.filter(|byte| **byte == b'\n').count();
        self.line = self
            .line
            .saturating_add(u64::try_from(feeds).unwrap_or(u64::MAX));
        self.at = self.at.max(start);
        self.line
    }
}

/// Names and SPIFFE IDs that stand in more than one document.
#[must_use]
pub fn repeated(entries: &[impl Borrow<Entry>]) -> Vec<Fault> {
    let mut seen: HashMap<String, &Entry> = HashMap::new();
    let mut faults = Vec::new();
    for entry in entries.iter().map(Borrow::borrow) {
        let id = entry.spec.spiffe_id().to_string();
        for what in [format!("client {}", entry.name), id] {
            match seen.get(&what) {
                Some(first) => {
                    let first = first.place.clone();
                    faults.push(Fault {
                        place: entry.place.clone(),
                        problem: Problem::Twice { what, first },
                    });
                    break;
                }
                None => {
                    seen.insert(what, entry);
                }
            }
        }
    }
    faults
}

/// A message without its end ` at line 3 column 4`: the place is told in one form for all faults.
fn without_place(message: &str) -> String {
    let short = message.rsplit_once(" at line ").filter(|(_, place)| {
        place
            .chars()
            .all(|c| c.is_ascii_digit() || " ,column".contains(c))
    });
    let message = short.map_or(message, |(message, _)| message);
    message.trim_end_matches([':', ' ']).to_owned()
}

impl Document {
    fn entry(self, place: Place, rules: &SpecRules) -> Result<Entry, Problem> {
        let name: ClientName = self.name.parse()?;
        let accept_weak = self.accept_weak.as_deref().map(str::parse).transpose()?;
        let draft = ClientDraft {
            owner: self.owner,
            purpose: self.purpose,
            spiffe_id: self.spiffe_id,
            selector_sets: self.selector_sets,
            audiences: self.audiences,
            max_audiences: self.max_audiences,
            x509_ttl: self.x509_ttl,
            jwt_ttl: self.jwt_ttl,
            hint: self.hint,
            dns_names: self.dns_names,
            expires_at: self.expires_at,
            forbid_inheritable: self.forbid_inheritable,
            allow_foreign_user_namespaces: self.allow_foreign_user_namespaces,
            required_attestors: self.required_attestors,
            accepted_weaknesses: None,
            review_by: self.review_by,
            source: self.source,
            metadata: self.metadata.map(|metadata| metadata.0),
            authorization_servers: self.authorization_servers,
            federates_with: self.federates_with,
        };
        let spec = draft.check(&name, rules, UNIX_EPOCH)?;
        Ok(Entry {
            place,
            name,
            draft,
            spec,
            adopt: self.adopt,
            accept_weak,
        })
    }
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)? else {
        return Ok(None);
    };
    let length = units::parse_duration(&text);
    length
        .map(Some)
        .ok_or_else(|| D::Error::custom(format!("{text:?} is no duration; write 90s, 5m or 1h30m")))
}

fn moment<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SystemTime>, D::Error> {
    let Some(Written(text)) = Option::<Written>::deserialize(deserializer)? else {
        return Ok(None);
    };
    at(&text).map(Some).ok_or_else(|| {
        D::Error::custom(format!(
            "{text:?} is no time; write 2027-01-31T12:00:00Z or 2027-01-31"
        ))
    })
}

/// A time as it is written: a text, or what TOML has for it.
struct Written(String);

impl<'de> Deserialize<'de> for Written {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(WrittenVisitor)
    }
}

struct WrittenVisitor;

impl<'de> Visitor<'de> for WrittenVisitor {
    type Value = Written;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a time")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Written, E> {
        Ok(Written(text.to_owned()))
    }

    fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<Written, M::Error> {
        let time = toml::value::Datetime::deserialize(MapAccessDeserializer::new(map))?;
        Ok(Written(time.to_string()))
    }
}

/// RFC 3339, or a date: its beginning in UTC. A distance from now would move with each reading.
fn at(text: &str) -> Option<SystemTime> {
    let exact = OffsetDateTime::parse(text, &Rfc3339).ok();
    let at = exact.or_else(|| {
        let date = Date::parse(text, format_description!("[year]-[month]-[day]")).ok()?;
        Some(date.with_time(Time::MIDNIGHT).assume_utc())
    })?;
    let seconds = u64::try_from(at.unix_timestamp()).ok()?;
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests;
