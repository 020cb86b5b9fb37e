//! The connection to the system bus.
//!
//! Owns whom the agent believes to be the system manager: what answers on the
//! bus's socket as the owner of `org.freedesktop.systemd1`. The socket has to
//! lie where only root (or the agent's own user) can put it, its listener and
//! the name's owner have to be that user's too; all calls then go to the
//! owner's unique name, so that nobody who takes the name later is asked.
//!
//! One connection is kept. It is made when it is needed first, and after a
//! failure not again before a pause, which doubles. While it lasts callers get
//! the failure's words at once.

use crate::findings::Reason;
use parking_lot::Mutex;
use rustix::{
    fd::AsFd as _,
    fs::{Mode, stat},
    process::geteuid,
};
use std::{path::Path, time::Duration};
use symbolon_syscalls::peer_credentials;
use tokio::{net::UnixStream, time::Instant};
use zbus::{Connection, Message, connection::Builder, fdo, names::OwnedUniqueName};

/// First and longest pause after a failure.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

const BUS: (&str, &str, &str) = (
    "org.freedesktop.DBus",
    "/org/freedesktop/DBus",
    "org.freedesktop.DBus",
);
const MANAGER: &str = "org.freedesktop.systemd1";

/// A connection on which the system manager was found.
#[derive(Clone, Debug)]
pub(super) struct Link {
    connection: Connection,
    owner: OwnedUniqueName,
}

/// Why a call did not succeed.
#[derive(Debug)]
pub(super) enum CallError {
    /// The manager answered with this error.
    Answer(Box<zbus::Error>),
    /// There is no connection, or it is good for nothing any more.
    Lost(Reason),
}

impl From<zbus::Error> for CallError {
    fn from(error: zbus::Error) -> Self {
        let lost = match &error {
            zbus::Error::FDO(error) => matches!(
                **error,
                fdo::Error::ServiceUnknown(_)
                    | fdo::Error::NameHasNoOwner(_)
                    | fdo::Error::NoReply(_)
                    | fdo::Error::Disconnected(_)
            ),
            zbus::Error::MethodError(..) => false,
            _ => true,
        };
        if lost {
            Self::Lost(format!("the system bus: {error}").into())
        } else {
            Self::Answer(Box::new(error))
        }
    }
}

impl Link {
    /// Connects to the bus at `socket`, and finds the manager.
    async fn make(socket: &Path) -> Result<Self, CallError> {
        let lost = |what: String| CallError::Lost(format!("the system bus: {what}").into());
        is_safe(socket).map_err(lost)?;
        let failed = |error| lost(format!("{}: {error}", socket.display()));
        let stream = UnixStream::connect(socket).await.map_err(failed)?;
        let peer = peer_credentials(stream.as_fd()).map_err(|error| failed(error.into()))?;
        if !is_trusted(peer.uid) {
            let what = format!("{} is served by uid {}", socket.display(), peer.uid);
            return Err(lost(what));
        }
        let stream = stream.into_std().map_err(failed)?;
        let connection = Builder::unix_stream(stream).build().await?;
        let (bus, path, interface) = BUS;
        let ask = async |method: &str, name: &str| {
            let interface = Some(interface);
            let call = connection.call_method(Some(bus), path, interface, method, &name);
            call.await.map_err(CallError::from)
        };
        let owner: OwnedUniqueName = content(&ask("GetNameOwner", MANAGER).await?)?;
        let uid: u32 = content(&ask("GetConnectionUnixUser", &owner).await?)?;
        if !is_trusted(uid) {
            return Err(lost(format!("{MANAGER} belongs to uid {uid}")));
        }
        Ok(Self { connection, owner })
    }

    /// Calls a method of the manager or one of its units.
    pub(super) async fn call<B>(
        &self,
        path: &str,
        interface: &str,
        method: &str,
        body: &B,
    ) -> Result<Message, CallError>
    where
        B: serde::Serialize + zbus::DynamicType,
    {
        let owner = Some(self.owner.as_ref());
        let call = self
            .connection
            .call_method(owner, path, Some(interface), method, body);
        Ok(call.await?)
    }
}

/// What an answer holds. One of another form breaks the connection: its peer is not what it seems.
pub(super) fn content<T>(answer: &Message) -> Result<T, CallError>
where
    T: serde::de::DeserializeOwned + zbus::Type,
{
    Ok(answer.body().deserialize()?)
}

/// The connection, or when it will be tried again.
#[derive(Debug, Default)]
pub(super) struct Bus {
    state: Mutex<State>,
    making: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Fresh,
    Up(Link),
    Down {
        why: Reason,
        until: Instant,
        pause: Duration,
    },
}

impl Bus {
    /// The connection, made now where there is none.
    pub(super) async fn link(&self, socket: &Path) -> Result<Link, CallError> {
        if let Some(link) = self.known()? {
            return Ok(link);
        }
        let _making = self.making.lock().await;
        // Somebody else has made it, or failed to, meanwhile.
        if let Some(link) = self.known()? {
            return Ok(link);
        }
        let link = Link::make(socket).await?;
        *self.state.lock() = State::Up(link.clone());
        Ok(link)
    }

    fn known(&self) -> Result<Option<Link>, CallError> {
        match &*self.state.lock() {
            State::Up(link) => Ok(Some(link.clone())),
            State::Down { why, until, .. } if Instant::now() < *until => {
                Err(CallError::Lost(why.clone()))
            }
            State::Fresh | State::Down { .. } => Ok(None),
        }
    }

    /// Forgets `link`, unless it was replaced already.
    pub(super) fn forget(&self, link: &Link) {
        let mut state = self.state.lock();
        if matches!(&*state, State::Up(now) if now.owner == link.owner) {
            *state = State::Fresh;
        }
    }

    /// Says that there will be no connection for a while.
    pub(super) fn fail(&self, why: &Reason) {
        let mut state = self.state.lock();
        let pause = match &*state {
            State::Down { until, .. } if Instant::now() < *until => return,
            State::Down { pause, .. } => (*pause * 2).min(PAUSES.1),
            State::Fresh | State::Up(_) => PAUSES.0,
        };
        *state = State::Down {
            why: why.clone(),
            until: Instant::now() + pause,
            pause,
        };
    }
}

fn is_trusted(uid: u32) -> bool {
    uid == 0 || uid == geteuid().as_raw()
}

/// Whether nobody else could have put the socket there.
fn is_safe(socket: &Path) -> Result<(), String> {
    for (index, part) in socket.ancestors().enumerate() {
        let stat = stat(part).map_err(|error| format!("{}: {error}", part.display()))?;
        let mode = Mode::from_raw_mode(stat.st_mode);
        let others = mode.contains(Mode::WOTH) || (mode.contains(Mode::WGRP) && stat.st_gid != 0);
        // Whoever likes may connect to the socket itself, and out of a sticky directory nobody
        // takes what is another's.
        let is_open = index > 0 && others && !mode.contains(Mode::SVTX);
        if is_open || !is_trusted(stat.st_uid) {
            return Err(format!("{} can be replaced by others", part.display()));
        }
    }
    Ok(())
}
