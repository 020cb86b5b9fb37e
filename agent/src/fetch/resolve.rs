//! From names to addresses.

use std::{
    fmt::Debug,
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
};
use tokio::net::lookup_host;

/// What a resolver answers in its time.
pub type Addresses<'a> = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + 'a>>;

/// Knows the addresses of names.
pub trait Resolve: Debug + Send + Sync {
    /// The addresses of `name`, a DNS name in lower case.
    fn resolve<'a>(&'a self, name: &'a str) -> Addresses<'a>;
}

/// The machine's resolver.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

/// Addresses of a name that are looked at: a name can have hundreds.
const MAX_ADDRESSES: usize = 32;

impl Resolve for SystemResolver {
    fn resolve<'a>(&'a self, name: &'a str) -> Addresses<'a> {
        Box::pin(async move {
            let addresses = lookup_host((name, 0)).await?;
            let addresses = addresses.map(|address: SocketAddr| address.ip());
            Ok(addresses.take(MAX_ADDRESSES).collect())
        })
    }
}
