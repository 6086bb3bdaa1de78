//! Every kernel, by storage type, tier and number of weight vectors: all threads over their own grains, as a pass has it.
//!
//! | case | what a row costs | multiply-adds |
//! |---|---|---|
//! | `gradient DTYPE TIER kN` | margins, logistic loss and gradient of 28 columns, N weight vectors | 2 N a number |
//! | `gradient f32 TIER k1 c512` | the same of 512 columns, one vector | 2 a number |
//! | `vectors DTYPE TIER` | the same of one vector of 28 elements | 2 a number |
//! | `vectors f32 TIER c512` | the same of one vector of 512 elements | 2 a number |
//! | `codes TIER`, `sparse TIER` | margins and scattered gradient of 8 categories of 4,096 levels; of 24 entries of 65,536 | 2 a number |
//! | `gram f32 TIER`, `gram f64 TIER` | the matrix of 28 columns and the constant | 1 an entry of the triangle |
//!
//! Each is held against memory-read bandwidth and against the peak of multiply-adds of its tier and type.

use std::ops::Range;

use gristmill_io::watch::Cancel;
use gristmill_kernels::dtype::DType;
use gristmill_kernels::fixed::FixedScale;
use gristmill_kernels::tile::{Block, Cut, Grain, Values};
use gristmill_kernels::{
    Aligned, Call, Carried, GramLayout, GramRows, GramScales, GramScratch, GramSums, Kernels, LANES, Loss, LossLanes,
    LossRows, Next, Real, Residuals, Tier, reference,
};

use super::grains::{Grains, Random, Rows};
use super::rulers::Rulers;
use super::{Measurement, Options, Rounds, Run};
use crate::engine::sum::Scale;
use crate::error::{Error, Result};
use crate::machine::clock::Stretch;
use crate::machine::memory::MemoryRuler;

/// Columns of the dense cases.
const COLUMNS: usize = 28;
/// Columns of the case of many: rows that do not fit the first-level cache 64 at a time.
const MANY_COLUMNS: usize = 512;
/// Categorical columns, and levels of each.
const CODES: (usize, usize) = (8, 4_096);
/// Entries of a sparse row, and the width of its column.
const SPARSE: (usize, usize) = (24, 65_536);
/// Numbers of weight vectors.
const VECTORS: [usize; 4] = [1, 2, 4, 8];
/// Scale of scattered sums: contributions are below 1, so a grain's stay far below 2^62.
const SCALE: (i32, f64) = (30, 1.0);
/// Storage types in the order of the table.
const DTYPES: [DType; 5] = [DType::F32, DType::F16, DType::U16, DType::U8, DType::F64];

/// A case of the list.
#[derive(Clone, Copy, Debug)]
struct Case {
    rows: Rows,
    columns: usize,
    tier: Tier,
    vectors: usize,
    gram: bool,
    wide: bool,
}

impl Case {
    fn name(&self) -> String {
        let tier = self.tier;
        let many = if self.columns == MANY_COLUMNS { format!(" c{MANY_COLUMNS}") } else { String::new() };
        match self.rows {
            Rows::Columns(_) if self.gram => format!("gram {} {tier}", if self.wide { "f64" } else { "f32" }),
            Rows::Columns(dtype) => format!("gradient {} {tier} k{}{many}", dtype.name(), self.vectors),
            Rows::Vectors(dtype) => format!("vectors {} {tier}{many}", dtype.name()),
            Rows::Codes(_) => format!("codes {tier}"),
            Rows::Sparse(_) => format!("sparse {tier}"),
        }
    }
}

/// The cases of one kind of rows, and how many numbers a row has.
fn groups() -> Vec<(Rows, usize, Vec<Case>)> {
    let tiers = || Tier::available().into_iter().rev();
    let mut groups = Vec::new();
    for dtype in DTYPES {
        let (rows, wide) = (Rows::Columns(dtype), dtype == DType::F64);
        let plain =
            move |tier| VECTORS.map(|vectors| Case { rows, columns: COLUMNS, tier, vectors, gram: false, wide });
        let mut cases: Vec<Case> = tiers().flat_map(plain).collect();
        if dtype == DType::F32 {
            let gram =
                |wide| tiers().map(move |tier| Case { rows, columns: COLUMNS, tier, vectors: 1, gram: true, wide });
            cases.extend(gram(false).chain(gram(true)));
        }
        groups.push((rows, COLUMNS, cases));
    }
    let mut single = |rows, columns| {
        let wide = matches!(rows, Rows::Columns(DType::F64) | Rows::Vectors(DType::F64));
        let case = |tier| Case { rows, columns, tier, vectors: 1, gram: false, wide };
        groups.push((rows, columns, tiers().map(case).collect()));
    };
    single(Rows::Columns(DType::F32), MANY_COLUMNS);
    for dtype in DTYPES {
        single(Rows::Vectors(dtype), COLUMNS);
    }
    single(Rows::Vectors(DType::F32), MANY_COLUMNS);
    single(Rows::Codes(CODES.1), CODES.0);
    single(Rows::Sparse(SPARSE.1), SPARSE.0);
    groups
}

/// The names of all cases.
pub fn names() -> Vec<String> {
    groups().iter().flat_map(|(_, _, cases)| cases).map(Case::name).collect()
}

/// Measure all cases that are wanted.
///
/// # Errors
/// When an answer is wrong, or it is interrupted.
pub fn measure(
    options: &Options,
    bytes: usize,
    ruler: &mut MemoryRuler,
    cancel: &Cancel,
    tell: &dyn Fn(&str),
) -> Result<Vec<Measurement>> {
    let mut measurements = Vec::new();
    let mut rulers = Rulers::new(ruler, options.threads);
    for (rows, columns, cases) in groups() {
        let cases: Vec<Case> = cases.into_iter().filter(|case| options.wants(&case.name())).collect();
        let Some(first) = cases.first() else { continue };
        cancel.check()?;
        tell(&first.name());
        let data = Grains::new(rows, columns, bytes);
        for case in &cases {
            cancel.check()?;
            if case.wide { check::<f64>(case, &data)? } else { check::<f32>(case, &data)? }
        }
        let mut rounds: Vec<Rounds> = cases.iter().map(|_| Rounds::default()).collect();
        for _ in 0..options.rounds.max(1) {
            for (case, rounds) in cases.iter().zip(&mut rounds) {
                cancel.check()?;
                let before = rulers.read(case.tier, case.wide);
                let run = if case.wide { pass::<f64>(case, &data, options) } else { pass::<f32>(case, &data, options) };
                let after = rulers.read(case.tier, case.wide);
                rounds.add(run?, &Rulers::between(before, after));
            }
        }
        measurements.extend(cases.iter().zip(&rounds).filter_map(|(case, rounds)| rounds.measurement(&case.name())));
    }
    Ok(measurements)
}

/// All grains by all threads; the time is that of the thread that ran longest.
fn pass<R: Real + Default>(case: &Case, data: &Grains, options: &Options) -> Result<Run> {
    let blocks: Vec<Vec<Block<'_>>> = (0..data.grains).map(|grain| data.blocks(grain)).collect();
    let part = data.grains.div_ceil(options.threads.max(1));
    let mut workers: Vec<Worker<R>> = blocks.chunks(part).map(|_| Worker::new(case, data)).collect();
    let scan = |part: &[Vec<Block<'_>>], worker: &mut Worker<R>| {
        let stretch = Stretch::start();
        part.iter().try_for_each(|blocks| worker.grain(blocks, data.rows)).map(|()| stretch.seconds())
    };
    let scanned: Vec<Result<f64>> = std::thread::scope(|scope| {
        let parts = blocks.chunks(part).zip(&mut workers);
        let threads: Vec<_> = parts.map(|(part, worker)| scope.spawn(move || scan(part, worker))).collect();
        let died = |_| Err(Error::Sum("a worker of the bench died".into()));
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(died)).collect()
    });
    let seconds = scanned.into_iter().try_fold(0.0_f64, |longest, one| one.map(|one| longest.max(one)))?;
    let rows = (data.rows * data.grains) as f64;
    let variables = (COLUMNS + 1) as f64;
    let numbers = (data.columns * 2 * case.vectors) as f64;
    let multiply_adds = rows * if case.gram { variables * (variables + 1.0) / 2.0 } else { numbers };
    Ok(Run { seconds, bytes: data.bytes() as f64, multiply_adds, rows })
}

/// The buffers of a thread; what it writes tile after tile lies apart from what others write.
#[repr(align(128))]
struct Worker<R: Real> {
    kernels: Kernels<R>,
    vectors: usize,
    cut: Cut,
    w: Vec<R>,
    z: Aligned<R>,
    y: Vec<R>,
    quantised: Aligned<i64>,
    gradient: Aligned<f64>,
    scattered: Vec<i64>,
    loss_lanes: LossLanes,
    lanes: Aligned<[R; LANES]>,
    loss: f64,
    gram: Option<(GramLayout, GramScales, GramScratch<R>)>,
}

impl<R: Real + Default> Worker<R> {
    fn new(case: &Case, data: &Grains) -> Worker<R> {
        let blocks = data.blocks(0);
        let parameters: usize = blocks.iter().map(Block::parameters).sum();
        let scattered = blocks.iter().any(Block::is_scattered);
        // As trainings cut it.
        let row_bytes = data.bytes() / (data.grains * data.rows);
        let cut = if scattered { Cut::scattered(row_bytes) } else { Cut::dense(row_bytes, data.columns) };
        let cut = if case.vectors > 1 { cut.several() } else { cut };
        let grain = Grain { rows: data.rows, blocks, label: None, weight: None, offset: None };
        let layout = if case.gram { GramLayout::of(&grain, false) } else { None };
        let gram = layout.and_then(|layout| {
            let scales = GramScales::new(&layout, 1 << 30, 1.0, &vec![1.0; layout.variables()]).ok()?;
            Some((layout, scales, GramScratch::default()))
        });
        Worker {
            kernels: Kernels::new(case.tier),
            vectors: case.vectors,
            cut,
            w: (0..parameters * case.vectors).map(|j| R::from_f64((j as f64 * 0.7).sin() * 1e-3)).collect(),
            z: Aligned::zeros(cut.piece * case.vectors),
            y: (0..cut.run).map(|i| R::from_f64(f64::from(i % 3 == 0))).collect(),
            quantised: Aligned::zeros(if scattered { cut.piece } else { 0 }),
            gradient: Aligned::zeros(
                gram.as_ref().map_or(parameters * case.vectors, |(layout, ..)| layout.dense_len()),
            ),
            scattered: vec![0; if scattered { parameters } else { 0 }],
            loss_lanes: LossLanes::default(),
            lanes: Aligned::zeros(if cut.carries() { parameters } else { 0 }),
            loss: 0.0,
            gram,
        }
    }

    fn grain(&mut self, blocks: &[Block<'_>], rows: usize) -> Result<()> {
        if let Some((layout, scales, scratch)) = &mut self.gram {
            let grain = Grain { rows, blocks: blocks.to_vec(), label: None, weight: None, offset: None };
            let tile = GramRows { grain: &grain, rows: 0..rows, weight: None };
            let sums = GramSums { dense: &mut self.gradient, scattered: &mut [] };
            return self
                .kernels
                .gram(layout, scales, &tile, scratch, sums)
                .map_err(|error| Error::Sum(error.to_string()));
        }
        for (piece, call) in self.cut.pieces(&(0..rows)) {
            self.piece(blocks, piece, call)?;
        }
        Ok(())
    }

    /// Margins, loss, gradient.
    fn piece(&mut self, blocks: &[Block<'_>], rows: Range<usize>, call: Call) -> Result<()> {
        let n = rows.len();
        let z = &mut self.z[..n * self.vectors];
        z.fill(R::default());
        let mut first = 0;
        for block in blocks {
            let w = &self.w[first * self.vectors..(first + block.parameters()) * self.vectors];
            first += block.parameters();
            match self.vectors {
                1 => self.kernels.margins(block, rows.clone(), w, z),
                _ => self.kernels.margins_k(block, rows.clone(), w, z),
            }
        }
        let mut next = blocks.iter().find_map(|block| Next::after(block, &rows));
        for z in z.chunks_mut(n) {
            let y = &self.y[rows.start % self.cut.run..][..n];
            let rows = LossRows { z, y, weight: None, curvature: None, next: next.take() };
            let carried = self.cut.carries().then_some(Carried { call, lanes: &mut self.loss_lanes });
            self.loss += self.kernels.loss_of_run(Loss::Logistic, rows, carried).loss;
        }
        let mut first = 0;
        for block in blocks {
            let range = first..first + block.parameters();
            first = range.end;
            if block.is_scattered() {
                let mut residuals = Residuals::new(z, &mut self.quantised[..n]);
                let scale = FixedScale::new(SCALE.0, SCALE.1);
                self.kernels
                    .scatter(block, rows.clone(), &mut residuals, scale, &mut self.scattered[range])
                    .map_err(|error| Error::Sum(error.to_string()))?;
            } else if self.vectors == 1 {
                let carried = self.cut.carries().then(|| Carried { call, lanes: &mut self.lanes[range.clone()] });
                self.kernels.gradient_of_run(block, rows.clone(), z, carried, &mut self.gradient[range]);
            } else {
                let range = range.start * self.vectors..range.end * self.vectors;
                self.kernels.gradient_k(block, rows.clone(), z, &mut self.gradient[range]);
            }
        }
        Ok(())
    }

    /// Loss and gradient, or the matrix, as real numbers.
    fn answer(&self) -> Vec<f64> {
        if let Some((layout, scales, _)) = &self.gram {
            return layout.assemble(scales, &self.gradient, &[]);
        }
        let scattered = self.scattered.iter().map(|&sum| sum as f64 / f64::from(SCALE.0).exp2());
        let gradient: Vec<f64> = if self.scattered.is_empty() { self.gradient.to_vec() } else { scattered.collect() };
        std::iter::once(self.loss).chain(gradient).collect()
    }
}

/// The first grain against the plain reference.
fn check<R: Real + Default>(case: &Case, data: &Grains) -> Result<()> {
    let blocks = data.blocks(0);
    let mut worker = Worker::<R>::new(case, data);
    worker.grain(&blocks, data.rows)?;
    let found = worker.answer();
    let (expected, magnitude) =
        if case.gram { expected_matrix(&blocks, data) } else { expected(&worker, &blocks, data) };
    // u16 margins reach some 1e2, of which f32 keeps 1e-5.
    let wrong = found.iter().zip(&expected).zip(&magnitude).position(|((f, e), m)| {
        let error = (f - e).abs();
        error.is_nan() || error > 1e-4 * m + 1e-6
    });
    match wrong {
        None if found.len() == expected.len() => Ok(()),
        at => {
            let at = at.unwrap_or(0);
            let message = format!(
                "{}: number {at} of the answer is {}, the reference has {}",
                case.name(),
                found[at],
                expected[at]
            );
            Err(Error::Sum(message))
        }
    }
}

fn expected_matrix(blocks: &[Block<'_>], data: &Grains) -> (Vec<f64>, Vec<f64>) {
    let grain = Grain { rows: data.rows, blocks: blocks.to_vec(), label: None, weight: None, offset: None };
    let n = COLUMNS + 1;
    let mut matrix = vec![0.0; n * n];
    reference::gram(&grain, 0..data.rows, None, false, &mut matrix);
    let magnitude = vec![data.rows as f64; n * n];
    (matrix, magnitude)
}

/// Loss and gradient of all weight vectors, and the sums of their magnitudes.
fn expected<R: Real>(worker: &Worker<R>, blocks: &[Block<'_>], data: &Grains) -> (Vec<f64>, Vec<f64>) {
    let rows = 0..data.rows;
    let y: Vec<f64> = rows.clone().map(|row| worker.y[row % worker.cut.run].to_f64()).collect();
    let (mut loss, mut gradient, mut magnitude) = (0.0, Vec::new(), Vec::new());
    let parameters: usize = blocks.iter().map(Block::parameters).sum();
    for vector in 0..worker.vectors {
        let w: Vec<f64> = worker.w[vector * parameters..][..parameters].iter().map(|w| w.to_f64()).collect();
        let (mut z, mut first) = (vec![0.0; data.rows], 0);
        for block in blocks {
            reference::margins(block, rows.clone(), &w[first..first + block.parameters()], &mut z);
            first += block.parameters();
        }
        loss += reference::loss(Loss::Logistic, &mut z, &y, None, None).loss;
        let (mut g, mut m, mut first) = (vec![0.0; parameters], vec![0.0; parameters], 0);
        for block in blocks {
            reference::entries(block, rows.clone(), |i, j, x| {
                g[first + j] += z[i] * x;
                m[first + j] += (z[i] * x).abs();
            });
            first += block.parameters();
        }
        gradient.extend(g);
        magnitude.extend(m);
    }
    ([vec![loss], gradient].concat(), [vec![loss], magnitude].concat())
}

/// A label column for anything that wants one: two classes.
pub fn labels(rows: usize) -> Vec<f32> {
    let mut random = Random::new(7);
    (0..rows).map(|_| f32::from(u8::from(random.real() > 0.0))).collect()
}

/// Loss and gradient of one grain of `f32` columns, as a pass has it; for the benches of the stream.
pub struct Epoch {
    worker: Worker<f32>,
    /// The limbs of loss and gradient, where the sums of grains are added as integers, by the law of the same bits.
    limbs: Option<Vec<i64>>,
}

/// Bound of a grain's sums in the limbs: rows of a grain times values below 1.
const GRAIN_SUM_EXPONENT: i32 = 24;

impl Epoch {
    /// For grains of `columns` columns of `f32`.
    pub fn new(tier: Tier, columns: usize) -> Epoch {
        let data = Grains::new(Rows::Columns(DType::F32), columns, 1);
        let case = Case { rows: Rows::Columns(DType::F32), columns, tier, vectors: 1, gram: false, wide: false };
        Epoch { worker: Worker::new(&case, &data), limbs: None }
    }

    /// The same, the sums of each grain added to integers, as a training does.
    pub fn lawful(tier: Tier, columns: usize) -> Epoch {
        let plain = Epoch::new(tier, columns);
        Epoch { limbs: Some(vec![0; 2 * (1 + plain.worker.gradient.len())]), ..plain }
    }

    /// Adds a grain with its labels.
    ///
    /// # Errors
    /// When a sum leaves its range.
    pub fn grain(&mut self, grain: &Grain<'_>) -> Result<()> {
        if let Some(Values::F32(label)) = grain.label {
            let n = label.len().min(self.worker.y.len());
            self.worker.y[..n].copy_from_slice(&label[..n]);
        }
        self.worker.grain(&grain.blocks, grain.rows)?;
        let Some(limbs) = &mut self.limbs else { return Ok(()) };
        let (scale, worker) = (Scale::of(GRAIN_SUM_EXPONENT), &mut self.worker);
        let sums = std::iter::once(&mut worker.loss).chain(&mut *worker.gradient);
        sums.zip(limbs.chunks_exact_mut(2)).try_for_each(|(sum, limbs)| scale.add(std::mem::take(sum), limbs))
    }

    /// Sums of the loss and of residual times column over all grains of some workers, alike of all kinds.
    pub fn sums(workers: &[Epoch]) -> Vec<f64> {
        let Some(first) = workers.first() else { return Vec::new() };
        match &first.limbs {
            None => {
                let plain = |at: usize| workers.iter().map(|own| own.worker.gradient[at]).sum();
                let loss = workers.iter().map(|own| own.worker.loss).sum();
                std::iter::once(loss).chain((0..first.worker.gradient.len()).map(plain)).collect()
            }
            Some(limbs) => {
                let limb = |at: usize| workers.iter().filter_map(|own| own.limbs.as_ref()).map(|own| own[at]).sum();
                let total: Vec<i64> = (0..limbs.len()).map(limb).collect();
                total.chunks_exact(2).map(|limbs| Scale::of(GRAIN_SUM_EXPONENT).value(limbs)).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_has_its_own_name_and_the_right_answer() {
        let mut names = std::collections::BTreeSet::new();
        let options = Options { quick: true, filters: Vec::new(), folder: None, threads: 2, rounds: 1 };
        for (rows, columns, cases) in groups() {
            let data = Grains::new(rows, columns, 1);
            for case in cases {
                assert!(names.insert(case.name()), "{} twice", case.name());
                if case.wide { check::<f64>(&case, &data) } else { check::<f32>(&case, &data) }.expect("right");
                let run =
                    if case.wide { pass::<f64>(&case, &data, &options) } else { pass::<f32>(&case, &data, &options) };
                let run = run.expect("runs");
                assert!(run.bytes > 0.0 && run.multiply_adds > 0.0);
            }
        }
        assert!(names.len() >= 5 * VECTORS.len() + 5 + 4);
        assert!(names.iter().eq(&std::collections::BTreeSet::from_iter(super::names())));
        let of = |filter: &str| Options { filters: vec![filter.to_string()], ..options.clone() };
        assert!(of("codes").wants_any() && !of("stream").wants_any() && !of("nonsense").wants_any());
    }
}
