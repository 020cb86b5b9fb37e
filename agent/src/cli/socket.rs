//! The two sockets as a client sees them: where they are, and one connection to each.
//!
//! `--socket` goes before the environment, and that before the default place:
//! an ordinary user's own agent where one is, else the system's. The stream is
//! connected here rather than by the transport, so that a refusal keeps its
//! reason. Every call has a deadline, and every answer a size.
//!
//! The Workload API demands its security header on every call
//! (`SPIFFE_Workload_Endpoint.md`, section 3), and its address is a URI
//! (section 4): `unix:///path`. A plain path is taken as well.

use super::{
    COMMON,
    console::Console,
    failure::{Exit, Failure},
    moment::parse_duration,
};
use crate::config::Directories;
use clap::Args;
use hyper_util::rt::TokioIo;
use std::{future::Future, io, path::PathBuf, pin::Pin, time::Duration};
use symbolon_proto::{
    SECURITY_HEADER, admin::admin_client::AdminClient,
    workload::spiffe_workload_api_client::SpiffeWorkloadApiClient,
};
use tokio::net::UnixStream;
use tonic::{
    Request, Response, Status,
    metadata::MetadataValue,
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};

/// An answer is not larger than this: a page of 1,000 large registrations has room.
pub(super) const MAX_ANSWER: usize = 64 << 20;

/// An agent closes the connections of those who are no operators, which looks like this.
const CLOSED_AT_ONCE: &str = "An agent hangs up on users who are no operators: `[[operators]]` in its \
     configuration names them.";

/// Which of the agent's sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Door {
    Workload,
    Admin,
}

/// How to reach the admin socket.
#[derive(Args, Clone, Debug)]
pub(super) struct AdminArgs {
    /// The agent's admin socket, a path or unix:// URI
    #[arg(long = "socket", value_name = "PATH", env = "SYMBOLON_ADMIN_SOCKET")]
    #[arg(hide_env_values = true, value_parser = parse_address)]
    #[arg(global = true, help_heading = COMMON)]
    socket: Option<PathBuf>,
    /// How long to wait for an answer
    #[arg(long, value_name = "DURATION", default_value = "30s")]
    #[arg(value_parser = parse_duration, global = true, help_heading = COMMON)]
    timeout: Duration,
}

/// How to reach the workload socket.
#[derive(Args, Clone, Debug)]
pub(super) struct WorkloadArgs {
    /// The agent's workload socket, a path or unix:// URI
    #[arg(long = "socket", value_name = "PATH", env = "SPIFFE_ENDPOINT_SOCKET")]
    #[arg(hide_env_values = true, value_parser = parse_address)]
    #[arg(global = true, help_heading = COMMON)]
    socket: Option<PathBuf>,
    /// How long to wait for an answer
    #[arg(long, value_name = "DURATION", default_value = "30s")]
    #[arg(value_parser = parse_duration, global = true, help_heading = COMMON)]
    timeout: Duration,
}

impl AdminArgs {
    pub(super) fn link(&self, console: &Console) -> Link {
        Link::new(Door::Admin, self.socket.clone(), self.timeout, console)
    }
}

impl WorkloadArgs {
    pub(super) fn link(&self, console: &Console) -> Link {
        Link::new(Door::Workload, self.socket.clone(), self.timeout, console)
    }

    /// The admin socket of the same agent, for a command that asks both.
    pub(super) fn admin_link(&self, socket: Option<PathBuf>, console: &Console) -> Link {
        Link::new(Door::Admin, socket, self.timeout, console)
    }
}

/// Reads a path, or the URI that the standard asks for.
pub(super) fn parse_address(text: &str) -> Result<PathBuf, String> {
    let path = match text.split_once(':') {
        Some(("unix", rest)) => rest.strip_prefix("//").unwrap_or(rest),
        Some(("tcp", _)) => {
            return Err("the agent listens on Unix sockets only: unix:///path".to_owned());
        }
        _ if text.is_empty() => return Err("empty: write a path or unix:///path".to_owned()),
        _ => return Ok(PathBuf::from(text)),
    };
    if path.starts_with('/') {
        Ok(PathBuf::from(path))
    } else {
        Err("the path after unix:// must be absolute: unix:///run/x.sock".to_owned())
    }
}

/// One of the agent's sockets.
#[derive(Clone, Debug)]
pub(super) struct Link {
    door: Door,
    path: PathBuf,
    timeout: Duration,
}

/// A client of the Workload API that sends the security header.
pub(super) type WorkloadClient =
    SpiffeWorkloadApiClient<InterceptedService<Channel, SecurityHeader>>;

/// What a call gives, or why it gives nothing.
type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, Failure>> + 'a>>;

impl Link {
    fn new(door: Door, path: Option<PathBuf>, timeout: Duration, console: &Console) -> Self {
        let path = path.unwrap_or_else(|| default_path(door, &console.directories));
        Self {
            door,
            path,
            timeout,
        }
    }

    pub(super) async fn admin(&self) -> Result<AdminClient<Channel>, Failure> {
        let channel = self.connect().await?;
        Ok(AdminClient::new(channel).max_decoding_message_size(MAX_ANSWER))
    }

    pub(super) async fn workload(&self) -> Result<WorkloadClient, Failure> {
        let channel = self.connect().await?;
        let client = SpiffeWorkloadApiClient::with_interceptor(channel, SecurityHeader);
        Ok(client.max_decoding_message_size(MAX_ANSWER))
    }

    pub(super) async fn connect(&self) -> Result<Channel, Failure> {
        let stream = self
            .deadline(UnixStream::connect(&self.path))
            .await?
            .map_err(|error| self.unreachable(&error))?;
        let mut stream = Some(TokioIo::new(stream));
        let connector = tower::service_fn(move |_| {
            let stream = stream.take();
            async move { stream.ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected)) }
        });
        Endpoint::from_static("http://localhost")
            .connect_with_connector(connector)
            .await
            .map_err(|error| self.broken(std::error::Error::source(&error)))
    }

    /// The connection was closed before there was an answer.
    fn broken(&self, why: Option<&(dyn std::error::Error + 'static)>) -> Failure {
        let why = why.map_or(String::new(), ToString::to_string);
        let failure = Failure::new(
            Exit::Unreachable,
            format!("{} does not answer as an agent: {why}", self.path.display()),
        );
        match self.door {
            Door::Admin => failure.advise(CLOSED_AT_ONCE),
            Door::Workload => failure,
        }
    }

    /// Waits for one answer, no longer than the deadline.
    pub(super) fn ask<'a, T: 'a>(
        &'a self,
        call: impl Future<Output = Result<Response<T>, Status>> + 'a,
    ) -> Answer<'a, T> {
        self.within(async { call.await.map(Response::into_inner) })
    }

    /// Waits for one message or stream, no longer than the deadline.
    pub(super) fn within<'a, T: 'a>(
        &'a self,
        answer: impl Future<Output = Result<T, Status>> + 'a,
    ) -> Answer<'a, T> {
        // The futures of generated clients are large.
        let answer = Box::pin(answer);
        Box::pin(async {
            let answer = self.deadline(answer).await?;
            answer.map_err(|status| self.refused(&status))
        })
    }

    /// What the agent answered instead of a result.
    pub(super) fn refused(&self, status: &Status) -> Failure {
        // What the agent answers has no source; a broken connection is one.
        match std::error::Error::source(status) {
            Some(why) if self.door == Door::Admin => self.broken(Some(why)),
            _ => Failure::of_status(status, self.door),
        }
    }

    async fn deadline<T>(&self, future: impl Future<Output = T>) -> Result<T, Failure> {
        tokio::time::timeout(self.timeout, future)
            .await
            .map_err(|_elapsed| {
                self.refused(&Status::deadline_exceeded(format!(
                    "no answer within {}",
                    super::moment::duration(self.timeout.as_secs())
                )))
            })
    }

    fn unreachable(&self, error: &io::Error) -> Failure {
        let path = self.path.display();
        let variable = match self.door {
            Door::Workload => "SPIFFE_ENDPOINT_SOCKET",
            Door::Admin => "SYMBOLON_ADMIN_SOCKET",
        };
        let elsewhere = format!(
            "Start an agent with `symbolon agent`, or name its socket with --socket or {variable}."
        );
        match error.kind() {
            io::ErrorKind::NotFound => Failure::new(
                Exit::Unreachable,
                format!("no agent: {path} does not exist"),
            )
            .advise(elsewhere),
            io::ErrorKind::ConnectionRefused => {
                Failure::new(Exit::Unreachable, format!("no agent listens at {path}"))
                    .advise(elsewhere)
            }
            io::ErrorKind::PermissionDenied => Failure::new(
                Exit::Denied,
                format!("denied: this user may not connect to {path}"),
            )
            .advise(match self.door {
                Door::Admin => {
                    "The admin socket is open to root, the agent's own user, the group that \
                     admin_api.group names, and whom [[operators]] name: run the command as one of \
                     them. A directory above it may be closed: `namei -l` on its path shows which."
                }
                Door::Workload => {
                    "The workload socket is open to everybody, but a directory above it is not: \
                     `namei -l` on its path shows which."
                }
            }),
            _ => Failure::new(Exit::Unreachable, format!("cannot reach {path}: {error}"))
                .advise(elsewhere),
        }
    }
}

/// The place of `door` where none is named: this user's own agent, or the system's where only
/// that one is.
fn default_path(door: Door, directories: &Directories) -> PathBuf {
    let place = |directories: &Directories| match door {
        Door::Workload => directories.workload_socket(),
        Door::Admin => directories.admin_socket(),
    };
    let system = place(&Directories::of(0, &[])).unwrap_or_default();
    match place(directories) {
        Some(own) if own.exists() || !system.exists() => own,
        _ => system,
    }
}

/// Adds `workload.spiffe.io: true` (`SPIFFE_Workload_Endpoint.md`, section 3).
#[derive(Clone, Copy, Debug)]
pub(super) struct SecurityHeader;

impl Interceptor for SecurityHeader {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request
            .metadata_mut()
            .insert(SECURITY_HEADER, MetadataValue::from_static("true"));
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::{Door, default_path, parse_address};
    use crate::config::Directories;
    use std::{fs, path::Path};

    #[test]
    fn sockets_are_paths_or_uris() {
        for text in ["/run/x.sock", "unix:///run/x.sock", "unix:/run/x.sock"] {
            assert_eq!(
                parse_address(text).as_deref(),
                Ok(Path::new("/run/x.sock")),
                "{text}"
            );
        }
        assert_eq!(parse_address("x.sock").as_deref(), Ok(Path::new("x.sock")));
        for text in ["", "unix://run/x.sock", "unix:", "tcp://127.0.0.1:8000"] {
            assert!(parse_address(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_users_own_agent_goes_before_the_systems() {
        let dir = tempfile::tempdir().unwrap();
        let environment = [("XDG_RUNTIME_DIR".into(), dir.path().into())];
        let user = Directories::of(1000, &environment);
        let own = dir.path().join("symbolon/admin/admin.sock");
        fs::create_dir_all(own.parent().unwrap()).unwrap();
        fs::write(&own, "").unwrap();
        assert_eq!(default_path(Door::Admin, &user), own);
    }

    #[test]
    fn without_directories_of_ones_own_the_system_is_asked() {
        let path = default_path(Door::Workload, &Directories::of(1000, &[]));
        assert_eq!(path, Path::new("/run/symbolon/workload/workload.sock"));
    }
}
