//! What others rely on: parsing, examples, field names.

use crate::cli::Cli;
use clap::{Command, CommandFactory as _, Parser as _};
use serde_json::Value;
use std::{fs, path::Path};

#[test]
fn the_arguments_are_consistent() {
    Cli::command().debug_assert();
}

/// The forms that scripts rely on.
const FORMS: &[&str] = &[
    "agent --config F --trust-domain TD --data-dir D --workload-socket P --admin-socket P --check",
    "client register N --owner O --purpose T --selector unix:uid:1 --selector unix:gid:1 --spiffe-id I \
     --audience A --audience B --max-audiences 2 --x509-ttl 1h --jwt-ttl 5m --hint H --dns-name N \
     --expires-at 2027-01-01T00:00:00Z --from-pid 1",
    "client list",
    "client register N --owner O --selector unix:uid:1 --accept-weak R",
    "client lint",
    "client lint N",
    "client lint --document F --client-id U --allow-redirect-origin O",
    "client show N",
    "client show N --live",
    "client show N --document",
    "client register N --owner O --selector S --metadata F --hosting external --jwks F --on-drift alert \
     --allow-redirect-origin O --authorization-server U --federates-with TD",
    "client update N --clear metadata --clear authorization-servers --clear federates-with \
     --clear allowed-redirect-origins",
    "client owners",
    "client stale",
    "client stale --unused-for 30d --ends-within 7d --owner O",
    "client update N --audience A",
    "client suspend N --reason R",
    "client suspend --owner O --reason R",
    "client revoke --selector S --reason R",
    "client pending",
    "client approve N --version 1 --digest D",
    "client approve N --resumption 1 --digest D --reason R",
    "client reject N --version 1 --digest D --reason R",
    "client withdraw N --version 1 --digest D",
    "client diff N",
    "client diff N --from 1 --to 2",
    "client history N",
    "client rollback N --to 1 --reason R",
    "client resume N",
    "client revoke N --reason R",
    "client replace-key N --reason R",
    "client apply -f P --dry-run --reason R",
    "client apply -f P --source S --prune=revoke --yes",
    "client export N M --format toml",
    "client export --owner O --source S --format json",
    "svid x509 --write D --watch",
    "svid jwt --audience A --spiffe-id I",
    "svid wit",
    "jwt validate --audience A T",
    "federation add TD --url U --profile https_web --reason R",
    "federation add TD --url U --profile https_spiffe --endpoint-spiffe-id I --bundle F --replace --reason R",
    "federation list",
    "federation show TD",
    "federation remove TD --reason R",
    "federation approve TD --digest D",
    "federation reject TD --digest D --reason R",
    "federation withdraw TD --digest D --reason R",
    "token --header --dpop --scope S --resource R --authorization-server I --spiffe-id I --ca-file F https://R",
    "bundle show --format spiffe",
    "bundle show --format jwks",
    "bundle show --format pem",
    "attest --pid 1 --client N",
    "audit tail",
    "audit key --data-dir D",
    "audit tail --client N --event denied",
    "audit query --client N --owner O --spiffe-id I --serial 0A:1B --jti J --key-thumbprint ab \
     --attestation-id ab --pid 1 --at 2027-01-01 --uid 1 --event issued --outcome accepted \
     --since 2h --until 2027-01-01 --limit 5 --data-dir D",
    "audit trace --serial 0a",
    "audit trace --jti J",
    "audit trace --pid 1 --at 2027-01-01T00:00:00Z",
    "audit trace --client N",
    "audit export --format jsonl",
    "audit export --format ocsf",
    "audit verify --data-dir D --public-key F --checkpoint F",
    "backup F --force",
    "restore F --data-dir D --allow-older",
    "restore F --dry-run",
    "registry verify --data-dir D",
    "registry verify --backup F",
    "health",
    "whoami",
    "demo --keep",
];

#[test]
fn the_documented_forms_parse() {
    for form in FORMS {
        for more in ["", " -o json"] {
            let arguments = format!("symbolon {form}{more}");
            Cli::try_parse_from(arguments.split_whitespace()).unwrap();
        }
    }
}

#[test]
fn every_example_in_the_help_texts_parses() {
    let mut count = 0;
    each_command(&Cli::command(), &mut |command| {
        let Some(help) = command.get_after_long_help() else {
            return;
        };
        let help = help.to_string().replace("\\\n", " ");
        for line in help.lines().filter_map(|line| line.split_once("symbolon ")) {
            let words = words(line.1);
            Cli::try_parse_from(["symbolon".to_owned()].into_iter().chain(words)).unwrap();
            count += 1;
        }
    });
    assert!(count > 20, "{count}");
}

fn each_command(command: &Command, visit: &mut impl FnMut(&Command)) {
    visit(command);
    for sub in command.get_subcommands() {
        each_command(sub, visit);
    }
}

/// The words of a shell command up to a pipe or redirection; expansions become `1`.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word) = (Vec::new(), String::new());
    let (mut quote, mut depth) = (None, 0_u32);
    for c in line.chars() {
        match (c, quote) {
            ('(', _) if word.ends_with('$') => {
                word = word.replace('$', "1");
                depth += 1;
            }
            (')', _) if depth == 0 => break,
            (')', _) => depth -= 1,
            _ if depth > 0 => {}
            ('\'' | '"', None) => quote = Some(c),
            (c, Some(open)) if c == open => quote = None,
            ('|' | '>', None) => break,
            (' ', None) => words.push(std::mem::take(&mut word)),
            _ => word.push(c),
        }
    }
    words.push(word.replace("$$", "1"));
    words.retain(|word| !word.is_empty());
    words
}

#[test]
fn every_field_of_the_golden_files_is_documented() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let document = fs::read_to_string(root.join("doc/cli.md")).unwrap();
    let mut files = 0;
    for entry in fs::read_dir(root.join("src/cli/tests/golden")).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            let golden: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
            each_field(&golden, &mut |field| {
                let listed = document.contains(&format!("| `{field}` |"));
                assert!(
                    listed,
                    "{} of {} is not in doc/cli.md",
                    field,
                    path.display()
                );
            });
            files += 1;
        }
    }
    assert!(files > 8, "{files}");
}

/// The names of objects, but not those that are data: claims, evidence, trust domains, keys.
fn each_field(value: &Value, visit: &mut impl FnMut(&str)) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| each_field(item, visit)),
        Value::Object(fields) => {
            for (name, value) in fields {
                visit(name);
                let data = ["claims", "evidence", "federated_bundles", "private_jwk"];
                if !data.contains(&name.as_str()) {
                    each_field(value, visit);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
