//! Nothing but data, options and seed decides what is stored.

use super::*;

const ROWS: usize = 20_000;

/// Rows sorted by label, with missing values and enough levels to matter.
fn source() -> Memory {
    let levels: Vec<String> = (0..ROWS).map(|i| format!("level {}", (i * 31) % 97)).collect();
    let level = levels.iter().enumerate().map(|(i, text)| (i % 11 != 5).then_some(text.as_str()));
    let x = (0..ROWS).map(|i| (i % 13 != 7).then_some((i as f64 * 0.37).sin() * 1e3));
    Memory::new(
        vec![
            ("row", floats((0..ROWS).map(|i| i as f64))),
            ("x", Arc::new(x.collect::<arrow::array::Float64Array>())),
            ("level", texts(level)),
            ("y", floats((0..ROWS).map(|i| f64::from(i >= ROWS / 2)))),
        ],
        333,
    )
}

/// Rows of so many columns that a shuffle packs them, some of the values missing.
fn wide() -> Memory {
    let column = |number: usize| -> ArrayRef {
        let values = (0..1_000).map(|i| (!number.is_multiple_of(9) || i % 13 > 0).then_some((i * number % 101) as f64));
        Arc::new(values.collect::<arrow::array::Float64Array>())
    };
    let names: Vec<String> = (0..packed::COLUMNS_MIN).map(|number| format!("x{number}")).collect();
    let numbers = names.iter().enumerate().map(|(number, name)| (name.as_str(), column(number)));
    let levels: Vec<String> = (0..1_000).map(|i| format!("level {}", i % 7)).collect();
    let level = ("level", texts(levels.iter().map(|text| Some(text.as_str()))));
    let y = ("y", floats((0..1_000).map(|i| f64::from(i % 3 == 0))));
    Memory::new(numbers.chain([level, y]).collect(), 333)
}

fn options(threads: usize, memory: u64, shuffle: bool) -> IngestOptions {
    IngestOptions {
        threads: Some(threads),
        memory: Some(memory),
        shuffle,
        test_share: 0.25,
        seed: 11,
        grain_rows: Some(960),
        shard_grains: Some(3),
        indicator: true,
        ..IngestOptions::default()
    }
}

#[test]
fn threads_and_memory_do_not_matter() {
    let folder = tempfile::tempdir().unwrap();
    for (source, shuffle) in [(source as fn() -> Memory, false), (source, true), (wide, true)] {
        let mut seen = Vec::new();
        for (threads, memory) in [(1, 1 << 30), (2, 1 << 30), (5, 1 << 30), (1, 400_000), (2, 100_000), (5, 4_000_000)]
        {
            let output = folder.path().join("data");
            let options = IngestOptions { force: true, ..options(threads, memory, shuffle) };
            let report = ingested(&source(), &options, &output).unwrap();
            assert_eq!(report.spilled_bytes > 0, memory < 1_000_000, "{threads} threads, {memory} bytes");
            seen.push(report.manifest.fingerprint);
        }
        assert!(seen.iter().all(|fingerprint| *fingerprint == seen[0]), "shuffle {shuffle}: {seen:?}");
    }
}

#[test]
fn every_row_is_in_one_split_and_the_share_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("data");
    let report = ingested(&source(), &options(2, 1 << 30, false), &output).unwrap();
    let rows = |split| real(&stored(&output, &report.manifest, split).unwrap(), &report.manifest, "row");
    let (train, test) = (rows(Split::Train), rows(Split::Test));
    assert!(train.windows(2).all(|pair| pair[0] < pair[1]), "without a shuffle rows keep their order");
    let mut all: Vec<f64> = train.iter().chain(&test).copied().collect();
    all.sort_unstable_by(f64::total_cmp);
    assert_eq!(all, (0..ROWS).map(|i| i as f64).collect::<Vec<_>>());
    // Binomial: 5,000 with a standard deviation of 61; 5 of them.
    assert!(test.len().abs_diff(5_000) < 306, "{}", test.len());
    assert_eq!((report.train_rows, report.test_rows), (train.len() as u64, test.len() as u64));
    // Every shard but the last of a split has three grains.
    let shards: Vec<_> = report.manifest.shards.iter().filter(|shard| shard.split == Split::Train).collect();
    assert!(shards[..shards.len() - 1].iter().all(|shard| (shard.grains, shard.rows) == (3, 2880)));
}

#[test]
fn a_shuffle_is_a_permutation_that_mixes_every_grain() {
    let folder = tempfile::tempdir().unwrap();
    for memory in [1 << 30, 200_000] {
        let output = folder.path().join(memory.to_string());
        let report = ingested(&source(), &options(2, memory, true), &output).unwrap();
        let train = stored(&output, &report.manifest, Split::Train).unwrap();
        let test = stored(&output, &report.manifest, Split::Test).unwrap();
        let rows = real(&train, &report.manifest, "row");
        let mut all: Vec<f64> = rows.iter().copied().chain(real(&test, &report.manifest, "row")).collect();
        all.sort_unstable_by(f64::total_cmp);
        assert_eq!(all, (0..ROWS).map(|i| i as f64).collect::<Vec<_>>());
        // Columns move together.
        let labels = real(&train, &report.manifest, "y");
        assert!(rows.iter().zip(&labels).all(|(&row, &y)| f64::from(row >= (ROWS / 2) as f64) == y));
        // 960 rows of a sorted half-and-half label: 480 ones with a standard deviation of 15.5; 5 of them.
        for grain in labels.chunks_exact(960) {
            let ones: f64 = grain.iter().sum();
            assert!((ones - 480.0).abs() < 78.0, "{ones}");
        }
        // Neighbours are unrelated: the correlation of successive rows is 0 with a standard deviation of 1 / sqrt(n).
        let n = rows.len() as f64;
        let mean = rows.iter().sum::<f64>() / n;
        let covariance: f64 = rows.windows(2).map(|pair| (pair[0] - mean) * (pair[1] - mean)).sum::<f64>();
        let variance: f64 = rows.iter().map(|row| (row - mean) * (row - mean)).sum();
        assert!((covariance / variance).abs() < 5.0 / n.sqrt(), "{}", covariance / variance);
    }
}

#[test]
fn another_seed_is_another_split_and_order() {
    let folder = tempfile::tempdir().unwrap();
    let first = ingested(&source(), &options(2, 1 << 30, true), &folder.path().join("a")).unwrap();
    let other = IngestOptions { seed: 12, ..options(2, 1 << 30, true) };
    let second = ingested(&source(), &other, &folder.path().join("b")).unwrap();
    assert_ne!(first.manifest.fingerprint, second.manifest.fingerprint);
    assert_ne!(first.test_rows, second.test_rows);
}
