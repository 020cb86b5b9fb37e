//! Where the `symbolon` binary under test is.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The binary under test: `SYMBOLON_BIN`, or else the one that `cargo build`
/// makes, freshly built in the profile and target directory of this test.
#[must_use]
pub fn symbolon() -> &'static Path {
    static BINARY: OnceLock<Option<PathBuf>> = OnceLock::new();
    let given = || std::env::var_os("SYMBOLON_BIN").map(PathBuf::from);
    // Built once at most: a failure is every test's.
    let binary = BINARY.get_or_init(|| given().or_else(build));
    binary.as_deref().expect("the agent does not build")
}

/// A command that runs `program` without the `SYMBOLON_*` variables of whoever
/// runs the tests, which would be configuration for it.
#[must_use]
pub fn command(program: &Path) -> tokio::process::Command {
    let mut command = tokio::process::Command::new(program);
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"SYMBOLON_") {
            command.env_remove(name);
        }
    }
    command.kill_on_drop(true);
    command
}

/// Builds the binary beside the running test, which is `TARGET/PROFILE/deps/NAME`.
fn build() -> Option<PathBuf> {
    let test = std::env::current_exe().ok()?;
    let profile = test.ancestors().nth(2)?;
    let target = profile.parent()?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args([
            "build",
            "--quiet",
            "--package",
            "symbolon-agent",
            "--bin",
            "symbolon",
        ])
        .arg("--target-dir")
        .arg(target);
    if profile.ends_with("release") {
        command.arg("--release");
    }
    let status = command.status().ok()?;
    status.success().then(|| profile.join("symbolon"))
}
