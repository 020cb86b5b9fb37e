//! The authority and its rotation, which log and audit trail are told of.

use super::RunError;
use crate::{
    audit::{Authority as AuditedAuthority, Event, Kind, Trail},
    authority::{AuthorityConfig, AuthorityEvent, AuthorityInfo, EmbeddedCa, OperatorCa},
    clock::SharedClock,
    config::Config,
    supervisor::Supervisor,
};
use std::sync::Arc;

pub(super) fn open(
    config: &Config,
    clock: &SharedClock,
    supervisor: &Supervisor,
    trail: &Trail,
) -> Result<Arc<EmbeddedCa>, RunError> {
    let settings = &config.authority;
    let operator = settings.operator_ca.as_ref().map(|files| OperatorCa {
        certificate_file: files.certificate_file.clone(),
        key_file: files.key_file.clone(),
    });
    let authority = EmbeddedCa::open(
        &config.data_dir.join("keys"),
        AuthorityConfig {
            trust_domain: config.trust_domain.clone(),
            x509_ca_ttl: settings.x509_ca_ttl,
            jwt_key_ttl: settings.jwt_key_ttl,
            wit_key_ttl: settings.wit_key_ttl,
            refresh_hint: settings.refresh_hint,
            jwks_cache: settings.jwks_cache,
            max_x509_ttl: config.limits.max_x509_ttl,
            max_jwt_ttl: config.limits.max_jwt_ttl,
            issuer: config.identity.issuer.as_ref().map(ToString::to_string),
            operator,
        },
        Arc::clone(clock),
    )?;
    let authority = Arc::new(authority);
    let rotation = Arc::clone(&authority);
    let (trail, recorder) = (trail.clone(), supervisor.clone());
    supervisor.critical("authority", async move {
        rotation
            .run(|event| note_rotation(&event, &trail, &recorder))
            .await;
    });
    Ok(authority)
}

/// Tells log and audit trail what the rotation did.
fn note_rotation(event: &AuthorityEvent, trail: &Trail, supervisor: &Supervisor) {
    let (authority, what) = match event {
        AuthorityEvent::Prepared(authority) => (authority, "prepared"),
        AuthorityEvent::Activated {
            authority,
            early: false,
        } => (authority, "activated"),
        AuthorityEvent::Activated {
            authority,
            early: true,
        } => (authority, "activated before it was published long enough"),
        AuthorityEvent::Retired(authority) => (authority, "retired"),
        AuthorityEvent::Removed(authority) => (authority, "removed"),
        AuthorityEvent::NearExpiry(authority) => {
            tracing::warn!(
                kind = authority.kind.as_str(),
                key_id = &*authority.key_id,
                "the operator's authority nears its end; supply a new one"
            );
            return;
        }
        AuthorityEvent::Failed(error) => {
            tracing::error!(%error, "an authority could not be rotated; it is tried again");
            return;
        }
    };
    tracing::info!(
        kind = authority.kind.as_str(),
        key_id = &*authority.key_id,
        what,
        "authority"
    );
    let event = Event::new(Kind::Rotated)
        .authority(audited(authority))
        .reason(what);
    let trail = trail.clone();
    supervisor.spawn(async move {
        if let Err(error) = trail.record(event).await {
            tracing::error!(%error, "a rotation could not be recorded");
        }
    });
}

fn audited(info: &AuthorityInfo) -> AuditedAuthority {
    AuditedAuthority {
        key_id: info.key_id.to_string(),
        kind: info.kind.as_str(),
        not_after: info.not_after,
        slot: info.slot.as_str(),
    }
}
