//! Parsers of what the kernel and the host's files say, as plain functions of bytes.
//!
//! Owns the formats: `/proc/PID/{stat,status,cgroup,mountinfo}`,
//! `/proc/self/uid_map` and `/etc/{passwd,group}` (`proc(5)`, `passwd(5)`,
//! `group(5)`). Whoever calls has bounded the input; the functions here are
//! linear in it, take no input by its position alone where a process can put
//! text of its own before it, and refuse what the kernel never writes instead
//! of guessing. Public so that they can be fuzzed.

mod accounts;
mod cgroup;
mod id_map;
mod mountinfo;
mod stat;
mod status;

pub use accounts::names_by_id;
pub use cgroup::{CgroupLayout, Cgroups, cgroups};
pub use id_map::covers_every_id;
pub use mountinfo::mounts;
pub use stat::start_time;
pub use status::{Groups, MAX_SUPPLEMENTARY_GROUPS, Status, namespaced_pids, status};

/// A text that the kernel does not write.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("malformed: {0}")]
pub struct Malformed(pub &'static str);

/// `bytes` as a decimal number without sign.
fn number<T: std::str::FromStr>(bytes: &[u8]) -> Option<T> {
    if !bytes.iter().all(u8::is_ascii_digit) {
        return None;
    }
    str::from_utf8(bytes).ok()?.parse().ok()
}

/// The lines of `bytes`, without their ends.
fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes
        .split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty())
}
