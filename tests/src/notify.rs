//! The receiving end of `sd_notify`: how the harness learns an agent's state.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use tokio::net::UnixDatagram;

/// Longest message that is read; the protocol's are a few short lines.
const MESSAGE_LIMIT: usize = 4096;

/// A socket that stands where a service manager's would.
#[derive(Debug)]
pub(crate) struct Notifications {
    socket: UnixDatagram,
}

impl Notifications {
    /// Listens at `path`, where an agent before this one may have left a socket.
    pub(crate) fn listen(path: &Path) -> Self {
        if path.exists() {
            std::fs::remove_file(path).expect("the socket of the last agent");
        }
        let socket = UnixDatagram::bind(path).expect("a notification socket");
        // The agent may run as another user.
        std::fs::set_permissions(path, Permissions::from_mode(0o666)).expect("its permissions");
        Self { socket }
    }

    /// Waits for a message with this line, such as `READY=1`.
    pub(crate) async fn wait_for(&self, line: &str) {
        let mut buffer = vec![0; MESSAGE_LIMIT];
        loop {
            let length = self.socket.recv(&mut buffer).await.expect("a notification");
            let message = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default());
            if message.lines().any(|have| have == line) {
                return;
            }
        }
    }
}
