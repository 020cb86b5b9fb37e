//! The seam to whoever holds the clients' keys.

use crate::{client_keys::ClientKeys, registry::ClientName};
use bytes::Bytes;
use futures_util::stream::{BoxStream, StreamExt as _};
use std::fmt::Debug;
use tokio_stream::wrappers::WatchStream;

/// Knows the public keys of clients.
pub trait ClientKeySets: Debug + Send + Sync {
    /// The JWK Set of a client's public keys; `None` where it has none now.
    fn jwks(&self, client: &ClientName) -> Option<Bytes>;

    /// Yields after the keys of any client have changed.
    fn changes(&self) -> BoxStream<'static, ()>;

    /// Takes note of the JWK Set of a client that others can read now in the directory; `None`
    /// where it is gone.
    fn note_written(&self, client: &ClientName, jwks: Option<&Bytes>);
}

impl ClientKeySets for ClientKeys {
    fn jwks(&self, client: &ClientName) -> Option<Bytes> {
        self.published().borrow().jwks(client).cloned()
    }

    fn changes(&self) -> BoxStream<'static, ()> {
        WatchStream::from_changes(self.published())
            .map(drop)
            .boxed()
    }

    fn note_written(&self, client: &ClientName, jwks: Option<&Bytes>) {
        Self::note_written(self, client, jwks);
    }
}
