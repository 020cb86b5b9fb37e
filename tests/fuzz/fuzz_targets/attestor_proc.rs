//! `/proc/PID/{stat,status,cgroup,mountinfo}` and `/proc/self/uid_map`: nothing panics, and what
//! is accepted keeps the promises of the selectors that are made of it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use symbolon_attestors::{
    Selector,
    parse::{self, Groups, MAX_SUPPLEMENTARY_GROUPS},
};

fuzz_target!(|bytes: &[u8]| {
    let _ = parse::start_time(bytes);
    let _ = parse::parent(bytes);
    let _ = parse::namespaced_pids(bytes);
    assert_ne!(parse::tracer(bytes), Ok(Some(0)));
    if let Ok(restrictions) = parse::restrictions(bytes)
        && let Some(seccomp) = restrictions.seccomp
    {
        let selector = format!("process:seccomp:{}", seccomp.as_str());
        selector.parse::<Selector>().unwrap();
    }
    assert!(!parse::covers_every_id(bytes) || bytes.contains(&b'4'));
    if let Ok(status) = parse::status(bytes)
        && let Groups::Known(groups) = status.groups
    {
        assert!(groups.len() <= MAX_SUPPLEMENTARY_GROUPS);
    }
    let layout = parse::cgroup_layout(bytes);
    if let Ok(cgroups) = parse::cgroups(bytes) {
        assert_eq!(layout, Ok(cgroups.layout));
        for path in cgroups.unified.iter().chain(&cgroups.systemd) {
            if path.len() <= 4096 {
                format!("cgroup:path:{path}").parse::<Selector>().unwrap();
            }
        }
    }
    let lines = bytes.split(|&byte| byte == b'\n').count();
    assert!(parse::mounts(bytes).count() <= lines);
    for point in parse::mount_points(bytes, "cgroup2") {
        assert!(point.starts_with(b"/") && point.len() <= bytes.len());
    }
});
