//! What awaits approval, and what is said about it.

use super::{
    agent::{Agent, State, client, proposed, spec},
    golden,
};
use prost::Message as _;
use std::process::ExitCode;
use symbolon_proto::admin::{ClientSpec, Finding, PendingResumption, WeakRegistration};
use tonic::{Code, Status};

fn pending() -> Agent {
    let mut suspended = client("reports", ClientSpec::default());
    suspended.state = "suspended".into();
    suspended.pending_resumption = Some(PendingResumption {
        resumption: 2,
        digest: "d3".repeat(32),
        author: "bob".into(),
        at: super::NOW - 7_200,
        approvals_required: 1,
        ..PendingResumption::default()
    });
    let mut ending = client("ending", spec());
    let content = ending.spec.as_mut().unwrap();
    content.expires_at = super::NOW + 3 * 86_400;
    content.review_by = super::NOW - 86_400;
    Agent::new(State {
        clients: vec![
            client("billing", spec()),
            ending,
            proposed(client("payments", spec())),
            suspended,
        ],
        ..State::default()
    })
}

fn decide(agent: &Agent, verb: &str, more: &[&str]) -> super::Outcome {
    let digest = "d2".repeat(32);
    let what = [
        "client",
        verb,
        "payments",
        "--version",
        "4",
        "--digest",
        &digest,
    ];
    agent.admin(&[&what[..], more].concat())
}

fn last_request(agent: &Agent) -> String {
    agent.state.lock().requests.last().cloned().unwrap()
}

#[test]
fn what_awaits_approval_is_listed_and_shown() {
    let agent = pending();
    golden(
        "client-pending.txt",
        &agent.admin(&["client", "pending"]).done(),
    );
    let json = agent.admin(&["client", "pending", "-o", "json"]).done();
    golden("client-pending.json", &json);
    let shown = agent.admin(&["client", "show", "payments"]).done();
    golden("client-show-pending.txt", &shown);
    let shown = agent
        .admin(&["client", "show", "payments", "-o", "json"])
        .done();
    golden("client-show-pending.json", &shown);
    golden(
        "client-list-pending.txt",
        &agent.admin(&["client", "list"]).done(),
    );
    let none = Agent::new(State::default());
    let out = none.admin(&["client", "pending"]).done();
    assert_eq!(out, "Nothing awaits approval.\n");
}

/// What is found at an approval cannot be accepted there.
#[test]
fn an_approval_that_is_refused_as_weak_names_what_its_author_can_do() {
    let agent = pending();
    let details = WeakRegistration {
        findings: vec![Finding::default()],
    };
    agent.state.lock().refusal = Some(Status::with_details(
        Code::FailedPrecondition,
        "the registration is weak: interpreter",
        details.encode_to_vec().into(),
    ));
    let err = decide(&agent, "approve", &[]).refused(1);
    assert!(err.contains("the author proposes"), "{err}");
    assert!(!err.contains("Use other selectors, or say"), "{err}");
}

#[test]
fn an_approval_sends_the_digest_that_was_given() {
    let agent = pending();
    let out = decide(&agent, "approve", &["--reason", "seen"]).done();
    assert_eq!(out, "payments: version 4 is approved and in force.\n");
    let sent = last_request(&agent);
    let digest = "d2".repeat(32);
    assert!(sent.contains(&format!("digest: \"{digest}\"")), "{sent}");
    assert!(sent.contains("version: 4"), "{sent}");
    assert!(sent.contains("resumption: 0"), "{sent}");
    for wrong in [
        &["client", "approve", "payments", "--digest", "d"][..],
        &["client", "approve", "payments", "--version", "4"],
        &[
            "client",
            "approve",
            "payments",
            "--version",
            "4",
            "--resumption",
            "1",
            "--digest",
            "d",
        ],
    ] {
        agent.admin(wrong).refused(2);
    }
    let resume = [
        "client",
        "approve",
        "reports",
        "--resumption",
        "2",
        "--digest",
        "d3",
    ];
    let out = agent.admin(&resume).done();
    assert!(
        out.starts_with("reports: resumption 2 is approved by 0 of 1"),
        "{out}"
    );
}

#[test]
fn others_reject_with_a_reason_and_authors_withdraw() {
    let agent = pending();
    decide(&agent, "reject", &[]).refused(2);
    let out = decide(&agent, "reject", &["--reason", "too much"]).done();
    assert_eq!(out, "payments: version 4 is rejected.\n");
    let shown = agent.admin(&["client", "show", "payments"]).done();
    assert!(
        shown.contains("Declined   version 4 was rejected by dave: too much\n"),
        "{shown}"
    );
    let out = decide(&pending(), "withdraw", &[]).done();
    assert_eq!(out, "payments: version 4 is withdrawn.\n");
}

#[test]
fn a_history_says_who_what_when_and_why() {
    let agent = pending();
    let history = |more: &[&str]| {
        let arguments = [&["client", "history", "payments"][..], more].concat();
        agent.admin(&arguments).done()
    };
    golden("client-history.txt", &history(&[]));
    golden("client-history.json", &history(&["-o", "json"]));
    agent.admin(&["client", "history", "x"]).refused(4);
}

#[test]
fn a_difference_is_shown_field_by_field() {
    let agent = pending();
    let diff =
        |name: &str, more: &[&str]| agent.admin(&[&["client", "diff", name][..], more].concat());
    let out = diff("payments", &["--from", "1", "--to", "2"]).done();
    golden("client-diff.txt", &out);
    let json = diff("payments", &["--from", "1", "--to", "2", "-o", "json"]).done();
    golden("client-diff.json", &json);
    let same = diff("payments", &["--from", "2", "--to", "2"]).done();
    assert_eq!(same, "Both versions say the same.\n");
    diff("payments", &["--to", "9"]).refused(4);
}

#[test]
fn a_rollback_names_the_version_and_is_a_new_one() {
    let agent = pending();
    let arguments = [
        "client", "rollback", "billing", "--to", "2", "--reason", "late",
    ];
    let out = agent.admin(&arguments).done();
    assert_eq!(out, "billing is as in version 2: version 4 is in force.\n");
    assert!(last_request(&agent).contains("to_version: 2"));
}

#[test]
fn many_are_stopped_in_one_command() {
    let agent = pending();
    let out = agent.admin(&[
        "client", "suspend", "--owner", "alice", "--reason", "stolen",
    ]);
    assert_eq!(out.code, ExitCode::from(1));
    let text = "billing is suspended.\npayments is suspended.\nreports failed: the store failed\n2 clients suspended.\n";
    assert_eq!(out.out, text);
    assert!(last_request(&agent).contains("state: \"suspended\""));
    let revoke = [
        "client",
        "revoke",
        "--selector",
        "unix:uid:1",
        "--reason",
        "r",
        "-o",
        "json",
    ];
    let out = agent.admin(&revoke);
    golden("client-revoke-many.json", &out.out);
    for wrong in [
        &["client", "suspend", "--reason", "r"][..],
        &["client", "suspend", "a", "--owner", "b", "--reason", "r"],
        &[
            "client",
            "revoke",
            "--owner",
            "b",
            "--selector",
            "unix:uid:1",
            "--reason",
            "r",
        ],
        &["client", "revoke", "--owner", "b"],
    ] {
        agent.admin(wrong).refused(2);
    }
}

#[test]
fn a_change_that_awaits_approval_says_how_it_gets_it() {
    let agent = pending();
    let out = agent
        .admin(&["client", "update", "payments", "--hint", "mail"])
        .done();
    let digest = "d2".repeat(32);
    let told = format!(
        "payments has version 4 that awaits 2 approvals.\n\
         symbolon client approve payments --version 4 --digest {digest}\n"
    );
    assert!(out.ends_with(&told), "{out}");
    let out = agent.admin(&["client", "resume", "reports"]).done();
    assert!(
        out.contains("stays suspended until it has 1 approval"),
        "{out}"
    );
}
