//! `[telemetry]`: the loopback port for metrics and health.

use super::{fault::Problem, key::Key, reader::Reader, setting::Address};
use std::net::{Ipv4Addr, SocketAddr};

/// The telemetry port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Telemetry {
    /// Where to listen; `None` where the port is off.
    pub address: Option<SocketAddr>,
}

const DEFAULT_PORT: u16 = 9902;

const ADDRESS: Key = Key::new(
    "telemetry",
    "address",
    "Loopback address for /live, /ready and /metrics (plain HTTP, nobody is asked who he is), or \
     \"off\".",
);

pub(super) const KEYS: &[&Key] = &[&ADDRESS];

pub(super) fn read(reader: &mut Reader<'_>) -> Telemetry {
    let default = Address(Some(SocketAddr::from((Ipv4Addr::LOCALHOST, DEFAULT_PORT))));
    let Address(address) = reader.value(&ADDRESS, default);
    if let Some(address) = address
        && !address.ip().is_loopback()
    {
        reader.refuse(&ADDRESS, Problem::NotLoopback { address });
    }
    Telemetry { address }
}
