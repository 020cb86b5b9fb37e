//! The kernel's word on every `execve` and exit of the host.
//!
//! Owns a subscription to the process connector (netlink). Events wake a check
//! early; none of them is a proof, and nothing relies on their coming: they
//! are asynchronous, may be lost (which is told), and exist for privileged
//! agents in the initial namespaces only.
//!
//! Messages count only if the kernel sent them (port 0): other processes with
//! privileges over the network namespace can write to the same group. What is
//! malformed is treated like a loss.

use crate::parse::{self, ConnectorEvent};
use rustix::{
    fd::OwnedFd,
    io::Errno,
    net::{
        AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind,
        netlink::{self, SocketAddrNetlink},
        recvfrom, sendto, socket_with, sockopt,
    },
};
use std::{collections::VecDeque, io, sync::Arc};
use symbolon_syscalls::ReadableWatch;

/// The group of `CN_IDX_PROC`.
const GROUP: u32 = 1;

/// Room for messages that were not read yet: some 10,000 of them.
const QUEUE_BYTES: usize = 4 << 20;

/// Larger than any event.
const MESSAGE_BYTES: usize = 1024;

/// Messages that are looked at for the answer to the subscription: others' events come before it.
const MAX_BEFORE_ANSWER: usize = 4096;

/// Error numbers are smaller.
const MAX_ERROR: i32 = 4096;

/// What happened to a process.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ProcessEvent {
    /// It executed a program.
    Exec {
        /// Its process ID.
        pid: u32,
    },
    /// It exited; other threads of it may still be about to.
    Exit {
        /// Its process ID.
        pid: u32,
    },
    /// Events were lost: anything may have happened to any process.
    Lost,
}

/// Why the kernel does not tell of processes: the operator's.
#[derive(Debug, thiserror::Error)]
pub enum EventsError {
    /// Not for this agent.
    #[error("{step}: {source} (needs CAP_NET_ADMIN and the initial network namespace)")]
    System {
        /// What was tried.
        step: &'static str,
        /// How the kernel refused.
        source: Errno,
    },
    /// The kernel does not answer outside of these.
    #[error("the process connector answers in the initial user and PID namespaces only")]
    NoAnswer,
    /// The runtime cannot watch the socket.
    #[error("the process connector cannot be watched: {0}")]
    Watch(#[source] io::Error),
}

/// The kernel's word on every process of the host.
#[derive(Debug)]
pub struct ProcessEvents {
    socket: Arc<OwnedFd>,
    watch: ReadableWatch,
    queue: VecDeque<ProcessEvent>,
}

impl ProcessEvents {
    /// Subscribes, inside of a runtime.
    pub(crate) fn listen() -> Result<Self, EventsError> {
        let socket = Arc::new(connect().map_err(|source| EventsError::System {
            step: "the process connector",
            source,
        })?);
        let queue = subscribe(&socket)?;
        let watch = ReadableWatch::new(Arc::clone(&socket)).map_err(EventsError::Watch)?;
        Ok(Self {
            socket,
            watch,
            queue,
        })
    }

    /// The next event. Cancelling the wait loses none.
    ///
    /// # Errors
    /// Where the kernel's socket fails: there will be no more.
    pub async fn next(&mut self) -> io::Result<ProcessEvent> {
        loop {
            if let Some(event) = self.queue.pop_front() {
                return Ok(event);
            }
            let received = self.watch.until(|| receive(&self.socket)).await?;
            self.queue.extend(event(received));
        }
    }
}

fn connect() -> Result<OwnedFd, Errno> {
    let socket = socket_with(
        AddressFamily::NETLINK,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        Some(netlink::CONNECTOR),
    )?;
    // A smaller queue loses events sooner, and says so.
    let _smaller = sockopt::set_socket_recv_buffer_size_force(&socket, QUEUE_BYTES)
        .or_else(|_error| sockopt::set_socket_recv_buffer_size(&socket, QUEUE_BYTES));
    bind(&socket, &SocketAddrNetlink::new(0, GROUP))?;
    Ok(socket)
}

/// Asks for events, and returns those that came before the answer.
fn subscribe(socket: &OwnedFd) -> Result<VecDeque<ProcessEvent>, EventsError> {
    let send = |request: &[u8]| {
        sendto(
            socket,
            request,
            SendFlags::empty(),
            &SocketAddrNetlink::new(0, 0),
        )
        .map_err(|source| EventsError::System {
            step: "subscribing to the process connector",
            source,
        })
    };
    let asked = std::process::id();
    send(&parse::listen_request(asked, false))?;
    let mut queue = VecDeque::new();
    // The kernel answers before the request returns.
    for _ in 0..MAX_BEFORE_ANSWER {
        let received = match receive(socket) {
            Ok(received) => received,
            Err(Errno::AGAIN) => break,
            Err(source) => {
                return Err(EventsError::System {
                    step: "reading the process connector",
                    source,
                });
            }
        };
        match received {
            Received::Event(ConnectorEvent::Answer { sequence, error }) if sequence == asked => {
                if error != 0 {
                    let source = i32::try_from(error)
                        .ok()
                        .filter(|error| *error < MAX_ERROR)
                        .map_or(Errno::PERM, Errno::from_raw_os_error);
                    return Err(EventsError::System {
                        step: "subscribing to the process connector",
                        source,
                    });
                }
                // Kernels before 6.6 ignore the request for less.
                send(&parse::listen_request(asked, true))?;
                return Ok(queue);
            }
            received => queue.extend(event(received)),
        }
    }
    Err(EventsError::NoAnswer)
}

/// One message.
enum Received {
    Event(ConnectorEvent),
    /// Not from the kernel.
    Foreign,
    Lost,
}

fn receive(socket: &OwnedFd) -> Result<Received, Errno> {
    let mut buffer = [0; MESSAGE_BYTES];
    let (bytes, address) = loop {
        match recvfrom(socket, &mut buffer, RecvFlags::DONTWAIT) {
            Ok((bytes, _whole, address)) => break (bytes, address),
            Err(Errno::INTR) => {}
            Err(Errno::NOBUFS) => return Ok(Received::Lost),
            Err(error) => return Err(error),
        }
    };
    let sender = address.and_then(|address| SocketAddrNetlink::try_from(address).ok());
    if sender.is_none_or(|sender| sender.pid() != 0) {
        return Ok(Received::Foreign);
    }
    let event = parse::connector_event(buffer.get(..bytes).unwrap_or_default());
    Ok(event.map_or(Received::Lost, Received::Event))
}

const fn event(received: Received) -> Option<ProcessEvent> {
    match received {
        Received::Event(ConnectorEvent::Exec(pid)) => Some(ProcessEvent::Exec { pid }),
        Received::Event(ConnectorEvent::Exit(pid)) => Some(ProcessEvent::Exit { pid }),
        Received::Event(ConnectorEvent::Answer { .. } | ConnectorEvent::Other)
        | Received::Foreign => None,
        Received::Lost => Some(ProcessEvent::Lost),
    }
}
