//! Selectors of the `process` attestor.

use super::{SelectorError, is_digest, is_path, is_plain};

/// Longest label in bytes: a context of `SELinux` with all its categories.
const MAX_LABEL_BYTES: usize = 2048;

pub(super) fn check(value: &str) -> Result<(), SelectorError> {
    let (key, value) = value.split_once(':').unwrap_or((value, ""));
    let digest = "64 lower-case hexadecimal digits";
    let (key, expected, is_right) = match key {
        "parent_path" => (
            "process:parent_path",
            "an absolute path without empty, . or .. parts",
            is_path(value) && value != "/",
        ),
        "parent_sha256" => ("process:parent_sha256", digest, is_digest(value)),
        "ancestor_sha256" => ("process:ancestor_sha256", digest, is_digest(value)),
        "security_label" => (
            "process:security_label",
            "a label as the security module writes it",
            is_label(value),
        ),
        "seccomp" => (
            "process:seccomp",
            "disabled, strict or filter",
            matches!(value, "disabled" | "strict" | "filter"),
        ),
        "no_new_privs" => ("process:no_new_privs", "true or false", is_bit(value)),
        "undumpable" => ("process:undumpable", "true or false", is_bit(value)),
        _ => {
            let key = namespace(key)?;
            (key, "host or own", matches!(value, "host" | "own"))
        }
    };
    if is_right {
        Ok(())
    } else {
        Err(SelectorError::Value { key, expected })
    }
}

fn namespace(key: &str) -> Result<&'static str, SelectorError> {
    Ok(match key {
        "cgroup_namespace" => "process:cgroup_namespace",
        "ipc_namespace" => "process:ipc_namespace",
        "mount_namespace" => "process:mount_namespace",
        "network_namespace" => "process:network_namespace",
        "pid_namespace" => "process:pid_namespace",
        "user_namespace" => "process:user_namespace",
        "uts_namespace" => "process:uts_namespace",
        _ => {
            return Err(SelectorError::Key {
                kind: "process",
                key: key.into(),
            });
        }
    })
}

fn is_bit(value: &str) -> bool {
    matches!(value, "true" | "false")
}

/// Whether `text` can be the label of a security module.
pub(crate) fn is_label(text: &str) -> bool {
    (1..=MAX_LABEL_BYTES).contains(&text.len()) && text.trim() == text && text.chars().all(is_plain)
}

#[cfg(test)]
mod tests {
    use crate::{Selector, namespaces::NAMESPACES};

    #[test]
    fn what_the_attestor_produces_is_accepted_and_nothing_else() {
        let digest = "0f".repeat(32);
        for text in [
            "process:parent_path:/usr/bin/bash",
            &format!("process:parent_sha256:{digest}"),
            &format!("process:ancestor_sha256:{digest}"),
            "process:security_label:system_u:system_r:init_t:s0-s0:c0.c1023",
            "process:security_label:docker-default (enforce)",
            "process:seccomp:filter",
            "process:no_new_privs:false",
            "process:undumpable:true",
        ] {
            text.parse::<Selector>().unwrap();
        }
        for kind in NAMESPACES {
            for (value, is_right) in [("host", true), ("own", true), ("other", false)] {
                let selector = format!("{}:{value}", kind.selector);
                assert_eq!(selector.parse::<Selector>().is_ok(), is_right);
            }
        }
        for text in [
            "process:parent_path:bash",
            "process:parent_path:/",
            "process:parent_sha256:x",
            "process:security_label: x",
            "process:seccomp:2",
            "process:undumpable:1",
            "process:time_namespace:own",
            "process:pid:7",
            "process:undumpable",
        ] {
            text.parse::<Selector>().unwrap_err();
        }
    }
}
