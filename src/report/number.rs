//! Numbers for people: counts, bytes, rates, times and shares, with the digits that matter.

use std::time::Duration;

/// `1,234,567`.
pub fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 row`, `1,234,567 rows`.
pub fn several(value: u64, noun: &str) -> String {
    format!("{} {noun}{}", count(value), if value == 1 { "" } else { "s" })
}

/// `4.30 GB` (powers of ten, as memory bandwidth is quoted).
pub fn bytes(value: u64) -> String {
    if value < 1_000 { format!("{value} B") } else { format!("{}B", scaled(value as f64)) }
}

/// `2 MiB`, `23.4 GiB` (powers of two, as memory is sold).
pub fn binary_bytes(value: u64) -> String {
    let steps = [(1u64 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match steps.into_iter().find(|(unit, _)| value >= *unit) {
        Some((unit, name)) if value.is_multiple_of(unit) => format!("{} {name}", value / unit),
        Some((unit, name)) => format!("{:.1} {name}", value as f64 / unit as f64),
        None => format!("{value} B"),
    }
}

/// `12.3 Mrows/s`.
pub fn rows_per_s(value: f64) -> String {
    if value < 1_000.0 { format!("{value:.0} rows/s") } else { format!("{}rows/s", scaled(value)) }
}

/// `21.40 GB/s`.
pub fn gb_per_s(bytes_per_s: f64) -> String {
    format!("{:.2} GB/s", bytes_per_s / 1e9)
}

/// `84 %`.
pub fn share(value: f64) -> String {
    format!("{:.0} %", 100.0 * value)
}

/// `1.24 s`, `3 min 20 s`, `2 h 5 min`.
pub fn time(duration: Duration) -> String {
    let s = duration.as_secs_f64();
    match s {
        _ if s < 0.001 => format!("{:.0} us", s * 1e6),
        _ if s < 1.0 => format!("{:.0} ms", s * 1e3),
        _ if s < 120.0 => format!("{s:.2} s"),
        _ if s < 7_200.0 => format!("{} min {} s", s as u64 / 60, s as u64 % 60),
        _ => format!("{} h {} min", s as u64 / 3_600, s as u64 / 60 % 60),
    }
}

/// A number of any size with `digits` significant digits: `0.4321`, `1.235e-9`, `8,123,456`.
pub fn plain(value: f64, digits: usize) -> String {
    if value == 0.0 || !value.is_finite() {
        return format!("{value}");
    }
    let exponent = value.abs().log10().floor() as i32;
    if !(-4..9).contains(&exponent) {
        return format!("{value:.*e}", digits.saturating_sub(1));
    }
    let decimals = (digits as i32 - 1 - exponent).max(0) as usize;
    let text = format!("{value:.decimals$}");
    match text.split_once('.') {
        Some((whole, fraction)) => format!("{}.{fraction}", grouped(whole)),
        None => grouped(&text),
    }
}

/// Sums of the weights of rows: counts where all of them are whole.
pub fn weights(values: &[f64]) -> Vec<String> {
    let are_counts = values.iter().all(|value| (0.0..9e15).contains(value) && value.fract() == 0.0);
    values.iter().map(|value| if are_counts { count(*value as u64) } else { plain(*value, 8) }).collect()
}

/// A number that may not be defined.
pub fn optional(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "not defined".to_string(), |value| plain(value, digits))
}

/// `4.30 G` with a prefix of powers of ten, ready for a unit.
fn scaled(value: f64) -> String {
    let steps = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    let (unit, prefix) = steps.into_iter().find(|(unit, _)| value >= *unit).unwrap_or((1.0, ""));
    let value = value / unit;
    let decimals = if value < 10.0 {
        2
    } else if value < 100.0 {
        1
    } else {
        0
    };
    format!("{value:.decimals$} {prefix}")
}

/// Commas between groups of three digits of a whole number with or without sign.
fn grouped(whole: &str) -> String {
    match whole.strip_prefix('-') {
        Some(digits) => format!("-{}", grouped(digits)),
        None => whole.parse().map_or_else(|_| whole.to_string(), count),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!([several(0, "row"), several(1, "row"), several(1_000, "row")], ["0 rows", "1 row", "1,000 rows"]);
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(4_300_000_000), "4.30 GB");
        assert_eq!(binary_bytes(2 << 20), "2 MiB");
        assert_eq!(binary_bytes(3 << 29), "1.5 GiB");
        assert_eq!(rows_per_s(12_345_678.0), "12.3 Mrows/s");
        assert_eq!(time(Duration::from_millis(20)), "20 ms");
        assert_eq!(time(Duration::from_secs(200)), "3 min 20 s");
        assert_eq!(plain(0.432_149, 4), "0.4321");
        assert_eq!(plain(-1234.56, 3), "-1,235");
        assert_eq!(plain(1.2345e-9, 3), "1.23e-9");
        assert_eq!(plain(0.0, 3), "0");
        assert_eq!(weights(&[50.0, 0.0, 1234.0]), ["50", "0", "1,234"]);
        assert_eq!(weights(&[50.0, 0.5]), ["50.000000", "0.50000000"]);
    }
}
