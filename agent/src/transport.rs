//! Between the accepted socket of the workload API and the HTTP/2 server: an
//! authority made harmless, and the proof of who answers.
//!
//! On a Unix socket `:authority` has no meaning, and grpc-core, grpc-java and
//! others send the socket's path there. The HTTP/2 server under tonic resets
//! such a request before any code of ours runs. So [`Http2Guard`] follows the
//! client's frames (RFC 9113), decodes its header blocks (RFC 7541) and writes
//! each anew without the dynamic table, with `localhost` as the authority. All
//! other bytes go on as they came.
//!
//! Where it has a [`Question`], every read brings the sender whom the kernel
//! stamped on it ([`Stamped`]); from the first byte on, bytes of any other
//! process and ancillary data of any kind end the connection. Behind the
//! server's first frame it puts a PING with a payload that nobody can foresee
//! (RFC 9113, section 6.7), and takes the ACK to it out of what the server sees:
//! that is *answered*. The server's other bytes are not touched.
//!
//! The accept loop puts it around every connection. The client is hostile:
//! every frame, header block and header list has a limit in
//! [`TransportLimits`], and one broken rule ends the connection, since its
//! HPACK state would be lost (RFC 9113, section 4.3). What came before is still
//! handed on; then reads fail with [`io::ErrorKind::InvalidData`] around a
//! [`TransportError`]. A connection at rest holds the client's dynamic table
//! and no buffer.
//!
//! Left out on purpose: whatever the HTTP/2 server checks itself, on streams,
//! flow control, settings and the meaning of fields. It sees every frame.

mod asking;
mod frame;
mod hpack;
mod question;
mod rewriter;
mod stamped;
#[cfg(test)]
mod tests;

pub use hpack::HpackError;
pub use question::{Breach, Course, Heard, PAYLOAD_LENGTH, Question};
pub use stamped::{Accepted, Sender, Stamped};

use asking::{Asking, PING_LENGTH};
use bytes::{Buf as _, Bytes, BytesMut};
use rewriter::{Rewriter, Taken};
use std::{
    fmt, io,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::watch,
};
use tonic::transport::server::Connected;

/// What a client may make us hold or decode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransportLimits {
    /// Payload bytes of one frame: what the HTTP/2 server allows as
    /// `SETTINGS_MAX_FRAME_SIZE`, 16 KiB unless it says otherwise (RFC 9113,
    /// section 4.2).
    pub max_frame_size: usize,
    /// Payload bytes of one header block as it is sent, over all of its frames.
    /// 16 KiB: no shorter list needs more.
    pub max_header_block: usize,
    /// Bytes of one header list as RFC 9113, section 10.5.1, counts them; the
    /// HTTP/2 server advertises 16 KiB. More than `max_frame_size` counts as
    /// that, because a block written anew has to fit into one frame.
    pub max_header_list: usize,
    /// CONTINUATION frames of one header block, so that empty ones end too
    /// (CVE-2024-27316). A block within the limits needs one at most; a few
    /// more let clients split it otherwise.
    pub max_continuations: usize,
}

impl Default for TransportLimits {
    fn default() -> Self {
        Self {
            max_frame_size: 16 * 1024,
            max_header_block: 16 * 1024,
            max_header_list: 16 * 1024,
            max_continuations: 8,
        }
    }
}

/// Which rule or limit a client's bytes broke. All are the client's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// The connection does not begin with HTTP/2's preface.
    #[error("the client does not speak HTTP/2")]
    NotHttp2,
    /// A frame exceeds [`TransportLimits::max_frame_size`].
    #[error("a frame is too long")]
    FrameTooLong,
    /// A header block exceeds [`TransportLimits::max_header_block`].
    #[error("a header block is too long")]
    BlockTooLong,
    /// A header block exceeds [`TransportLimits::max_continuations`].
    #[error("a header block has too many CONTINUATION frames")]
    TooManyContinuations,
    /// A header block without a stream.
    #[error("a HEADERS frame without a stream")]
    NoStream,
    /// A CONTINUATION frame where no header block is open.
    #[error("a CONTINUATION frame without a header block")]
    StrayContinuation,
    /// A frame within a header block that is not its CONTINUATION.
    #[error("a header block is interrupted by another frame")]
    BlockInterrupted,
    /// A frame that only a server may send.
    #[error("a PUSH_PROMISE frame from a client")]
    PushPromise,
    /// A HEADERS frame shorter than its padding and priority.
    #[error("a HEADERS frame is shorter than its padding and priority")]
    Padding,
    /// A header block that cannot be decoded.
    #[error("a header block cannot be decoded: {0}")]
    Hpack(#[from] HpackError),
    /// The bytes are not the pinned process's alone.
    #[error(transparent)]
    Breach(#[from] Breach),
}

impl From<TransportError> for io::Error {
    fn from(error: TransportError) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}

/// An accepted socket whose reads are what the HTTP/2 server may see.
pub struct Http2Guard<S> {
    inner: S,
    rewriter: Rewriter,
    /// Received, and not judged yet: no more than the reader's buffer held.
    received: BytesMut,
    /// To be handed on: part of what was received, or one frame written anew.
    ready: Bytes,
    question: Option<Question>,
    asking: Asking,
    breach: Option<Breach>,
    /// Told when the peer has closed the connection.
    course: Option<watch::Sender<Course>>,
    is_turn_over: Option<Box<dyn Fn() -> bool + Send>>,
}

impl<S> Http2Guard<S> {
    /// Guards a connection from its first byte on; whose bytes they are is not
    /// looked at.
    pub fn new(inner: S, limits: TransportLimits) -> Self {
        Self {
            inner,
            rewriter: Rewriter::new(limits),
            received: BytesMut::new(),
            ready: Bytes::new(),
            question: None,
            asking: Asking::done(),
            breach: None,
            course: None,
            is_turn_over: None,
        }
    }

    /// As [`Self::new`]; every byte has to be the sender's whom `question` names,
    /// and it is put to him.
    pub fn asking(inner: S, limits: TransportLimits, question: Question) -> Self {
        let mut guard = Self::new(inner, limits);
        guard.rewriter.expect_answer(question.payload());
        guard.asking = Asking::new(question.payload());
        guard.question = Some(question);
        guard
    }

    /// Tells `course` when the peer closes the connection.
    #[must_use]
    pub fn telling(mut self, course: Option<watch::Sender<Course>>) -> Self {
        self.course = course;
        self
    }

    /// Reads no more at a time once it is somebody else's turn.
    #[must_use]
    pub fn pausing(mut self, is_turn_over: impl Fn() -> bool + Send + 'static) -> Self {
        self.is_turn_over = Some(Box::new(is_turn_over));
        self
    }

    /// The socket.
    pub const fn get_ref(&self) -> &S {
        &self.inner
    }

    /// Hands on what was received before, as far as `buf` has room. An error
    /// waits until all that came before it has been handed on.
    fn hand_on(&mut self, buf: &mut ReadBuf<'_>) -> Result<bool, TransportError> {
        let before = buf.remaining();
        while buf.remaining() > 0 {
            if self.ready.is_empty() {
                match self.judge() {
                    Ok(true) => {}
                    Err(error) if buf.remaining() == before => return Err(error),
                    Ok(false) | Err(_) => break,
                }
            }
            let chunk = self.ready.split_to(buf.remaining().min(self.ready.len()));
            buf.put_slice(&chunk);
        }
        Ok(buf.remaining() < before)
    }

    /// Makes the next received bytes ready; `false` where it takes more of them.
    fn judge(&mut self) -> Result<bool, TransportError> {
        while !self.received.is_empty() {
            let passed = self.rewriter.pass(&self.received);
            if passed > 0 {
                self.ready = self.received.split_to(passed).freeze();
                return Ok(true);
            }
            match self.rewriter.take(&self.received)? {
                Taken::Nothing => break,
                Taken::Bytes(count) => self.received.advance(count),
                Taken::Answer => {
                    self.received.advance(PING_LENGTH);
                    self.note_answer();
                }
                Taken::Frame(count, frame) => {
                    self.received.advance(count);
                    self.ready = frame.into();
                    return Ok(true);
                }
            }
        }
        // At most a part of a frame's header or of a PING is left: the memory
        // goes back while the connection rests.
        self.received = BytesMut::from(self.received.as_ref());
        Ok(false)
    }

    /// Before the whole question was handed to the socket, its answer is a guess.
    fn note_answer(&self) {
        if let Some(question) = &self.question
            && self.asking.is_done()
        {
            question.tell(Heard::Answer);
        }
    }

    /// Where bytes were left unread, the end comes as an error.
    fn note_closed(&self) {
        if let Some(course) = &self.course {
            course.send_modify(|course| *course = course.then(Course::Closed));
        }
    }

    /// Whether the bytes of `sender` may be looked at.
    fn check(&mut self, sender: Sender) -> Result<(), Breach> {
        let Some(question) = &self.question else {
            return Ok(());
        };
        let checked = question.check(sender);
        if let Err(breach) = checked {
            self.breach = Some(breach);
            question.tell(Heard::Breach(breach));
        }
        checked
    }
}

impl<S: Stamped + Unpin> Http2Guard<S> {
    /// Reads once. What goes on unchanged stays where it was read to, without
    /// being copied; from the first byte that does not, all is put by. Gives
    /// `false` at the end of the stream.
    fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<bool>> {
        let before = buf.filled().len();
        let sender = match ready!(Pin::new(&mut self.inner).poll_receive(cx, buf)) {
            Ok(sender) if buf.filled().len() > before => sender,
            // The end of the stream is nobody's.
            ended => {
                self.note_closed();
                return Poll::Ready(ended.map(|_sender| false));
            }
        };
        if let Err(breach) = self.check(sender) {
            buf.set_filled(before);
            return Poll::Ready(Err(TransportError::from(breach).into()));
        }
        let fresh = buf.filled().get(before..).unwrap_or_default();
        let passed = if self.received.is_empty() {
            self.rewriter.pass(fresh)
        } else {
            0
        };
        let put_by = fresh.get(passed..).unwrap_or_default();
        self.received.extend_from_slice(put_by);
        buf.set_filled(before + passed);
        Poll::Ready(Ok(true))
    }
}

impl<S: Stamped + Unpin> AsyncRead for Http2Guard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        if let Some(breach) = self.breach {
            return Poll::Ready(Err(TransportError::from(breach).into()));
        }
        let before = buf.filled().len();
        while !self.hand_on(buf)? {
            if self.is_turn_over.as_ref().is_some_and(|is_over| is_over()) {
                // Whoever sends only what does not go on, such as answers, is not read for ever.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let more = ready!(self.poll_receive(cx, buf))?;
            if !more || buf.filled().len() > before {
                break;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> Http2Guard<S> {
    /// Hands what is left of the question to the socket.
    fn poll_ask(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.asking.due() {
            let count = ready!(Pin::new(&mut self.inner).poll_write(cx, rest))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.asking.sent(count);
        }
        Poll::Ready(Ok(()))
    }

    /// Writes no further than to the end of the server's first frame, behind
    /// which the question goes.
    fn poll_write_first(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let part = buf.get(..self.asking.room(buf)).unwrap_or(buf);
        let count = ready!(Pin::new(&mut self.inner).poll_write(cx, part))?;
        self.asking.follow(part.get(..count).unwrap_or(part));
        Poll::Ready(Ok(count))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Http2Guard<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.asking.is_early() {
            return self.poll_write_first(cx, buf);
        }
        ready!(self.poll_ask(cx))?;
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.asking.is_early() {
            let first = bufs.iter().find(|buf| !buf.is_empty());
            return self.poll_write_first(cx, first.map_or(&[], |buf| buf));
        }
        ready!(self.poll_ask(cx))?;
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_ask(cx))?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

impl<S: Connected> Connected for Http2Guard<S> {
    type ConnectInfo = S::ConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.inner.connect_info()
    }
}

/// Tells the type only: buffers may hold a client's metadata.
impl<S> fmt::Debug for Http2Guard<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http2Guard").finish_non_exhaustive()
    }
}
