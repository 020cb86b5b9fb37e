//! Configuration: file, environment and flags, checked as a whole before anything starts.
//!
//! Owns every key: its name, its default, its range, its documentation and
//! whether a running agent can take a new value. `app` loads a [`Config`] at
//! start and on SIGHUP and hands each part to the subsystem that it is for;
//! nothing else in the agent reads the environment or this file.
//!
//! Values come from a TOML file, `SYMBOLON_SECTION_KEY` variables over it and
//! command-line flags over both. Whoever can write any of these is the
//! operator and is trusted; a file that anybody may write to is refused.
//! Unknown keys and variables are refused, and every fault is reported at
//! once with its place and what to write instead ([`Faults`]).
//!
//! Invariants: a `Config` exists only if nothing was refused; each key is
//! listed once in [`keys`], in `deploy/config/full.toml` and in its section's
//! file. Paths are compared as text: symbolic links are not followed. Loading
//! reads a file, so a running agent does it on a blocking thread. What needs
//! the system to be judged (a group's name, a CA's key) is judged by the
//! subsystem that uses it.

mod admin_api;
mod attestation;
mod audit;
mod authority;
mod credentials_api;
mod directories;
mod document;
mod fault;
mod federation;
mod fetch;
mod identity;
mod key;
mod limits;
mod log;
mod nearest;
mod notice;
mod operators;
mod reader;
mod registry;
mod reload;
mod runtime;
mod setting;
mod shutdown;
mod sources;
mod svid;
mod telemetry;
pub mod units;
mod workload_api;

pub use admin_api::AdminApi;
pub use attestation::{Attestation, Requirements};
pub use audit::{Audit, Durability};
pub use authority::{Authority, OperatorCa};
pub use credentials_api::{CredentialsApi, TokenEndpoints};
pub use directories::Directories;
pub use fault::{Fault, Faults, Place, Problem};
pub use federation::Federation;
pub use fetch::Fetch;
pub use identity::{CertificateFiles, Identity, IdentityTls};
pub use key::{Key, Reload};
pub use limits::Limits;
pub use log::{Log, LogFormat, LogLevel};
pub use notice::{Bound, Notice};
pub use operators::{KnownBy, Operator};
pub use reader::Effective;
pub use registry::Registry;
pub use reload::{Change, ReloadDifferences};
pub use runtime::Runtime;
pub use shutdown::Shutdown;
pub use sources::{Overrides, Sources};
pub use svid::{KeyType, Svid};
pub use telemetry::Telemetry;
pub use workload_api::{BundleAudience, WorkloadApi};

use crate::registry::limits::APPROVALS;
use reader::Reader;
use spiffe::TrustDomain;
use std::path::{Component, Path, PathBuf};

/// The whole configuration, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The trust domain whose identities are issued.
    pub trust_domain: TrustDomain,
    /// Keys, registry and audit trail.
    pub data_dir: PathBuf,
    /// `[workload_api]`
    pub workload_api: WorkloadApi,
    /// `[admin_api]`
    pub admin_api: AdminApi,
    /// `[telemetry]`
    pub telemetry: Telemetry,
    /// `[log]`
    pub log: Log,
    /// `[svid]`
    pub svid: Svid,
    /// `[authority]`
    pub authority: Authority,
    /// `[credentials_api]`
    pub credentials_api: CredentialsApi,
    /// `[attestation]`
    pub attestation: Attestation,
    /// `[registry]`
    pub registry: Registry,
    /// `[federation]`
    pub federation: Federation,
    /// `[identity]`
    pub identity: Identity,
    /// `[fetch]`
    pub fetch: Fetch,
    /// `[audit]`
    pub audit: Audit,
    /// `[limits]`
    pub limits: Limits,
    /// `[shutdown]`
    pub shutdown: Shutdown,
    /// `[runtime]`
    pub runtime: Runtime,
    /// `[[operators]]`
    pub operators: Vec<Operator>,
    /// The file that was read, if there was one.
    pub file: Option<PathBuf>,
    effective: Vec<Effective>,
}

const TRUST_DOMAIN: Key = Key::new(
    "",
    "trust_domain",
    "Trust domain whose identities are issued. Fixed once the data directory exists.",
)
.without_default("example.org");
const DATA_DIR: Key = Key::new(
    "",
    "data_dir",
    "Directory of the agent's keys, its registry and its audit trail.",
);

/// Every key, in the order of `deploy/config/full.toml`.
pub fn keys() -> impl Iterator<Item = &'static Key> {
    const TOP: &[&Key] = &[&TRUST_DOMAIN, &DATA_DIR];
    [
        TOP,
        workload_api::KEYS,
        admin_api::KEYS,
        telemetry::KEYS,
        log::KEYS,
        svid::KEYS,
        authority::KEYS,
        credentials_api::KEYS,
        attestation::KEYS,
        registry::KEYS,
        federation::KEYS,
        identity::KEYS,
        fetch::KEYS,
        audit::KEYS,
        limits::KEYS,
        shutdown::KEYS,
        runtime::KEYS,
        operators::KEYS,
    ]
    .into_iter()
    .flatten()
    .copied()
}

impl Config {
    /// Reads and checks the configuration.
    ///
    /// # Errors
    /// Every fault that was found, each with its place.
    pub fn load(sources: &Sources) -> Result<Self, Faults> {
        let collected = sources.collect();
        let directories = sources.directories();
        let file = collected.file.clone();
        let mut reader = Reader::new(collected, &directories);
        let config = Self::read(&mut reader);
        let (config, effective) = reader.finish(config)?;
        Ok(Self {
            file,
            effective,
            ..config
        })
    }

    /// Every key with the value that is in force and where it comes from.
    #[must_use]
    pub fn effective(&self) -> &[Effective] {
        &self.effective
    }

    /// Every section is read before the first one is missed, so that all faults come together.
    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let trust_domain = reader.required(&TRUST_DOMAIN, None);
        let data_dir = reader.required(&DATA_DIR, reader.directories().data().map(Path::to_owned));
        let workload_api = workload_api::read(reader);
        let admin_api = admin_api::read(reader);
        let telemetry = telemetry::read(reader);
        let log = log::read(reader);
        let limits = limits::read(reader);
        let svid = svid::read(reader, &limits);
        let authority = authority::read(reader);
        let credentials_api = credentials_api::read(reader, authority.jwks_cache);
        let attestation = attestation::read(reader);
        let registry = registry::read(reader);
        let federation = federation::read(reader);
        let identity = identity::read(reader, &authority);
        let fetch = fetch::read(reader);
        let audit = audit::read(reader);
        let shutdown = shutdown::read(reader);
        let runtime = runtime::read(reader);
        let operators = operators::read(reader);
        let config = Self {
            trust_domain: trust_domain?,
            data_dir: data_dir?,
            workload_api: workload_api?,
            admin_api: admin_api?,
            telemetry,
            log,
            svid,
            authority,
            credentials_api,
            attestation,
            registry,
            federation,
            identity,
            fetch,
            audit,
            limits,
            shutdown,
            runtime,
            operators,
            file: None,
            effective: Vec::new(),
        };
        config.have_enough_approvers(reader);
        config.keep_out_of_the_shared_directory(reader);
        Some(config)
    }

    /// Approvals that nobody can give would keep every registration from being in force.
    fn have_enough_approvers(&self, reader: &mut Reader<'_>) {
        let asked = self.registry.approvals_required;
        // Told already.
        if asked > APPROVALS {
            return;
        }
        // Where nobody is named, a group of the socket may have members enough.
        let unnamed = self.operators.is_empty() && self.admin_api.group.is_some();
        if !unnamed && !self.can_be_approved(operators::Authors::Some) {
            reader.refuse(&operators::OPERATORS, Problem::TooFewApprovers { asked });
        }
    }

    /// Whether there are approvers enough for what some author writes, or for what each does.
    /// Members of a group are not counted: they may be enough.
    fn can_be_approved(&self, whose: operators::Authors) -> bool {
        let operators::Quorum { approvers, authors } = operators::quorum(&self.operators);
        let asked = usize::try_from(self.registry.approvals_required).unwrap_or(usize::MAX);
        let Some(approvers) = approvers else {
            return true;
        };
        // An author is no approver of his own work. Files are nobody's, and so is what will be
        // written by authors who are not named yet.
        let others = |is_approver: &bool| approvers.saturating_sub(usize::from(*is_approver));
        let is_enough = |is_approver: &bool| others(is_approver) >= asked;
        let of_files = self.registry.apply_dir.is_some() || authors.is_empty();
        match whose {
            operators::Authors::Some => {
                authors.iter().any(is_enough) || (of_files && approvers >= asked)
            }
            operators::Authors::Each => authors.iter().all(is_enough),
        }
    }

    /// Containers mount the workload socket's directory: what lies in it is not the agent's alone.
    fn keep_out_of_the_shared_directory(&self, reader: &mut Reader<'_>) {
        let socket = without_dots(&self.workload_api.socket);
        let Some(shared) = socket.parent() else {
            return;
        };
        let operator_ca = self.authority.operator_ca.as_ref();
        let identity = &self.identity;
        let identity_key = identity.certificate.as_ref().map(|it| &*it.key_file);
        let private: [(&'static Key, Option<&Path>); 6] = [
            (&DATA_DIR, Some(&self.data_dir)),
            (&admin_api::SOCKET, Some(&self.admin_api.socket)),
            (&authority::KEY_FILE, operator_ca.map(|ca| &*ca.key_file)),
            (&registry::APPLY_DIR, self.registry.apply_dir.as_deref()),
            (&identity::KEY_FILE, identity_key),
            (&identity::PUBLISH_DIR, identity.publish_dir.as_deref()),
        ];
        for (key, path) in private {
            let Some(path) = path else { continue };
            if without_dots(path).starts_with(shared) {
                let problem = Problem::SharedDirectory {
                    key: key.path(),
                    path: path.to_owned(),
                    shared: shared.to_owned(),
                };
                reader.refuse(key, problem);
            }
        }
    }
}

/// The path without `.` and `..`, as text; what symbolic links lead to is not looked at.
fn without_dots(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                plain.pop();
            }
            Component::Prefix(_) | Component::RootDir | Component::Normal(_) => {
                plain.push(component);
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests;
