//! The seven calls.

use super::{
    messages::{self, Documents},
    status,
    stream::{self, Answer, PushStream, Tag},
};
use crate::{
    authority::TrustBundle,
    issuance::{WitSvid, X509Svid},
    registry::{Audience, limits::AUDIENCE_BYTES},
    workloads::{Asked, Caller, Denial, Federated, Followed, Workloads},
};
use futures_util::future::BoxFuture;
use spiffe::SpiffeId;
use std::sync::Arc;
use symbolon_proto::workload::{
    JwtBundlesRequest, JwtBundlesResponse, JwtsvidRequest, JwtsvidResponse, ValidateJwtsvidRequest,
    ValidateJwtsvidResponse, WitBundlesRequest, WitBundlesResponse, WitsvidRequest,
    WitsvidResponse, X509BundlesRequest, X509BundlesResponse, X509svidRequest, X509svidResponse,
    spiffe_workload_api_server::SpiffeWorkloadApi,
};
use tonic::{Request, Response, Status};

/// Most audiences that one request may name, registered or not.
pub(super) const MAX_AUDIENCES: usize = 32;

/// The SPIFFE Workload API.
#[derive(Clone, Debug)]
pub struct WorkloadApi {
    workloads: Arc<Workloads>,
}

impl WorkloadApi {
    /// Serves from `workloads`.
    #[must_use]
    pub const fn new(workloads: Arc<Workloads>) -> Self {
        Self { workloads }
    }

    async fn bundles<M: Send + 'static>(
        &self,
        caller: Caller,
        render: Render<M>,
    ) -> Result<Response<PushStream<M>>, Status> {
        let answer = BundleAnswer {
            workloads: Arc::clone(&self.workloads),
            caller: caller.clone(),
            render,
        };
        stream::open(caller, answer).await
    }
}

#[tonic::async_trait]
impl SpiffeWorkloadApi for WorkloadApi {
    type FetchX509SVIDStream = PushStream<X509svidResponse>;
    type FetchX509BundlesStream = PushStream<X509BundlesResponse>;
    type FetchJWTBundlesStream = PushStream<JwtBundlesResponse>;
    type FetchWITSVIDStream = PushStream<WitsvidResponse>;
    type FetchWITBundlesStream = PushStream<WitBundlesResponse>;

    async fn fetch_x509svid(
        &self,
        request: Request<X509svidRequest>,
    ) -> Result<Response<Self::FetchX509SVIDStream>, Status> {
        let caller = caller(&request)?;
        let answer = X509Answer {
            _followed: caller.process().follow_x509(),
            workloads: Arc::clone(&self.workloads),
            caller: caller.clone(),
        };
        stream::open(caller, answer).await
    }

    async fn fetch_x509_bundles(
        &self,
        request: Request<X509BundlesRequest>,
    ) -> Result<Response<Self::FetchX509BundlesStream>, Status> {
        self.bundles(caller(&request)?, messages::x509_bundles)
            .await
    }

    async fn fetch_jwtsvid(
        &self,
        request: Request<JwtsvidRequest>,
    ) -> Result<Response<JwtsvidResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let audiences = distinct_audiences(request.audience)?;
        let only = requested_id(&request.spiffe_id)?;
        let svids = self
            .workloads
            .jwt(&caller, &audiences, only.as_ref())
            .await
            .map_err(|denial| status::of_denial(&denial))?;
        Ok(Response::new(messages::jwt_svids(&svids)))
    }

    async fn fetch_jwt_bundles(
        &self,
        request: Request<JwtBundlesRequest>,
    ) -> Result<Response<Self::FetchJWTBundlesStream>, Status> {
        self.bundles(caller(&request)?, messages::jwt_bundles).await
    }

    async fn validate_jwtsvid(
        &self,
        request: Request<ValidateJwtsvidRequest>,
    ) -> Result<Response<ValidateJwtsvidResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        // Both fields are mandatory (`SPIFFE_Workload_API.md`, section 6.2.3).
        if request.audience.is_empty() || request.svid.is_empty() {
            return Err(Status::invalid_argument("audience and svid must be set"));
        }
        if request.audience.len() > AUDIENCE_BYTES {
            return Err(Status::invalid_argument(
                "the audience is longer than 1024 bytes",
            ));
        }
        let validated = self
            .workloads
            .validate(&caller, &request.audience, &request.svid)
            .await
            .map_err(|error| status::of_validation(&error))?;
        Ok(Response::new(messages::validated(validated)))
    }

    async fn fetch_witsvid(
        &self,
        request: Request<WitsvidRequest>,
    ) -> Result<Response<Self::FetchWITSVIDStream>, Status> {
        let caller = caller(&request)?;
        let answer = WitAnswer {
            _followed: caller.process().follow_wit(),
            workloads: Arc::clone(&self.workloads),
            caller: caller.clone(),
            only: requested_id(&request.into_inner().spiffe_id)?,
        };
        stream::open(caller, answer).await
    }

    async fn fetch_wit_bundles(
        &self,
        request: Request<WitBundlesRequest>,
    ) -> Result<Response<Self::FetchWITBundlesStream>, Status> {
        self.bundles(caller(&request)?, messages::wit_bundles).await
    }
}

/// The caller that the server put there when it accepted the connection.
pub(crate) fn caller<T>(request: &Request<T>) -> Result<Caller, Status> {
    let caller = request.extensions().get::<Caller>().cloned();
    caller.ok_or_else(|| Status::internal("the connection has no caller"))
}

/// At least one audience is demanded (`SPIFFE_Workload_API.md`, section 6.2.1);
/// repeated ones count once. What could not be registered is no audience.
fn distinct_audiences(mut audiences: Vec<String>) -> Result<Vec<String>, Status> {
    let fits = |audience: &String| audience.parse::<Audience>().is_ok();
    if audiences.is_empty() || audiences.len() > MAX_AUDIENCES || !audiences.iter().all(fits) {
        return Err(Status::invalid_argument(
            "name 1 to 32 audiences of 1 to 1024 bytes each, without spaces and control characters",
        ));
    }
    let mut seen = std::collections::HashSet::new();
    audiences.retain(|audience| seen.insert(audience.clone()));
    Ok(audiences)
}

pub(crate) fn requested_id(text: &str) -> Result<Option<SpiffeId>, Status> {
    if text.is_empty() {
        return Ok(None);
    }
    match SpiffeId::new(text) {
        Ok(id) => Ok(Some(id)),
        Err(error) => Err(Status::invalid_argument(format!("spiffe_id: {error}"))),
    }
}

const fn asked(first: bool) -> Asked {
    if first {
        Asked::ByCall
    } else {
        Asked::ByStream
    }
}

struct X509Answer {
    workloads: Arc<Workloads>,
    caller: Caller,
    _followed: Followed,
}

impl Answer for X509Answer {
    type Message = X509svidResponse;

    fn answer(&self, first: bool) -> BoxFuture<'_, Result<(X509svidResponse, Tag), Denial>> {
        Box::pin(async move {
            let asked = asked(first);
            let (svids, federated): (Vec<Arc<X509Svid>>, Federated) =
                self.workloads.x509_and_bundles(&self.caller, asked).await?;
            let bundle = self.workloads.bundle();
            let federated = messages::x509(&federated);
            let mut bundles = federated.clone();
            bundles.insert(bundle.trust_domain().id_string(), bundle.x509_der().clone());
            let tag = Tag {
                bundles,
                svids: svids.iter().map(|svid| svid.serial.clone()).collect(),
            };
            Ok((messages::x509_svids(&svids, &bundle, federated), tag))
        })
    }
}

struct WitAnswer {
    workloads: Arc<Workloads>,
    caller: Caller,
    only: Option<SpiffeId>,
    _followed: Followed,
}

impl Answer for WitAnswer {
    type Message = WitsvidResponse;

    fn answer(&self, first: bool) -> BoxFuture<'_, Result<(WitsvidResponse, Tag), Denial>> {
        Box::pin(async move {
            let only = self.only.as_ref();
            let svids: Vec<Arc<WitSvid>> =
                self.workloads.wit(&self.caller, only, asked(first)).await?;
            let tag = Tag {
                bundles: Documents::new(),
                svids: svids.iter().map(|svid| svid.jti.clone()).collect(),
            };
            Ok((messages::wit_svids(&svids), tag))
        })
    }
}

/// Makes the message, and the documents that it shows.
type Render<M> = fn(&TrustBundle, &Federated) -> (M, Documents);

struct BundleAnswer<M> {
    workloads: Arc<Workloads>,
    caller: Caller,
    render: Render<M>,
}

impl<M: Send + 'static> Answer for BundleAnswer<M> {
    type Message = M;

    fn answer(&self, first: bool) -> BoxFuture<'_, Result<(M, Tag), Denial>> {
        Box::pin(async move {
            let federated = self
                .workloads
                .bundle_reader(&self.caller, asked(first))
                .await?;
            let (message, bundles) = (self.render)(&self.workloads.bundle(), &federated);
            let tag = Tag {
                bundles,
                svids: Vec::new(),
            };
            Ok((message, tag))
        })
    }
}
