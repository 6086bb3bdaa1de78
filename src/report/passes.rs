//! What a training tells while it runs: a line a pass, and a bar inside long passes.

use std::sync::atomic::{AtomicBool, Ordering};

use gristmill_io::watch::Progress;
use serde_json::json;

use super::{Watcher, number};
use crate::train::{PassReport, TrainWatch};

/// Tells of every pass.
#[derive(Debug)]
pub struct PassWatch<'a> {
    watcher: &'a Watcher,
    /// Bytes of a row, to turn the rows of a pass under way into bytes.
    row_bytes: u64,
    bytes_per_pass: u64,
    in_pass: AtomicBool,
    head_shown: AtomicBool,
    path: bool,
}

impl<'a> PassWatch<'a> {
    /// Tells `watcher` of passes over `rows` rows of `row_bytes` bytes; `path`: several configurations are trained.
    pub fn new(watcher: &'a Watcher, rows: u64, row_bytes: u64, path: bool) -> PassWatch<'a> {
        PassWatch {
            watcher,
            row_bytes,
            bytes_per_pass: rows.saturating_mul(row_bytes),
            in_pass: AtomicBool::new(false),
            head_shown: AtomicBool::new(false),
            path,
        }
    }
}

impl TrainWatch for PassWatch<'_> {
    fn pass(&self, report: &PassReport) {
        self.watcher.stop();
        self.in_pass.store(false, Ordering::Relaxed);
        if !self.head_shown.swap(true, Ordering::Relaxed) {
            self.watcher.people("  pass  collected     objective        |gradient|     rows/s         GB/s");
        }
        // Of many models the first is told; the run's file of passes has them all.
        let models = report.points.len().max(1);
        let short = PassReport { points: Vec::new(), ..report.clone() };
        self.watcher.line(&line(report, self.path), &json!({ "event": "pass", "models": models, "pass": short }));
    }

    fn rows(&self, rows: u64) {
        if !self.in_pass.swap(true, Ordering::Relaxed) {
            self.watcher.begin_quietly("pass", Some(self.bytes_per_pass));
        }
        self.watcher.advance(rows, rows.saturating_mul(self.row_bytes));
    }
}

fn line(pass: &PassReport, path: bool) -> String {
    let s = pass.seconds.max(1e-9);
    let share = if pass.share < 1.0 { format!(" ({} of the rows)", number::share(pass.share)) } else { String::new() };
    let which = match pass.points.len() {
        0 if path => format!("  configuration {}", pass.first.configuration + 1),
        0 => String::new(),
        models => format!("  {models} models"),
    };
    let steepness =
        if pass.first.collected == "epoch" { "-".into() } else { format!("{:.3e}", pass.first.gradient_norm) };
    format!(
        "  {:>4}  {:<12}  {:<15}  {:<11}  {:>14}  {:>5.2}{share}{which}",
        pass.pass,
        pass.first.collected,
        format!("{:.10}", pass.first.objective),
        steepness,
        number::rows_per_s(pass.rows as f64 / s),
        pass.bytes as f64 / s / 1e9,
    )
}
