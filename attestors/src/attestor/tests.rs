//! Recorded hosts, as `tests/hosts/README.md` describes them.

use super::{Attestor, AttestorConfig, Subject, Wanted, asked, facts::Facts};
use crate::{
    AttestError, Changed, Credentials, Evidence,
    accounts::Accounts,
    cgroup::CgroupView,
    host::{Host, Nobody},
    kinds::{Kind, Kinds},
    pin::PinnedPeer,
    procfs::ProcRoot,
    selector::Selector,
};
use std::{path::PathBuf, sync::Arc, time::UNIX_EPOCH};

/// The evidence for a process of a recorded host.
fn evidence(host: &str, pid: u32, uid: u32, gid: u32) -> Result<Evidence, AttestError> {
    let (attestor, peer) = recorded(host, Credentials { pid, uid, gid });
    let facts = Facts::read(&attestor.host, &peer)?;
    let findings = attestor.found(&peer, &facts, &Err("no digest".into()), UNIX_EPOCH);
    super::evidence(&peer, &facts, None, (findings, Kinds::NONE), UNIX_EPOCH)
}

fn recorded(host: &str, credentials: Credentials) -> (Attestor, PinnedPeer) {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/hosts")
        .join(host);
    let root = ProcRoot::open(&directory.join("proc")).unwrap();
    let peer = PinnedPeer::stand_in(credentials, root.process(credentials.pid).unwrap());
    let host = Arc::new(Host {
        root,
        accounts: Accounts::new(&directory.join("etc")),
        mounts: Err("a recorded host has no mounts".into()),
        user_namespace: None,
        namespaces: std::array::from_fn(|_| Err("a recorded host has no namespaces".into())),
        memory_device: None,
        pid_namespace: Err("a recorded host has no namespaces".into()),
        has_unified_cgroups_alone: false,
        randomizes_addresses: true,
        cgroups: CgroupView::plain(),
        nobody: Nobody {
            uid: Some(65_534),
            gid: None,
        },
    });
    let attestor = Attestor::on(host, &AttestorConfig::default(), Vec::new());
    (attestor, peer)
}

fn texts(evidence: &Evidence) -> Vec<&str> {
    let texts = evidence.selectors.iter().map(AsRef::as_ref);
    // A recorded process has the test's pidfd, and so its ID.
    texts
        .filter(|text: &&str| !text.starts_with("cgroup:id:"))
        .collect()
}

fn reason<'a>(evidence: &'a Evidence, selector: &str) -> &'a str {
    let unknown = &evidence.unknown;
    let found = unknown.iter().find(|unknown| unknown.selector == selector);
    &found.unwrap().reason
}

#[test]
fn a_service_on_a_version_2_host() {
    let evidence = evidence("v2", 812, 1000, 1000).unwrap();
    assert_eq!(
        texts(&evidence),
        [
            "cgroup:path:/system.slice/mcp-notes.service",
            "unix:gid:1000",
            "unix:group:notes",
            "unix:supplementary_gid:1000",
            "unix:supplementary_gid:27",
            "unix:supplementary_gid:998",
            "unix:supplementary_group:docker",
            "unix:supplementary_group:notes",
            "unix:uid:1000",
            "unix:user:notes",
        ]
    );
    assert_eq!(evidence.start_time, Some(48_213));
    assert_eq!(evidence.time, "1970-01-01T00:00:00.000Z");
    assert_eq!(
        reason(&evidence, "unix:supplementary_group")
            .rsplit(' ')
            .next(),
        Some("27")
    );
    assert_eq!(reason(&evidence, "unix:path"), "the process runs no file");
}

#[test]
fn a_container_on_a_version_1_host() {
    let evidence = evidence("v1", 4021, 101, 101).unwrap();
    let id = "3f4e5d6c7b8a99887766554433221100ffeeddccbbaa99887766554433221100";
    assert_eq!(
        texts(&evidence),
        [
            &format!("cgroup:path:/docker/{id}"),
            "unix:gid:101",
            "unix:uid:101",
        ]
    );
    assert!(reason(&evidence, "unix:user").contains("no entry for 101"));
}

#[test]
fn on_a_hybrid_host_both_paths_are_facts() {
    let evidence = evidence("hybrid", 733, 0, 0).unwrap();
    let cgroups: Vec<_> = texts(&evidence)
        .into_iter()
        .filter(|text| text.starts_with("cgroup:"))
        .collect();
    assert_eq!(
        cgroups,
        [
            "cgroup:path:/machine.slice/box",
            "cgroup:path:/machine.slice/box/init.scope"
        ]
    );
}

#[test]
fn a_name_that_looks_like_other_fields_changes_nothing() {
    let evidence = evidence("v2", 813, 1000, 1000).unwrap();
    assert_eq!(evidence.start_time, Some(48_999));
    assert!(texts(&evidence).contains(&"unix:uid:1000"));
    assert!(!texts(&evidence).contains(&"unix:uid:0"));
}

#[test]
fn a_cgroup_outside_of_our_namespace_is_unknown() {
    let evidence = evidence("v2", 814, 65_534, 1000).unwrap();
    assert!(reason(&evidence, "cgroup:path").contains("cgroup namespace"));
    assert!(evidence.cgroup.is_none());
}

#[test]
fn the_user_who_stands_for_all_without_mapping_is_unknown() {
    let evidence = evidence("v2", 814, 65_534, 1000).unwrap();
    assert!(reason(&evidence, "unix:uid").contains("mapping"));
    assert!(
        !texts(&evidence)
            .iter()
            .any(|text| text.starts_with("unix:u"))
    );
    assert!(texts(&evidence).contains(&"unix:gid:1000"));
}

#[test]
fn too_many_groups_are_unknown_and_not_cut() {
    let evidence = evidence("v2", 815, 1000, 1000).unwrap();
    assert!(reason(&evidence, "unix:supplementary_gid").contains("more than 1024"));
    assert_eq!(evidence.groups, None);
    assert!(
        !texts(&evidence)
            .iter()
            .any(|text| text.contains("supplementary"))
    );
}

#[test]
fn another_user_than_the_one_who_connected_is_refused() {
    let refused = evidence("v2", 812, 1001, 1000);
    assert!(matches!(
        refused,
        Err(AttestError::Changed(Changed::Credentials))
    ));
}

#[test]
fn a_directory_without_files_leaves_everything_unknown() {
    let evidence = evidence("v2", 816, 1000, 1000).unwrap();
    assert_eq!(
        texts(&evidence),
        [
            "unix:gid:1000",
            "unix:group:notes",
            "unix:uid:1000",
            "unix:user:notes"
        ]
    );
    for selector in ["cgroup:path", "unix:path", "unix:supplementary_gid"] {
        assert!(!reason(&evidence, selector).is_empty());
    }
}

/// What the attestors in `kinds` find out about a process of a recorded host.
async fn asked(host: &str, pid: u32, kinds: Kinds) -> Evidence {
    asked_as_wanted(host, pid, &|_: &[Selector]| kinds).await
}

async fn asked_as_wanted(host: &str, pid: u32, wanted: &Wanted<'_>) -> Evidence {
    let (uid, gid) = (1000, 1000);
    let (attestor, peer) = recorded(host, Credentials { pid, uid, gid });
    let (facts, peer) = (Facts::read(&attestor.host, &peer).unwrap(), Arc::new(peer));
    let mut findings = attestor.found(&peer, &facts, &Err("no digest".into()), UNIX_EPOCH);
    let subject = Subject {
        host: &attestor.host,
        peer: &peer,
        facts: &facts,
        digests: &attestor.digests,
        pool: &attestor.pool,
        systemd: &attestor.systemd,
        containers: &attestor.containers,
        at: UNIX_EPOCH,
    };
    let asked = asked::report(&subject, wanted, &mut findings).await;
    super::evidence(&peer, &facts, None, (findings, asked), UNIX_EPOCH).unwrap()
}

#[tokio::test]
async fn attestors_are_asked_one_by_one_as_what_is_known_makes_them_wanted() {
    let code = Kinds::NONE.with(Kind::Code);
    for (selector, expected) in [
        ("unix:uid:1000", vec![Kind::Code, Kind::Process]),
        // Known only when the other was asked.
        ("process:no_new_privs:true", vec![Kind::Code, Kind::Process]),
        ("process:no_new_privs:false", vec![Kind::Process]),
    ] {
        let condition: Selector = selector.parse().unwrap();
        let wanted = |known: &[Selector]| {
            let all = Kinds::NONE.with(Kind::Process);
            let fits = known.binary_search(&condition).is_ok();
            if fits { all.and(code) } else { all }
        };
        let evidence = asked_as_wanted("v2", 812, &wanted).await;
        assert_eq!(evidence.asked, expected, "{selector}");
    }
}

#[tokio::test]
async fn restrictions_and_labels_are_read_in_each_form() {
    let kinds = Kinds::NONE.with(Kind::Process);
    let evidence = asked("v2", 812, kinds).await;
    for selector in [
        "process:no_new_privs:true",
        "process:seccomp:filter",
        "process:security_label:mcp-notes (enforce)",
    ] {
        assert!(texts(&evidence).contains(&selector), "{selector}");
    }
    for key in [
        "process:parent_path",
        "process:parent_sha256",
        "process:ancestor_sha256",
    ] {
        assert!(reason(&evidence, key).contains("PID 1 of the host"));
    }
    assert!(reason(&evidence, "process:user_namespace").contains("no namespaces"));
    let evidence = asked("v2", 813, kinds).await;
    let label = "process:security_label:system_u:system_r:notes_t:s0:c1,c2";
    assert!(texts(&evidence).contains(&label));
}

#[tokio::test]
async fn nothing_is_absent_without_a_reason() {
    let kinds = Kinds::NONE.with(Kind::Code).with(Kind::Process);
    let evidence = asked("v2", 816, kinds).await;
    for key in [
        "code:jit",
        "code:sha256",
        "code:static",
        "code:trusted",
        "process:ancestor_sha256",
        "process:cgroup_namespace",
        "process:ipc_namespace",
        "process:mount_namespace",
        "process:network_namespace",
        "process:no_new_privs",
        "process:parent_path",
        "process:parent_sha256",
        "process:pid_namespace",
        "process:seccomp",
        "process:security_label",
        "process:undumpable",
        "process:user_namespace",
        "process:uts_namespace",
    ] {
        assert!(!reason(&evidence, key).is_empty(), "{key}");
    }
}

#[tokio::test]
async fn a_process_under_a_debugger_is_told_by_its_status() {
    let (pid, uid, gid) = (817, 1000, 1000);
    let (mut attestor, peer) = recorded("v2", Credentials { pid, uid, gid });
    let first = Facts::read(&attestor.host, &peer).unwrap().tracer;
    assert_eq!(first, Ok(Some(4711)));
    let peer = Arc::new(peer);
    let refused = attestor.tracer(&peer, &first).await;
    assert!(matches!(refused, Err(AttestError::Traced(4711))));
    attestor.allow_traced = true;
    assert_eq!(
        attestor.tracer(&peer, &first).await.unwrap(),
        Ok(Some(4711))
    );
    // A name cannot say that nobody traces it, nor that somebody does.
    let (attestor, peer) = recorded("v2", Credentials { pid: 813, uid, gid });
    assert_eq!(Facts::read(&attestor.host, &peer).unwrap().tracer, Ok(None));
}
