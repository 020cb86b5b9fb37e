//! `[identity]`: what the world sees of the agent.

use super::{
    key::Key,
    reader::Reader,
    setting::{Raw, Setting, quoted},
};
use crate::metadata::PublicUrl;

/// The public documents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Where the world finds them; `None`: nowhere.
    pub public_url: Option<PublicUrl>,
}

const PUBLIC_URL: Key = Key::new(
    "identity",
    "public_url",
    "URL at which the world finds the agent's public documents, without a slash at its end. A \
     governed client's client_id begins with it, so a change gives all of them other IDs. Without \
     it there are no governed client IDs.",
)
.without_default("https://id.example.org");

pub(super) const KEYS: &[&Key] = &[&PUBLIC_URL];

pub(super) fn read(reader: &mut Reader<'_>) -> Identity {
    Identity {
        public_url: reader.optional(&PUBLIC_URL),
    }
}

impl Setting for PublicUrl {
    fn expected() -> String {
        "an https URL such as \"https://id.example.org\", with a host in lower case and no slash \
         at its end"
            .to_owned()
    }

    fn parse(raw: &Raw) -> Option<Self> {
        String::parse(raw)?.parse().ok()
    }

    fn render(&self) -> String {
        quoted(self.as_str())
    }
}
