//! One look at all that a process can execute.
//!
//! Runs on a thread of the pool. The list of mappings is read before and after
//! everything else and has to be the same; a process that keeps changing it
//! (one that loads its libraries just now) is looked at a few times, and then
//! its code is unknown.

use super::{mapped::Mapped, pages::Pages};
use crate::{
    digest::believable,
    evidence::CodeEvidence,
    executable::FileIdentity,
    findings::{Fact, Reason, unread},
    hex,
    host::Host,
    parse::{self, Backing, ELF_HEADER_BYTES, Mapping},
    pin::PinnedPeer,
    procfs::{ProcDir, ProcRoot},
};
use aws_lc_rs::digest::{Context, SHA256};
use rustix::{
    fd::{AsFd as _, OwnedFd},
    io::{Errno, pread},
};

/// Most of `maps` that is read: some 80,000 mappings; the kernel allows 65,530 (`vm.max_map_count`).
const MAX_MAPS_BYTES: usize = 8 << 20;

/// Most mappings of files that are looked at: a program with 500 libraries.
const MAX_FILE_MAPPINGS: usize = 2048;

/// How often a process that changes its mappings meanwhile is looked at.
const ATTEMPTS: usize = 4;

/// Untrusted files that the evidence names.
const MAX_NAMED_FILES: usize = 8;

/// What a process can execute.
#[derive(Debug)]
pub(crate) struct Code {
    /// Every file, each once, sorted by identity.
    pub(super) files: Vec<Mapped>,
    /// Whether there is executable memory that is no file's.
    pub(super) jit: Fact<bool>,
    pub(super) is_static: Fact<bool>,
    /// Whose the program's own file is.
    pub(super) owner: Option<u32>,
    /// Whether the program's own file is among `files`.
    has_program: bool,
    /// Stands for all of it.
    pub(crate) mapped: String,
}

impl Code {
    /// Whether all files belong to one of `owners` and nobody else can write one.
    pub(super) fn trusted_by(&self, owners: &[u32]) -> Result<(), Reason> {
        if !self.has_program {
            return Err("the program's own file is not mapped executable".into());
        }
        match self.files.iter().find_map(|file| file.distrust(owners)) {
            Some(reason) => Err(reason.into()),
            None => Ok(()),
        }
    }

    pub(super) fn evidence(&self) -> CodeEvidence {
        let untrusted = self.files.iter().filter_map(|file| file.distrust(&[0]));
        CodeEvidence {
            files: self.files.len(),
            mapped: self.mapped.as_str().into(),
            untrusted: untrusted.take(MAX_NAMED_FILES).collect(),
        }
    }
}

/// What is executable, as `maps` lists it.
#[derive(Debug, PartialEq)]
struct Mappings {
    /// Of files and of the kernel's code.
    listed: Vec<Mapping>,
    /// Whether there are others. A compiler at work changes those all the time.
    has_anonymous: bool,
}

/// Looks at everything in `peer` that can be executed.
pub(super) fn scan(host: &Host, peer: &PinnedPeer) -> Fact<Code> {
    let directory = peer
        .directory(&host.root)
        .map_err(|error| unread("maps", error.into()))?;
    let program =
        FileIdentity::of_process(directory).map_err(|error| unread("exe", error.into()))?;
    for _ in 0..ATTEMPTS {
        let before = mappings(directory)?;
        let Some(files) = files(host, peer, directory, &before.listed)? else {
            continue;
        };
        let pages = Pages::open(directory)?.written(&before.listed);
        if mappings(directory)? == before {
            return Ok(code(host, &before, files, pages, program));
        }
    }
    Err("the process changed its mappings each time they were read".into())
}

fn mappings(directory: &ProcDir) -> Fact<Mappings> {
    let mut bytes = Vec::new();
    directory
        .read("maps", MAX_MAPS_BYTES, &mut bytes)
        .map_err(|error| unread("maps", error))?;
    let all = parse::executable_mappings(&bytes).map_err(|error| error.0)?;
    let count = all.len();
    let listed: Vec<_> = all
        .into_iter()
        .filter(|mapping| mapping.backing != Backing::Anonymous)
        .collect();
    if listed.len() > MAX_FILE_MAPPINGS {
        return Err(format!("more than {MAX_FILE_MAPPINGS} executable mappings").into());
    }
    Ok(Mappings {
        has_anonymous: listed.len() != count,
        listed,
    })
}

/// The files behind `mappings`, each once; `None` where one is no longer there.
fn files(
    host: &Host,
    peer: &PinnedPeer,
    directory: &ProcDir,
    mappings: &[Mapping],
) -> Fact<Option<Vec<Mapped>>> {
    let mut files: Vec<Mapped> = Vec::new();
    for mapping in mappings.iter().filter(|m| m.backing == Backing::File) {
        let handle = match link(directory, mapping) {
            Ok(handle) => handle,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::ACCESS | Errno::PERM) => {
                return Err("map_files: the agent may not follow its links without \
                    CAP_CHECKPOINT_RESTORE (CAP_SYS_ADMIN before Linux 5.9) and CAP_SYS_PTRACE"
                    .into());
            }
            Err(error) => return Err(unread("map_files", error.into())),
        };
        let file =
            Mapped::new(&host.root, handle).map_err(|error| unread("map_files", error.into()))?;
        if let Err(place) = files.binary_search_by(|known| known.order().cmp(&file.order())) {
            files.insert(place, file);
        }
    }
    for file in &mut files {
        file.judge(host, believable(host, &file.executable, peer));
    }
    Ok(Some(files))
}

fn link(directory: &ProcDir, mapping: &Mapping) -> Result<OwnedFd, Errno> {
    directory.handle(&format!("map_files/{:x}-{:x}", mapping.start, mapping.end))
}

fn code(
    host: &Host,
    mappings: &Mappings,
    files: Vec<Mapped>,
    pages: Fact<bool>,
    program: FileIdentity,
) -> Code {
    let own = files
        .iter()
        .find(|file| file.executable.identity == program);
    let is_memory = mappings.has_anonymous
        || files.iter().any(|file| file.is_memory)
        || mappings.listed.iter().any(|mapping| mapping.is_writable);
    let jit = if is_memory { Ok(true) } else { pages };
    let is_static = match own {
        None => Err("the program's own file is not mapped executable".into()),
        Some(own) if files.len() == 1 => own.has_interpreter(&host.root).map(|has| !has),
        Some(_) => Ok(false),
    };
    let mut context = Context::new(&SHA256);
    for file in &files {
        context.update(file.state().as_bytes());
    }
    context.update(format!("{jit:?} {is_static:?} {:?}", own.is_some()).as_bytes());
    Code {
        owner: own.map(|own| own.uid),
        has_program: own.is_some(),
        jit,
        is_static,
        files,
        mapped: hex(context.finish().as_ref()).to_string(),
    }
}

/// Whether a file names an interpreter.
pub(super) fn has_interpreter(root: &ProcRoot, handle: &OwnedFd) -> Fact<bool> {
    let failed = |error: Errno| unread("the executable", error.into());
    let file = root.reopen(handle.as_fd()).map_err(failed)?;
    let mut header = [0; ELF_HEADER_BYTES];
    let length = pread(&file, &mut header, 0).map_err(failed)?;
    let headers = parse::program_headers(header.get(..length).unwrap_or_default())
        .map_err(|error| error.0)?;
    let mut table = vec![0; headers.length];
    let length = pread(&file, &mut *table, headers.offset).map_err(failed)?;
    table.truncate(length);
    Ok(headers.have_interpreter(&table).map_err(|error| error.0)?)
}
