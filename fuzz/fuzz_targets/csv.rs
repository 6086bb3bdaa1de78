//! Decoding CSV in two chunks cut by the cutter gives what decoding it in one gives.
#![no_main]

use std::path::Path;

use gristmill_io::source::TextType;
use gristmill_io::source::csv::decode::{Plan, PlannedColumn, decode};
use gristmill_io::source::csv::infer::NullMarkers;
use gristmill_io::source::text::Cutter;
use libfuzzer_sys::fuzz_target;

fn plan() -> Plan {
    let kinds = [TextType::Float, TextType::Integer, TextType::Text, TextType::Timestamp];
    let column = |(number, kind): (usize, TextType)| PlannedColumn {
        name: format!("c{number}"),
        kind: Some(kind),
        is_given: false,
        is_kept: number == 0,
    };
    Plan::new(
        b',',
        kinds.into_iter().enumerate().map(column).collect(),
        NullMarkers::new(&[String::new(), "NA".into()]),
    )
}

fuzz_target!(|text: &[u8]| {
    let plan = plan();
    let path = Path::new("fuzz.csv");
    let whole = decode(&plan, path, 1, text);
    let cutter = Cutter::Quoted { delimiter: b',' };
    let Some(end) = cutter.last_end(text) else { return };
    let parts = decode(&plan, path, 1, &text[..end]).and_then(|head| Ok((head, decode(&plan, path, 1, &text[end..])?)));
    match (whole, parts) {
        (Ok(whole), Ok((head, tail))) => assert_eq!(whole.num_rows(), head.num_rows() + tail.num_rows()),
        (Err(_), Err(_)) => {}
        (whole, _) => panic!("the whole is {}, its parts are not", if whole.is_ok() { "read" } else { "refused" }),
    }
});
