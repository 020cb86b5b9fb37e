//! How single values are read, whichever source they come from.
//!
//! The file has types (`true`, `16384`, `"1h"`), the environment and flags have
//! only text; both are read by one function for each type, so that a value
//! means the same everywhere.

use super::units::{format_duration, format_size, parse_duration, parse_size};
use spiffe::TrustDomain;
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};
use symbolon_attestors::{RuntimeSocket, SYSTEM_BUS};

/// A value as its source has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Raw {
    /// The value without quotes.
    pub(super) text: String,
    pub(super) form: Form,
}

/// What a source says about a value's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// From the environment or a flag: no type.
    Untyped,
    String,
    Integer,
    Boolean,
    /// Of words, with commas between.
    List,
    /// Nothing that any key takes.
    Other(&'static str),
}

impl Raw {
    pub(super) const fn untyped(text: String) -> Self {
        Self {
            text,
            form: Form::Untyped,
        }
    }

    /// The value as it stood, for messages; cut where it is long.
    pub(super) fn shown(&self) -> String {
        const MOST_CHARS: usize = 60;
        let mut text: String = self.text.chars().take(MOST_CHARS).collect();
        if text.len() < self.text.len() {
            text.push_str("...");
        }
        match self.form {
            Form::Untyped | Form::String => format!("{text:?}"),
            Form::Integer | Form::Boolean => text,
            Form::List => format!("a list of {text}"),
            Form::Other(kind) => kind.to_owned(),
        }
    }

    fn as_string(&self) -> Option<&str> {
        matches!(self.form, Form::Untyped | Form::String).then_some(self.text.as_str())
    }

    fn as_integer(&self) -> Option<&str> {
        let plain = self.text.bytes().all(|byte| byte.is_ascii_digit());
        (plain && matches!(self.form, Form::Untyped | Form::Integer)).then_some(self.text.as_str())
    }

    /// The words of a list; from the environment, with commas between.
    pub(super) fn as_list(&self) -> Option<Vec<&str>> {
        let words = self.text.split(',').map(str::trim);
        let list = matches!(self.form, Form::Untyped | Form::List);
        list.then(|| words.filter(|word| !word.is_empty()).collect())
    }

    fn as_boolean(&self) -> Option<&str> {
        matches!(self.form, Form::Untyped | Form::Boolean).then_some(self.text.as_str())
    }
}

/// A type that a key can have.
pub(super) trait Setting: Sized {
    /// What to write, for messages.
    fn expected() -> String;
    /// The value; `None` where `raw` is none of this type.
    fn parse(raw: &Raw) -> Option<Self>;
    /// The value as TOML has it.
    fn render(&self) -> String;
}

impl Setting for bool {
    fn expected() -> String {
        "true or false".to_owned()
    }

    fn parse(raw: &Raw) -> Option<Self> {
        raw.as_boolean()?.parse().ok()
    }

    fn render(&self) -> String {
        self.to_string()
    }
}

macro_rules! whole_numbers {
    ($($number:ty),+) => {$(
        impl Setting for $number {
            fn expected() -> String {
                "a whole number".to_owned()
            }

            fn parse(raw: &Raw) -> Option<Self> {
                raw.as_integer()?.parse().ok()
            }

            fn render(&self) -> String {
                self.to_string()
            }
        }
    )+};
}

whole_numbers!(u32, usize);

impl Setting for Duration {
    fn expected() -> String {
        "a duration such as \"30s\", \"5m\", \"1h30m\" or \"90d\"".to_owned()
    }

    fn parse(raw: &Raw) -> Option<Self> {
        parse_duration(raw.as_string()?)
    }

    fn render(&self) -> String {
        quoted(&format_duration(*self))
    }
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub(super) struct ByteSize(pub(super) u64);

impl Setting for ByteSize {
    fn expected() -> String {
        "a size such as \"512MiB\"".to_owned()
    }

    fn parse(raw: &Raw) -> Option<Self> {
        parse_size(raw.as_string()?).map(Self)
    }

    fn render(&self) -> String {
        quoted(&format_size(self.0))
    }
}

impl Setting for String {
    fn expected() -> String {
        "a text".to_owned()
    }

    fn parse(raw: &Raw) -> Option<Self> {
        raw.as_string().map(str::to_owned)
    }

    fn render(&self) -> String {
        quoted(self)
    }
}

impl Setting for PathBuf {
    fn expected() -> String {
        "an absolute path".to_owned()
    }

    fn parse(raw: &Raw) -> Option<Self> {
        let path = Self::from(raw.as_string()?);
        (path.is_absolute() && !raw.text.contains('\0')).then_some(path)
    }

    fn render(&self) -> String {
        quoted(&self.to_string_lossy())
    }
}

/// The system bus, or none.
#[derive(Clone, Debug)]
pub(super) struct SystemBus(pub(super) Option<PathBuf>);

impl SystemBus {
    /// Where every distribution has it.
    pub(super) fn auto() -> Self {
        Self(Some(SYSTEM_BUS.into()))
    }
}

impl Setting for SystemBus {
    fn expected() -> String {
        "\"auto\", \"off\" or an absolute path".to_owned()
    }

    fn parse(raw: &Raw) -> Option<Self> {
        match raw.as_string()? {
            "off" => Some(Self(None)),
            "auto" => Some(Self::auto()),
            _ => PathBuf::parse(raw).map(|path| Self(Some(path))),
        }
    }

    fn render(&self) -> String {
        match &self.0 {
            None => quoted("off"),
            Some(path) if path == Path::new(SYSTEM_BUS) => quoted("auto"),
            Some(path) => path.render(),
        }
    }
}

impl Setting for RuntimeSocket {
    fn expected() -> String {
        "\"auto\", \"off\" or an absolute path".to_owned()
    }

    fn parse(raw: &Raw) -> Option<Self> {
        match raw.as_string()? {
            "off" | "" => Some(Self::Off),
            "auto" => Some(Self::Auto),
            _ => PathBuf::parse(raw).map(Self::At),
        }
    }

    fn render(&self) -> String {
        match self {
            Self::Off => quoted("off"),
            Self::Auto => quoted("auto"),
            Self::At(path) => path.render(),
        }
    }
}

impl Setting for TrustDomain {
    fn expected() -> String {
        "a trust domain name such as \"example.org\" (lower case, without spiffe://)".to_owned()
    }

    fn parse(raw: &Raw) -> Option<Self> {
        let name = raw.as_string()?;
        let parsed = Self::new(name).ok()?;
        // The crate takes whole SPIFFE IDs too; a configuration says what it means.
        (parsed.as_str() == name).then_some(parsed)
    }

    fn render(&self) -> String {
        quoted(self.as_str())
    }
}

/// An address and port, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Address(pub(super) Option<SocketAddr>);

impl Setting for Address {
    fn expected() -> String {
        "an address with a port such as \"127.0.0.1:9902\", or \"off\"".to_owned()
    }

    fn parse(raw: &Raw) -> Option<Self> {
        match raw.as_string()? {
            "off" => Some(Self(None)),
            text => text.parse().ok().map(|address| Self(Some(address))),
        }
    }

    fn render(&self) -> String {
        quoted(&self.0.map_or_else(|| "off".to_owned(), |at| at.to_string()))
    }
}

/// Declares an enumeration whose values have names in the configuration.
macro_rules! named_values {
    (
        $(#[$outer:meta])*
        pub enum $name:ident { $( $(#[$inner:meta])* $variant:ident = $text:literal, )+ }
    ) => {
        $(#[$outer])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $( $(#[$inner])* $variant, )+ }

        impl $name {
            /// The name in the configuration.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $( Self::$variant => $text, )+ }
            }
        }

        impl $crate::config::setting::Setting for $name {
            fn expected() -> String {
                $crate::config::setting::one_of(&[$($text),+])
            }

            fn parse(raw: &$crate::config::setting::Raw) -> Option<Self> {
                let text = <String as $crate::config::setting::Setting>::parse(raw)?;
                match text.as_str() { $( $text => Some(Self::$variant), )+ _ => None }
            }

            fn render(&self) -> String {
                $crate::config::setting::quoted(self.as_str())
            }
        }
    };
}
pub(super) use named_values;

/// The names, quoted and with commas.
pub(super) fn one_of(names: &[&str]) -> String {
    let names: Vec<String> = names.iter().map(|name| quoted(name)).collect();
    match names.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => names.concat(),
    }
}

/// `text` as a TOML string.
pub(super) fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}
