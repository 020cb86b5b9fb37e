//! How a document can differ from what was approved.

use serde::{Serialize, Serializer};
use std::fmt;

/// A kind of difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// People can be sent back to another place than before.
    RedirectUriWidened,
    /// The client is asked for a weaker proof of its identity.
    AuthenticationDowngraded,
    /// There is a key that was not approved.
    KeyAdded,
    /// An approved key is gone.
    KeyRemoved,
    /// The keys are others than those approved, which this agent never saw.
    KeysChanged,
    /// Another member, or a harmless change of one of those above.
    OtherField,
    /// The same content in other bytes than those approved.
    Rewritten,
    /// Not everybody is shown the same.
    VariesByReader,
    /// No document that anybody may take.
    Invalid,
    /// Nothing can be had.
    Unreachable,
}

impl Class {
    /// Its word in the trail, in metrics and on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RedirectUriWidened => "redirect_uri_widened",
            Self::AuthenticationDowngraded => "authentication_downgraded",
            Self::KeyAdded => "key_added",
            Self::KeyRemoved => "key_removed",
            Self::KeysChanged => "keys_changed",
            Self::OtherField => "other_field",
            Self::Rewritten => "rewritten",
            Self::VariesByReader => "varies_by_reader",
            Self::Invalid => "invalid",
            Self::Unreachable => "unreachable",
        }
    }
}

impl Serialize for Class {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.as_str())
    }
}

/// One difference: its class, and what of the document it is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Finding {
    /// Its class.
    pub class: Class,
    /// A member, a URI, a key's thumbprint, or what went wrong; bounded and printable.
    pub what: String,
}

/// Bytes of what a finding is about.
const MAX_WHAT_BYTES: usize = 200;

impl Finding {
    /// A finding about `what`, which may come from a document.
    pub(super) fn new(class: Class, what: &str) -> Self {
        let mut escaped: String = what.escape_default().take(MAX_WHAT_BYTES + 1).collect();
        if escaped.len() > MAX_WHAT_BYTES {
            escaped.truncate(MAX_WHAT_BYTES);
            escaped.push_str("...");
        }
        Self {
            class,
            what: escaped,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.class.as_str(), self.what)
    }
}
