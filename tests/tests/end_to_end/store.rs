//! What an agent does with a registry that is not as it left it, and how it comes back.

use std::fs::{self, File, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use serde_json::Value;
use symbolon_proto::workload::JwtsvidRequest;
use symbolon_tests::{
    AUDIENCE, Agent, Output, SOMEBODY_ELSE, Setup, TRUST_DOMAIN, can_run, command, is_root,
    symbolon, within, workload_api,
};
use tonic::Code;

/// More lines of the audit trail than there is room for in a block of a file system.
const LINES_IN_A_BLOCK: usize = 1000;

/// Runs `symbolon` without an agent.
async fn offline(arguments: &[&str]) -> Output {
    let mut command = command(symbolon());
    command.args(arguments);
    let output = within(&format!("symbolon {arguments:?}"), command.output()).await;
    Output::from(output.expect("the command line runs"))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("paths of tests are text")
}

async fn restore(setup: &Setup, backup: &Path, more: &[&str]) -> Output {
    let data = setup.data();
    let arguments = ["restore", text(backup), "--data-dir", text(&data)];
    offline(&[&arguments[..], more].concat()).await
}

/// The clients as they are listed, but for who holds them now.
async fn clients(agent: &Agent) -> Value {
    let mut list = agent.json(["client", "list"]).await;
    for client in list["clients"].as_array_mut().expect("clients") {
        client["processes"] = 0.into();
    }
    list
}

/// An agent with some history, and a backup of it.
async fn with_a_backup(setup: Setup) -> (Agent, PathBuf) {
    let agent = setup.start().await;
    for name in ["active", "suspended", "revoked"] {
        agent.register_self(name).await;
    }
    agent.suspend("suspended").await;
    let backup = agent.setup().directory().join("backup.jsonl");
    let told = agent.run(["backup", text(&backup)]).await.success();
    assert!(told.contains("4 changes of 3 clients, verified"), "{told}");
    (agent, backup)
}

fn of_kind<'a>(events: &'a [Value], kind: &str) -> Vec<&'a Value> {
    let events = events.iter().filter(|event| event["event"] == kind);
    events.collect()
}

async fn trail_is_whole(setup: &Setup) {
    let data = setup.data();
    let verified = offline(&["audit", "verify", "--data-dir", text(&data)]).await;
    assert_eq!(verified.code, Some(0), "{verified:?}");
}

#[tokio::test]
async fn a_backup_of_a_running_agent_makes_another_one_with_its_clients() {
    let (agent, backup) = with_a_backup(Setup::new()).await;
    let before = clients(&agent).await;
    let trail = agent.audit().await;
    let told = of_kind(&trail, "backed_up");
    assert_eq!(told.len(), 1);
    assert_eq!(told[0]["evidence"]["revision"], 4);
    let mode = fs::metadata(&backup).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let content = fs::read_to_string(&backup).unwrap();
    assert!(!content.contains("PRIVATE"), "no keys");

    let other = Setup::new();
    restore(&other, &backup, &[]).await.success();
    let mut agent = other.start().await;
    assert_eq!(clients(&agent).await, before);
    for _ in 0..2 {
        let trail = agent.audit().await;
        let told = of_kind(&trail, "restored");
        assert_eq!(told.len(), 1, "told once");
        assert_eq!(told[0]["evidence"]["previous"], "none");
        assert_eq!(told[0]["evidence"]["lost"], 0);
        let first_start = trail.iter().position(|event| event["event"] == "started");
        let restored = trail.iter().position(|event| event["event"] == "restored");
        assert!(restored < first_start, "before anybody is served");
        agent = agent.stop().await.setup.start().await;
    }
    agent.revoke("active").await;
    trail_is_whole(&agent.stop().await.setup).await;
}

#[tokio::test]
async fn a_restoration_that_would_lose_a_revocation_has_to_be_asked_for() {
    let (agent, backup) = with_a_backup(Setup::new()).await;
    let running = restore(agent.setup(), &backup, &[]).await;
    assert_eq!(running.code, Some(1), "{running:?}");
    assert!(running.stderr.contains("top the agent"), "{running:?}");
    agent.revoke("revoked").await;
    let before = clients(&agent).await;
    let setup = agent.stop().await.setup;

    let refused = restore(&setup, &backup, &[]).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("--allow-older"), "{refused:?}");
    let agent = setup.start().await;
    assert_eq!(clients(&agent).await, before, "a refusal changes nothing");
    let setup = agent.stop().await.setup;

    let restored = restore(&setup, &backup, &["--allow-older", "-o", "json"]).await;
    let restored = restored.json();
    assert_eq!(restored["lost"], 1);
    let agent = setup.start().await;
    let shown = agent.json(["client", "show", "revoked"]).await;
    assert_eq!(shown["state"], "active");
    let trail = agent.audit().await;
    let told = of_kind(&trail, "restored");
    assert_eq!(told[0]["evidence"]["lost"], 1);
    assert_eq!(told[0]["evidence"]["previous_revision"], 5);
    let setup = agent.stop().await.setup;
    let kept = setup.data().join(restored["kept_as"].as_str().unwrap());
    assert!(kept.exists());
    trail_is_whole(&setup).await;
}

fn replace(path: &Path, from: &[u8], to: &[u8]) {
    let mut bytes = fs::read(path).unwrap();
    let mut found = false;
    while let Some(at) = bytes.windows(from.len()).position(|part| part == from) {
        bytes[at..at + to.len()].copy_from_slice(to);
        found = true;
    }
    assert!(found, "the file has {from:?}");
    fs::write(path, bytes).unwrap();
}

/// What the agent says of a record that was changed in a file that is sound otherwise.
const BAD_RECORD: &str = "does not have its digest";

/// What it says of a sound file that a later agent has written.
const NEWER: &str = "newer agent: it has schema 9";

/// A damage, and what the agent says of it.
type Damage = (fn(&Path, &[u8]), &'static str);

const DAMAGES: [Damage; 6] = [
    (
        |path, _| replace(path, b"unix:uid", b"unix:gid"),
        BAD_RECORD,
    ),
    (
        |path, _| {
            let length = fs::metadata(path).unwrap().len();
            let file = File::options().write(true).open(path).unwrap();
            file.set_len(length / 2).unwrap();
        },
        "damaged",
    ),
    (
        |path, _| {
            let mut options = File::options();
            drop(options.write(true).truncate(true).open(path).unwrap());
        },
        "empty",
    ),
    (|path, _| fs::remove_file(path).unwrap(), "lacks revision 5"),
    (
        |path, older| fs::write(path, older).unwrap(),
        "lacks revision 5",
    ),
    (|path, _| replace(path, b"schema3", b"schema9"), NEWER),
];

#[tokio::test]
async fn a_registry_that_cannot_be_believed_is_refused_with_a_remedy_and_comes_back() {
    let (agent, _) = with_a_backup(Setup::new()).await;
    let setup = agent.stop().await.setup;
    let path = setup.data().join("registry.redb");
    let older = fs::read(&path).unwrap();
    let agent = setup.start().await;
    agent.revoke("revoked").await;
    let before = clients(&agent).await;
    let backup = agent.setup().directory().join("newer.jsonl");
    agent.run(["backup", text(&backup)]).await.success();
    let mut setup = agent.stop().await.setup;

    for (damage, words) in DAMAGES {
        damage(&path, &older);
        let damaged = fs::read(&path).ok();
        let refused = setup.refused().await;
        assert!(refused.text().contains(words), "{words}: {refused:?}");
        assert!(
            refused.text().contains("symbolon restore"),
            "{words}: {refused:?}"
        );
        let data = setup.data();
        let verified = offline(&["registry", "verify", "--data-dir", text(&data)]).await;
        assert_ne!(verified.code, Some(0), "{words}: {verified:?}");
        // A file that can be opened is marked as open meanwhile.
        let is_same = fs::read(&path).ok() == damaged;
        assert!(
            is_same || [BAD_RECORD, "lacks revision 5", NEWER].contains(&words),
            "{words}: it was changed"
        );
        trail_is_whole(&setup).await;

        // The note of what was confirmed shows that nothing is lost by it.
        restore(&setup, &backup, &[]).await.success();
        let agent = setup.start().await;
        assert_eq!(clients(&agent).await, before, "{words}");
        setup = agent.stop().await.setup;
    }
    let verified = offline(&["registry", "verify", "--data-dir", text(&setup.data())]).await;
    verified.success();
}

#[tokio::test]
async fn files_that_others_may_use_are_refused_with_what_to_do() {
    let (agent, _) = with_a_backup(Setup::new()).await;
    let mut setup = agent.stop().await.setup;
    let data = setup.data();
    let (registry, audit) = (data.join("registry.redb"), data.join("audit"));
    for (path, wide, narrow, words) in [
        (&registry, 0o640, 0o600, "0600"),
        (&data, 0o750, 0o700, "chmod 700"),
        (&audit, 0o755, 0o700, "chmod"),
    ] {
        fs::set_permissions(path, Permissions::from_mode(wide)).unwrap();
        let refused = setup.refused().await;
        assert!(refused.text().contains(words), "{words}: {refused:?}");
        fs::set_permissions(path, Permissions::from_mode(narrow)).unwrap();
        setup = setup.start().await.stop().await.setup;
    }
    let name = "files_that_others_may_use_are_refused_with_what_to_do";
    if !can_run(name, is_root(), "run the tests as root") {
        return;
    }
    for (path, words) in [(&registry, "0600"), (&data, "run this as that user")] {
        chown(path, Some(SOMEBODY_ELSE), None).unwrap();
        let refused = setup.refused().await;
        assert!(refused.text().contains(words), "{words}: {refused:?}");
        chown(path, Some(0), None).unwrap();
        setup = setup.start().await.stop().await.setup;
    }
}

/// Starts agents behind `script`, which may change the mounts that it sees; DATA is the data directory.
fn in_a_world_of_its_own(setup: Setup, script: &str) -> Setup {
    let data = setup.data();
    let script = script.replace("DATA", text(&data));
    let script = format!("{script} && exec \"$@\"");
    let unshare = ["unshare", "--mount", "--propagation", "private"];
    setup.wrapped_in([&unshare[..], &["sh", "-c", &script, "sh"]].concat())
}

#[tokio::test]
async fn a_read_only_disk_and_a_full_one_are_named_at_start() {
    let name = "a_read_only_disk_and_a_full_one_are_named_at_start";
    if !can_run(name, is_root(), "run the tests as root") {
        return;
    }
    let (agent, _) = with_a_backup(Setup::new()).await;
    let before = clients(&agent).await;
    let setup = agent.stop().await.setup;
    let read_only = "mount --bind DATA DATA && mount -o remount,bind,ro DATA";
    let setup = in_a_world_of_its_own(setup, read_only);
    let refused = setup.refused().await;
    assert!(
        refused.text().contains("mount it for writing"),
        "{refused:?}"
    );

    // A trail that was begun may have room for a few lines in its last block: this one has none.
    let full = "cp -a DATA DATA.copy && mount -t tmpfs -o size=2m,mode=0700 tmpfs DATA \
                && cp -a DATA.copy/. DATA && rm -r DATA.copy \
                && mv DATA/audit DATA/audit.full \
                && { cat /dev/zero > DATA/filler 2>/dev/null; true; }";
    let setup = in_a_world_of_its_own(setup, full);
    let refused = setup.refused().await;
    assert!(refused.text().contains("Make room"), "{refused:?}");

    let agent = setup.wrapped_in(Vec::new()).start().await;
    assert_eq!(clients(&agent).await, before);
    trail_is_whole(&agent.stop().await.setup).await;
}

/// Writes until there is no room for another byte.
fn fill(path: &Path) {
    let mut file = File::create(path).unwrap();
    for size in [1 << 16, 1 << 12, 1] {
        let block = vec![0; size];
        while file.write_all(&block).is_ok() {}
    }
}

/// Runs a command where the agent sees its mounts.
async fn beside(agent: &Agent, arguments: &[&str]) -> Output {
    let mounts = format!("--mount=/proc/{}/ns/mnt", agent.pid());
    let mut command = command(Path::new("nsenter"));
    command.arg(mounts).arg("--").args(arguments);
    let output = within(&format!("{arguments:?}"), command.output()).await;
    Output::from(output.expect("nsenter runs"))
}

/// Whether disks can be made of files here.
fn has_disks() -> bool {
    let is_there = |path: &&str| Path::new(path).exists();
    let tools = ["/usr/sbin/mkfs.ext4", "/sbin/mkfs.ext4"];
    is_root() && is_there(&"/dev/loop-control") && tools.iter().any(is_there)
}

/// The kernel makes a disk read-only while files on it are open for writing where it fails; a file
/// system that says that it has failed is as near as a test comes.
#[tokio::test]
async fn a_disk_that_turns_read_only_is_named_and_nothing_is_issued_unrecorded() {
    let name = "a_disk_that_turns_read_only_is_named_and_nothing_is_issued_unrecorded";
    if !can_run(
        name,
        has_disks(),
        "run as root, with loop devices and e2fsprogs",
    ) {
        return;
    }
    let setup = Setup::new();
    let data = setup.data();
    fs::create_dir(&data).unwrap();
    let image = format!("'{0}.image'", data.display());
    let mount = format!("mount -o loop,errors=remount-ro {image} DATA && chmod 700 DATA");
    let make = format!("truncate -s 64M {image} && mkfs.ext4 -q -F {image}");
    let setup = in_a_world_of_its_own(setup, &format!("{make} && {mount}"));
    let agent = setup.start().await;
    agent.register_self("client").await;
    let mut api = workload_api(&agent).await;
    let request = JwtsvidRequest {
        audience: vec![AUDIENCE.to_owned()],
        ..Default::default()
    };
    let issued = within("an answer", api.fetch_jwtsvid(request.clone())).await;
    let issued = claims(&issued.unwrap().into_inner().svids[0].svid)["jti"].clone();
    let fail = ["mount", "-o", "remount,abort", text(&data)];
    beside(&agent, &fail).await.success();

    let denied = within("an answer", api.fetch_jwtsvid(request.clone())).await;
    assert_eq!(denied.unwrap_err().code(), Code::Unavailable);
    let told = agent.run(["client", "update", "client", "--hint", "other"]);
    let told = told.await;
    assert_ne!(told.code, Some(0), "{told:?}");
    let remedies = ["mount it for writing", "kernel's log"];
    assert!(
        remedies.iter().any(|remedy| told.stderr.contains(remedy)),
        "{told:?}"
    );
    let ready = agent.run(["health"]).await;
    assert_ne!(ready.code, Some(0), "{ready:?}");

    // Its journal is brought up to date when it is mounted anew.
    let setup = agent.stop().await.setup;
    let agent = in_a_world_of_its_own(setup, &mount).start().await;
    let events = agent.audit().await;
    let known = of_kind(&events, "issued");
    let known: Vec<_> = known.iter().map(|it| &it["credential"]["jti"]).collect();
    assert_eq!(known, [&issued], "what was issued is recorded, and no more");
    let mut api = workload_api(&agent).await;
    let again = within("an answer", api.fetch_jwtsvid(request)).await;
    assert_eq!(again.unwrap().into_inner().svids.len(), 1);
    agent.revoke("client").await;
}

/// The claims of a token, unverified.
fn claims(token: &str) -> Value {
    use base64::Engine as _;
    let body = token.split('.').nth(1).expect("a JWT");
    let engine = base64::engine::general_purpose::URL_SAFE_NO_PAD;
    serde_json::from_slice(&engine.decode(body).unwrap()).unwrap()
}

#[tokio::test]
async fn a_disk_that_fills_up_is_named_and_nothing_is_issued_unrecorded() {
    let name = "a_disk_that_fills_up_is_named_and_nothing_is_issued_unrecorded";
    if !can_run(name, is_root(), "run the tests as root") {
        return;
    }
    let setup = Setup::new();
    fs::create_dir(setup.data()).unwrap();
    let small = "mount -t tmpfs -o size=16m,mode=0700 tmpfs DATA";
    let agent = in_a_world_of_its_own(setup, small).start().await;
    agent.register_self("client").await;
    let data = agent.setup().data();
    let filler = format!("/proc/{}/root{}/filler", agent.pid(), data.display());
    fill(Path::new(&filler));

    let mut api = workload_api(&agent).await;
    let request = JwtsvidRequest {
        audience: vec![AUDIENCE.to_owned()],
        ..Default::default()
    };
    let mut issued = Vec::new();
    let denied = loop {
        match within("an answer", api.fetch_jwtsvid(request.clone())).await {
            Ok(answer) => issued.push(claims(&answer.into_inner().svids[0].svid)["jti"].clone()),
            Err(status) => break status,
        }
        assert!(issued.len() < LINES_IN_A_BLOCK, "a full disk does not deny");
    };
    assert_eq!(denied.code(), Code::Unavailable, "{denied:?}");
    // A shorter line may still have its place.
    let mut hints = 0..LINES_IN_A_BLOCK;
    let told = loop {
        let hint = hints.next().expect("a full disk denies").to_string();
        let told = agent.run(["client", "update", "client", "--hint", &hint]);
        let told = told.await;
        if told.code != Some(0) {
            break told;
        }
    };
    assert!(told.stderr.contains("Make room"), "{told:?}");

    let mut trail = agent.follow_audit();
    fs::remove_file(&filler).unwrap();
    // Each failure is followed by a repair; a short line may have been room for before.
    while within("an answer", api.fetch_jwtsvid(request.clone()))
        .await
        .is_err()
    {
        trail.next_of_kind("repaired").await;
    }
    let events = agent.audit().await;
    for jti in issued {
        let known = of_kind(&events, "issued");
        let known = known.iter().any(|event| event["credential"]["jti"] == jti);
        assert!(known, "{jti} is not in the trail");
    }
    let health = agent.json(["health", "--details"]).await;
    assert_eq!(health["trust_domain"], TRUST_DOMAIN);
}
