//! Whatever stands in the files that the authority reads: PEM, private keys
//! and its own state.

#![no_main]

use libfuzzer_sys::fuzz_target;
use symbolon_agent::authority::fuzzing;

fuzz_target!(|input: (&str, &[u8])| {
    let (text, bytes) = input;
    fuzzing::pem(text);
    fuzzing::key(bytes);
    fuzzing::state(text.as_bytes());
});
