//! A story from a folder: what to ask for, and the answers, in three rounds.

use super::{Story, Subject, Trace};
use crate::audit::{
    AuditError, Filter, Reader,
    query::{Found, Keep, Search, query},
};
use serde_json::Value;

/// Lines of one story, and of what leads to it; of more the newest are told.
pub const MAX_STORY_LINES: usize = 10_000;

/// A story, and whether it is all of it.
#[derive(Debug)]
pub struct Told {
    /// The story.
    pub story: Story,
    /// Whether it is longer: its oldest lines are left out.
    pub is_cut: bool,
}

/// Tells the story of `subject`; none where the trail has nothing about it, or where `is_wanted`
/// says false meanwhile. Each of the three rounds keeps at most `bytes` of lines. Reads the trail
/// three times: not for an async thread.
///
/// # Errors
/// Where the trail cannot be read.
pub fn tell(
    reader: &Reader,
    subject: Subject,
    bytes: usize,
    is_wanted: &dyn Fn() -> bool,
) -> Result<Option<Told>, AuditError> {
    let keep = Keep {
        lines: MAX_STORY_LINES,
        bytes,
    };
    let mut is_cut = false;
    let mut round = |filter: &Filter| -> Result<Option<Vec<Value>>, AuditError> {
        let search = Search {
            filter,
            keep: Some(keep),
            is_wanted,
        };
        let mut events = Vec::new();
        let found = query(reader, search, |line| {
            events.extend(serde_json::from_str::<Value>(line));
            true
        })?;
        is_cut |= found == Found::Newest || events.len() == MAX_STORY_LINES;
        Ok((found != Found::GivenUp).then_some(events))
    };
    let mut trace = Trace::of(subject);
    let Some(seeds) = round(&trace.first())?.filter(|seeds| !seeds.is_empty()) else {
        return Ok(None);
    };
    let Some(attested) = round(&trace.second(seeds))? else {
        return Ok(None);
    };
    let filter = trace.third(&attested);
    drop(attested);
    let Some(related) = round(&filter)? else {
        return Ok(None);
    };
    let story = trace.story(related);
    Ok(Some(Told { story, is_cut }))
}
