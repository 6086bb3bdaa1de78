//! How much memory may be used: what the user says, else 80 % of what the machine and the control group allow.
//!
//! A control group's limit counts the page cache of our own maps too, and a limit of any group above ours binds us. Read
//! from `/proc/meminfo` (`MemAvailable`), `/proc/self/cgroup` and the files of control groups, versions 1 and 2. Batch systems that
//! limit "virtual memory" limit the address space (`/proc/self/limits`), in which maps, and the stacks and heaps of threads, count whole.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::Access;

use crate::error::{Error, Result};

/// Share of the available memory that is used when no limit is given; the rest is for what is not counted.
pub const DEFAULT_SHARE: f64 = 0.8;

/// What the system allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Memory of the machine.
    pub machine_bytes: u64,
    /// Memory that could be had without swapping.
    pub available_bytes: u64,
    /// The smallest limit of the control groups we are in, where there is one.
    pub group_bytes: Option<u64>,
    /// Half of the address space that we may have, where that has a limit: threads reserve more of it than they use.
    pub space_bytes: Option<u64>,
}

impl Limits {
    /// Ask the system.
    pub fn now() -> Limits {
        Limits::read(Path::new("/proc"), Path::new("/sys/fs/cgroup"))
    }

    fn read(proc: &Path, groups: &Path) -> Limits {
        let table = fs::read_to_string(proc.join("meminfo")).unwrap_or_default();
        let entry = |name: &str| {
            let line = table.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
        };
        // Without /proc nothing is known; 1 GiB is what a machine without it surely has.
        let machine_bytes = entry("MemTotal").unwrap_or(1 << 30);
        let available_bytes = entry("MemAvailable").unwrap_or(machine_bytes / 2);
        let ours = fs::read_to_string(proc.join("self/cgroup")).unwrap_or_default();
        let limits = ours.lines().filter_map(|line| group_limit(groups, line));
        let group_bytes = limits.min().filter(|&limit| limit < machine_bytes);
        let own = fs::read_to_string(proc.join("self/limits")).unwrap_or_default();
        let space = own.lines().find_map(|line| line.strip_prefix("Max address space")?.split_whitespace().next());
        let space_bytes = space.and_then(|bytes| bytes.parse::<u64>().ok()).map(|bytes| bytes / 2);
        Limits { machine_bytes, available_bytes, group_bytes, space_bytes }
    }

    /// What could be had now.
    pub fn free_bytes(&self) -> u64 {
        [self.group_bytes, self.space_bytes].into_iter().flatten().fold(self.available_bytes, u64::min)
    }

    /// What [`Limits::free_bytes`] comes from, with the number.
    pub fn what_binds(&self) -> String {
        let free = self.free_bytes();
        let size = format_size(free);
        if self.group_bytes == Some(free) {
            format!("the control group (cgroup) of this process has a memory limit of {size}")
        } else if self.space_bytes == Some(free) {
            format!("the address space of this process is limited (ulimit -v) so that {size} can be used")
        } else {
            format!("this machine has {size} of memory to spare")
        }
    }

    /// The limit when the user gives none.
    pub fn default_bytes(&self) -> u64 {
        (self.free_bytes() as f64 * DEFAULT_SHARE) as u64
    }
}

/// The smallest limit on the way from one of our groups up to the root; `line` is one of `/proc/self/cgroup`:
/// `0::/path` (version 2) or `number:controllers:/path` (version 1).
fn group_limit(groups: &Path, line: &str) -> Option<u64> {
    let mut parts = line.splitn(3, ':');
    let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
    let (roots, file): (&[&str], _) = if controllers.is_empty() {
        (&["", "unified"], "memory.max")
    } else if controllers.split(',').any(|controller| controller == "memory") {
        (&["memory"], "memory.limit_in_bytes")
    } else {
        return None;
    };
    let mut least = None;
    for root in roots {
        let root = groups.join(root);
        let mut folder = root.join(path.trim_start_matches('/'));
        // In a container the path may name a group that only the host sees: then its root is ours.
        while folder.starts_with(&root) {
            let limit = fs::read_to_string(folder.join(file)).ok().and_then(|text| text.trim().parse::<u64>().ok());
            least = [least, limit].into_iter().flatten().min();
            if !folder.pop() {
                break;
            }
        }
    }
    least
}

/// Where to put what memory does not hold: the folder that TMPDIR names, else `/var/tmp`, else `/tmp`, which is memory on many systems.
pub fn scratch_folder() -> PathBuf {
    let large = Path::new("/var/tmp");
    let is_ours = |folder| rustix::fs::access(folder, Access::WRITE_OK | Access::EXEC_OK).is_ok();
    if std::env::var_os("TMPDIR").is_none() && is_ours(large) { large.to_path_buf() } else { std::env::temp_dir() }
}

/// Units of sizes, largest first.
const UNITS: [(&str, f64); 12] = [
    ("tib", 1099511627776.0),
    ("gib", 1073741824.0),
    ("mib", 1048576.0),
    ("kib", 1024.0),
    ("tb", 1e12),
    ("gb", 1e9),
    ("mb", 1e6),
    ("kb", 1e3),
    ("t", 1099511627776.0),
    ("g", 1073741824.0),
    ("m", 1048576.0),
    ("k", 1024.0),
];

/// Read a size: `8GiB`, `1.5 GiB`, `500MB` (millions), `8G` (as GiB), `1048576`, `1024B`.
///
/// # Errors
/// [`Error::Usage`] when it is none, or less than one byte.
pub fn parse_size(text: &str) -> Result<u64> {
    let lower = text.trim().to_ascii_lowercase();
    let unit = UNITS.iter().find_map(|(name, factor)| Some((lower.strip_suffix(name)?, *factor)));
    let (number, factor) = unit.unwrap_or((lower.strip_suffix('b').unwrap_or(&lower), 1.0));
    match number.trim().parse::<f64>() {
        // Half a byte is no unit forgotten but one too few: 1.5 was meant as 1.5GiB.
        Ok(number) if (factor > 1.0 || number.fract() == 0.0) && (1.0..9e18).contains(&(number * factor)) => {
            Ok((number * factor) as u64)
        }
        _ => Err(Error::Usage(format!("'{text}' is no size. Expected one such as 8GiB, 500MB or 1048576"))),
    }
}

/// Bytes that this process has in memory now; 0 where the system does not tell.
pub fn resident_bytes() -> u64 {
    let told = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = told.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}

/// A size as people read it: `3.6 GiB`.
pub fn format_size(bytes: u64) -> String {
    let unit = UNITS[..4].iter().zip(["TiB", "GiB", "MiB", "KiB"]).find(|((_, factor), _)| bytes as f64 >= *factor);
    match unit {
        Some(((_, factor), name)) => format!("{:.1} {name}", bytes as f64 / factor),
        None => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn what_is_touched_is_resident() {
        let touched = vec![1u8; 32 << 20];
        assert!(resident_bytes() > std::hint::black_box(touched).len() as u64);
    }

    #[test]
    fn sizes_are_read() {
        for (text, bytes) in [
            ("8GiB", 8 << 30),
            ("8 gib", 8 << 30),
            ("8G", 8 << 30),
            ("1.5MiB", 3 << 19),
            ("500MB", 500_000_000),
            ("2kb", 2000),
            ("1048576", 1 << 20),
            ("17B", 17),
            ("1e3", 1000),
            ("1TiB", 1 << 40),
        ] {
            assert_eq!(parse_size(text).unwrap(), bytes, "{text}");
        }
        for text in ["", "G", "-1", "0", "8 apples", "nan", "inf", "1e30", "0.1", "1.5", "1.5B"] {
            assert!(parse_size(text).unwrap_err().to_string().contains("8GiB"), "{text}");
        }
    }

    #[test]
    fn sizes_are_written() {
        let sizes = [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (3 << 29, "1.5 GiB"), (1 << 42, "4.0 TiB")];
        for (bytes, text) in sizes {
            assert_eq!(format_size(bytes), text);
        }
    }

    /// A `/proc` and a `/sys/fs/cgroup` with these files.
    fn system(files: &[(&str, &str)]) -> (tempfile::TempDir, Limits) {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        let limits = Limits::read(&folder.path().join("proc"), &folder.path().join("cgroup"));
        (folder, limits)
    }

    const MEMINFO: (&str, &str) =
        ("proc/meminfo", "MemTotal:       16777216 kB\nMemFree: 1 kB\nMemAvailable:    8388608 kB\n");

    #[test]
    fn the_limit_is_the_smallest_of_all_groups_above() {
        let (_folder, limits) = system(&[
            MEMINFO,
            ("proc/self/cgroup", "0::/a/b\n"),
            ("cgroup/a/b/memory.max", "max\n"),
            ("cgroup/a/memory.max", "1073741824\n"),
        ]);
        assert_eq!((limits.machine_bytes, limits.available_bytes), (16 << 30, 8 << 30));
        assert_eq!(limits.group_bytes, Some(1 << 30));
        assert_eq!(limits.default_bytes(), ((1u64 << 30) as f64 * 0.8) as u64);
        let (_folder, limits) = system(&[
            MEMINFO,
            ("proc/self/cgroup", "5:memory:/job\n1:cpu:/x\n"),
            ("cgroup/memory/job/memory.limit_in_bytes", "2147483648\n"),
            ("cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
        ]);
        assert_eq!(limits.group_bytes, Some(2 << 30));
    }

    #[test]
    fn half_of_a_limited_address_space_is_for_use() {
        let (_folder, limits) = system(&[
            MEMINFO,
            (
                "proc/self/limits",
                "Max processes             95917                95917                processes \n\
                 Max address space         2147483648           unlimited            bytes     \n",
            ),
        ]);
        assert_eq!((limits.space_bytes, limits.free_bytes()), (Some(1 << 30), 1 << 30));
        let unlimited = "Max address space         unlimited            unlimited            bytes     \n";
        let (_folder, limits) = system(&[MEMINFO, ("proc/self/limits", unlimited)]);
        assert_eq!((limits.space_bytes, limits.free_bytes()), (None, 8 << 30));
    }

    #[test]
    fn no_group_no_limit() {
        let (_folder, limits) = system(&[MEMINFO, ("proc/self/cgroup", "0::/\n")]);
        assert_eq!(limits.group_bytes, None);
        assert_eq!(limits.default_bytes(), ((8u64 << 30) as f64 * 0.8) as u64);
        let (_folder, limits) = system(&[]);
        assert!(limits.default_bytes() > 0);
        assert!(Limits::now().default_bytes() > 1 << 20);
    }
}
