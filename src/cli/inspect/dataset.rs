//! A dataset: columns, roles, types, ranges, missing shares, category counts, sizes.

use std::path::Path;

use gristmill_io::dataset::Dataset;
use gristmill_io::manifest::{Column, Kind, Layout, Role, Split};
use gristmill_io::statistics::Statistics;
use serde::Serialize;
use serde_json::json;

use crate::error::Result;
use crate::report::failure::spelt_out;
use crate::report::{Report, Table, number};

/// Levels that are shown of a category.
const LEVELS_SHOWN: usize = 5;

/// A column as found.
#[derive(Debug, Default, Serialize)]
struct Found {
    name: String,
    role: String,
    kind: &'static str,
    stored_as: String,
    source_type: String,
    missing: u64,
    missing_share: f64,
    /// Of the training rows, in the units of the source.
    min: Option<f64>,
    max: Option<f64>,
    mean: Option<f64>,
    std: Option<f64>,
    worst_error: Option<f64>,
    /// Levels, elements.
    width: Option<usize>,
    levels: Vec<(String, u64)>,
    /// Between buckets.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    edges: Vec<f64>,
}

/// Show it.
///
/// # Errors
/// When it is damaged.
pub fn show(path: &Path, report: &Report) -> Result<()> {
    let dataset = Dataset::open(path)?;
    let statistics = dataset.statistics()?;
    let manifest = dataset.manifest();
    let rows = [dataset.rows(Split::Train), dataset.rows(Split::Test)];
    let columns = found_columns(&dataset, &statistics, rows[0] + rows[1])?;
    let bytes: u64 = manifest.shards.iter().map(|shard| shard.file.bytes).sum();
    let source_bytes: u64 = manifest.sources.iter().map(|source| source.bytes).sum();
    report.json(&json!({
        "kind": "dataset", "path": path.display().to_string(), "format": manifest.format, "created_by": manifest.created_by,
        "rows": { "train": rows[0], "test": rows[1] }, "bytes": bytes, "source_bytes": source_bytes,
        "shards": manifest.shards.len(), "grain_rows": manifest.grain_rows, "seed": manifest.seed,
        "shuffled": manifest.shuffled, "parameters": statistics.mean.len(), "columns": columns,
        "ignored": manifest.ignored, "sources": manifest.sources, "fingerprint": manifest.fingerprint,
    }))?;
    if report.wants_json() {
        return Ok(());
    }
    let order = if manifest.shuffled { "shuffled" } else { "in the order of the source" };
    report.text(&format!(
        "{}\n  {}, {} held out, {order}\n  {} in {} ({} of sources); {}, {}\n\n{}{}",
        report.bold(&path.display().to_string()),
        number::several(rows[0], "training row"),
        number::count(rows[1]),
        number::bytes(bytes),
        number::several(manifest.shards.len() as u64, "shard"),
        number::bytes(source_bytes),
        number::several(columns.len() as u64, "column"),
        number::several(statistics.mean.len() as u64, "parameter"),
        column_table(&columns),
        ignored(&manifest.ignored),
    ))
}

fn found_columns(dataset: &Dataset, statistics: &Statistics, rows: u64) -> Result<Vec<Found>> {
    let columns = &dataset.manifest().columns;
    let layout = Layout::of(columns, |_| true);
    let mut found = Vec::with_capacity(columns.len());
    for (number, column) in columns.iter().enumerate() {
        let mut line = described(column, rows);
        if matches!(column.kind, Kind::Categorical { .. }) {
            let dictionary = dataset.dictionary(number)?;
            line.levels = dictionary.levels.into_iter().zip(dictionary.counts).take(LEVELS_SHOWN).collect();
        }
        let parameter = parameter_of(columns, &layout, number);
        match (column.role, parameter, &statistics.label) {
            (Role::Feature, Some(at), _) => {
                let spread = [statistics.mean[at], statistics.m2[at], statistics.min[at], statistics.max[at]];
                set_range(&mut line, &column.kind, spread, statistics.rows);
            }
            (Role::Label, _, Some(label)) => {
                set_range(&mut line, &column.kind, [label.mean, label.m2, label.min, label.max], label.rows);
            }
            _ => {}
        }
        found.push(line);
    }
    Ok(found)
}

/// The parameter of a scalar feature.
fn parameter_of(columns: &[Column], layout: &Layout, number: usize) -> Option<usize> {
    columns[number].kind.scalar_dtype()?;
    layout.blocks.iter().find_map(|block| {
        let place = block.columns.iter().position(|&column| column == number)?;
        Some(block.first_parameter + place)
    })
}

fn described(column: &Column, rows: u64) -> Found {
    let (kind, stored_as, width, worst_error) = match &column.kind {
        Kind::Numeric { dtype, worst_error, .. } => ("numeric", dtype.name().to_string(), None, Some(*worst_error)),
        Kind::Labels { names, dtype } => ("labels", format!("bits of {}", dtype.name()), Some(names.len()), None),
        Kind::Indicator { of } => ("indicator", format!("u8, missing {of}"), None, None),
        Kind::Categorical { code_bytes, levels, .. } => {
            ("categorical", format!("u{} codes", 8 * u32::from(*code_bytes)), Some(*levels), None)
        }
        Kind::Hashed { .. } | Kind::Bucketized { .. } => {
            let (bytes, levels) = column.kind.codes().unwrap_or((4, 0));
            let kind = if matches!(column.kind, Kind::Hashed { .. }) { "hashed" } else { "bucketized" };
            (kind, format!("u{} codes", 8 * u32::from(bytes)), Some(levels), None)
        }
        Kind::Crossed { levels, .. } => ("crossed", "nothing".to_string(), Some(*levels), None),
        Kind::Vector { dtype, width } => ("vector", dtype.name().to_string(), Some(*width), None),
        Kind::Text { bits, ngrams: (fewest, most) } => {
            ("text", format!("n-grams of {fewest} to {most} words, u32, f32 pairs"), Some(1 << bits), None)
        }
        Kind::Sparse { width, .. } => ("sparse", "u32, f32 pairs".to_string(), Some(*width), None),
    };
    let role = match column.role {
        Role::Feature => "feature",
        Role::Label => "label",
        Role::Weight => "weight",
        Role::Offset => "offset",
    };
    Found {
        name: column.name.clone(),
        role: role.into(),
        kind,
        stored_as,
        source_type: column.source_type.clone(),
        missing: column.missing,
        edges: match &column.kind {
            Kind::Bucketized { edges } => edges.clone(),
            _ => Vec::new(),
        },
        missing_share: if rows == 0 { 0.0 } else { column.missing as f64 / rows as f64 },
        worst_error,
        width,
        ..Found::default()
    }
}

/// Mean, squared deviations and extremes of stored values, as values of the source.
fn set_range(line: &mut Found, kind: &Kind, [mean, m2, min, max]: [f64; 4], rows: u64) {
    let (offset, scale) = match kind {
        Kind::Numeric { offset, scale, .. } => (*offset, *scale),
        Kind::Indicator { .. } => (0.0, 1.0),
        _ => return,
    };
    if rows == 0 {
        return;
    }
    let ends = [offset + scale * min, offset + scale * max];
    line.min = Some(ends[0].min(ends[1]));
    line.max = Some(ends[0].max(ends[1]));
    line.mean = Some(offset + scale * mean);
    line.std = (rows > 1).then(|| scale.abs() * (m2 / (rows - 1) as f64).sqrt());
}

fn column_table(columns: &[Found]) -> String {
    let mut table = Table::with_head(&["column", "role", "kind", "stored as", ">missing", "range or levels"]);
    for column in columns {
        let rounding = column.worst_error.filter(|error| *error > 0.0);
        let rounding = rounding.map_or_else(String::new, |error| format!(" (±{error:.1e})"));
        let missing = if column.missing == 0 { "-".into() } else { format!("{:.2} %", 100.0 * column.missing_share) };
        table.line([
            column.name.clone(),
            column.role.clone(),
            column.kind.to_string(),
            format!("{}{rounding}", column.stored_as),
            missing,
            range_text(column),
        ]);
    }
    table.text(2)
}

fn range_text(column: &Found) -> String {
    if let (Some(min), Some(max), Some(mean)) = (column.min, column.max, column.mean) {
        let [min, max, mean] = [min, max, mean].map(|value| number::plain(value, 5));
        let std = column.std.map_or_else(String::new, |std| format!(", std {}", number::plain(std, 4)));
        return format!("{min} .. {max}, mean {mean}{std}");
    }
    let Some(width) = column.width else { return String::new() };
    if column.kind == "bucketized" {
        let ends = if column.edges.len() > LEVELS_SHOWN { LEVELS_SHOWN } else { column.edges.len() };
        let shown: Vec<String> = column.edges[..ends].iter().map(|edge| number::plain(*edge, 5)).collect();
        let more = if column.edges.len() > ends { ", ..." } else { "" };
        return format!("{} buckets at {}{more}", number::count(column.edges.len() as u64 + 1), shown.join(", "));
    }
    if column.kind == "hashed" {
        return format!("{} levels by hash", number::count(width as u64));
    }
    if column.kind == "labels" {
        return format!("{width} labels, each 0 or 1");
    }
    if column.kind != "categorical" {
        return format!("{} elements", number::count(width as u64));
    }
    let levels: Vec<String> =
        column.levels.iter().map(|(level, count)| format!("{level} ({})", number::count(*count))).collect();
    let more = if width > levels.len() { ", ..." } else { "" };
    format!("{} levels: {}{more}", number::count(width as u64), levels.join(", "))
}

fn ignored(names: &[String]) -> String {
    if names.is_empty() { String::new() } else { format!("\n\n  left out: {}", spelt_out(&names.join(", "))) }
}
