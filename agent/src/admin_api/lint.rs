//! Judging registrations for operators: before a change, and on demand.

use super::{calls::AdminServices, convert};
use crate::{
    lint::{Asked, Finding, Judged, Proposed, Subject, Weak},
    registry::{
        AcceptedWeaknesses, Client, ClientDraft, ClientName, ClientState, Snapshot, WeaknessReason,
    },
};
use prost::Message as _;
use std::{str::FromStr as _, sync::Arc, time::Duration};
use symbolon_proto::admin::{
    self, ClientFindings, LintClientsRequest, LintClientsResponse, ProposedSelector,
    WeakRegistration,
};
use tokio::time::Instant;
use tonic::{Code, Status};

/// How long one answer may be worked on before another client is judged: whoever asks waits, and
/// asks for the rest.
const PAGE_TIME: Duration = Duration::from_secs(3);

/// The refusal, with the findings as details.
pub(super) fn refusal(weak: &Weak) -> Status {
    let details = WeakRegistration {
        findings: findings(weak.findings()),
    };
    let details = details.encode_to_vec().into();
    Status::with_details(Code::FailedPrecondition, weak.to_string(), details)
}

/// Judges what an operator asks for, see [`Linter::review`](crate::lint::Linter::review).
///
/// # Errors
/// Where the reason is none.
pub(super) async fn judge(
    services: &AdminServices,
    name: &ClientName,
    draft: ClientDraft,
    reason: &str,
) -> Result<(ClientDraft, Judged), Status> {
    let reason = match reason {
        "" => None,
        text => Some(WeaknessReason::from_str(text))
            .transpose()
            .map_err(|error| Status::invalid_argument(error.to_string()))?,
    };
    let name = name.clone();
    let mut asked = Asked {
        name,
        draft,
        reason,
    };
    let snapshot = services.registry.snapshot();
    let judged = services.linter.review(&mut asked, &snapshot).await;
    Ok((asked.draft, judged))
}

/// Judges one client, or a page of all that may hold identities.
pub(super) async fn clients(
    services: &AdminServices,
    request: LintClientsRequest,
) -> Result<LintClientsResponse, Status> {
    let snapshot = services.registry.snapshot();
    if !request.name.is_empty() {
        let name = convert::name(&request.name)?;
        let client = snapshot.client(&name);
        let client =
            client.ok_or_else(|| Status::not_found(format!("there is no client {name}")))?;
        return Ok(LintClientsResponse {
            last: name.to_string(),
            clients: vec![of_client(services, client, &snapshot).await],
            more: false,
            judged: 1,
        });
    }
    let after = match request.after.as_str() {
        "" => None,
        text => Some(convert::name(text)?),
    };
    let limit = convert::page(request.limit);
    let page = snapshot.page(after.as_ref(), limit);
    let begun = Instant::now();
    let mut response = LintClientsResponse {
        more: page.len() == limit,
        ..LintClientsResponse::default()
    };
    for client in &page {
        if begun.elapsed() > PAGE_TIME {
            response.more = true;
            break;
        }
        response.last = client.name().to_string();
        if matches!(
            snapshot.state_of(client),
            ClientState::New | ClientState::Active | ClientState::Suspended
        ) {
            let found = of_client(services, client, &snapshot).await;
            response.judged += 1;
            if !found.findings.is_empty() {
                response.clients.push(found);
            }
        }
    }
    Ok(response)
}

async fn of_client(
    services: &AdminServices,
    client: &Arc<Client>,
    snapshot: &Arc<Snapshot>,
) -> ClientFindings {
    let subject = Subject::of(client);
    let found = services.linter.judge(subject, Arc::clone(snapshot)).await;
    ClientFindings {
        name: client.name().to_string(),
        state: snapshot.state_of(client).as_str().to_owned(),
        findings: findings(&found),
        accepted_weaknesses: client.spec().accepted_weaknesses().map(accepted),
    }
}

/// The messages for findings.
pub(super) fn findings(findings: &[Finding]) -> Vec<admin::Finding> {
    let message = |finding: &Finding| admin::Finding {
        id: finding.weakness.id().to_owned(),
        severity: finding.severity.as_str().to_owned(),
        selectors: finding.selectors.iter().map(ToString::to_string).collect(),
        pointer: finding.pointer.clone(),
        explanation: finding.explanation.clone(),
        instead: finding.weakness.instead().to_owned(),
    };
    findings.iter().map(message).collect()
}

/// The message for what an operator accepted.
pub(super) fn accepted(accepted: &AcceptedWeaknesses) -> admin::AcceptedWeaknesses {
    admin::AcceptedWeaknesses {
        findings: accepted
            .findings()
            .iter()
            .map(ToString::to_string)
            .collect(),
        reason: accepted.reason().to_string(),
    }
}

/// The message for a proposal with its weaknesses.
pub(super) fn proposal(proposed: &[Proposed], found: &[Finding]) -> admin::Proposal {
    let selector = |proposed: &Proposed| ProposedSelector {
        selector: proposed.selector.to_string(),
        reason: proposed.reason.to_owned(),
    };
    admin::Proposal {
        selectors: proposed.iter().map(selector).collect(),
        findings: findings(found),
    }
}
