//! The floors: what the hardware, the kernel and the cryptographic library take alone.

use crate::samples::Samples;
use aws_lc_rs::{
    digest::{SHA256, digest},
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _,
        ParsedPublicKey,
    },
};
use std::{
    fs::File,
    hint::black_box,
    io::{Read as _, Write as _},
    path::Path,
    time::Duration,
};

/// Bytes of an audit record.
const RECORD: [u8; 600] = [b'r'; 600];

/// Bytes that are signed.
const MESSAGE: [u8; 512] = [b'm'; 512];

const ROUNDS: usize = 2_000;

/// Medians of what nothing can be faster than.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Floors {
    /// Make a P-256 key and sign with another.
    pub(crate) key_and_signature: Duration,
    /// One P-256 signature.
    pub(crate) signature: Duration,
    /// One P-256 verification with a parsed key.
    pub(crate) verification: Duration,
    /// Hash this binary, which is in memory.
    pub(crate) digest: Duration,
    /// Append a record and wait for the disk.
    pub(crate) synced_append: Duration,
    /// Read what the kernel tells of a process.
    pub(crate) process_facts: Duration,
}

impl Floors {
    /// Measures them; files are written to `directory`.
    pub(crate) fn measure(program: &Path, directory: &Path) -> Self {
        Self {
            key_and_signature: key_and_signature(),
            signature: signature(),
            verification: verification(),
            digest: hash(program),
            synced_append: synced_append(directory),
            process_facts: process_facts(),
        }
    }
}

fn key() -> EcdsaKeyPair {
    EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key")
}

fn key_and_signature() -> Duration {
    let (authority, random) = (key(), SystemRandom::new());
    let work = || {
        black_box(key());
        black_box(authority.sign(&random, &MESSAGE).expect("a signature"));
    };
    Samples::of(ROUNDS, work).p50()
}

fn signature() -> Duration {
    let (authority, random) = (key(), SystemRandom::new());
    let work = || {
        black_box(authority.sign(&random, &MESSAGE).expect("a signature"));
    };
    Samples::of(ROUNDS, work).p50()
}

fn verification() -> Duration {
    let authority = key();
    let signature = authority
        .sign(&SystemRandom::new(), &MESSAGE)
        .expect("a signature");
    let public = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, authority.public_key().as_ref());
    let public = public.expect("a key");
    let work = || {
        public
            .verify_sig(&MESSAGE, signature.as_ref())
            .expect("it holds");
    };
    Samples::of(ROUNDS, work).p50()
}

fn hash(program: &Path) -> Duration {
    let content = std::fs::read(program).expect("this binary");
    let work = || {
        black_box(digest(&SHA256, &content));
    };
    Samples::of(50, work).p50()
}

fn synced_append(directory: &Path) -> Duration {
    let mut file = File::create(directory.join("appended")).expect("a file");
    let work = || {
        file.write_all(&RECORD).expect("written");
        file.sync_data().expect("synced");
    };
    Samples::of(300, work).p50()
}

/// Status, group membership, start time and executable: what identifies a process.
fn process_facts() -> Duration {
    let mut buffer = [0; 4096];
    let work = || {
        for name in ["stat", "status", "cgroup"] {
            let mut file = File::open(format!("/proc/self/{name}")).expect("it is there");
            black_box(file.read(&mut buffer).expect("read"));
        }
        let executable = File::open("/proc/self/exe").expect("this binary");
        black_box(executable.metadata().expect("its metadata"));
    };
    Samples::of(ROUNDS, work).p50()
}
