//! The layout of HTTP/2 frames (RFC 9113, sections 3.4, 4.1 and 6): as much of
//! it as finding header blocks takes. A frame's payload is the rewriter's
//! business, and what the other frame types mean is the HTTP/2 server's.

/// What a client sends before its first frame (RFC 9113, section 3.4).
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Bytes of a frame's header.
pub(super) const HEADER_LENGTH: usize = 9;

/// Frame types that carry header blocks (RFC 9113, sections 6.2, 6.6 and 6.10),
/// and the one that asks (section 6.7).
pub(super) mod kind {
    pub(in crate::transport) const HEADERS: u8 = 0x1;
    pub(in crate::transport) const PUSH_PROMISE: u8 = 0x5;
    pub(in crate::transport) const PING: u8 = 0x6;
    pub(in crate::transport) const CONTINUATION: u8 = 0x9;
}

/// Flags of HEADERS, CONTINUATION and PING frames (RFC 9113, sections 6.2, 6.10
/// and 6.7).
pub(super) mod flag {
    pub(in crate::transport) const ACK: u8 = 0x1;
    pub(in crate::transport) const END_STREAM: u8 = 0x1;
    pub(in crate::transport) const END_HEADERS: u8 = 0x4;
    pub(in crate::transport) const PADDED: u8 = 0x8;
    pub(in crate::transport) const PRIORITY: u8 = 0x20;
}

/// A frame's header (RFC 9113, section 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHeader {
    /// Bytes of payload; 24 bits on the wire.
    pub(super) length: usize,
    pub(super) kind: u8,
    pub(super) flags: u8,
    /// Without the reserved bit, which a receiver ignores.
    pub(super) stream: u32,
}

impl FrameHeader {
    /// Reads the header at the start of `input`; `None` where it is not complete.
    pub(super) fn parse(input: &[u8]) -> Option<Self> {
        let &[l0, l1, l2, kind, flags, s0, s1, s2, s3] = input.first_chunk::<HEADER_LENGTH>()?;
        Some(Self {
            length: usize::from(l0) << 16 | usize::from(l1) << 8 | usize::from(l2),
            kind,
            flags,
            stream: u32::from_be_bytes([s0 & 0x7f, s1, s2, s3]),
        })
    }

    /// The header as it is sent. `length` has to fit into 24 bits.
    pub(super) fn to_bytes(self) -> [u8; HEADER_LENGTH] {
        let [.., l0, l1, l2] = self.length.to_be_bytes();
        let [s0, s1, s2, s3] = self.stream.to_be_bytes();
        [l0, l1, l2, self.kind, self.flags, s0, s1, s2, s3]
    }

    /// Whether `flag` is set.
    pub(super) const fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

#[cfg(test)]
mod tests {
    use super::{FrameHeader, HEADER_LENGTH};

    #[test]
    fn a_header_survives_being_written_and_read() {
        let header = FrameHeader {
            length: 0x01_02_03,
            kind: 0x9,
            flags: 0x4,
            stream: 0x7fff_fffe,
        };
        let bytes = header.to_bytes();
        assert_eq!(bytes, [1, 2, 3, 9, 4, 0x7f, 0xff, 0xff, 0xfe]);
        assert_eq!(FrameHeader::parse(&bytes), Some(header));
    }

    #[test]
    fn the_reserved_bit_is_ignored() {
        let bytes = [0, 0, 0, 1, 0, 0x80, 0, 0, 3];
        assert_eq!(FrameHeader::parse(&bytes).unwrap().stream, 3);
    }

    #[test]
    fn an_incomplete_header_is_none() {
        assert_eq!(FrameHeader::parse(&[0; HEADER_LENGTH - 1]), None);
    }
}
