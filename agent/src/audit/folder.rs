//! The folder that holds the segments of both chains.
//!
//! Everything goes through the opened folder, which is locked for as long as
//! this lives, so that two agents never write one trail. What others own or may
//! reach is refused, not repaired.

use super::{AuditError, chain::Chain};
use rustix::{
    fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat},
    process::geteuid,
};
use std::{
    collections::BTreeMap,
    fs::{DirBuilder, File, TryLockError},
    io::{self, Write as _},
    os::unix::fs::DirBuilderExt as _,
    path::Path,
    sync::Arc,
};

/// The folder, locked.
#[derive(Debug)]
pub(super) struct Folder {
    handle: File,
    path: Arc<Path>,
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Closing alone would leave the lock with a child that inherited it.
        self.handle.unlock().unwrap_or_default();
    }
}

impl Folder {
    /// Opens the folder, which is created if need be; its parent has to be.
    pub(super) fn open(dir: &Path) -> Result<Self, AuditError> {
        match DirBuilder::new().mode(0o700).create(dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(AuditError::io("create", dir)(error));
            }
            _ => {}
        }
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let handle = rustix::fs::open(dir, flags, Mode::empty())
            .map(File::from)
            .map_err(AuditError::io("open", dir))?;
        let stat = rustix::fs::fstat(&handle).map_err(AuditError::io("look at", dir))?;
        demand_private(&stat, dir)?;
        lock(&handle, dir)?;
        let parent = dir.join("..");
        File::open(&parent)
            .and_then(|parent| parent.sync_all())
            .map_err(AuditError::io("sync", parent))?;
        Ok(Self {
            handle,
            path: dir.into(),
        })
    }

    /// Where it lies.
    pub(super) const fn path(&self) -> &Arc<Path> {
        &self.path
    }

    /// The numbers of a chain's segments, and how long each is. Those that will not
    /// be opened for writing are looked at, too.
    pub(super) fn segments(&self, chain: Chain) -> Result<BTreeMap<u32, u64>, AuditError> {
        let mut found = BTreeMap::new();
        let listing = Dir::read_from(&self.handle).map_err(AuditError::io("list", &*self.path))?;
        for entry in listing {
            let entry = entry.map_err(AuditError::io("list", &*self.path))?;
            let name = entry.file_name();
            if let Some(number) = name.to_str().ok().and_then(|name| chain.number_of(name)) {
                let stat =
                    rustix::fs::statat(&self.handle, name, AtFlags::SYMLINK_NOFOLLOW).map_err(
                        AuditError::io("look at", &*self.segment_path(chain, number)),
                    )?;
                found.insert(number, stat);
            }
        }
        let last = found.last_key_value().map(|(number, _)| *number);
        for (number, stat) in &found {
            if Some(*number) != last {
                demand_file(stat, &self.segment_path(chain, *number))?;
            }
        }
        let length = |stat: &Stat| u64::try_from(stat.st_size).unwrap_or(0);
        Ok(found.iter().map(|(n, stat)| (*n, length(stat))).collect())
    }

    /// The path of a segment.
    pub(super) fn segment_path(&self, chain: Chain, number: u32) -> Arc<Path> {
        self.path.join(chain.file_name(number)).into()
    }

    /// Opens the last segment for appending, creating it if need be.
    pub(super) fn open_segment(&self, chain: Chain, number: u32) -> Result<File, AuditError> {
        let path = self.segment_path(chain, number);
        let file = self
            .open_file(&chain.file_name(number), OFlags::empty())
            .map_err(AuditError::io("open", &*path))?;
        let stat = rustix::fs::fstat(&file).map_err(AuditError::io("look at", &*path))?;
        demand_file(&stat, &path)?;
        // The names have to be as durable as what stands in the file.
        self.sync().map_err(AuditError::io("sync", &*self.path))?;
        Ok(file)
    }

    /// Creates the next segment, which must not be there.
    pub(super) fn create_segment(&self, chain: Chain, number: u32) -> io::Result<File> {
        let file = self.open_file(&chain.file_name(number), OFlags::EXCL)?;
        self.sync()?;
        Ok(file)
    }

    /// Opens a file of the folder for appending, creating it if need be.
    pub(super) fn open_file(&self, name: &str, more: OFlags) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::APPEND | OFlags::CREATE;
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC | more;
        let mode = Mode::RUSR | Mode::WUSR;
        Ok(rustix::fs::openat(&self.handle, name, flags, mode)?.into())
    }

    /// Opens a segment for reading.
    pub(super) fn read_segment(&self, chain: Chain, number: u32) -> Result<File, AuditError> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&self.handle, chain.file_name(number), flags, Mode::empty())
            .map(File::from)
            .map_err(AuditError::io("open", &*self.segment_path(chain, number)))
    }

    /// Removes a segment; that it is not there is no error.
    pub(super) fn remove_segment(&self, chain: Chain, number: u32) -> io::Result<()> {
        let removed = rustix::fs::unlinkat(&self.handle, chain.file_name(number), AtFlags::empty());
        match removed {
            Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Gives a file another name, in place of what has that.
    pub(super) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.handle, from, &self.handle, to)?)
    }

    /// Writes a small file whole or not at all.
    pub(super) fn replace(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let temporary = format!(".tmp-{name}");
        let mut file = self.open_file(&temporary, OFlags::TRUNC)?;
        file.write_all(content)?;
        file.sync_all()?;
        self.rename(&temporary, name)?;
        self.sync()
    }

    /// Bytes that the agent may still write to its file system.
    pub(super) fn free_bytes(&self) -> io::Result<u64> {
        let space = rustix::fs::fstatvfs(&self.handle)?;
        Ok(space.f_bavail.saturating_mul(space.f_frsize))
    }

    /// Makes the names of its files survive a loss of power.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.handle.sync_all()
    }
}

fn demand_file(stat: &Stat, path: &Path) -> Result<(), AuditError> {
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(AuditError::NotAFile { path: path.into() });
    }
    demand_private(stat, path)
}

/// Refuses what others own or may reach.
fn demand_private(stat: &Stat, path: &Path) -> Result<(), AuditError> {
    let ours = geteuid().as_raw();
    if stat.st_uid != ours {
        return Err(AuditError::ForeignOwner {
            path: path.into(),
            uid: stat.st_uid,
            ours,
        });
    }
    let mode = stat.st_mode & 0o7777;
    if mode & 0o077 != 0 {
        return Err(AuditError::TooWide {
            path: path.into(),
            mode,
        });
    }
    Ok(())
}

fn lock(folder: &File, path: &Path) -> Result<(), AuditError> {
    folder.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => AuditError::InUse { path: path.into() },
        TryLockError::Error(error) => AuditError::io("lock", path)(error),
    })
}
