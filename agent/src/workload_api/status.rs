//! From a denial to a gRPC status: the one place that chooses code and words.

use crate::{
    issuance::IssueError,
    workloads::{Denial, Unproven, ValidationError},
};
use symbolon_attestors::AttestError;
use tonic::Status;

/// Sent where no registration fits, whatever the reason is.
const NO_IDENTITY: &str =
    "no identity issued; an operator sees the reason with: symbolon attest --pid PID";

/// Sent where an identity is there, but not for these audiences.
const AUDIENCE: &str = "audience not registered for this client; an operator can allow it with: \
     symbolon client update NAME --add-audience AUDIENCE (and --max-audiences for several in one token)";

/// Sent where an identity is there, but not for this authorization server.
const AUTHORIZATION_SERVER: &str = "authorization server not registered for this client, or no \
     metadata by which it is known there; an operator can change that with: symbolon client update \
     NAME --authorization-server ISSUER --metadata FILE";

/// Sent where the agent could not look.
const NOT_ATTESTED: &str = "the process could not be attested now; try again";

pub(crate) fn of_denial(denial: &Denial) -> Status {
    match denial {
        // It may be found out at the next try.
        Denial::Unproven(Unproven::HeldUnknown(_)) => Status::unavailable(NOT_ATTESTED),
        Denial::NoIdentity | Denial::ProcessChanged | Denial::Unproven(_) => {
            Status::permission_denied(NO_IDENTITY)
        }
        Denial::Audience => Status::permission_denied(AUDIENCE),
        Denial::AuthorizationServer => Status::permission_denied(AUTHORIZATION_SERVER),
        Denial::Unattested(
            AttestError::Gone | AttestError::Changed(_) | AttestError::Traced(_),
        ) => Status::permission_denied(NO_IDENTITY),
        Denial::Unattested(_) => Status::unavailable(NOT_ATTESTED),
        Denial::Stopping => Status::unavailable("the agent is stopping; connect again"),
        Denial::Changing => Status::unavailable("the registry is changing; try again"),
        Denial::Issue(IssueError::Audit(_)) => {
            Status::unavailable("nothing can be recorded, so nothing is issued; try again")
        }
        Denial::Issue(_) => Status::unavailable("nothing can be issued now; try again"),
    }
}

pub(super) fn of_validation(error: &ValidationError) -> Status {
    match error {
        ValidationError::Denied(denial) => of_denial(denial),
        ValidationError::Token(rule) => Status::invalid_argument(format!("token refused: {rule}")),
        ValidationError::NotActive => {
            Status::invalid_argument("token refused: its client is not active")
        }
        ValidationError::NotFederated => {
            Status::invalid_argument(format!("token refused: {error}"))
        }
    }
}
