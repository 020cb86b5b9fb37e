//! What to do about a disk that does not do what it should.
//!
//! The one place that knows; everybody who tells an operator of a failed read or
//! write adds the sentence.

use std::{
    error::Error,
    io::{self, ErrorKind},
    iter,
    sync::Arc,
};

/// The next step after `error`, which may be of the system or have such a cause.
#[must_use]
pub fn remedy(error: &(dyn Error + 'static)) -> &'static str {
    known_remedy(error).unwrap_or("Look in the kernel's log whether the disk is failing.")
}

/// As [`remedy`], where the cause is one of those that operators can mend.
#[must_use]
pub fn known_remedy(error: &(dyn Error + 'static)) -> Option<&'static str> {
    let mut next = Some(error);
    let mut causes = iter::from_fn(move || {
        let this = next?;
        next = this.source();
        Some(this)
    });
    Some(match causes.find_map(kind)? {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            "Make room on its file system; nothing that was confirmed is lost."
        }
        ErrorKind::ReadOnlyFilesystem => {
            "Its file system is read-only: mount it for writing, and look in the kernel's log for \
             why it is not."
        }
        ErrorKind::PermissionDenied => {
            "The agent's user may not: look with `namei -l` which directory is closed, and give \
             the data directory to that user alone (chown, chmod 700)."
        }
        ErrorKind::NotFound => "Put it back, or a backup in its place: `symbolon restore FILE`.",
        _ => return None,
    })
}

fn kind(error: &(dyn Error + 'static)) -> Option<ErrorKind> {
    if let Some(error) = error.downcast_ref::<io::Error>() {
        return Some(error.kind());
    }
    if let Some(error) = error.downcast_ref::<Arc<io::Error>>() {
        return Some(error.kind());
    }
    match error.downcast_ref::<redb::Error>() {
        Some(redb::Error::Io(error)) => Some(error.kind()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::remedy;
    use crate::registry::StoreError;
    use std::io::{self, ErrorKind};

    #[test]
    fn the_cause_is_found_behind_other_errors() {
        let full = || io::Error::from(ErrorKind::StorageFull);
        assert!(remedy(&full()).contains("room"));
        let inside = StoreError::Unavailable(Box::new(redb::Error::Io(full())));
        assert!(inside.remedy().contains("room"));
        let inside = io::Error::other(io::Error::from(ErrorKind::ReadOnlyFilesystem));
        assert!(remedy(&inside).contains("read-only") || remedy(&inside).contains("kernel"));
        assert!(remedy(&io::Error::from(ErrorKind::PermissionDenied)).contains("chmod"));
    }
}
