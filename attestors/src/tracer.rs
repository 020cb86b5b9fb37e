//! Whether another process traces this one (`ptrace(2)`).
//!
//! A tracer reads and writes memory and registers, so what the process does is
//! the tracer's doing. Each thread can be traced alone, so each is asked. A
//! tracer that came and went leaves no mark here (`code:jit` sees the code that
//! it wrote); one without a number in the agent's PID namespace is not seen.

use crate::{
    attestor::AttestError,
    findings::{Fact, unread},
    host::Host,
    namespaces::accountable,
    parse,
    pin::{MAX_STATUS_BYTES, PinnedPeer},
    procfs::{ProcDir, ReadError},
    read_pool::{PoolError, ReadPool},
};
use rustix::{
    fs::{Dir, StatxFlags},
    io::Errno,
};
use std::sync::Arc;

/// Threads that are asked on the spot: half a millisecond. More take a thread of the pool.
const FEW_THREADS: u32 = 32;

/// Links of a directory without directories in it.
const OWN_LINKS: u32 = 2;

/// The process that traces a thread of `peer`, given that of its first one.
///
/// # Errors
/// Where many threads have to be asked and the pool does not answer.
pub(crate) async fn of(
    host: &Arc<Host>,
    peer: &Arc<PinnedPeer>,
    pool: &ReadPool,
    first: &Fact<Option<u32>>,
) -> Result<Fact<Option<u32>>, AttestError> {
    let threads = match (first, peer.directory(&host.root)) {
        (Ok(None), Ok(directory)) => threads(directory),
        _ => return Ok(first.clone()),
    };
    match threads {
        Ok(0 | 1) => Ok(Ok(None)),
        Ok(2..=FEW_THREADS) => Ok(of_threads(host, peer)),
        Ok(_) => {
            let user = accountable(host, peer);
            let job = {
                let (host, peer) = (Arc::clone(host), Arc::clone(peer));
                move || of_threads(&host, &peer)
            };
            pool.run(user, job).await.map_err(|error| match error {
                PoolError::Overloaded => AttestError::Overloaded,
                PoolError::Timeout => AttestError::Timeout,
            })
        }
        Err(error) => Ok(Err(unread("task", error.into()))),
    }
}

fn threads(directory: &ProcDir) -> Result<u32, Errno> {
    let stat = directory.stat("task", StatxFlags::NLINK)?;
    Ok(stat.stx_nlink.saturating_sub(OWN_LINKS))
}

fn of_threads(host: &Host, peer: &PinnedPeer) -> Fact<Option<u32>> {
    let failed = |error: Errno| unread("task", error.into());
    let directory = peer.directory(&host.root).map_err(failed)?;
    let tasks = Dir::new(directory.file("task").map_err(failed)?).map_err(failed)?;
    let mut bytes = Vec::new();
    for task in tasks {
        let task = task.map_err(failed)?;
        let Some(number) = task
            .file_name()
            .to_str()
            .ok()
            .filter(|name| is_number(name))
        else {
            continue;
        };
        let status = format!("task/{number}/status");
        match directory.read(&status, MAX_STATUS_BYTES, &mut bytes) {
            Ok(()) => {}
            // The thread has ended.
            Err(ReadError::System(Errno::NOENT | Errno::SRCH)) => continue,
            Err(error) => return Err(unread("task", error)),
        }
        if let Some(tracer) = parse::tracer(&bytes).map_err(|error| error.0)? {
            return Ok(Some(tracer));
        }
    }
    Ok(None)
}

fn is_number(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_digit())
}
