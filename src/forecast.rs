//! How long would a pass take on so many ranks? A cost model: the roofline for the scan, alpha-beta for the reduction.
//!
//! ```text
//! rows of a rank     r = R / N
//! scan               max(r b / memory, r b (1 - kept) / disk, r w / flops)     memory and disk are shared by a node's ranks
//! merge              (T - 1) 3 m / memory                                      the sums of T threads are added
//! ring               2 (N-1) alpha + 2 (N-1)/N m beta + (N-1)/N m gamma
//! tree               (log2 P + 2 [N > P]) (alpha + m beta + m gamma)           P: the greatest power of two up to N
//! hierarchical       inside + between, k ranks on each of M = N/k nodes, where k, M > 1 and k divides N
//!   inside           2 (k-1) alpha + 2 (k-1)/k m beta' + (k-1)/k m gamma       beta' = 2 / memory
//!   between          2 (M-1) alpha + 2 (M-1)/M m beta + (M-1)/M m/k gamma      a rank sends a k-th, its node's link carries k
//! pass               scan + merge + min(ring, tree, hierarchical)
//! ```
//!
//! R rows of b bytes and w floating-point operations each; m bytes of sums: 8 each, two for a dense parameter and for a
//! cell of a Gram matrix's triangle, one for a level of a category; alpha seconds a message; beta = 1 / bandwidth of a
//! rank's link; gamma = 3 / memory bandwidth (two values are read, one written). `kept` is the share of a rank's rows that
//! fits the memory it was given and is read from the disk once. The roofline is what the hardware allows: [`Machine`]
//! holds *measured* bandwidths, so its bounds are those that a pass has reached, not those of a data sheet.
//!
//! Ranks that share a node pass messages through its memory: `beta` of ring and tree is then the greater of the link's and of
//! 2 / memory bandwidth of a rank (one copy: read and write). Around the ring one rank of a node sends to another node, so its
//! link carries what that rank sends, 2 (N-1)/N m; in the tree, log2 M times the slices of all k.

use serde::Serialize;

/// Bytes of an integer of the flat sum.
const CELL: f64 = 8.0;
/// Cells that every pass has, whatever its parameters: stop, loss, residual, weight, bytes.
const HEAD_CELLS: f64 = 8.0;

/// What a pass collects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Collected {
    /// Loss and gradient.
    Gradient,
    /// And the Hessian, or the Gram matrix of a closed form.
    Hessian,
}

/// The data.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Data {
    /// Rows.
    pub rows: f64,
    /// Numeric parameters.
    pub dense: f64,
    /// Levels of categories and columns of sparse rows, in all.
    pub scattered: f64,
    /// Entries of these that a row has.
    pub entries: f64,
    /// Bytes of a row, label included.
    pub row_bytes: f64,
}

/// What a node can do; rates a second, for all its cores together.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Machine {
    /// Bytes read from memory.
    pub memory_bytes_per_s: f64,
    /// Bytes read from disk.
    pub disk_bytes_per_s: f64,
    /// Floating-point operations, in single precision.
    pub flops: f64,
    /// Cores.
    pub cores: f64,
    /// Bytes of memory that data may stay in.
    pub memory_bytes: f64,
}

/// What joins the ranks.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Network {
    /// Seconds that a message takes however short it is.
    pub latency_s: f64,
    /// Bytes a second of a rank's link.
    pub bytes_per_s: f64,
}

/// The job.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Job {
    /// Ranks.
    pub ranks: usize,
    /// Ranks of one node.
    pub ranks_per_node: usize,
    /// Threads of a rank.
    pub threads: usize,
    /// What a pass collects.
    pub collected: Collected,
}

/// What the model says of one number of ranks.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Forecast {
    /// Ranks.
    pub ranks: usize,
    /// Seconds of a pass.
    pub pass_seconds: f64,
    /// Seconds of the scan.
    pub scan_seconds: f64,
    /// What bounds the scan: memory, disk or arithmetic.
    pub bound_by: &'static str,
    /// Seconds of adding over threads.
    pub merge_seconds: f64,
    /// Seconds of the reduction by the best way.
    pub reduce_seconds: f64,
    /// Share of the pass that is communication.
    pub communication_share: f64,
    /// The best way: ring, tree, hierarchical, or none with one rank.
    pub way: &'static str,
    /// Bytes of the flat sum.
    pub sum_bytes: f64,
    /// Bytes that a rank sends by that way.
    pub sent_bytes: f64,
    /// Bytes that a node's link carries in one direction; none where there is one node.
    pub link_bytes: f64,
    /// Bytes of data that a rank scans.
    pub rank_bytes: f64,
    /// Share of these that stay in memory between passes.
    pub kept_share: f64,
    /// Rows a second of all ranks.
    pub rows_per_s: f64,
    /// Times as fast as one rank, divided by the ranks.
    pub efficiency: f64,
}

/// Bytes of the flat sum.
fn sum_bytes(data: &Data, collected: Collected) -> f64 {
    let (dense, all) = (data.dense, data.dense + data.scattered);
    let matrix = match collected {
        Collected::Gradient => 0.0,
        // Two cells for a pair of dense variables (the constant is one), one for the others.
        Collected::Hessian => (dense + 1.0) * (dense + 2.0) + (all * (all + 1.0) - dense * (dense + 1.0)) / 2.0,
    };
    CELL * (HEAD_CELLS + 2.0 * dense + data.scattered + matrix)
}

/// Floating-point operations of a row: a multiply-add forwards and one backwards for each number, and one for each pair
/// of a matrix's triangle.
fn flops_of_row(data: &Data, collected: Collected) -> f64 {
    let numbers = data.dense + data.entries;
    let pairs = if collected == Collected::Hessian { (numbers + 1.0) * (numbers + 2.0) / 2.0 } else { 0.0 };
    4.0 * numbers + 2.0 * pairs
}

/// A way of adding over ranks.
#[derive(Clone, Copy, Debug)]
struct Way {
    name: &'static str,
    seconds: f64,
    sent_bytes: f64,
    link_bytes: f64,
}

/// What the ways cost: latency, and seconds a byte over a link, through a node's memory, and for an addition.
#[derive(Clone, Copy, Debug)]
struct Rates {
    alpha: f64,
    beta: f64,
    beta_inside: f64,
    gamma: f64,
}

/// The ways that there are for m bytes over so many ranks, `together` of them on a node.
fn reductions(ranks: usize, together: usize, m: f64, rates: &Rates) -> Vec<Way> {
    let Rates { alpha, beta, beta_inside, gamma } = *rates;
    let n = ranks as f64;
    let part = |n: f64| (n - 1.0) / n;
    let nodes = ranks.div_ceil(together);
    let power = 1_usize << ranks.ilog2();
    let rounds = f64::from(ranks.ilog2()) + if ranks > power { 2.0 } else { 0.0 };
    let flat = if together > 1 { beta.max(beta_inside) } else { beta };
    let abroad = |bytes: f64| if nodes > 1 { bytes } else { 0.0 };
    let sent = 2.0 * part(n) * m;
    let ring = Way {
        name: "ring",
        seconds: 2.0 * (n - 1.0) * alpha + 2.0 * part(n) * m * flat + part(n) * m * gamma,
        sent_bytes: sent,
        link_bytes: abroad(sent),
    };
    let tree = Way {
        name: "tree",
        seconds: rounds * (alpha + m * (flat + gamma)),
        sent_bytes: (f64::from(ranks.ilog2()) + if ranks > power { 1.0 } else { 0.0 }) * m,
        link_bytes: abroad(together as f64 * m * (nodes as f64).log2().ceil()),
    };
    let mut ways = vec![ring, tree];
    if together > 1 && nodes > 1 && ranks.is_multiple_of(together) {
        let (k, of_nodes) = (together as f64, nodes as f64);
        let inside = 2.0 * (k - 1.0) * alpha + part(k) * m * (2.0 * beta_inside + gamma);
        let between = 2.0 * (of_nodes - 1.0) * alpha + part(of_nodes) * m * (2.0 * beta + gamma / k);
        let link_bytes = 2.0 * part(of_nodes) * m;
        ways.push(Way { name: "hierarchical", seconds: inside + between, sent_bytes: sent, link_bytes });
    }
    ways
}

/// What the model says.
pub fn forecast(data: &Data, machine: &Machine, network: &Network, job: &Job) -> Forecast {
    let own = of_ranks(data, machine, network, job);
    let alone = Job { ranks: 1, ranks_per_node: 1, ..*job };
    let one = if job.ranks == 1 { own.pass_seconds } else { of_ranks(data, machine, network, &alone).pass_seconds };
    Forecast { efficiency: one / own.pass_seconds / job.ranks as f64, ..own }
}

fn of_ranks(data: &Data, machine: &Machine, network: &Network, job: &Job) -> Forecast {
    let n = job.ranks as f64;
    // Ranks that are on the fullest node.
    let neighbours = job.ranks_per_node.clamp(1, job.ranks) as f64;
    // A few cores cannot use all of a node's bandwidth or arithmetic: each has its even part of them.
    let busy = (neighbours * job.threads as f64).min(machine.cores) / machine.cores;
    let memory = machine.memory_bytes_per_s * busy / neighbours;
    let flops = machine.flops * busy / neighbours;
    let disk = machine.disk_bytes_per_s / neighbours;
    let rank_bytes = data.rows * data.row_bytes / n;
    let kept_share = (machine.memory_bytes / neighbours / rank_bytes).min(1.0);
    let bounds = [
        ("memory", rank_bytes / memory),
        ("disk", rank_bytes * (1.0 - kept_share) / disk),
        ("arithmetic", data.rows / n * flops_of_row(data, job.collected) / flops),
    ];
    let (bound_by, scan_seconds) =
        bounds.into_iter().fold(("memory", 0.0), |most, next| if next.1 > most.1 { next } else { most });
    let m = sum_bytes(data, job.collected);
    let merge_seconds = (job.threads as f64 - 1.0) * 3.0 * m / memory;
    let rates = Rates {
        alpha: network.latency_s,
        beta: 1.0 / network.bytes_per_s,
        beta_inside: 2.0 / memory,
        gamma: 3.0 / memory,
    };
    let alone = Way { name: "none", seconds: 0.0, sent_bytes: 0.0, link_bytes: 0.0 };
    let ways = if job.ranks == 1 { Vec::new() } else { reductions(job.ranks, job.ranks_per_node, m, &rates) };
    let way = ways.into_iter().min_by(|one, other| one.seconds.total_cmp(&other.seconds)).unwrap_or(alone);
    let pass_seconds = scan_seconds + merge_seconds + way.seconds;
    Forecast {
        ranks: job.ranks,
        pass_seconds,
        scan_seconds,
        bound_by,
        merge_seconds,
        reduce_seconds: way.seconds,
        communication_share: way.seconds / pass_seconds,
        way: way.name,
        sum_bytes: m,
        sent_bytes: way.sent_bytes,
        link_bytes: way.link_bytes,
        rank_bytes,
        kept_share,
        rows_per_s: data.rows / pass_seconds,
        efficiency: 1.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATA: Data = Data { rows: 1e9, dense: 28.0, scattered: 0.0, entries: 0.0, row_bytes: 116.0 };
    const MACHINE: Machine =
        Machine { memory_bytes_per_s: 1e11, disk_bytes_per_s: 5e9, flops: 1e12, cores: 32.0, memory_bytes: 64e9 };
    const NETWORK: Network = Network { latency_s: 2e-6, bytes_per_s: 12.5e9 };

    fn job(ranks: usize) -> Job {
        Job { ranks, ranks_per_node: 1, threads: 32, collected: Collected::Gradient }
    }

    #[test]
    fn a_set_beyond_memory_is_bound_by_the_disk() {
        // 116 GB, 64 of them in memory: 52 GB at 5 GB/s are 10.4 s; with two ranks everything fits: 58 GB at 100 GB/s.
        let one = forecast(&DATA, &MACHINE, &NETWORK, &job(1));
        assert_eq!((one.bound_by, one.way, one.sent_bytes), ("disk", "none", 0.0));
        assert!((one.scan_seconds - 10.4).abs() < 1e-9, "{one:?}");
        let two = forecast(&DATA, &MACHINE, &NETWORK, &job(2));
        assert_eq!((two.bound_by, two.kept_share), ("memory", 1.0));
        assert!((two.scan_seconds - 0.58).abs() < 1e-9 && two.efficiency > 8.0, "{two:?}");
    }

    #[test]
    fn short_sums_take_the_tree_and_long_ones_the_ring() {
        // 64 ranks: the ring has 126 messages of 2 us, the tree 6.
        let short = forecast(&DATA, &MACHINE, &NETWORK, &job(64));
        assert_eq!((short.way, short.sum_bytes), ("tree", 512.0));
        assert!((short.reduce_seconds - 6.0 * (2e-6 + 512.0 * (8e-11 + 3e-11))).abs() < 1e-15, "{short:?}");
        let wide = Data { scattered: 1e7, entries: 26.0, row_bytes: 220.0, ..DATA };
        let long = forecast(&wide, &MACHINE, &NETWORK, &job(64));
        assert_eq!(long.way, "ring");
        let m = 8.0 * (8.0 + 56.0 + 1e7);
        assert!((long.sent_bytes - 2.0 * 63.0 / 64.0 * m).abs() < 1e-3, "{long:?}");
        let part = 63.0 / 64.0 * m;
        let expected = 126.0 * 2e-6 + 2.0 * part * 8e-11 + part * 3e-11;
        assert!((long.reduce_seconds - expected).abs() < 1e-12, "{long:?}");
    }

    #[test]
    fn ranks_of_one_node_share_it() {
        let apart = forecast(&DATA, &MACHINE, &NETWORK, &Job { threads: 16, ..job(2) });
        let together = forecast(&DATA, &MACHINE, &NETWORK, &Job { ranks_per_node: 2, threads: 16, ..job(2) });
        assert_eq!((apart.bound_by, together.bound_by), ("memory", "disk"));
        assert!(together.scan_seconds > apart.scan_seconds);
        // Two ranks of 16 threads have the bandwidth of one of 32.
        let small = Data { rows: 1e8, ..DATA };
        let two = forecast(&small, &MACHINE, &NETWORK, &Job { ranks_per_node: 2, threads: 16, ..job(2) });
        let one = forecast(&small, &MACHINE, &NETWORK, &job(1));
        assert!((two.scan_seconds / one.scan_seconds - 1.0).abs() < 1e-9);
    }

    /// 4 nodes of 8 ranks, each with an eighth of 100 GB/s: through memory a byte takes 2 / 12.5e9 s and an addition 3 / 12.5e9.
    #[test]
    fn several_nodes_of_several_ranks_take_rings_of_nodes() {
        let wide = Data { scattered: 1e7, entries: 26.0, row_bytes: 220.0, ..DATA };
        let network = Network { bytes_per_s: 1.25e9, ..NETWORK };
        let nodes = Job { ranks_per_node: 8, threads: 4, ..job(32) };
        let found = forecast(&wide, &MACHINE, &network, &nodes);
        let m = 8.0 * (8.0 + 56.0 + 1e7);
        let inside = 14.0 * 2e-6 + 7.0 / 8.0 * m * (2.0 * 1.6e-10 + 2.4e-10);
        let between = 6.0 * 2e-6 + 0.75 * m * (2.0 * 8e-10 + 2.4e-10 / 8.0);
        assert_eq!(found.way, "hierarchical");
        assert!((found.reduce_seconds - inside - between).abs() < 1e-12, "{found:?}");
        assert!((found.sent_bytes - 2.0 * 31.0 / 32.0 * m).abs() < 1e-3, "{found:?}");
        assert!((found.link_bytes - 1.5 * m).abs() < 1e-3, "{found:?}");
        // A last node with fewer ranks, one node, one rank a node: there are no rings of nodes.
        for (ranks, together) in [(31, 8), (8, 8), (8, 1)] {
            let other = forecast(&wide, &MACHINE, &network, &Job { ranks_per_node: together, ..job(ranks) });
            assert_eq!((other.way, other.link_bytes > 0.0), ("ring", ranks > together), "{other:?}");
        }
    }

    #[test]
    fn a_matrix_is_bound_by_arithmetic() {
        let wide = Data { rows: 1e6, dense: 512.0, row_bytes: 2052.0, ..DATA };
        let found = forecast(&wide, &MACHINE, &NETWORK, &Job { collected: Collected::Hessian, ..job(1) });
        assert_eq!(found.bound_by, "arithmetic");
        // 513 * 514 / 2 products of 2 operations and 4 * 512 more, a million times, at 1e12 a second.
        assert!((found.scan_seconds - (513.0 * 514.0 + 2048.0) * 1e6 / 1e12).abs() < 1e-9, "{found:?}");
    }
}
