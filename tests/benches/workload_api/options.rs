//! What of the benchmark runs, and how large.

use std::str::FromStr;

const USAGE: &str = "\
cargo bench -p symbolon-tests -- [--only PART[,PART...]] [--samples N] [--streams N[,N...]] [--registrations N[,N...]] [--records N]

parts: calls, attestation, flood, streams, registrations, audit, spire";

/// A part of the benchmark.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Part {
    /// What a call takes.
    Calls,
    /// What the proofs and the attestors add.
    Attestation,
    /// What others notice of a user who calls as fast as he can.
    Flood,
    /// Memory of open streams, and how fast a suspension reaches them.
    Streams,
    /// Start and memory with many registrations.
    Registrations,
    /// Verification of a large trail, and the way back from a credential.
    Audit,
    /// The rows of SPIRE's figures, with the same client library.
    Spire,
}

impl FromStr for Part {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "calls" => Ok(Self::Calls),
            "attestation" => Ok(Self::Attestation),
            "flood" => Ok(Self::Flood),
            "streams" => Ok(Self::Streams),
            "registrations" => Ok(Self::Registrations),
            "audit" => Ok(Self::Audit),
            "spire" => Ok(Self::Spire),
            _ => Err(format!("no such part: {name}")),
        }
    }
}

/// The choice, by default everything.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) parts: Vec<Part>,
    /// Processes, each of which is a sample of a first call; other calls are measured ten times as often.
    pub(crate) samples: usize,
    pub(crate) streams: Vec<usize>,
    pub(crate) registrations: Vec<usize>,
    /// Records of the trail that is read.
    pub(crate) records: u64,
}

impl Options {
    /// Reads the arguments of `cargo bench`; a message where they make no sense.
    pub(crate) fn read(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self {
            parts: vec![
                Part::Calls,
                Part::Attestation,
                Part::Flood,
                Part::Streams,
                Part::Registrations,
                Part::Audit,
                Part::Spire,
            ],
            samples: 300,
            streams: vec![1_000, 10_000],
            registrations: vec![10_000, 100_000],
            records: 1_000_000,
        };
        while let Some(argument) = arguments.next() {
            // Cargo's own.
            if argument == "--bench" {
                continue;
            }
            let value = arguments.next().ok_or(USAGE)?;
            match argument.as_str() {
                "--only" => options.parts = list(&value)?,
                "--samples" => options.samples = list(&value)?.remove(0),
                "--streams" => options.streams = list(&value)?,
                "--records" => options.records = list(&value)?.remove(0),
                "--registrations" => options.registrations = list(&value)?,
                _ => return Err(USAGE.to_owned()),
            }
        }
        Ok(options)
    }

    pub(crate) fn has(&self, part: Part) -> bool {
        self.parts.contains(&part)
    }
}

fn list<T: FromStr>(text: &str) -> Result<Vec<T>, String> {
    let items = text.split(',').map(str::parse);
    items
        .collect::<Result<_, _>>()
        .map_err(|_fault| format!("{text}: what is that?\n{USAGE}"))
}
