//! Whether a file's content can be believed, and its digest.
//!
//! Runs on the pool's threads: reading a caller's file can take as long as its
//! file system likes, and its `mountinfo` as long as he has mounts.

use super::{Content, Digest, DigestError, unknown};
use crate::{
    executable::{Executable, FileIdentity},
    findings::{Fact, Reason, unread},
    hex,
    host::Host,
    mounts::{self, FileSystem, MAX_MOUNTINFO_BYTES},
    namespaces,
    pin::PinnedPeer,
    procfs::ProcRoot,
    read_pool::PoolError,
};
use aws_lc_rs::digest::{Context, SHA256};
use rustix::{
    fd::{AsFd as _, OwnedFd},
    fs::fgetxattr,
    io::{Errno, read},
};

/// Bytes read at once.
const CHUNK_BYTES: usize = 128 << 10;

/// How far a file's times tell its states apart.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Trust {
    /// The kernel sets them at each change.
    Kernel,
    /// They may stay as they were, or whoever makes up the file system sets them:
    /// a digest is good for once.
    Never,
}

/// Whether the file system of `executable` shows everybody the same content.
pub(super) fn trust(
    host: &Host,
    executable: &Executable,
    peer: &PinnedPeer,
    hash_remote: bool,
) -> Fact<Trust> {
    match believable(host, executable, peer) {
        Err(_) if hash_remote => Ok(Trust::Never),
        found => found,
    }
}

fn believable(host: &Host, executable: &Executable, peer: &PinnedPeer) -> Fact<Trust> {
    let id = executable
        .mountinfo_id()
        .ok_or("the kernel does not tell the executable's mount (before Linux 5.8)")?;
    if let Ok((_, mounts)) = &host.mounts
        && let Some(found) = mounts.find(id)
    {
        return match found {
            FileSystem::Local => Ok(Trust::Kernel),
            FileSystem::Untimed | FileSystem::Overlay => Ok(Trust::Never),
            FileSystem::Other(kind) => Err(foreign(&kind)),
        };
    }
    let directory = peer
        .directory(&host.root)
        .map_err(|error| unread("mountinfo", error.into()))?;
    let mut bytes = Vec::new();
    directory
        .read("mountinfo", MAX_MOUNTINFO_BYTES, &mut bytes)
        .map_err(|error| unread("mountinfo", error))?;
    match mounts::find(&bytes, id) {
        Some(FileSystem::Local) => Ok(Trust::Kernel),
        Some(FileSystem::Untimed) => Ok(Trust::Never),
        Some(FileSystem::Overlay)
            if namespaces::mounts_are_ours(directory, host.user_namespace) =>
        {
            Ok(Trust::Never)
        }
        Some(FileSystem::Overlay) => Err(
            "the executable lies on an overlay made in a user namespace, which may pass on \
             content that its maker makes up"
                .into(),
        ),
        Some(FileSystem::Other(kind)) => Err(foreign(&kind)),
        None => Err("the executable's mount is neither the host's nor the process's".into()),
    }
}

fn foreign(kind: &str) -> Reason {
    let kind: String = kind
        .chars()
        .filter(char::is_ascii_graphic)
        .take(64)
        .collect();
    format!(
        "the executable lies on {kind}, whose content another program or machine may make up \
         (attestation.hash_remote_filesystems)"
    )
    .into()
}

/// Reads the file to its end, and again that it is the same file.
pub(super) fn hash(root: &ProcRoot, executable: &Executable) -> Digest {
    let regular = executable.is_regular().map_err(failed)?;
    if !regular {
        return Err(unknown("the executable is no regular file".into()));
    }
    let file = root.reopen(executable.handle.as_fd()).map_err(failed)?;
    let mut context = Context::new(&SHA256);
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut left = executable.identity.size;
    loop {
        let count = match read(&file, &mut *chunk) {
            Ok(0) => break,
            Ok(count) => count,
            Err(Errno::INTR) => continue,
            Err(error) => return Err(failed(error)),
        };
        left = u64::try_from(count)
            .ok()
            .and_then(|count| left.checked_sub(count))
            .ok_or(DigestError::Changed)?;
        context.update(chunk.get(..count).unwrap_or_default());
    }
    let has_capabilities = has_capabilities(&file);
    let now = FileIdentity::of_handle(executable.handle.as_fd()).map_err(failed)?;
    if left != 0 || now != executable.identity {
        return Err(DigestError::Changed);
    }
    Ok(Content {
        sha256: hex(context.finish().as_ref()),
        has_capabilities,
    })
}

/// Whether whoever runs the file gets capabilities (`capabilities(7)`).
fn has_capabilities(file: &OwnedFd) -> Fact<bool> {
    // Three revisions of 12 to 24 bytes exist.
    match fgetxattr(file, "security.capability", &mut [0_u8; 64]) {
        Ok(_) | Err(Errno::RANGE) => Ok(true),
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(false),
        Err(error) => Err(unread("the executable's capabilities", error.into())),
    }
}

fn failed(error: Errno) -> DigestError {
    match error {
        Errno::MFILE | Errno::NFILE | Errno::NOMEM => DigestError::Pool(PoolError::Overloaded),
        error => DigestError::Unknown(unread("the executable", error.into())),
    }
}
