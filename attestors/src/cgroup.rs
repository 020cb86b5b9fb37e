//! The `cgroup` attestor: which service or container a process belongs to.
//!
//! One selector, `cgroup:path`, from `/proc/PID/cgroup`, which the kernel makes
//! up. On hosts with version 2 alone it is the unified path; on others the
//! path in the version 1 hierarchy `name=systemd`, and where both are there
//! both paths are facts. `doc/cgroup.md` says what it is good for and how it
//! can be abused.

use crate::{
    findings::{Fact, Findings},
    parse::{CgroupLayout, Cgroups},
};

const PATH: &str = "cgroup:path";

/// Reports the selectors of `cgroups`.
pub(crate) fn report(cgroups: &Fact<Cgroups>, findings: &mut Findings) {
    let cgroups = match cgroups {
        Ok(cgroups) => cgroups,
        Err(reason) => return findings.lack(PATH, reason.clone()),
    };
    // Beside version 2 alone, name=systemd is somebody's leftover and binds nothing.
    let systemd = match cgroups.layout {
        CgroupLayout::V2 => None,
        CgroupLayout::V1 | CgroupLayout::Hybrid => cgroups.systemd.as_ref(),
    };
    if cgroups.unified.is_none() && systemd.is_none() {
        return findings.lack(
            PATH,
            "neither a unified hierarchy nor name=systemd is mounted".into(),
        );
    }
    for path in cgroups.unified.iter().chain(systemd) {
        findings.know(PATH, path);
    }
}
