//! `gristmill verify`: is a dataset what its manifest says, byte for byte and value for value?
//!
//! Every file's length and checksum, every footer and message, every count; codes, indices and numbers of every grain. All
//! bad files are found and named, not only the first. Cost: two reads of the dataset, the second from the page cache
//! where it fits.

use std::path::Path;

use crate::checksum;
use crate::dataset::{Dataset, MANIFEST, read_manifest};
use crate::error::{Error, Result};
use crate::manifest::{FileEntry, Kind};
use crate::shard::reader::Check;
use crate::watch::{Cancel, Progress};

/// What a verification found.
#[derive(Debug, Default)]
pub struct VerifyReport {
    /// Files that were checked, the manifest included.
    pub files: usize,
    /// Bytes that were checked.
    pub bytes: u64,
    /// Rows that were checked.
    pub rows: u64,
    /// What is wrong, at least one entry for each bad file; empty: all is well.
    pub faults: Vec<VerifyFault>,
}

/// A file that is not what it should be.
#[derive(Debug)]
pub struct VerifyFault {
    /// Its name inside the folder.
    pub file: String,
    /// What is wrong.
    pub error: Error,
}

/// Verify the dataset in `folder`.
///
/// # Errors
/// [`Error::Usage`] or [`Error::Data`] when there is no manifest to compare with, [`Error::Interrupted`]. Faults of other files are in
/// the report.
pub fn verify(folder: &Path, progress: &dyn Progress, cancel: &Cancel) -> Result<VerifyReport> {
    let manifest = read_manifest(folder)?;
    let files: Vec<&FileEntry> = manifest.files().collect();
    let mut report = VerifyReport { files: files.len() + 1, ..VerifyReport::default() };
    progress.begin("verifying checksums", Some(files.iter().map(|file| file.bytes).sum()));
    for file in files {
        match check_file(folder, file, progress, cancel) {
            Ok(()) => report.bytes += file.bytes,
            Err(Error::Interrupted) => return Err(Error::Interrupted),
            Err(error) => report.faults.push(VerifyFault { file: file.file.clone(), error }),
        }
    }
    progress.end();
    if !report.faults.is_empty() {
        return Ok(report);
    }
    let dataset = match Dataset::open(folder) {
        Ok(dataset) => dataset,
        Err(error) => {
            report.faults.push(VerifyFault { file: MANIFEST.to_string(), error });
            return Ok(report);
        }
    };
    check_tables(&dataset, &mut report);
    check_grains(&dataset, &mut report, progress, cancel)?;
    Ok(report)
}

fn check_file(folder: &Path, file: &FileEntry, progress: &dyn Progress, cancel: &Cancel) -> Result<()> {
    let path = folder.join(&file.file);
    let found = std::fs::metadata(&path).map_err(|e| Error::io(&path, "cannot open", e))?;
    crate::shard::reader::check_length(&path, found.len(), file.bytes)?;
    let xxh3 = checksum::of_file(&path, cancel, |bytes| progress.advance(0, bytes))?;
    if xxh3 == file.xxh3 {
        return Ok(());
    }
    let message = format!("the content does not match its checksum: {xxh3}, the manifest says {}", file.xxh3);
    Err(Error::data(&path, message).help("Copy the file again or run 'gristmill ingest' again"))
}

fn check_tables(dataset: &Dataset, report: &mut VerifyReport) {
    if let Err(error) = dataset.statistics() {
        report.faults.push(VerifyFault { file: dataset.manifest().statistics.file.clone(), error });
    }
    for (number, column) in dataset.manifest().columns.iter().enumerate() {
        if let Kind::Categorical { dictionary, .. } = &column.kind
            && let Err(error) = dataset.dictionary(number)
        {
            report.faults.push(VerifyFault { file: dictionary.file.clone(), error });
        }
    }
}

/// Every value of every grain; one fault a shard.
fn check_grains(dataset: &Dataset, report: &mut VerifyReport, progress: &dyn Progress, cancel: &Cancel) -> Result<()> {
    progress.begin("verifying values", Some(dataset.manifest().shards.iter().map(|shard| shard.file.bytes).sum()));
    for (entry, shard) in dataset.manifest().shards.iter().zip(dataset.shards()) {
        for grain in 0..entry.grains {
            cancel.check()?;
            match check_grain(dataset, shard, grain) {
                Ok(rows) => report.rows += rows,
                Err(error) => {
                    report.faults.push(VerifyFault { file: entry.file.file.clone(), error });
                    break;
                }
            }
            let place = shard.place(grain)?;
            progress.advance(shard.grain_rows(grain).1 as u64, place.end() - place.offset);
        }
    }
    progress.end();
    Ok(())
}

fn check_grain(dataset: &Dataset, shard: &crate::shard::Shard, grain: usize) -> Result<u64> {
    let layout = shard.layout(grain)?;
    let (map, place) = (shard.map()?, shard.place(grain)?);
    map.ask(place.offset as usize..place.end() as usize);
    map.populate(place.offset as usize..place.end() as usize)?;
    let buffer = map.buffer();
    for number in 0..dataset.manifest().columns.len() {
        let find = |piece: &std::ops::Range<u64>| {
            Some(buffer.slice_with_length(piece.start as usize, (piece.end - piece.start) as usize))
        };
        let viewed = shard.view(grain, number, &layout.columns[number], Check::All, find);
        shard.check_pages()?;
        viewed?;
    }
    map.evict(place.offset as usize..place.end() as usize);
    Ok(layout.rows as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Role;
    use crate::testing::SampleDataset;
    use crate::watch::Silent;
    use std::fs;

    fn sample(folder: &Path) {
        let x: Vec<f32> = (0..300).map(|row| row as f32).collect();
        let sample = SampleDataset::new(64).grains_per_shard(2).f32("x", Role::Feature, x);
        let sample = sample.codes("c", Role::Feature, 3, &vec![1; 300]).f32("y", Role::Label, vec![1.0; 300]);
        sample.test_rows(60).write(folder).unwrap();
    }

    #[test]
    fn a_good_dataset_has_no_faults() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = scratch.path().join("data");
        sample(&folder);
        let report = verify(&folder, &Silent, &Cancel::new()).unwrap();
        assert!(report.faults.is_empty(), "{:?}", report.faults);
        // Two shards to train, one to test, a dictionary, statistics and the manifest.
        assert_eq!((report.files, report.rows), (6, 300));
        let cancel = Cancel::new();
        cancel.request();
        assert!(matches!(verify(&folder, &Silent, &cancel), Err(Error::Interrupted)));
        assert!(matches!(verify(scratch.path(), &Silent, &Cancel::new()), Err(Error::Usage(_))));
    }

    #[test]
    fn every_bad_file_is_named() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = scratch.path().join("data");
        sample(&folder);
        let names = ["dictionary-1.arrow", "statistics.arrow", "test-00000.arrow", "train-00001.arrow"];
        for name in names {
            let path = folder.join(name);
            let mut bytes = fs::read(&path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 4;
            fs::write(&path, bytes).unwrap();
        }
        fs::remove_file(folder.join("train-00000.arrow")).unwrap();
        let report = verify(&folder, &Silent, &Cancel::new()).unwrap();
        let mut bad: Vec<&str> = report.faults.iter().map(|fault| fault.file.as_str()).collect();
        bad.sort_unstable();
        assert_eq!(bad, [&names[..3], &["train-00000.arrow", "train-00001.arrow"]].concat());
    }
}
