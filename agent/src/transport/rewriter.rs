//! Which of a client's bytes go on as they are, and what stands in for the rest.
//!
//! Header blocks are the rest: a HEADERS frame with its CONTINUATION frames is
//! collected, decoded and written anew as a single HEADERS frame, without
//! padding, without priority (deprecated by RFC 9113, section 5.3.2, and
//! ignored by our server) and with a harmless `:authority`. The answer to the
//! guard's own question is taken out. Everything else goes on unchanged. No I/O happens here: the guard brings bytes in pieces of
//! any size, and neither the result nor the error depends on the pieces.

use super::{
    TransportError, TransportLimits,
    asking::{PING_LENGTH, is_answer},
    frame::{FrameHeader, HEADER_LENGTH, PREFACE, flag, kind},
    hpack::{Decoder, Field},
    question::PAYLOAD_LENGTH,
};

/// What an authority's value is replaced with.
const HARMLESS_AUTHORITY: &[u8] = b"localhost";

/// Bytes that a HEADERS frame spends on priority (RFC 9113, section 6.2).
const PRIORITY_LENGTH: usize = 5;

/// The frames of one client.
pub(super) struct Rewriter {
    state: State,
    hpack: Decoder,
    limits: TransportLimits,
    /// The payload of the answer that is taken out.
    expected: Option<[u8; PAYLOAD_LENGTH]>,
}

enum State {
    /// So many bytes of the connection preface have come.
    Preface { matched: usize },
    /// A frame begins with the next byte.
    Between,
    /// So many bytes of payload go on unchanged.
    Passing { left: usize },
    /// A header block is not complete.
    Block(HeaderBlock),
    /// Nothing more is accepted.
    Failed(TransportError),
}

/// A header block whose frames are being collected.
struct HeaderBlock {
    /// The header of its HEADERS frame.
    head: FrameHeader,
    /// Payload that the current frame still owes.
    left: usize,
    /// The current frame says that it is the last one.
    last: bool,
    continuations: usize,
    /// The payload so far.
    payload: Vec<u8>,
}

/// What [`Rewriter::take`] did.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// Nothing: a frame's header is not complete yet.
    Nothing,
    /// So many bytes, nothing to send on yet.
    Bytes(usize),
    /// So many bytes, and this frame has to be sent on in place of all that was taken.
    Frame(usize, Vec<u8>),
    /// The expected answer, a PING frame.
    Answer,
}

impl Rewriter {
    pub(super) fn new(mut limits: TransportLimits) -> Self {
        // A field written anew is shorter than what it counts in the list, also
        // with another authority, so the list's limit lets it fit into a frame.
        limits.max_header_list = limits.max_header_list.min(limits.max_frame_size);
        Self {
            state: State::Preface { matched: 0 },
            hpack: Decoder::default(),
            limits,
            expected: None,
        }
    }

    /// Takes answers with this payload out of what goes on.
    pub(super) const fn expect_answer(&mut self, payload: [u8; PAYLOAD_LENGTH]) {
        self.expected = Some(payload);
    }

    /// Whether the frame may be the expected answer.
    fn may_answer(&self, header: FrameHeader) -> bool {
        self.expected.is_some() && is_answer(header)
    }

    /// Judges a frame that has the form of an answer, once it is complete. The
    /// server gets those to what it asked itself.
    fn take_answer(&self, input: &[u8]) -> Taken {
        match input.get(..PING_LENGTH) {
            None => Taken::Nothing,
            Some(frame) if self.expected.is_some_and(|known| frame.ends_with(&known)) => {
                Taken::Answer
            }
            Some(frame) => Taken::Frame(PING_LENGTH, frame.to_vec()),
        }
    }

    /// How many bytes at the start of `input` go on unchanged. The byte after
    /// them, if there is one, is for [`Self::take`].
    pub(super) fn pass(&mut self, input: &[u8]) -> usize {
        let mut passed = 0;
        while let Some(rest) = input.get(passed..) {
            let step = self.pass_some(rest);
            if step == 0 {
                break;
            }
            passed += step;
        }
        passed
    }

    fn pass_some(&mut self, input: &[u8]) -> usize {
        match self.state {
            State::Preface { matched } => {
                let expected = PREFACE.iter().skip(matched);
                let count = expected.zip(input).take_while(|(a, b)| a == b).count();
                self.state = match matched + count {
                    matched if matched < PREFACE.len() => State::Preface { matched },
                    _ => State::Between,
                };
                count
            }
            State::Between => match FrameHeader::parse(input) {
                Some(header)
                    if matches!(self.opens_block(header), Ok(false))
                        && !self.may_answer(header) =>
                {
                    self.state = State::passing(header.length);
                    HEADER_LENGTH
                }
                _ => 0,
            },
            State::Passing { left } => {
                let count = left.min(input.len());
                self.state = State::passing(left - count);
                count
            }
            State::Block(_) | State::Failed(_) => 0,
        }
    }

    /// Takes bytes that do not go on unchanged from the start of `input`, where
    /// [`Self::pass`] passes nothing.
    ///
    /// # Errors
    /// Where the bytes break a rule or a limit, and ever after.
    pub(super) fn take(&mut self, input: &[u8]) -> Result<Taken, TransportError> {
        let taken = self.try_take(input);
        if let Err(error) = taken {
            self.state = State::Failed(error);
        }
        taken
    }

    fn try_take(&mut self, input: &[u8]) -> Result<Taken, TransportError> {
        let count = match &mut self.state {
            State::Failed(error) => return Err(*error),
            State::Preface { .. } => return Err(TransportError::NotHttp2),
            State::Block(block) if block.left > 0 => block.fill(input),
            State::Block(block) => match FrameHeader::parse(input) {
                Some(header) => block.proceed(header, &self.limits)?,
                None => return Ok(Taken::Nothing),
            },
            State::Between => match FrameHeader::parse(input) {
                Some(header) if self.opens_block(header)? => self.open(header)?,
                Some(header) if self.may_answer(header) => return Ok(self.take_answer(input)),
                _ => return Ok(Taken::Nothing),
            },
            State::Passing { .. } => return Ok(Taken::Nothing),
        };
        Ok(match self.complete()? {
            Some(frame) => Taken::Frame(count, frame),
            None => Taken::Bytes(count),
        })
    }

    /// Whether a frame begins a header block; where no block is open.
    fn opens_block(&self, header: FrameHeader) -> Result<bool, TransportError> {
        if header.length > self.limits.max_frame_size {
            return Err(TransportError::FrameTooLong);
        }
        match header.kind {
            kind::HEADERS if header.stream == 0 => Err(TransportError::NoStream),
            kind::HEADERS => Ok(true),
            // RFC 9113, section 8.4: a client cannot push.
            kind::PUSH_PROMISE => Err(TransportError::PushPromise),
            // RFC 9113, section 6.10.
            kind::CONTINUATION => Err(TransportError::StrayContinuation),
            _ => Ok(false),
        }
    }

    /// Begins a header block with its HEADERS frame; gives the bytes taken.
    fn open(&mut self, head: FrameHeader) -> Result<usize, TransportError> {
        let mut block = HeaderBlock {
            head,
            left: 0,
            last: false,
            continuations: 0,
            payload: Vec::new(),
        };
        let taken = block.begin(head, &self.limits)?;
        self.state = State::Block(block);
        Ok(taken)
    }

    /// Ends the open block's frame where its payload is complete. Gives the
    /// frame that stands in for the block where that was its last one.
    fn complete(&mut self) -> Result<Option<Vec<u8>>, TransportError> {
        let State::Block(block) = &mut self.state else {
            return Ok(None);
        };
        if block.left > 0 {
            return Ok(None);
        }
        if block.continuations == 0 {
            block.strip()?;
        }
        if !block.last {
            return Ok(None);
        }
        let mut frame = vec![0; HEADER_LENGTH];
        self.hpack
            .decode(&block.payload, self.limits.max_header_list, |field| {
                harmless(field).write(&mut frame);
            })?;
        let header = FrameHeader {
            length: frame.len() - HEADER_LENGTH,
            flags: block.head.flags & flag::END_STREAM | flag::END_HEADERS,
            ..block.head
        };
        if let Some(start) = frame.first_chunk_mut() {
            *start = header.to_bytes();
        }
        self.state = State::Between;
        Ok(Some(frame))
    }
}

/// The field as the server may see it. On a Unix socket the authority tells
/// nothing, and what many clients put there is not one.
fn harmless(field: Field<'_>) -> Field<'_> {
    match field.name {
        b":authority" => Field {
            value: HARMLESS_AUTHORITY,
            ..field
        },
        _ => field,
    }
}

impl State {
    const fn passing(left: usize) -> Self {
        if left == 0 {
            Self::Between
        } else {
            Self::Passing { left }
        }
    }
}

impl HeaderBlock {
    /// Goes on with the next frame, which only a CONTINUATION frame of the same
    /// stream may be (RFC 9113, section 6.10).
    fn proceed(
        &mut self,
        header: FrameHeader,
        limits: &TransportLimits,
    ) -> Result<usize, TransportError> {
        if header.kind != kind::CONTINUATION || header.stream != self.head.stream {
            return Err(TransportError::BlockInterrupted);
        }
        self.continuations += 1;
        if self.continuations > limits.max_continuations {
            return Err(TransportError::TooManyContinuations);
        }
        self.begin(header, limits)
    }

    /// Begins a frame of the block; gives the bytes taken.
    fn begin(
        &mut self,
        header: FrameHeader,
        limits: &TransportLimits,
    ) -> Result<usize, TransportError> {
        if header.length > limits.max_frame_size {
            return Err(TransportError::FrameTooLong);
        }
        if self.payload.len() + header.length > limits.max_header_block {
            return Err(TransportError::BlockTooLong);
        }
        self.left = header.length;
        self.last = header.has(flag::END_HEADERS);
        Ok(HEADER_LENGTH)
    }

    /// Takes payload of the current frame; gives the bytes taken.
    fn fill(&mut self, input: &[u8]) -> usize {
        let payload = input.get(..self.left).unwrap_or(input);
        self.payload.extend_from_slice(payload);
        self.left -= payload.len();
        payload.len()
    }

    /// Takes padding and priority out of the payload of the HEADERS frame
    /// (RFC 9113, section 6.2).
    fn strip(&mut self) -> Result<(), TransportError> {
        let mut start = 0;
        let mut padding = 0;
        if self.head.has(flag::PADDED) {
            padding = self.payload.first().copied().map_or(0, usize::from);
            start += 1;
        }
        if self.head.has(flag::PRIORITY) {
            start += PRIORITY_LENGTH;
        }
        let end = self.payload.len().checked_sub(padding);
        let end = end.filter(|end| start <= *end);
        self.payload.truncate(end.ok_or(TransportError::Padding)?);
        self.payload.drain(..start);
        Ok(())
    }
}
