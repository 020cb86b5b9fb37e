//! What the fuzz targets call: the parsers of records and drafts, with what has to hold of them.

use super::{
    ClientDraft, Digest, Reason, Record, SpecRules,
    book::{Book, Interned},
    record::{Document, VersionDocument},
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
