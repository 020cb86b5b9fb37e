//! What a resource says to those who come without a token (`WWW-Authenticate`).

use http::{HeaderMap, header::WWW_AUTHENTICATE};

/// White space within a line.
const BLANK: [char; 2] = [' ', '\t'];

/// What stands between parameters.
const DIVIDES: [char; 3] = [',', ' ', '\t'];

/// The parameters of a `Bearer` or `DPoP` challenge that lead on (RFC 9728, section 5.1; RFC
/// 6750, section 3).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Challenge {
    /// Where the resource's metadata are.
    pub(super) resource_metadata: Option<String>,
    /// What the resource needs.
    pub(super) scope: Option<String>,
}

impl Challenge {
    /// The first of each that the headers hold.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut challenge = Self::default();
        for value in headers.get_all(WWW_AUTHENTICATE) {
            for (name, value) in parameters(value.to_str().unwrap_or_default()) {
                let slot = match name.as_str() {
                    "resource_metadata" => &mut challenge.resource_metadata,
                    "scope" => &mut challenge.scope,
                    _ => continue,
                };
                slot.get_or_insert(value);
            }
        }
        challenge
    }
}

/// Every `name=value` of a list of challenges (RFC 9110, section 11.6.1), also with the bad white
/// space around the sign that recipients have to take (section 5.6.3). Schemes and what is no
/// parameter are passed over.
fn parameters(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('=') {
        let (before, after) = (
            before.trim_end_matches(BLANK),
            after.trim_start_matches(BLANK),
        );
        let name = before.rsplit(DIVIDES).next().unwrap_or_default();
        let (value, behind) = match after.strip_prefix('"') {
            Some(quoted) => unquoted(quoted),
            None => {
                let end = after.find(DIVIDES).unwrap_or(after.len());
                let (value, behind) = after.split_at_checked(end).unwrap_or((after, ""));
                (value.to_owned(), behind)
            }
        };
        found.push((name.to_ascii_lowercase(), value));
        rest = behind;
    }
    found
}

/// A quoted string, whose first quote is gone, and what follows it.
fn unquoted(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, text.get(at.saturating_add(1)..).unwrap_or_default()),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            other => value.push(other),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::Challenge;
    use http::{HeaderMap, HeaderValue, header::WWW_AUTHENTICATE};

    /// Of these lines: where the metadata are, and the scope.
    fn found(texts: &[&'static str]) -> (Option<String>, Option<String>) {
        let mut headers = HeaderMap::new();
        for text in texts {
            headers.append(WWW_AUTHENTICATE, HeaderValue::from_static(text));
        }
        let challenge = Challenge::of(&headers);
        (challenge.resource_metadata, challenge.scope)
    }

    fn check(cases: &[(&[&'static str], Option<&str>, Option<&str>)]) {
        for (texts, metadata, scope) in cases {
            let found = found(texts);
            let found = (found.0.as_deref(), found.1.as_deref());
            assert_eq!(found, (*metadata, *scope), "{texts:?}");
        }
    }

    #[test]
    fn parameters_are_found() {
        check(&[
            (&[], None, None),
            (&["Bearer"], None, None),
            (
                &["Bearer error=\"invalid_token\", resource_metadata=\"https://r/x\""],
                Some("https://r/x"),
                None,
            ),
            (
                &["DPoP algs=\"ES256\", Bearer Resource_Metadata=https://r/x, scope=\"a b\""],
                Some("https://r/x"),
                Some("a b"),
            ),
            (
                &[
                    "Basic realm=\"a, resource_metadata=\\\"no\\\"\"",
                    "Bearer scope=a",
                ],
                None,
                Some("a"),
            ),
            (&["Negotiate abc==", "Bearer scope=\"a"], None, Some("a")),
        ]);
    }

    #[test]
    fn odd_headers_are_read_as_the_standard_has_it() {
        check(&[
            // White space that nobody should send.
            (
                &["Bearer resource_metadata = \"https://r/x\"\t,scope\t=\ta"],
                Some("https://r/x"),
                Some("a"),
            ),
            (&["Negotiate abc= , Bearer scope=a"], None, Some("a")),
            // The first counts, of all schemes and lines.
            (
                &[
                    "Bearer resource_metadata=a, resource_metadata=b",
                    "DPoP resource_metadata=c",
                ],
                Some("a"),
                None,
            ),
            // Escapes are taken away, and so is nothing else.
            (
                &["Bearer scope=\"a\\\"b\\\\c%22\""],
                None,
                Some("a\"b\\c%22"),
            ),
            (&["Bearer scope=\"a\\"], None, Some("a")),
            // A name that ends like ours, and values that hold one.
            (&["Bearer xscope=a, realm=\"scope=b\""], None, None),
            (&["=", "==", "Bearer =a, scope", ",,=,"], None, None),
            (
                &["Bearer scope=, resource_metadata=\"\""],
                Some(""),
                Some(""),
            ),
        ]);
    }

    #[test]
    fn what_is_no_text_is_passed_over() {
        let mut headers = HeaderMap::new();
        for value in [
            &b"Bearer scope=\"\xff\""[..],
            b"Bearer scope=\xc3\xbc",
            b"Bearer scope=a",
        ] {
            headers.append(WWW_AUTHENTICATE, HeaderValue::from_bytes(value).unwrap());
        }
        assert_eq!(Challenge::of(&headers).scope.as_deref(), Some("a"));
    }
}
