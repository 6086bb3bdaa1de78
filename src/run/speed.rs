//! How fast a training was: rates, where its time went, and beside which rulers of the same machine it is held.
//!
//! ```text
//! wall time of the training = opening + passes + solving + checkpointing
//! a pass                    = waiting + reading + computing + idle (mean of this rank's workers) + reducing
//! ```
//! Rulers are measured by the same process: memory (50 ms) before the training, so that its buffers and the data are never in memory
//! together; multiply-adds (5 ms) and, where workers waited for data, the disk (at most 0.3 s) right after it.

use gristmill_io::dataset::Dataset;
use serde::Serialize;

use super::bound::Bound;
use crate::machine::{self, disk, fma};
use crate::plan::TrainPlan;
use crate::report::number;
use crate::train::{PassReport, Trained};

/// A training that reads less than this is over before its speed can be told.
const BYTES_MIN: u64 = 64 << 20;
/// The disk is measured where at least this share of the time was spent waiting for data,
const WAITING_SHARE_MIN: f64 = 0.1;
/// in trainings of at least so many seconds.
const DISK_SECONDS_MIN: f64 = 1.0;

/// How fast it was.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Measured {
    /// Processes.
    pub ranks: usize,
    /// Worker threads of rank 0.
    pub threads: usize,
    /// Seconds inside passes.
    pub pass_seconds: f64,
    /// Rows a second inside passes.
    pub rows_per_s: f64,
    /// Bytes a second inside passes.
    pub bytes_per_s: f64,
    /// Memory-read bandwidth of as many threads, measured right before; none for data too small to tell, and with several
    /// ranks, of which only one would measure.
    pub memory_bytes_per_s: Option<f64>,
    /// Multiply-adds a second of as many threads at their peak; none where memory is none.
    pub multiply_adds_per_s: Option<f64>,
    /// What direct reads of the same files gave, bytes a second; none where workers hardly waited for data.
    pub disk_bytes_per_s: Option<f64>,
    /// Where the time of the training went.
    pub time: Time,
    /// What bounds it.
    pub bound: Bound,
    /// How sums went over ranks; none with one.
    pub allreduce: Option<AllReduceWay>,
}

/// How sums went over ranks.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AllReduceWay {
    /// What `--allreduce` said.
    pub asked: &'static str,
    /// What came of it: `tree below 256 KiB, ring from there on`.
    pub used: String,
    /// As what ranks sent each other the sums of batches; `i64` is exact.
    pub dtype: &'static str,
    /// Seconds that finding out took.
    pub calibration_seconds: f64,
    /// Seconds in which sums went over the ranks while rank 0 scanned rows.
    pub overlapped_seconds: f64,
}

/// Seconds of a training by what they were spent on; they add up to its wall time. Of a training that was resumed, the passes
/// before the interruption count, and nothing else of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Time {
    /// Before the first pass: statistics, targets, streams.
    pub opening_seconds: f64,
    /// Inside passes, waiting for data that were not in memory.
    pub waiting_seconds: f64,
    /// Inside passes, looking at what was read, and letting go of it.
    pub reading_seconds: f64,
    /// Inside passes, in kernels and sums.
    pub computing_seconds: f64,
    /// Inside passes, otherwise: threads start, and those that are done wait for the last.
    pub idle_seconds: f64,
    /// Adding sums over workers and ranks, the slowest of which is waited for.
    pub reducing_seconds: f64,
    /// Solvers, between passes.
    pub solving_seconds: f64,
    /// Copies for checkpoints; they are written aside.
    pub checkpointing_seconds: f64,
}

impl Time {
    /// Of a training.
    pub fn of(trained: &Trained) -> Time {
        let sum = |part: fn(&PassReport) -> f64| passes(trained).map(part).sum::<f64>();
        let inside = sum(|pass| pass.seconds);
        let waiting_seconds = sum(|pass| pass.waiting_seconds);
        let reading_seconds = sum(|pass| pass.reading_seconds);
        let computing_seconds = sum(|pass| pass.computing_seconds);
        let reducing_seconds = sum(|pass| pass.reducing_seconds);
        let known = waiting_seconds + reading_seconds + computing_seconds + reducing_seconds;
        let outside = trained.opening_seconds + trained.checkpointing_seconds;
        Time {
            opening_seconds: trained.opening_seconds,
            waiting_seconds,
            reading_seconds,
            computing_seconds,
            idle_seconds: (inside - known).max(0.0),
            reducing_seconds,
            // A resumed training counts the passes before it was interrupted, and not their seconds.
            solving_seconds: (trained.seconds - inside - outside).max(0.0),
            checkpointing_seconds: trained.checkpointing_seconds,
        }
    }

    /// Every part with its name.
    pub fn parts(&self) -> [(&'static str, f64); 8] {
        [
            ("opening", self.opening_seconds),
            ("waiting for data", self.waiting_seconds),
            ("reading", self.reading_seconds),
            ("computing", self.computing_seconds),
            ("idle", self.idle_seconds),
            ("reducing", self.reducing_seconds),
            ("solving", self.solving_seconds),
            ("checkpointing", self.checkpointing_seconds),
        ]
    }

    /// All of it.
    pub fn wall(&self) -> f64 {
        self.parts().iter().map(|(_, s)| s).sum()
    }

    /// The parts as shares, the largest first, those below half a per cent left out.
    pub fn text(&self) -> String {
        let wall = self.wall().max(1e-9);
        let mut parts = self.parts();
        parts.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        let shown = parts.iter().map(|(name, s)| (name, s / wall)).filter(|(_, share)| *share >= 0.005);
        shown.map(|(name, share)| format!("{name} {}", number::share(share))).collect::<Vec<_>>().join(", ")
    }
}

/// All passes of a training.
pub fn passes(trained: &Trained) -> impl Iterator<Item = &PassReport> {
    trained.history.iter()
}

impl Measured {
    /// The machine's bandwidth, measured before the data is mapped; none where `bytes` of data are over too soon to compare.
    pub fn bandwidth(bytes: u64, plan: &TrainPlan) -> Option<f64> {
        let limit = plan.memory.map_or(u64::MAX, |limit| limit / 2);
        if bytes < BYTES_MIN { None } else { machine::memory_bandwidth(machine::threads(plan.threads), limit) }
    }

    /// The speed of a training beside the machine's, of which `bandwidth` was measured before; measures the rest.
    pub fn of(
        trained: &Trained,
        plan: &TrainPlan,
        dataset: &Dataset,
        ranks: usize,
        bandwidth: Option<f64>,
    ) -> Measured {
        let sum = |part: fn(&PassReport) -> f64| passes(trained).map(part).sum::<f64>();
        let pass_seconds = sum(|pass| pass.seconds);
        let s = pass_seconds.max(1e-9);
        let time = Time::of(trained);
        let threads = machine::threads(plan.threads);
        let mut measured = Measured {
            ranks,
            threads,
            pass_seconds,
            rows_per_s: sum(|pass| pass.rows as f64) / s,
            bytes_per_s: sum(|pass| pass.bytes as f64) / s,
            memory_bytes_per_s: bandwidth,
            multiply_adds_per_s: bandwidth.and_then(|_| multiply_adds(trained, threads)),
            disk_bytes_per_s: disk_rate(&time, dataset),
            time,
            bound: Bound::default(),
            allreduce: None,
        };
        measured.bound = Bound::of(trained, &measured);
        measured
    }

    /// Share of the memory bandwidth.
    pub fn share(&self) -> Option<f64> {
        self.memory_bytes_per_s.map(|bandwidth| self.bytes_per_s / bandwidth)
    }

    /// The speed in words.
    pub fn text(&self) -> String {
        let rates = format!("{}, {}", number::rows_per_s(self.rows_per_s), number::gb_per_s(self.bytes_per_s));
        match (self.share(), self.memory_bytes_per_s) {
            (Some(share), Some(bandwidth)) => {
                let (share, bandwidth) = (number::share(share), number::gb_per_s(bandwidth));
                format!("{rates}: {share} of the memory bandwidth measured in this run ({bandwidth})")
            }
            _ if self.ranks > 1 => rates,
            _ => format!("{rates} (over too soon to compare with memory bandwidth)"),
        }
    }
}

/// Peak multiply-adds a second of the tier and type that the training used for most of its own.
fn multiply_adds(trained: &Trained, threads: usize) -> Option<f64> {
    let tier = gristmill_kernels::Tier::from_name(&trained.tier)?;
    let wide = trained.arithmetic == "f64" || closed_form(trained);
    let operations = if wide { fma::peak::<f64>(tier, threads) } else { fma::peak::<f32>(tier, threads) };
    (operations > 0.0).then_some(operations / 2.0)
}

/// True when most multiply-adds were those of a closed form, whose products are `f64` whatever the data are.
fn closed_form(trained: &Trained) -> bool {
    let is_gram = |pass: &&PassReport| pass.first.collected == "gram";
    let all: f64 = passes(trained).map(|pass| pass.multiply_adds).sum();
    passes(trained).filter(is_gram).map(|pass| pass.multiply_adds).sum::<f64>() > all / 2.0
}

/// What the disk gives, where the training waited for it.
fn disk_rate(time: &Time, dataset: &Dataset) -> Option<f64> {
    let wall = time.wall();
    if wall < DISK_SECONDS_MIN || time.waiting_seconds < WAITING_SHARE_MIN * wall {
        return None;
    }
    let files: Vec<_> =
        dataset.shards().iter().filter(|shard| shard.is_here()).map(|shard| shard.path().to_path_buf()).collect();
    disk::read_rate(&files)
}

#[cfg(test)]
mod tests {
    use gristmill_io::manifest::Role;
    use gristmill_io::testing::SampleDataset;

    use super::*;
    use crate::engine::tests::fit;

    #[test]
    fn the_shares_of_time_add_up() {
        let folder = tempfile::tempdir().expect("a folder");
        let x: Vec<f32> = (0..1_000).map(|i| ((i * 37) % 101) as f32).collect();
        let y = x.iter().enumerate().map(|(i, x)| f32::from(x + (i % 70) as f32 > 80.0)).collect();
        let sample = SampleDataset::new(64).f32("x", Role::Feature, x).f32("y", Role::Label, y);
        let dataset = sample.write(&folder.path().join("data")).expect("a dataset");
        let trained = fit(&dataset, r#"{"model": "logistic", "l2": 0.01, "threads": 2}"#).expect("trains");
        let time = Time::of(&trained);
        assert!(time.parts().iter().all(|&(_, part)| part >= 0.0), "{time:?}");
        let sure = [time.opening_seconds, time.waiting_seconds, time.computing_seconds, time.reducing_seconds];
        assert!(sure.iter().all(|&part| part > 0.0), "{time:?}");
        assert!((time.wall() / trained.seconds - 1.0).abs() < 1e-6, "{time:?} {}", trained.seconds);
        // One stored number a row, and the label is none: a gradient multiplies it twice.
        let mut gradients = passes(&trained).filter(|pass| pass.first.collected == "gradient" && pass.share == 1.0);
        assert!(gradients.all(|pass| pass.multiply_adds == 2_000.0), "{trained:?}");
    }
}
