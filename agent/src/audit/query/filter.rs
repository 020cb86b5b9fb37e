//! What is asked for.

use super::{Life, fields::Fields};
use crate::audit::event::time_text;
use std::{
    collections::{HashMap, HashSet},
    time::SystemTime,
};

/// Conditions that all have to hold; those that are not set do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// The client's name.
    pub client: Option<String>,
    /// Who owned the client at that time, as registrations in the trail say.
    pub owner: Option<String>,
    /// The SPIFFE ID.
    pub spiffe_id: Option<String>,
    /// The serial number of an X.509-SVID, in lower-case hexadecimal.
    pub serial: Option<String>,
    /// The identifier of a JWT-SVID or WIT-SVID.
    pub jti: Option<String>,
    /// The SHA-256 of the workload's key.
    pub key_thumbprint: Option<String>,
    /// The attestation.
    pub attestation_id: Option<String>,
    /// The process's number.
    pub pid: Option<u32>,
    /// Only the process that had this number at a time.
    pub at: Option<String>,
    /// The process's user; of summaries the user who answers for them.
    pub uid: Option<u32>,
    /// What happened; of summaries what was counted, too.
    pub event: Option<String>,
    /// How it ended.
    pub outcome: Option<String>,
    /// Not before.
    pub since: Option<String>,
    /// Not after.
    pub until: Option<String>,
    /// One of these.
    pub related: Option<Related>,
}

/// Lines that belong together; one of the conditions has to hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Related {
    /// Everything that rests on one of these attestations, validations aside.
    pub attestations: HashSet<String>,
    /// What operators did with one of these clients.
    pub clients: HashSet<String>,
    /// Validations of one of these credentials, which the agent issued.
    pub credentials: HashSet<String>,
    /// Validations of one of these foreign tokens, each by its trust domain and its identifier.
    pub foreign_credentials: HashSet<(String, String)>,
    /// Validations by one of these attestations.
    pub verifiers: HashSet<String>,
    /// What became of one of these signing keys.
    pub keys: HashSet<String>,
    /// Attestations of processes with one of these numbers.
    pub pids: HashSet<u32>,
}

impl Filter {
    /// A time as lines write it, by which they are compared.
    #[must_use]
    pub fn time(at: SystemTime) -> String {
        time_text(at)
    }
}

/// What lines are to a story: what there is much of must not displace what there is little of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// What a process is.
    Attestation,
    /// What an operator did.
    Change,
    /// What was issued, delivered and withdrawn, and what else the agent did.
    Credential,
    /// What was refused, what was read, and counts.
    Refusal,
    /// What a local process had validated.
    Validation,
}

impl Class {
    fn of(line: &Fields<'_>) -> Self {
        match line.event.as_ref() {
            "attested" => Self::Attestation,
            "validated" => Self::Validation,
            "denied" | "read" | "refused" | "summarized" => Self::Refusal,
            _ if !line.operator.is_empty() => Self::Change,
            _ => Self::Credential,
        }
    }
}

impl Related {
    fn fits(&self, line: &Fields<'_>) -> bool {
        if line.event == "validated" {
            return self.is_shown(line) || self.verifiers.contains(line.attestation_id.as_ref());
        }
        self.attestations.contains(line.attestation_id.as_ref())
            || (!line.operator.is_empty() && self.clients.contains(line.client.as_ref()))
            || match line.event.as_ref() {
                "rotated" => self.keys.contains(line.authority.key_id.as_ref()),
                "attested" => line.process.pid.is_some_and(|pid| self.pids.contains(&pid)),
                _ => false,
            }
    }

    /// Whether one of the tokens was validated. Foreign issuers choose their identifiers, and may
    /// choose those of others: of theirs the trust domain has to be the same.
    fn is_shown(&self, line: &Fields<'_>) -> bool {
        let (domain, jti) = (line.trust_domain.as_ref(), line.credential.jti.as_ref());
        match domain {
            "" => self.credentials.contains(jti),
            _ if self.foreign_credentials.is_empty() => false,
            _ => {
                let token = (domain.to_owned(), jti.to_owned());
                self.foreign_credentials.contains(&token)
            }
        }
    }
}

/// A filter on its way along the lines, which have to come in their order.
#[derive(Debug)]
pub struct Judge<'a> {
    filter: &'a Filter,
    life: Option<Life>,
    /// Whose the clients are, as far as that was read.
    owners: HashMap<String, String>,
}

impl<'a> Judge<'a> {
    /// Before the first line. Which process had a number at a time is not known here.
    #[must_use]
    pub fn new(filter: &'a Filter) -> Self {
        Self {
            filter,
            life: None,
            owners: HashMap::new(),
        }
    }

    /// Of the lines with this number only those of this process.
    pub(super) fn only_life(&mut self, life: Life) {
        self.life = Some(life);
    }

    /// Whether the next line fits.
    pub fn fits(&mut self, line: &str) -> bool {
        self.class(line).is_some()
    }

    /// What the next line is, where it fits.
    pub fn class(&mut self, line: &str) -> Option<Class> {
        let fields = Fields::of(line.as_bytes())?;
        self.has(&fields).then(|| Class::of(&fields))
    }

    fn has(&mut self, fields: &Fields<'_>) -> bool {
        if self.filter.owner.is_some() && !fields.owner.is_empty() && is_in_force(&fields.event) {
            self.owners
                .insert(fields.client.to_string(), fields.owner.to_string());
        }
        let filter = self.filter;
        let is = |wanted: &Option<String>, found: &str| {
            wanted.as_deref().is_none_or(|wanted| wanted == found)
        };
        let credential = &fields.credential;
        is(&filter.client, &fields.client)
            && is(&filter.spiffe_id, &fields.spiffe_id)
            && is(&filter.serial, &credential.serial)
            && is(&filter.jti, &credential.jti)
            && is(&filter.key_thumbprint, &credential.key_thumbprint)
            && is(&filter.attestation_id, &fields.attestation_id)
            && is(&filter.outcome, &fields.outcome)
            && (is(&filter.event, &fields.event) || is(&filter.event, &fields.summary.event))
            && filter
                .since
                .as_deref()
                .is_none_or(|since| since <= fields.time)
            && filter
                .until
                .as_deref()
                .is_none_or(|until| fields.time <= until)
            && filter.pid.is_none_or(|pid| fields.process.pid == Some(pid))
            && filter.uid.is_none_or(|uid| {
                fields.process.uid == Some(uid) || fields.summary.uid == Some(uid)
            })
            && self.is_owned(fields)
            && self.life.as_ref().is_none_or(|life| life.has(fields))
            && filter
                .related
                .as_ref()
                .is_none_or(|related| related.fits(fields))
    }

    fn is_owned(&self, fields: &Fields<'_>) -> bool {
        let Some(wanted) = &self.filter.owner else {
            return true;
        };
        let owner = self.owners.get(fields.client.as_ref());
        fields.owner == wanted.as_str() || owner == Some(wanted)
    }
}

/// Whether an event of an operator tells of what is in force, and not of what awaits approval.
fn is_in_force(event: &str) -> bool {
    !matches!(
        event,
        "proposed" | "approved" | "rejected" | "withdrawn_version"
    )
}

impl Life {
    fn has(&self, fields: &Fields<'_>) -> bool {
        let id = fields.attestation_id.as_ref();
        if !id.is_empty() {
            return self.attestations.iter().any(|known| known == id);
        }
        // Refused before it was attested.
        !self.attestations.is_empty()
            && self.first.as_str() <= fields.time
            && self.end.as_deref().is_none_or(|end| fields.time < end)
    }
}
