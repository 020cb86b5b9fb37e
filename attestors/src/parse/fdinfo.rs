//! `/proc/PID/fdinfo/N` (`proc_pid_fdinfo(5)`).

use super::{Malformed, lines, number};

/// One open descriptor.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DescriptorInfo {
    /// Whether it is closed by `execve`.
    pub close_on_exec: bool,
    /// The mount of the file (Linux 3.15).
    pub mount: Option<u64>,
    /// The inode of the file (Linux 5.14).
    pub inode: Option<u64>,
}

/// `O_CLOEXEC` as the kernel prints it.
const CLOSE_ON_EXEC: u32 = if cfg!(any(target_arch = "sparc", target_arch = "sparc64")) {
    0x40_0000
} else {
    0o2_000_000
};

/// What `bytes` say.
///
/// The kernel's own lines come first, and each once; lines behind them are the file's kind's.
///
/// # Errors
/// Where there are no flags, a line of these comes twice, or one holds no number.
pub fn descriptor_info(bytes: &[u8]) -> Result<DescriptorInfo, Malformed> {
    let flags = only(bytes, b"flags:")?
        .filter(|digits| !digits.is_empty() && digits.iter().all(|b| (b'0'..=b'7').contains(b)))
        .and_then(|digits| str::from_utf8(digits).ok())
        .and_then(|digits| u32::from_str_radix(digits, 8).ok())
        .ok_or(Malformed("fdinfo: flags"))?;
    Ok(DescriptorInfo {
        close_on_exec: flags & CLOSE_ON_EXEC != 0,
        mount: decimal(bytes, b"mnt_id:")?,
        inode: decimal(bytes, b"ino:")?,
    })
}

fn decimal(bytes: &[u8], name: &[u8]) -> Result<Option<u64>, Malformed> {
    only(bytes, name)?
        .map(|digits| {
            let digits = Some(digits).filter(|digits| !digits.is_empty());
            digits
                .and_then(number)
                .ok_or(Malformed("fdinfo: no number"))
        })
        .transpose()
}

fn only<'a>(bytes: &'a [u8], name: &[u8]) -> Result<Option<&'a [u8]>, Malformed> {
    let mut found = lines(bytes).filter_map(|line| line.strip_prefix(name));
    let value = found.next().map(<[u8]>::trim_ascii_start);
    match found.next() {
        None => Ok(value),
        Some(_) => Err(Malformed("fdinfo: a line comes twice")),
    }
}

#[cfg(test)]
mod tests {
    use super::{DescriptorInfo, descriptor_info};
    use proptest::prelude::*;

    #[test]
    fn flag_mount_and_inode_are_read() {
        let text = b"pos:\t0\nflags:\t02004002\nmnt_id:\t9\nino:\t4711\nscm_fds: 0\n";
        let expected = DescriptorInfo {
            close_on_exec: true,
            mount: Some(9),
            inode: Some(4711),
        };
        assert_eq!(descriptor_info(text), Ok(expected));
        let old = descriptor_info(b"pos:\t0\nflags:\t02\n").unwrap();
        assert_eq!((old.close_on_exec, old.inode), (false, None));
    }

    #[test]
    fn our_own_descriptors_are_understood() {
        use std::os::fd::AsRawFd as _;
        let (ours, _theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let path = format!("/proc/self/fdinfo/{}", ours.as_raw_fd());
        let set = descriptor_info(&std::fs::read(&path).unwrap()).unwrap();
        assert!(set.close_on_exec);
        rustix::io::fcntl_setfd(&ours, rustix::io::FdFlags::empty()).unwrap();
        let unset = descriptor_info(&std::fs::read(&path).unwrap()).unwrap();
        assert!(!unset.close_on_exec);
        assert_eq!(set.inode, unset.inode);
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            &b""[..],
            b"pos:\t0\n",
            b"flags:\n",
            b"flags:\t\n",
            b"flags:\t8\n",
            b"flags:\t0x2\n",
            b"flags:\t-2\n",
            b"flags:\t77777777777777\n",
            b"flags:\t02\nflags:\t02\n",
            b"flags:\t02\nino:\tx\n",
            b"flags:\t02\nino:\n",
            b"flags:\t02\nino:\t1\nino:\t2\n",
            b"flags:\t02\nmnt_id:\t99999999999999999999999\n",
        ] {
            descriptor_info(text).unwrap_err();
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _any = descriptor_info(&bytes);
        }

        #[test]
        fn what_is_written_is_read(flags: u32, mount: u64, inode: u64) {
            let text = format!("pos:\t0\nflags:\t0{flags:o}\nmnt_id:\t{mount}\nino:\t{inode}\n");
            let read = descriptor_info(text.as_bytes()).unwrap();
            prop_assert_eq!(read.close_on_exec, flags & 0o2_000_000 != 0);
            prop_assert_eq!((read.mount, read.inode), (Some(mount), Some(inode)));
        }
    }
}
