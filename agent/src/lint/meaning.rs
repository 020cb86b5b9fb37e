//! What a selector says about a process, and who decides it.
//!
//! The one list of this module: which facts name a user, a program or a place
//! that somebody with authority assigns, and which are chosen by the process
//! itself or by whoever starts it.

use symbolon_attestors::Selector;

/// What one selector says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning<'a> {
    /// The user.
    Uid(u32),
    /// The user, by name.
    User(&'a str),
    /// A group.
    Gid(u32),
    /// A group, by name.
    Group(&'a str),
    /// The program's path.
    Path(&'a str),
    /// The program's digest.
    Digest(&'a str),
    /// Everything that is loaded.
    Code,
    /// A cgroup, of a unit or container unless a user manages it.
    Cgroup(&'a str),
    /// A place that the service manager, a runtime or a policy assigns.
    Place,
    /// Nothing that holds: why.
    Loose(&'static str),
    /// Nothing that any attestor here makes.
    Foreign,
}

const LABELS: &str = "whoever starts a container or pod chooses its names and labels";
const LINEAGE: &str = "whoever starts a process chooses its parents, namespaces and restrictions";
const LOADED: &str = "it says how a program was loaded, and not which program";

/// What `selector` says.
pub(super) fn of(selector: &Selector) -> Meaning<'_> {
    let (key, value) = split(selector);
    match selector.kind() {
        "unix" => unix(key, value),
        "cgroup" if key == "path" => cgroup(value),
        "cgroup" => Meaning::Place,
        "systemd" => systemd(key, value),
        "container" => container(key),
        "k8s" => pod(key),
        "process" if is_policy(key, value) => Meaning::Place,
        "process" => Meaning::Loose(LINEAGE),
        "code" if key == "sha256" => Meaning::Code,
        "code" => Meaning::Loose(LOADED),
        _ => Meaning::Foreign,
    }
}

/// Key and value: `uid` and `1000` of `unix:uid:1000`.
pub(super) fn split(selector: &Selector) -> (&str, &str) {
    let value = selector.value();
    value.split_once(':').unwrap_or((value, ""))
}

fn unix<'a>(key: &str, value: &'a str) -> Meaning<'a> {
    let id = |make: fn(u32) -> Meaning<'a>| value.parse().map_or(Meaning::Foreign, make);
    match key {
        "uid" => id(Meaning::Uid),
        "user" => Meaning::User(value),
        "gid" | "supplementary_gid" => id(Meaning::Gid),
        "group" | "supplementary_group" => Meaning::Group(value),
        "path" => Meaning::Path(value),
        "sha256" => Meaning::Digest(value),
        "privileged_file" => Meaning::Loose("it says what rights a file gives, and not which file"),
        _ => Meaning::Foreign,
    }
}

fn cgroup(path: &str) -> Meaning<'_> {
    if matches!(path, "/" | "/init.scope") {
        return Meaning::Loose("every process that nobody has put elsewhere is in this cgroup");
    }
    let first = path.trim_start_matches('/').split('/').next();
    if first == Some("user.slice") {
        return Meaning::Loose("below /user.slice each user's own manager makes the cgroups");
    }
    if is_broad(path.trim_start_matches('/')) {
        return Meaning::Loose("it holds whatever is started without a unit of its own");
    }
    Meaning::Cgroup(path)
}

fn systemd<'a>(key: &str, value: &str) -> Meaning<'a> {
    match key {
        "user_unit" => Meaning::Loose("each user writes the units of their own manager"),
        "id" if is_a_users(value) => Meaning::Loose("it holds whatever that user starts"),
        "slice" if is_broad(value) => {
            Meaning::Loose("it holds every service that is not in a slice of its own")
        }
        _ => Meaning::Place,
    }
}

/// Units in which a login user starts what he likes, and the first process's own.
fn is_a_users(unit: &str) -> bool {
    let is = |start, end| unit.starts_with(start) && unit.ends_with(end);
    is("user@", ".service") || is("session-", ".scope") || unit == "init.scope"
}

fn is_broad(slice: &str) -> bool {
    matches!(
        slice,
        "-.slice" | "system.slice" | "user.slice" | "machine.slice" | "kubepods.slice" | "kubepods"
    ) || slice.starts_with("user-")
}

/// What a runtime confirms beside what its user chose.
fn container(key: &str) -> Meaning<'static> {
    match key {
        "id" | "image_id" | "image_digest" => Meaning::Place,
        "runtime" => Meaning::Loose("it holds every container of that runtime"),
        _ => Meaning::Loose(LABELS),
    }
}

/// Namespace and service account are the cluster's to grant; names and labels are not.
fn pod(key: &str) -> Meaning<'static> {
    match key {
        "ns" | "sa" | "pod-uid" | "pod-owner-uid" | "node-name" => Meaning::Place,
        _ => Meaning::Loose(LABELS),
    }
}

/// Labels of a security module follow a policy that the process does not write, unless they say
/// that none is applied.
fn is_policy(key: &str, value: &str) -> bool {
    key == "security_label" && !value.contains("unconfined")
}

/// What ends with the boot or the next restart, where `selector` names that.
pub(super) fn ends_with(selector: &Selector) -> Option<&'static str> {
    let (key, value) = split(selector);
    match (selector.kind(), key) {
        ("cgroup", "id") => Some("a cgroup's ID is another one after every restart"),
        ("systemd", "invocation_id") => Some("an invocation ID is of one start of a unit"),
        ("container", "id") => Some("a container has another ID when it is made anew"),
        ("k8s", "pod-uid") => Some("a pod has another UID when it is made anew"),
        ("cgroup", "path") if value.ends_with(".scope") && !value.ends_with("init.scope") => {
            Some("a scope is of one session or one start")
        }
        ("cgroup", "path") if has_identifier(value) => {
            Some("the cgroup's path names a container or pod that has another when it is made anew")
        }
        _ => None,
    }
}

/// Whether some part is as long and as random as a container's ID.
fn has_identifier(path: &str) -> bool {
    const SHORTEST: usize = 32;
    path.split(|c: char| !c.is_ascii_hexdigit())
        .any(|run| run.len() >= SHORTEST)
        || path.contains("/pod") && path.contains("kubepods")
}

#[cfg(test)]
mod tests {
    use super::{Meaning, ends_with, of};

    fn meaning(text: &str) -> String {
        format!("{:?}", of(&text.parse().unwrap()))
    }

    #[test]
    fn what_is_assigned_and_what_is_chosen_are_told_apart() {
        let image = format!("container:image_digest:sha256:{}", "ab".repeat(32));
        for assigned in [
            "systemd:id:a.service",
            "systemd:slice:app.slice",
            "process:security_label:system_u:system_r:app_t:s0",
            "k8s:ns:prod",
            &image,
        ] {
            assert_eq!(meaning(assigned), "Place", "{assigned}");
        }
        for chosen in [
            "systemd:user_unit:a.service",
            "systemd:slice:system.slice",
            "container:label:a:b",
            "k8s:pod-label:a:b",
            "process:parent_path:/usr/bin/app",
            "process:security_label:unconfined",
            "code:trusted:root",
            "cgroup:path:/",
            "cgroup:path:/user.slice/user-1000.slice/user@1000.service/app.slice/a.service",
        ] {
            assert!(meaning(chosen).starts_with("Loose"), "{chosen}");
        }
        assert_eq!(of(&"unix:uid:7".parse().unwrap()), Meaning::Uid(7));
        assert_eq!(meaning("docker:label:a:b"), "Foreign");
        assert!(meaning("cgroup:path:/system.slice/a.service").starts_with("Cgroup"));
    }

    #[test]
    fn what_ends_with_a_restart_is_known() {
        let id = "ab12".repeat(16);
        for passing in [
            &format!("systemd:invocation_id:{}", "ab".repeat(16)),
            &format!("container:id:{id}"),
            "cgroup:path:/user.slice/user-1000.slice/session-2.scope",
            &format!("cgroup:path:/system.slice/docker-{id}.scope"),
            &format!("cgroup:path:/docker/{id}"),
        ] {
            assert!(ends_with(&passing.parse().unwrap()).is_some(), "{passing}");
        }
        for lasting in [
            "systemd:id:a.service",
            "cgroup:path:/system.slice/a.service",
        ] {
            assert!(ends_with(&lasting.parse().unwrap()).is_none(), "{lasting}");
        }
    }
}
