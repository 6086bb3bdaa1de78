//! Several ranks make one dataset (stage 2): each writes whole shards, rank 0 puts them together.
//!
//! ```text
//! rank 0                                    the others
//! opens the sources, begins the folder
//! offer: folder, token in it, promise  ---> open the sources, look for the token: the same everywhere?
//!                                      <--- yes; or one no, and rank 0 does all alone
//! decodes the parts that have rows of       the same for theirs, then the disk has their files
//! its shards, writes these
//!                                      <--- share: sums of parts, tallies of shards, files; or what went wrong
//! merges in the order of the rows, writes
//! statistics and manifest, commits
//! ```
//!
//! So the dataset has the bytes of one process, and its folder gets its name when every rank's files are on the disk, or not at
//! all. It is done for sources that take one pass ([`super::direct`]) and make two shards or more. A part that shards of two ranks
//! have rows of is decoded by both. Rows that are not as promised send rank 0 into the two passes, alone.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::direct::{Direct, Made, Promise};
use super::options::IngestOptions;
use super::share::Share;
use crate::durable;
use crate::error::{Error, Result};
use crate::manifest::ShardEntry;

/// Name of the file in the staging folder that ranks look for.
const TOKEN: &str = "ranks.token";
/// First bytes of what a rank says when it is done.
const DONE: u8 = b'd';
const UNSUITED: u8 = b'u';
const FAILED: u8 = b'f';

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
    /// True once rank 0 has said whether there is something to share.
    told: AtomicBool,
}

/// What rank 0 tells of the work.
#[derive(Serialize, Deserialize)]
struct Offer {
    folder: PathBuf,
    token: String,
    promise: u64,
    bytes: Option<u64>,
}

/// What became of an offer.
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
        Ranks { company, threads, memory, told: AtomicBool::new(false) }
    }

    /// True on rank 0.
    pub fn leads(&self) -> bool {
        self.company.rank() == 0
    }

    /// How many there are.
    pub fn size(&self) -> usize {
        self.company.size()
    }

    /// The options while all are at work.
    pub fn options(&self, options: &IngestOptions) -> IngestOptions {
        IngestOptions { threads: Some(self.threads), memory: Some(self.memory), ..options.clone() }
    }

    /// Rank 0's part of the work.
    ///
    /// # Errors
    /// Its own, or [`Error::Elsewhere`] when another rank failed.
    pub fn lead(&self, direct: &Direct<'_>, promise: &Promise<'_>) -> Result<Led> {
        if promise.shards() < 2 {
            return Ok(Led::Alone);
        }
        let here = direct.writer.folder();
        let token = Token::write(here)?;
        let offer = Offer {
            folder: std::path::absolute(here).unwrap_or_else(|_| here.to_path_buf()),
            token: token.text.clone(),
            promise: promise.fingerprint(),
            bytes: direct.source.bytes(),
        };
        self.told.store(true, Ordering::Relaxed);
        self.company.all_gather(&serde_json::to_vec(&offer).unwrap_or_default())?;
        let answers = self.company.all_gather(&[])?;
        let taken_away = token.remove();
        if !all_agree(&answers) {
            return taken_away.map(|()| Led::Alone);
        }
        // From here on the others work: nothing ends before they have said how it went.
        let own = taken_away.and_then(|()| direct.share(promise, self.range(promise)));
        let told = self.company.gather(&[])?;
        let mut shares = vec![own?];
        for (rank, word) in told.iter().enumerate().skip(1) {
            shares.push(match word.split_first() {
                Some((&DONE, share)) => Some(Share::of_bytes(share).ok_or_else(|| unreadable(rank))?),
                Some((&UNSUITED, _)) => None,
                _ => return Err(Error::Elsewhere { rank }),
            });
        }
        let made = match shares.into_iter().collect::<Option<Vec<Share>>>() {
            Some(shares) => {
                shares.iter().flat_map(Share::shards).try_for_each(|shard| is_here(direct.writer.folder(), shard))?;
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

    /// Rank 0 has come to its end: the others need not wait for an offer.
    ///
    /// # Errors
    /// [`Error::Ranks`] when one is lost.
    pub fn dismiss(&self) -> Result<()> {
        if !self.told.swap(true, Ordering::Relaxed) {
            self.company.all_gather(&[])?;
        }
        Ok(())
    }

    /// What the other ranks do: `make` is given the folder and what is to be done with the source that it opens.
    ///
    /// # Errors
    /// Its own.
    pub fn follow(&self, make: impl FnOnce(&Path, &dyn Fn(&Direct<'_>) -> Result<()>) -> Result<()>) -> Result<()> {
        let heard = self.company.all_gather(&[])?;
        let Some(offer) = heard.first().and_then(|word| serde_json::from_slice::<Offer>(word).ok()) else {
            return Ok(());
        };
        let answered = AtomicBool::new(false);
        let made = make(&offer.folder, &|direct: &Direct<'_>| {
            let promise = direct.promise().filter(|promise| {
                let same = promise.fingerprint() == offer.promise && direct.source.bytes() == offer.bytes;
                same && Token::is_in(&offer.folder, &offer.token)
            });
            answered.store(true, Ordering::Relaxed);
            let answers = self.company.all_gather(&[u8::from(promise.is_some())])?;
            match promise.filter(|_| all_agree(&answers)) {
                Some(promise) => self.work(direct, &promise),
                None => Ok(()),
            }
        });
        if !answered.into_inner() {
            // What rank 0 can open and this rank cannot is for rank 0 to make.
            self.company.all_gather(&[0])?;
            return Ok(());
        }
        made
    }

    fn work(&self, direct: &Direct<'_>, promise: &Promise<'_>) -> Result<()> {
        let own = direct.share(promise, self.range(promise)).and_then(|share| {
            let files = share.iter().flat_map(Share::shards).map(|shard| direct.writer.folder().join(&shard.file.file));
            durable::sync_files(&files.collect::<Vec<_>>())?;
            Ok(share)
        });
        let word = match &own {
            Ok(Some(share)) => [&[DONE], share.to_bytes().as_slice()].concat(),
            Ok(None) => vec![UNSUITED],
            Err(_) => vec![FAILED],
        };
        self.company.gather(&word)?;
        own.map(drop)
    }

    /// The shards that this rank makes.
    fn range(&self, promise: &Promise<'_>) -> Range<usize> {
        let cut = |rank: usize| rank * promise.shards() / self.size();
        cut(self.company.rank())..cut(self.company.rank() + 1)
    }
}

/// True when every rank but the first has said yes.
fn all_agree(answers: &[Vec<u8>]) -> bool {
    answers.iter().skip(1).all(|answer| answer == &[1])
}

fn unreadable(rank: usize) -> Error {
    Error::Ranks(format!("rank {rank} says in no known way what it made: start all ranks with the same version"))
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
