//! Every loss of the registry: residuals, curvatures and sums; link functions.

use super::data::Random;
use super::{Arithmetic, LENGTHS, SameBits, assert_close, kernels};
use gristmill_kernels::dtype::f16;
use gristmill_kernels::reference;
use gristmill_kernels::tile::{Block, Columns, parts};
use gristmill_kernels::{Call, Carried, Link, Loss, LossLanes, LossRows, LossSums, Next, Smoothing};

/// Margins from gentle to far out, targets that every loss takes (0, 1 and between).
fn rows<R: Arithmetic>(count: usize, random: &mut Random) -> (Vec<R>, Vec<R>, Vec<R>) {
    let margin = |random: &mut Random, i: usize| R::from_f64(random.signed() * [1.0, 8.0, 60.0][i % 3]);
    let z = (0..count).map(|i| margin(random, i)).collect();
    let y = (0..count).map(|i| R::from_f64([0.0, 1.0, random.signed().abs()][i % 3])).collect();
    let weight = (0..count).map(|i| R::from_f64([1.0, 0.0, random.signed().abs() * 5.0][i % 3])).collect();
    (z, y, weight)
}

fn to_f64<R: Arithmetic>(values: &[R]) -> Vec<f64> {
    values.iter().map(|value| value.to_f64()).collect()
}

fn sum_bits(sums: &LossSums) -> [u64; 4] {
    [sums.loss.to_bits(), sums.residual.to_bits(), sums.curvature.to_bits(), sums.weight.to_bits()]
}

fn losses_agree<R: Arithmetic>() {
    let mut random = Random(23);
    for loss in Loss::ALL {
        for count in LENGTHS {
            let (z, y, weight) = rows::<R>(count, &mut random);
            for (weighted, curved) in [(false, false), (true, false), (false, true), (true, true)] {
                let weight = weighted.then_some(&weight[..]);
                let what = format!("{}, {count} rows, weights {weighted}, curvature {curved}", loss.name());
                let mut residual = to_f64(&z);
                let mut curvature = vec![0.0; count];
                let sums = reference::loss(
                    loss,
                    &mut residual,
                    &to_f64(&y),
                    weight.map(to_f64).as_deref(),
                    curved.then_some(&mut curvature[..]),
                );
                // About ten operations on numbers of the size of z and y (z^2 for the squared loss; the terms themselves
                // where they grow as exp), and the few units in the last place of exp and log1p: 32 half units of the
                // greatest of them.
                let unit = 32.0 * R::UNIT;
                let size = |i: usize| {
                    let weight = weight.map_or(1.0, |weight| weight[i].to_f64());
                    let (z, y) = (z[i].to_f64(), y[i].to_f64());
                    let terms = reference::terms(loss, z, y);
                    let grown = if loss.link() == Link::Exp { terms.residual.abs() + terms.curvature } else { 0.0 };
                    weight * (1.0 + z.abs() + y.abs() + grown * (1.0 + z.abs()))
                };
                let bound: Vec<f64> = (0..count).map(|i| unit * size(i)).collect();
                let loss_bound: f64 = (0..count).map(|i| unit * size(i) * (1.0 + z[i].to_f64().abs())).sum();
                let mut same = SameBits::default();
                for kernels in kernels::<R>() {
                    let what = format!("{} {what}", kernels.tier());
                    let (mut got, mut got_curvature) = (z.clone(), vec![R::default(); count]);
                    let curvature_out = curved.then_some(&mut got_curvature[..]);
                    let got_sums = kernels.loss(loss, &mut got, &y, weight, curvature_out, None);
                    assert_close(&to_f64(&got), &residual, &bound, &what);
                    assert_close(&to_f64(&got_curvature), &curvature, &bound, &what);
                    let total: f64 = bound.iter().sum();
                    assert_close(
                        &[got_sums.loss, got_sums.residual, got_sums.curvature, got_sums.weight],
                        &[sums.loss, sums.residual, sums.curvature, sums.weight],
                        &[loss_bound, total, total, total],
                        &what,
                    );
                    let mut bits: Vec<u64> = got.into_iter().chain(got_curvature).map(R::bits).collect();
                    bits.extend(sum_bits(&got_sums));
                    same.check(kernels.tier(), bits, &what);
                }
            }
        }
    }
}

#[test]
fn losses_in_f32() {
    losses_agree::<f32>();
}

#[test]
fn losses_in_f64() {
    losses_agree::<f64>();
}

/// Losses whose rows come in several calls have the bits of one call.
fn calls_are_as_one<R: Arithmetic>() {
    let mut random = Random(31);
    for (loss, count) in Loss::ALL.into_iter().flat_map(|loss| LENGTHS.map(|count| (loss, count))) {
        let (z, y, weight) = rows::<R>(count, &mut random);
        for (weighted, curved) in [(false, false), (true, false), (false, true), (true, true)] {
            for kernels in kernels::<R>() {
                let made = |piece: usize| {
                    let (mut z, mut bend) = (z.clone(), vec![R::default(); count]);
                    let (mut lanes, mut sums) = (LossLanes::default(), LossSums::default());
                    for part in parts(&(0..count), piece) {
                        let call = Call { first: part.start == 0, last: part.end == count };
                        let rows = LossRows {
                            z: &mut z[part.clone()],
                            y: &y[part.clone()],
                            weight: weighted.then_some(&weight[part.clone()]),
                            curvature: curved.then_some(&mut bend[part]),
                            next: None,
                        };
                        sums += kernels.loss_of_run(loss, rows, Some(Carried { call, lanes: &mut lanes }));
                    }
                    let bits: Vec<u64> = z.into_iter().chain(bend).map(R::bits).collect();
                    (bits, sum_bits(&sums))
                };
                let whole = made(count.max(1));
                for piece in [64, 192] {
                    assert_eq!(made(piece), whole, "{} {} {count} rows by {piece}", kernels.tier(), loss.name());
                }
                let mut z = z.clone();
                let weight = weighted.then_some(&weight[..]);
                let mut bend = vec![R::default(); count];
                let sums = kernels.loss(loss, &mut z, &y, weight, curved.then_some(&mut bend[..]), None);
                assert_eq!(sum_bits(&sums), whole.1, "{} {} {count} rows at once", kernels.tier(), loss.name());
            }
        }
    }
}

#[test]
fn calls_of_a_run_in_f32() {
    calls_are_as_one::<f32>();
}

#[test]
fn calls_of_a_run_in_f64() {
    calls_are_as_one::<f64>();
}

/// The derivatives in the reference are those of its loss: central differences.
#[test]
fn reference_derivatives_match_differences() {
    for loss in Loss::ALL {
        for (z, y) in [(-3.0, 0.0), (-0.5, 1.0), (0.25, 0.3), (2.0, 1.0), (4.0, 0.0)] {
            let h = 1e-5;
            let at = |z: f64| reference::terms(loss, z, y);
            let slope = (at(z + h).loss - at(z - h).loss) / (2.0 * h);
            let bend = (at(z + h).residual - at(z - h).residual) / (2.0 * h);
            // The truncation error is h^2 / 6 times a third derivative below 1 (below e^4 for the exponential), rounding about
            // 1e-16 / h of the value.
            let most = 1e-9 * (1.0 + at(z).residual.abs() + at(z).curvature);
            assert!((slope - at(z).residual).abs() < most, "{} at {z}, {y}", loss.name());
            // Where the Huber loss is straight its curvature is not the second derivative, and positive.
            let straight = matches!(loss, Loss::Huber(delta) if (z - y).abs() > delta);
            let lifted = matches!(loss, Loss::Quantile(_, Smoothing::Lifted(..)));
            let right = match (straight, lifted) {
                (true, _) => at(z).curvature > 0.0,
                (_, true) => at(z).curvature > bend,
                _ => (bend - at(z).curvature).abs() < most,
            };
            assert!(right, "{} at {z}, {y}", loss.name());
        }
    }
}

/// The parabolas of curvatures that are lifted all the way lie nowhere below the loss.
#[test]
fn chords_lie_above_the_loss() {
    let places = || (-60..=60).map(|z| f64::from(z) / 8.0);
    for loss in [Loss::Hinge, Loss::Absolute, |smoothing| Loss::Quantile(0.9, smoothing)] {
        let loss = loss(Smoothing::Lifted(0.5, 1.0));
        for (from, to) in places().flat_map(|from| places().map(move |to| (from, to))) {
            let (here, there) = (reference::terms(loss, from, 1.0), reference::terms(loss, to, 1.0));
            let way = to - from;
            let parabola = here.loss + here.residual * way + here.curvature * way * way / 2.0;
            assert!(parabola >= there.loss - 1e-12, "{} from {from} to {to}", loss.name());
        }
    }
}

/// Asking memory for rows to come, or for what lies beyond the grain, changes no bit: two columns or many, near each other or not.
#[test]
fn asking_for_rows_to_come_changes_nothing() {
    let (values, narrow) = (vec![1.5_f32; 64 * 28], vec![f16::ONE; 64 * 28]);
    let even: Vec<&[f32]> = values.chunks(64).collect();
    let uneven: Vec<&[f32]> = even.iter().rev().map(|column| &column[..40]).collect();
    let blocks = [
        Block::Columns(Columns::F32(even[..3].to_vec())),
        Block::Columns(Columns::F32(even[..5].to_vec())),
        Block::Columns(Columns::F32(uneven)),
        Block::Columns(Columns::F32(even)),
        Block::Columns(Columns::F16(narrow.chunks(64).collect())),
    ];
    let mut random = Random(29);
    for count in LENGTHS {
        let (z, y, _) = rows::<f32>(count, &mut random);
        for kernels in kernels::<f32>() {
            let made = |next: Option<Next<'_>>| {
                let mut z = z.clone();
                let sums = kernels.loss(Loss::Logistic, &mut z, &y, None, None, next);
                (z.into_iter().map(f32::to_bits).collect::<Vec<_>>(), sum_bits(&sums))
            };
            for (number, block) in blocks.iter().enumerate() {
                let next = Next::after(block, &(10..10 + count));
                assert_eq!(made(next), made(None), "{} {count} rows, block {number}", kernels.tier());
            }
        }
    }
}

/// Margins that are not numbers or infinite show up in the sums, where the engine looks for them.
#[test]
fn a_margin_that_is_not_finite_is_not_hidden() {
    for kernels in kernels::<f32>() {
        for loss in Loss::ALL {
            for bad in [f32::NAN, f32::INFINITY] {
                let mut z = vec![0.5; 100];
                z[37] = bad;
                let sums = kernels.loss(loss, &mut z, &[0.0; 100], None, None, None);
                assert!(!sums.loss.is_finite(), "{} {} {bad}", kernels.tier(), loss.name());
            }
        }
    }
}

fn links_agree<R: Arithmetic>() {
    let mut random = Random(5);
    for link in Link::ALL {
        for count in LENGTHS {
            let (z, ..) = rows::<R>(count, &mut random);
            let want: Vec<f64> = z.iter().map(|z| reference::link(link, z.to_f64())).collect();
            // Sigmoid is right to three units in the last place, exp to two: see math.rs.
            let bound: Vec<f64> = want.iter().map(|want| 8.0 * R::UNIT * want.abs()).collect();
            let mut same = SameBits::default();
            for kernels in kernels::<R>() {
                let what = format!("{link:?} {} {count} rows", kernels.tier());
                let mut got = z.clone();
                kernels.link(link, &mut got);
                assert_close(&to_f64(&got), &want, &bound, &what);
                same.check(kernels.tier(), got.into_iter().map(R::bits).collect(), &what);
            }
        }
    }
}

#[test]
fn links_in_f32() {
    links_agree::<f32>();
}

#[test]
fn links_in_f64() {
    links_agree::<f64>();
}
