//! Runs of a Parquet page end, whatever the bytes, and never yield more than was asked for.
#![no_main]

use gristmill_io::source::parquet::pages::{self, Values};
use libfuzzer_sys::fuzz_target;

const COUNT: usize = 5_000;
const SKIP: usize = 700;

fuzz_target!(|bytes: &[u8]| {
    let mut places = [[0; 4]; COUNT];
    let mut values = Values { skip: SKIP, to: &mut places[SKIP..] };
    let found = pages::look_up(bytes, &[[0; 4]; 300], COUNT, &mut values);
    assert!(found.is_none() || values.skip == 0 && values.to.is_empty());
    let _ = pages::all_ones(bytes, COUNT);
});
