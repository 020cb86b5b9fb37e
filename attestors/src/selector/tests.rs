use super::{MAX_SELECTOR_BYTES, Selector};
use proptest::prelude::*;

const DIGEST: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

#[test]
fn what_attestors_produce_is_accepted() {
    for text in [
        "unix:uid:0",
        "unix:uid:4294967294",
        "unix:gid:1000",
        "unix:supplementary_gid:27",
        "unix:user:root",
        "unix:user:EXAMPLE\\jo doe",
        "unix:group:staff",
        "unix:supplementary_group:docker",
        "unix:path:/usr/bin/mcp client",
        "unix:path:/opt/a:b/c",
        &format!("unix:sha256:{DIGEST}"),
        "unix:privileged_file:setuid",
        "cgroup:path:/",
        "cgroup:path:/system.slice/a:b.service",
        "cgroup:id:1",
        "cgroup:id:18446744073709551615",
        "systemd:id:mcp-notes.service",
        "systemd:id:notes@a\\x2db.service",
        "systemd:id:session-3.scope",
        "systemd:user_unit:notes.service",
        "systemd:slice:-.slice",
        "systemd:slice:user-1000.slice",
        "systemd:fragment_path:/etc/systemd/system/a b.service",
        "systemd:invocation_id:3f0ec2a84bb745b2834f8a04e42ce3fe",
        "container:runtime:cri-o",
        &format!("container:id:{DIGEST}"),
        &format!("container:image_id:sha256:{DIGEST}"),
        &format!("container:image_digest:sha256:{DIGEST}"),
        "container:name:notes_1",
        "container:label:com.example.tier:back:end",
        "container:label:empty:",
        "container:path:/usr/bin/notes",
        "k8s:ns:default",
        "k8s:sa:notes",
        "k8s:pod-name:notes-0",
        "k8s:pod-uid:9cf1ac0c-7bf5-4a6b-8b2c-6a3f4d1e0c11",
        "k8s:pod-label:app.kubernetes.io/name:notes",
        "k8s:container-name:main",
        &format!("k8s:container-image:docker.io/library/notes@sha256:{DIGEST}"),
        "k8s:pod-image-count:2",
    ] {
        let selector: Selector = text.parse().unwrap();
        assert_eq!(selector.as_str(), text);
    }
}

#[test]
fn what_no_attestor_can_produce_is_refused() {
    for text in [
        "unix:uid:",
        "unix:uid:007",
        "unix:uid:+1",
        "unix:uid:-1",
        "unix:uid:4294967295",
        "unix:uid:root",
        "unix:user:",
        "unix:user:a:b",
        "unix:path:usr/bin/x",
        "unix:path:/",
        "unix:path:/usr/../x",
        "unix:path:/usr//x",
        "unix:path:/usr/x/",
        "unix:path:/usr/x (deleted)",
        "unix:sha256:abc",
        &format!("unix:sha256:{}", DIGEST.to_uppercase()),
        "unix:privileged_file:suid",
        "unix:ppid:1",
        "unix:uid",
        "cgroup:path:system.slice",
        "cgroup:path:/../other",
        "cgroup:id:0",
        "cgroup:id:07",
        "cgroup:id:18446744073709551616",
        "cgroup:id:",
        "cgroup:name:a",
        "systemd:id:a",
        "systemd:id:a.slice",
        "systemd:id:a@.service",
        "systemd:id:../a.service",
        "systemd:user_unit:a.target",
        "systemd:slice:a.service",
        "systemd:fragment_path:a.service",
        "systemd:fragment_path:/",
        "systemd:invocation_id:3F0EC2A84BB745B2834F8A04E42CE3FE",
        "systemd:invocation_id:3f0e",
        "systemd:unit:a.service",
        "systemd:id",
        "cgroup:path",
        "container:runtime:rkt",
        "container:id:4f00",
        &format!("container:image_id:{DIGEST}"),
        "container:image_digest:docker.io/notes:1",
        "container:name:",
        "container:name:/notes",
        "container:label:tier",
        "container:label::x",
        "container:path:bin/notes",
        "container:image:notes",
        "container:env:A=b",
        "k8s:ns:",
        "k8s:ns",
        "k8s:pod-label:app",
        "k8s:pod-image-count:02",
        "k8s:namespace:default",
    ] {
        text.parse::<Selector>().unwrap_err();
    }
}

#[test]
fn texts_that_are_no_selector_are_refused() {
    let long = format!("k8s:{}", "x".repeat(MAX_SELECTOR_BYTES));
    for text in [
        "",
        ":",
        "unix",
        "unix:",
        ":uid:1",
        "Unix:uid:1",
        "1unix:uid:1",
        "un ix:uid:1",
        "k8s:ns\n:x",
        "k8s:ns:\u{7f}",
        "unix:path:/usr/bin/\u{202e}gnp",
        "unix:user:a\u{2066}b",
        &long,
    ] {
        text.parse::<Selector>().unwrap_err();
    }
}

#[test]
fn types_of_other_attestors_are_checked_for_form_only() {
    let selector: Selector = "other:key:a:x".parse().unwrap();
    assert_eq!(selector.kind(), "other");
    assert_eq!(selector.value(), "key:a:x");
}

#[test]
fn a_selector_is_a_json_string() {
    let selector: Selector = "unix:uid:1000".parse().unwrap();
    let json = serde_json::to_string(&selector).unwrap();
    assert_eq!(json, "\"unix:uid:1000\"");
    assert_eq!(serde_json::from_str::<Selector>(&json).unwrap(), selector);
    serde_json::from_str::<Selector>("\"unix:uid:x\"").unwrap_err();
}

proptest! {
    #[test]
    fn parsing_never_panics_and_keeps_the_text(text in "\\PC{0,40}") {
        if let Ok(selector) = text.parse::<Selector>() {
            prop_assert_eq!(selector.to_string(), text);
            prop_assert!(!selector.kind().is_empty() && !selector.value().is_empty());
        }
    }

    #[test]
    fn every_numeric_id_is_accepted(id in 0..u32::MAX) {
        let text = format!("unix:uid:{id}");
        prop_assert!(text.parse::<Selector>().is_ok());
    }
}

proptest! {
    #[test]
    fn names_of_units_and_their_selectors_agree(text in "[a@:_.\\\\/ -]{0,6}(\\.service|\\.slice|\\.scope|/b\\.service)?") {
        use crate::parse::{is_slice, is_unit, user_unit};
        prop_assert!(!(is_unit(&text) && is_slice(&text)));
        for (key, holds) in [
            ("id", is_unit(&text)),
            ("user_unit", is_unit(&text)),
            ("slice", is_slice(&text)),
        ] {
            let selector = format!("systemd:{key}:{text}").parse::<Selector>();
            prop_assert_eq!(selector.is_ok(), holds);
        }
        if let Some(unit) = user_unit(&text) {
            prop_assert!(is_unit(unit) && !unit.contains('/'));
        }
    }
}
