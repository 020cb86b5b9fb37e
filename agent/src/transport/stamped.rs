//! Reads that say who wrote.
//!
//! With `SO_PASSCRED` the kernel stamps every piece of a Unix stream with the
//! process that wrote it (`SCM_CREDENTIALS`, unix(7)), whoever holds the socket,
//! and never joins pieces of different writers in one read. A process with
//! privilege over its own PID namespace can name another one of it; what a
//! stamp is worth is the attestor's to say.

use std::{
    io,
    os::fd::AsFd as _,
    pin::Pin,
    task::{Context, Poll, ready},
};
use symbolon_syscalls::receive;
use tokio::{
    io::{AsyncRead as _, AsyncWrite, Interest, ReadBuf},
    net::UnixStream,
};
use tonic::transport::server::Connected;

/// Who wrote what one read brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// The process with this number in the agent's PID namespace; 0 for one that
    /// has none there.
    Process(u32),
    /// The kernel does not say.
    Unstamped,
    /// Whoever it was, more came than bytes and one stamp.
    WithAncillaryData,
}

/// Bytes with their writer.
pub trait Stamped {
    /// Reads as `poll_read` does, and says who wrote all that was read.
    ///
    /// # Errors
    /// The socket's.
    fn poll_receive(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<Sender>>;
}

/// An accepted socket.
#[derive(Debug)]
pub struct Accepted {
    socket: UnixStream,
    stamps: bool,
}

impl Accepted {
    /// With `stamps`, reads ask for the writer; the listener had `SO_PASSCRED`.
    #[must_use]
    pub const fn new(socket: UnixStream, stamps: bool) -> Self {
        Self { socket, stamps }
    }
}

impl Stamped for Accepted {
    fn poll_receive(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<Sender>> {
        if !self.stamps {
            ready!(Pin::new(&mut self.socket).poll_read(cx, buf))?;
            return Poll::Ready(Ok(Sender::Unstamped));
        }
        loop {
            ready!(self.socket.poll_read_ready(cx))?;
            let room = buf.initialize_unfilled();
            let received = self.socket.try_io(Interest::READABLE, || {
                Ok(receive(self.socket.as_fd(), room)?)
            });
            match received {
                Ok(received) => {
                    buf.advance(received.bytes);
                    return Poll::Ready(Ok(match received.sender {
                        _ if received.other => Sender::WithAncillaryData,
                        Some(pid) => Sender::Process(pid),
                        None => Sender::Unstamped,
                    }));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Accepted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

impl Connected for Accepted {
    type ConnectInfo = <UnixStream as Connected>::ConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.socket.connect_info()
    }
}
