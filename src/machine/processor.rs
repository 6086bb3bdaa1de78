//! The processor: name, cores this process may use, caches, NUMA nodes.
//!
//! Source: `/proc/cpuinfo` and `/sys/devices/system/{cpu,node}` (Linux ABI documentation,
//! `Documentation/ABI/stable/sysfs-devices-system-cpu` and `-node`). The cores that may be used are the affinity mask
//! cut by the cgroup's CPU quota, which is what the standard library's `available_parallelism` reads.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The processor and what of it this process may use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Processor {
    /// The model's name; empty when the system does not say.
    pub name: String,
    /// Logical cores that this process may use (affinity mask and cgroup quota), at least 1.
    pub cores_usable: usize,
    /// Logical cores that are switched on.
    pub cores_online: usize,
    /// Logical cores that share one physical core, at least 1.
    pub threads_per_core: usize,
    /// Data and unified caches of the first core, innermost first.
    pub caches: Vec<Cache>,
    /// NUMA nodes, by number; empty when the system does not say.
    pub numa_nodes: Vec<NumaNode>,
}

/// A data or unified cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cache {
    /// 1, 2 or 3.
    pub level: u32,
    /// Size of one instance.
    pub bytes: u64,
    /// Logical cores that share one instance.
    pub shared_by: usize,
}

/// A NUMA node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NumaNode {
    /// The node's number.
    pub node: usize,
    /// Logical cores of the node.
    pub cores: usize,
    /// Memory of the node; 0 when the system does not say.
    pub memory_bytes: u64,
}

impl Processor {
    /// Bytes of one instance of the cache of that level.
    pub fn cache_bytes(&self, level: u32) -> Option<u64> {
        self.caches.iter().find(|cache| cache.level == level).map(|cache| cache.bytes)
    }

    /// Bytes of the outermost caches that `threads` threads can fill together: the instances they are spread over.
    pub fn outer_cache_bytes(&self, threads: usize) -> Option<u64> {
        let outer = self.caches.iter().max_by_key(|cache| cache.level)?;
        let instances = self.cores_online.div_ceil(outer.shared_by.max(1)).min(threads).max(1);
        Some(outer.bytes.saturating_mul(instances as u64))
    }
}

/// Describes the processor; never fails.
pub fn processor() -> Processor {
    read(Path::new("/"))
}

/// Describes the processor whose `/proc` and `/sys` lie under `root` (tests bring folders of their own).
fn read(root: &Path) -> Processor {
    let usable = super::cores();
    let cpu = root.join("sys/devices/system/cpu");
    let online = text(&cpu.join("online")).and_then(|list| count_list(&list));
    let siblings = text(&cpu.join("cpu0/topology/thread_siblings_list")).and_then(|list| count_list(&list));
    Processor {
        name: name(&fs::read_to_string(root.join("proc/cpuinfo")).unwrap_or_default()),
        cores_usable: usable,
        cores_online: online.unwrap_or(usable),
        threads_per_core: siblings.unwrap_or(1).max(1),
        caches: caches(&cpu.join("cpu0/cache")),
        numa_nodes: numa_nodes(&root.join("sys/devices/system/node")),
    }
}

/// The model's name in `/proc/cpuinfo`: x86 says `model name`, POWER `cpu`, some ARM kernels `Hardware`.
fn name(cpuinfo: &str) -> String {
    let field = |key: &str| {
        cpuinfo.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            (found.trim() == key && !value.trim().is_empty()).then(|| value.trim().to_owned())
        })
    };
    field("model name").or_else(|| field("cpu")).or_else(|| field("Hardware")).unwrap_or_default()
}

fn caches(folder: &Path) -> Vec<Cache> {
    let mut caches: Vec<Cache> = numbered(folder, "index").into_iter().filter_map(|(_, path)| cache(&path)).collect();
    caches.sort_by_key(|cache| cache.level);
    caches
}

fn cache(index: &Path) -> Option<Cache> {
    if text(&index.join("type"))? == "Instruction" {
        return None;
    }
    Some(Cache {
        level: text(&index.join("level"))?.parse().ok()?,
        bytes: bytes_of(&text(&index.join("size"))?)?,
        shared_by: text(&index.join("shared_cpu_list")).and_then(|list| count_list(&list)).unwrap_or(1).max(1),
    })
}

fn numa_nodes(folder: &Path) -> Vec<NumaNode> {
    let node = |(node, path): (usize, PathBuf)| NumaNode {
        node,
        cores: text(&path.join("cpulist")).and_then(|list| count_list(&list)).unwrap_or(0),
        memory_bytes: text(&path.join("meminfo")).and_then(|info| node_memory(&info)).unwrap_or(0),
    };
    numbered(folder, "node").into_iter().map(node).collect()
}

/// `Node 0 MemTotal:  24000000 kB` of a node's `meminfo`, in bytes.
fn node_memory(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find(|line| line.contains("MemTotal:"))?;
    let kib: u64 = line.split_whitespace().rev().nth(1)?.parse().ok()?;
    kib.checked_mul(1024)
}

/// Entries `PREFIX<number>` of a folder, by number.
fn numbered(folder: &Path, prefix: &str) -> Vec<(usize, PathBuf)> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let number = |path: &Path| path.file_name()?.to_str()?.strip_prefix(prefix)?.parse().ok();
    let mut found: Vec<(usize, PathBuf)> =
        entries.filter_map(|entry| Some(entry.ok()?.path())).filter_map(|path| Some((number(&path)?, path))).collect();
    found.sort();
    found
}

/// The trimmed text of a file; nothing when it cannot be read or is empty.
fn text(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    (!text.trim().is_empty()).then(|| text.trim().to_owned())
}

/// Number of cores in a list such as `0-3,8,10-11`.
fn count_list(list: &str) -> Option<usize> {
    list.split(',').try_fold(0_usize, |count, part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        count.checked_add(last.checked_sub(first)?.checked_add(1)?)
    })
}

/// A size such as `32K`, `36608K`, `2M`.
fn bytes_of(size: &str) -> Option<u64> {
    let (digits, unit) = match size.as_bytes().last()? {
        b'K' => (&size[..size.len() - 1], 1 << 10),
        b'M' => (&size[..size.len() - 1], 1 << 20),
        b'G' => (&size[..size.len() - 1], 1 << 30),
        _ => (size, 1),
    };
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn reads_a_two_socket_machine() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        put(root, "proc/cpuinfo", "processor\t: 0\nmodel name\t: Example CPU @ 2.50GHz\nflags\t\t: fpu fma\n");
        put(root, "sys/devices/system/cpu/online", "0-63\n");
        let cpu0 = "sys/devices/system/cpu/cpu0";
        put(root, &format!("{cpu0}/topology/thread_siblings_list"), "0,32\n");
        for (index, level, kind, size, shared) in [
            (0, 1, "Data", "32K", "0,32"),
            (1, 1, "Instruction", "32K", "0,32"),
            (2, 2, "Unified", "1M", "0,32"),
            (10, 3, "Unified", "36608K", "0-15,32-47"),
        ] {
            let cache = format!("{cpu0}/cache/index{index}");
            put(root, &format!("{cache}/level"), &format!("{level}\n"));
            put(root, &format!("{cache}/type"), &format!("{kind}\n"));
            put(root, &format!("{cache}/size"), &format!("{size}\n"));
            put(root, &format!("{cache}/shared_cpu_list"), &format!("{shared}\n"));
        }
        for (node, list) in [(0, "0-15,32-47"), (1, "16-31,48-63")] {
            put(root, &format!("sys/devices/system/node/node{node}/cpulist"), list);
            let info = format!("Node {node} MemTotal:       1024 kB\nNode {node} MemFree:  12 kB\n");
            put(root, &format!("sys/devices/system/node/node{node}/meminfo"), &info);
        }

        let found = read(root);
        assert_eq!(found.name, "Example CPU @ 2.50GHz");
        assert_eq!((found.cores_online, found.threads_per_core), (64, 2));
        let cache = |level, bytes, shared_by| Cache { level, bytes, shared_by };
        assert_eq!(found.caches, [cache(1, 32 << 10, 2), cache(2, 1 << 20, 2), cache(3, 36608 << 10, 32)]);
        let node = |node| NumaNode { node, cores: 32, memory_bytes: 1 << 20 };
        assert_eq!(found.numa_nodes, [node(0), node(1)]);
        assert_eq!(found.outer_cache_bytes(1), Some(36608 << 10));
        assert_eq!(found.outer_cache_bytes(64), Some(2 * (36608 << 10)));
    }

    #[test]
    fn an_empty_system_is_described_softly() {
        let folder = tempfile::tempdir().unwrap();
        let found = read(folder.path());
        assert_eq!(found.name, "");
        assert!(found.cores_usable >= 1 && found.cores_online >= 1 && found.threads_per_core == 1);
        assert!(found.caches.is_empty() && found.numa_nodes.is_empty());
        assert_eq!(found.outer_cache_bytes(4), None);
    }

    #[test]
    fn lists_and_sizes() {
        assert_eq!(count_list("0"), Some(1));
        assert_eq!(count_list("0-3,8,10-11"), Some(7));
        for wrong in ["", "a", "3-1", "1-", "0-18446744073709551615,1"] {
            assert_eq!(count_list(wrong), None, "{wrong}");
        }
        assert_eq!(bytes_of("512"), Some(512));
        assert_eq!(bytes_of("2M"), Some(2 << 20));
        for wrong in ["", "K", "-1K", "99999999999999999999G", "17179869184G"] {
            assert_eq!(bytes_of(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn this_machine_has_a_core() {
        assert!(processor().cores_usable >= 1);
    }
}
