//! Parts of a pass as files of the run folder: every rank writes its own, in a thread of its own, while the pass goes on.
//!
//! ```text
//! RUN/part-0003.bin   line 1: {"bytes": 81960, "xxh3": "..."} of what follows
//!                     line 2: {"format": 1, "key": "...", "grains": [[0, 37], [40, 52]], "cells": 10240}
//!                     then the cells, 8 bytes each, little-endian
//! ```
//! A part stands for itself: it says which pass it belongs to and which grains are in it (first and end of each range). So
//! ranks need not agree on a moment, a part that is lost or damaged costs its grains alone, and whatever mixture of older
//! and newer parts a kill leaves behind, those that share no grain can be added. Each rank's new part takes the place of
//! its old one; the finished run takes the place of all.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use gristmill_io::{checksum, durable};
use mpi_launch::Communicator;
use serde::{Deserialize, Serialize};

use super::checkpoint::{self, Every, Seal};
use super::folder::CONFIG_FILE;
use super::write::Job;
use crate::engine::part::{Key, Part, joined};
use crate::error::{Error, Result};

/// Version of the format.
const FORMAT: u32 = 1;
/// How soon the end is noticed.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    format: u32,
    key: Key,
    /// First and end of each range.
    grains: Vec<(u32, u32)>,
    cells: usize,
}

/// Name of a rank's part.
pub fn file_name(rank: usize) -> String {
    format!("part-{rank:04}.bin")
}

fn to_bytes(part: &Part) -> serde_json::Result<Vec<u8>> {
    let mut grains: Vec<(u32, u32)> = Vec::new();
    for &grain in &part.grains {
        match grains.last_mut() {
            Some((_, end)) if *end == grain => *end += 1,
            _ => grains.push((grain, grain + 1)),
        }
    }
    let head = Head { format: FORMAT, key: part.key.clone(), grains, cells: part.sum.len() };
    let mut body = serde_json::to_vec(&head)?;
    body.push(b'\n');
    body.extend(part.sum.iter().flat_map(|cell| cell.to_le_bytes()));
    let mut text = serde_json::to_vec(&Seal { bytes: body.len(), xxh3: checksum::of_bytes(&body) })?;
    text.push(b'\n');
    text.extend(body);
    Ok(text)
}

/// The part in these bytes, or what is wrong with them.
fn from_bytes(bytes: &[u8]) -> std::result::Result<Part, &'static str> {
    let cut = |bytes: &'_ [u8]| bytes.iter().position(|byte| *byte == b'\n');
    let end = cut(bytes).ok_or("it has no first line")?;
    let seal: Seal = serde_json::from_slice(&bytes[..end]).map_err(|_| "its first line is none")?;
    let body = &bytes[end + 1..];
    if seal.bytes != body.len() || seal.xxh3 != checksum::of_bytes(body) {
        return Err("its checksum is another");
    }
    let end = cut(body).ok_or("it has no second line")?;
    let head: Head = serde_json::from_slice(&body[..end]).map_err(|_| "its second line is none")?;
    let (cells, rest) = body[end + 1..].as_chunks::<8>();
    if head.format != FORMAT || cells.len() != head.cells || !rest.is_empty() {
        return Err("it is of another format");
    }
    let rising = head.grains.iter().all(|(first, end)| first < end)
        && head.grains.windows(2).all(|pair| pair[0].1 <= pair[1].0)
        && head.grains.last().is_none_or(|(_, end)| *end as usize <= crate::engine::sum::TERMS_MAX);
    if !rising {
        return Err("its grains are in no order");
    }
    let grains = head.grains.into_iter().flat_map(|(first, end)| first..end).collect();
    Ok(Part { key: head.key, grains, sum: cells.iter().map(|cell| i64::from_le_bytes(*cell)).collect() })
}

/// The parts of a run that can be added, and what to say of those that cannot be read.
///
/// # Errors
/// When the folder cannot be listed.
pub fn read(run: &Path) -> Result<(Vec<Part>, Vec<String>)> {
    let listed = std::fs::read_dir(run).map_err(|e| gristmill_io::Error::io(run, "cannot read the folder", e))?;
    let is_part = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with("part-") && name.ends_with(".bin")
    };
    let mut paths: Vec<PathBuf> = listed.flatten().map(|entry| entry.path()).filter(is_part).collect();
    paths.sort();
    let (mut parts, mut notes) = (Vec::new(), Vec::new());
    for path in paths {
        let bytes = std::fs::read(&path).map_err(|e| gristmill_io::Error::io(&path, "cannot read", e))?;
        match from_bytes(&bytes) {
            Ok(part) => parts.push(part),
            Err(why) => notes.push(format!("{} is damaged ({why}): its grains are read again", path.display())),
        }
    }
    Ok((joined(parts), notes))
}

/// The parts that rank 0 found, on every rank; the sums stay on rank 0.
///
/// # Errors
/// When a rank is lost.
pub fn shared(comm: &dyn Communicator, found: Vec<Part>) -> Result<Vec<Part>> {
    if comm.size() == 1 {
        return Ok(found);
    }
    let told: Vec<(&Key, &[u32])> = found.iter().map(|part| (&part.key, part.grains.as_slice())).collect();
    let odd = |error: serde_json::Error| Error::usage(format!("rank 0's parts of a pass cannot be passed on: {error}"));
    let mut bytes = serde_json::to_vec(&told).map_err(odd)?;
    comm.broadcast(&mut bytes, 0)?;
    if comm.rank() == 0 {
        return Ok(found);
    }
    let told: Vec<(Key, Vec<u32>)> = serde_json::from_slice(&bytes).map_err(odd)?;
    Ok(told.into_iter().map(|(key, grains)| Part { key, grains, sum: Vec::new() }).collect())
}

/// Keeps this rank's part of the pass under way; see the head of the file.
pub struct Parts<'a> {
    job: &'a Job<'a>,
    rank: usize,
    /// Set by SIGUSR1.
    asked: Arc<AtomicBool>,
    state: Mutex<State>,
    wake: Condvar,
}

struct State {
    /// What an earlier process left, by pass.
    begun: HashMap<Key, Part>,
    /// A part to be written.
    latest: Option<Part>,
    /// When the last one was handed over.
    at: Instant,
    closed: bool,
}

impl<'a> Parts<'a> {
    /// For a rank of a training that goes on from the parts `begun`.
    pub fn new(job: &'a Job<'a>, rank: usize, begun: Vec<Part>, asked: &Arc<AtomicBool>) -> Parts<'a> {
        let begun = begun.into_iter().map(|part| (part.key.clone(), part)).collect();
        let state = State { begun, latest: None, at: Instant::now(), closed: false };
        Parts { job, rank, asked: Arc::clone(asked), state: Mutex::new(state), wake: Condvar::new() }
    }

    /// Whether it is time for a part.
    pub fn wants(&self) -> bool {
        if self.asked.load(Ordering::Relaxed) {
            return true;
        }
        match self.job.keeping.every {
            Every::Time(time) => self.state().at.elapsed() >= time,
            Every::Never | Every::Passes(_) => false,
        }
    }

    /// Keeps a part.
    pub fn keep(&self, part: Part) {
        self.asked.store(false, Ordering::Relaxed);
        let mut state = self.state();
        (state.latest, state.at) = (Some(part), Instant::now());
        self.wake.notify_one();
    }

    /// What is done already of a pass; it is given once.
    pub fn begun(&self, key: &Key) -> Option<Part> {
        self.state().begun.remove(key)
    }

    /// Ends [`Parts::work`].
    pub fn close(&self) {
        self.state().closed = true;
        self.wake.notify_one();
    }

    /// Writes parts until closed; `tell` is told when one cannot be written.
    pub fn work(&self, tell: impl Fn(&str)) {
        loop {
            let mut state = self.state();
            if state.closed {
                return;
            }
            if let Some(part) = state.latest.take() {
                drop(state);
                if let Err(error) = self.write(&part) {
                    tell(&format!("part of a pass could not be written, the training goes on: {error}"));
                }
            } else {
                drop(self.wake.wait_timeout(state, LOOK_INTERVAL));
            }
        }
    }

    /// Writes the part that an interrupted training ends with.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(&self) -> Result<()> {
        let latest = self.state().latest.take();
        latest.map_or(Ok(()), |part| self.write(&part))
    }

    /// Into the run's folder once that is this training's: rank 0's first checkpoint makes it. Before, there is nothing
    /// that could go on from a part.
    fn write(&self, part: &Part) -> Result<()> {
        let run = self.job.output;
        let config = std::fs::read_to_string(run.join(CONFIG_FILE)).unwrap_or_default();
        if config != self.job.config || checkpoint::list(run).is_empty() {
            return Ok(());
        }
        let path = run.join(file_name(self.rank));
        let bytes = to_bytes(part).map_err(|error| Error::File { path: path.clone(), message: error.to_string() })?;
        Ok(durable::write_bytes(&path, &bytes)?)
    }

    /// Options and a map: whole whatever happened to the thread that had them last.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Key {
        serde_json::from_value(text.into()).expect("a text")
    }

    #[test]
    fn a_part_comes_back_whole_or_not_at_all() {
        let part = Part { key: key("k"), grains: vec![0, 1, 2, 7, 9, 10], sum: vec![1, -2, i64::MAX] };
        let bytes = to_bytes(&part).expect("plain data");
        assert_eq!(from_bytes(&bytes), Ok(part.clone()));
        for place in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[place] ^= 1;
            assert!(from_bytes(&damaged).is_err(), "byte {place}");
            assert!(from_bytes(&bytes[..place]).is_err(), "cut at {place}");
        }
        let folder = tempfile::tempdir().expect("a folder");
        let other = Part { grains: vec![3], ..part };
        for (name, bytes) in [("part-0000.bin", bytes), ("part-0002.bin", to_bytes(&other).expect("plain data"))] {
            std::fs::write(folder.path().join(name), bytes).expect("writes");
        }
        std::fs::write(folder.path().join("part-0001.bin"), "x").expect("writes");
        let (parts, notes) = read(folder.path()).expect("reads");
        assert_eq!(parts.len(), 1);
        assert_eq!(parts[0].grains, [0, 1, 2, 3, 7, 9, 10]);
        assert!(notes.len() == 1 && notes[0].contains("part-0001.bin"), "{notes:?}");
    }
}
