//! What `netlink(7)` frames have in common.

use super::Malformed;

/// Bytes of `struct nlmsghdr`.
pub(super) const HEADER_BYTES: usize = 16;

/// A message as the kernel sent it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message<'a> {
    pub(super) kind: u16,
    pub(super) sequence: u32,
    pub(super) body: &'a [u8],
}

/// The one message in a datagram.
pub(super) fn message(datagram: &[u8]) -> Result<Message<'_>, Malformed> {
    let mut rest = datagram;
    let length = take_u32(&mut rest)?;
    let kind = take_u16(&mut rest)?;
    let _flags = take_u16(&mut rest)?;
    let sequence = take_u32(&mut rest)?;
    let _port = take_u32(&mut rest)?;
    let length = usize::try_from(length).map_err(|_range| Malformed("netlink: length"))?;
    let end = length
        .checked_sub(HEADER_BYTES)
        .ok_or(Malformed("netlink: a message shorter than its header"))?;
    let (body, padding) = rest
        .split_at_checked(end)
        .ok_or(Malformed("netlink: a message longer than its datagram"))?;
    if padding.len() > 3 {
        return Err(Malformed("netlink: more than one message"));
    }
    Ok(Message {
        kind,
        sequence,
        body,
    })
}

/// The attributes in `bytes`: type and value.
pub(super) fn attributes(bytes: &[u8]) -> impl Iterator<Item = Result<(u16, &[u8]), Malformed>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        (!rest.is_empty()).then(|| {
            let taken = attribute(&mut rest);
            if taken.is_err() {
                rest = &[];
            }
            taken
        })
    })
}

fn attribute<'a>(rest: &mut &'a [u8]) -> Result<(u16, &'a [u8]), Malformed> {
    let length = usize::from(take_u16(rest)?);
    let kind = take_u16(rest)?;
    let value = length
        .checked_sub(4)
        .and_then(|length| rest.split_off(..length))
        .ok_or(Malformed("netlink: an attribute's length"))?;
    let padding = length.next_multiple_of(4) - length;
    // The last one's may be missing.
    let _padding = rest.split_off(..padding.min(rest.len()));
    Ok((kind, value))
}

pub(super) fn take_u16(rest: &mut &[u8]) -> Result<u16, Malformed> {
    take(rest).map(u16::from_ne_bytes)
}

pub(super) fn take_u32(rest: &mut &[u8]) -> Result<u32, Malformed> {
    take(rest).map(u32::from_ne_bytes)
}

/// The next `N` bytes.
pub(super) fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Malformed> {
    let (taken, behind) = rest
        .split_first_chunk()
        .ok_or(Malformed("netlink: too short"))?;
    *rest = behind;
    Ok(*taken)
}

/// A message to the kernel, which is asked to do something.
pub(super) fn request(kind: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
    const REQUEST: u16 = 1;
    let mut message = Vec::with_capacity(HEADER_BYTES + body.len());
    let length = u32::try_from(HEADER_BYTES + body.len()).unwrap_or(u32::MAX);
    message.extend_from_slice(&length.to_ne_bytes());
    message.extend_from_slice(&kind.to_ne_bytes());
    message.extend_from_slice(&REQUEST.to_ne_bytes());
    message.extend_from_slice(&sequence.to_ne_bytes());
    message.extend_from_slice(&0_u32.to_ne_bytes());
    message.extend_from_slice(body);
    message
}
