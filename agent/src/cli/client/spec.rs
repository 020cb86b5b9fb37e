//! The flags that `register` and `update` share, and what they do to a client's content.

use super::metadata::MetadataArgs;
use crate::cli::{
    failure::Failure,
    moment::{Moment, parse_duration, parse_moment},
};
use clap::Args;
use std::time::Duration;
use symbolon_proto::admin::{ClientSpec, SelectorSet};

/// The content of a registration as flags.
#[derive(Args, Debug, Default)]
pub(super) struct SpecArgs {
    /// What the client is for
    #[arg(long, value_name = "TEXT")]
    pub(super) purpose: Option<String>,
    /// A fact that must hold of the process; repeated: all of them must hold
    #[arg(long = "selector", value_name = "TYPE:VALUE")]
    pub(super) selectors: Vec<String>,
    /// An audience that its JWT-SVIDs may have, repeated for more; `*` allows any
    #[arg(long = "audience", value_name = "AUD")]
    pub(super) audiences: Vec<String>,
    /// How many audiences one JWT-SVID may have [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) max_audiences: Option<u32>,
    /// Longest lifetime of its X.509-SVIDs and WIT-SVIDs: 30m, 1h, 12h
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub(super) x509_ttl: Option<Duration>,
    /// Longest lifetime of its JWT-SVIDs: 90s, 5m
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub(super) jwt_ttl: Option<Duration>,
    /// A word that tells a process with several identities what this one is for
    #[arg(long)]
    pub(super) hint: Option<String>,
    /// A DNS name in its X.509-SVIDs, repeated for more
    #[arg(long = "dns-name", value_name = "NAME")]
    pub(super) dns_names: Vec<String>,
    /// When the registration ends: 2027-01-31T12:00:00Z, 2027-01-31 or 90d from now
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    pub(super) expires_at: Option<Moment>,
    /// When somebody is to look whether it is still needed as it is: 2027-01-31 or 90d from now
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    pub(super) review_by: Option<Moment>,
    /// Who manages the registration from elsewhere, such as a repository
    #[arg(long, value_name = "TEXT")]
    pub(super) source: Option<String>,
    /// Refuse connections whose descriptor may have come through an execve
    #[arg(long)]
    pub(super) forbid_inheritable: bool,
    /// Admit processes in PID namespaces that belong to another user namespace
    #[arg(long)]
    pub(super) allow_foreign_user_namespaces: bool,
    /// An attestor that must have found something out, repeated for more: code, container, process, systemd
    #[arg(long = "require-attestor", value_name = "NAME", value_parser = ["code", "container", "process", "systemd"])]
    pub(super) required_attestors: Vec<String>,
    #[command(flatten)]
    pub(super) metadata: MetadataArgs,
    /// Put it in force although it is seriously weak, for this reason, which is recorded
    #[arg(long, value_name = "REASON", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(super) accept_weak: Option<String>,
}

impl SpecArgs {
    /// Puts what was given in the place of what is in `spec`.
    pub(super) fn apply(self, spec: &mut ClientSpec, now: i64) -> Result<(), Failure> {
        replace(&mut spec.purpose, self.purpose);
        if !self.selectors.is_empty() {
            let selectors = self.selectors;
            spec.selector_sets = vec![SelectorSet { selectors }];
        }
        replace_all(&mut spec.audiences, self.audiences);
        replace(&mut spec.max_audiences, self.max_audiences);
        replace(&mut spec.x509_ttl, self.x509_ttl.map(|ttl| ttl.as_secs()));
        replace(&mut spec.jwt_ttl, self.jwt_ttl.map(|ttl| ttl.as_secs()));
        replace(&mut spec.hint, self.hint);
        replace_all(&mut spec.dns_names, self.dns_names);
        replace(
            &mut spec.expires_at,
            self.expires_at.map(|at| at.resolve(now)),
        );
        replace(
            &mut spec.review_by,
            self.review_by.map(|at| at.resolve(now)),
        );
        replace(&mut spec.source, self.source);
        spec.forbid_inheritable |= self.forbid_inheritable;
        spec.allow_foreign_user_namespaces |= self.allow_foreign_user_namespaces;
        let mut required = self.required_attestors;
        required.sort_unstable();
        required.dedup();
        replace_all(&mut spec.required_attestors, required);
        self.metadata.apply(spec)
    }
}

fn replace<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}

fn replace_all<T>(field: &mut Vec<T>, values: Vec<T>) {
    if !values.is_empty() {
        *field = values;
    }
}
