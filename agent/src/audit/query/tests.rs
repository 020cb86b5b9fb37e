use super::{Filter, Found, Judge, Keep, Search, query};
use crate::audit::{
    Reader, Subject, Trace, tell,
    testing::{PAYMENTS, Story},
};
use serde_json::{Value, json};
use std::{cell::Cell, collections::HashMap};

fn found(story: &Story, filter: &Filter, limit: Option<usize>) -> Vec<String> {
    let reader = Reader::open(&story.folder.audit()).unwrap();
    let mut found = Vec::new();
    let keep = limit.map(|lines| Keep {
        lines,
        bytes: usize::MAX,
    });
    let search = Search {
        keep,
        ..Search::all(filter)
    };
    query(&reader, search, |line| {
        let value: Value = serde_json::from_str(line).unwrap();
        found.push(value["event"].as_str().unwrap().to_owned());
        true
    })
    .unwrap();
    found
}

fn text(value: &str) -> Option<String> {
    Some(value.to_owned())
}

type Condition = fn(&mut Filter);

const CASES: [(Condition, usize); 14] = [
    (|f| f.client = text("payments"), 7),
    (|f| f.owner = text("alice"), 4),
    (|f| f.owner = text("bob"), 3),
    (|f| f.spiffe_id = text(PAYMENTS), 8),
    (|f| f.serial = text("0a"), 1),
    (|f| f.jti = text("j-1"), 2),
    (|f| f.key_thumbprint = text("t1"), 2),
    (|f| f.attestation_id = text("a1"), 5),
    (|f| f.pid = Some(4711), 9),
    (|f| f.uid = Some(1001), 2),
    (|f| f.event = text("issued"), 3),
    (|f| f.outcome = text("accepted"), 1),
    (|f| (f.pid, f.jti) = (Some(4711), text("j-1")), 1),
    (|f| f.client = text("nobody"), 0),
];

#[tokio::test]
async fn each_filter_finds_what_it_names() {
    let story = Story::told().await;
    for (case, (condition, count)) in CASES.iter().enumerate() {
        let mut filter = Filter::default();
        condition(&mut filter);
        let found = found(&story, &filter, None);
        assert_eq!(found.len(), *count, "case {case}: {found:?}");
    }
}

#[tokio::test]
async fn times_and_limits_bound_what_is_found() {
    let story = Story::told().await;
    let all = found(&story, &Filter::default(), None);
    assert_eq!(
        found(&story, &Filter::default(), Some(3)),
        all[all.len() - 3..]
    );
    let since = Filter {
        since: text("2026-07-28T13:00:00.000Z"),
        ..Filter::default()
    };
    let until = Filter {
        until: text("2026-07-28T12:59:59.999Z"),
        ..Filter::default()
    };
    let (after, before) = (found(&story, &since, None), found(&story, &until, None));
    assert!(!after.is_empty() && !before.is_empty());
    assert_eq!([before, after].concat(), all);
}

#[tokio::test]
async fn what_is_kept_is_bounded_and_says_so() {
    let story = Story::told().await;
    let reader = Reader::open(&story.folder.audit()).unwrap();
    let all = found(&story, &Filter::default(), None);
    let filter = Filter::default();
    let search = |lines, bytes| {
        let search = Search {
            keep: Some(Keep { lines, bytes }),
            ..Search::all(&filter)
        };
        let (mut count, mut size) = (0, 0);
        let found = query(&reader, search, |line| {
            (count, size) = (count + 1, size + line.len());
            true
        });
        assert!(size <= bytes, "{size}");
        (count, found.unwrap())
    };
    assert_eq!(search(3, usize::MAX), (3, Found::All));
    assert_eq!(search(usize::MAX, usize::MAX), (all.len(), Found::All));
    let (count, found) = search(usize::MAX, 1_000);
    assert!((1..all.len()).contains(&count), "{count}");
    assert_eq!(found, Found::Newest);
    assert_eq!(search(2, 1_000), (2, Found::All));
}

#[tokio::test]
async fn a_search_that_nobody_waits_for_is_given_up() {
    let story = Story::told().await;
    let reader = Reader::open(&story.folder.audit()).unwrap();
    let left = Cell::new(5);
    let is_wanted = || {
        left.set(left.get() - 1);
        left.get() > 0
    };
    let nobody = Filter {
        client: text("nobody"),
        ..Filter::default()
    };
    let search = Search {
        is_wanted: &is_wanted,
        ..Search::all(&nobody)
    };
    let found = query(&reader, search, |_line| panic!("nothing fits"));
    assert_eq!((found.unwrap(), left.get()), (Found::GivenUp, 0));
    let found = query(&reader, Search::all(&Filter::default()), |_line| false);
    assert_eq!(found.unwrap(), Found::GivenUp);
}

#[tokio::test]
async fn a_number_that_was_used_again_names_the_process_of_the_time() {
    let story = Story::told().await;
    let at = |time: &str| Filter {
        pid: Some(4711),
        at: text(time),
        ..Filter::default()
    };
    let first = found(&story, &at("2026-07-28T12:30:00.000Z"), None);
    assert_eq!(
        first,
        [
            "attested",
            "issued",
            "attested",
            "renewed",
            "issued",
            "withdrawn"
        ]
    );
    let second = found(&story, &at("2026-07-29T14:00:00.000Z"), None);
    assert_eq!(second, ["attested", "issued", "denied"]);
    // Before the first of them: that one.
    assert_eq!(found(&story, &at("2026-01-01T00:00:00.000Z"), None), first);
}

fn trace(story: &Story, subject: Subject) -> Option<crate::audit::Story> {
    let reader = Reader::open(&story.folder.audit()).unwrap();
    let told = tell(&reader, subject, usize::MAX, &|| true).unwrap();
    told.map(|told| {
        assert!(!told.is_cut);
        told.story
    })
}

#[tokio::test]
async fn a_credential_leads_to_the_whole_story_after_rotation_restart_and_revocation() {
    let stage = Story::told().await;
    let expected = [
        "registered",
        "rotated",
        "attested",
        "issued",
        "attested",
        "renewed",
        "issued",
        "validated",
        "updated",
        "revoked",
        "withdrawn",
    ];
    for subject in [
        Subject::Serial("0a".into()),
        Subject::Serial("0b".into()),
        Subject::Jti("j-1".into()),
        Subject::Process(4711, text("2026-07-28T12:30:00.000Z")),
    ] {
        let story = trace(&stage, subject.clone()).unwrap();
        let mut events: Vec<_> = story
            .events
            .iter()
            .map(|e| e["event"].as_str().unwrap())
            .collect();
        let mut wanted = expected.to_vec();
        if !matches!(subject, Subject::Jti(_)) {
            // Only credentials that were asked for name their authority's key first.
            events.retain(|event| *event != "rotated");
            wanted.retain(|event| *event != "rotated");
        }
        assert_eq!(events, wanted, "{subject:?}");
        assert_eq!(story.processes.len(), 1);
        assert_eq!(story.processes[0].attestation_ids, ["a1", "a2"]);
        assert_eq!(story.processes[0].executable, "/usr/bin/payments");
        assert_eq!(story.credentials.len(), 3);
        assert_eq!(story.credentials[2].validations, 1);
        let client = &story.clients[0];
        assert_eq!(
            (client.name.as_str(), client.state.as_str()),
            ("payments", "revoked")
        );
        let version = &client.versions[0];
        assert_eq!(
            (version.author.as_str(), version.owner.as_str()),
            ("uid:0", "alice")
        );
        assert!(version.is_concerned && !client.versions[1].is_concerned);
    }
}

#[tokio::test]
async fn a_client_leads_to_its_processes() {
    let stage = Story::told().await;
    let story = trace(&stage, Subject::Client("payments".into())).unwrap();
    assert_eq!(story.processes.len(), 1);
    assert_eq!(story.credentials.len(), 3);
    assert_eq!(story.subject["client"], "payments");
    assert!(trace(&stage, Subject::Jti("j-9".into())).is_none());
}

#[test]
fn an_owner_who_awaits_approval_owns_nothing_yet() {
    let filter = Filter {
        owner: text("bob"),
        ..Filter::default()
    };
    let mut judge = Judge::new(&filter);
    for (event, owner, fits) in [
        ("registered", "alice", false),
        ("proposed", "bob", true),
        ("approved", "bob", true),
        ("issued", "", false),
        ("updated", "bob", true),
        ("issued", "", true),
        ("proposed", "alice", true),
        ("issued", "", true),
    ] {
        let time = "2026-07-28T12:00:00.000Z";
        let line = json!({"client": "payments", "event": event, "owner": owner, "time": time});
        assert_eq!(judge.fits(&line.to_string()), fits, "{event} {owner}");
    }
}

/// A resumption is proposed and approved like a version, and is none. Programs that act as
/// operators are attested, and hold nothing by that.
#[test]
fn a_version_has_its_author_and_approvers_and_no_others() {
    let line = |seq: u64, event: &str, operator: &str, of: &str| {
        json!({
            "approvals": {"of": of},
            "attestation_id": "job",
            "client": "payments",
            "client_version": 2,
            "event": event,
            "operator": operator,
            "process": {"gid": 0, "pid": 7, "uid": 0},
            "seq": seq,
            "time": "2026-07-28T12:00:00.000Z",
        })
    };
    let lines = vec![
        line(1, "proposed", "alice", "version"),
        line(2, "approved", "bob", "version"),
        line(3, "updated", "alice", "version"),
        line(4, "proposed", "carol", "state"),
        line(5, "approved", "dave", "state"),
        line(6, "resumed", "carol", "state"),
    ];
    let mut trace = Trace::of(Subject::Client("payments".into()));
    let attested = trace.second(lines.clone()).related.unwrap();
    assert!(attested.pids.is_empty());
    let related = trace.third(&[]).related.unwrap();
    assert!(related.attestations.is_empty());
    assert!(trace.fourth(lines).related.unwrap().credentials.is_empty());
    let story = trace.story(Vec::new(), &HashMap::new());
    let client = &story.clients[0];
    assert_eq!(
        (client.state.as_str(), client.versions.len()),
        ("resumed", 1)
    );
    assert_eq!(client.versions[0].author, "alice");
    assert_eq!(client.versions[0].approved_by, ["bob"]);
}
