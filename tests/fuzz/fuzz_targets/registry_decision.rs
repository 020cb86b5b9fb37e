//! Words about what awaits approval: sequences of them in parts of the fuzzer's, and any bytes at
//! all after a version and a resumption that nobody has approved.

#![no_main]

use libfuzzer_sys::fuzz_target;
use symbolon_agent::registry::fuzzing::{self, Word};

type Parts<'a> = (&'a str, Option<u32>, Option<u32>, &'a str, u8, bool, bool);

fuzz_target!(|input: (&[u8], Vec<Parts<'_>>)| {
    let (document, parts) = input;
    fuzzing::next_record(document);
    let word = |part: &Parts<'_>| {
        let (author, uid, login, reason, verdict, of_state, is_astray) = *part;
        Word {
            author,
            uid,
            login,
            reason,
            verdict,
            of_state,
            is_astray,
        }
    };
    let mut words: Vec<_> = parts.iter().map(word).collect();
    fuzzing::words(&words);
    // Names that a fuzzer does not find by itself, of few persons.
    for word in &mut words {
        word.author = ["alice", "bob", "uid:1", "uid:2", "ops/uid:2", "carol"]
            [usize::from(word.verdict / 8) % 6];
        word.uid = word.uid.map(|uid| uid % 4);
        word.login = word.login.map(|login| login % 4);
        word.is_astray &= word.verdict & 1 == 0;
    }
    fuzzing::words(&words);
});
