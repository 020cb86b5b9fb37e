//! Cgroups by their ID (`open_by_handle_at(2)`).

use crate::{checked, owned};
use rustix::{
    fd::{AsRawFd as _, BorrowedFd, OwnedFd},
    io::Errno,
};

/// `FILEID_KERNFS`: a handle that is the 64-bit ID of a kernfs node.
const KERNFS: libc::c_int = 0xfe;

/// `struct file_handle` with room for one ID.
#[repr(C)]
struct Handle {
    bytes: libc::c_uint,
    kind: libc::c_int,
    id: [u8; 8],
}

/// A bare handle (`O_PATH`) of the cgroup with the ID `id`; `mount` is any descriptor on a cgroup
/// version 2 mount but a bare handle, and the cgroup's path is seen through that mount.
///
/// # Errors
/// `EBADF` where `mount` is a bare handle, `EPERM` without `CAP_DAC_READ_SEARCH`, `ESTALE` where there is no such cgroup or `mount` is on
/// another kind of file system.
pub fn cgroup_by_id(mount: BorrowedFd<'_>, id: u64) -> Result<OwnedFd, Errno> {
    let mut handle = Handle {
        bytes: 8,
        kind: KERNFS,
        id: id.to_ne_bytes(),
    };
    let flags = libc::O_PATH | libc::O_CLOEXEC;
    // SAFETY: `mount` is open for the whole call. The kernel reads a `file_handle` of `bytes`
    // bytes behind its two fixed fields, which is what `Handle` holds, integers only and without
    // padding, and writes nothing.
    let returned =
        unsafe { libc::open_by_handle_at(mount.as_raw_fd(), (&raw mut handle).cast(), flags) };
    let descriptor = checked(returned)?;
    // SAFETY: the call succeeded, so it returned a new descriptor, whose number only this
    // function has seen.
    Ok(unsafe { owned(descriptor) })
}

#[cfg(test)]
mod tests {
    use super::cgroup_by_id;
    use rustix::{
        fd::AsFd as _,
        fs::{Mode, OFlags, fstat, open, statfs},
        io::Errno,
    };
    use std::fs::File;

    /// `CGROUP2_SUPER_MAGIC`.
    const CGROUP2: u64 = 0x6367_7270;

    /// The unified hierarchy, where it is mounted at one of the usual places.
    fn unified() -> Option<File> {
        ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"]
            .into_iter()
            .find(|path| statfs(*path).is_ok_and(|stat| u64::try_from(stat.f_type) == Ok(CGROUP2)))
            .map(|path| File::open(path).unwrap())
    }

    #[test]
    fn a_cgroup_is_found_by_its_inode() {
        let Some(root) = unified() else { return };
        let id = fstat(&root).unwrap().st_ino;
        match cgroup_by_id(root.as_fd(), id) {
            Ok(found) => assert_eq!(fstat(found).unwrap().st_ino, id),
            // The tests run without the capability.
            Err(error) => assert_eq!(error, Errno::PERM),
        }
    }

    #[test]
    fn an_id_that_was_never_given_leads_nowhere() {
        let Some(root) = unified() else { return };
        let error = cgroup_by_id(root.as_fd(), u64::MAX).unwrap_err();
        assert!(matches!(error, Errno::STALE | Errno::PERM), "{error}");
    }

    #[test]
    fn a_bare_handle_is_no_mount() {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let handle = open("/proc", flags, Mode::empty()).unwrap();
        assert_eq!(cgroup_by_id(handle.as_fd(), 1).unwrap_err(), Errno::BADF);
    }

    #[test]
    fn other_file_systems_have_no_cgroups() {
        let file = File::open("/proc").unwrap();
        let error = cgroup_by_id(file.as_fd(), 1).unwrap_err();
        assert!(matches!(error, Errno::STALE | Errno::PERM), "{error}");
    }
}
