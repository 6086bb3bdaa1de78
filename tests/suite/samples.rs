//! Small data that the other modules ingest.

use std::path::Path;

/// A number in [0, 1) that looks random, from a row and a column.
fn noise(row: u64, column: u64) -> f64 {
    let [row, column] = [row.wrapping_mul(0x9e37_79b9_7f4a_7c15), column.wrapping_mul(0xbf58_476d_1ce4_e5b9)];
    let mixed = row.wrapping_add(column).rotate_left(23).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}

/// The value of numeric column `column` in a row.
pub fn number(row: u64, column: u64) -> f64 {
    ((noise(row.wrapping_add(1), column) * 200.0).round() - 100.0) / 8.0
}

/// The level of the category in a row.
pub fn colour(row: u64) -> &'static str {
    ["red", "green", "blue"][(noise(row, 77) * 3.0) as usize]
}

/// The class of a row: noisy, but told by the columns.
pub fn class(row: u64) -> bool {
    let z = number(row, 0) / 5.0 - number(row, 1) / 9.0 + if colour(row) == "red" { 1.0 } else { -0.5 };
    z + 6.0 * (noise(row, 99) - 0.5) > 0.0
}

/// The value that a regression learns.
pub fn target(row: u64) -> f64 {
    3.0 + 2.0 * number(row, 0) - 0.5 * number(row, 1) + noise(row, 55)
}

/// Lines of CSV with a header: id, a, b, colour, y (yes or no), t (a number); some values of `a` are missing.
pub fn csv(rows: u64) -> String {
    let mut text = String::from("id,a,b,colour,y,t\n");
    for row in 0..rows {
        let a = if row % 37 == 5 { String::new() } else { number(row, 0).to_string() };
        let y = if class(row) { "yes" } else { "no" };
        text.push_str(&format!("{row},{a},{},{},{y},{}\n", number(row, 1), colour(row), target(row)));
    }
    text
}

/// A file with some text.
pub fn write(folder: &Path, name: &str, text: impl AsRef<[u8]>) {
    std::fs::write(folder.join(name), text).expect("writes");
}
