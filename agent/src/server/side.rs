//! Health and reflection beside a socket's own service.

use super::{
    connection::{Whose, unimplemented},
    places::{Place, Places, Terms},
};
use bytes::Bytes;
use futures_util::future::{BoxFuture, ready};
use hyper::body::{Frame, SizeHint};
use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tonic::{Status, body::Body, server::NamedService};
use tower::{Service, util::BoxCloneSyncService};

/// Open calls of a service that has a task of its own for each, outside of its caller's lane.
const OPEN_CALLS: Terms = Terms {
    what: "reflection",
    most: 16,
    most_of_one: 4,
    full: "as many calls of this service are open as may at a time",
};

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

    /// Adds one whose calls have tasks outside of their callers' lanes: few are open at a time.
    #[must_use]
    pub fn with_few_calls<S>(self, service: S) -> Self
    where
        S: super::GrpcService + NamedService,
        S::Future: 'static,
    {
        let places = Places::on(OPEN_CALLS);
        let few = Few { service, places };
        let mut all = Vec::clone(&self.0);
        all.push((S::NAME, Boxed::new(few)));
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

/// A service of which few calls are open at a time.
#[derive(Clone, Debug)]
struct Few<S> {
    service: S,
    places: Arc<Places>,
}

impl<S> Service<http::Request<Body>> for Few<S>
where
    S: super::GrpcService,
    S::Future: 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let uid = request
            .extensions()
            .get::<Whose>()
            .map_or(u32::MAX, |whose| whose.uid);
        let place = match self.places.take(uid) {
            Ok(place) => place,
            Err(full) => return Box::pin(ready(Ok(full.into_http()))),
        };
        let answer = self.service.call(request);
        Box::pin(async move {
            let answer = answer.await?;
            let _place = place;
            Ok(answer.map(|body| Body::new(Held { body, _place })))
        })
    }
}

/// An answer with its place.
struct Held {
    body: Body,
    _place: Place,
}

impl hyper::body::Body for Held {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::{Bytes, Frame, OPEN_CALLS, SideServices};
    use crate::server::Whose;
    use futures_util::{FutureExt as _, future::Ready, future::ready};
    use std::{
        convert::Infallible,
        pin::Pin,
        task::{Context, Poll},
    };
    use tonic::{Code, Status, body::Body, server::NamedService};
    use tower::Service;

    /// An answer that does not end.
    struct Endless;

    impl hyper::body::Body for Endless {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            Poll::Pending
        }
    }

    #[derive(Clone)]
    struct Mirror;

    impl NamedService for Mirror {
        const NAME: &'static str = "Mirror";
    }

    impl Service<http::Request<Body>> for Mirror {
        type Response = http::Response<Body>;
        type Error = Infallible;
        type Future = Ready<Result<Self::Response, Infallible>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: http::Request<Body>) -> Self::Future {
            ready(Ok(http::Response::new(Body::new(Endless))))
        }
    }

    fn call(side: &SideServices, uid: u32) -> http::Response<Body> {
        let request = http::Request::builder().uri("/Mirror/Look");
        let mut request = request.body(Body::empty()).unwrap();
        let cgroup = None;
        request.extensions_mut().insert(Whose { uid, cgroup });
        side.call(request).now_or_never().unwrap().unwrap()
    }

    fn is_refused(answer: &http::Response<Body>) -> bool {
        let status = Status::from_header_map(answer.headers());
        status.is_some_and(|status| status.code() == Code::ResourceExhausted)
    }

    /// The attack: each open call of reflection is a task that takes no turns.
    #[test]
    fn few_calls_are_open_at_a_time_and_nobody_has_all_of_them() {
        let side = SideServices::default().with_few_calls(Mirror);
        let mut open: Vec<_> = (0..OPEN_CALLS.most_of_one)
            .map(|_| call(&side, 1))
            .collect();
        assert!(!open.iter().any(is_refused));
        assert!(is_refused(&call(&side, 1)));
        assert!(!is_refused(&call(&side, 2)));
        open.pop();
        assert!(!is_refused(&call(&side, 1)));
    }
}
