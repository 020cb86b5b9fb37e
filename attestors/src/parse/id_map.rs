//! `/proc/self/uid_map` and `gid_map` (`user_namespaces(7)`).

use super::number;

/// Whether `bytes` maps every ID to itself, as in the initial user namespace.
///
/// Elsewhere the kernel shows IDs without a mapping as the overflow ID, which
/// then may be anybody.
#[must_use]
pub fn covers_every_id(bytes: &[u8]) -> bool {
    let mut words = bytes
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty())
        .map(number::<u32>);
    words.next() == Some(Some(0))
        && words.next() == Some(Some(0))
        && words.next() == Some(Some(u32::MAX))
        && words.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::covers_every_id;

    #[test]
    fn only_the_identity_covers_every_id() {
        assert!(covers_every_id(b"         0          0 4294967295\n"));
        for map in [
            "",
            "0 1000 1\n",
            "0 0 65536\n",
            "0 0 4294967295\n1 1 1\n",
            "0 0 -1",
        ] {
            assert!(!covers_every_id(map.as_bytes()));
        }
    }
}
