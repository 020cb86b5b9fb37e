//! Reading the trail over the admin socket.
//!
//! An answer comes in parts; one that breaks off ends with an error, so that what was
//! printed is never taken for the whole.

use super::super::{
    console::Console,
    failure::{Exit, Failure},
    socket::{AdminArgs, Link},
};
use crate::audit::{Filter, Story, Subject};
use symbolon_proto::admin::{
    AuditFilter, ExportAuditRequest, QueryAuditRequest, TraceAuditRequest,
    admin_client::AdminClient,
};
use tonic::{Code, Status, Streaming, transport::Channel};

/// What else can be done where no agent answers.
const WITHOUT_AN_AGENT: &str =
    "Start an agent or name its socket with --socket; or read its data directory with --data-dir.";

/// What else can be done where the agent does not do so much.
const ASK_FOR_LESS: &str =
    "Ask for less (--since, --until, --limit), or read the data directory with --data-dir.";

/// The agent that is asked.
pub(super) struct Remote {
    link: Link,
    admin: AdminClient<Channel>,
}

/// Where no agent is reached, the files can be read.
pub(super) fn or_read(failure: Failure) -> Failure {
    match failure {
        Failure::Told {
            exit: Exit::Unreachable,
            ..
        } => failure.advise(WITHOUT_AN_AGENT),
        other => other,
    }
}

impl Remote {
    pub(super) async fn of(admin: &AdminArgs, console: &Console) -> Result<Self, Failure> {
        let link = admin.link(console);
        let admin = link.admin().await.map_err(or_read)?;
        Ok(Self { link, admin })
    }

    /// Hands each line that fits to `each`, or the newest of them; says whether older ones are
    /// left out that should be among them.
    pub(super) async fn query(
        mut self,
        (filter, limit): (Filter, u32),
        mut each: impl FnMut(&str) -> Result<(), Failure>,
    ) -> Result<bool, Failure> {
        let request = QueryAuditRequest {
            filter: Some(message(filter)),
            limit,
        };
        let mut parts = self.link.ask(self.admin.query_audit(request)).await?;
        let mut is_cut = false;
        while let Some(part) = self.next(&mut parts).await? {
            part.lines.iter().try_for_each(|line| each(line))?;
            is_cut |= part.cut;
        }
        Ok(is_cut)
    }

    /// Hands each event of an export to `each`.
    pub(super) async fn export(
        mut self,
        (filter, format): (Filter, &str),
        mut each: impl FnMut(&str) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let request = ExportAuditRequest {
            filter: Some(message(filter)),
            format: format.to_owned(),
        };
        let mut parts = self.link.ask(self.admin.export_audit(request)).await?;
        while let Some(part) = self.next(&mut parts).await? {
            part.lines.iter().try_for_each(|line| each(line))?;
        }
        Ok(())
    }

    /// The story, and whether it is cut.
    pub(super) async fn trace(mut self, subject: Subject) -> Result<(Story, bool), Failure> {
        let request = asked(subject);
        let mut parts = self.link.ask(self.admin.trace_audit(request)).await?;
        let (mut story, mut is_cut) = (Story::default(), false);
        let not_json = |error: serde_json::Error| {
            Failure::new(
                Exit::Failed,
                format!("the agent's answer is no JSON: {error}"),
            )
        };
        while let Some(part) = self.next(&mut parts).await? {
            if !part.story.is_empty() {
                story = serde_json::from_str(&part.story).map_err(not_json)?;
            }
            for line in &part.lines {
                story
                    .events
                    .push(serde_json::from_str(line).map_err(not_json)?);
            }
            is_cut |= part.cut;
        }
        Ok((story, is_cut))
    }

    async fn next<T>(&self, parts: &mut Streaming<T>) -> Result<Option<T>, Failure> {
        let part = self.link.within(async { Ok(parts.message().await) });
        part.await?.map_err(|status| self.refused(&status))
    }

    fn refused(&self, status: &Status) -> Failure {
        let failure = self.link.refused(status);
        match status.code() {
            Code::ResourceExhausted => failure.advise(ASK_FOR_LESS),
            _ => failure,
        }
    }
}

fn message(filter: Filter) -> AuditFilter {
    AuditFilter {
        client: filter.client.unwrap_or_default(),
        owner: filter.owner.unwrap_or_default(),
        spiffe_id: filter.spiffe_id.unwrap_or_default(),
        serial: filter.serial.unwrap_or_default(),
        jti: filter.jti.unwrap_or_default(),
        key_thumbprint: filter.key_thumbprint.unwrap_or_default(),
        attestation_id: filter.attestation_id.unwrap_or_default(),
        pid: filter.pid,
        at: filter.at.unwrap_or_default(),
        uid: filter.uid,
        event: filter.event.unwrap_or_default(),
        outcome: filter.outcome.unwrap_or_default(),
        since: filter.since.unwrap_or_default(),
        until: filter.until.unwrap_or_default(),
    }
}

fn asked(subject: Subject) -> TraceAuditRequest {
    let mut request = TraceAuditRequest::default();
    match subject {
        Subject::Serial(serial) => request.serial = serial,
        Subject::Jti(jti) => request.jti = jti,
        Subject::Client(client) => request.client = client,
        Subject::Process(pid, at) => {
            request.pid = Some(pid);
            request.at = at.unwrap_or_default();
        }
    }
    request
}
