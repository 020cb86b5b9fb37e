//! What README.md tells people to type works as it is written there.
//!
//! Commands are the lines of `console` blocks after `$`. Those of the tour run
//! in order in one shell, and what is shown of their output has to come; of the
//! others the first word is known and its arguments are parsed.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use symbolon_tests::{Output, Setup, can_run, has_tool, symbolon, within};

/// Stands before a block of the tour.
const TOUR: &str = "<!-- tour -->";

/// A `console` block.
#[derive(Debug, Default)]
struct Block {
    is_of_the_tour: bool,
    commands: Vec<String>,
    shown: Vec<String>,
}

impl Block {
    fn add(&mut self, line: &str) {
        match (line.strip_prefix("$ "), self.commands.last_mut()) {
            (Some(command), _) => self.commands.push(command.to_owned()),
            (None, Some(command)) if command.ends_with('\\') => {
                command.push('\n');
                command.push_str(line);
            }
            (None, _) => self.shown.push(line.to_owned()),
        }
    }

    /// Shown lines that are the same on every machine: no numbers, no lists of selectors.
    fn fixed_lines(&self) -> impl Iterator<Item = &String> {
        self.shown.iter().filter(|line| {
            !line.starts_with(' ')
                && !line.contains("...")
                && !line.contains(|character: char| character.is_ascii_digit())
        })
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn blocks() -> Vec<Block> {
    let text = fs::read_to_string(root().join("README.md")).unwrap();
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    let mut before = "";
    for line in text.lines() {
        match &mut open {
            None if line == "```console" => {
                open = Some(Block {
                    is_of_the_tour: before == TOUR,
                    ..Block::default()
                });
            }
            Some(_) if line == "```" => blocks.extend(open.take()),
            Some(block) => block.add(line),
            None => {}
        }
        before = line;
    }
    assert!(open.is_none(), "a block is not closed");
    blocks
}

#[tokio::test]
async fn the_tour_works_as_it_is_written() {
    let enable = "apt-get install openssl";
    if !can_run(
        "the_tour_works_as_it_is_written",
        has_tool("openssl"),
        enable,
    ) {
        return;
    }
    let tour: Vec<Block> = blocks().into_iter().filter(|b| b.is_of_the_tour).collect();
    let commands: Vec<&str> = tour
        .iter()
        .flat_map(|b| &b.commands)
        .map(|c| &**c)
        .collect();
    assert!(commands.len() > 10, "{commands:?}");

    let agent = Setup::new().start().await;
    let directory = agent.setup().directory();
    symlink(symbolon(), directory.join("symbolon")).unwrap();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = [directory.to_owned()]
        .into_iter()
        .chain(std::env::split_paths(&path));
    let mut shell = agent.command(Path::new("bash"));
    shell
        .args(["-c", &format!("set -euo pipefail\n{}", commands.join("\n"))])
        .env("PATH", std::env::join_paths(directories).unwrap());
    let output = Output::from(within("the tour", shell.output()).await.unwrap());
    assert_eq!(output.code, Some(0), "{output:?}");

    let text = output.text();
    let came: Vec<&str> = text.lines().map(str::trim_end).collect();
    for line in tour.iter().flat_map(Block::fixed_lines) {
        assert!(
            came.contains(&line.trim_end()),
            "{line:?} did not come: {text}"
        );
    }
}

#[test]
fn every_other_command_exists() {
    for command in blocks()
        .iter()
        .filter(|b| !b.is_of_the_tour)
        .flat_map(|b| &b.commands)
    {
        let words: Vec<&str> = command.split_whitespace().collect();
        match words.as_slice() {
            ["export", _] => {}
            ["symbolon", arguments @ ..] | ["cargo", "run", "--release", "--", arguments @ ..] => {
                assert_parsed(arguments);
            }
            [script] if script.contains('/') => {
                let mode = fs::metadata(root().join(script))
                    .unwrap()
                    .permissions()
                    .mode();
                assert_eq!(mode & 0o111, 0o111, "{script}");
            }
            _ => panic!("this test does not know the command {command:?}"),
        }
    }
}

/// Help is given once everything before it was understood.
fn assert_parsed(arguments: &[&str]) {
    let help = Command::new(symbolon())
        .args(arguments)
        .arg("--help")
        .output()
        .unwrap();
    assert!(help.status.success(), "{arguments:?}: {help:?}");
}
