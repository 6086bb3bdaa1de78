//! Several ranks, here threads, make the dataset of one process, or none at all.

use std::collections::BTreeMap;
use std::sync::{Barrier, Mutex};

use arrow::array::{Float32Array, Int32Array};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;

use super::*;
use crate::ingest::company::Company;
use crate::ingest::moments::Moments;
use crate::ingest::share::Share;
use crate::roles::Roles;

const ROWS: usize = 20_000;

/// What ranks lay down for each other.
struct Table {
    words: Mutex<Vec<Vec<u8>>>,
    met: Barrier,
}

struct Member<'a> {
    table: &'a Table,
    rank: usize,
    size: usize,
}

impl Company for Member<'_> {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn all_gather(&self, own: &[u8]) -> Result<Vec<Vec<u8>>> {
        self.table.words.lock().unwrap()[self.rank] = own.to_vec();
        self.table.met.wait();
        let all = self.table.words.lock().unwrap().clone();
        self.table.met.wait();
        Ok(all)
    }

    fn gather(&self, own: &[u8]) -> Result<Vec<Vec<u8>>> {
        let all = self.all_gather(own)?;
        Ok(if self.rank == 0 { all } else { Vec::new() })
    }
}

/// What each of `size` ranks comes to; `source` and `cancel` are those of a rank.
fn among(
    size: usize,
    source: impl Fn(usize) -> PathBuf + Sync,
    cancel: impl Fn(usize) -> Cancel + Sync,
    options: &IngestOptions,
    output: &Path,
) -> Vec<Result<Option<IngestReport>>> {
    let sources = |rank| vec![source(rank).display().to_string()];
    each_of(size, |ranks| {
        let rank = ranks.rank();
        ingest_among(ranks, &sources(rank), options, output, &Silent, &cancel(rank))
    })
}

/// What each of `size` ranks makes of `work`.
pub(super) fn each_of<T: Send>(size: usize, work: impl Fn(&Ranks<'_>) -> T + Sync) -> Vec<T> {
    let table = Table { words: Mutex::new(vec![Vec::new(); size]), met: Barrier::new(size) };
    let one = |rank| {
        let member = Member { table: &table, rank, size };
        work(&Ranks::new(&member, 1 + rank % 2, 256 << 20))
    };
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..size).map(|rank| scope.spawn(move || one(rank))).collect();
        all.into_iter().map(|rank| rank.join().unwrap()).collect()
    })
}

fn write(path: &Path, group: usize, odd: Option<f32>) {
    let wave = |step: f64| (0..ROWS).map(move |row| (row as f64 * step).sin() as f32);
    let value = |(row, x)| odd.filter(|_| row == ROWS - 3).unwrap_or(x);
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("a", Arc::new(Float32Array::from_iter_values(wave(0.1).enumerate().map(value)))),
        ("b", Arc::new(Float32Array::from_iter_values(wave(0.01).map(|x| x * 1e6)))),
        ("c", Arc::new(Int32Array::from_iter_values((0..ROWS as i32).map(|row| row * 997 % 251)))),
        ("y", Arc::new(Int32Array::from_iter_values((0..ROWS as i32).map(|row| row % 3)))),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(group)).build();
    let mut writer = ArrowWriter::try_new(File::create(path).unwrap(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

fn options() -> IngestOptions {
    IngestOptions {
        threads: Some(2),
        grain_rows: Some(960),
        shard_grains: Some(3),
        roles: Roles { label: Some("y".into()), ..Roles::default() },
        ..IngestOptions::default()
    }
}

pub(super) fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    entries.map(|e| (e.file_name().to_string_lossy().into_owned(), std::fs::read(e.path()).unwrap())).collect()
}

#[test]
fn ranks_make_the_bytes_of_one_process() {
    let folder = tempfile::tempdir().unwrap();
    let (path, alone, together) = (folder.path().join("x.parquet"), folder.path().join("1"), folder.path().join("n"));
    // Row groups that end inside shards, inside grains, with shards; parts larger than what a rank has to make.
    for group in [1_111, 2_880, 7_000, ROWS] {
        write(&path, group, None);
        let options = IngestOptions { force: true, ..options() };
        ingest(&[path.display().to_string()], &options, &alone, &Silent, &Cancel::new()).unwrap();
        let expected = files(&alone);
        assert_eq!(expected.len(), 7 + 2, "seven shards, statistics and manifest");
        // More ranks than shards: some have nothing to do.
        for size in [2, 3, 9] {
            let reports = among(size, |_| path.clone(), |_| Cancel::new(), &options, &together);
            assert_eq!(reports[0].as_ref().unwrap().as_ref().unwrap().ranks, size, "row groups of {group}");
            assert!(reports[1..].iter().all(|report| matches!(report, Ok(None))));
            assert!(files(&together) == expected, "row groups of {group}, {size} ranks");
        }
    }
}

#[test]
fn rank_0_does_alone_what_cannot_be_shared() {
    let folder = tempfile::tempdir().unwrap();
    let (path, other) = (folder.path().join("x.parquet"), folder.path().join("other.parquet"));
    write(&path, 3_000, None);
    write(&other, 2_999, None);
    let nowhere = folder.path().join("nowhere.parquet");
    let one_shard = IngestOptions { shard_grains: Some(100), ..options() };
    let shuffled = IngestOptions { shuffle: true, ..options() };
    for (number, (theirs, options)) in
        [(&path, &one_shard), (&path, &shuffled), (&nowhere, &options()), (&other, &options())].into_iter().enumerate()
    {
        let (alone, together) = (folder.path().join(format!("1-{number}")), folder.path().join(format!("n-{number}")));
        ingest(&[path.display().to_string()], options, &alone, &Silent, &Cancel::new()).unwrap();
        let source = |rank: usize| if rank == 2 { theirs.clone() } else { path.clone() };
        let reports = among(3, source, |_| Cancel::new(), options, &together);
        assert_eq!(reports[0].as_ref().unwrap().as_ref().unwrap().ranks, 1, "case {number}");
        assert!(files(&together) == files(&alone), "case {number}");
    }
}

#[test]
fn rows_that_are_not_as_promised_take_two_passes() {
    let folder = tempfile::tempdir().unwrap();
    let (path, alone, together) = (folder.path().join("x.parquet"), folder.path().join("1"), folder.path().join("n"));
    // A value that is missing, in a row of the last rank; footers do not tell of it.
    write(&path, 3_000, Some(f32::NAN));
    ingest(&[path.display().to_string()], &options(), &alone, &Silent, &Cancel::new()).unwrap();
    let reports = among(3, |_| path.clone(), |_| Cancel::new(), &options(), &together);
    // All that were there for the one pass are there for the two.
    assert_eq!(reports[0].as_ref().unwrap().as_ref().unwrap().ranks, 3);
    assert!(files(&together) == files(&alone));
}

#[test]
fn a_fault_on_any_rank_ends_all_and_leaves_the_output_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let (path, output) = (folder.path().join("x.parquet"), folder.path().join("data"));
    write(&path, 3_000, None);
    ingest(&[path.display().to_string()], &options(), &output, &Silent, &Cancel::new()).unwrap();
    let before = files(&output);
    let again = IngestOptions { force: true, seed: 7, ..options() };
    for failing in 0..3 {
        let stopped = |rank| {
            let cancel = Cancel::new();
            if rank == failing {
                cancel.request();
            }
            cancel
        };
        let reports = among(3, |_| path.clone(), stopped, &again, &output);
        assert!(matches!(reports[failing], Err(Error::Interrupted)), "{:?}", reports[failing]);
        assert!(failing == 0 || matches!(reports[0], Err(Error::Elsewhere { rank }) if rank == failing));
        assert!(files(&output) == before, "rank {failing}");
        let left = std::fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(left, 2, "the source and the old dataset, and nothing else");
    }
    // An output that exists is rank 0's to find; the others hear that there is nothing to do.
    let reports = among(2, |_| path.clone(), |_| Cancel::new(), &options(), &output);
    assert!(matches!(&reports[0], Err(Error::Usage(message)) if message.contains("exists already")));
    assert!(matches!(reports[1], Ok(None)));
}

#[test]
fn a_share_arrives_as_it_was_sent_or_not_at_all() {
    let moments = Moments { count: 3, mean: 0.1, m2: f64::MIN_POSITIVE, min: -0.0, max: f64::INFINITY, nonzero: 2 };
    let share = Share::sample(moments);
    let bytes = share.to_bytes();
    let found = Share::of_bytes(&bytes).unwrap();
    assert_eq!(format!("{found:?}"), format!("{share:?}"));
    assert!((0..bytes.len()).all(|length| Share::of_bytes(&bytes[..length]).is_none()));
    assert!(Share::of_bytes(&[&bytes[..], &[0; 8]].concat()).is_none());
}
