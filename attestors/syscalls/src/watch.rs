//! Waiting for a descriptor on tokio's reactor (`epoll(7)`).

use rustix::{fd::OwnedFd, io::Errno};
use std::{io, sync::Arc};
use tokio::io::{Interest, unix::AsyncFd};

/// A descriptor that the runtime watches until it is readable.
///
/// Keeps the descriptor to itself: tokio's type would also hand it out, and
/// must not outlive it.
#[derive(Debug)]
pub struct ReadableWatch(AsyncFd<Arc<OwnedFd>>);

impl ReadableWatch {
    /// Has the current runtime watch `descriptor`.
    ///
    /// # Errors
    /// `EPERM` for what cannot be polled, `EEXIST` where the runtime watches it
    /// already, `ENOSPC` or `ENOMEM` beyond the kernel's limits.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub fn new(descriptor: Arc<OwnedFd>) -> io::Result<Self> {
        // SAFETY: an `OwnedFd` names one open descriptor and closes it when it
        // is dropped, and that is not before the last `Arc` of it is. The
        // `AsyncFd` owns one of them; it is private here and never given out,
        // so it is dropped only together with the registration.
        let watch = unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) };
        Ok(Self(watch?))
    }

    /// Waits until the descriptor is readable, and from then on returns at once. Any number of
    /// tasks may wait.
    ///
    /// # Errors
    /// Where the runtime shuts down.
    pub async fn readable(&self) -> io::Result<()> {
        self.0
            .readable()
            .await
            .map(|mut guard| guard.retain_ready())
    }

    /// Does `attempt` each time the descriptor becomes readable, until it does not say `EAGAIN`.
    ///
    /// # Errors
    /// Its, or where the runtime shuts down.
    pub async fn until<T>(&self, mut attempt: impl FnMut() -> Result<T, Errno>) -> io::Result<T> {
        loop {
            let mut guard = self.0.readable().await?;
            match attempt() {
                Err(Errno::AGAIN) => guard.clear_ready(),
                Err(error) => return Err(error.into()),
                Ok(done) => return Ok(done),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ReadableWatch;
    use rustix::{fd::OwnedFd, io::Errno};
    use std::{io::Write as _, os::unix::net::UnixStream, sync::Arc};

    #[tokio::test]
    async fn readable_stays_readable() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let watch = ReadableWatch::new(Arc::new(OwnedFd::from(ours))).unwrap();
        theirs.write_all(b"x").unwrap();
        watch.readable().await.unwrap();
        watch.readable().await.unwrap();
    }

    #[tokio::test]
    async fn what_is_not_there_yet_is_waited_for() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let ours = Arc::new(OwnedFd::from(ours));
        let watch = ReadableWatch::new(Arc::clone(&ours)).unwrap();
        let mut buffer = [0; 8];
        let read = watch.until(|| rustix::io::read(&ours, &mut buffer));
        let (read, ()) = tokio::join!(read, async { theirs.write_all(b"x").unwrap() });
        assert_eq!(read.unwrap(), 1);
        drop(theirs);
        let end = watch.until(|| rustix::io::read(&ours, &mut buffer));
        assert_eq!(end.await.unwrap(), 0);
        let failed = watch.until(|| Err::<(), _>(Errno::NOBUFS)).await;
        assert_eq!(
            Errno::from_io_error(&failed.unwrap_err()),
            Some(Errno::NOBUFS)
        );
    }

    #[tokio::test]
    async fn a_descriptor_is_watched_once() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let descriptor = Arc::new(OwnedFd::from(ours));
        let _first = ReadableWatch::new(Arc::clone(&descriptor)).unwrap();
        let error = ReadableWatch::new(descriptor).unwrap_err();
        assert_eq!(Errno::from_io_error(&error), Some(Errno::EXIST));
    }

    #[tokio::test]
    async fn a_regular_file_cannot_be_watched() {
        let file = tempfile::tempfile().unwrap();
        let error = ReadableWatch::new(Arc::new(OwnedFd::from(file))).unwrap_err();
        assert_eq!(Errno::from_io_error(&error), Some(Errno::PERM));
    }
}
