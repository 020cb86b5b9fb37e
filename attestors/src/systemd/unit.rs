//! What the system manager says of a process's unit.
//!
//! Owns the calls (`org.freedesktop.systemd1(5)`). A process is named by its
//! pidfd (`GetUnitByPIDFD`), or, before systemd 255, by its number; the caller
//! confirms afterwards that the process still lives, so the number was its own.
//!
//! Properties come one by one. Those of a unit that was started anew between
//! two of them would not belong together, so the invocation ID, which every
//! start changes, is read before and after the others and has to be the same.

use super::bus::{CallError, Link, content};
use crate::{findings::Reason, pin::PinnedPeer};
use zbus::{Fd, OwnedObjectPath, OwnedVariant, fdo};

const MANAGER: (&str, &str) = (
    "/org/freedesktop/systemd1",
    "org.freedesktop.systemd1.Manager",
);
const UNIT: &str = "org.freedesktop.systemd1.Unit";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
const NO_UNIT: &str = "org.freedesktop.systemd1.NoUnitForPID";

/// A unit, as the manager describes it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Unit {
    pub(super) id: String,
    pub(super) fragment_path: String,
    pub(super) slice: String,
    /// Of this start of it; empty where it has none.
    pub(super) invocation_id: Vec<u8>,
    pub(super) control_group: String,
    /// Where the manager knows it (systemd 252, unified hierarchy).
    pub(super) control_group_id: Option<u64>,
}

impl Unit {
    /// The unit of `peer`; `None` where it is in none, or in a slice alone.
    pub(super) async fn of(link: &Link, peer: &PinnedPeer) -> Result<Option<Self>, CallError> {
        let Some(path) = path(link, peer).await? else {
            return Ok(None);
        };
        let before = text_and_invocation(link, &path);
        let (id, invocation_id) = before.await?;
        let Some(kind) = interface(&id) else {
            return Ok(None);
        };
        let (fragment_path, slice, control_group, control_group_id) = tokio::try_join!(
            property::<String>(link, &path, UNIT, "FragmentPath"),
            property::<String>(link, &path, kind, "Slice"),
            property::<String>(link, &path, kind, "ControlGroup"),
            property::<u64>(link, &path, kind, "ControlGroupId"),
        )?;
        let after = property::<Vec<u8>>(link, &path, UNIT, "InvocationID").await?;
        if after.as_ref() != Some(&invocation_id) {
            let why = "the unit was started anew while it was looked at";
            return Err(CallError::Answer(Box::new(zbus::Error::Failure(
                why.into(),
            ))));
        }
        Ok(Some(Self {
            id,
            fragment_path: fragment_path.unwrap_or_default(),
            slice: slice.unwrap_or_default(),
            invocation_id,
            control_group: control_group.unwrap_or_default(),
            // 0 where it is not known, or the unit has no cgroup.
            control_group_id: control_group_id.filter(|id| *id != 0),
        }))
    }
}

async fn text_and_invocation(link: &Link, path: &str) -> Result<(String, Vec<u8>), CallError> {
    let (id, invocation) = tokio::try_join!(
        property(link, path, UNIT, "Id"),
        property(link, path, UNIT, "InvocationID"),
    )?;
    Ok((id.unwrap_or_default(), invocation.unwrap_or_default()))
}

/// The object of the unit of `peer`.
async fn path(link: &Link, peer: &PinnedPeer) -> Result<Option<String>, CallError> {
    let (manager, interface) = MANAGER;
    let by_pidfd = Fd::from(peer.pidfd());
    let answer = link.call(manager, interface, "GetUnitByPIDFD", &by_pidfd);
    match answer.await {
        Ok(answer) => {
            let (path, _id, _invocation_id) =
                content::<(OwnedObjectPath, String, Vec<u8>)>(&answer)?;
            return Ok(Some(path.as_str().to_owned()));
        }
        // A bus policy that is older than the method refuses it to others than root.
        Err(error) if is_missing(&error) || is_denied(&error) => {}
        Err(error) => return none_where_no_unit(error),
    }
    let pid = peer.credentials().pid;
    match link.call(manager, interface, "GetUnitByPID", &pid).await {
        Ok(answer) => Ok(Some(
            content::<OwnedObjectPath>(&answer)?.as_str().to_owned(),
        )),
        Err(error) => none_where_no_unit(error),
    }
}

fn none_where_no_unit(error: CallError) -> Result<Option<String>, CallError> {
    match &error {
        CallError::Answer(answer) => match &**answer {
            zbus::Error::MethodError(name, ..) if name.as_str() == NO_UNIT => Ok(None),
            _ => Err(error),
        },
        CallError::Lost(_) => Err(error),
    }
}

fn is_missing(error: &CallError) -> bool {
    use fdo::Error::{UnknownMethod, UnknownProperty};
    matches!(standard(error), Some(UnknownMethod(_) | UnknownProperty(_)))
}

fn is_denied(error: &CallError) -> bool {
    matches!(standard(error), Some(fdo::Error::AccessDenied(_)))
}

/// The error, where D-Bus itself names it.
fn standard(error: &CallError) -> Option<&fdo::Error> {
    match error {
        CallError::Answer(answer) => match &**answer {
            zbus::Error::FDO(error) => Some(error),
            _ => None,
        },
        CallError::Lost(_) => None,
    }
}

/// A property; `None` where this manager has no such one.
async fn property<T: TryFrom<OwnedVariant, Error = zbus::Error>>(
    link: &Link,
    path: &str,
    interface: &str,
    name: &str,
) -> Result<Option<T>, CallError> {
    let answer = link.call(path, PROPERTIES, "Get", &(interface, name)).await;
    let answer = match answer {
        Err(error) if is_missing(&error) => return Ok(None),
        answer => answer?,
    };
    let value = content::<OwnedVariant>(&answer)?;
    let value = T::try_from(value);
    Ok(Some(
        value.map_err(|error| CallError::Answer(Box::new(error)))?,
    ))
}

/// Where the properties of a unit's kind are, for kinds that processes are in. A slice has none of
/// its own: the manager names the nearest one for processes of which it knows nothing else.
fn interface(id: &str) -> Option<&'static str> {
    Some(match id.rsplit_once('.')?.1 {
        "service" => "org.freedesktop.systemd1.Service",
        "scope" => "org.freedesktop.systemd1.Scope",
        "socket" => "org.freedesktop.systemd1.Socket",
        "mount" => "org.freedesktop.systemd1.Mount",
        "swap" => "org.freedesktop.systemd1.Swap",
        _ => return None,
    })
}

/// The words for an operator.
pub(super) fn words(error: CallError) -> Reason {
    match error {
        CallError::Lost(reason) => reason,
        CallError::Answer(error) => format!("systemd: {error}").into(),
    }
}
