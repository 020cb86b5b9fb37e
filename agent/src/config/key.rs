//! The names of what can be configured.

/// One configuration key: its name in the file and in the environment, and what it is for.
#[derive(Debug, PartialEq, Eq)]
pub struct Key {
    /// The table it stands in; empty for the keys at the top of the file.
    pub section: &'static str,
    /// Its name in that table.
    pub name: &'static str,
    /// What it does, for `full.toml` and the manual: one paragraph.
    pub doc: &'static str,
    /// What to show for it where there is no default.
    pub example: Option<&'static str>,
    /// Whether a running agent can take a new value.
    pub reload: Reload,
    /// Whether it is an array of tables, which stands in the file alone.
    pub is_tables: bool,
}

/// Whether a running agent can take a new value of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    /// On SIGHUP.
    Live,
    /// Only by starting again.
    Restart,
}

impl Key {
    /// A key that needs a restart and has a default.
    pub(super) const fn new(section: &'static str, name: &'static str, doc: &'static str) -> Self {
        Self {
            section,
            name,
            doc,
            example: None,
            reload: Reload::Restart,
            is_tables: false,
        }
    }

    /// The same key, an array of tables, of which `example` shows one.
    pub(super) const fn tables(self, example: &'static str) -> Self {
        Self {
            is_tables: true,
            example: Some(example),
            ..self
        }
    }

    /// The same key, one that a running agent can take.
    pub(super) const fn live(self) -> Self {
        Self {
            reload: Reload::Live,
            ..self
        }
    }

    /// The same key, one without a default.
    pub(super) const fn without_default(self, example: &'static str) -> Self {
        Self {
            example: Some(example),
            ..self
        }
    }

    /// The name with its section, as messages show it: `svid.x509_ttl`.
    #[must_use]
    pub fn path(&self) -> String {
        if self.section.is_empty() {
            self.name.to_owned()
        } else {
            format!("{}.{}", self.section, self.name)
        }
    }

    /// The environment variable that overrides the file: `SYMBOLON_SVID_X509_TTL`.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("SYMBOLON_{}", self.path().replace('.', "_")).to_ascii_uppercase()
    }
}
