//! The seam to whoever holds the clients' keys.

use crate::registry::ClientName;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use std::fmt::Debug;

/// Knows the public keys of clients.
pub trait ClientKeySets: Debug + Send + Sync {
    /// The JWK Set of a client's public keys; `None` where it has none now.
    fn jwks(&self, client: &ClientName) -> Option<Bytes>;

    /// Yields after the keys of any client have changed.
    fn changes(&self) -> BoxStream<'static, ()>;
}

/// No client has keys.
#[derive(Clone, Copy, Debug)]
pub struct NoKeySets;

impl ClientKeySets for NoKeySets {
    fn jwks(&self, _client: &ClientName) -> Option<Bytes> {
        None
    }

    fn changes(&self) -> BoxStream<'static, ()> {
        stream::pending().boxed()
    }
}
