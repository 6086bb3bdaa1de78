//! The two passes by several ranks (stage 2): each reads a span of the sources, and makes the shards that begin among its rows.
//!
//! ```text
//! every rank                                                    rank 0
//! [counts its rows, where their numbers say which are held out]
//! pass A over its span: rows kept, summed up, levels met
//! findings ---------------------------------------------------> merges them in the order of the ranks
//! means of all chunks, one rank after the other:
//!   a mean depends on the order in which it is added up --------> means
//! decides how columns are stored, as all do <------------------- verdict: sums and levels of all; writes dictionaries
//! writes the rows that belong to a shard of a rank before
//! pass B: its shards, from rows of its own and those it is given
//! share: tallies of shards, files ----------------------------> joins, writes statistics and manifest, commits
//! ```
//!
//! Spans are cut by bytes, and fall on the chunks that one process reads. So every sum is one of the same chunks in the same order, and a
//! dataset has the same bytes on any number of ranks. Cost beside the work of one process: messages ([`super::findings`]), 32
//! bytes a column and chunk of memory until the means are added up, and the rows at the borders ([`super::border`]).

use std::mem;
use std::time::Instant;

use super::border::{self, Border, Given, Numbers};
use super::company::{Offer, Ranks, Way, are_here, synced, unreadable};
use super::decide::Decided;
use super::findings::{self, Findings, LevelLimits, Verdict};
use super::keep::{Keeper, Piece};
use super::message::{Reader, Writer};
use super::moments::Moments;
use super::options::IngestOptions;
use super::shards::Shape;
use super::share::{self, Share};
use super::shuffle::Lot;
use super::summary::{ChunkSummary, Means};
use super::survey::Found;
use super::tally::Tally;
use super::write::{Encoding, Rows};
use super::{Around, Budget, Job, Made, parallel};
use crate::encode::column::Encoder;
use crate::encode::intern::Interner;
use crate::error::{Error, Result};
use crate::manifest::Split;
use crate::source::Before;
use crate::watch::Cancel;

const SPLITS: [Split; 2] = [Split::Train, Split::Test];

/// What a rank has before it encodes.
struct Prepared {
    decided: Decided,
    shape: Shape,
    /// What makes columns of the rows of other ranks.
    others: Vec<Encoder>,
    borders: [Border; 2],
    given: [Given; 2],
}

impl Job<'_> {
    /// Rank 0 makes it with the others; none: it is to be made alone.
    pub(super) fn lead_together(&self, ranks: &Ranks<'_>) -> Result<Option<Made>> {
        if !self.can_be_shared() {
            return Ok(None);
        }
        let (fingerprint, bytes) = (self.fingerprint(), self.source.bytes());
        let offered = ranks.offer(self.writer.folder(), Way::TwoPasses, fingerprint, bytes)?;
        let Some(begun) = offered else { return Ok(None) };
        let options = ranks.options(self.options);
        let made =
            Job { options: &options, budget: Budget::of(&options, self.source), ..*self }.together(ranks, begun)?;
        if made.is_none() {
            // From the beginning again, and all of it.
            self.source.narrow(0..u64::MAX);
        }
        Ok(made)
    }

    /// What the other ranks do.
    pub(super) fn follow_together(&self, ranks: &Ranks<'_>, offer: &Offer) -> Result<()> {
        let fits = self.can_be_shared() && offer.fits(self.fingerprint(), self.source.bytes());
        if ranks.answer(fits)? { self.together(ranks, Ok(())).map(drop) } else { Ok(()) }
    }

    /// Rows that keep their order, columns that are decided by sums, a source that has spans.
    fn can_be_shared(&self) -> bool {
        let IngestOptions { shuffle, bucketize, .. } = self.options;
        !shuffle && bucketize.is_empty() && self.source.bytes().is_some() && self.source.narrow(0..u64::MAX).is_some()
    }

    /// A number that is another one where columns or options are others.
    fn fingerprint(&self) -> u64 {
        let options = IngestOptions { threads: None, memory: None, force: false, ..self.options.clone() };
        let about = format!("{} {:?}", serde_json::to_string(&options).unwrap_or_default(), self.plan);
        twox_hash::XxHash3_64::oneshot(about.as_bytes())
    }

    /// This rank's part; what all have made, on rank 0; none: it is to be made alone.
    fn together(&self, ranks: &Ranks<'_>, begun: Result<()>) -> Result<Option<Made>> {
        let began = Instant::now();
        let before = self.before(ranks, begun)?;
        let (keeper, mut found) = ranks.settle(before.and_then(|before| self.find(ranks, before)))?;
        self.around.progress.end();
        let survey_seconds = began.elapsed().as_secs_f64();
        let Verdict { goes_on, rows, found: all } = self.verdict(ranks, &found)?;
        if !goes_on {
            return Ok(None);
        }
        let mut prepared = ranks.settle(self.prepare(ranks, &mut found, &all, &rows))?;
        let given = mem::take(&mut prepared.given);
        let heard = ranks.all_gather(&border::told(&given))?;
        let share = ranks.settle(self.encode(ranks, &prepared, given, &heard))?;
        let mut own = Writer::default();
        own.word(keeper.spilled());
        own.text(&if ranks.leads() { Vec::new() } else { share.to_bytes() });
        let told = ranks.gather(&own.finish())?;
        if !ranks.leads() {
            return Ok(None);
        }
        let (mut shares, mut spilled) = (vec![share], keeper.spilled());
        for (rank, word) in told.iter().enumerate().skip(1) {
            let read = |from: &mut Reader<'_>| Some((from.word()?, Share::of_bytes(from.text()?)?));
            let (bytes, share) = Reader::whole(word, read).ok_or_else(|| unreadable(rank))?;
            spilled += bytes;
            shares.push(share);
        }
        are_here(self.writer.folder(), &shares)?;
        let Prepared { decided, shape, .. } = prepared;
        let (_, encoded) = share::joined(shares, &decided.stored);
        let summary = all.summary;
        Ok(Some(Made { decided, encoded, summary, shape, spilled, survey_seconds, ranks: ranks.size() }))
    }

    /// What lies before this rank's span; where the number of a row says whether it is held out, rows are counted first.
    fn before(&self, ranks: &Ranks<'_>, begun: Result<()>) -> Result<Result<Before>> {
        let span = ranks.span(self.source.bytes().unwrap_or(0));
        let whole = || Error::Usage("the source can only be read as a whole".into());
        let before = begun.and_then(|()| self.source.narrow(span.clone()).ok_or_else(whole));
        if self.options.test_share == 0.0 || self.source.rows().is_some() {
            return Ok(before);
        }
        let (folder, cancel) = (self.writer.folder(), self.around.cancel);
        let counted = before
            .and_then(|before| ranks.watched(folder, cancel, |cancel| self.count(cancel)).map(|rows| (before, rows)));
        let (before, rows) = ranks.settle(counted)?;
        let all = ranks.all_gather(&rows.to_le_bytes())?;
        let mut rows = 0;
        for (rank, word) in all.iter().enumerate().take(ranks.rank()) {
            let Some(own) = Reader::whole(word, Reader::word) else { return Ok(Err(unreadable(rank))) };
            rows += own;
        }
        Ok(self.source.narrow(span).map(|_| Before { rows: Some(rows), ..before }).ok_or_else(whole))
    }

    /// The rows of the span. What cannot be read the survey will find again, and say where it is.
    fn count(&self, cancel: &Cancel) -> Result<u64> {
        let threads = self.options.workers();
        let counts = parallel::each(threads, threads, cancel, |_| {
            let mut rows = 0;
            while let Ok(Some(chunk)) = self.source.next() {
                cancel.check()?;
                rows += self.source.count(chunk).unwrap_or(0);
            }
            Ok(rows)
        })?;
        Ok(counts.into_iter().sum())
    }

    /// Pass A over this rank's span.
    fn find(&self, ranks: &Ranks<'_>, before: Before) -> Result<(Keeper, Found)> {
        let Around { progress, cancel, .. } = self.around;
        let folder = self.writer.folder();
        ranks.watched(folder, cancel, |cancel| {
            let keeper = Keeper::new(self.budget.keep, folder, ranks.rank())?;
            progress.begin("reading", self.source.bytes().map(|bytes| bytes / ranks.size() as u64));
            let found = Job { around: Around { cancel, ..self.around }, ..*self }.survey(&keeper, Some(before))?;
            Ok((keeper, found))
        })
    }

    /// What rank 0 makes of what all ranks found, on every rank.
    fn verdict(&self, ranks: &Ranks<'_>, found: &Found) -> Result<Verdict> {
        let place = |chunk, row| self.source.place(chunk, row);
        let told = ranks.gather(&findings::told(found, &place))?;
        let means = self.means(ranks, &found.means)?;
        let own = if ranks.leads() { means.and_then(|means| self.judge(&told, &means)).map(Some) } else { Ok(None) };
        let own = ranks.settle(own)?;
        let heard = ranks.all_gather(&own.as_ref().map(Verdict::to_bytes).unwrap_or_default())?;
        let of_first = || heard.first().and_then(|word| Verdict::of_bytes(word)).ok_or_else(|| unreadable(0));
        ranks.settle(own.map_or_else(of_first, Ok))
    }

    /// The means of all chunks, on rank 0: one rank after the other adds its own to those before.
    fn means(&self, ranks: &Ranks<'_>, own: &[Means]) -> Result<Result<ChunkSummary>> {
        let mut sum = Ok(ChunkSummary::new(self.plan.columns.len()));
        for turn in 0..ranks.size() {
            let mut word = Vec::new();
            if let (Ok(sum), true) = (&mut sum, turn == ranks.rank()) {
                own.iter().for_each(|means| sum.add_means(means));
                let mut to = Writer::default();
                findings::write_summary(&mut to, sum);
                word = to.finish();
            }
            let words = ranks.all_gather(&word)?;
            if turn + 1 == ranks.rank() || ranks.leads() {
                sum = Reader::whole(&words[turn], findings::read_summary).ok_or_else(|| unreadable(turn));
            }
        }
        Ok(sum)
    }

    fn judge(&self, told: &[Vec<u8>], means: &ChunkSummary) -> Result<Verdict> {
        let mut all = Vec::with_capacity(told.len());
        for (rank, word) in told.iter().enumerate() {
            all.push(Findings::of_bytes(word).ok_or_else(|| unreadable(rank))?);
        }
        let limits = LevelLimits { levels: self.options.max_categories, bytes: self.budget.keep, file: self.file };
        let mut found = findings::merged(&all, &self.plan.columns, limits)?;
        found.summary.set_means(means);
        super::passes::check_rows(&found.summary)?;
        let rows = [0, 1].map(|split| all.iter().map(|own| own.rows()[split]).collect());
        let decided = self.decide(&found, &Default::default())?;
        // Rank 0 will have the tallies of all shards at once.
        let elements: usize = Tally::new(&decided.stored).moments.iter().map(Vec::len).sum();
        let shards = found.summary.train_rows.div_ceil(self.shape(&decided.stored).shard_rows() as u64);
        let bytes = (elements * size_of::<Moments>()) as u64 * shards;
        Ok(Verdict { goes_on: bytes <= self.budget.memory / 8, rows, found })
    }

    /// How columns are stored, and the rows that other ranks are to have.
    fn prepare(&self, ranks: &Ranks<'_>, found: &mut Found, all: &Found, rows: &[Vec<u64>; 2]) -> Result<Prepared> {
        let mut decided = self.decide(all, &Default::default())?;
        if ranks.leads() {
            self.write_dictionaries(&mut decided)?;
        }
        decided.stored.iter_mut().for_each(|decision| decision.levels = None);
        let shape = self.shape(&decided.stored);
        let numbers = numbers(&mem::take(&mut found.tables), &all.tables).ok_or_else(|| unreadable(0))?;
        found.counts.clear();
        found.means.clear();
        let others = decided.stored.iter().map(|decision| decision.encoder.clone()).collect();
        for decision in &mut decided.stored {
            if let (Encoder::Codes { codes, .. }, Some(numbers)) = (&mut decision.encoder, &numbers[decision.raw]) {
                *codes = numbers.iter().map(|&number| codes[number as usize]).collect();
            }
        }
        let borders = rows.each_ref().map(|rows| Border::new(rows, shape.shard_rows()));
        let (train, test) = mem::take(&mut found.pieces).into_iter().partition(|(split, _)| *split == Split::Train);
        let give = |number: usize, pieces: Vec<(Split, Piece)>| {
            let pieces = pieces.into_iter().map(|(_, piece)| piece).collect();
            let count = borders[number].given(ranks.rank()).len();
            let path = border::path(self.writer.folder(), SPLITS[number], ranks.rank());
            border::give(pieces, count, path, &numbers)
        };
        let given = [give(0, train)?, give(1, test)?];
        Ok(Prepared { decided, shape, others, borders, given })
    }

    /// Pass B: the shards of this rank.
    fn encode(&self, ranks: &Ranks<'_>, prepared: &Prepared, given: [Given; 2], heard: &[Vec<u8>]) -> Result<Share> {
        let Around { progress, cancel, .. } = self.around;
        let folder = self.writer.folder();
        ranks.watched(folder, cancel, |cancel| {
            let [train, test] = given;
            let rows = |number: usize, given: Given| self.rows(ranks.rank(), number, &prepared.borders, given, heard);
            progress.begin("writing", None);
            let encoding = Encoding {
                rows: [rows(0, train)?, rows(1, test)?],
                decisions: &prepared.decided.stored,
                others: &prepared.others,
                shape: prepared.shape,
                writer: self.writer,
                threads: self.options.workers(),
                progress,
                cancel,
            };
            let share = encoding.share()?;
            if !ranks.leads() {
                synced(folder, &share)?;
            }
            Ok(share)
        })
    }

    /// The rows of a split that this rank's shards have.
    fn rows(&self, rank: usize, number: usize, borders: &[Border; 2], given: Given, heard: &[Vec<u8>]) -> Result<Rows> {
        let (split, border) = (SPLITS[number], &borders[number]);
        let mut taken = Vec::new();
        for giver in border.givers(rank) {
            let [train, test] = border::heard(&heard[giver]).ok_or_else(|| unreadable(giver))?;
            let batches = if number == 0 { train } else { test };
            let lots = border::take(border::path(self.writer.folder(), split, giver), &batches)?;
            if lots.iter().map(Lot::rows).sum::<usize>() != border.given(giver).len() {
                return Err(unreadable(giver));
            }
            taken.extend(lots);
        }
        let own = border.own(rank);
        let first = own.start + given.before;
        let kept = given.kept.into_iter().map(Lot::Piece).collect();
        Ok(Rows::part(split, [kept, taken], first, own, border.all()))
    }
}

/// The number among all ranks' levels of every level of this rank, by column; none: a level is not among them.
fn numbers(own: &[Option<Interner>], all: &[Option<Interner>]) -> Option<Numbers> {
    let of_column = |(own, all): (&Option<Interner>, &Option<Interner>)| match (own, all) {
        (Some(own), Some(all)) => {
            (0..own.len() as u32).map(|id| all.find(own.text(id))).collect::<Option<_>>().map(Some)
        }
        _ => Some(None),
    };
    own.iter().zip(all).map(of_column).collect()
}
