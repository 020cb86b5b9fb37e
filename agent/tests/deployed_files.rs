//! Every file under `deploy/` is what the agent takes.
//!
//! After a change of a key, its documentation or its default:
//! `SYMBOLON_REGENERATE=1 cargo test -p symbolon-agent --test deployed_files`.

#![expect(clippy::expect_used, reason = "a test stops at the first surprise")]

use std::{
    fmt::Write as _,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output},
};
use symbolon_agent::config::{Config, Place, Sources, keys};

const HEADER: &str = "\
# Every key of the agent's configuration with its default (that of root; an ordinary user has the
# XDG directories). Only trust_domain has to be set. A key that stands behind a `#` has no default.
# The variable above a key overrides it.
";
const WIDTH: usize = 98;
const LOADED: &str = "every file of deploy/config loads";

fn deploy(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../deploy")
        .join(file)
}

fn load(file: Option<PathBuf>, environment: &[(&str, &str)]) -> Config {
    let environment = environment.iter();
    let sources = Sources {
        file,
        environment: environment.map(|(n, v)| (n.into(), v.into())).collect(),
        ..Sources::default()
    };
    Config::load(&sources).expect(LOADED)
}

fn defaults() -> Config {
    // An empty file of the test's own, lest one of the machine's is read.
    let empty = tempfile::NamedTempFile::new().expect("a temporary file");
    load(
        Some(empty.path().to_owned()),
        &[("SYMBOLON_TRUST_DOMAIN", "example.org")],
    )
}

/// `text` as comment lines.
fn comment(text: &str) -> String {
    let mut lines = String::from("#");
    let mut length = 1;
    for word in text.split_whitespace() {
        if length + 1 + word.len() > WIDTH {
            lines.push_str("\n#");
            length = 1;
        }
        write!(lines, " {word}").expect("written");
        length += 1 + word.len();
    }
    lines
}

/// The example as the keys and the defaults say it.
fn full_example() -> String {
    let defaults = defaults();
    let mut text = String::from(HEADER);
    let mut section = "";
    for key in keys() {
        if key.is_tables {
            // Behind the sections: what follows a table belongs to it.
            let example = key.example.unwrap_or_default().lines();
            let example: Vec<_> = example.map(|line| format!("# {line}")).collect();
            let (doc, example) = (comment(key.doc), example.join("\n"));
            write!(text, "\n{doc}\n{example}\n").expect("written");
            continue;
        }
        let entry = defaults.effective().iter().find(|entry| entry.key == key);
        if key.section != section {
            section = key.section;
            write!(text, "\n[{section}]\n").expect("written");
        } else {
            text.push('\n');
        }
        let line = match (entry.and_then(|entry| entry.value.as_ref()), key.example) {
            (Some(value), _) => format!("{} = {value}", key.name),
            (None, example) => format!("# {} = \"{}\"", key.name, example.unwrap_or_default()),
        };
        let doc = comment(key.doc);
        let variable = key.variable();
        write!(text, "{doc}\n# {variable}\n{line}\n").expect("written");
    }
    text
}

#[test]
fn the_full_example_has_every_key_with_its_documentation_and_default() {
    let path = deploy("config/full.toml");
    if std::env::var_os("SYMBOLON_REGENERATE").is_some() {
        fs::write(&path, full_example()).expect("written");
    }
    let text = fs::read_to_string(&path).expect("read");
    assert!(
        text == full_example(),
        "deploy/config/full.toml differs from the keys: run SYMBOLON_REGENERATE=1 cargo test \
         -p symbolon-agent --test deployed_files"
    );
}

#[test]
fn the_full_example_says_what_holds_without_it() {
    let full = load(Some(deploy("config/full.toml")), &[]);
    let differences = Config::reload_differences(&defaults(), &full);
    assert_eq!(differences, Default::default());
    assert_eq!(full.effective().len(), keys().count());
    for entry in full.effective() {
        let is_in_the_file = matches!(entry.place, Place::Line(..));
        assert_eq!(is_in_the_file, entry.value.is_some(), "{:?}", entry.key);
    }
    assert_eq!(full.notices(), []);
}

#[test]
fn the_minimal_example_sets_the_trust_domain_alone() {
    let minimal = load(Some(deploy("config/minimal.toml")), &[]);
    let differences = Config::reload_differences(&defaults(), &minimal);
    assert_eq!(differences, Default::default());
    let set = minimal.effective().iter();
    let set = set.filter(|entry| entry.place != Place::Default);
    assert_eq!(set.count(), 1);
}

/// The unit, with this build's program for the installed one, so that `ExecStart` can be checked.
fn unit_with_this_build(directory: &Path) -> PathBuf {
    let unit = fs::read_to_string(deploy("systemd/symbolon.service")).expect("read");
    assert!(unit.contains(INSTALLED));
    let unit = unit.replace(INSTALLED, env!("CARGO_BIN_EXE_symbolon"));
    let path = directory.join("symbolon.service");
    fs::write(&path, unit).expect("written");
    path
}

const INSTALLED: &str = "/usr/bin/symbolon";

/// Runs `systemd-analyze`; `None` where it is not installed, which is said loudly, and a failure
/// where `REQUIRE_ALL_TESTS=1`.
fn systemd_analyze(test: &str, arguments: &[&str]) -> Option<Output> {
    match Command::new("systemd-analyze").args(arguments).output() {
        Ok(output) => Some(output),
        Err(error) => {
            let required = std::env::var_os("REQUIRE_ALL_TESTS").is_some_and(|value| value == "1");
            assert!(!required, "{test} cannot run systemd-analyze: {error}");
            // Written to the handle itself: the test harness hides what a passing test prints.
            writeln!(
                std::io::stderr(),
                "SKIPPED {test}: systemd-analyze: {error}; enable it with: apt-get install systemd"
            )
            .expect("written");
            None
        }
    }
}

fn said(output: &Output) -> String {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&text).into_owned()
}

#[test]
fn systemd_takes_the_unit_without_a_warning() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let unit = unit_with_this_build(directory.path());
    let unit = unit.to_str().expect("text");
    let test = "systemd_takes_the_unit_without_a_warning";
    let arguments = ["verify", "--man=no", "--recursive-errors=no", unit];
    let Some(output) = systemd_analyze(test, &arguments) else {
        return;
    };
    let said = said(&output);
    assert!(output.status.success(), "{said}");
    assert!(!said.contains("symbolon"), "{said}");
}

/// The exposure that the exceptions in the unit leave, in tenths: systemd 252 counts 28, other
/// releases a little more or less. A higher figure means that something was opened.
const MOST_EXPOSURE: &str = "30";

#[test]
fn the_unit_stays_closed() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let unit = unit_with_this_build(directory.path());
    let unit = unit.to_str().expect("text");
    let threshold = format!("--threshold={MOST_EXPOSURE}");
    let arguments = ["security", "--no-pager", "--offline=yes", &threshold, unit];
    let Some(output) = systemd_analyze("the_unit_stays_closed", &arguments) else {
        return;
    };
    assert!(output.status.success(), "{}", said(&output));
}
