//! How far a long job is: a bar on a terminal, JSON lines elsewhere.
//!
//! Counters are atomic and cheap; the bar redraws a few times a second, lines are written when a stage begins and
//! ends and every five seconds between, whatever the number of threads that report.

use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use gristmill_io::watch::Progress;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use super::{Style, number};

/// A bar is drawn once a stage has lasted this long.
const DRAW_AFTER: Duration = Duration::from_millis(200);
/// Seconds between two lines of a log.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// Watches one job after another and shows how far they are.
#[derive(Debug)]
pub struct Watcher {
    style: Style,
    rows: AtomicU64,
    bytes: AtomicU64,
    stage: Mutex<Option<Stage>>,
}

/// Whether a stage leaves a line in a log when it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Told,
    Quiet,
}

/// The stage under way.
#[derive(Debug)]
struct Stage {
    name: String,
    bytes_in_all: Option<u64>,
    began: Instant,
    last_line: Instant,
    bar: ProgressBar,
    ending: Ending,
}

impl Watcher {
    /// A watcher that shows progress in this style.
    pub fn new(style: Style) -> Watcher {
        Watcher { style, rows: AtomicU64::new(0), bytes: AtomicU64::new(0), stage: Mutex::new(None) }
    }

    /// A line beside the bar, such as the objective after a pass; on a log it is `value`, as JSON.
    pub fn line(&self, text: &str, value: &serde_json::Value) {
        match self.style {
            Style::Quiet => {}
            Style::Terminal => match &*self.lock() {
                Some(stage) => stage.bar.suspend(|| write_line(text)),
                None => write_line(text),
            },
            Style::Lines => write_line(&value.to_string()),
        }
    }

    /// A line for people; nothing on a log.
    pub fn people(&self, text: &str) {
        if self.style == Style::Terminal {
            write_line(text);
        }
    }

    /// Begin a stage whose end something else tells of.
    pub fn begin_quietly(&self, name: &str, bytes_in_all: Option<u64>) {
        self.start(name, bytes_in_all, Ending::Quiet);
    }

    /// End the stage, if there is one.
    pub fn stop(&self) {
        let Some(stage) = self.lock().take() else { return };
        stage.bar.finish_and_clear();
        if self.style == Style::Lines && stage.ending == Ending::Told {
            self.write_state(&stage, true);
        }
    }

    fn start(&self, name: &str, bytes_in_all: Option<u64>, ending: Ending) {
        self.stop();
        if self.style == Style::Quiet {
            return;
        }
        self.rows.store(0, Ordering::Relaxed);
        self.bytes.store(0, Ordering::Relaxed);
        let bar = match self.style {
            Style::Terminal => bar_for(name, bytes_in_all),
            _ => ProgressBar::hidden(),
        };
        let now = Instant::now();
        *self.lock() = Some(Stage { name: name.to_string(), bytes_in_all, began: now, last_line: now, bar, ending });
    }

    /// The stage, whatever happened to the thread that had it last: counters cannot be half-written.
    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Stage>> {
        self.stage.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Where the stage is, as a line of a log.
    fn write_state(&self, stage: &Stage, done: bool) {
        let (rows, bytes) = (self.rows.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed));
        let s = stage.began.elapsed().as_secs_f64().max(1e-9);
        let mut value = json!({
            "stage": stage.name,
            "done": done,
            "seconds": (s * 1e3).round() / 1e3,
            "rows": rows,
            "bytes": bytes,
            "rows_per_s": (rows as f64 / s).round(),
            "gb_per_s": (bytes as f64 / s / 1e6).round() / 1e3,
        });
        if let (Some(all), false) = (stage.bytes_in_all, done) {
            value["share"] = json!((bytes as f64 / all.max(1) as f64 * 1e3).round() / 1e3);
        }
        write_line(&value.to_string());
    }
}

impl Progress for Watcher {
    fn begin(&self, name: &str, bytes_in_all: Option<u64>) {
        self.start(name, bytes_in_all, Ending::Told);
    }

    fn advance(&self, rows: u64, bytes: u64) {
        let rows = self.rows.fetch_add(rows, Ordering::Relaxed) + rows;
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        // Whoever finds the lock taken leaves the drawing to the other.
        let Ok(mut stage) = self.stage.try_lock() else { return };
        let Some(stage) = stage.as_mut() else { return };
        match self.style {
            Style::Quiet => {}
            // A stage that is over at once (a pass over data in memory) would only flicker.
            Style::Terminal if stage.began.elapsed() < DRAW_AFTER => {}
            Style::Terminal => {
                let s = stage.began.elapsed().as_secs_f64().max(1e-9);
                stage.bar.set_position(self.bytes.load(Ordering::Relaxed));
                stage.bar.set_message(number::rows_per_s(rows as f64 / s));
            }
            Style::Lines if stage.last_line.elapsed() >= LINE_INTERVAL => {
                stage.last_line = Instant::now();
                self.write_state(stage, false);
            }
            Style::Lines => {}
        }
    }

    fn end(&self) {
        self.stop();
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        if let Some(stage) = self.lock().take() {
            stage.bar.finish_and_clear();
        }
    }
}

fn bar_for(name: &str, bytes: Option<u64>) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(bytes, ProgressDrawTarget::stderr_with_hz(10));
    let template = match bytes {
        Some(_) => "{prefix:>12.bold} [{bar:32}] {decimal_bytes:>9} {decimal_bytes_per_sec:>11}  {msg}  {eta} left",
        None => "{prefix:>12.bold} {spinner} {decimal_bytes:>9} {decimal_bytes_per_sec:>11}  {msg}  {elapsed}",
    };
    // A template that does not parse leaves the plain bar.
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.set_style(style.progress_chars("=> "));
    bar.set_prefix(name.to_string());
    bar
}

fn write_line(text: &str) {
    // When standard error is gone there is nobody to tell.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
