//! What a pidfd tells about its process (`include/uapi/linux/pidfd.h`).

use crate::checked;
use rustix::{
    fd::{AsRawFd as _, BorrowedFd},
    io::Errno,
};

/// The process behind a pidfd, as our namespaces name it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PidfdInfo {
    /// Process ID (the thread group's).
    pub pid: u32,
    /// Effective user ID, now.
    pub uid: u32,
    /// Effective group ID, now.
    pub gid: u32,
    /// ID of its cgroup in the unified hierarchy, where the kernel names one.
    pub cgroup_id: Option<u64>,
}

/// `struct pidfd_info`, first published size.
#[repr(C)]
#[derive(Default)]
struct Raw {
    mask: u64,
    cgroupid: u64,
    pid: u32,
    tgid: u32,
    ppid: u32,
    ruid: u32,
    rgid: u32,
    euid: u32,
    egid: u32,
    suid: u32,
    sgid: u32,
    fsuid: u32,
    fsgid: u32,
    exit_code: i32,
}

const _: () = assert!(size_of::<Raw>() == libc::PIDFD_INFO_SIZE_VER0 as usize);
const _: () = assert!(size_of::<Raw>() == size_of::<libc::pidfd_info>());

/// `PIDFD_GET_INFO` (Linux 6.13).
///
/// # Errors
/// `ENOTTY` or `EINVAL` on older kernels and on other descriptors, `ESRCH`
/// where the process has been reaped, `EREMOTE` where it is in a PID namespace
/// that is not below ours.
pub fn pidfd_info(pidfd: BorrowedFd<'_>) -> Result<PidfdInfo, Errno> {
    let mut raw = Raw {
        mask: u64::from(libc::PIDFD_INFO_PID | libc::PIDFD_INFO_CREDS | libc::PIDFD_INFO_CGROUPID),
        ..Raw::default()
    };
    // SAFETY: `pidfd` is open for the whole call; the request's number carries
    // the size of `Raw` (asserted above), the kernel reads and writes no more
    // than that, and `Raw` holds integers only. Drivers of other descriptors
    // refuse the number: type 0xFF, number 11, this size is used by pidfds.
    let returned = unsafe { libc::ioctl(pidfd.as_raw_fd(), libc::PIDFD_GET_INFO, &raw mut raw) };
    checked(returned)?;
    let has = |bit: libc::c_uint| raw.mask & u64::from(bit) != 0;
    if !has(libc::PIDFD_INFO_PID) || !has(libc::PIDFD_INFO_CREDS) {
        // A reaped process on kernels that keep its exit information.
        return Err(Errno::SRCH);
    }
    Ok(PidfdInfo {
        pid: raw.tgid,
        uid: raw.euid,
        gid: raw.egid,
        cgroup_id: has(libc::PIDFD_INFO_CGROUPID).then_some(raw.cgroupid),
    })
}

#[cfg(test)]
mod tests {
    use super::pidfd_info;
    use rustix::{
        fd::AsFd as _,
        io::Errno,
        process::{Pid, PidfdFlags, pidfd_open},
    };
    use std::{fs::File, process::Command};

    #[test]
    fn our_own_pidfd_tells_our_credentials() {
        let pidfd = pidfd_open(rustix::process::getpid(), PidfdFlags::empty()).unwrap();
        match pidfd_info(pidfd.as_fd()) {
            Ok(info) => {
                assert_eq!(info.pid, std::process::id());
                assert_eq!(info.uid, rustix::process::geteuid().as_raw());
                assert_eq!(info.gid, rustix::process::getegid().as_raw());
            }
            // Kernels before 6.13.
            Err(error) => assert!(matches!(error, Errno::NOTTY | Errno::INVAL)),
        }
    }

    #[test]
    fn a_reaped_process_has_no_credentials() {
        let mut child = Command::new("/bin/true").spawn().unwrap();
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).unwrap();
        child.wait().unwrap();
        let error = pidfd_info(pidfd.as_fd()).unwrap_err();
        assert!(matches!(error, Errno::SRCH | Errno::NOTTY | Errno::INVAL));
    }

    #[test]
    fn a_file_is_no_process() {
        let file = File::open("/proc/self/stat").unwrap();
        assert_eq!(pidfd_info(file.as_fd()), Err(Errno::NOTTY));
    }
}
