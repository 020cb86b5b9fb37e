use super::{Admit, Caller, HealthApi, HttpLimits, Refused, Whose, serve};
use crate::transport::{Breach, Heard, Question};
use futures_util::StreamExt as _;
use hyper_util::rt::TokioIo;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use std::{
    future::Future,
    io::{self, IoSlice, Write as _},
    mem::MaybeUninit,
    os::{fd::AsFd as _, unix::net::UnixStream as PlainStream},
    path::PathBuf,
    process::Command,
    sync::Arc,
    time::Duration,
};
use symbolon_syscalls::set_passcred;
use tempfile::TempDir;
use tokio::{
    io::AsyncReadExt as _,
    net::{UnixListener, UnixStream},
    sync::watch,
    task::JoinHandle,
    time::Instant,
};
use tonic::{Code, transport::Endpoint};
use tonic_health::pb::{
    HealthCheckRequest, health_client::HealthClient, health_server::HealthServer,
};

/// Lets everybody in, and sends all away when told to.
#[derive(Debug)]
struct Porter {
    over: watch::Receiver<bool>,
    inside: Arc<()>,
    /// What is heard of the guests' answers; nobody is asked without.
    heard: Option<watch::Sender<Heard>>,
}

#[derive(Clone, Debug)]
pub(super) struct Guest {
    over: watch::Receiver<bool>,
    _inside: Arc<()>,
    heard: Option<watch::Sender<Heard>>,
}

impl Caller for Guest {
    type Place = ();

    fn enter(&self) -> Result<(), Refused> {
        Ok(())
    }

    fn whose(&self) -> Whose {
        Whose {
            uid: 1,
            cgroup: None,
        }
    }

    fn question(&self) -> Option<Question> {
        let heard = self.heard.clone()?;
        Some(Question::new(std::process::id(), *b"anything", heard))
    }

    async fn ended(&self) {
        super::until_true(self.over.clone()).await;
    }
}

impl Admit for Porter {
    type Caller = Guest;

    fn admit(&self, _: &UnixStream) -> Result<Guest, Refused> {
        Ok(Guest {
            over: self.over.clone(),
            _inside: Arc::clone(&self.inside),
            heard: self.heard.clone(),
        })
    }

    fn refused(&self, why: &Refused) {
        panic!("{why}");
    }
}

/// A server of gRPC health in a folder of its own.
struct House {
    folder: TempDir,
    over: watch::Sender<bool>,
    stop: watch::Sender<bool>,
    inside: Arc<()>,
    server: JoinHandle<()>,
    _ready: watch::Sender<bool>,
}

impl House {
    fn open() -> Self {
        Self::with(None)
    }

    /// One that asks its guests.
    fn asking(heard: &watch::Sender<Heard>) -> Self {
        Self::with(Some(heard.clone()))
    }

    fn with(heard: Option<watch::Sender<Heard>>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("sock")).unwrap();
        if heard.is_some() {
            set_passcred(listener.as_fd()).unwrap();
        }
        let (over, stop) = (watch::Sender::new(false), watch::Sender::new(false));
        let inside = Arc::new(());
        let porter = Arc::new(Porter {
            over: over.subscribe(),
            inside: Arc::clone(&inside),
            heard,
        });
        let ready = watch::Sender::new(true);
        let health = HealthServer::new(HealthApi::new(ready.subscribe(), &[]));
        let limits = HttpLimits {
            max_concurrent_streams: 8,
        };
        let serving = serve(listener, porter, health, limits, stop.subscribe());
        let server = spawn(serving);
        Self {
            folder,
            over,
            stop,
            inside,
            server,
            _ready: ready,
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("sock")
    }

    /// How many connections are held.
    fn held(&self) -> usize {
        // The house's own, and the porter's.
        Arc::strong_count(&self.inside) - 2
    }

    async fn client(&self) -> HealthClient<tonic::transport::Channel> {
        let path = self.path();
        let connect = tower::service_fn(move |_| {
            let path = path.clone();
            async move { Ok::<_, io::Error>(TokioIo::new(UnixStream::connect(path).await?)) }
        });
        let endpoint = Endpoint::from_static("http://localhost");
        HealthClient::new(endpoint.connect_with_connector(connect).await.unwrap())
    }
}

fn spawn(serving: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    tokio::runtime::Handle::current().spawn(serving)
}

async fn end_of(mut socket: UnixStream) {
    let mut read = Vec::new();
    socket.read_to_end(&mut read).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn connection_that_says_nothing_loses_its_place() {
    let house = House::open();
    let begun = Instant::now();
    let socket = UnixStream::connect(house.path()).await.unwrap();
    end_of(socket).await;
    assert!(begun.elapsed() < Duration::from_secs(60));
    assert_eq!(house.held(), 0);
}

#[tokio::test]
async fn half_open_connection_does_not_delay_the_stop() {
    let house = House::open();
    let client = house.client().await;
    let socket = UnixStream::connect(house.path()).await.unwrap();
    while house.held() < 2 {
        tokio::task::yield_now().await;
    }
    house.stop.send_replace(true);
    let stopped = tokio::time::timeout(Duration::from_secs(5), house.server);
    stopped.await.unwrap().unwrap();
    drop((socket, client));
}

#[tokio::test]
async fn open_stream_ends_as_unavailable_at_the_stop() {
    let house = House::open();
    let mut client = house.client().await;
    let watched = client.watch(HealthCheckRequest::default()).await.unwrap();
    let mut states = watched.into_inner();
    states.next().await.unwrap().unwrap();
    house.stop.send_replace(true);
    let status = states.next().await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    drop((states, client));
    house.server.await.unwrap();
}

#[tokio::test]
async fn connections_of_a_caller_that_is_over_end() {
    let house = House::open();
    let mut client = house.client().await;
    client.check(HealthCheckRequest::default()).await.unwrap();
    house.over.send_replace(true);
    let silent = UnixStream::connect(house.path()).await.unwrap();
    end_of(silent).await;
    while house.held() > 0 {
        tokio::task::yield_now().await;
    }
}

/// What a client sends first, made by hand: preface and empty SETTINGS.
const OPENING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

#[tokio::test]
async fn ordinary_client_answers_and_notices_nothing() {
    let (heard, mut hears) = watch::channel(Heard::Nothing);
    let house = House::asking(&heard);
    let mut client = house.client().await;
    client.check(HealthCheckRequest::default()).await.unwrap();
    hears
        .wait_for(|heard| *heard == Heard::Answer)
        .await
        .unwrap();
    for _ in 0..3 {
        client.check(HealthCheckRequest::default()).await.unwrap();
    }
    assert_eq!(*hears.borrow(), Heard::Answer);
}

async fn breach(mut hears: watch::Receiver<Heard>) -> Breach {
    let breached = hears.wait_for(|heard| *heard != Heard::Nothing);
    match *breached.await.unwrap() {
        Heard::Breach(breach) => breach,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn process_that_was_given_the_socket_ends_the_connection() {
    for opens in [true, false] {
        let (heard, hears) = watch::channel(Heard::Nothing);
        let house = House::asking(&heard);
        let mut socket = PlainStream::connect(house.path()).unwrap();
        if opens {
            socket.write_all(OPENING).unwrap();
        }
        // As an accomplice would: the socket is its standard output.
        let output = std::os::fd::OwnedFd::from(socket.try_clone().unwrap());
        let mut child = Command::new("/bin/echo").stdout(output).spawn().unwrap();
        let pid = child.id();
        child.wait().unwrap();
        assert_eq!(breach(hears).await, Breach::ForeignSender(pid));
        while house.held() > 0 {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn descriptors_that_are_pushed_at_the_agent_end_the_connection() {
    let (heard, hears) = watch::channel(Heard::Nothing);
    let house = House::asking(&heard);
    let mut socket = PlainStream::connect(house.path()).unwrap();
    socket.write_all(OPENING).unwrap();
    let descriptors = [socket.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    assert!(ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)));
    let bytes = [IoSlice::new(b"\0\0\0\x04\x01\0\0\0\0")];
    sendmsg(&socket, &bytes, &mut ancillary, SendFlags::empty()).unwrap();
    assert_eq!(breach(hears).await, Breach::AncillaryData);
    while house.held() > 0 {
        tokio::task::yield_now().await;
    }
}
