//! Rotation on paused time and a clock that is set.

use super::*;

#[tokio::test(start_paused = true)]
async fn the_opening_is_told_first() {
    let scene = Scene::new();
    let ca = scene.open();
    let events = turn(&ca, TURN / 2).await;
    assert_eq!(events.len(), 3);
    for event in events {
        assert!(
            matches!(event, AuthorityEvent::Activated { early: false, .. }),
            "{event:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_authority_is_prepared_then_active_then_retired_then_gone() {
    let scene = Scene::new();
    let ca = scene.open();
    turn(&ca, 2 * TURN).await;
    let mut watch = ca.bundle();
    watch.mark_unchanged();
    let first = active(&ca, AuthorityKind::Jwt);
    let old = sign_jwt(&ca, HOUR).unwrap();

    scene.clock.set(start() + 15 * DAY);
    let events = turn(&ca, 2 * TURN).await;
    assert!(
        matches!(
            events.as_slice(),
            [AuthorityEvent::Prepared(_), AuthorityEvent::Prepared(_)]
        ),
        "{events:?}"
    );
    assert!(watch.has_changed().unwrap());
    assert_eq!(bundle(&ca).sequence(), 2);
    assert_eq!(
        slots(&ca, AuthorityKind::Jwt),
        [Slot::Active, Slot::Prepared]
    );
    assert_eq!(sign_jwt(&ca, HOUR).unwrap().key_id, first.key_id);

    scene.clock.advance(OVERLAP - Duration::from_secs(1));
    assert!(turn(&ca, 2 * TURN).await.is_empty());
    let last = sign_jwt(&ca, HOUR).unwrap();
    scene.clock.advance(Duration::from_secs(1));
    turn(&ca, 2 * TURN).await;
    assert_eq!(
        slots(&ca, AuthorityKind::Jwt),
        [Slot::Retired, Slot::Active]
    );
    let new = sign_jwt(&ca, HOUR).unwrap();
    assert_ne!(new.key_id, first.key_id);
    // The keys are the same, so the bundle is.
    assert_eq!(bundle(&ca).sequence(), 2);
    let now = start() + 15 * DAY + OVERLAP;
    for token in [&last, &new] {
        bundle(&ca)
            .validate_jwt(token.token.expose(), "a", now)
            .unwrap();
    }
    drop(old);

    scene.clock.advance(HOUR);
    let events = turn(&ca, REMOVAL_DELAY + 2 * TURN).await;
    assert!(
        matches!(events.as_slice(), [AuthorityEvent::Removed(gone)] if gone.key_id == first.key_id),
        "{events:?}"
    );
    assert!(bundle(&ca).find_jwt_key(&first.key_id).is_none());
    assert_eq!(bundle(&ca).sequence(), 3);
    assert!(!scene.key_files().contains("jwt-2.p8"));
}

#[tokio::test(start_paused = true)]
async fn a_rotation_survives_a_restart_at_every_stage() {
    let scene = Scene::new();
    let root = active(&scene.open(), AuthorityKind::X509).key_id;
    for (after, expected) in [
        (45 * DAY, vec![Slot::Active, Slot::Prepared]),
        (OVERLAP, vec![Slot::Retired, Slot::Active]),
        (DAY, vec![Slot::Retired, Slot::Active]),
    ] {
        scene.clock.advance(after);
        let first = scene.open();
        assert_eq!(slots(&first, AuthorityKind::X509), expected);
        let second = scene.open();
        assert_eq!(first.authorities(), second.authorities());
        assert_eq!(bundle(&first).spiffe_json(), bundle(&second).spiffe_json());
    }
    // What is due for removal goes only while the agent runs.
    let ca = scene.open();
    turn(&ca, REMOVAL_DELAY + 2 * TURN).await;
    assert_eq!(slots(&ca, AuthorityKind::X509), [Slot::Active]);
    assert_ne!(active(&ca, AuthorityKind::X509).key_id, root);
}

#[tokio::test(start_paused = true)]
async fn outstanding_svids_stay_valid_through_a_root_rotation() {
    let scene = Scene::new();
    let ca = scene.open();
    scene.clock.advance(45 * DAY);
    turn(&ca, 2 * TURN).await;
    scene.clock.advance(OVERLAP - Duration::from_secs(1));
    let old = sign_x509(&ca, DAY).unwrap();
    scene.clock.advance(Duration::from_secs(1));
    turn(&ca, 2 * TURN).await;
    let new = sign_x509(&ca, DAY).unwrap();
    assert_ne!(old.key_id, new.key_id);
    scene.clock.set(old.not_after - Duration::from_secs(1));
    turn(&ca, REMOVAL_DELAY + 2 * TURN).await;
    let at = old.not_after - Duration::from_secs(1);
    validate_x509(&bundle(&ca), &old.chain, at);
    validate_x509(&bundle(&ca), &new.chain, at);
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_jumps_for_a_moment_costs_no_svid() {
    let scene = Scene::new();
    let ca = scene.open();
    let signed = sign_x509(&ca, DAY).unwrap();
    let first = active(&ca, AuthorityKind::X509).key_id;
    for jumped in [start() + 400 * DAY, start() - 400 * DAY] {
        scene.clock.set(jumped);
        turn(&ca, 2 * TURN).await;
        // There is always an authority that is valid now.
        let now = sign_x509(&ca, HOUR).unwrap();
        validate_x509(&bundle(&ca), &now.chain, jumped);
        scene.clock.set(start());
        turn(&ca, 2 * TURN).await;
        assert_eq!(active(&ca, AuthorityKind::X509).key_id, first);
        validate_x509(&bundle(&ca), &signed.chain, start());
    }
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_back_a_little_changes_nothing() {
    let scene = Scene::new();
    let ca = scene.open();
    turn(&ca, 2 * TURN).await;
    scene.clock.set(start() - HOUR / 2);
    sign_x509(&ca, HOUR).unwrap();
    sign_jwt(&ca, HOUR).unwrap();
    sign_wit(&ca, HOUR).unwrap();
    assert!(turn(&ca, 2 * TURN).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_authority_that_signs_before_it_is_known_is_told_as_early() {
    let scene = Scene::new();
    let ca = scene.open();
    turn(&ca, 2 * TURN).await;
    scene.clock.set(start() + 400 * DAY);
    let events = turn(&ca, 2 * TURN).await;
    let early =
        |event: &&AuthorityEvent| matches!(event, AuthorityEvent::Activated { early: true, .. });
    assert_eq!(events.iter().filter(early).count(), 3, "{events:?}");
}

#[tokio::test(start_paused = true)]
async fn a_rotation_that_cannot_be_written_changes_nothing_and_is_tried_again() {
    let scene = Scene::new();
    let ca = scene.open();
    turn(&ca, 2 * TURN).await;
    let before = bundle(&ca);
    // A directory where the temporary file has to be: no write succeeds.
    let obstacle = scene.keys().join(".tmp-authorities.json");
    fs::create_dir(&obstacle).unwrap();
    scene.clock.set(start() + 15 * DAY);
    let events = turn(&ca, 2 * TURN).await;
    assert!(
        events
            .iter()
            .all(|event| matches!(event, AuthorityEvent::Failed(_))),
        "{events:?}"
    );
    assert!(!events.is_empty());
    assert_eq!(bundle(&ca).spiffe_json(), before.spiffe_json());
    sign_jwt(&ca, HOUR).unwrap();
    fs::remove_dir(&obstacle).unwrap();
    turn(&ca, 2 * TURN).await;
    assert_eq!(bundle(&ca).sequence(), 2);
    // Three that sign, two that are prepared; nothing is left of what failed.
    assert_eq!(scene.key_files().len(), 5);
}
