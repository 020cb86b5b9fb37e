mod operators;

use super::{Config, Faults, Notice, Overrides, Place, Problem, Sources, document, keys};
use proptest::prelude::*;
use std::{
    ffi::OsString,
    fs,
    os::unix::{ffi::OsStringExt as _, fs::PermissionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

const MINIMAL: &str = "trust_domain = \"example.org\"\n";

/// A directory with a configuration file.
struct Host {
    directory: tempfile::TempDir,
}

impl Host {
    fn new(text: impl AsRef<[u8]>) -> Self {
        let host = Self {
            directory: tempfile::tempdir().unwrap(),
        };
        fs::write(host.file(), text).unwrap();
        host
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("agent.toml")
    }

    fn sources(&self, environment: &[(&str, &str)]) -> Sources {
        let environment = environment.iter();
        Sources {
            file: Some(self.file()),
            environment: environment.map(|(n, v)| (n.into(), v.into())).collect(),
            ..Sources::default()
        }
    }

    fn load(&self, environment: &[(&str, &str)]) -> Result<Config, Faults> {
        Config::load(&self.sources(environment))
    }

    /// What is said of the file, one fault a line, without the directory.
    fn faults(&self) -> String {
        self.faults_with(&[])
    }

    fn faults_with(&self, environment: &[(&str, &str)]) -> String {
        let faults = self.load(environment).unwrap_err().to_string();
        faults.replace(self.directory.path().to_str().unwrap(), "")
    }
}

/// What is said of a file with this line, or these, below a good trust domain.
fn fault_of(line: &str) -> String {
    let minimal = if line.starts_with("trust_domain") {
        ""
    } else {
        MINIMAL
    };
    let text = [minimal, line].concat();
    let faults = Host::new(text).load(&[]).unwrap_err();
    let problems: Vec<String> = faults.iter().map(|f| f.problem.to_string()).collect();
    problems.join("\n")
}

#[test]
fn the_trust_domain_is_all_that_has_to_be_set() {
    let config = Host::new(MINIMAL).load(&[]).unwrap();
    assert_eq!(config.trust_domain.as_str(), "example.org");
    assert_eq!(config.data_dir, Path::new("/var/lib/symbolon"));
    let socket = Path::new("/run/symbolon/workload/workload.sock");
    assert_eq!(config.workload_api.socket, socket);
    assert_eq!(config.workload_api.wait_for_registration, Duration::ZERO);
    assert_eq!(config.telemetry.address, "127.0.0.1:9902".parse().ok());
    assert_eq!(config.svid.x509_ttl, Duration::from_secs(3600));
    assert_eq!(config.attestation.max_binary_bytes, 512 << 20);
    assert_eq!(config.authority.operator_ca, None);
    assert_eq!(config.limits.max_connections, 16_384);
    assert_eq!(config.notices(), []);
}

#[test]
fn flags_override_the_environment_which_overrides_the_file() {
    let host =
        Host::new("trust_domain = \"file.org\"\n[svid]\nx509_ttl = \"2h\"\njwt_ttl = \"1m\"\n");
    let mut sources = host.sources(&[
        ("SYMBOLON_TRUST_DOMAIN", "environment.org"),
        ("SYMBOLON_SVID_X509_TTL", "3h"),
        ("SYMBOLON_LIMITS_MAX_PROCESSES", "7"),
        ("SYMBOLON_WORKLOAD_API_REFLECTION", "false"),
        ("SYMBOLON_ADMIN_SOCKET", "/of/the/clients"),
    ]);
    sources.overrides.trust_domain = Some("flag.org".to_owned());
    sources.overrides.data_dir = Some(PathBuf::from("/flag/data"));
    let config = Config::load(&sources).unwrap();
    assert_eq!(config.trust_domain.as_str(), "flag.org");
    assert_eq!(config.data_dir, Path::new("/flag/data"));
    assert_eq!(config.svid.x509_ttl, Duration::from_secs(3 * 3600));
    assert_eq!(config.svid.jwt_ttl, Duration::from_secs(60));
    assert_eq!(config.limits.max_processes, 7);
    assert!(!config.workload_api.reflection);
    let place_of = |path: &str| {
        let mut effective = config.effective().iter();
        let entry = effective.find(|entry| entry.key.path() == path).unwrap();
        entry.place.clone()
    };
    assert_eq!(place_of("trust_domain"), Place::Flag("--trust-domain"));
    assert_eq!(
        place_of("svid.x509_ttl"),
        Place::Variable("SYMBOLON_SVID_X509_TTL".to_owned())
    );
    assert_eq!(place_of("svid.jwt_ttl"), Place::Line(host.file(), 4));
    assert_eq!(place_of("audit.durability"), Place::Default);
}

#[test]
fn relative_paths_of_flags_start_at_the_working_directory() {
    let host = Host::new(MINIMAL);
    let mut sources = host.sources(&[]);
    sources.overrides = Overrides {
        data_dir: Some(PathBuf::from("data")),
        admin_socket: Some(PathBuf::from("./a/admin.sock")),
        ..Overrides::default()
    };
    let config = Config::load(&sources).unwrap();
    let here = std::env::current_dir().unwrap();
    assert_eq!(config.data_dir, here.join("data"));
    assert_eq!(config.admin_api.socket, here.join("a/admin.sock"));
}

#[test]
fn every_fault_is_reported_at_once_with_its_place_and_what_to_write() {
    let host = Host::new(
        "data_dir = \"var\"\n\
         x509_ttl = \"1h\"\n\
         \n\
         [svid]\n\
         x509_tl = \"1h\"\n\
         jwt_ttl = 5\n\
         [limit]\n\
         [limits]\n\
         max_processes = -1\n\
         [authority]\n\
         key_file = \"/k\"\n\
         [telemetry]\n\
         address = \"0.0.0.0:9902\"\n",
    );
    assert_eq!(
        host.faults_with(&[
            ("SYMBOLON_AUDIT_DURABILTY", "sync"),
            ("SYMBOLON_LOG_LEVEL", "loud")
        ]),
        "/agent.toml:1: `data_dir` cannot be \"var\"; write an absolute path\n\
         /agent.toml:2: no key is named `x509_ttl`; write `svid.x509_ttl`\n\
         /agent.toml:5: no key is named `svid.x509_tl`; write `svid.x509_ttl`\n\
         /agent.toml:6: `svid.jwt_ttl` cannot be 5; write a duration such as \"30s\", \"5m\", \
         \"1h30m\" or \"90d\"\n\
         /agent.toml:7: no table is named `[limit]`; write `[limits]`\n\
         /agent.toml:9: `limits.max_processes` cannot be -1; write a whole number\n\
         /agent.toml:11: `authority.key_file` needs `authority.certificate_file` beside it; write \
         both or none\n\
         /agent.toml:13: `telemetry.address` is 0.0.0.0:9902, which is not a loopback address; \
         write \"127.0.0.1:9902\"\n\
         SYMBOLON_AUDIT_DURABILTY: no key has this variable; write `SYMBOLON_AUDIT_DURABILITY`\n\
         SYMBOLON_LOG_LEVEL: `log.level` cannot be \"loud\"; write \"off\", \"error\", \"warn\", \
         \"info\", \"debug\" or \"trace\"\n\
         configuration: `trust_domain` is missing and has no default; write `trust_domain = \
         \"example.org\"`, or set SYMBOLON_TRUST_DOMAIN"
    );
}

/// Lines, and what is said of each.
const REFUSED: &[(&str, &str)] = &[
    (
        "trust_domain = \"Example.org\"",
        "write a trust domain name",
    ),
    (
        "trust_domain = \"spiffe://example.org\"",
        "write a trust domain name",
    ),
    ("trust_domain = \"\"", "write a trust domain name"),
    ("svid = 5", "write `[svid]` and its keys below"),
    ("[[svid]]", "write `[svid]` and its keys below"),
    ("[svid]\nx509_ttl = \"1 hour\"", "write a duration"),
    ("[svid]\nx509_ttl = [\"1h\"]", "cannot be a list"),
    (
        "[svid]\nx509_ttl = 1.5",
        "cannot be a number with a fraction",
    ),
    ("[svid]\nx509_ttl = 2026-07-28", "cannot be a date"),
    ("[svid.x509_ttl]\nhours = 1", "cannot be a table"),
    ("[svid]\nkey_type = \"rsa-2048\"", "write \"ec-p256\""),
    (
        "[svid]\nx509_ttl = \"4m\"",
        "is \"4m\", which is less than `limits.min_x509_ttl`",
    ),
    (
        "[svid]\njwt_ttl = \"2h\"",
        "is \"2h\", which is more than `limits.max_jwt_ttl`",
    ),
    (
        "[limits]\nmin_jwt_ttl = \"10m\"",
        "less than `limits.min_jwt_ttl` (\"10m\")",
    ),
    (
        "[limits]\nmax_x509_ttl = \"31d\"",
        "write a value from \"1s\" to \"30d\"",
    ),
    (
        "[limits]\nmax_connections = 100",
        "more than `limits.max_connections` (100)",
    ),
    (
        "[limits]\nmax_streams_per_connection = 0",
        "write a value from 1 to 65536",
    ),
    ("[limits]\nmax_processes = \"9\"", "write a whole number"),
    (
        "[limits]\nmax_processes = 99999999999999999999999999",
        "write a whole number",
    ),
    ("[authority]\nx509_ca_ttl = \"30m\"", "write more than 30m"),
    (
        "[authority]\nkey_file = \"ca.pem\"",
        "write an absolute path",
    ),
    (
        "[attestation]\nmax_binary_size = \"512MB\"",
        "write a size such as \"512MiB\"",
    ),
    (
        "[attestation]\nreads_per_uid = 9",
        "more than `attestation.read_threads` (8)",
    ),
    (
        "[attestation]\nhash_remote_filesystems = \"no\"",
        "write true or false",
    ),
    (
        "[attestation]\nrequire = [\"pidfd\", \"holds\"]",
        "cannot be a list of pidfd,holds; write a list of \"pidfd\", \"held\", ",
    ),
    (
        "[attestation]\nrequire = \"pidfd\"",
        "write a list of \"pidfd\"",
    ),
    (
        "[attestation]\nrequire = [1]",
        "cannot be a list of other things than words",
    ),
    (
        "[attestation]\nanswer_timeout = \"0s\"",
        "write a value from",
    ),
    (
        "[registry]\napprovals_required = 6",
        "write a value from 0 to 5",
    ),
    (
        "[admin_api]\ngroup = \"\"",
        "give it a value or leave the line out",
    ),
    (
        "[telemetry]\naddress = \"9902\"",
        "write an address with a port",
    ),
    ("[runtime]\nworkers = 0", "write a value from 1 to 256"),
    (
        "[log]\nformat = \"xml\"",
        "write \"auto\", \"text\" or \"json\"",
    ),
    ("[shutdown]\ngrace = \"-1s\"", "write a duration"),
];

#[test]
fn less_proof_is_demanded_only_where_somebody_wrote_that_and_is_told_at_start() {
    let config = Host::new(MINIMAL).load(&[]).unwrap();
    let standard = config.attestation.require;
    assert!(standard.pidfd && standard.held_or_inheritable && standard.answered);
    assert!(!config.attestation.require_is_given);
    let line = "[attestation]\nrequire = [\"held\", \"pidfd\", \"answered\"]\n";
    let strict = Host::new([MINIMAL, line].concat()).load(&[]).unwrap();
    assert!(strict.attestation.require.held && strict.attestation.require_is_given);
    assert_eq!(strict.notices(), []);
    let variable = ("SYMBOLON_ATTESTATION_REQUIRE", "pidfd, answered");
    let weak = Host::new(MINIMAL).load(&[variable]).unwrap();
    let demanded = weak.attestation.require;
    assert!(demanded.pidfd && demanded.answered && !demanded.held_or_inheritable);
    assert_eq!(weak.notices().len(), 1);
    let none = [MINIMAL, "[attestation]\nrequire = []\n"].concat();
    let none = Host::new(none).load(&[]).unwrap();
    assert!(!none.attestation.require.pidfd);
}

#[test]
fn values_that_a_key_does_not_take_are_refused() {
    for (line, expected) in REFUSED {
        let fault = fault_of(line);
        assert!(fault.contains(expected), "{line}\n{fault}");
    }
}

#[test]
fn client_keys_live_for_four_leads_to_rotate_in_time() {
    let keys = |ttl: &str| {
        format!("[credentials_api]\nclient_key_lead = \"2d\"\nclient_key_ttl = \"{ttl}\"\n")
    };
    let fault = fault_of(&keys("191h"));
    assert!(
        fault.starts_with("`credentials_api.client_key_ttl` is 7d23h, "),
        "{fault}"
    );
    assert!(
        fault.ends_with("write four of those and a second, 8d1s, or more"),
        "{fault}"
    );
    let least = [MINIMAL, &keys("691201s")].concat();
    let config = Host::new(least).load(&[]).unwrap();
    assert_eq!(
        config.credentials_api.client_key_ttl,
        config.credentials_api.client_key_lead * 4 + Duration::from_secs(1)
    );
}

#[test]
fn integers_in_every_notation_are_the_same_number() {
    for number in [
        "4096",
        "4_096",
        "+4096",
        "0x1000",
        "0o10000",
        "0b1000000000000",
    ] {
        let text = format!("{MINIMAL}[limits]\nmax_processes = {number}\n");
        let config = Host::new(text).load(&[]).unwrap();
        assert_eq!(config.limits.max_processes, 4096, "{number}");
    }
}

#[test]
fn nothing_private_lies_in_the_directory_that_containers_mount() {
    for line in [
        "data_dir = \"/run/symbolon/workload\"",
        "data_dir = \"/run/symbolon/workload/data\"",
        "data_dir = \"/run/other/../symbolon/workload/data\"",
        "[admin_api]\nsocket = \"/run/symbolon/workload/admin.sock\"",
        "[workload_api]\nsocket = \"/run/symbolon/admin/../admin/./w.sock\"",
        "[workload_api]\nsocket = \"/w.sock\"",
        "[authority]\ncertificate_file = \"/c\"\nkey_file = \"/run/symbolon/workload/k\"",
    ] {
        let fault = fault_of(line);
        assert!(fault.contains("which containers mount"), "{line}\n{fault}");
    }
}

#[test]
fn a_socket_path_longer_than_the_kernel_takes_is_refused() {
    let socket = |length: usize| format!("[admin_api]\nsocket = \"/{}\"", "a".repeat(length - 1));
    let text = [MINIMAL, &socket(107)].concat();
    Host::new(text).load(&[]).unwrap();
    let fault = fault_of(&socket(108));
    assert!(
        fault.contains("108 bytes; a socket's path has 107 at most"),
        "{fault}"
    );
}

#[test]
fn what_is_no_toml_is_refused_without_guesses_about_the_rest() {
    let host = Host::new("trust_domain = example.org\n[svid]\nx509_ttl = \"1h\njwt_ttl = 5\n");
    let faults = host.faults();
    let lines: Vec<&str> = faults.lines().collect();
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with("/agent.toml:1: not TOML")),
        "{faults}"
    );
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with("/agent.toml:3: not TOML")),
        "{faults}"
    );
    assert!(
        lines.contains(
            &"/agent.toml:4: `svid.jwt_ttl` cannot be 5; write a duration such as \"30s\", \"5m\", \
          \"1h30m\" or \"90d\""
        ),
        "{faults}"
    );
    assert!(!faults.contains("missing"), "{faults}");
}

#[test]
fn a_key_that_comes_twice_is_refused() {
    let host = Host::new("trust_domain = \"a.org\"\ntrust_domain = \"b.org\"\n");
    assert!(
        host.faults()
            .starts_with("/agent.toml:2: not TOML: duplicate key")
    );
}

#[test]
fn a_file_that_was_named_has_to_be_there() {
    let host = Host::new(MINIMAL);
    let mut sources = host.sources(&[]);
    sources.file = Some(host.directory.path().join("absent.toml"));
    let faults = Config::load(&sources).unwrap_err();
    let problems: Vec<_> = faults.iter().map(|fault| &fault.problem).collect();
    assert!(matches!(problems[..], [Problem::Unreadable(_)]));
    sources.file = None;
    sources.environment = vec![("SYMBOLON_CONFIG".into(), host.file().into())];
    assert_eq!(Config::load(&sources).unwrap().file, Some(host.file()));
}

#[test]
fn an_ordinary_user_needs_no_file() {
    let home = tempfile::tempdir().unwrap();
    let sources = Sources {
        environment: vec![
            ("HOME".into(), home.path().into()),
            ("SYMBOLON_TRUST_DOMAIN".into(), "example.org".into()),
        ],
        uid: 1000,
        ..Sources::default()
    };
    let config = Config::load(&sources).unwrap();
    assert_eq!(config.file, None);
    assert_eq!(config.data_dir, home.path().join(".local/share/symbolon"));
}

#[test]
fn a_user_without_a_home_is_asked_for_every_path() {
    let sources = Sources {
        environment: vec![("SYMBOLON_TRUST_DOMAIN".into(), "example.org".into())],
        uid: 1000,
        ..Sources::default()
    };
    let faults = Config::load(&sources).unwrap_err().to_string();
    for key in ["`data_dir`", "`workload_api.socket`", "`admin_api.socket`"] {
        assert!(faults.contains(&format!("{key} is missing")), "{faults}");
    }
}

#[test]
fn only_a_readable_text_file_of_the_operators_is_read() {
    let host = Host::new(MINIMAL);
    fs::set_permissions(host.file(), fs::Permissions::from_mode(0o646)).unwrap();
    assert!(host.faults().contains("take that away with `chmod o-w`"));

    assert!(Host::new([0xff]).faults().contains("not UTF-8 text"));
    let large = Host::new(vec![b'#'; (1 << 20) + 1]);
    assert!(large.faults().contains("larger than 1048576 bytes"));

    let mut sources = host.sources(&[]);
    sources.file = Some(host.directory.path().to_owned());
    let faults = Config::load(&sources).unwrap_err().to_string();
    assert!(faults.ends_with("not a regular file"), "{faults}");
}

#[test]
fn variables_that_are_no_text_are_refused() {
    let host = Host::new(MINIMAL);
    let mut sources = host.sources(&[]);
    let value = OsString::from_vec(vec![b'/', 0xff]);
    sources.environment = vec![("SYMBOLON_DATA_DIR".into(), value)];
    let faults = Config::load(&sources).unwrap_err().to_string();
    assert_eq!(faults, "SYMBOLON_DATA_DIR: not UTF-8 text");
}

#[test]
fn differences_are_sorted_by_what_a_running_agent_can_take() {
    let old = Host::new(MINIMAL).load(&[]).unwrap();
    let text =
        "[log]\nlevel = \"debug\"\n[svid]\nx509_ttl = \"60m\"\n[admin_api]\ngroup = \"ops\"\n";
    let new = Host::new([MINIMAL, text].concat()).load(&[]).unwrap();
    let differences = Config::reload_differences(&old, &new);
    let said = |changes: &[super::Change]| {
        let lines: Vec<String> = changes.iter().map(ToString::to_string).collect();
        lines.join("\n")
    };
    assert_eq!(
        said(&differences.live),
        "log.level from \"info\" to \"debug\""
    );
    assert_eq!(
        said(&differences.restart),
        "admin_api.group from nothing to \"ops\""
    );
    assert_eq!(
        Config::reload_differences(&new, &new),
        super::ReloadDifferences::default()
    );
}

#[test]
fn what_weakens_the_defaults_is_noticed() {
    let text =
        "[limits]\nmin_x509_ttl = \"2s\"\nmax_jwt_ttl = \"1d\"\n[audit]\ndurability = \"write\"\n";
    let config = Host::new([MINIMAL, text].concat()).load(&[]).unwrap();
    let notices: Vec<String> = config.notices().iter().map(Notice::to_string).collect();
    assert_eq!(
        notices,
        [
            "limits.min_x509_ttl is 2s instead of 5m: SVIDs may be renewed very often",
            "limits.max_jwt_ttl is 24h instead of 1h: SVIDs may stay valid elsewhere for long after \
             their client was suspended",
            "audit.durability: a crash of the machine can lose the last audit records",
        ]
    );
}

#[test]
fn pin_that_is_forced_down_is_noticed_and_no_pidfd() {
    let forced = [MINIMAL, "[attestation]\nforce_fallback_pin = true\n"].concat();
    let config = Host::new(forced.clone()).load(&[]).unwrap();
    let notices: Vec<String> = config.notices().iter().map(Notice::to_string).collect();
    assert_eq!(notices.len(), 1);
    assert!(notices[0].starts_with("attestation.force_fallback_pin: "));
    let given = "require = [\"pidfd\", \"answered\"]\n";
    let faults = Host::new([&*forced, given].concat()).faults();
    assert!(
        faults.ends_with(
            "`attestation.require` is [\"pidfd\", \"answered\"], which is more than can be proved \
             with `attestation.force_fallback_pin` (true); change one of them"
        ),
        "{faults}"
    );
    let given = "require = [\"answered\"]\n";
    Host::new([&*forced, given].concat()).load(&[]).unwrap();
}

#[test]
fn every_key_has_one_name_and_is_read_once() {
    let config = Host::new(MINIMAL).load(&[]).unwrap();
    let mut read: Vec<String> = config.effective().iter().map(|e| e.key.path()).collect();
    let mut listed: Vec<String> = keys().map(super::Key::path).collect();
    read.sort();
    listed.sort();
    assert_eq!(read, listed);
    listed.dedup();
    assert_eq!(read.len(), listed.len());
}

proptest! {
    #[test]
    fn no_text_upsets_the_file_parser(text in "\\PC*", lines in prop::collection::vec(
        "(\\[[a-z_.]{0,12}\\]|[a-z_.]{1,12} = [\"'\\[{0-9a-z-]{0,9})", 0..6
    )) {
        for text in [text, lines.join("\n")] {
            let document = document::parse(Path::new("f"), &text);
            prop_assert_eq!(document.is_damaged, document.faults.iter().any(
                |fault| matches!(fault.problem, Problem::Syntax(_))
            ));
        }
    }
}
