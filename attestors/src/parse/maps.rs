//! `/proc/PID/maps` (`proc_pid_maps(5)`).

use super::{Malformed, lines, number};

/// What lies behind a mapping.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Backing {
    /// No file: memory of the process.
    Anonymous,
    /// A file, which memory shared by descriptor is too.
    File,
    /// Code that the kernel put there (`[vdso]`).
    Kernel,
}

/// One mapping whose bytes can be executed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Mapping {
    /// What lies behind it.
    pub backing: Backing,
    /// Major and minor number of the file's device, as the mapping names it.
    pub device: (u32, u32),
    /// Behind its last byte.
    pub end: u64,
    /// The file's inode, as the mapping names it.
    pub inode: u64,
    /// Whether the process shares its writes with others.
    pub is_shared: bool,
    /// Whether the process can write it as well.
    pub is_writable: bool,
    /// Where in the file it begins.
    pub offset: u64,
    /// Its first byte.
    pub start: u64,
}

/// The mappings in `bytes` that can be executed.
///
/// The page of old system calls (`[vsyscall]`) is left out: it lies above every process's memory,
/// the same for all. Names are read of mappings without a file only; those that a process gives to
/// its memory itself begin with `[anon`.
///
/// # Errors
/// A line of another form: the kernel escapes line ends in names, so no process can add a line.
pub fn executable_mappings(bytes: &[u8]) -> Result<Vec<Mapping>, Malformed> {
    lines(bytes)
        .filter_map(|line| mapping(line).transpose())
        .collect()
}

fn mapping(line: &[u8]) -> Result<Option<Mapping>, Malformed> {
    let malformed = Malformed("maps: a line of another form");
    let mut fields = line.splitn(6, |&byte| byte == b' ');
    let mut next = || fields.next().ok_or(malformed);
    let (range, rights, offset, device, inode) = (next()?, next()?, next()?, next()?, next()?);
    let &[_, write, execute, sharing] = rights else {
        return Err(malformed);
    };
    let (start, end) = pair(range, b'-').ok_or(malformed)?;
    let device = pair(device, b':').ok_or(malformed)?;
    let inode = number(inode).ok_or(malformed)?;
    if start >= end {
        return Err(malformed);
    }
    let name = fields.next().unwrap_or_default().trim_ascii_start();
    if execute != b'x' || (inode == 0 && device == (0, 0) && name == b"[vsyscall]") {
        return Ok(None);
    }
    Ok(Some(Mapping {
        backing: backing(device, inode, name),
        device: (narrow(device.0)?, narrow(device.1)?),
        end,
        inode,
        is_shared: sharing == b's',
        is_writable: write == b'w',
        offset: hexadecimal(offset).ok_or(malformed)?,
        start,
    }))
}

fn backing(device: (u64, u64), inode: u64, name: &[u8]) -> Backing {
    if inode != 0 || device != (0, 0) {
        return Backing::File;
    }
    match name {
        b"[vdso]" | b"[vectors]" | b"[sigpage]" | b"[uprobes]" => Backing::Kernel,
        _ => Backing::Anonymous,
    }
}

fn pair(bytes: &[u8], between: u8) -> Option<(u64, u64)> {
    let at = bytes.iter().position(|&byte| byte == between)?;
    let (first, second) = (bytes.get(..at)?, bytes.get(at + 1..)?);
    Some((hexadecimal(first)?, hexadecimal(second)?))
}

fn hexadecimal(bytes: &[u8]) -> Option<u64> {
    if !bytes.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u64::from_str_radix(str::from_utf8(bytes).ok()?, 16).ok()
}

fn narrow(number: u64) -> Result<u32, Malformed> {
    u32::try_from(number).map_err(|_too_large| Malformed("maps: a device"))
}

#[cfg(test)]
mod tests {
    use super::{Backing, executable_mappings};

    const TEXT: &str = "\
55dd8fe7a000-55dd8fe7c000 r--p 00000000 fe:00 247026                     /usr/bin/cat
55dd8fe7c000-55dd8fe81000 r-xp 00002000 fe:00 247026                     /usr/bin/cat
55ddbabab000-55ddbabcc000 rwxp 00000000 00:00 0                          [heap]
7f4a8037e000-7f4a8037f000 rwxs 00000000 00:01 1068                       /dev/zero (deleted)
7fab56d21000-7fab56d25000 r-xp 00000000 00:00 0 \n\
7fab56d25000-7fab56d27000 r-xp 00000000 00:00 0                          [anon:[vdso]]
7fab56d27000-7fab56d29000 r-xp 00000000 00:00 0                          [vdso]
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]
";

    #[test]
    fn what_can_be_executed_is_told_by_what_lies_behind() {
        let found = executable_mappings(TEXT.as_bytes()).unwrap();
        let backings: Vec<_> = found.iter().map(|mapping| mapping.backing).collect();
        assert_eq!(
            backings,
            [
                Backing::File,
                Backing::Anonymous,
                Backing::File,
                Backing::Anonymous,
                Backing::Anonymous,
                Backing::Kernel,
            ]
        );
        let cat = found[0];
        assert_eq!((cat.start, cat.end), (0x55dd_8fe7_c000, 0x55dd_8fe8_1000));
        assert_eq!((cat.device, cat.inode), ((0xfe, 0), 247_026));
        assert_eq!((cat.offset, cat.is_writable), (0x2000, false));
        assert!(found[2].is_shared && found[2].is_writable && !cat.is_shared);
    }

    #[test]
    fn a_file_called_like_the_kernels_code_is_a_file() {
        let text = "1000-2000 r-xp 0 fe:00 7 [vdso]\n1000-2000 r-xp 0 fe:00 0 [vsyscall]";
        let found = executable_mappings(text.as_bytes()).unwrap();
        assert!(found.len() == 2 && found.iter().all(|m| m.backing == Backing::File));
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "1000 r-xp 0 fe:00 7 x",
            "2000-1000 r-xp 0 fe:00 7 x",
            "+1000-2000 r-xp 0 fe:00 7 x",
            "1000-2000 r-x 0 fe:00 7 x",
            "1000-2000 r-xp 0 fe00 7 x",
            "1000-2000 r-xp 0 fe:00 -7 x",
            "1000-2000 r-xp 0 fe:100000000 7 x",
            "1000-2000 r-xp 0 fe:00",
        ] {
            executable_mappings(text.as_bytes()).unwrap_err();
        }
    }
}
