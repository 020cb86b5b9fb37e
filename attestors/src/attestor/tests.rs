//! Recorded hosts, as `tests/hosts/README.md` describes them.

use super::{Attestor, AttestorConfig, facts::Facts};
use crate::{
    AttestError, Changed, Credentials, Evidence,
    accounts::Accounts,
    host::{Host, Nobody},
    pin::PinnedPeer,
    procfs::ProcRoot,
};
use std::{path::PathBuf, sync::Arc, time::UNIX_EPOCH};

/// The evidence for a process of a recorded host.
fn evidence(host: &str, pid: u32, uid: u32, gid: u32) -> Result<Evidence, AttestError> {
    let (attestor, peer) = recorded(host, Credentials { pid, uid, gid });
    let facts = Facts::read(&attestor.host, &peer)?;
    attestor.evidence(&peer, facts, Err("no digest".into()), UNIX_EPOCH)
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
        nobody: Nobody {
            uid: Some(65_534),
            gid: None,
        },
    });
    let attestor = Attestor::on(host, &AttestorConfig::default(), Vec::new());
    (attestor, peer)
}

fn texts(evidence: &Evidence) -> Vec<&str> {
    evidence.selectors.iter().map(AsRef::as_ref).collect()
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
