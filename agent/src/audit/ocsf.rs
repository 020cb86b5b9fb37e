//! Lines as events of the Open Cybersecurity Schema Framework (1.3).
//!
//! For collectors that know that schema and not ours. What has no field there stands in
//! `unmapped`, and `raw_data` has the line byte for byte, so that its digest can still be
//! taken. Activities that not every version of the schema has are `Other` (99) with our word.

use serde_json::{Map, Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// Identity & Access Management: Authentication.
const AUTHENTICATION: u32 = 3002;
/// Identity & Access Management: Entity Management.
const ENTITY_MANAGEMENT: u32 = 3004;
/// Application Activity: API Activity.
const API_ACTIVITY: u32 = 6003;

/// Class and activity of an event.
fn class_of(event: &str) -> (u32, u32, &str) {
    match event {
        "issued" | "renewed" => (AUTHENTICATION, 3, "Authentication Ticket"),
        "denied" => (AUTHENTICATION, 1, "Logon"),
        "withdrawn" => (AUTHENTICATION, 2, "Logoff"),
        "attested" | "delivered" | "validated" => (AUTHENTICATION, 99, event),
        "registered" => (ENTITY_MANAGEMENT, 1, "Create"),
        "updated" => (ENTITY_MANAGEMENT, 3, "Update"),
        "revoked" => (ENTITY_MANAGEMENT, 4, "Delete"),
        "suspended" | "resumed" | "proposed" | "approved" | "rejected" | "withdrawn_version"
        | "superseded" => (ENTITY_MANAGEMENT, 99, event),
        "read" => (API_ACTIVITY, 2, "Read"),
        _ => (API_ACTIVITY, 99, event),
    }
}

/// The event of a line; none where the line is no record.
#[must_use]
pub fn to_ocsf(line: &str) -> Option<Value> {
    let record: Map<String, Value> = serde_json::from_str(line).ok()?;
    let text = |name: &str| record.get(name).and_then(Value::as_str).unwrap_or_default();
    let event = text("event");
    let (class, activity, activity_name) = class_of(event);
    let at = OffsetDateTime::parse(text("time"), &Rfc3339).ok()?;
    let milliseconds = at.unix_timestamp() * 1000 + i64::from(at.millisecond());
    let failed =
        matches!(event, "denied" | "refused") || matches!(text("outcome"), "refused" | "failed");
    let chain = match text("chain") {
        "" => "trail",
        chain => chain,
    };
    let mut out = json!({
        "activity_id": activity,
        "activity_name": activity_name,
        "category_uid": class / 1000,
        "class_uid": class,
        "message": event,
        "metadata": {
            "log_name": chain,
            "product": { "name": "Symbolon", "vendor_name": "Symbolon" },
            "sequence": record.get("seq"),
            "uid": format!("{chain}:{}", record.get("seq").and_then(Value::as_u64).unwrap_or(0)),
            "version": "1.3.0",
        },
        "raw_data": line,
        "severity_id": if failed { 2 } else { 1 },
        "status_id": if failed { 2 } else { 1 },
        "time": milliseconds,
        "type_uid": u64::from(class) * 100 + u64::from(activity),
    });
    let fields = out.as_object_mut()?;
    if !text("reason").is_empty() {
        fields.insert("status_detail".to_owned(), text("reason").into());
    }
    fields.insert("actor".to_owned(), actor(&record));
    match class {
        AUTHENTICATION => {
            fields.insert("user".to_owned(), user(&record));
            fields.insert("is_remote".to_owned(), false.into());
        }
        ENTITY_MANAGEMENT => {
            let entity = json!({
                "name": text("client"),
                "type": "MCP client",
                "uid": text("spiffe_id"),
                "version": record.get("client_version").map(ToString::to_string),
            });
            fields.insert("entity".to_owned(), entity);
        }
        _ => {
            let operation = match text("operation") {
                "" => event,
                operation => operation,
            };
            fields.insert("api".to_owned(), json!({ "operation": operation }));
        }
    }
    fields.insert("unmapped".to_owned(), unmapped(&record));
    Some(out)
}

/// Who acted: an operator, or a process.
fn actor(record: &Map<String, Value>) -> Value {
    let mut actor = Map::new();
    if let Some(operator) = record.get("operator") {
        actor.insert("user".to_owned(), json!({ "name": operator }));
    }
    if let Some(process) = record.get("process") {
        let uid = process.get("uid").map(ToString::to_string);
        let process = json!({ "pid": process.get("pid"), "user": { "uid": uid } });
        actor.insert("process".to_owned(), process);
    }
    actor.into()
}

/// Whose identity it is.
fn user(record: &Map<String, Value>) -> Value {
    let field = |name: &str| record.get(name).and_then(Value::as_str);
    json!({
        "name": field("client").or_else(|| field("spiffe_id")).unwrap_or("unknown"),
        "uid": field("spiffe_id"),
    })
}

/// What the schema has no field for; the evidence is in the raw line.
fn unmapped(record: &Map<String, Value>) -> Value {
    let names = [
        "approvals",
        "attestation_id",
        "authority",
        "client_digest",
        "credential",
        "login",
        "owner",
        "summary",
    ];
    let found = |name: &&str| Some(((*name).to_owned(), record.get(*name)?.clone()));
    names.iter().filter_map(found).collect::<Map<_, _>>().into()
}

#[cfg(test)]
mod tests {
    use super::to_ocsf;
    use serde_json::Value;

    const GOLDEN: &str = include_str!("event/tests/golden.jsonl");

    #[test]
    fn every_event_has_a_class() {
        for line in GOLDEN.lines() {
            let record: Value = serde_json::from_str(line).unwrap();
            let event = to_ocsf(line).unwrap();
            for name in [
                "activity_id",
                "category_uid",
                "class_uid",
                "metadata",
                "severity_id",
                "time",
                "type_uid",
            ] {
                assert!(event.get(name).is_some(), "{line}: {name}");
            }
            let class = event["class_uid"].as_u64().unwrap();
            let activity = event["activity_id"].as_u64().unwrap();
            assert_eq!(event["type_uid"], class * 100 + activity);
            assert_eq!(event["raw_data"], line);
            let failed = ["denied", "refused"].contains(&record["event"].as_str().unwrap());
            assert!(!failed || event["status_id"] == 2);
            match class {
                3002 => assert!(event["user"]["name"].is_string()),
                3004 => assert_eq!(event["entity"]["name"], record["client"]),
                _ => assert!(event["api"]["operation"].is_string()),
            }
        }
        assert_eq!(to_ocsf("{}"), None);
    }

    #[test]
    fn times_are_milliseconds() {
        let event =
            to_ocsf(r#"{"event":"stopped","seq":1,"time":"2026-07-28T12:00:00.123Z"}"#).unwrap();
        assert_eq!(event["time"], 1_785_240_000_123_u64);
        assert_eq!(event["metadata"]["uid"], "trail:1");
    }
}
