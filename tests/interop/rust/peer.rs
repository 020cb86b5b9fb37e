//! A workload that meets those of other trust domains, with the `spiffe` and `spiffe-rustls`
//! crates.
//!
//! Usage: `symbolon-test-peer serve PEER AUDIENCE`, `meet ADDRESS PEER AUDIENCE` or
//! `judge AUDIENCE TOKEN...`, with `SPIFFE_ENDPOINT_SOCKET` set. `tests/src/peer.rs` says which
//! lines it prints.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "what it prints is its result"
)]

use std::{error::Error, fmt::Write as _, sync::Arc, time::Duration};

use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use spiffe::{JwtSource, JwtSvid, SpiffeId, WorkloadApiClient, X509Source};
use spiffe_rustls::{authorizer, mtls_client, mtls_server};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{MissedTickBehavior, interval};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// Time between two meetings: a steady load, not a flood.
const PACE: Duration = Duration::from_millis(20);

/// Who is met is told by the SPIFFE ID alone; TLS wants a name all the same.
const ANY_NAME: &str = "peer.invalid";

type Failure = Box<dyn Error>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match *arguments {
        ["serve", peer, audience] => Workload::new(peer, audience).await?.serve().await,
        ["meet", address, peer, audience] => {
            let workload = Workload::new(peer, audience).await?;
            let failure = workload.meet_again_and_again(address).await;
            emit(&json!({"event": "failed", "error": failure.to_string()}));
            Err(failure)
        }
        ["judge", audience, ref tokens @ ..] => {
            let workload = Workload::new("", audience).await?;
            for token in tokens {
                let (here, there) = workload.judge(token).await;
                emit(&json!({"event": "token", "here": here, "there": there}));
            }
            Ok(())
        }
        _ => Err("usage: symbolon-test-peer serve|meet|judge ...".into()),
    }
}

/// What one process needs, kept up to date by the library.
struct Workload {
    client: WorkloadApiClient,
    x509: X509Source,
    jwt: JwtSource,
    peer: String,
    audience: String,
}

impl Workload {
    async fn new(peer: &str, audience: &str) -> Result<Self, Failure> {
        Ok(Self {
            client: WorkloadApiClient::connect_env().await?,
            x509: X509Source::new().await?,
            jwt: JwtSource::new().await?,
            peer: peer.to_owned(),
            audience: audience.to_owned(),
        })
    }

    /// Lets the peer in, one connection after the other.
    async fn serve(&self) -> Result<(), Failure> {
        let allowed = authorizer::exact([self.peer.as_str()])?;
        let config = mtls_server(self.x509.clone()).authorize(allowed).build()?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        emit(&json!({"event": "listening", "address": address}));
        loop {
            let (stream, _) = listener.accept().await?;
            if let Err(error) = self.welcome(&acceptor, stream).await {
                emit(&json!({"event": "refused", "error": error.to_string()}));
            }
        }
    }

    /// Takes the peer's JWT-SVID and answers with one of its own.
    async fn welcome(&self, acceptor: &TlsAcceptor, stream: TcpStream) -> Result<(), Failure> {
        let mut stream = acceptor.accept(stream).await?;
        let theirs = line(&mut stream).await?;
        self.check(&theirs).await?;
        let ours = self.token().await?;
        stream
            .write_all(format!("{}\n", ours.token()).as_bytes())
            .await?;
        Ok(stream.shutdown().await?)
    }

    /// Ends with the first meeting that fails.
    async fn meet_again_and_again(&self, address: &str) -> Failure {
        let mut last = Value::Null;
        let mut ticks = interval(PACE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            match self.meet(address).await {
                Ok(met) if met == last => {}
                Ok(met) => {
                    emit(&met);
                    last = met;
                }
                Err(failure) => return failure,
            }
        }
    }

    /// Makes a connection, and shows a JWT-SVID for another; tells which keys signed what both
    /// sides showed.
    async fn meet(&self, address: &str) -> Result<Value, Failure> {
        let allowed = authorizer::exact([self.peer.as_str()])?;
        let config = mtls_client(self.x509.clone()).authorize(allowed).build()?;
        let stream = TcpStream::connect(address).await?;
        let name = ServerName::try_from(ANY_NAME)?;
        let mut stream = TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await?;
        let own = self.x509.svid()?;
        let ours = self.token().await?;
        stream
            .write_all(format!("{}\n", ours.token()).as_bytes())
            .await?;
        let theirs = line(&mut stream).await?;
        self.check(&theirs).await?;
        let (_, connection) = stream.get_ref();
        let peer = connection.peer_certificates().and_then(<[_]>::first);
        Ok(json!({
            "event": "met",
            "authority": authority(own.leaf().as_bytes())?,
            "key": ours.key_id(),
            "peer_authority": authority(peer.ok_or("no certificate")?)?,
            "peer_key": JwtSvid::parse_insecure(&theirs)?.key_id(),
        }))
    }

    async fn token(&self) -> Result<JwtSvid, Failure> {
        Ok(self.jwt.fetch_jwt_svid([&self.audience]).await?)
    }

    /// Takes the peer's token only, from the library and from the agent.
    async fn check(&self, token: &str) -> Result<(), Failure> {
        let (here, there) = self.judge(token).await;
        if here == self.peer && there == self.peer {
            return Ok(());
        }
        Err(format!("the token of {}: {here:?} here, {there:?} there", self.peer).into())
    }

    /// Whose a token is: by the library's bundles, and by the agent. Nobody's where it is refused.
    async fn judge(&self, token: &str) -> (String, String) {
        let audience = self.audience.as_str();
        let here = JwtSvid::parse_and_validate(token, &self.jwt, &[audience]);
        let there = self.client.validate_jwt_token(audience, token).await;
        (whose("here", here), whose("there", there))
    }
}

fn whose(place: &str, judged: Result<JwtSvid, impl Error>) -> String {
    match judged {
        Ok(svid) => SpiffeId::to_string(svid.spiffe_id()),
        Err(refusal) => {
            eprintln!("{place}: {refusal}");
            String::new()
        }
    }
}

async fn line(stream: impl AsyncRead + Unpin) -> Result<String, Failure> {
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).await?;
    Ok(line.trim_end().to_owned())
}

/// The name of the key that signed a certificate.
fn authority(certificate: &[u8]) -> Result<String, Failure> {
    let (_, certificate) = X509Certificate::from_der(certificate)?;
    let mut parsed = certificate
        .extensions()
        .iter()
        .map(|it| it.parsed_extension());
    let key = parsed.find_map(|extension| match extension {
        ParsedExtension::AuthorityKeyIdentifier(identifier) => identifier.key_identifier.clone(),
        _ => None,
    });
    let mut text = String::new();
    for byte in key.ok_or("no authority key identifier")?.0 {
        write!(text, "{byte:02x}")?;
    }
    Ok(text)
}

fn emit(event: &Value) {
    println!("{event}");
}
