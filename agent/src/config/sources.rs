//! Where values come from: the file, the environment over it, flags over both.

use super::{
    directories::Directories,
    document::{self, Document},
    fault::{Fault, Place, Problem},
    key::Key,
    keys,
    nearest::nearest,
    setting::Raw,
};
use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
};

/// What a configuration is read from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file that was asked for; without it, `SYMBOLON_CONFIG`, or the default file where it
    /// exists.
    pub file: Option<PathBuf>,
    /// Environment variables: `SYMBOLON_*` are read as keys, `HOME` and `XDG_*` for the defaults.
    pub environment: Vec<(OsString, OsString)>,
    /// Command-line flags.
    pub overrides: Overrides,
    /// The effective uid, which decides on the default directories.
    pub uid: u32,
}

/// Command-line flags that override the file and the environment. Relative paths start at the
/// working directory.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `--trust-domain`
    pub trust_domain: Option<String>,
    /// `--data-dir`
    pub data_dir: Option<PathBuf>,
    /// `--workload-socket`
    pub workload_socket: Option<PathBuf>,
    /// `--admin-socket`
    pub admin_socket: Option<PathBuf>,
}

/// A value and where it stands.
#[derive(Debug)]
pub(super) struct Given {
    pub(super) place: Place,
    pub(super) raw: Raw,
}

/// Values by the path of their key.
pub(super) type Entries = BTreeMap<String, Given>;

/// All sources, laid over one another.
#[derive(Debug, Default)]
pub(super) struct Collected {
    pub(super) entries: Entries,
    pub(super) faults: Vec<Fault>,
    /// The file that was read.
    pub(super) file: Option<PathBuf>,
    /// Whether parts of the file could not be understood, so that keys may only seem missing.
    pub(super) file_is_damaged: bool,
}

const PREFIX: &str = "SYMBOLON_";
const CONFIG: &str = "SYMBOLON_CONFIG";
/// Variables of the client commands.
const OTHER_VARIABLES: [&str; 2] = [CONFIG, "SYMBOLON_ADMIN_SOCKET"];

impl Sources {
    /// The sources of this process: its environment and its effective user.
    #[must_use]
    pub fn of_process(file: Option<PathBuf>, overrides: Overrides) -> Self {
        Self {
            file,
            environment: std::env::vars_os().collect(),
            overrides,
            uid: rustix::process::geteuid().as_raw(),
        }
    }

    /// The default places for this user.
    #[must_use]
    pub fn directories(&self) -> Directories {
        Directories::of(self.uid, &self.environment)
    }

    pub(super) fn collect(&self) -> Collected {
        let mut collected = Collected::default();
        if let Some(path) = self.chosen_file() {
            self.collect_file(&path, &mut collected);
            collected.file = Some(path);
        }
        self.collect_environment(&mut collected);
        self.collect_flags(&mut collected);
        collected
    }

    fn chosen_file(&self) -> Option<PathBuf> {
        let named = self.file.clone().or_else(|| {
            let (_, value) = self.environment.iter().find(|(name, _)| name == CONFIG)?;
            Some(PathBuf::from(value))
        });
        named.or_else(|| {
            // An absent default is no fault: flags and the environment may say everything.
            let default = self.directories().config_file()?;
            default.try_exists().unwrap_or(true).then_some(default)
        })
    }

    fn collect_file(&self, path: &Path, collected: &mut Collected) {
        match document::read(path) {
            Ok(text) => {
                let Document {
                    entries,
                    faults,
                    is_damaged,
                } = document::parse(path, &text);
                collected.entries.extend(entries);
                collected.faults.extend(faults);
                collected.file_is_damaged = is_damaged;
            }
            Err(problem) => {
                collected.faults.push(Fault {
                    place: Place::File(path.to_owned()),
                    problem,
                });
                collected.file_is_damaged = true;
            }
        }
    }

    fn collect_environment(&self, collected: &mut Collected) {
        for (name, value) in &self.environment {
            let Some(name) = name.to_str().filter(|name| is_ours(name)) else {
                continue;
            };
            let place = Place::Variable(name.to_owned());
            match keys().find(|key| key.variable() == name) {
                None => collected.faults.push(Fault {
                    problem: Problem::UnknownVariable {
                        nearest: nearest(name, keys().map(Key::variable)),
                    },
                    place,
                }),
                Some(key) => collected.take(key, place, value),
            }
        }
    }

    fn collect_flags(&self, collected: &mut Collected) {
        let flags = &self.overrides;
        if let Some(name) = &flags.trust_domain {
            collected.take(
                &super::TRUST_DOMAIN,
                Place::Flag("--trust-domain"),
                OsStr::new(name),
            );
        }
        let paths = [
            ("--data-dir", &super::DATA_DIR, &flags.data_dir),
            (
                "--workload-socket",
                &super::workload_api::SOCKET,
                &flags.workload_socket,
            ),
            (
                "--admin-socket",
                &super::admin_api::SOCKET,
                &flags.admin_socket,
            ),
        ];
        for (flag, key, path) in paths {
            if let Some(path) = path {
                // Fails for an empty path and without a working directory; then the path is
                // refused as not absolute.
                let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
                collected.take(key, Place::Flag(flag), path.as_os_str());
            }
        }
    }
}

impl Collected {
    fn take(&mut self, key: &'static Key, place: Place, value: &OsStr) {
        match value.to_str() {
            Some(text) => {
                let raw = Raw::untyped(text.to_owned());
                self.entries.insert(key.path(), Given { place, raw });
            }
            None => self.faults.push(Fault {
                place,
                problem: Problem::NotText,
            }),
        }
    }
}

/// Whether a variable is meant for the agent's configuration.
fn is_ours(name: &str) -> bool {
    name.starts_with(PREFIX) && !OTHER_VARIABLES.contains(&name) && !is_service_link(name)
}

/// Kubernetes gives each container variables of every service in its namespace, in the form of
/// Docker's links: a service called `symbolon` must not stop the agent.
fn is_service_link(name: &str) -> bool {
    let port = |protocol: &str| name.contains("_PORT_") && name.contains(protocol);
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.ends_with("_PORT")
        || port("_TCP")
        || port("_UDP")
        || port("_SCTP")
}

#[cfg(test)]
mod tests {
    use super::is_ours;
    use crate::config::keys;

    #[test]
    fn service_links_of_kubernetes_are_not_configuration() {
        for name in [
            "SYMBOLON_SERVICE_HOST",
            "SYMBOLON_SERVICE_PORT",
            "SYMBOLON_SERVICE_PORT_METRICS",
            "SYMBOLON_PORT",
            "SYMBOLON_PORT_9902_TCP",
            "SYMBOLON_TELEMETRY_PORT_9902_TCP_ADDR",
        ] {
            assert!(!is_ours(name), "{name}");
        }
    }

    #[test]
    fn every_key_has_a_variable_that_is_read() {
        assert!(keys().all(|key| is_ours(&key.variable())));
        assert!(is_ours("SYMBOLON_SVID_X509_TL"));
        assert!(!is_ours("SYMBOLON_ADMIN_SOCKET"));
        assert!(!is_ours("HOME"));
    }
}
