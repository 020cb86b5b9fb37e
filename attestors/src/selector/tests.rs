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
        "cgroup:path:/",
        "cgroup:path:/system.slice/a:b.service",
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
        "unix:ppid:1",
        "unix:uid",
        "cgroup:path:system.slice",
        "cgroup:path:/../other",
        "cgroup:id:7",
        "cgroup:path",
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
    let selector: Selector = "k8s:pod-label:app:x".parse().unwrap();
    assert_eq!(selector.kind(), "k8s");
    assert_eq!(selector.value(), "pod-label:app:x");
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
