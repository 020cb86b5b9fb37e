//! Selectors as operators write them: nothing panics, and what is accepted is kept as it is.
#![no_main]

use libfuzzer_sys::fuzz_target;
use symbolon_attestors::{MAX_SELECTOR_BYTES, Selector};

fuzz_target!(|text: &str| {
    if let Ok(selector) = text.parse::<Selector>() {
        assert_eq!(selector.as_str(), text);
        assert_eq!(format!("{}:{}", selector.kind(), selector.value()), text);
        assert!(text.len() <= MAX_SELECTOR_BYTES);
        assert!(!text.chars().any(char::is_control));
    }
});
