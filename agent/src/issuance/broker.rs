//! What an entitled client shows to OAuth servers: assertions, JWT-SVIDs, proofs of possession.
//!
//! As [`Issuer`], it takes an [`Entitlement`] and gives nothing away before the audit
//! line is on disk. Which authorization servers a client may speak to is in its
//! registration and asked by `workloads`; here it is decided what an assertion for
//! one of them says: one audience, the server's issuer or, where the operator says
//! so, its token endpoint; a life of a minute at most; a `jti` of its own.

use super::{Entitlement, IssueError, Issuer, JwtSvid, Terms, describe};
use crate::{
    audit::{Credential, CredentialKind, Event, Kind},
    client_keys::{ClientKeys, MAX_ASSERTION_LIFE, wants_keys},
    metadata::{self, PublicUrl},
    registry::{Client, IssuerUrl},
    svid::{
        PrivateKey, SecretText,
        assertion::Claims,
        fresh_id,
        proof::{
            DpopClaims, DpopSigner, Hash, Method, Nonce, Target, WorkloadClaims, WorkloadSigner,
            hash_of,
        },
    },
};
use arc_swap::ArcSwap;
use spiffe::SpiffeId;
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

/// The longest JWT-SVID for an authorization server: some refuse what lives longer.
const MAX_CREDENTIAL_LIFE: Duration = Duration::from_secs(5 * 60);

/// How long a proof is meant to be used; servers accept it for a few minutes at most.
const PROOF_LIFE: Duration = Duration::from_secs(60);

/// What can change while the agent runs.
#[derive(Clone, Debug)]
pub struct BrokerSettings {
    /// Life of an assertion, at most a minute.
    pub assertion_ttl: Duration,
    /// The audience of authorization servers that want to read their token endpoint there.
    pub token_endpoints: BTreeMap<IssuerUrl, String>,
    /// Whether JWT-SVIDs say who issued them.
    pub names_issuer: bool,
}

/// An assertion by which a client authenticates itself.
#[derive(Debug)]
pub struct ClientAssertion {
    /// JWS compact serialization.
    pub token: SecretText,
    /// The client's, for the authorization server.
    pub client_id: String,
    /// The only audience.
    pub audience: String,
    /// The assertion's identifier.
    pub jti: String,
    /// When it ends.
    pub expires_at: SystemTime,
    /// The client's SPIFFE ID.
    pub spiffe_id: SpiffeId,
}

/// A JWT-SVID for one authorization server.
#[derive(Debug)]
pub struct ClientCredential {
    /// The SVID.
    pub svid: JwtSvid,
    /// The client's ID, where it has one.
    pub client_id: Option<String>,
    /// The only audience.
    pub audience: String,
}

/// What a DPoP proof is wanted for.
#[derive(Clone, Debug)]
pub struct DpopRequest {
    /// The request's method.
    pub method: Method,
    /// The request's address.
    pub target: Target,
    /// The hash of the access token that goes with it.
    pub access_token_hash: Option<Hash>,
    /// What the server gave.
    pub nonce: Option<Nonce>,
}

/// A DPoP proof.
#[derive(Debug)]
pub struct DpopProof {
    /// JWS compact serialization.
    pub token: SecretText,
    /// The thumbprint of the key.
    pub thumbprint: Arc<str>,
    /// The proof's identifier.
    pub jti: String,
    /// Until when it is meant to be used.
    pub expires_at: SystemTime,
    /// The client's ID, where it has one.
    pub client_id: Option<String>,
    /// The client's SPIFFE ID.
    pub spiffe_id: SpiffeId,
}

/// What a workload proof token is wanted for.
#[derive(Clone, Debug)]
pub struct WorkloadRequest {
    /// The request's address.
    pub target: Target,
    /// The hash of the access token that goes with it.
    pub access_token_hash: Option<Hash>,
    /// The hash of the transaction token that goes with it.
    pub transaction_token_hash: Option<Hash>,
    /// The hashes of other tokens, by header fields.
    pub other_hashes: BTreeMap<String, Hash>,
}

/// A WIT-SVID whose key the agent keeps.
#[derive(Debug)]
pub struct BoundWit {
    /// JWS compact serialization.
    pub token: SecretText,
    /// Its times.
    pub terms: Terms,
    hash: String,
    signer: WorkloadSigner,
}

/// A workload proof token, and the WIT-SVID that it goes with.
#[derive(Debug)]
pub struct WorkloadProof {
    /// The WIT-SVID.
    pub wit: Arc<BoundWit>,
    /// JWS compact serialization.
    pub token: SecretText,
    /// The proof's identifier.
    pub jti: String,
    /// When it ends.
    pub expires_at: SystemTime,
    /// The client's ID, where it has one.
    pub client_id: Option<String>,
    /// The client's SPIFFE ID.
    pub spiffe_id: SpiffeId,
}

/// Makes what clients show to OAuth servers.
#[derive(Clone, Debug)]
pub struct Broker {
    issuer: Issuer,
    keys: ClientKeys,
    public: Option<PublicUrl>,
    settings: Arc<ArcSwap<BrokerSettings>>,
}

impl Broker {
    /// A broker that records and issues as `issuer` does.
    #[must_use]
    pub fn new(
        issuer: Issuer,
        keys: ClientKeys,
        public: Option<PublicUrl>,
        settings: BrokerSettings,
    ) -> Self {
        Self {
            issuer,
            keys,
            public,
            settings: Arc::new(ArcSwap::from_pointee(settings)),
        }
    }

    /// Takes new settings for what is made from now on.
    pub fn set_settings(&self, settings: BrokerSettings) {
        self.settings.store(Arc::new(settings));
    }

    /// The clients' keys.
    #[must_use]
    pub const fn keys(&self) -> &ClientKeys {
        &self.keys
    }

    /// Whether a JWT-SVID can be the assertion of a grant, which has to say who issued it
    /// (RFC 7523, section 3).
    #[must_use]
    pub fn can_grant(&self) -> bool {
        self.settings.load().names_issuer
    }

    /// Whether a client can be asserted at all: servers know it by an ID and a key.
    #[must_use]
    pub fn can_assert(&self, client: &Client) -> bool {
        wants_keys(client) && self.client_id(client).is_some()
    }

    fn client_id(&self, client: &Client) -> Option<String> {
        metadata::client_id(client, self.public.as_ref())
    }

    /// What the server reads in `aud`.
    fn audience(&self, server: &IssuerUrl) -> String {
        let settings = self.settings.load();
        let endpoint = settings.token_endpoints.get(server);
        endpoint.map_or_else(|| server.to_string(), Clone::clone)
    }

    /// An assertion of a client for an authorization server that its registration was found to
    /// list; `resource` is for the trail.
    ///
    /// # Errors
    /// See [`IssueError`].
    pub async fn assertion(
        &self,
        entitlement: &Entitlement,
        server: &IssuerUrl,
        resource: Option<&str>,
    ) -> Result<ClientAssertion, IssueError> {
        let client = entitlement.client();
        let no_key = || crate::client_keys::ClientKeyError::NoKeyWanted(client.name().clone());
        let client_id = self.client_id(client).ok_or_else(no_key)?;
        let audience = self.audience(server);
        let wanted = self.settings.load().assertion_ttl.min(MAX_ASSERTION_LIFE);
        let life = self.issuer.lifetime(client.spec(), None, wanted)?;
        self.keys.ready(client.name()).await;
        let now = self.issuer.now();
        let (jti, expires_at) = (fresh_id()?, now + life);
        let signed = self.keys.sign(
            client.name(),
            &Claims {
                client_id: &client_id,
                audience: &audience,
                issued_at: now,
                expires_at,
                jti: &jti,
            },
        )?;
        let credential = Credential::client_assertion(&*jti, &*audience, expires_at);
        let credential = credential.signed_by(&*signed.key_id);
        let event = with_resource(event(entitlement, credential), resource);
        self.record(entitlement, "client-assertion", &jti, event)
            .await?;
        Ok(ClientAssertion {
            token: signed.token,
            spiffe_id: client.spec().spiffe_id().clone(),
            client_id,
            audience,
            jti,
            expires_at,
        })
    }

    /// A JWT-SVID for an authorization server that the registration was found to list.
    ///
    /// # Errors
    /// See [`IssueError`].
    pub async fn credential(
        &self,
        entitlement: &Entitlement,
        server: &IssuerUrl,
        resource: Option<&str>,
    ) -> Result<ClientCredential, IssueError> {
        let audience = self.audience(server);
        let audiences = [audience.clone()];
        let about = (MAX_CREDENTIAL_LIFE, resource);
        let svid = self.issuer.jwt_within(entitlement, &audiences, about);
        Ok(ClientCredential {
            svid: svid.await?,
            client_id: self.client_id(entitlement.client()),
            audience,
        })
    }

    /// A DPoP proof by the key of the process and the client.
    ///
    /// # Errors
    /// See [`IssueError`].
    pub async fn dpop(
        &self,
        entitlement: &Entitlement,
        signer: &DpopSigner,
        request: &DpopRequest,
    ) -> Result<DpopProof, IssueError> {
        let now = self.issuer.now();
        let (jti, expires_at) = (fresh_id()?, now + PROOF_LIFE);
        let token = signer.sign(&DpopClaims {
            method: &request.method,
            target: &request.target,
            issued_at: now,
            jti: &jti,
            access_token_hash: request.access_token_hash.as_ref(),
            nonce: request.nonce.as_ref(),
        })?;
        let about = (request.target.as_str(), &**signer.thumbprint());
        let credential = Credential::proof(CredentialKind::DpopProof, &*jti, about, expires_at);
        let reason = format!("method {}", request.method.as_str());
        let event = event(entitlement, credential).reason(reason);
        self.record(entitlement, "dpop-proof", &jti, event).await?;
        Ok(DpopProof {
            token,
            thumbprint: Arc::clone(signer.thumbprint()),
            jti,
            expires_at,
            client_id: self.client_id(entitlement.client()),
            spiffe_id: entitlement.client().spec().spiffe_id().clone(),
        })
    }

    /// A WIT-SVID whose key stays here.
    ///
    /// # Errors
    /// See [`IssueError`].
    pub async fn bound_wit(&self, entitlement: &Entitlement) -> Result<BoundWit, IssueError> {
        let key = PrivateKey::generate()?;
        let signer = WorkloadSigner::new(&key)?;
        let public = key.public_key();
        let signed = self.issuer.sign_wit(entitlement, Kind::Issued, public);
        let signed = signed.await?;
        let spec = entitlement.client().spec();
        Ok(BoundWit {
            terms: self.issuer.terms(spec, signed.not_after)?,
            hash: hash_of(signed.token.expose()),
            token: signed.token,
            signer,
        })
    }

    /// A workload proof token by the key of `wit`.
    ///
    /// # Errors
    /// See [`IssueError`].
    pub async fn workload_proof(
        &self,
        entitlement: &Entitlement,
        wit: Arc<BoundWit>,
        request: &WorkloadRequest,
    ) -> Result<WorkloadProof, IssueError> {
        let now = self.issuer.now();
        let jti = fresh_id()?;
        let expires_at = (now + PROOF_LIFE).min(wit.terms.expires_at);
        let token = wit.signer.sign(&WorkloadClaims {
            target: &request.target,
            expires_at,
            jti: &jti,
            wit_hash: &wit.hash,
            access_token_hash: request.access_token_hash.as_ref(),
            transaction_token_hash: request.transaction_token_hash.as_ref(),
            other_hashes: &request.other_hashes,
        })?;
        let about = (request.target.as_str(), &**wit.signer.thumbprint());
        let kind = CredentialKind::WorkloadProof;
        let event = event(
            entitlement,
            Credential::proof(kind, &*jti, about, expires_at),
        );
        self.record(entitlement, "workload-proof", &jti, event)
            .await?;
        Ok(WorkloadProof {
            wit,
            token,
            jti,
            expires_at,
            client_id: self.client_id(entitlement.client()),
            spiffe_id: entitlement.client().spec().spiffe_id().clone(),
        })
    }

    async fn record(
        &self,
        entitlement: &Entitlement,
        kind: &'static str,
        id: &str,
        event: Event,
    ) -> Result<(), IssueError> {
        let what = (Kind::Issued, kind, id);
        self.issuer.record_event(entitlement, what, event).await?;
        let made = &self.issuer.metrics().shown;
        made.get_or_create(&kind.into()).inc();
        Ok(())
    }
}

fn event(entitlement: &Entitlement, credential: Credential) -> Event {
    describe(Event::new(Kind::Issued), entitlement).credential(credential)
}

pub(super) fn with_resource(event: Event, resource: Option<&str>) -> Event {
    match resource {
        Some(resource) => event.reason(format!("resource {resource:?}")),
        None => event,
    }
}
