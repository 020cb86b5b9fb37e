//! `/proc/PID/{maps,pagemap}` and the program headers of an ELF file: nothing panics, no mapping is
//! made up, and no table is larger than the kernel takes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use symbolon_attestors::parse::{self, Backing};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(mappings) = parse::executable_mappings(bytes) {
        let lines = bytes.split(|&byte| byte == b'\n').count();
        assert!(mappings.len() <= lines);
        for mapping in mappings {
            assert!(mapping.start < mapping.end);
            let has_file = mapping.inode != 0 || mapping.device != (0, 0);
            assert_eq!(mapping.backing == Backing::File, has_file);
        }
    }
    if let Ok(headers) = parse::program_headers(bytes) {
        assert!((1..=65_536).contains(&headers.length));
        let start = usize::try_from(headers.offset).unwrap_or(usize::MAX);
        let table = bytes.get(start..).unwrap_or_default();
        let table = table.get(..headers.length).unwrap_or(table);
        assert_eq!(
            headers.have_interpreter(table).is_ok(),
            table.len() == headers.length
        );
    }
    let private = parse::has_private_page(bytes);
    assert!(!private || bytes.iter().any(|&byte| byte != 0));
});
