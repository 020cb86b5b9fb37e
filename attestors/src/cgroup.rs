//! The `cgroup` attestor: which service or container a process belongs to.
//!
//! `cgroup:path` from `/proc/PID/cgroup`, which the kernel makes up. On hosts
//! with version 2 alone it is the unified path; on others the path in the
//! version 1 hierarchy `name=systemd`, and where both are there both paths are
//! facts. `cgroup:id` is the kernel's number of the unified one, from the
//! pidfd. [`CgroupView`] says how paths are learnt inside of a container.
//! `doc/cgroup.md` says what they are good for and how they can be abused.

use crate::{
    findings::{Fact, Findings},
    parse::{CgroupLayout, Cgroups},
};

mod unified;
mod view;

pub(crate) use view::CgroupView;

const PATH: &str = "cgroup:path";
const ID: &str = "cgroup:id";

/// Reports the selectors of `cgroups`, with `id` from the pidfd, as seen through `view`.
pub(crate) fn report(
    cgroups: &Fact<Cgroups>,
    id: Option<u64>,
    view: &CgroupView,
    findings: &mut Findings,
) {
    let layout = cgroups.as_ref().map(|cgroups| cgroups.layout);
    match id {
        // Every process has one, also where nobody uses the unified hierarchy.
        Some(_) if layout == Ok(CgroupLayout::V1) => {
            findings.lack(ID, "the unified hierarchy is not mounted".into());
        }
        Some(id) => findings.know(ID, id),
        None => findings.lack(ID, "the kernel does not tell it (Linux 6.13)".into()),
    }
    let cgroups = match cgroups {
        Ok(cgroups) => cgroups,
        Err(reason) => return findings.lack(PATH, reason.clone()),
    };
    // Beside version 2 alone, name=systemd is somebody's leftover and binds nothing.
    let systemd = match cgroups.layout {
        CgroupLayout::V2 => None,
        CgroupLayout::V1 | CgroupLayout::Hybrid => cgroups.systemd.as_ref(),
    };
    if cgroups.layout == CgroupLayout::Hybrid && view.is_by_id() {
        let reason = "that of name=systemd is not seen from the agent's cgroup namespace";
        findings.lack(PATH, reason.into());
    }
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

#[cfg(test)]
mod tests {
    use super::{CgroupView, report};
    use crate::{findings::Findings, parse};

    /// The selectors for a file, and what is unknown.
    fn found(file: &str, id: Option<u64>) -> (Vec<String>, Vec<&'static str>) {
        let cgroups = parse::cgroups(file.as_bytes()).map_err(|error| error.0.into());
        let mut findings = Findings::default();
        report(&cgroups, id, &CgroupView::plain(), &mut findings);
        let (selectors, unknown) = findings.finish();
        let selectors = selectors.iter().map(ToString::to_string).collect();
        (
            selectors,
            unknown.iter().map(|unknown| unknown.selector).collect(),
        )
    }

    #[test]
    fn the_root_is_a_cgroup() {
        let (selectors, unknown) = found("0::/\n", Some(1));
        assert_eq!(selectors, ["cgroup:id:1", "cgroup:path:/"]);
        assert_eq!(unknown, [""; 0]);
    }

    #[test]
    fn an_id_is_no_fact_without_the_unified_hierarchy() {
        let (selectors, unknown) = found("4:memory:/\n1:name=systemd:/a\n", Some(1));
        assert_eq!(selectors, ["cgroup:path:/a"]);
        assert_eq!(unknown, ["cgroup:id"]);
    }

    #[test]
    fn a_path_outside_of_the_view_leaves_the_id() {
        for path in [
            "/..",
            "/../../system.slice/a.service",
            "/a/../b",
            "/a (deleted)",
        ] {
            let (selectors, unknown) = found(&format!("0::{path}\n"), Some(7));
            assert_eq!(selectors, ["cgroup:id:7"], "{path}");
            assert_eq!(unknown, ["cgroup:path"], "{path}");
        }
    }

    #[test]
    fn a_file_of_64_kib_makes_no_selector() {
        let path = "/x".repeat(32 << 10);
        let (selectors, unknown) = found(&format!("0::{path}\n"), None);
        assert_eq!(selectors, [""; 0]);
        assert_eq!(unknown, ["cgroup:id", "cgroup:path"]);
    }
}
