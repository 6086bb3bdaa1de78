//! `gristmill doctor`: what this machine can do, and what gristmill makes of it; under mpirun, what the ranks can.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use gristmill_io::memory::{Limits, format_size};
use gristmill_io::watch::Cancel;
use gristmill_kernels::tier::Tier;
use serde::Serialize;

use super::options::{OutputOptions, RankOptions, threads};
use super::ring_test::{self, RanksFinding};
use super::session::{Ranks, Session};
use crate::error::Result;
use crate::machine::{self, MachineReport, disk};
use crate::report::{Table, number};

/// Bytes written and read to measure the disk: seconds on a slow one, enough to fill the queue of a fast one.
const DISK_TEST_BYTES: u64 = 1 << 30;

/// How soon a request to stop is noticed.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// Arguments of `doctor`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Measure the disk of a folder as well (writes and reads 1 GiB there)
    #[arg(long, value_name = "FOLDER", num_args = 0..=1, default_missing_value = ".")]
    disk: Option<PathBuf>,
    /// Threads that read memory; default: all cores that this process may use
    #[arg(long, value_name = "N", value_parser = threads)]
    threads: Option<usize>,
    #[command(flatten)]
    output: OutputOptions,
}

/// What was found.
#[derive(Debug, Serialize)]
struct Findings {
    version: &'static str,
    machine: MachineReport,
    tier: TierFinding,
    memory: MemoryFinding,
    disk: Option<disk::DiskBandwidth>,
    mpi: MpiFinding,
    ranks: Option<RanksFinding>,
}

#[derive(Debug, Serialize)]
struct TierFinding {
    used: Option<&'static str>,
    best: &'static str,
    available: Vec<&'static str>,
    forced_by_environment: Option<String>,
    fault: Option<String>,
}

#[derive(Debug, Serialize)]
struct MemoryFinding {
    machine_bytes: u64,
    available_bytes: u64,
    control_group_bytes: Option<u64>,
    address_space_bytes: Option<u64>,
    used_by_default_bytes: u64,
}

#[derive(Debug, Serialize)]
struct MpiFinding {
    built: bool,
    library: Option<String>,
    launcher: Option<String>,
}

/// Look and measure.
///
/// # Errors
/// When the disk cannot be measured, a rank is lost, or a sum over ranks is wrong.
pub fn run(arguments: &Arguments, ranks: &Ranks) -> Result<()> {
    let session = Session::among(&arguments.output, ranks, &RankOptions::default())?;
    look(arguments, ranks, &session).map_err(|error| session.explain(error))
}

fn look(arguments: &Arguments, ranks: &Ranks, session: &Session) -> Result<()> {
    let found = ring_test::look(&**ranks)?;
    if let Some(note) = ring_test::crowding(&crate::ranks::places(&**ranks)?) {
        session.report.note(&note);
    }
    if ranks.rank() > 0 {
        return Ok(());
    }
    let threads = machine::threads(arguments.threads.unwrap_or(0));
    let disk = arguments.disk.as_deref().map(|folder| measure_disk(folder, &session.cancel)).transpose()?;
    session.cancel.check()?;
    let machine = measure_machine(threads, &session.cancel)?;
    let findings = Findings {
        version: env!("CARGO_PKG_VERSION"),
        machine,
        tier: tier(),
        memory: memory_finding(),
        disk,
        mpi: MpiFinding { built: cfg!(feature = "mpi"), library: mpi_launch::launch::library(), launcher: launcher() },
        ranks: found,
    };
    session.report.json(&findings)?;
    session.report.text(&text(&findings))
}

/// Who started this process as one of several ranks.
fn launcher() -> Option<String> {
    let launch = mpi_launch::launch::detect_here().ok().flatten()?;
    Some(launch.launcher.to_string())
}

/// In a thread of its own: a second or two of memory that is written and read are not to be waited for once a signal came.
fn measure_machine(threads: usize, cancel: &Cancel) -> Result<MachineReport> {
    let tier = Tier::chosen().unwrap_or_else(|_| Tier::best());
    let measuring = std::thread::spawn(move || MachineReport::measure(tier, threads));
    while !measuring.is_finished() {
        cancel.check()?;
        std::thread::sleep(LOOK_INTERVAL);
    }
    measuring.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn measure_disk(folder: &std::path::Path, cancel: &Cancel) -> Result<disk::DiskBandwidth> {
    disk::measure(&disk::DiskTest::new(folder, DISK_TEST_BYTES), cancel)
        .map_err(|error| gristmill_io::Error::io(folder, "cannot measure the disk", error).into())
}

fn tier() -> TierFinding {
    let forced = std::env::var(gristmill_kernels::tier::VARIABLE).ok();
    let chosen = Tier::chosen();
    TierFinding {
        used: chosen.as_ref().ok().map(|tier| tier.name()),
        best: Tier::best().name(),
        available: Tier::available().into_iter().map(Tier::name).collect(),
        forced_by_environment: forced,
        fault: chosen.err().map(|error| error.to_string()),
    }
}

fn text(found: &Findings) -> String {
    let mut table = Table::of_pairs();
    let processor = &found.machine.processor;
    let name = if processor.name.is_empty() { "(the system does not say)" } else { &processor.name };
    table.pair("processor", name);
    table.pair("cores", format!("{} usable of {} online", processor.cores_usable, processor.cores_online));
    let caches: Vec<String> = processor
        .caches
        .iter()
        .map(|cache| format!("L{} {}", cache.level, number::binary_bytes(cache.bytes)))
        .collect();
    table.pair("caches", caches.join(", "));
    table.pair("tier", tier_text(&found.tier));
    let memory = &found.machine.memory;
    let rate = number::gb_per_s(memory.best);
    table.pair(
        "memory bandwidth",
        format!("{rate} read by {} threads (median {})", memory.threads, number::gb_per_s(memory.median)),
    );
    let fma = &found.machine.fma;
    let rates = [fma.f32_one, fma.f32_all, fma.f64_one, fma.f64_all].map(|rate| format!("{:.0}", rate / 1e9));
    let [f32_one, f32_all, f64_one, f64_all] = rates;
    let all = fma.threads;
    table.pair(
        "multiply-add peak",
        format!("Gflop/s: f32 {f32_one} by one thread, {f32_all} by {all}; f64 {f64_one}, {f64_all}"),
    );
    table.pair("memory", memory_text(&found.memory));
    table.pair("disk", found.disk.as_ref().map_or("not measured (add --disk)".into(), disk_text));
    table.pair("mpi", mpi_text(&found.mpi));
    let own = format!("gristmill {}\n{}", found.version, table.text(2));
    found.ranks.as_ref().map_or(own.clone(), |ranks| format!("{own}\n{}", ring_test::text(ranks)))
}

fn memory_finding() -> MemoryFinding {
    let limits = Limits::now();
    MemoryFinding {
        machine_bytes: limits.machine_bytes,
        available_bytes: limits.available_bytes,
        control_group_bytes: limits.group_bytes,
        address_space_bytes: limits.space_bytes,
        used_by_default_bytes: limits.default_bytes(),
    }
}

fn memory_text(memory: &MemoryFinding) -> String {
    let [machine, free, default] =
        [memory.machine_bytes, memory.available_bytes, memory.used_by_default_bytes].map(format_size);
    let group = memory.control_group_bytes.map_or("no control group limits it".to_string(), |bytes| {
        format!("the control group allows {}", format_size(bytes))
    });
    let space = memory
        .address_space_bytes
        .map_or(String::new(), |bytes| format!(", the limit on address space leaves {}", format_size(bytes)));
    format!("{machine} in the machine, {free} available, {group}{space}; used without --memory: {default}")
}

fn tier_text(tier: &TierFinding) -> String {
    let others = tier.available.join(", ");
    match (&tier.used, &tier.fault, &tier.forced_by_environment) {
        (Some(used), _, Some(_)) => format!("{used}, as GRISTMILL_TIER says (of {others})"),
        (Some(used), _, None) => format!("{used} (of {others}; GRISTMILL_TIER forces another)"),
        (None, fault, _) => fault.clone().unwrap_or_default(),
    }
}

fn disk_text(disk: &disk::DiskBandwidth) -> String {
    let cache = if disk.direct { "" } else { "; through the page cache, so perhaps the speed of memory" };
    let (read, write) = (number::gb_per_s(disk.read), number::gb_per_s(disk.write));
    format!("{read} read, {write} written in {}{cache}", disk.folder.display())
}

fn mpi_text(mpi: &MpiFinding) -> String {
    let built = match &mpi.library {
        Some(library) => format!("built in: {library}"),
        None => "not built in (cargo build --release --features mpi)".to_string(),
    };
    let launcher =
        mpi.launcher.as_ref().map_or("started stand-alone".into(), |launcher| format!("started by {launcher}"));
    format!("{built}; {launcher}")
}
