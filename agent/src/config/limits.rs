//! `[limits]`: the bounds that no registration and no caller can leave.

use super::{
    key::Key,
    reader::Reader,
    units::{DAY, HOUR, MINUTE},
};
use std::time::Duration;

/// Bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Shortest lifetime of an X.509-SVID or WIT-SVID.
    pub min_x509_ttl: Duration,
    /// Longest lifetime of an X.509-SVID or WIT-SVID.
    pub max_x509_ttl: Duration,
    /// Shortest lifetime of a JWT-SVID.
    pub min_jwt_ttl: Duration,
    /// Longest lifetime of a JWT-SVID.
    pub max_jwt_ttl: Duration,
    /// Connections to the workload socket.
    pub max_connections: usize,
    /// Of these, how many one uid may hold.
    pub max_connections_per_uid: usize,
    /// Of these, how many one cgroup may hold.
    pub max_connections_per_cgroup: usize,
    /// Connections whose peer has not proved yet that it holds them.
    pub max_handshakes: usize,
    /// Of these, how many one uid or cgroup may hold.
    pub max_handshakes_per_uid: usize,
    /// Calls that one uid or cgroup may begin in a second.
    pub calls_per_second_per_uid: u32,
    /// Connections that one uid or cgroup may open in a second.
    pub connections_per_second_per_uid: u32,
    /// Calls and open streams on one connection.
    pub max_streams_per_connection: u32,
    /// Processes that are watched at a time.
    pub max_processes: usize,
}

/// The standard bounds; a configuration that goes beyond them is told so.
pub(super) const MIN_X509_DEFAULT: Duration = Duration::from_secs(5 * MINUTE);
pub(super) const MAX_X509_DEFAULT: Duration = Duration::from_secs(DAY);
pub(super) const MIN_JWT_DEFAULT: Duration = Duration::from_secs(30);
pub(super) const MAX_JWT_DEFAULT: Duration = Duration::from_secs(HOUR);

/// Certificates and tokens count whole seconds.
const LEAST_TTL: Duration = Duration::from_secs(1);
/// Nothing that lives longer deserves to be called short-lived.
const MOST_TTL: Duration = Duration::from_secs(30 * DAY);
/// Each connection costs memory even when idle, about 40 KB with its kernel part.
const MOST_CONNECTIONS: usize = 1 << 20;
/// About half a core.
const CALLS: u32 = 10_000;
/// As many as all streams of a busy node take to come back after a restart.
const CONNECTIONS: u32 = 2_000;
/// More than a machine does.
const MOST_PER_SECOND: u32 = 10_000_000;
/// What one connection may ask of the server at a time.
const MOST_STREAMS: u32 = 65_536;

pub(super) const MIN_X509_TTL: Key = Key::new(
    "limits",
    "min_x509_ttl",
    "Shortest lifetime of an X.509-SVID or WIT-SVID.",
);
pub(super) const MAX_X509_TTL: Key = Key::new(
    "limits",
    "max_x509_ttl",
    "Longest lifetime of an X.509-SVID or WIT-SVID: how long one stays valid elsewhere after its \
     client was suspended.",
);
pub(super) const MIN_JWT_TTL: Key =
    Key::new("limits", "min_jwt_ttl", "Shortest lifetime of a JWT-SVID.");
pub(super) const MAX_JWT_TTL: Key =
    Key::new("limits", "max_jwt_ttl", "Longest lifetime of a JWT-SVID.");
const MAX_CONNECTIONS: Key = Key::new(
    "limits",
    "max_connections",
    "Connections to the workload socket. Each needs a file descriptor, each process two more: raise \
     LimitNOFILE= with it.",
);
const MAX_CONNECTIONS_PER_UID: Key = Key::new(
    "limits",
    "max_connections_per_uid",
    "Of these, how many the processes of one uid may hold.",
);
const MAX_CONNECTIONS_PER_CGROUP: Key = Key::new(
    "limits",
    "max_connections_per_cgroup",
    "Of these, how many the processes of one cgroup may hold: pods share uids. Known from Linux 6.13 \
     on; the root cgroup has no such share.",
);
const MAX_HANDSHAKES: Key = Key::new(
    "limits",
    "max_handshakes",
    "Connections whose peer has not proved yet that it holds them.",
);
const MAX_HANDSHAKES_PER_UID: Key = Key::new(
    "limits",
    "max_handshakes_per_uid",
    "Of these, how many one uid, or one cgroup, may hold.",
);
const CALLS_PER_SECOND_PER_UID: Key = Key::new(
    "limits",
    "calls_per_second_per_uid",
    "Calls that one uid, or one cgroup, may begin in a second; a second's worth at once. More are \
     answered as unavailable.",
);
const CONNECTIONS_PER_SECOND_PER_UID: Key = Key::new(
    "limits",
    "connections_per_second_per_uid",
    "Connections that one uid, or one cgroup, may open in a second; a second's worth at once.",
);
const MAX_STREAMS_PER_CONNECTION: Key = Key::new(
    "limits",
    "max_streams_per_connection",
    "Calls and open streams on one connection.",
);
const MAX_PROCESSES: Key = Key::new(
    "limits",
    "max_processes",
    "Processes that are watched at a time.",
);

pub(super) const KEYS: &[&Key] = &[
    &MIN_X509_TTL,
    &MAX_X509_TTL,
    &MIN_JWT_TTL,
    &MAX_JWT_TTL,
    &MAX_CONNECTIONS,
    &MAX_CONNECTIONS_PER_UID,
    &MAX_CONNECTIONS_PER_CGROUP,
    &MAX_HANDSHAKES,
    &MAX_HANDSHAKES_PER_UID,
    &CALLS_PER_SECOND_PER_UID,
    &CONNECTIONS_PER_SECOND_PER_UID,
    &MAX_STREAMS_PER_CONNECTION,
    &MAX_PROCESSES,
];

pub(super) fn read(reader: &mut Reader<'_>) -> Limits {
    let ttl = LEAST_TTL..=MOST_TTL;
    let count = 1..=MOST_CONNECTIONS;
    let rate = 1..=MOST_PER_SECOND;
    let limits = Limits {
        min_x509_ttl: reader.within(&MIN_X509_TTL, MIN_X509_DEFAULT, ttl.clone()),
        max_x509_ttl: reader.within(&MAX_X509_TTL, MAX_X509_DEFAULT, ttl.clone()),
        min_jwt_ttl: reader.within(&MIN_JWT_TTL, MIN_JWT_DEFAULT, ttl.clone()),
        max_jwt_ttl: reader.within(&MAX_JWT_TTL, MAX_JWT_DEFAULT, ttl),
        max_connections: reader.within(&MAX_CONNECTIONS, 16_384, count.clone()),
        max_connections_per_uid: reader.within(&MAX_CONNECTIONS_PER_UID, 12_288, count.clone()),
        max_connections_per_cgroup: reader.within(
            &MAX_CONNECTIONS_PER_CGROUP,
            8_192,
            count.clone(),
        ),
        max_handshakes: reader.within(&MAX_HANDSHAKES, 4_096, count.clone()),
        max_handshakes_per_uid: reader.within(&MAX_HANDSHAKES_PER_UID, 2_048, count.clone()),
        calls_per_second_per_uid: reader.within(&CALLS_PER_SECOND_PER_UID, CALLS, rate.clone()),
        connections_per_second_per_uid: reader.within(
            &CONNECTIONS_PER_SECOND_PER_UID,
            CONNECTIONS,
            rate,
        ),
        max_streams_per_connection: reader.within(
            &MAX_STREAMS_PER_CONNECTION,
            256,
            1..=MOST_STREAMS,
        ),
        max_processes: reader.within(&MAX_PROCESSES, 16_384, count),
    };
    reader.at_most(
        (&MIN_X509_TTL, limits.min_x509_ttl),
        (&MAX_X509_TTL, limits.max_x509_ttl),
    );
    reader.at_most(
        (&MIN_JWT_TTL, limits.min_jwt_ttl),
        (&MAX_JWT_TTL, limits.max_jwt_ttl),
    );
    reader.at_most(
        (&MAX_HANDSHAKES_PER_UID, limits.max_handshakes_per_uid),
        (&MAX_HANDSHAKES, limits.max_handshakes),
    );
    reader.at_most(
        (&MAX_CONNECTIONS_PER_UID, limits.max_connections_per_uid),
        (&MAX_CONNECTIONS, limits.max_connections),
    );
    limits
}
