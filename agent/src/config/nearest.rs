//! What somebody probably meant to write.

/// The candidate that is most like `name`, if one is like it at all.
pub(super) fn nearest(name: &str, candidates: impl Iterator<Item = String>) -> Option<String> {
    // A third of the name may be wrong; beyond that a suggestion misleads.
    let most = (name.chars().count() / 3).max(1);
    candidates
        .map(|candidate| (distance(name, &candidate), candidate))
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// How many characters have to be inserted, deleted or replaced (Levenshtein).
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (deleted, left) in from.chars().enumerate() {
        let mut diagonal = deleted;
        let mut before = deleted + 1;
        let mut next = vec![before];
        for (above, right) in row.iter().skip(1).zip(&to) {
            let replaced = diagonal + usize::from(left != *right);
            before = replaced.min(above + 1).min(before + 1);
            diagonal = *above;
            next.push(before);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{distance, nearest};

    #[test]
    fn distances_are_those_of_levenshtein() {
        for (from, to, expected) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("kitten", "sitting", 3),
            ("x509_ttl", "x509_tl", 1),
            ("flaw", "lawn", 2),
        ] {
            assert_eq!(distance(from, to), expected, "{from} {to}");
        }
    }

    #[test]
    fn only_a_similar_name_is_proposed() {
        let keys = || ["x509_ttl", "jwt_ttl"].map(str::to_owned).into_iter();
        assert_eq!(nearest("x509_tl", keys()).as_deref(), Some("x509_ttl"));
        assert_eq!(nearest("jwt-ttl", keys()).as_deref(), Some("jwt_ttl"));
        assert_eq!(nearest("colour", keys()), None);
    }
}
