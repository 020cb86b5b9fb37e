//! The index finds exactly the clients that a scan would find, in the order of registration.

use super::{Client, ClientDraft, Running, Standing, draft, name, selectors};
use crate::registry::SetFit;
use proptest::prelude::*;
use std::sync::Arc;
use symbolon_attestors::Selector;

#[derive(Clone, Debug)]
enum Act {
    Register(usize, Vec<Vec<usize>>),
    Update(usize, Vec<Vec<usize>>),
    Stand(usize, Standing),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let sets = || prop::collection::vec(prop::collection::vec(0..12_usize, 1..4), 1..4);
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
    let texts = |set: &Vec<usize>| set.iter().map(|n| format!("unix:uid:{n}")).collect();
    ClientDraft {
        selector_sets: sets.iter().map(texts).collect(),
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

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn the_index_agrees_with_a_scan(
        acts in acts(),
        callers in prop::collection::vec(prop::collection::btree_set(0..14_usize, 0..8), 20),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let running = Running::new().await;
            let registered = carry_out(&running, &acts).await;
            for caller in callers {
                let texts: Vec<_> = caller.iter().map(|n| format!("unix:uid:{n}")).collect();
                let texts: Vec<_> = texts.iter().map(String::as_str).collect();
                let expected = scan(&running, &registered, &selectors(&texts));
                assert_eq!(running.matching(&texts), expected);
            }
        });
    }
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
