//! Names of systemd's units, also as parts of a cgroup's path: nothing panics, and what is taken
//! for a unit makes the selectors that it promises.
#![no_main]

use libfuzzer_sys::fuzz_target;
use symbolon_attestors::{Selector, parse};

fuzz_target!(|text: &str| {
    assert!(!(parse::is_unit(text) && parse::is_slice(text)));
    for (key, holds) in [
        ("id", parse::is_unit(text)),
        ("user_unit", parse::is_unit(text)),
        ("slice", parse::is_slice(text)),
    ] {
        let selector = format!("systemd:{key}:{text}").parse::<Selector>();
        assert_eq!(selector.is_ok(), holds);
    }
    if let Some(unit) = parse::user_unit(text) {
        assert!(parse::is_unit(unit) && !unit.contains('/'));
        assert!(text.contains(unit));
    }
});
