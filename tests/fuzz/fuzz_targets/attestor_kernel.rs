//! `/proc/PID/{auxv,personality,fdinfo}` and what netlink sockets bring: nothing panics, nothing is
//! read out of bytes that do not hold it, and an answer to another question is nobody's.
#![no_main]

use libfuzzer_sys::fuzz_target;
use symbolon_attestors::parse::{self, ConnectorEvent, PeerAnswer};

fuzz_target!(|input: (u8, u32, u32, &[u8])| {
    let (choice, sequence, inode, bytes) = input;
    if parse::auxv_is_complete(bytes) == Ok(true) {
        assert!(bytes.len().is_multiple_of(8));
    }
    if parse::is_unrandomized(bytes).is_ok() {
        assert!(bytes.is_ascii() && (8..=9).contains(&bytes.len()));
    }
    if let Ok(descriptor) = parse::descriptor_info(bytes) {
        let names = |name: &[u8]| bytes.windows(name.len()).any(|part| part == name);
        assert!(names(b"flags:"));
        assert!(descriptor.mount.is_none() || names(b"mnt_id:"));
        assert!(descriptor.inode.is_none() || names(b"ino:"));
    }
    // As they are, and behind headers that fit.
    netlink(bytes, sequence, inode);
    let kinds = [2, 3, 20, u16::from(choice)];
    let kind = kinds[usize::from(choice & 3)];
    let body = match kind {
        3 => connector(bytes),
        20 => [&[1, 1, 1, 0][..], &inode.to_ne_bytes(), &[0; 8], bytes].concat(),
        _ => bytes.to_vec(),
    };
    netlink(&message(kind, sequence, &body), sequence, inode);
});

fn netlink(datagram: &[u8], sequence: u32, inode: u32) {
    match parse::peer_answer(datagram, sequence, inode) {
        Ok(Some(PeerAnswer::Refused(number))) => assert!((1..4096).contains(&number)),
        Ok(Some(PeerAnswer::Found(peer))) => {
            assert_ne!(peer, Some(0));
            let other = parse::peer_answer(datagram, sequence, inode ^ 1);
            other.unwrap_err();
        }
        Ok(None) | Err(_) => {}
    }
    let other = parse::peer_answer(datagram, sequence ^ 1, inode);
    let same = parse::peer_answer(datagram, sequence, inode);
    assert!(!matches!((same, other), (Ok(Some(_)), Ok(Some(_)))));
    match parse::connector_event(datagram) {
        Ok(ConnectorEvent::Exec(process) | ConnectorEvent::Exit(process)) => {
            let process = process.to_ne_bytes();
            assert!(datagram.windows(4).any(|part| part == process));
        }
        Ok(ConnectorEvent::Answer { .. } | ConnectorEvent::Other) | Err(_) => {}
    }
}

fn message(kind: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(16 + body.len()).unwrap();
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend([0; 2]);
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend([0; 4]);
    bytes.extend(body);
    bytes
}

/// A connector's message about processes.
fn connector(payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap_or(u16::MAX);
    let mut bytes = Vec::new();
    for word in [1_u32, 1, 0, 0] {
        bytes.extend(word.to_ne_bytes());
    }
    bytes.extend(length.to_ne_bytes());
    bytes.extend([0; 2]);
    bytes.extend(payload);
    bytes
}
