//! Kills at random points while clients go through their whole life: registered, approved,
//! changed, suspended, resumed, revoked, with tokens issued in between.
//!
//! Each client's life is a line of stages ([`Stage`]), and each call takes it one stage further.
//! So what may be found after a crash is known: the stage that was confirmed, or the one that was
//! asked for. Whatever it is, the trail has to tell it, event by event and nothing else, and what
//! workloads get has to be what it says.
//!
//! A few hundred calls by default. `SYMBOLON_CRASH_CALLS=10000` makes more of them, and
//! `SYMBOLON_CRASH_SEED` others.

mod stage;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use serde_json::Value;
use symbolon_proto::admin::admin_client::AdminClient;
use symbolon_proto::admin::{
    ChangeStateRequest, Client, ClientSpec, DecisionRequest, ListClientsRequest,
    RegisterClientRequest, SelectorSet, UpdateClientRequest,
};
use symbolon_proto::workload::{JwtsvidRequest, X509svidRequest};
use symbolon_tests::{
    AUDIENCE, Agent, Program, Setup, TRUST_DOMAIN, WorkloadApi, can_run, channel, is_root,
    number_of, within, workload_api,
};
use tokio::sync::Notify;
use toml::{Table, Value as Toml};
use tonic::transport::Channel;
use tonic::{Code, Status};

use self::stage::{Stage, second};
use super::trail;
use crate::caller::{self, Caller};
use crate::credentials::{part, serial};

/// Clients that are worked on at the same time, each by an approver's process of its own.
const LANES: usize = 8;

/// The second person.
const APPROVER: u32 = 64_003;

/// Calls in a round, on average.
const CALLS_IN_A_ROUND: u64 = 30;

/// How many calls are made unless the environment says otherwise.
const CALLS: u64 = 600;

/// Of so many clients one fits the test, and gets tokens and certificates.
const FITTING: u64 = 4;

/// How long after its last confirmed call the agent is killed at most: some commits.
const MICROSECONDS_UNTIL_KILLED: u64 = 4_000;

/// How long after its start an agent is killed at most: so long a start takes.
const MICROSECONDS_OF_A_START: u64 = 200_000;

/// What is known of a client.
#[derive(Clone, Debug)]
struct Known {
    confirmed: Stage,
    /// What was asked for last: it may have been done without an answer.
    asked: Stage,
    /// Whether it fits the test.
    fits: bool,
    is_taken: bool,
    /// What awaits approval: its number and digest.
    pending: (u64, String),
}

/// The sequence of numbers that a seed gives (`SplitMix64`).
#[derive(Debug)]
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % end
    }

    fn pause(&mut self, most: u64) -> Duration {
        Duration::from_micros(self.below(most))
    }
}

/// Everything that lasts longer than an agent.
#[derive(Debug)]
struct Storm {
    seed: u64,
    dice: RefCell<Dice>,
    clients: RefCell<BTreeMap<String, Known>>,
    /// `jti` and serials of what was issued to the test.
    issued: RefCell<BTreeSet<String>>,
    confirmed: Cell<u64>,
    progress: Notify,
    is_over: Cell<bool>,
}

fn setup() -> Setup {
    let operator = |name: &str, uid: u32, roles: &[&str]| {
        let mut table = Table::new();
        table.insert("name".to_owned(), name.into());
        table.insert("uid".to_owned(), i64::from(uid).into());
        let roles = roles.iter().map(|role| Toml::from(*role)).collect();
        table.insert("roles".to_owned(), Toml::Array(roles));
        Toml::Table(table)
    };
    let operators = vec![
        operator("root", 0, &["author", "responder", "auditor"]),
        operator("approver", APPROVER, &["approver"]),
    ];
    Setup::new()
        .set("registry", "approvals_required", 1)
        // Small, so that some rounds end in the midst of a new one.
        .set("audit", "segment_bytes", "1MiB")
        .set("audit", "checkpoint_records", 1)
        .top("operators", Toml::Array(operators))
}

/// What a call came to: whether it was confirmed.
type Outcome = Result<Option<Client>, Status>;

/// One agent of the many.
struct Round<'a> {
    storm: &'a Storm,
    admin: AdminClient<Channel>,
    api: WorkloadApi,
}

impl Round<'_> {
    /// Takes one client after the other through its life, until the agent is killed.
    async fn lane(&self, mut approver: Caller) {
        while !self.storm.is_over.get() {
            let name = self.storm.take();
            while let Some((known, next)) = self.storm.ask(&name) {
                match self.step(&name, &known, next, &mut approver).await {
                    Ok(client) => self.storm.confirm(&name, next, client.as_ref()),
                    Err(status) => return self.storm.unconfirmed(&name, &status),
                }
                if let Err(status) = self.fetch(&name, next).await {
                    return self.storm.unconfirmed(&name, &status);
                }
            }
        }
    }

    async fn step(&self, name: &str, known: &Known, next: Stage, approver: &mut Caller) -> Outcome {
        let mut admin = self.admin.clone();
        let change = || ChangeStateRequest {
            name: name.to_owned(),
            reason: "a test".to_owned(),
        };
        let done = match next {
            Stage::Absent => panic!("nobody becomes absent"),
            Stage::Proposed => admin.register_client(registration(name, known.fits)).await,
            Stage::ChangeProposed => admin.update_client(update(name, known.fits)).await,
            Stage::Suspended => admin.suspend_client(change()).await,
            Stage::ResumptionProposed => admin.resume_client(change()).await,
            Stage::Revoked => admin.revoke_client(change()).await,
            Stage::InForce | Stage::Changed | Stage::Resumed => {
                return approve(name, known, next, approver).await;
            }
        };
        done.map(|client| Some(client.into_inner()))
    }

    /// Asks for a token of a client that fits, and keeps what it is called.
    async fn fetch(&self, name: &str, stage: Stage) -> Result<(), Status> {
        if !self.storm.known(name).fits {
            return Ok(());
        }
        let request = JwtsvidRequest {
            audience: vec![AUDIENCE.to_owned()],
            spiffe_id: format!("spiffe://{TRUST_DOMAIN}/mcp/client/{name}"),
        };
        let mut api = self.api.clone();
        match (api.fetch_jwtsvid(request).await, stage.served(name)) {
            (Ok(answer), Some(hint)) => {
                let svid = answer.into_inner().svids.remove(0);
                assert_eq!(svid.hint, hint, "{name} at {stage:?}");
                let jti = part(&svid.svid, 1)["jti"]
                    .as_str()
                    .expect("a jti")
                    .to_owned();
                self.storm.issued.borrow_mut().insert(jti);
                Ok(())
            }
            (Err(status), None) if status.code() == Code::PermissionDenied => Ok(()),
            (Err(status), _) => Err(status),
            (Ok(_), None) => panic!("{name} is served at {stage:?}"),
        }
    }
}

async fn approve(name: &str, known: &Known, next: Stage, approver: &mut Caller) -> Outcome {
    let (number, digest) = known.pending.clone();
    let is_version = next != Stage::Resumed;
    let request = DecisionRequest {
        name: name.to_owned(),
        version: if is_version { number } else { 0 },
        resumption: if is_version { 0 } else { number },
        digest,
        reason: String::new(),
    };
    match approver.call("ApproveClient", &request).await {
        Some(status) if status.is_ok() => Ok(None),
        Some(status) => Err(Status::unknown(format!("{status:?}"))),
        None => Err(Status::unknown("the approver has ended")),
    }
}

fn spec(name: &str, fits: bool) -> ClientSpec {
    // By digest, every process of the machine would be looked at for each registration.
    let path = match fits {
        true => Program::itself().path_selector(),
        false => format!("unix:path:/{name}"),
    };
    let selectors = vec![Program::uid_selector(), path];
    ClientSpec {
        owner: "tests@example.org".to_owned(),
        selector_sets: vec![SelectorSet { selectors }],
        audiences: vec![AUDIENCE.to_owned()],
        ..ClientSpec::default()
    }
}

fn registration(name: &str, fits: bool) -> RegisterClientRequest {
    RegisterClientRequest {
        name: name.to_owned(),
        spec: Some(spec(name, fits)),
        accept_weak: "a test".to_owned(),
        ..RegisterClientRequest::default()
    }
}

fn update(name: &str, fits: bool) -> UpdateClientRequest {
    UpdateClientRequest {
        name: name.to_owned(),
        spec: Some(ClientSpec {
            hint: second(name),
            ..spec(name, fits)
        }),
        accept_weak: "a test".to_owned(),
        expected_version: 1,
        ..UpdateClientRequest::default()
    }
}

/// What awaits approval of a client.
fn pending_of(client: &Client) -> (u64, String) {
    let version = client.pending.as_ref();
    let version = version.map(|pending| (pending.version, pending.digest.clone()));
    let resumption = client.pending_resumption.as_ref();
    let resumption = resumption.map(|pending| (pending.resumption, pending.digest.clone()));
    version.or(resumption).unwrap_or_default()
}

impl Storm {
    fn new(seed: u64) -> Self {
        Self {
            seed,
            dice: RefCell::new(Dice(seed)),
            clients: RefCell::default(),
            issued: RefCell::default(),
            confirmed: Cell::new(0),
            progress: Notify::new(),
            is_over: Cell::new(false),
        }
    }

    fn known(&self, name: &str) -> Known {
        self.clients.borrow()[name].clone()
    }

    /// A client whose life is not over, and that nobody works on; a new one where there is none.
    fn take(&self) -> String {
        let mut clients = self.clients.borrow_mut();
        let free = clients
            .iter_mut()
            .find(|(_, known)| !known.is_taken && known.confirmed.next().is_some());
        if let Some((name, known)) = free {
            known.is_taken = true;
            return name.clone();
        }
        let name = format!("client-{}", clients.len());
        let known = Known {
            confirmed: Stage::Absent,
            asked: Stage::Absent,
            fits: self.dice.borrow_mut().below(FITTING) == 0,
            is_taken: true,
            pending: Default::default(),
        };
        clients.insert(name.clone(), known);
        name
    }

    /// What is asked for next; none once its life or the round is over.
    fn ask(&self, name: &str) -> Option<(Known, Stage)> {
        let mut clients = self.clients.borrow_mut();
        let known = clients.get_mut(name)?;
        let next = known.confirmed.next().filter(|_| !self.is_over.get())?;
        known.asked = next;
        Some((known.clone(), next))
    }

    fn confirm(&self, name: &str, stage: Stage, client: Option<&Client>) {
        let mut clients = self.clients.borrow_mut();
        let known = clients.get_mut(name).expect("it is known");
        known.confirmed = stage;
        if let Some(client) = client {
            assert_eq!(Stage::of(client), stage, "{client:?}");
            known.pending = pending_of(client);
        }
        self.confirmed.set(self.confirmed.get() + 1);
        self.progress.notify_one();
    }

    /// Nothing fails but by the kill.
    fn unconfirmed(&self, name: &str, status: &Status) {
        let seed = self.seed;
        assert!(self.is_over.get(), "{name}: {status:?} (seed {seed})");
    }

    /// Works until so many more calls are confirmed, kills the agent then, and takes the answers
    /// that were on their way.
    async fn rage(&self, agent: Agent, calls: u64) -> Setup {
        let round = Round {
            storm: self,
            admin: AdminClient::new(channel(&agent.setup().admin_socket()).await),
            api: workload_api(&agent).await,
        };
        self.is_over.set(false);
        let program = caller::program(&agent);
        let lanes = (0..LANES).map(|_| round.lane(Caller::start(&agent, &program, APPROVER)));
        let mut lanes: FuturesUnordered<_> = lanes.collect();
        let until = self.confirmed.get() + calls;
        let kill = async {
            while self.confirmed.get() < until {
                within("a confirmed call", self.progress.notified()).await;
            }
            let pause = self.dice.borrow_mut().pause(MICROSECONDS_UNTIL_KILLED);
            // Not to wait for anything: the kill comes at any point of what is under way.
            tokio::time::sleep(pause).await;
            self.is_over.set(true);
            agent.crash().await.setup
        };
        let drain = async { while within("a lane's end", lanes.next()).await.is_some() {} };
        let (setup, ()) = futures_util::future::join(kill, drain).await;
        for known in self.clients.borrow_mut().values_mut() {
            known.is_taken = false;
        }
        setup
    }

    /// Kills some agents while they start.
    async fn disturb_start(&self, mut setup: Setup) -> Setup {
        while self.dice.borrow_mut().below(3) == 0 {
            let agent = setup.launch();
            let pause = self.dice.borrow_mut().pause(MICROSECONDS_OF_A_START);
            // As above.
            tokio::time::sleep(pause).await;
            setup = agent.crash().await.setup;
        }
        setup
    }

    /// Holds what the agent has against what is known, which is then what the agent has.
    async fn check(&self, agent: &Agent) {
        let seed = self.seed;
        // Where the first one was killed before it signed anything, there is nothing to hold the
        // trail against.
        if agent.setup().data().join("audit/checkpoints").exists() {
            let verify = ["audit", "verify", "--data-dir", &data(agent)];
            let verify = agent.run(verify).await;
            assert_eq!(verify.code, Some(0), "seed {seed}: {verify:?}");
        }
        self.check_told(&all_clients(agent).await, &trail(agent.setup()));
        self.check_served(agent).await;
        self.check_issued(&trail(agent.setup()));
    }

    /// Nothing confirmed is lost, nothing is there that nobody asked for, and the trail tells
    /// exactly what is there.
    fn check_told(&self, found: &BTreeMap<String, Client>, events: &[Value]) {
        let seed = self.seed;
        let mut told: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for event in events {
            // Others are about processes.
            let kind = event["event"].as_str().expect("a kind");
            let is_told = Stage::ALL
                .iter()
                .any(|stage| stage.events().contains(&kind));
            if let Some(client) = event["client"].as_str().filter(|_| is_told) {
                told.entry(client).or_default().push(kind);
            }
        }
        let mut clients = self.clients.borrow_mut();
        for name in found.keys().map(String::as_str).chain(told.keys().copied()) {
            assert!(
                clients.contains_key(name),
                "nobody asked for {name} (seed {seed})"
            );
        }
        for (name, known) in clients.iter_mut() {
            let client = found.get(name);
            let stage = client.map_or(Stage::Absent, Stage::of);
            assert!(
                (known.confirmed..=known.asked).contains(&stage),
                "{name} is {stage:?} after a crash: {known:?} (seed {seed})"
            );
            let past = Stage::ALL.iter().filter(|past| **past <= stage);
            let expected: Vec<_> = past.flat_map(|past| past.events()).copied().collect();
            let told = told.remove(name.as_str()).unwrap_or_default();
            assert_eq!(
                told, expected,
                "{name} is {stage:?}: {known:?} (seed {seed})"
            );
            (known.confirmed, known.asked) = (stage, stage);
            known.pending = client.map(pending_of).unwrap_or_default();
        }
    }

    /// Workloads get what is in force, all of it and nothing else.
    async fn check_served(&self, agent: &Agent) {
        let clients = self.clients.borrow().clone();
        let served = clients.iter().filter(|(_, known)| known.fits);
        let served = served.filter_map(|(name, known)| {
            let hint = known.confirmed.served(name)?;
            Some((format!("spiffe://{TRUST_DOMAIN}/mcp/client/{name}"), hint))
        });
        let expected: BTreeMap<_, _> = served.collect();
        let mut api = workload_api(agent).await;
        let stream = within("the head", api.fetch_x509svid(X509svidRequest {})).await;
        let mut stream = match stream {
            Ok(stream) => stream.into_inner(),
            Err(status) => {
                assert!(expected.is_empty(), "{status:?}");
                return;
            }
        };
        let answer = match within("certificates", stream.message()).await {
            Ok(answer) => answer.expect("not the end"),
            Err(status) => {
                assert!(expected.is_empty(), "{status:?}");
                return;
            }
        };
        let mut found = BTreeMap::new();
        for svid in answer.svids {
            let serial = serial(&svid);
            self.issued.borrow_mut().insert(serial);
            found.insert(svid.spiffe_id, svid.hint);
        }
        assert_eq!(found, expected, "seed {}", self.seed);
    }

    /// The trail knows every SVID that the test was given.
    fn check_issued(&self, events: &[Value]) {
        let recorded: BTreeSet<_> = events
            .iter()
            .filter(|event| event["event"] == "issued" || event["event"] == "renewed")
            .filter_map(|event| {
                let credential = &event["credential"];
                let jti = credential["jti"].as_str().map(str::to_owned);
                let serial = credential["serial"].as_str();
                jti.or_else(|| Some(serial?.trim_start_matches('0').to_owned()))
            })
            .collect();
        let issued = self.issued.borrow();
        let unknown: Vec<_> = issued.difference(&recorded).collect();
        assert!(unknown.is_empty(), "seed {}: {unknown:?}", self.seed);
    }
}

fn data(agent: &Agent) -> String {
    let data = agent.setup().data();
    data.to_str().expect("text").to_owned()
}

async fn all_clients(agent: &Agent) -> BTreeMap<String, Client> {
    let mut admin = AdminClient::new(channel(&agent.setup().admin_socket()).await);
    let (mut all, mut after) = (BTreeMap::new(), String::new());
    loop {
        let request = ListClientsRequest {
            after,
            ..ListClientsRequest::default()
        };
        let page = within("a list", admin.list_clients(request)).await;
        let page = page.expect("a list").into_inner();
        after = page
            .clients
            .last()
            .map(|last| last.name.clone())
            .unwrap_or_default();
        all.extend(
            page.clients
                .into_iter()
                .map(|client| (client.name.clone(), client)),
        );
        if !page.more {
            return all;
        }
    }
}

#[tokio::test]
async fn kills_at_random_points_lose_nothing_confirmed_and_serve_nothing_unconfirmed() {
    let test = "kills_at_random_points_lose_nothing_confirmed_and_serve_nothing_unconfirmed";
    if !can_run(test, is_root(), "run the tests as root") {
        return;
    }
    let storm = Storm::new(number_of("SYMBOLON_CRASH_SEED", 1));
    let calls = number_of("SYMBOLON_CRASH_CALLS", CALLS);
    let mut setup = setup();
    while storm.confirmed.get() < calls {
        setup = storm.disturb_start(setup).await;
        let agent = setup.start().await;
        storm.check(&agent).await;
        let more = storm.dice.borrow_mut().below(2 * CALLS_IN_A_ROUND);
        setup = storm.rage(agent, 1 + more).await;
    }
    let agent = setup.start().await;
    storm.check(&agent).await;
    let setup = agent.stop().await.setup;
    storm.check(&setup.start().await).await;
    assert!(!storm.issued.borrow().is_empty());
}
