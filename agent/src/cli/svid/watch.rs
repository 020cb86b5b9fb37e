//! The stream of X.509-SVIDs, opened again where the agent restarts.
//!
//! The first answer has to come at once, so that a wrong path is told at once.
//! Later, an agent that is gone or does not serve is waited for, with growing
//! pauses; whatever else the agent says (above all `PermissionDenied`, when
//! the identity is withdrawn) ends the watch.

use crate::cli::{
    console::Console,
    failure::{Exit, Failure},
    socket::Link,
};
use std::time::Duration;
use symbolon_proto::workload::{X509svidRequest, X509svidResponse};
use tonic::{Code, Status, Streaming};

const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// An open stream.
#[derive(Debug)]
pub(super) struct Watch {
    link: Link,
    stream: Streaming<X509svidResponse>,
    first: Option<X509svidResponse>,
}

impl Watch {
    /// Opens the stream and waits for its first answer.
    pub(super) async fn open(link: Link) -> Result<Self, Failure> {
        let mut client = link.workload().await?;
        let (stream, first) = link
            .within(async {
                let mut stream = client
                    .fetch_x509svid(X509svidRequest {})
                    .await?
                    .into_inner();
                let first = stream.message().await?.ok_or_else(ended)?;
                Ok((stream, first))
            })
            .await?;
        Ok(Self {
            link,
            stream,
            first: Some(first),
        })
    }

    /// The next full set.
    pub(super) async fn next(
        &mut self,
        console: &mut Console,
    ) -> Result<X509svidResponse, Failure> {
        loop {
            if let Some(first) = self.first.take() {
                return Ok(first);
            }
            let status = match self.stream.message().await {
                Ok(Some(answer)) => return Ok(answer),
                Ok(None) => ended(),
                Err(status) => status,
            };
            if !passes(&status) {
                return Err(self.link.refused(&status));
            }
            *self = reopen(&self.link, console).await?;
        }
    }
}

fn ended() -> Status {
    Status::unavailable("the stream ended")
}

/// Whether waiting can help: the agent stops or starts, or its connection broke.
fn passes(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable
            | Code::Unknown
            | Code::Internal
            | Code::Cancelled
            | Code::ResourceExhausted
    )
}

/// Connects again, however long the agent is away.
async fn reopen(link: &Link, console: &mut Console) -> Result<Watch, Failure> {
    console.tell("the agent is away; the SVID stays valid until it expires");
    let mut pause = FIRST_PAUSE;
    loop {
        tokio::time::sleep(pause).await;
        match Watch::open(link.clone()).await {
            Err(Failure::Told {
                exit: Exit::Unreachable | Exit::Failed,
                ..
            }) => {
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            answer => {
                if answer.is_ok() {
                    console.tell("the agent is back");
                }
                return answer;
            }
        }
    }
}
