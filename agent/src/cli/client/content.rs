//! What a version says, field by field, and how two of them differ.

use super::view::ClientView;
use crate::cli::{failure::Failure, output::printable};
use serde::Serialize;
use serde_json::{Map, Value};
use symbolon_proto::admin::{Client, ClientSpec};

/// One field that differs.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Change {
    pub(super) field: &'static str,
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
    let value = |fields: &Map<String, Value>, field| fields.get(field).cloned().unwrap_or_default();
    let changes = ClientView::CONTENT.into_iter().map(|field| Change {
        field,
        before: value(&before, field),
        after: value(&after, field),
    });
    Ok(changes
        .filter(|change| change.before != change.after)
        .collect())
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
