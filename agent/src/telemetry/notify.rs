//! Word to the service manager (`sd_notify(3)`).
//!
//! Sends datagrams to the socket that systemd names in `NOTIFY_SOCKET`. They
//! are hints: who starts the agent without systemd has no such socket, and a
//! failure to send is logged and changes nothing.

use rustix::time::{ClockId, clock_gettime};
use std::{
    ffi::OsStr,
    io,
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            ffi::OsStrExt as _,
            net::{SocketAddr, UnixDatagram},
        },
    },
};

/// Tells the service manager how the agent fares.
#[derive(Debug, Default)]
pub struct Notifier(Option<(UnixDatagram, SocketAddr)>);

impl Notifier {
    /// A notifier for the value of `NOTIFY_SOCKET`: a path, or a name in the
    /// abstract namespace after `@`. Without a value it does nothing.
    ///
    /// # Errors
    /// Where the value is no address or no socket can be made.
    pub fn new(notify_socket: Option<&OsStr>) -> io::Result<Self> {
        let Some(value) = notify_socket.filter(|value| !value.is_empty()) else {
            return Ok(Self::default());
        };
        let address = match value.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            _ => SocketAddr::from_pathname(value)?,
        };
        let socket = UnixDatagram::unbound()?;
        // A service manager that does not read must not stop the agent.
        socket.set_nonblocking(true)?;
        Ok(Self(Some((socket, address))))
    }

    /// Start-up or reloading is done.
    pub fn ready(&self) {
        self.send("READY=1");
    }

    /// The agent has begun to stop.
    pub fn stopping(&self) {
        self.send("STOPPING=1");
    }

    /// The configuration is being read again; [`Self::ready`] ends that.
    pub fn reloading(&self) {
        // systemd tells stale messages by this clock (sd_notify(3), RELOADING=1).
        let now = clock_gettime(ClockId::Monotonic);
        let microseconds = now.tv_sec * 1_000_000 + now.tv_nsec / 1_000;
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={microseconds}"));
    }

    fn send(&self, state: &str) {
        let Some((socket, address)) = &self.0 else {
            return;
        };
        if let Err(error) = socket.send_to_addr(state.as_bytes(), address) {
            tracing::warn!(%error, state, "the service manager could not be told");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Notifier;
    use std::{
        ffi::OsStr,
        os::{
            linux::net::SocketAddrExt as _,
            unix::net::{SocketAddr, UnixDatagram},
        },
    };

    fn received(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 128];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    #[test]
    fn states_are_sent_to_a_path() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let notifier = Notifier::new(Some(path.as_os_str())).unwrap();
        notifier.ready();
        assert_eq!(received(&manager), "READY=1");
        notifier.reloading();
        let reloading = received(&manager);
        let stamp = reloading
            .strip_prefix("RELOADING=1\nMONOTONIC_USEC=")
            .unwrap();
        assert!(stamp.parse::<u64>().unwrap() > 0);
        notifier.stopping();
        assert_eq!(received(&manager), "STOPPING=1");
    }

    #[test]
    fn states_are_sent_to_an_abstract_name() {
        let name = format!("symbolon-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        let value = format!("@{name}");
        Notifier::new(Some(OsStr::new(&value))).unwrap().ready();
        assert_eq!(received(&manager), "READY=1");
    }

    #[test]
    fn without_a_service_manager_nothing_happens() {
        Notifier::new(None).unwrap().ready();
        Notifier::new(Some(OsStr::new(""))).unwrap().ready();
    }

    #[test]
    fn a_service_manager_that_is_gone_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let gone = dir.path().join("gone");
        Notifier::new(Some(gone.as_os_str())).unwrap().stopping();
    }
}
