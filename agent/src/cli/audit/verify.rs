//! `symbolon audit verify`: whether the trail is the one that was written.

use super::{
    super::{
        console::Console,
        failure::{Exit, Failure},
        output::{Look, Table, View, count, printable},
    },
    place,
};
use crate::audit::{Finding, Verification, VerifyOptions, verify};
use clap::Args;
use serde::Serialize;
use std::path::PathBuf;

/// Verify the audit trail, without an agent
///
/// Reads all of both chains and holds every line against the one before it and against the
/// signed checkpoints: tells where a line was changed, deleted, inserted or moved, and whether
/// an end was cut off. An older copy of everything, put back, is found with checkpoints from
/// elsewhere (--checkpoint). Exit code 0: whole, 1: not.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples:
  symbolon audit verify
  symbolon audit verify --data-dir /mnt/copy --public-key checkpoint.pub --checkpoint /srv/far/checkpoints
  symbolon audit verify -o json | jq '.findings[]'")]
pub(super) struct VerifyArgs {
    /// The agent's data directory, or a copy of its audit folder
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The public key that `symbolon audit key` printed, from a place of your own
    #[arg(long, value_name = "FILE")]
    public_key: Option<PathBuf>,
    /// Checkpoints from elsewhere: the file that `audit.checkpoint_file` names, or one line of it
    #[arg(long = "checkpoint", value_name = "FILE")]
    checkpoints: Vec<PathBuf>,
}

impl VerifyArgs {
    pub(super) fn run(self, console: &mut Console) -> Result<(), Failure> {
        let dir = place::folder_or_own(self.data_dir.as_deref(), console)?;
        let options = VerifyOptions {
            public_key: self.public_key,
            checkpoints: self.checkpoints,
        };
        let verification = verify(&dir, &options).map_err(|error| place::failed(&error))?;
        let findings = u64::try_from(verification.findings.len()).unwrap_or(u64::MAX);
        let findings = findings.saturating_add(verification.more_findings);
        console.show(&VerificationView(verification))?;
        if findings == 0 {
            return Ok(());
        }
        let found = count(findings, "finding", "findings");
        Err(Failure::new(
            Exit::Failed,
            format!("the audit trail is not whole: {found}"),
        )
        .advise("Keep the folder as it is, as evidence."))
    }
}

/// What was found.
#[derive(Debug, Serialize)]
#[serde(transparent)]
struct VerificationView(Verification);

impl View for VerificationView {
    fn table(&self, look: &Look) -> String {
        let mut table = Table::new([
            "CHAIN",
            "SEGMENTS",
            "LINES",
            "FIRST",
            "LAST",
            "SIGNED UP TO",
            "RECORDED",
        ]);
        for chain in &self.0.chains {
            table.row([
                chain.chain.to_owned(),
                chain.segments.to_string(),
                chain.lines.to_string(),
                chain.first_seq.to_string(),
                chain.last_seq.to_string(),
                chain.signed_seq.to_string(),
                chain.last_time.clone(),
            ]);
        }
        let mut out = table.render(look.width);
        for finding in &self.0.findings {
            out.push_str(&line(finding));
        }
        if self.0.more_findings > 0 {
            out.push_str(&format!("and {} more\n", self.0.more_findings));
        }
        for note in &self.0.notes {
            out.push_str(&format!("note: {}\n", printable(note)));
        }
        if self.0.whole {
            let checkpoints = count(self.0.checkpoints, "checkpoint fits", "checkpoints fit");
            out.push_str(&format!("The trail is whole; {checkpoints}.\n"));
        }
        out
    }
}

/// `changed    00000001.jsonl:5 (seq 5): it is no audit record`
fn line(finding: &Finding) -> String {
    let place = match &finding.place {
        Some(place) => {
            let seq = place
                .seq
                .map_or_else(String::new, |seq| format!(" (seq {seq})"));
            format!("{}:{}{seq}: ", place.file, place.line)
        }
        None => String::new(),
    };
    let text = format!("{:<10}  {place}{}", finding.problem.as_str(), finding.what);
    printable(&text) + "\n"
}
