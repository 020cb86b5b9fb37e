//! Executables that clients are registered by.

use std::path::{Path, PathBuf};
use std::process::Command;

use aws_lc_rs::digest::{SHA256, digest};
use tempfile::NamedTempFile;

/// An executable file, by its path free of symbolic links.
#[derive(Clone, Debug)]
pub struct Program {
    path: PathBuf,
}

impl Program {
    /// The executable that `path` leads to.
    #[must_use]
    pub fn at(path: &Path) -> Self {
        let path = path.canonicalize();
        Self {
            path: path.expect("the program is there"),
        }
    }

    /// The running test.
    #[must_use]
    pub fn itself() -> Self {
        Self::at(&std::env::current_exe().expect("the test's own path"))
    }

    /// The executable called `name` on the search path.
    #[must_use]
    pub fn on_path(name: &str) -> Self {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let found = std::env::split_paths(&path)
            .map(|entry| entry.join(name))
            .find(|p| p.is_file());
        Self::at(&found.expect("has_tool was asked before"))
    }

    /// The executable called `name` that was built with the tests.
    #[must_use]
    pub fn beside_the_tests(name: &str) -> Self {
        let test = Self::itself();
        let profile = test.path.ancestors().nth(2).map(Path::to_owned);
        Self::at(&profile.unwrap_or_default().join(name))
    }

    /// A copy of this program in `directory`, called `name`.
    #[must_use]
    pub fn copy_to(&self, directory: &Path, name: &str) -> Self {
        install(&self.path, &directory.join(name))
    }

    /// Replaces the file at `target` by a copy of this program whose last byte differs.
    ///
    /// The last byte of an executable lies in its section headers, which nothing
    /// reads when it runs.
    #[must_use]
    pub fn alter_to(&self, target: &Path) -> Self {
        let mut content = std::fs::read(&self.path).expect("the program's content");
        let last = content.last_mut().expect("not empty");
        *last = !*last;
        let altered = NamedTempFile::new().expect("a file");
        std::fs::write(altered.path(), content).expect("the altered content");
        install(altered.path(), target)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `unix:path` of it.
    #[must_use]
    pub fn path_selector(&self) -> String {
        format!("unix:path:{}", self.path.display())
    }

    /// `unix:sha256` of it.
    #[must_use]
    pub fn digest_selector(&self) -> String {
        use std::fmt::Write as _;
        let content = std::fs::read(&self.path).expect("the program's content");
        let mut selector = "unix:sha256:".to_owned();
        for byte in digest(&SHA256, &content).as_ref() {
            write!(selector, "{byte:02x}").expect("writing to a string");
        }
        selector
    }

    /// `unix:uid` of this process and what it starts.
    #[must_use]
    pub fn uid_selector() -> String {
        format!("unix:uid:{}", rustix::process::geteuid().as_raw())
    }

    /// Who runs it and what it is: user and digest.
    #[must_use]
    pub fn selectors(&self) -> Vec<String> {
        vec![Self::uid_selector(), self.digest_selector()]
    }
}

/// Installs a file as a program, in another process: a descriptor of ours that
/// is open for writing would be inherited by whatever is started meanwhile, and
/// the kernel runs no program that anybody has open for writing.
fn install(source: &Path, target: &Path) -> Program {
    let mut command = Command::new("install");
    let status = command
        .args(["-m", "755", "-T"])
        .args([source, target])
        .status();
    assert!(
        status.expect("install runs").success(),
        "{}",
        target.display()
    );
    Program::at(target)
}
