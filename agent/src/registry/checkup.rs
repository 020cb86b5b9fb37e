//! Verifying records without serving from them: of a stopped agent's store, or of a backup.
//!
//! Every record goes through the rules that hold when an agent starts: digest,
//! place in the log, link to the last one of its kind, what the client's state
//! allows, who may approve. An agent stops at the first that fails. This goes on,
//! and tells of every client which of its records is the first that cannot be
//! believed; the later ones of that client rest on it and are not judged.

use super::{
    ClientName, Digest, RecordFault, RelationshipFault,
    book::{Book, Interned},
    record::{self, Document},
    store::Record,
};
use serde::Serialize;
use spiffe::TrustDomain;
use std::collections::HashSet;

/// Findings that are told one by one.
const MAX_FINDINGS: usize = 100;

/// Takes records in the order of the log.
#[derive(Debug, Default)]
pub struct Checkup {
    book: Option<Book>,
    interned: Interned,
    broken: HashSet<ClientName>,
    report: Report,
    /// What the log is said to have, from elsewhere.
    expected: Option<(u64, Digest)>,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether nothing was found.
    pub whole: bool,
    /// Whose clients they are, as the first of them says.
    pub trust_domain: Option<String>,
    /// The last revision.
    pub revision: u64,
    /// The digest of the last record.
    pub digest: Option<Digest>,
    /// How many clients there are.
    pub clients: usize,
    /// What cannot be believed, by revision.
    pub findings: Vec<Flaw>,
    /// How many more there are.
    pub more_findings: u64,
}

/// A record that cannot be believed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Flaw {
    /// Its place in the log.
    pub revision: u64,
    /// Whose it is, as far as it says.
    pub client: Option<String>,
    /// What is wrong with it.
    pub what: String,
}

impl Checkup {
    /// A checkup that also looks whether the log has this record.
    #[must_use]
    pub fn expecting(expected: Option<(u64, Digest)>) -> Self {
        Self {
            expected,
            ..Self::default()
        }
    }

    /// Judges the next record.
    pub fn take(&mut self, record: &Record) {
        self.report.revision = record.revision;
        self.report.digest = Some(record.digest);
        if let Some((revision, digest)) = self.expected
            && revision == record.revision
        {
            self.expected = None;
            if digest != record.digest {
                let what = "another record was confirmed with this revision";
                self.note(record.revision, None, what.to_owned());
            }
        }
        if let Err(fault) = self.apply(record) {
            let client = record::client_of(&record.document);
            // What comes later of that client rests on this.
            let name = client.as_deref().and_then(|name| name.parse().ok());
            let is_first = name.is_none_or(|name| self.broken.insert(name));
            if is_first {
                self.note(record.revision, client, fault.to_string());
            }
        }
    }

    fn apply(&mut self, record: &Record) -> Result<(), RecordFault> {
        if self.book.is_none() {
            let domain = match Document::open(record)? {
                Document::Version(document) => document.spec.trust_domain(),
                Document::State(document) => return Err(RecordFault::Chain(document.client)),
                Document::Decision(document) => return Err(RecordFault::Chain(document.client)),
                Document::Relationship(document) => document.own,
                Document::RelationshipDecision(document) => {
                    let fault = RelationshipFault::Chain;
                    return Err(RecordFault::Relationship(document.trust_domain, fault));
                }
            };
            self.begin(domain, record.revision);
        }
        let Some(book) = &mut self.book else {
            return Ok(());
        };
        let applied = book.apply(record, &mut self.interned);
        if applied.is_err() {
            book.pass_over(record.revision);
        }
        applied.map(drop).map_err(|error| error.fault)
    }

    fn begin(&mut self, domain: TrustDomain, revision: u64) {
        self.report.trust_domain = Some(domain.to_string());
        let mut book = Book::new(domain);
        // Records before this one have been told of already.
        book.pass_over(revision.saturating_sub(1));
        self.book = Some(book);
    }

    fn note(&mut self, revision: u64, client: Option<String>, what: String) {
        if self.report.findings.len() == MAX_FINDINGS {
            self.report.more_findings += 1;
            return;
        }
        self.report.findings.push(Flaw {
            revision,
            client,
            what,
        });
    }

    /// The end of the log: what was found.
    #[must_use]
    pub fn end(mut self) -> Report {
        if let Some((revision, _)) = self.expected {
            let what = "it was confirmed, and is missing".to_owned();
            self.note(revision, None, what);
        }
        self.report.clients = self.book.as_ref().map_or(0, Book::len);
        self.report.whole = self.report.findings.is_empty();
        self.report
    }
}
