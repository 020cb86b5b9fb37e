//! `[log]`: what the agent writes about its own work.

use super::{key::Key, reader::Reader, setting::named_values};
use tracing::level_filters::LevelFilter;

/// The log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// The lines' form.
    pub format: LogFormat,
    /// The least important level that is written.
    pub level: LogLevel,
}

named_values! {
    /// The form of log lines.
    pub enum LogFormat {
        /// Text on a terminal, JSON otherwise.
        Auto = "auto",
        /// Text for people.
        Text = "text",
        /// One JSON object a line.
        Json = "json",
    }
}

named_values! {
    /// The least important level that is written.
    pub enum LogLevel {
        /// Errors alone, as [`Self::Error`]: an agent that fails in silence helps nobody.
        Off = "off",
        /// What needs a person.
        Error = "error",
        /// What may need one soon.
        Warn = "warn",
        /// What happened.
        Info = "info",
        /// Why it happened.
        Debug = "debug",
        /// Every step.
        Trace = "trace",
    }
}

impl From<LogLevel> for LevelFilter {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Off => Self::OFF,
            LogLevel::Error => Self::ERROR,
            LogLevel::Warn => Self::WARN,
            LogLevel::Info => Self::INFO,
            LogLevel::Debug => Self::DEBUG,
            LogLevel::Trace => Self::TRACE,
        }
    }
}

const FORMAT: Key = Key::new(
    "log",
    "format",
    "Form of log lines: \"auto\" (text on a terminal, JSON otherwise), \"text\" or \"json\".",
);
const LEVEL: Key = Key::new(
    "log",
    "level",
    "Least important level that is written: \"off\", \"error\", \"warn\", \"info\", \"debug\" or \
     \"trace\". Errors are written even when \"off\", and the audit trail does not depend on it.",
)
.live();

pub(super) const KEYS: &[&Key] = &[&FORMAT, &LEVEL];

pub(super) fn read(reader: &mut Reader<'_>) -> Log {
    Log {
        format: reader.value(&FORMAT, LogFormat::Auto),
        level: reader.value(&LEVEL, LogLevel::Info),
    }
}
