//! Wakes when something happens in the folder.
//!
//! inotify on the folder alone: a `ConfigMap` is swapped by renaming a link in it,
//! editors rename or close what they wrote. Network file systems tell nothing and a
//! folder put in the place of another one is not noticed, so whoever waits here
//! also looks by itself from time to time. A watch is for one change: who wants to
//! see the next one makes a new watch before looking.

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use std::{io, path::Path, sync::Arc};
use symbolon_syscalls::ReadableWatch;

#[derive(Debug)]
pub(super) struct Watch(ReadableWatch);

impl Watch {
    /// Watches the folder that is at `path` now.
    pub(super) fn on(path: &Path) -> io::Result<Self> {
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        let events = WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVED_FROM
            | WatchFlags::MOVED_TO
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::ATTRIB
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR;
        inotify::add_watch(&inotify, path, events)?;
        Ok(Self(ReadableWatch::new(Arc::new(inotify))?))
    }

    /// Resolves after something happened since the watch was made.
    pub(super) async fn changed(&self) -> io::Result<()> {
        self.0.readable().await
    }
}
