//! The Kubernetes container runtime interface (`runtime.v1`), which containerd
//! and CRI-O serve to the kubelet.
//!
//! gRPC over a Unix socket, one channel for all callers. The first process's
//! number is in none of the messages but in the document that runtimes add
//! under `info` when they are asked to be verbose; two of its fields are
//! parsed, the rest (the configuration, with the environment) is passed over.

use super::{
    runtime::{AskError, Claim, Description, MAX_ANSWER_BYTES, PodClaim, digests, image_id},
    socket::{Socket, connect},
};
use crate::{
    evidence::PodEvidence,
    findings::{Fact, Reason},
    host::Host,
    parse::runtime::container_info,
};
use hyper_util::rt::TokioIo;
use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, OnceLock},
};
use symbolon_proto::cri::{
    ContainerState, ContainerStatusRequest, ContainerStatusResponse, ImageSpec, ImageStatusRequest,
    PodSandboxStatusRequest, VersionRequest, image_service_client::ImageServiceClient,
    runtime_service_client::RuntimeServiceClient,
};
use time::OffsetDateTime;
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint, Uri},
};
use tower::service_fn;

/// Labels that the kubelet adds to a pod's own.
const KUBELET_LABELS: [&str; 3] = [
    "io.kubernetes.pod.name",
    "io.kubernetes.pod.namespace",
    "io.kubernetes.pod.uid",
];

/// Asks one runtime.
#[derive(Debug, Default)]
pub(super) struct Cri(OnceLock<Channel>);

impl Cri {
    pub(super) async fn inspect(
        &self,
        socket: &Socket,
        host: &Arc<Host>,
        id: &str,
    ) -> Result<Claim, AskError> {
        let request = ContainerStatusRequest {
            container_id: id.into(),
            verbose: true,
        };
        let (mut one, mut two) = (self.runtime(socket, host), self.runtime(socket, host));
        let version = VersionRequest::default();
        let (status, version) = tokio::join!(one.container_status(request), two.version(version));
        let status = match status {
            Ok(status) => status.into_inner(),
            Err(status) if status.code() == Code::NotFound => {
                return Err(AskError::NoSuchContainer);
            }
            Err(status) => return Err(words(&status).into()),
        };
        let version = version.map_err(|status| words(&status))?.into_inner();
        let runtime = match version.runtime_name.as_str() {
            "containerd" => "containerd",
            "cri-o" => "cri-o",
            "docker" => "docker",
            other => return Err(format!("a runtime that calls itself {other:?}").into()),
        };
        claim(status, runtime)
    }

    pub(super) async fn describe(
        &self,
        socket: &Socket,
        host: &Arc<Host>,
        claim: &Claim,
    ) -> Description {
        let (image, pod) = tokio::join!(
            self.image(socket, host, &claim.image),
            self.pod(socket, host, claim)
        );
        let (image_id, image_digests) = match image {
            Ok((id, names)) => (image_id(&id), digests(&names)),
            Err(reason) => (Err(reason.clone()), Err(reason)),
        };
        Description {
            image_id,
            image_digests,
            pod: Some(pod),
        }
    }

    async fn image(
        &self,
        socket: &Socket,
        host: &Arc<Host>,
        image: &str,
    ) -> Fact<(String, Vec<String>)> {
        let spec = ImageSpec {
            image: image.into(),
        };
        let request = ImageStatusRequest { image: Some(spec) };
        let mut images = ImageServiceClient::new(self.channel(socket, host))
            .max_decoding_message_size(MAX_ANSWER_BYTES);
        let answer = images.image_status(request).await;
        let answer = answer.map_err(|status| words(&status))?.into_inner();
        let image = answer
            .image
            .ok_or("the runtime has the container's image no more")?;
        Ok((image.id, image.repo_digests))
    }

    async fn pod(
        &self,
        socket: &Socket,
        host: &Arc<Host>,
        claim: &Claim,
    ) -> Fact<(PodEvidence, BTreeMap<String, String>)> {
        let sandbox = match &claim.pod {
            Some(pod) => pod.sandbox.clone()?,
            None => return Err("the runtime names no pod".into()),
        };
        let request = PodSandboxStatusRequest {
            pod_sandbox_id: sandbox.clone(),
            verbose: false,
        };
        let answer = self.runtime(socket, host).pod_sandbox_status(request).await;
        let answer = answer.map_err(|status| words(&status))?.into_inner();
        let status = answer.status.filter(|status| status.id == sandbox);
        let status = status.ok_or("the runtime does not tell of the container's pod")?;
        let mut labels = status.labels;
        labels.retain(|key, _| !KUBELET_LABELS.contains(&key.as_str()));
        let metadata = status.metadata.ok_or("the runtime does not name the pod")?;
        let pod = PodEvidence {
            container: claim.name.clone(),
            name: metadata.name,
            namespace: metadata.namespace,
            uid: metadata.uid,
        };
        Ok((pod, labels))
    }

    fn runtime(&self, socket: &Socket, host: &Arc<Host>) -> RuntimeServiceClient<Channel> {
        RuntimeServiceClient::new(self.channel(socket, host))
            .max_decoding_message_size(MAX_ANSWER_BYTES)
    }

    /// Connects at the first call, and again after the connection was lost.
    fn channel(&self, socket: &Socket, host: &Arc<Host>) -> Channel {
        let channel = self.0.get_or_init(|| {
            let (path, host) = (socket.path.clone(), Arc::clone(host));
            let connector = service_fn(move |_: Uri| {
                let (path, host) = (path.clone(), Arc::clone(&host));
                async move {
                    let stream = connect(&path, &host).await;
                    stream.map(TokioIo::new).map_err(io::Error::other)
                }
            });
            Endpoint::from_static("http://localhost").connect_with_connector_lazy(connector)
        });
        channel.clone()
    }
}

fn claim(answer: ContainerStatusResponse, runtime: &'static str) -> Result<Claim, AskError> {
    let status = answer.status.ok_or("the runtime's answer is empty")?;
    if status.state() != ContainerState::ContainerRunning {
        return Err("the container does not run".into());
    }
    let info = answer.info.get("info");
    let info = info.ok_or("the runtime does not tell the container's first process")?;
    let info = container_info(info)
        .map_err(|error| format!("what the runtime says of the first process: {error}"))?;
    let started = OffsetDateTime::from_unix_timestamp_nanos(status.started_at.into())
        .map_err(|error| format!("the container's start: {error}"))?;
    let sandbox = if info.sandbox.is_empty() {
        Err("the runtime does not tell the container's pod".into())
    } else {
        Ok(info.sandbox)
    };
    let spec = status.image.unwrap_or_default();
    let mut images = vec![spec.image, status.image_ref.clone()];
    images.retain(|image| !image.is_empty());
    images.dedup();
    let image = [status.image_id, status.image_ref]
        .into_iter()
        .find(|image| !image.is_empty());
    Ok(Claim {
        id: status.id,
        init: info.pid,
        started,
        runtime,
        name: status.metadata.unwrap_or_default().name,
        labels: status.labels,
        image: image.unwrap_or_default(),
        pod: Some(PodClaim { sandbox, images }),
    })
}

/// A failed call, with the cause that gRPC hides behind "transport error".
fn words(status: &Status) -> Reason {
    let mut text = status.message().to_owned();
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    format!("the runtime answers {:?}: {text}", status.code()).into()
}
