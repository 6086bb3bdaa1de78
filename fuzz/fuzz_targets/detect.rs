//! Any first bytes of a file give a format or none, and a delimiter.
#![no_main]

use gristmill_io::source::csv::sniff;
use gristmill_io::source::detect;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|head: &[u8]| {
    if let Some(format) = detect::by_content(head) {
        assert!(format.is_text);
    }
    assert!(b",\t;|".contains(&sniff::delimiter(head)));
    let _ = sniff::names(std::path::Path::new("fuzz.csv"), head, b',', true);
});
