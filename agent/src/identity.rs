//! The identity port: public documents for whoever verifies what the agent signs.
//!
//! Owns OpenID discovery and the JWK Set for JWT-SVIDs, the SPIFFE bundle, and the
//! metadata document and JWK Set of each client that has one; serves them over TLS
//! ([`Port`]) and writes them to a directory for those who host them elsewhere
//! ([`Publisher`]). Off by default. Anybody may connect and nobody is asked who he
//! is, so there is nothing here but public documents: they are made by
//! [`Documents`] from the registry, the trust bundle and the clients' public
//! keys, and a request chooses one by comparing its path with theirs. No request
//! leads to a file, and none to the registry's other words.
//!
//! Invariants: what is served is as of the moment of the request, so that a suspended
//! client has neither document nor keys any more; what it costs does not grow with
//! the number of clients. A directory has a key set before any document that names
//! it, and each file whole or not at all. Each publication is in the audit trail with its digest.
//!
//! Standards: OpenID Connect Discovery 1.0 (section 3), RFC 7517, the SPIFFE bundle endpoint
//! (`SPIFFE_Federation.md`, section 5), draft-ietf-oauth-client-id-metadata-document. It has a
//! thread of its own: a flood of handshakes takes no turn of the workload socket.
//! Left out on purpose: whatever needs to know who asks, compression, ranges, redirects.

mod certificates;
mod clients;
mod documents;
mod folder;
mod pages;
mod places;
mod port;
mod publisher;
#[cfg(test)]
mod testing;

pub use certificates::{CertificateError, CertificateFiles, Certificates, OwnSvid};
pub use clients::ClientKeySets;
pub use documents::{Document, Documents, DocumentsError, Page, Settings};
pub use folder::{Folder, FolderError};
pub use pages::Pages;
pub use places::PlaceLimits;
pub use port::{Port, PortLimits};
pub use publisher::{PublishError, Publisher, PublisherServices};
