//! What is not sent is kept; a training whose sums are rounded ends where an exact one does, for half the bytes.

use std::sync::atomic::{AtomicUsize, Ordering};

use mpi_launch::{CommError, Communicator, Pending, Solo, threads};

use super::Feedback;
use crate::engine::online::exchange::Exchange;
use crate::engine::online::slot::Entry;
use crate::engine::tests::{bits, fit_with, mixed, plan};
use crate::plan::payload::Payload;

const ROUNDED: [Payload; 2] = [Payload::F16, Payload::Bf16];

#[test]
fn what_is_not_sent_is_kept() {
    for payload in ROUNDED {
        let feedback = Feedback::new(payload, 3, &[1, 2], 2).expect("rounds");
        let mut next = crate::optim::problems::numbers(7);
        let (mut wanted, mut sent) = ([0.0; 4], [0.0; 4]);
        for batch in 0..400 {
            // Exponents change where a loss has no bound; sizes go from a few units to all that a sum can be.
            let exponent = 40 + batch % 5;
            let size = 2f64.powi([3, 20, 40, 60][batch as usize / 100]);
            let mut entries: Vec<Entry> =
                (0..4).map(|coordinate| (coordinate, (next().clamp(-1.0, 1.0) * size) as i64)).collect();
            entries.iter().for_each(|(c, sum)| wanted[*c as usize] += *sum as f64 * 2f64.powi(-exponent));
            feedback.round((1, 0, 1), exponent, &mut entries);
            for (coordinate, sum) in entries {
                assert!(sum != 0 && sum.unsigned_abs() <= 1 << 60, "{payload:?}: {sum}");
                let number = sum as f64;
                assert_eq!(payload.of_bits(payload.to_bits(number)), number, "{payload:?}: not what it says it sends");
                sent[coordinate as usize] += number * 2f64.powi(-exponent);
            }
        }
        let kept = feedback.kept[1].lock().expect("no thread failed");
        for coordinate in 0..4 {
            let (wanted, sent, kept) = (wanted[coordinate], sent[coordinate], f64::from(kept[0][1][coordinate]));
            // The largest sums are 2^60 / 2^40; what is kept has 24 bits of an error of 8 or 11, and f64 has 53.
            assert!((wanted - sent - kept).abs() < 1e-3, "{payload:?}: {wanted} {sent} {kept}");
            assert!(kept.abs() <= 2f64.powi(60 - 40 - 8), "{payload:?}: {kept}");
        }
    }
    assert!(Feedback::new(Payload::I64, 3, &[1], 1).is_none() && Feedback::new(Payload::F16, 1, &[1], 1).is_none());
}

/// A loss without a bound may have a batch of large residuals, and then small ones: what was kept is more than can be sent at once.
#[test]
fn what_is_too_much_for_one_batch_is_sent_in_several() {
    for payload in ROUNDED {
        let feedback = Feedback::new(payload, 2, &[1], 1).expect("rounds");
        let large: i64 = (1 << 60) - (1 << 47);
        let mut entries = vec![(0, large)];
        feedback.round((0, 0, 0), 30, &mut entries);
        let mut left = (large - entries[0].1) as f64;
        assert!(left != 0.0);
        left *= 2f64.powi(50 - 30);
        for _ in 0..1 << 12 {
            let mut entries = vec![(0, 0)];
            feedback.round((0, 0, 0), 50, &mut entries);
            let sent = entries.first().map_or(0, |(_, sum)| *sum);
            assert!(sent.unsigned_abs() <= 1 << 60);
            left -= sent as f64;
        }
        assert!(left.abs() <= 2f64.powi(50 - 30), "{payload:?}: {left}");
    }
}

/// Counts the bytes that a rank gives to be gathered.
struct Counted<'a>(&'a dyn Communicator, AtomicUsize);

impl Communicator for Counted<'_> {
    fn rank(&self) -> usize {
        self.0.rank()
    }

    fn size(&self) -> usize {
        self.0.size()
    }

    fn start_all_reduce<'a>(&'a self, sum: &'a mut [i64]) -> Result<Box<dyn Pending + 'a>, CommError> {
        self.0.start_all_reduce(sum)
    }

    fn broadcast(&self, bytes: &mut Vec<u8>, root: usize) -> Result<(), CommError> {
        self.0.broadcast(bytes, root)
    }

    fn all_gather(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>, CommError> {
        self.1.fetch_add(bytes.len(), Ordering::Relaxed);
        self.0.all_gather(bytes)
    }

    fn gather(&self, bytes: &[u8], root: usize) -> Result<Option<Vec<Vec<u8>>>, CommError> {
        self.0.gather(bytes, root)
    }

    fn barrier(&self) -> Result<(), CommError> {
        self.0.barrier()
    }

    fn abort(&self, message: &str, exit_code: i32) {
        self.0.abort(message, exit_code);
    }
}

#[test]
fn a_pair_takes_half_the_bytes() {
    let results = threads::run(2, |comm| {
        for payload in [Payload::I64, Payload::F16, Payload::Bf16] {
            let comm = Counted(comm, AtomicUsize::new(0));
            let feedback = Feedback::new(payload, 2, &[1], 1);
            let exchange = Exchange::new(&comm, (&[1], 1), false, feedback.as_ref());
            let own: Vec<Entry> = (0..100).map(|coordinate| (coordinate, -(1 << 50) << (coordinate % 8))).collect();
            exchange.post((0, 0, 0), 40, |entries| entries.extend(&own))?;
            exchange.gather()?;
            let all = [own.clone(), own].concat();
            assert!(exchange.entries((0, 0, 0))? == all, "{payload:?}: powers of two arrive as they are");
            let pair = if payload.is_exact() { 12 } else { 6 };
            assert_eq!(comm.1.into_inner(), 4 + 100 * pair, "{payload:?}: the number of pairs, and they");
        }
        Ok::<_, crate::error::Error>(())
    });
    results.into_iter().for_each(|rank| rank.expect("exchanges"));
}

/// Objective, bits of the models, and bytes that all ranks sent.
fn trained(dataset: &gristmill_io::dataset::Dataset, text: &str, ranks: usize) -> (f64, Vec<u64>, usize) {
    let plan = plan(text);
    let all = threads::run(ranks, |comm| {
        let comm = Counted(comm, AtomicUsize::new(0));
        let trained = fit_with(dataset, &plan, &comm)?;
        Ok::<_, crate::error::Error>((trained.models[0].objective, bits(&trained), comm.1.into_inner()))
    });
    let all: Vec<_> = all.into_iter().map(|rank| rank.expect("trains")).collect();
    assert!(all.iter().all(|rank| rank.1 == all[0].1), "{text}: ranks have different models");
    (all[0].0, all[0].1.clone(), all.iter().map(|rank| rank.2).sum())
}

#[test]
fn rounded_sums_train_to_the_same_objective_for_half_the_bytes() {
    let folder = tempfile::tempdir().expect("a folder");
    for (label, settings) in [
        ("binary", r#""model": "logistic", "solver": "sgd", "learning-rate": 0.1, "batch-rows": 50, "epochs": 3"#),
        ("binary", r#""model": "logistic", "solver": "adagrad", "l2": 0.01, "batch-rows": 64, "epochs": 3"#),
        (
            "binary",
            r#""model": "logistic", "solver": "ftrl", "l1": 0.001, "clip-norm": 0.5, "batch-rows": 64, "epochs": 3"#,
        ),
        // No bound on a residual: exponents change from batch to batch.
        ("real", r#""model": "linear", "solver": "sgd", "learning-rate": 0.05, "batch-rows": 64, "epochs": 3"#),
        ("several", r#""model": "softmax", "solver": "adam", "learning-rate": 0.01, "batch-rows": 64, "epochs": 3"#),
    ] {
        let dataset = mixed(&folder.path().join(format!("{label}{}", settings.len())), label);
        let text = |dtype: &str| format!(r#"{{{settings}, "allreduce-dtype": "{dtype}", "threads": 2}}"#);
        let exact = fit_with(&dataset, &plan(&text("i64")), &Solo).expect("trains");
        let alone = fit_with(&dataset, &plan(&text("f16")), &Solo).expect("trains");
        assert_eq!(bits(&exact), bits(&alone), "{settings}: one rank sends nothing");
        for ranks in 2..=4 {
            let (objective, same, whole) = trained(&dataset, &text("i64"), ranks);
            assert_eq!(same, bits(&exact), "{settings}: {ranks} ranks");
            for payload in ROUNDED {
                let (rounded, other, sent) = trained(&dataset, &text(payload.name()), ranks);
                let name = format!("{settings}: {} on {ranks} ranks", payload.name());
                assert!((rounded - objective).abs() <= 1e-3 * objective.abs(), "{name}: {rounded} {objective}");
                assert!(other != same, "{name}: nothing was rounded");
                // Half, and the heads of messages, which are much of batches as small as these.
                assert!(sent as f64 <= 0.6 * whole as f64, "{name}: {sent} bytes of {whole}");
            }
        }
    }
}
