//! The processes that are known, by their keys and by their numbers.

use super::Process;
use std::{collections::HashMap, sync::Arc};
use symbolon_attestors::ProcessKey;

/// As many as the caller lets in; both maps hold the same ones.
#[derive(Debug, Default)]
pub(super) struct Known {
    by_key: HashMap<ProcessKey, Arc<Process>>,
    /// Only to find out early that something happened to the process. Where a
    /// number is given again while its last bearer is not forgotten yet, the new
    /// one is found.
    by_pid: HashMap<u32, ProcessKey>,
}

impl Known {
    pub(super) fn get(&self, key: &ProcessKey) -> Option<&Arc<Process>> {
        self.by_key.get(key)
    }

    pub(super) fn with_pid(&self, pid: u32) -> Option<Arc<Process>> {
        let key = self.by_pid.get(&pid)?;
        self.by_key.get(key).cloned()
    }

    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }

    pub(super) fn all(&self) -> Vec<Arc<Process>> {
        self.by_key.values().cloned().collect()
    }

    pub(super) fn insert(&mut self, key: ProcessKey, process: Arc<Process>) {
        self.by_pid.insert(process.peer().credentials().pid, key);
        self.by_key.insert(key, process);
    }

    /// Takes the process out, unless another has taken its place.
    pub(super) fn remove(&mut self, process: &Process) -> bool {
        let key = process.key();
        let known = self.by_key.get(&key);
        if !known.is_some_and(|known| std::ptr::eq(Arc::as_ptr(known), process)) {
            return false;
        }
        self.by_key.remove(&key);
        let pid = process.peer().credentials().pid;
        if self.by_pid.get(&pid) == Some(&key) {
            self.by_pid.remove(&pid);
        }
        true
    }
}
