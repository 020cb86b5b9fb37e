//! The keys of clients: shown, and replaced by command.

use super::{
    calls::{AdminApi, operator},
    convert, status,
};
use crate::{
    client_keys::{ClientKeyError, ClientKeys, wants_keys},
    registry::{Client, Reason},
};
use std::str::FromStr as _;
use symbolon_proto::admin::{self, ClientKey, ReplaceClientKeyRequest};
use tokio::sync::oneshot;
use tonic::{Request, Response, Status};

/// The message with the client's keys.
pub(super) fn shown(keys: &ClientKeys, message: admin::Client, client: &Client) -> admin::Client {
    let set = keys.of(client.name()).filter(|_| wants_keys(client));
    let Some(set) = set else {
        return message;
    };
    let key = |key: &crate::client_keys::ClientKeyInfo| ClientKey {
        key_id: key.key_id.clone(),
        slot: key.slot.as_str().to_owned(),
        published_at: convert::timestamp(key.published_at),
        not_after: convert::timestamp(key.not_after),
        published: set.is_published(),
    };
    admin::Client {
        keys: set.keys().iter().map(key).collect(),
        jwks_digest: set.digest().to_owned(),
        ..message
    }
}

impl AdminApi {
    /// Drops all keys of a client, makes a new one, and records both. It is done also where the
    /// operator does not wait, and where nothing can be recorded yet: it takes away.
    pub(super) async fn replace_key(
        &self,
        request: Request<ReplaceClientKeyRequest>,
    ) -> Result<Response<admin::Client>, Status> {
        let operator = operator(&request)?;
        let request = request.into_inner();
        let name = convert::name(&request.name)?;
        let reason = Reason::from_str(&request.reason)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        if reason.is_blank() {
            return Err(Status::invalid_argument("a reason is needed"));
        }
        let snapshot = self.services.registry.snapshot();
        if snapshot.client(&name).is_none() {
            return Err(Status::not_found(format!("there is no client {name}")));
        }
        let (reply, done) = oneshot::channel();
        let services = std::sync::Arc::clone(&self.services);
        self.services.supervisor.spawn(async move {
            let keys = services.workloads.broker().keys();
            let replaced = keys.replace(&services.registry, &name, reason.as_str());
            let outcome = match replaced.await {
                Ok(replaced) => {
                    let events = replaced.events.into_iter();
                    let events: Vec<_> = events.map(|event| operator.sign(event)).collect();
                    let recorded = services.trail.record_all(events.clone()).await;
                    recorded.map_err(|error| {
                        keys.tell_later(events);
                        status::of_unrecorded_change(&error)
                    })
                }
                Err(error) => Err(refused(&error)),
            };
            if reply.send(outcome).is_err() {
                tracing::debug!("the operator did not wait for the replacement of a key");
            }
        });
        done.await
            .map_err(|_panicked| Status::internal("the replacement was given up"))??;
        let name = convert::name(&request.name)?;
        let snapshot = self.services.registry.snapshot();
        let client = snapshot.client(&name);
        let client =
            client.ok_or_else(|| Status::not_found(format!("there is no client {name}")))?;
        Ok(Response::new(self.show(client)))
    }
}

fn refused(error: &ClientKeyError) -> Status {
    let then = match error {
        ClientKeyError::NoKeyWanted(_) => return Status::failed_precondition(error.to_string()),
        // Whoever has an emergency has to know that it is not over.
        ClientKeyError::Remains(_) => {
            ". Remove that file, or revoke the client, before the agent is restarted"
        }
        _ => "",
    };
    tracing::error!(%error, "a client's key could not be replaced");
    Status::unavailable(format!(
        "the old keys sign no more and are published no more, and there is no new one yet: \
         {error}{then}"
    ))
}
