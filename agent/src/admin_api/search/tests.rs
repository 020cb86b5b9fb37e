use super::MAX_LIMIT;
use crate::{
    admin_api::tests::{api, registration, request, state_change},
    workloads::testing::Scene,
};
use futures_util::StreamExt as _;
use serde_json::Value;
use symbolon_proto::admin::{
    AuditFilter, ExportAuditRequest, GetAuditKeyRequest, QueryAuditRequest, TraceAuditRequest,
    admin_server::Admin as _,
};
use tonic::{Code, Status};

/// A trail in which two clients were registered, and one was suspended.
async fn scene() -> Scene {
    let scene = Scene::new().await;
    let api = api(&scene);
    for name in ["a", "b"] {
        let registered = api.register_client(request(&scene, registration(name)));
        registered.await.unwrap();
    }
    let suspended = api.suspend_client(request(&scene, state_change("a")));
    suspended.await.unwrap();
    scene
}

/// The lines that a query finds, and whether it is cut.
async fn query(scene: &Scene, query: QueryAuditRequest) -> Result<(Vec<String>, bool), Status> {
    let api = api(scene);
    let answer = api.query_audit(request(scene, query)).await?;
    let mut parts = answer.into_inner();
    let (mut lines, mut is_cut) = (Vec::new(), false);
    while let Some(part) = parts.next().await {
        let part = part?;
        lines.extend(part.lines.into_iter().filter(|line| !is_reading(line)));
        is_cut |= part.cut;
    }
    Ok((lines, is_cut))
}

/// Of the searches of the test itself.
fn is_reading(line: &str) -> bool {
    let line: Value = serde_json::from_str(line).unwrap();
    line["event"] == "read"
}

fn of(filter: AuditFilter) -> QueryAuditRequest {
    QueryAuditRequest {
        filter: Some(filter),
        limit: 0,
    }
}

fn events(lines: &[String]) -> Vec<String> {
    let event = |line: &String| {
        let line: Value = serde_json::from_str(line).unwrap();
        line["event"].as_str().unwrap().to_owned()
    };
    lines.iter().map(event).collect()
}

#[tokio::test]
async fn a_query_finds_the_lines_as_they_stand() {
    let scene = scene().await;
    let (all, is_cut) = query(&scene, QueryAuditRequest::default()).await.unwrap();
    assert_eq!(events(&all), ["registered", "registered", "suspended"]);
    assert!(!is_cut);
    let of_client = || AuditFilter {
        client: "a".to_owned(),
        ..AuditFilter::default()
    };
    let (of_a, _) = query(&scene, of(of_client())).await.unwrap();
    assert_eq!(of_a, [all[0].clone(), all[2].clone()]);
    // Of this client: the newest lines of all are of the searches before.
    let newest = QueryAuditRequest {
        limit: 1,
        ..of(of_client())
    };
    assert_eq!(query(&scene, newest).await.unwrap().0, all[2..]);
}

#[tokio::test]
async fn a_condition_that_makes_no_sense_is_refused() {
    let scene = scene().await;
    let filters = [
        AuditFilter {
            at: "2026-01-01T00:00:00Z".to_owned(),
            ..AuditFilter::default()
        },
        AuditFilter {
            since: "yesterday".to_owned(),
            ..AuditFilter::default()
        },
        AuditFilter {
            outcome: "perhaps".to_owned(),
            ..AuditFilter::default()
        },
        AuditFilter {
            owner: "a\nb".to_owned(),
            ..AuditFilter::default()
        },
        AuditFilter {
            client: "x".repeat(3_000),
            ..AuditFilter::default()
        },
    ];
    for filter in filters {
        let refused = query(&scene, of(filter.clone())).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{filter:?}");
    }
    let limit = QueryAuditRequest {
        limit: MAX_LIMIT + 1,
        ..QueryAuditRequest::default()
    };
    let refused = query(&scene, limit).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let times = AuditFilter {
        until: "2026-01-01T01:00:00+02:00".to_owned(),
        ..AuditFilter::default()
    };
    assert!(query(&scene, of(times)).await.unwrap().0.is_empty());
}

async fn export(scene: &Scene, format: &str) -> Result<Vec<String>, Status> {
    let asked = ExportAuditRequest {
        filter: None,
        format: format.to_owned(),
    };
    let api = api(scene);
    let answer = api.export_audit(request(scene, asked)).await?;
    let parts: Vec<_> = answer.into_inner().collect().await;
    let parts = parts.into_iter();
    Ok(parts.flat_map(|part| part.unwrap().lines).collect())
}

#[tokio::test]
async fn an_export_has_an_event_for_each_line() {
    let scene = scene().await;
    let lines = export(&scene, "jsonl").await.unwrap();
    let all = query(&scene, QueryAuditRequest::default()).await.unwrap().0;
    assert_eq!(lines, all);
    let events = export(&scene, "ocsf").await.unwrap();
    // The export and the query before have lines of their own.
    let (events, readings) = events.split_at(lines.len());
    let class = |event: &String| -> Value { serde_json::from_str(event).unwrap() };
    assert_eq!(readings.len(), 4);
    for reading in readings.iter().map(class) {
        assert_eq!(
            (&reading["message"], &reading["activity_name"]),
            (&"read".into(), &"Read".into())
        );
    }
    for (event, line) in events.iter().zip(&lines) {
        let event: Value = serde_json::from_str(event).unwrap();
        assert_eq!(event["raw_data"], **line);
    }
    assert_eq!(events.len(), lines.len());
    let refused = export(&scene, "xml").await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
}

/// The head of a story, and its lines.
async fn trace(scene: &Scene, asked: TraceAuditRequest) -> Result<(Value, Vec<String>), Status> {
    let api = api(scene);
    let answer = api.trace_audit(request(scene, asked)).await?;
    let (mut story, mut lines) = (Value::Null, Vec::new());
    let mut parts = answer.into_inner();
    while let Some(part) = parts.next().await {
        let part = part?;
        if !part.story.is_empty() {
            story = serde_json::from_str(&part.story).unwrap();
        }
        lines.extend(part.lines);
    }
    Ok((story, lines))
}

#[tokio::test]
async fn a_story_is_told_in_parts_and_is_whole() {
    let scene = scene().await;
    let of_client = |name: &str| TraceAuditRequest {
        client: name.to_owned(),
        ..TraceAuditRequest::default()
    };
    let (story, lines) = trace(&scene, of_client("a")).await.unwrap();
    assert_eq!(events(&lines), ["registered", "suspended"]);
    assert_eq!(story["clients"][0]["state"], "suspended");
    assert_eq!(story["events"], serde_json::json!([]));
    let all = query(&scene, QueryAuditRequest::default()).await.unwrap().0;
    assert!(lines.iter().all(|line| all.contains(line)));
    let nobody = trace(&scene, of_client("nobody")).await.unwrap_err();
    assert_eq!(nobody.code(), Code::NotFound);
    for wrong in [
        TraceAuditRequest::default(),
        TraceAuditRequest {
            serial: "0a".to_owned(),
            ..of_client("a")
        },
        TraceAuditRequest {
            at: "2026-01-01T00:00:00Z".to_owned(),
            ..of_client("a")
        },
    ] {
        let refused = trace(&scene, wrong).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
    }
}

#[tokio::test]
async fn without_checkpoints_there_is_no_key() {
    let scene = Scene::new().await;
    let api = api(&scene);
    let key = api.get_audit_key(request(&scene, GetAuditKeyRequest {}));
    assert_eq!(key.await.unwrap_err().code(), Code::NotFound);
}
