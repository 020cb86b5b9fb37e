//! Sockets that appear complete: listening, with their final mode and group.
//!
//! The socket is bound beside its final name and renamed over it once it
//! listens, so nobody ever sees a half-made one, and a stale one is replaced
//! without a gap.

use rustix::{
    fs::{AtFlags, CWD, Gid, chownat},
    io::Errno,
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, listen, socket_with},
};
use std::{
    fs, io,
    os::fd::{AsFd as _, OwnedFd},
    os::unix::{
        fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _},
        net::UnixListener,
    },
    path::{Path, PathBuf},
};
use symbolon_syscalls::set_passcred;

/// Connections that may wait to be accepted: as many as the kernel allows.
const BACKLOG: i32 = i32::MAX;

/// Who may enter the socket's directory, where that has to be made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ownership {
    /// Everybody: directory 0755, socket 0666.
    Everybody,
    /// The agent's user alone: directory 0700, socket 0600.
    Owner,
    /// The agent's user and a group: directory 0750, socket 0660.
    Group(u32),
}

impl Ownership {
    const fn modes(self) -> (u32, u32) {
        match self {
            Self::Everybody => (0o755, 0o666),
            Self::Owner => (0o700, 0o600),
            Self::Group(_) => (0o750, 0o660),
        }
    }
}

/// A socket to bind.
#[derive(Clone, Debug)]
pub struct SocketSpec {
    /// Absolute path.
    pub path: PathBuf,
    /// Who may connect.
    pub ownership: Ownership,
    /// Whether the kernel stamps all that is received with who sent it.
    pub stamped: bool,
}

/// Why a socket cannot be bound.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Something listens there already.
    #[error("{0}: another process listens on this socket; stop it, or configure another path")]
    Live(PathBuf),
    /// The path is taken by something that is not a socket.
    #[error("{0}: exists and is not a socket; remove it, or configure another path")]
    NotASocket(PathBuf),
    /// Another user could replace the socket.
    #[error("{0}: this directory can be written by others; use one that only the agent can write")]
    SharedDirectory(PathBuf),
    /// Another user could replace the directory.
    #[error(
        "{0}: this directory belongs to another user; use one of root's or of the agent's user"
    )]
    ForeignDirectory(PathBuf),
    /// A step failed.
    #[error("{path}: cannot {step}: {source}")]
    Step {
        /// What was done.
        step: &'static str,
        /// On which path.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
}

/// A bound, listening socket; its file is removed on drop.
#[derive(Debug)]
pub struct BoundSocket {
    listener: Option<UnixListener>,
    path: PathBuf,
    identity: (u64, u64),
}

impl BoundSocket {
    /// Binds, sets mode and group, and only then listens: nobody can connect
    /// before.
    ///
    /// # Errors
    /// See [`BindError`].
    pub fn bind(spec: &SocketSpec) -> Result<Self, BindError> {
        let path = &spec.path;
        let (directory_mode, socket_mode) = spec.ownership.modes();
        let directory = path.parent().unwrap_or_else(|| Path::new("/"));
        make_directory(directory, directory_mode, spec.ownership)?;
        refuse_live(path)?;
        let temporary = temporary_name(path);
        let step = |step, source| BindError::Step {
            step,
            path: path.clone(),
            source,
        };
        remove_if_there(&temporary).map_err(|e| step("remove an old temporary socket", e))?;
        let socket = bind_socket(&temporary).map_err(|e| step("bind", e.into()))?;
        let finish = || -> io::Result<(u64, u64)> {
            if let Ownership::Group(gid) = spec.ownership {
                chownat(
                    CWD,
                    &temporary,
                    None,
                    Some(Gid::from_raw(gid)),
                    AtFlags::SYMLINK_NOFOLLOW,
                )?;
            }
            fs::set_permissions(&temporary, fs::Permissions::from_mode(socket_mode))?;
            if spec.stamped {
                // Before anybody can connect: accepted sockets inherit it.
                set_passcred(socket.as_fd())?;
            }
            listen(&socket, BACKLOG)?;
            let metadata = fs::symlink_metadata(&temporary)?;
            fs::rename(&temporary, path)?;
            Ok((metadata.dev(), metadata.ino()))
        };
        let identity = finish().map_err(|e| {
            // The first failure is the one to tell.
            fs::remove_file(&temporary).unwrap_or_default();
            step("put the socket in place", e)
        })?;
        Ok(Self {
            listener: Some(socket.into()),
            path: path.clone(),
            identity,
        })
    }

    /// The socket's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Hands the listener to the runtime.
    ///
    /// # Errors
    /// Where the runtime cannot register it, or it was taken before.
    pub fn listener(&mut self) -> io::Result<tokio::net::UnixListener> {
        let taken = self.listener.take();
        let listener = taken.ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected))?;
        tokio::net::UnixListener::from_std(listener)
    }
}

impl Drop for BoundSocket {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == self.identity);
        if ours {
            // What stays behind is stale, and the next agent replaces it.
            fs::remove_file(&self.path).unwrap_or_default();
        }
    }
}

/// A socket that is bound, and that nobody can connect to yet.
fn bind_socket(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

fn temporary_name(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    PathBuf::from(name)
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Makes the directory, and those above it where they are missing, which
/// everybody may enter. Refuses one in which others could swap the socket.
fn make_directory(directory: &Path, mode: u32, ownership: Ownership) -> Result<(), BindError> {
    let step = |step, source| BindError::Step {
        step,
        path: directory.to_owned(),
        source,
    };
    if !directory.exists() {
        make_missing(directory.parent().unwrap_or_else(|| Path::new("/")))
            .map_err(|e| step("create the directory above", e))?;
        make_with_mode(directory, mode).map_err(|e| step("create the directory", e))?;
        if let Ownership::Group(gid) = ownership {
            chownat(
                CWD,
                directory,
                None,
                Some(Gid::from_raw(gid)),
                AtFlags::empty(),
            )
            .map_err(|e| step("set the group of the directory", e.into()))?;
        }
    }
    let mut metadata = fs::metadata(directory).map_err(|e| step("read the directory", e))?;
    if ownership != Ownership::Everybody && is_fresh_volume(directory, &metadata) {
        fs::set_permissions(directory, fs::Permissions::from_mode(mode))
            .map_err(|e| step("close the volume to others", e))?;
        metadata = fs::metadata(directory).map_err(|e| step("read the directory", e))?;
    }
    let shared = metadata.mode() & 0o022 != 0 && ownership_allows_write(&metadata, ownership);
    if shared {
        return Err(BindError::SharedDirectory(directory.to_owned()));
    }
    refuse_foreign(directory).map_err(|e| step("read the directories above", e))?
}

/// Whether this is a volume that was mounted for the agent alone, as Kubernetes makes it: ours, open
/// to everybody, not sticky, and empty. Once it is closed, nobody has anything in it.
fn is_fresh_volume(directory: &Path, metadata: &fs::Metadata) -> bool {
    let is_mounted = directory
        .parent()
        .and_then(|above| fs::metadata(above).ok())
        .is_some_and(|above| above.dev() != metadata.dev());
    let is_empty = || fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_none());
    metadata.uid() == rustix::process::geteuid().as_raw()
        && metadata.mode() & 0o1002 == 0o002
        && is_mounted
        && is_empty()
}

/// Refuses a directory that lies in the hands of a user other than root and the
/// agent's own: he could put another one in its place.
fn refuse_foreign(directory: &Path) -> io::Result<Result<(), BindError>> {
    let ours = rustix::process::geteuid().as_raw();
    for above in directory.ancestors() {
        let metadata = fs::metadata(above)?;
        let sticky = metadata.mode() & 0o1000 != 0;
        if metadata.uid() != 0 && metadata.uid() != ours {
            return Ok(Err(BindError::ForeignDirectory(above.to_owned())));
        }
        if metadata.mode() & 0o002 != 0 && !sticky {
            return Ok(Err(BindError::SharedDirectory(above.to_owned())));
        }
    }
    Ok(Ok(()))
}

/// Makes each missing directory of the path so that everybody may enter it.
fn make_missing(directory: &Path) -> io::Result<()> {
    let missing = directory.ancestors().take_while(|above| !above.exists());
    let missing: Vec<_> = missing.collect();
    missing
        .into_iter()
        .rev()
        .try_for_each(|above| make_with_mode(above, 0o755))
}

/// Makes one directory with exactly this mode: the umask leaves it narrower.
fn make_with_mode(directory: &Path, mode: u32) -> io::Result<()> {
    fs::DirBuilder::new().mode(mode).create(directory)?;
    fs::set_permissions(directory, fs::Permissions::from_mode(mode))
}

/// Whether write access of group or others lets a stranger replace the socket.
fn ownership_allows_write(metadata: &fs::Metadata, ownership: Ownership) -> bool {
    let others = metadata.mode() & 0o002 != 0;
    let group = metadata.mode() & 0o020 != 0;
    let known_group = matches!(ownership, Ownership::Group(gid) if gid == metadata.gid());
    others || (group && !known_group)
}

/// A socket file that nobody listens on is stale and may be replaced.
fn refuse_live(path: &Path) -> Result<(), BindError> {
    use std::os::unix::fs::FileTypeExt as _;
    let Ok(metadata) = fs::symlink_metadata(path) else {
        return Ok(());
    };
    if !metadata.file_type().is_socket() {
        return Err(BindError::NotASocket(path.to_owned()));
    }
    let try_it = || {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        connect(&socket, &SocketAddrUnix::new(path)?)
    };
    match try_it() {
        Err(Errno::CONNREFUSED | Errno::NOENT) => Ok(()),
        // Also a full backlog: whoever listens is there, if slow.
        _ => Err(BindError::Live(path.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::{BindError, BoundSocket, Ownership, SocketSpec};
    use std::{
        fs,
        io::Write as _,
        os::{
            fd::AsFd as _,
            unix::{
                fs::{MetadataExt as _, PermissionsExt as _},
                net::{UnixListener, UnixStream},
            },
        },
        path::Path,
    };
    use symbolon_syscalls::receive;

    fn spec(path: &Path, ownership: Ownership) -> SocketSpec {
        SocketSpec {
            path: path.to_owned(),
            ownership,
            stamped: true,
        }
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn socket_and_directory_have_their_final_modes() {
        let root = tempfile::tempdir().unwrap();
        for (ownership, directory_mode, socket_mode) in [
            (Ownership::Everybody, 0o755, 0o666),
            (Ownership::Owner, 0o700, 0o600),
        ] {
            let path = root.path().join(format!("{socket_mode:o}/a.sock"));
            let _bound = BoundSocket::bind(&spec(&path, ownership)).unwrap();
            assert_eq!(mode(&path), socket_mode);
            assert_eq!(mode(path.parent().unwrap()), directory_mode);
        }
    }

    #[test]
    fn live_socket_is_refused_and_stale_one_replaced() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("s/a.sock");
        let first = BoundSocket::bind(&spec(&path, Ownership::Owner)).unwrap();
        let again = BoundSocket::bind(&spec(&path, Ownership::Owner));
        assert!(matches!(again, Err(BindError::Live(_))));
        drop(first);
        assert!(!path.exists());
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        BoundSocket::bind(&spec(&path, Ownership::Owner)).unwrap();
    }

    /// Accepted sockets inherit it, also for bytes that came before `accept`.
    #[test]
    fn bytes_on_a_stamped_socket_have_a_sender_from_the_first_one_on() {
        let root = tempfile::tempdir().unwrap();
        for stamped in [true, false] {
            let path = root.path().join(format!("{stamped}/a.sock"));
            let spec = SocketSpec {
                stamped,
                ..spec(&path, Ownership::Owner)
            };
            let mut bound = BoundSocket::bind(&spec).unwrap();
            let mut client = UnixStream::connect(&path).unwrap();
            client.write_all(b"before").unwrap();
            let listener = bound.listener.take().unwrap();
            listener.set_nonblocking(false).unwrap();
            let (accepted, _) = listener.accept().unwrap();
            let sender = stamped.then(std::process::id);
            let read = |expected: &[u8]| {
                let mut bytes = [0; 16];
                let received = receive(accepted.as_fd(), &mut bytes).unwrap();
                assert_eq!(&bytes[..received.bytes], expected);
                assert_eq!((received.sender, received.other), (sender, false));
            };
            read(b"before");
            client.write_all(b"behind").unwrap();
            read(b"behind");
        }
    }

    #[test]
    fn an_empty_volume_of_the_agents_own_is_closed_and_nothing_else_is() {
        let test = "an_empty_volume_of_the_agents_own_is_closed_and_nothing_else_is";
        let root = tempfile::tempdir().unwrap();
        let mounted = Path::new("/dev/shm");
        let device = |path: &Path| fs::metadata(path).map(|metadata| metadata.dev()).ok();
        let separate = device(mounted).is_some() && device(mounted) != device(root.path());
        let privileged = rustix::process::geteuid().is_root();
        if !crate::testing::can_run(test, separate && privileged, "run as root, with /dev/shm") {
            return;
        }
        let volume = root.path().join("volume");
        fs::create_dir(&volume).unwrap();
        let open = fs::Permissions::from_mode(0o777);
        fs::set_permissions(&volume, open.clone()).unwrap();
        let spec = spec(&volume.join("a.sock"), Ownership::Owner);
        // A directory like any other.
        let refused = BoundSocket::bind(&spec);
        assert!(matches!(refused, Err(BindError::SharedDirectory(_))));
        let source = tempfile::tempdir_in(mounted).unwrap();
        fs::set_permissions(source.path(), open).unwrap();
        rustix::mount::mount_bind(source.path(), &volume).unwrap();
        let _mounted = Mounted(&volume);
        fs::write(volume.join("other"), "").unwrap();
        let refused = BoundSocket::bind(&spec);
        assert!(matches!(refused, Err(BindError::SharedDirectory(_))));
        fs::remove_file(volume.join("other")).unwrap();
        let _bound = BoundSocket::bind(&spec).unwrap();
        assert_eq!(mode(&volume), 0o700);
    }

    struct Mounted<'a>(&'a Path);

    impl Drop for Mounted<'_> {
        fn drop(&mut self) {
            rustix::mount::unmount(self.0, rustix::mount::UnmountFlags::DETACH).unwrap();
        }
    }

    #[test]
    fn directory_of_another_user_is_refused() {
        let test = "directory_of_another_user_is_refused";
        let root = rustix::process::geteuid().is_root();
        if !crate::testing::can_run(test, root, "run the tests as root") {
            return;
        }
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("theirs");
        fs::create_dir(&directory).unwrap();
        std::os::unix::fs::chown(&directory, Some(65534), None).unwrap();
        for path in [directory.join("a.sock"), directory.join("ours/a.sock")] {
            let bound = BoundSocket::bind(&spec(&path, Ownership::Owner));
            assert!(matches!(bound, Err(BindError::ForeignDirectory(_))));
        }
    }

    #[test]
    fn ordinary_file_is_never_replaced() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("s/a.sock");
        fs::create_dir(path.parent().unwrap()).unwrap();
        fs::write(&path, "precious").unwrap();
        let bound = BoundSocket::bind(&spec(&path, Ownership::Owner));
        assert!(matches!(bound, Err(BindError::NotASocket(_))));
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }

    #[test]
    fn directory_that_others_can_write_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("s");
        fs::create_dir(&directory).unwrap();
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o777)).unwrap();
        let bound = BoundSocket::bind(&spec(&directory.join("a.sock"), Ownership::Everybody));
        assert!(matches!(bound, Err(BindError::SharedDirectory(_))));
    }
}
