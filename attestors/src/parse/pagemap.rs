//! `/proc/PID/pagemap` (the kernel's `admin-guide/mm/pagemap`).

/// In memory, or swapped out.
const EXISTS: u64 = 0b11 << 62;

/// Of a file, or of memory that is shared.
const IS_FILE: u64 = 1 << 61;

/// Whether one of the entries in `bytes` is a page of the process's own: in a private mapping of a
/// file, one that was written since and no longer is the file's.
#[must_use]
pub fn has_private_page(bytes: &[u8]) -> bool {
    let (entries, _) = bytes.as_chunks();
    entries
        .iter()
        .map(|entry| u64::from_ne_bytes(*entry))
        .any(|entry| entry & EXISTS != 0 && entry & IS_FILE == 0)
}

#[cfg(test)]
mod tests {
    use super::has_private_page;

    #[test]
    fn a_page_that_is_there_and_not_the_files_is_private() {
        let bytes = |entries: &[u64]| -> Vec<u8> {
            entries
                .iter()
                .flat_map(|entry| entry.to_ne_bytes())
                .collect()
        };
        let [present, swapped, file] = [1 << 63, 1 << 62, 1 << 61];
        assert!(!has_private_page(&bytes(&[
            0,
            present | file,
            file,
            7 | present | file
        ])));
        assert!(has_private_page(&bytes(&[0, present])));
        assert!(has_private_page(&bytes(&[swapped | 5])));
        assert!(!has_private_page(&bytes(&[present])[..7]));
    }
}
