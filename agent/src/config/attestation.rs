//! `[attestation]`: what reading facts about a process may cost, and what has to be
//! proved of a connection.

use super::{
    fault::Problem,
    key::Key,
    reader::Reader,
    setting::{ByteSize, Raw, Setting, SystemBus, one_of, quoted},
    units::MINUTE,
};
use std::{ops::RangeInclusive, path::PathBuf, time::Duration};
use symbolon_attestors::{RuntimeSocket, RuntimeSockets};

/// Workload attestation.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a setting of its own"
)]
pub struct Attestation {
    /// Largest executable that is hashed, in bytes.
    pub max_binary_bytes: u64,
    /// Whether executables on FUSE and network file systems are hashed.
    pub hash_remote_filesystems: bool,
    /// Whether processes that another one traces are attested.
    pub allow_traced_processes: bool,
    /// Whether callers are pinned as on a kernel that does not name them.
    pub force_fallback_pin: bool,
    /// Threads for reads that a caller can stall.
    pub read_threads: usize,
    /// How many of them one uid may hold.
    pub reads_per_uid: usize,
    /// What has to be proved of a connection.
    pub require: Requirements,
    /// Whether somebody wrote that down; otherwise it holds as far as the machine can prove it.
    pub require_is_given: bool,
    /// How long a caller has to answer the question on a new connection.
    pub answer_timeout: Duration,
    /// The system bus; `None` where systemd is not asked.
    pub systemd_bus: Option<PathBuf>,
    /// Docker's API, Podman's API and the container runtime interface.
    pub runtime_sockets: RuntimeSockets,
    /// How long one attestor may take that asks another program.
    pub attestor_timeout: Duration,
}

/// What can be demanded of a connection, in the words of the configuration.
const WORDS: [&str; 4] = ["pidfd", "held", "held-or-inheritable", "answered"];

/// What has to be proved of a connection before anything leaves on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a word of its own in the configuration"
)]
pub struct Requirements {
    /// The kernel named the very process that connected.
    pub pidfd: bool,
    /// Its end of the socket is held with close-on-exec.
    pub held: bool,
    /// Or without.
    pub held_or_inheritable: bool,
    /// It answered a PING, and every byte is its own.
    pub answered: bool,
}

impl Requirements {
    const STANDARD: Self = Self {
        pidfd: true,
        held: false,
        held_or_inheritable: true,
        answered: true,
    };

    /// Whether less is demanded than by default.
    pub(super) const fn is_weakened(self) -> bool {
        !(self.pidfd && (self.held || self.held_or_inheritable) && self.answered)
    }

    const fn chosen(&self) -> [bool; WORDS.len()] {
        [
            self.pidfd,
            self.held,
            self.held_or_inheritable,
            self.answered,
        ]
    }
}

impl Setting for Requirements {
    fn expected() -> String {
        format!("a list of {}", one_of(&WORDS).replace(" or ", " and "))
    }

    fn parse(raw: &Raw) -> Option<Self> {
        let given = raw.as_list()?;
        if !given.iter().all(|word| WORDS.contains(word)) {
            return None;
        }
        let [pidfd, held, held_or_inheritable, answered] = WORDS.map(|word| given.contains(&word));
        Some(Self {
            pidfd,
            held,
            held_or_inheritable,
            answered,
        })
    }

    fn render(&self) -> String {
        let chosen = WORDS.iter().zip(self.chosen());
        let chosen = chosen.filter(|(_, chosen)| *chosen);
        let words = chosen.map(|(word, _)| quoted(word));
        format!("[{}]", words.collect::<Vec<_>>().join(", "))
    }
}

/// Slow machines and runtimes that warm up take seconds; longer than this nobody is waited for.
const MOST_ANSWER: Duration = Duration::from_secs(MINUTE);

const MIB: u64 = 1 << 20;
/// Largest executable that may ever be hashed: half a minute at 2 GB/s.
const MOST_BINARY: ByteSize = ByteSize(64 * 1024 * MIB);
/// Most threads that wait for files.
const MOST_THREADS: usize = 256;

const MAX_BINARY_SIZE: Key = Key::new(
    "attestation",
    "max_binary_size",
    "Largest executable that is hashed; the digest of a larger one is unknown.",
);
pub(super) const HASH_REMOTE_FILESYSTEMS: Key = Key::new(
    "attestation",
    "hash_remote_filesystems",
    "Whether executables on FUSE and network file systems are hashed. Whoever serves such a file \
     can show the agent other bytes than the process runs.",
);
pub(super) const ALLOW_TRACED_PROCESSES: Key = Key::new(
    "attestation",
    "allow_traced_processes",
    "Whether processes under a debugger (ptrace) are attested. Whoever traces a process gets what it \
     gets.",
);
pub(super) const FORCE_FALLBACK_PIN: Key = Key::new(
    "attestation",
    "force_fallback_pin",
    "Whether callers are pinned by process ID and start time, as on a kernel that does not name them \
     (SO_PEERPIDFD, Linux 6.5), although this one does. Weaker, and for trying that out. \"pidfd\" cannot \
     be required with it.",
);
const READ_THREADS: Key = Key::new(
    "attestation",
    "read_threads",
    "Threads for reads that a caller can stall (its executable, its maps).",
);
const READS_PER_UID: Key = Key::new(
    "attestation",
    "reads_per_uid",
    "How many of these threads the processes of one uid may hold at a time.",
);

pub(super) const REQUIRE: Key = Key::new(
    "attestation",
    "require",
    "What has to be proved of a connection before anything leaves on it: \"pidfd\" (the kernel named \
     the process that connected), \"held\" (its end of the socket is among that process's descriptors, \
     with close-on-exec) or \"held-or-inheritable\" (or without), \"answered\" (it answered a PING, and \
     every byte is its own). The default holds as far as the kernel can prove it; what is written \
     here and cannot be proved keeps the agent from starting.",
);
const ANSWER_TIMEOUT: Key = Key::new(
    "attestation",
    "answer_timeout",
    "How long a caller has to answer the PING on a new connection.",
)
.live();
const SYSTEMD_BUS: Key = Key::new(
    "attestation",
    "systemd_bus",
    "Socket of the system bus, over which systemd is asked for a process's unit: \"auto\" \
     (/run/dbus/system_bus_socket), an absolute path, or \"off\".",
);
const DOCKER_SOCKET: Key = Key::new(
    "attestation",
    "docker_socket",
    "Socket of Docker's API, over which it is asked for a process's container: \"auto\" \
     (/run/docker.sock, where there is one), an absolute path, or \"off\". Has to belong to root.",
);
const PODMAN_SOCKET: Key = Key::new(
    "attestation",
    "podman_socket",
    "The same for Podman's API; \"auto\" is /run/podman/podman.sock.",
);
const CRI_SOCKET: Key = Key::new(
    "attestation",
    "cri_socket",
    "The same for the runtime that the kubelet uses; \"auto\" is /run/containerd/containerd.sock and \
     /run/crio/crio.sock.",
);
const ATTESTOR_TIMEOUT: Key = Key::new(
    "attestation",
    "attestor_timeout",
    "How long an attestor that asks another program may take; its selectors are unknown after it.",
);
/// Callers wait as long for their answer.
const TIMEOUTS: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(30);

pub(super) const KEYS: &[&Key] = &[
    &REQUIRE,
    &ANSWER_TIMEOUT,
    &MAX_BINARY_SIZE,
    &HASH_REMOTE_FILESYSTEMS,
    &ALLOW_TRACED_PROCESSES,
    &FORCE_FALLBACK_PIN,
    &READ_THREADS,
    &READS_PER_UID,
    &SYSTEMD_BUS,
    &DOCKER_SOCKET,
    &PODMAN_SOCKET,
    &CRI_SOCKET,
    &ATTESTOR_TIMEOUT,
];

pub(super) fn read(reader: &mut Reader<'_>) -> Attestation {
    let ByteSize(max_binary_bytes) = reader.within(
        &MAX_BINARY_SIZE,
        ByteSize(512 * MIB),
        ByteSize(MIB)..=MOST_BINARY,
    );
    let SystemBus(systemd_bus) = reader.value(&SYSTEMD_BUS, SystemBus::auto());
    let attestation = Attestation {
        require: reader.value(&REQUIRE, Requirements::STANDARD),
        require_is_given: reader.is_given(&REQUIRE),
        answer_timeout: reader.within(
            &ANSWER_TIMEOUT,
            Duration::from_secs(10),
            Duration::from_secs(1)..=MOST_ANSWER,
        ),
        max_binary_bytes,
        hash_remote_filesystems: reader.value(&HASH_REMOTE_FILESYSTEMS, false),
        allow_traced_processes: reader.value(&ALLOW_TRACED_PROCESSES, false),
        force_fallback_pin: reader.value(&FORCE_FALLBACK_PIN, false),
        read_threads: reader.within(&READ_THREADS, 8, 1..=MOST_THREADS),
        reads_per_uid: reader.within(&READS_PER_UID, 2, 1..=MOST_THREADS),
        systemd_bus,
        runtime_sockets: RuntimeSockets {
            docker: reader.value(&DOCKER_SOCKET, RuntimeSocket::Auto),
            podman: reader.value(&PODMAN_SOCKET, RuntimeSocket::Auto),
            cri: reader.value(&CRI_SOCKET, RuntimeSocket::Auto),
        },
        attestor_timeout: reader.within(&ATTESTOR_TIMEOUT, Duration::from_secs(2), TIMEOUTS),
    };
    if attestation.force_fallback_pin && attestation.require_is_given && attestation.require.pidfd {
        let problem = Problem::Conflict {
            key: REQUIRE.path(),
            found: attestation.require.render(),
            relation: "more than can be proved with",
            other: FORCE_FALLBACK_PIN.path(),
            bound: true.render(),
        };
        reader.refuse(&REQUIRE, problem);
    }
    reader.at_most(
        (&READS_PER_UID, attestation.reads_per_uid),
        (&READ_THREADS, attestation.read_threads),
    );
    attestation
}
