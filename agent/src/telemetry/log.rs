//! The log: text for people, JSON for machines, on standard error.
//!
//! One line for each event, with these fields where they apply: `pid`, `uid`,
//! `client`, `spiffe_id`, `attestation_id`, `kind` and `id` of a credential (its serial
//! number or `jti`), `operator`, `method`, `path` and `error`: the words of the audit
//! trail, so that one finds the other. The level holds for Symbolon's own code; libraries log warnings only, since below
//! that some of them write what workloads send.

use std::io::{self, IsTerminal as _};
use tracing::{Level, Subscriber, subscriber::SetGlobalDefaultError};
use tracing_subscriber::{
    Registry,
    filter::{LevelFilter, Targets},
    fmt::{self, MakeWriter},
    layer::{Layer as _, SubscriberExt as _},
    reload,
};

/// What a line looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Text where standard error is a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// Text.
    Text,
    /// One JSON object a line.
    Json,
}

/// Changes the level of the running log.
#[derive(Clone, Debug)]
pub struct LevelHandle(reload::Handle<Targets, Registry>);

/// The level cannot be changed, because the log is gone.
#[derive(Debug, thiserror::Error)]
#[error("the log's level cannot be changed: {0}")]
pub struct LevelError(#[from] reload::Error);

/// Makes this process log to standard error.
///
/// # Errors
/// Where the process has a log already.
pub fn start(format: Format, level: Level) -> Result<LevelHandle, SetGlobalDefaultError> {
    let json = match format {
        Format::Auto => !io::stderr().is_terminal(),
        Format::Text => false,
        Format::Json => true,
    };
    let (subscriber, handle) = subscriber(json, level, io::stderr);
    tracing::subscriber::set_global_default(subscriber)?;
    Ok(handle)
}

impl LevelHandle {
    /// Makes Symbolon's own code log from `level` on.
    ///
    /// # Errors
    /// Where the log is gone.
    pub fn set(&self, level: Level) -> Result<(), LevelError> {
        Ok(self.0.reload(targets(level))?)
    }
}

/// Crate names of ours all begin with `symbolon`.
fn targets(level: Level) -> Targets {
    Targets::new()
        .with_default(LevelFilter::WARN.min(level.into()))
        .with_target("symbolon", level)
}

fn subscriber<W>(
    json: bool,
    level: Level,
    writer: W,
) -> (impl Subscriber + Send + Sync, LevelHandle)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let (filter, handle) = reload::Layer::new(targets(level));
    let lines = fmt::layer().with_writer(writer);
    let lines = if json {
        lines.json().flatten_event(true).boxed()
    } else {
        lines.boxed()
    };
    let subscriber = Registry::default().with(filter).with(lines);
    (subscriber, LevelHandle(handle))
}

#[cfg(test)]
mod tests {
    use super::{LevelHandle, subscriber};
    use parking_lot::Mutex;
    use serde_json::Value;
    use std::{
        io::{self, Write},
        sync::Arc,
    };
    use tracing::Level;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(json: bool, level: Level, log: impl FnOnce(LevelHandle)) -> String {
        let written = Written::default();
        let to = written.clone();
        let (subscriber, handle) = subscriber(json, level, move || to.clone());
        tracing::subscriber::with_default(subscriber, || log(handle));
        String::from_utf8(written.0.lock().clone()).unwrap()
    }

    #[test]
    fn json_lines_hold_their_fields_at_the_top() {
        let text = logged(true, Level::INFO, |_| {
            tracing::info!(pid = 7, "attested");
        });
        let line: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["message"], "attested");
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["pid"], 7);
    }

    #[test]
    fn the_level_can_be_changed_while_running() {
        let text = logged(false, Level::INFO, |level| {
            tracing::debug!("one");
            level.set(Level::DEBUG).unwrap();
            tracing::debug!("two");
            level.set(Level::ERROR).unwrap();
            tracing::warn!("three");
        });
        assert!(!text.contains("one") && text.contains("two") && !text.contains("three"));
    }

    #[test]
    fn libraries_log_warnings_only() {
        let text = logged(false, Level::TRACE, |level| {
            tracing::info!(target: "h2::codec", "frame");
            tracing::warn!(target: "h2::codec", "broken");
            level.set(Level::ERROR).unwrap();
            tracing::warn!(target: "h2::codec", "worse");
        });
        assert!(!text.contains("frame") && text.contains("broken") && !text.contains("worse"));
    }
}
