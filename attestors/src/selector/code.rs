//! Selectors of the `code` attestor.

use super::{SelectorError, is_digest};

pub(super) fn check(value: &str) -> Result<(), SelectorError> {
    let (key, value) = value.split_once(':').unwrap_or((value, ""));
    let fault = |key, expected| Err(SelectorError::Value { key, expected });
    match (key, value) {
        ("trusted", "root" | "owner") | ("static" | "jit", "true" | "false") => Ok(()),
        ("sha256", digest) if is_digest(digest) => Ok(()),
        ("trusted", _) => fault("code:trusted", "root or owner"),
        ("static", _) => fault("code:static", "true or false"),
        ("jit", _) => fault("code:jit", "true or false"),
        ("sha256", _) => fault("code:sha256", "64 lower-case hexadecimal digits"),
        _ => Err(SelectorError::Key {
            kind: "code",
            key: key.into(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use crate::Selector;

    #[test]
    fn what_the_attestor_produces_is_accepted_and_nothing_else() {
        let digest = format!("code:sha256:{}", "0f".repeat(32));
        for text in [
            "code:trusted:root",
            "code:trusted:owner",
            "code:static:true",
            "code:jit:false",
            &digest,
        ] {
            text.parse::<Selector>().unwrap();
        }
        for text in [
            "code:trusted",
            "code:trusted:none",
            "code:trusted:root:x",
            "code:static:yes",
            "code:jit:",
            "code:sha256:0f",
            "code:preloaded:false",
            "code:jit:True",
        ] {
            text.parse::<Selector>().unwrap_err();
        }
    }
}
