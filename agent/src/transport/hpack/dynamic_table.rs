//! HPACK's dynamic table (RFC 7541, sections 2.3.2 and 4): the fields that the
//! client asked to keep, the newest first, within a size that it may lower.

use super::{FIELD_OVERHEAD, TABLE_SIZE};
use std::collections::VecDeque;

/// The table of one direction of one connection.
pub(super) struct DynamicTable {
    entries: VecDeque<Entry>,
    /// What the entries count together; never more than `max_size`.
    size: usize,
    max_size: usize,
}

/// A field in one piece of memory, its name first.
struct Entry {
    text: Box<[u8]>,
    name_length: usize,
}

impl Entry {
    const fn size(&self) -> usize {
        self.text.len() + FIELD_OVERHEAD
    }
}

impl Default for DynamicTable {
    fn default() -> Self {
        Self {
            entries: VecDeque::new(),
            size: 0,
            max_size: TABLE_SIZE,
        }
    }
}

impl DynamicTable {
    /// Name and value of the entry that came `age` entries before the newest.
    pub(super) fn entry(&self, age: usize) -> Option<(&[u8], &[u8])> {
        let entry = self.entries.get(age)?;
        entry.text.split_at_checked(entry.name_length)
    }

    /// Keeps a field and drops the oldest ones that it leaves no room for; all
    /// of them, and the field too, where it is larger than the table (RFC 7541,
    /// section 4.4).
    pub(super) fn insert(&mut self, text: &[u8], name_length: usize) {
        let size = text.len() + FIELD_OVERHEAD;
        self.evict_to(self.max_size.saturating_sub(size));
        if size <= self.max_size {
            self.size += size;
            self.entries.push_front(Entry {
                text: text.into(),
                name_length,
            });
        }
    }

    /// Sets the size that the client chose; `false` if it is more than we
    /// allow (RFC 7541, section 6.3).
    #[must_use]
    pub(super) fn resize(&mut self, max_size: usize) -> bool {
        if max_size > TABLE_SIZE {
            return false;
        }
        self.max_size = max_size;
        self.evict_to(max_size);
        true
    }

    /// Drops the oldest entries until the others count at most `size`.
    fn evict_to(&mut self, size: usize) {
        while self.size > size {
            let Some(oldest) = self.entries.pop_back() else {
                break;
            };
            self.size -= oldest.size();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::DynamicTable;

    #[test]
    fn the_oldest_entries_make_room() {
        let mut table = DynamicTable::default();
        assert!(table.resize(70));
        table.insert(b"ab", 1);
        table.insert(b"cd", 1);
        assert_eq!(table.entry(0), Some((&b"c"[..], &b"d"[..])));
        assert_eq!(table.entry(1), Some((&b"a"[..], &b"b"[..])));
        table.insert(b"efgh", 2);
        assert_eq!(table.entry(0), Some((&b"ef"[..], &b"gh"[..])));
        assert_eq!(table.entry(1), Some((&b"c"[..], &b"d"[..])));
        assert_eq!(table.entry(2), None);
    }

    #[test]
    fn an_entry_larger_than_the_table_empties_it() {
        let mut table = DynamicTable::default();
        table.insert(b"ab", 1);
        table.insert(&[0; 4096], 1);
        assert_eq!(table.entry(0), None);
        assert_eq!(table.size, 0);
    }

    #[test]
    fn the_largest_entry_that_fits_is_kept() {
        let mut table = DynamicTable::default();
        table.insert(b"ab", 1);
        table.insert(&[0; 4096 - 32], 1);
        assert!(table.entry(0).is_some());
        assert_eq!(table.entry(1), None);
        assert_eq!(table.size, 4096);
    }

    #[test]
    fn a_smaller_size_evicts_and_a_larger_one_than_allowed_is_refused() {
        let mut table = DynamicTable::default();
        table.insert(b"ab", 1);
        assert!(!table.resize(4097));
        assert!(table.entry(0).is_some());
        assert!(table.resize(33));
        assert_eq!(table.entry(0), None);
        assert!(table.resize(4096));
    }
}
