//! Federation relationships: who may make them, and what is read back.

use super::{MemoryStore, RegistryConfig, RegistryError, Running, Store as _, config, draft};
use crate::{
    clock::{ManualClock, SharedClock},
    federation::testing::Stranger,
    registry::{
        Actor, AppliedRelationship, Bar, Checkup, Digest, Effect, EndpointDraft, EndpointError,
        RelationshipChange, RelationshipCommand, RelationshipDeed, RelationshipFault, StoreEntry,
        Verdict, limits,
    },
};
use spiffe::TrustDomain;
use std::sync::Arc;

const URL: &str = "https://other.example/bundle";

fn domain(name: &str) -> TrustDomain {
    TrustDomain::new(name).unwrap()
}

fn add(url: &str, replaces: bool) -> RelationshipChange {
    let endpoint = Box::new(EndpointDraft {
        profile: "https_web".to_owned(),
        url: url.to_owned(),
        ..EndpointDraft::default()
    });
    RelationshipChange::Add { endpoint, replaces }
}

async fn relate(
    running: &Running,
    (name, actor): (&str, &str),
    change: RelationshipChange,
    reason: &str,
) -> Result<AppliedRelationship, RegistryError> {
    let actor: Actor = actor.parse().unwrap();
    let command = RelationshipCommand {
        trust_domain: domain(name),
        change,
        actor,
        reason: reason.parse().unwrap(),
    };
    running.registry.relate(command).await
}

fn fault(refused: Result<AppliedRelationship, RegistryError>) -> RelationshipFault {
    match refused.unwrap_err() {
        RegistryError::Relationship(_, fault) => fault,
        other => panic!("{other}"),
    }
}

async fn requiring(store: &Arc<MemoryStore>, approvals_required: u32) -> Running {
    let config = RegistryConfig {
        approvals_required,
        ..config()
    };
    let store = Arc::<MemoryStore>::clone(store);
    Running::with(store, config).await.unwrap()
}

fn decide(applied: &AppliedRelationship, verdict: Verdict) -> RelationshipChange {
    RelationshipChange::Decide(applied.new.pending().unwrap().what.digest, verdict)
}

#[tokio::test]
async fn without_approvals_it_is_in_force_at_once_and_survives_a_restart() {
    let store = Arc::new(MemoryStore::new());
    let running = requiring(&store, 0).await;
    let alice = ("other.example", "alice");
    let applied = relate(&running, alice, add(URL, false), "x").await.unwrap();
    assert_eq!(applied.effect, Effect::InForce);
    running
        .register("web", draft(&["unix:uid:1"]))
        .await
        .unwrap();
    let again = relate(&running, alice, add(URL, false), "x").await;
    assert_eq!(fault(again), RelationshipFault::Federated);
    let other = "https://other.example/b";
    relate(&running, alice, add(other, true), "x")
        .await
        .unwrap();
    running.stop().await;

    let running = requiring(&store, 0).await;
    let snapshot = running.registry.snapshot();
    let known = snapshot.relationship(&domain("other.example")).unwrap();
    assert_eq!(&*known.in_force().unwrap().endpoint.url, other);
    assert_eq!(snapshot.revision(), 3);
    assert_eq!(snapshot.relationships().count(), 1);
    let none = relate(&running, alice, RelationshipChange::Remove, " ").await;
    assert!(matches!(none, Err(RegistryError::ReasonMissing)));
    relate(&running, alice, RelationshipChange::Remove, "over")
        .await
        .unwrap();
    let snapshot = running.registry.snapshot();
    let known = snapshot.relationship(&domain("other.example")).unwrap();
    assert!(known.in_force().is_none() && known.removed().is_some());
    let twice = relate(&running, alice, RelationshipChange::Remove, "over").await;
    assert_eq!(fault(twice), RelationshipFault::NotFederated);
    relate(&running, alice, add(URL, false), "x").await.unwrap();

    let mut checkup = Checkup::default();
    for record in store.read(0, usize::MAX).await.unwrap() {
        checkup.take(&record);
    }
    let report = checkup.end();
    assert!(report.whole, "{report:?}");
    assert_eq!(report.trust_domain.as_deref(), Some("example.org"));
}

#[tokio::test]
async fn nothing_is_in_force_without_the_approvals_of_others() {
    let store = Arc::new(MemoryStore::new());
    let running = requiring(&store, 2).await;
    let by = |actor: &'static str| ("other.example", actor);
    let proposed = relate(&running, by("alice"), add(URL, false), "x")
        .await
        .unwrap();
    assert_eq!(proposed.effect, Effect::Proposed);
    assert!(proposed.new.in_force().is_none());
    let approve = || decide(&proposed, Verdict::Approve);
    let own = relate(&running, by("alice"), approve(), "").await;
    assert_eq!(fault(own), RelationshipFault::Barred(Bar::Author));
    let counted = relate(&running, by("bob"), approve(), "").await.unwrap();
    assert_eq!(counted.effect, Effect::Counted);
    let twice = relate(&running, by("bob"), approve(), "").await;
    assert_eq!(fault(twice), RelationshipFault::Barred(Bar::Again));
    let wrong = RelationshipChange::Decide(Digest::of(b"else"), Verdict::Approve);
    let wrong = relate(&running, by("carol"), wrong, "").await;
    assert!(matches!(fault(wrong), RelationshipFault::OtherPending(_)));
    let passed = relate(&running, by("carol"), approve(), "").await.unwrap();
    assert_eq!(passed.effect, Effect::InForce);
    assert_eq!(passed.new.approvals().len(), 2);
}

#[tokio::test]
async fn what_is_in_force_stays_while_another_endpoint_awaits_approval() {
    let store = Arc::new(MemoryStore::new());
    let running = requiring(&store, 1).await;
    let by = |actor: &'static str| ("other.example", actor);
    let proposed = relate(&running, by("alice"), add(URL, false), "x").await;
    let approve = decide(&proposed.unwrap(), Verdict::Approve);
    relate(&running, by("dave"), approve, "").await.unwrap();
    // Another endpoint waits, and the first one stays; what is void is told.
    let other = "https://evil.example/b";
    let proposed = relate(&running, by("bob"), add(other, true), "x")
        .await
        .unwrap();
    assert_eq!(&*proposed.new.in_force().unwrap().endpoint.url, URL);
    let later = relate(&running, by("bob"), add(URL, true), "x")
        .await
        .unwrap();
    assert_eq!(later.voided().unwrap().number, proposed.new.last().0);
    let void = relate(
        &running,
        by("carol"),
        decide(&proposed, Verdict::Approve),
        "",
    )
    .await;
    assert!(matches!(fault(void), RelationshipFault::OtherPending(_)));
    let reject = decide(&later, Verdict::Reject);
    let silent = relate(&running, by("carol"), reject.clone(), "").await;
    assert_eq!(fault(silent), RelationshipFault::Barred(Bar::NoReason));
    let rejected = relate(&running, by("carol"), reject, "no").await.unwrap();
    assert_eq!(rejected.effect, Effect::Declined);
    assert!(rejected.voided().is_none() && rejected.new.in_force().is_some());
    // Taking away waits for nobody.
    let removed = relate(&running, by("erin"), RelationshipChange::Remove, "gone").await;
    assert!(removed.unwrap().new.in_force().is_none());

    let entries = running.registry.entries_after(0).await.unwrap();
    let deeds: Vec<_> = entries
        .iter()
        .map(|entry| match entry {
            StoreEntry::Relationship(entry) => entry.deed,
            StoreEntry::Client(_) => panic!("there is no client"),
        })
        .collect();
    let approve = RelationshipDeed::Decision(Verdict::Approve);
    assert_eq!(
        deeds,
        [
            RelationshipDeed::Version,
            approve,
            RelationshipDeed::Version,
            RelationshipDeed::Version,
            RelationshipDeed::Decision(Verdict::Reject),
            RelationshipDeed::Removal,
        ]
    );
}

#[tokio::test]
async fn our_own_trust_domain_is_nobody_elses() {
    let running = Running::new().await;
    let own = relate(&running, ("example.org", "alice"), add(URL, false), "x").await;
    let own = fault(own);
    assert!(matches!(
        own,
        RelationshipFault::Endpoint(EndpointError::OwnTrustDomain(_))
    ));
    assert_eq!(running.registry.snapshot().revision(), 0);
}

#[tokio::test]
async fn there_are_so_many_and_no_more() {
    let running = Running::new().await;
    for number in 0..limits::RELATIONSHIPS {
        let name = format!("d{number}.example");
        let added = relate(&running, (&name, "alice"), add(URL, false), "x").await;
        added.unwrap();
    }
    let more = relate(&running, ("more.example", "alice"), add(URL, false), "x").await;
    assert!(matches!(more, Err(RegistryError::FullOfRelationships)));
    // What is removed makes room, and has none any more itself.
    let removal = relate(
        &running,
        ("d0.example", "alice"),
        RelationshipChange::Remove,
        "over",
    );
    removal.await.unwrap();
    let more = relate(&running, ("more.example", "alice"), add(URL, false), "x").await;
    more.unwrap();
    let again = relate(&running, ("d0.example", "alice"), add(URL, false), "x").await;
    assert!(matches!(again, Err(RegistryError::FullOfRelationships)));
    let replaced = relate(&running, ("d1.example", "alice"), add(URL, true), "x").await;
    replaced.unwrap();
}

#[tokio::test]
async fn a_first_bundle_is_part_of_what_is_approved() {
    let clock: SharedClock = Arc::new(ManualClock::new(*super::START));
    let stranger = Stranger::new("other.example", &clock);
    let endpoint = |bundle: String| {
        Box::new(EndpointDraft {
            bundle: Some(bundle),
            endpoint_spiffe_id: Some("spiffe://other.example/bundles".to_owned()),
            profile: "https_spiffe".to_owned(),
            url: URL.to_owned(),
        })
    };
    let store = Arc::new(MemoryStore::new());
    let running = requiring(&store, 1).await;
    let add = |bundle: String| RelationshipChange::Add {
        endpoint: endpoint(bundle),
        replaces: true,
    };
    let alice = ("other.example", "alice");
    let one = relate(&running, alice, add(stranger.document(Some(1))), "x").await;
    let two = relate(&running, alice, add(stranger.document(Some(2))), "x").await;
    let digest = |applied: &AppliedRelationship| applied.new.pending().unwrap().what.digest;
    assert_ne!(digest(&one.unwrap()), digest(&two.unwrap()));
    let broken = relate(&running, alice, add("{}".to_owned()), "x").await;
    assert!(matches!(
        fault(broken),
        RelationshipFault::Endpoint(EndpointError::Bundle(_))
    ));
    // Another trust domain's bundle is none of this one's.
    let third = Stranger::new("third.example", &clock);
    let astray = relate(&running, alice, add(third.document(Some(1))), "x").await;
    assert!(matches!(
        fault(astray),
        RelationshipFault::Endpoint(EndpointError::Bundle(_))
    ));
}

#[tokio::test]
async fn records_of_relationships_have_their_golden_form() {
    let store = Arc::new(MemoryStore::new());
    let running = requiring(&store, 1).await;
    let proposed = relate(&running, ("other.example", "alice"), add(URL, false), "why").await;
    let approve = decide(&proposed.unwrap(), Verdict::Approve);
    relate(&running, ("other.example", "bob"), approve, "")
        .await
        .unwrap();
    let remove = RelationshipChange::Remove;
    relate(&running, ("other.example", "erin"), remove, "gone")
        .await
        .unwrap();
    let records = store.read(0, usize::MAX).await.unwrap();
    let documents: Vec<_> = records
        .iter()
        .map(|record| String::from_utf8(record.document.to_vec()).unwrap())
        .collect();
    let (first, second) = (records[0].digest, records[1].digest);
    assert_eq!(
        documents,
        [
            concat!(
                r#"{"relationship":{"approvals_required":1,"at":1800000000,"author":"alice","#,
                r#""endpoint":{"profile":"https_web","url":"https://other.example/bundle"},"#,
                r#""number":1,"own":"example.org","previous":null,"reason":"why","#,
                r#""trust_domain":"other.example"}}"#
            )
            .to_owned(),
            format!(
                r#"{{"relationship_decision":{{"at":1800000000,"author":"bob","digest":"{first}","number":2,"previous":"{first}","reason":"","trust_domain":"other.example","verdict":"approve"}}}}"#
            ),
            format!(
                r#"{{"relationship":{{"at":1800000000,"author":"erin","endpoint":null,"number":3,"own":"example.org","previous":"{second}","reason":"gone","trust_domain":"other.example"}}}}"#
            ),
        ]
    );
}
