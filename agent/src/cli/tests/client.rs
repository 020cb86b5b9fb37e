use super::{
    agent::{Agent, State, accepted, client, interpreter, spec},
    golden, symbolon_on,
};
use prost::Message as _;
use std::process::ExitCode;
use symbolon_proto::admin::{Client, ClientSpec, WeakRegistration};
use tonic::{Code, Status};

fn registered() -> Agent {
    let mut suspended = client("reports", ClientSpec::default());
    suspended.state = "suspended".into();
    suspended.state_reason = "leaked\u{1b}[2J".into();
    suspended.warnings.clear();
    suspended.findings.clear();
    Agent::new(State {
        clients: vec![
            client("billing", spec()),
            client("payments", spec()),
            suspended,
        ],
        selectors: vec![
            "unix:path:/usr/bin/node".into(),
            "unix:sha256:ab".into(),
            "unix:uid:1000".into(),
        ],
        ..State::default()
    })
}

fn stored(agent: &Agent, name: &str) -> Option<Client> {
    let state = agent.state.lock();
    state
        .clients
        .iter()
        .find(|client| client.name == name)
        .cloned()
}

#[test]
fn register_sends_what_the_flags_say() {
    let agent = registered();
    let out = agent.admin(&[
        "client",
        "register",
        "new",
        "--owner",
        "bob",
        "--purpose",
        "reads mail",
        "--selector",
        "unix:uid:5",
        "--selector",
        "unix:path:/bin/app",
        "--audience",
        "a",
        "--audience",
        "b",
        "--max-audiences",
        "2",
        "--x509-ttl",
        "1h30m",
        "--jwt-ttl",
        "90s",
        "--hint",
        "mail",
        "--dns-name",
        "mail.example.org",
        "--expires-at",
        "1d",
    ]);
    assert_eq!(
        out.done(),
        "new is registered as spiffe://example.org/mcp/client/new, version 3.\n"
    );
    let spec = stored(&agent, "new").unwrap().spec.unwrap();
    assert_eq!(
        (spec.owner.as_str(), spec.purpose.as_str()),
        ("bob", "reads mail")
    );
    assert_eq!(spec.selector_sets.len(), 1);
    assert_eq!(
        spec.selector_sets[0].selectors,
        ["unix:uid:5", "unix:path:/bin/app"]
    );
    assert_eq!((spec.audiences.len(), spec.max_audiences), (2, 2));
    assert_eq!((spec.x509_ttl, spec.jwt_ttl), (5_400, 90));
    assert_eq!(
        (spec.hint.as_str(), spec.dns_names[0].as_str()),
        ("mail", "mail.example.org")
    );
    assert_eq!(spec.expires_at, super::NOW + 86_400);
}

#[test]
fn register_sends_what_connections_must_prove_and_what_is_accepted() {
    let agent = registered();
    let flags = "client register new --owner bob --selector unix:uid:5 --forbid-inheritable \
                 --allow-foreign-user-namespaces --require-attestor systemd \
                 --require-attestor code --accept-weak new";
    let flags: Vec<&str> = flags.split_whitespace().collect();
    agent.admin(&flags).done();
    let spec = stored(&agent, "new").unwrap().spec.unwrap();
    assert!(spec.forbid_inheritable && spec.allow_foreign_user_namespaces);
    assert_eq!(spec.required_attestors, ["code", "systemd"]);
    let request = agent.state.lock().requests[0].clone();
    assert!(request.contains(r#"accept_weak: "new""#), "{request}");
    let unknown = ["--require-attestor", "docker"];
    agent.admin(&[&flags[..], &unknown].concat()).refused(2);
}

#[test]
fn a_client_that_fits_no_process_is_wrong_usage() {
    let refusal = registered()
        .admin(&["client", "register", "new", "--owner", "bob"])
        .refused(2);
    assert!(refusal.contains("--from-pid"), "{refusal}");
}

#[test]
fn weaknesses_are_told_at_registration() {
    let out = registered().admin(&[
        "client",
        "register",
        "new",
        "--owner",
        "bob",
        "--selector",
        "unix:uid:5",
        "--audience",
        "*",
    ]);
    assert_eq!(
        out.err,
        "symbolon: weak: any-audience: the audience * allows any. List them.\n"
    );
    out.done();
}

const FROM_PID: [&str; 7] = [
    "client",
    "register",
    "new",
    "--owner",
    "bob",
    "--from-pid",
    "4711",
];

const PROPOSED: [&str; 3] = ["unix:uid:1000", "unix:sha256:ab", "unix:path:/tmp/it's"];

#[test]
fn a_proposal_is_shown_and_taken_on_a_yes() {
    let agent = registered();
    let outcome = agent.answering("y\n", &FROM_PID);
    for told in [
        "  unix:sha256: exactly this program\n",
        "  weak, serious: interpreter: /usr/bin/node runs scripts.",
    ] {
        assert!(outcome.err.contains(told), "{}", outcome.err);
    }
    outcome.done();
    let sets = stored(&agent, "new").unwrap().spec.unwrap().selector_sets;
    assert_eq!(sets[0].selectors, PROPOSED);
}

#[test]
fn nothing_is_registered_on_a_no() {
    let agent = registered();
    for reply in ["n\n", "\n", ""] {
        agent.answering(reply, &FROM_PID).refused(1);
    }
    assert!(stored(&agent, "new").is_none());
}

#[test]
fn a_script_has_to_agree_beforehand() {
    let agent = registered();
    assert!(agent.admin(&FROM_PID).refused(2).contains("--yes"));
    assert!(stored(&agent, "new").is_none());
    agent
        .admin(&[&FROM_PID[..], &["--yes", "--selector", "unix:gid:5"]].concat())
        .done();
    let sets = stored(&agent, "new").unwrap().spec.unwrap().selector_sets;
    assert_eq!(sets[0].selectors, [&["unix:gid:5"][..], &PROPOSED].concat());
}

#[test]
fn show_has_stable_fields() {
    let agent = registered();
    let show = |format| {
        agent
            .admin(&["client", "show", "payments", "-o", format])
            .done()
    };
    golden("client-show.json", &show("json"));
    golden("client-show.yaml", &show("yaml"));
    golden("client-show.txt", &show("table"));
}

#[test]
fn what_is_not_set_is_null_in_json() {
    let out = registered()
        .admin(&["client", "show", "reports", "-o", "json"])
        .done();
    golden("client-show-bare.json", &out);
}

#[test]
fn text_of_others_cannot_move_the_cursor() {
    let out = registered().admin(&["client", "show", "reports"]).done();
    assert!(
        out.contains("suspended, 24h ago: leaked\\u{1b}[2J"),
        "{out}"
    );
}

#[test]
fn list_goes_through_all_pages() {
    let agent = registered();
    golden("client-list.txt", &agent.admin(&["client", "list"]).done());
    golden(
        "client-list.json",
        &agent.admin(&["client", "list", "-o", "json"]).done(),
    );
}

#[test]
fn list_passes_its_filters_on() {
    let agent = registered();
    agent
        .admin(&["client", "list", "--owner", "bob", "--state", "suspended"])
        .done();
    let request = agent.state.lock().requests[0].clone();
    assert!(
        request.contains(r#"owner: "bob", state: "suspended""#),
        "{request}"
    );
}

#[test]
fn lists_fit_the_terminal() {
    let agent = registered();
    let socket = agent.path("admin.sock");
    let arguments = ["client", "list", "--socket", socket.to_str().unwrap()];
    let out = symbolon_on(&arguments, "", |console| console.width = Some(80)).done();
    assert!(out.lines().all(|line| line.chars().count() <= 80), "{out}");
    assert!(out.contains("…"), "{out}");
}

#[test]
fn update_changes_what_is_named_and_nothing_else() {
    let agent = registered();
    let out = agent.admin(&[
        "client",
        "update",
        "payments",
        "--jwt-ttl",
        "2m",
        "--clear",
        "hint",
        "--clear",
        "dns-names",
        "--add-audience",
        "c",
        "--remove-audience",
        "*",
        "--reason",
        "review",
    ]);
    golden("client-update.txt", &out.done());
    let client = stored(&agent, "payments").unwrap();
    assert_eq!(client.version, 4);
    assert_eq!(
        client.spec.unwrap(),
        ClientSpec {
            jwt_ttl: 120,
            hint: String::new(),
            dns_names: vec![],
            audiences: vec!["https://mcp.example.org".into(), "c".into()],
            ..spec()
        }
    );
}

#[test]
fn update_demands_more_and_less_of_a_connection() {
    let agent = registered();
    let update = |options: &[&str]| {
        let out = agent.admin(&[&["client", "update", "payments"][..], options].concat());
        let spec = stored(&agent, "payments").unwrap().spec.unwrap();
        let demands = (spec.forbid_inheritable, spec.allow_foreign_user_namespaces);
        (out.done(), demands, spec.required_attestors)
    };
    let more = ["--forbid-inheritable", "--require-attestor", "systemd"];
    let (out, demands, required) = update(&more);
    assert!(out.contains("forbid_inheritable: false -> true\n"), "{out}");
    assert_eq!((demands, required.len()), ((true, false), 1));
    let (_, demands, required) = update(&["--allow-foreign-user-namespaces"]);
    assert_eq!((demands, required.len()), ((true, true), 1));
    let less = [
        "--clear",
        "forbid-inheritable",
        "--clear",
        "allow-foreign-user-namespaces",
        "--clear",
        "required-attestors",
    ];
    let (_, demands, required) = update(&less);
    assert_eq!((demands, required.len()), ((false, false), 0));
}

#[test]
fn a_weak_registration_is_refused_with_its_findings() {
    let agent = registered();
    let details = WeakRegistration {
        findings: vec![interpreter()],
    };
    agent.state.lock().refusal = Some(Status::with_details(
        Code::FailedPrecondition,
        "the registration is weak: interpreter",
        details.encode_to_vec().into(),
    ));
    let arguments = [
        "client",
        "register",
        "new",
        "--owner",
        "bob",
        "--selector",
        "unix:uid:5",
    ];
    golden("weak.txt", &agent.admin(&arguments).refused(1));
    agent
        .admin(&[&arguments[..], &["--accept-weak", ""]].concat())
        .refused(2);
}

#[test]
fn lint_says_what_is_weak_and_fails_where_it_is_serious() {
    let agent = registered();
    let lint = |arguments: &[&str]| agent.admin(&[&["client", "lint"][..], arguments].concat());
    assert_eq!(lint(&[]).code, ExitCode::SUCCESS);
    if let Some(client) = agent
        .state
        .lock()
        .clients
        .iter_mut()
        .find(|c| c.name == "payments")
    {
        client.findings.insert(0, interpreter());
        client.spec.as_mut().unwrap().accepted_weaknesses = Some(accepted());
    }
    let table = lint(&[]);
    assert_eq!(table.code, ExitCode::from(1), "{table:?}");
    golden("client-lint.txt", &format!("{}{}", table.out, table.err));
    let json = lint(&["-o", "json"]);
    assert_eq!(json.code, ExitCode::from(1));
    golden("client-lint.json", &json.out);
    lint(&["--ignore-accepted"]).done();
    lint(&["billing"]).done();
    let shown = agent.admin(&["client", "show", "payments"]).done();
    let accepted = "Accepted   interpreter: moves to a unit in May\n";
    assert!(shown.contains(accepted), "{shown}");
}

#[test]
fn an_update_that_changes_nothing_adds_no_version() {
    let agent = registered();
    let out = agent
        .admin(&["client", "update", "payments", "--owner", "alice"])
        .done();
    assert_eq!(out, "payments is so already: nothing changed.\n");
    assert_eq!(stored(&agent, "payments").unwrap().version, 3);
}

#[test]
fn an_audience_that_is_not_there_cannot_be_removed() {
    let arguments = ["client", "update", "payments", "--remove-audience", "x"];
    assert!(registered().admin(&arguments).refused(2).contains("`x`"));
}

#[test]
fn states_are_changed_with_a_reason() {
    let agent = registered();
    for (verb, state) in [
        ("suspend", "suspended"),
        ("resume", "active"),
        ("revoke", "revoked"),
    ] {
        agent
            .admin(&["client", verb, "payments", "--reason", "leak"])
            .done();
        let client = stored(&agent, "payments").unwrap();
        assert_eq!(
            (client.state.as_str(), client.state_reason.as_str()),
            (state, "leak")
        );
    }
    agent.admin(&["client", "revoke", "payments"]).refused(2);
    agent.admin(&["client", "suspend", "payments"]).refused(2);
}

#[test]
fn a_client_that_is_not_there_is_code_4() {
    for arguments in [&["client", "show", "x"][..], &["client", "resume", "x"]] {
        let told = registered().admin(arguments).refused(4);
        assert!(told.contains("symbolon client list"), "{told}");
    }
}

#[test]
fn a_list_of_none_says_so() {
    let out = Agent::new(State::default())
        .admin(&["client", "list"])
        .done();
    assert_eq!(out, "No clients.\n");
}

#[test]
fn a_change_in_between_asks_to_look_again() {
    let agent = registered();
    agent.state.lock().refusal = Some(Status::aborted("version 4 is in force"));
    let refusal = agent
        .admin(&["client", "update", "payments", "--owner", "x"])
        .refused(1);
    assert!(refusal.contains("repeat the command"), "{refusal}");
}
