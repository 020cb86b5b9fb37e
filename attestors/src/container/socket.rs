//! Where runtimes are reached, and who answers there.
//!
//! Whoever listens decides which container a process is in, so it has to be
//! root (or the agent's own user), and to count processes as the agent does: a
//! runtime in a PID namespace of its own (Docker in Docker) names other ones.

use crate::{findings::Reason, host::Host, namespaces::NamespaceId, pin::PinnedPeer};
use rustix::{fd::AsFd as _, process::geteuid};
use std::path::{Path, PathBuf};
use symbolon_syscalls::peer_credentials;
use tokio::net::UnixStream;

/// Where a runtime is reached.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum RuntimeSocket {
    /// At the usual place, if there is one.
    #[default]
    Auto,
    /// It is not asked.
    Off,
    /// Here.
    At(PathBuf),
}

/// Where each runtime is reached.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RuntimeSockets {
    /// Docker's API.
    pub docker: RuntimeSocket,
    /// Podman's API.
    pub podman: RuntimeSocket,
    /// The container runtime interface.
    pub cri: RuntimeSocket,
}

/// One socket of a runtime.
#[derive(Clone, Debug)]
pub(super) struct Socket {
    pub(super) path: PathBuf,
    /// Nobody says that there is one: nothing is wrong where it is missing.
    pub(super) optional: bool,
}

impl RuntimeSocket {
    /// The socket, or those of the usual places.
    pub(super) fn sockets(&self, usual: &[&str]) -> Vec<Socket> {
        match self {
            Self::Off => Vec::new(),
            Self::At(path) => vec![Socket {
                path: path.clone(),
                optional: false,
            }],
            Self::Auto => usual
                .iter()
                .map(|path| Socket {
                    path: path.into(),
                    optional: true,
                })
                .collect(),
        }
    }
}

/// Connects to a runtime.
pub(super) async fn connect(path: &Path, host: &Host) -> Result<UnixStream, Reason> {
    let stream = UnixStream::connect(path)
        .await
        .map_err(|error| format!("{}: {error}", path.display()))?;
    let listener = peer_credentials(stream.as_fd())
        .map_err(|error| format!("{}: SO_PEERCRED: {error}", path.display()))?;
    if listener.uid != 0 && listener.uid != geteuid().as_raw() {
        let uid = listener.uid;
        return Err(format!("{} belongs to user {uid}, not to root", path.display()).into());
    }
    if listener.pid == 0 || is_elsewhere(&stream, host) {
        return Err(format!(
            "{} is answered from another PID namespace than the agent's",
            path.display()
        )
        .into());
    }
    Ok(stream)
}

/// Whether the listener is known to be in another PID namespace. It may have exited, and left the
/// socket to others; then the processes that it names have to speak for themselves.
fn is_elsewhere(stream: &UnixStream, host: &Host) -> bool {
    let Ok(listener) = PinnedPeer::of_socket_in(&host.root, stream.as_fd(), false) else {
        return false;
    };
    let theirs = listener
        .directory(&host.root)
        .and_then(|directory| NamespaceId::of_process(directory, "pid"));
    let ours = host.root.stat("self/ns/pid");
    match (theirs, ours) {
        (Ok(theirs), Ok(ours)) => theirs != NamespaceId::from(&ours),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::RuntimeSocket;
    use std::path::Path;

    #[test]
    fn a_setting_leads_to_its_sockets() {
        let usual = ["/run/a.sock", "/run/b.sock"];
        assert_eq!(RuntimeSocket::Off.sockets(&usual).len(), 0);
        let auto = RuntimeSocket::Auto.sockets(&usual);
        assert!(auto.len() == 2 && auto.iter().all(|socket| socket.optional));
        let own = RuntimeSocket::At("/x".into()).sockets(&usual);
        assert!(own[0].path == Path::new("/x") && !own[0].optional);
    }
}
