//! Parsers of what the kernel and the host's files say, as plain functions of bytes.
//!
//! Owns the formats: `/proc/PID/{stat,status,cgroup,mountinfo,auxv,personality,fdinfo}`,
//! `/proc/PID/{maps,pagemap}`, the netlink messages of `sock_diag(7)` and of the process
//! connector,
//! `/proc/self/uid_map` and `/etc/{passwd,group}` (`proc(5)`, `passwd(5)`,
//! `group(5)`), what of a program's file the kernel reads (`elf(5)`), names of containers in cgroups
//! and what their runtimes say ([`container`], [`runtime`]).
//! Whoever calls has bounded the input; the functions here are linear in it, take no input by its position alone where a process can put
//! text of its own before it, and refuse what the kernel never writes instead
//! of guessing. Public so that they can be fuzzed.

mod accounts;
mod auxv;
mod cgroup;
pub mod container;
mod elf;
mod fdinfo;
mod id_map;
mod maps;
mod mountinfo;
mod netlink;
mod pagemap;
mod proc_event;
pub mod runtime;
mod sock_diag;
mod stat;
mod status;
mod unit;

pub use accounts::names_by_id;
pub use auxv::{auxv_is_complete, is_unrandomized};
pub use cgroup::{CgroupLayout, Cgroups, cgroup_layout, cgroup_lines, cgroups};
pub use elf::{ELF_HEADER_BYTES, ProgramHeaders, program_headers};
pub use fdinfo::{DescriptorInfo, descriptor_info};
pub use id_map::covers_every_id;
pub use maps::{Backing, Mapping, executable_mappings};
pub use mountinfo::{mount_points, mounts};
pub use pagemap::has_private_page;
pub use proc_event::{ConnectorEvent, connector_event, listen_request};
pub use sock_diag::{ANY_COOKIE, PeerAnswer, peer_answer, peer_request};
pub use stat::{parent, start_time};
pub use status::{
    Groups, MAX_SUPPLEMENTARY_GROUPS, Restrictions, Seccomp, Status, namespaced_pids, restrictions,
    status, tracer,
};

pub use unit::{is_slice, is_unit, user_unit};

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
