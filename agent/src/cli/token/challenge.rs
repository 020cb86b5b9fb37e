//! What a resource says to those who come without a token (`WWW-Authenticate`).

use http::{HeaderMap, header::WWW_AUTHENTICATE};

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

/// Every `name=value` of a list of challenges (RFC 9110, section 11.6.1). Schemes and what is
/// no parameter are passed over.
fn parameters(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('=') {
        let name = before.rsplit([',', ' ', '\t']).next().unwrap_or_default();
        let (value, behind) = match after.strip_prefix('"') {
            Some(quoted) => unquoted(quoted),
            None => {
                let end = after.find([',', ' ', '\t']).unwrap_or(after.len());
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

    #[test]
    fn parameters_are_found() {
        for (texts, metadata, scope) in [
            (&[][..], None, None),
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
        ] {
            let mut headers = HeaderMap::new();
            for text in texts {
                headers.append(WWW_AUTHENTICATE, HeaderValue::from_static(text));
            }
            let challenge = Challenge::of(&headers);
            assert_eq!(
                challenge.resource_metadata.as_deref(),
                metadata,
                "{texts:?}"
            );
            assert_eq!(challenge.scope.as_deref(), scope, "{texts:?}");
        }
    }
}
