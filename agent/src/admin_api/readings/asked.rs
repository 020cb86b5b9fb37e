//! What a reader asked for, as the trail has it.

use crate::audit::{Filter, Subject};
use serde_json::Value;
use std::collections::BTreeMap;

/// Bytes of one condition that the trail repeats: more than all but the longest SPIFFE IDs have.
const MAX_TEXT: usize = 128;

/// Names and values, as `agent/doc/audit.md` has them.
#[derive(Clone, Debug, Default)]
pub(in crate::admin_api) struct Asked(pub(super) BTreeMap<&'static str, Value>);

impl Asked {
    /// Lines that fit.
    pub(in crate::admin_api) fn lines(filter: &Filter) -> Self {
        // What a later field is, has to be decided here.
        let Filter {
            client,
            owner,
            spiffe_id,
            serial,
            jti,
            key_thumbprint,
            attestation_id,
            pid,
            at,
            uid,
            event,
            outcome,
            since,
            until,
            related: _,
        } = filter;
        let ids = [
            ("attestation_id", attestation_id),
            ("jti", jti),
            ("key_thumbprint", key_thumbprint),
            ("serial", serial),
        ];
        let texts = [
            ("at", at),
            ("client", client),
            ("event", event),
            ("outcome", outcome),
            ("owner", owner),
            ("since", since),
            ("spiffe_id", spiffe_id),
            ("until", until),
        ];
        let numbers = [("pid", pid), ("uid", uid)];
        let asked = texts
            .into_iter()
            .fold(Self::default(), |asked, (name, value)| {
                asked.text(name, value.as_deref())
            });
        let asked = ids.into_iter().fold(asked, |asked, (name, value)| {
            asked.id(name, value.as_deref())
        });
        numbers
            .into_iter()
            .filter_map(|(name, value)| Some((name, (*value)?)))
            .fold(asked, |asked, (name, value)| asked.with(name, value))
    }

    /// A story.
    pub(in crate::admin_api) fn story(subject: &Subject) -> Self {
        let asked = Self::default();
        match subject {
            Subject::Serial(serial) => asked.id("serial", Some(serial)),
            Subject::Jti(jti) => asked.id("jti", Some(jti)),
            Subject::Client(client) => asked.text("client", Some(client)),
            Subject::Process(pid, at) => asked.with("pid", *pid).text("at", at.as_deref()),
        }
    }

    /// The end of the trail.
    pub(in crate::admin_api) fn end(last: u32, follow: bool) -> Self {
        Self::default().with("last", last).with("follow", follow)
    }

    /// One more word about it.
    pub(in crate::admin_api) fn with(
        mut self,
        name: &'static str,
        value: impl Into<Value>,
    ) -> Self {
        self.0.insert(name, value.into());
        self
    }

    fn text(self, name: &'static str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.with(name, shortened(value)),
            None => self,
        }
    }

    /// What has the form of an ID is repeated: whoever looks for an API key by pasting it has not
    /// written it down.
    fn id(self, name: &'static str, value: Option<&str>) -> Self {
        match value {
            Some(value) if !is_id(value) => self.with(name, format!("({} bytes)", value.len())),
            value => self.text(name, value),
        }
    }

    /// Whether it is given until the reader leaves.
    pub(super) fn is_endless(&self) -> bool {
        self.0.get("follow") == Some(&Value::Bool(true))
    }
}

/// Hexadecimal digits, as all of the agent's are, with what others put between them.
fn is_id(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_hexdigit() || b":-".contains(&byte))
}

fn shortened(text: &str) -> String {
    if text.len() <= MAX_TEXT {
        return text.to_owned();
    }
    let cut = text.floor_char_boundary(MAX_TEXT);
    format!("{}...", text.get(..cut).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::{Asked, MAX_TEXT};
    use crate::audit::Filter;

    #[test]
    fn ids_are_repeated() {
        for id in ["8d1c0f", "7A:00:ff", "0a1b2c3d-0000-4000-8000-0123456789ab"] {
            let filter = Filter {
                serial: Some(id.to_owned()),
                ..Filter::default()
            };
            assert_eq!(Asked::lines(&filter).0["serial"], id);
        }
    }

    /// Somebody looks for a token by pasting it: what the trail repeats of it is of no use.
    #[test]
    fn long_conditions_are_cut() {
        let asked = |jti: String| {
            let filter = Filter {
                owner: Some(jti.clone()),
                jti: Some(jti),
                ..Filter::default()
            };
            let asked = Asked::lines(&filter).0;
            assert_eq!(
                asked["jti"],
                format!("({} bytes)", filter.jti.unwrap().len())
            );
            asked["owner"].as_str().unwrap().to_owned()
        };
        assert_eq!(asked("j".repeat(MAX_TEXT)), "j".repeat(MAX_TEXT));
        let token = format!("{}.signature", "j".repeat(MAX_TEXT));
        assert_eq!(asked(token), format!("{}...", "j".repeat(MAX_TEXT)));
        let wide = asked("\u{1f511}".repeat(MAX_TEXT));
        assert_eq!(wide, format!("{}...", "\u{1f511}".repeat(MAX_TEXT / 4)));
    }
}
