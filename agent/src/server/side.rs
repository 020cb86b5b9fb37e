//! Health and reflection beside a socket's own service.

use super::connection::unimplemented;
use futures_util::future::{BoxFuture, ready};
use std::{convert::Infallible, sync::Arc};
use tonic::{body::Body, server::NamedService};
use tower::{Service as _, util::BoxCloneSyncService};

type Boxed = BoxCloneSyncService<http::Request<Body>, http::Response<Body>, Infallible>;

/// Services that are called seldom; a clone costs one reference.
#[derive(Clone, Debug, Default)]
pub struct SideServices(Arc<Vec<(&'static str, Boxed)>>);

impl SideServices {
    /// Adds one.
    #[must_use]
    pub fn with<S>(self, service: S) -> Self
    where
        S: super::GrpcService + NamedService,
        S::Future: 'static,
    {
        let mut all = Vec::clone(&self.0);
        all.push((S::NAME, Boxed::new(service)));
        Self(Arc::new(all))
    }

    /// Calls the one that the request's path names, or says that there is none.
    pub(crate) fn call(
        &self,
        request: http::Request<Body>,
    ) -> BoxFuture<'static, Result<http::Response<Body>, Infallible>> {
        match self.named(request.uri().path()) {
            Some(service) => service.clone().call(request),
            None => Box::pin(ready(Ok(unimplemented()))),
        }
    }

    fn named(&self, path: &str) -> Option<&Boxed> {
        let (name, _method) = path.strip_prefix('/')?.split_once('/')?;
        let (_, service) = self.0.iter().find(|(known, _)| *known == name)?;
        Some(service)
    }
}
