//! An SVID in files that are replaced as a set.
//!
//! Three files cannot be renamed at once, one symbolic link can. So each set
//! lies in a directory of its own, `current` points to the newest, and the
//! stable names point through it:
//!
//! ```text
//! DIR/svid.pem -> current/svid.pem        DIR/current -> .svid-8
//! DIR/key.pem -> current/key.pem          DIR/.svid-8/{svid,key,bundle}.pem
//! DIR/bundle.pem -> current/bundle.pem    DIR/.svid-7/   (the set before)
//! ```
//!
//! A set is complete and on disk before `current` points to it, so a crash
//! leaves the old or the new one. The set before stays until the next
//! replacement for readers that are between two files; whoever resolves
//! `current` once reads one set. DIR is locked, so that no two writers share
//! it, and refused where any user may write to it.

use anyhow::{Context as _, Result, bail, ensure};
use rustix::fs::{FlockOperation, flock};
use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, symlink},
    path::{Path, PathBuf},
};
use zeroize::Zeroizing;

const SET: &str = ".svid-";
const CURRENT: &str = "current";
const NEXT: &str = ".next";
const NAMES: [&str; 3] = ["svid.pem", "key.pem", "bundle.pem"];

/// The content of the files, PEM each.
pub(super) struct FileSet {
    pub(super) svid: String,
    pub(super) key: Zeroizing<String>,
    pub(super) bundle: String,
}

/// A directory of SVID files, ours until it is dropped.
#[derive(Debug)]
pub(super) struct SvidDirectory {
    path: PathBuf,
    /// Holds the lock, and makes renames durable.
    handle: File,
}

impl SvidDirectory {
    /// Creates the directory (0700) where there is none, and locks it.
    pub(super) fn open(path: &Path) -> Result<Self> {
        if !path.exists() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(path)
                .with_context(|| format!("cannot create {}", path.display()))?;
        }
        let handle = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        let meta = handle.metadata()?;
        ensure!(meta.is_dir(), "{} is not a directory", path.display());
        ensure!(
            meta.mode() & 0o002 == 0,
            "{} may be written by any user: `chmod o-w` it, or name another directory",
            path.display()
        );
        flock(&handle, FlockOperation::NonBlockingLockExclusive)
            .with_context(|| format!("another symbolon writes to {}", path.display()))?;
        let directory = Self {
            path: path.to_owned(),
            handle,
        };
        directory.refuse_foreign_files()?;
        Ok(directory)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Puts `set` in the place of the one before.
    pub(super) fn replace(&self, set: &FileSet) -> Result<()> {
        let old = fs::read_link(self.path.join(CURRENT)).ok();
        let name = format!("{SET}{}", self.newest()?.saturating_add(1));
        self.write_set(&self.path.join(&name), set)
            .with_context(|| format!("cannot write to {}", self.path.display()))?;
        self.point(CURRENT, Path::new(&name))?;
        for stable in NAMES {
            self.point(stable, &Path::new(CURRENT).join(stable))?;
        }
        self.handle.sync_all()?;
        self.remove_sets(&[Some(PathBuf::from(name)), old])
    }

    fn write_set(&self, directory: &Path, set: &FileSet) -> Result<()> {
        fs::create_dir(directory)?;
        let [svid, key, bundle] = NAMES;
        write_file(&directory.join(svid), &set.svid, 0o644)?;
        write_file(&directory.join(key), &set.key, 0o600)?;
        write_file(&directory.join(bundle), &set.bundle, 0o644)?;
        File::open(directory)?.sync_all()?;
        Ok(self.handle.sync_all()?)
    }

    /// Makes the link `name` point to `target`, in one step.
    fn point(&self, name: &str, target: &Path) -> Result<()> {
        let link = self.path.join(name);
        if fs::read_link(&link).is_ok_and(|now| now == target) {
            return Ok(());
        }
        let next = self.path.join(NEXT);
        match fs::remove_file(&next) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => symlink(target, &next),
        }
        .and_then(|()| fs::rename(&next, &link))
        .with_context(|| format!("cannot replace {}", link.display()))
    }

    /// A file that we did not make is never replaced.
    fn refuse_foreign_files(&self) -> Result<()> {
        for name in NAMES.into_iter().chain([CURRENT]) {
            let path = self.path.join(name);
            match fs::symlink_metadata(&path) {
                Ok(meta) if !meta.is_symlink() => bail!(
                    "{} is not a link of ours: move it away, or name another directory",
                    path.display()
                ),
                _ => {}
            }
        }
        Ok(())
    }

    /// The names and numbers of the sets that are there.
    fn sets(&self) -> Result<Vec<(PathBuf, u64)>> {
        let mut sets = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix(SET));
            if let Some(number) = number.and_then(|number| number.parse().ok()) {
                sets.push((PathBuf::from(name), number));
            }
        }
        Ok(sets)
    }

    fn newest(&self) -> Result<u64> {
        Ok(self
            .sets()?
            .iter()
            .map(|(_, number)| *number)
            .max()
            .unwrap_or(0))
    }

    fn remove_sets(&self, kept: &[Option<PathBuf>]) -> Result<()> {
        for (name, _) in self.sets()? {
            if !kept.contains(&Some(name.clone())) {
                let path = self.path.join(name);
                fs::remove_dir_all(&path)
                    .with_context(|| format!("cannot remove {}", path.display()))?;
            }
        }
        Ok(())
    }
}

/// Writes a new file that has its mode from the first moment.
fn write_file(path: &Path, content: &str, mode: u32) -> Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    file.write_all(content.as_bytes())?;
    Ok(file.sync_all()?)
}

#[cfg(test)]
mod tests;
