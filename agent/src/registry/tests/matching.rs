//! The index finds exactly the clients that a scan would find, in the order of registration, and
//! has no attestor asked in vain.

use super::{Client, ClientDraft, Running, Standing, draft, name, selectors};
use crate::registry::{Gates, SelectorSet, SetFit, Snapshot};
use proptest::prelude::*;
use std::{collections::BTreeSet, sync::Arc};
use symbolon_attestors::{Kind, Kinds, Selector};

/// Of every attestor; the first ones are read of every process.
const FACTS: [&str; 14] = [
    "unix:uid:0",
    "unix:uid:1",
    "unix:uid:2",
    "unix:uid:3",
    "cgroup:path:/a",
    "cgroup:path:/b",
    "process:no_new_privs:true",
    "process:seccomp:filter",
    "systemd:id:a.service",
    "systemd:slice:a.slice",
    "container:name:a",
    "k8s:ns:a",
    "code:jit:false",
    "code:static:true",
];

#[derive(Clone, Debug)]
enum Act {
    Register(usize, Vec<Vec<usize>>),
    Update(usize, Vec<Vec<usize>>),
    Stand(usize, Standing),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let sets = || prop::collection::vec(prop::collection::vec(0..FACTS.len(), 1..4), 1..4);
    let standing = prop_oneof![
        Just(Standing::Active),
        Just(Standing::Suspended),
        Just(Standing::Revoked)
    ];
    let act = prop_oneof![
        4 => (0..20_usize, sets()).prop_map(|(client, sets)| Act::Register(client, sets)),
        2 => (0..20_usize, sets()).prop_map(|(client, sets)| Act::Update(client, sets)),
        2 => (0..20_usize, standing).prop_map(|(client, to)| Act::Stand(client, to)),
    ];
    prop::collection::vec(act, 0..80)
}

fn with_sets(sets: &[Vec<usize>]) -> ClientDraft {
    let texts = |set: &Vec<usize>| set.iter().map(|n| FACTS[*n].to_owned()).collect();
    // Some demand an attestor.
    let demanded = Kind::ALL.get(sets[0][0]).copied();
    ClientDraft {
        selector_sets: sets.iter().map(texts).collect(),
        required_attestors: demanded.into_iter().collect(),
        ..draft(&[])
    }
}

async fn carry_out(running: &Running, acts: &[Act]) -> Vec<String> {
    let mut registered = Vec::new();
    for act in acts {
        // Many are impossible, and refused; the registry's own state is what counts.
        match act {
            Act::Register(client, sets) => {
                let name = format!("c{client}");
                if running.register(&name, with_sets(sets)).await.is_ok() {
                    registered.push(name);
                }
            }
            Act::Update(client, sets) => {
                drop(running.update(&format!("c{client}"), with_sets(sets)).await);
            }
            Act::Stand(client, to) => drop(running.stand(&format!("c{client}"), *to).await),
        }
    }
    registered
}

fn scan(running: &Running, registered: &[String], present: &[Selector]) -> Vec<String> {
    let snapshot = running.registry.snapshot();
    let fits = |name: &&String| {
        let client: &Arc<Client> = snapshot.client(&self::name(name)).unwrap();
        client.standing() == Standing::Active && client.fits(present)
    };
    registered.iter().filter(fits).cloned().collect()
}

fn facts(caller: &BTreeSet<usize>) -> Vec<Selector> {
    let texts: Vec<_> = caller.iter().map(|n| FACTS[*n]).collect();
    selectors(&texts)
}

/// The attestors that are asked about a process with these facts, and what is known of it then.
fn asked(snapshot: &Snapshot, facts: &[Selector]) -> (Kinds, Vec<Selector>) {
    let mut asked = Kinds::NONE;
    loop {
        let is_known = |fact: &&Selector| Kind::of(fact).is_none_or(|kind| asked.has(kind));
        let known: Vec<_> = facts.iter().filter(is_known).cloned().collect();
        match snapshot.wanted(&known).without(asked).first() {
            Some(next) => asked = asked.with(next),
            None => return (asked, known),
        }
    }
}

/// The clients that fit, and whose demands are met.
fn entitled(snapshot: &Snapshot, known: &[Selector]) -> Vec<String> {
    let has = |kind: &Kind| known.iter().any(|fact| Kind::of(fact) == Some(*kind));
    let mut clients = snapshot.matching(known);
    clients.retain(|client| client.spec().required_attestors().iter().all(has));
    clients.iter().map(|c| c.name().to_string()).collect()
}

/// Whether an active client has a set that wants `kind`, and that everything fits which is asked
/// before.
fn is_wanted(snapshot: &Snapshot, kind: Kind, facts: &[Selector]) -> bool {
    let turn = |kind: Kind| Kind::IN_TURN.iter().position(|other| *other == kind);
    let is_before = |s: &Selector| Kind::of(s).is_none_or(|other| turn(other) < turn(kind));
    let mut clients = snapshot.iter().filter(|c| c.standing() == Standing::Active);
    clients.any(|client| {
        let demands = client.spec().required_attestors().contains(&kind);
        client.spec().selector_sets().iter().any(|set| {
            let names = set.selectors().iter().any(|s| Kind::of(s) == Some(kind));
            let mut before = set.selectors().iter().filter(|s| is_before(s));
            (demands || names) && before.all(|selector| facts.contains(selector))
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn the_index_agrees_with_a_scan(
        acts in acts(),
        callers in prop::collection::vec(prop::collection::btree_set(0..FACTS.len(), 0..8), 20),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let running = Running::new().await;
            let registered = carry_out(&running, &acts).await;
            for caller in callers {
                let texts: Vec<_> = caller.iter().map(|n| FACTS[*n]).collect();
                let expected = scan(&running, &registered, &facts(&caller));
                assert_eq!(running.matching(&texts), expected);
            }
        });
    }

    #[test]
    fn what_is_not_asked_would_make_no_difference_and_nothing_is_asked_in_vain(
        acts in acts(),
        callers in prop::collection::vec(prop::collection::btree_set(0..FACTS.len(), 0..8), 20),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let running = Running::new().await;
            carry_out(&running, &acts).await;
            let snapshot = running.registry.snapshot();
            for caller in callers {
                let facts = facts(&caller);
                let (asked, known) = asked(&snapshot, &facts);
                assert_eq!(entitled(&snapshot, &known), entitled(&snapshot, &facts));
                for kind in Kind::ALL {
                    assert_eq!(asked.has(kind), is_wanted(&snapshot, kind, &facts), "{kind}");
                }
            }
        });
    }
}

#[tokio::test]
async fn what_nobody_could_fit_is_asked_of_nobody() {
    let running = Running::new().await;
    let wanted = |present: &[&str]| running.registry.snapshot().wanted(&selectors(present));
    let code = Kinds::NONE.with(Kind::Code);
    let systemd = Kinds::NONE.with(Kind::Systemd);
    let sets = ["unix:uid:1", "systemd:id:a.service", "code:jit:false"];
    running.register("a", draft(&sets)).await.unwrap();
    assert_eq!(wanted(&["unix:uid:2"]), Kinds::NONE);
    assert_eq!(wanted(&["unix:uid:1"]), systemd);
    let elsewhere = ["systemd:id:b.service", "unix:uid:1"];
    assert_eq!(wanted(&elsewhere), systemd);
    let there = ["systemd:id:a.service", "unix:uid:1"];
    assert_eq!(wanted(&there), systemd.and(code));
    // What was found out about code is no reason to look at it again.
    assert_eq!(wanted(&["code:jit:false", "unix:uid:2"]), Kinds::NONE);
    running.stand("a", Standing::Suspended).await.unwrap();
    assert_eq!(wanted(&there), Kinds::NONE);
    running.stand("a", Standing::Active).await.unwrap();
    assert_eq!(wanted(&there), systemd.and(code));
}

#[test]
fn sets_of_no_client_are_asked_for_alike() {
    let set = |texts: &[&str]| {
        let texts: Vec<_> = texts.iter().map(|text| (*text).to_owned()).collect();
        SelectorSet::parse(&texts).unwrap()
    };
    let gates = Gates::of(&[
        set(&["unix:uid:1", "systemd:id:a.service", "code:jit:false"]),
        set(&["unix:uid:2"]),
    ]);
    let wanted = |present: &[&str]| gates.wanted(&selectors(present));
    let systemd = Kinds::NONE.with(Kind::Systemd);
    assert_eq!(wanted(&["unix:uid:2"]), Kinds::NONE);
    assert_eq!(wanted(&["unix:uid:1"]), systemd);
    let there = ["systemd:id:a.service", "unix:uid:1"];
    assert_eq!(wanted(&there), systemd.with(Kind::Code));
    assert_eq!(Gates::of(&[]).wanted(&selectors(&there)), Kinds::NONE);
}

#[tokio::test]
async fn a_set_of_code_alone_has_everybody_looked_at() {
    let running = Running::new().await;
    let wanted = |present: &[&str]| running.registry.snapshot().wanted(&selectors(present));
    let code = Kinds::NONE.with(Kind::Code);
    running
        .register("a", draft(&["code:jit:false", "code:static:true"]))
        .await
        .unwrap();
    assert_eq!(wanted(&[]), code);
    assert_eq!(wanted(&["unix:uid:1"]), code);
    running.update("a", draft(&["unix:uid:1"])).await.unwrap();
    assert_eq!(wanted(&["unix:uid:1"]), Kinds::NONE);
}

#[tokio::test]
async fn a_demanded_attestor_is_asked_where_the_rest_fits() {
    let running = Running::new().await;
    let wanted = |present: &[&str]| running.registry.snapshot().wanted(&selectors(present));
    let demanding = ClientDraft {
        required_attestors: vec![Kind::Systemd],
        ..draft(&["unix:uid:1", "code:jit:false"])
    };
    running.register("a", demanding).await.unwrap();
    assert_eq!(wanted(&["unix:uid:2"]), Kinds::NONE);
    let both = Kinds::NONE.with(Kind::Code).with(Kind::Systemd);
    assert_eq!(wanted(&["unix:uid:1"]), both);
}

#[tokio::test]
async fn any_set_fits_but_only_as_a_whole() {
    let running = Running::new().await;
    let draft = ClientDraft {
        selector_sets: vec![
            vec!["unix:uid:1".into(), "unix:path:/a".into()],
            vec!["unix:uid:2".into()],
        ],
        ..draft(&[])
    };
    running.register("web", draft).await.unwrap();
    assert_eq!(running.matching(&["unix:path:/a", "unix:uid:1"]), ["web"]);
    assert_eq!(running.matching(&["unix:uid:2"]), ["web"]);
    assert!(running.matching(&["unix:uid:1"]).is_empty());
    assert!(running.matching(&["unix:path:/a"]).is_empty());
    assert!(running.matching(&[]).is_empty());
}

#[tokio::test]
async fn a_later_registration_never_becomes_the_default_identity() {
    let running = Running::new().await;
    for name in ["m", "z", "a"] {
        running
            .register(name, draft(&["unix:uid:1"]))
            .await
            .unwrap();
    }
    running
        .update("m", draft(&["unix:uid:1", "unix:gid:1"]))
        .await
        .unwrap();
    assert_eq!(
        running.matching(&["unix:gid:1", "unix:uid:1"]),
        ["m", "z", "a"]
    );
}

#[tokio::test]
async fn an_explanation_names_what_is_missing() {
    let running = Running::new().await;
    let client = running
        .register("web", draft(&["unix:uid:1", "unix:path:/a"]))
        .await
        .unwrap();
    let explained = client.explain(&selectors(&["unix:uid:1", "unix:gid:1"]));
    let fit = SetFit {
        present: selectors(&["unix:uid:1"]),
        missing: selectors(&["unix:path:/a"]),
    };
    assert_eq!(explained, [fit]);
    assert!(!explained[0].holds());
}
