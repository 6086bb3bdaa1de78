//! `gristmill plan`: how long a pass would take on so many ranks of such machines, from the cost model of `forecast`.

use std::path::PathBuf;

use clap::Args;
use gristmill_io::crossed;
use gristmill_io::dataset::Dataset;
use gristmill_io::manifest::{BlockLayout, Layout, Role, Split};
use gristmill_io::memory::{Limits, format_size};
use gristmill_io::watch::Cancel;
use gristmill_kernels::dtype::DType;
use gristmill_kernels::tier::Tier;
use serde_json::json;

use super::options::{OutputOptions, size};
use crate::error::{Error, Result};
use crate::forecast::{Collected, Data, Forecast, Job, Machine, Network, forecast};
use crate::machine::{MachineReport, disk};
use crate::plan::crosses;
use crate::report::{Report, Table, number};

/// Bytes written and read to measure the disk.
const DISK_TEST_BYTES: u64 = 1 << 30;
/// The network unless told otherwise: what clusters commonly have.
const NETWORK: Network = Network { latency_s: 2e-6, bytes_per_s: 12.5e9 };
/// Ranks unless told otherwise.
const RANKS: [usize; 4] = [1, 8, 64, 1024];

/// Arguments of `plan`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// A dataset whose columns and rows are meant
    dataset: Option<PathBuf>,
    /// Columns of categories that a training would cross (a*b, a*b*c; several by commas or by repeating the flag)
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',', requires = "dataset")]
    cross: Vec<String>,
    /// Most coefficients of a cross, 2^N [default: 18]
    #[arg(long, value_name = "N")]
    cross_bits: Option<u32>,
    /// Rows, such as 2e9 [default: those of the dataset]
    #[arg(long, value_name = "N", value_parser = count)]
    rows: Option<f64>,
    /// Numeric columns [default: those of the dataset]
    #[arg(long, value_name = "N", value_parser = count)]
    columns: Option<f64>,
    /// Categorical columns
    #[arg(long, value_name = "N", value_parser = count)]
    categorical: Option<f64>,
    /// Levels of a categorical column [default: 1000]
    #[arg(long, value_name = "N", value_parser = count)]
    levels: Option<f64>,
    /// How numeric columns are stored: f64, f32, f16, u16, u8 [default: f32]
    #[arg(long, value_name = "TYPE")]
    dtype: Option<String>,
    /// What a pass collects: gradient or hessian [default: gradient]
    #[arg(long, value_name = "WHAT")]
    collect: Option<String>,
    /// Numbers of ranks, separated by commas [default: 1,8,64,1024]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    ranks: Vec<usize>,
    /// Ranks that share a node, its memory, disk and link [default: 1]
    #[arg(long, value_name = "N")]
    ranks_per_node: Option<usize>,
    /// Threads of a rank [default: the cores of a node shared out]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Cores of a node [default: those of this machine]
    #[arg(long, value_name = "N")]
    cores: Option<usize>,
    /// Bandwidth of a node's link, such as 100Gbit or 12GB/s [default: 100Gbit]
    #[arg(long, value_name = "RATE", value_parser = rate)]
    net: Option<f64>,
    /// Time that a message takes however short it is, such as 2us [default: 2us]
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    latency: Option<f64>,
    /// Read bandwidth of a node's disk, such as 5GB/s, or a folder in which to measure it (1 GiB) [default: 2GB/s]
    #[arg(long, value_name = "RATE|FOLDER")]
    disk: Option<String>,
    /// Read bandwidth of a node's memory, such as 200GB/s [default: measured here]
    #[arg(long, value_name = "RATE", value_parser = rate)]
    memory_rate: Option<f64>,
    /// Multiply-add peak of a node in single precision, such as 3Tflop/s [default: measured here]
    #[arg(long, value_name = "RATE", value_parser = flops)]
    flops: Option<f64>,
    /// Memory of a node that data may stay in, such as 200GiB [default: what this machine gives]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    memory: Option<u64>,
    #[command(flatten)]
    output: OutputOptions,
}

/// Plan.
///
/// # Errors
/// When the request makes no sense, or the dataset or the disk cannot be read.
pub fn run(arguments: &Arguments) -> Result<()> {
    let report = Report::new(arguments.output.quiet, arguments.output.json);
    let data = data(arguments)?;
    let collected = match arguments.collect.as_deref() {
        None | Some("gradient") => Collected::Gradient,
        Some("hessian") => Collected::Hessian,
        Some(other) => return Err(Error::usage(format!("--collect is '{other}'; gradient or hessian was expected"))),
    };
    let all = if arguments.ranks.is_empty() { RANKS.to_vec() } else { arguments.ranks.clone() };
    let per_node = arguments.ranks_per_node.unwrap_or(1);
    if all.contains(&0) || per_node == 0 || arguments.threads == Some(0) || arguments.cores == Some(0) {
        return Err(Error::usage("ranks, threads and cores are at least 1"));
    }
    let machine = machine(arguments)?;
    let network = Network {
        latency_s: arguments.latency.unwrap_or(NETWORK.latency_s),
        bytes_per_s: arguments.net.unwrap_or(NETWORK.bytes_per_s),
    };
    let job = |ranks: usize| {
        let neighbours = per_node.min(ranks);
        let threads = arguments.threads.unwrap_or_else(|| ((machine.cores as usize) / neighbours).max(1));
        Job { ranks, ranks_per_node: per_node, threads, collected }
    };
    let found: Vec<Forecast> = all.iter().map(|&ranks| forecast(&data, &machine, &network, &job(ranks))).collect();
    report.json(&json!({
        "kind": "plan", "data": data, "machine": machine, "network": network, "collected": collected,
        "ranks_per_node": per_node, "forecasts": found,
    }))?;
    report.text(&text(&data, &machine, &network, &found))
}

fn text(data: &Data, machine: &Machine, network: &Network, found: &[Forecast]) -> String {
    let mut about = Table::of_pairs();
    let bytes = number::bytes((data.rows * data.row_bytes) as u64);
    let numbers = [data.rows, data.dense + data.scattered].map(|value| number::count(value as u64));
    about.pair("data", format!("{} rows, {} parameters, {bytes}", numbers[0], numbers[1]));
    about.pair(
        "a node",
        format!(
            "{} cores, memory {} ({} for data), disk {}, {:.0} Gflop/s",
            machine.cores,
            number::gb_per_s(machine.memory_bytes_per_s),
            format_size(machine.memory_bytes as u64),
            number::gb_per_s(machine.disk_bytes_per_s),
            machine.flops / 1e9
        ),
    );
    let link = number::gb_per_s(network.bytes_per_s);
    about.pair("network", format!("{link} a link, {:.1} us a message", network.latency_s * 1e6));
    let head = [
        ">ranks",
        ">pass",
        ">scan",
        "bound by",
        ">reduction",
        "by",
        ">share",
        ">sent a rank",
        ">over a link",
        ">data a rank",
        ">rows/s",
        ">efficiency",
    ];
    let mut table = Table::with_head(&head);
    for one in found {
        table.line([
            one.ranks.to_string(),
            time(one.pass_seconds),
            time(one.scan_seconds),
            one.bound_by.to_string(),
            time(one.reduce_seconds),
            one.way.to_string(),
            format!("{:.1} %", one.communication_share * 100.0),
            number::bytes(one.sent_bytes as u64),
            number::bytes(one.link_bytes as u64),
            number::bytes(one.rank_bytes as u64),
            number::rows_per_s(one.rows_per_s),
            format!("{:.0} %", one.efficiency * 100.0),
        ]);
    }
    format!("{}\n\n{}", about.text(2), table.text(2))
}

/// Seconds with three digits.
fn time(seconds: f64) -> String {
    match seconds {
        0.0 => "0".into(),
        _ if seconds < 1e-3 => format!("{:.3} us", seconds * 1e6),
        _ if seconds < 1.0 => format!("{:.3} ms", seconds * 1e3),
        _ if seconds < 1e4 => format!("{seconds:.3} s"),
        _ => format!("{:.2} h", seconds / 3600.0),
    }
}

/// The data that are meant: those of the dataset, overruled by flags.
fn data(arguments: &Arguments) -> Result<Data> {
    let (cross, bits) = crosses(arguments.cross.clone(), arguments.cross_bits)?;
    let found = match &arguments.dataset {
        Some(folder) => Some(of_dataset(&Dataset::open(folder)?, &cross, bits)?),
        None => None,
    };
    let flags = arguments.columns.is_some() || arguments.categorical.is_some();
    if flags && !cross.is_empty() {
        return Err(Error::usage(
            "--cross is of columns of the dataset, which --columns and --categorical put others in the place of. Leave these out",
        ));
    }
    if let (Some(found), false) = (found, flags) {
        return Ok(Data { rows: arguments.rows.unwrap_or(found.rows), ..found });
    }
    let rows = arguments
        .rows
        .or(found.map(|found| found.rows))
        .ok_or_else(|| Error::usage("no rows given. Add --rows N and --columns N, or name a dataset"))?;
    let dense = arguments.columns.unwrap_or(0.0);
    let entries = arguments.categorical.unwrap_or(0.0);
    if dense + entries == 0.0 {
        return Err(Error::usage("no columns given. Add --columns N or --categorical N, or name a dataset"));
    }
    let name = arguments.dtype.as_deref().unwrap_or("f32");
    let dtype = DType::ALL.into_iter().find(|dtype| dtype.name() == name).ok_or_else(|| {
        let known: Vec<&str> = DType::ALL.into_iter().map(DType::name).collect();
        Error::usage(format!("--dtype is '{name}'; one of {} was expected", known.join(", ")))
    })?;
    let levels = arguments.levels.unwrap_or(1000.0);
    let code_bytes = if levels <= 256.0 {
        1.0
    } else if levels <= 65_536.0 {
        2.0
    } else {
        4.0
    };
    let row_bytes = dense * dtype.bytes() as f64 + entries * code_bytes + 4.0;
    Ok(Data { rows, dense, scattered: entries * levels, entries, row_bytes })
}

/// A dataset with the columns that a training would make of it. What a cross adds is levels and arithmetic, and no bytes of a row.
fn of_dataset(dataset: &Dataset, cross: &[String], bits: Option<u32>) -> Result<Data> {
    let statistics = dataset.statistics()?;
    let rows = dataset.rows(Split::Train) as f64;
    let bytes: u64 = dataset.grains(Split::Train).iter().map(|grain| grain.bytes).sum();
    let mut columns = dataset.manifest().columns.clone();
    columns.extend(crossed::columns(&columns, cross, bits.unwrap_or(crossed::BITS))?);
    // Statistics know the parameters of stored columns; crossed ones stand before sparse ones (`Layout`).
    let stored = Layout::of(&dataset.manifest().columns, |column| column.role == Role::Feature);
    let sparse = |block: &BlockLayout| block.columns.iter().any(|&number| columns[number].kind.is_sparse());
    let of_sparse = |block: &BlockLayout| -> u64 {
        statistics.nonzero[block.first_parameter..block.first_parameter + block.parameters].iter().sum()
    };
    let nonzero: u64 = stored.blocks.iter().filter(|block| sparse(block)).map(of_sparse).sum();
    let (mut dense, mut scattered, mut entries) = (0, 0, nonzero as f64 / rows.max(1.0));
    for block in Layout::of(&columns, |column| column.role == Role::Feature).blocks {
        match block.columns.first().map(|&number| &columns[number].kind) {
            Some(kind) if kind.codes().is_some() || kind.is_crossed() => {
                scattered += block.parameters;
                entries += block.columns.len() as f64;
            }
            Some(kind) if kind.is_sparse() => scattered += block.parameters,
            _ => dense += block.parameters,
        }
    }
    let row_bytes = bytes as f64 / rows.max(1.0);
    Ok(Data { rows, dense: dense as f64, scattered: scattered as f64, entries, row_bytes })
}

/// A node as told, and for the rest this machine as measured.
fn machine(arguments: &Arguments) -> Result<Machine> {
    let (needs_memory, needs_flops) = (arguments.memory_rate.is_none(), arguments.flops.is_none());
    let processor = crate::machine::processor();
    let threads = processor.cores_usable;
    let here = (needs_memory || needs_flops)
        .then(|| MachineReport::measure(Tier::chosen().unwrap_or_else(|_| Tier::best()), threads))
        .transpose()?;
    let measured = |rate: fn(&MachineReport) -> f64| here.as_ref().map_or(0.0, rate);
    let disk_bytes_per_s = match arguments.disk.as_deref() {
        None => 2e9,
        Some(text) => match rate(text) {
            Ok(rate) => rate,
            Err(message) => {
                let folder = std::path::Path::new(text);
                if !folder.is_dir() {
                    return Err(Error::usage(format!("--disk: {message}; nor is there such a folder")));
                }
                let found = disk::measure(&disk::DiskTest::new(folder, DISK_TEST_BYTES), &Cancel::new());
                found.map_err(|error| gristmill_io::Error::io(folder, "cannot measure the disk", error))?.read
            }
        },
    };
    Ok(Machine {
        memory_bytes_per_s: arguments.memory_rate.unwrap_or_else(|| measured(|here| here.memory.best)),
        disk_bytes_per_s,
        flops: arguments.flops.unwrap_or_else(|| measured(|here| here.fma.f32_all)),
        cores: arguments.cores.unwrap_or(threads) as f64,
        memory_bytes: arguments.memory.unwrap_or_else(|| Limits::now().default_bytes()) as f64,
    })
}

/// A whole number, also as 2e9.
fn count(text: &str) -> std::result::Result<f64, String> {
    let value = text.replace('_', "").parse::<f64>().ok();
    let fits = |value: &f64| *value >= 0.0 && *value <= 1e18 && value.fract() == 0.0;
    value.filter(fits).ok_or_else(|| format!("'{text}' is no number of things; 1000000 or 2e9 was expected"))
}

/// A number and what stands behind it.
fn split(text: &str) -> Option<(f64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let value: f64 = text[..end].parse().ok()?;
    (value > 0.0).then_some((value, text[end..].trim()))
}

/// Bytes a second.
fn rate(text: &str) -> std::result::Result<f64, String> {
    let unit = |unit: &str| {
        let unit = unit.strip_suffix("/s").or_else(|| unit.strip_suffix("ps")).unwrap_or(unit);
        Some(match unit {
            "kbit" => 125.0,
            "Mbit" | "Mb" => 125e3,
            "Gbit" | "Gb" => 125e6,
            "Tbit" => 125e9,
            "MB" => 1e6,
            "GB" => 1e9,
            "TB" => 1e12,
            "MiB" => f64::from(1 << 20),
            "GiB" => f64::from(1 << 30),
            _ => return None,
        })
    };
    let found = split(text).and_then(|(value, name)| Some(value * unit(name)?));
    found.ok_or_else(|| format!("'{text}' is no rate; 100Gbit, 12GB/s or 900MB/s was expected"))
}

/// Floating-point operations a second.
fn flops(text: &str) -> std::result::Result<f64, String> {
    let unit = |name: &str| match name.strip_suffix("/s").unwrap_or(name) {
        "Gflop" => Some(1e9),
        "Tflop" => Some(1e12),
        _ => None,
    };
    let found = split(text).and_then(|(value, name)| Some(value * unit(name)?));
    found.ok_or_else(|| format!("'{text}' is no rate; 800Gflop/s or 3Tflop/s was expected"))
}

fn seconds(text: &str) -> std::result::Result<f64, String> {
    let unit = |name: &str| match name {
        "ns" => Some(1e-9),
        "us" => Some(1e-6),
        "ms" => Some(1e-3),
        "s" => Some(1.0),
        _ => None,
    };
    let found = split(text).and_then(|(value, name)| Some(value * unit(name)?));
    found.ok_or_else(|| format!("'{text}' is no time; 2us, 500ns or 0.1ms was expected"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_times_have_units() {
        assert_eq!(rate("100Gbit"), Ok(12.5e9));
        assert_eq!(rate("1Gbit/s"), Ok(125e6));
        assert_eq!(rate("10Gbps"), Ok(1.25e9));
        assert_eq!(rate("5GB/s"), Ok(5e9));
        assert_eq!(seconds("2us"), Ok(2e-6));
        assert_eq!(seconds("0.1ms"), Ok(0.1 * 1e-3));
        assert_eq!(flops("3Tflop/s"), Ok(3e12));
        assert_eq!(count("2e9"), Ok(2e9));
        assert_eq!(count("1_000"), Ok(1000.0));
        for bad in ["", "fast", "5", "0GB/s", "-1GB/s", "5XB"] {
            assert!(rate(bad).is_err() && seconds(bad).is_err() && flops(bad).is_err(), "{bad}");
        }
        assert!(count("1.5").is_err() && count("-1").is_err() && count("nan").is_err());
    }
}
