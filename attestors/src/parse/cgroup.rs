//! `/proc/PID/cgroup` (`cgroups(7)`).

use super::{Malformed, lines};
use crate::selector::is_path;
use serde::Serialize;

/// How a host mounts its hierarchies, as one process's file shows it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CgroupLayout {
    /// No unified hierarchy.
    V1,
    /// The unified hierarchy, and no controller outside of it.
    V2,
    /// The unified hierarchy beside controllers in version 1.
    Hybrid,
}

/// Where a process is in the hierarchies that say which service it belongs to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Cgroups {
    /// The host's layout.
    pub layout: CgroupLayout,
    /// The path in the unified hierarchy (the `0::` line).
    pub unified: Option<String>,
    /// The path in the version 1 hierarchy `name=systemd`.
    pub systemd: Option<String>,
}

/// The paths in `bytes`.
///
/// # Errors
/// Where a path leads out of the reader's cgroup namespace (`/..`), belongs to
/// a removed cgroup, or is no plain text; and where a line comes twice, which
/// the kernel never writes.
pub fn cgroups(bytes: &[u8]) -> Result<Cgroups, Malformed> {
    let mut unified = None;
    let mut systemd = None;
    let layout = each_place(bytes, |place, path| {
        let slot = match place {
            Place::Unified => &mut unified,
            Place::Systemd => &mut systemd,
        };
        *slot = Some(plain(path)?);
        Ok(())
    })?;
    Ok(Cgroups {
        layout,
        unified,
        systemd,
    })
}

/// The layout that `bytes` shows, whatever the paths in it are.
///
/// # Errors
/// Where the lines are not of the kernel's form, or one comes twice.
pub fn cgroup_layout(bytes: &[u8]) -> Result<CgroupLayout, Malformed> {
    each_place(bytes, |_place, _path| Ok(()))
}

/// A hierarchy that says which service a process belongs to.
#[derive(Clone, Copy)]
enum Place {
    Unified,
    Systemd,
}

fn each_place(
    bytes: &[u8],
    mut found: impl FnMut(Place, &[u8]) -> Result<(), Malformed>,
) -> Result<CgroupLayout, Malformed> {
    let (mut unified, mut systemd, mut legacy) = (false, false, false);
    for line in lines(bytes) {
        // A cgroup's name may hold colons; only the first two separate.
        let mut fields = line.splitn(3, |&byte| byte == b':');
        let (Some(hierarchy), Some(controllers), Some(path)) =
            (fields.next(), fields.next(), fields.next())
        else {
            return Err(Malformed("a cgroup line without three fields"));
        };
        let (place, seen) = match (hierarchy, controllers) {
            (b"0", b"") => (Place::Unified, &mut unified),
            (_, b"name=systemd") => (Place::Systemd, &mut systemd),
            (_, controllers) => {
                legacy |= !controllers.starts_with(b"name=");
                continue;
            }
        };
        if std::mem::replace(seen, true) {
            return Err(Malformed("a cgroup hierarchy comes twice"));
        }
        found(place, path)?;
    }
    Ok(match (unified, legacy) {
        (false, _) => CgroupLayout::V1,
        (true, false) => CgroupLayout::V2,
        (true, true) => CgroupLayout::Hybrid,
    })
}

/// The lines of `bytes` of which [`cgroups`] makes facts.
pub fn cgroup_lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    lines(bytes).filter(|line| {
        let mut fields = line.splitn(3, |&byte| byte == b':');
        let hierarchy = fields.next();
        let controllers = fields.next().unwrap_or_default();
        hierarchy == Some(b"0") && controllers.is_empty() || controllers == b"name=systemd"
    })
}

fn plain(path: &[u8]) -> Result<String, Malformed> {
    let path = str::from_utf8(path).map_err(|_utf8| Malformed("a cgroup path that is no text"))?;
    if path.ends_with(" (deleted)") {
        return Err(Malformed("the cgroup was removed"));
    }
    if path == "/.." || path.starts_with("/../") {
        return Err(Malformed(
            "the cgroup is outside of the agent's cgroup namespace",
        ));
    }
    if !is_path(path) {
        return Err(Malformed("a cgroup path that is not plain and absolute"));
    }
    Ok(path.into())
}

#[cfg(test)]
mod tests {
    use super::{CgroupLayout, Cgroups, cgroup_layout, cgroups};

    fn parsed(text: &str) -> (CgroupLayout, Option<String>, Option<String>) {
        let Cgroups {
            layout,
            unified,
            systemd,
        } = cgroups(text.as_bytes()).unwrap();
        (layout, unified, systemd)
    }

    #[test]
    fn each_layout_is_told_from_the_lines() {
        let a = || Some("/a.service".to_owned());
        assert_eq!(parsed("0::/a.service\n"), (CgroupLayout::V2, a(), None));
        assert_eq!(
            parsed("4:memory:/x\n1:name=systemd:/a.service\n"),
            (CgroupLayout::V1, None, a())
        );
        assert_eq!(
            parsed("4:memory:/x\n1:name=systemd:/b\n0::/a.service\n"),
            (CgroupLayout::Hybrid, a(), Some("/b".into()))
        );
    }

    #[test]
    fn a_name_full_of_colons_stays_one_path() {
        let (_, unified, systemd) = parsed("0::/x:name=systemd:/system.slice/a.service\n");
        assert_eq!(
            unified.as_deref(),
            Some("/x:name=systemd:/system.slice/a.service")
        );
        assert_eq!(systemd, None);
    }

    #[test]
    fn paths_outside_of_our_namespace_are_refused() {
        for path in [
            "/..",
            "/../other",
            "/../../system.slice/a.service",
            "/a/../b",
        ] {
            cgroups(format!("0::{path}\n").as_bytes()).unwrap_err();
        }
    }

    #[test]
    fn the_layout_shows_also_where_no_path_can_be_believed() {
        let layout = |text: &str| cgroup_layout(text.as_bytes());
        assert_eq!(layout("0::/../../x\n"), Ok(CgroupLayout::V2));
        assert_eq!(layout("4:memory:/\n0::/..\n"), Ok(CgroupLayout::Hybrid));
        assert_eq!(layout("1:name=systemd:/..\n"), Ok(CgroupLayout::V1));
        layout("0::/\n0::/\n").unwrap_err();
        layout("0::\n0:\n").unwrap_err();
    }

    #[test]
    fn removed_and_strange_cgroups_are_refused() {
        for text in [
            "0::/a (deleted)\n",
            "0::a\n",
            "0::\n",
            "0::/a\u{1b}[0m\n",
            "0::/a\n0::/b\n",
            "1:name=systemd:/a\n2:name=systemd:/b\n",
            "0:/a\n",
        ] {
            cgroups(text.as_bytes()).unwrap_err();
        }
        cgroups(b"0::/\xff\n").unwrap_err();
    }
}
