use super::pace::{BURST, INTERVAL};
use crate::{
    admin_api::{
        AdminApi,
        tests::{api, request},
    },
    workloads::testing::{Scene, until},
};
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use symbolon_proto::admin::{
    AuditFilter, BackupRequest, ExportAuditRequest, QueryAuditRequest, TailAuditRequest,
    TraceAuditRequest, admin_server::Admin as _,
};
use tokio::time::Instant;
use tonic::{Code, Status};

/// The lines that tell of readings, oldest first.
fn readings(scene: &Scene) -> Vec<Value> {
    let lines = scene.lines().into_iter();
    lines.filter(|line| line["event"] == "read").collect()
}

async fn query(scene: &Scene, api: &AdminApi, filter: AuditFilter) -> Vec<String> {
    let asked = QueryAuditRequest {
        filter: Some(filter),
        limit: 7,
    };
    let answer = api.query_audit(request(scene, asked)).await.unwrap();
    let parts: Vec<_> = answer.into_inner().collect().await;
    parts
        .into_iter()
        .flat_map(|part| part.unwrap().lines)
        .collect()
}

async fn tail(scene: &Scene, api: &AdminApi, last: u32) -> Vec<String> {
    let asked = TailAuditRequest {
        last,
        follow: false,
    };
    let answer = api.tail_audit(request(scene, asked)).await.unwrap();
    let lines: Vec<_> = answer.into_inner().collect().await;
    lines.into_iter().map(|line| line.unwrap().line).collect()
}

#[tokio::test]
async fn a_reading_is_told_with_what_was_asked_for_and_what_was_given() {
    let scene = Scene::new().await;
    let api = api(&scene);
    scene.trail.record(denied("x")).await.unwrap();
    let filter = AuditFilter {
        event: "denied".to_owned(),
        uid: None,
        pid: Some(7),
        ..AuditFilter::default()
    };
    assert!(query(&scene, &api, filter.clone()).await.is_empty());
    let filter = AuditFilter {
        pid: None,
        ..filter
    };
    let lines = query(&scene, &api, filter).await;
    assert_eq!(lines.len(), 1);
    let told = readings(&scene);
    let facts: Vec<_> = told.iter().map(|line| line["evidence"].clone()).collect();
    let roles = facts[0]["roles"].clone();
    assert!(roles.as_array().unwrap().contains(&json!("auditor")));
    assert_eq!(
        facts,
        [
            json!({"asked": {"event": "denied", "limit": 7, "pid": 7}, "reading": 1, "roles": roles}),
            json!({"bytes": 0, "lines": 0, "reading": 1}),
            json!({"asked": {"event": "denied", "limit": 7}, "reading": 2, "roles": roles}),
            json!({"bytes": lines[0].len(), "lines": 1, "reading": 2}),
        ]
    );
    for line in &told {
        assert_eq!(line["operation"], "QueryAudit");
        assert_eq!(line["process"]["pid"], std::process::id());
        assert!(line["operator"].is_string() && line.get("chain").is_none());
    }
    assert!(told[0].get("outcome").is_none());
    assert_eq!(told[1]["outcome"], "accepted");
}

fn denied(reason: &str) -> crate::audit::Event {
    crate::audit::Event::new(crate::audit::Kind::Denied).reason(reason)
}

/// Every way to read, and how its answer begins.
async fn read_all(scene: &Scene, api: &AdminApi) -> Vec<Result<(), Status>> {
    let tail = TailAuditRequest {
        last: 10,
        follow: false,
    };
    let export = ExportAuditRequest {
        filter: None,
        format: "ocsf".to_owned(),
    };
    let trace = TraceAuditRequest {
        client: "a".to_owned(),
        ..TraceAuditRequest::default()
    };
    let query = QueryAuditRequest::default();
    vec![
        all(api.tail_audit(request(scene, tail)).await).await,
        all(api.export_audit(request(scene, export)).await).await,
        all(api.trace_audit(request(scene, trace)).await).await,
        all(api.query_audit(request(scene, query)).await).await,
        all(api.backup(request(scene, BackupRequest {})).await).await,
    ]
}

async fn all<T>(
    answer: Result<tonic::Response<crate::admin_api::passage::Parts<T>>, Status>,
) -> Result<(), Status> {
    let parts: Vec<_> = answer?.into_inner().collect().await;
    parts.into_iter().try_for_each(|part| part.map(drop))
}

#[tokio::test]
async fn every_way_to_read_is_told() {
    let scene = Scene::new().await;
    let api = api(&scene);
    scene.register("a").await;
    let ends: Vec<_> = read_all(&scene, &api).await;
    let codes = ends.iter().map(|end| end.as_ref().err().map(Status::code));
    // Nothing is in the trail about the client, which the registry alone was told of.
    assert!(codes.eq([None, None, Some(Code::NotFound), None, None]));
    let told = readings(&scene);
    let told = told.iter().map(|line| {
        let outcome = line["outcome"].as_str().unwrap_or("begun");
        format!("{} {outcome}", line["operation"].as_str().unwrap())
    });
    assert_eq!(
        told.collect::<Vec<_>>(),
        [
            "TailAudit begun",
            "TailAudit accepted",
            "ExportAudit begun",
            "ExportAudit accepted",
            "TraceAudit begun",
            "TraceAudit failed",
            "QueryAudit begun",
            "QueryAudit accepted",
            // Its beginning is `backed_up`.
            "Backup accepted",
        ]
    );
    let backed_up = scene.lines().into_iter();
    let backed_up: Vec<_> = backed_up
        .filter(|line| line["event"] == "backed_up")
        .collect();
    assert_eq!(backed_up.len(), 1);
    assert_eq!(backed_up[0]["evidence"]["reading"], 5);
}

/// The attack: an end of the trail that shows itself, and so grows for ever.
#[tokio::test]
async fn an_end_that_is_followed_shows_its_own_reading_once() {
    let scene = Scene::new().await;
    let api = api(&scene);
    scene.trail.record(denied("first")).await.unwrap();
    let asked = TailAuditRequest {
        last: 10,
        follow: true,
    };
    let answer = api.tail_audit(request(&scene, asked)).await.unwrap();
    let mut lines = answer.into_inner();
    let mut next = async || -> Value {
        let line = lines.next().await.unwrap().unwrap().line;
        serde_json::from_str(&line).unwrap()
    };
    assert_eq!(next().await["reason"], "first");
    assert_eq!(
        next().await["evidence"]["asked"],
        json!({"follow": true, "last": 10})
    );
    // Whatever it made of that would come before this.
    scene.trail.record(denied("last")).await.unwrap();
    assert_eq!(next().await["reason"], "last");
    assert_eq!(readings(&scene).len(), 1);
    drop(lines);
    until(|| readings(&scene).len() == 2).await;
    let end = &readings(&scene)[1];
    assert_eq!(
        (&end["outcome"], &end["evidence"]["lines"]),
        (&json!("accepted"), &json!(3))
    );
    assert_eq!(end["reason"], "its reader left");
}

#[tokio::test]
async fn who_does_not_follow_is_not_shown_his_own_reading() {
    let scene = Scene::new().await;
    let api = api(&scene);
    scene.trail.record(denied("first")).await.unwrap();
    for _ in 0..2 {
        let lines = tail(&scene, &api, 1).await;
        let line: Value = serde_json::from_str(&lines[0]).unwrap();
        let own = line["evidence"]["reading"].as_u64().unwrap_or_default();
        assert_eq!(own, readings(&scene).len() as u64 / 2 - 1, "{line}");
    }
    let lines = query(&scene, &api, AuditFilter::default()).await;
    assert_eq!(lines.len(), 5, "not of itself: {lines:?}");
}

/// The attack: reading again and again, so that the readings push out what else is recorded.
#[tokio::test(start_paused = true)]
async fn a_loop_of_readings_is_slowed_down() {
    let scene = Scene::new().await;
    let api = api(&scene);
    let begun = Instant::now();
    for _ in 0..BURST + 10 {
        tail(&scene, &api, 1).await;
    }
    assert!(begun.elapsed() >= INTERVAL * 10, "{:?}", begun.elapsed());
    let told = u32::try_from(readings(&scene).len()).unwrap();
    assert_eq!(told, 2 * (BURST + 10));
}

#[tokio::test]
async fn nothing_is_given_that_is_not_told() {
    let scene = Scene::new().await;
    let api = api(&scene);
    scene.trail.record(denied("secret")).await.unwrap();
    scene.close_trail().await;
    for refused in read_all(&scene, &api).await {
        let refused = refused.unwrap_err();
        assert_eq!(refused.code(), Code::Unavailable, "{refused}");
        assert!(
            refused.message().contains("nothing can be recorded"),
            "{refused}"
        );
    }
}

/// An answer that its caller leaves has an end as well.
#[tokio::test]
async fn a_reading_that_is_broken_off_says_so() {
    let scene = Scene::new().await;
    let api = api(&scene);
    scene.trail.record(denied("x")).await.unwrap();
    let asked = QueryAuditRequest::default();
    drop(api.query_audit(request(&scene, asked)).await.unwrap());
    until(|| readings(&scene).len() == 2).await;
    let end = &readings(&scene)[1];
    assert_eq!(end["outcome"], "failed");
    assert_eq!(end["reason"], "not given to its end");
    assert_eq!(end["evidence"]["lines"], 0);
}
