//! Where things lie by default: for root and for an ordinary user.
//!
//! Root has `/etc/symbolon`, `/var/lib/symbolon` and `/run/symbolon`. An
//! ordinary user has the XDG base directories (XDG Base Directory
//! Specification 0.8): relative values of its variables are ignored, as it
//! demands. Without `XDG_RUNTIME_DIR` the sockets lie below the data
//! directory, never in a directory that others may write to.

use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
};

/// The default places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directories {
    config: Option<PathBuf>,
    data: Option<PathBuf>,
    runtime: Option<PathBuf>,
}

impl Directories {
    /// The places for the user with this effective uid and this environment.
    #[must_use]
    pub fn of(uid: u32, environment: &[(OsString, OsString)]) -> Self {
        if uid == 0 {
            return Self {
                config: Some(PathBuf::from("/etc/symbolon")),
                data: Some(PathBuf::from("/var/lib/symbolon")),
                runtime: Some(PathBuf::from("/run/symbolon")),
            };
        }
        let absolute = |name: &str| {
            environment
                .iter()
                .find(|(variable, _)| variable == OsStr::new(name))
                .map(|(_, value)| PathBuf::from(value))
                .filter(|path| path.is_absolute())
        };
        let home = absolute("HOME");
        let below = |base: Option<PathBuf>, fallback: &str| {
            base.or_else(|| home.as_deref().map(|home| home.join(fallback)))
                .map(|base| base.join("symbolon"))
        };
        let data = below(absolute("XDG_DATA_HOME"), ".local/share");
        Self {
            config: below(absolute("XDG_CONFIG_HOME"), ".config"),
            runtime: absolute("XDG_RUNTIME_DIR")
                .map(|base| base.join("symbolon"))
                .or_else(|| data.as_deref().map(|data| data.join("run"))),
            data,
        }
    }

    /// The configuration file.
    #[must_use]
    pub fn config_file(&self) -> Option<PathBuf> {
        self.config.as_deref().map(|path| path.join("agent.toml"))
    }

    /// The data directory.
    #[must_use]
    pub fn data(&self) -> Option<&Path> {
        self.data.as_deref()
    }

    /// The workload socket.
    #[must_use]
    pub fn workload_socket(&self) -> Option<PathBuf> {
        self.runtime
            .as_deref()
            .map(|path| path.join("workload/workload.sock"))
    }

    /// The admin socket.
    #[must_use]
    pub fn admin_socket(&self) -> Option<PathBuf> {
        self.runtime
            .as_deref()
            .map(|path| path.join("admin/admin.sock"))
    }
}

#[cfg(test)]
mod tests {
    use super::Directories;
    use std::{
        ffi::OsString,
        path::{Path, PathBuf},
    };

    fn user(environment: &[(&str, &str)]) -> Directories {
        let environment: Vec<(OsString, OsString)> = environment
            .iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        Directories::of(1000, &environment)
    }

    #[test]
    fn root_has_the_system_directories_whatever_its_environment() {
        let environment = [("XDG_DATA_HOME".into(), "/tmp/x".into())];
        let directories = Directories::of(0, &environment);
        assert_eq!(directories.data(), Some(Path::new("/var/lib/symbolon")));
        assert_eq!(
            directories.config_file(),
            Some(PathBuf::from("/etc/symbolon/agent.toml"))
        );
        assert_eq!(
            directories.workload_socket(),
            Some(PathBuf::from("/run/symbolon/workload/workload.sock"))
        );
        assert_eq!(
            directories.admin_socket(),
            Some(PathBuf::from("/run/symbolon/admin/admin.sock"))
        );
    }

    #[test]
    fn a_user_has_the_xdg_directories() {
        let directories = user(&[
            ("HOME", "/home/a"),
            ("XDG_CONFIG_HOME", "/c"),
            ("XDG_DATA_HOME", "/d"),
            ("XDG_RUNTIME_DIR", "/run/user/1000"),
        ]);
        assert_eq!(
            directories.config_file(),
            Some(PathBuf::from("/c/symbolon/agent.toml"))
        );
        assert_eq!(directories.data(), Some(Path::new("/d/symbolon")));
        assert_eq!(
            directories.admin_socket(),
            Some(PathBuf::from("/run/user/1000/symbolon/admin/admin.sock"))
        );
    }

    #[test]
    fn relative_and_missing_variables_fall_back_to_the_home_directory() {
        let directories = user(&[("HOME", "/home/a"), ("XDG_DATA_HOME", "data")]);
        assert_eq!(
            directories.data(),
            Some(Path::new("/home/a/.local/share/symbolon"))
        );
        assert_eq!(
            directories.workload_socket(),
            Some(PathBuf::from(
                "/home/a/.local/share/symbolon/run/workload/workload.sock"
            ))
        );
    }

    #[test]
    fn a_user_without_a_home_has_no_defaults() {
        let directories = user(&[]);
        assert_eq!(directories.config_file(), None);
        assert_eq!(directories.data(), None);
        assert_eq!(directories.admin_socket(), None);
    }
}
