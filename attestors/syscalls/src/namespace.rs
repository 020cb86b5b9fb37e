//! Who owns a namespace (`ioctl_nsfs(2)`).

use crate::{checked, owned};
use rustix::{
    fd::{AsRawFd as _, BorrowedFd, OwnedFd},
    io::Errno,
};

/// `NS_GET_USERNS`: the user namespace that owns `namespace`.
///
/// # Errors
/// `EPERM` where it is outside of our user namespace, `ENOTTY` where
/// `namespace` is something else.
pub fn namespace_owner_user(namespace: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    // SAFETY: `namespace` is open for the whole call, and the request takes no
    // argument, so the kernel touches no memory of ours.
    let returned = unsafe { libc::ioctl(namespace.as_raw_fd(), libc::NS_GET_USERNS) };
    let descriptor = checked(returned)?;
    // SAFETY: the call succeeded, so it returned a new descriptor (close-on-exec
    // set), whose number only this function has seen.
    Ok(unsafe { owned(descriptor) })
}

/// `NS_GET_PARENT`: the parent of a user or PID namespace.
///
/// # Errors
/// `EPERM` where it has none or none that we may see, `EINVAL` for other kinds
/// of namespaces, `ENOTTY` where `namespace` is something else.
pub fn namespace_parent(namespace: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    // SAFETY: `namespace` is open for the whole call, and the request takes no
    // argument, so the kernel touches no memory of ours.
    let returned = unsafe { libc::ioctl(namespace.as_raw_fd(), libc::NS_GET_PARENT) };
    let descriptor = checked(returned)?;
    // SAFETY: the call succeeded, so it returned a new descriptor (close-on-exec
    // set), whose number only this function has seen.
    Ok(unsafe { owned(descriptor) })
}

/// `NS_GET_OWNER_UID`: the user ID that created a user namespace, as our user namespace names it.
///
/// # Errors
/// `EINVAL` for other kinds of namespaces, `ENOTTY` where `namespace` is
/// something else.
pub fn namespace_owner_uid(namespace: BorrowedFd<'_>) -> Result<u32, Errno> {
    let mut uid: libc::uid_t = u32::MAX;
    // SAFETY: `namespace` is open for the whole call, and the kernel writes one
    // `uid_t` to the address given.
    let returned =
        unsafe { libc::ioctl(namespace.as_raw_fd(), libc::NS_GET_OWNER_UID, &raw mut uid) };
    checked(returned)?;
    Ok(uid)
}

#[cfg(test)]
mod tests {
    use super::{namespace_owner_uid, namespace_owner_user, namespace_parent};
    use rustix::{fd::AsFd as _, fs::fstat, io::Errno};
    use std::fs::File;

    #[test]
    fn our_mount_namespace_is_owned_by_a_user_namespace() {
        let mount = File::open("/proc/self/ns/mnt").unwrap();
        match namespace_owner_user(mount.as_fd()) {
            Ok(owner) => assert_eq!(
                fstat(&owner).unwrap().st_dev,
                fstat(File::open("/proc/self/ns/user").unwrap())
                    .unwrap()
                    .st_dev
            ),
            // The tests run inside of a user namespace.
            Err(error) => assert_eq!(error, Errno::PERM),
        }
    }

    #[test]
    fn our_own_user_namespace_has_no_parent_that_we_may_see() {
        let user = File::open("/proc/self/ns/user").unwrap();
        assert_eq!(namespace_parent(user.as_fd()).unwrap_err(), Errno::PERM);
        namespace_owner_uid(user.as_fd()).unwrap();
    }

    #[test]
    fn other_kinds_of_namespaces_have_neither_parent_nor_creator() {
        let mount = File::open("/proc/self/ns/mnt").unwrap();
        assert_eq!(namespace_parent(mount.as_fd()).unwrap_err(), Errno::INVAL);
        assert_eq!(namespace_owner_uid(mount.as_fd()), Err(Errno::INVAL));
    }

    #[test]
    fn a_file_is_no_namespace() {
        let file = File::open("/proc/self/stat").unwrap();
        assert_eq!(
            namespace_owner_user(file.as_fd()).unwrap_err(),
            Errno::NOTTY
        );
        assert_eq!(namespace_parent(file.as_fd()).unwrap_err(), Errno::NOTTY);
        assert_eq!(namespace_owner_uid(file.as_fd()), Err(Errno::NOTTY));
    }
}
