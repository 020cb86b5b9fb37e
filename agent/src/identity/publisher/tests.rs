use super::{Folder, Publisher, PublisherServices};
use crate::{
    canonical,
    identity::testing::{StageKeys, documents, external, governed, register, settings},
    registry::ClientDraft,
    telemetry::{IdentityMetrics, Readiness},
    workloads::testing::{Scene, draft},
};
use futures_util::FutureExt as _;
use serde_json::Value;
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};
use tempfile::TempDir;

const ONE: &str = r#"{"keys":[{"kid":"one"}]}"#;
const TWO: &str = r#"{"keys":[{"kid":"two"}]}"#;
const NONE: &str = r#"{"keys":[]}"#;

struct Stage {
    scene: Scene,
    keys: Arc<StageKeys>,
    directory: TempDir,
    readiness: Readiness,
    metrics: IdentityMetrics,
}

impl Stage {
    async fn new() -> Self {
        Self {
            scene: Scene::new().await,
            keys: StageKeys::new(),
            directory: tempfile::tempdir().unwrap(),
            readiness: Readiness::blocked_by("starting").0,
            metrics: IdentityMetrics::default(),
        }
    }

    fn folder(&self) -> PathBuf {
        self.directory.path().join("public")
    }

    fn services(&self, folder: bool) -> PublisherServices {
        let documents = documents(&self.scene, &self.keys, settings());
        PublisherServices {
            documents: Arc::new(documents),
            folder: folder.then(|| Folder::open(&self.folder(), "example.org").unwrap()),
            trail: self.scene.trail.clone(),
            readiness: self.readiness.clone(),
            metrics: self.metrics.clone(),
        }
    }

    async fn begin(&self) -> Publisher {
        Publisher::begin(self.services(true)).await.unwrap()
    }

    /// What lies in the directory, but for its mark.
    fn files(&self) -> BTreeSet<String> {
        let mut files = BTreeSet::new();
        let mut folders = vec![self.folder()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if !path.ends_with(".symbolon") {
                    let below = path.strip_prefix(self.folder()).unwrap();
                    files.insert(format!("/{}", below.display()));
                }
            }
        }
        files
    }

    fn text(&self, path: &str) -> String {
        fs::read_to_string(self.folder().join(path)).unwrap()
    }

    /// The events of this kind, once the trail is closed.
    async fn events(&self) -> Vec<Value> {
        self.scene.close_trail().await;
        let mut lines = self.scene.lines();
        lines.retain(|line| line["event"] == "published");
        lines.sort_by_key(|line| line["seq"].as_u64());
        lines
    }
}

fn told(event: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let evidence = &event["evidence"];
    let words = [&event["reason"], &evidence["path"], &event["client"]];
    words.map(text).join(" ").trim_end().to_owned()
}

#[tokio::test]
async fn the_beginning_is_told_by_the_digest_of_what_sha256sum_writes() {
    let stage = Stage::new().await;
    register(&stage.scene, "files").await;
    stage.keys.set("files", ONE);
    stage.scene.register_as("plain", draft()).await;
    stage.begin().await;
    let files = stage.files();
    let expected = [
        "/.well-known/jwks.json",
        "/.well-known/openid-configuration",
        "/bundle",
        "/clients/files/client.json",
        "/clients/files/jwks.json",
    ];
    assert_eq!(files, expected.map(str::to_owned).into());
    let lines: BTreeSet<_> = files
        .iter()
        .map(|path| {
            let below = path.strip_prefix('/').unwrap();
            let content = fs::read(stage.folder().join(below)).unwrap();
            format!("{}  .{path}\n", canonical::sha256_hex(&content))
        })
        .collect();
    let list: String = lines.into_iter().collect();
    let events = stage.events().await;
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["evidence"]["documents"], 5);
    assert_eq!(
        events[0]["evidence"]["digest"],
        canonical::sha256_hex(list.as_bytes())
    );
}

#[tokio::test]
async fn each_change_is_written_and_told_with_its_digest() {
    let stage = Stage::new().await;
    let mut publisher = stage.begin().await;
    register(&stage.scene, "files").await;
    stage.keys.set("files", ONE);
    publisher.turn(true).await.unwrap();
    assert_eq!(stage.text("clients/files/jwks.json"), ONE);
    let version = |stage: &Stage| {
        let document: Value =
            serde_json::from_str(&stage.text("clients/files/client.json")).unwrap();
        document["software_version"].as_str().unwrap().to_owned()
    };
    assert_eq!(version(&stage), "1");
    // Nothing has changed.
    publisher.turn(true).await.unwrap();

    stage.keys.set("files", TWO);
    publisher.turn(true).await.unwrap();
    assert_eq!(stage.text("clients/files/jwks.json"), TWO);
    stage.scene.update("files", governed()).await;
    publisher.turn(false).await.unwrap();
    assert_eq!(version(&stage), "2");

    stage.scene.suspend("files").await;
    publisher.turn(false).await.unwrap();
    assert_eq!(stage.text("clients/files/jwks.json"), r#"{"keys":[]}"#);
    assert!(!stage.files().contains("/clients/files/client.json"));
    stage.scene.resume("files").await;
    publisher.turn(false).await.unwrap();
    // A version without metadata ends both.
    stage.scene.update("files", draft()).await;
    publisher.turn(false).await.unwrap();
    assert!(!stage.files().contains("/clients/files/jwks.json"));
    stage.scene.authority.publish_other_jwt_keys();
    publisher.turn(false).await.unwrap();
    assert_eq!(stage.metrics.publications.get(), 12);

    let events = stage.events().await;
    let told: Vec<_> = events.iter().skip(1).map(told).collect();
    assert_eq!(
        told,
        [
            "published /clients/files/jwks.json files",
            "published /clients/files/client.json files",
            "published /clients/files/jwks.json files",
            "published /clients/files/client.json files",
            "taken down /clients/files/client.json files",
            "published /clients/files/jwks.json files",
            "published /clients/files/jwks.json files",
            "published /clients/files/client.json files",
            "taken down /clients/files/jwks.json files",
            "taken down /clients/files/client.json files",
            "published /.well-known/jwks.json",
            "published /bundle",
        ]
    );
    assert_eq!(events[1]["client_version"], 1);
    assert_eq!(
        events[1]["evidence"]["digest"],
        canonical::sha256_hex(ONE.as_bytes())
    );
    assert_eq!(events[1]["evidence"]["bytes"], ONE.len());
    // What is taken down is named by what it was.
    assert_eq!(
        events[5]["evidence"]["digest"],
        events[4]["evidence"]["digest"]
    );
}

#[tokio::test]
async fn no_document_is_written_before_the_keys_that_it_names() {
    let stage = Stage::new().await;
    let mut publisher = stage.begin().await;
    // A directory in the place of the key set cannot be written over.
    let in_the_way = stage.folder().join("clients/files/jwks.json");
    fs::create_dir_all(&in_the_way).unwrap();
    register(&stage.scene, "files").await;
    stage.keys.set("files", ONE);
    let error = publisher.turn(true).await.unwrap_err();
    assert!(publisher.tell(Some(&error)));
    assert_eq!(stage.readiness.notes(), [super::FAILING]);
    assert_eq!(stage.metrics.publishing_failing.get(), 1);
    assert!(!stage.folder().join("clients/files/client.json").exists());

    // What is to be taken down does not wait for it, nor for the next one.
    register(&stage.scene, "other").await;
    stage.scene.suspend("other").await;
    publisher.turn(true).await.unwrap_err();
    fs::remove_dir(&in_the_way).unwrap();
    publisher.turn(true).await.unwrap();
    assert!(!publisher.tell(None));
    assert!(stage.readiness.notes().is_empty());
    assert!(stage.folder().join("clients/files/client.json").exists());
    let events = stage.events().await;
    let of_files = events.iter().filter(|event| event["client"] == "files");
    // Each once, however often it was tried.
    assert_eq!(of_files.count(), 2);
}

#[tokio::test]
async fn what_lies_there_from_before_is_removed() {
    let stage = Stage::new().await;
    register(&stage.scene, "files").await;
    stage.keys.set("files", ONE);
    stage.begin().await;
    let old = stage.folder().join("clients/gone");
    fs::create_dir(&old).unwrap();
    for name in ["client.json", "jwks.json", "readme.txt"] {
        fs::write(old.join(name), "{}").unwrap();
    }
    stage.scene.suspend("files").await;
    stage.begin().await;
    let files = stage.files();
    assert!(!files.contains("/clients/gone/client.json"));
    assert!(!files.contains("/clients/gone/jwks.json"));
    // It is nothing that the agent has ever written.
    assert!(files.contains("/clients/gone/readme.txt"));
    assert!(!files.contains("/clients/files/client.json"));
    assert!(files.contains("/clients/files/jwks.json"));
}

#[tokio::test]
async fn what_cannot_be_recorded_is_not_written_but_what_is_taken_down_is() {
    let stage = Stage::new().await;
    for client in ["files", "replaced", "grows"] {
        register(&stage.scene, client).await;
        stage.keys.set(client, ONE);
    }
    let mut publisher = stage.begin().await;
    stage.scene.close_trail().await;
    stage.scene.suspend("files").await;
    stage.keys.set("replaced", TWO);
    stage
        .keys
        .set("grows", r#"{"keys":[{"kid":"one"},{"kid":"two"}]}"#);
    register(&stage.scene, "later").await;
    stage.keys.set("later", ONE);
    publisher.turn(true).await.unwrap_err();
    assert!(!stage.files().contains("/clients/files/client.json"));
    assert_eq!(stage.text("clients/files/jwks.json"), NONE);
    // The key that is gone may be somebody else's.
    assert_eq!(stage.text("clients/replaced/jwks.json"), TWO);
    assert_eq!(stage.text("clients/grows/jwks.json"), ONE);
    assert!(!stage.files().iter().any(|path| path.contains("later")));
}

#[tokio::test]
async fn what_cannot_be_taken_down_keeps_nothing_else_from_it() {
    let stage = Stage::new().await;
    for client in ["a", "b"] {
        register(&stage.scene, client).await;
        stage.keys.set(client, ONE);
    }
    let mut publisher = stage.begin().await;
    // Directories in the places of the files of the first.
    for page in ["client.json", "jwks.json"] {
        let in_the_way = stage.folder().join("clients/a").join(page);
        fs::remove_file(&in_the_way).unwrap();
        fs::create_dir_all(in_the_way.join("full")).unwrap();
    }
    for client in ["a", "b"] {
        stage.scene.suspend(client).await;
    }
    publisher.turn(true).await.unwrap_err();
    assert!(!stage.folder().join("clients/b/client.json").exists());
    assert_eq!(stage.text("clients/b/jwks.json"), NONE);
    assert_eq!(stage.keys.written("b").unwrap(), NONE);
    // It is told all the same that they are not public any more.
    let events = stage.events().await;
    assert_eq!(events.len(), 5);
}

#[tokio::test]
async fn whoever_holds_the_keys_is_told_what_is_written() {
    let stage = Stage::new().await;
    register(&stage.scene, "files").await;
    stage.keys.set("files", ONE);
    let mut publisher = stage.begin().await;
    assert_eq!(stage.keys.written("files").unwrap(), ONE);
    let file = stage.folder().join("clients/files/jwks.json");
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    stage.keys.set("files", TWO);
    publisher.turn(true).await.unwrap_err();
    assert_eq!(stage.keys.written("files").unwrap(), ONE);
    fs::remove_dir(&file).unwrap();
    publisher.turn(true).await.unwrap();
    assert_eq!(stage.keys.written("files").unwrap(), TWO);
    stage.scene.update("files", draft()).await;
    publisher.turn(true).await.unwrap();
    assert_eq!(stage.keys.written("files"), None);
}

#[tokio::test]
async fn keys_behind_documents_that_others_host_are_published() {
    let stage = Stage::new().await;
    let mut publisher = stage.begin().await;
    stage.scene.register_as("files", external()).await;
    stage.keys.set("files", ONE);
    publisher.turn(true).await.unwrap();
    assert_eq!(stage.text("clients/files/jwks.json"), ONE);
    assert!(!stage.files().contains("/clients/files/client.json"));
}

#[tokio::test]
async fn without_a_directory_publications_are_recorded() {
    let stage = Stage::new().await;
    let mut publisher = Publisher::begin(stage.services(false)).await.unwrap();
    register(&stage.scene, "files").await;
    stage.keys.set("files", ONE);
    publisher.turn(false).await.unwrap();
    publisher.turn(true).await.unwrap();
    let plain = ClientDraft {
        metadata: None,
        ..draft()
    };
    stage.scene.update("files", plain).await;
    publisher.turn(false).await.unwrap();
    assert!(publisher.published.len() <= 3);
    assert!(!Path::new(&stage.folder()).exists());
    assert_eq!(stage.events().await.len(), 5);
}

#[tokio::test]
async fn changes_are_followed() {
    let stage = Stage::new().await;
    let publisher = stage.begin().await;
    let mut running = Box::pin(publisher.run());
    assert!(running.as_mut().now_or_never().is_none());
    register(&stage.scene, "files").await;
    stage.keys.set("files", ONE);
    let published = stage.metrics.publications.clone();
    let written = crate::workloads::testing::until(|| published.get() == 2);
    tokio::select! {
        () = running => panic!("it ended"),
        () = written => {}
    }
}
