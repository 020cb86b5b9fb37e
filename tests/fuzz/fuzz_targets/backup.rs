//! A backup: nothing panics, records follow one by one and have their digests, and what is accepted
//! whole does not stay so with another end.
#![no_main]

use libfuzzer_sys::fuzz_target;
use symbolon_agent::{
    backup::{FORMAT, Header, Item, Reader, Writer},
    registry::{Checkup, Digest},
};

fuzz_target!(|input: (&[u8], Vec<String>)| {
    let (bytes, checkpoints) = input;
    take(bytes);
    // Behind a beginning that holds, so that lines are reached.
    let header = Header {
        agent: String::new(),
        created_at: String::new(),
        format: FORMAT,
        revision: 0,
        trust_domain: "example.org".to_owned(),
    };
    let checkpoint = checkpoints.first().map(String::as_bytes);
    let Ok((writer, mut begun)) = Writer::begin(&header, checkpoint) else {
        return;
    };
    take(&[&begun, bytes].concat());
    begun.extend(writer.end().unwrap_or_default());
    if checkpoint.is_none() {
        assert!(take(&begun), "what was written is whole");
        begun.push(b'\n');
        assert!(!take(&begun));
    }
});

/// Whether it is a whole backup.
fn take(bytes: &[u8]) -> bool {
    let Ok(mut reader) = Reader::begin(bytes) else {
        return false;
    };
    let (mut checkup, mut last) = (Checkup::default(), 0);
    loop {
        match reader.item() {
            Ok(Some(Item::Record(record))) => {
                assert_eq!(record.revision, last + 1);
                assert_eq!(record.digest, Digest::of(&record.document));
                last = record.revision;
                checkup.take(&record);
            }
            Ok(Some(Item::Checkpoint(_))) => {}
            Ok(None) => break,
            Err(_) => return false,
        }
    }
    assert_eq!(checkup.end().revision, last);
    assert!(reader.sha256().is_some());
    true
}
