//! What the fuzz targets call: the parsers of records and drafts, with what has to hold of them.

use super::{
    Actor, Approval, Client, ClientDraft, ClientName, Digest, Proposal as _, Reason, Record,
    SpecRules, Standing, Verdict,
    book::{Book, Interned},
    record::{DecisionDocument, Document, StateDocument, VersionDocument},
};
use spiffe::TrustDomain;
use std::time::{Duration, UNIX_EPOCH};

fn trust_domain() -> TrustDomain {
    TrustDomain::new("example.org").unwrap()
}

fn is_applied(record: &Record) -> bool {
    let mut book = Book::new(trust_domain());
    let applied = book.apply(record, &mut Interned::default()).is_ok();
    assert!(book.revision() == u64::from(applied) && book.len() == usize::from(applied));
    applied
}

/// A document is refused without a trace, or says the same when it is written again.
pub fn record(document: &[u8]) {
    let record = Record {
        revision: 1,
        digest: Digest::of(document),
        document: document.to_vec().into(),
    };
    if !is_applied(&record) {
        return;
    }
    // Not longer than a record may be: fuzzers are given less.
    let canonical = Document::open(&record).unwrap().seal(1).unwrap();
    assert!(is_applied(&canonical));
    assert!(Document::open(&canonical).unwrap().seal(1).unwrap() == canonical);
}

/// What is accepted of an operator is accepted when it is read back.
pub fn draft(draft: &ClientDraft) {
    let rules = SpecRules {
        trust_domain: trust_domain(),
        x509_ttl: Duration::from_secs(300)..=Duration::from_secs(86_400),
        jwt_ttl: Duration::from_secs(30)..=Duration::from_secs(3_600),
    };
    let name = "web".parse().unwrap();
    let Ok(spec) = draft.check(&name, &rules, UNIX_EPOCH) else {
        return;
    };
    let document = Document::Version(VersionDocument {
        client: name,
        number: 1,
        previous: None,
        author: "uid:0".parse().unwrap(),
        login: None,
        uid: None,
        approvals_required: 0,
        at: UNIX_EPOCH,
        reason: Reason::default(),
        spec: spec.into(),
    });
    if let Ok(record) = document.seal(1) {
        assert!(is_applied(&record));
    }
}

/// A word about what awaits approval, in parts of a fuzzer's.
#[derive(Clone, Copy, Debug)]
pub struct Word<'a> {
    /// The name of who says it.
    pub author: &'a str,
    /// The user, where the name does not say it.
    pub uid: Option<u32>,
    /// The user who logged in.
    pub login: Option<u32>,
    /// Why.
    pub reason: &'a str,
    /// Which verdict.
    pub verdict: u8,
    /// Whether it is about the resumption.
    pub of_state: bool,
    /// Whether it names something else than what awaits approval.
    pub is_astray: bool,
}

/// Who wrote the version and the resumption that await approval.
const AUTHOR: &str = "alice";

/// How many others have to approve them.
const REQUIRED: u32 = 2;

/// A book with a client whose first version and whose resumption await approval.
fn awaiting() -> Book {
    let draft = ClientDraft {
        owner: "me".to_owned(),
        selector_sets: vec![vec!["unix:uid:1".to_owned()]],
        ..ClientDraft::default()
    };
    let rules = SpecRules {
        trust_domain: trust_domain(),
        x509_ttl: Duration::from_secs(300)..=Duration::from_secs(86_400),
        jwt_ttl: Duration::from_secs(30)..=Duration::from_secs(3_600),
    };
    let client: ClientName = "web".parse().unwrap();
    let spec = draft.check(&client, &rules, UNIX_EPOCH).unwrap();
    let version = Document::Version(VersionDocument {
        client: client.clone(),
        number: 1,
        previous: None,
        author: AUTHOR.parse().unwrap(),
        login: None,
        uid: Some(1),
        approvals_required: REQUIRED,
        at: UNIX_EPOCH,
        reason: Reason::default(),
        spec: spec.into(),
    });
    let mut book = Book::new(trust_domain());
    let state = |number, previous, to, approvals_required| {
        Document::State(StateDocument {
            client: client.clone(),
            number,
            previous,
            author: AUTHOR.parse().unwrap(),
            login: None,
            uid: Some(1),
            at: UNIX_EPOCH,
            reason: "because".parse().unwrap(),
            approvals_required,
            to,
        })
    };
    let suspended = state(1, None, Standing::Suspended, 0);
    let previous = Some(suspended.seal(2).unwrap().digest);
    let resumed = state(2, previous, Standing::Active, REQUIRED);
    for (document, revision) in [version, suspended, resumed].iter().zip(1..) {
        let record = document.seal(revision).unwrap();
        book.apply(&record, &mut Interned::default()).unwrap();
    }
    book
}

fn client(book: &Book) -> &Client {
    book.client(&"web".parse().unwrap()).unwrap()
}

/// Any document after those: it is refused without a trace, or puts nothing in force alone.
pub fn next_record(document: &[u8]) {
    let mut book = awaiting();
    let record = Record {
        revision: book.revision() + 1,
        digest: Digest::of(document),
        document: document.to_vec().into(),
    };
    let applied = book.apply(&record, &mut Interned::default()).is_ok();
    assert!(book.revision() == record.revision - u64::from(!applied));
    let is_decision = matches!(Document::open(&record), Ok(Document::Decision(_)));
    assert!(!is_decision || !client(&book).has_version_in_force());
    assert!(!is_decision || client(&book).standing() == Standing::Suspended);
}

/// Words one after the other: what is in force afterwards was approved by enough persons.
pub fn words(words: &[Word<'_>]) {
    let mut book = awaiting();
    for word in words {
        let Some(document) = decision(&book, word) else {
            continue;
        };
        let Ok(record) = Document::Decision(document).seal(book.revision() + 1) else {
            continue;
        };
        let before = book.revision();
        let applied = book.apply(&record, &mut Interned::default()).is_ok();
        assert!(book.revision() == before + u64::from(applied));
        assert!(!(applied && word.is_astray));
        let client = client(&book);
        let version = client.pending().map(|pending| &*pending.approvals);
        let resumption = client.pending_resumption();
        let resumption = resumption.map(|pending| &*pending.approvals);
        let in_force = Some(client.approvals()).filter(|_| client.has_version_in_force());
        assert!(in_force.is_none_or(|given| u32::try_from(given.len()) == Ok(REQUIRED)));
        for given in [version, resumption, in_force].into_iter().flatten() {
            are_persons(given);
        }
    }
}

/// None of them is the author, and none is there twice.
fn are_persons(approvals: &[Approval]) {
    let author: Actor = AUTHOR.parse().unwrap();
    let author = author.with_uid(Some(1));
    for (place, approval) in approvals.iter().enumerate() {
        let operator = &approval.operator;
        assert!(!operator.is_person_of(&author));
        let mut others = approvals.iter().take(place);
        assert!(!others.any(|other| other.operator.is_person_of(operator)));
    }
}

fn decision(book: &Book, word: &Word<'_>) -> Option<DecisionDocument> {
    let client = client(book);
    let version = client
        .pending()
        .map(|pending| (pending.what.subject(), pending.what.digest));
    let state = client
        .pending_resumption()
        .map(|pending| (pending.what.subject(), pending.what.digest));
    let (about, digest) = if word.of_state { state } else { version }?;
    let last = client.last_decision();
    Some(DecisionDocument {
        client: client.name().clone(),
        number: last.map_or(0, |(number, _)| number) + 1,
        previous: last.map(|(_, digest)| digest),
        about,
        digest: match word.is_astray {
            true => Digest::of(b"something else"),
            false => digest,
        },
        verdict: match word.verdict % 8 {
            0 => Verdict::Reject,
            1 => Verdict::Withdraw,
            _ => Verdict::Approve,
        },
        author: word.author.parse().ok()?,
        login: word.login,
        uid: word.uid,
        at: UNIX_EPOCH,
        reason: word.reason.parse().ok()?,
    })
}
