//! The `code` attestor: what was loaded into the program.
//!
//! A program's digest says nothing about the code that runs in its process:
//! whoever may execute the file can start it with a preloaded library or under
//! a debugger. Here every mapping that can be executed is looked at: the very
//! files behind them (through `map_files`, never by their names), and memory
//! without a file, to which pages of a file's mapping that the process wrote
//! belong too. Selectors: `code:trusted`, `code:static`, `code:jit`,
//! `code:sha256`; `doc/code.md` says what each is good for.
//!
//! Reading mappings takes the process's memory lock, which it can hold up. So
//! all of it runs in the read pool on the account of the user who asks.
//!
//! [`Code`] has a digest of the set, which is read again before each use of
//! the facts.

use crate::{
    attestor::Subject,
    digest::DigestError,
    findings::{Fact, Findings, Reason},
    hex,
    host::Host,
    namespaces::accountable,
    pin::PinnedPeer,
    read_pool::{PoolError, ReadPool},
};
use aws_lc_rs::digest::{Context, SHA256};
use std::{collections::BTreeSet, sync::Arc};
use tokio::time::timeout;

mod mapped;
mod pages;
mod scan;

use scan::Code;

const TRUSTED: &str = "code:trusted";
const STATIC: &str = "code:static";
const JIT: &str = "code:jit";
const DIGEST: &str = "code:sha256";

/// Why there are no facts.
#[derive(Debug)]
pub(crate) enum CodeError {
    /// They cannot be found out.
    Unknown(Reason),
    /// Not now.
    Pool(PoolError),
}

/// Looks at everything in `peer` that can be executed.
pub(crate) async fn of(
    host: &Arc<Host>,
    peer: &Arc<PinnedPeer>,
    pool: &ReadPool,
) -> Result<Code, CodeError> {
    let user = accountable(host, peer);
    let job = {
        let (host, peer) = (Arc::clone(host), Arc::clone(peer));
        move || scan::scan(&host, &peer)
    };
    match pool.run(user, job).await {
        Ok(code) => code.map_err(CodeError::Unknown),
        Err(error) => Err(CodeError::Pool(error)),
    }
}

/// Reports the selectors, and keeps what is to be compared later.
pub(crate) async fn report(subject: &Subject<'_>, findings: &mut Findings) {
    let code = match untraced(subject).await {
        Ok(code) => code,
        Err(reason) => {
            for key in [TRUSTED, STATIC, JIT, DIGEST] {
                findings.lack(key, reason.clone());
            }
            return;
        }
    };
    findings.report(JIT, code.jit.clone());
    findings.report(STATIC, code.is_static.clone());
    report_trust(&code, findings);
    findings.report(DIGEST, digest(&code, subject).await);
    findings.code = Some(code.evidence());
}

async fn untraced(subject: &Subject<'_>) -> Fact<Code> {
    if let Some(tracer) = subject.facts.tracer.clone()? {
        return Err(format!("process {tracer} traces it, and can make it execute anything").into());
    }
    let code = of(subject.host, subject.peer, subject.pool).await;
    code.map_err(|error| match error {
        CodeError::Unknown(reason) => reason,
        CodeError::Pool(error) => error.reason(),
    })
}

fn report_trust(code: &Code, findings: &mut Findings) {
    match code.trusted_by(&[0]) {
        Ok(()) => findings.know(TRUSTED, "root"),
        Err(reason) => match code.owner {
            Some(owner) if owner != 0 && code.trusted_by(&[0, owner]).is_ok() => {}
            _ => return findings.lack(TRUSTED, reason),
        },
    }
    // What nobody but root can write is no less good than what root or the owner can.
    findings.know(TRUSTED, "owner");
}

/// SHA-256 of the digests of all files, each in hexadecimal on a line of its own, sorted, each once.
async fn digest(code: &Code, subject: &Subject<'_>) -> Result<Arc<str>, Reason> {
    let limits = subject.digests.limits();
    let bytes = code.files.iter().map(|file| file.executable.identity.size);
    if bytes.fold(0, u64::saturating_add) > limits.max_bytes {
        let limit = limits.max_bytes;
        return Err(format!("the files are larger than {limit} bytes together").into());
    }
    timeout(limits.deadline, sum(code, subject))
        .await
        .unwrap_or_else(|_elapsed| Err(PoolError::Timeout.reason()))
}

async fn sum(code: &Code, subject: &Subject<'_>) -> Result<Arc<str>, Reason> {
    let mut digests = BTreeSet::new();
    for file in &code.files {
        let user = || accountable(subject.host, subject.peer);
        let digest = subject
            .digests
            .of(&file.executable, subject.peer, user, subject.at)
            .await;
        match digest {
            Ok(content) => digests.insert(content.sha256),
            Err(error) => return Err(format!("{}: {}", file.name, error.reason()).into()),
        };
    }
    let mut context = Context::new(&SHA256);
    for digest in digests {
        context.update(digest.as_bytes());
        context.update(b"\n");
    }
    Ok(hex(context.finish().as_ref()))
}

impl PoolError {
    /// In words, where it makes a fact unknown.
    pub(crate) const fn reason(self) -> Reason {
        Reason::Borrowed(match self {
            Self::Overloaded => "too many reads are under way",
            Self::Timeout => "reading it took too long",
        })
    }
}

impl DigestError {
    /// In words, where it makes a fact unknown.
    pub(crate) fn reason(self) -> Reason {
        match self {
            Self::Unknown(reason) => reason,
            Self::Changed => "the file changed while it was read".into(),
            Self::Pool(error) => error.reason(),
        }
    }
}
