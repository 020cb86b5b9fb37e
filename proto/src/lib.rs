//! The wire formats of Symbolon.
//!
//! Four interfaces live here: the SPIFFE Workload API, rendered from the
//! standard, the agent's own admin and credentials services, and the part of the
//! container runtime interface that the agent calls. The Rust code under
//! `generated/` is committed, so that no build needs `protoc`;
//! `tests/generated.rs` regenerates it and fails on a difference.
//!
//! This crate owns names, numbers and types only. It knows nothing of the
//! agent, and validates nothing: whoever reads a message checks it.

/// A module of generated code, which the workspace's lints do not apply to.
macro_rules! generated {
    ($(#[$documentation:meta])* $name:ident, $file:literal) => {
        $(#[$documentation])*
        #[allow(
            missing_docs,
            clippy::all,
            clippy::allow_attributes_without_reason,
            clippy::allow_attributes,
            clippy::doc_markdown,
            clippy::missing_errors_doc,
            clippy::clone_on_ref_ptr,
            clippy::struct_excessive_bools,
            clippy::too_many_lines,
            unreachable_pub,
            unused_qualifications,
            reason = "generated code"
        )]
        pub mod $name {
            include!($file);
        }
    };
}

generated! {
    /// The SPIFFE Workload API (`SPIFFE_Workload_API.md`, July 2026).
    workload, "generated/_.rs"
}

generated! {
    /// The service of the admin socket.
    admin, "generated/symbolon.admin.v1.rs"
}

generated! {
    /// What stands beside the Workload API on the workload socket: credentials for OAuth servers.
    credentials, "generated/symbolon.credentials.v1.rs"
}

generated! {
    /// The Kubernetes Container Runtime Interface (`runtime.v1`): the client of what the agent asks
    /// runtimes, and of what tests do with them.
    cri, "generated/runtime.v1.rs"
}

mod secrets;

/// Encoded `FileDescriptorSet` of all services, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("generated/descriptors.bin");

/// The metadata key that every call of the Workload API must carry with the
/// value `true` (`SPIFFE_Workload_Endpoint.md`, section 3).
pub const SECURITY_HEADER: &str = "workload.spiffe.io";
