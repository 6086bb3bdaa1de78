//! How much memory this process may use, and who says so: the cgroup (version 2 or 1) or the machine.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Share of the limit that is used when the user gives none: the rest is for the system, other programs, and what a
/// program holds besides its data.
const DEFAULT_SHARE: f64 = 0.6;

/// The limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryLimit {
    /// Bytes.
    pub bytes: u64,
    /// Who says so.
    pub from: String,
}

/// The tightest limit on this process.
pub fn memory_limit() -> MemoryLimit {
    read(Path::new("/"))
}

/// Bytes to use when the user gives none.
pub fn default_memory_bytes() -> u64 {
    (memory_limit().bytes as f64 * DEFAULT_SHARE) as u64
}

/// The limit as files under `root` say it (tests bring their own).
fn read(root: &Path) -> MemoryLimit {
    let machine =
        machine(root).unwrap_or(MemoryLimit { bytes: 4 << 30, from: "assumed: the system does not say".into() });
    let tightest = cgroup_files(root).into_iter().filter_map(|path| {
        let bytes = fs::read_to_string(&path).ok()?.trim().parse::<u64>().ok()?;
        Some(MemoryLimit { bytes, from: format!("cgroup, {}", path.display()) })
    });
    tightest.filter(|limit| limit.bytes < machine.bytes).min_by_key(|limit| limit.bytes).unwrap_or(machine)
}

fn machine(root: &Path) -> Option<MemoryLimit> {
    let meminfo = fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(MemoryLimit { bytes: kib.checked_mul(1024)?, from: "the machine".into() })
}

/// Files that may hold a limit: of the process's own group and of every group above it, since each counts.
fn cgroup_files(root: &Path) -> Vec<PathBuf> {
    let mounted = root.join("sys/fs/cgroup");
    let mut files = vec![mounted.join("memory.max"), mounted.join("memory/memory.limit_in_bytes")];
    for line in fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default().lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(group)) = (parts.next(), parts.next()) else { continue };
        let (base, file) = match controllers {
            "" => (mounted.clone(), "memory.max"),
            _ if controllers.split(',').any(|controller| controller == "memory") => {
                (mounted.join("memory"), "memory.limit_in_bytes")
            }
            _ => continue,
        };
        let group = Path::new(group.trim_start_matches('/'));
        files.extend(group.ancestors().map(|above| base.join(above).join(file)));
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine_with(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("temporary folder");
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("creates");
            fs::write(path, text).expect("writes");
        }
        root
    }

    #[test]
    fn the_tightest_limit_counts() {
        let meminfo = ("proc/meminfo", "MemTotal:       16777216 kB\nMemFree: 1 kB\n");
        let free = machine_with(&[meminfo, ("sys/fs/cgroup/memory.max", "max\n")]);
        assert_eq!(read(free.path()), MemoryLimit { bytes: 16 << 30, from: "the machine".into() });
        let limited = machine_with(&[
            meminfo,
            ("proc/self/cgroup", "0::/jobs/7/step\n"),
            ("sys/fs/cgroup/jobs/7/memory.max", "1073741824\n"),
            ("sys/fs/cgroup/jobs/7/step/memory.max", "max\n"),
        ]);
        assert_eq!(read(limited.path()).bytes, 1 << 30);
        let first = machine_with(&[
            meminfo,
            ("proc/self/cgroup", "5:cpu:/x\n4:memory:/docker/1\n"),
            ("sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes", "536870912\n"),
        ]);
        assert_eq!(read(first.path()).bytes, 512 << 20);
    }

    #[test]
    fn a_silent_system_is_no_failure() {
        let nothing = machine_with(&[]);
        assert!(read(nothing.path()).from.contains("assumed"));
        assert!(memory_limit().bytes > 0);
    }
}
