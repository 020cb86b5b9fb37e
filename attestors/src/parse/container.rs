//! Container IDs in the paths of cgroups.
//!
//! Runtimes name a container's cgroup after it: `docker/ID`, `libpod-ID.scope`,
//! `cri-containerd-ID.scope`, `crio-ID.scope`, `kubepods/pod.../ID`, and behind
//! those names whatever the container nests below. Anybody with a cgroup
//! subtree of his own can write the same names, so what is found here is only
//! what the runtimes are asked about.

use super::{CgroupLayout, Cgroups};

/// IDs that are asked about in each hierarchy, the innermost ones: containers in containers. A
/// process that nests more beneath itself is not found by the outer ones.
pub const MAX_CANDIDATES: usize = 4;

/// A hierarchy that tells containers apart.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Hierarchy {
    /// Version 2.
    Unified,
    /// Version 1, `name=systemd`.
    Systemd,
}

impl Hierarchy {
    /// The path in this hierarchy.
    #[must_use]
    pub fn path(self, cgroups: &Cgroups) -> Option<&str> {
        match self {
            Self::Unified => cgroups.unified.as_deref(),
            Self::Systemd => cgroups.systemd.as_deref(),
        }
    }
}

/// Which runtime the names in a path hint at.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Family {
    /// Docker.
    Docker,
    /// Podman.
    Podman,
    /// One with the container runtime interface.
    Cri,
}

/// A container that a process may be in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Candidate {
    /// 64 lower-case hexadecimal digits.
    pub id: String,
    /// Where it was found.
    pub hierarchy: Hierarchy,
    /// The cgroup that carries the ID.
    pub cgroup: String,
}

impl Candidate {
    /// Who should be asked first.
    #[must_use]
    pub fn family(&self) -> Option<Family> {
        let (above, name) = self.cgroup.rsplit_once('/')?;
        if name.starts_with("libpod-") {
            Some(Family::Podman)
        } else if name.starts_with("docker-") || above.ends_with("/docker") {
            Some(Family::Docker)
        } else if name.starts_with("cri") || self.cgroup.contains("kubepods") {
            Some(Family::Cri)
        } else {
            None
        }
    }

    /// Whether a process at `path` is in the cgroup that carries the ID.
    #[must_use]
    pub fn holds(&self, path: &str) -> bool {
        path.strip_prefix(&self.cgroup)
            .is_some_and(|below| below.is_empty() || below.starts_with('/'))
    }
}

/// The candidates in `cgroups`, the innermost first.
#[must_use]
pub fn candidates(cgroups: &Cgroups) -> Vec<Candidate> {
    let mut found = of_path(Hierarchy::Unified, cgroups);
    // Beside version 2 alone, name=systemd is somebody's leftover and binds nothing.
    if cgroups.layout != CgroupLayout::V2 {
        let further = of_path(Hierarchy::Systemd, cgroups);
        let new = |candidate: &Candidate| !found.iter().any(|known| known.id == candidate.id);
        let further: Vec<_> = further.into_iter().filter(new).collect();
        found.extend(further);
    }
    found
}

fn of_path(hierarchy: Hierarchy, cgroups: &Cgroups) -> Vec<Candidate> {
    let path = hierarchy.path(cgroups).unwrap_or_default();
    let mut found: Vec<Candidate> = Vec::new();
    let mut end = 0;
    for part in path.split_inclusive('/') {
        end += part.len();
        let Some(id) = id_of(part.trim_end_matches('/')) else {
            continue;
        };
        // Below the container's own cgroup, the same name is one that it made.
        if found.iter().any(|outer| outer.id == id) {
            continue;
        }
        let cgroup = path.get(..end).unwrap_or_default().trim_end_matches('/');
        found.push(Candidate {
            id: id.into(),
            hierarchy,
            cgroup: cgroup.into(),
        });
    }
    found.reverse();
    found.truncate(MAX_CANDIDATES);
    found
}

/// The ID in a cgroup's name: all of it, or what follows the last `-` or `:`, without `.scope`.
fn id_of(name: &str) -> Option<&str> {
    let name = name.strip_suffix(".scope").unwrap_or(name);
    let id = name.rsplit(['-', ':']).next()?;
    is_id(id).then_some(id)
}

/// Whether `text` is a container's whole ID.
#[must_use]
pub fn is_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::{Candidate, Family, Hierarchy, candidates};
    use crate::parse::cgroups;
    use proptest::prelude::*;

    fn id(digit: char) -> String {
        digit.to_string().repeat(64)
    }

    fn of(path: &str) -> Vec<Candidate> {
        candidates(&cgroups(format!("0::{path}\n").as_bytes()).unwrap())
    }

    #[test]
    fn every_runtime_s_layout_is_found() {
        let a = id('a');
        for (path, family) in [
            (format!("/docker/{a}"), Some(Family::Docker)),
            (
                format!("/system.slice/docker-{a}.scope"),
                Some(Family::Docker),
            ),
            (format!("/libpod_parent/libpod-{a}"), Some(Family::Podman)),
            (
                format!("/machine.slice/libpod-{a}.scope"),
                Some(Family::Podman),
            ),
            (
                format!("/machine.slice/libpod-payload-{a}"),
                Some(Family::Podman),
            ),
            (format!("/kubepods/burstable/pod7/{a}"), Some(Family::Cri)),
            (
                format!("/kubepods.slice/kubepods-pod7.slice/cri-containerd-{a}.scope"),
                Some(Family::Cri),
            ),
            (
                format!("/kubepods.slice/kubepods-pod7.slice/crio-{a}.scope"),
                Some(Family::Cri),
            ),
            (
                format!("/kubepods-pod7.slice:cri-containerd:{a}"),
                Some(Family::Cri),
            ),
            (format!("/own/{a}"), None),
        ] {
            let found = of(&path);
            assert_eq!(found.len(), 1, "{path}");
            assert_eq!((&found[0].id, &found[0].cgroup), (&a, &path));
            assert_eq!(found[0].family(), family, "{path}");
        }
    }

    #[test]
    fn what_a_container_nests_belongs_to_it() {
        let (a, b) = (id('a'), id('b'));
        let outer = format!("/machine.slice/libpod-{a}.scope");
        let found = of(&format!("{outer}/system.slice/x.service/{a}"));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].cgroup, outer);
        let found = of(&format!("/docker/{a}/docker/{b}/init"));
        let ids: Vec<_> = found.iter().map(|candidate| &candidate.id).collect();
        assert_eq!(ids, [&b, &a], "the innermost is asked about first");
        assert!(found[1].holds(&format!("/docker/{a}")));
        assert!(found[1].holds(&format!("/docker/{a}/docker")));
        assert!(!found[1].holds(&format!("/docker/{a}0")));
        assert!(!found[1].holds("/docker"));
    }

    #[test]
    fn other_names_are_no_candidates() {
        let a = id('a');
        for path in [
            "/",
            "/user.slice/user-1000.slice",
            &format!("/docker/{}", "a".repeat(63)),
            &format!("/docker/{a}0"),
            &format!("/docker/{}", a.to_uppercase()),
            &format!("/libpod_pod_{a}"),
            &format!("/docker-{a}.slice"),
        ] {
            assert_eq!(of(path), [], "{path}");
        }
    }

    proptest! {
        #[test]
        fn a_process_is_in_every_cgroup_that_its_path_names(path in "(/(docker|libpod-|[ab]{64}|[ab]{64}[.]scope|x)){1,9}") {
            if let Ok(cgroups) = cgroups(format!("0::{path}\n").as_bytes()) {
                for candidate in candidates(&cgroups) {
                    prop_assert!(candidate.holds(&path));
                    prop_assert!(candidate.cgroup.contains(&candidate.id));
                }
            }
        }
    }

    #[test]
    fn both_hierarchies_are_looked_at_and_their_number_is_bounded() {
        let (a, b) = (id('a'), id('b'));
        let text = format!("4:pids:/\n1:name=systemd:/docker/{a}\n0::/own/{b}\n");
        let found = candidates(&cgroups(text.as_bytes()).unwrap());
        let places: Vec<_> = found.iter().map(|found| found.hierarchy).collect();
        assert_eq!(places, [Hierarchy::Unified, Hierarchy::Systemd]);
        let leftover = format!("1:name=systemd:/docker/{a}\n0::/own\n");
        assert_eq!(candidates(&cgroups(leftover.as_bytes()).unwrap()), []);
        let deep: String = "0123456789"
            .chars()
            .map(|c| format!("/{}", id(c)))
            .collect();
        let found = of(&deep);
        assert_eq!(found.len(), 4);
        assert_eq!(found[0].id, id('9'));
    }
}
