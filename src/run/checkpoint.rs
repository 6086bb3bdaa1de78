//! Checkpoints as files of the run folder: written durably, checksummed, the last few kept.
//!
//! ```text
//! RUN/checkpoint-000007.jsonl   line 1: {"bytes": 5120, "xxh3": "..."} of line 2; line 2: an `Interruption`
//! ```
//! A file is complete or absent ([`durable`]); the checksum finds what a disk or a hand changed later. [`newest`] then goes
//! back to the one before and says so.

use std::io::{BufWriter, Seek, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use gristmill_io::checksum::HashingWriter;
use gristmill_io::{checksum, durable};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::train::Checkpoint;

/// How many checkpoints stay unless told otherwise.
pub const KEPT: usize = 3;
/// How often a checkpoint is written unless told otherwise.
pub const EVERY: Every = Every::Time(Duration::from_secs(600));

/// What an interrupted training leaves behind.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interruption {
    /// The dataset's folder.
    pub dataset: PathBuf,
    /// The configuration as resolved, as it lies beside.
    pub config: String,
    /// Where it stopped.
    pub checkpoint: Checkpoint,
}

/// How often checkpoints are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Every {
    /// Only when a signal asks for one.
    Never,
    /// After so much time.
    Time(Duration),
    /// After so many passes.
    Passes(u32),
}

impl FromStr for Every {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Every, String> {
        let wrong =
            || format!("'{text}' is no interval: a time (30s, 10m, 2h), a number of passes (5) or never was expected");
        if text == "never" {
            return Ok(Every::Never);
        }
        if let Ok(passes) = text.parse::<u32>() {
            return Some(passes).filter(|passes| *passes > 0).map(Every::Passes).ok_or_else(wrong);
        }
        time(text).map(Every::Time).ok_or_else(wrong)
    }
}

/// A time with its unit: `30s`, `10m`, `2h`.
pub fn time(text: &str) -> Option<Duration> {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let number: u64 = text[..text.len() - unit.len()].parse().ok()?;
    let seconds = match unit {
        "s" => Some(number),
        "m" => number.checked_mul(60),
        "h" => number.checked_mul(3600),
        _ => None,
    };
    seconds.filter(|seconds| *seconds > 0).map(Duration::from_secs)
}

/// Which checkpoints a training writes and keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keeping {
    /// How often one is written.
    pub every: Every,
    /// How many stay, at least 1.
    pub kept: usize,
}

impl Default for Keeping {
    fn default() -> Keeping {
        Keeping { every: EVERY, kept: KEPT }
    }
}

/// Bytes of the first line, spaces behind the seal included. It is written last, when the seal is known: so the text is made once, and
/// never in memory, however large the model.
const SEAL_BYTES: usize = 80;
/// Bytes that go to the file, and through the checksum, at a time.
const BUFFER_BYTES: usize = 64 << 10;

/// The first line of a checkpoint, and of a part of a pass: what is behind it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Seal {
    pub(super) bytes: usize,
    pub(super) xxh3: String,
}

/// Name of the checkpoint of that number.
pub fn file_name(number: u64) -> String {
    format!("checkpoint-{number:06}.jsonl")
}

/// The checkpoints of a run, oldest first.
pub fn list(run: &Path) -> Vec<(u64, PathBuf)> {
    let entries = std::fs::read_dir(run).into_iter().flatten().flatten();
    let mut found: Vec<(u64, PathBuf)> = entries
        .filter_map(|entry| {
            let name = entry.file_name();
            let number = name.to_str()?.strip_prefix("checkpoint-")?.strip_suffix(".jsonl")?;
            Some((number.parse().ok()?, entry.path()))
        })
        .collect();
    found.sort_unstable();
    found
}

/// Write a checkpoint of a run's folder and remove the oldest beyond `kept`.
///
/// # Errors
/// When it cannot be written; those before it stand.
pub fn write(run: &Path, number: u64, interruption: &Interruption, kept: usize) -> Result<()> {
    let path = run.join(file_name(number));
    let not_json = |error: serde_json::Error| Error::File {
        path: path.clone(),
        message: format!("the checkpoint cannot be written as JSON: {error}"),
    };
    durable::write_file(&path, |file| -> Result<()> {
        let failed = |e| gristmill_io::Error::io(&path, "cannot write", e);
        let line = |text: &str| format!("{text:width$}\n", width = SEAL_BYTES - 1);
        file.write_all(line("").as_bytes()).map_err(failed)?;
        let mut out = BufWriter::with_capacity(BUFFER_BYTES, HashingWriter::new(&mut *file));
        serde_json::to_writer(&mut out, interruption).map_err(|error| failed(error.into()))?;
        let (_, bytes, xxh3) = out.into_inner().map_err(|error| failed(error.into_error()))?.finish();
        let seal = serde_json::to_string(&Seal { bytes: bytes as usize, xxh3 }).map_err(not_json)?;
        file.write_all(b"\n").and_then(|()| file.rewind()).map_err(failed)?;
        Ok(file.write_all(line(&seal).as_bytes()).map_err(failed)?)
    })?;
    let all = list(run);
    for (_, old) in &all[..all.len().saturating_sub(kept.max(1))] {
        // One too many does no harm.
        let _ = std::fs::remove_file(old);
    }
    Ok(())
}

/// Read one checkpoint.
///
/// # Errors
/// When it cannot be read or is not what was written.
pub fn read(path: &Path) -> Result<Interruption> {
    let damaged = |message: String| Error::File { path: path.to_path_buf(), message };
    let text = std::fs::read(path).map_err(|e| gristmill_io::Error::io(path, "cannot read", e))?;
    let end = text.iter().position(|byte| *byte == b'\n').unwrap_or(text.len());
    let seal: Seal = serde_json::from_slice(&text[..end])
        .map_err(|error| damaged(format!("the first line of the checkpoint is damaged: {error}")))?;
    let body = text.get(end + 1..).and_then(|rest| rest.strip_suffix(b"\n")).unwrap_or_default();
    if body.len() != seal.bytes {
        return Err(damaged(format!("the checkpoint is damaged: {} bytes, {} were written", body.len(), seal.bytes)));
    }
    let found = checksum::of_bytes(body);
    if found != seal.xxh3 {
        return Err(damaged(format!("the checkpoint is damaged: its checksum is {found}, {} was written", seal.xxh3)));
    }
    serde_json::from_slice(body).map_err(|error| damaged(format!("the checkpoint is of another version: {error}")))
}

/// The newest checkpoint of a run that is whole, with its number, and what to say of damaged ones that are newer; none when
/// there is no checkpoint at all.
///
/// # Errors
/// That of the newest when all are damaged.
pub fn newest(run: &Path) -> Result<Option<(u64, Interruption, Vec<String>)>> {
    let (mut notes, mut first) = (Vec::new(), None);
    for (number, path) in list(run).into_iter().rev() {
        match read(&path) {
            Ok(interruption) => {
                notes.extend((!notes.is_empty()).then(|| format!("going on from {}", path.display())));
                return Ok(Some((number, interruption, notes)));
            }
            Err(error) => {
                notes.push(error.to_string());
                first = first.or(Some(error));
            }
        }
    }
    first.map_or(Ok(None), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_times_or_passes() {
        let every = |text: &str| text.parse::<Every>();
        assert_eq!(every("10m"), Ok(Every::Time(Duration::from_secs(600))));
        assert_eq!(every("30s"), Ok(Every::Time(Duration::from_secs(30))));
        assert_eq!(every("2h"), Ok(Every::Time(Duration::from_secs(7200))));
        assert_eq!((every("5"), every("never")), (Ok(Every::Passes(5)), Ok(Every::Never)));
        for bad in ["", "0", "0s", "m", "10d", "-1", "1.5h", "99999999999999999999s", "18446744073709551615h"] {
            assert!(every(bad).is_err_and(|message| message.contains("10m")), "{bad}");
        }
    }

    #[test]
    fn a_damaged_file_is_named_with_what_was_found() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(file_name(1));
        let complaint = |text: &str| {
            std::fs::write(&path, text).expect("writes");
            read(&path).expect_err("damaged").to_string()
        };
        let good = format!("{{\"bytes\":2,\"xxh3\":\"{}\"}}\n{{}}\n", checksum::of_bytes(b"{}"));
        assert!(complaint(&good).contains("another version"));
        assert!(complaint(&good.replace("{}\n", "[]\n")).contains("checksum"));
        assert!(complaint(&good[..good.len() - 2]).contains("2 were written"));
        assert!(complaint("").contains("first line") && complaint("x\n\n").contains("first line"));
        assert!(newest(folder.path()).is_err());
        std::fs::remove_file(&path).expect("removes");
        assert!(newest(folder.path()).expect("none").is_none());
    }
}
