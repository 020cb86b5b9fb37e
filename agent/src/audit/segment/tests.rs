use crate::audit::{
    AuditError, Chain,
    folder::Folder as AuditFolder,
    testing::{Folder, Running, open, root_may},
};
use proptest::{collection::vec, prelude::any, prop_assert, prop_assert_eq, proptest};
use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt as _, chown, symlink},
};

async fn three_lines() -> Folder {
    let folder = Folder::new();
    let running = Running::start(&folder.audit());
    for reason in ["one", "two", "three"] {
        running.record(reason).await.unwrap();
    }
    running.stop();
    folder
}

fn damage(folder: &Folder) -> Option<(u64, &'static str)> {
    match open(&folder.audit()) {
        Err(AuditError::Damaged {
            offset, problem, ..
        }) => Some((offset, problem)),
        _ => None,
    }
}

fn edit(folder: &Folder, edit: impl FnOnce(String) -> String) {
    let text = fs::read_to_string(folder.segment()).unwrap();
    fs::write(folder.segment(), edit(text)).unwrap();
}

#[test]
fn the_trail_is_created_for_its_owner_alone() {
    let folder = Folder::new();
    open(&folder.audit()).unwrap();
    let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(folder.audit()), 0o700);
    assert_eq!(mode(folder.segment()), 0o600);
}

#[test]
fn wider_permissions_are_refused() {
    for (mode, of_folder) in [(0o750, true), (0o701, true), (0o640, false), (0o602, false)] {
        let folder = Folder::new();
        open(&folder.audit()).unwrap();
        let path = if of_folder {
            folder.audit()
        } else {
            folder.segment()
        };
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let Err(AuditError::TooWide {
            path: at,
            mode: found,
        }) = open(&folder.audit())
        else {
            panic!("{mode:o} was accepted");
        };
        assert_eq!((at, found), (path, mode));
    }
}

#[test]
fn what_belongs_to_another_user_is_refused() {
    if !root_may("give files away") {
        return;
    }
    for of_folder in [true, false] {
        let folder = Folder::new();
        open(&folder.audit()).unwrap();
        let path = if of_folder {
            folder.audit()
        } else {
            folder.segment()
        };
        chown(&path, Some(65_534), None).unwrap();
        assert!(matches!(
            open(&folder.audit()),
            Err(AuditError::ForeignOwner {
                uid: 65_534,
                ours: 0,
                ..
            })
        ));
    }
}

#[test]
fn two_agents_never_share_a_trail() {
    let folder = Folder::new();
    let first = open(&folder.audit()).unwrap();
    assert!(matches!(
        open(&folder.audit()),
        Err(AuditError::InUse { .. })
    ));
    drop(first);
    open(&folder.audit()).unwrap();
}

#[test]
fn links_and_folders_are_no_segments() {
    let folder = Folder::new();
    open(&folder.audit()).unwrap();
    fs::rename(folder.segment(), folder.audit().join("elsewhere")).unwrap();
    symlink("elsewhere", folder.segment()).unwrap();
    assert!(matches!(
        open(&folder.audit()),
        Err(AuditError::Io { step: "open", .. })
    ));
    fs::remove_file(folder.segment()).unwrap();
    fs::create_dir(folder.segment()).unwrap();
    assert!(matches!(
        open(&folder.audit()),
        Err(AuditError::Io { step: "open", .. })
    ));
}

#[test]
fn a_folder_that_is_a_link_is_refused() {
    let folder = Folder::new();
    fs::create_dir(folder.audit().with_file_name("elsewhere")).unwrap();
    symlink("elsewhere", folder.audit()).unwrap();
    assert!(matches!(
        open(&folder.audit()),
        Err(AuditError::Io { step: "open", .. })
    ));
}

#[tokio::test]
async fn a_trail_cut_at_any_byte_keeps_every_whole_line() {
    let folder = three_lines().await;
    let whole = fs::read(folder.segment()).unwrap();
    for length in 0..=whole.len() {
        let left = &whole[..length];
        let kept = left.iter().filter(|byte| **byte == b'\n').count() as u64;
        fs::write(folder.segment(), left).unwrap();
        let opened =
            super::Segment::open(&AuditFolder::open(&folder.audit()).unwrap(), Chain::Trail)
                .unwrap();
        assert_eq!(opened.head.seq, kept);
        let end = fs::read(folder.segment()).unwrap().len();
        assert_eq!(opened.segment.length(), end as u64);
        match opened.cut {
            None => assert_eq!(end, length),
            Some(cut) => {
                assert_eq!(
                    (cut.offset, cut.cut_bytes),
                    (end as u64, (length - end) as u64)
                );
                assert_eq!(cut.sha256, super::Digest::of(&left[end..]));
            }
        }
    }
}

#[tokio::test]
async fn a_chain_of_segments_cut_at_any_byte_goes_on() {
    let folder = Folder::new();
    let running = Running::in_pieces(&folder.audit(), 100);
    for reason in ["one", "two"] {
        running.record(reason).await.unwrap();
    }
    running.stop();
    // Each line has a segment of its own, and the third is empty.
    assert_eq!(folder.segments(Chain::Trail), [1, 2, 3]);
    let path = |number| folder.audit().join(Chain::Trail.file_name(number));
    assert_eq!(fs::read(path(3)).unwrap(), b"");
    let open_chain =
        || super::Segment::open(&AuditFolder::open(&folder.audit()).unwrap(), Chain::Trail);
    assert_eq!(open_chain().unwrap().head.seq, 2);
    fs::remove_file(path(3)).unwrap();
    let second = fs::read(path(2)).unwrap();
    for length in (0..=second.len()).rev() {
        fs::write(path(2), &second[..length]).unwrap();
        let opened = open_chain().unwrap();
        let whole = length == second.len();
        assert_eq!(opened.head.seq, if whole { 2 } else { 1 });
        assert_eq!(opened.cut.is_some(), !whole && length > 0);
    }
}

#[tokio::test]
async fn a_segment_that_does_not_follow_on_the_one_before_is_damage() {
    let folder = Folder::new();
    let running = Running::in_pieces(&folder.audit(), 100);
    for reason in ["one", "two"] {
        running.record(reason).await.unwrap();
    }
    running.stop();
    let path = |number| folder.audit().join(Chain::Trail.file_name(number));
    fs::remove_file(path(3)).unwrap();
    let first = fs::read(path(1)).unwrap();
    let (half, _) = first.split_at(50);
    let mut changed = first.clone();
    changed[30] ^= 1;
    for (content, at, problem) in [
        (half, 0, "it is half-written, and others follow"),
        (
            &changed[..],
            0,
            "it does not hold the digest of the line before",
        ),
        (b"{}\n", 0, "it is no audit record"),
    ] {
        fs::write(path(1), content).unwrap();
        assert_eq!(damage(&folder), Some((at, problem)));
    }
    // What was removed by its age is not missed, as long as a line is left.
    fs::remove_file(path(1)).unwrap();
    drop(open(&folder.audit()).unwrap());
    fs::write(path(2), b"").unwrap();
    assert_eq!(
        damage(&folder),
        Some((0, "the segment before it is missing"))
    );
}

#[tokio::test]
async fn what_others_may_reach_is_refused_in_every_segment() {
    let folder = Folder::new();
    let running = Running::in_pieces(&folder.audit(), 100);
    running.record("one").await.unwrap();
    running.stop();
    let first = folder.segment();
    fs::set_permissions(&first, Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(
        open(&folder.audit()),
        Err(AuditError::TooWide { mode: 0o644, .. })
    ));
    fs::remove_file(&first).unwrap();
    symlink("00000002.jsonl", &first).unwrap();
    assert!(matches!(
        open(&folder.audit()),
        Err(AuditError::NotAFile { .. })
    ));
}

#[tokio::test]
async fn a_cut_is_told_and_the_chain_goes_on() {
    let folder = three_lines().await;
    edit(&folder, |text| text + "{\"event\":\"issu\0\0\0");
    let running = Running::start(&folder.audit());
    running.record("four").await.unwrap();
    running.stop();
    let lines = folder.lines();
    assert_eq!(lines[3]["event"], "repaired");
    assert_eq!(lines[3]["evidence"]["cut_bytes"], 17);
    assert_eq!(lines[4]["reason"], "four");
}

#[tokio::test]
async fn a_restarted_trail_goes_on_with_its_chain() {
    let folder = three_lines().await;
    for _ in 0..2 {
        let running = Running::start(&folder.audit());
        running.record("more").await.unwrap();
        running.stop();
    }
    assert_eq!(folder.lines().len(), 5);
}

#[tokio::test]
async fn a_changed_line_at_the_end_is_damage() {
    let folder = three_lines().await;
    let start = |folder: &Folder, line: usize| {
        let text = fs::read_to_string(folder.segment()).unwrap();
        text.lines()
            .take(line)
            .map(|line| line.len() as u64 + 1)
            .sum::<u64>()
    };
    edit(&folder, |text| text.replace("\"two\"", "\"TWO\""));
    let problem = "it does not hold the digest of the line before";
    assert_eq!(damage(&folder), Some((start(&folder, 2), problem)));

    let folder = three_lines().await;
    edit(&folder, |text| {
        text.lines()
            .take(1)
            .chain(text.lines().skip(2))
            .map(|line| format!("{line}\n"))
            .collect()
    });
    let problem = "its number does not follow on the line before";
    assert_eq!(damage(&folder), Some((start(&folder, 1), problem)));

    let folder = three_lines().await;
    edit(&folder, |text| {
        text.lines()
            .skip(2)
            .map(|line| format!("{line}\n"))
            .collect()
    });
    assert_eq!(damage(&folder), Some((0, problem)));

    for junk in ["\n", "null\n", "{}\n", "{\"seq\":4}\n", "\0\0\0\n"] {
        let folder = three_lines().await;
        edit(&folder, |text| text + junk);
        assert_eq!(
            damage(&folder),
            Some((start(&folder, 3), "it is no audit record"))
        );
    }
}

#[test]
fn a_file_that_is_no_trail_is_left_alone() {
    let folder = Folder::new();
    open(&folder.audit()).unwrap();
    let foreign = vec![b'x'; super::MAX_BATCH_BYTES + 1];
    fs::write(folder.segment(), &foreign).unwrap();
    assert_eq!(
        damage(&folder),
        Some((0, "it is longer than any audit record"))
    );
    assert_eq!(fs::read(folder.segment()).unwrap(), foreign);
}

proptest! {
    #[test]
    fn no_bytes_in_the_segment_cost_a_whole_line(
        lines in 0_usize..4, at in any::<u16>(), junk in vec(any::<u8>(), 0..40),
    ) {
        let whole = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
            .block_on(async {
                let folder = three_lines().await;
                fs::read(folder.segment()).unwrap()
            });
        let mut bytes: Vec<u8> = whole.split_inclusive(|byte| *byte == b'\n').take(lines).flatten().copied().collect();
        let at = usize::from(at) % (bytes.len() + 1);
        bytes.splice(at..at, junk);
        let folder = Folder::new();
        drop(open(&folder.audit()).unwrap());
        fs::write(folder.segment(), &bytes).unwrap();
        let opened = super::Segment::open(&AuditFolder::open(&folder.audit()).unwrap(), Chain::Trail);
        let left = fs::read(folder.segment()).unwrap();
        match opened {
            Ok(opened) => {
                let end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |feed| feed + 1);
                prop_assert_eq!(&left, &bytes[..end]);
                prop_assert_eq!(opened.segment.length(), end as u64);
                prop_assert_eq!(opened.cut.is_some(), end < bytes.len());
            }
            Err(error) => {
                let damaged = matches!(error, AuditError::Damaged { .. });
                prop_assert!(damaged, "{}", error);
                prop_assert_eq!(&left, &bytes);
            }
        }
    }
}
