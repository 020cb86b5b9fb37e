//! Who can put another file in a path's place.
//!
//! Each directory from the root down and the file itself are looked at; links
//! are never followed, because a registered path is the one that the kernel
//! shows, which has none. Access control lists are not read: their mask shows as
//! the group's bits.

use super::accounts::Accounts;
use std::{
    fs::{self, Metadata},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

/// Everybody may write.
const OTHERS_WRITE: u32 = 0o002;
/// The group may write.
const GROUP_WRITES: u32 = 0o020;
/// In this directory only the owner of an entry can replace it.
const STICKY: u32 = 0o1000;

/// What was found on the way to a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nobody but those allowed can change it.
    Firm,
    /// There is nothing, and nobody but those allowed can put something there.
    Missing,
    /// A link lies on the way.
    Link(PathBuf),
    /// Somebody else can change it.
    Writable {
        /// The file or directory.
        place: PathBuf,
        /// Who, for a sentence.
        by: String,
    },
}

/// Looks at `path` below `root`. Root and `allowed` may write.
pub(super) fn judge(root: &Path, path: &str, allowed: &[u32], accounts: &Accounts) -> Verdict {
    let inside: PathBuf = path.trim_start_matches('/').into();
    let steps: Vec<&Path> = inside.ancestors().collect();
    let mut above: Option<Above> = None;
    for step in steps.into_iter().rev() {
        let place = Path::new("/").join(step);
        let Ok(file) = fs::symlink_metadata(root.join(step)) else {
            return above.and_then(Above::verdict).unwrap_or(Verdict::Missing);
        };
        if file.is_symlink() {
            return Verdict::Link(place);
        }
        let guarded = is_allowed(file.uid(), allowed);
        let above_it = above.take().filter(|above| !(above.sticky && guarded));
        if let Some(verdict) = above_it.and_then(Above::verdict) {
            return verdict;
        }
        above = Some(Above {
            sticky: file.is_dir() && file.mode() & STICKY != 0,
            by: writer(&file, allowed, accounts),
            place,
        });
    }
    above.and_then(Above::verdict).unwrap_or(Verdict::Firm)
}

/// What was looked at last: who else can change what lies in it, or it itself.
#[derive(Debug)]
struct Above {
    place: PathBuf,
    by: Option<String>,
    /// A sticky directory guards the entries of those who are allowed.
    sticky: bool,
}

impl Above {
    fn verdict(self) -> Option<Verdict> {
        let place = self.place;
        self.by.map(|by| Verdict::Writable { place, by })
    }
}

fn is_allowed(uid: u32, allowed: &[u32]) -> bool {
    uid == 0 || allowed.contains(&uid)
}

/// Who else can write to this file or directory; its owner can whatever its mode says.
fn writer(file: &Metadata, allowed: &[u32], accounts: &Accounts) -> Option<String> {
    if !is_allowed(file.uid(), allowed) {
        return Some(accounts.name(file.uid()));
    }
    if file.mode() & OTHERS_WRITE != 0 {
        return Some("everybody".to_owned());
    }
    if file.mode() & GROUP_WRITES == 0 {
        return None;
    }
    let group = || format!("group {}", accounts.group_name(file.gid()));
    match accounts.members(file.gid()) {
        Some(members) => members
            .iter()
            .any(|uid| !is_allowed(*uid, allowed))
            .then(group),
        None if file.gid() == 0 => None,
        None => Some(group()),
    }
}

#[cfg(test)]
mod tests {
    use super::{Verdict, judge};
    use crate::lint::accounts::Accounts;
    use std::{
        fs::{self, Permissions},
        os::unix::fs::{PermissionsExt as _, symlink},
        path::Path,
    };
    use tempfile::TempDir;

    /// A tree with `opt/app/bin/app`, all of it the test's user's alone.
    fn tree() -> TempDir {
        let root = tempfile::tempdir().unwrap();
        let bin = root.path().join("opt/app/bin");
        fs::create_dir_all(&bin).unwrap();
        fs::write(bin.join("app"), "").unwrap();
        for place in ["opt", "opt/app", "opt/app/bin", "opt/app/bin/app"] {
            chmod(root.path(), place, 0o755);
        }
        root
    }

    fn chmod(root: &Path, place: &str, mode: u32) {
        fs::set_permissions(root.join(place), Permissions::from_mode(mode)).unwrap();
    }

    fn own() -> Vec<u32> {
        vec![rustix::process::geteuid().as_raw()]
    }

    fn verdict(root: &Path, path: &str) -> Verdict {
        judge(root, path, &own(), &Accounts::default())
    }

    #[test]
    fn a_path_that_only_its_user_can_change_is_firm() {
        assert_eq!(verdict(tree().path(), "/opt/app/bin/app"), Verdict::Firm);
    }

    #[test]
    fn a_file_or_any_directory_that_all_can_write_is_found() {
        for place in ["opt", "opt/app", "opt/app/bin", "opt/app/bin/app"] {
            let root = tree();
            chmod(root.path(), place, 0o777);
            let expected = Verdict::Writable {
                place: Path::new("/").join(place),
                by: "everybody".into(),
            };
            assert_eq!(
                verdict(root.path(), "/opt/app/bin/app"),
                expected,
                "{place}"
            );
        }
    }

    #[test]
    fn a_sticky_directory_guards_what_is_there_and_not_what_is_missing() {
        let root = tree();
        chmod(root.path(), "opt/app/bin", 0o1777);
        assert_eq!(verdict(root.path(), "/opt/app/bin/app"), Verdict::Firm);
        let missing = verdict(root.path(), "/opt/app/bin/other");
        assert!(matches!(missing, Verdict::Writable { .. }), "{missing:?}");
    }

    #[test]
    fn the_owner_is_somebody_else_unless_named() {
        let root = tree();
        let others = judge(root.path(), "/opt/app/bin/app", &[], &Accounts::default());
        let is_root = own() == [0];
        assert_eq!(others == Verdict::Firm, is_root, "{others:?}");
    }

    #[test]
    fn a_group_counts_by_its_members() {
        let root = tree();
        chmod(root.path(), "opt/app", 0o775);
        let gid = rustix::process::getegid().as_raw();
        let uid = own()[0];
        let passwd = format!("me:x:{uid}:{gid}::/:/bin/sh\n");
        let judge = |group: &str| {
            let accounts = Accounts::parse(&format!("{passwd}amy:x:54321:7::/:/bin/sh\n"), group);
            judge(root.path(), "/opt/app/bin/app", &own(), &accounts)
        };
        assert_eq!(judge(&format!("g:x:{gid}:\n")), Verdict::Firm);
        let shared = judge(&format!("g:x:{gid}:amy\n"));
        assert!(
            matches!(&shared, Verdict::Writable { by, .. } if by == "group g"),
            "{shared:?}"
        );
    }

    #[test]
    fn what_is_missing_and_what_is_a_link_is_said() {
        let root = tree();
        assert_eq!(verdict(root.path(), "/opt/app/bin/other"), Verdict::Missing);
        assert_eq!(verdict(root.path(), "/nowhere/at/all"), Verdict::Missing);
        symlink("app", root.path().join("opt/link")).unwrap();
        let link = Verdict::Link("/opt/link".into());
        assert_eq!(verdict(root.path(), "/opt/link/bin/app"), link);
    }
}
