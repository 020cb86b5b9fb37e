//! The filters that the commands of `symbolon audit` share.

use super::super::{
    console::Console,
    failure::{Exit, Failure},
    moment::{Moment, parse_moment},
};
use crate::audit::Filter;
use clap::Args;
use std::time::{Duration, UNIX_EPOCH};

/// Heading of the filters.
const FILTERS: &str = "Filters (all have to hold)";

/// Which lines.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = FILTERS)]
pub(super) struct FilterArgs {
    /// Of this client
    #[arg(long, value_name = "NAME")]
    client: Option<String>,
    /// Of clients that this owner had then, as far as the trail goes back
    #[arg(long)]
    owner: Option<String>,
    /// Of this SPIFFE ID
    #[arg(long, value_name = "ID")]
    spiffe_id: Option<String>,
    /// Of the X.509-SVID with this serial number
    #[arg(long, value_parser = parse_hex)]
    serial: Option<String>,
    /// Of the JWT-SVID or WIT-SVID with this identifier
    #[arg(long)]
    jti: Option<String>,
    /// Of credentials for this key of a workload
    #[arg(long, value_name = "SHA256", value_parser = parse_hex)]
    key_thumbprint: Option<String>,
    /// Of this attestation
    #[arg(long, value_name = "ID")]
    attestation_id: Option<String>,
    /// Of processes with this number
    #[arg(long)]
    pid: Option<u32>,
    /// Of the process alone that had the number at this time
    #[arg(long, value_name = "TIME", requires = "pid", value_parser = parse_moment)]
    at: Option<Moment>,
    /// Of processes of this user
    #[arg(long)]
    uid: Option<u32>,
    /// What happened: issued, denied, revoked ...
    #[arg(long)]
    event: Option<String>,
    /// How it ended
    #[arg(long, value_parser = ["accepted", "refused", "failed"])]
    outcome: Option<String>,
    /// Not before this time, or so long ago (2h)
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    since: Option<Moment>,
    /// Not after this time, or so long ago
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    until: Option<Moment>,
}

impl FilterArgs {
    pub(super) fn filter(&self, console: &Console) -> Result<Filter, Failure> {
        let time = |moment: Option<Moment>| moment.map(|moment| time(moment, console)).transpose();
        Ok(Filter {
            client: self.client.clone(),
            owner: self.owner.clone(),
            spiffe_id: self.spiffe_id.clone(),
            serial: self.serial.clone(),
            jti: self.jti.clone(),
            key_thumbprint: self.key_thumbprint.clone(),
            attestation_id: self.attestation_id.clone(),
            pid: self.pid,
            at: time(self.at)?,
            uid: self.uid,
            event: self.event.clone(),
            outcome: self.outcome.clone(),
            since: time(self.since)?,
            until: time(self.until)?,
            related: None,
        })
    }
}

/// A time as lines have it; a distance is one into the past.
pub(super) fn time(moment: Moment, console: &Console) -> Result<String, Failure> {
    let seconds = match moment {
        Moment::At(seconds) => seconds,
        Moment::After(distance) => {
            let distance = i64::try_from(distance.as_secs()).unwrap_or(i64::MAX);
            console.now().saturating_sub(distance)
        }
    };
    u64::try_from(seconds)
        .ok()
        .and_then(|seconds| UNIX_EPOCH.checked_add(Duration::from_secs(seconds)))
        .map(Filter::time)
        .ok_or_else(|| Failure::new(Exit::Usage, "no trail is as old as that"))
}

/// As certificates' tools print it (`0A:1B`), or as the trail has it.
pub(super) fn parse_hex(text: &str) -> Result<String, String> {
    let hex: String = text.chars().filter(|c| *c != ':').collect();
    if hex.is_empty() || !hex.chars().all(|c| c.is_ascii_hexdigit()) {
        return Err("write hexadecimal digits, such as 0a1b or 0A:1B".to_owned());
    }
    Ok(hex.to_ascii_lowercase())
}
