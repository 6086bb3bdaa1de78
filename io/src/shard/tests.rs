//! Damage: whatever happens to the bytes of a dataset, opening and reading it ends with Ok or Err, never with a panic.

use std::fs;
use std::path::{Path, PathBuf};

use crate::checksum;
use crate::error::Error;
use crate::manifest::{Kind, Role, Split};
use crate::testing::SampleDataset;
use crate::tiles::{Pick, StreamOptions};
use crate::watch::{Cancel, Silent};
use crate::{Dataset, Result};

fn write(folder: &Path) -> Dataset {
    let rows = 200;
    let sparse: Vec<Vec<(u32, f32)>> =
        (0..rows).map(|row| (0..row % 3).map(|k| (k as u32 * 5, 1.0)).collect()).collect();
    let values: Vec<f64> = (0..rows).map(f64::from).collect();
    SampleDataset::new(64)
        .f32("y", Role::Label, values.iter().map(|&value| value as f32).collect())
        .f64("x", Role::Feature, values.clone())
        .codes("c", Role::Feature, 300, &(0..rows as u32).collect::<Vec<_>>())
        .codes("d", Role::Feature, 3, &(0..rows as u32).map(|row| row % 3).collect::<Vec<_>>())
        .vectors("v", gristmill_kernels::dtype::DType::F16, 2, &[values.clone(), values].concat())
        .sparse("s", 11, &sparse)
        .test_rows(20)
        .write(folder)
        .unwrap()
}

/// Open and read all there is, as training would; the sum keeps the reads alive.
fn read_all(folder: &Path) -> Result<u64> {
    let dataset = Dataset::open(folder)?;
    let mut sum = dataset.statistics()?.rows;
    for (number, column) in dataset.manifest().columns.iter().enumerate() {
        if matches!(column.kind, Kind::Categorical { .. }) {
            sum += dataset.dictionary(number)?.counts.iter().sum::<u64>();
        }
    }
    for split in [Split::Train, Split::Test] {
        let stream = dataset.stream(StreamOptions::new(split))?;
        let report = stream.scan(&mut [0u64], Pick::All, &Cancel::new(), &Silent, |sum, _, grain| {
            for block in &grain.blocks {
                *sum += touch(block);
            }
            Ok::<(), Error>(())
        })?;
        sum += report.rows;
    }
    Ok(sum)
}

/// Index as kernels do.
fn touch(block: &gristmill_kernels::tile::Block<'_>) -> u64 {
    use gristmill_kernels::tile::{Block, Codes};
    match block {
        Block::Codes { codes, levels } => {
            let table = vec![1u64; *levels];
            match codes {
                Codes::U8(codes) => codes.iter().map(|&code| table[usize::from(code)]).sum(),
                Codes::U16(codes) => codes.iter().map(|&code| table[usize::from(code)]).sum(),
                Codes::U32(codes) => codes.iter().map(|&code| table[code as usize]).sum(),
            }
        }
        Block::Sparse { offsets, indices, values, width } => {
            let table = vec![1u64; *width];
            let row = |pair: &[i32]| {
                let entries = pair[0] as usize..pair[1] as usize;
                assert_eq!(values[entries.clone()].len(), entries.len());
                indices[entries].iter().map(|&index| table[index as usize]).sum::<u64>()
            };
            offsets.windows(2).map(row).sum()
        }
        _ => 0,
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// A generator of numbers that look random (SplitMix64).
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[test]
fn thousands_of_flipped_bits_never_panic() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path().join("data");
    drop(write(&folder));
    assert!(read_all(&folder).is_ok());
    let (mut state, mut refused) = (1, 0);
    for path in files(&folder) {
        let good = fs::read(&path).unwrap();
        let is_shard = path.file_name().unwrap().to_string_lossy().starts_with("train");
        for case in 0..if is_shard { 3000 } else { 150 } {
            let mut bad = good.clone();
            for _ in 0..1 + case % 3 {
                // Half of the flips hit the ends of the file, where schema and footer are.
                let at = random(&mut state) as usize % bad.len();
                let at = match case % 4 {
                    0 => at % bad.len().min(1200),
                    1 => bad.len() - 1 - at % bad.len().min(1200),
                    _ => at,
                };
                bad[at] ^= 1 << (random(&mut state) % 8);
            }
            fs::write(&path, &bad).unwrap();
            refused += usize::from(read_all(&folder).is_err());
        }
        fs::write(&path, &good).unwrap();
    }
    assert!(read_all(&folder).is_ok());
    assert!(refused > 1000, "only {refused} were refused");
}

#[test]
fn a_bit_that_changed_in_any_column_is_noticed_with_its_place() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path().join("data");
    let dataset = write(&folder);
    for shard in dataset.shards() {
        let good = fs::read(shard.path()).unwrap();
        for grain in 0..shard.batches().len() {
            for (number, pieces) in shard.layout(grain).unwrap().columns.iter().enumerate() {
                for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
                    let mut bad = good.clone();
                    bad[(piece.start + (piece.end - piece.start) / 2) as usize] ^= 1;
                    fs::write(shard.path(), &bad).unwrap();
                    let error = read_all(&folder).unwrap_err().to_string();
                    let column = format!("column '{}'", dataset.manifest().columns[number].name);
                    assert!(error.contains(&column), "{error}, expected {column}");
                    // Codes and offsets may be what kernels cannot take, which is said first.
                    let (checksum, at) = ("does not match its checksum", format!("byte {}", pieces[0].start));
                    let by_checksum = error.contains(checksum) && error.contains(&at);
                    assert!(by_checksum || error.contains("the stored data are damaged"), "{error}");
                }
            }
        }
        fs::write(shard.path(), &good).unwrap();
    }
    assert!(read_all(&folder).is_ok());
}

#[test]
fn a_file_that_was_copied_or_written_to_is_not_as_it_was_finished() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path().join("data");
    let path = write(&folder).shards()[0].path().to_path_buf();
    let is_as_finished = || Dataset::open(&folder).unwrap().shards()[0].is_as_finished();
    if !is_as_finished() {
        println!("skipped: no extended attributes here");
        return;
    }
    let moved = scratch.path().join("moved");
    fs::rename(&path, &moved).unwrap();
    fs::copy(&moved, &path).unwrap();
    assert!(!is_as_finished(), "a copy");
    fs::rename(&moved, &path).unwrap();
    assert!(is_as_finished(), "moved there and back");
    let content = fs::read(&path).unwrap();
    fs::write(&path, &content).unwrap();
    assert!(!is_as_finished(), "written to");
    assert!(read_all(&folder).is_ok());
}

#[test]
fn an_array_has_the_checksum_of_what_an_arrow_file_holds_of_it() {
    use arrow::array::{Array, FixedSizeListArray, Float32Array, ListArray};
    use arrow::datatypes::{Float32Type, Int32Type};
    let numbers = Float32Array::from(vec![1.0, 2.0, 3.0, 4.0]);
    let bytes = |numbers: &[f32]| numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>();
    let sum = |array: &dyn Array| checksum::of_array(&array.to_data());
    assert_eq!(sum(&numbers.slice(1, 2)), checksum::of_bytes(&bytes(&[2.0, 3.0])));
    let pairs = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]].map(|pair| Some(pair.map(Some)));
    let pairs = FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(pairs, 2);
    assert_eq!(sum(&pairs.slice(1, 1)), checksum::of_bytes(&bytes(&[3.0, 4.0])));
    let lists = [vec![7], vec![], vec![8, 9]].map(|list| Some(list.into_iter().map(Some)));
    let lists = ListArray::from_iter_primitive::<Int32Type, _, _>(lists);
    // Offsets of a slice begin with 0.
    let expected: Vec<u8> = [0, 0, 2, 8, 9].iter().flat_map(|number: &i32| number.to_le_bytes()).collect();
    assert_eq!(sum(&lists.slice(1, 2)), checksum::of_bytes(&expected));
}

#[test]
fn truncated_files_are_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path().join("data");
    drop(write(&folder));
    for path in files(&folder) {
        let good = fs::read(&path).unwrap();
        for keep in (0..good.len()).step_by(1 + good.len() / 150) {
            fs::write(&path, &good[..keep]).unwrap();
            let error = read_all(&folder).unwrap_err().to_string();
            assert!(error.contains(&*path.file_name().unwrap().to_string_lossy()), "{keep}: {error}");
        }
        let mut longer = good.clone();
        longer.push(b'\n');
        fs::write(&path, &longer).unwrap();
        assert_eq!(read_all(&folder).is_ok(), path.ends_with("manifest.json"));
        fs::write(&path, &good).unwrap();
    }
}

#[test]
fn missing_files_are_named() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path().join("data");
    assert!(Dataset::open(&folder).unwrap_err().to_string().contains("gristmill ingest"));
    drop(write(&folder));
    for path in files(&folder) {
        let away = scratch.path().join("away");
        fs::rename(&path, &away).unwrap();
        let error = Dataset::open(&folder).unwrap_err().to_string();
        assert!(error.contains(&*path.file_name().unwrap().to_string_lossy()), "{error}");
        fs::rename(&away, &path).unwrap();
    }
    assert!(Dataset::open(&folder).is_ok());
}

/// The manifest, with one text replaced by another, no longer opens; the message says `expected`.
#[track_caller]
fn assert_edited_manifest_is_refused(folder: &Path, from: &str, to: &str, expected: &str) {
    let path = folder.join("manifest.json");
    let good = fs::read_to_string(&path).unwrap();
    assert!(good.contains(from), "{from} is not in {good}");
    fs::write(&path, good.replacen(from, to, 1)).unwrap();
    let error = Dataset::open(folder).unwrap_err().to_string();
    assert!(error.contains(expected), "{error}");
    fs::write(&path, good).unwrap();
}

#[test]
fn edited_manifests_are_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path().join("data");
    drop(write(&folder));
    for (from, to, expected) in [
        ("\"format\": 1", "\"format\": 2", "this build reads format 1"),
        ("\"format\": 1", "\"formt\": 1", "names no format"),
        ("\"seed\"", "\"sead\"", "unknown field"),
        ("{", "[", "damaged"),
        ("\"grain_rows\": 64", "\"grain_rows\": 0", "grains of 0 rows"),
        ("\"grain_rows\": 64", "\"grain_rows\": 128", "cannot hold"),
        ("\"name\": \"x\"", "\"name\": \"y\"", "listed twice"),
        ("\"role\": \"feature\"", "\"role\": \"label\"", "more than one column"),
        ("\"rows\": 180", "\"rows\": 1800", "cannot hold"),
        ("train-00000.arrow", "../train-00000.arrow", "no name of a file"),
        ("\"scale\": 1.0", "\"scale\": 0.0", "scale 0"),
        ("\"scale\": 1.0", "\"scale\": 2.0", "fingerprint"),
        ("\"code_bytes\": 2", "\"code_bytes\": 3", "3 bytes"),
        ("\"levels\": 300", "\"levels\": 70000", "do not fit"),
        ("\"dtype\": \"f64\"", "\"dtype\": \"f65\"", "unknown storage type"),
    ] {
        assert_edited_manifest_is_refused(&folder, from, to, expected);
    }
}
