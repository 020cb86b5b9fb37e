//! Where a command reads and writes: the process's streams, or a test's buffers.
//!
//! Also what a command may know of its surroundings: the clock, the user, the
//! width of the terminal. Everything arrives here once, so that no command
//! asks the process itself.

use super::{
    failure::Failure,
    output::{Format, Look, View, json, json_line, printable, yaml},
};
use crate::{
    clock::{SharedClock, SystemClock, unix_seconds},
    config::Directories,
};
use std::{
    fmt::{self, Debug, Formatter},
    io::{self, BufRead, IsTerminal as _, Write},
    process::ExitCode,
    sync::Arc,
};

/// A line that answers a question is not longer than this.
const MAX_REPLY: u64 = 1024;

/// The streams and surroundings of one run of a command.
pub struct Console {
    pub(super) stdin: Box<dyn BufRead>,
    pub(super) stdout: Box<dyn Write>,
    pub(super) stderr: Box<dyn Write>,
    /// Columns of the terminal that standard output is; `None` for a file or a pipe.
    pub(super) width: Option<usize>,
    /// Whether somebody can answer questions.
    pub(super) interactive: bool,
    /// Whether help texts may use colours.
    pub(super) colours: bool,
    pub(super) clock: SharedClock,
    /// Where an agent of this user has its sockets.
    pub(super) directories: Directories,
    /// What `--output` says.
    pub(super) format: Option<Format>,
}

impl Debug for Console {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Console").finish_non_exhaustive()
    }
}

impl Console {
    /// The console of this process.
    #[must_use]
    pub fn of_process() -> Self {
        let stdout = io::stdout();
        let width = stdout.is_terminal().then(|| {
            rustix::termios::tcgetwinsize(&stdout).map_or(80, |size| usize::from(size.ws_col))
        });
        Self {
            stdin: Box::new(io::BufReader::new(io::stdin())),
            stdout: Box::new(stdout),
            stderr: Box::new(io::stderr()),
            // Some terminals do not tell their size and say 0.
            width: width.map(|columns| if columns == 0 { 80 } else { columns }),
            interactive: io::stdin().is_terminal() && io::stderr().is_terminal(),
            colours: width.is_some()
                && io::stderr().is_terminal()
                && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
            clock: Arc::new(SystemClock),
            directories: Directories::of(
                rustix::process::geteuid().as_raw(),
                &std::env::vars_os().collect::<Vec<_>>(),
            ),
            format: None,
        }
    }

    /// The wall clock in seconds since 1970.
    pub(super) fn now(&self) -> i64 {
        i64::try_from(unix_seconds(self.clock.now())).unwrap_or(i64::MAX)
    }

    /// Writes `bytes` to standard output as they are.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.stdout.write_all(bytes)?;
        Ok(self.stdout.flush()?)
    }

    /// Prints one result in the asked-for format.
    pub(super) fn show(&mut self, view: &impl View) -> Result<(), Failure> {
        let text = match self.format.unwrap_or_default() {
            Format::Table => self.table(view),
            Format::Json => json(view)?,
            Format::Yaml => yaml(view)?,
        };
        self.write(text.as_bytes())
    }

    /// Prints one of many results: a JSON line, a YAML document or a table.
    pub(super) fn show_next(&mut self, view: &impl View) -> Result<(), Failure> {
        let text = match self.format.unwrap_or_default() {
            Format::Table => self.table(view),
            Format::Json => json_line(view)?,
            Format::Yaml => format!("---\n{}", yaml(view)?),
        };
        self.write(text.as_bytes())
    }

    fn table(&self, view: &impl View) -> String {
        view.table(&Look {
            width: self.width,
            now: self.now(),
        })
    }

    /// Whether results are meant for a reader, not for a program.
    pub(super) fn is_table(&self) -> bool {
        self.format.unwrap_or_default() == Format::Table
    }

    /// Says something beside the result, on standard error.
    pub(crate) fn tell(&mut self, text: &str) {
        // Nobody is left to be told of a failure here.
        writeln!(self.stderr, "symbolon: {text}").unwrap_or_default();
    }

    /// Prints `text` on standard error as it is.
    pub(super) fn explain(&mut self, text: &str) {
        write!(self.stderr, "{text}").unwrap_or_default();
    }

    /// Asks on standard error; anything but a yes is a no.
    pub(super) fn confirm(&mut self, question: &str) -> Result<bool, Failure> {
        write!(self.stderr, "{} [y/N] ", printable(question))?;
        self.stderr.flush()?;
        let mut reply = String::new();
        io::Read::take(&mut self.stdin, MAX_REPLY).read_line(&mut reply)?;
        Ok(matches!(reply.trim(), "y" | "Y" | "yes" | "Yes" | "YES"))
    }

    /// Prints a help text, or what is wrong with the arguments.
    pub(super) fn usage(&mut self, error: &clap::Error) -> ExitCode {
        let text = if self.colours {
            error.render().ansi().to_string()
        } else {
            error.render().to_string()
        };
        let stream = if error.use_stderr() {
            &mut self.stderr
        } else {
            &mut self.stdout
        };
        stream.write_all(text.as_bytes()).unwrap_or_default();
        ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
    }
}
