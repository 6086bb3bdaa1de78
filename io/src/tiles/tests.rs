//! Every kind of column comes back as it was written, each row once, for every number of workers.

use std::sync::atomic::AtomicUsize;

use gristmill_kernels::dtype::DType;
use gristmill_kernels::tile::{Block, Codes, Columns, Grain, Values};

use super::*;
use crate::manifest::{Role, Split};
use crate::testing::SampleDataset;
use crate::watch::{Cancel, Silent};

const ROWS: usize = 1000;

/// A column of every kind; every value follows from its row.
fn sample(grain_rows: usize) -> SampleDataset {
    let rows = || 0..ROWS;
    let small: Vec<f64> = rows().map(|row| (row % 251) as f64).collect();
    let sparse: Vec<Vec<(u32, f32)>> =
        rows().map(|row| (0..row % 4).map(|k| (10 * k as u32 + 1, row as f32)).collect()).collect();
    let codes = |levels: usize| rows().map(|row| (row * 7 % levels) as u32).collect::<Vec<u32>>();
    SampleDataset::new(grain_rows)
        .f32("y", Role::Label, rows().map(|row| row as f32).collect())
        .f64("d", Role::Feature, rows().map(|row| row as f64 / 3.0).collect())
        .codes("c8", Role::Feature, 5, &codes(5))
        .f32("a", Role::Feature, rows().map(|row| row as f32 + 0.5).collect())
        .stored("h", Role::Feature, DType::F16, 0.0, 1.0, &small)
        .stored("u", Role::Feature, DType::U16, -3.0, 0.5, &small)
        .stored("b", Role::Feature, DType::U8, 0.0, 1.0, &small)
        .f32("a2", Role::Feature, rows().map(|row| -(row as f32)).collect())
        .codes("c16", Role::Feature, 300, &codes(300))
        .codes("c32", Role::Feature, 70_000, &codes(70_000))
        .vectors("v", DType::F32, 3, &(0..3 * ROWS).map(|i| i as f64).collect::<Vec<f64>>())
        .sparse("s", 40, &sparse)
        .f32("w", Role::Weight, rows().map(|row| 1.0 + row as f32).collect())
}

/// Assert that a grain holds the rows from `first` of [`sample`], all columns.
fn assert_rows(grain: &Grain<'_>, first: usize) {
    let rows = first..first + grain.rows;
    let (Some(Values::F32(y)), Some(Values::F32(w))) = (grain.label, grain.weight) else { panic!("label or weight") };
    let [
        Block::Columns(Columns::F64(d)),
        Block::Columns(Columns::F32(a)),
        Block::Columns(Columns::F16(h)),
        Block::Columns(Columns::U16(u)),
        Block::Columns(Columns::U8(b)),
        Block::Vectors { values: Values::F32(v), width: 3 },
        Block::Codes { codes: Codes::U8(c8), levels: 5 },
        Block::Codes { codes: Codes::U16(c16), levels: 300 },
        Block::Codes { codes: Codes::U32(c32), levels: 70_000 },
        Block::Sparse { offsets, indices, values, width: 40 },
    ] = &grain.blocks[..]
    else {
        panic!("blocks: {:?}", grain.blocks);
    };
    assert_eq!(v.len(), 3 * grain.rows);
    assert_eq!(offsets.len(), grain.rows + 1);
    for (i, row) in rows.enumerate() {
        assert_eq!((y[i], w[i]), (row as f32, 1.0 + row as f32));
        assert_eq!((d[0][i], a[0][i], a[1][i]), (row as f64 / 3.0, row as f32 + 0.5, -(row as f32)));
        let small = row % 251;
        assert_eq!((h[0][i].to_f32(), u[0][i], b[0][i]), (small as f32, small as u16, small as u8));
        assert_eq!((c8[i] as usize, c16[i] as usize, c32[i] as usize), (row * 7 % 5, row * 7 % 300, row * 7 % 70_000));
        assert_eq!(v[3 * i..3 * i + 3], [3.0 * row as f32, 3.0 * row as f32 + 1.0, 3.0 * row as f32 + 2.0]);
        let entries = offsets[i] as usize..offsets[i + 1] as usize;
        let expected: Vec<u32> = (0..row % 4).map(|k| 10 * k as u32 + 1).collect();
        assert_eq!(indices[entries.clone()], expected);
        assert!(values[entries].iter().all(|&value| value == row as f32));
    }
}

/// Scan, check every row, and return the numbers of the grains that came, in the order of the workers.
fn scan(stream: &TileStream<'_>, workers: usize, pick: Pick<'_>) -> Vec<usize> {
    let mut states = vec![Vec::new(); workers];
    let report = stream
        .scan(&mut states, pick, &Cancel::new(), &Silent, |seen, number, grain| {
            assert_rows(grain, stream.grains[number].first_row as usize);
            seen.push(number);
            Ok::<(), Error>(())
        })
        .unwrap();
    let seen: Vec<usize> = states.concat();
    assert_eq!(report.grains, seen.len());
    assert_eq!(report.rows, seen.iter().map(|&number| stream.grains[number].rows as u64).sum::<u64>());
    seen
}

#[test]
fn every_row_comes_once_for_every_number_of_workers() {
    let scratch = tempfile::tempdir().unwrap();
    for (grain_rows, per_shard) in [(64, 3), (192, 2), (960, 1), (1088, 9)] {
        let dataset = sample(grain_rows).grains_per_shard(per_shard).write(&scratch.path().join("data")).unwrap();
        let grains = ROWS.div_ceil(grain_rows);
        assert_eq!(dataset.grains(Split::Train).len(), grains);
        let stream = dataset.stream(StreamOptions::new(Split::Train)).unwrap();
        for workers in [1, 2, 3, 5, 8] {
            let mut seen = scan(&stream, workers, Pick::All);
            seen.sort_unstable();
            assert_eq!(seen, (0..grains).collect::<Vec<_>>());
        }
    }
}

#[test]
fn picks_and_ranges() {
    let scratch = tempfile::tempdir().unwrap();
    let dataset = sample(64).test_rows(100).write(&scratch.path().join("data")).unwrap();
    let stream =
        dataset.stream(StreamOptions { grains: Some(vec![3, 4, 6, 8]), ..StreamOptions::new(Split::Train) }).unwrap();
    assert_eq!(scan(&stream, 1, Pick::All), [3, 4, 6, 8]);
    assert_eq!(scan(&stream, 1, Pick::Every { step: 3, offset: 1 }), [4]);
    assert_eq!(scan(&stream, 1, Pick::Every { step: 3, offset: 4 }), [4]);
    assert_eq!(scan(&stream, 1, Pick::List(&[8, 3, 8])), [8, 3, 8]);
    assert_eq!(scan(&stream, 1, Pick::List(&[])), [0; 0]);
    let bad = [Pick::List(&[2]), Pick::List(&[5]), Pick::List(&[9]), Pick::Every { step: 0, offset: 0 }];
    for pick in bad {
        let outcome = stream.scan(&mut [()], pick, &Cancel::new(), &Silent, |(), _, _| Ok::<(), Error>(()));
        assert!(matches!(outcome, Err(Error::Usage(_))), "{pick:?}");
    }
    assert_eq!(dataset.rows(Split::Test), 100);
    assert_eq!(dataset.grains(Split::Test).len(), 2);
    for grains in [Some((0..16).collect()), Some(vec![5, 4]), Some(vec![4, 4])] {
        assert!(dataset.stream(StreamOptions { grains, ..StreamOptions::new(Split::Train) }).is_err());
    }
}

#[test]
fn only_the_columns_asked_for() {
    let scratch = tempfile::tempdir().unwrap();
    let dataset = sample(192).write(&scratch.path().join("data")).unwrap();
    let options = StreamOptions { columns: Some(vec![7, 2]), label: false, ..StreamOptions::new(Split::Train) };
    let stream = dataset.stream(options).unwrap();
    assert_eq!((stream.layout().parameters, stream.layout().blocks[1].first_parameter), (6, 1));
    let check = |(): &mut (), _: usize, grain: &Grain<'_>| {
        assert!(grain.label.is_none() && grain.weight.is_some());
        assert!(matches!(&grain.blocks[..], [Block::Columns(Columns::F32(a)), Block::Codes { .. }] if a.len() == 1));
        Ok::<(), Error>(())
    };
    let report = stream.scan(&mut [()], Pick::All, &Cancel::new(), &Silent, check).unwrap();
    // f32 feature, u8 codes, f32 weight.
    assert_eq!(report.bytes, 9 * ROWS as u64);
    for columns in [vec![0], vec![99]] {
        let options = StreamOptions { columns: Some(columns), ..StreamOptions::new(Split::Train) };
        assert!(matches!(dataset.stream(options), Err(Error::Usage(_))));
    }
}

#[test]
fn the_first_error_stops_the_pass() {
    let scratch = tempfile::tempdir().unwrap();
    let dataset = sample(64).write(&scratch.path().join("data")).unwrap();
    let stream = dataset.stream(StreamOptions::new(Split::Train)).unwrap();
    for workers in [1, 4] {
        let visits = AtomicUsize::new(0);
        let fail = |(): &mut (), number: usize, _: &Grain<'_>| {
            visits.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            if number == 2 { Err(Error::Usage("two".to_string())) } else { Ok(()) }
        };
        let outcome = stream.scan(&mut vec![(); workers], Pick::All, &Cancel::new(), &Silent, fail);
        assert_eq!(outcome.unwrap_err().to_string(), "two");
        assert!(visits.into_inner() <= 16);
        let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            stream.scan(&mut vec![(); workers], Pick::All, &Cancel::new(), &Silent, |(), number, _| {
                assert!(number != 3, "three");
                Ok::<(), Error>(())
            })
        }));
        assert!(panic.is_err());
    }
    let cancel = Cancel::new();
    cancel.request();
    let outcome = stream.scan(&mut [(), ()], Pick::All, &cancel, &Silent, |(), _, _| Ok::<(), Error>(()));
    assert!(matches!(outcome, Err(Error::Interrupted)));
    assert!(matches!(
        stream.scan(&mut Vec::<()>::new(), Pick::All, &Cancel::new(), &Silent, |(), _, _| Ok::<(), Error>(())),
        Err(Error::Usage(_))
    ));
}

#[test]
fn statistics_and_dictionaries_come_back() {
    let scratch = tempfile::tempdir().unwrap();
    let dataset = sample(64).test_rows(8).write(&scratch.path().join("data")).unwrap();
    let statistics = dataset.statistics().unwrap();
    // Blocks: d, a, a2, h, u, b, v (3), c8 (5), c16 (300), c32 (70,000), s (40); column a holds 0.5, 1.5, ..., 991.5.
    assert_eq!(statistics.mean.len(), 6 + 3 + 5 + 300 + 70_000 + 40);
    assert_eq!((statistics.rows, statistics.mean[1], statistics.min[1], statistics.max[1]), (992, 496.0, 0.5, 991.5));
    let n = 992.0f64;
    assert!((statistics.m2[1] / (n * (n * n - 1.0) / 12.0) - 1.0).abs() < 1e-12);
    let label = statistics.label.unwrap();
    assert_eq!((label.mean, label.distinct.unwrap()[991]), (495.5, (991.0, 1)));
    let dictionary = dataset.dictionary(2).unwrap();
    assert_eq!(dictionary.levels[4], "l4");
    assert_eq!(dictionary.counts.iter().sum::<u64>(), 992);
    assert!(matches!(dataset.dictionary(0), Err(Error::Usage(_))));
}

/// Budgets from all down to the least there can be, both ways of reading.
#[test]
fn every_row_comes_once_whatever_the_budget() {
    let scratch = tempfile::tempdir().unwrap();
    let dataset = sample(64).grains_per_shard(5).write(&scratch.path().join("data")).unwrap();
    for (io, rings) in Io::ALL.into_iter().flat_map(|io| [(io, true), (io, false)]) {
        // Memory of our own is a little more than a map: whole pages for each grain.
        let all = dataset.stream(StreamOptions { io, ..StreamOptions::new(Split::Train) }).unwrap();
        let (total, grains) = (all.residency().resident_bytes, all.grains().len());
        for threads in [1, 2, 5] {
            let budgets = [total, total - 1, total * 2 / 3, total / 2, total / 20 * (threads as u64 + 3), 1000];
            for budget_bytes in budgets {
                let options = StreamOptions { budget_bytes, threads, io, rings, ..StreamOptions::new(Split::Train) };
                let stream = match dataset.stream(options) {
                    Ok(stream) => stream,
                    Err(error) => {
                        assert!(
                            error.to_string().contains("--memory") && (budget_bytes < total / 2 || threads > 2),
                            "{error}"
                        );
                        continue;
                    }
                };
                assert_eq!(stream.residency().streamed_bytes > 0, budget_bytes < total);
                let way = stream.way();
                assert_eq!((way.asked, way.streamed.is_some()), (io, budget_bytes < total), "{way:?}");
                assert!(io != Io::Mmap || way.streamed != Some(Io::Direct), "{way:?}");
                let own = io == Io::Direct || (io == Io::Auto && way.streamed == Some(Io::Direct));
                assert_eq!(way.resident, if own { Io::Direct } else { Io::Mmap });
                for _ in 0..3 {
                    let mut seen = scan(&stream, threads, Pick::All);
                    seen.sort_unstable();
                    assert_eq!(seen, (0..grains).collect::<Vec<_>>());
                }
                let mut seen = scan(&stream, threads, Pick::List(&[7, 1, 7, 7, 0]));
                seen.sort_unstable();
                assert_eq!(seen, [0, 1, 7, 7, 7]);
            }
        }
    }
}

/// Grains of 4 MiB, most of which do not stay: maps are read in huge pages, which neighbours share.
#[test]
fn maps_in_huge_pages_bring_every_row_and_let_go_in_order() {
    let scratch = tempfile::tempdir().unwrap();
    let (rows, grain_rows) = (20_000_000, 1_048_576 - 64);
    let values = |add: usize| (0..rows).map(|row| ((row + add) % 65_536) as f32).collect::<Vec<f32>>();
    let sample = SampleDataset::new(grain_rows).f32("y", Role::Label, values(0)).f32("x", Role::Feature, values(1));
    let dataset = sample.grains_per_shard(7).write(&scratch.path().join("data")).unwrap();
    let total = dataset.stream(StreamOptions::new(Split::Train)).unwrap().residency().resident_bytes;
    let options = StreamOptions {
        budget_bytes: total - (16 << 20),
        threads: 6,
        io: Io::Mmap,
        ..StreamOptions::new(Split::Train)
    };
    let stream = dataset.stream(options).unwrap();
    assert!(
        stream.huge_pages == mmap::reads_huge_pages() && stream.residency().resident_bytes > 0,
        "{:?}",
        stream.residency()
    );
    let sums = |pick: Pick<'_>, workers: usize| {
        let mut sums = vec![0u64; workers];
        let add = |sum: &mut u64, number: usize, grain: &Grain<'_>| {
            let (Block::Columns(Columns::F32(x)), Some(Values::F32(y))) = (&grain.blocks[0], grain.label) else {
                panic!()
            };
            let first = stream.grains[number].first_row as usize;
            assert_eq!((y[0] as usize, x[0][grain.rows - 1] as usize), (first % 65_536, (first + grain.rows) % 65_536));
            *sum += x[0].iter().map(|&value| value as u64).sum::<u64>();
            Ok::<(), Error>(())
        };
        stream.scan(&mut sums, pick, &Cancel::new(), &Silent, add).unwrap();
        sums.iter().sum::<u64>()
    };
    let expected = (1..=rows as u64).map(|row| row % 65_536).sum::<u64>();
    let some = sums(Pick::Every { step: 3, offset: 1 }, 2);
    for workers in [1, 6, 3] {
        assert_eq!(sums(Pick::All, workers), expected);
    }
    assert_eq!(sums(Pick::Every { step: 3, offset: 1 }, 1), some);
    assert!(some < expected);
}

#[test]
fn a_subset_of_columns_streams_directly() {
    let scratch = tempfile::tempdir().unwrap();
    let rows = 240_000;
    let mut sample = SampleDataset::new(20_032).f32("y", Role::Label, (0..rows).map(|row| row as f32).collect());
    for column in 0..9 {
        sample = sample.f32(
            &format!("x{column}"),
            Role::Feature,
            (0..rows).map(|row| (row * (column + 1)) as f32).collect(),
        );
    }
    let dataset = sample.write(&scratch.path().join("data")).unwrap();
    for columns in [vec![1], vec![3, 9], vec![1, 2, 3, 4, 5, 6, 7, 8]] {
        let options = |budget_bytes, (io, rings)| StreamOptions {
            columns: Some(columns.clone()),
            budget_bytes,
            io,
            rings,
            ..StreamOptions::new(Split::Train)
        };
        let total = dataset.stream(options(u64::MAX, (Io::Auto, true))).unwrap().residency().resident_bytes;
        for io in [(Io::Direct, true), (Io::Direct, false), (Io::Mmap, true)] {
            let stream = dataset.stream(options(total * 99 / 100, io)).unwrap();
            let sums = |io: &TileStream<'_>| {
                let mut sums = [vec![0.0; columns.len()]];
                let report = io.scan(&mut sums, Pick::All, &Cancel::new(), &Silent, |sums, _, grain| {
                    let Block::Columns(Columns::F32(x)) = &grain.blocks[0] else { panic!("block") };
                    for (sum, column) in sums.iter_mut().zip(x) {
                        *sum += column.iter().map(|&value| f64::from(value)).sum::<f64>();
                    }
                    Ok::<(), Error>(())
                });
                assert!(report.unwrap().read_bytes > 0);
                sums[0].clone()
            };
            let exact = |column: &usize| (0..rows).map(|row| f64::from((row * column) as f32)).sum::<f64>();
            assert_eq!(sums(&stream), columns.iter().map(exact).collect::<Vec<f64>>(), "{columns:?} {io:?}");
        }
    }
}

#[test]
fn a_file_that_changes_while_open_is_an_error() {
    for (io, rings) in [(Io::Mmap, true), (Io::Direct, true), (Io::Direct, false)] {
        for change in ["truncate", "remove", "rewrite"] {
            let scratch = tempfile::tempdir().unwrap();
            let dataset = sample(64).grains_per_shard(5).write(&scratch.path().join("data")).unwrap();
            let total = dataset.stream(StreamOptions::new(Split::Train)).unwrap().residency().resident_bytes;
            let options = StreamOptions { budget_bytes: total / 2, io, rings, ..StreamOptions::new(Split::Train) };
            let stream = dataset.stream(options).unwrap();
            let path = dataset.shards()[1].path().to_path_buf();
            match change {
                "truncate" => std::fs::File::options().write(true).open(&path).unwrap().set_len(9000).unwrap(),
                "remove" => std::fs::remove_file(&path).unwrap(),
                _ => std::fs::write(&path, vec![0; std::fs::metadata(&path).unwrap().len() as usize]).unwrap(),
            }
            let error = stream
                .scan(&mut [(), ()], Pick::All, &Cancel::new(), &Silent, |(), _, _| Ok::<(), Error>(()))
                .unwrap_err()
                .to_string();
            assert!(error.contains("train-00001.arrow") && error.contains("while in use"), "{error}");
        }
    }
}

/// The check at the start of a scan is over when the file shrinks: populate and read must see it.
#[test]
fn a_file_truncated_during_a_scan_is_an_error() {
    for (io, rings) in [(Io::Mmap, true), (Io::Direct, true), (Io::Direct, false)] {
        let scratch = tempfile::tempdir().unwrap();
        let dataset = sample(64).grains_per_shard(16).write(&scratch.path().join("data")).unwrap();
        let total = dataset.stream(StreamOptions::new(Split::Train)).unwrap().residency().resident_bytes;
        let options = StreamOptions { budget_bytes: total * 2 / 3, io, rings, ..StreamOptions::new(Split::Train) };
        let stream = dataset.stream(options).unwrap();
        let path = dataset.shards()[0].path().to_path_buf();
        let end = dataset.shards()[0].batches()[14].offset;
        // The last grains are wanted long after the first is visited; the window holds fewer than lie between.
        let error = stream
            .scan(&mut [()], Pick::All, &Cancel::new(), &Silent, |(), number, _| {
                if number == 0 {
                    std::fs::File::options().write(true).open(&path).unwrap().set_len(end).unwrap();
                }
                Ok::<(), Error>(())
            })
            .unwrap_err()
            .to_string();
        assert!(error.contains("train-00000.arrow") && error.contains("the file was truncated"), "{io:?}: {error}");
    }
}
