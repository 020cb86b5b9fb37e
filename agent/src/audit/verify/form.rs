//! Whether bytes are canonical JSON, as the trail writes it.
//!
//! The same as reading a value and writing it anew ([`crate::canonical`]), but in one
//! pass over the bytes and without memory: a million lines are looked at in a second.
//! RFC 8785, section 3.2, for objects with ASCII names, and numbers that are 64-bit
//! integers.

use std::borrow::Cow;

/// Objects and arrays in each other; evidence has fewer than ten.
const MAX_DEPTH: u32 = 64;

/// Whether `bytes` are an object in canonical form and nothing else.
pub(super) fn is_canonical(bytes: &[u8]) -> bool {
    if std::str::from_utf8(bytes).is_err() {
        return false;
    }
    let mut rest = Rest(bytes);
    rest.peek() == Some(b'{') && rest.value(MAX_DEPTH).is_some() && rest.0.is_empty()
}

/// A name as it is meant; hardly any has an escape.
fn unescaped(name: &[u8]) -> Option<Cow<'_, [u8]>> {
    if !name.contains(&b'\\') {
        return Some(Cow::Borrowed(name));
    }
    let quoted = [b"\"", name, b"\""].concat();
    let text: String = serde_json::from_slice(&quoted).ok()?;
    Some(Cow::Owned(text.into_bytes()))
}

/// What is still to be looked at; every step gives none where the form is another.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn demand(&mut self, expected: &[u8]) -> Option<()> {
        self.0 = self.0.strip_prefix(expected)?;
        Some(())
    }

    fn value(&mut self, depth: u32) -> Option<()> {
        match self.peek()? {
            b'{' => self.object(depth.checked_sub(1)?),
            b'[' => self.array(depth.checked_sub(1)?),
            b'"' => self.string().map(|_text| ()),
            b't' => self.demand(b"true"),
            b'f' => self.demand(b"false"),
            b'n' => self.demand(b"null"),
            _ => self.integer(),
        }
    }

    /// Names stand in their order, each once (section 3.2.3).
    fn object(&mut self, depth: u32) -> Option<()> {
        self.demand(b"{")?;
        if self.peek()? == b'}' {
            return self.demand(b"}");
        }
        let mut before: Option<Cow<'a, [u8]>> = None;
        loop {
            let name = unescaped(self.string()?)?;
            if !name.is_ascii() || before.is_some_and(|before| before >= name) {
                return None;
            }
            before = Some(name);
            self.demand(b":")?;
            self.value(depth)?;
            match self.next()? {
                b',' => {}
                b'}' => return Some(()),
                _ => return None,
            }
        }
    }

    fn array(&mut self, depth: u32) -> Option<()> {
        self.demand(b"[")?;
        if self.peek()? == b']' {
            return self.demand(b"]");
        }
        loop {
            self.value(depth)?;
            match self.next()? {
                b',' => {}
                b']' => return Some(()),
                _ => return None,
            }
        }
    }

    /// What stands between the quotes; only what has to be is escaped, and in the
    /// shortest way (section 3.2.2.2).
    fn string(&mut self) -> Option<&'a [u8]> {
        self.demand(b"\"")?;
        let text = self.0;
        let mut length = 0_usize;
        loop {
            match self.next()? {
                b'"' => return text.get(..length),
                b'\\' => length += self.escape()?,
                0..0x20 => return None,
                _ => length += 1,
            }
        }
    }

    /// How many bytes the escape has.
    fn escape(&mut self) -> Option<usize> {
        match self.next()? {
            b'"' | b'\\' | b'b' | b'f' | b'n' | b'r' | b't' => Some(2),
            b'u' => {
                self.demand(b"00")?;
                let high = self.next()?;
                let low = self.next()?;
                let has_a_short_form =
                    high == b'0' && matches!(low, b'8' | b'9' | b'a' | b'c' | b'd');
                let is_control =
                    matches!(high, b'0' | b'1') && matches!(low, b'0'..=b'9' | b'a'..=b'f');
                (is_control && !has_a_short_form).then_some(6)
            }
            _ => None,
        }
    }

    fn integer(&mut self) -> Option<()> {
        let is_negative = self.demand(b"-").is_some();
        let limit = if is_negative { 1 << 63 } else { u64::MAX };
        let mut value = 0_u64;
        let mut digits = 0_u32;
        let starts_with_zero = self.peek() == Some(b'0');
        while let Some(digit) = self.peek().filter(u8::is_ascii_digit) {
            value = value
                .checked_mul(10)?
                .checked_add(u64::from(digit - b'0'))?;
            digits += 1;
            self.next();
        }
        let is_short = !starts_with_zero || (digits == 1 && !is_negative);
        (digits > 0 && is_short && value <= limit).then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::is_canonical;
    use crate::canonical;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    /// The slow way.
    fn is_canonical_slowly(bytes: &[u8]) -> bool {
        serde_json::from_slice::<Value>(bytes)
            .ok()
            .filter(Value::is_object)
            .and_then(|value| canonical::to_vec(&value).ok())
            .is_some_and(|canonical| canonical == bytes)
    }

    #[test]
    fn one_form_of_each_document_is_canonical() {
        for (text, expected) in [
            (r"{}", true),
            (r#"{"a":[],"b":{},"c":[1,-1,0,true,false,null]}"#, true),
            (
                r#"{"a":18446744073709551615,"b":-9223372036854775808}"#,
                true,
            ),
            (r#"{"a":"\b\t\n\f\r\"\\\u0000\u001f/é"}"#, true),
            (r#"{"a":1,"a":1}"#, false),
            (r#"{"b":1,"a":1}"#, false),
            (r#"{"a": 1}"#, false),
            (r#" {}"#, false),
            ("{}\n", false),
            (r"{}{}", false),
            (r#"{"a":01}"#, false),
            (r#"{"a":-0}"#, false),
            (r#"{"a":1.0}"#, false),
            (r#"{"a":1e3}"#, false),
            (r#"{"a":18446744073709551616}"#, false),
            (r#"{"a":-9223372036854775809}"#, false),
            (r#"{"a":"\u0041"}"#, false),
            (r#"{"a":"\u000a"}"#, false),
            (r#"{"a":"\u001F"}"#, false),
            (r#"{"a":"\/"}"#, false),
            (r#"{"a":"\u00e9"}"#, false),
            (r#"{"é":1}"#, false),
            (r#"{"a":tru}"#, false),
            (r#"{"a":1,}"#, false),
            (r#"{"a"}"#, false),
            (r#"{"a":"#, false),
            ("[]", false),
            ("1", false),
            ("", false),
            ("{\"a\":\"\u{1}\"}", false),
            ("{\"a\":\"\u{7f}\"}", true),
        ] {
            assert_eq!(is_canonical(text.as_bytes()), expected, "{text}");
            assert_eq!(is_canonical_slowly(text.as_bytes()), expected, "{text}");
        }
        assert!(!is_canonical(b"{\"a\":\"\xff\"}"));
        let deep = "[".repeat(100) + &"]".repeat(100);
        assert!(!is_canonical(format!("{{\"a\":{deep}}}").as_bytes()));
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
            "[\\x00-\\x22\\\\]{0,4}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-z_]{1,4}", inner, 0..4).prop_map(|map| json!(map)),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_fast_way_agrees_with_the_slow_one(
            value in value(),
            at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
        ) {
            let mut text = canonical::to_vec(&json!({"v": value})).unwrap();
            prop_assert!(is_canonical(&text));
            let at = at.index(text.len());
            text[at] = byte;
            prop_assert_eq!(is_canonical(&text), is_canonical_slowly(&text));
        }
    }
}
