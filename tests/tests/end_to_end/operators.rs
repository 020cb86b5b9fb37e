//! Operators: several Unix users with a role each, on one agent.

use std::os::unix::fs::PermissionsExt as _;

use rustix::process::Signal;
use serde_json::Value;
use symbolon_tests::{Agent, Output, Program, Setup, Workload, can_run, is_root, symbolon};
use toml::{Table, Value as Toml};

const READER: u32 = 31_001;
const AUTHOR: u32 = 31_002;
const APPROVER: u32 = 31_003;
const RESPONDER: u32 = 31_004;
const AUDITOR: u32 = 31_005;
const STRANGER: u32 = 31_006;

/// The responder is one by this group.
const ON_CALL: u32 = 31_900;

const EVERYBODY: [u32; 5] = [READER, AUTHOR, APPROVER, RESPONDER, AUDITOR];

fn operator(name: &str, key: &str, value: impl Into<Toml>, role: &str) -> Toml {
    let mut table = Table::new();
    table.insert("name".to_owned(), name.into());
    table.insert(key.to_owned(), value.into());
    table.insert("roles".to_owned(), Toml::Array(vec![role.into()]));
    Toml::Table(table)
}

/// An agent with five operators.
fn governed() -> Setup {
    let user = |name: &str, uid: u32| operator(name, "uid", i64::from(uid), name);
    Setup::new().top(
        "operators",
        Toml::Array(vec![
            user("reader", READER),
            user("author", AUTHOR),
            user("approver", APPROVER),
            operator("oncall", "group", ON_CALL.to_string(), "responder"),
            user("auditor", AUDITOR),
        ]),
    )
}

/// As the trail calls them.
fn name(uid: u32) -> String {
    match uid {
        READER => "reader".to_owned(),
        AUTHOR => "author".to_owned(),
        APPROVER => "approver".to_owned(),
        RESPONDER => format!("oncall/uid:{RESPONDER}"),
        AUDITOR => "auditor".to_owned(),
        other => format!("uid:{other}"),
    }
}

/// The command line as several users run it.
struct Desk {
    agent: Agent,
    program: Program,
}

impl Desk {
    async fn open(setup: Setup) -> Self {
        let agent = setup.start().await;
        let program = Program::at(symbolon()).copy_to(agent.setup().directory(), "operator");
        Self { agent, program }
    }

    fn start(&self, uid: u32, arguments: &[&str]) -> Workload {
        let mut command = self.agent.command(self.program.path());
        command.args(arguments);
        // Groups are those of the user: the test's own are dropped with its user.
        let group = if uid == RESPONDER { ON_CALL } else { uid };
        command.uid(uid).gid(group);
        Workload::start(&mut command)
    }

    async fn run(&self, uid: u32, arguments: &[&str]) -> Output {
        self.start(uid, arguments).end().await
    }

    /// The events in the trail, as the auditor reads them.
    async fn trail(&self) -> Vec<Value> {
        let tail = ["audit", "tail", "--last", "10000", "-o", "json"];
        let lines = self.run(AUDITOR, &tail).await.success();
        let event = |line: &str| serde_json::from_str(line).expect("a line of JSON");
        lines.lines().map(event).collect()
    }
}

/// A file in the agent's directory, in which commands run.
const DOCUMENTS: &str = "documents.yaml";

/// A command, the call that it comes down to, and who may make it.
const WORK: &[(&[&str], &str, &[u32])] = &[
    (&["whoami"], "GetInfo", &EVERYBODY),
    (
        &[
            "client",
            "register",
            "a",
            "--owner",
            "o",
            "--selector",
            "unix:uid:31999",
            "--accept-weak",
            "w",
        ],
        "RegisterClient",
        &[AUTHOR],
    ),
    (&["client", "show", "a"], "GetClient", &EVERYBODY),
    (&["client", "list"], "ListClients", &EVERYBODY),
    (&["bundle", "show"], "GetBundle", &EVERYBODY),
    (
        &["client", "lint"],
        "LintClients",
        &[READER, AUTHOR, APPROVER, RESPONDER],
    ),
    (
        &["attest", "--pid", "1"],
        "AttestProcess",
        &[READER, AUTHOR, APPROVER, RESPONDER],
    ),
    (
        &["client", "update", "a", "--purpose", "as UID"],
        "UpdateClient",
        &[AUTHOR],
    ),
    (
        &["client", "apply", "--file", DOCUMENTS, "--yes"],
        "ApplyClients",
        &[AUTHOR],
    ),
    (
        &["client", "suspend", "a", "--reason", "r"],
        "SuspendClient",
        &[RESPONDER],
    ),
    (
        &["client", "resume", "a", "--reason", "r"],
        "ResumeClient",
        &[APPROVER],
    ),
    (
        &["client", "revoke", "a", "--reason", "r"],
        "RevokeClient",
        &[RESPONDER],
    ),
    (&["audit", "tail"], "TailAudit", &[AUDITOR]),
    (&["audit", "query"], "QueryAudit", &[AUDITOR]),
    (
        &["audit", "export", "--format", "ocsf"],
        "ExportAudit",
        &[AUDITOR],
    ),
    (
        &["audit", "trace", "--client", "a"],
        "TraceAudit",
        &[AUDITOR],
    ),
    (&["audit", "key"], "GetAuditKey", &[AUDITOR]),
];

#[tokio::test]
async fn five_users_with_five_roles_do_their_work_and_nothing_else() {
    let test = "five_users_with_five_roles_do_their_work_and_nothing_else";
    if !can_run(test, is_root(), "run the tests as root") {
        return;
    }
    let desk = Desk::open(governed()).await;
    let documents = desk.agent.setup().directory().join(DOCUMENTS);
    let document = "name: b\nowner: o\nselector_sets: [[unix:uid:31998]]\naccept_weak: w\n";
    std::fs::write(documents, document).unwrap();
    let mut refused = Vec::new();
    for (arguments, method, allowed) in WORK {
        for uid in EVERYBODY {
            // Who updates what is so already makes no call.
            let arguments: Vec<_> = arguments
                .iter()
                .map(|argument| argument.replace("UID", &uid.to_string()))
                .collect();
            let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
            let done = desk.run(uid, &arguments).await;
            if allowed.contains(&uid) {
                assert_eq!(done.code, Some(0), "{uid} {arguments:?}: {done:?}");
                continue;
            }
            assert_eq!(done.code, Some(3), "{uid} {arguments:?}: {done:?}");
            assert_eq!(done.stdout, "", "{uid} {arguments:?}");
            assert!(done.stderr.contains("may not call"), "{done:?}");
            refused.push((name(uid), (*method).to_owned(), u64::from(uid)));
        }
    }
    let trail = desk.trail().await;
    let recorded: Vec<_> = trail
        .iter()
        .filter(|event| event["event"] == "refused")
        .map(|event| {
            let text = |field: &str| event[field].as_str().unwrap_or_default().to_owned();
            let uid = event["process"]["uid"].as_u64().unwrap_or_default();
            (text("operator"), text("operation"), uid)
        })
        .collect();
    assert_eq!(recorded, refused);
    let by = |kind: &str| {
        let event = trail.iter().find(|event| event["event"] == kind);
        event
            .map(|event| event["operator"].clone())
            .unwrap_or_default()
    };
    for (kind, uid) in [
        ("registered", AUTHOR),
        ("updated", AUTHOR),
        ("suspended", RESPONDER),
        ("resumed", APPROVER),
        ("revoked", RESPONDER),
    ] {
        assert_eq!(by(kind), name(uid), "{kind}");
    }
}

/// What a command names as awaiting approval, filled in from what the reader sees.
async fn filled(desk: &Desk, line: &str) -> Vec<String> {
    let mut line = line.to_owned();
    if line.contains("DIGEST") {
        let show = desk.run(READER, &["client", "show", "a", "-o", "json"]);
        let shown = show.await.json();
        let (key, number) = match line.contains("--resumption") {
            true => ("pending_resumption", "resumption"),
            false => ("pending", "version"),
        };
        let pending = &shown[key];
        line = line.replace("NUMBER", &pending[number].to_string());
        line = line.replace("DIGEST", pending["digest"].as_str().unwrap());
    }
    line.split(' ').map(str::to_owned).collect()
}

/// Where one other has to approve: a command, its call, and who may make it.
const GOVERNED_WORK: &[(&str, &str, &[u32])] = &[
    (
        "client register a --owner o --selector unix:uid:31999 --accept-weak w",
        "RegisterClient",
        &[AUTHOR],
    ),
    (
        "client withdraw a --version NUMBER --digest DIGEST",
        "WithdrawClient",
        &[AUTHOR],
    ),
    ("client update a --purpose p", "UpdateClient", &[AUTHOR]),
    (
        "client reject a --version NUMBER --digest DIGEST --reason r",
        "RejectClient",
        &[APPROVER],
    ),
    ("client update a --purpose q", "UpdateClient", &[AUTHOR]),
    (
        "client approve a --version NUMBER --digest DIGEST",
        "ApproveClient",
        &[APPROVER],
    ),
    (
        "client suspend --owner o --reason r",
        "ChangeManyStates",
        &[RESPONDER],
    ),
    ("client history a", "GetClientHistory", &EVERYBODY),
];

#[tokio::test]
async fn where_approvals_are_required_each_role_has_its_part_of_them() {
    let test = "where_approvals_are_required_each_role_has_its_part_of_them";
    if !can_run(test, is_root(), "run the tests as root") {
        return;
    }
    let desk = Desk::open(governed().set("registry", "approvals_required", 1)).await;
    for (line, method, allowed) in GOVERNED_WORK {
        let arguments = filled(&desk, line).await;
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        // Those who may not come first: what they name awaits approval still.
        let (some, others): (Vec<_>, Vec<_>) =
            EVERYBODY.into_iter().partition(|uid| allowed.contains(uid));
        for uid in others {
            let done = desk.run(uid, &arguments).await;
            assert_eq!(done.code, Some(3), "{uid} {line}: {done:?}");
            // Who can propose resumptions can withdraw them, but nothing of others.
            let why = match (*method, uid) {
                ("WithdrawClient", APPROVER) => "only its author withdraws it".to_owned(),
                _ => format!("may not call {method}"),
            };
            assert!(done.stderr.contains(&why), "{uid} {line}: {done:?}");
        }
        for uid in some {
            let done = desk.run(uid, &arguments).await;
            assert_eq!(done.code, Some(0), "{uid} {line}: {done:?}");
        }
    }
    an_author_proposes_to_resume(&desk).await;
    // The content from before is a proposal, too.
    let rollback = ["client", "rollback", "a", "--to", "3"];
    for uid in [READER, APPROVER, RESPONDER, AUDITOR] {
        let done = desk.run(uid, &rollback).await;
        assert_eq!(done.code, Some(3), "{uid}: {done:?}");
    }
    let info = desk.run(READER, &["whoami", "-o", "json"]).await.json();
    assert_eq!(info["approvals_required"], 1, "{info}");
}

/// An author's resumption is a proposal, and nothing that an author may do makes it more.
async fn an_author_proposes_to_resume(desk: &Desk) {
    let state = async || {
        let show = desk.run(READER, &["client", "show", "a", "-o", "json"]);
        show.await.json()["state"].as_str().unwrap().to_owned()
    };
    assert_eq!(state().await, "suspended");
    for uid in [READER, RESPONDER, AUDITOR] {
        let done = desk.run(uid, &["client", "resume", "a"]).await;
        assert_eq!(done.code, Some(3), "{uid}: {done:?}");
    }
    let resume = desk.run(AUTHOR, &["client", "resume", "a"]).await;
    assert_eq!(resume.code, Some(0), "{resume:?}");
    assert_eq!(state().await, "suspended");
    let approve = filled(desk, "client approve a --resumption NUMBER --digest DIGEST").await;
    let approve: Vec<_> = approve.iter().map(String::as_str).collect();
    let author = desk.run(AUTHOR, &approve).await;
    assert_eq!(author.code, Some(3), "{author:?}");
    let again = desk.run(AUTHOR, &["client", "resume", "a"]).await;
    assert_ne!(again.code, Some(0), "{again:?}");
    assert_eq!(state().await, "suspended");
    let approver = desk.run(APPROVER, &approve).await;
    assert_eq!(approver.code, Some(0), "{approver:?}");
    assert_eq!(state().await, "active");
}

#[tokio::test]
async fn who_is_not_named_gets_nothing_but_a_record() {
    let test = "who_is_not_named_gets_nothing_but_a_record";
    if !can_run(test, is_root(), "run the tests as root") {
        return;
    }
    let desk = Desk::open(governed()).await;
    let stranger = desk.run(STRANGER, &["whoami"]).await;
    assert_eq!((stranger.code, &*stranger.stdout), (Some(5), ""));
    assert!(
        stranger.stderr.contains("who are no operators"),
        "{stranger:?}"
    );
    // Root is let in, and has no role.
    let whoami = desk.agent.json(["whoami"]).await;
    assert_eq!(whoami["operator"], "uid:0");
    assert_eq!(whoami["roles"], serde_json::json!([]));
    assert_eq!(whoami["methods"], serde_json::json!(["GetInfo"]));
    let list = desk.agent.run(["client", "list"]).await;
    assert_eq!(list.code, Some(3), "{list:?}");
    let trail = desk.trail().await;
    let refused: Vec<_> = trail
        .iter()
        .filter(|event| event["event"] == "refused")
        .collect();
    assert_eq!(refused.len(), 2, "{refused:?}");
    assert_eq!(refused[0]["operation"], "connect");
    assert_eq!(refused[0]["process"]["uid"], STRANGER);
    assert_eq!(refused[1]["operation"], "ListClients");
    assert_eq!(refused[1]["operator"], "uid:0");
}

#[tokio::test]
async fn a_reload_takes_a_role_away_with_what_is_open_by_it() {
    let test = "a_reload_takes_a_role_away_with_what_is_open_by_it";
    if !can_run(test, is_root(), "run the tests as root") {
        return;
    }
    let desk = Desk::open(governed()).await;
    let follow = ["audit", "tail", "--follow", "-o", "json"];
    let mut tail = desk.start(AUDITOR, &follow);
    tail.next_of_kind("started").await;
    let file = desk.agent.setup().config_file();
    let text = std::fs::read_to_string(&file).unwrap();
    let changed = text.replace("roles = [\"auditor\"]", "roles = [\"reader\"]");
    assert_ne!(text, changed);
    std::fs::write(&file, changed).unwrap();
    desk.agent.signal(Signal::HUP);
    let ended = tail.end().await;
    assert_ne!(ended.code, Some(0), "{ended:?}");
    let tail = desk.run(AUDITOR, &["audit", "tail"]).await;
    assert_eq!(tail.code, Some(3), "{tail:?}");
    assert_eq!(desk.run(AUDITOR, &["client", "list"]).await.code, Some(0));
}

/// An agent on which a program of the stranger's is an author; the program, and one that is another.
async fn with_a_job() -> (Desk, Program, Program) {
    let setup = Setup::new();
    let job = Program::at(symbolon()).copy_to(setup.directory(), "job");
    let twin = job.alter_to(&setup.directory().join("twin"));
    let selectors = vec![format!("unix:uid:{STRANGER}"), job.digest_selector()];
    let operators = vec![
        operator("deploy", "selectors", selectors, "author"),
        operator("auditor", "uid", i64::from(AUDITOR), "auditor"),
    ];
    let desk = Desk::open(setup.top("operators", Toml::Array(operators))).await;
    (desk, job, twin)
}

#[tokio::test]
async fn a_program_is_an_operator_by_what_is_attested_and_proved_of_it() {
    let test = "a_program_is_an_operator_by_what_is_attested_and_proved_of_it";
    if !can_run(test, is_root(), "run the tests as root") {
        return;
    }
    let (desk, job, twin) = with_a_job().await;
    let run = async |program: &Program, uid: u32, line: &str| {
        let mut command = desk.agent.command(program.path());
        command.args(line.split(' ')).uid(uid).gid(uid);
        Workload::start(&mut command).end().await
    };
    let whoami = run(&job, STRANGER, "whoami -o json").await.json();
    assert_eq!(whoami["operator"], "deploy");
    assert_eq!(whoami["roles"], serde_json::json!(["author"]));
    let register = "client register a --owner o --selector unix:uid:31999 --accept-weak w";
    run(&job, STRANGER, register).await.success();
    // Another program of the user, the same program of another user, and root.
    for (program, uid) in [(&twin, STRANGER), (&job, STRANGER + 1), (&job, 0)] {
        let denied = run(program, uid, "client list").await;
        assert_eq!(denied.code, Some(3), "{uid}: {denied:?}");
    }
    let denied = run(&job, STRANGER, "audit tail").await;
    assert_eq!(denied.code, Some(3), "{denied:?}");

    let trail = desk.trail().await;
    let of = |kind: &'static str| trail.iter().filter(move |event| event["event"] == kind);
    let registered = of("registered").next().unwrap();
    assert_eq!(registered["operator"], "deploy");
    // Not in the callers' chain, where it stood when nobody knew yet who asks.
    let by_it = |event: &&Value| {
        event["attestation_id"] == registered["attestation_id"] && event.get("chain").is_none()
    };
    let proofs = &of("attested").find(by_it).unwrap()["evidence"]["proofs"];
    assert_eq!(proofs["held"], "close-on-exec");
    assert_eq!(proofs["answered"], "stamped");
    let by: Vec<_> = of("refused").map(|event| &event["operator"]).collect();
    let uid = |uid: u32| format!("uid:{uid}");
    let expected = [uid(STRANGER), uid(STRANGER + 1), uid(0), "deploy".into()];
    assert_eq!(by, expected.each_ref());
}

#[tokio::test]
async fn the_socket_is_no_more_open_than_its_operators_need() {
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    let own = i64::from(rustix::process::geteuid().as_raw());
    let alone = operator("me", "uid", own, "administrator");
    let alone = Setup::new().top("operators", Toml::Array(vec![alone]));
    for (setup, expected) in [
        (Setup::new(), (0o700, 0o600)),
        (alone, (0o700, 0o600)),
        (governed(), (0o755, 0o666)),
    ] {
        let agent = setup.start().await;
        let socket = agent.setup().admin_socket();
        let modes = (mode(socket.parent().unwrap()), mode(&socket));
        assert_eq!(modes, expected);
    }
}

#[tokio::test]
async fn the_login_behind_an_operator_is_recorded() {
    let test = "the_login_behind_an_operator_is_recorded";
    let unset = std::fs::read_to_string("/proc/self/loginuid").is_ok_and(|id| id == "4294967295");
    let enable =
        "run the tests as root, outside of a login (systemd-run), on a kernel with auditing";
    if !can_run(test, is_root() && unset, enable) {
        return;
    }
    let desk = Desk::open(governed()).await;
    // As a login does it; su and sudo leave it as it is.
    let script = "echo 31777 > /proc/self/loginuid && exec \"$0\" \"$@\"";
    let mut command = desk.agent.command(std::path::Path::new("/bin/sh"));
    command.args(["-c", script]).arg(desk.program.path());
    command.args(["client", "suspend", "nobody", "--reason", "r"]);
    command.uid(AUTHOR).gid(AUTHOR);
    let refused = Workload::start(&mut command).end().await;
    assert_eq!(refused.code, Some(3), "{refused:?}");
    let trail = desk.trail().await;
    let event = trail
        .iter()
        .find(|event| event["event"] == "refused")
        .unwrap();
    assert_eq!(
        (&event["operator"], &event["login"]),
        (&"author".into(), &31_777.into())
    );
    let none = desk
        .run(AUTHOR, &["client", "suspend", "nobody", "--reason", "r"])
        .await;
    assert_eq!(none.code, Some(3));
    assert!(desk.trail().await.last().unwrap().get("login").is_none());
}
