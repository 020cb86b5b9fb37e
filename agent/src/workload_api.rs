//! The SPIFFE Workload API on the workload socket.
//!
//! Owns the seven calls of `SpiffeWorkloadAPI`, their messages and their
//! errors; what a caller may have is decided by `workloads`. Beside it stand the
//! calls of `credentials_api`, and gRPC health and reflection, which alone need no
//! security header.
//!
//! Every call needs the metadata `workload.spiffe.io: true`
//! (`SPIFFE_Workload_Endpoint.md`, section 3); without it nothing else is looked
//! at. Streams answer at once, send a full set on each change
//! (`SPIFFE_Workload_API.md`, section 4.3) and nothing where nothing changed.
//! They end with `PermissionDenied` when the last identity is lost and with
//! `Unavailable` when the agent stops (`SPIFFE_Workload_Endpoint.md`, section 6).
//! Errors are fixed sentences: they tell the caller nothing of registrations.

mod calls;
mod messages;
mod routes;
mod status;
mod stream;
#[cfg(test)]
mod tests;

pub use calls::WorkloadApi;
pub(crate) use calls::{caller, requested_id};
pub use routes::WorkloadRoutes;
pub(crate) use status::of_denial;
