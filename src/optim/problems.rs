//! The battery of the solvers: small problems in memory, each solved by every solver that can, against each other and
//! against the conditions of a minimum.

use super::coordinate_descent::Until;
use super::dense::{Matrix, axpy, dot};
use super::machine::Machine;
use super::quadratic::Quadratic;
use super::schedule::{Sample, Schedule};
use super::second_order::Problem;
use super::*;
use crate::models::Loss;
use crate::plan::SolverName;
use gristmill_kernels::reference;

/// Rows with a column of ones at the end.
pub struct Data {
    pub rows: Vec<Vec<f64>>,
    pub labels: Vec<f64>,
    pub loss: Loss,
}

/// A stream of numbers that look uniform in -1..1 (splitmix64).
pub fn numbers(seed: u64) -> impl FnMut() -> f64 {
    let mut state = seed;
    move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }
}

pub fn random(n: usize, p: usize, loss: Loss, seed: u64) -> Data {
    let mut next = numbers(seed);
    let truth: Vec<f64> = (0..p).map(|j| if j % 3 == 0 { 1.5 * next() } else { 0.0 }).collect();
    let mut rows = Vec::new();
    let mut labels = Vec::new();
    for _ in 0..n {
        let common = next();
        let mut row: Vec<f64> = (0..p).map(|_| next() + 0.5 * common).collect();
        let z = dot(&row, &truth) + 0.3 + 0.5 * next();
        labels.push(if loss == Loss::Logistic { f64::from(z + 1.5 * next() > 0.0) } else { z });
        row.push(1.0);
        rows.push(row);
    }
    Data { rows, labels, loss }
}

impl Data {
    fn n(&self) -> usize {
        self.rows[0].len()
    }

    fn evaluate(&self, request: &Request<'_>) -> Evaluation {
        let n = self.n();
        let mut found = Evaluation { loss: 0.0, gradient: vec![0.0; n], hessian: None };
        let mut hessian = Matrix::zero(n);
        let mut count = 0.0;
        for (row, &y) in self.rows.iter().zip(&self.labels).step_by(request.sample.every as usize) {
            let z = dot(row, request.point);
            let gristmill_kernels::losses::Terms { loss, residual, curvature } = reference::terms(self.loss, z, y);
            found.loss += loss;
            axpy(residual, row, &mut found.gradient);
            for i in 0..n {
                axpy(curvature * row[i], row, hessian.row_mut(i));
            }
            count += 1.0;
        }
        found.loss /= count;
        found.gradient.iter_mut().for_each(|g| *g /= count);
        hessian.values.iter_mut().for_each(|h| *h /= count);
        found.hessian = (request.collect == Collect::Hessian).then_some(hessian);
        found
    }

    fn problem(&self, l1: f64, l2: f64, tolerance: f64) -> Problem {
        let n = self.n();
        let mut penalty = Penalty { l1: vec![l1; n], l2: vec![l2; n] };
        (penalty.l1[n - 1], penalty.l2[n - 1]) = (0.0, 0.0);
        let null_loss = self.evaluate(&self.at_zero(&vec![0.0; n])).loss;
        let open = self.loss == Loss::Logistic;
        let limits = Limits { tolerance, passes_max: 500, noise: 1e-15, terms: 0.0, null_loss, open };
        Problem { penalty, intercept: true, metric: vec![1.0; n], is_rounded: false, limits }
    }

    fn at_zero<'a>(&self, zero: &'a [f64]) -> Request<'a> {
        Request { point: zero, collect: Collect::Hessian, sample: Sample::ALL, lift: 0.0 }
    }

    fn quadratic(&self) -> Quadratic {
        let n = self.n();
        Quadratic::new(self.evaluate(&self.at_zero(&vec![0.0; n])), true, vec![1.0; n]).expect("has a Hessian")
    }
}

fn run(data: &Data, mut solver: impl Solver) -> (Outcome, usize) {
    for passes in 1..2_000 {
        let found = data.evaluate(&solver.request());
        if let Status::Done(outcome) = solver.absorb(found) {
            return (*outcome, passes);
        }
    }
    panic!("a solver that never ends")
}

fn every_solver(data: &Data, l1: f64, l2: f64, schedule: &Schedule) -> Vec<(&'static str, Outcome)> {
    let n = data.n();
    let problem = data.problem(l1, l2, 1e-12);
    let (zero, clone) = (vec![0.0; n], || (problem.clone(), vec![0.0; n], schedule.clone()));
    let mut all = Vec::new();
    let (p, z, s) = clone();
    all.push(("proximal newton", run(data, proximal_newton::ProximalNewton::new(p, z, s)).0));
    let (p, z, s) = clone();
    all.push(("owlqn", run(data, owlqn::Owlqn::new(p, z, s)).0));
    if data.loss == Loss::Squared {
        let quadratic = data.quadratic();
        let until = Until::DualityGap(1e-13 * problem.limits.null_loss);
        all.push(("coordinate descent", coordinate_descent::solve(&quadratic, &problem.penalty, &zero, until)));
        if l1 == 0.0 {
            all.push(("cholesky", cholesky::solve(&quadratic, &problem.penalty)));
        }
    }
    if l1 == 0.0 {
        let (p, z, s) = clone();
        all.push(("newton", run(data, newton::Newton::new(p, z, s)).0));
        let (p, z, s) = clone();
        all.push(("lbfgs", run(data, lbfgs::Lbfgs::new(p, z, s)).0));
    }
    all
}

#[test]
fn every_solver_finds_the_same_minimum() {
    for loss in [Loss::Squared, Loss::Logistic] {
        for (n, p) in [(200, 5), (60, 20), (500, 1)] {
            let data = random(n, p, loss, 7 + n as u64);
            for (l1, l2) in [(0.0, 0.1), (0.02, 0.0), (0.05, 0.01), (10.0, 0.0), (0.0, 0.0)] {
                if l1 == 0.0 && l2 == 0.0 && n == 60 {
                    continue;
                }
                let all = every_solver(&data, l1, l2, &Schedule::whole());
                let least = all.iter().map(|(_, o)| o.objective).fold(f64::INFINITY, f64::min);
                for (name, outcome) in &all {
                    let off = (outcome.objective - least) / least.max(1e-12);
                    assert!(
                        outcome.has_converged() && off < 1e-9,
                        "{loss:?} {n}x{p} {l1} {l2} {name}: {off:e}, {outcome:?}"
                    );
                }
            }
        }
    }
}

/// Rare columns and columns of other units: the l2 penalty of the solver's coordinates runs from 1e-4 to 1e6, which costs no passes.
#[test]
fn a_penalty_of_many_units_costs_no_passes() {
    for loss in [Loss::Squared, Loss::Logistic] {
        let data = random(400, 30, loss, 13);
        let mut problem = data.problem(0.0, 0.0, 1e-9);
        for (j, l2) in problem.penalty.l2.iter_mut().take(30).enumerate() {
            *l2 = 10f64.powf(j as f64 / 3.0 - 4.0);
        }
        let start = || (vec![0.0; 31], Schedule::whole());
        let (exact, _) = run(&data, newton::Newton::new(problem.clone(), start().0, start().1));
        let (lbfgs, passes) = run(&data, lbfgs::Lbfgs::new(problem.clone(), start().0, start().1));
        let (owlqn, own) = run(&data, owlqn::Owlqn::new(problem.clone(), start().0, start().1));
        for outcome in [&lbfgs, &owlqn] {
            assert!(
                outcome.has_converged() && outcome.objective / exact.objective - 1.0 < 1e-8,
                "{loss:?} {outcome:?}"
            );
        }
        assert!(passes <= 25 && own <= 25, "{loss:?}: {passes} and {own} passes");
    }
}

#[test]
fn samples_change_the_way_and_not_the_end() {
    let data = random(40_000, 6, Loss::Logistic, 3);
    for l1 in [0.0, 0.01] {
        let schedule = Schedule::new(40_000 * 16, 6);
        assert!(!schedule.sample().is_all());
        let sampled = every_solver(&data, l1, 0.001, &schedule);
        let whole = every_solver(&data, l1, 0.001, &Schedule::whole());
        for ((name, a), (_, b)) in sampled.iter().zip(&whole) {
            assert!(a.has_converged() && (a.objective / b.objective - 1.0).abs() < 1e-9, "{name} {l1}: {a:?} {b:?}");
        }
    }
}

/// The Hessian of a small sample is collected anew on a larger one where that saves a pass over all rows, or where few of its rows have
/// a coordinate; else it is kept.
#[test]
fn a_hessian_of_enough_rows_serves_larger_samples() {
    let mut data = random(64 * 8_192, 2, Loss::Squared, 37);
    let passes = |data: &Data, tolerance: f64| {
        // As if there were more parameters: of few, chance decides how far samples are apart.
        let schedule = Schedule::new(data.rows.len() as u64, 27);
        let mut solver = newton::Newton::new(data.problem(0.0, 1e-3, tolerance), vec![0.0; data.n()], schedule);
        let mut passes = Vec::new();
        loop {
            let request = solver.request();
            passes.push((request.sample.every, request.collect == Collect::Hessian));
            let found = data.evaluate(&request);
            if let Status::Done(outcome) = solver.absorb(found) {
                assert!(outcome.has_converged(), "{outcome:?}");
                return passes.split_off(passes.iter().position(|(every, _)| *every < 64).expect("all rows"));
            }
        }
    };
    let kept = passes(&data, 1e-5);
    assert!(kept[..2] == [(8, false), (1, false)] && kept.len() <= 3, "{kept:?}");
    assert_eq!(passes(&data, 1e-10)[0], (8, true));
    for (i, row) in data.rows.iter_mut().enumerate() {
        row[1] = f64::from(i % 1_024 < 2 && i % 3 == 0);
    }
    assert_eq!(passes(&data, 1e-5)[0], (8, true));
}

/// Far from all rows a Huber loss is straight and its Hessian 0, which is no minimum; near few of them it is too small.
#[test]
fn a_hessian_that_knows_no_way_down_is_no_end() {
    for (labels, seed, apart) in [(1.0, 11, 0.0), (1000.0, 12, 0.0), (1.0, 13, 1e6)] {
        let mut data = random(300, 3, Loss::Huber(0.001), seed);
        data.labels.iter_mut().for_each(|y| *y *= labels);
        data.labels.iter_mut().step_by(10).enumerate().for_each(|(i, y)| *y += apart * i as f64);
        let null = data.evaluate(&data.at_zero(&[0.0; 4])).loss;
        for (l1, by_hessian, by_gradient) in [
            (0.0, SolverName::Newton, SolverName::Lbfgs),
            (0.0, SolverName::ProximalNewton, SolverName::Owlqn),
            (1e-5, SolverName::ProximalNewton, SolverName::Owlqn),
        ] {
            let problem = data.problem(l1, 1e-6, 1e-9);
            let [one, other] = [by_hessian, by_gradient].map(|name| {
                run(&data, Machine::new(name, problem.clone(), vec![0.0; 4], Schedule::whole()).expect("makes steps")).0
            });
            assert!(one.has_converged() && other.has_converged(), "{one:?} {other:?}");
            assert!((one.objective / other.objective - 1.0).abs() < 1e-6, "{one:?} {other:?}");
            assert!(one.objective < null, "{one:?}");
        }
    }
}

#[test]
fn separated_classes_are_told() {
    let mut next = numbers(5);
    let rows: Vec<Vec<f64>> = (0..100).map(|_| vec![next(), next(), 1.0]).collect();
    let labels = rows.iter().map(|row| f64::from(row[0] + 0.2 * row[1] > 0.05)).collect();
    let data = Data { rows, labels, loss: Loss::Logistic };
    for (name, outcome) in every_solver(&data, 0.0, 0.0, &Schedule::whole()) {
        assert!(!outcome.has_converged() && outcome.warnings.len() == 1, "{name}: {outcome:?}");
        assert_eq!(outcome.reason, "separable data", "{name}");
    }
    for (name, outcome) in every_solver(&data, 0.0, 0.01, &Schedule::whole()) {
        assert!(outcome.has_converged() && outcome.warnings.is_empty(), "{name}: {outcome:?}");
    }
}

/// The pass in which a solver finds itself near its minimum may be the last that it may make.
#[test]
fn the_last_pass_counts() {
    let data = random(300, 4, Loss::Logistic, 23);
    for name in [SolverName::Newton, SolverName::ProximalNewton, SolverName::Lbfgs, SolverName::Owlqn] {
        let mut problem = data.problem(0.0, 0.01, 1e-8);
        let start = |problem: &Problem| {
            Machine::new(name, problem.clone(), vec![0.0; 5], Schedule::whole()).expect("makes steps")
        };
        let (free, passes) = run(&data, start(&problem));
        problem.limits.passes_max = passes as u32;
        assert_eq!((free, passes), run(&data, start(&problem)), "{}", name.name());
        problem.limits.passes_max = passes as u32 - 1;
        let (short, _) = run(&data, start(&problem));
        assert_eq!((short.converged, short.reason.as_str()), (Some(false), "pass limit"), "{}", name.name());
    }
}

/// Of rows that a plane separates, a sample has no minimum either; of others it has as many passes as all rows at most.
#[test]
fn samples_end() {
    let mut separated = random(64 * 64, 2, Loss::Logistic, 29);
    separated.labels = separated.rows.iter().map(|row| f64::from(row[0] > 0.05)).collect();
    let crossed = random(64 * 64, 20, Loss::Logistic, 31);
    let schedule = |data: &Data| Schedule::new(10_000_000, data.n() - 1);
    for name in [SolverName::Lbfgs, SolverName::Owlqn] {
        let (data, problem) = (&separated, separated.problem(0.0, 0.0, 1e-12));
        let start = |schedule| Machine::new(name, problem.clone(), vec![0.0; data.n()], schedule).expect("makes steps");
        let (_, whole) = run(data, start(Schedule::whole()));
        let (outcome, passes) = run(data, start(schedule(data)));
        assert_eq!(outcome.reason, "separable data", "{}", name.name());
        assert!(passes <= 3 * whole, "{}: {passes} passes, {whole} without samples", name.name());
        let (data, mut problem) = (&crossed, crossed.problem(0.0, 1e-9, 1e-12));
        problem.limits.passes_max = 2;
        let (zero, samples) = (vec![0.0; data.n()], schedule(data));
        let (outcome, passes) = run(data, Machine::new(name, problem, zero, samples).expect("makes steps"));
        assert_eq!(outcome.reason, "pass limit", "{}", name.name());
        assert!(passes <= 3 * 3, "{}: {passes} passes", name.name());
    }
}

/// A level that only one class has, beside a column that separates nothing.
#[test]
fn partly_separated_classes_are_told() {
    let mut next = numbers(9);
    let rows: Vec<Vec<f64>> = (0..400).map(|i| vec![next(), f64::from(i % 20 == 0), 1.0]).collect();
    let labels = rows.iter().map(|row| f64::from(row[1] > 0.0 || row[0] + 2.0 * next() > 0.0)).collect();
    let data = Data { rows, labels, loss: Loss::Logistic };
    let problem = data.problem(0.0, 0.0, 1e-7);
    let (outcome, _) = run(&data, newton::Newton::new(problem, vec![0.0; 3], Schedule::whole()));
    assert!(outcome.warnings.iter().any(|w| w.contains("without bound")), "{outcome:?}");
}

#[test]
fn dependent_columns_are_named_and_shared() {
    let mut data = random(100, 3, Loss::Logistic, 11);
    for row in &mut data.rows {
        (row[1], row[2]) = (row[0], 0.0);
    }
    let problem = data.problem(0.0, 0.0, 1e-12);
    let (outcome, _) = run(&data, newton::Newton::new(problem, vec![0.0; 4], Schedule::whole()));
    assert!(outcome.has_converged(), "{outcome:?}");
    assert_eq!(outcome.dependent, [1, 2]);
    assert!((outcome.point[0] - outcome.point[1]).abs() < 1e-9 && outcome.point[2] == 0.0, "{outcome:?}");
}

/// A solver that is written to JSON and read back before every pass takes the same steps to the same bits.
#[test]
fn a_state_survives_serialisation() {
    let data = random(300, 4, Loss::Logistic, 21);
    let problem = data.problem(0.0, 0.01, 1e-10);
    let start = || (problem.clone(), vec![0.0; 5], Schedule::whole());
    let (p, z, s) = start();
    let (whole, _) = run(&data, lbfgs::Lbfgs::new(p, z, s));
    let (p, z, s) = start();
    let mut solver = lbfgs::Lbfgs::new(p, z, s);
    let outcome = loop {
        let text = serde_json::to_string(&solver).expect("serialises");
        solver = serde_json::from_str(&text).expect("parses");
        let found = data.evaluate(&solver.request());
        if let Status::Done(outcome) = solver.absorb(found) {
            break outcome;
        }
    };
    assert_eq!(whole, *outcome);
}

/// The curvature of few rows, the levels of two categories and a constant among the columns: the active columns of a lasso
/// are combinations of each other, and sweeps alone creep. The Karush-Kuhn-Tucker conditions tell the minimum.
#[test]
fn a_lasso_of_dependent_columns_ends() {
    let (levels, mut next) = (40, numbers(17));
    let mut row = || {
        let mut row = vec![0.0; 2 * levels + 1];
        row[((next() + 1.0) / 2.0 * levels as f64) as usize % levels] = 1.0;
        row[levels + ((next() + 1.0) / 2.0 * levels as f64) as usize % levels] = 1.0;
        row[2 * levels] = 1.0;
        row
    };
    let rows: Vec<Vec<f64>> = (0..120).map(|_| row()).collect();
    let labels = (0..120).map(|i| f64::from(i * 37 % 101) / 50.0 - 1.0).collect();
    let data = Data { rows, labels, loss: Loss::Squared };
    let quadratic = data.quadratic();
    for l1 in [0.02, 1e-3, 1e-5] {
        let penalty = data.problem(l1, 0.0, 1e-12).penalty;
        let outcome = coordinate_descent::solve(&quadratic, &penalty, &vec![0.0; data.n()], Until::Stationary(1e-20));
        assert!(outcome.has_converged(), "{l1}: {}", outcome.reason);
        let smooth = quadratic.at(&outcome.point, &penalty).smooth;
        for (j, (&x, g)) in outcome.point.iter().zip(&smooth).enumerate() {
            let off =
                if x == 0.0 { (g.abs() - penalty.l1[j]).max(0.0) } else { (g + penalty.l1[j] * x.signum()).abs() };
            assert!(off < 1e-9, "{l1}: coordinate {j} at {x} has slope {g}");
        }
    }
}
