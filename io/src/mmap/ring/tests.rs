//! Parts arrive where they belong; an early end and a bad file are told; nothing stays in flight.

use std::os::unix::fs::{FileExt, OpenOptionsExt};

use super::*;
use crate::mmap::PAGE;

/// A file of numbered words, and a ring; none where the kernel has none.
fn file(bytes: usize) -> (tempfile::TempDir, Arc<File>, Option<Ring>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let content: Vec<u8> = (0..bytes.div_ceil(4) as u32).flat_map(u32::to_le_bytes).collect();
    std::fs::write(&path, &content[..bytes]).unwrap();
    let flags = rustix::fs::OFlags::DIRECT.bits() as i32;
    let direct = File::options().read(true).custom_flags(flags).open(&path);
    let ring = Ring::new();
    if ring.is_none() {
        println!("skipped: the kernel has no io_uring here");
    }
    (folder, Arc::new(direct.or_else(|_| File::open(&path)).unwrap()), ring)
}

fn part(file: Range<u64>, end: u64, at: usize) -> Part {
    Part { needed: (end.min(file.end) - file.start) as usize, file, at }
}

#[test]
fn parts_of_many_transfers_arrive_where_they_belong() {
    let bytes = (9 << 20) + 12_345;
    let (_folder, file, Some(mut ring)) = file(bytes) else { return };
    let (page, end) = (PAGE as u64, bytes as u64);
    let last = end.next_multiple_of(page);
    let mut begun = 0;
    let plans: Vec<Vec<Part>> = (0..7_u64)
        .map(|key| {
            let first = part(key * page..(key + 300) * page, end, 0);
            let second = part(last - (key + 1) * page..last, end, 300 * PAGE);
            vec![first, second]
        })
        .collect();
    let mut seen = Vec::new();
    while seen.len() < plans.len() {
        while begun < plans.len() && ring.has_room() {
            let block = Arc::new(Block::new(400 * PAGE).unwrap());
            ring.begin(begun, &file, block, &plans[begun]).unwrap();
            begun += 1;
        }
        let (key, block, outcome) = ring.wait().unwrap().expect("a transfer");
        outcome.unwrap();
        let found = block.buffer();
        for part in &plans[key] {
            let mut expected = vec![0; part.needed];
            let plain = File::open(_folder.path().join("file")).unwrap();
            plain.read_exact_at(&mut expected, part.file.start).unwrap();
            assert!(found[part.at..part.at + part.needed] == expected[..], "transfer {key}");
        }
        seen.push(key);
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..7).collect::<Vec<_>>());
    assert!(ring.wait().unwrap().is_none());
}

#[test]
fn an_early_end_and_a_bad_file_are_told() {
    let (_folder, file, Some(mut ring)) = file(3 << 20) else { return };
    let block = || Arc::new(Block::new(8 << 20).unwrap());
    let range = (2 << 20)..(6 << 20);
    ring.begin(1, &file, block(), &[part(range, 6 << 20, 0)]).unwrap();
    let (_, block_back, outcome) = ring.wait().unwrap().expect("a transfer");
    let failure = outcome.unwrap_err();
    assert_eq!((failure.source.kind(), failure.offset), (io::ErrorKind::UnexpectedEof, 3 << 20));
    // A folder is no file to read.
    let folder = Arc::new(File::open(_folder.path()).unwrap());
    ring.begin(2, &folder, block_back, &[part(0..4096, 4096, 0)]).unwrap();
    let failure = ring.wait().unwrap().expect("a transfer").2.unwrap_err();
    assert_eq!(failure.source.raw_os_error(), Some(libc::EISDIR));
    // A block that somebody looks at, and one that is too small.
    let shared = block();
    let other = Arc::clone(&shared);
    assert!(ring.begin(3, &file, shared, &[part(0..4096, 4096, 0)]).is_err());
    assert!(ring.begin(4, &file, other, &[part(0..(9 << 20), 9 << 20, 0)]).is_err());
}

#[test]
fn a_ring_that_goes_away_waits_for_what_is_in_flight() {
    let (_folder, file, Some(mut ring)) = file(8 << 20) else { return };
    let block = Arc::new(Block::new(8 << 20).unwrap());
    ring.begin(0, &file, block, &[part(0..(8 << 20), 8 << 20, 0)]).unwrap();
    ring.enter().unwrap();
    drop(ring);
}
