//! Federation with foreign trust domains: proposed, approved, removed and shown.
//!
//! As with clients, a change is made and recorded also where the operator does not wait, an
//! approval names the digest of what was shown, and taking away waits for nobody.

use super::{
    Operator,
    calls::{AdminApi, operator},
    convert, status, views,
};
use crate::{
    audit::{Event, Kind},
    authority::ForeignBundle,
    fetch::FetchUrl,
    governance,
    registry::{
        Actor, AppliedRelationship, Approval, BundleEndpoint, Digest, EndpointDraft, Reason,
        RegistryError, Relationship, RelationshipChange, RelationshipCommand, RelationshipDeed,
        RelationshipVersion, Snapshot, Verdict,
    },
};
use spiffe::TrustDomain;
use std::{collections::BTreeMap, str::FromStr as _, sync::Arc};
use symbolon_proto::admin::{
    self, AddTrustDomainRequest, GetTrustDomainRequest, ListTrustDomainsResponse,
    RemoveTrustDomainRequest, TrustDomainDecision,
};
use tokio::{sync::oneshot, task};
use tonic::{Request, Response, Status};

type Answer = Result<Response<admin::TrustDomain>, Status>;

/// What an operator asks for.
#[derive(Debug)]
struct Asked {
    operator: Operator,
    deed: RelationshipDeed,
    command: RelationshipCommand,
}

impl AdminApi {
    pub(super) async fn add_domain(&self, request: Request<AddTrustDomainRequest>) -> Answer {
        let operator = operator(&request)?;
        let request = request.into_inner();
        let endpoint = request
            .endpoint
            .ok_or_else(|| Status::invalid_argument("the endpoint is missing"))?;
        // What the fetcher would never take is not registered.
        let url = FetchUrl::from_str(&endpoint.url);
        url.map_err(|error| Status::invalid_argument(format!("the URL {error}")))?;
        let draft = EndpointDraft {
            bundle: convert::non_empty(endpoint.bundle),
            endpoint_spiffe_id: convert::non_empty(endpoint.endpoint_spiffe_id),
            profile: endpoint.profile,
            url: endpoint.url,
        };
        let change = RelationshipChange::Add {
            endpoint: Box::new(draft),
            replaces: request.replace,
        };
        let texts = (&*request.name, &*request.reason);
        self.relate(operator, RelationshipDeed::Version, change, texts)
            .await
    }

    pub(super) async fn remove_domain(&self, request: Request<RemoveTrustDomainRequest>) -> Answer {
        let operator = operator(&request)?;
        let request = request.into_inner();
        let texts = (&*request.name, &*request.reason);
        let change = RelationshipChange::Remove;
        self.relate(operator, RelationshipDeed::Removal, change, texts)
            .await
    }

    /// A word about what awaits approval.
    pub(super) async fn decide_domain(
        &self,
        verdict: Verdict,
        request: Request<TrustDomainDecision>,
    ) -> Answer {
        let operator = operator(&request)?;
        let request = request.into_inner();
        let digest = Digest::from_str(&request.digest)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let texts = (&*request.name, &*request.reason);
        let change = RelationshipChange::Decide(digest, verdict);
        self.relate(operator, RelationshipDeed::Decision(verdict), change, texts)
            .await
    }

    pub(super) async fn show_domain(&self, request: &GetTrustDomainRequest) -> Answer {
        let name = domain(&request.name)?;
        let snapshot = self.services.registry.snapshot();
        let relationship = snapshot.relationship(&name);
        let relationship = relationship.ok_or_else(|| {
            Status::not_found(format!("there never was a federation with {name}"))
        })?;
        let clients = clients(&snapshot).await;
        Ok(Response::new(self.describe(relationship, &clients)))
    }

    pub(super) async fn list_domains(&self) -> Response<ListTrustDomainsResponse> {
        let snapshot = self.services.registry.snapshot();
        let clients = clients(&snapshot).await;
        let all = snapshot.relationships().map(|relationship| {
            let mut shown = self.describe(relationship, &clients);
            for version in [&mut shown.in_force, &mut shown.pending] {
                if let Some(endpoint) = version
                    .as_mut()
                    .and_then(|version| version.endpoint.as_mut())
                {
                    endpoint.bundle.clear();
                }
            }
            shown
        });
        Response::new(ListTrustDomainsResponse {
            trust_domains: all.collect(),
        })
    }

    /// Makes a change and records it, or records that it was refused.
    async fn relate(
        &self,
        operator: Operator,
        deed: RelationshipDeed,
        change: RelationshipChange,
        (name, reason): (&str, &str),
    ) -> Answer {
        let trust_domain = domain(name)?;
        let reason = Reason::from_str(reason)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let services = &self.services;
        let health = services.trail.health().borrow().clone();
        // Taking away must not wait for the disk to have space again.
        if deed != RelationshipDeed::Removal && !health.is_recording() {
            return Err(status::of_refusing_trail(&health));
        }
        let actor: Actor = operator.actor()?;
        let command = RelationshipCommand {
            trust_domain,
            change,
            actor,
            reason,
        };
        let asked = Asked {
            operator,
            deed,
            command,
        };
        let (reply, done) = oneshot::channel();
        let this = self.clone();
        services.supervisor.spawn(async move {
            let made = this.carry_out(asked).await;
            if reply.send(made).is_err() {
                tracing::debug!("the operator did not wait for a change");
            }
        });
        let made = done.await;
        let made = made.map_err(|_panicked| Status::internal("the change was given up"))??;
        let snapshot = services.registry.snapshot();
        let clients = clients(&snapshot).await;
        Ok(Response::new(self.describe(&made, &clients)))
    }

    async fn carry_out(&self, asked: Asked) -> Result<Arc<Relationship>, Status> {
        let services = &self.services;
        let applied = match services.registry.relate(asked.command.clone()).await {
            Ok(applied) => applied,
            Err(error) => return Err(self.record_refused(&asked, &error).await),
        };
        let events = self.events_of(&asked, &applied);
        let recorded = services.trail.record_all(events).await;
        let revision = applied.new.revision();
        match recorded {
            Ok(()) => {
                services.registry.note_told(revision);
                Ok(applied.new)
            }
            Err(error) => {
                services.registry.note_untold(revision);
                Err(status::of_unrecorded_change(&error))
            }
        }
    }

    /// Records why a change was not made, at a pace; what to answer.
    async fn record_refused(&self, asked: &Asked, error: &RegistryError) -> Status {
        let event = Event::new(Kind::Refused)
            .operation(governance::word_of(asked.deed))
            .trust_domain(asked.command.trust_domain.to_string());
        let refused = vec![(event, error.to_string())];
        let recorded = asked.operator.refuse(refused, &self.services.trail);
        if let Err(error) = recorded.await {
            tracing::error!(%error, "a refusal could not be recorded");
        }
        status::of_registry(error)
    }

    fn events_of(&self, asked: &Asked, applied: &AppliedRelationship) -> Vec<Event> {
        let label = asked.operator.label();
        let reason = asked.command.reason.as_str();
        let events = governance::relationship_events(asked.deed, applied, &label, reason);
        let changes = &self.services.metrics.changes;
        for event in &events {
            changes.get_or_create(&event.kind().as_str().into()).inc();
        }
        // What was approved is its author's, who did it from another process.
        let sign = |event: Event| match event.is_by(&label) {
            true => asked.operator.sign(event),
            false => event,
        };
        events.into_iter().map(sign).collect()
    }

    fn describe(&self, relationship: &Relationship, clients: &Clients) -> admin::TrustDomain {
        let name = relationship.trust_domain();
        let state = match (relationship.in_force(), relationship.removed()) {
            (Some(_), _) => "active",
            (None, Some(_)) => "removed",
            (None, None) => "new",
        };
        let pending = relationship.pending();
        let removed = relationship.removed();
        let status = self.services.federation.status(name).unwrap_or_default();
        let failure = status.failure.as_ref();
        admin::TrustDomain {
            name: name.to_string(),
            state: state.to_owned(),
            in_force: relationship
                .in_force()
                .map(|version| shown(version, relationship.approvals())),
            pending: pending.map(|pending| shown(&pending.what, &pending.approvals)),
            declined: relationship.declined().map(convert::declined),
            removed_by: removed.map_or_else(String::new, |removed| removed.author.to_string()),
            removed_at: removed.map_or(0, |removed| convert::timestamp(removed.at)),
            removed_reason: removed.map_or_else(String::new, |removed| removed.reason.to_string()),
            bundle: status.bundle.as_deref().map(bundle),
            fetched_at: status.fetched_at.map_or(0, convert::timestamp),
            failing_since: failure.map_or(0, |failure| convert::timestamp(failure.since)),
            failure: failure.map_or_else(String::new, |failure| failure.error.clone()),
            next_at: status.next_at.map_or(0, convert::timestamp),
            clients: clients.get(name).copied().unwrap_or_default(),
            left_out: self.services.workloads.bundles_left_out(name),
        }
    }
}

/// How many clients federate with each.
type Clients = BTreeMap<TrustDomain, u64>;

async fn clients(snapshot: &Snapshot) -> Clients {
    let mut clients = Clients::new();
    for (looked_at, client) in snapshot.iter().enumerate() {
        if looked_at % views::AT_ONCE == 0 {
            task::yield_now().await;
        }
        if !client.has_version_in_force() {
            continue;
        }
        for domain in client.spec().federates_with() {
            *clients.entry(domain.clone()).or_default() += 1;
        }
    }
    clients
}

fn domain(name: &str) -> Result<TrustDomain, Status> {
    let domain = TrustDomain::new(name)
        .map_err(|error| Status::invalid_argument(format!("the trust domain: {error}")))?;
    if domain.as_str() == name {
        Ok(domain)
    } else {
        let text = format!("name the trust domain itself: {domain}");
        Err(Status::invalid_argument(text))
    }
}

fn shown(version: &RelationshipVersion, approvals: &[Approval]) -> admin::FederationVersion {
    admin::FederationVersion {
        number: version.number,
        digest: version.digest.to_string(),
        author: version.author.to_string(),
        at: convert::timestamp(version.at),
        reason: version.reason.to_string(),
        approvals_required: version.approvals_required,
        approvals: convert::approvals(approvals),
        endpoint: Some(endpoint(&version.endpoint)),
    }
}

fn endpoint(endpoint: &BundleEndpoint) -> admin::BundleEndpoint {
    let id = endpoint.profile.endpoint_id();
    let bundle = endpoint.bundle.as_ref();
    admin::BundleEndpoint {
        url: endpoint.url.to_string(),
        profile: endpoint.profile.as_str().to_owned(),
        endpoint_spiffe_id: id.map(ToString::to_string).unwrap_or_default(),
        bundle: bundle.map_or_else(String::new, |(document, _)| document.to_string()),
        bundle_digest: bundle.map_or_else(String::new, |(_, bundle)| bundle.digest().to_owned()),
    }
}

fn bundle(bundle: &ForeignBundle) -> admin::ForeignBundle {
    let (x509, jwt, wit) = bundle.counts();
    admin::ForeignBundle {
        sequence: bundle.sequence().unwrap_or_default(),
        digest: bundle.digest().to_owned(),
        refresh_hint: bundle.refresh_hint().map_or(0, |hint| hint.as_secs()),
        x509_authorities: convert::count(x509),
        jwt_authorities: convert::count(jwt),
        wit_authorities: convert::count(wit),
    }
}
