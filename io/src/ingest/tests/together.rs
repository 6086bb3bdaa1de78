//! Several ranks, here threads, make the two passes of one process, of every format, and fail as it does.

use std::fmt::Write;
use std::time::Duration;

use arrow::array::{Float32Array, StringArray};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;

use super::ranks::{each_of, files};
use super::*;
use crate::roles::Roles;

/// Rows of a file that is cut into several chunks of 2 MiB.
const MANY: usize = 60_000;

/// Columns that one process takes two passes for: levels that later rows bring, missing values, quotes and line feeds.
fn csv(first: usize, rows: usize) -> String {
    let mut text = String::from("id,x,gap,kind,note,side,label\n");
    for row in first..first + rows {
        let x = (row as f64 * 0.1).sin();
        let gap = if row % 7 == 3 { String::new() } else { format!("{:.3}", (row as f64).sqrt()) };
        let kind = ["a", "b", "c"][row % 3];
        let level = row / 9_000 * 10 + row % 4;
        let side = if row % 11 == 5 { "test" } else { "train" };
        let label = ["no", "yes"][row * row % 5 % 2];
        writeln!(text, "{row},{x},{gap},{kind}{level},\"said \"\"{}\"\"\n, twice\",{side},{label}", row % 5).unwrap();
    }
    text
}

fn ndjson(first: usize, rows: usize) -> String {
    let mut text = String::new();
    for row in first..first + rows {
        let x = if row % 13 == 0 { "null".into() } else { format!("{}", (row as f64 * 0.7).cos() * 1e5) };
        let vector = format!("[{},{},{}]", row % 3, row % 17, (row as f64).ln_1p());
        writeln!(text, "{{\"x\":{x},\"place\":{{\"name\":\"p{}\"}},\"v\":{vector},\"y\":{}}}", row % 997, row % 4)
            .unwrap();
    }
    text
}

fn libsvm(first: usize, rows: usize) -> String {
    let mut text = String::from("# a comment\n\n");
    for row in first..first + rows {
        let far = 100 + row * 31 % 4_000;
        writeln!(text, "{} 1:{} {}:0.5 {far}:{}", row % 2, row % 9, 2 + row % 50, row as f64 * 1e-3).unwrap();
    }
    text
}

fn parquet(path: &Path, first: usize, rows: usize) {
    let all = first..first + rows;
    let words: StringArray = all.clone().map(|row| (row % 19 > 0).then(|| format!("w{}", row * row % 301))).collect();
    let x: Float32Array = all.map(|row| (row % 5 > 0).then_some(row as f32 * 0.25)).collect();
    let y = floats((first..first + rows).map(|row| (row as f64 * 0.01).sin()));
    let columns: Vec<(&str, ArrayRef)> = vec![("w", Arc::new(words)), ("x", Arc::new(x)), ("y", y)];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(7_000)).build();
    let mut writer = ArrowWriter::try_new(File::create(path).unwrap(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

/// A folder of sources, and one for datasets.
struct Place {
    _folder: tempfile::TempDir,
    sources: PathBuf,
    data: PathBuf,
}

impl Place {
    fn new() -> Place {
        let folder = tempfile::tempdir().unwrap();
        let (sources, data) = (folder.path().join("sources"), folder.path().join("data"));
        std::fs::create_dir(&sources).unwrap();
        std::fs::create_dir(&data).unwrap();
        Place { _folder: folder, sources, data }
    }

    /// A file of several chunks, a small one, and another of several.
    fn texts(name: &str, text: impl Fn(usize, usize) -> String) -> Place {
        let place = Place::new();
        for (number, (first, rows)) in [(0, MANY), (MANY, 300), (MANY + 300, MANY / 2)].into_iter().enumerate() {
            std::fs::write(place.sources.join(format!("{number}.{name}")), text(first, rows)).unwrap();
        }
        place
    }

    fn alone(&self, options: &IngestOptions) -> Result<IngestReport> {
        ingest(&self.specs(), options, &self.data.join("alone"), &Silent, &Cancel::new())
    }

    fn specs(&self) -> Vec<String> {
        vec![self.sources.display().to_string()]
    }

    fn among(
        &self,
        size: usize,
        options: &IngestOptions,
        progress: &dyn Progress,
    ) -> Vec<Result<Option<IngestReport>>> {
        let output = self.data.join("together");
        each_of(size, |ranks| ingest_among(ranks, &self.specs(), options, &output, progress, &Cancel::new()))
    }

    /// The same bytes on any number of ranks, all of which make them.
    fn check(&self, options: &IngestOptions) {
        self.check_made(options, true);
    }

    /// The same bytes on any number of ranks, or by rank 0 alone.
    fn check_made(&self, options: &IngestOptions, by_all: bool) {
        let options = IngestOptions { force: true, ..options.clone() };
        self.alone(&options).unwrap();
        let expected = files(&self.data.join("alone"));
        for size in [2, 3, 5] {
            let reports = self.among(size, &options, &Silent);
            let report = reports[0].as_ref().unwrap().as_ref().unwrap();
            assert_eq!(report.ranks, if by_all { size } else { 1 });
            assert!(reports[1..].iter().all(|report| matches!(report, Ok(None))));
            let found = files(&self.data.join("together"));
            assert!(found.keys().eq(expected.keys()), "{:?} for {:?}", found.keys(), expected.keys());
            let other: Vec<_> = expected.iter().filter(|(name, bytes)| found[*name] != **bytes).collect();
            assert!(other.is_empty(), "{size} ranks: {:?}", other.iter().map(|(name, _)| name).collect::<Vec<_>>());
        }
        assert_eq!(std::fs::read_dir(&self.data).unwrap().count(), 2);
    }

    /// The words of one process, whatever rank finds the fault, and nothing left.
    fn check_fault(&self, size: usize, options: &IngestOptions, expected: &str) {
        let alone = self.alone(options).unwrap_err().to_string();
        assert!(alone.contains(expected), "{alone}");
        let reports = self.among(size, options, &Silent);
        assert!(reports[0].is_err(), "rank 0 hears of every fault");
        // What rank 0 finds before there is anything to share, the others only hear the end of.
        let errors = reports.into_iter().filter_map(Result::err);
        let own: Vec<_> = errors.filter(|error| !matches!(error, Error::Elsewhere { .. })).collect();
        assert!(!own.is_empty() && own.iter().all(|error| error.to_string() == alone), "{own:?}, expected {alone}");
        assert_eq!(std::fs::read_dir(&self.data).unwrap().count(), 0);
    }
}

fn options() -> IngestOptions {
    IngestOptions { threads: Some(2), grain_rows: Some(960), shard_grains: Some(15), ..IngestOptions::default() }
}

fn labelled(label: &str) -> IngestOptions {
    IngestOptions { roles: Roles { label: Some(label.into()), ..Roles::default() }, ..options() }
}

#[test]
fn csv_with_categories_missing_values_and_a_column_of_splits() {
    let place = Place::texts("csv", csv);
    let split = IngestOptions { split_column: Some("side".into()), indicator: true, ..options() };
    place.check(&IngestOptions { min_count: 3, dtype: Some(gristmill_kernels::dtype::DType::F64), ..split.clone() });
    // Everything in one shard, and hashed levels.
    place.check(&IngestOptions { shard_grains: Some(1_000), hash_bits: Some(6), ..split });
}

#[test]
fn a_share_of_rows_is_held_out_by_their_numbers() {
    let place = Place::texts("csv", csv);
    place.check(&IngestOptions { test_share: 0.03, seed: 11, ..options() });
    let place = Place::new();
    parquet(&place.sources.join("0.parquet"), 0, 40_000);
    parquet(&place.sources.join("1.parquet"), 40_000, 40_000);
    place.check(&IngestOptions { test_share: 0.3, ..options() });
}

#[test]
fn ndjson_with_nested_categories_and_vectors() {
    Place::texts("ndjson", ndjson).check(&IngestOptions { test_share: 0.5, ..options() });
}

#[test]
fn libsvm_rows_stay_sparse() {
    let place = Place::texts("libsvm", libsvm);
    place.check(&options());
    place.check(&IngestOptions { test_share: 0.1, ..options() });
}

#[test]
fn parquet_with_strings() {
    let place = Place::new();
    parquet(&place.sources.join("a.parquet"), 0, 50_000);
    parquet(&place.sources.join("b.parquet"), 50_000, 33_333);
    place.check(&options());
    let words = IngestOptions { roles: Roles { text: vec!["w".into()], ..Roles::default() }, ..options() };
    place.check(&IngestOptions { hashes: [("w".to_string(), 8)].into(), ..words.clone() });
    // 2^18 elements in each of six shards: rank 0 has no room for their statistics, and begins anew, alone.
    place.check_made(&words, false);
}

#[test]
fn compressed_files_are_shared_whole_and_rows_spill() {
    let place = Place::new();
    for part in 0..4 {
        let file = File::create(place.sources.join(format!("{part}.csv.gz"))).unwrap();
        let mut file = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
        std::io::Write::write_all(&mut file, csv(part * 20_000, 20_000).as_bytes()).unwrap();
        file.finish().unwrap();
    }
    place.check(&options());
}

#[test]
fn files_of_a_few_rows_are_shared_by_more_ranks_than_they_have_chunks() {
    let place = Place::new();
    std::fs::write(place.sources.join("a.csv"), csv(0, 5)).unwrap();
    place.check(&options());
}

#[test]
fn faults_are_told_as_one_process_tells_them() {
    let place = Place::texts("csv", csv);
    let last = place.sources.join("2.csv");
    let good = std::fs::read(&last).unwrap();
    std::fs::write(&last, [&good[..], b"1,2,3\n"].concat()).unwrap();
    place.check_fault(3, &options(), "2.csv, line 60002: expected 7 fields, found 3");
    std::fs::write(&last, [&good[..], b"1,2,infinity,a,b,train,yes\n"].concat()).unwrap();
    place.check_fault(2, &options(), "2.csv, line 60002, column 'gap': found an infinite value");
    std::fs::write(&last, [&good[..], b"1,2,3,a,b,train,\n"].concat()).unwrap();
    place.check_fault(5, &labelled("label"), "2.csv, line 60002, column 'label': the label is missing");
    std::fs::write(&last, b"id,x,gap,kinds,note,side,label\n1,2,3,a,b,train,yes\n").unwrap();
    place.check_fault(3, &options(), "2.csv, line 1: column 4 is 'kinds'");
    std::fs::write(&last, good).unwrap();
    place.check_fault(3, &labelled("nowhere"), "nowhere");
}

#[test]
fn what_only_all_ranks_together_see_is_told_by_the_first() {
    let place = Place::new();
    for part in 0..3 {
        let rows: String = (0..4).map(|row| format!("{{\"v\":[1,2],\"k\":\"{part}{row}\",\"y\":1}}\n")).collect();
        std::fs::write(place.sources.join(format!("{part}.ndjson")), rows).unwrap();
    }
    let few = IngestOptions { max_categories: 11, ..options() };
    place.check_fault(3, &few, "0.ndjson, column 'k': has more than 11 levels, the limit of --max-categories");
    std::fs::write(place.sources.join("2.ndjson"), "{\"v\":[1,2,3],\"k\":\"a\",\"y\":1}\n".repeat(4)).unwrap();
    place.check_fault(3, &options(), "2.ndjson, line 1, column 'v': found a vector of 3 numbers, expected 2");
    for part in 0..3 {
        std::fs::write(place.sources.join(format!("{part}.ndjson")), "{\"x\":1,\"side\":\"test\"}\n").unwrap();
    }
    let held_out = IngestOptions { split_column: Some("side".into()), ..options() };
    place.check_fault(3, &held_out, "all 3 rows are held out");
}

/// Takes its time, and counts.
struct Slow(AtomicUsize);

impl Progress for Slow {
    fn begin(&self, _: &str, _: Option<u64>) {}

    fn advance(&self, _: u64, _: u64) {
        self.0.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(150));
    }

    fn end(&self) {}
}

#[test]
fn a_failure_stops_the_other_ranks_soon() {
    let place = Place::new();
    // Thirty chunks or so for each of the two ranks; the second soon finds a fault.
    for part in 0..60 {
        let text = if part == 31 { "x,y\n1,oops,2\n".into() } else { format!("x,y\n{part},1\n") };
        std::fs::write(place.sources.join(format!("{part:02}.csv")), text).unwrap();
    }
    let slow = Slow(AtomicUsize::new(0));
    let reports = place.among(2, &options(), &slow);
    assert!(matches!(&reports[0], Err(Error::Elsewhere { rank: 1 })), "{:?}", reports[0]);
    let found = reports[1].as_ref().unwrap_err().to_string();
    assert!(found.contains("31.csv, line 2: expected 2 fields, found 3"), "{found}");
    assert!(slow.0.into_inner() < 15, "the first rank reads on");
}
