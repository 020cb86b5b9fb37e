use super::Reader;
use crate::audit::{
    AuditError, Chain, Position,
    segment::MAX_LINE_BYTES,
    testing::{Folder, Running},
};
use std::fs;

async fn recorded(count: usize, segment_bytes: u64) -> Folder {
    let folder = Folder::new();
    let running = Running::in_pieces(&folder.audit(), segment_bytes);
    for n in 0..count {
        running.record(format!("{n}")).await.unwrap();
    }
    running.stop();
    folder
}

fn offsets(reader: &Reader, from: u32) -> Vec<(u32, u64, u64)> {
    let mut lines = reader.lines_from(Chain::Trail, from);
    let mut found = Vec::new();
    while let Some(line) = lines.next_line().unwrap() {
        found.push((line.segment.number, line.offset, line.link().unwrap().seq));
    }
    found
}

#[tokio::test]
async fn lines_come_in_their_order_with_their_places() {
    let folder = recorded(20, 500).await;
    let reader = Reader::open(&folder.audit()).unwrap();
    let lines = offsets(&reader, 0);
    assert_eq!(lines.len(), 20);
    for (index, (number, offset, seq)) in lines.iter().enumerate() {
        assert_eq!(*seq, index as u64 + 1);
        let text = fs::read(folder.audit().join(Chain::Trail.file_name(*number))).unwrap();
        let start = usize::try_from(*offset).unwrap();
        assert!(text[start..].starts_with(b"{"));
        assert!(start == 0 || text[start - 1] == b'\n');
    }
    let last = reader.segments(Chain::Trail).next_back().unwrap().number;
    let part = offsets(&reader, 3);
    assert_eq!(part[0].0, 3);
    assert!(last > 3 && part.len() < 20);
    Reader::open(&folder.audit().join("none")).unwrap_err();
}

#[tokio::test]
async fn a_line_without_an_end_is_told() {
    let folder = recorded(2, 1 << 20).await;
    let text = fs::read(folder.segment()).unwrap();
    for length in 0..=text.len() {
        fs::write(folder.segment(), &text[..length]).unwrap();
        let mut lines = Reader::open(&folder.audit()).unwrap().lines(Chain::Trail);
        let (mut whole, mut half) = (0, 0);
        while let Some(line) = lines.next_line().unwrap() {
            if line.is_whole {
                whole += 1;
            } else {
                half += 1;
            }
        }
        let feeds = text[..length].iter().filter(|byte| **byte == b'\n').count();
        let torn = length > 0 && text[length - 1] != b'\n';
        assert_eq!((whole, half), (feeds, usize::from(torn)));
    }
}

#[tokio::test]
async fn a_line_longer_than_any_is_an_error_and_not_memory() {
    let folder = recorded(1, 1 << 20).await;
    let mut text = fs::read(folder.segment()).unwrap();
    let whole = text.len();
    text.extend(vec![b'x'; MAX_LINE_BYTES + 1]);
    fs::write(folder.segment(), &text).unwrap();
    let mut lines = Reader::open(&folder.audit()).unwrap().lines(Chain::Trail);
    assert!(lines.next_line().unwrap().is_some());
    assert!(matches!(
        lines.next_line(),
        Err(AuditError::Damaged { offset, .. }) if offset == whole as u64
    ));
    assert!(lines.next_line().unwrap().is_none());
}

#[tokio::test]
async fn what_is_not_durable_yet_can_be_left_out() {
    let folder = recorded(20, 500).await;
    let reader = Reader::open(&folder.audit()).unwrap();
    let all = offsets(&reader, 0);
    let (segment, offset, seq) = all[10];
    let reader = reader.up_to(Chain::Trail, Position { segment, offset });
    let kept = offsets(&reader, 0);
    assert_eq!(kept.len() as u64, seq - 1);
    assert_eq!(kept[..], all[..10]);
}

#[tokio::test]
async fn a_segment_that_is_removed_meanwhile_is_passed_over() {
    let folder = recorded(6, 100).await;
    let reader = Reader::open(&folder.audit()).unwrap();
    fs::remove_file(folder.segment()).unwrap();
    assert_eq!(offsets(&reader, 0).len(), 5);
}
