//! From a credential, a process or a client to the whole story.
//!
//! Knows which lines belong together, not how they are read: it says what to ask for,
//! takes the answers and asks again, four times; [`tell()`] does that on a folder. Validations are
//! asked for last and by themselves: whoever has a token can cause as many of them as he likes.
//! A process is told from others with its number by when it started, and a foreign token from others
//! with its identifier by its trust domain.

mod left_out;
mod tell;

pub use left_out::LeftOut;
pub use tell::{MAX_STORY_LINES, Told, tell};

use super::query::{Filter, Related};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// What is traced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// An X.509-SVID.
    Serial(String),
    /// A JWT-SVID or WIT-SVID.
    Jti(String),
    /// A process and, where its number was used again, when.
    Process(u32, Option<String>),
    /// A client.
    Client(String),
}

/// A story on its way.
#[derive(Debug)]
pub struct Trace {
    subject: Subject,
    seeds: Vec<Value>,
    related: Vec<Value>,
    attestations: HashSet<String>,
    clients: HashSet<String>,
}

/// Who got what on what evidence, who allowed it, and what became of it.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Story {
    /// What was asked.
    pub subject: Value,
    /// The clients concerned, with their versions.
    pub clients: Vec<ClientStory>,
    /// The processes that were attested.
    pub processes: Vec<ProcessStory>,
    /// The credentials that were issued.
    pub credentials: Vec<CredentialStory>,
    /// What there was no room for; always the oldest.
    #[serde(skip_serializing_if = "LeftOut::is_nothing")]
    pub left_out: LeftOut,
    /// The lines, oldest first.
    pub events: Vec<Value>,
}

/// What operators made of a client.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct ClientStory {
    /// Its name.
    pub name: String,
    /// What the last event about its state was.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub state: String,
    /// Its versions, as far as the trail has them.
    pub versions: Vec<VersionStory>,
}

/// Who is responsible for a version.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct VersionStory {
    /// Its number.
    pub version: u64,
    /// Its digest.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub digest: String,
    /// Who wrote it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// When.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub time: String,
    /// Why.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Who owned the client then.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub owner: String,
    /// Who approved it.
    pub approved_by: Vec<String>,
    /// Whether a credential of the story was issued under it.
    pub is_concerned: bool,
}

/// A process.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct ProcessStory {
    /// Its number.
    pub pid: u64,
    /// Its user.
    pub uid: u64,
    /// The program.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub executable: String,
    /// When it was attested first.
    pub attested: String,
    /// Its attestations: one for each set of proofs.
    pub attestation_ids: Vec<String>,
}

/// A credential.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct CredentialStory {
    /// When it was issued.
    pub issued: String,
    /// Its SPIFFE ID.
    pub spiffe_id: String,
    /// What the line says of it.
    pub credential: Value,
    /// Validations of it that the trail has, left out or not.
    pub validations: u64,
    /// Whether it is the one that was asked for.
    pub is_subject: bool,
}

fn text<'a>(event: &'a Value, pointer: &str) -> &'a str {
    event
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn number(event: &Value, pointer: &str) -> u64 {
    event
        .pointer(pointer)
        .and_then(Value::as_u64)
        .unwrap_or_default()
}

fn is_issue(event: &Value) -> bool {
    matches!(text(event, "/event"), "issued" | "renewed")
}

fn jti(event: &Value) -> &str {
    text(event, "/credential/jti")
}

fn is_validation(event: &Value) -> bool {
    text(event, "/event") == "validated"
}

/// Whether it is about a token that another trust domain has issued.
fn is_foreign(event: &Value) -> bool {
    !text(event, "/trust_domain").is_empty()
}

impl Trace {
    /// Begins a story.
    #[must_use]
    pub fn of(subject: Subject) -> Self {
        Self {
            subject,
            seeds: Vec::new(),
            related: Vec::new(),
            attestations: HashSet::new(),
            clients: HashSet::new(),
        }
    }

    /// What to ask for first.
    #[must_use]
    pub fn first(&self) -> Filter {
        let mut filter = Filter::default();
        match &self.subject {
            Subject::Serial(serial) => filter.serial = Some(serial.clone()),
            Subject::Jti(jti) => filter.jti = Some(jti.clone()),
            Subject::Client(client) => filter.client = Some(client.clone()),
            Subject::Process(pid, at) => {
                filter.pid = Some(*pid);
                filter.at.clone_from(at);
            }
        }
        filter
    }

    /// Takes that answer; asks for all attestations of the processes.
    #[must_use]
    pub fn second(&mut self, seeds: Vec<Value>) -> Filter {
        let is_process = matches!(self.subject, Subject::Process(..));
        let mut pids = HashSet::new();
        for seed in &seeds {
            let id = text(seed, "/attestation_id");
            // Who validates a credential is not who holds it, nor is an operator's program.
            let is_other = is_validation(seed) || !text(seed, "/operator").is_empty();
            let is_holder = is_process || !is_other;
            if is_holder && !id.is_empty() {
                self.attestations.insert(id.to_owned());
                pids.extend(u32::try_from(number(seed, "/process/pid")));
            }
            let client = text(seed, "/client");
            if !client.is_empty() {
                self.clients.insert(client.to_owned());
            }
        }
        self.seeds = seeds;
        let related = Related {
            pids,
            ..Related::default()
        };
        Filter {
            related: Some(related),
            ..Filter::default()
        }
    }

    /// Takes that answer; asks for everything that belongs to it, validations aside.
    #[must_use]
    pub fn third(&mut self, attested: &[Value]) -> Filter {
        // A process has an attestation for each set of proofs: its start is in all of them.
        let life = |event: &Value| {
            let start = event
                .pointer("/evidence/start_time")
                .and_then(Value::as_u64)?;
            Some((number(event, "/process/pid"), start))
        };
        let is_ours = |event: &&Value| self.attestations.contains(text(event, "/attestation_id"));
        let lives: HashSet<_> = attested.iter().filter(is_ours).filter_map(life).collect();
        let siblings = attested
            .iter()
            .filter(|event| life(event).is_some_and(|life| lives.contains(&life)))
            .map(|event| text(event, "/attestation_id").to_owned());
        let siblings: Vec<_> = siblings.collect();
        self.attestations.extend(siblings);
        let of_credentials =
            |seed: &&Value| is_issue(seed) || (is_validation(seed) && !is_foreign(seed));
        let keys = self.seeds.iter().filter(of_credentials);
        let keys = keys.map(|seed| text(seed, "/credential/authority_key_id"));
        let related = Related {
            attestations: self.attestations.clone(),
            clients: self.clients.clone(),
            keys: keys
                .filter(|key| !key.is_empty())
                .map(str::to_owned)
                .collect(),
            ..Related::default()
        };
        Filter {
            related: Some(related),
            ..Filter::default()
        }
    }

    /// Takes that answer; asks for the validations of the credentials, and by the processes.
    #[must_use]
    pub fn fourth(&mut self, related: Vec<Value>) -> Filter {
        let issued = self.seeds.iter().chain(&related);
        let issued = issued.filter(|event| is_issue(event)).map(jti);
        let asked = match &self.subject {
            Subject::Jti(jti) => jti.as_str(),
            _ => "",
        };
        let credentials = issued.chain([asked]).filter(|jti| !jti.is_empty());
        let validations = Related {
            credentials: credentials.map(str::to_owned).collect(),
            foreign_credentials: self.foreign(asked),
            verifiers: self.attestations.clone(),
            ..Related::default()
        };
        self.related = related;
        Filter {
            related: Some(validations),
            ..Filter::default()
        }
    }

    /// The foreign tokens with the identifier that was asked for.
    fn foreign(&self, asked: &str) -> HashSet<(String, String)> {
        let is_asked = |seed: &&Value| is_validation(seed) && is_foreign(seed);
        let seeds = self.seeds.iter().filter(is_asked);
        let of_asked = seeds.filter(|seed| !asked.is_empty() && jti(seed) == asked);
        let token = |seed| (text(seed, "/trust_domain").to_owned(), asked.to_owned());
        of_asked.map(token).collect()
    }

    /// Takes that answer, with how many validations each credential has, and tells the story.
    #[must_use]
    pub fn story(mut self, validations: Vec<Value>, counts: &HashMap<String, u64>) -> Story {
        let mut seen = HashSet::new();
        // Of the agent's own tokens those among the seeds are in the last answer too, or there is no
        // room for them.
        let seeds = std::mem::take(&mut self.seeds).into_iter();
        let mut events: Vec<Value> = seeds
            .filter(|seed| !is_validation(seed) || is_foreign(seed))
            .chain(std::mem::take(&mut self.related))
            .chain(validations)
            .filter(|event| seen.insert((text(event, "/chain").to_owned(), number(event, "/seq"))))
            .collect();
        let place = |event: &Value| {
            let time = text(event, "/time").to_owned();
            (
                time,
                text(event, "/chain").to_owned(),
                number(event, "/seq"),
            )
        };
        events.sort_by_cached_key(place);
        Story {
            subject: self.subject.describe(),
            clients: self.clients(&events),
            processes: processes(&events),
            credentials: self.credentials(&events, counts),
            left_out: LeftOut::default(),
            events,
        }
    }

    fn is_subject(&self, event: &Value) -> bool {
        match &self.subject {
            Subject::Serial(serial) => text(event, "/credential/serial") == serial,
            Subject::Jti(jti) => text(event, "/credential/jti") == jti,
            Subject::Process(..) | Subject::Client(_) => false,
        }
    }

    fn clients(&self, events: &[Value]) -> Vec<ClientStory> {
        let names: BTreeSet<_> = self.clients.iter().collect();
        let client = |name: &String| {
            let of_client = events.iter().filter(|event| text(event, "/client") == name);
            let mut story = ClientStory {
                name: name.clone(),
                ..ClientStory::default()
            };
            let mut versions: BTreeMap<u64, VersionStory> = BTreeMap::new();
            for event in of_client {
                let kind = text(event, "/event");
                let version = versions
                    .entry(number(event, "/client_version"))
                    .or_default();
                version.version = number(event, "/client_version");
                // A resumption is proposed and approved like a version.
                let is_of_state = text(event, "/approvals/of") == "state";
                match kind {
                    "proposed" | "approved" if is_of_state => {}
                    "registered" | "updated" | "proposed" => version.written(event),
                    "approved" => version
                        .approved_by
                        .push(text(event, "/operator").to_owned()),
                    "suspended" | "resumed" | "revoked" => kind.clone_into(&mut story.state),
                    "issued" | "renewed" | "delivered" => version.is_concerned = true,
                    _ => {}
                }
            }
            versions.remove(&0);
            story.versions = versions.into_values().collect();
            story
        };
        names.into_iter().map(client).collect()
    }

    fn credentials(&self, events: &[Value], counts: &HashMap<String, u64>) -> Vec<CredentialStory> {
        let story = |event: &Value| CredentialStory {
            issued: text(event, "/time").to_owned(),
            spiffe_id: text(event, "/spiffe_id").to_owned(),
            credential: event.get("credential").cloned().unwrap_or_default(),
            validations: counts.get(jti(event)).copied().unwrap_or(0),
            is_subject: self.is_subject(event),
        };
        events
            .iter()
            .filter(|event| is_issue(event))
            .map(story)
            .collect()
    }
}

impl VersionStory {
    fn written(&mut self, event: &Value) {
        // With approvals a version is proposed first: that is whose it is.
        if !self.author.is_empty() {
            return;
        }
        text(event, "/operator").clone_into(&mut self.author);
        text(event, "/client_digest").clone_into(&mut self.digest);
        text(event, "/time").clone_into(&mut self.time);
        text(event, "/reason").clone_into(&mut self.reason);
        text(event, "/owner").clone_into(&mut self.owner);
    }
}

impl Subject {
    fn describe(&self) -> Value {
        match self {
            Self::Serial(serial) => json!({ "serial": serial }),
            Self::Jti(jti) => json!({ "jti": jti }),
            Self::Process(pid, None) => json!({ "pid": pid }),
            Self::Process(pid, Some(at)) => json!({ "pid": pid, "at": at }),
            Self::Client(client) => json!({ "client": client }),
        }
    }
}

fn processes(events: &[Value]) -> Vec<ProcessStory> {
    let mut lives: Vec<(Option<u64>, ProcessStory)> = Vec::new();
    for event in events
        .iter()
        .filter(|event| text(event, "/event") == "attested")
    {
        let id = text(event, "/attestation_id").to_owned();
        let pid = number(event, "/process/pid");
        let start = event
            .pointer("/evidence/start_time")
            .and_then(Value::as_u64);
        let known = lives
            .iter_mut()
            .find(|(known, life)| *known == start && life.pid == pid);
        if let Some((_, life)) = known {
            if !life.attestation_ids.contains(&id) {
                life.attestation_ids.push(id);
            }
            continue;
        }
        let life = ProcessStory {
            pid,
            uid: number(event, "/process/uid"),
            executable: text(event, "/evidence/executable/path").to_owned(),
            attested: text(event, "/time").to_owned(),
            attestation_ids: vec![id],
        };
        lives.push((start, life));
    }
    lives.into_iter().map(|(_, life)| life).collect()
}

#[cfg(test)]
mod tests;
