//! The registry leaves in a backup while the agent runs.
//!
//! What its end was when the call came is what the backup has: the log only
//! grows. It is recorded before the first byte leaves. Records are read some at a
//! time and only when the caller has taken those before; one who takes none for a while
//! is given up, since there are few places.

use super::{
    AdminApi, AdminServices, Operator, passage,
    readings::{self, Reading},
    status,
};
use crate::{
    audit::{Event, Kind},
    backup::{self, FORMAT, Header, Writer},
    registry::Record,
    server::Terms,
};
use futures_util::stream;
use serde::Serialize;
use std::{sync::Arc, time::Duration};
use symbolon_proto::admin::BackupResponse;
use tonic::{Response, Status};

/// Backups at the same time: each holds some thousand bytes to a few megabytes.
pub(super) const TERMS: Terms = Terms {
    what: "backup",
    most: 2,
    most_of_one: 2,
    full: "other backups are being made; try again when they are done",
};

/// What the caller learns where the agent stops before the end has left.
const BROKEN_OFF: &str = "the agent stops; the backup is not whole";

/// How long a piece may lie unread.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the trail tells of a backup. Fields stand in the order of their names.
#[derive(Serialize)]
struct Evidence {
    clients: usize,
    digest: Option<String>,
    reading: u64,
    revision: u64,
    roles: Vec<String>,
}

/// Where a backup stands.
struct Progress {
    services: Arc<AdminServices>,
    first: Option<Vec<u8>>,
    /// Taken by its end.
    writer: Option<Writer>,
    after: u64,
    until: u64,
}

impl AdminApi {
    /// Records that a backup leaves, and sends it.
    pub(super) async fn back_up(
        &self,
        operator: &Operator,
    ) -> Result<Response<passage::Parts<BackupResponse>>, Status> {
        let take = || self.backups.take(operator.uid);
        let place = self.readings.admit(operator, take).await?;
        let mut reading = self.readings.numbered(operator, "Backup");
        let progress = begin(&self.services, operator, &mut reading).await?;
        let pieces = stream::try_unfold(progress, next);
        let at_stop = passage::AtStop::Fail(BROKEN_OFF);
        let terms = self.terms(place, PATIENCE, at_stop);
        let answer = passage::open(pieces, terms, &self.services.supervisor);
        Ok(reading.count(Response::new(answer)))
    }
}

/// Records it, and begins it.
async fn begin(
    services: &Arc<AdminServices>,
    operator: &Operator,
    reading: &mut Reading,
) -> Result<Progress, Status> {
    let snapshot = services.registry.snapshot();
    let until = snapshot.revision();
    let digest = match until.checked_sub(1) {
        Some(before) => last_of(services, before).await?.map(|last| last.digest),
        None => None,
    };
    let evidence = Evidence {
        clients: snapshot.len(),
        digest: digest.map(|digest| digest.to_string()),
        reading: reading.number(),
        revision: until,
        roles: readings::roles(operator),
    };
    let event = Event::new(Kind::BackedUp).evidence(&evidence);
    let event = event.map_err(|error| status::of_backup(&error))?;
    let recorded = services.trail.record(operator.sign(event)).await;
    recorded.map_err(|error| status::of_unrecorded(&error))?;
    reading.has_begun();

    let trail = services.trail.clone();
    let checkpoint = tokio::task::spawn_blocking(move || trail.newest_checkpoint()).await;
    let checkpoint = checkpoint.map_err(|error| status::of_backup(&error))?;
    let checkpoint = checkpoint.map_err(|error| status::of_backup(&error))?;
    let header = Header {
        agent: services.facts.version.to_owned(),
        created_at: backup::moment(services.clock.now()),
        format: FORMAT,
        revision: until,
        trust_domain: services.workloads.bundle().trust_domain().to_string(),
    };
    let begun = Writer::begin(&header, checkpoint.as_deref());
    let (writer, first) = begun.map_err(|error| status::of_backup(&error))?;
    Ok(Progress {
        services: Arc::clone(services),
        first: Some(first),
        writer: Some(writer),
        after: 0,
        until,
    })
}

async fn last_of(services: &AdminServices, after: u64) -> Result<Option<Record>, Status> {
    let records = services.registry.records(after).await;
    let records = records.map_err(|error| status::of_registry(&error))?;
    Ok(records.into_iter().next())
}

/// The next piece, until the end has left.
async fn next(mut progress: Progress) -> Result<Option<(BackupResponse, Progress)>, Status> {
    if let Some(data) = progress.first.take() {
        return Ok(Some((piece(data), progress)));
    }
    if progress.after == progress.until {
        let Some(writer) = progress.writer.take() else {
            return Ok(None);
        };
        let data = writer.end().map_err(|error| status::of_backup(&error))?;
        return Ok(Some((piece(data), progress)));
    }
    let records = progress.services.registry.records(progress.after).await;
    let mut records = records.map_err(|error| status::of_registry(&error))?;
    records.retain(|record| record.revision <= progress.until);
    let Some(last) = records.last() else {
        return Err(Status::data_loss(
            "the registry has fewer records than it had",
        ));
    };
    progress.after = last.revision;
    let data = progress
        .writer
        .as_mut()
        .map(|writer| writer.records(&records));
    Ok(Some((piece(data.unwrap_or_default()), progress)))
}

fn piece(data: Vec<u8>) -> BackupResponse {
    BackupResponse { data: data.into() }
}
