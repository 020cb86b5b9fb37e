//! Container IDs in `/proc/PID/cgroup`: nothing panics, and a candidate is a cgroup above the
//! process that carries a whole ID, each once, the innermost first, and no more than are asked about.
#![no_main]

use libfuzzer_sys::fuzz_target;
use symbolon_attestors::{
    Selector,
    parse::{
        self, CgroupLayout, Cgroups,
        container::{Hierarchy, MAX_CANDIDATES, candidates, is_id},
    },
};

fuzz_target!(|input: (&[u8], Vec<(u8, u8)>, Vec<(u8, u8)>, bool)| {
    let (bytes, unified, systemd, with_controllers) = input;
    check_text(bytes);
    // Names that runtimes give, and ones that look like them.
    let (unified, systemd) = (path(&unified), path(&systemd));
    let controllers = if with_controllers { "4:pids:/\n" } else { "" };
    let text = format!("{controllers}1:name=systemd:{systemd}\n0::{unified}\n");
    check_text(text.as_bytes());
});

fn check_text(bytes: &[u8]) {
    if let Ok(cgroups) = parse::cgroups(bytes) {
        check(&cgroups);
    }
}

fn check(cgroups: &Cgroups) {
    let found = candidates(cgroups);
    for hierarchy in [Hierarchy::Unified, Hierarchy::Systemd] {
        let here: Vec<_> = found
            .iter()
            .filter(|candidate| candidate.hierarchy == hierarchy)
            .collect();
        assert!(here.len() <= MAX_CANDIDATES);
        assert!(here.is_sorted_by(|inner, outer| inner.cgroup.len() > outer.cgroup.len()));
        for candidate in here {
            let path = hierarchy.path(cgroups).unwrap();
            assert!(candidate.holds(path) && candidate.holds(&candidate.cgroup));
            assert!(!candidate.holds(&format!("{}0", candidate.cgroup)));
            let name = candidate.cgroup.rsplit('/').next().unwrap();
            assert!(name.contains(&candidate.id) && is_id(&candidate.id));
            let selector = format!("container:id:{}", candidate.id);
            selector.parse::<Selector>().unwrap();
            let _ = candidate.family();
        }
    }
    for (index, candidate) in found.iter().enumerate() {
        assert!(!found[..index].iter().any(|other| other.id == candidate.id));
        let is_leftover = candidate.hierarchy == Hierarchy::Systemd;
        assert!(!is_leftover || cgroups.layout != CgroupLayout::V2);
    }
}

fn path(parts: &[(u8, u8)]) -> String {
    let parts = parts.iter().take(64).map(|&(choice, which)| {
        let digit = char::from(b"0123456789abcdefAg"[usize::from(which) % 18]);
        let length = if choice < 250 { 64 } else { usize::from(which) };
        let id = digit.to_string().repeat(length);
        match choice % 12 {
            0 => format!("/{id}"),
            1 => format!("/docker/{id}"),
            2 => format!("/docker-{id}.scope"),
            3 => format!("/libpod-{id}.scope"),
            4 => format!("/libpod-payload-{id}"),
            5 => format!("/kubepods/burstable/pod7/{id}"),
            6 => format!("/cri-containerd-{id}.scope"),
            7 => format!("/kubepods-pod7.slice:cri-containerd:{id}"),
            8 => format!("/{id}.scope.scope"),
            9 => format!("//{id}/"),
            10 => "/x".into(),
            _ => format!("/-{id}-"),
        }
    });
    let path: String = parts.collect();
    if path.is_empty() { "/".into() } else { path }
}
