//! Random sequences of changes by random persons, held against a model that knows only the rule:
//! what is in force was approved by as many other persons as it needed when it was made.

use super::{
    Actor, Arc, MemoryStore, Reason, RegistryConfig, Running, Standing, config, draft, name,
};
use crate::registry::{Change, Client, Digest, Store, Subject, Verdict};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const CLIENTS: [&str; 2] = ["a", "b"];

/// Names, logins and users, and the persons that they are.
const PERSONS: [(&str, Option<u32>, Option<u32>, usize); 7] = [
    ("alice", Some(1), Some(1), 0),
    ("root", Some(1), Some(0), 0),
    ("bob", Some(2), None, 1),
    ("carol", None, Some(3), 2),
    ("dave", Some(4), Some(4), 3),
    ("ops/uid:4", None, None, 3),
    ("erin", Some(5), None, 4),
];

#[derive(Clone, Debug)]
enum Act {
    Register,
    Update,
    Stand(Standing),
    /// About a version or a resumption; and whether an older digest is named.
    Decide(bool, Verdict, bool),
    /// Starts the agent anew with another number of approvals.
    Restart(u32),
}

fn acts() -> impl Strategy<Value = Vec<(Act, usize, usize)>> {
    let standing = prop_oneof![
        4 => Just(Standing::Active),
        2 => Just(Standing::Suspended),
        1 => Just(Standing::Revoked)
    ];
    let verdict = prop_oneof![
        8 => Just(Verdict::Approve),
        1 => Just(Verdict::Reject),
        1 => Just(Verdict::Withdraw)
    ];
    let act = prop_oneof![
        3 => Just(Act::Register),
        4 => Just(Act::Update),
        3 => standing.prop_map(Act::Stand),
        20 => (prop::bool::weighted(0.7), verdict, prop::bool::weighted(0.1))
            .prop_map(|(version, verdict, stale)| Act::Decide(version, verdict, stale)),
        1 => (0..4_u32).prop_map(Act::Restart),
    ];
    prop::collection::vec((act, 0..CLIENTS.len(), 0..PERSONS.len()), 1..120)
}

/// What awaits approval.
#[derive(Clone, Debug)]
struct Proposed {
    /// The content, where it is a version.
    uid: usize,
    author: usize,
    approvers: BTreeSet<usize>,
    required: usize,
}

#[derive(Clone, Debug, Default)]
struct Modelled {
    in_force: Option<usize>,
    stopped: bool,
    revoked: bool,
    version: Option<Proposed>,
    resumption: Option<Proposed>,
}

impl Modelled {
    /// Whether the decision is one, and what was proposed if it is now approved.
    fn decide(
        slot: &mut Option<Proposed>,
        verdict: Verdict,
        person: usize,
    ) -> (bool, Option<Proposed>) {
        let Some(proposed) = slot else {
            return (false, None);
        };
        let is_author = proposed.author == person;
        match verdict {
            Verdict::Approve if is_author || proposed.approvers.contains(&person) => (false, None),
            Verdict::Approve => {
                proposed.approvers.insert(person);
                let enough = proposed.approvers.len() >= proposed.required;
                (true, if enough { slot.take() } else { None })
            }
            Verdict::Withdraw if !is_author => (false, None),
            Verdict::Reject | Verdict::Withdraw => {
                *slot = None;
                (true, None)
            }
        }
    }

    fn serves(&self) -> Option<usize> {
        self.in_force.filter(|_| !self.stopped && !self.revoked)
    }
}

#[derive(Debug, Default)]
struct Model {
    required: usize,
    clients: BTreeMap<usize, Modelled>,
}

impl Model {
    /// Whether the name was free.
    fn begin(&mut self, client: usize) -> bool {
        let is_free = !self.clients.contains_key(&client);
        self.clients.entry(client).or_default();
        is_free
    }

    /// Whether it is allowed; `uid` is the content of a new version.
    fn act(&mut self, act: &Act, client: usize, person: usize, uid: usize) -> bool {
        let required = self.required;
        let proposed = Proposed {
            uid,
            author: person,
            approvers: BTreeSet::new(),
            required,
        };
        if matches!(act, Act::Register) && !self.begin(client) {
            return false;
        }
        let Some(known) = self.clients.get_mut(&client) else {
            return false;
        };
        if known.revoked {
            return false;
        }
        match act {
            Act::Register | Act::Update if required == 0 => {
                (known.in_force, known.version) = (Some(uid), None);
                true
            }
            Act::Register | Act::Update => {
                known.version = Some(proposed);
                true
            }
            Act::Stand(Standing::Revoked) => {
                known.revoked = true;
                true
            }
            Act::Stand(Standing::Suspended) => {
                let may = !known.stopped || known.resumption.is_some();
                (known.stopped, known.resumption) = (true, None);
                may
            }
            Act::Stand(_) if required == 0 => {
                let may = known.stopped;
                (known.stopped, known.resumption) = (false, None);
                may
            }
            Act::Stand(_) => {
                let may = known.stopped && known.resumption.is_none();
                if may {
                    known.resumption = Some(proposed);
                }
                may
            }
            Act::Decide(_, _, true) | Act::Restart(_) => false,
            Act::Decide(true, verdict, false) => {
                let (done, passed) = Modelled::decide(&mut known.version, *verdict, person);
                known.in_force = passed.map(|version| version.uid).or(known.in_force);
                done
            }
            Act::Decide(false, verdict, false) => {
                let (done, passed) = Modelled::decide(&mut known.resumption, *verdict, person);
                known.stopped &= passed.is_none();
                done
            }
        }
    }
}

async fn running(store: &Arc<MemoryStore>, approvals_required: u32) -> Running {
    let store: Arc<dyn Store> = Arc::<MemoryStore>::clone(store);
    let config = RegistryConfig {
        approvals_required,
        ..config()
    };
    Running::with(store, config).await.unwrap()
}

/// What is pending; with another digest where it is to be stale.
fn decided(client: Option<&Client>, act: &Act) -> (Subject, Digest) {
    let &Act::Decide(version, _, stale) = act else {
        return (Subject::Version(1), Digest::of(b"nothing"));
    };
    let pending = client.and_then(Client::pending);
    let resumption = client.and_then(Client::pending_resumption);
    let found = match version {
        true => pending.map(|pending| (Subject::Version(pending.what.number), pending.what.digest)),
        false => {
            resumption.map(|pending| (Subject::State(pending.what.number), pending.what.digest))
        }
    };
    let none = Digest::of(b"something else");
    let (subject, digest) = found.unwrap_or((Subject::Version(1), none));
    (subject, if stale { none } else { digest })
}

async fn carry_out(running: &Running, act: &Act, client: usize, person: usize, uid: usize) -> bool {
    let (operator, login, uid_of, _) = PERSONS[person];
    let actor = operator.parse::<Actor>().unwrap().with_login(login);
    let actor = actor.with_uid(uid_of);
    let client = name(CLIENTS[client]);
    let draft = Box::new(draft(&[&format!("unix:uid:{uid}")]));
    let change = match act {
        Act::Register => Change::Register(draft),
        Act::Update => Change::Update(draft, None),
        Act::Stand(to) => Change::Stand(*to),
        Act::Decide(_, verdict, _) => {
            let snapshot = running.registry.snapshot();
            let found = snapshot.client(&client).map(|client| &**client);
            let (subject, digest) = decided(found, act);
            Change::Decide(subject, digest, *verdict)
        }
        Act::Restart(_) => return false,
    };
    let reason: Reason = "a test".parse().unwrap();
    let made = running.registry.change(client, change, actor, reason);
    made.await.is_ok()
}

fn everything(running: &Running) -> Vec<String> {
    let snapshot = running.registry.snapshot();
    snapshot
        .iter()
        .map(|client| format!("{client:?}"))
        .collect()
}

async fn check(acts: Vec<(Act, usize, usize)>) {
    let store = Arc::new(MemoryStore::new());
    let mut model = Model {
        required: 2,
        ..Model::default()
    };
    let mut agent = running(&store, 2).await;
    for (uid, (act, client, person)) in acts.iter().enumerate() {
        if let Act::Restart(required) = act {
            let before = everything(&agent);
            agent.stop().await;
            agent = running(&store, *required).await;
            assert_eq!(everything(&agent), before);
            model.required = usize::try_from(*required).unwrap();
            continue;
        }
        let allowed = model.act(act, *client, PERSONS[*person].3, uid);
        let done = carry_out(&agent, act, *client, *person, uid).await;
        assert_eq!(done, allowed, "{uid}: {act:?} by {:?}", PERSONS[*person]);
        for older in 0..=uid {
            let found = agent.matching(&[&format!("unix:uid:{older}")]);
            let serving = model
                .clients
                .iter()
                .filter(|(_, client)| client.serves() == Some(older));
            let names: Vec<_> = serving.map(|(client, _)| CLIENTS[*client]).collect();
            assert_eq!(found, names, "{older} after {uid}: {act:?}");
        }
    }
    let before = everything(&agent);
    agent.stop().await;
    assert_eq!(everything(&running(&store, 0).await), before);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(128) })]

    #[test]
    fn nothing_is_served_without_its_approvals(acts in acts()) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(check(acts));
    }
}
