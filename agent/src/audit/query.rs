//! Finding lines: by client, credential, process, time.
//!
//! Reads every line of both chains in the order of their times and keeps what fits a
//! [`Filter`]. There is no index: the trail is evidence and nothing stands beside it that
//! could say otherwise; a million lines take seconds. Memory is bounded by the longest
//! line, by [`Keep::bytes`] of what is kept, and by the number of clients where one asks for
//! an owner. It blocks: not for an async thread. Lines that are no records are passed
//! over; [`super::verify()`] tells them.

mod fields;
mod filter;
#[cfg(test)]
mod tests;

pub use filter::{Class, Filter, Judge, Related};

use super::{AuditError, Chain, Lines, Reader};
use fields::{Fields, start_time};
use std::{collections::VecDeque, fmt};

/// Processes with one number that are told apart.
const MAX_LIVES: usize = 10_000;

/// Attestations of one of them: one for each set of proofs, and most have one.
const MAX_ATTESTATIONS: usize = 1_000;

/// What is looked for, and how much of it.
#[derive(Clone, Copy)]
pub struct Search<'a> {
    /// Which lines.
    pub filter: &'a Filter,
    /// Only the newest of them; without, all.
    pub keep: Option<Keep>,
    /// Asked before each line: where it says false, the search is given up.
    pub is_wanted: &'a dyn Fn() -> bool,
}

/// How many of the newest lines are kept while others are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// At most so many.
    pub lines: usize,
    /// At most so many bytes of them.
    pub bytes: usize,
}

/// How a search ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Everything that was asked for was handed on.
    All,
    /// Older lines were left out: the newest alone have [`Keep::bytes`].
    Newest,
    /// It was given up.
    GivenUp,
}

impl<'a> Search<'a> {
    /// All lines that fit, whatever it takes.
    #[must_use]
    pub fn all(filter: &'a Filter) -> Self {
        Self {
            filter,
            keep: None,
            is_wanted: &|| true,
        }
    }
}

impl fmt::Debug for Search<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Search")
            .field("filter", &self.filter)
            .field("keep", &self.keep)
            .finish_non_exhaustive()
    }
}

/// Calls `each` with the lines that fit, oldest first: all of them, or those that are to be
/// kept. Gives up where `each` says false.
///
/// # Errors
/// Where the trail cannot be read.
pub fn query(
    reader: &Reader,
    search: Search<'_>,
    mut each: impl FnMut(&str) -> bool,
) -> Result<Found, AuditError> {
    let mut newest = Newest::default();
    let is_whole = scan(reader, search, |text, _class| match search.keep {
        Some(keep) => {
            newest.push(text, keep);
            true
        }
        None => each(text),
    })?;
    if !is_whole || !newest.lines.iter().all(|line| each(line)) {
        return Ok(Found::GivenUp);
    }
    let is_cut = |keep: Keep| newest.is_large && newest.lines.len() < keep.lines;
    Ok(match search.keep {
        Some(keep) if is_cut(keep) => Found::Newest,
        _ => Found::All,
    })
}

/// Calls `take` with each line that fits, oldest first, and with what it is; says whether all of
/// them were read. What is to be kept is for `take` to bound.
pub(super) fn scan(
    reader: &Reader,
    search: Search<'_>,
    mut take: impl FnMut(&str, Class) -> bool,
) -> Result<bool, AuditError> {
    let filter = search.filter;
    let mut judge = Judge::new(filter);
    if let (Some(pid), Some(at)) = (filter.pid, &filter.at) {
        judge.only_life(life_at(reader, (pid, at), search.is_wanted)?);
    }
    let mut lines = Merged::new(reader)?;
    while let Some(line) = lines.next_line()? {
        if !(search.is_wanted)() {
            return Ok(false);
        }
        let Ok(text) = std::str::from_utf8(line) else {
            continue;
        };
        if let Some(class) = judge.class(text)
            && !take(text, class)
        {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The last lines of those that were pushed.
#[derive(Debug, Default)]
pub(super) struct Newest {
    pub(super) lines: VecDeque<String>,
    bytes: usize,
    /// Whether some had to go for their bytes.
    is_large: bool,
    /// How many had to go.
    pub(super) left_out: u64,
}

impl Newest {
    pub(super) fn push(&mut self, line: &str, keep: Keep) {
        self.bytes += line.len();
        self.lines.push_back(line.to_owned());
        while self.lines.len() > keep.lines || self.bytes > keep.bytes {
            self.is_large |= self.lines.len() <= keep.lines;
            match self.lines.pop_front() {
                Some(oldest) => {
                    self.bytes -= oldest.len();
                    self.left_out += 1;
                }
                None => break,
            }
        }
    }
}

/// The lines of both chains in the order of their times; each chain keeps its own order.
#[derive(Debug)]
struct Merged {
    sources: [Source; 2],
    current: Vec<u8>,
}

#[derive(Debug)]
struct Source {
    lines: Lines,
    time: String,
    line: Vec<u8>,
    has_line: bool,
}

impl Merged {
    fn new(reader: &Reader) -> Result<Self, AuditError> {
        let mut sources = Chain::ALL.map(|chain| Source {
            lines: reader.lines(chain),
            time: String::new(),
            line: Vec::new(),
            has_line: false,
        });
        for source in &mut sources {
            source.advance()?;
        }
        Ok(Self {
            sources,
            current: Vec::new(),
        })
    }

    fn next_line(&mut self) -> Result<Option<&[u8]>, AuditError> {
        let [trail, callers] = &mut self.sources;
        let first = match (trail.has_line, callers.has_line) {
            (false, false) => return Ok(None),
            (true, false) => trail,
            (false, true) => callers,
            (true, true) if trail.time <= callers.time => trail,
            (true, true) => callers,
        };
        std::mem::swap(&mut self.current, &mut first.line);
        first.advance()?;
        Ok(Some(&self.current))
    }
}

impl Source {
    /// Goes to the next line that is a record.
    fn advance(&mut self) -> Result<(), AuditError> {
        self.has_line = false;
        while let Some(line) = self.lines.next_line()? {
            let Some(link) = line.link().filter(|_| line.is_whole) else {
                continue;
            };
            link.time.clone_into(&mut self.time);
            self.line.clear();
            self.line.extend_from_slice(line.bytes);
            self.has_line = true;
            return Ok(());
        }
        Ok(())
    }
}

/// A process that had a number for some time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Life {
    /// Ticks since boot.
    start: Option<u64>,
    /// When it was first attested.
    first: String,
    /// When another process was first attested under its number.
    end: Option<String>,
    attestations: Vec<String>,
}

/// The process that had this number at a time: the one that was attested last before
/// it or, if none was, first after it.
fn life_at(
    reader: &Reader,
    (pid, at): (u32, &str),
    is_wanted: &dyn Fn() -> bool,
) -> Result<Life, AuditError> {
    let lives = lives(reader, pid, is_wanted)?;
    let before = lives.iter().rposition(|life| life.first.as_str() <= at);
    Ok(lives
        .into_iter()
        .nth(before.unwrap_or(0))
        .unwrap_or_default())
}

fn lives(reader: &Reader, pid: u32, is_wanted: &dyn Fn() -> bool) -> Result<Vec<Life>, AuditError> {
    let mut lives: Vec<Life> = Vec::new();
    let mut lines = Merged::new(reader)?;
    while let Some(line) = lines.next_line()? {
        if !is_wanted() {
            break;
        }
        let Some(fields) = Fields::of(line) else {
            continue;
        };
        if fields.event != "attested" || fields.process.pid != Some(pid) {
            continue;
        }
        let start = start_time(line);
        let id = fields.attestation_id.into_owned();
        let time = fields.time.to_owned();
        if let Some(life) = lives.iter_mut().rfind(|life| life.start == start) {
            if life.attestations.len() < MAX_ATTESTATIONS {
                life.attestations.push(id);
            }
            continue;
        }
        if let Some(before) = lives.last_mut() {
            before.end = Some(time.clone());
        }
        if lives.len() == MAX_LIVES {
            lives.remove(0);
        }
        lives.push(Life {
            start,
            first: time,
            end: None,
            attestations: vec![id],
        });
    }
    Ok(lives)
}
