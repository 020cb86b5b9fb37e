//! Credentials for OAuth servers, on the workload socket.
//!
//! Owns the calls of `symbolon.credentials.v1.Credentials`: what an attested process
//! shows to authorization servers and protected resources, made for one request of
//! it and never the keys. Callers are those of `workload_api`, by the same routes:
//! they send the same security header, are attested and proved in the same way, and
//! get the same fixed sentences, which tell nothing of registrations.
//!
//! Requests are outside input. Each field becomes a type that admits only what its
//! standard does, within a bound, before anything is decided: an authorization
//! server is compared exactly with those that the registration lists, a proof is
//! signed for an address and nothing else. Who may have what is decided by
//! `workloads`, and what it says by `issuance`.

mod convert;
#[cfg(fuzzing)]
pub mod fuzzing;
#[cfg(test)]
mod tests;

use crate::{
    workload_api::{caller, of_denial, requested_id},
    workloads::Workloads,
};
use std::sync::Arc;
use symbolon_proto::credentials::{
    ClientCredentialUse, FetchClientCredentialRequest, FetchClientCredentialResponse,
    MintClientAssertionRequest, MintClientAssertionResponse, SignDpopProofRequest,
    SignDpopProofResponse, SignWorkloadProofRequest, SignWorkloadProofResponse,
    credentials_server::{Credentials, SERVICE_NAME},
};
use tonic::{Request, Response, Status};

/// Largest request message in bytes: addresses, a nonce and a few hashes.
pub(crate) const MAX_REQUEST: usize = 16 * 1024;

/// The service, as paths have it.
pub(crate) const NAME: &str = SERVICE_NAME;

/// The methods, as metrics call them.
pub(crate) const METHODS: &[&str] = &[
    "MintClientAssertion",
    "FetchClientCredential",
    "SignDpopProof",
    "SignWorkloadProof",
];

/// RFC 7523, section 2.2.
const JWT_BEARER_ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// draft-ietf-oauth-spiffe-client-auth.
const JWT_SPIFFE_ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe";

/// RFC 7523, section 2.1.
const JWT_BEARER_GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// Sent where a grant is asked for that no server would accept.
const NO_ISSUER: &str = "JWT-SVIDs of this agent name no issuer, which the grant jwt-bearer demands \
     (RFC 7523, section 3); an operator can set identity.issuer";

/// The service of the workload socket for OAuth clients.
#[derive(Clone, Debug)]
pub struct CredentialsApi {
    workloads: Arc<Workloads>,
}

impl CredentialsApi {
    /// Serves from `workloads`.
    #[must_use]
    pub const fn new(workloads: Arc<Workloads>) -> Self {
        Self { workloads }
    }
}

#[tonic::async_trait]
impl Credentials for CredentialsApi {
    async fn mint_client_assertion(
        &self,
        request: Request<MintClientAssertionRequest>,
    ) -> Result<Response<MintClientAssertionResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let server = convert::server(&request.authorization_server)?;
        let resource = convert::resource(&request.resource)?;
        let only = requested_id(&request.spiffe_id)?;
        let made = self
            .workloads
            .client_assertion(&caller, (&server, resource), only.as_ref())
            .await
            .map_err(|denial| of_denial(&denial))?;
        Ok(Response::new(MintClientAssertionResponse {
            client_assertion: made.token.expose().to_owned(),
            client_assertion_type: JWT_BEARER_ASSERTION.to_owned(),
            client_id: made.client_id,
            jti: made.jti,
            expires_at: convert::timestamp(made.expires_at),
            audience: made.audience,
            spiffe_id: made.spiffe_id.to_string(),
        }))
    }

    async fn fetch_client_credential(
        &self,
        request: Request<FetchClientCredentialRequest>,
    ) -> Result<Response<FetchClientCredentialResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let (assertion_type, grant_type) = match request.r#use() {
            ClientCredentialUse::ClientAssertion => (JWT_SPIFFE_ASSERTION, ""),
            ClientCredentialUse::Grant if !self.workloads.broker().can_grant() => {
                return Err(Status::failed_precondition(NO_ISSUER));
            }
            ClientCredentialUse::Grant => ("", JWT_BEARER_GRANT),
            ClientCredentialUse::Unspecified => {
                return Err(Status::invalid_argument("use must be set"));
            }
        };
        let server = convert::server(&request.authorization_server)?;
        let resource = convert::resource(&request.resource)?;
        let only = requested_id(&request.spiffe_id)?;
        let made = self
            .workloads
            .client_credential(&caller, (&server, resource), only.as_ref())
            .await
            .map_err(|denial| of_denial(&denial))?;
        Ok(Response::new(FetchClientCredentialResponse {
            token: made.svid.token.expose().to_owned(),
            client_assertion_type: assertion_type.to_owned(),
            grant_type: grant_type.to_owned(),
            client_id: made.client_id.unwrap_or_default(),
            jti: made.svid.jti,
            expires_at: convert::timestamp(made.svid.expires_at),
            audience: made.audience,
            spiffe_id: made.svid.spiffe_id.to_string(),
        }))
    }

    async fn sign_dpop_proof(
        &self,
        request: Request<SignDpopProofRequest>,
    ) -> Result<Response<SignDpopProofResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let only = requested_id(&request.spiffe_id)?;
        let wanted = convert::dpop(&request)?;
        let made = self
            .workloads
            .dpop_proof(&caller, &wanted, only.as_ref())
            .await
            .map_err(|denial| of_denial(&denial))?;
        Ok(Response::new(SignDpopProofResponse {
            proof: made.token.expose().to_owned(),
            key_thumbprint: made.thumbprint.to_string(),
            jti: made.jti,
            expires_at: convert::timestamp(made.expires_at),
            client_id: made.client_id.unwrap_or_default(),
            spiffe_id: made.spiffe_id.to_string(),
        }))
    }

    async fn sign_workload_proof(
        &self,
        request: Request<SignWorkloadProofRequest>,
    ) -> Result<Response<SignWorkloadProofResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let only = requested_id(&request.spiffe_id)?;
        let wanted = convert::workload(&request)?;
        let made = self
            .workloads
            .workload_proof(&caller, &wanted, only.as_ref())
            .await
            .map_err(|denial| of_denial(&denial))?;
        Ok(Response::new(SignWorkloadProofResponse {
            wit_svid: made.wit.token.expose().to_owned(),
            proof: made.token.expose().to_owned(),
            jti: made.jti,
            expires_at: convert::timestamp(made.expires_at),
            client_id: made.client_id.unwrap_or_default(),
            spiffe_id: made.spiffe_id.to_string(),
        }))
    }
}
