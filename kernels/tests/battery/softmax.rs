//! Softmax with cross-entropy: residuals of all classes and sums.

use super::data::Random;
use super::{Arithmetic, LENGTHS, SameBits, assert_close, kernels};
use gristmill_kernels::{Softmax, reference};

fn to_f64<R: Arithmetic>(values: &[R]) -> Vec<f64> {
    values.iter().map(|value| value.to_f64()).collect()
}

/// Margins from gentle to far out, some of them equal; every class occurs.
fn softmax_agrees<R: Arithmetic>() {
    let mut random = Random(31);
    for classes in [1, 2, 3, 10, 37, 1_000] {
        for count in LENGTHS.into_iter().filter(|count| count * classes < 20_000) {
            let margin = |random: &mut Random, i: usize| random.signed() * [1.0, 8.0, 60.0, 0.0][i % 4];
            let z: Vec<R> = (0..classes * count).map(|i| R::from_f64(margin(&mut random, i % count.max(1)))).collect();
            let y: Vec<R> = (0..count).map(|_| R::from_f64((random.next() % classes as u64) as f64)).collect();
            let weight: Vec<R> = (0..count).map(|i| R::from_f64([1.0, 0.0, 2.5][i % 3])).collect();
            for weight in [None, Some(&weight[..])] {
                let what = format!("{classes} classes, {count} rows, weights {}", weight.is_some());
                let (mut want, mut totals) = (to_f64(&z), vec![0.5; classes]);
                let sums = reference::softmax(&mut want, &to_f64(&y), weight.map(to_f64).as_deref(), &mut totals);
                // A share is off by the rounding of its margin's distance (at most 120 units) and of the sum of all.
                let unit = (160.0 + classes as f64) * R::UNIT;
                // The reference itself has its own class's residual as a difference from 1.
                let bound: Vec<f64> = want.iter().map(|want| unit * want.abs() + 1e-15).collect();
                let of_class = |k: usize| bound[k * count..(k + 1) * count].iter().sum::<f64>() + 4.0 * unit;
                let total_bound: Vec<f64> = (0..classes).map(of_class).collect();
                let mut same = SameBits::default();
                for kernels in kernels::<R>() {
                    let what = format!("{} {what}", kernels.tier());
                    let (mut got, mut got_totals) = (z.clone(), vec![0.5; classes]);
                    let rows = Softmax { z: &mut got, y: &y, weight, residuals: &mut got_totals };
                    let got_sums = kernels.softmax(rows);
                    assert_close(&to_f64(&got), &want, &bound, &what);
                    assert_close(&got_totals, &totals, &total_bound, &what);
                    let loss_bound = unit * (1.0 + sums.loss.abs()) + 64.0 * R::UNIT * 120.0;
                    let [found, right] = [got_sums, sums].map(|sums| [sums.loss, sums.weight]);
                    assert_close(&found, &right, &[loss_bound, count as f64 * R::UNIT], &what);
                    let mut bits: Vec<u64> = got.into_iter().map(R::bits).collect();
                    bits.extend(got_totals.iter().chain([&got_sums.loss, &got_sums.weight]).map(|sum| sum.to_bits()));
                    same.check(kernels.tier(), bits, &what);
                }
            }
        }
    }
}

#[test]
fn softmax_in_f32() {
    softmax_agrees::<f32>();
}

#[test]
fn softmax_in_f64() {
    softmax_agrees::<f64>();
}

/// Rows that are told apart by 30: the loss e^-30 and residuals of its size are no rounding errors.
#[test]
fn small_losses_keep_their_digits() {
    for kernels in kernels::<f32>() {
        let (mut z, mut residuals) = ([30.0, 0.0, f32::MIN], [0.0; 3]);
        let sums = kernels.softmax(Softmax { z: &mut z, y: &[0.0], weight: None, residuals: &mut residuals });
        let small = (-30.0f64).exp();
        assert!((sums.loss / small - 1.0).abs() < 1e-5 && (f64::from(z[1]) / small - 1.0).abs() < 1e-5, "{z:?}");
        assert!(z[0] == -z[1] && z[2] == 0.0, "{z:?}");
    }
}

#[test]
fn a_margin_that_is_not_finite_is_not_hidden() {
    for kernels in kernels::<f32>() {
        for (at, bad) in [(37, f32::NAN), (120, f32::NAN), (150, f32::INFINITY), (299, f32::NAN)] {
            let (mut z, mut residuals) = (vec![0.5; 300], [0.0; 3]);
            z[at] = bad;
            let sums = kernels.softmax(Softmax { z: &mut z, y: &[1.0; 100], weight: None, residuals: &mut residuals });
            assert!(!sums.loss.is_finite(), "{} {at} {bad}", kernels.tier());
        }
    }
}
