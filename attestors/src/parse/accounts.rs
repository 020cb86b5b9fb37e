//! `/etc/passwd` and `/etc/group` (`passwd(5)`, `group(5)`).

use super::{lines, number};
use crate::selector::is_name;
use std::collections::HashMap;

/// The name of each numeric ID in `bytes`, which is either file: both have the name first and
/// the ID third.
///
/// Where several lines have the same ID the first one counts, as in
/// `getpwuid(3)`. Comments, NIS lines (`+`, `-`) and lines that cannot be read
/// are left out, which leaves their IDs without name.
#[must_use]
pub fn names_by_id(bytes: &[u8]) -> HashMap<u32, &str> {
    let mut names = HashMap::new();
    for (id, name) in lines(bytes).filter_map(account) {
        names.entry(id).or_insert(name);
    }
    names
}

fn account(line: &[u8]) -> Option<(u32, &str)> {
    let mut fields = line.split(|&byte| byte == b':');
    let name = str::from_utf8(fields.next()?).ok()?;
    let id = number(fields.nth(1)?)?;
    let usable = is_name(name) && !name.starts_with(['#', '+', '-']) && id != u32::MAX;
    usable.then_some((id, name))
}

#[cfg(test)]
mod tests {
    use super::names_by_id;

    #[test]
    fn the_first_name_of_an_id_counts() {
        let names = names_by_id(b"root:x:0:0::/:/bin/sh\ntoor:x:0:0::/:/bin/sh\na:x:1000:7:\n");
        assert_eq!(names.get(&0), Some(&"root"));
        assert_eq!(names.get(&1000), Some(&"a"));
    }

    #[test]
    fn group_files_read_alike() {
        assert_eq!(
            names_by_id(b"docker:x:998:a,b\n").get(&998),
            Some(&"docker")
        );
    }

    #[test]
    fn lines_without_a_plain_name_and_number_are_left_out() {
        let text = b"#a:x:1:\n+nis:x:2:\n-b:x:3:\n:x:4:\nc:x:\nd:x:-5:\ne:x:6x:\nf\n\xff:x:7:\n\
            g:x:4294967295:\nh\x1b:x:8:\n+\n";
        assert!(names_by_id(text).is_empty());
    }
}
