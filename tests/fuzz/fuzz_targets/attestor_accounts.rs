//! `/etc/passwd` and `/etc/group`: nothing panics, and every name and ID makes a selector.
#![no_main]

use libfuzzer_sys::fuzz_target;
use symbolon_attestors::{Selector, parse};

fuzz_target!(|bytes: &[u8]| {
    for (id, name) in parse::names_by_id(bytes) {
        format!("unix:uid:{id}").parse::<Selector>().unwrap();
        format!("unix:user:{name}").parse::<Selector>().unwrap();
    }
});
