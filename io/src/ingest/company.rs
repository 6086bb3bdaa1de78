//! Several ranks make one dataset (stage 2): each writes whole shards, rank 0 puts them together.
//!
//! ```text
//! rank 0                                    the others
//! opens the sources, begins the folder
//! offer: folder, token in it, fingerprint-> open the sources, look for the token: the same everywhere?
//!                                      <--- yes; or one no, and rank 0 does all alone
//! the shards of its rows                    the same of theirs, then the disk has their files
//!                                      <--- share: sums of parts, tallies of shards, files; or that it failed
//! merges in the order of the rows, writes
//! statistics and manifest, commits
//! ```
//!
//! So the dataset has the bytes of one process, and its folder gets its name when every rank's files are on the disk, or not at
//! all. Here is how they come together and part, and the one pass ([`super::direct`]) of datasets of two shards or more: a part that
//! shards of two ranks have rows of is decoded by both. The two passes are in [`super::together`]. Rows that are not as promised send
//! all from the one to the two.
//!
//! A rank that fails leaves a file in the folder that the others look for while they work, so that they end soon; after each stage
//! ranks say how it went, and one failure ends all.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::direct::{Direct, Made, Promise};
use super::options::IngestOptions;
use super::share::Share;
use crate::durable;
use crate::error::{Error, Result};
use crate::manifest::ShardEntry;
use crate::watch::Cancel;

/// Name of the file in the staging folder that ranks look for.
const TOKEN: &str = "ranks.token";
/// Name of the file there that says that a rank failed.
const FAILURE: &str = "ranks.failed";
/// How often ranks look for it.
const LOOK: Duration = Duration::from_millis(200);
/// How a stage went on a rank: well, not, or not because of another rank.
const DONE: u8 = b'd';
const FAILED: u8 = b'f';
const STOPPED: u8 = b's';
/// First byte of a share, and of what is said instead where rows are not as promised.
const SHARE: u8 = b's';
const UNSUITED: u8 = b'u';

/// How ranks talk to each other. All ranks call the same methods in the same order.
pub trait Company: Sync {
    /// The number of this rank, from 0.
    fn rank(&self) -> usize;

    /// How many there are.
    fn size(&self) -> usize;

    /// The bytes of every rank, in rank order, on every rank.
    ///
    /// # Errors
    /// [`Error::Ranks`] when one is lost.
    fn all_gather(&self, own: &[u8]) -> Result<Vec<Vec<u8>>>;

    /// The same on rank 0 only; nothing elsewhere.
    ///
    /// # Errors
    /// As [`Company::all_gather`].
    fn gather(&self, own: &[u8]) -> Result<Vec<Vec<u8>>>;
}

/// The ranks that make a dataset together, and what this one may use while all are at work.
pub struct Ranks<'a> {
    company: &'a dyn Company,
    threads: usize,
    memory: u64,
    /// True once ranks have parted: nobody waits for an offer any more.
    parted: AtomicBool,
}

/// How a dataset is made by several ranks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Way {
    /// [`super::direct`]
    OnePass,
    /// [`super::together`]
    TwoPasses,
}

/// What rank 0 tells of the work.
#[derive(Debug, Serialize, Deserialize)]
pub struct Offer {
    /// The folder in the making.
    pub folder: PathBuf,
    token: String,
    /// What is to be done.
    pub way: Way,
    fingerprint: u64,
    bytes: Option<u64>,
}

impl Offer {
    /// True when this rank sees the folder, and sources of so many bytes and this fingerprint.
    pub fn fits(&self, fingerprint: u64, bytes: Option<u64>) -> bool {
        let same = (fingerprint, bytes) == (self.fingerprint, self.bytes);
        same && Token::is_in(&self.folder, &self.token)
    }
}

/// What became of an offer of one pass.
pub enum Led {
    /// All ranks have made it.
    Made(Box<Made>),
    /// Rows are not as promised: it takes two passes.
    Unsuited,
    /// There is nothing to share, or a rank does not see what rank 0 sees.
    Alone,
}

impl<'a> Ranks<'a> {
    /// With so many threads and so much memory a rank.
    pub fn new(company: &'a dyn Company, threads: usize, memory: u64) -> Ranks<'a> {
        Ranks { company, threads, memory, parted: AtomicBool::new(false) }
    }

    /// The number of this one.
    pub fn rank(&self) -> usize {
        self.company.rank()
    }

    /// True on rank 0.
    pub fn leads(&self) -> bool {
        self.rank() == 0
    }

    /// How many there are.
    pub fn size(&self) -> usize {
        self.company.size()
    }

    /// The options while all are at work.
    pub fn options(&self, options: &IngestOptions) -> IngestOptions {
        IngestOptions { threads: Some(self.threads), memory: Some(self.memory), ..options.clone() }
    }

    /// This rank's part of so many things; the last rank's has no end.
    pub fn span(&self, things: u64) -> Range<u64> {
        let cut = |rank: usize| (u128::from(things) * rank as u128 / self.size() as u128) as u64;
        let end = if self.rank() + 1 == self.size() { u64::MAX } else { cut(self.rank() + 1) };
        cut(self.rank())..end
    }

    /// What every rank says, on every rank.
    ///
    /// # Errors
    /// [`Error::Ranks`] when one is lost.
    pub fn all_gather(&self, own: &[u8]) -> Result<Vec<Vec<u8>>> {
        self.company.all_gather(own)
    }

    /// What every rank says, on rank 0.
    ///
    /// # Errors
    /// [`Error::Ranks`] when one is lost.
    pub fn gather(&self, own: &[u8]) -> Result<Vec<Vec<u8>>> {
        self.company.gather(own)
    }

    /// `own` when a stage went well on all ranks; else all end with an error, those that did not fail with [`Error::Elsewhere`].
    ///
    /// # Errors
    /// See above, and [`Error::Ranks`] when one is lost.
    pub fn settle<T>(&self, own: Result<T>) -> Result<T> {
        let word = match &own {
            Ok(_) => DONE,
            Err(Error::Elsewhere { .. }) => STOPPED,
            Err(_) => FAILED,
        };
        let words = self.all_gather(&[word])?;
        let is = |wanted: u8| words.iter().position(|word| *word == [wanted]);
        let Some(rank) = is(FAILED).or(is(STOPPED)) else { return own };
        self.parted.store(true, Ordering::Relaxed);
        match own {
            Err(error) if word == FAILED => Err(error),
            _ => Err(Error::Elsewhere { rank }),
        }
    }

    /// Work in `folder` that is asked to stop when `cancel` is, or another rank has failed; when it fails, the others hear of it.
    ///
    /// # Errors
    /// Those of the work, or [`Error::Elsewhere`].
    pub fn watched<T>(&self, folder: &Path, cancel: &Cancel, work: impl FnOnce(&Cancel) -> Result<T>) -> Result<T> {
        let (failure, stop) = (folder.join(FAILURE), Cancel::new());
        let (still, over) = mpsc::channel::<()>();
        let (done, elsewhere) = std::thread::scope(|scope| {
            let (failure, stop) = (&failure, &stop);
            let look = move || {
                while over.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
                    let elsewhere = failure.exists();
                    if elsewhere || cancel.requested() {
                        stop.request();
                        return elsewhere;
                    }
                }
                false
            };
            let looking = scope.spawn(look);
            let done = cancel.check().and_then(|()| work(stop));
            drop(still);
            (done, looking.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        });
        match done {
            // Whose failure it was, all hear when they settle.
            Err(Error::Interrupted) if elsewhere => Err(Error::Elsewhere { rank: 0 }),
            Err(error) => {
                // Without it the others end their work before they hear of the failure.
                let _ = durable::write_staged(&failure, &[]);
                Err(error)
            }
            done => done,
        }
    }

    /// Rank 0 offers work in `folder`; the others have [`Ranks::answer`]. Where all take part, whether the folder is clean again.
    ///
    /// # Errors
    /// [`Error::Io`] before anybody has heard of it, or when one does not take part.
    pub fn offer(&self, folder: &Path, way: Way, fingerprint: u64, bytes: Option<u64>) -> Result<Option<Result<()>>> {
        let token = Token::write(folder)?;
        let here = std::path::absolute(folder).unwrap_or_else(|_| folder.to_path_buf());
        let offer = Offer { folder: here, token: token.text.clone(), way, fingerprint, bytes };
        self.all_gather(&serde_json::to_vec(&offer).unwrap_or_default())?;
        let all_agree = self.answer(true)?;
        let taken_away = token.remove();
        if all_agree { Ok(Some(taken_away)) } else { taken_away.map(|()| None) }
    }

    /// The next offer of rank 0; none: it has come to its end.
    ///
    /// # Errors
    /// [`Error::Ranks`] when one is lost.
    pub fn hear(&self) -> Result<Option<Offer>> {
        Ok(self.all_gather(&[])?.first().and_then(|word| serde_json::from_slice(word).ok()))
    }

    /// True when all ranks take part.
    ///
    /// # Errors
    /// [`Error::Ranks`] when one is lost.
    pub fn answer(&self, takes_part: bool) -> Result<bool> {
        Ok(self.all_gather(&[u8::from(takes_part)])?.iter().all(|answer| answer == &[1]))
    }

    /// Rank 0 has come to its end: the others need not wait for another offer.
    ///
    /// # Errors
    /// [`Error::Ranks`] when one is lost.
    pub fn dismiss(&self) -> Result<()> {
        if !self.parted.swap(true, Ordering::Relaxed) {
            self.all_gather(&[])?;
        }
        Ok(())
    }

    /// Rank 0's part of one pass.
    ///
    /// # Errors
    /// Its own, or [`Error::Elsewhere`] when another rank failed.
    pub fn lead(&self, direct: &Direct<'_>, promise: &Promise<'_>) -> Result<Led> {
        if promise.shards() < 2 {
            return Ok(Led::Alone);
        }
        let folder = direct.writer.folder();
        let offered = self.offer(folder, Way::OnePass, promise.fingerprint(), direct.source.bytes())?;
        let Some(begun) = offered else { return Ok(Led::Alone) };
        let own = self.settle(begun.and_then(|()| self.part(direct, promise)))?;
        let mut shares = vec![own];
        for (rank, word) in self.gather(&[])?.iter().enumerate().skip(1) {
            shares.push(match word.split_first() {
                Some((&SHARE, share)) => Some(Share::of_bytes(share).ok_or_else(|| unreadable(rank))?),
                Some((&UNSUITED, _)) => None,
                _ => return Err(unreadable(rank)),
            });
        }
        let made = match shares.into_iter().collect::<Option<Vec<Share>>>() {
            Some(shares) => {
                are_here(folder, &shares)?;
                direct.join(promise, shares)?
            }
            None => None,
        };
        if made.is_none() {
            direct.progress.end();
            direct.writer.discard_shards()?;
        }
        Ok(made.map_or(Led::Unsuited, |made| Led::Made(Box::new(made))))
    }

    /// What the other ranks do where they take part in it.
    ///
    /// # Errors
    /// Its own, or [`Error::Elsewhere`].
    pub fn work(&self, direct: &Direct<'_>, promise: &Promise<'_>) -> Result<()> {
        let own = self.settle(self.part(direct, promise).and_then(|share| {
            share.iter().try_for_each(|share| synced(direct.writer.folder(), share))?;
            Ok(share)
        }))?;
        let word = own.map_or_else(|| vec![UNSUITED], |share| [&[SHARE], share.to_bytes().as_slice()].concat());
        self.gather(&word).map(drop)
    }

    /// The shards of this rank.
    fn part(&self, direct: &Direct<'_>, promise: &Promise<'_>) -> Result<Option<Share>> {
        let cut = |rank: usize| rank * promise.shards() / self.size();
        let own = cut(self.rank())..cut(self.rank() + 1);
        self.watched(direct.writer.folder(), direct.cancel, |cancel| Direct { cancel, ..*direct }.share(promise, own))
    }
}

/// A rank speaks another language.
pub fn unreadable(rank: usize) -> Error {
    Error::Ranks(format!("rank {rank} says in no known way what it made: start all ranks with the same version"))
}

/// Have the disk hold the shards of a rank.
///
/// # Errors
/// [`Error::Io`].
pub fn synced(folder: &Path, share: &Share) -> Result<()> {
    let files = share.shards().iter().map(|shard| folder.join(&shard.file.file));
    durable::sync_files(&files.collect::<Vec<_>>())
}

/// An error unless the shards that other ranks wrote are in the folder.
///
/// # Errors
/// See above.
pub fn are_here(folder: &Path, shares: &[Share]) -> Result<()> {
    shares.iter().flat_map(Share::shards).try_for_each(|shard| is_here(folder, shard))
}

/// An error unless the shard that another rank wrote is in the folder.
fn is_here(folder: &Path, shard: &ShardEntry) -> Result<()> {
    let path = folder.join(&shard.file.file);
    let found = std::fs::metadata(&path)
        .map_err(|e| Error::io(&path, "another rank wrote this file, and it is not here", e))?;
    if found.len() == shard.file.bytes {
        return Ok(());
    }
    let message = format!("another rank wrote {} bytes, and {} are here", shard.file.bytes, found.len());
    Err(Error::data(path, message).help("Write to a file system that all ranks share, or ingest in one process"))
}

/// A file by which ranks know that they see the same folder, and not one of the same name.
struct Token {
    path: PathBuf,
    text: String,
}

impl Token {
    fn write(folder: &Path) -> Result<Token> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let host = rustix::system::uname();
        let text = format!("{} {} {}", host.nodename().to_string_lossy(), std::process::id(), now.as_nanos());
        let path = folder.join(TOKEN);
        durable::write_staged(&path, text.as_bytes())?;
        Ok(Token { path, text })
    }

    fn is_in(folder: &Path, text: &str) -> bool {
        std::fs::read(folder.join(TOKEN)).is_ok_and(|found| found == text.as_bytes())
    }

    fn remove(self) -> Result<()> {
        std::fs::remove_file(&self.path).map_err(|e| Error::io(&self.path, "cannot remove", e))
    }
}
