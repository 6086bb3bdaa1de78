//! Any bytes are read as an Arrow IPC file or stream, or refused.
#![no_main]

use gristmill_io::source::{SourceOptions, open};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let path = std::env::temp_dir().join(format!("gristmill-fuzz-{}.arrow", std::process::id()));
    if std::fs::write(&path, bytes).is_err() {
        return;
    }
    if let Ok(source) = open(&[path.display().to_string()], &SourceOptions::default()) {
        while let Ok(Some(chunk)) = source.next() {
            if source.decode(chunk).is_err() {
                break;
            }
        }
    }
});
