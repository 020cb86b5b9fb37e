//! Words about what awaits approval: sequences of them in parts of the fuzzer's, and any bytes at
//! all after a version and a resumption that nobody has approved.

#![no_main]

use libfuzzer_sys::fuzz_target;
use symbolon_agent::registry::fuzzing::{self, Word};

type Parts<'a> = (&'a str, Option<u32>, Option<u32>, &'a str, u8, bool, bool);

/// Names of few persons, which a fuzzer does not find by itself.
const NAMES: [&str; 6] = ["alice", "bob", "uid:1", "uid:2", "ops/uid:2", "carol"];

fn word<'a>(parts: &Parts<'a>) -> Word<'a> {
    let (author, uid, login, reason, verdict, of_state, is_astray) = *parts;
    Word {
        author,
        uid,
        login,
        reason,
        verdict,
        of_state,
        is_astray,
    }
}

fuzz_target!(|input: (&[u8], Vec<Parts<'_>>)| {
    let (document, parts) = input;
    fuzzing::next_record(document);
    let mut words: Vec<_> = parts.iter().map(word).collect();
    fuzzing::words(&words);
    for word in &mut words {
        word.author = NAMES[usize::from(word.verdict / 8) % NAMES.len()];
        word.uid = word.uid.map(|uid| uid % 4);
        word.login = word.login.map(|login| login % 4);
        word.is_astray &= word.verdict & 1 == 0;
    }
    fuzzing::words(&words);
});
