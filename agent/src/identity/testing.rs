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
    written: Mutex<HashMap<ClientName, Bytes>>,
    changes: watch::Sender<()>,
}

impl StageKeys {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            sets: Mutex::default(),
            written: Mutex::default(),
            changes: watch::Sender::new(()),
        })
    }

    pub(super) fn set(&self, client: &str, jwks: &'static str) {
        let jwks = Bytes::from_static(jwks.as_bytes());
        self.sets.lock().insert(client.parse().unwrap(), jwks);
        self.changes.send_replace(());
    }

    /// The set that was said to be in the directory.
    pub(super) fn written(&self, client: &str) -> Option<Bytes> {
        self.written.lock().get(&client.parse().unwrap()).cloned()
    }
}

impl ClientKeySets for StageKeys {
    fn jwks(&self, client: &ClientName) -> Option<Bytes> {
        self.sets.lock().get(client).cloned()
    }

    fn changes(&self) -> BoxStream<'static, ()> {
        WatchStream::from_changes(self.changes.subscribe()).boxed()
    }

    fn note_written(&self, client: &ClientName, jwks: Option<&Bytes>) {
        let mut written = self.written.lock();
        match jwks {
            Some(jwks) => drop(written.insert(client.clone(), jwks.clone())),
            None => drop(written.remove(client)),
        }
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

/// A registration whose document others host, and whose keys are here.
pub(super) fn external() -> ClientDraft {
    ClientDraft {
        metadata: Some(MetadataDraft {
            hosting: "external".to_owned(),
            client_id: "https://docs.example.com/client.json".to_owned(),
            token_endpoint_auth_method: "private_key_jwt".to_owned(),
            document_digest: "a".repeat(64),
            ..MetadataDraft::default()
        }),
        ..draft()
    }
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
