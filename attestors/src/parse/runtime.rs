//! Documents in which container runtimes describe containers and images.
//!
//! Of an inspected container (Docker's API, which Podman serves too) and of the document that CRI
//! runtimes add under `info`, only what is named here is parsed: the rest, with the environment, is
//! passed over. A document is its runtime's word, and its labels and names are whatever the
//! container's maker chose.

use super::container::is_id;
use serde::Deserialize;
use std::collections::BTreeMap;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// A text that no runtime writes.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// It is no such document.
    #[error("the runtime's answer makes no sense: {0}")]
    Form(#[from] serde_json::Error),
    /// The time is none.
    #[error("the container's start: {0}")]
    Start(#[from] time::error::Parse),
}

/// An inspected container.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Inspected {
    /// As the runtime has it.
    pub id: String,
    /// Whether it runs.
    pub is_running: bool,
    /// The first process.
    pub pid: u32,
    /// When it was started; the epoch where it does not run.
    pub started: OffsetDateTime,
    /// Without the slash that Docker puts before it.
    pub name: String,
    /// The image's ID.
    pub image: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// What is read of the document under `info`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
pub struct ContainerInfo {
    /// The first process.
    pub pid: u32,
    /// The pod's sandbox; empty where it is not told.
    #[serde(default, rename = "sandboxID")]
    pub sandbox: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Container {
    id: String,
    name: String,
    image: String,
    state: State,
    config: Config,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct State {
    running: bool,
    pid: u32,
    started_at: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Config {
    labels: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Image {
    repo_digests: Option<Vec<String>>,
}

/// Reads `/containers/ID/json`.
///
/// # Errors
/// Where something that is needed is missing or of another form.
pub fn inspected(bytes: &[u8]) -> Result<Inspected, DocumentError> {
    let said: Container = serde_json::from_slice(bytes)?;
    let started = if said.state.running {
        OffsetDateTime::parse(&said.state.started_at, &Rfc3339)?
    } else {
        OffsetDateTime::UNIX_EPOCH
    };
    Ok(Inspected {
        id: said.id,
        is_running: said.state.running,
        pid: said.state.pid,
        started,
        name: said.name.strip_prefix('/').unwrap_or(&said.name).into(),
        image: said.image,
        labels: said.config.labels.unwrap_or_default(),
    })
}

/// Reads the names by digest of `/images/ID/json`.
///
/// # Errors
/// Where it is of another form.
pub fn repo_digests(bytes: &[u8]) -> Result<Vec<String>, DocumentError> {
    let image: Image = serde_json::from_slice(bytes)?;
    Ok(image.repo_digests.unwrap_or_default())
}

/// Reads the document under `info`.
///
/// # Errors
/// Where it is of another form.
pub fn container_info(text: &str) -> Result<ContainerInfo, DocumentError> {
    Ok(serde_json::from_str(text)?)
}

/// An image's ID with its algorithm, as every runtime can be understood; `None` where it is no
/// SHA-256.
#[must_use]
pub fn image_id(text: &str) -> Option<String> {
    let digits = text.strip_prefix("sha256:").unwrap_or(text);
    is_id(digits).then(|| format!("sha256:{digits}"))
}

/// The digests in names such as `docker.io/library/x@sha256:...`, sorted, each once.
#[must_use]
pub fn digests(names: &[String]) -> Vec<String> {
    let digest = |name: &String| {
        let (_, digest) = name.rsplit_once('@')?;
        image_id(digest.strip_prefix("sha256:")?)
    };
    let mut digests: Vec<_> = names.iter().filter_map(digest).collect();
    digests.sort_unstable();
    digests.dedup();
    digests
}

#[cfg(test)]
mod tests {
    use super::{container_info, digests, image_id, inspected, repo_digests};
    use serde_json::{Value, json};

    #[test]
    fn image_ids_and_digests_are_told_from_other_names() {
        let a = "a".repeat(64);
        assert_eq!(image_id(&a).unwrap(), format!("sha256:{a}"));
        assert_eq!(
            image_id(&format!("sha256:{a}")).unwrap(),
            format!("sha256:{a}")
        );
        assert_eq!(image_id("localhost/x:1"), None);
        assert_eq!(image_id(""), None);
        assert_eq!(image_id(&format!("sha256:sha256:{a}")), None);
        let names = [
            format!("docker.io/x@sha256:{a}"),
            "docker.io/x:1".into(),
            format!("quay.io/x@sha256:{a}"),
        ];
        assert_eq!(digests(&names), [format!("sha256:{a}")]);
        assert_eq!(digests(&names[1..2]), [""; 0]);
    }

    fn container() -> Value {
        json!({
            "Id": "a",
            "Name": "/notes",
            "Image": "sha256:c",
            "State": { "Running": true, "Pid": 7, "StartedAt": "2024-05-06T07:08:09.123456789Z" },
            "Config": { "Labels": { "tier": "back" }, "Env": "not read" },
        })
    }

    #[test]
    fn a_container_is_read_without_its_environment() {
        let read = inspected(container().to_string().as_bytes()).unwrap();
        assert!(read.is_running);
        assert_eq!(
            (&*read.id, &*read.name, &*read.image),
            ("a", "notes", "sha256:c")
        );
        assert_eq!((read.pid, read.started.nanosecond()), (7, 123_456_789));
        assert_eq!(read.labels["tier"], "back");
        let mut unlabelled = container();
        unlabelled["Config"]["Labels"] = Value::Null;
        let read = inspected(unlabelled.to_string().as_bytes()).unwrap();
        assert!(read.labels.is_empty());
        let mut ended = container();
        ended["State"] = json!({ "Running": false, "Pid": 0, "StartedAt": "" });
        assert!(!inspected(ended.to_string().as_bytes()).unwrap().is_running);
    }

    #[test]
    fn documents_of_another_form_are_refused() {
        for (field, value) in [
            ("/State/Pid", json!(-1)),
            ("/State/Pid", json!(4_294_967_296_u64)),
            ("/State/Pid", json!("7")),
            ("/State/Running", json!("true")),
            ("/State/StartedAt", json!("now")),
            ("/Id", Value::Null),
            ("/Config/Labels", json!(["tier"])),
            ("/Config/Labels/tier", json!(1)),
        ] {
            let mut bad = container();
            *bad.pointer_mut(field).unwrap() = value;
            inspected(bad.to_string().as_bytes()).unwrap_err();
        }
        let nested = "[".repeat(100_000);
        inspected(format!("{{\"Mounts\":{nested}").as_bytes()).unwrap_err();
        inspected(b"").unwrap_err();
        repo_digests(br#"{"RepoDigests":"x"}"#).unwrap_err();
        assert_eq!(repo_digests(b"{}").unwrap(), [""; 0]);
        container_info(r#"{"sandboxID":"x"}"#).unwrap_err();
        let info = container_info(r#"{"pid":7,"config":{"envs":1}}"#).unwrap();
        assert_eq!((info.pid, &*info.sandbox), (7, ""));
    }
}
