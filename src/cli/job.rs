//! One training from its job to its run folder, on all ranks: every rank makes its part of each pass, rank 0 writes and
//! prints.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use gristmill_io::dataset::Dataset;
use gristmill_io::durable;
use gristmill_io::manifest::Split;
use gristmill_io::trace::{self, Kept, Trace};
use mpi_launch::{Algorithm, Calibration};

use super::ingest::settled;
use super::{RANKS_PER_NODE, Session};
use crate::engine::part::{Key, Part};
use crate::error::{Error, Result};
use crate::plan::payload::Payload;
use crate::ranks;
use crate::report::PassWatch;
use crate::run::parts::Parts;
use crate::run::saver::Saver;
use crate::run::speed::{AllReduceWay, Measured};
use crate::run::write::{self, Job};
use crate::train::{Checkpoint, Company, Ended, PassReport, Start, TrainWatch, Trained};

/// What the run folder holds of a training that is resumed.
#[derive(Default)]
pub struct Before {
    /// Number of its newest checkpoint; 0: none.
    pub number: u64,
    /// What was done of the pass under way.
    pub parts: Vec<Part>,
}

/// Train, write the run, and say what was done.
///
/// # Errors
/// When data cannot be read or learnt from, or the run cannot be written.
pub fn run_job(job: &Job<'_>, start: Start, before: Before, session: &Session) -> Result<()> {
    let Some((trained, measured)) = execute(job, start, before, session)? else { return Ok(()) };
    session.report.json(&write::summary(&trained, &measured, job))?;
    session.report.text(&write::text(&trained, &measured, job))
}

/// Train and write the run; on rank 0 what was trained and measured, elsewhere none.
///
/// # Errors
/// As for [`run_job`].
pub fn execute(job: &Job<'_>, start: Start, before: Before, session: &Session) -> Result<Option<(Trained, Measured)>> {
    let comm = &*session.ranks;
    ranks::same_flags(comm, &together(job, session))?;
    let trace = begin_trace(job, session)?;
    let saver = match comm.rank() {
        0 => Saver::new(job, before.number, &session.cancel, &session.asked).map(Some),
        _ => Ok(None),
    };
    let saver = ranks::agree_with_first(comm, saver)?;
    let placed = Job { plan: ranks::placed(comm, &job.plan)?, ..job.clone() };
    let bytes = job.dataset.grains(Split::Train).iter().map(|grain| grain.bytes).sum();
    let bandwidth = if comm.size() == 1 { Measured::bandwidth(bytes, &placed.plan) } else { None };
    let parts = Parts::new(job, comm.rank(), before.parts, &session.asked_part);
    let way = way_of_sums(session)?;
    let ended = std::thread::scope(|scope| {
        let writing = saver.as_ref().map(|saver| {
            let trace = trace.clone();
            scope.spawn(move || saver.work(trace.as_deref(), |text| session.report.note(text)));
            Writing(|| saver.close())
        });
        scope.spawn(|| parts.work(|text| session.report.note(text)));
        let keeping = Writing(|| parts.close());
        let ended = train(&placed, start, Keepers { saver: saver.as_ref(), parts: &parts }, trace.as_ref(), session);
        drop(keeping);
        drop(writing);
        ended
    });
    // A rank that fails alone has ended the others: then there is nobody to send a trace to.
    let traceable = ended.is_ok() || comm.size() == 1;
    let interrupted = matches!(ended, Ok(Ended::Interrupted(_)));
    let outcome = written(job, &placed, ended, saver.as_ref(), (bandwidth, way), session);
    // Only now there is a checkpoint in the folder to go on from. The exit code is that of the signal, also where a part is lost: it
    // costs its grains and no more, and the others wait for this rank with their traces.
    if interrupted && let Err(error) = parts.finish() {
        session.report.note(&format!("part of a pass could not be written, its grains are read again: {error}"));
    }
    // After the run: a trace that cannot be written costs no model and no checkpoint, and hides no other error.
    let traced = match (job.trace.filter(|_| traceable), &trace) {
        (Some(path), Some(trace)) => write_trace(path, trace, session),
        _ => Ok(()),
    };
    if outcome.is_ok() && traced.is_err() {
        session.report.note(&format!("{} is complete, only its trace is missing", job.output.display()));
    }
    outcome.and_then(|outcome| traced.map(|()| outcome))
}

/// Settings that say which exchanges there are, and of what: ranks that are given others would wait for each other for ever.
fn together(job: &Job<'_>, session: &Session) -> [(&'static str, String); 4] {
    let timeout = session.rank_timeout.map_or_else(|| "none".into(), |timeout| format!("{timeout:?}"));
    let traced = if job.trace.is_some() { "given" } else { "none" };
    let nodes = std::env::var(RANKS_PER_NODE).unwrap_or_default();
    let allreduce = session.allreduce.name().into();
    [("allreduce", allreduce), ("rank-timeout", timeout), ("trace", traced.into()), (RANKS_PER_NODE, nodes)]
}

/// What became of a training, and its run folder; on rank 0, the others wait to hear.
fn written(
    job: &Job<'_>,
    placed: &Job<'_>,
    ended: Result<Ended>,
    saver: Option<&Saver<'_>>,
    (bandwidth, way): (Option<f64>, Option<AllReduceWay>),
    session: &Session,
) -> Result<Option<(Trained, Measured)>> {
    let comm = &*session.ranks;
    let Some(saver) = saver else { return ended.and_then(|ended| elsewhere(&ended, session)) };
    let again = || session.report.note(&format!("go on with: gristmill resume {}", job.output.display()));
    let written = match ended {
        Err(error) => {
            if saver.owns() {
                again();
            }
            return Err(error);
        }
        Ok(Ended::Trained(trained)) => {
            let measured = Measured::of(&trained, &placed.plan, job.dataset, comm.size(), bandwidth);
            let overlapped_seconds = trained.history.iter().map(|pass| pass.overlapped_seconds).sum();
            let dtype = placed.plan.online.as_ref().map_or(Payload::I64, |online| online.allreduce_dtype).name();
            let way = way.map(|way| AllReduceWay { overlapped_seconds, dtype, ..way });
            let measured = Measured { allreduce: way, ..measured };
            let replace = Job { force: job.force || saver.owns(), ..job.clone() };
            write::trained(&trained, &measured, &replace).map(|()| Some((*trained, measured)))
        }
        Ok(Ended::Interrupted(checkpoint)) => {
            match saver.finish(*checkpoint) {
                Ok(()) => again(),
                // The exit code is that of the signal; what the user has lost by it is said here.
                Err(error) => session.report.note(&format!("the checkpoint cannot be written: {error}")),
            }
            Err(Error::Interrupted { signal: 0 })
        }
    };
    ranks::agree_with_first(comm, written)
}

/// Settles how sums go over ranks, by a short trial where that is left open.
fn way_of_sums(session: &Session) -> Result<Option<AllReduceWay>> {
    let comm = &*session.ranks;
    if comm.size() == 1 {
        return Ok(None);
    }
    comm.set_algorithm(session.allreduce);
    // The MPI library's own way cannot notice a silent rank: whether it may be chosen depends on the time limit.
    comm.set_patience(session.rank_timeout);
    let found = if session.allreduce == Algorithm::Auto { comm.calibrate() } else { Ok(None) };
    comm.set_patience(None);
    let found = found?;
    let named = || match session.allreduce {
        Algorithm::Hierarchical if !comm.has_nodes() => {
            "ring, for there are no several nodes of as many ranks each".into()
        }
        asked => asked.name().to_string(),
    };
    let used = found.as_ref().map_or_else(named, Calibration::words);
    session.report.note(&format!("all-reduce: {used}"));
    let calibration_seconds = found.map_or(0.0, |found| found.seconds);
    let (asked, dtype) = (session.allreduce.name(), Payload::I64.name());
    Ok(Some(AllReduceWay { asked, used, dtype, calibration_seconds, overlapped_seconds: 0.0 }))
}

/// An empty trace, begun by all ranks together.
fn begin_trace(job: &Job<'_>, session: &Session) -> Result<Option<Arc<Trace>>> {
    let comm = &*session.ranks;
    let Some(path) = job.trace else { return Ok(None) };
    let free = if comm.rank() == 0 { check_trace(path, job) } else { Ok(()) };
    ranks::agree_with_first(comm, free)?;
    comm.barrier()?;
    Ok(Some(Arc::new(Trace::new(trace::SPANS_MAX / comm.size()))))
}

/// Whether a trace may be written there, before anything is trained: in the place of an older trace only, and not below a file.
fn check_trace(path: &Path, job: &Job<'_>) -> Result<()> {
    durable::check_output(path, job.force)?;
    if path.exists() && !trace::is_one(path) {
        let message = format!("--trace: {} is no trace, so it is not replaced. Name another file", path.display());
        return Err(Error::Usage(message));
    }
    match path.ancestors().skip(1).find(|above| above.exists()) {
        Some(above) if !above.is_dir() => {
            Err(Error::usage(format!("--trace: {} is no folder. Name another file", above.display())))
        }
        _ => Ok(()),
    }
}

/// What all ranks recorded, as one file.
fn write_trace(path: &Path, trace: &Trace, session: &Session) -> Result<()> {
    let own = serde_json::to_vec(&trace.take()).unwrap_or_default();
    let all: Vec<Kept> =
        session.ranks.all_gather(&own)?.iter().map(|bytes| serde_json::from_slice(bytes).unwrap_or_default()).collect();
    if session.ranks.rank() > 0 {
        return Ok(());
    }
    durable::write_output_bytes(path, trace::document(&all).to_string().as_bytes())?;
    let (kept, dropped): (usize, u64) =
        all.iter().fold((0, 0), |(kept, dropped), one| (kept + one.spans.len(), dropped + one.dropped));
    let full = if dropped > 0 { format!("; {dropped} later ones did not fit") } else { String::new() };
    session.report.note(&format!("trace of {kept} spans in {}{full}; open it in ui.perfetto.dev", path.display()));
    Ok(())
}

/// A thread at work that writes; it ends with the training, also when that panics.
struct Writing<F: Fn()>(F);

impl<F: Fn()> Drop for Writing<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Who keeps what a training would lose.
#[derive(Clone, Copy)]
struct Keepers<'a> {
    /// Between passes, on rank 0.
    saver: Option<&'a Saver<'a>>,
    /// Within a pass.
    parts: &'a Parts<'a>,
}

/// The end of a training on a rank that writes nothing.
fn elsewhere(ended: &Ended, session: &Session) -> Result<Option<(Trained, Measured)>> {
    let own = match ended {
        Ended::Trained(_) => Ok(None),
        Ended::Interrupted(_) => Err(Error::Interrupted { signal: 0 }),
    };
    ranks::agree_with_first(&*session.ranks, own)
}

fn train(
    job: &Job<'_>,
    start: Start,
    keepers: Keepers<'_>,
    trace: Option<&Arc<Trace>>,
    session: &Session,
) -> Result<Ended> {
    let comm = &*session.ranks;
    let watcher = session.report.watcher();
    let bytes: u64 = job.dataset.grains(Split::Train).iter().map(|grain| grain.bytes).sum();
    let rows = job.dataset.rows(Split::Train);
    let own_rows = rows / comm.size() as u64;
    let passes = PassWatch::new(&watcher, own_rows, bytes / rows.max(1), job.plan.path().len() > 1);
    let watch = Watch { passes, keepers, trace };
    let company = Company { comm, watch: &watch, cancel: &session.cancel };
    // In passes only: while rank 0 ingests or writes, the others wait as long as it takes.
    comm.set_patience(session.rank_timeout);
    let ended = crate::engine::drive::train(job.dataset, &job.plan, start, &company);
    comm.set_patience(None);
    drop(watcher);
    ended.map_err(|error| ranks::fail(comm, error))
}

/// Tells of passes and keeps where the training stands.
struct Watch<'a> {
    passes: PassWatch<'a>,
    keepers: Keepers<'a>,
    trace: Option<&'a Arc<Trace>>,
}

impl TrainWatch for Watch<'_> {
    fn pass(&self, report: &PassReport) {
        self.passes.pass(report);
    }

    fn rows(&self, rows: u64) {
        self.passes.rows(rows);
    }

    fn stand(&self, take: &dyn Fn() -> Checkpoint) {
        if let Some(saver) = self.keepers.saver {
            saver.stand(take());
        }
    }

    fn wants_stand(&self, passes: u32) -> bool {
        self.keepers.saver.is_some_and(|saver| saver.wants(passes))
    }

    fn wants_part(&self) -> bool {
        self.keepers.parts.wants()
    }

    fn part(&self, part: Part) {
        self.keepers.parts.keep(part);
    }

    fn begun(&self, key: &Key) -> Option<Part> {
        self.keepers.parts.begun(key)
    }

    fn trace(&self) -> Option<&Arc<Trace>> {
        self.trace
    }
}

/// The dataset of which every rank opens what its node has, the same one everywhere.
///
/// # Errors
/// When a rank has no such dataset, or another.
pub fn local(session: &Session, check: impl FnOnce() -> Result<()>, folder: &Path) -> Result<Dataset> {
    let comm = &*session.ranks;
    ranks::agree_with_first(comm, if comm.rank() == 0 { check() } else { Ok(()) })?;
    let dataset = ranks::agree(comm, Dataset::open_local(folder).map_err(Error::from))?;
    let own = dataset.manifest().fingerprint.clone();
    let first = comm.all_gather(own.as_bytes())?.swap_remove(0);
    ranks::agree(comm, same(&dataset, &String::from_utf8_lossy(&first)))?;
    Ok(dataset)
}

/// The dataset that rank 0 finds or makes, with whatever help the others give, opened on every rank, and the same one everywhere.
///
/// # Errors
/// When rank 0 cannot make it, or a rank cannot open it or finds another.
pub fn shared(
    session: &Session,
    make: impl FnOnce() -> Result<Dataset>,
    help: impl FnOnce() -> Result<()>,
) -> Result<Dataset> {
    let comm = &*session.ranks;
    let first = if comm.rank() == 0 { make().map(Some) } else { help().map(|()| None) };
    let first = settled(comm, first)?;
    if comm.size() == 1
        && let Some(dataset) = first
    {
        return Ok(dataset);
    }
    let told = first.as_ref().map(|dataset| {
        let folder = std::path::absolute(dataset.folder()).unwrap_or_else(|_| dataset.folder().to_path_buf());
        (folder, dataset.manifest().fingerprint.clone())
    });
    let mut bytes = serde_json::to_vec(&told).unwrap_or_default();
    comm.broadcast(&mut bytes, 0)?;
    let own = match first {
        Some(dataset) => Ok(dataset),
        None => open_as_told(&bytes),
    };
    ranks::agree(comm, own)
}

fn open_as_told(bytes: &[u8]) -> Result<Dataset> {
    let told: Option<(PathBuf, String)> = serde_json::from_slice(bytes).unwrap_or_default();
    let (folder, fingerprint) = told.ok_or_else(|| Error::usage("rank 0 names its dataset in no known way"))?;
    let dataset = Dataset::open(&folder)?;
    same(&dataset, &fingerprint)?;
    Ok(dataset)
}

/// Refuses a dataset that is not rank 0's.
fn same(dataset: &Dataset, fingerprint: &str) -> Result<()> {
    let found = &dataset.manifest().fingerprint;
    if found == fingerprint {
        return Ok(());
    }
    Err(Error::usage(format!(
        "{} has fingerprint {found} here and {fingerprint} on rank 0: all ranks must see the same files. Use a shared \
         file system, or copies of one dataset",
        dataset.folder().display()
    )))
}
