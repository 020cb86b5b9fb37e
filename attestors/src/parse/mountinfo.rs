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

/// The mount points of the file systems of type `wanted` in `bytes`, as the kernel escapes them.
///
/// Lines of another form than the kernel's are left out.
pub fn mount_points<'a>(bytes: &'a [u8], wanted: &str) -> impl Iterator<Item = Vec<u8>> + 'a {
    let wanted = wanted.to_owned();
    lines(bytes).filter_map(move |line| {
        let (_, kind) = mount(line)?;
        let point = line.split(|&byte| byte == b' ').nth(4)?;
        (kind == wanted && point.first() == Some(&b'/')).then(|| unescaped(point))
    })
}

/// Undoes what `seq_escape` does to spaces, tabs, line ends and backslashes: `\040`.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, tail)) = rest.split_first() {
        let code = match (first, tail) {
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..]) => {
                Some((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'))
            }
            _ => None,
        };
        plain.push(code.unwrap_or(first));
        rest = if code.is_some() {
            tail.get(3..).unwrap_or_default()
        } else {
            tail
        };
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::{mount_points, mounts};

    #[test]
    fn mount_points_of_one_type_are_found_and_unescaped() {
        let text = b"30 1 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n\
            31 1 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw\n\
            32 1 0:26 /../.. /a\\040b\\134 rw shared:1 - cgroup2 x rw\n\
            33 1 0:26 / relative rw - cgroup2 x rw\n";
        let found: Vec<_> = mount_points(text, "cgroup2").collect();
        assert_eq!(found, [&b"/sys/fs/cgroup"[..], b"/a b\\"]);
    }

    #[test]
    fn what_is_no_escape_stays() {
        let text = b"30 1 0:26 / /a\\04 rw - cgroup2 x rw\n31 1 0:26 / /b\\ rw - cgroup2 x rw\n";
        let found: Vec<_> = mount_points(text, "cgroup2").collect();
        assert_eq!(found, [&b"/a\\04"[..], b"/b\\"]);
    }

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
