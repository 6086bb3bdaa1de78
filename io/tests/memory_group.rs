//! A pass over data eight times the budget keeps memory, page cache of our maps included, inside it: measured by the
//! kernel, in a memory control group of its own. Skipped with a message where such a group cannot be made.

// A failed set-up is a failed test.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Command;

use gristmill_io::manifest::{Role, Split};
use gristmill_io::testing::SampleDataset;
use gristmill_io::tiles::{Io, Pick, StreamOptions};
use gristmill_io::watch::{Cancel, Silent};
use gristmill_io::{Dataset, Error, memory};

const MIB: u64 = 1 << 20;
const BUDGET: u64 = 16 * MIB;
/// The process itself: code, stacks, tables of the kernel for it.
const OVERHEAD: u64 = 20 * MIB;
const COLUMNS: usize = 16;
const GRAIN_ROWS: usize = 20_032;
const ROWS: usize = 100 * GRAIN_ROWS;
const FOLDER: &str = "GRISTMILL_TEST_FOLDER";
const WAY: &str = "GRISTMILL_TEST_IO";
const GROUP: &str = "GRISTMILL_TEST_GROUP";

/// A control group that is removed at the end.
struct Group {
    folder: PathBuf,
    peak: &'static str,
}

impl Group {
    fn make(name: &str) -> Option<Group> {
        let name = format!("gristmill-test-{}-{name}", std::process::id());
        let versions = [("/sys/fs/cgroup/memory", "memory.max_usage_in_bytes"), ("/sys/fs/cgroup", "memory.peak")];
        versions.into_iter().find_map(|(root, peak)| {
            let folder = Path::new(root).join(&name);
            std::fs::create_dir(&folder).ok()?;
            let group = Group { folder, peak };
            group.folder.join(peak).exists().then_some(group)
        })
    }

    fn peak(&self) -> u64 {
        std::fs::read_to_string(self.folder.join(self.peak)).unwrap().trim().parse().unwrap()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.folder);
    }
}

fn write(folder: &Path) {
    let mut sample = SampleDataset::new(GRAIN_ROWS).grains_per_shard(30);
    for column in 0..COLUMNS {
        sample = sample.f32(&format!("x{column}"), Role::Feature, (0..ROWS).map(|row| (row % 1000) as f32).collect());
    }
    let dataset = sample.f32("y", Role::Label, vec![1.0; ROWS]).write(folder).unwrap();
    // Pages in the cache are on the account of whoever read them first: that must be the process that is measured.
    for shard in dataset.shards() {
        shard.map().unwrap().evict(0..std::fs::metadata(shard.path()).unwrap().len() as usize);
    }
}

/// What the measured process does.
fn scan_in_group(folder: &Path, way: &str, group: &Path) {
    std::fs::write(group.join("cgroup.procs"), std::process::id().to_string()).unwrap();
    let dataset = Dataset::open(folder).unwrap();
    let io = Io::ALL.into_iter().find(|io| io.name() == way).unwrap();
    let options = StreamOptions { budget_bytes: BUDGET, threads: 2, io, ..StreamOptions::new(Split::Train) };
    let stream = dataset.stream(options).unwrap();
    for _ in 0..3 {
        let mut rows = [0, 0];
        let report = stream.scan(&mut rows, Pick::All, &Cancel::new(), &Silent, |rows, _, grain| {
            let Some(gristmill_kernels::tile::Values::F32(label)) = grain.label else { panic!("label") };
            *rows += label.iter().filter(|&&value| value == 1.0).count();
            Ok::<(), Error>(())
        });
        assert!(report.unwrap().read_bytes >= 100 * MIB);
        assert_eq!(rows.iter().sum::<usize>(), ROWS);
    }
}

#[test]
fn memory_stays_inside_the_budget() {
    if let (Ok(folder), Ok(way), Ok(group)) = (std::env::var(FOLDER), std::env::var(WAY), std::env::var(GROUP)) {
        return scan_in_group(Path::new(&folder), &way, Path::new(&group));
    }
    if Group::make("probe").is_none() {
        eprintln!("skipped: no memory control group can be made here (that takes root, and a writable /sys/fs/cgroup)");
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path().join("data");
    let mut peaks = Vec::new();
    for way in ["mmap", "direct"] {
        // Anew for each: what the first leaves in the page cache is not on the second one's account.
        let _ = std::fs::remove_dir_all(&folder);
        write(&folder);
        let group = Group::make(way).unwrap();
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "memory_stays_inside_the_budget", "--nocapture"])
            .env(FOLDER, &folder)
            .env(WAY, way)
            .env(GROUP, &group.folder)
            .output()
            .unwrap();
        if way == "direct" && String::from_utf8_lossy(&child.stderr).contains("has no direct I/O") {
            eprintln!("skipped: the file system of {} has no direct I/O", scratch.path().display());
            continue;
        }
        assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stderr));
        let peak = group.peak();
        println!("{way}: peak {} for {}", memory::format_size(peak), memory::format_size(BUDGET));
        peaks.push(peak);
    }
    assert!(peaks.iter().all(|&peak| peak <= BUDGET + OVERHEAD), "{peaks:?}");
}
