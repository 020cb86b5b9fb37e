use super::{
    Captured,
    agent::{Agent, State},
    console, symbolon,
};
use crate::cli::{Daemons, run};
use std::{
    io::{self, Write},
    os::unix::net::UnixListener,
    process::ExitCode,
};
use tonic::{Code, Status};

#[test]
fn each_status_has_its_exit_code_and_keeps_the_agents_words() {
    let agent = Agent::new(State::default());
    for (code, exit) in [
        (Code::PermissionDenied, 3),
        (Code::Unauthenticated, 3),
        (Code::NotFound, 4),
        (Code::InvalidArgument, 2),
        (Code::OutOfRange, 2),
        (Code::Unavailable, 5),
        (Code::DeadlineExceeded, 5),
        (Code::AlreadyExists, 1),
        (Code::FailedPrecondition, 1),
        (Code::Aborted, 1),
        (Code::ResourceExhausted, 1),
        (Code::Unimplemented, 1),
        (Code::Internal, 1),
        (Code::Unknown, 1),
    ] {
        agent.state.lock().refusal = Some(Status::new(code, "the very\u{1b} words"));
        let told = agent.admin(&["client", "show", "x"]).refused(exit);
        assert!(told.contains("the very\\u{1b} words"), "{code:?}: {told}");
    }
}

#[test]
fn a_denial_of_the_admin_socket_says_who_may() {
    let agent = Agent::new(State::default());
    agent.state.lock().refusal = Some(Status::permission_denied("not an operator"));
    let told = agent.admin(&["client", "list"]).refused(3);
    assert!(told.contains("symbolon whoami"), "{told}");
}

#[test]
fn a_denial_of_the_workload_socket_says_how_to_find_out() {
    let told = Agent::new(State::default())
        .workload(&["svid", "x509"])
        .refused(3);
    assert!(told.contains("symbolon audit tail"), "{told}");
}

#[test]
fn a_socket_that_is_not_there_is_code_5() {
    let told = symbolon(&["client", "list", "--socket", "/nonexistent/admin.sock"]).refused(5);
    assert!(
        told.contains("/nonexistent/admin.sock does not exist"),
        "{told}"
    );
    assert!(told.contains("SYMBOLON_ADMIN_SOCKET"), "{told}");
    let told = symbolon(&["svid", "x509", "--socket", "/nonexistent/w.sock"]).refused(5);
    assert!(told.contains("SPIFFE_ENDPOINT_SOCKET"), "{told}");
}

#[test]
fn a_socket_that_nobody_listens_on_is_code_5() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("stale.sock");
    drop(UnixListener::bind(&path).unwrap());
    let told = symbolon(&["health", "--socket", path.to_str().unwrap()]).refused(5);
    assert!(told.contains("no agent listens"), "{told}");
}

#[test]
fn an_agent_that_does_not_answer_is_code_5_after_the_timeout() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("silent.sock");
    let _silent = UnixListener::bind(&path).unwrap();
    let path = path.to_str().unwrap();
    let told = symbolon(&["client", "list", "--timeout", "1s", "--socket", path]).refused(5);
    assert!(told.contains("no answer within 1s"), "{told}");
    assert!(told.contains("--timeout"), "{told}");
}

#[test]
fn tcp_is_refused_with_the_form_that_is_wanted() {
    let told = symbolon(&["svid", "x509", "--socket", "tcp://127.0.0.1:8000"]).refused(2);
    assert!(told.contains("unix:///path"), "{told}");
}

/// Standard output after `| head -0`.
struct Closed;

impl Write for Closed {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_reader_that_has_enough_is_no_failure() {
    let err = Captured::default();
    let mut console = console("", Closed, err.clone());
    let daemons = Daemons {
        agent: |_| ExitCode::FAILURE,
        demo: |_| ExitCode::FAILURE,
    };
    let code = run(
        ["symbolon", "version"].map(Into::into),
        &daemons,
        &mut console,
    );
    assert_eq!((code, err.text().as_str()), (ExitCode::SUCCESS, ""));
}

#[test]
fn agent_and_demo_get_their_arguments() {
    let daemons = Daemons {
        agent: |args| ExitCode::from(u8::from(args.check) + 40),
        demo: |args| ExitCode::from(u8::from(args.keep) + 50),
    };
    for (arguments, code) in [
        (&["symbolon", "agent", "--check"][..], 41),
        (&["symbolon", "agent", "--trust-domain", "example.org"], 40),
        (&["symbolon", "demo", "--keep"], 51),
    ] {
        let mut console = console("", Captured::default(), Captured::default());
        let arguments = arguments.iter().map(Into::into);
        assert_eq!(run(arguments, &daemons, &mut console), ExitCode::from(code));
    }
}
