//! The kernel's process events (`include/uapi/linux/cn_proc.h`, `connector.h`).

use super::{
    Malformed,
    netlink::{message, request, take, take_u16, take_u32},
};

/// `NLMSG_DONE`: connector messages have it.
const DONE: u16 = 3;
/// `CN_IDX_PROC` and `CN_VAL_PROC`.
const PROCESSES: [u32; 2] = [1, 1];
/// `PROC_CN_MCAST_LISTEN`.
const LISTEN: u32 = 1;
/// `PROC_EVENT_NONE`, `PROC_EVENT_EXEC` and `PROC_EVENT_EXIT`.
const ANSWER: u32 = 0;
const EXEC: u32 = 2;
const EXIT: u32 = 0x8000_0000;

/// What one message says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ConnectorEvent {
    /// The process with this ID executed a program.
    Exec(u32),
    /// The first thread of the process with this ID exited.
    Exit(u32),
    /// The answer to [`listen_request`] with this sequence number: an error number, or 0.
    Answer {
        /// Of the request.
        sequence: u32,
        /// Why it was refused.
        error: u32,
    },
    /// Something else.
    Other,
}

/// The request for events: for all of them, or (Linux 6.6) for those of [`ConnectorEvent`] only.
#[must_use]
pub fn listen_request(sequence: u32, only_needed: bool) -> Vec<u8> {
    let mut body = Vec::with_capacity(28);
    // The answer has a sequence number of its own, and acknowledges the next of this one.
    for word in [PROCESSES[0], PROCESSES[1], sequence, sequence] {
        body.extend_from_slice(&word.to_ne_bytes());
    }
    let length: u16 = if only_needed { 8 } else { 4 };
    body.extend_from_slice(&length.to_ne_bytes());
    body.extend_from_slice(&[0, 0]);
    body.extend_from_slice(&LISTEN.to_ne_bytes());
    if only_needed {
        body.extend_from_slice(&(EXEC | EXIT).to_ne_bytes());
    }
    request(DONE, sequence, &body)
}

/// The event in `datagram`.
///
/// # Errors
/// Where it is none.
pub fn connector_event(datagram: &[u8]) -> Result<ConnectorEvent, Malformed> {
    let message = message(datagram)?;
    let mut rest = message.body;
    let subject = [take_u32(&mut rest)?, take_u32(&mut rest)?];
    if message.kind != DONE || subject != PROCESSES {
        return Err(Malformed("connector: another subject"));
    }
    let _sequence = take_u32(&mut rest)?;
    let acknowledged = take_u32(&mut rest)?;
    let length = usize::from(take_u16(&mut rest)?);
    let _flags = take_u16(&mut rest)?;
    if length != rest.len() {
        return Err(Malformed("connector: length"));
    }
    let what = take_u32(&mut rest)?;
    let _processor_and_time: [u8; 12] = take(&mut rest)?;
    match what {
        ANSWER => Ok(ConnectorEvent::Answer {
            sequence: acknowledged.wrapping_sub(1),
            error: take_u32(&mut rest)?,
        }),
        EXEC => {
            let _thread = take_u32(&mut rest)?;
            Ok(ConnectorEvent::Exec(take_u32(&mut rest)?))
        }
        EXIT => {
            let thread = take_u32(&mut rest)?;
            let process = take_u32(&mut rest)?;
            Ok(if thread == process {
                ConnectorEvent::Exit(process)
            } else {
                ConnectorEvent::Other
            })
        }
        _ => Ok(ConnectorEvent::Other),
    }
}

#[cfg(test)]
mod tests {
    use super::{ConnectorEvent, DONE, EXEC, EXIT, connector_event, listen_request};
    use crate::parse::netlink::request;
    use proptest::prelude::*;

    fn event(what: u32, data: &[u32]) -> Vec<u8> {
        let mut payload = Vec::new();
        for word in [what, 0, 1, 2].iter().chain(data) {
            payload.extend_from_slice(&word.to_ne_bytes());
        }
        let mut body = Vec::new();
        for word in [1_u32, 1, 7, 10] {
            body.extend_from_slice(&word.to_ne_bytes());
        }
        body.extend_from_slice(&u16::try_from(payload.len()).unwrap().to_ne_bytes());
        body.extend_from_slice(&[0, 0]);
        body.extend(payload);
        request(DONE, 3, &body)
    }

    #[test]
    fn execution_and_exit_name_the_process() {
        let exec = connector_event(&event(EXEC, &[12, 11, 0, 0, 0, 0]));
        assert_eq!(exec, Ok(ConnectorEvent::Exec(11)));
        let exit = connector_event(&event(EXIT, &[11, 11, 0, 0, 0, 0]));
        assert_eq!(exit, Ok(ConnectorEvent::Exit(11)));
        let thread = connector_event(&event(EXIT, &[12, 11, 0, 0, 0, 0]));
        assert_eq!(thread, Ok(ConnectorEvent::Other));
        let fork = connector_event(&event(1, &[1, 2, 3, 4]));
        assert_eq!(fork, Ok(ConnectorEvent::Other));
    }

    #[test]
    fn an_answer_has_its_question_and_its_error() {
        let answer = ConnectorEvent::Answer {
            sequence: 9,
            error: 1,
        };
        assert_eq!(connector_event(&event(0, &[1])), Ok(answer));
    }

    #[test]
    fn other_lengths_and_subjects_are_refused() {
        let whole = event(EXEC, &[12, 11, 0, 0, 0, 0]);
        for end in 0..whole.len() {
            connector_event(&whole[..end]).unwrap_err();
        }
        connector_event(&[whole.clone(), whole.clone()].concat()).unwrap_err();
        connector_event(&event(EXEC, &[12])).unwrap_err();
        connector_event(&event(EXIT, &[12])).unwrap_err();
        let mut other = whole;
        other[16] = 2;
        connector_event(&other).unwrap_err();
    }

    #[test]
    fn requests_are_of_the_lengths_that_the_kernel_tells_apart() {
        assert_eq!(listen_request(1, false).len(), 16 + 20 + 4);
        assert_eq!(listen_request(1, true).len(), 16 + 20 + 8);
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
            let _any = connector_event(&bytes);
        }

        #[test]
        fn any_event_of_whole_length_is_read(what: u32, data: [u32; 6]) {
            connector_event(&event(what, &data)).unwrap();
        }
    }
}
