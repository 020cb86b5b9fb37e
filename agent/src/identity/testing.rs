//! A registry with documents, and clients' keys as a test says.

use super::{ClientKeySets, Documents, Settings};
use crate::{
    authority::Authority as _,
    metadata::PublicUrl,
    registry::{Client, ClientDraft, ClientName, MetadataDraft},
    workloads::testing::{Scene, draft},
};
use bytes::Bytes;
use futures_util::stream::{BoxStream, StreamExt as _};
use parking_lot::Mutex;
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::sync::watch;
use tokio_stream::wrappers::WatchStream;

pub(super) const MAX_AGE: Duration = Duration::from_secs(200);

/// The keys of clients.
#[derive(Debug)]
pub(super) struct StageKeys {
    sets: Mutex<HashMap<ClientName, Bytes>>,
    changes: watch::Sender<()>,
}

impl StageKeys {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            sets: Mutex::default(),
            changes: watch::Sender::new(()),
        })
    }

    pub(super) fn set(&self, client: &str, jwks: &'static str) {
        let jwks = Bytes::from_static(jwks.as_bytes());
        self.sets.lock().insert(client.parse().unwrap(), jwks);
        self.changes.send_replace(());
    }
}

impl ClientKeySets for StageKeys {
    fn jwks(&self, client: &ClientName) -> Option<Bytes> {
        self.sets.lock().get(client).cloned()
    }

    fn changes(&self) -> BoxStream<'static, ()> {
        WatchStream::from_changes(self.changes.subscribe()).boxed()
    }
}

pub(super) fn url(text: &str) -> PublicUrl {
    text.parse().unwrap()
}

pub(super) fn settings() -> Settings {
    Settings {
        public_url: Some(url("https://id.example.org")),
        issuer: Some(url("https://id.example.org")),
        cache_max_age: MAX_AGE,
    }
}

/// The documents of a node.
pub(super) fn documents(scene: &Scene, keys: &Arc<StageKeys>, settings: Settings) -> Documents {
    let keys = Arc::<StageKeys>::clone(keys);
    let registry = Arc::clone(&scene.registry);
    Documents::new(registry, scene.authority.bundle(), keys, settings).unwrap()
}

/// A registration with a document and keys.
pub(super) fn governed() -> ClientDraft {
    ClientDraft {
        metadata: Some(MetadataDraft {
            client_name: "Files".to_owned(),
            grant_types: vec!["client_credentials".to_owned()],
            ..MetadataDraft::default()
        }),
        ..draft()
    }
}

pub(super) async fn register(scene: &Scene, client: &str) -> Arc<Client> {
    scene.register_as(client, governed()).await
}
