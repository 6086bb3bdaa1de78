//! The walk over a Parquet footer ends, whatever the bytes.
#![no_main]

use gristmill_io::source::parquet::footer;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = footer::walk(bytes);
});
