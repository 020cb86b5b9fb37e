//! Nothing is in force without the approvals that it needs; taking away needs none.

use super::{
    Actor, Arc, Client, ClientDraft, MemoryStore, Reason, RegistryConfig, RegistryError, Running,
    Standing, config, draft, name,
};
use crate::registry::{
    Applied, Bar, Digest, Effect, Pending, Proposal, Store, Subject, Verdict,
    Verdict::{Approve, Reject, Withdraw},
};

/// Who makes all changes that have no other author.
const AUTHOR: &str = "uid:0";

async fn requiring(approvals_required: u32) -> Running {
    on(Arc::new(MemoryStore::new()), approvals_required).await
}

async fn on(store: Arc<dyn Store>, approvals_required: u32) -> Running {
    let config = RegistryConfig {
        approvals_required,
        ..config()
    };
    Running::with(store, config).await.unwrap()
}

fn who(text: &str) -> Actor {
    let (name, login) = text.split_once('@').unwrap_or((text, ""));
    let login = login.parse().ok();
    name.parse::<Actor>().unwrap().with_login(login)
}

fn shown(client: &Client) -> (Subject, Digest) {
    shown_of(client.pending().unwrap())
}

fn shown_of<T: Proposal>(pending: &Pending<T>) -> (Subject, Digest) {
    (pending.what.subject(), pending.what.digest())
}

async fn decide(
    running: &Running,
    (subject, digest): (Subject, Digest),
    verdict: Verdict,
    operator: &str,
) -> Result<Applied, RegistryError> {
    decide_as(running, (subject, digest), verdict, who(operator)).await
}

async fn decide_as(
    running: &Running,
    (subject, digest): (Subject, Digest),
    verdict: Verdict,
    operator: Actor,
) -> Result<Applied, RegistryError> {
    let reason: Reason = "seen".parse().unwrap();
    let decision = (subject, digest, verdict);
    let registry = &running.registry;
    registry
        .decide(name("web"), decision, operator, reason)
        .await
}

fn barred(result: &Result<Applied, RegistryError>) -> Bar {
    match result {
        Err(RegistryError::Barred(_, bar)) => *bar,
        other => panic!("{other:?}"),
    }
}

/// A client with version 1 in force.
async fn approved(running: &Running) {
    let client = running
        .register("web", draft(&["unix:uid:1"]))
        .await
        .unwrap();
    for approver in ["alice", "bob"] {
        decide(running, shown(&client), Approve, approver)
            .await
            .unwrap();
    }
    assert_eq!(running.state("web").as_str(), "active");
}

#[tokio::test]
async fn a_new_client_is_served_once_enough_others_have_approved_it() {
    let running = requiring(2).await;
    let client = running
        .register("web", draft(&["unix:uid:1"]))
        .await
        .unwrap();
    assert_eq!(client.standing(), Standing::New);
    assert!(!client.has_version_in_force());
    assert_eq!(client.version().number, 1);
    let shown = shown(&client);

    let own = decide(&running, shown, Approve, AUTHOR).await;
    assert_eq!(barred(&own), Bar::Author);
    let counted = decide(&running, shown, Approve, "alice").await.unwrap();
    assert_eq!(counted.effect, Effect::Counted);
    assert_eq!(counted.new.pending().unwrap().missing(), 1);
    let twice = decide(&running, shown, Approve, "alice").await;
    assert_eq!(barred(&twice), Bar::Again);
    assert!(running.matching(&["unix:uid:1"]).is_empty());
    assert_eq!(running.state("web").as_str(), "new");

    let last = decide(&running, shown, Approve, "bob").await.unwrap();
    assert_eq!(last.effect, Effect::InForce);
    assert!(last.new.pending().is_none());
    let approvers = last.new.approvals().iter();
    assert!(approvers.map(|a| a.operator.as_str()).eq(["alice", "bob"]));
    assert_eq!(running.matching(&["unix:uid:1"]), ["web"]);
    let late = decide(&running, shown, Approve, "carol").await;
    assert!(matches!(late, Err(RegistryError::NotPending { .. })));
}

#[tokio::test]
async fn names_and_ids_of_what_is_only_proposed_are_taken() {
    let running = requiring(1).await;
    let with_id = ClientDraft {
        spiffe_id: Some("spiffe://example.org/a".into()),
        ..draft(&["unix:uid:1"])
    };
    running.register("web", with_id.clone()).await.unwrap();
    let again = running.register("web", draft(&["unix:uid:1"])).await;
    assert!(matches!(again, Err(RegistryError::NameTaken(_))));
    let other = running.register("other", with_id).await;
    assert!(matches!(other, Err(RegistryError::IdTaken { .. })));
}

#[tokio::test]
async fn two_operators_with_one_login_are_one_person() {
    let running = requiring(2).await;
    let draft = draft(&["unix:uid:1"]);
    let registered =
        running
            .registry
            .register(name("web"), draft, who("root@7"), Reason::default());
    let shown = shown(&registered.await.unwrap());
    let author = decide(&running, shown, Approve, "alice@7").await;
    assert_eq!(barred(&author), Bar::Author);
    decide(&running, shown, Approve, "bob@8").await.unwrap();
    let same = decide(&running, shown, Approve, "carol@8").await;
    assert_eq!(barred(&same), Bar::Again);
    decide(&running, shown, Approve, "dave").await.unwrap();
    assert_eq!(running.state("web").as_str(), "active");
}

#[tokio::test]
async fn one_user_is_one_person_also_where_the_configuration_names_him_since() {
    let alice = || who("alice").with_uid(Some(1001));
    let names = ["uid:1001", "sec/uid:1001"];
    let renamed = names.map(|by_number| (alice(), who(by_number)));
    for (one, two) in renamed {
        for (author, approver) in [(one.clone(), two.clone()), (two.clone(), one.clone())] {
            let store = Arc::new(MemoryStore::new());
            let before = on(Arc::<MemoryStore>::clone(&store), 2).await;
            let draft = draft(&["unix:uid:1"]);
            let registered =
                before
                    .registry
                    .register(name("web"), draft, author, Reason::default());
            let shown = shown(&registered.await.unwrap());
            before.stop().await;

            let after = on(store, 2).await;
            let author = decide_as(&after, shown, Approve, approver).await;
            assert_eq!(barred(&author), Bar::Author);
            let bob = who("bob").with_uid(Some(1002));
            decide_as(&after, shown, Approve, bob).await.unwrap();
            let same = decide(&after, shown, Approve, "uid:1002").await;
            assert_eq!(barred(&same), Bar::Again);
            decide(&after, shown, Approve, "uid:1003").await.unwrap();
        }
    }
}

#[tokio::test]
async fn the_version_in_force_stays_so_while_the_next_is_pending() {
    let running = requiring(2).await;
    approved(&running).await;
    let client = running.update("web", draft(&["unix:uid:2"])).await.unwrap();
    assert_eq!(client.version().number, 1);
    assert_eq!(client.pending().unwrap().what.number, 2);
    decide(&running, shown(&client), Approve, "alice")
        .await
        .unwrap();
    assert_eq!(running.matching(&["unix:uid:1"]), ["web"]);
    assert!(running.matching(&["unix:uid:2"]).is_empty());
    decide(&running, shown(&client), Approve, "bob")
        .await
        .unwrap();
    assert!(running.matching(&["unix:uid:1"]).is_empty());
    assert_eq!(running.matching(&["unix:uid:2"]), ["web"]);
}

#[tokio::test]
async fn a_change_in_between_voids_what_was_approved() {
    let running = requiring(2).await;
    approved(&running).await;
    let second = running.update("web", draft(&["unix:uid:2"])).await.unwrap();
    let before = shown(&second);
    decide(&running, before, Approve, "alice").await.unwrap();
    // The same content again: another version all the same.
    let third = running.update("web", draft(&["unix:uid:2"])).await.unwrap();
    assert!(third.pending().unwrap().approvals.is_empty());
    let late = decide(&running, before, Approve, "bob").await;
    let Err(RegistryError::OtherPending {
        pending, digest, ..
    }) = late
    else {
        panic!("{late:?}");
    };
    assert_eq!((pending, digest), shown(&third));
    // Neither number nor digest alone will do.
    for mixed in [(pending, before.1), (before.0, digest)] {
        let mixed = decide(&running, mixed, Approve, "bob").await;
        assert!(matches!(mixed, Err(RegistryError::OtherPending { .. })));
    }
    decide(&running, (pending, digest), Approve, "bob")
        .await
        .unwrap();
    assert!(running.matching(&["unix:uid:2"]).is_empty());
}

#[tokio::test]
async fn a_change_says_what_it_makes_void() {
    let running = requiring(2).await;
    let first = running
        .register("web", draft(&["unix:uid:1"]))
        .await
        .unwrap();
    let update = crate::registry::Change::Update(Box::new(draft(&["unix:uid:2"])), Some(1));
    let applied = running
        .registry
        .change(name("web"), update, who(AUTHOR), Reason::default());
    let applied = applied.await.unwrap();
    assert!(applied.voided().eq([shown(&first)]));
    let pending = shown(&applied.new);
    let revoke = crate::registry::Change::Stand(Standing::Revoked);
    let reason = "leaked".parse().unwrap();
    let applied = running
        .registry
        .change(name("web"), revoke, who(AUTHOR), reason);
    let applied = applied.await.unwrap();
    assert!(applied.voided().eq([pending]));
    let late = decide(&running, pending, Approve, "alice").await;
    assert!(matches!(late, Err(RegistryError::NotPending { .. })));
}

#[tokio::test]
async fn an_approved_version_does_not_lift_a_suspension() {
    let running = requiring(2).await;
    let client = running
        .register("web", draft(&["unix:uid:1"]))
        .await
        .unwrap();
    running.stand("web", Standing::Suspended).await.unwrap();
    for approver in ["alice", "bob"] {
        decide(&running, shown(&client), Approve, approver)
            .await
            .unwrap();
    }
    assert_eq!(running.state("web").as_str(), "suspended");
    assert!(running.matching(&["unix:uid:1"]).is_empty());
}

#[tokio::test]
async fn suspending_needs_nobody_and_resuming_does() {
    let running = requiring(2).await;
    approved(&running).await;
    running.stand("web", Standing::Suspended).await.unwrap();
    assert!(running.matching(&["unix:uid:1"]).is_empty());

    let proposed = running.stand("web", Standing::Active).await.unwrap();
    assert_eq!(proposed.standing(), Standing::Suspended);
    let again = running.stand("web", Standing::Active).await;
    assert!(matches!(again, Err(RegistryError::OtherPending { .. })));
    let shown = shown_of(proposed.pending_resumption().unwrap());
    assert_eq!(
        barred(&decide(&running, shown, Approve, AUTHOR).await),
        Bar::Author
    );
    decide(&running, shown, Approve, "alice").await.unwrap();
    assert_eq!(running.state("web").as_str(), "suspended");

    // A responder ends what others are about to approve.
    running.stand("web", Standing::Suspended).await.unwrap();
    let late = decide(&running, shown, Approve, "bob").await;
    assert!(matches!(late, Err(RegistryError::NotPending { .. })));

    let proposed = running.stand("web", Standing::Active).await.unwrap();
    let shown = shown_of(proposed.pending_resumption().unwrap());
    for approver in ["alice", "bob"] {
        decide(&running, shown, Approve, approver).await.unwrap();
    }
    assert_eq!(running.matching(&["unix:uid:1"]), ["web"]);
}

#[tokio::test]
async fn others_reject_with_a_reason_and_authors_withdraw() {
    let running = requiring(2).await;
    approved(&running).await;
    let second = running.update("web", draft(&["unix:uid:2"])).await.unwrap();
    let (subject, digest) = shown(&second);
    let silent = running.registry.decide(
        name("web"),
        (subject, digest, Reject),
        who("alice"),
        Reason::default(),
    );
    assert_eq!(barred(&silent.await), Bar::NoReason);
    let foreign = decide(&running, (subject, digest), Withdraw, "alice").await;
    assert_eq!(barred(&foreign), Bar::NotAuthor);
    let rejected = decide(&running, (subject, digest), Reject, "alice")
        .await
        .unwrap();
    assert_eq!(rejected.effect, Effect::Declined);
    assert_eq!(rejected.new.declined().unwrap().what.number, 2);
    assert_eq!(rejected.new.version().number, 1);

    let third = running.update("web", draft(&["unix:uid:3"])).await.unwrap();
    assert_eq!(third.pending().unwrap().what.previous, Some(digest));
    assert!(third.declined().is_none());
    let withdrawn = decide(&running, shown(&third), Withdraw, AUTHOR)
        .await
        .unwrap();
    assert_eq!(withdrawn.new.declined().unwrap().verdict, Withdraw);
    assert_eq!(running.matching(&["unix:uid:1"]), ["web"]);
}

#[tokio::test]
async fn another_configuration_puts_nothing_in_force_and_takes_nothing_away() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let running = on(Arc::clone(&store), 2).await;
    approved(&running).await;
    let second = running.update("web", draft(&["unix:uid:2"])).await.unwrap();
    let shown = shown(&second);
    running.stop().await;

    for approvals_required in [0, 5, 1] {
        let running = on(Arc::clone(&store), approvals_required).await;
        assert_eq!(running.matching(&["unix:uid:1"]), ["web"]);
        assert!(running.matching(&["unix:uid:2"]).is_empty());
        running.stop().await;
    }
    let running = on(Arc::clone(&store), 1).await;
    decide(&running, shown, Approve, "alice").await.unwrap();
    assert!(running.matching(&["unix:uid:2"]).is_empty());
    decide(&running, shown, Approve, "bob").await.unwrap();
    assert_eq!(running.matching(&["unix:uid:2"]), ["web"]);
}

#[tokio::test]
async fn an_update_may_build_on_what_is_pending_or_in_force() {
    let running = requiring(2).await;
    approved(&running).await;
    running.update("web", draft(&["unix:uid:2"])).await.unwrap();
    for (expected, fits) in [(1, true), (3, true), (2, false), (1, true), (9, false)] {
        let draft = draft(&["unix:uid:3"]);
        let update = running.registry.update(
            name("web"),
            draft,
            Some(expected),
            who(AUTHOR),
            Reason::default(),
        );
        assert_eq!(update.await.is_ok(), fits, "{expected}");
    }
}
