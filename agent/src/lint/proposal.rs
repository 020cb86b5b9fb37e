//! A selector set for a process that runs now.
//!
//! Few and strong: where it runs, by the word of a runtime or the service
//! manager; who runs it; which program it is. Never what ends with a restart
//! (IDs of containers, invocations, sessions) and never what whoever starts it
//! chooses (labels, names, parents).

use super::meaning::{self, Meaning};
use symbolon_attestors::Selector;

/// A selector, and why it was chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposed {
    /// The selector.
    pub selector: Selector,
    /// Why.
    pub reason: &'static str,
}

/// The set to register a process by that has the facts `present`.
#[must_use]
pub fn propose(present: &[Selector]) -> Vec<Proposed> {
    let mut proposed = place(present);
    for (prefix, reason) in [
        ("unix:uid:", "the user that runs it, as the kernel says"),
        (
            "unix:sha256:",
            "exactly this program; an update of it needs a new registration",
        ),
    ] {
        proposed.extend(pick(present, prefix, reason));
    }
    let has_digest = present
        .iter()
        .any(|selector| selector.as_str().starts_with("unix:sha256:"));
    if !has_digest {
        proposed.extend(pick(
            present,
            "unix:path:",
            "the program's path, because its digest is unknown",
        ));
    }
    proposed
}

/// The strongest word on where it runs.
fn place(present: &[Selector]) -> Vec<Proposed> {
    let image = "the container's image, as the runtime confirms for this process";
    let image = pick(present, "container:image_digest:", image)
        .or_else(|| pick(present, "container:image_id:", image));
    let namespace = pick(
        present,
        "k8s:ns:",
        "the pod's namespace, which the cluster grants",
    );
    let account = pick(
        present,
        "k8s:sa:",
        "the service account, which the cluster grants",
    );
    let pod: Vec<_> = namespace.into_iter().chain(account).chain(image).collect();
    if !pod.is_empty() {
        return pod;
    }
    let unit = "the unit, as the service manager says of this process";
    let cgroup = "the service's cgroup: only the service manager puts processes there";
    pick(present, "systemd:id:", unit)
        .or_else(|| pick(present, "cgroup:path:", cgroup))
        .into_iter()
        .collect()
}

fn pick(present: &[Selector], prefix: &str, reason: &'static str) -> Option<Proposed> {
    let mut found = present
        .iter()
        .filter(|selector| selector.as_str().starts_with(prefix))
        .filter(|selector| lasts(selector));
    let selector = found.next()?.clone();
    Some(Proposed { selector, reason })
}

/// Whether it is there again after a restart, by nobody's choice but an administrator's.
fn lasts(selector: &Selector) -> bool {
    let unit = match meaning::of(selector) {
        Meaning::Loose(_) | Meaning::Foreign => return false,
        Meaning::Cgroup(path) => path,
        Meaning::Place if selector.kind() == "systemd" => selector.value(),
        _ => return true,
    };
    unit.ends_with(".service") && meaning::ends_with(selector).is_none()
}

#[cfg(test)]
mod tests {
    use super::propose;

    #[track_caller]
    fn assert_proposed(present: &[&str], expected: &[&str]) {
        let present: Vec<_> = present.iter().map(|text| text.parse().unwrap()).collect();
        let proposed = propose(&present);
        let texts: Vec<_> = proposed.iter().map(|p| p.selector.as_str()).collect();
        assert_eq!(texts, expected);
    }

    fn digest() -> String {
        format!("unix:sha256:{}", "ab".repeat(32))
    }

    #[test]
    fn user_and_digest_go_before_a_path() {
        assert_proposed(
            &["unix:gid:5", "unix:path:/bin/app", &digest(), "unix:uid:5"],
            &["unix:uid:5", &digest()],
        );
        assert_proposed(
            &["unix:path:/bin/app", "unix:uid:5"],
            &["unix:uid:5", "unix:path:/bin/app"],
        );
    }

    #[test]
    fn a_unit_goes_before_its_cgroup() {
        let cgroup = "cgroup:path:/system.slice/app.service";
        let start = format!("systemd:invocation_id:{}", "ab".repeat(16));
        assert_proposed(&[cgroup, "unix:uid:5"], &[cgroup, "unix:uid:5"]);
        assert_proposed(
            &[cgroup, "systemd:id:app.service", &start, "unix:uid:5"],
            &["systemd:id:app.service", "unix:uid:5"],
        );
    }

    #[test]
    fn an_image_goes_before_all() {
        let id = "ab".repeat(32);
        let container = format!("cgroup:path:/system.slice/docker-{id}.scope");
        let digest = format!("container:image_digest:sha256:{id}");
        let image = format!("container:image_id:sha256:{id}");
        assert_proposed(
            &[
                &container,
                &format!("container:id:{id}"),
                &digest,
                &image,
                "container:label:a:b",
                "container:name:x",
                "systemd:id:docker.service",
                "unix:uid:0",
            ],
            &[&digest, "unix:uid:0"],
        );
        assert_proposed(&[&image, "unix:uid:0"], &[&image, "unix:uid:0"]);
        assert_proposed(
            &[
                "k8s:ns:prod",
                "k8s:pod-label:a:b",
                "k8s:pod-uid:x",
                "k8s:sa:app",
                "unix:uid:0",
            ],
            &["k8s:ns:prod", "k8s:sa:app", "unix:uid:0"],
        );
    }

    #[test]
    fn sessions_and_users_own_units_are_never_proposed() {
        for passing in [
            "cgroup:path:/user.slice/user-1000.slice/session-2.scope",
            "cgroup:path:/user.slice/user-1000.slice/user@1000.service/app.slice/a.service",
            "systemd:id:session-2.scope",
            "systemd:user_unit:a.service",
        ] {
            assert_proposed(&[passing, "unix:uid:5"], &["unix:uid:5"]);
        }
    }
}
