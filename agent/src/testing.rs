//! What tests need from the machine that they run on.

use std::{env, io::Write as _};

/// Whether a test goes on: where `condition` does not hold it says so, with
/// `enable`, which would change that. With `REQUIRE_ALL_TESTS=1` the test fails.
pub(crate) fn can_run(test: &str, condition: bool, enable: &str) -> bool {
    let required = env::var_os("REQUIRE_ALL_TESTS").is_some_and(|value| value == "1");
    assert!(
        condition || !required,
        "{test} cannot run here; to enable it: {enable}"
    );
    if !condition {
        let notice = format!("SKIPPED {test}: to enable it: {enable}\n");
        // On the handle itself: the test runner hides what a passing test prints.
        std::io::stderr().write_all(notice.as_bytes()).unwrap();
    }
    condition
}

/// Whether a test of this name can use OpenSSL.
pub(crate) fn has_openssl(test: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path).any(|directory| directory.join("openssl").is_file());
    can_run(test, found, "apt-get install openssl")
}
