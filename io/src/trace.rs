//! A record of who did what when, for Perfetto and `chrome://tracing`: a lane a thread, spans in it.
//!
//! Cost when off: one comparison a span. When on: two readings of the clock and 40 bytes a span, kept by its thread and
//! handed over when the thread's part of a pass ends. A trace holds a bounded number of spans; those beyond are counted,
//! not kept. The format is the JSON of the Trace Event Format (complete events, `"ph": "X"`, microseconds).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Spans that a trace of one process keeps at most: a file of some 20 MB.
pub const SPANS_MAX: usize = 200_000;

/// Something that a thread did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Span {
    /// What.
    pub name: String,
    /// Number of its lane.
    pub lane: usize,
    /// Nanoseconds from the trace's beginning to its own.
    pub start_ns: u64,
    /// How long it took.
    pub ns: u64,
    /// Which one: a grain's number, a pass's.
    pub number: Option<u64>,
}

/// The spans of one process.
#[derive(Debug)]
pub struct Trace {
    began: Instant,
    spans_max: usize,
    kept: Mutex<Kept>,
}

/// What a trace holds when it is done; the ranks of a job send it to the first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// Names of the lanes.
    pub lanes: Vec<String>,
    /// In no particular order.
    pub spans: Vec<Span>,
    /// Spans that were too many.
    pub dropped: u64,
}

/// A thread's part of a trace.
#[derive(Debug)]
pub struct Lane<'t> {
    trace: Option<&'t Trace>,
    number: usize,
    spans: Vec<RawSpan>,
}

#[derive(Debug)]
struct RawSpan {
    name: &'static str,
    start: Instant,
    ns: u64,
    number: Option<u64>,
}

impl Trace {
    /// An empty trace that begins now and keeps `spans_max` spans.
    pub fn new(spans_max: usize) -> Trace {
        Trace { began: Instant::now(), spans_max, kept: Mutex::default() }
    }

    /// The lane of that name, made when it is new.
    pub fn lane(&self, name: &str) -> Lane<'_> {
        let mut kept = self.kept();
        let number = kept.lanes.iter().position(|lane| lane == name).unwrap_or_else(|| {
            kept.lanes.push(name.to_string());
            kept.lanes.len() - 1
        });
        Lane { trace: Some(self), number, spans: Vec::new() }
    }

    /// Everything so far.
    pub fn take(&self) -> Kept {
        std::mem::take(&mut self.kept())
    }

    /// Counters and lists: whole whatever happened to the thread that had them last.
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<'t> Lane<'t> {
    /// The lane `name` of a trace; of none, a lane that keeps nothing.
    pub fn of(trace: Option<&'t Trace>, name: impl FnOnce() -> String) -> Lane<'t> {
        trace.map_or(Lane { trace: None, number: 0, spans: Vec::new() }, |trace| trace.lane(&name()))
    }

    /// Something that began at `start` and ends now.
    #[inline]
    pub fn span(&mut self, name: &'static str, start: Instant, number: Option<u64>) {
        if self.trace.is_some() {
            let ns = start.elapsed().as_nanos() as u64;
            self.spans.push(RawSpan { name, start, ns, number });
        }
    }
}

impl Drop for Lane<'_> {
    fn drop(&mut self) {
        let Some(trace) = self.trace else { return };
        let mut kept = trace.kept();
        for raw in self.spans.drain(..) {
            if kept.spans.len() >= trace.spans_max {
                kept.dropped += 1;
                continue;
            }
            kept.spans.push(Span {
                name: raw.name.to_string(),
                lane: self.number,
                start_ns: raw.start.saturating_duration_since(trace.began).as_nanos() as u64,
                ns: raw.ns,
                number: raw.number,
            });
        }
    }
}

/// The traces of all ranks as one document of the Trace Event Format: a process a rank, a thread a lane.
pub fn document(ranks: &[Kept]) -> Value {
    let mut events = Vec::new();
    for (rank, kept) in ranks.iter().enumerate() {
        let named = |what: &str, thread: usize, name: &str| json!({ "name": what, "ph": "M", "pid": rank, "tid": thread, "args": { "name": name } });
        events.push(named("process_name", 0, &format!("rank {rank}")));
        events.extend(kept.lanes.iter().enumerate().map(|(lane, name)| named("thread_name", lane, name)));
        let mut spans: Vec<&Span> = kept.spans.iter().collect();
        // The longer first where two begin together: it is the outer one.
        spans.sort_by_key(|span| (span.start_ns, std::cmp::Reverse(span.ns)));
        events.extend(spans.into_iter().map(|span| event(rank, span)));
    }
    let dropped: u64 = ranks.iter().map(|kept| kept.dropped).sum();
    let mut other = BTreeMap::from([("made_by", json!(concat!("gristmill ", env!("CARGO_PKG_VERSION"))))]);
    if dropped > 0 {
        other.insert("dropped_spans", json!(dropped));
        other.insert("note", json!("the trace is full: later spans were counted, not kept"));
    }
    json!({ "traceEvents": events, "displayTimeUnit": "ms", "otherData": other })
}

/// Whether a file is a trace of this program, as far as its beginning tells.
pub fn is_one(path: &Path) -> bool {
    let mut head = Vec::new();
    let read = File::open(path).and_then(|file| file.take(256).read_to_end(&mut head));
    read.is_ok() && head.starts_with(b"{") && memchr::memmem::find(&head, br#""made_by":"gristmill "#).is_some()
}

fn event(rank: usize, span: &Span) -> Value {
    let [start, time] = [span.start_ns, span.ns].map(|ns| ns as f64 / 1e3);
    let mut event = json!({ "name": span.name, "ph": "X", "pid": rank, "tid": span.lane, "ts": start, "dur": time });
    if let Some(number) = span.number {
        event["args"] = json!({ "number": number });
    }
    event
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_kept_up_to_the_limit_and_counted_beyond() {
        let trace = Trace::new(3);
        for round in 0..2 {
            let mut lane = trace.lane("worker 0");
            for number in 0..2 {
                lane.span("compute", Instant::now(), Some(2 * round + number));
            }
        }
        trace.lane("worker 1").span("wait", Instant::now(), None);
        let kept = trace.take();
        assert_eq!((kept.lanes.len(), kept.spans.len(), kept.dropped), (2, 3, 2));
        let document = document(&[kept]);
        assert_eq!(document["otherData"]["dropped_spans"], 2);
        // A name for the process, two for threads, three spans.
        assert_eq!(document["traceEvents"].as_array().map(Vec::len), Some(6));
    }

    #[test]
    fn a_trace_is_known_by_its_beginning() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("trace.json");
        assert!(!is_one(&path));
        let trace = Trace::new(0);
        trace.lane("worker 0").span("compute", Instant::now(), None);
        for (bytes, is) in [
            (document(&[]).to_string().into_bytes(), true),
            (document(&[trace.take()]).to_string().into_bytes(), true),
            (br#"{"format":1,"created_by":"gristmill 0.1.0"}"#.to_vec(), false),
            (b"PAR1".to_vec(), false),
            (Vec::new(), false),
        ] {
            std::fs::write(&path, &bytes).expect("written");
            assert_eq!(is_one(&path), is, "{}", String::from_utf8_lossy(&bytes));
        }
    }

    #[test]
    fn a_lane_of_no_trace_keeps_nothing() {
        let mut lane = Lane::of(None, || unreachable!("no name is wanted"));
        lane.span("compute", Instant::now(), None);
        assert!(lane.spans.is_empty());
    }
}
