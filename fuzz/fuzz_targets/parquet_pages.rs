//! Runs of a Parquet page end, whatever the bytes, and never yield more than was asked for.
#![no_main]

use gristmill_io::source::parquet::pages;
use libfuzzer_sys::fuzz_target;

const COUNT: usize = 5_000;

fuzz_target!(|bytes: &[u8]| {
    let mut values: Vec<f32> = Vec::new();
    let found = pages::look_up(bytes, &[[0; 4]; 300], COUNT, &mut values);
    assert!(if found.is_some() { values.len() == COUNT } else { values.len() <= COUNT });
    let _ = pages::all_ones(bytes, COUNT);
});
