//! Names of systemd's units (`systemd.unit(5)`).

/// Longest name of a unit in bytes (`UNIT_NAME_MAX`).
const MAX_UNIT_BYTES: usize = 255;

/// Kinds of units that processes can be in.
const KINDS: [&str; 5] = ["mount", "scope", "service", "socket", "swap"];

/// Whether `name` can be the name of a unit that processes are in: not a template, no slice.
#[must_use]
pub fn is_unit(name: &str) -> bool {
    name.rsplit_once('.').is_some_and(|(stem, kind)| {
        is_stem(name, stem) && !stem.ends_with('@') && KINDS.contains(&kind)
    })
}

/// Whether `name` can be the name of a slice.
#[must_use]
pub fn is_slice(name: &str) -> bool {
    name.strip_suffix(".slice")
        .is_some_and(|stem| is_stem(name, stem) && !stem.contains('@'))
}

fn is_stem(name: &str, stem: &str) -> bool {
    name.len() <= MAX_UNIT_BYTES
        && !stem.is_empty()
        && !stem.starts_with('@')
        && stem
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte))
}

/// The unit of a user's manager to which `path` leads: what lies below the cgroup of the manager's
/// own service. Slices on the way are passed; what is below the unit is the unit's own business.
#[must_use]
pub fn user_unit(path: &str) -> Option<&str> {
    let parts = path.strip_prefix('/')?.split('/');
    let unit = parts
        .skip_while(|part| is_slice(part))
        .map(unescaped)
        .next();
    unit.filter(|unit| is_unit(unit))
}

/// systemd puts `_` before names that the kernel would take for its own files.
fn unescaped(part: &str) -> &str {
    part.strip_prefix('_').unwrap_or(part)
}

#[cfg(test)]
mod tests {
    use super::{is_slice, is_unit, user_unit};

    #[test]
    fn names_are_those_of_units_with_processes() {
        for name in [
            "a.service",
            "notes@one.service",
            "session-1.scope",
            "dev-sda1.swap",
            "home-jo\\x2ddoe.mount",
            "a.b:c_d-e.socket",
        ] {
            assert!(is_unit(name), "{name}");
        }
        let long = format!("{}.service", "x".repeat(250));
        for name in [
            "",
            "service",
            ".service",
            "@x.service",
            "a@.service",
            "a.slice",
            "a.target",
            "a b.service",
            "a/b.service",
            "a.service ",
            &long,
        ] {
            assert!(!is_unit(name), "{name}");
        }
        assert!(is_slice("-.slice") && is_slice("user-1000.slice"));
        assert!(!is_slice(".slice") && !is_slice("a@b.slice") && !is_slice("a.service"));
    }

    #[test]
    fn the_first_part_that_is_no_slice_is_the_users_unit() {
        assert_eq!(
            user_unit("/app.slice/app-x.slice/notes.service"),
            Some("notes.service")
        );
        assert_eq!(user_unit("/init.scope"), Some("init.scope"));
        assert_eq!(user_unit("/a.service/b.service"), Some("a.service"));
        assert_eq!(user_unit("/_cpu.service"), Some("cpu.service"));
        for path in [
            "",
            "/",
            "/app.slice",
            "/x/a.service",
            "a.service",
            "/app.slice//a.service",
        ] {
            assert_eq!(user_unit(path), None, "{path}");
        }
    }
}
