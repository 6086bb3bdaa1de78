//! Pages that cannot be read when they are touched, long after they were populated: an error with file and offset, and the
//! process lives.

use gristmill_kernels::tile::Values;

use super::*;
use crate::manifest::{Role, Split};
use crate::testing::SampleDataset;
use crate::watch::{Cancel, Silent};

const GRAIN_ROWS: usize = 20_032;
const GRAINS: usize = 6;

fn dataset(folder: &std::path::Path) -> Dataset {
    let rows = GRAIN_ROWS * GRAINS;
    let x = (0..rows).map(|row| row as f32).collect();
    let sample = SampleDataset::new(GRAIN_ROWS).f32("x", Role::Feature, x).f32("y", Role::Label, vec![1.0; rows]);
    sample.grains_per_shard(GRAINS).write(&folder.join("data")).unwrap()
}

/// Adds up labels; at grain `at` the shard is cut off `into` bytes behind the grain's beginning, before its labels are
/// read. The message of the error, and the offset of the cut.
fn scan_with_cut(io: Io, at: usize, into: u64, passes: usize) -> (String, u64) {
    let scratch = tempfile::tempdir().unwrap();
    let dataset = dataset(scratch.path());
    let stream = dataset.stream(StreamOptions { io, ..StreamOptions::new(Split::Train) }).unwrap();
    let shard = &dataset.shards()[0];
    let cut = shard.batches()[at].offset + into;
    for pass in 0.. {
        let scanned = stream.scan(&mut [0.0], Pick::All, &Cancel::new(), &Silent, |sum, number, grain| {
            if number == at && pass == passes {
                std::fs::File::options().write(true).open(shard.path()).unwrap().set_len(cut).unwrap();
            }
            let Some(Values::F32(label)) = grain.label else { panic!("label") };
            *sum += label.iter().sum::<f32>();
            Ok::<(), Error>(())
        });
        match scanned {
            Ok(report) => assert!(pass < passes && report.grains == GRAINS),
            Err(error) => return (error.to_string(), cut),
        }
    }
    unreachable!("passes go on until one fails")
}

#[test]
fn a_file_truncated_between_populate_and_touch_is_an_error_with_its_offset() {
    // In the first pass, and in one whose views are at hand; cut at a page and inside of one.
    for (passes, into) in [(0, 4096), (2, 4096), (2, 70_001), (1, 0)] {
        let (error, cut) = scan_with_cut(Io::Mmap, 3, into, passes);
        assert!(error.contains("train-00000.arrow") && error.contains("the file was truncated"), "{error}");
        assert!(error.contains(&format!("now {cut}")), "{error}");
        let byte = error.split_once(", byte ").and_then(|(_, rest)| rest.split(':').next()?.parse::<u64>().ok());
        // The first page behind the cut that a label lies in.
        assert!(byte.is_some_and(|byte| byte >= cut && byte < cut + 200_000), "{error}");
    }
}

#[test]
fn a_file_truncated_inside_its_last_page_is_an_error_although_nothing_faults() {
    let scratch = tempfile::tempdir().unwrap();
    let dataset = dataset(scratch.path());
    let end = dataset.shards()[0].batches()[GRAINS - 1].end();
    drop(dataset);
    for io in [Io::Mmap, Io::Direct] {
        let offset = self::dataset(scratch.path()).shards()[0].batches()[5].offset;
        let (error, _) = scan_with_cut(io, 5, end - offset - 8, 1);
        assert!(error.contains("train-00000.arrow") && error.contains("the file was truncated"), "{io:?}: {error}");
    }
}

#[test]
fn memory_of_our_own_outlives_the_file_but_the_pass_does_not_count() {
    let (error, cut) = scan_with_cut(Io::Direct, 3, 4096, 1);
    assert!(error.contains("the file was truncated") && error.contains(&format!("now {cut}")), "{error}");
}

#[test]
fn a_fault_stays_with_its_map() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path().join("data");
    let dataset = dataset(scratch.path());
    let (shard, whole) = (&dataset.shards()[0], std::fs::read(dataset.shards()[0].path()).unwrap());
    let map = shard.map().unwrap();
    map.populate(0..map.len()).unwrap();
    let file = std::fs::File::options().write(true).open(shard.path()).unwrap();
    file.set_len(4096).unwrap();
    let bytes = map.buffer();
    assert_eq!(bytes[8192], 0, "zeros stand where nothing can be read");
    assert!(shard.check_pages().unwrap_err().to_string().contains("byte 8192"));
    // Put back, it is still not to be trusted by who has seen zeros; a new map is.
    drop(file);
    std::fs::write(shard.path(), &whole).unwrap();
    assert!(shard.check_pages().unwrap_err().to_string().contains("cannot read"));
    let again = Dataset::open(&folder).unwrap();
    let fresh = again.shards()[0].map().unwrap();
    assert_eq!(fresh.buffer().as_slice(), whole);
    again.shards()[0].check_pages().unwrap();
}
