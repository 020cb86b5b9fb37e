//! The connection to the system bus.
//!
//! Owns whom the agent believes to be the system manager: what answers on the
//! bus's socket as the owner of `org.freedesktop.systemd1`. The socket has to
//! lie where only root (or the agent's own user) can put it, its listener and
//! the name's owner have to be that user's too; all calls then go to the
//! owner's unique name, so that nobody who takes the name later is asked.
//!
//! One connection is kept. It is made when it is needed first, and after it
//! failed not again before a pause, which doubles until the manager answers
//! something. While it lasts callers get the failure's words at once. What ends
//! one call, its deadline or an answer out of form, ends no other: only a
//! connection that is closed, that cannot be made, or on which one deadline
//! after the other passes without any answer has failed.

use crate::findings::Reason;
use parking_lot::Mutex;
use rustix::{
    fd::AsFd as _,
    fs::{Mode, stat},
    process::geteuid,
};
use std::{path::Path, sync::Arc, time::Duration};
use symbolon_syscalls::peer_credentials;
use tokio::{net::UnixStream, time::Instant};
use zbus::{Connection, Message, connection::Builder, fdo, names::OwnedUniqueName};

/// First and longest pause after a failure.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Deadlines, one after the other and without any answer meanwhile, that say that the manager is
/// gone. Those of calls that waited side by side are one.
const MAX_DEADLINES: u32 = 3;

const BUS: (&str, &str, &str) = (
    "org.freedesktop.DBus",
    "/org/freedesktop/DBus",
    "org.freedesktop.DBus",
);
const MANAGER: &str = "org.freedesktop.systemd1";

/// A connection on which the system manager was found.
#[derive(Debug)]
pub(super) struct Link {
    connection: Connection,
    owner: OwnedUniqueName,
    silence: Arc<Mutex<Silence>>,
}

/// How long the manager has said nothing.
#[derive(Debug, Default)]
struct Silence {
    deadlines: u32,
    /// When the last of them passed.
    last: Option<Instant>,
    /// After the last failure.
    pause: Duration,
}

/// Why a call did not succeed.
#[derive(Debug)]
pub(super) enum CallError {
    /// The manager answered with this error, or with what makes no sense.
    Answer(Box<zbus::Error>),
    /// There is no connection, or it is good for nothing any more.
    Lost(Reason),
}

/// Of a call: any error that is no answer is the connection's.
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
    async fn make(socket: &Path, silence: &Arc<Mutex<Silence>>) -> Result<Self, CallError> {
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
        let answer = ask("GetNameOwner", MANAGER).await?;
        let owner: OwnedUniqueName = answer.body().deserialize()?;
        let answer = ask("GetConnectionUnixUser", &owner).await?;
        let uid: u32 = answer.body().deserialize()?;
        if !is_trusted(uid) {
            return Err(lost(format!("{MANAGER} belongs to uid {uid}")));
        }
        Ok(Self {
            connection,
            owner,
            silence: Arc::clone(silence),
        })
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
        let answer = call.await.map_err(CallError::from);
        if !matches!(answer, Err(CallError::Lost(_))) {
            *self.silence.lock() = Silence::default();
        }
        answer
    }
}

/// What an answer holds.
pub(super) fn content<T>(answer: &Message) -> Result<T, CallError>
where
    T: serde::de::DeserializeOwned + zbus::Type,
{
    let content = answer.body().deserialize();
    content.map_err(|error| CallError::Answer(Box::new(error)))
}

/// The connection, or when it will be tried again.
#[derive(Debug, Default)]
pub(super) struct Bus {
    state: Mutex<State>,
    making: tokio::sync::Mutex<()>,
    silence: Arc<Mutex<Silence>>,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Fresh,
    Up(Arc<Link>),
    Down {
        why: Reason,
        until: Instant,
    },
}

impl Bus {
    /// The connection, made now where there is none.
    pub(super) async fn link(&self, socket: &Path) -> Result<Arc<Link>, CallError> {
        if let Some(link) = self.known()? {
            return Ok(link);
        }
        let _making = self.making.lock().await;
        // Somebody else has made it, or failed to, meanwhile.
        if let Some(link) = self.known()? {
            return Ok(link);
        }
        match Link::make(socket, &self.silence).await {
            Ok(link) => {
                let link = Arc::new(link);
                *self.state.lock() = State::Up(Arc::clone(&link));
                Ok(link)
            }
            Err(error) => {
                // While nobody else can have made one.
                if let CallError::Lost(why) = &error {
                    self.fail(why);
                }
                Err(error)
            }
        }
    }

    pub(super) fn known(&self) -> Result<Option<Arc<Link>>, CallError> {
        match &*self.state.lock() {
            State::Up(link) => Ok(Some(Arc::clone(link))),
            State::Down { why, until } if Instant::now() < *until => {
                Err(CallError::Lost(why.clone()))
            }
            State::Fresh | State::Down { .. } => Ok(None),
        }
    }

    /// Forgets `link`, unless it was replaced already.
    pub(super) fn forget(&self, link: &Arc<Link>) {
        let mut state = self.state.lock();
        if matches!(&*state, State::Up(now) if Arc::ptr_eq(now, link)) {
            *state = State::Fresh;
        }
    }

    /// Says that a call that began at `start` passed its deadline without an answer to it.
    pub(super) fn missed(&self, start: Instant, why: &Reason) {
        let mut silence = self.silence.lock();
        // It waited beside the last one that is counted, and says no more than that one.
        if silence.last.is_some_and(|last| start < last) {
            return;
        }
        silence.last = Some(Instant::now());
        silence.deadlines = silence.deadlines.saturating_add(1);
        let is_gone = silence.deadlines >= MAX_DEADLINES;
        drop(silence);
        if is_gone {
            self.fail(why);
        }
    }

    /// Says that for a whole deadline there was no connection.
    pub(super) fn unreached(&self, why: &Reason) {
        let is_up = matches!(&*self.state.lock(), State::Up(_));
        if !is_up {
            self.fail(why);
        }
    }

    /// Says that `link`, made anew for a call, broke in it.
    pub(super) fn broken(&self, link: &Arc<Link>, why: &Reason) {
        let is_another = matches!(&*self.state.lock(), State::Up(now) if !Arc::ptr_eq(now, link));
        if !is_another {
            self.fail(why);
        }
    }

    /// There will be no connection for a while.
    fn fail(&self, why: &Reason) {
        let mut state = self.state.lock();
        if matches!(&*state, State::Down { until, .. } if Instant::now() < *until) {
            return;
        }
        let mut silence = self.silence.lock();
        silence.pause = (silence.pause * 2).clamp(PAUSES.0, PAUSES.1);
        *state = State::Down {
            why: why.clone(),
            until: Instant::now() + silence.pause,
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
