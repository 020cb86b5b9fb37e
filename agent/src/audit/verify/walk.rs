//! One chain, line by line: numbers, links and form.
//!
//! Knows what the line before was, and a few lines that stand where they should not, so
//! that a line that was moved is told from one that is gone and one that is new.

use super::{
    Finding, Place, Problem,
    form::is_canonical,
    record::{Announced, Expunged, Record},
    report::Report,
};
use crate::audit::{Chain, Digest, Line};
use std::ops::RangeInclusive;

/// Ranges of missing numbers, and lines in wrong places, that are remembered; with more
/// than that the words may be less exact, but nothing goes unseen.
const MAX_REMEMBERED: usize = 1024;

/// Where a checkpoint says that the chain ended: number and which checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) seq: u64,
    pub(super) digest: String,
    pub(super) checkpoint: usize,
}

/// A line that was read.
#[derive(Clone, Copy, Debug)]
struct Seen {
    segment: u32,
    line: u64,
    seq: u64,
    digest: Digest,
}

/// The walk along one chain.
#[derive(Debug)]
pub(super) struct Walk<'a> {
    chain: Chain,
    report: &'a mut Report,
    /// In the order of their numbers.
    marks: &'a [Mark],
    next_mark: usize,
    at: (u32, u64),
    start: Option<Seen>,
    start_prev: String,
    top: Option<Seen>,
    /// Came after `top` with a number that is not the next one; the line after it tells why.
    leap: Option<Seen>,
    /// Has the number of `top`; the line after both tells which is the right one.
    twin: Option<Seen>,
    /// Lines in places that are not theirs.
    strays: Vec<Seen>,
    missing: Vec<(RangeInclusive<u64>, Seen)>,
    /// Lines since `top` that are no records.
    broken: u64,
    pub(super) end: End,
}

/// What is known of the chain after the walk.
#[derive(Debug, Default)]
pub(super) struct End {
    pub(super) lines: u64,
    pub(super) first_seq: u64,
    pub(super) last_seq: u64,
    pub(super) last_time: String,
    pub(super) is_torn: bool,
    /// Of each mark that was reached: which checkpoint, and whether it fits.
    pub(super) reached: Vec<(usize, bool)>,
    pub(super) keys: Vec<Announced>,
    expunged: Vec<Expunged>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(chain: Chain, marks: &'a [Mark], report: &'a mut Report) -> Self {
        Self {
            chain,
            report,
            marks,
            next_mark: 0,
            at: (0, 0),
            start: None,
            start_prev: String::new(),
            top: None,
            leap: None,
            twin: None,
            strays: Vec::new(),
            missing: Vec::new(),
            broken: 0,
            end: End::default(),
        }
    }

    /// The next line as it stands.
    pub(super) fn line(&mut self, line: &Line<'_>, is_last_segment: bool) {
        if self.at.0 != line.segment.number {
            self.at = (line.segment.number, 0);
        }
        self.at.1 += 1;
        self.end.lines += 1;
        if !line.is_whole {
            self.end.lines -= 1;
            if is_last_segment {
                self.end.is_torn = true;
            } else {
                self.tell_here(Problem::Changed, None, "the segment ends within this line");
            }
            return;
        }
        let Some(record) = Record::of(line.bytes) else {
            self.broken += 1;
            self.tell_here(Problem::Changed, None, "it is no audit record");
            return;
        };
        let seq = Some(record.seq);
        if !is_canonical(line.bytes) {
            self.tell_here(Problem::Changed, seq, "it is not in canonical form");
        }
        if record.chain.as_deref().unwrap_or("trail") != self.chain.as_str() {
            self.tell_here(Problem::Inserted, seq, "it belongs to the other chain");
        }
        let seen = Seen {
            segment: self.at.0,
            line: self.at.1,
            seq: record.seq,
            digest: line.digest(),
        };
        record.time.clone_into(&mut self.end.last_time);
        self.note(&record);
        self.place(seen, record.prev);
    }

    /// The segment cannot be read on from here.
    pub(super) fn unreadable(&mut self, segment: u32, why: &str) {
        if self.at.0 != segment {
            self.at = (segment, 0);
        }
        self.at.1 += 1;
        self.broken += 1;
        self.tell_here(Problem::Unreadable, None, why);
    }

    /// What events about the trail itself say.
    fn note(&mut self, record: &Record<'_>) {
        match record.event.as_ref() {
            "expunged" => self.end.expunged.extend(record.expunged()),
            "rotated" => self.end.keys.extend(record.announced()),
            _ => {}
        }
    }

    fn place(&mut self, seen: Seen, prev: &str) {
        let Some(top) = self.top else {
            self.begin(seen, prev);
            return;
        };
        if let Some(leap) = self.leap.take() {
            self.judge_leap(top, leap, seen, prev);
            return;
        }
        if seen.seq == top.seq.saturating_add(1) {
            self.follow(top, seen, prev);
        } else if seen.seq <= top.seq {
            self.behind(top, seen);
        } else if let Some(stray) = self.stray_before(&seen, prev) {
            self.tell(
                Problem::Reordered,
                &stray,
                "it stands in another place than its own",
            );
            self.accept(seen);
        } else {
            self.leap = Some(seen);
        }
    }

    fn begin(&mut self, seen: Seen, prev: &str) {
        self.start = Some(seen);
        prev.clone_into(&mut self.start_prev);
        self.end.first_seq = seen.seq;
        self.accept(seen);
    }

    /// The number is the next one: the link has to fit as well.
    fn follow(&mut self, top: Seen, seen: Seen, prev: &str) {
        let twin = self.twin.take();
        if top.digest.is_hex(prev) {
            if let Some(twin) = twin {
                self.tell(
                    Problem::Inserted,
                    &twin,
                    "another line has this number, and fits",
                );
            }
        } else if twin.is_some_and(|twin| twin.digest.is_hex(prev)) {
            self.tell(
                Problem::Inserted,
                &top,
                "another line has this number, and fits",
            );
        } else {
            let what = format!(
                "it is not the line that the one after it (seq {}) was written after: one of both \
                 was changed",
                seen.seq
            );
            self.tell(Problem::Changed, &top, what);
        }
        self.accept(seen);
    }

    /// The number is one that was there before, or should have been.
    fn behind(&mut self, top: Seen, seen: Seen) {
        if self.find_missing(seen.seq) {
            let what = format!("it stands after the line with seq {}", top.seq);
            self.tell(Problem::Reordered, &seen, what);
        } else if seen.seq == top.seq && self.twin.is_none() {
            self.twin = Some(seen);
        } else if self.strays.iter().any(|stray| stray.digest == seen.digest) {
            self.tell(Problem::Inserted, &seen, "it stands in the trail twice");
        } else {
            self.tell(
                Problem::Inserted,
                &seen,
                "there is a line with this number before it",
            );
        }
    }

    /// After `top` came `leap` with too high a number, and then `seen`.
    fn judge_leap(&mut self, top: Seen, leap: Seen, seen: Seen, prev: &str) {
        let goes_on_from_top = seen.seq == top.seq.saturating_add(1) && top.digest.is_hex(prev);
        let goes_on_behind = seen.seq == top.seq.saturating_add(2) && !leap.digest.is_hex(prev);
        if goes_on_from_top {
            self.stray(leap);
            self.accept(seen);
        } else if goes_on_behind && self.broken == 0 {
            // It stands where the line after `top` belongs.
            self.stray(leap);
            self.miss(seen.seq - 1..=seen.seq - 1, leap);
            self.accept(seen);
        } else {
            self.close_gap(top, leap);
            self.place(seen, prev);
        }
    }

    /// The numbers between are missing, or those of lines that are no records.
    fn close_gap(&mut self, top: Seen, leap: Seen) {
        let missing = leap.seq - top.seq - 1;
        if missing > self.broken {
            self.miss(top.seq + 1..=leap.seq - 1, leap);
        }
        self.accept(leap);
    }

    fn miss(&mut self, range: RangeInclusive<u64>, before: Seen) {
        if self.missing.len() < MAX_REMEMBERED {
            self.missing.push((range, before));
        } else {
            self.tell_missing(&range, &before);
        }
    }

    fn stray(&mut self, stray: Seen) {
        if self.strays.len() < MAX_REMEMBERED {
            self.strays.push(stray);
        } else {
            self.tell(
                Problem::Reordered,
                &stray,
                "it stands in another place than its own",
            );
        }
    }

    /// The line that has to stand before this one, if it was seen in a wrong place.
    fn stray_before(&mut self, seen: &Seen, prev: &str) -> Option<Seen> {
        let fits =
            |stray: &Seen| stray.seq.checked_add(1) == Some(seen.seq) && stray.digest.is_hex(prev);
        let at = self.strays.iter().position(fits)?;
        Some(self.strays.swap_remove(at))
    }

    /// Takes the number from those that are missing.
    fn find_missing(&mut self, seq: u64) -> bool {
        let Some(at) = self
            .missing
            .iter()
            .position(|(range, _)| range.contains(&seq))
        else {
            return false;
        };
        let (range, before) = self.missing.swap_remove(at);
        for rest in [
            *range.start()..=seq.saturating_sub(1),
            seq.saturating_add(1)..=*range.end(),
        ] {
            if !rest.is_empty() && seq > 0 {
                self.miss(rest, before);
            }
        }
        true
    }

    fn accept(&mut self, seen: Seen) {
        if let Some(twin) = self.twin.take() {
            self.tell(
                Problem::Inserted,
                &twin,
                "there is a line with this number before it",
            );
        }
        self.broken = 0;
        self.top = Some(seen);
        while let Some(mark) = self.marks.get(self.next_mark) {
            if mark.seq > seen.seq {
                break;
            }
            if mark.seq == seen.seq {
                let fits = seen.digest.is_hex(&mark.digest);
                self.end.reached.push((mark.checkpoint, fits));
            }
            self.next_mark += 1;
        }
    }

    /// Everything was read: what is left over is told.
    pub(super) fn finish(mut self) -> End {
        if let (Some(top), Some(leap)) = (self.top, self.leap.take()) {
            self.close_gap(top, leap);
        }
        if let Some(top) = self.top {
            self.end.last_seq = top.seq;
            self.accept(top);
        }
        self.check_start();
        let missing = std::mem::take(&mut self.missing);
        let strays = std::mem::take(&mut self.strays);
        for stray in &strays {
            // Something else is missing where it stands.
            let is_in_its_place = missing.iter().any(|(_, before)| stray.at() == before.at());
            if is_in_its_place {
                self.tell(
                    Problem::Changed,
                    stray,
                    "this is not the number that it has to have",
                );
            } else {
                self.tell(Problem::Inserted, stray, "the chain fits without it");
            }
        }
        for (range, before) in &missing {
            let is_told = strays.iter().any(|stray| stray.at() == before.at());
            if !is_told {
                self.tell_missing(range, before);
            }
        }
        self.end
    }

    /// A chain that does not begin with its first line has to say why.
    fn check_start(&mut self) {
        let Some(start) = self.start else {
            return;
        };
        if start.seq <= 1 {
            if start.seq == 0 || !Digest::GENESIS.is_hex(&self.start_prev) {
                self.tell(
                    Problem::Changed,
                    &start,
                    "it is no first line: it has another before it",
                );
            }
            return;
        }
        let is_told = self.end.expunged.iter().any(|gone| {
            let follows = gone.last_seq.checked_add(1) == Some(start.seq);
            // Segments that were to go and are still there say nothing wrong.
            (gone.first_seq..=gone.last_seq).contains(&start.seq)
                || (follows && gone.last_digest == self.start_prev)
        });
        if !is_told {
            let what = format!(
                "the lines before it (up to seq {}) are missing, and nothing says that they were \
                 removed by their age or size",
                start.seq - 1
            );
            self.tell(Problem::Deleted, &start, what);
        }
    }

    fn tell_missing(&mut self, range: &RangeInclusive<u64>, before: &Seen) {
        let what = if range.start() == range.end() {
            format!(
                "the line with seq {} that belongs before it is missing",
                range.start()
            )
        } else {
            format!(
                "the lines with seq {} to {} that belong before it are missing",
                range.start(),
                range.end()
            )
        };
        self.tell(Problem::Deleted, before, what);
    }

    fn tell(&mut self, problem: Problem, seen: &Seen, what: impl Into<String>) {
        self.tell_at(problem, seen.at(), Some(seen.seq), what.into());
    }

    fn tell_here(&mut self, problem: Problem, seq: Option<u64>, what: &str) {
        self.tell_at(problem, self.at, seq, what.to_owned());
    }

    fn tell_at(&mut self, problem: Problem, at: (u32, u64), seq: Option<u64>, what: String) {
        self.report.add(Finding {
            problem,
            chain: Some(self.chain.as_str()),
            place: Some(Place {
                file: self.chain.file_name(at.0),
                line: at.1,
                seq,
            }),
            what,
        });
    }
}

impl Seen {
    const fn at(&self) -> (u32, u64) {
        (self.segment, self.line)
    }
}
