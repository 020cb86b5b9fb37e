//! Asking for the other end of a Unix socket (`sock_diag(7)`).

use super::{
    Malformed,
    netlink::{attributes, message, request, take, take_u32},
};

/// `SOCK_DIAG_BY_FAMILY`.
const BY_FAMILY: u16 = 20;
/// `NLMSG_ERROR`.
const ERROR: u16 = 2;
/// Error numbers are smaller.
const MAX_ERROR: i32 = 4096;
/// `AF_UNIX`.
const UNIX: u8 = 1;
/// `UDIAG_SHOW_PEER`.
const SHOW_PEER: u32 = 4;
/// `UNIX_DIAG_PEER`.
const PEER: u16 = 2;

/// What the kernel answers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PeerAnswer {
    /// The inode of the other end; none where that is closed, or there is none.
    Found(Option<u32>),
    /// It refuses, with this error number: `ENOENT` where the socket is not in the network
    /// namespace that was asked.
    Refused(i32),
}

/// No cookie is demanded.
pub const ANY_COOKIE: u64 = u64::MAX;

/// The question for the other end of the socket with the inode `inode` and this cookie: the kernel
/// gives inodes again when 32 bits of them were used, and cookies never.
#[must_use]
pub fn peer_request(sequence: u32, inode: u32, cookie: u64) -> Vec<u8> {
    let mut body = vec![UNIX, 0, 0, 0];
    // States (all), inode, what to show; the lower half of the cookie is first everywhere.
    for word in [u32::MAX, inode, SHOW_PEER] {
        body.extend_from_slice(&word.to_ne_bytes());
    }
    let [low, high] = [cookie & u64::from(u32::MAX), cookie >> 32];
    for half in [low, high] {
        let half = u32::try_from(half).unwrap_or(u32::MAX);
        body.extend_from_slice(&half.to_ne_bytes());
    }
    request(BY_FAMILY, sequence, &body)
}

/// The answer to [`peer_request`] in `datagram`; none where it answers another question.
///
/// # Errors
/// Where it is none, or one about another socket.
pub fn peer_answer(
    datagram: &[u8],
    sequence: u32,
    inode: u32,
) -> Result<Option<PeerAnswer>, Malformed> {
    let message = message(datagram)?;
    if message.sequence != sequence {
        return Ok(None);
    }
    let mut rest = message.body;
    match message.kind {
        BY_FAMILY => {
            let [family, _kind, _state, _] = take(&mut rest)?;
            if family != UNIX || take_u32(&mut rest)? != inode {
                return Err(Malformed("sock_diag: another socket"));
            }
            let _cookie: [u8; 8] = take(&mut rest)?;
            peer(rest).map(|peer| Some(PeerAnswer::Found(peer)))
        }
        ERROR => {
            let number = i32::from_ne_bytes(take(&mut rest)?);
            match number.checked_neg() {
                Some(number) if (1..MAX_ERROR).contains(&number) => {
                    Ok(Some(PeerAnswer::Refused(number)))
                }
                _ => Err(Malformed("sock_diag: no error")),
            }
        }
        _ => Err(Malformed("sock_diag: another kind of message")),
    }
}

fn peer(bytes: &[u8]) -> Result<Option<u32>, Malformed> {
    let mut peer = None;
    for attribute in attributes(bytes) {
        let (kind, value) = attribute?;
        if kind != PEER {
            continue;
        }
        let inode = value
            .try_into()
            .map_err(|_length| Malformed("sock_diag: the length of an inode"))?;
        if peer.replace(u32::from_ne_bytes(inode)).is_some() {
            return Err(Malformed("sock_diag: two other ends"));
        }
    }
    // A socket that nobody holds any more has no inode.
    Ok(peer.filter(|inode| *inode != 0))
}

#[cfg(test)]
mod tests {
    use super::{ANY_COOKIE, BY_FAMILY, ERROR, PEER, PeerAnswer, peer_answer, peer_request};
    use crate::parse::netlink::request;
    use proptest::prelude::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(4 + value.len()).unwrap();
        let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
        bytes.extend_from_slice(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn answer(inode: u32, attributes: &[Vec<u8>]) -> Vec<u8> {
        let mut body = vec![1, 1, 1, 0];
        body.extend_from_slice(&inode.to_ne_bytes());
        body.extend_from_slice(&[0xab; 8]);
        body.extend(attributes.iter().flatten());
        request(BY_FAMILY, 7, &body)
    }

    fn shutdown() -> Vec<u8> {
        attribute(6, &[0])
    }

    #[test]
    fn the_question_is_as_the_kernel_wants_it() {
        let question = peer_request(7, 0x0102_0304, 0x0506_0708_090a_0b0c);
        assert_eq!(question.len(), 16 + 24);
        assert_eq!(question[..4], 40_u32.to_ne_bytes());
        assert_eq!(question[24..28], 0x0102_0304_u32.to_ne_bytes());
        assert_eq!(question[32..36], 0x090a_0b0c_u32.to_ne_bytes());
        assert_eq!(question[36..], 0x0506_0708_u32.to_ne_bytes());
        let any = peer_request(7, 1, ANY_COOKIE);
        assert_eq!(any[32..], [0xff; 8]);
    }

    #[test]
    fn the_other_end_is_named() {
        let peer = attribute(PEER, &99_u32.to_ne_bytes());
        let found = peer_answer(&answer(5, &[shutdown(), peer.clone()]), 7, 5);
        assert_eq!(found, Ok(Some(PeerAnswer::Found(Some(99)))));
        assert_eq!(peer_answer(&answer(5, &[peer]), 8, 5), Ok(None));
    }

    #[test]
    fn a_closed_end_has_no_inode() {
        let none = Ok(Some(PeerAnswer::Found(None)));
        assert_eq!(peer_answer(&answer(5, &[shutdown()]), 7, 5), none);
        let closed = attribute(PEER, &[0; 4]);
        assert_eq!(peer_answer(&answer(5, &[closed]), 7, 5), none);
    }

    #[test]
    fn a_refusal_has_its_number() {
        let refusal = request(ERROR, 7, &[(-2_i32).to_ne_bytes(), [0; 4]].concat());
        let refused = peer_answer(&refusal, 7, 5);
        assert_eq!(refused, Ok(Some(PeerAnswer::Refused(2))));
        for number in [0, 5, -4096, i32::MIN] {
            peer_answer(&request(ERROR, 7, &number.to_ne_bytes()), 7, 5).unwrap_err();
        }
    }

    #[test]
    fn other_lengths_and_sockets_are_refused() {
        let peer = attribute(PEER, &99_u32.to_ne_bytes());
        let whole = answer(5, std::slice::from_ref(&peer));
        for end in 0..whole.len() {
            peer_answer(&whole[..end], 7, 5).unwrap_err();
        }
        peer_answer(&whole, 7, 6).unwrap_err();
        peer_answer(&[&*whole, &*whole].concat(), 7, 5).unwrap_err();
        peer_answer(&answer(5, &[peer.clone(), peer]), 7, 5).unwrap_err();
        peer_answer(&answer(5, &[attribute(PEER, &[1; 3])]), 7, 5).unwrap_err();
        peer_answer(&answer(5, &[attribute(PEER, &[1; 8])]), 7, 5).unwrap_err();
        peer_answer(&answer(5, &[vec![3, 0, 2, 0]]), 7, 5).unwrap_err();
        peer_answer(&answer(5, &[vec![200, 0, 2, 0]]), 7, 5).unwrap_err();
        peer_answer(&request(3, 7, &[0; 32]), 7, 5).unwrap_err();
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _any = peer_answer(&bytes, 7, 5);
        }

        #[test]
        fn attributes_around_it_change_nothing(
            before in prop::collection::vec((3_u16..99, prop::collection::vec(any::<u8>(), 0..9)), 0..5),
            peer in 1_u32..,
        ) {
            let mut all: Vec<_> = before.iter().map(|(kind, value)| attribute(*kind, value)).collect();
            all.push(attribute(PEER, &peer.to_ne_bytes()));
            all.rotate_right(before.len() / 2);
            let found = peer_answer(&answer(5, &all), 7, 5);
            prop_assert_eq!(found, Ok(Some(PeerAnswer::Found(Some(peer)))));
        }
    }
}
