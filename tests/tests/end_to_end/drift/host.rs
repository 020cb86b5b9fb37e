//! A host of other people's documents that serves what a test says, and a name server that
//! answers what it says.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use symbolon_tests::within;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// The name that the test's own name server knows.
pub(super) const NAME: &str = "documents.test";

/// What is answered to a request.
#[derive(Clone, Debug)]
pub(super) enum Page {
    /// These bytes, and the end.
    Whole(Vec<u8>),
    /// The first bytes, and then the others for ever.
    Endless(Vec<u8>, Vec<u8>),
    /// The first bytes, and then one more now and then.
    Dripping(Vec<u8>),
    /// These bytes, and nothing more.
    Stalled(Vec<u8>),
    /// The first to the agent, the second to authorization servers.
    ByReader(Box<Self>, Box<Self>),
}

/// Status 200, with this content.
pub(super) fn json(content: &str) -> Page {
    answer("200 OK", "content-type: application/json\r\n", content)
}

/// An answer in full.
pub(super) fn answer(status: &str, headers: &str, content: &str) -> Page {
    let length = content.len();
    let head = format!("HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\n\r\n");
    Page::Whole([head.as_bytes(), content.as_bytes()].concat())
}

/// The start of an answer that says nothing of its end.
pub(super) fn beginning() -> Vec<u8> {
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n{\"a\":\"".to_vec()
}

/// What came of a page so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Served {
    /// Requests that were read.
    pub(super) requests: u64,
    /// Requests whose reader has left, or has everything.
    pub(super) ended: u64,
    /// The most that one reader was sent before it left.
    pub(super) most_bytes: u64,
}

/// The host; it ends with the test.
#[derive(Debug)]
pub(super) struct Host {
    port: u16,
    certificate: String,
    pages: watch::Sender<BTreeMap<String, Page>>,
    served: watch::Sender<BTreeMap<String, Served>>,
}

impl Host {
    /// Listens on 127.0.0.1, with a certificate for that, `localhost` and [`NAME`].
    pub(super) async fn start() -> Self {
        let names = ["localhost", NAME, "127.0.0.1"].map(str::to_owned);
        let own = rcgen::generate_simple_self_signed(names).unwrap();
        let key = PrivatePkcs8KeyDer::from(own.signing_key.serialize_der());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![own.cert.der().clone()], PrivateKeyDer::from(key))
            .unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let host = Self {
            port: listener.local_addr().unwrap().port(),
            certificate: own.cert.pem(),
            pages: watch::Sender::default(),
            served: watch::Sender::default(),
        };
        let serving = Serving {
            tls: TlsAcceptor::from(Arc::new(tls)),
            pages: host.pages.clone(),
            served: host.served.clone(),
        };
        spawn(serving.run(listener));
        host
    }

    /// Its port.
    pub(super) const fn port(&self) -> u16 {
        self.port
    }

    /// What it is trusted by.
    pub(super) fn certificate(&self) -> &str {
        &self.certificate
    }

    /// Serves this from now on.
    pub(super) fn serve(&self, path: &str, page: Page) {
        self.pages.send_modify(|pages| {
            pages.insert(path.to_owned(), page);
        });
    }

    /// What came of a page so far.
    pub(super) fn served(&self, path: &str) -> Served {
        self.served.borrow().get(path).copied().unwrap_or_default()
    }

    /// Waits until as many looks as this have ended from now on, and the next has read all. Each
    /// reads a page twice, and the next begins when the one before it was dealt with.
    pub(super) async fn looks(&self, path: &str, looks: u64) {
        let enough = self.served(path).requests.next_multiple_of(2) + 2 * looks;
        let mut served = self.served.subscribe();
        let next = served.wait_for(|served| {
            let page = served.get(path).copied().unwrap_or_default();
            page.ended >= enough + 2
        });
        drop(within(path, next).await.unwrap());
    }

    /// Waits until a reader of this page has left.
    pub(super) async fn ended(&self, path: &str) {
        let mut served = self.served.subscribe();
        let ended = served.wait_for(|served| served.get(path).is_some_and(|page| page.ended > 0));
        drop(within(path, ended).await.unwrap());
    }
}

/// SHA-256 as the trail and the command line show it.
pub(super) fn sha256(text: &str) -> String {
    let bytes = digest(&SHA256, text.as_bytes());
    bytes.as_ref().iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    })
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test's server has no supervisor"
)]
fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    drop(tokio::spawn(task));
}

#[derive(Clone)]
struct Serving {
    tls: TlsAcceptor,
    pages: watch::Sender<BTreeMap<String, Page>>,
    served: watch::Sender<BTreeMap<String, Served>>,
}

impl Serving {
    async fn run(self, listener: TcpListener) {
        while let Ok((stream, _peer)) = listener.accept().await {
            let this = self.clone();
            // A reader that leaves is what many tests want.
            spawn(async move { drop(this.converse(stream).await) });
        }
    }

    async fn converse(self, stream: TcpStream) -> io::Result<()> {
        let mut stream = self.tls.accept(stream).await?;
        let head = head(&mut stream).await?;
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let page = self.pages.borrow().get(&path).cloned();
        let page = match page {
            Some(Page::ByReader(_, other)) if head.contains("user-agent: node") => *other,
            Some(Page::ByReader(own, _)) => *own,
            Some(page) => page,
            None => answer("404 Not Found", "", ""),
        };
        self.note(&path, |served| served.requests += 1);
        let mut sent = 0;
        let end = send(&mut stream, &page, &mut sent).await;
        self.note(&path, |served| {
            served.ended += 1;
            served.most_bytes = served.most_bytes.max(sent);
        });
        end
    }

    fn note(&self, path: &str, what: impl FnOnce(&mut Served)) {
        self.served
            .send_modify(|served| what(served.entry(path.to_owned()).or_default()));
    }
}

/// Sends a page, until the reader leaves where it has no end.
async fn send(stream: &mut TlsStream<TcpStream>, page: &Page, sent: &mut u64) -> io::Result<()> {
    let (Page::Whole(start)
    | Page::Endless(start, _)
    | Page::Dripping(start)
    | Page::Stalled(start)) = page
    else {
        return Ok(());
    };
    write(stream, start, sent).await?;
    match page {
        Page::Endless(_, more) => loop {
            write(stream, more, sent).await?;
        },
        Page::Dripping(_) => {
            let mut drops = tokio::time::interval(Duration::from_millis(200));
            loop {
                drops.tick().await;
                write(stream, b"a", sent).await?;
            }
        }
        // The end of what the reader sends is that it leaves.
        Page::Stalled(_) => stream.read_u8().await.map(drop),
        Page::Whole(_) | Page::ByReader(..) => stream.shutdown().await,
    }
}

async fn write(stream: &mut TlsStream<TcpStream>, bytes: &[u8], sent: &mut u64) -> io::Result<()> {
    for piece in bytes.chunks(1 << 16) {
        stream.write_all(piece).await?;
        stream.flush().await?;
        *sent += u64::try_from(piece.len()).unwrap();
    }
    Ok(())
}

async fn head(stream: &mut TlsStream<TcpStream>) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

/// A name server (RFC 1035) that knows [`NAME`] alone; it ends with the test.
#[derive(Debug)]
pub(super) struct Names {
    address: IpAddr,
    known: watch::Sender<Vec<Vec<IpAddr>>>,
}

impl Names {
    /// Listens on an address of its own on loopback, since resolvers ask port 53 only. It takes
    /// root.
    pub(super) async fn start() -> Self {
        let [.., a, b] = std::process::id().to_be_bytes();
        let address = IpAddr::from([127, 53, a, b]);
        let socket = UdpSocket::bind(SocketAddr::new(address, 53)).await;
        let known = watch::Sender::default();
        spawn(answer_all(socket.unwrap(), known.clone()));
        Self { address, known }
    }

    /// The line of `resolv.conf`.
    pub(super) fn resolv_conf(&self) -> String {
        format!("nameserver {}\noptions attempts:1\n", self.address)
    }

    /// Answers with these addresses from now on, one set after the other, and then from the start.
    pub(super) fn answer(&self, sets: &[&[&str]]) {
        let address = |text: &&str| text.parse().unwrap();
        let sets = sets.iter().map(|set| set.iter().map(address).collect());
        self.known.send_replace(sets.collect());
    }
}

async fn answer_all(socket: UdpSocket, known: watch::Sender<Vec<Vec<IpAddr>>>) {
    let mut packet = [0; 512];
    let mut asked = 0;
    while let Ok((length, peer)) = socket.recv_from(&mut packet).await {
        let question = &packet[..length];
        let kind = question_type(question);
        let sets = known.borrow().clone();
        let set = sets.get(asked % sets.len().max(1)).cloned();
        if kind == 1 {
            asked += 1;
        }
        let answered = answered(question, kind, &set.unwrap_or_default());
        drop(socket.send_to(&answered, peer).await);
    }
}

/// The end of the only question: type and class, behind the name's empty label.
fn question_end(packet: &[u8]) -> usize {
    let name = packet[12..].iter().position(|byte| *byte == 0).unwrap();
    12 + name + 1 + 4
}

fn question_type(packet: &[u8]) -> u16 {
    let end = question_end(packet);
    u16::from_be_bytes([packet[end - 4], packet[end - 3]])
}

/// The answer: the addresses of the type that was asked for.
fn answered(question: &[u8], kind: u16, addresses: &[IpAddr]) -> Vec<u8> {
    let name: String = question[12..].iter().copied().map(char::from).collect();
    let (label, domain) = NAME.split_once('.').unwrap();
    let is_known = name.contains(label) && name.contains(domain);
    let records: Vec<Vec<u8>> = addresses
        .iter()
        .filter(|_| is_known)
        .filter_map(|address| match (address, kind) {
            (IpAddr::V4(address), 1) => Some(address.octets().to_vec()),
            (IpAddr::V6(address), 28) => Some(address.octets().to_vec()),
            _ => None,
        })
        .collect();
    let count = u8::try_from(records.len()).unwrap();
    let mut packet = question[..2].to_vec();
    // An answer without an error, to one question.
    packet.extend([0x81, 0x80, 0, 1, 0, count, 0, 0, 0, 0]);
    packet.extend(&question[12..question_end(question)]);
    for record in records {
        let length = u8::try_from(record.len()).unwrap();
        let [kind_high, kind_low] = kind.to_be_bytes();
        // The name of the question, for no time at all.
        packet.extend([0xc0, 12, kind_high, kind_low, 0, 1, 0, 0, 0, 0, 0, length]);
        packet.extend(record);
    }
    packet
}
