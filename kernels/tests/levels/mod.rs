//! Codes of made-up categorical columns, one of each width, for the tests of categorical kernels.

/// Codes of one, two and four bytes, of so many levels each. A column's rows begin at its `shift`, so that columns of different
/// shifts do not go together.
pub fn codes(rows: usize, levels: [usize; 3], shift: [usize; 3]) -> (Vec<u8>, Vec<u16>, Vec<u32>) {
    let level = |row: usize, column: usize| (row + shift[column]).pow(2) * 7_919 % levels[column];
    (
        (0..rows).map(|row| level(row, 0) as u8).collect(),
        (0..rows).map(|row| level(row, 1) as u16).collect(),
        (0..rows).map(|row| level(row, 2) as u32).collect(),
    )
}
