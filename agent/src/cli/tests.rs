//! The command line against an agent of canned answers, over real sockets.

mod agent;
mod apply;
mod audit;
mod backup;
mod client;
mod contract;
mod failures;
mod federation;
mod govern;
mod keys;
mod metadata;
mod operator;
mod svid;
mod views;
mod watch;

use super::{Console, Daemons, run};
use crate::{clock::ManualClock, config::Directories};
use parking_lot::Mutex;
use std::{
    ffi::OsString,
    io::{self, Cursor, Write},
    path::Path,
    process::ExitCode,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

/// 2026-11-20T00:00:00Z, which is "now" in these tests.
const NOW: i64 = 1_795_132_800;

/// What a run left behind.
#[derive(Debug)]
struct Outcome {
    code: ExitCode,
    out: String,
    err: String,
}

impl Outcome {
    #[track_caller]
    fn done(self) -> String {
        assert_eq!(self.code, ExitCode::SUCCESS, "{self:?}");
        self.out
    }

    #[track_caller]
    fn refused(self, code: u8) -> String {
        assert_eq!(self.code, ExitCode::from(code), "{self:?}");
        assert_eq!(self.out, "");
        self.err
    }
}

#[derive(Clone, Debug, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Captured {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().clone()).unwrap()
    }
}

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn console(stdin: &str, out: impl Write + 'static, err: Captured) -> Console {
    let now = UNIX_EPOCH + Duration::from_secs(NOW.unsigned_abs());
    Console {
        stdin: Box::new(Cursor::new(stdin.to_owned().into_bytes())),
        stdout: Box::new(out),
        stderr: Box::new(err),
        width: None,
        interactive: false,
        colours: false,
        clock: Arc::new(ManualClock::new(now)),
        directories: Directories::of(0, &[]),
        format: None,
    }
}

/// Runs `symbolon` with `arguments` on a console that `adapt` has changed.
fn symbolon_on(arguments: &[&str], stdin: &str, adapt: impl FnOnce(&mut Console)) -> Outcome {
    let (out, err) = (Captured::default(), Captured::default());
    let mut console = console(stdin, out.clone(), err.clone());
    adapt(&mut console);
    let daemons = Daemons {
        agent: |_| ExitCode::SUCCESS,
        demo: |_| ExitCode::SUCCESS,
    };
    let arguments = ["symbolon"].iter().chain(arguments).map(OsString::from);
    let code = run(arguments, &daemons, &mut console);
    Outcome {
        code,
        out: out.text(),
        err: err.text(),
    }
}

fn symbolon(arguments: &[&str]) -> Outcome {
    symbolon_on(arguments, "", |_| {})
}

/// Holds `actual` against a file that is part of the contract.
///
/// With `BLESS` in the environment the file is written instead.
#[track_caller]
fn golden(name: &str, actual: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("src/cli/tests/golden")
        .join(name);
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, actual).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(actual, expected, "{} differs", path.display());
}
