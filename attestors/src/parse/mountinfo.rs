//! `/proc/PID/mountinfo` (`proc_pid_mountinfo(5)`).

use super::{lines, number};

/// Mount ID and file system type of each mount in `bytes`.
///
/// Mount points and sources are the mounter's to choose; the kernel escapes
/// spaces and line ends in them, so fields can be counted. Lines that are not
/// of this form are left out, which makes their mounts unknown.
pub fn mounts(bytes: &[u8]) -> impl Iterator<Item = (u64, &str)> {
    lines(bytes).filter_map(mount)
}

fn mount(line: &[u8]) -> Option<(u64, &str)> {
    let mut fields = line.split(|&byte| byte == b' ');
    let id = number(fields.next()?)?;
    // Parent, device, root, mount point, options; then tags until a lone hyphen.
    let kind = fields.skip(5).skip_while(|field| *field != b"-").nth(1)?;
    Some((id, str::from_utf8(kind).ok()?))
}

#[cfg(test)]
mod tests {
    use super::mounts;

    #[test]
    fn id_and_type_are_read_with_and_without_tags() {
        let text = b"27 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n\
            30 27 0:26 / /home/a\\040b rw shared:4 master:1 - fuse.sshfs x:/ rw\n\
            31 27 0:26 / - rw - tmpfs - rw\n";
        let found: Vec<_> = mounts(text).collect();
        assert_eq!(found, [(27, "ext4"), (30, "fuse.sshfs"), (31, "tmpfs")]);
    }

    #[test]
    fn a_mount_point_called_hyphen_does_not_shift_the_fields() {
        let text = b"9 1 0:5 - - - - fuse ext4 rw\n";
        assert_eq!(mounts(text).collect::<Vec<_>>(), [(9, "fuse")]);
    }

    #[test]
    fn other_lines_are_left_out() {
        let text = b"x 1 0:5 / / rw - ext4 a rw\n7 1 0:5 / /\n8 1 0:5 / / rw - \xff a rw\n\n";
        assert_eq!(mounts(text).count(), 0);
    }
}
