//! Which resource bounds a training, and how far it is from that bound.
//!
//! The largest part of the time decides where to look. Computing is held against memory bandwidth and multiply-adds, whichever
//! of the two it used more of; waiting for data against what direct reads of the same files give; the other parts have no
//! ruler: for them it is said what the training would cost without.

use serde::Serialize;

use super::speed::{Measured, Time, passes};
use crate::report::number;
use crate::train::{PassReport, Trained};

/// A bound that is used less than this is not what holds a training up.
const NEAR: f64 = 0.5;

/// Where a pass over all rows read so many times as fast as another, both are told: a disk that others use as well changes from one to the next.
const UNEVEN: f64 = 2.0;

/// What bounds a training.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Bound {
    /// `memory bandwidth`, `multiply-adds`, `disk`, `communication`, `adding workers`, `solver`, `checkpoints`, `opening`, or
    /// `computing` where there is no ruler for it.
    pub resource: &'static str,
    /// Share of the time that was spent on it.
    pub share_of_time: f64,
    /// Share of what the resource gave when it was measured in the same run.
    pub reached: Option<f64>,
    /// All of it in words.
    pub text: String,
}

impl Bound {
    /// Of a training whose rulers are measured.
    pub fn of(trained: &Trained, measured: &Measured) -> Bound {
        let (time, sum) = (&measured.time, |part: fn(&PassReport) -> f64| passes(trained).map(part).sum::<f64>());
        let data = time.waiting_seconds + time.reading_seconds;
        let computing = time.computing_seconds + time.idle_seconds;
        let reducing = if measured.ranks > 1 { "communication" } else { "adding workers" };
        let parts = [
            ("computing", computing),
            ("disk", data),
            (reducing, time.reducing_seconds),
            ("solver", time.solving_seconds),
            ("opening", time.opening_seconds),
            ("checkpoints", time.checkpointing_seconds),
        ];
        let (name, s) = parts.into_iter().max_by(|(_, a), (_, b)| a.total_cmp(b)).unwrap_or(("computing", 0.0));
        let share_of_time = s / time.wall().max(1e-9);
        match name {
            "computing" => {
                of_computing(measured, sum(|pass| pass.bytes as f64), sum(|pass| pass.multiply_adds), share_of_time)
            }
            "disk" => {
                let reading = || passes(trained).filter(|pass| pass.read_bytes > 0);
                let bytes: u64 = reading().map(|pass| pass.read_bytes).sum();
                let rate = bytes as f64 / reading().map(|pass| pass.seconds).sum::<f64>().max(1e-9);
                let mut bound = of_disk(measured, rate, share_of_time);
                bound.text += &uneven(trained);
                bound
            }
            other => without_ruler(other, s, time, share_of_time),
        }
    }
}

fn of_computing(measured: &Measured, bytes: f64, multiply_adds: f64, share_of_time: f64) -> Bound {
    let s = measured.time.computing_seconds.max(1e-9);
    let (bytes_per_s, adds_per_s) = (bytes / s, multiply_adds / s);
    let (Some(memory), Some(peak)) = (measured.memory_bytes_per_s, measured.multiply_adds_per_s) else {
        let why = if measured.ranks > 1 { "with several ranks" } else { "as it was over too soon" };
        let text = format!("computing; neither memory bandwidth nor multiply-adds were measured {why}");
        return Bound { resource: "computing", share_of_time, reached: None, text };
    };
    let of_memory = bytes_per_s / memory;
    let of_peak = adds_per_s / peak;
    let memory_text = format!(
        "{} of the memory bandwidth ({} of {})",
        number::share(of_memory),
        number::gb_per_s(bytes_per_s),
        number::gb_per_s(memory)
    );
    let peak_text = format!(
        "{} of the multiply-add peak ({:.1} of {:.1} G/s)",
        number::share(of_peak),
        adds_per_s / 1e9,
        peak / 1e9
    );
    let (resource, reached, first, second) = if of_memory >= of_peak {
        ("memory bandwidth", of_memory, memory_text, peak_text)
    } else {
        ("multiply-adds", of_peak, peak_text, memory_text)
    };
    let text = if reached >= NEAR {
        format!("{resource}: kernels used {first} and {second}")
    } else {
        format!("computing, far from its bounds: kernels used {first} and {second}")
    };
    Bound { resource, share_of_time, reached: Some(reached), text }
}

fn of_disk(measured: &Measured, rate: f64, share_of_time: f64) -> Bound {
    let waited = number::share(share_of_time);
    let rate_text = number::gb_per_s(rate);
    let Some(disk) = measured.disk_bytes_per_s else {
        let text =
            format!("the disk: {waited} of the time went into getting data, at {rate_text} (too short to compare)");
        return Bound { resource: "disk", share_of_time, reached: None, text };
    };
    let text = format!(
        "the disk: {waited} of the time went into getting data, at {rate_text}, {} of what direct reads of the same files gave \
         in this run ({})",
        number::share(rate / disk),
        number::gb_per_s(disk)
    );
    Bound { resource: "disk", share_of_time, reached: Some(rate / disk), text }
}

/// How fast the slowest pass over all rows that mostly waited for data was read, and the fastest, where they are far apart.
fn uneven(trained: &Trained) -> String {
    let whole = || passes(trained).filter(|pass| pass.share == 1.0 && pass.read_bytes > 0);
    let rate = |pass: &PassReport| pass.read_bytes as f64 / pass.seconds.max(1e-9);
    let waited = whole().filter(|pass| pass.waiting_seconds > NEAR * pass.seconds);
    let slowest = waited.map(rate).fold(f64::INFINITY, f64::min);
    let fastest = whole().map(rate).fold(0.0, f64::max);
    if fastest < UNEVEN * slowest {
        return String::new();
    }
    let [slowest, fastest] = [slowest, fastest].map(number::gb_per_s);
    format!("; of passes over all rows the slowest had {slowest}, the fastest {fastest}")
}

fn without_ruler(resource: &'static str, s: f64, time: &Time, share_of_time: f64) -> Bound {
    let name = match resource {
        "communication" => "communication: adding sums over ranks, the slowest of which is waited for",
        "adding workers" => "adding the workers' sums",
        "solver" => "the solver, between passes",
        "opening" => "opening the dataset",
        _ => "copies for checkpoints",
    };
    let [wall, rest] =
        [time.wall(), time.wall() - s].map(|s| number::time(std::time::Duration::from_secs_f64(s.max(0.0))));
    let text = format!("{name}: {} of the time ({wall}, without it {rest})", number::share(share_of_time));
    Bound { resource, share_of_time, reached: None, text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(time: Time, ranks: usize) -> Measured {
        Measured {
            ranks,
            threads: 2,
            pass_seconds: 1.0,
            rows_per_s: 1.0,
            bytes_per_s: 1.0,
            memory_bytes_per_s: Some(20e9),
            multiply_adds_per_s: Some(100e9),
            disk_bytes_per_s: Some(2e9),
            time,
            bound: Bound::default(),
            allreduce: None,
        }
    }

    /// A training of one pass that moved so much.
    fn bound(time: Time, ranks: usize, bytes: u64, read_bytes: u64, multiply_adds: f64) -> Bound {
        Bound::of(&trained(bytes, read_bytes, multiply_adds), &measured(time, ranks))
    }

    fn trained(bytes: u64, read_bytes: u64, multiply_adds: f64) -> Trained {
        let json = serde_json::json!({
            "models": [{ "strengths": { "l1": 0.0, "l2": 0.0 }, "weights": [], "intercepts": [0.0], "coefficients": [],
                "real_intercepts": [0.0], "objective": 0.0, "loss": 0.0, "gradient_norm": 0.0, "passes": 1, "converged": true,
                "reason": "", "solver": "lbfgs" }],
            "history": [{ "configuration": 0, "pass": 1, "share": 1.0, "collected": "gradient", "objective": 0.0,
                "gradient_norm": 0.0, "rows": 1, "bytes": bytes, "seconds": 1.0, "read_bytes": read_bytes,
                "multiply_adds": multiply_adds }],
            "names": [], "classes": null, "solver": "lbfgs", "tier": "portable", "warnings": [], "rows": 1, "passes": 1,
            "rows_read": 1, "bytes_read": bytes, "seconds": 1.0, "opening_seconds": 0.0, "checkpointing_seconds": 0.0,
            "arithmetic": "f32", "way": { "asked": "auto", "resident": "mmap", "streamed": null, "why": "",
                "resident_bytes": 0, "streamed_bytes": 0, "budget_bytes": 0 } });
        serde_json::from_value(json).expect("a training")
    }

    #[test]
    fn passes_that_were_read_far_more_slowly_are_told() {
        let waiting = Time { waiting_seconds: 1.0, ..Time::default() };
        let mut trained = trained(2_000_000_000, 2_000_000_000, 1e9);
        let pass = trained.history[0].clone();
        let text = |trained: &Trained| Bound::of(trained, &measured(waiting, 1)).text;
        // A sample says nothing of the disk.
        trained.history.push(PassReport { share: 0.125, seconds: 9.0, ..pass.clone() });
        trained.history.push(PassReport { seconds: 1.9, ..pass.clone() });
        assert!(!text(&trained).contains("slowest"), "{}", text(&trained));
        // Nor does a pass that computed most of the time.
        trained.history.push(PassReport { seconds: 8.0, ..pass.clone() });
        assert!(!text(&trained).contains("slowest"), "{}", text(&trained));
        trained.history.push(PassReport { seconds: 8.0, waiting_seconds: 7.0, ..pass });
        let found = text(&trained);
        assert!(
            found.ends_with("; of passes over all rows the slowest had 0.25 GB/s, the fastest 2.00 GB/s"),
            "{found}"
        );
    }

    #[test]
    fn the_largest_part_of_the_time_names_the_resource() {
        let computing = Time { computing_seconds: 1.0, solving_seconds: 0.2, ..Time::default() };
        let found = bound(computing, 1, 18_000_000_000, 0, 9e9);
        assert_eq!((found.resource, found.reached), ("memory bandwidth", Some(0.9)));
        assert!(found.text.contains("90 % of the memory bandwidth (18.00 GB/s of 20.00 GB/s)"), "{}", found.text);
        let found = bound(computing, 1, 1_000_000_000, 0, 80e9);
        assert_eq!((found.resource, found.reached), ("multiply-adds", Some(0.8)));
        let found = bound(computing, 1, 2_000_000_000, 0, 20e9);
        assert!(
            found.text.contains("far from its bounds: kernels used 20 % of the multiply-add peak"),
            "{}",
            found.text
        );
        let waiting = Time { waiting_seconds: 0.7, computing_seconds: 0.3, ..Time::default() };
        let found = bound(waiting, 1, 1_500_000_000, 1_500_000_000, 1e9);
        assert_eq!((found.resource, found.reached), ("disk", Some(0.75)));
        let solving = Time { solving_seconds: 0.6, computing_seconds: 0.4, ..Time::default() };
        let found = bound(solving, 1, 1, 0, 1.0);
        assert_eq!(found.resource, "solver");
        assert!(found.text.contains("60 % of the time (1.00 s, without it 400 ms)"), "{}", found.text);
        let reducing = Time { reducing_seconds: 0.6, computing_seconds: 0.4, ..Time::default() };
        assert_eq!(bound(reducing, 4, 1, 0, 1.0).resource, "communication");
        assert_eq!(bound(reducing, 1, 1, 0, 1.0).resource, "adding workers");
    }
}
