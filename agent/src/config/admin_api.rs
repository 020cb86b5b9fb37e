//! `[admin_api]`: the operators' socket.

use super::{fault::Problem, key::Key, reader::Reader};
use std::path::PathBuf;

/// The admin API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminApi {
    /// The socket's path.
    pub socket: PathBuf,
    /// A group whose members may connect too.
    pub group: Option<String>,
    /// Whether peers in another user or PID namespace than the agent's are let in.
    pub allow_foreign_namespaces: bool,
}

pub(super) const SOCKET: Key = Key::new(
    "admin_api",
    "socket",
    "Socket of the admin API. Never in the directory of the workload socket, which containers \
     mount.",
);
const GROUP: Key = Key::new(
    "admin_api",
    "group",
    "Group whose members may connect besides root and the agent's own user. The agent \
     must be a member of it: under systemd, name it in the unit's SupplementaryGroups=.",
)
.without_default("symbolon-operators");
pub(super) const ALLOW_FOREIGN_NAMESPACES: Key = Key::new(
    "admin_api",
    "allow_foreign_namespaces",
    "Whether operators in another user or PID namespace than the agent's are let in. There, uid 0 \
     may be anybody.",
);

pub(super) const KEYS: &[&Key] = &[&SOCKET, &GROUP, &ALLOW_FOREIGN_NAMESPACES];

pub(super) fn read(reader: &mut Reader<'_>) -> Option<AdminApi> {
    let socket = reader.socket(&SOCKET, reader.directories().admin_socket());
    let group: Option<String> = reader.optional(&GROUP);
    if group.as_deref() == Some("") {
        reader.refuse(&GROUP, Problem::Empty { key: GROUP.path() });
    }
    let allow_foreign_namespaces = reader.value(&ALLOW_FOREIGN_NAMESPACES, false);
    Some(AdminApi {
        socket: socket?,
        group,
        allow_foreign_namespaces,
    })
}
