//! A story from a folder: what to ask for, and the answers, in four rounds.
//!
//! Each class of lines has room of its own, and the newest of it are kept: validations, refusals
//! and what one process causes otherwise cannot displace who registered a client.

use super::{LeftOut, Story, Subject, Trace, is_foreign, is_validation, jti};
use crate::audit::{
    AuditError, Filter, Reader,
    query::{Class, Keep, Newest, Search, scan},
};
use serde_json::Value;
use std::collections::HashMap;

/// Lines of one story; of more the newest of each class are told.
pub const MAX_STORY_LINES: usize = 10_000;

/// The classes, and the tenths of the room that each has.
const SHARES: [(Class, usize); 5] = [
    (Class::Attestation, 2),
    (Class::Change, 2),
    (Class::Credential, 4),
    (Class::Refusal, 1),
    (Class::Validation, 1),
];

/// A story, and whether it is all of it.
#[derive(Debug)]
pub struct Told {
    /// The story.
    pub story: Story,
    /// Whether it is longer: its oldest lines are left out.
    pub is_cut: bool,
}

/// Tells the story of `subject`; none where the trail has nothing about it, or where `is_wanted`
/// says false meanwhile. Each of the four rounds keeps at most `bytes` of lines. Reads both chains
/// four times: not for an async thread.
///
/// # Errors
/// Where the trail cannot be read.
pub fn tell(
    reader: &Reader,
    subject: Subject,
    bytes: usize,
    is_wanted: &dyn Fn() -> bool,
) -> Result<Option<Told>, AuditError> {
    let mut rounds = Rounds {
        reader,
        bytes,
        is_wanted,
        left_out: LeftOut::default(),
        validations: HashMap::new(),
    };
    let mut trace = Trace::of(subject);
    let Some(seeds) = rounds
        .round(&trace.first())?
        .filter(|seeds| !seeds.is_empty())
    else {
        return Ok(None);
    };
    // The last round asks for all of them.
    rounds.left_out.validations = 0;
    let Some(attested) = rounds.round(&trace.second(seeds))? else {
        return Ok(None);
    };
    let filter = trace.third(&attested);
    drop(attested);
    let Some(related) = rounds.round(&filter)? else {
        return Ok(None);
    };
    let Some(validations) = rounds.validations(&trace.fourth(related))? else {
        return Ok(None);
    };
    let answered = validations.len();
    let mut story = trace.story(validations, &rounds.validations);
    // Those of foreign tokens are told too where only the first answer has them.
    let told = story.events.iter().filter(|event| is_validation(event));
    let from_seeds = told.count().saturating_sub(answered);
    let from_seeds = u64::try_from(from_seeds).unwrap_or(u64::MAX);
    story.left_out = rounds.left_out;
    story.left_out.validations = story.left_out.validations.saturating_sub(from_seeds);
    let is_cut = !story.left_out.is_nothing();
    Ok(Some(Told { story, is_cut }))
}

/// What the rounds have in common.
struct Rounds<'a> {
    reader: &'a Reader,
    bytes: usize,
    is_wanted: &'a dyn Fn() -> bool,
    left_out: LeftOut,
    /// Of each credential, kept or not.
    validations: HashMap<String, u64>,
}

impl Rounds<'_> {
    /// The lines of both chains; none where nobody waits for them any more.
    fn round(&mut self, filter: &Filter) -> Result<Option<Vec<Value>>, AuditError> {
        let search = Search {
            is_wanted: self.is_wanted,
            ..Search::all(filter)
        };
        self.read(search, |_line| {})
    }

    /// The validations, and how many of them each credential that the agent issued has.
    fn validations(&mut self, filter: &Filter) -> Result<Option<Vec<Value>>, AuditError> {
        let search = Search {
            is_wanted: self.is_wanted,
            ..Search::all(filter)
        };
        let mut counts = HashMap::new();
        let lines = self.read(search, |line| {
            let line: Option<Value> = serde_json::from_str(line).ok();
            let is_own = |line: &Value| is_validation(line) && !is_foreign(line);
            if let Some(line) = line.filter(is_own) {
                *counts.entry(jti(&line).to_owned()).or_default() += 1;
            }
        });
        self.validations = counts;
        lines
    }

    fn read(
        &mut self,
        search: Search<'_>,
        mut count: impl FnMut(&str),
    ) -> Result<Option<Vec<Value>>, AuditError> {
        let mut shelves = SHARES.map(|(class, share)| {
            let keep = Keep {
                lines: MAX_STORY_LINES / 10 * share,
                bytes: self.bytes / 10 * share,
            };
            (class, keep, Newest::default())
        });
        let is_whole = scan(self.reader, search, |line, class| {
            count(line);
            let shelf = shelves.iter_mut().find(|(of, ..)| *of == class);
            if let Some((_, keep, newest)) = shelf {
                newest.push(line, *keep);
            }
            true
        })?;
        let mut events = Vec::new();
        for (class, _, newest) in &shelves {
            self.left_out.note(*class, newest.left_out);
            let lines = newest.lines.iter();
            events.extend(lines.flat_map(|line| serde_json::from_str::<Value>(line)));
        }
        Ok(is_whole.then_some(events))
    }
}
