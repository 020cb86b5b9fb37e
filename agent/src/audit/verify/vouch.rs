//! The checkpoints: which are to be believed, and whether the chains fit them.

use super::{
    Finding, Place, Problem,
    report::Report,
    walk::{End, Mark},
};
use crate::{
    audit::{AuditError, Chain, Checkpoint, Digest},
    svid::PublicKey,
};
use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
};

/// Bytes of a file of checkpoints that are read, from its end: some 150,000.
const MAX_FILE_BYTES: u64 = 64 << 20;

/// Bytes of one checkpoint at most.
const MAX_LINE_BYTES: u64 = 4096;

/// Checkpoints from one or more files.
#[derive(Debug, Default)]
pub(super) struct Vouchers {
    checkpoints: Vec<Voucher>,
    files: Vec<PathBuf>,
    /// Digests of the lines: the second place has the same ones.
    known: HashSet<Digest>,
    pub(super) notes: Vec<String>,
}

#[derive(Debug)]
struct Voucher {
    checkpoint: Checkpoint,
    file: usize,
    line: u64,
    /// Lies beside the trail, where whoever changes that can change it.
    is_local: bool,
}

/// What the checkpoints vouch for.
#[derive(Debug, Default)]
pub(super) struct Vouched {
    /// Of each chain the last line that a checkpoint covers.
    pub(super) signed_seqs: [u64; 2],
    pub(super) fitting: u64,
    pub(super) unknown: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// No key that is trusted so far signed it.
    Unknown,
    Signed,
    Forged,
}

impl Vouchers {
    pub(super) const fn len(&self) -> usize {
        self.checkpoints.len()
    }

    /// Whether the file had checkpoints that another file has as well.
    pub(super) fn knows(&self, path: &Path) -> bool {
        self.files.iter().any(|known| known == path)
    }

    /// Reads a file; that one beside the trail is not there is no error.
    pub(super) fn read(&mut self, path: &Path, is_local: bool) -> Result<(), AuditError> {
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if is_local && error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(AuditError::io("open", path)(error)),
        };
        let length = file.metadata().map_or(0, |metadata| metadata.len());
        let skipped = length.saturating_sub(MAX_FILE_BYTES);
        if skipped > 0 {
            file.seek(SeekFrom::Start(skipped))
                .map_err(AuditError::io("read", path))?;
            self.notes.push(format!(
                "{}: the first {skipped} bytes were not read; the lines are counted from there",
                path.display()
            ));
        }
        let (mut lines, mut line) = (BufReader::new(file), Vec::new());
        let (mut number, mut spoilt) = (0, 0_u64);
        let mut is_known = false;
        loop {
            line.clear();
            let read = lines
                .by_ref()
                .take(MAX_LINE_BYTES)
                .read_until(b'\n', &mut line)
                .map_err(AuditError::io("read", path))?;
            if read == 0 {
                break;
            }
            number += 1;
            let text = line.strip_suffix(b"\n").unwrap_or(&line);
            let Some(checkpoint) = Checkpoint::parse(text) else {
                spoilt += u64::from(!(number == 1 && skipped > 0));
                continue;
            };
            is_known = true;
            if self.known.insert(Digest::of(text)) {
                let file = self.files.len();
                self.checkpoints.push(Voucher {
                    checkpoint,
                    file,
                    line: number,
                    is_local,
                });
            }
        }
        if spoilt > 0 {
            self.notes.push(format!(
                "{}: {spoilt} lines are no checkpoints; a crash can leave that behind",
                path.display()
            ));
        }
        if is_known || is_local {
            self.files.push(path.to_owned());
        }
        Ok(())
    }

    /// Where the checkpoints say that a chain ended, in the order of the numbers.
    pub(super) fn marks(&self, chain: Chain) -> Vec<Mark> {
        let mark = |(checkpoint, voucher): (usize, &Voucher)| {
            let head = voucher.checkpoint.head(chain);
            Mark {
                seq: head.seq,
                digest: head.digest.clone(),
                checkpoint,
            }
        };
        let mut marks: Vec<_> = self.checkpoints.iter().enumerate().map(mark).collect();
        marks.sort_by_key(|mark| mark.seq);
        marks
    }

    /// Which checkpoints are signed by whom is to be believed, and what they say.
    pub(super) fn judge(
        &self,
        key: Option<&PublicKey>,
        ends: &[End; 2],
        report: &mut Report,
    ) -> Vouched {
        if self.checkpoints.is_empty() {
            // An agent makes one for its first lines: without any, nobody vouches for them.
            if key.is_some() || ends.iter().any(|end| end.lines > 0) {
                let what = "there are no checkpoints: nothing of the trail is signed";
                report.add(finding(Problem::Checkpoint, None, None, what));
            }
            return Vouched::default();
        }
        let Some(key) = key else {
            let what = "there is no public key to verify the checkpoints with (--public-key)";
            report.add(finding(Problem::Checkpoint, None, None, what));
            return Vouched::default();
        };
        let fits = self.fits(ends);
        let verdicts = self.verdicts(key, ends, &fits);
        let mut vouched = Vouched::default();
        // A trail that begins with its first line announces each of its keys.
        let knows_all = ends.first().is_some_and(|end| end.first_seq <= 1);
        for ((voucher, verdict), fits) in self.checkpoints.iter().zip(&verdicts).zip(&fits) {
            let place = || Some(self.place(voucher));
            match verdict {
                Verdict::Signed => {
                    vouched.fitting += u64::from(fits.iter().all(|fits| *fits == Some(true)));
                    vouched.cover(voucher, fits);
                }
                Verdict::Forged => {
                    let what =
                        "the signature does not fit: it was changed, or the agent did not make it";
                    report.add(finding(Problem::Checkpoint, None, place(), what));
                }
                Verdict::Unknown if knows_all => {
                    let what = format!(
                        "it was signed with the key {}, which nothing that is trusted announces",
                        voucher.checkpoint.key_id
                    );
                    report.add(finding(Problem::Checkpoint, None, place(), what));
                }
                Verdict::Unknown => vouched.unknown += 1,
            }
        }
        if vouched.fitting == 0 && vouched.unknown > 0 {
            let what = "no checkpoint was signed with the given public key";
            report.add(finding(Problem::Checkpoint, None, None, what));
        }
        for (index, chain) in Chain::ALL.into_iter().enumerate() {
            let end = ends.get(index).map_or(0, |end| end.last_seq);
            self.tell_rewritten(chain, index, (&verdicts, &fits), report);
            self.tell_cut(chain, end, &verdicts, report);
        }
        vouched
    }

    /// Of each checkpoint and chain whether that has the line; none where it is not there.
    fn fits(&self, ends: &[End; 2]) -> Vec<[Option<bool>; 2]> {
        let mut fits: Vec<[Option<bool>; 2]> = self
            .checkpoints
            .iter()
            .map(|voucher| {
                // Before its first line every chain is the same.
                Chain::ALL.map(|chain| (voucher.checkpoint.head(chain).seq == 0).then_some(true))
            })
            .collect();
        for (index, end) in ends.iter().enumerate() {
            for (checkpoint, fit) in &end.reached {
                let found = fits
                    .get_mut(*checkpoint)
                    .and_then(|fits| fits.get_mut(index));
                if let Some(found) = found {
                    *found = Some(*fit);
                }
            }
        }
        fits
    }

    /// A trusted key's checkpoints make those keys trusted that lines announce which they cover.
    fn verdicts(
        &self,
        key: &PublicKey,
        ends: &[End; 2],
        fits: &[[Option<bool>; 2]],
    ) -> Vec<Verdict> {
        let mut verdicts = vec![Verdict::Unknown; self.checkpoints.len()];
        let mut trusted = HashMap::from([(key.thumbprint(), *key)]);
        let mut new = vec![key.thumbprint()];
        let mut covered = 0;
        while !new.is_empty() {
            let all = self.checkpoints.iter().zip(&mut verdicts).zip(fits);
            for ((voucher, verdict), fits) in all {
                let checkpoint = &voucher.checkpoint;
                let Some(key) = trusted.get(&checkpoint.key_id) else {
                    continue;
                };
                if *verdict != Verdict::Unknown {
                    continue;
                }
                *verdict = if checkpoint.is_signed_by(key) {
                    Verdict::Signed
                } else {
                    Verdict::Forged
                };
                if *verdict == Verdict::Signed && fits.first() == Some(&Some(true)) {
                    covered = covered.max(checkpoint.head(Chain::Trail).seq);
                }
            }
            new.clear();
            for announced in ends.iter().flat_map(|end| &end.keys) {
                let id = announced.key.thumbprint();
                if announced.seq <= covered && !trusted.contains_key(&id) {
                    trusted.insert(id.clone(), announced.key);
                    new.push(id);
                }
            }
        }
        verdicts
    }

    /// The line that was signed is another one now.
    fn tell_rewritten(
        &self,
        chain: Chain,
        index: usize,
        (verdicts, fits): (&[Verdict], &[[Option<bool>; 2]]),
        report: &mut Report,
    ) {
        let mut signed: Vec<_> = self
            .checkpoints
            .iter()
            .zip(verdicts)
            .zip(fits)
            .filter(|((_, verdict), _)| **verdict == Verdict::Signed)
            .filter_map(|((voucher, _), fits)| Some((voucher, (*fits.get(index)?)?)))
            .collect();
        signed.sort_by_key(|(voucher, _)| voucher.checkpoint.head(chain).seq);
        let mut good = 0;
        for (voucher, fits) in signed {
            let seq = voucher.checkpoint.head(chain).seq;
            if fits {
                good = seq;
                continue;
            }
            let what = format!(
                "the line with seq {seq} is not the one that was signed at {}: the chain was \
                 written anew after seq {good}, or this line was changed",
                voucher.checkpoint.time
            );
            let place = Some(self.place(voucher));
            report.add(finding(Problem::Rewritten, Some(chain), place, what));
            // What follows was written after it, and does not fit either.
            return;
        }
    }

    /// The chain is shorter than it was.
    fn tell_cut(&self, chain: Chain, end: u64, verdicts: &[Verdict], report: &mut Report) {
        let longest = |is_local: bool| {
            self.checkpoints
                .iter()
                .zip(verdicts)
                .filter(|(voucher, verdict)| {
                    voucher.is_local == is_local && **verdict == Verdict::Signed
                })
                .map(|(voucher, _)| voucher)
                .max_by_key(|voucher| voucher.checkpoint.head(chain).seq)
                .filter(|voucher| voucher.checkpoint.head(chain).seq > end)
        };
        let (problem, voucher) = match (longest(true), longest(false)) {
            (Some(local), _) => (Problem::Cut, local),
            (None, Some(other)) => (Problem::OlderCopy, other),
            (None, None) => return,
        };
        let seq = voucher.checkpoint.head(chain).seq;
        let why = if problem == Problem::Cut {
            "its end was cut off"
        } else {
            "an older copy was put back, or its end was cut off with the checkpoints that knew of it"
        };
        let what = format!(
            "the chain ends with seq {end}, and had {seq} lines at {}: {why}",
            voucher.checkpoint.time
        );
        report.add(finding(
            problem,
            Some(chain),
            Some(self.place(voucher)),
            what,
        ));
    }

    fn place(&self, voucher: &Voucher) -> Place {
        let file = self.files.get(voucher.file);
        Place {
            file: file
                .map(|path| path.display().to_string())
                .unwrap_or_default(),
            line: voucher.line,
            seq: None,
        }
    }
}

impl Vouched {
    fn cover(&mut self, voucher: &Voucher, fits: &[Option<bool>; 2]) {
        for ((signed, fits), chain) in self.signed_seqs.iter_mut().zip(fits).zip(Chain::ALL) {
            if *fits == Some(true) {
                *signed = (*signed).max(voucher.checkpoint.head(chain).seq);
            }
        }
    }
}

fn finding(
    problem: Problem,
    chain: Option<Chain>,
    place: Option<Place>,
    what: impl Into<String>,
) -> Finding {
    Finding {
        problem,
        chain: chain.map(Chain::as_str),
        place,
        what: what.into(),
    }
}
