//! The calls of the admin service.

mod services;

pub use services::{AdminServices, AgentFacts, Authorities};

use super::{
    Operator, apply, backup,
    changes::Requested,
    convert, govern, inspect, keys, lint,
    passage::{self, AtStop},
    readings::{Asked, Readings},
    roles, search, status, views,
};
use crate::{
    audit::{Kind, MAX_TAIL_LINES},
    authority::{AuthorityInfo, TrustBundle},
    governance::Act,
    metadata::{self, PublicUrl},
    registry::{Change, Client, ClientDraft, ClientState, Standing, Verdict},
    server::{Place, Places, Terms},
};
use futures_util::StreamExt as _;
use std::{sync::Arc, time::Duration};
use symbolon_proto::admin::{
    self, ApplyClientsRequest, ApplyClientsResponse, AttestProcessRequest, AttestProcessResponse,
    BackupRequest, ChangeManyStatesRequest, ChangeManyStatesResponse, ChangeStateRequest,
    DecisionRequest, ExportAuditRequest, ExportAuditResponse, GetAuditKeyRequest,
    GetAuditKeyResponse, GetBundleRequest, GetBundleResponse, GetClientHistoryRequest,
    GetClientRequest, GetInfoRequest, GetInfoResponse, LintClientsRequest, LintClientsResponse,
    ListClientsRequest, ListClientsResponse, QueryAuditRequest, QueryAuditResponse,
    RegisterClientRequest, RollbackClientRequest, TailAuditRequest, TailAuditResponse,
    TraceAuditRequest, TraceAuditResponse, UpdateClientRequest,
};
use tokio::{sync::Semaphore, task};
use tonic::{Request, Response, Status};

/// Ends of the trail that are read at the same time: each has lines in memory, and looks for more.
const TAILS: Terms = Terms {
    what: "tail",
    most: 16,
    most_of_one: 8,
    full: "as many ends of the audit trail are read as may at a time",
};

/// How long a line may lie unread: a screen may be stopped for a while.
const TAIL_PATIENCE: Duration = Duration::from_secs(10 * 60);

/// The admin service.
#[derive(Clone, Debug)]
pub struct AdminApi {
    pub(super) services: Arc<AdminServices>,
    /// One batch of documents is worked on at a time, and the others wait.
    pub(super) applying: Arc<Semaphore>,
    /// The one that is worked on, and those that wait.
    pub(super) batches: Arc<Places>,
    pub(super) searches: Arc<Places>,
    pub(super) backups: Arc<Places>,
    pub(super) readings: Readings,
    histories: Arc<Places>,
    tails: Arc<Places>,
}

impl AdminApi {
    /// Serves from `services`.
    #[must_use]
    pub fn new(services: Arc<AdminServices>) -> Self {
        let places = |terms| Places::shown_by(&services.admin_metrics, terms);
        Self {
            applying: Arc::new(Semaphore::new(1)),
            batches: places(apply::BATCHES),
            searches: places(search::TERMS),
            backups: places(backup::TERMS),
            histories: places(govern::HISTORIES),
            tails: places(TAILS),
            readings: Readings::new(
                services.trail.clone(),
                Arc::clone(&services.clock),
                services.supervisor.clone(),
            ),
            services,
        }
    }

    /// What an answer in parts holds.
    pub(super) fn terms(
        &self,
        place: Place,
        patience: Duration,
        at_stop: AtStop,
    ) -> passage::Terms {
        passage::Terms {
            place,
            patience,
            stopped: self.services.stopped.clone(),
            at_stop,
        }
    }

    pub(super) fn show(&self, client: &Client) -> admin::Client {
        let state = self.services.registry.snapshot().state_of(client);
        let holders = self.services.workloads.holders(&[client]);
        let held = holders.first().copied().unwrap_or_default();
        self.shown(client, state, held)
    }

    /// The message for a client, with what of it is not in its record.
    fn shown(&self, client: &Client, state: ClientState, held: usize) -> admin::Client {
        let shown = convert::client(client, state, held, self.public_url());
        let shown = keys::shown(self.services.workloads.broker().keys(), shown, client);
        admin::Client {
            external_document: self.external_document(client),
            ..shown
        }
    }

    fn public_url(&self) -> Option<&PublicUrl> {
        self.services.linter.policy().public_url.as_ref()
    }

    /// What was seen last of the document that others host for this client.
    fn external_document(&self, client: &Client) -> Option<admin::ExternalDocument> {
        let seen = self.services.looks.last(client.name())?;
        Some(convert::external_document(&seen))
    }

    /// What an operator asks for, judged, and its draft with what is accepted of it.
    async fn judged(
        &self,
        mut requested: Requested,
        spec: Option<admin::ClientSpec>,
        accept_weak: &str,
    ) -> Result<(Requested, ClientDraft), Status> {
        let draft = convert::draft(spec)?;
        let (draft, judged) =
            lint::judge(&self.services, requested.name(), draft, accept_weak).await?;
        requested.judged = judged;
        Ok((requested, draft))
    }
}

/// The operator that the gate put there when it let the call through.
pub(super) fn operator<T>(request: &Request<T>) -> Result<Operator, Status> {
    let operator = request.extensions().get::<Operator>().cloned();
    operator.ok_or_else(|| Status::internal("the call was let through without an operator"))
}

#[tonic::async_trait]
impl admin::admin_server::Admin for AdminApi {
    type GetClientHistoryStream = passage::Parts<admin::HistoryEntry>;

    type BackupStream = passage::Parts<admin::BackupResponse>;

    type TailAuditStream = passage::Parts<TailAuditResponse>;

    async fn get_info(
        &self,
        request: Request<GetInfoRequest>,
    ) -> Result<Response<GetInfoResponse>, Status> {
        let operator = operator(&request)?;
        let services = &self.services;
        let snapshot = services.registry.snapshot();
        let approvals_required = services.registry.approvals_required();
        let mut active = 0;
        for (looked_at, client) in snapshot.iter().enumerate() {
            if looked_at % views::AT_ONCE == 0 {
                task::yield_now().await;
            }
            active += usize::from(snapshot.state_of(client) == ClientState::Active);
        }
        let (processes, streams) = services.workloads.counts();
        let facts = services.facts.clone();
        Ok(Response::new(GetInfoResponse {
            version: facts.version.to_owned(),
            trust_domain: services.workloads.bundle().trust_domain().to_string(),
            data_dir: facts.data_dir,
            workload_socket: facts.workload_socket,
            admin_socket: facts.admin_socket,
            ready: services.readiness.is_ready(),
            started_at: convert::timestamp(facts.started_at),
            active_clients: convert::count(active),
            clients: convert::count(snapshot.len()),
            processes: convert::count(processes),
            streams: convert::count(streams),
            limitations: facts.limitations,
            authorities: (services.authorities.0)().iter().map(authority).collect(),
            operator: Some(introduced(&operator, approvals_required)),
            operators_configured: services.roster.borrow().names_somebody(),
            approvals_required,
        }))
    }

    async fn register_client(
        &self,
        request: Request<RegisterClientRequest>,
    ) -> Result<Response<admin::Client>, Status> {
        let operator = operator(&request)?;
        let request = request.into_inner();
        let act = Act::Change(Kind::Registered);
        let requested = Requested::new(operator, act, &request.name, &request.reason)?;
        let (requested, draft) = self
            .judged(requested, request.spec, &request.accept_weak)
            .await?;
        self.change(requested, Change::Register(Box::new(draft)))
            .await
    }

    async fn update_client(
        &self,
        request: Request<UpdateClientRequest>,
    ) -> Result<Response<admin::Client>, Status> {
        let operator = operator(&request)?;
        let request = request.into_inner();
        let act = Act::Change(Kind::Updated);
        let requested = Requested::new(operator, act, &request.name, &request.reason)?;
        let (requested, draft) = self
            .judged(requested, request.spec, &request.accept_weak)
            .await?;
        let expected = (request.expected_version != 0).then_some(request.expected_version);
        let change = Change::Update(Box::new(draft), expected);
        self.change(requested, change).await
    }

    async fn apply_clients(
        &self,
        request: Request<ApplyClientsRequest>,
    ) -> Result<Response<ApplyClientsResponse>, Status> {
        self.apply(request).await
    }

    async fn rollback_client(
        &self,
        request: Request<RollbackClientRequest>,
    ) -> Result<Response<admin::Client>, Status> {
        self.rollback(request).await
    }

    async fn approve_client(
        &self,
        request: Request<DecisionRequest>,
    ) -> Result<Response<admin::Client>, Status> {
        self.decide(Verdict::Approve, request).await
    }

    async fn reject_client(
        &self,
        request: Request<DecisionRequest>,
    ) -> Result<Response<admin::Client>, Status> {
        self.decide(Verdict::Reject, request).await
    }

    async fn withdraw_client(
        &self,
        request: Request<DecisionRequest>,
    ) -> Result<Response<admin::Client>, Status> {
        self.decide(Verdict::Withdraw, request).await
    }

    async fn change_many_states(
        &self,
        request: Request<ChangeManyStatesRequest>,
    ) -> Result<Response<ChangeManyStatesResponse>, Status> {
        self.change_many(request).await
    }

    async fn get_client_history(
        &self,
        request: Request<GetClientHistoryRequest>,
    ) -> Result<Response<Self::GetClientHistoryStream>, Status> {
        let uid = operator(&request)?.uid;
        let name = convert::name(&request.into_inner().name)?;
        let place = self.histories.take(uid)?;
        let entries = govern::history(&self.services.registry, &name)?;
        let at_stop = AtStop::Fail(govern::HISTORY_BROKEN_OFF);
        let terms = self.terms(place, govern::HISTORY_PATIENCE, at_stop);
        let answer = passage::open(entries, terms, &self.services.supervisor);
        Ok(Response::new(answer))
    }

    async fn get_client(
        &self,
        request: Request<GetClientRequest>,
    ) -> Result<Response<admin::Client>, Status> {
        let name = convert::name(&request.into_inner().name)?;
        let snapshot = self.services.registry.snapshot();
        let client = snapshot.client(&name);
        let client =
            client.ok_or_else(|| Status::not_found(format!("there is no client {name}")))?;
        let document = self
            .public_url()
            .and_then(|public| metadata::document(client, public));
        let document = document.map(|document| String::from_utf8_lossy(&document).into_owned());
        Ok(Response::new(admin::Client {
            document: document.unwrap_or_default(),
            ..self.show(client)
        }))
    }

    async fn list_clients(
        &self,
        request: Request<ListClientsRequest>,
    ) -> Result<Response<ListClientsResponse>, Status> {
        let request = request.into_inner();
        let after = match request.after.as_str() {
            "" => None,
            text => Some(convert::name(text)?),
        };
        let limit = convert::page(request.limit);
        let snapshot = self.services.registry.snapshot();
        let wanted = |client: &&Arc<Client>| {
            (request.owner.is_empty() || client.spec().owner().as_str() == request.owner)
                && (request.state.is_empty() || snapshot.state_of(client).as_str() == request.state)
                && (!request.pending || client.awaits_approval())
                && (request.source.is_empty() || apply::is_of(client, &request.source))
        };
        let mut page = Vec::new();
        for (looked_at, client) in snapshot.after(after.as_ref()).enumerate() {
            if looked_at % views::AT_ONCE == 0 {
                task::yield_now().await;
            }
            if wanted(&client) {
                page.push(client);
            }
            if page.len() > limit {
                break;
            }
        }
        let more = page.len() > limit;
        page.truncate(limit);
        let clients: Vec<&Client> = page.iter().map(|client| &***client).collect();
        let holders = self.services.workloads.holders(&clients);
        Ok(Response::new(ListClientsResponse {
            clients: std::iter::zip(&page, holders)
                .map(|(client, held)| {
                    let state = snapshot.state_of(client);
                    self.shown(client, state, held)
                })
                .collect(),
            more,
        }))
    }

    async fn suspend_client(
        &self,
        request: Request<ChangeStateRequest>,
    ) -> Result<Response<admin::Client>, Status> {
        self.stand(Standing::Suspended, request).await
    }

    async fn resume_client(
        &self,
        request: Request<ChangeStateRequest>,
    ) -> Result<Response<admin::Client>, Status> {
        self.stand(Standing::Active, request).await
    }

    async fn revoke_client(
        &self,
        request: Request<ChangeStateRequest>,
    ) -> Result<Response<admin::Client>, Status> {
        self.stand(Standing::Revoked, request).await
    }

    async fn lint_clients(
        &self,
        request: Request<LintClientsRequest>,
    ) -> Result<Response<LintClientsResponse>, Status> {
        let judged = lint::clients(&self.services, request.into_inner()).await?;
        Ok(Response::new(judged))
    }

    async fn attest_process(
        &self,
        request: Request<AttestProcessRequest>,
    ) -> Result<Response<AttestProcessResponse>, Status> {
        let explained = inspect::process(&self.services, request.into_inner()).await?;
        Ok(Response::new(explained))
    }

    async fn get_bundle(
        &self,
        request: Request<GetBundleRequest>,
    ) -> Result<Response<GetBundleResponse>, Status> {
        let bundle = self.services.workloads.bundle();
        let document = document(&bundle, &request.into_inner().format)?;
        Ok(Response::new(GetBundleResponse { document }))
    }

    async fn backup(
        &self,
        request: Request<BackupRequest>,
    ) -> Result<Response<Self::BackupStream>, Status> {
        self.back_up(&operator(&request)?).await
    }

    async fn tail_audit(
        &self,
        request: Request<TailAuditRequest>,
    ) -> Result<Response<Self::TailAuditStream>, Status> {
        let operator = operator(&request)?;
        let TailAuditRequest { last, follow } = request.into_inner();
        let wanted = usize::try_from(last).unwrap_or(usize::MAX);
        let wanted = wanted.min(MAX_TAIL_LINES);
        // It ends where the trail does before the reading is recorded: only who follows sees that.
        let take = || {
            let place = self.tails.take(operator.uid)?;
            Ok((place, self.services.trail.tail(wanted, follow)))
        };
        let (place, lines) = self.readings.admit(&operator, take).await?;
        let asked = Asked::end(last, follow);
        let reading = self.readings.begin(&operator, "TailAudit", asked).await?;
        let lines = lines.map(|line| match line {
            Ok(line) => Ok(TailAuditResponse { line }),
            Err(error) => Err(status::of_tail(&error)),
        });
        let terms = self.terms(place, TAIL_PATIENCE, AtStop::End);
        let answer = passage::open(lines, terms, &self.services.supervisor);
        Ok(reading.count(Response::new(answer)))
    }

    async fn list_owners(
        &self,
        request: Request<admin::ListOwnersRequest>,
    ) -> Result<Response<admin::ListOwnersResponse>, Status> {
        let owners = views::owners(&self.services, request.into_inner()).await?;
        Ok(Response::new(owners))
    }

    async fn list_stale_clients(
        &self,
        request: Request<admin::ListStaleClientsRequest>,
    ) -> Result<Response<admin::ListStaleClientsResponse>, Status> {
        let clients = views::stale(&self.services, request.into_inner()).await?;
        Ok(Response::new(clients))
    }

    async fn list_holders(
        &self,
        request: Request<admin::ListHoldersRequest>,
    ) -> Result<Response<admin::ListHoldersResponse>, Status> {
        let holders = views::holders(&self.services, &request.into_inner())?;
        Ok(Response::new(holders))
    }

    type QueryAuditStream = passage::Parts<QueryAuditResponse>;

    async fn query_audit(
        &self,
        request: Request<QueryAuditRequest>,
    ) -> Result<Response<Self::QueryAuditStream>, Status> {
        self.query_trail(request).await
    }

    type ExportAuditStream = passage::Parts<ExportAuditResponse>;

    async fn export_audit(
        &self,
        request: Request<ExportAuditRequest>,
    ) -> Result<Response<Self::ExportAuditStream>, Status> {
        self.export_trail(request).await
    }

    type TraceAuditStream = passage::Parts<TraceAuditResponse>;

    async fn trace_audit(
        &self,
        request: Request<TraceAuditRequest>,
    ) -> Result<Response<Self::TraceAuditStream>, Status> {
        self.trace_trail(request).await
    }

    async fn get_audit_key(
        &self,
        _request: Request<GetAuditKeyRequest>,
    ) -> Result<Response<GetAuditKeyResponse>, Status> {
        self.audit_key()
    }

    async fn replace_client_key(
        &self,
        request: Request<admin::ReplaceClientKeyRequest>,
    ) -> Result<Response<admin::Client>, Status> {
        self.replace_key(request).await
    }

    async fn add_trust_domain(
        &self,
        request: Request<admin::AddTrustDomainRequest>,
    ) -> Result<Response<admin::TrustDomain>, Status> {
        self.add_domain(request).await
    }

    async fn remove_trust_domain(
        &self,
        request: Request<admin::RemoveTrustDomainRequest>,
    ) -> Result<Response<admin::TrustDomain>, Status> {
        self.remove_domain(request).await
    }

    async fn approve_trust_domain(
        &self,
        request: Request<admin::TrustDomainDecision>,
    ) -> Result<Response<admin::TrustDomain>, Status> {
        self.decide_domain(Verdict::Approve, request).await
    }

    async fn reject_trust_domain(
        &self,
        request: Request<admin::TrustDomainDecision>,
    ) -> Result<Response<admin::TrustDomain>, Status> {
        self.decide_domain(Verdict::Reject, request).await
    }

    async fn withdraw_trust_domain(
        &self,
        request: Request<admin::TrustDomainDecision>,
    ) -> Result<Response<admin::TrustDomain>, Status> {
        self.decide_domain(Verdict::Withdraw, request).await
    }

    async fn get_trust_domain(
        &self,
        request: Request<admin::GetTrustDomainRequest>,
    ) -> Result<Response<admin::TrustDomain>, Status> {
        self.show_domain(&request.into_inner()).await
    }

    async fn list_trust_domains(
        &self,
        _request: Request<admin::ListTrustDomainsRequest>,
    ) -> Result<Response<admin::ListTrustDomainsResponse>, Status> {
        Ok(self.list_domains().await)
    }
}

fn document(bundle: &TrustBundle, format: &str) -> Result<bytes::Bytes, Status> {
    match format {
        "spiffe" => Ok(bundle.spiffe_json().clone()),
        "jwks" => Ok(bundle.jwt_jwks().clone()),
        "pem" => Ok(bundle.x509_pem().clone()),
        _ => Err(Status::invalid_argument(
            "format is one of: spiffe, jwks, pem",
        )),
    }
}

fn authority(info: &AuthorityInfo) -> admin::AuthorityInfo {
    admin::AuthorityInfo {
        kind: info.kind.as_str().to_owned(),
        slot: info.slot.as_str().to_owned(),
        key_id: info.key_id.to_string(),
        not_before: convert::timestamp(info.not_before),
        not_after: convert::timestamp(info.not_after),
    }
}

fn introduced(operator: &Operator, approvals_required: u32) -> admin::OperatorInfo {
    let callable = roles::callable(operator.roles, approvals_required > 0);
    admin::OperatorInfo {
        name: operator.label(),
        uid: operator.uid,
        login: operator.login,
        roles: operator.roles.iter().map(|role| role.to_string()).collect(),
        methods: callable.map(str::to_owned).collect(),
    }
}
