//! Managers that no systemd would be: silent, contradictory, out of form. What a real one says is
//! tested in `tests/live`.

use super::{KEYS, LOOKUPS_PER_USER, Systemd, tell};
use crate::{
    Attestor, AttestorConfig, Kind, Kinds, PinnedPeer, findings::Findings, systemd::unit::Unit,
};
use futures_util::stream::FuturesUnordered;
use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};
use tempfile::TempDir;
use tokio::{net::UnixListener, time::Instant};
use tokio_stream::StreamExt as _;
use zbus::{Connection, Guid, Message, Variant, connection::Builder};

/// No test waits as long, unless it is the wait that is tested.
const DEADLINE: Duration = Duration::from_secs(60);

const INVOCATION: [u8; 16] = [7; 16];

/// The user on whose account the test's own process is looked up.
const OWN: u32 = 1000;

/// What a manager does with one call.
enum Answer {
    Reply(Box<dyn Fn(&Message) -> Message + Send>),
    Refuse(&'static str),
    Silence,
    HangUp,
}

fn reply<B: serde::Serialize + zbus::DynamicType + Send + 'static>(body: B) -> Answer {
    Answer::Reply(Box::new(move |call| {
        Message::method_return(&call.header()).build(&body).unwrap()
    }))
}

fn value(value: Variant<'static>) -> Answer {
    reply(value)
}

/// A bus with a manager that names a unit for everybody.
fn manager(call: &Message) -> Answer {
    let header = call.header();
    match header.member().unwrap().as_str() {
        "Hello" => reply(":1.7"),
        "GetNameOwner" => reply(":1.0"),
        "GetConnectionUnixUser" => reply(rustix::process::geteuid().as_raw()),
        "GetUnitByPIDFD" => Answer::Refuse("org.freedesktop.DBus.Error.UnknownMethod"),
        "GetUnitByPID" => {
            reply(zbus::ObjectPath::try_from("/org/freedesktop/systemd1/unit/a").unwrap())
        }
        "Get" => {
            let (_, name): (String, String) = call.body().deserialize().unwrap();
            match name.as_str() {
                "Id" => value(Variant::from("a.service")),
                "InvocationID" => value(Variant::from(INVOCATION.to_vec())),
                "ControlGroup" => value(Variant::from("/system.slice/a.service")),
                "ControlGroupId" => value(Variant::from(u64::MAX - 1)),
                _ => value(Variant::from("")),
            }
        }
        other => panic!("{other}"),
    }
}

fn asks_for(call: &Message, property: &str) -> bool {
    call.header().member().unwrap().as_str() == "Get"
        && call.body().deserialize::<(String, String)>().unwrap().1 == property
}

struct Bus {
    directory: TempDir,
    connections: Arc<AtomicUsize>,
}

impl Bus {
    /// Serves `behaviour` on a socket of its own.
    fn serve(behaviour: impl Fn(&Message) -> Answer + Send + Sync + 'static) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join("bus")).unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        let serving = async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                let server = Builder::unix_stream(stream.into_std().unwrap())
                    .server(Guid::generate())
                    .p2p();
                let mut calls = server.build_message_stream().await.unwrap();
                while let Some(Ok(call)) = calls.next().await {
                    let connection = Connection::from(&calls);
                    match behaviour(&call) {
                        Answer::Reply(message) => connection.send(&message(&call)).await.unwrap(),
                        Answer::Refuse(name) => {
                            let error = Message::error(&call.header(), name);
                            connection.send(&error.build(&"no").unwrap()).await.unwrap();
                        }
                        Answer::Silence => {}
                        Answer::HangUp => break,
                    }
                }
            }
        };
        #[expect(
            clippy::disallowed_methods,
            reason = "the other end, for as long as the test runs"
        )]
        drop(tokio::spawn(serving));
        Self {
            directory,
            connections,
        }
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("bus")
    }

    fn systemd(&self, deadline: Duration) -> Systemd {
        Systemd::new(Some(self.socket()), deadline)
    }
}

async fn unit(systemd: &Systemd) -> Result<Option<Unit>, String> {
    let peer = PinnedPeer::of_pid(std::process::id()).unwrap();
    systemd.unit(OWN.into(), &peer).await.map_err(Into::into)
}

/// Why nothing is known, where `behaviour` differs from a good manager's.
async fn refused(behaviour: impl Fn(&Message) -> Option<Answer> + Send + Sync + 'static) -> String {
    let bus = Bus::serve(move |call| behaviour(call).unwrap_or_else(|| manager(call)));
    unit(&bus.systemd(DEADLINE)).await.unwrap_err()
}

#[tokio::test]
async fn a_manager_is_asked_by_number_where_it_knows_no_pidfds() {
    let bus = Bus::serve(manager);
    let systemd = bus.systemd(DEADLINE);
    for _ in 0..2 {
        let unit = unit(&systemd).await.unwrap().unwrap();
        assert_eq!(unit.id, "a.service");
        assert_eq!(unit.invocation_id, INVOCATION);
        assert_eq!(unit.control_group_id, Some(u64::MAX - 1));
    }
    assert_eq!(bus.connections.load(Ordering::Relaxed), 1);
}

/// A manager that is silent where `is_silent` holds of a lookup's number.
fn silent_at(is_silent: impl Fn(usize) -> bool + Send + Sync + 'static) -> Bus {
    let lookups = AtomicUsize::new(0);
    Bus::serve(move |call| match call.header().member().unwrap().as_str() {
        "GetUnitByPIDFD" if is_silent(lookups.fetch_add(1, Ordering::Relaxed)) => Answer::Silence,
        _ => manager(call),
    })
}

#[tokio::test]
async fn a_flood_of_one_user_at_a_manager_that_hangs_leaves_the_others_their_turns() {
    let bus = silent_at(|lookup| lookup < LOOKUPS_PER_USER);
    let systemd = bus.systemd(DEADLINE);
    let peer = PinnedPeer::of_pid(std::process::id()).unwrap();
    let flood = (0..1000).map(|_| systemd.unit(OWN.into(), &peer));
    let mut flood: FuturesUnordered<_> = flood.collect();
    let flooding = async {
        while let Some(answer) = flood.next().await {
            let reason = answer.unwrap_err();
            assert!(reason.contains("too many lookups"), "{reason}");
        }
    };
    let others = async {
        for user in OWN + 1..OWN + 20 {
            let unit = systemd.unit(user.into(), &peer).await;
            assert_eq!(unit.unwrap().unwrap().id, "a.service");
        }
    };
    // The flood is first.
    tokio::select! {
        biased;
        () = flooding => panic!("nobody answered it"),
        () = others => {}
    }
    assert_eq!(bus.connections.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_deadline_ends_its_call_alone() {
    let bus = silent_at(|lookup| lookup == 0);
    let systemd = bus.systemd(DEADLINE);
    let mut hangs = Box::pin(unit(&systemd));
    let others = async {
        for _ in 0..20 {
            assert!(unit(&systemd).await.unwrap().is_some());
        }
    };
    tokio::select! {
        biased;
        answer = &mut hangs => panic!("{answer:?}"),
        () = others => {}
    }
    let why = "a call hung".into();
    for _ in 0..5 {
        systemd.bus.missed(Instant::now(), &why);
        systemd.bus.missed(Instant::now(), &why);
        // The answer says that the manager lives.
        assert!(unit(&systemd).await.unwrap().is_some());
    }
    assert_eq!(bus.connections.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn an_answer_out_of_form_ends_its_call_alone() {
    let answers = AtomicUsize::new(0);
    let bus = Bus::serve(move |call| {
        if asks_for(call, "Id") && answers.fetch_add(1, Ordering::Relaxed) == 0 {
            return value(Variant::from(7_u32));
        }
        manager(call)
    });
    let systemd = bus.systemd(DEADLINE);
    unit(&systemd).await.unwrap_err();
    assert!(unit(&systemd).await.unwrap().is_some());
    assert_eq!(bus.connections.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_silent_manager_is_given_up_and_not_asked_again_at_once() {
    let bus = silent_at(|lookup| lookup > 0);
    let mut systemd = bus.systemd(DEADLINE);
    assert!(unit(&systemd).await.unwrap().is_some());
    systemd.deadline = Duration::from_millis(50);
    // Lookups that wait side by side say no more than one.
    for _ in 0..3 {
        systemd.bus.known().unwrap();
        let both = tokio::join!(unit(&systemd), unit(&systemd));
        assert!(both.0.unwrap_err().contains("did not answer within"));
        assert!(both.1.unwrap_err().contains("did not answer within"));
    }
    systemd.bus.known().unwrap_err();
    systemd.deadline = DEADLINE;
    let reason = unit(&systemd).await.unwrap_err();
    assert!(reason.contains("did not answer within"), "{reason}");
    assert_eq!(bus.connections.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn pauses_grow_until_the_manager_answers() {
    let bus = super::Bus::default();
    let why = "silent".into();
    let mut pauses = Vec::new();
    for _ in 0..7 {
        while bus.known().is_ok() {
            bus.missed(Instant::now(), &why);
        }
        let start = Instant::now();
        while bus.known().is_err() {
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        pauses.push(start.elapsed().as_secs());
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30]);
}

#[tokio::test]
async fn a_bus_that_says_nothing_is_not_connected_to_again_at_once() {
    let bus = Bus::serve(|_| Answer::Silence);
    let mut systemd = bus.systemd(Duration::from_millis(50));
    let reason = unit(&systemd).await.unwrap_err();
    assert!(reason.contains("no connection within"), "{reason}");
    systemd.deadline = DEADLINE;
    assert_eq!(unit(&systemd).await.unwrap_err(), reason);
}

#[tokio::test]
async fn a_connection_that_broke_is_made_anew() {
    let calls = AtomicUsize::new(0);
    let bus = Bus::serve(move |call| {
        let lookup = call.header().member().unwrap().as_str() == "GetUnitByPIDFD";
        if lookup && calls.fetch_add(1, Ordering::Relaxed) == 1 {
            return Answer::HangUp;
        }
        manager(call)
    });
    let systemd = bus.systemd(DEADLINE);
    assert!(unit(&systemd).await.unwrap().is_some());
    assert!(unit(&systemd).await.unwrap().is_some());
    assert_eq!(bus.connections.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn answers_out_of_form_are_no_facts() {
    let is = |call: &Message, name: &str| call.header().member().unwrap().as_str() == name;
    refused(move |call| is(call, "GetUnitByPID").then(|| reply(7_u32))).await;
    refused(move |call| is(call, "GetNameOwner").then(|| reply("not a name"))).await;
    refused(move |call| asks_for(call, "Id").then(|| value(Variant::from(7_u32)))).await;
    refused(move |call| asks_for(call, "InvocationID").then(|| value(Variant::from("x")))).await;
    refused(move |call| asks_for(call, "ControlGroupId").then(|| value(Variant::from(-1_i64))))
        .await;
    refused(move |call| asks_for(call, "Slice").then(|| reply("no variant"))).await;
}

#[tokio::test]
async fn a_unit_that_is_started_anew_meanwhile_is_unknown() {
    let starts = AtomicUsize::new(0);
    let reason = refused(move |call| {
        asks_for(call, "InvocationID").then(|| {
            let start = starts.fetch_add(1, Ordering::Relaxed).to_string();
            value(Variant::from(start.into_bytes()))
        })
    });
    let reason = reason.await;
    assert!(reason.contains("started anew"), "{reason}");
}

#[tokio::test]
async fn a_manager_that_is_another_users_is_not_believed() {
    let foreign = rustix::process::geteuid().as_raw() + 12_345;
    let reason = refused(move |call| {
        let asked = call.header().member().unwrap().as_str() == "GetConnectionUnixUser";
        asked.then(|| reply(foreign))
    });
    let reason = reason.await;
    assert!(reason.contains("belongs to uid"), "{reason}");
}

#[tokio::test]
async fn a_refusal_by_the_bus_is_told() {
    let reason = refused(|call| {
        let name = call
            .header()
            .member()
            .unwrap()
            .as_str()
            .starts_with("GetUnit");
        name.then(|| Answer::Refuse("org.freedesktop.DBus.Error.AccessDenied"))
    });
    let reason = reason.await;
    assert!(reason.contains("AccessDenied"), "{reason}");
}

#[tokio::test]
async fn no_unit_is_an_answer() {
    let bus = Bus::serve(|call| match call.header().member().unwrap().as_str() {
        "GetUnitByPID" => Answer::Refuse("org.freedesktop.systemd1.NoUnitForPID"),
        _ => manager(call),
    });
    assert_eq!(unit(&bus.systemd(DEADLINE)).await, Ok(None));
}

#[tokio::test]
async fn a_slice_is_no_unit_of_a_process() {
    let bus = Bus::serve(|call| {
        if asks_for(call, "Id") {
            return value(Variant::from("-.slice"));
        }
        manager(call)
    });
    assert_eq!(unit(&bus.systemd(DEADLINE)).await, Ok(None));
}

#[tokio::test]
async fn a_socket_that_others_can_replace_is_not_connected_to() {
    let bus = Bus::serve(manager);
    fs::set_permissions(bus.directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let reason = unit(&bus.systemd(DEADLINE)).await.unwrap_err();
    assert!(reason.contains("can be replaced by others"), "{reason}");
    assert_eq!(bus.connections.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_bus_that_is_turned_off_is_said_to_be() {
    let reason = unit(&Systemd::new(None, DEADLINE)).await.unwrap_err();
    assert!(reason.contains("off"), "{reason}");
}

#[tokio::test]
async fn a_manager_that_names_another_cgroups_unit_is_not_believed() {
    let bus = Bus::serve(manager);
    let config = AttestorConfig {
        systemd_bus: Some(bus.socket()),
        ..AttestorConfig::default()
    };
    let attestor = Attestor::new(config).unwrap();
    let peer = Arc::new(attestor.pin_pid(std::process::id()).unwrap());
    let kinds = Kinds::NONE.with(Kind::Systemd);
    let attested = attestor
        .attest(
            &peer,
            &attestor.look(&peer).unwrap(),
            kinds,
            SystemTime::UNIX_EPOCH,
        )
        .await;
    let evidence = attested.unwrap().evidence().clone();
    let is_unit = |text: &str| text.starts_with("systemd:");
    assert!(!evidence.selectors.iter().any(|held| is_unit(held.as_str())));
    let unknown = evidence.unknown.iter();
    assert_eq!(
        unknown.filter(|lack| is_unit(lack.selector)).count(),
        KEYS.len()
    );
}

#[test]
fn a_users_unit_is_that_users_alone() {
    let manager = Unit {
        id: "user@1000.service".into(),
        ..Unit::default()
    };
    let told = |uid| {
        let mut findings = Findings::default();
        tell(&manager, "/app.slice/a.service", uid, &mut findings);
        let (selectors, unknown) = findings.finish();
        assert!(unknown.is_empty());
        selectors
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        told(1000),
        [
            "systemd:id:user@1000.service",
            "systemd:user_unit:a.service"
        ]
    );
    for uid in [0, 100, 10_000] {
        assert_eq!(told(uid), ["systemd:id:user@1000.service"]);
    }
}
