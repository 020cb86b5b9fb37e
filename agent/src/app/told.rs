//! The file that says how far the audit trail tells of the registry.
//!
//! A hint for the next start, written at most once a second: where it is behind, more of the
//! trail is read then, and nothing is told twice. Without one, or with one that cannot be read, the
//! trail itself has to say how far it tells: what lies before the oldest change that it has is not
//! told again, since retention may have removed it.

use super::RunError;
use crate::{
    audit::{Position, Trail},
    governance::{self, Mark},
    registry::Registry,
};
use rustix::fs::OFlags;
use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{task, time::sleep};

/// Its name in the data directory.
const NAME: &str = "registry.told";

/// How soon after one writing the next may follow.
const PAUSE: Duration = Duration::from_secs(1);

/// After how long what could not be told is tried again, where nothing has changed.
const AGAIN: Duration = Duration::from_secs(10);

/// Longer than any that an agent writes.
const MAX_BYTES: u64 = 256;

/// Tells what the trail lacks, and returns how far it tells now.
pub(super) async fn catch_up(
    data_dir: &Path,
    registry: &Registry,
    trail: &Trail,
) -> Result<Kept, RunError> {
    let path = data_dir.join(NAME);
    let known = path.clone();
    let known = task::spawn_blocking(move || read(&known)).await;
    let known = known.unwrap_or_else(|ended| Err(io::Error::other(ended)));
    match known {
        Ok(Some(mark)) => {
            governance::recover(registry, trail, mark).await?;
        }
        // A new data directory.
        Ok(None) if registry.snapshot().revision() == 0 => {}
        unknown => {
            let error = unknown.err().map(|error| error.to_string());
            tracing::warn!(error, file = %path.display(), "how far the trail tells is not known");
            governance::recover_unmarked(registry, trail).await?;
        }
    }
    let mark = Mark {
        segment: trail.end().segment,
        through: registry.snapshot().revision(),
        after_seq: trail.last_seq(),
    };
    let kept = Kept { path, mark };
    kept.write().await.map_err(RunError::System)?;
    Ok(kept)
}

/// What the file says.
#[derive(Debug)]
pub(super) struct Kept {
    path: PathBuf,
    mark: Mark,
}

impl Kept {
    /// Keeps the file up to date, and tells what could not be told once that is possible, for ever.
    pub(super) async fn keep(mut self, registry: Arc<Registry>, trail: Trail) {
        let (mut through, mut untold) = (registry.told_through(), registry.untold());
        let mut health = trail.health();
        loop {
            let is_untold = !untold.borrow_and_update().is_empty();
            if is_untold && health.borrow_and_update().is_recording() {
                let told = governance::recover_untold(&registry, &trail, self.mark).await;
                if let Err(error) = told {
                    tracing::error!(%error, "changes of the registry still have no record");
                }
            }
            // Before it is looked how far the trail tells.
            let Position { segment, .. } = trail.end();
            let through_now = *through.borrow_and_update();
            if through_now > self.mark.through {
                // Changes are told in any order: some of those that follow may be told already, but
                // none was before the agent began.
                self.mark = Mark {
                    segment,
                    through: through_now,
                    ..self.mark
                };
                if let Err(error) = self.write().await {
                    tracing::debug!(%error, "how far the trail tells could not be written");
                }
            }
            sleep(PAUSE).await;
            let changed = tokio::select! {
                changed = through.changed() => changed,
                changed = untold.changed() => changed,
                changed = health.changed(), if is_untold => changed,
                // What could not be told for another reason is tried again.
                () = sleep(AGAIN), if is_untold => Ok(()),
            };
            if changed.is_err() {
                return;
            }
        }
    }

    async fn write(&self) -> io::Result<()> {
        let (path, mark) = (self.path.clone(), self.mark);
        let written = task::spawn_blocking(move || write(&path, mark)).await;
        written.unwrap_or_else(|ended| Err(io::Error::other(ended)))
    }
}

/// None where there is no file.
fn read(path: &Path) -> io::Result<Option<Mark>> {
    let flags = i32::try_from(OFlags::NOFOLLOW.bits()).map_err(io::Error::other)?;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path);
    let file = match file {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut text = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut text)?;
    Ok(Some(serde_json::from_slice(&text)?))
}

/// Whole and durable under its name, or not at all.
fn write(path: &Path, mark: Mark) -> io::Result<()> {
    let next = path.with_extension("told.new");
    match fs::remove_file(&next) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file: File = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&next)?;
    file.write_all(&serde_json::to_vec(&mark)?)?;
    file.sync_data()?;
    fs::rename(&next, path)
}

#[cfg(test)]
mod tests {
    use super::{Mark, NAME, catch_up, read, write};
    use crate::{
        registry::{Change, Standing},
        workloads::testing::{Scene, name},
    };
    use std::fs;

    #[test]
    fn what_was_written_last_is_read_and_anything_else_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NAME);
        assert_eq!(read(&path).unwrap(), None);
        for through in [7, 8] {
            let mark = Mark {
                segment: 3,
                through,
                after_seq: 40,
            };
            write(&path, mark).unwrap();
            assert_eq!(read(&path).unwrap(), Some(mark));
        }
        fs::write(&path, "{\"segment\":3,\"through\":8}").unwrap();
        let of_before = Mark {
            segment: 3,
            through: 8,
            after_seq: 0,
        };
        assert_eq!(read(&path).unwrap(), Some(of_before));
        for damaged in ["", "{\"segment\":3", "{\"segment\":-1,\"through\":1}"] {
            fs::write(&path, damaged).unwrap();
            read(&path).unwrap_err();
        }
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/dev/null", &path).unwrap();
        read(&path).unwrap_err();
    }

    /// What the trail tells of changes and of its own repairs.
    fn told(scene: &Scene) -> Vec<String> {
        let lines = scene.lines().into_iter();
        let tell = |line: serde_json::Value| format!("{} {}", line["event"], line["revision"]);
        lines.map(tell).collect()
    }

    async fn stand(scene: &Scene, to: Standing) {
        let actor = "carol".parse().unwrap();
        let reason = "because".parse().unwrap();
        let changed = scene
            .registry
            .change(name("web"), Change::Stand(to), actor, reason);
        changed.await.unwrap();
    }

    /// From start to start of an agent that is killed between store and trail each time.
    #[tokio::test]
    async fn after_an_older_registry_was_restored_every_change_is_told_again() {
        let folder = tempfile::tempdir().unwrap();
        let [scene, older] = [Scene::new().await, Scene::new().await];
        let start = async |registry| catch_up(folder.path(), registry, &scene.trail).await;
        start(&scene.registry).await.unwrap();
        scene.register("web").await;
        stand(&scene, Standing::Suspended).await;
        start(&scene.registry).await.unwrap();
        older.register("web").await;
        start(&older.registry).await.unwrap();
        stand(&older, Standing::Suspended).await;
        start(&older.registry).await.unwrap();
        start(&older.registry).await.unwrap();
        let repaired = "\"repaired\" null";
        let suspended = "\"suspended\" 2";
        assert_eq!(
            told(&scene),
            [
                repaired,
                "\"registered\" 1",
                suspended,
                repaired,
                repaired,
                suspended
            ]
        );
    }
}
