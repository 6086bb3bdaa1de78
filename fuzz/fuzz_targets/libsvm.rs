//! Any text is libsvm rows that agree with each other, or refused at one of its lines.
#![no_main]

use gristmill_io::source::libsvm::parse;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    match parse(text, 0) {
        Ok(rows) => {
            assert_eq!(rows.offsets.len(), rows.labels.len() + 1);
            assert_eq!(rows.indices.len(), rows.values.len());
            for row in rows.offsets.windows(2) {
                let indices = &rows.indices[row[0] as usize..row[1] as usize];
                assert!(indices.windows(2).all(|pair| pair[0] < pair[1]));
            }
        }
        Err(fault) => assert!(fault.lines_before <= text.iter().filter(|&&byte| byte == b'\n').count() as u64),
    }
});
