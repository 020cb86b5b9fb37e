//! From an error to a gRPC status: the one place that chooses code and words.

use crate::{
    audit::{AuditError, Health},
    disk,
    registry::{Bar, RegistryError, RelationshipFault, StoreError},
};
use symbolon_attestors::{AttestError, PinError};
use tonic::Status;

fn of_relationship(fault: &RelationshipFault, text: String) -> Status {
    match fault {
        RelationshipFault::Endpoint(_) | RelationshipFault::Removal => {
            Status::invalid_argument(text)
        }
        RelationshipFault::Barred(Bar::NoReason) => Status::invalid_argument(text),
        RelationshipFault::Barred(_) => Status::permission_denied(text),
        RelationshipFault::NotFederated => Status::not_found(text),
        RelationshipFault::Federated => Status::already_exists(text),
        RelationshipFault::NotPending | RelationshipFault::OtherPending(_) => {
            Status::failed_precondition(text)
        }
        RelationshipFault::OtherAgent(_) | RelationshipFault::Chain => Status::aborted(text),
    }
}

/// Logs where the registry failed.
pub(super) fn of_registry(error: &RegistryError) -> Status {
    if is_failure(error) {
        tracing::error!(%error, "the registry failed");
    }
    unlogged_of_registry(error)
}

/// Whether it is the registry's fault, and not the request's.
pub(super) const fn is_failure(error: &RegistryError) -> bool {
    matches!(
        error,
        RegistryError::Store(_) | RegistryError::Record(_) | RegistryError::Canonical(_)
    )
}

/// Of one of many such errors.
pub(super) fn unlogged_of_registry(error: &RegistryError) -> Status {
    let text = error.to_string();
    match error {
        RegistryError::Spec(_) | RegistryError::ReasonMissing => Status::invalid_argument(text),
        RegistryError::NotFound(_) | RegistryError::NoVersion(..) => Status::not_found(text),
        RegistryError::NameTaken(_) | RegistryError::IdTaken { .. } => Status::already_exists(text),
        RegistryError::VersionMismatch { .. } | RegistryError::NotTheLast { .. } => {
            Status::aborted(text)
        }
        RegistryError::WrongState { .. }
        | RegistryError::NeverInForce(..)
        | RegistryError::NotPending { .. }
        | RegistryError::OtherPending { .. } => Status::failed_precondition(text),
        RegistryError::Barred(_, Bar::NoReason) => Status::invalid_argument(text),
        RegistryError::Barred(..) => Status::permission_denied(text),
        RegistryError::Relationship(_, fault) => of_relationship(fault, text),
        RegistryError::Full { .. } | RegistryError::FullOfRelationships => {
            Status::resource_exhausted(text)
        }
        RegistryError::Closed => Status::unavailable(text),
        RegistryError::Store(why) if matches!(**why, StoreError::Unavailable(_)) => {
            Status::unavailable(format!(
                "the registry's store cannot be used, so nothing was confirmed. {}",
                why.remedy()
            ))
        }
        RegistryError::Store(_) | RegistryError::Record(_) | RegistryError::Canonical(_) => {
            Status::internal("the registry failed; the agent's log has the details")
        }
    }
}

pub(super) fn of_refusing_trail(health: &Health) -> Status {
    let text = "nothing can be recorded in the audit trail, so nothing is changed";
    match health {
        Health::Recording => Status::unavailable(text),
        Health::Refusing { error, .. } => {
            Status::unavailable(format!("{text}: {error}. {}", disk::remedy(&**error)))
        }
    }
}

/// Nothing was done, because it could not be recorded.
pub(super) fn of_unrecorded(error: &AuditError) -> Status {
    tracing::error!(%error, "the audit trail cannot be written");
    let text = format!("nothing can be recorded, so nothing is done: {error}");
    Status::unavailable(text + &remedy(error))
}

/// Nothing was given, because it could not be recorded that somebody reads.
pub(super) fn of_unrecorded_reading(error: &AuditError) -> Status {
    tracing::error!(%error, "a reading of the audit trail cannot be recorded");
    let text = format!(
        "nothing can be recorded, so nothing is given: {error}. As root or the agent's user, read \
         its files: `symbolon audit query --data-dir`"
    );
    Status::unavailable(text + &remedy(error))
}

/// What to do about a trail that cannot be written, as the next sentence.
fn remedy(error: &AuditError) -> String {
    match error {
        AuditError::Unwritable(error) => format!(". {}", disk::remedy(&**error)),
        _ => String::new(),
    }
}

pub(super) fn of_backup(error: &(dyn std::error::Error + 'static)) -> Status {
    tracing::error!(error, "a backup could not be made");
    Status::internal(format!("the backup could not be made: {error}"))
}

pub(super) fn of_unrecorded_change(error: &AuditError) -> Status {
    tracing::error!(%error, "a change is in force that the audit trail lacks");
    let text = format!("the change is in force, but could not be recorded: {error}");
    Status::internal(text + &remedy(error))
}

pub(super) fn of_tail(error: &AuditError) -> Status {
    tracing::error!(%error, "the audit trail cannot be read");
    Status::internal(error.to_string())
}

pub(super) fn of_pin(error: &PinError, pid: i32) -> Status {
    Status::not_found(format!("process {pid} cannot be pinned: {error}"))
}

pub(super) fn of_attest(error: &AttestError, pid: i32) -> Status {
    Status::failed_precondition(format!("process {pid} cannot be attested: {error}"))
}
