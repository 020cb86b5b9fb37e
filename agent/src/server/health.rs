//! gRPC health that follows the agent's readiness.

use futures_util::{Stream, stream};
use std::pin::Pin;
use tokio::sync::watch;
use tonic::{Request, Response, Status};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus,
    health_server::Health,
};

/// Answers for the agent as a whole (the empty name) and for the services named.
#[derive(Clone, Debug)]
pub struct HealthApi {
    ready: watch::Receiver<bool>,
    services: &'static [&'static str],
}

impl HealthApi {
    /// Serving while `ready` is true.
    #[must_use]
    pub const fn new(ready: watch::Receiver<bool>, services: &'static [&'static str]) -> Self {
        Self { ready, services }
    }

    fn knows(&self, request: &Request<HealthCheckRequest>) -> bool {
        let name = request.get_ref().service.as_str();
        name.is_empty() || self.services.contains(&name)
    }
}

fn response(ready: bool) -> HealthCheckResponse {
    let status = if ready {
        ServingStatus::Serving
    } else {
        ServingStatus::NotServing
    };
    HealthCheckResponse {
        status: status.into(),
    }
}

#[tonic::async_trait]
impl Health for HealthApi {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        if !self.knows(&request) {
            return Err(Status::not_found("no such service"));
        }
        Ok(Response::new(response(*self.ready.borrow())))
    }

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        if !self.knows(&request) {
            return Err(Status::not_found("no such service"));
        }
        let mut ready = self.ready.clone();
        ready.mark_changed();
        let states = stream::unfold(ready, |mut ready| async move {
            ready.changed().await.ok()?;
            let now = *ready.borrow_and_update();
            Some((Ok(response(now)), ready))
        });
        Ok(Response::new(Box::pin(states)))
    }
}

/// Resolves when the value is true or its sender is gone.
pub async fn until_true(mut value: watch::Receiver<bool>) {
    // An error means that nobody will ever set it.
    drop(value.wait_for(|value| *value).await);
}

#[cfg(test)]
mod tests {
    use super::{HealthApi, response};
    use futures_util::StreamExt as _;
    use tokio::sync::watch;
    use tonic::Request;
    use tonic_health::pb::{HealthCheckRequest, health_server::Health as _};

    #[tokio::test]
    async fn watch_follows_readiness() {
        let (ready, ready_seen) = watch::channel(false);
        let api = HealthApi::new(ready_seen, &["a.B"]);
        let request = || {
            Request::new(HealthCheckRequest {
                service: "a.B".to_owned(),
            })
        };
        let mut states = api.watch(request()).await.unwrap().into_inner();
        assert_eq!(states.next().await.unwrap().unwrap(), response(false));
        ready.send(true).unwrap();
        assert_eq!(states.next().await.unwrap().unwrap(), response(true));
        assert_eq!(
            api.check(request()).await.unwrap().into_inner(),
            response(true)
        );
    }

    #[tokio::test]
    async fn unknown_service_is_not_found() {
        let (_ready, ready_seen) = watch::channel(true);
        let api = HealthApi::new(ready_seen, &[]);
        let request = Request::new(HealthCheckRequest {
            service: "x".to_owned(),
        });
        assert_eq!(
            api.check(request).await.unwrap_err().code(),
            tonic::Code::NotFound
        );
    }
}
