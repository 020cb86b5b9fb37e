//! A server on loopback that answers as a test says, and names that point to it.

use super::{Addresses, Allowed, FetchUrl, Fetcher, Resolve, trusting_roots};
use crate::supervisor::Supervisor;
use parking_lot::Mutex;
use rustls::{
    ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use std::{
    collections::VecDeque,
    future, io,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};
use tempfile::NamedTempFile;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    runtime::Handle,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// The name in the server's certificate.
pub(crate) const NAME: &str = "host.test";

/// What the server does with a connection whose request it has read.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// Sends this and closes.
    Whole(Vec<u8>),
    /// Sends this and nothing more.
    Stalled(Vec<u8>),
    /// Sends the first, and then the second for ever.
    Endless(Vec<u8>, Vec<u8>),
    /// Does not even shake hands.
    Silent,
}

/// An answer with status 200.
pub(crate) fn json(body: &str) -> Reply {
    answer("200 OK", "Content-Type: application/json\r\n", body)
}

/// An answer.
pub(crate) fn answer(status: &str, headers: &str, body: &str) -> Reply {
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\n\r\n");
    Reply::Whole([head.as_bytes(), body.as_bytes()].concat())
}

type Answer = Arc<dyn Fn(&str) -> Reply + Send + Sync>;

/// A server with a certificate of its own.
#[derive(Debug)]
pub(crate) struct TestHost {
    pub(crate) port: u16,
    pub(crate) ca_file: NamedTempFile,
    requests: Arc<Mutex<Vec<String>>>,
}

impl TestHost {
    /// Answers each request by what `answer` makes of its head.
    pub(crate) async fn new(answer: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Self {
        let names = [NAME.to_owned(), "127.0.0.1".to_owned()];
        let own = rcgen::generate_simple_self_signed(names).unwrap();
        let ca_file = NamedTempFile::new().unwrap();
        std::fs::write(&ca_file, own.cert.pem()).unwrap();
        let key = PrivatePkcs8KeyDer::from(own.signing_key.serialize_der());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![own.cert.der().clone()], PrivateKeyDer::from(key))
            .unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let serving = Serving {
            tls: TlsAcceptor::from(Arc::new(tls)),
            answer: Arc::new(answer),
            requests: Arc::clone(&requests),
        };
        Supervisor::new(Handle::current()).spawn(serving.run(listener));
        Self {
            port,
            ca_file,
            requests,
        }
    }

    /// A fetcher that trusts this server and may reach loopback.
    pub(crate) fn fetcher(&self) -> Fetcher {
        let allowed = Allowed::read(["127.0.0.1"]).unwrap();
        let tls = trusting_roots(Some(self.ca_file.path())).unwrap();
        Fetcher::new(allowed, tls).with_resolver(Arc::new(Names::loopback()))
    }

    /// A URL of this server by its name.
    pub(crate) fn url(&self, path: &str) -> FetchUrl {
        let port = self.port;
        format!("https://{NAME}:{port}{path}").parse().unwrap()
    }

    /// The heads of the requests so far.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().clone()
    }
}

#[derive(Clone)]
struct Serving {
    tls: TlsAcceptor,
    answer: Answer,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Serving {
    async fn run(self, listener: TcpListener) {
        let supervisor = Supervisor::new(Handle::current());
        while let Ok((stream, _peer)) = listener.accept().await {
            let this = self.clone();
            supervisor.spawn(async move {
                // A client that leaves is what many tests want.
                drop(this.converse(stream).await);
            });
        }
    }

    async fn converse(self, stream: TcpStream) -> io::Result<()> {
        if matches!((self.answer)(""), Reply::Silent) {
            let _stream = stream;
            return future::pending().await;
        }
        let mut stream = self.tls.accept(stream).await?;
        let head = head(&mut stream).await?;
        let reply = (self.answer)(&head);
        self.requests.lock().push(head);
        match reply {
            Reply::Whole(bytes) => stream.write_all(&bytes).await?,
            Reply::Stalled(bytes) => {
                stream.write_all(&bytes).await?;
                stream.flush().await?;
                future::pending::<()>().await;
            }
            Reply::Endless(start, more) => {
                stream.write_all(&start).await?;
                loop {
                    stream.write_all(&more).await?;
                }
            }
            Reply::Silent => {}
        }
        stream.shutdown().await
    }
}

/// The head of a request, and of its body what came with it.
async fn head(stream: &mut TlsStream<TcpStream>) -> io::Result<String> {
    let mut head = Vec::new();
    let mut part = [0; 4096];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let read = stream.read(&mut part).await?;
        if read == 0 {
            break;
        }
        head.extend_from_slice(&part[..read]);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

/// A resolver that knows one name after the other: each question gets the next answer, and the
/// last one stays.
#[derive(Debug)]
pub(crate) struct Names {
    answers: Mutex<VecDeque<Vec<IpAddr>>>,
    asked: Mutex<Vec<String>>,
}

impl Names {
    pub(crate) fn loopback() -> Self {
        Self::new(&[&["127.0.0.1"]])
    }

    pub(crate) fn new(answers: &[&[&str]]) -> Self {
        let addresses = |answer: &&[&str]| -> Vec<IpAddr> {
            let addresses = answer.iter().map(|address| address.parse().unwrap());
            addresses.collect()
        };
        Self {
            answers: Mutex::new(answers.iter().map(addresses).collect()),
            asked: Mutex::default(),
        }
    }

    /// The names that were asked for.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().clone()
    }
}

impl Resolve for Names {
    fn resolve<'a>(&'a self, name: &'a str) -> Addresses<'a> {
        self.asked.lock().push(name.to_owned());
        let mut answers = self.answers.lock();
        let answer = match answers.len() {
            0 | 1 => answers.front().cloned(),
            _ => answers.pop_front(),
        };
        Box::pin(future::ready(
            answer.ok_or_else(|| io::ErrorKind::NotFound.into()),
        ))
    }
}
