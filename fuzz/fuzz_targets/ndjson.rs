//! Any text is NDJSON rows, or refused at one of its lines.
#![no_main]

use gristmill_io::source::SourceOptions;
use gristmill_io::source::ndjson::decode::{decode, lines};
use gristmill_io::source::ndjson::shape::{Inference, Kind};
use gristmill_io::source::ndjson::value::Json;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    let options = SourceOptions::default();
    let mut inference = Inference::default();
    if let Some(Ok(Json::Object(object))) = lines(text).next().map(serde_json_line) {
        inference.add(&object);
    }
    let (root, columns) = inference.shape(&options);
    if columns.iter().any(|column| column.1 == Kind::Unreadable) {
        return;
    }
    match decode(text, &root, &columns, &options) {
        Ok((arrays, rows)) => assert!(arrays.iter().all(|array| array.len() == rows)),
        Err(fault) => assert!(fault.lines_before < lines(text).count() as u64),
    }
});

fn serde_json_line(line: &[u8]) -> serde_json::Result<Json> {
    serde_json::from_slice(line)
}
