//! The audit trail of a real agent: read over its socket and from its files, changed behind its
//! back, and flooded by a process that has no identity.

use std::fs;
use std::path::{Path, PathBuf};

use futures_util::{StreamExt as _, stream};
use serde_json::Value;
use symbolon_proto::workload::JwtsvidRequest;
use symbolon_tests::{
    AUDIENCE, Agent, Client, Output, Program, SOMEBODY_ELSE, Setup, Workload, can_run, command,
    is_root, number_of, symbolon, within, workload_api,
};

/// Refused calls of one process, unless `SYMBOLON_DENIALS` says how many; a debug build takes minutes
/// for more.
const DENIALS: u64 = 20_000;

/// Connections on which they are made, and how many of them are under way.
const CONNECTIONS: usize = 16;
const UNDER_WAY: usize = 256;

/// Times that somebody else gets an identity meanwhile.
const SERVED: usize = 10;

/// An agent with a second place for its checkpoints.
fn setup() -> Setup {
    let setup = Setup::new();
    let second = second(&setup);
    setup.set("audit", "checkpoint_file", second.to_str().expect("text"))
}

fn second(setup: &Setup) -> PathBuf {
    setup.directory().join("second")
}

/// Runs a command of `symbolon audit` on this data directory, without an agent.
async fn offline(dir: &Path, arguments: &[&str]) -> Output {
    let mut offline = command(symbolon());
    offline.arg("audit").args(arguments);
    offline.arg("--data-dir").arg(dir);
    let output = within("symbolon audit", offline.output()).await;
    Output::from(output.expect("the command line runs"))
}

fn events(lines: &str) -> Vec<Value> {
    let event = |line: &str| serde_json::from_str(line).expect("a line of JSON");
    lines.lines().map(event).collect()
}

/// A workload, and what it got: serial of its X.509-SVID, and `jti` of a JWT-SVID.
async fn served(agent: &Agent) -> (Workload, String, String) {
    let program = Client::Rust.program();
    agent.register("client", &program.selectors()).await;
    let mut process = Workload::start(agent.command(program.path()).arg(AUDIENCE));
    let serial = process.event("x509").await["serial"].clone();
    process.event("jwt").await;
    let trail = agent.audit().await;
    let jwt = trail
        .iter()
        .rfind(|event| event["credential"]["kind"] == "jwt-svid" && event["event"] == "issued");
    let jti = jwt.expect("it is recorded")["credential"]["jti"].clone();
    let text = |value: Value| value.as_str().expect("text").to_owned();
    (process, text(serial), text(jti))
}

#[tokio::test]
async fn the_agent_and_its_files_tell_the_same_after_restart_and_revocation() {
    let agent = setup().start().await;
    let (mut process, serial, jti) = served(&agent).await;
    let pid = process.pid().to_string();
    agent.revoke("client").await;
    process.next_of_kind("ended").await;
    let agent = agent.stop().await.setup.start().await;
    let data = agent.setup().data();
    for subject in [
        ["--serial", &serial],
        ["--jti", &jti],
        ["--pid", &pid],
        ["--client", "client"],
    ] {
        let asked = ["audit", "trace", subject[0], subject[1], "-o", "json"];
        let story = agent.run_list(&asked).await.json();
        let read = offline(&data, &asked[1..]).await.json();
        assert_eq!(story, read, "{subject:?}");
        let client = &story["clients"][0];
        assert_eq!(client["name"], "client", "{subject:?}");
        assert_eq!(client["state"], "revoked");
        assert_eq!(client["versions"][0]["owner"], "tests@example.org");
        let of = |kind: &str| {
            let events = story["events"].as_array().expect("events");
            events.iter().filter(|event| event["event"] == kind).count()
        };
        for kind in ["registered", "issued", "revoked", "withdrawn", "validated"] {
            assert!(of(kind) > 0, "{subject:?}: no {kind}: {story}");
        }
        let attested = story["processes"][0]["pid"].to_string();
        assert_eq!(attested, pid);
    }
    for arguments in [
        &["query", "--client", "client", "-o", "json"][..],
        &["query", "--event", "issued", "--limit", "2", "-o", "json"],
        &["export", "--format", "jsonl"],
        &["export", "--format", "ocsf"],
        &["key"],
    ] {
        let asked = agent.run_list(&[&["audit"], arguments].concat()).await;
        let asked = asked.success();
        let read = offline(&data, arguments).await.success();
        assert!(!asked.is_empty());
        // The files have one thing more: that the agent was asked.
        let own = read.strip_prefix(&asked).expect("the same lines");
        let own = events(own);
        assert!(own.len() == 2 || own.is_empty(), "{arguments:?}: {own:?}");
        for line in own {
            let kind = line.get("event").unwrap_or_else(|| &line["message"]);
            assert_eq!(kind, "read", "{arguments:?}");
        }
    }
    let nothing = agent.run(["audit", "trace", "--jti", "none"]).await;
    assert_eq!(nothing.code, Some(4), "{nothing:?}");
}

/// The attack: somebody looks, often, and nobody sees it.
#[tokio::test]
async fn whoever_reads_the_trail_stands_in_it() {
    let agent = setup().start().await;
    agent.register_self("client").await;
    let mut follower = agent.follow_audit();
    let own = follower.next_of_kind("read").await;
    assert_eq!(own["evidence"]["asked"]["follow"], true, "{own}");
    for _ in 0..3 {
        let asked = ["audit", "query", "--client", "client", "-o", "json"];
        let found = agent.run(asked).await.success();
        assert_eq!(events(&found).len(), 1, "{found}");
        let begun = follower.next_of_kind("read").await;
        assert_eq!(begun["operation"], "QueryAudit");
        assert_eq!(begun["evidence"]["asked"]["client"], "client", "{begun}");
        assert_eq!(begun["evidence"]["roles"][0], "reader", "{begun}");
        let ended = follower.next_of_kind("read").await;
        assert_eq!(ended["outcome"], "accepted", "{ended}");
        assert_eq!(ended["evidence"]["reading"], begun["evidence"]["reading"]);
        assert_eq!(ended["evidence"]["lines"], 1, "{ended}");
        assert_eq!(
            ended["evidence"]["bytes"],
            found.trim_end().len(),
            "{ended}"
        );
    }
    // Nothing of that shows itself: what comes next is what is done next.
    agent.suspend("client").await;
    follower.event("suspended").await;
    let table = agent
        .run(["audit", "query", "--event", "read"])
        .await
        .success();
    let first = table.lines().next().expect("a line");
    assert!(
        first.contains("TailAudit") && first.contains("follow=true"),
        "{first}"
    );
    let readings = agent.run(["audit", "query", "--event", "read", "--outcome", "accepted"]);
    assert_eq!(readings.await.success().lines().count(), 4);
}

/// A trail of some twenty lines whose agent has stopped.
async fn written() -> Setup {
    let agent = setup().start().await;
    for number in 0..15 {
        let selectors = [format!("unix:uid:{}", 40_000 + number)];
        agent
            .register(&format!("client-{number}"), &selectors)
            .await;
    }
    agent.stop().await.setup
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("a file");
        fs::copy(entry.path(), to.join(entry.file_name())).expect("a copy");
    }
}

/// What verification says of a trail with these lines: problem, file, line and number of the
/// first finding.
async fn found(folder: &Path, lines: &[String]) -> (String, String, u64, u64) {
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    fs::write(folder.join("00000001.jsonl"), text).expect("written");
    let verified = offline(folder, &["verify", "-o", "json"]).await;
    assert_eq!(verified.code, Some(1), "{verified:?}");
    let report: Value = serde_json::from_str(&verified.stdout).expect("a report");
    assert_eq!(report["whole"], false);
    let finding = &report["findings"][0];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let number = |value: &Value| value.as_u64().unwrap_or_default();
    let place = &finding["place"];
    (
        text(&finding["problem"]),
        text(&place["file"]),
        number(&place["line"]),
        number(&place["seq"]),
    )
}

#[tokio::test]
async fn each_manipulation_of_a_trail_is_found_where_it_was_made() {
    let setup = written().await;
    let folder = setup.directory().join("copy");
    copy(&setup.data().join("audit"), &folder);
    let text = fs::read_to_string(folder.join("00000001.jsonl")).expect("a segment");
    let lines: Vec<_> = text.lines().map(str::to_owned).collect();
    assert!(lines.len() > 15, "{}", lines.len());
    let whole = offline(&folder, &["verify"]).await;
    assert_eq!(whole.code, Some(0), "{whole:?}");

    let segment = "00000001.jsonl".to_owned();
    let mut changed = lines.clone();
    changed[7] = changed[7].replace("tests@example.org", "tests@example.com");
    assert_ne!(changed[7], lines[7]);
    let place = ("changed".to_owned(), segment.clone(), 8, 8);
    assert_eq!(found(&folder, &changed).await, place);

    let mut deleted = lines.clone();
    deleted.remove(7);
    let place = ("deleted".to_owned(), segment.clone(), 8, 9);
    assert_eq!(found(&folder, &deleted).await, place);

    let mut inserted = lines.clone();
    inserted.insert(7, changed[7].clone());
    let place = ("inserted".to_owned(), segment.clone(), 8, 8);
    assert_eq!(found(&folder, &inserted).await, place);

    let mut reordered = lines.clone();
    let moved = reordered.remove(5);
    reordered.insert(10, moved);
    let place = ("reordered".to_owned(), segment, 11, 6);
    assert_eq!(found(&folder, &reordered).await, place);

    let (problem, file, line, _) = found(&folder, &lines[..lines.len() - 3]).await;
    let checkpoints = folder.join("checkpoints").display().to_string();
    assert_eq!((problem.as_str(), file), ("cut", checkpoints));
    assert!(line > 0);
}

#[tokio::test]
async fn an_older_copy_of_everything_is_found_against_the_second_place() {
    let setup = written().await;
    let older = setup.directory().join("older");
    copy(&setup.data().join("audit"), &older);
    let agent = setup.start().await;
    agent
        .register("later", &["unix:uid:41000".to_owned()])
        .await;
    let setup = agent.stop().await.setup;
    let alone = offline(&older, &["verify"]).await;
    assert_eq!(alone.code, Some(0), "{alone:?}");
    assert!(alone.stdout.contains("older copy"), "{alone:?}");
    let second = second(&setup);
    let second = second.to_str().expect("text");
    let arguments = ["verify", "--checkpoint", second, "-o", "json"];
    let verified = offline(&older, &arguments).await;
    assert_eq!(verified.code, Some(1), "{verified:?}");
    let report: Value = serde_json::from_str(&verified.stdout).expect("a report");
    let finding = &report["findings"][0];
    assert_eq!(finding["problem"], "older_copy");
    assert_eq!(finding["place"]["file"], second);
    let whole = offline(&setup.data(), &arguments[..3]).await;
    assert_eq!(whole.code, Some(0), "{whole:?}");
}

/// Calls that are refused, from this process.
async fn deny(agent: &Agent, denials: u64) {
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(workload_api(agent).await);
    }
    let calls = (0..denials).map(|number| {
        let which = usize::try_from(number).expect("few") % CONNECTIONS;
        let mut api = connections[which].clone();
        async move {
            let request = JwtsvidRequest {
                audience: vec![AUDIENCE.to_owned()],
                spiffe_id: String::new(),
            };
            let refused = api.fetch_jwtsvid(request).await;
            assert_eq!(refused.unwrap_err().code(), tonic::Code::PermissionDenied);
        }
    });
    let calls = stream::iter(calls).buffer_unordered(UNDER_WAY);
    calls.for_each(|()| std::future::ready(())).await;
}

#[tokio::test]
async fn a_process_that_is_denied_for_ever_changes_nothing_for_others() {
    let test = "a_process_that_is_denied_for_ever_changes_nothing_for_others";
    if !can_run(test, is_root(), "run the tests as root") {
        return;
    }
    let setup = setup()
        .set("limits", "calls_per_second_per_uid", 1_000_000)
        .set("log", "level", "info");
    let agent = setup.start().await;
    let program = Program::at(symbolon()).copy_to(agent.setup().directory(), "workload");
    let uid = format!("unix:uid:{SOMEBODY_ELSE}");
    agent
        .register("client", &[uid, program.digest_selector()])
        .await;
    let honest = async {
        for _ in 0..SERVED {
            let mut command = agent.command(program.path());
            command.args(["svid", "jwt", "--audience", AUDIENCE]);
            command.uid(SOMEBODY_ELSE).gid(SOMEBODY_ELSE);
            Workload::start(&mut command).end().await.success();
        }
    };
    let made = number_of("SYMBOLON_DENIALS", DENIALS);
    tokio::join!(deny(&agent, made), honest);
    let found = agent.run(["audit", "query", "--event", "issued", "-o", "json"]);
    assert_eq!(events(&found.await.success()).len(), SERVED);

    let setup = agent.stop().await.setup;
    let all = ["query", "--event", "denied", "-o", "json"];
    let denials = events(&offline(&setup.data(), &all).await.success());
    let count = |event: &Value| match event["event"].as_str() {
        Some("summarized") => event["summary"]["count"].as_u64().expect("a number"),
        _ => 1,
    };
    for denial in &denials {
        assert_eq!(denial["chain"], "callers", "{denial}");
        assert_eq!(denial["process"]["pid"], std::process::id(), "{denial}");
    }
    assert_eq!(denials.iter().map(count).sum::<u64>(), made);
    let lines = u64::try_from(denials.len()).expect("few");
    assert!(lines < made / 10, "{lines} lines");
    let summary = denials
        .iter()
        .find(|event| event["event"] == "summarized")
        .expect("a summary");
    assert_eq!(summary["summary"]["uid"], 0, "{summary}");
    assert_eq!(summary["summary"]["reason"], "no-match", "{summary}");
    let verified = offline(&setup.data(), &["verify"]).await;
    assert_eq!(verified.code, Some(0), "{verified:?}");
}
