//! The folder on disk: who may write to it, and one consistent look at what is in it.
//!
//! Everything is opened below one descriptor of the folder, never followed through
//! a link except the `..data` of a `ConfigMap`, and checked on what was opened. A
//! look that a swap of `..data` has overtaken is thrown away and taken again.

use super::{
    FILE_AUTHOR, FILE_BYTES, FILES, Form,
    fault::{Fault, Place, Problem},
};
use crate::registry::Actor;
use aws_lc_rs::digest::{Context, SHA256};
use rustix::{
    fs::{self, AtFlags, Dir, FileType, Mode, OFlags, StatVfsMountFlags},
    io::Errno,
};
use std::{
    fs::File,
    io::Read as _,
    os::fd::{AsFd, OwnedFd},
    path::Path,
    str::FromStr as _,
    sync::Arc,
};

/// The link that a `ConfigMap`'s volume is swapped by.
const DATA: &str = "..data";
/// How often a look is taken before a folder counts as restless.
const LOOKS: usize = 3;
/// Bytes of all files together: some times what a `ConfigMap` can hold.
const ALL_BYTES: usize = 8 * FILE_BYTES;
/// Mode bits that let others than the owner write.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// What is in the folder, of one moment.
#[derive(Debug)]
pub(super) struct Contents {
    /// By name.
    pub(super) files: Vec<Text>,
    /// SHA-256 of all names and texts.
    pub(super) digest: [u8; 32],
}

/// One file.
#[derive(Debug)]
pub(super) struct Text {
    pub(super) name: String,
    pub(super) form: Form,
    pub(super) text: String,
}

/// Reads the folder; its place in messages is its path.
pub(super) fn read(path: &Path) -> Result<Contents, Vec<Fault>> {
    let place = Place {
        file: path.to_string_lossy().into(),
        line: 0,
    };
    let fault = |problem| {
        vec![Fault {
            place: place.clone(),
            problem,
        }]
    };
    for _ in 0..LOOKS {
        let look = Look::open(path).map_err(fault)?;
        let contents = look.contents(&place);
        if look.is_the_latest().map_err(fault)? {
            return contents;
        }
    }
    Err(fault(Problem::Restless))
}

/// The folder, and where its files lie.
struct Look {
    folder: OwnedFd,
    /// The folder behind `..data`.
    data: Option<OwnedFd>,
}

impl Look {
    fn open(path: &Path) -> Result<Self, Problem> {
        let folder = fs::open(path, directory_flags(), Mode::empty()).map_err(unreadable)?;
        check_writers(&folder)?;
        let data = match fs::openat(&folder, DATA, directory_flags(), Mode::empty()) {
            Ok(data) => {
                check_writers(&data)?;
                Some(data)
            }
            Err(Errno::NOENT) => None,
            Err(error) => return Err(unreadable(error)),
        };
        Ok(Self { folder, data })
    }

    /// Whether `..data` still leads where it did.
    fn is_the_latest(&self) -> Result<bool, Problem> {
        let now = match fs::statat(&self.folder, DATA, AtFlags::empty()) {
            Ok(stat) => Some((stat.st_dev, stat.st_ino)),
            Err(Errno::NOENT) => None,
            Err(error) => return Err(unreadable(error)),
        };
        let then = self.data.as_ref().map(fs::fstat).transpose();
        let then = then.map_err(unreadable)?;
        Ok(now == then.map(|stat| (stat.st_dev, stat.st_ino)))
    }

    fn contents(&self, folder: &Place) -> Result<Contents, Vec<Fault>> {
        let directory = self.data.as_ref().unwrap_or(&self.folder);
        let whole = |problem| {
            let place = folder.clone();
            vec![Fault { place, problem }]
        };
        let names = names(directory).map_err(whole)?;
        let (mut files, mut faults) = (Vec::new(), Vec::new());
        let (mut digest, mut bytes) = (Context::new(&SHA256), 0);
        for name in names {
            match file(directory, &name) {
                Ok(file) => {
                    bytes += file.text.len();
                    if bytes > ALL_BYTES {
                        return Err(whole(Problem::TooLarge(ALL_BYTES)));
                    }
                    for part in [&file.name, &file.text] {
                        digest.update(&part.len().to_be_bytes());
                        digest.update(part.as_bytes());
                    }
                    files.push(file);
                }
                Err(problem) => faults.push(Fault {
                    place: Place {
                        file: Arc::from(&*name),
                        line: 0,
                    },
                    problem,
                }),
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        let digest = digest.finish();
        let digest = digest.as_ref().try_into().unwrap_or([0; 32]);
        Ok(Contents { files, digest })
    }
}

fn directory_flags() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC
}

/// The names that are meant to be read, sorted.
fn names(directory: &OwnedFd) -> Result<Vec<String>, Problem> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let name = entry.file_name().to_bytes();
        if name.starts_with(b".") {
            continue;
        }
        names.push(String::from_utf8_lossy(name).into_owned());
        if names.len() > FILES {
            return Err(Problem::TooMany {
                what: "files",
                limit: FILES,
            });
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn file(directory: &OwnedFd, name: &str) -> Result<Text, Problem> {
    let extension = name.rsplit_once('.').map(|(_, extension)| extension);
    let form = extension.and_then(Form::of_extension);
    let form = form.ok_or(Problem::UnknownForm)?;
    Actor::from_str(&format!("{FILE_AUTHOR}{name}")).map_err(Problem::Name)?;
    // Not waiting: a FIFO would do so for its other end.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match fs::openat(directory, name, flags, Mode::empty()) {
        Err(Errno::LOOP) => return Err(Problem::NotAFile),
        opened => opened.map_err(unreadable)?,
    };
    let stat = fs::fstat(&file).map_err(unreadable)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Problem::NotAFile);
    }
    check_writers(&file)?;
    let mut bytes = Vec::new();
    let most = u64::try_from(FILE_BYTES).unwrap_or(u64::MAX);
    let mut limited = File::from(file).take(most + 1);
    limited
        .read_to_end(&mut bytes)
        .map_err(Problem::Unreadable)?;
    if bytes.len() > FILE_BYTES {
        return Err(Problem::TooLarge(FILE_BYTES));
    }
    Ok(Text {
        name: name.to_owned(),
        form,
        text: String::from_utf8(bytes).map_err(|_where| Problem::NotText)?,
    })
}

/// Whether nobody but root and the agent's user can change what is open here.
fn check_writers(open: &impl AsFd) -> Result<(), Problem> {
    let stat = fs::fstat(open).map_err(unreadable)?;
    let own = rustix::process::geteuid().as_raw();
    if stat.st_uid != 0 && stat.st_uid != own {
        return Err(Problem::Foreign(stat.st_uid));
    }
    if stat.st_mode & WRITABLE_BY_OTHERS == 0 {
        return Ok(());
    }
    let mount = fs::fstatvfs(open).map_err(unreadable)?;
    if mount.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return Ok(());
    }
    Err(Problem::WritableByOthers(stat.st_mode & 0o7777))
}

fn unreadable(error: Errno) -> Problem {
    Problem::Unreadable(error.into())
}

#[cfg(test)]
mod tests {
    use super::read;
    use crate::registrations::Problem;
    use std::{
        fs,
        os::unix::fs::{PermissionsExt as _, symlink},
        path::Path,
    };

    fn problems(path: &Path) -> Vec<String> {
        let faults = read(path).unwrap_err();
        faults.iter().map(ToString::to_string).collect()
    }

    fn names(path: &Path) -> Vec<String> {
        let contents = read(path).unwrap();
        contents.files.into_iter().map(|file| file.name).collect()
    }

    /// A folder as the kubelet makes it for a `ConfigMap`.
    fn config_map(path: &Path, generation: &str, files: &[(&str, &str)]) {
        let data = path.join(generation);
        fs::create_dir(&data).unwrap();
        for (name, text) in files {
            fs::write(data.join(name), text).unwrap();
            let link = path.join(name);
            if !link.is_symlink() {
                symlink(format!("..data/{name}"), link).unwrap();
            }
        }
        let next = path.join("..data_tmp");
        symlink(generation, &next).unwrap();
        fs::rename(next, path.join("..data")).unwrap();
    }

    #[test]
    fn a_config_map_is_read_behind_its_link() {
        let folder = tempfile::tempdir().unwrap();
        config_map(folder.path(), "..1", &[("b.yaml", "1"), ("a.json", "2")]);
        assert_eq!(names(folder.path()), ["a.json", "b.yaml"]);
        let first = read(folder.path()).unwrap().digest;
        assert_eq!(read(folder.path()).unwrap().digest, first);
        config_map(folder.path(), "..2", &[("b.yaml", "2")]);
        assert_eq!(names(folder.path()), ["b.yaml"]);
        assert_ne!(read(folder.path()).unwrap().digest, first);
    }

    #[test]
    fn names_with_a_dot_are_not_meant_and_all_others_are() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(".hidden"), "x").unwrap();
        fs::write(folder.path().join("a.yml"), "x").unwrap();
        assert_eq!(names(folder.path()), ["a.yml"]);
        fs::write(folder.path().join("a.yml.bak"), "x").unwrap();
        fs::create_dir(folder.path().join("sub.yaml")).unwrap();
        symlink("a.yml", folder.path().join("link.yaml")).unwrap();
        fs::write(folder.path().join("z.json"), b"\xff").unwrap();
        let found = problems(folder.path());
        assert_eq!(found.len(), 4, "{found:#?}");
        assert!(found[0].starts_with("a.yml.bak: is none of"), "{found:#?}");
        assert_eq!(found[1], "link.yaml: is not a regular file");
        assert_eq!(found[2], "sub.yaml: is not a regular file");
        assert_eq!(found[3], "z.json: is not UTF-8");
    }

    #[test]
    fn what_others_can_write_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.yaml");
        fs::write(&file, "x").unwrap();
        for mode in [0o664, 0o646] {
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            let found = problems(folder.path());
            assert!(found[0].contains("can be written by others"), "{found:?}");
        }
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        read(folder.path()).unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let faults = read(folder.path()).unwrap_err();
        assert!(matches!(
            faults[0].problem,
            Problem::WritableByOthers(0o777)
        ));
    }

    #[test]
    fn bounds_hold() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.yaml");
        fs::write(&file, vec![b' '; super::FILE_BYTES + 1]).unwrap();
        assert!(problems(folder.path())[0].contains("more than 1048576 bytes"));
        fs::remove_file(file).unwrap();
        for number in 0..=super::FILES {
            fs::write(folder.path().join(format!("{number}.yaml")), "").unwrap();
        }
        assert!(problems(folder.path())[0].contains("more than 256 files"));
    }

    #[test]
    fn a_folder_that_is_not_there_is_a_fault_and_not_an_empty_one() {
        let folder = tempfile::tempdir().unwrap();
        assert!(problems(&folder.path().join("none"))[0].contains("cannot be read"));
        assert!(names(folder.path()).is_empty());
    }
}
