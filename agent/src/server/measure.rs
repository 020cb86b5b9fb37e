//! Counts calls and times them, to the answer or to a stream's first one.

use crate::telemetry::{Call, CallMetrics};
use futures_util::future::BoxFuture;
use std::{convert::Infallible, future::Future};
use tokio::time::Instant;
use tonic::{Code, body::Body};

/// The method of a request's path as metrics call it: one of `methods`, whatever
/// a caller asks for.
pub(crate) fn known_method(methods: &[&'static str], path: &str) -> &'static str {
    let method = path.rsplit('/').next();
    let known = methods.iter().find(|known| method == Some(**known));
    known.copied().unwrap_or("other")
}

/// Measures `call` as a call of `method`.
pub(crate) fn measured<F>(
    metrics: &CallMetrics,
    method: &'static str,
    call: F,
) -> BoxFuture<'static, Result<http::Response<Body>, Infallible>>
where
    F: Future<Output = Result<http::Response<Body>, Infallible>> + Send + 'static,
{
    let metrics = metrics.clone();
    let begun = Instant::now();
    Box::pin(async move {
        let answer = call.await;
        let seconds = begun.elapsed().as_secs_f64();
        metrics
            .duration
            .get_or_create(&method.into())
            .observe(seconds);
        let code = answer.as_ref().map_or(Code::Unknown, code);
        let code = Call {
            method,
            code: name(code),
        };
        metrics.calls.get_or_create(&code).inc();
        answer
    })
}

/// An error is told in the headers, where there is no message.
fn code(answer: &http::Response<Body>) -> Code {
    let status = answer.headers().get("grpc-status");
    status.map_or(Code::Ok, |status| Code::from_bytes(status.as_bytes()))
}

/// The name in gRPC's list of status codes.
const fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "Cancelled",
        Code::Unknown => "Unknown",
        Code::InvalidArgument => "InvalidArgument",
        Code::DeadlineExceeded => "DeadlineExceeded",
        Code::NotFound => "NotFound",
        Code::AlreadyExists => "AlreadyExists",
        Code::PermissionDenied => "PermissionDenied",
        Code::ResourceExhausted => "ResourceExhausted",
        Code::FailedPrecondition => "FailedPrecondition",
        Code::Aborted => "Aborted",
        Code::OutOfRange => "OutOfRange",
        Code::Unimplemented => "Unimplemented",
        Code::Internal => "Internal",
        Code::Unavailable => "Unavailable",
        Code::DataLoss => "DataLoss",
        Code::Unauthenticated => "Unauthenticated",
    }
}
