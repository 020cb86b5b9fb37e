//! What a version says, field by field, and how two of them differ.

use super::view::ClientView;
use crate::cli::{failure::Failure, output::printable};
use serde::Serialize;
use serde_json::{Map, Value};
use std::{borrow::Cow, collections::BTreeSet};
use symbolon_proto::admin::{Client, ClientSpec};

/// One field that differs.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Change {
    pub(super) field: Cow<'static, str>,
    before: Value,
    after: Value,
}

/// The fields of a content, as clients show them; of none, none.
fn fields(spec: Option<&ClientSpec>) -> Result<Map<String, Value>, Failure> {
    let Some(spec) = spec else {
        return Ok(Map::new());
    };
    let client = Client {
        spec: Some(spec.clone()),
        ..Client::default()
    };
    let view = serde_json::to_value(ClientView::from(client)).map_err(anyhow::Error::from)?;
    match view {
        Value::Object(fields) => Ok(fields),
        _ => Ok(Map::new()),
    }
}

/// What of the content differs, in the order in which clients show it.
pub(super) fn changes(
    before: Option<&ClientSpec>,
    after: Option<&ClientSpec>,
) -> Result<Vec<Change>, Failure> {
    let (before, after) = (fields(before)?, fields(after)?);
    let mut changes = Vec::new();
    for field in ClientView::CONTENT {
        let (before, after) = (value(&before, field), value(&after, field));
        if field == "metadata" {
            changes.extend(members(&before, &after));
        } else {
            let field = field.into();
            changes.push(Change {
                field,
                before,
                after,
            });
        }
    }
    changes.retain(|change| change.before != change.after);
    Ok(changes)
}

fn value(fields: &Map<String, Value>, field: &str) -> Value {
    fields.get(field).cloned().unwrap_or_default()
}

/// Member by member: a document changes in few. What is empty is as what is not there.
fn members(before: &Value, after: &Value) -> Vec<Change> {
    let none = Map::new();
    let (before, after) = (before.as_object(), after.as_object());
    let (before, after) = (before.unwrap_or(&none), after.unwrap_or(&none));
    let names = before.keys().chain(after.keys());
    let names: BTreeSet<_> = names.filter(|name| *name != "other").collect();
    let other = |fields: &Map<String, Value>| {
        let other = fields.get("other").and_then(Value::as_object);
        other.cloned().unwrap_or_default()
    };
    let known = names.into_iter().map(|name| Change {
        field: format!("metadata.{name}").into(),
        before: some(value(before, name)),
        after: some(value(after, name)),
    });
    let (before, after) = (other(before), other(after));
    let names: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let unknown = names.into_iter().map(|name| Change {
        field: format!("metadata.other.{name}").into(),
        before: value(&before, name),
        after: value(&after, name),
    });
    known.chain(unknown).collect()
}

fn some(value: Value) -> Value {
    match value {
        Value::Array(items) if items.is_empty() => Value::Null,
        value => value,
    }
}

/// A line for each.
pub(super) fn lines(changes: &[Change]) -> String {
    changes.iter().map(|change| change.line() + "\n").collect()
}

impl Change {
    fn line(&self) -> String {
        let (before, after) = (plain(&self.before), plain(&self.after));
        printable(&format!("{}: {before} -> {after}", self.field))
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}
