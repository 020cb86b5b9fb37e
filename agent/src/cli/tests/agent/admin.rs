use super::{State, apply, federation, govern, reading, views};
use crate::cli::tests::NOW;
use parking_lot::Mutex;
use std::sync::Arc;
use symbolon_proto::admin::{
    self, AcceptedWeaknesses, ApplyClientsRequest, ApplyClientsResponse, AttestProcessRequest,
    AttestProcessResponse, AuthorityInfo, BackupRequest, BackupResponse, ChangeManyStatesRequest,
    ChangeManyStatesResponse, ChangeStateRequest, Client, ClientFindings, ClientFit, ClientSpec,
    Connection, DecisionRequest, ExportAuditRequest, ExportAuditResponse, Finding,
    GetAuditKeyRequest, GetAuditKeyResponse, GetBundleRequest, GetBundleResponse,
    GetClientHistoryRequest, GetClientRequest, GetInfoRequest, GetInfoResponse, HistoryEntry,
    LintClientsRequest, LintClientsResponse, ListClientsRequest, ListClientsResponse, OperatorInfo,
    Proposal, ProposedSelector, QueryAuditRequest, QueryAuditResponse, RegisterClientRequest,
    RollbackClientRequest, SelectorSet, SetFit, TailAuditRequest, TailAuditResponse,
    TraceAuditRequest, TraceAuditResponse, UnknownFact, UpdateClientRequest, admin_server::Admin,
};
use tokio_stream::Iter;
use tonic::{Request, Response, Status};

/// Fewer than anybody asks for, so that lists have pages.
const PAGE: usize = 2;

#[derive(Clone, Debug)]
pub(super) struct FakeAdmin(pub(super) Arc<Mutex<State>>);

type Answer<T> = Result<Response<T>, Status>;

impl FakeAdmin {
    fn hear<T: std::fmt::Debug>(&self, request: Request<T>) -> Result<T, Status> {
        let mut state = self.0.lock();
        let request = request.into_inner();
        state.requests.push(format!("{request:?}"));
        state.refusal.clone().map_or(Ok(request), Err)
    }

    fn with(&self, name: &str, change: impl FnOnce(&mut Client)) -> Answer<Client> {
        let mut state = self.0.lock();
        let found = state.clients.iter_mut().find(|client| client.name == name);
        let client = found.ok_or_else(|| Status::not_found(format!("no client `{name}`")))?;
        change(client);
        Ok(Response::new(client.clone()))
    }

    fn change(&self, request: Request<ChangeStateRequest>, to: &str) -> Answer<Client> {
        let ChangeStateRequest { name, reason } = self.hear(request)?;
        self.with(&name, |client| {
            client.state = to.to_owned();
            client.state_reason = reason;
            client.state_changed_at = NOW;
        })
    }
}

#[tonic::async_trait]
impl Admin for FakeAdmin {
    async fn get_info(&self, request: Request<GetInfoRequest>) -> Answer<GetInfoResponse> {
        self.hear(request)?;
        let methods = self.0.lock().methods();
        Ok(Response::new(GetInfoResponse {
            version: "0.1.0".into(),
            trust_domain: "example.org".into(),
            data_dir: "/var/lib/symbolon".into(),
            workload_socket: "/run/symbolon/workload/workload.sock".into(),
            admin_socket: "/run/symbolon/admin/admin.sock".into(),
            ready: true,
            started_at: NOW - 3_600 * 5,
            clients: 3,
            active_clients: 2,
            processes: 1,
            streams: 4,
            limitations: vec!["Not root: only this user's processes can be attested fully.".into()],
            authorities: vec![AuthorityInfo {
                kind: "x509".into(),
                slot: "active".into(),
                key_id: "ab12".into(),
                not_before: NOW - 86_400,
                not_after: NOW + 89 * 86_400,
            }],
            operator: Some(OperatorInfo {
                name: "alice".into(),
                uid: 1001,
                login: Some(1001),
                roles: vec!["author".into(), "reader".into()],
                methods,
            }),
            operators_configured: true,
            approvals_required: self.0.lock().approvals_required,
        }))
    }

    async fn register_client(&self, request: Request<RegisterClientRequest>) -> Answer<Client> {
        let request = self.hear(request)?;
        let mut state = self.0.lock();
        if state
            .clients
            .iter()
            .any(|client| client.name == request.name)
        {
            return Err(Status::already_exists(format!(
                "`{}` is taken",
                request.name
            )));
        }
        let mut client = client(&request.name, request.spec.unwrap());
        let spec = client.spec.as_ref().unwrap();
        if !spec.audiences.contains(&"*".to_owned()) {
            client.warnings.clear();
            client.findings.clear();
        }
        state.clients.push(client.clone());
        Ok(Response::new(client))
    }

    async fn update_client(&self, request: Request<UpdateClientRequest>) -> Answer<Client> {
        let request = self.hear(request)?;
        self.with(&request.name, |client| {
            assert_eq!(request.expected_version, client.version);
            client.version += 1;
            client.spec = request.spec;
        })
    }

    async fn get_client(&self, request: Request<GetClientRequest>) -> Answer<Client> {
        let request = self.hear(request)?;
        self.with(&request.name, |_| {})
    }

    async fn list_clients(
        &self,
        request: Request<ListClientsRequest>,
    ) -> Answer<ListClientsResponse> {
        let request = self.hear(request)?;
        let clients = self.0.lock().clients.clone();
        let rest = clients
            .into_iter()
            .filter(|client| client.name > request.after)
            .filter(|client| !request.pending || govern::awaits(client))
            .filter(|client| {
                let own = client.spec.as_ref().map(|spec| &spec.source);
                request.source.is_empty() || own == Some(&request.source)
            });
        let mut page: Vec<Client> = rest.take(PAGE + 1).collect();
        let more = page.len() > PAGE;
        page.truncate(PAGE);
        Ok(Response::new(ListClientsResponse {
            clients: page,
            more,
        }))
    }

    async fn lint_clients(
        &self,
        request: Request<LintClientsRequest>,
    ) -> Answer<LintClientsResponse> {
        let request = self.hear(request)?;
        let clients = self.0.lock().clients.clone();
        let mut rest = clients
            .into_iter()
            .filter(|client| client.name > request.after)
            .filter(|client| request.name.is_empty() || client.name == request.name);
        let page: Vec<Client> = rest.by_ref().take(PAGE).collect();
        let findings = |client: Client| ClientFindings {
            name: client.name,
            state: client.state,
            findings: client.findings,
            accepted_weaknesses: client.spec.unwrap().accepted_weaknesses,
        };
        Ok(Response::new(LintClientsResponse {
            last: page
                .last()
                .map(|client| client.name.clone())
                .unwrap_or_default(),
            judged: page.len().try_into().unwrap(),
            clients: page.into_iter().map(findings).collect(),
            more: rest.next().is_some(),
        }))
    }

    async fn replace_client_key(
        &self,
        request: Request<admin::ReplaceClientKeyRequest>,
    ) -> Answer<Client> {
        let request = self.hear(request)?;
        self.with(&request.name, |client| {
            client.keys = vec![key("new", "active")];
        })
    }

    async fn suspend_client(&self, request: Request<ChangeStateRequest>) -> Answer<Client> {
        self.change(request, "suspended")
    }

    async fn resume_client(&self, request: Request<ChangeStateRequest>) -> Answer<Client> {
        self.change(request, "active")
    }

    async fn revoke_client(&self, request: Request<ChangeStateRequest>) -> Answer<Client> {
        self.change(request, "revoked")
    }

    async fn apply_clients(
        &self,
        request: Request<ApplyClientsRequest>,
    ) -> Answer<ApplyClientsResponse> {
        let request = self.hear(request)?;
        Ok(Response::new(apply::apply(&mut self.0.lock(), request)))
    }

    async fn rollback_client(&self, request: Request<RollbackClientRequest>) -> Answer<Client> {
        let request = self.hear(request)?;
        self.with(&request.name, |client| client.version += 1)
    }

    async fn approve_client(&self, request: Request<DecisionRequest>) -> Answer<Client> {
        let request = self.hear(request)?;
        self.with(&request.name, govern::approve)
    }

    async fn reject_client(&self, request: Request<DecisionRequest>) -> Answer<Client> {
        let request = self.hear(request)?;
        self.with(&request.name, |client| govern::decline(client, "rejected"))
    }

    async fn withdraw_client(&self, request: Request<DecisionRequest>) -> Answer<Client> {
        let request = self.hear(request)?;
        self.with(&request.name, |client| govern::decline(client, "withdrawn"))
    }

    async fn change_many_states(
        &self,
        request: Request<ChangeManyStatesRequest>,
    ) -> Answer<ChangeManyStatesResponse> {
        let request = self.hear(request)?;
        Ok(Response::new(match request.names.is_empty() {
            true => govern::many(),
            false => govern::named(&mut self.0.lock(), &request),
        }))
    }

    type GetClientHistoryStream = Iter<std::vec::IntoIter<Result<HistoryEntry, Status>>>;

    async fn get_client_history(
        &self,
        request: Request<GetClientHistoryRequest>,
    ) -> Answer<Self::GetClientHistoryStream> {
        let name = self.hear(request)?.name;
        self.with(&name, |_| {})?;
        let entries: Vec<_> = govern::history().into_iter().map(Ok).collect();
        Ok(Response::new(tokio_stream::iter(entries)))
    }

    async fn attest_process(
        &self,
        request: Request<AttestProcessRequest>,
    ) -> Answer<AttestProcessResponse> {
        let request = self.hear(request)?;
        let fit = |name: &str, state: &str, sets: Vec<SetFit>| ClientFit {
            name: name.into(),
            spiffe_id: format!("spiffe://example.org/mcp/client/{name}"),
            state: state.into(),
            fits: sets.is_empty(),
            entitled: state == "active" && sets.is_empty(),
            sets,
            ..ClientFit::default()
        };
        let lacking = SetFit {
            present: vec!["unix:uid:1000".into()],
            missing: vec!["unix:path:/opt/other".into()],
            unknown: vec![UnknownFact {
                selector: "cgroup:path:/system.slice/billing.service".into(),
                reason: "no cgroup is mounted".into(),
            }],
        };
        let propose = |selector: &str, reason: &str| ProposedSelector {
            selector: selector.into(),
            reason: reason.into(),
        };
        Ok(Response::new(AttestProcessResponse {
            pid: request.pid,
            attestation_id: "5f".repeat(32),
            pinned_by: "pidfd".into(),
            selectors: self.0.lock().selectors.clone(),
            unknown: vec![UnknownFact {
                selector: "cgroup:path".into(),
                reason: "no cgroup is mounted".into(),
            }],
            clients: vec![
                fit("billing", "active", vec![lacking.clone(), lacking]),
                fit("payments", "active", vec![]),
                fit("reports", "suspended", vec![]),
            ],
            evidence_json: r#"{"pid":4711,"uid":1000}"#.into(),
            proposal: Some(Proposal {
                selectors: vec![
                    propose("unix:uid:1000", "the user that runs it"),
                    propose("unix:sha256:ab", "exactly this program"),
                    propose("unix:path:/tmp/it's", "its path"),
                ],
                findings: vec![interpreter()],
            }),
            connections: vec![Connection {
                held: "close-on-exec".into(),
                answered: "stamped".into(),
                open: 2,
            }],
        }))
    }

    async fn get_bundle(&self, request: Request<GetBundleRequest>) -> Answer<GetBundleResponse> {
        let document = match self.hear(request)?.format.as_str() {
            "pem" => super::workload::identity().authority.pem(),
            "jwks" => r#"{"keys":[{"kid":"j1","kty":"EC","crv":"P-256"}]}"#.to_owned(),
            _ => r#"{"keys":[{"kid":"j1","kty":"EC","crv":"P-256","use":"jwt-svid"}],"spiffe_sequence":1}"#
                .to_owned(),
        };
        Ok(Response::new(GetBundleResponse {
            document: document.into_bytes().into(),
        }))
    }

    async fn list_owners(
        &self,
        request: Request<admin::ListOwnersRequest>,
    ) -> Answer<admin::ListOwnersResponse> {
        Ok(Response::new(views::owners(&self.hear(request)?)))
    }

    async fn list_stale_clients(
        &self,
        request: Request<admin::ListStaleClientsRequest>,
    ) -> Answer<admin::ListStaleClientsResponse> {
        Ok(Response::new(views::stale(&self.hear(request)?)))
    }

    async fn list_holders(
        &self,
        request: Request<admin::ListHoldersRequest>,
    ) -> Answer<admin::ListHoldersResponse> {
        self.hear(request)?;
        Ok(Response::new(views::holders()))
    }

    type BackupStream = Iter<std::vec::IntoIter<Result<BackupResponse, Status>>>;

    async fn backup(&self, request: Request<BackupRequest>) -> Answer<Self::BackupStream> {
        self.hear(request)?;
        let pieces = self.0.lock().backup.clone();
        let pieces = pieces.into_iter().map(|data| {
            let data = data.into();
            Ok(BackupResponse { data })
        });
        let pieces: Vec<_> = pieces.collect();
        Ok(Response::new(tokio_stream::iter(pieces)))
    }

    type TailAuditStream = Iter<std::vec::IntoIter<Result<TailAuditResponse, Status>>>;

    async fn tail_audit(
        &self,
        request: Request<TailAuditRequest>,
    ) -> Answer<Self::TailAuditStream> {
        self.hear(request)?;
        let lines = self.0.lock().audit.clone();
        let lines: Vec<_> = lines
            .into_iter()
            .map(|line| Ok(TailAuditResponse { line }))
            .collect();
        Ok(Response::new(tokio_stream::iter(lines)))
    }

    type QueryAuditStream = reading::Parts<QueryAuditResponse>;

    async fn query_audit(
        &self,
        request: Request<QueryAuditRequest>,
    ) -> Answer<Self::QueryAuditStream> {
        self.hear(request)?;
        Ok(reading::query(&self.0.lock()))
    }

    type ExportAuditStream = reading::Parts<ExportAuditResponse>;

    async fn export_audit(
        &self,
        request: Request<ExportAuditRequest>,
    ) -> Answer<Self::ExportAuditStream> {
        self.hear(request)?;
        Ok(reading::export(&self.0.lock()))
    }

    type TraceAuditStream = reading::Parts<TraceAuditResponse>;

    async fn trace_audit(
        &self,
        request: Request<TraceAuditRequest>,
    ) -> Answer<Self::TraceAuditStream> {
        self.hear(request)?;
        Ok(reading::trace(&self.0.lock()))
    }

    async fn get_audit_key(
        &self,
        request: Request<GetAuditKeyRequest>,
    ) -> Answer<GetAuditKeyResponse> {
        self.hear(request)?;
        let pem = self.0.lock().trail.key.clone();
        Ok(Response::new(GetAuditKeyResponse { pem }))
    }

    async fn add_trust_domain(
        &self,
        request: Request<admin::AddTrustDomainRequest>,
    ) -> Answer<admin::TrustDomain> {
        let name = self.hear(request)?.name;
        Ok(Response::new(federation::find(&self.0.lock(), &name)?))
    }

    async fn remove_trust_domain(
        &self,
        request: Request<admin::RemoveTrustDomainRequest>,
    ) -> Answer<admin::TrustDomain> {
        let name = self.hear(request)?.name;
        Ok(Response::new(federation::find(&self.0.lock(), &name)?))
    }

    async fn approve_trust_domain(
        &self,
        request: Request<admin::TrustDomainDecision>,
    ) -> Answer<admin::TrustDomain> {
        let name = self.hear(request)?.name;
        Ok(Response::new(federation::find(&self.0.lock(), &name)?))
    }

    async fn reject_trust_domain(
        &self,
        request: Request<admin::TrustDomainDecision>,
    ) -> Answer<admin::TrustDomain> {
        let name = self.hear(request)?.name;
        Ok(Response::new(federation::find(&self.0.lock(), &name)?))
    }

    async fn withdraw_trust_domain(
        &self,
        request: Request<admin::TrustDomainDecision>,
    ) -> Answer<admin::TrustDomain> {
        let name = self.hear(request)?.name;
        Ok(Response::new(federation::find(&self.0.lock(), &name)?))
    }

    async fn get_trust_domain(
        &self,
        request: Request<admin::GetTrustDomainRequest>,
    ) -> Answer<admin::TrustDomain> {
        let name = self.hear(request)?.name;
        Ok(Response::new(federation::find(&self.0.lock(), &name)?))
    }

    async fn list_trust_domains(
        &self,
        request: Request<admin::ListTrustDomainsRequest>,
    ) -> Answer<admin::ListTrustDomainsResponse> {
        self.hear(request)?;
        let trust_domains = self.0.lock().trust_domains.clone();
        Ok(Response::new(admin::ListTrustDomainsResponse {
            trust_domains,
        }))
    }
}

/// The content of a registration.
pub(in crate::cli::tests) fn spec() -> ClientSpec {
    ClientSpec {
        owner: "alice".into(),
        purpose: "pays invoices".into(),
        spiffe_id: "spiffe://example.org/mcp/client/payments".into(),
        selector_sets: vec![
            SelectorSet {
                selectors: vec!["unix:sha256:ab".into(), "unix:uid:1000".into()],
            },
            SelectorSet {
                selectors: vec!["unix:uid:1001".into()],
            },
        ],
        audiences: vec!["https://mcp.example.org".into(), "*".into()],
        max_audiences: 2,
        x509_ttl: 1_800,
        jwt_ttl: 90,
        hint: "internal".into(),
        dns_names: vec!["payments.example.org".into()],
        expires_at: NOW + 90 * 86_400,
        ..ClientSpec::default()
    }
}

/// A serious finding.
pub(in crate::cli::tests) fn interpreter() -> Finding {
    Finding {
        pointer: String::new(),
        id: "interpreter".into(),
        severity: "serious".into(),
        selectors: vec!["unix:sha256:ab".into(), "unix:uid:1000".into()],
        explanation: "/usr/bin/node runs scripts".into(),
        instead: "Give the script a unit.".into(),
    }
}

/// What an operator accepted.
pub(in crate::cli::tests) fn accepted() -> AcceptedWeaknesses {
    AcceptedWeaknesses {
        findings: vec!["interpreter".into()],
        reason: "moves to a unit in May".into(),
    }
}

/// A client with `spec` in force.
pub(in crate::cli::tests) fn client(name: &str, mut spec: ClientSpec) -> Client {
    if spec.spiffe_id.is_empty() {
        spec.spiffe_id = format!("spiffe://example.org/mcp/client/{name}");
    }
    Client {
        name: name.into(),
        state: "active".into(),
        state_reason: String::new(),
        state_changed_at: NOW - 86_400,
        version: 3,
        digest: "d1".repeat(32),
        author: "uid:0".into(),
        created_at: NOW - 864_000,
        updated_at: NOW - 3_600,
        spec: Some(spec),
        warnings: vec!["the audience * allows any".into()],
        processes: 1,
        findings: vec![Finding {
            pointer: String::new(),
            id: "any-audience".into(),
            severity: "notice".into(),
            selectors: vec![],
            explanation: "the audience * allows any".into(),
            instead: "List them.".into(),
        }],
        in_force: true,
        ..Client::default()
    }
}

/// A key that is published.
pub(in crate::cli::tests) fn key(key_id: &str, slot: &str) -> admin::ClientKey {
    admin::ClientKey {
        key_id: key_id.to_owned(),
        slot: slot.to_owned(),
        published_at: NOW - 3_600,
        not_after: NOW + 30 * 86_400,
        published: true,
    }
}
