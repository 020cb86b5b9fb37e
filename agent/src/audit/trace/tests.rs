use super::{LeftOut, MAX_STORY_LINES, Story, Subject, Trace, tell};
use crate::audit::{Reader, testing::Folder};
use serde_json::{Value, json};
use std::{collections::HashMap, fmt::Write as _};

const VALIDATIONS: u64 = 10_001;
const DENIALS: u64 = 2_500;

/// Lines as they are looked for; whether they are linked is not asked here.
#[derive(Default)]
struct Lines {
    text: String,
    seq: u64,
}

impl Lines {
    fn push(&mut self, mut line: Value) {
        self.seq += 1;
        let seconds = self.seq / 1_000;
        line["seq"] = self.seq.into();
        line["prev"] = "".into();
        line["time"] = format!("2026-07-28T12:00:{seconds:02}.{:03}Z", self.seq % 1_000).into();
        writeln!(self.text, "{line}").unwrap();
    }

    /// As lines of the trail itself are.
    fn leave_chain_out(&mut self) {
        self.text = self.text.replace(r#""chain":"callers","#, "");
    }
}

/// Who registered the client, and who approved it; its process, and what that got.
fn trail() -> Lines {
    let mut lines = Lines::default();
    for (event, operator) in [
        ("proposed", "alice"),
        ("approved", "bob"),
        ("registered", "alice"),
    ] {
        let approvals = json!({"by": [], "of": "version"});
        lines.push(
            json!({"approvals": approvals, "client": "payments", "client_version": 1,
            "event": event, "operator": operator}),
        );
    }
    let process = json!({"gid": 100, "pid": 4711, "uid": 1000});
    lines.push(json!({"attestation_id": "a1", "event": "attested",
        "evidence": {"start_time": 7}, "process": process}));
    for credential in [
        json!({"kind": "jwt-svid", "jti": "j-1", "authority_key_id": "k1"}),
        json!({"kind": "x509-svid", "serial": "0a", "authority_key_id": "k2"}),
    ] {
        lines.push(
            json!({"attestation_id": "a1", "client": "payments", "client_version": 1,
            "credential": credential, "event": "issued", "process": process,
            "spiffe_id": "spiffe://example.org/payments"}),
        );
    }
    lines
}

fn validated(jti: &str, verifier: &str) -> Value {
    json!({"attestation_id": verifier, "chain": "callers", "credential": {"jti": jti},
        "event": "validated", "outcome": "accepted",
        "process": {"gid": 100, "pid": 5000, "uid": 1001},
        "spiffe_id": "spiffe://example.org/payments"})
}

/// What one who has the token can cause, and the process itself.
fn callers() -> Lines {
    let mut lines = Lines::default();
    for _ in 0..DENIALS {
        lines.push(
            json!({"attestation_id": "a1", "chain": "callers", "event": "denied",
            "process": {"gid": 100, "pid": 4711, "uid": 1000}, "reason": "audience: none"}),
        );
    }
    for _ in 0..VALIDATIONS {
        lines.push(validated("j-1", "v1"));
    }
    for _ in 0..MAX_STORY_LINES {
        lines.push(validated("j-2", "v1"));
    }
    lines
}

fn told(folder: &Folder, subject: Subject) -> Story {
    let reader = Reader::open(&folder.audit()).unwrap();
    let told = tell(&reader, subject, usize::MAX, &|| true)
        .unwrap()
        .unwrap();
    assert!(told.is_cut);
    told.story
}

fn count(story: &Story, event: &str) -> usize {
    let of_event = story.events.iter().filter(|line| line["event"] == event);
    of_event.count()
}

/// The attack: whoever has a token has it validated until the line that issued it is gone from
/// every answer.
#[test]
fn validations_and_denials_displace_nothing_from_a_story() {
    let folder = Folder::new();
    std::fs::create_dir(folder.audit()).unwrap();
    for (name, lines) in [
        ("00000001.jsonl", trail()),
        ("callers-00000001.jsonl", callers()),
    ] {
        std::fs::write(folder.audit().join(name), lines.text).unwrap();
    }
    for subject in [
        Subject::Jti("j-1".into()),
        Subject::Serial("0a".into()),
        Subject::Process(4711, None),
        Subject::Client("payments".into()),
    ] {
        let story = told(&folder, subject.clone());
        for (event, times) in [
            ("proposed", 1),
            ("approved", 1),
            ("registered", 1),
            ("attested", 1),
            ("issued", 2),
            ("validated", MAX_STORY_LINES / 10),
            ("denied", MAX_STORY_LINES / 10),
        ] {
            assert_eq!(count(&story, event), times, "{event} of {subject:?}");
        }
        let left_out = LeftOut {
            refusals: DENIALS - 1_000,
            validations: VALIDATIONS - 1_000,
            ..LeftOut::default()
        };
        assert_eq!(story.left_out, left_out, "{subject:?}");
        assert_eq!(
            story.left_out.to_string(),
            "9001 validations, 1500 refusals"
        );
        let token = &story.credentials[0];
        assert_eq!(
            (token.validations, story.credentials.len()),
            (VALIDATIONS, 2)
        );
        let version = &story.clients[0].versions[0];
        assert_eq!(version.author, "alice");
        assert_eq!(version.approved_by, ["bob"]);
    }
}

fn validated_of(domain: &str, jti: &str, verifier: &str) -> Value {
    let mut line = validated(jti, verifier);
    line["trust_domain"] = domain.into();
    line["spiffe_id"] = format!("spiffe://{domain}/payments").into();
    line
}

fn write(folder: &Folder, trail: Lines, callers: Lines) -> Reader {
    std::fs::create_dir(folder.audit()).unwrap();
    std::fs::write(folder.segment(), trail.text).unwrap();
    let path = folder.audit().join("callers-00000001.jsonl");
    std::fs::write(path, callers.text).unwrap();
    Reader::open(&folder.audit()).unwrap()
}

fn whole(reader: &Reader, subject: Subject) -> Story {
    let told = tell(reader, subject, usize::MAX, &|| true);
    let told = told.unwrap().unwrap();
    assert!(!told.is_cut, "{:?}", told.story.left_out);
    told.story
}

/// The attack: a foreign issuer gives its tokens the identifiers of ours.
#[test]
fn validations_of_foreign_tokens_are_not_those_of_ours() {
    let folder = Folder::new();
    let mut lines = trail();
    lines.push(validated_of("other.example", "j-1", "v1"));
    lines.leave_chain_out();
    let mut callers = Lines::default();
    callers.push(validated("j-1", "v1"));
    callers.push(validated_of("other.example", "j-1", "v1"));
    let reader = write(&folder, lines, callers);
    for subject in [
        Subject::Serial("0a".into()),
        Subject::Process(4711, None),
        Subject::Client("payments".into()),
    ] {
        let story = whole(&reader, subject.clone());
        assert_eq!(count(&story, "validated"), 1, "{subject:?}");
        assert_eq!(story.credentials[0].validations, 1, "{subject:?}");
    }
    // By the identifier alone all are asked for, and each names its trust domain.
    let story = whole(&reader, Subject::Jti("j-1".into()));
    assert_eq!(count(&story, "validated"), 3);
    assert_eq!(story.credentials[0].validations, 1);
}

#[test]
fn validations_of_foreign_tokens_are_found_in_both_chains() {
    let folder = Folder::new();
    let (mut lines, mut callers) = (trail(), Lines::default());
    for of_chain in [&mut lines, &mut callers] {
        of_chain.push(validated_of("other.example", "f-1", "a1"));
        of_chain.push(validated_of("third.example", "f-2", "a1"));
    }
    lines.leave_chain_out();
    let reader = write(&folder, lines, callers);
    let story = whole(&reader, Subject::Jti("f-1".into()));
    assert_eq!(count(&story, "validated"), 2);
    let of_other = |line: &Value| line["trust_domain"] == "other.example";
    assert!(story.events.iter().all(of_other));
    // Those that a process had validated belong to its story.
    let mut of_process = whole(&reader, Subject::Serial("0a".into()));
    assert_eq!(count(&of_process, "validated"), 4);
    of_process = whole(&reader, Subject::Process(4711, None));
    assert_eq!(count(&of_process, "validated"), 4);
}

/// There is room for the newest in the last answer: what the first one found stays.
#[test]
fn foreign_validations_among_the_seeds_stay_in_the_story() {
    let mut trace = Trace::of(Subject::Jti("f-1".into()));
    let mut seed = validated_of("other.example", "f-1", "v1");
    seed["seq"] = 1.into();
    drop(trace.second(vec![seed]));
    drop(trace.third(&[]));
    let asked = trace.fourth(Vec::new()).related.unwrap();
    let token = ("other.example".to_owned(), "f-1".to_owned());
    assert!(asked.foreign_credentials.contains(&token));
    let story = trace.story(Vec::new(), &HashMap::new());
    assert_eq!(count(&story, "validated"), 1);
}

#[test]
fn a_validation_leads_to_no_other_tokens_of_the_same_id() {
    let folder = Folder::new();
    std::fs::create_dir(folder.audit()).unwrap();
    std::fs::write(folder.segment(), trail().text).unwrap();
    let mut callers = Lines::default();
    callers.push(validated("j-1", "v1"));
    callers.push(validated("j-2", "v1"));
    std::fs::write(folder.audit().join("callers-00000001.jsonl"), callers.text).unwrap();
    let reader = Reader::open(&folder.audit()).unwrap();
    // The line that issued this one is gone, as after its retention.
    let subject = Subject::Jti("j-2".into());
    let told = tell(&reader, subject, usize::MAX, &|| true).unwrap();
    let story = told.unwrap().story;
    assert_eq!(story.events.len(), 1);
    assert_eq!(story.events[0]["credential"]["jti"], "j-2");
}
