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
const PROFILE: &str = "whoever is not confined chooses the profile that confines him";
const STOCK: &str = "the policy has that label for whatever has none of its own";
const LOADED: &str = "it says how a program was loaded, and not which program";

/// Domains of `SELinux`'s policies in which whatever has none of its own runs. Those of users begin
/// with `unconfined`, or are here.
const STOCK_DOMAINS: [&str; 16] = [
    "container_runtime_t",
    "cron_t",
    "crond_t",
    "docker_t",
    "guest_t",
    "init_t",
    "initrc_t",
    "kernel_t",
    "rc_t",
    "spc_t",
    "staff_t",
    "sysadm_t",
    "system_cronjob_t",
    "user_t",
    "virtd_lxc_t",
    "xguest_t",
];

/// Domains in which every container or virtual machine runs; categories tell them apart.
const CONTAINER_DOMAINS: [&str; 9] = [
    "container_engine_t",
    "container_init_t",
    "container_kvm_t",
    "container_logreader_t",
    "container_t",
    "container_userns_t",
    "svirt_lxc_net_t",
    "svirt_sandbox_t",
    "svirt_t",
];

/// The end of a level that is above all others, so that it is nobody's own.
const ALL_CATEGORIES: &str = "c0.c1023";

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
        "process" if key == "security_label" => label(value),
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

/// What a security module's label says of who runs a process.
///
/// Only `SELinux` decides by its policy who may enter a type, unless the type is one that the policy
/// ships for whatever has none of its own. `AppArmor`'s profiles confine, and let in anybody who is not
/// confined (`aa-exec(1)`), as much as a runtime's own profile lets in every container.
fn label(label: &str) -> Meaning<'static> {
    let mut parts = label.splitn(4, ':');
    let [user, role, domain] = [(); 3].map(|()| parts.next().unwrap_or_default());
    // AppArmor writes its mode behind: "docker-default (enforce)".
    let is_context = !user.is_empty() && role.ends_with("_r") && domain.ends_with("_t");
    if !is_context || label.ends_with(')') {
        return Meaning::Loose(PROFILE);
    }
    let level = parts.next().unwrap_or_default();
    // Categories are what tells one container or machine from another: `s0:c12,c345`.
    let is_one = level.split_once(':').is_some_and(|(_, c)| !c.is_empty());
    let is_stock = STOCK_DOMAINS.contains(&domain) || domain.starts_with("unconfined");
    let is_container = CONTAINER_DOMAINS.contains(&domain);
    if is_stock || (is_container && (!is_one || label.ends_with(ALL_CATEGORIES))) {
        return Meaning::Loose(STOCK);
    }
    Meaning::Place
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
            "process:security_label:system_u:system_r:container_t:s0:c12,c345",
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
            "process:security_label:docker-default (enforce)",
            "process:security_label:cri-containerd.apparmor.d (enforce)",
            "process:security_label:crio-default (enforce)",
            "process:security_label:podman-default",
            "process:security_label:lxc-container-default-cgns (enforce)",
            "process:security_label::root//app:b_t:c (enforce)",
            "process:security_label:a:b_r:c_t:d (enforce)",
            "process:security_label:app (complain)",
            "process:security_label:_",
            "process:security_label:unconfined_u:unconfined_r:unconfined_t:s0-s0:c0.c1023",
            "process:security_label:system_u:system_r:unconfined_service_t:s0",
            "process:security_label:system_u:system_r:initrc_t:s0",
            "process:security_label:user_u:user_r:user_t:s0",
            "process:security_label:system_u:system_r:spc_t:s0:c1,c2",
            "process:security_label:system_u:system_r:container_t:s0",
            "process:security_label:system_u:system_r:container_t",
            "process:security_label:system_u:system_r:container_t:s0-s0:c0.c1023",
            "process:security_label:system_u:system_r:svirt_lxc_net_t:s0",
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
