//! Programs whose path or digest says nothing about what they are told to do.
//!
//! By name, where a path is registered; by content, where a digest is: the
//! places where such programs usually lie are hashed once and remembered by
//! what a write changes. An interpreter elsewhere, or of another version, is not
//! recognised by its digest.

use crate::canonical::hex;
use aws_lc_rs::digest::{Context, SHA256};
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

/// Run other programs' text.
const INTERPRETERS: &[&str] = &[
    "ash", "awk", "bash", "beam", "bun", "busybox", "dash", "deno", "dotnet", "electron", "erl",
    "fish", "gawk", "guile", "java", "jshell", "julia", "ksh", "lua", "luajit", "mawk", "mksh",
    "node", "nodejs", "perl", "php", "php-cgi", "php-fpm", "pwsh", "pypy", "python", "Rscript",
    "ruby", "sh", "tclsh", "wish", "zsh",
];

/// Pass on what they are told, or run what they are told.
const MOUTHPIECES: &[&str] = &[
    "cat",
    "chroot",
    "curl",
    "dd",
    "env",
    "find",
    "flock",
    "gdb",
    "grpcurl",
    "inetd",
    "ltrace",
    "nc",
    "ncat",
    "netcat",
    "nc.openbsd",
    "nc.traditional",
    "nice",
    "nohup",
    "nsenter",
    "openssl",
    "pkexec",
    "runuser",
    "screen",
    "script",
    "sed",
    "setpriv",
    "setsid",
    "socat",
    "ssh",
    "stdbuf",
    "strace",
    "su",
    "sudo",
    "systemd-run",
    "systemd-socket-activate",
    "tail",
    "tee",
    "telnet",
    "time",
    "timeout",
    "tmux",
    "unshare",
    "vi",
    "vim",
    "watch",
    "wget",
    "xargs",
];

/// Where they usually lie; a star stands for one directory.
const PLACES: &[&str] = &[
    "usr/bin",
    "usr/local/bin",
    "usr/sbin",
    "bin",
    "sbin",
    "opt/*/bin",
    "usr/local/*/bin",
    "usr/lib/jvm/*/bin",
];

/// Entries of a directory that are looked at.
const MAX_ENTRIES: usize = 20_000;

/// Larger files are not hashed: the largest interpreters have a hundred megabytes.
const MAX_BYTES: u64 = 512 << 20;

/// Bytes that all of them together may have.
const MAX_TOTAL: u64 = 2 << 30;

const CHUNK: usize = 256 << 10;

/// What kind of program says nothing about what it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Generic {
    /// Runs text.
    Interpreter,
    /// Passes on.
    Mouthpiece,
    /// Symbolon itself: hands its identity to whoever runs it.
    Symbolon,
}

/// The kind of the program with this file name, whatever its version.
pub(super) fn by_name(path: &str) -> Option<Generic> {
    let name = path.rsplit('/').next()?;
    let plain = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.' || c == '-');
    let is = |list: &[&str]| list.contains(&name) || list.contains(&plain);
    if is(INTERPRETERS) || name.starts_with("ld-linux") || name.starts_with("ld-musl") {
        Some(Generic::Interpreter)
    } else if is(MOUTHPIECES) {
        Some(Generic::Mouthpiece)
    } else if name == "symbolon" {
        Some(Generic::Symbolon)
    } else {
        None
    }
}

/// The known programs of a machine by their digests.
pub(super) type Digests = HashMap<String, (Generic, PathBuf)>;

/// What a write changes: device, inode, size, and the two times.
type Key = (u64, u64, u64, (i64, i64), (i64, i64));

/// Hashes the known programs.
#[derive(Debug, Default)]
pub(super) struct Programs {
    hashed: Mutex<HashMap<Key, String>>,
}

impl Programs {
    /// The digests of the known programs below `root`, and of the running agent.
    pub(super) fn digests(&self, root: &Path) -> Digests {
        let mut digests = Digests::new();
        let mut left = MAX_TOTAL;
        for directory in PLACES.iter().flat_map(|place| directories(root, place)) {
            for (generic, path) in known_programs(root, &directory) {
                if let Some(digest) = self.digest(&path, &mut left) {
                    digests.entry(digest).or_insert((generic, path));
                }
            }
        }
        let own = Path::new("/proc/self/exe");
        if let Some(digest) = self.digest(own, &mut left) {
            let path = fs::read_link(own).unwrap_or_default();
            digests.insert(digest, (Generic::Symbolon, path));
        }
        digests
    }

    fn digest(&self, path: &Path, left: &mut u64) -> Option<String> {
        let metadata = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
        let key = key(&metadata);
        if let Some(known) = self.hashed.lock().get(&key) {
            return Some(known.clone());
        }
        *left = left.checked_sub(metadata.len())?;
        let digest = (metadata.len() <= MAX_BYTES).then(|| hash(path).ok())??;
        self.hashed.lock().insert(key, digest.clone());
        Some(digest)
    }
}

fn key(file: &fs::Metadata) -> Key {
    let modified = (file.mtime(), file.mtime_nsec());
    let changed = (file.ctime(), file.ctime_nsec());
    (file.dev(), file.ino(), file.len(), modified, changed)
}

fn hash(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?.take(MAX_BYTES);
    let mut context = Context::new(&SHA256);
    let mut chunk = vec![0; CHUNK];
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(hex(context.finish().as_ref())),
            read => context.update(chunk.get(..read).unwrap_or_default()),
        }
    }
}

/// The directories of a place; links are not followed where `root` is not ours.
fn directories(root: &Path, place: &str) -> Vec<PathBuf> {
    let Some((before, after)) = place.split_once("/*/") else {
        return vec![root.join(place)];
    };
    let entries = fs::read_dir(root.join(before));
    let entries = entries.into_iter().flatten().flatten().take(MAX_ENTRIES);
    entries.map(|entry| entry.path().join(after)).collect()
}

fn known_programs(root: &Path, directory: &Path) -> Vec<(Generic, PathBuf)> {
    let ours = root == Path::new("/");
    let is_link = |path: &Path| fs::symlink_metadata(path).is_ok_and(|file| file.is_symlink());
    if !ours && is_link(directory) {
        return Vec::new();
    }
    let entries = fs::read_dir(directory);
    let entries = entries.into_iter().flatten().flatten().take(MAX_ENTRIES);
    entries
        .map(|entry| entry.path())
        .filter_map(|path| Some((by_name(path.to_str()?)?, path)))
        .filter(|(_, path)| ours || !is_link(path))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Generic, Programs, by_name};
    use std::fs;

    #[test]
    fn names_are_known_whatever_their_version() {
        for interpreter in [
            "/usr/bin/python3.13",
            "/usr/bin/node",
            "/opt/x/bin/bun",
            "/bin/dash",
            "/usr/bin/php8.2",
            "/usr/lib/jvm/java-21/bin/java",
            "/usr/bin/lua5.4",
            "/lib64/ld-linux-x86-64.so.2",
            "/usr/bin/busybox",
            "/usr/bin/deno",
            "/usr/bin/ruby3.1",
            "/usr/bin/perl",
        ] {
            assert_eq!(
                by_name(interpreter),
                Some(Generic::Interpreter),
                "{interpreter}"
            );
        }
        for mouthpiece in [
            "/usr/bin/cat",
            "/usr/bin/nc.openbsd",
            "/usr/bin/sudo",
            "/usr/bin/curl",
        ] {
            assert_eq!(
                by_name(mouthpiece),
                Some(Generic::Mouthpiece),
                "{mouthpiece}"
            );
        }
        assert_eq!(by_name("/usr/bin/symbolon"), Some(Generic::Symbolon));
        for other in [
            "/usr/bin/nodemon",
            "/usr/bin/payments",
            "/7",
            "/usr/bin/catalog",
        ] {
            assert_eq!(by_name(other), None, "{other}");
        }
    }

    #[test]
    fn interpreters_are_known_by_content_where_they_usually_lie() {
        let root = tempfile::tempdir().unwrap();
        let java = root.path().join("usr/lib/jvm/java-21/bin");
        let bin = root.path().join("usr/bin");
        for (directory, name) in [(&java, "java"), (&bin, "python3.13"), (&bin, "payments")] {
            fs::create_dir_all(directory).unwrap();
            fs::write(directory.join(name), name).unwrap();
        }
        let digest = |text: &str| crate::canonical::sha256_hex(text.as_bytes());
        let digests = Programs::default().digests(root.path());
        assert_eq!(digests[&digest("java")].0, Generic::Interpreter);
        assert_eq!(digests[&digest("python3.13")].1, bin.join("python3.13"));
        assert!(!digests.contains_key(&digest("payments")));
        let own = fs::read("/proc/self/exe").unwrap();
        let own = crate::canonical::sha256_hex(&own);
        assert_eq!(digests[&own].0, Generic::Symbolon);
    }

    #[test]
    fn a_changed_program_is_hashed_again() {
        let root = tempfile::tempdir().unwrap();
        let bin = root.path().join("usr/bin");
        fs::create_dir_all(&bin).unwrap();
        let programs = Programs::default();
        for content in ["one", "another"] {
            fs::write(bin.join("node"), content).unwrap();
            let digest = crate::canonical::sha256_hex(content.as_bytes());
            assert!(
                programs.digests(root.path()).contains_key(&digest),
                "{content}"
            );
        }
    }
}
