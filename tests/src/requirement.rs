//! What a test needs from the machine that it runs on.

use std::io::Write as _;
use std::path::Path;

/// The user and group that stand for somebody else where the tests run as root: nobody.
pub const SOMEBODY_ELSE: u32 = 65534;

/// Whether the test called `test` can run here, which it can where `condition` holds.
///
/// Where it cannot, this says so on the real standard error (past the test
/// runner's capture) together with `enable`, the command that would enable it.
/// With `REQUIRE_ALL_TESTS=1` the test fails instead.
#[must_use]
pub fn can_run(test: &str, condition: bool, enable: &str) -> bool {
    if condition {
        return true;
    }
    assert!(
        std::env::var_os("REQUIRE_ALL_TESTS").is_none_or(|value| value != "1"),
        "{test} cannot run here, and REQUIRE_ALL_TESTS=1 is set; to enable it: {enable}"
    );
    let notice = format!("SKIPPED {test}: to enable it: {enable}\n");
    std::io::stderr()
        .write_all(notice.as_bytes())
        .expect("standard error");
    false
}

/// Whether the tests run as root, and can so act as other users.
#[must_use]
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether `name` is a program on the search path.
#[must_use]
pub fn has_tool(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| Path::new(&directory).join(name).is_file())
}

/// How large a test is to be: the number in an environment variable, else the one it has by default.
pub fn number_of(variable: &str, default: u64) -> u64 {
    std::env::var_os(variable).map_or(default, |text| {
        let text = text.to_str().expect("a number");
        text.parse().expect("a number")
    })
}
