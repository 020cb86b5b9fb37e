//! Whether a process is where the manager says that its unit is.
//!
//! The manager itself goes by the names of cgroups, and, where these lead
//! nowhere, by the processes that it started, wherever they are now. Here the
//! unit's cgroup has to be the process's own or one above it: by the kernel's
//! IDs, which are never given twice, so that a name made by somebody else is
//! worth nothing; by paths, read from the kernel, only where the manager has
//! no IDs (version 1, and before systemd 252).

use crate::{
    findings::Fact,
    host::Host,
    parse::{CgroupLayout, Cgroups},
};

/// The process's place, as the kernel says it.
#[derive(Debug)]
pub(super) struct Place<'a> {
    pub(super) id: Option<u64>,
    pub(super) cgroups: &'a Fact<Cgroups>,
}

impl Place<'_> {
    /// The path below the unit's cgroup; empty where the process is in it itself.
    pub(super) fn below(
        &self,
        control_group: &str,
        control_group_id: Option<u64>,
        host: &Host,
    ) -> Fact<String> {
        let below = match control_group_id {
            Some(unit) if self.id == Some(unit) => Some(String::new()),
            Some(unit) => self.below_id(unit, host)?,
            None => self.below_path(control_group)?,
        };
        below.ok_or_else(|| "systemd names a unit in whose cgroup the process is not".into())
    }

    fn below_id(&self, unit: u64, host: &Host) -> Fact<Option<String>> {
        let unified = host
            .cgroups
            .unified()
            .ok_or("the unified hierarchy is not mounted for the agent")?;
        let read = self.cgroups.as_ref().ok();
        let read = read.and_then(|cgroups| cgroups.unified.clone());
        // A path that was read is only good in this mount if the ID is the same there.
        let own = |path: &String| self.id.is_none_or(|id| unified.id(path) == Some(id));
        let path = match (read.filter(own), self.id) {
            (Some(path), _) => path,
            (None, Some(id)) => unified
                .path(&host.root, id)
                .map_err(|error| format!("the process's cgroup is not found: {error}"))?,
            (None, None) => return Err("the process's cgroup is unknown".into()),
        };
        Ok(below_ancestor(&path, |ancestor| {
            unified.id(ancestor) == Some(unit)
        }))
    }

    fn below_path(&self, control_group: &str) -> Fact<Option<String>> {
        let cgroups = self.cgroups.as_ref().map_err(Clone::clone)?;
        let path = match cgroups.layout {
            CgroupLayout::V2 => &cgroups.unified,
            CgroupLayout::V1 | CgroupLayout::Hybrid => &cgroups.systemd,
        };
        let path = path.as_ref().ok_or("name=systemd is not mounted")?;
        // Every process is below the root.
        if matches!(control_group, "" | "/") {
            return Ok(None);
        }
        Ok(below_ancestor(path, |ancestor| ancestor == control_group))
    }
}

/// What is left of `path` below the deepest of its ancestors, itself included, that is `wanted`.
fn below_ancestor(path: &str, wanted: impl Fn(&str) -> bool) -> Option<String> {
    let mut ancestor = path;
    while !ancestor.is_empty() {
        if wanted(ancestor) {
            return path.strip_prefix(ancestor).map(str::to_owned);
        }
        ancestor = ancestor.rsplit_once('/')?.0;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{Place, below_ancestor};
    use crate::parse;

    fn below(cgroup: &str, control_group: &str) -> Option<String> {
        let cgroups = Ok(parse::cgroups(cgroup.as_bytes()).unwrap());
        let place = Place {
            id: None,
            cgroups: &cgroups,
        };
        place.below_path(control_group).unwrap()
    }

    #[test]
    fn a_process_is_in_its_units_cgroup_or_below() {
        let a = "/system.slice/a.service";
        assert_eq!(below(&format!("0::{a}\n"), a).as_deref(), Some(""));
        assert_eq!(below(&format!("0::{a}/x/y\n"), a).as_deref(), Some("/x/y"));
    }

    #[test]
    fn a_name_that_begins_alike_or_lies_elsewhere_is_another_cgroup() {
        let a = "/system.slice/a.service";
        for path in [
            "/system.slice/a.service2",
            "/system.slice",
            "/",
            "/x/system.slice/a.service",
            "/system.slice/b.service/system.slice/a.service",
        ] {
            assert_eq!(below(&format!("0::{path}\n"), a), None, "{path}");
        }
    }

    #[test]
    fn the_root_is_no_units_cgroup() {
        assert_eq!(below("0::/a\n", "/"), None);
        assert_eq!(below("0::/a\n", ""), None);
    }

    #[test]
    fn version_1_goes_by_the_managers_own_hierarchy() {
        let a = "/system.slice/a.service";
        let forged = format!("4:memory:/\n1:name=systemd:/b\n0::{a}\n");
        assert_eq!(below(&forged, a), None);
        let own = format!("4:memory:/\n1:name=systemd:{a}\n0::/\n");
        assert_eq!(below(&own, a).as_deref(), Some(""));
        let own = format!("1:name=systemd:{a}\n");
        assert_eq!(below(&own, a).as_deref(), Some(""));
    }

    #[test]
    fn ancestors_are_tried_from_below() {
        let rest = below_ancestor("/a/b/c", |path| path == "/a/b" || path == "/a");
        assert_eq!(rest.as_deref(), Some("/c"));
        assert_eq!(below_ancestor("/", |_| false), None);
    }
}
