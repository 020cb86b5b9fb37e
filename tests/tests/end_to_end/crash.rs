//! What a confirmed registration survives: a crash at any moment, a full disk.

mod relationships;
mod storm;

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use serde_json::Value;
use symbolon_proto::admin::admin_client::AdminClient;
use symbolon_proto::admin::{ClientSpec, RegisterClientRequest, SelectorSet};
use symbolon_proto::workload::JwtsvidRequest;
use symbolon_tests::{
    AUDIENCE, Agent, Program, Setup, Workload, can_run, channel, is_root, within, workload_api,
};
use tonic::transport::Channel;
use tonic::{Code, Status};

/// How many registrations are under way at once.
const AT_ONCE: usize = 8;

/// More lines of the audit trail than there is room for in a block of a file system.
const LINES_IN_A_BLOCK: usize = 1000;

/// The events of the trail, as its segments have them; what a crash left half-written is left out.
pub(crate) fn trail(setup: &Setup) -> Vec<Value> {
    let entries = std::fs::read_dir(setup.data().join("audit")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let is_segment = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap();
        name.ends_with(".jsonl") && !name.starts_with("callers-")
    };
    let mut segments: Vec<_> = paths.filter(is_segment).collect();
    segments.sort_unstable();
    let texts = segments.iter().map(|path| std::fs::read(path).unwrap());
    let text = String::from_utf8(texts.collect::<Vec<_>>().concat()).unwrap();
    let whole = text
        .split_inclusive('\n')
        .filter(|line| line.ends_with('\n'));
    whole
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn request(name: &str) -> RegisterClientRequest {
    RegisterClientRequest {
        name: name.to_owned(),
        spec: Some(ClientSpec {
            owner: "tests@example.org".to_owned(),
            selector_sets: vec![SelectorSet {
                selectors: Program::itself().selectors(),
            }],
            audiences: vec![AUDIENCE.to_owned()],
            ..ClientSpec::default()
        }),
        accept_weak: "a test".to_owned(),
        ..RegisterClientRequest::default()
    }
}

async fn register(mut admin: AdminClient<Channel>, name: String) -> Result<String, Status> {
    let mut request = request(&name);
    // One process is not to get hundreds of identities: a path of each client's own.
    request.spec.as_mut().unwrap().selector_sets[0]
        .selectors
        .push(format!("unix:path:/{name}"));
    admin.register_client(request).await.map(|_| name)
}

/// Registers until `count` clients are confirmed, then crashes with others under way.
async fn crash_after(agent: Agent, round: usize, count: usize) -> (Setup, Vec<String>) {
    let admin = AdminClient::new(channel(&agent.setup().admin_socket()).await);
    let mut names = (0..).map(|number| format!("client-{round}-{number}"));
    let mut under_way: FuturesUnordered<_> = names
        .by_ref()
        .take(AT_ONCE)
        .map(|name| register(admin.clone(), name))
        .collect();
    let mut confirmed = Vec::new();
    while confirmed.len() < count {
        let done = within("a registration", under_way.next())
            .await
            .expect("some are under way");
        confirmed.push(done.expect("registered"));
        under_way.push(register(admin.clone(), names.next().expect("endless")));
    }
    agent.signal(rustix::process::Signal::KILL);
    // Answers that were on their way count as well.
    while let Some(done) = within("an end", under_way.next()).await {
        confirmed.extend(done);
    }
    (agent.ended().await.setup, confirmed)
}

#[tokio::test]
async fn no_confirmed_registration_is_lost_in_a_crash() {
    let mut setup = Setup::new();
    let mut confirmed = BTreeSet::new();
    for (round, count) in [1, 7, 20].into_iter().enumerate() {
        let (left, names) = crash_after(setup.start().await, round, count).await;
        setup = left;
        confirmed.extend(names);
    }
    let agent = setup.start().await;
    let list = agent.json(["client", "list"]).await;
    let clients = list["clients"].as_array().expect("clients");
    let kept: BTreeSet<_> = clients
        .iter()
        .filter_map(|client| client["name"].as_str().map(str::to_owned))
        .collect();
    assert!(
        confirmed.is_subset(&kept),
        "lost: {:?}",
        confirmed.difference(&kept)
    );

    let trail = agent.audit().await;
    let recorded = trail.iter().filter(|event| event["event"] == "registered");
    let recorded: BTreeSet<_> = recorded
        .filter_map(|event| event["client"].as_str().map(str::to_owned))
        .collect();
    assert!(
        confirmed.is_subset(&recorded),
        "not recorded: {:?}",
        confirmed.difference(&recorded)
    );
}

/// An agent whose data directory is a file system of its own, of a few megabytes.
async fn agent_on_a_small_disk() -> Agent {
    let setup = Setup::new();
    let data = setup.data();
    std::fs::create_dir(&data).unwrap();
    let mount = format!(
        "mount -t tmpfs -o size=16m,mode=0700 tmpfs '{}'",
        data.display()
    );
    let script = format!("{mount} && exec \"$@\"");
    let unshare = ["unshare", "--mount", "--propagation", "private"];
    setup
        .wrapped_in([&unshare[..], &["sh", "-c", &script, "sh"]].concat())
        .start()
        .await
}

/// Writes until there is no room for another byte.
fn fill(path: &Path) {
    let mut file = File::create(path).unwrap();
    for size in [1 << 16, 1 << 12, 1] {
        let block = vec![0; size];
        while file.write_all(&block).is_ok() {}
    }
}

/// Waits until the suspension and the reading are in the trail that were before the disk had room.
async fn are_told(trail: &mut Workload) {
    let mut told = HashMap::new();
    while told.len() < 2 {
        let line = trail.line().await.expect("a line");
        let line: Value = serde_json::from_str(&line).unwrap();
        let is_reading = line["evidence"]["asked"]["client"] == "other";
        if line["event"] == "suspended" || is_reading {
            told.insert(is_reading, line);
        }
    }
    assert_eq!(
        (&told[&false]["client"], &told[&false]["reason"]),
        (&"other".into(), &"stolen".into())
    );
    assert!(told[&true]["evidence"]["at"].is_string(), "{told:?}");
}

#[tokio::test]
async fn a_full_disk_denies_and_room_on_it_serves_again() {
    let name = "a_full_disk_denies_and_room_on_it_serves_again";
    if !can_run(name, is_root(), "run the tests as root") {
        return;
    }
    let agent = agent_on_a_small_disk().await;
    agent.register_self("client").await;
    agent
        .register("other", &["unix:uid:31999".to_owned()])
        .await;
    let mut api = workload_api(&agent).await;
    let request = JwtsvidRequest {
        audience: vec![AUDIENCE.to_owned()],
        ..Default::default()
    };
    within("a token", api.fetch_jwtsvid(request.clone()))
        .await
        .unwrap();

    // The directory as the agent sees it.
    let data = agent.setup().data();
    let filler = format!("/proc/{}/root{}/filler", agent.pid(), data.display());
    fill(Path::new(&filler));
    // The block that the trail has begun still takes a few lines.
    let mut lines_left = 0..LINES_IN_A_BLOCK;
    let denied = loop {
        match within("an answer", api.fetch_jwtsvid(request.clone())).await {
            Ok(_) => assert!(lines_left.next().is_some(), "a full disk does not deny"),
            Err(status) => break status,
        }
    };
    assert_eq!(denied.code(), Code::Unavailable, "{denied:?}");
    let admin = AdminClient::new(channel(&agent.setup().admin_socket()).await);
    Box::pin(register(admin.clone(), "unlucky".to_owned()))
        .await
        .unwrap_err();

    // To take away is possible, and told as soon as that is.
    let suspended = agent
        .run(["client", "suspend", "other", "--reason", "stolen"])
        .await;
    assert_eq!(suspended.code, Some(1), "{suspended:?}");
    assert!(suspended.stderr.contains("is in force"), "{suspended:?}");

    // Who looks why sees it, and stands in the trail as soon as that is possible.
    let looked = ["audit", "query", "--client", "other", "-o", "json"];
    let found = agent.run(looked).await.success();
    assert!(found.contains("\"registered\""), "{found}");
    let mut trail = agent.follow_audit();
    std::fs::remove_file(&filler).unwrap();
    trail.next_of_kind("repaired").await;
    are_told(&mut trail).await;
    within("a token", api.fetch_jwtsvid(request)).await.unwrap();
    Box::pin(register(admin, "lucky".to_owned())).await.unwrap();
    let shown = agent.run(["client", "show", "unlucky"]).await;
    assert_eq!(
        shown.code,
        Some(4),
        "a refused registration is there: {shown:?}"
    );
}
