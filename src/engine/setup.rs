//! What every pass of a training needs to know, settled once: which rows this rank reads, in tiles of how many rows, and
//! between which bounds everything lies.

use std::ops::Range;

use gristmill_io::Error as IoError;
use gristmill_io::dataset::Dataset;
use gristmill_io::manifest::{Column, Kind, Layout, Role, Split};
use gristmill_io::statistics::Statistics;
use gristmill_io::tiles::{StreamOptions, TileStream};
use gristmill_kernels::dtype::DType;
use gristmill_kernels::ops::gram::Shape as GramShape;
use gristmill_kernels::tile::{Cut, Grain};
use gristmill_kernels::{Kernels, Real, Tier};

use super::folds::Folds;
use super::shares::{Needs, Shares};
use super::space::{Space, Stored};
use super::sum::TERMS_MAX;
use super::target::{self, Classes, Target};
use crate::error::{Error, Result};
use crate::machine;
use crate::metrics::Task;
use crate::models::{Model, Moments, Shape};
use crate::plan::TrainPlan;
use crate::train::Company;

/// See the head of the file.
pub struct Setup<'a> {
    /// The data.
    pub dataset: &'a Dataset,
    /// The grains of this rank.
    pub stream: TileStream<'a>,
    /// The model.
    pub model: Box<dyn Model>,
    /// True when all arithmetic is `f64`.
    pub wide: bool,
    /// Who is around.
    pub company: &'a Company<'a>,
    /// Statistics of all training rows.
    pub statistics: Statistics,
    /// Spaces of the parameters.
    pub space: Space,
    /// Labels and weights.
    pub target: Target,
    /// Margins of a row that make one loss together: the classes of a joint model, else 1.
    pub joint: usize,
    /// Classes that are each learnt against all others, or labels, by a model of their own; 0: there is one model.
    pub against: usize,
    /// The folds of a cross-validation, where there is one.
    pub folds: Option<Folds>,
    /// True when rows have a weight column.
    pub weighted: bool,
    /// Largest weight of a row, class weight included.
    pub weight_max: f64,
    /// The margin that fits all rows best by itself.
    pub centre: f64,
    /// What is added to margins, as the model sees it, of a stored number: offset and scale.
    pub offset: Option<(f64, f64)>,
    /// Least and largest of these.
    pub offset_range: (f64, f64),
    /// Their weighted mean.
    pub offset_mean: f64,
    /// How the rows of a grain are cut.
    pub cut: Cut,
    /// Rows of a full grain.
    pub grain_rows: usize,
    /// Grains of all ranks.
    pub grains: usize,
    /// Those of this rank.
    pub own_grains: Vec<usize>,
    /// Workers.
    pub threads: usize,
    /// As in the plan.
    pub every_thread: bool,
    /// What streams and models may take of the memory.
    pub shares: Shares,
    /// Instruction set.
    pub tier: Tier,
}

impl<'a> Setup<'a> {
    /// Opens the stream of this rank's grains; with the statistics of all parameters.
    ///
    /// # Errors
    /// When data and plan do not fit.
    pub fn new(
        dataset: &'a Dataset,
        plan: &TrainPlan,
        company: &'a Company<'a>,
        (own_grains, statistics): (Vec<usize>, Statistics),
    ) -> Result<Setup<'a>> {
        let model = plan.model();
        let target = Target::new(dataset, &statistics, &*model, plan)?;
        // Labels are read as they are stored.
        let model = model.in_units(target.units.1.abs()).unwrap_or(model);
        let classes = target.classes.as_ref().map_or(0, Classes::count);
        let model = model.of_classes(classes).unwrap_or(model);
        let mean = statistics.label.as_ref().map(|label| target.moments(label).0);
        let model = mean.and_then(|mean| model.near(mean)).unwrap_or(model);
        let joint = if model.is_joint() { classes } else { 1 };
        let against = match &target.labels {
            Some(labels) => labels.len(),
            None if plan.multiclass.is_some() => classes,
            None => 0,
        };
        let grains = dataset.grains(Split::Train).len();
        if grains > TERMS_MAX {
            return Err(Error::training(format!(
                "the dataset has {grains} grains, sums hold {TERMS_MAX}. Ingest it again with larger grains"
            )));
        }
        let threads = machine::threads(plan.threads);
        let wide = is_wide(dataset, &*model, plan);
        let shares = Shares::new(dataset, plan, &Needs { threads, joint, against: against.max(1), wide });
        let mut options = StreamOptions::new(Split::Train);
        options.grains = Some(own_grains.clone());
        options.threads = threads;
        options.budget_bytes = shares.passes_bytes;
        options.io = plan.io;
        options.trace = company.watch.trace().cloned();
        let stream = dataset.stream(options).map_err(|error| match &error {
            IoError::Tight { .. } => {
                let parameters = Layout::of(&dataset.manifest().columns, |_| true).parameters;
                Error::usage(format!("{error}: the rest is for models of {parameters} parameters"))
            }
            _ => error.into(),
        })?;
        let columns = &dataset.manifest().columns;
        let mut space = Space::new(columns, stream.layout(), &statistics, plan.standardize, plan.intercept);
        if !plan.intercept {
            space.base = -target.units.0 / target.units.1;
        }
        let grain_rows = dataset.manifest().grain_rows;
        Ok(Setup {
            wide,
            cut: cut(dataset, joint),
            centre: 0.0,
            offset: offset(columns, &*model, target.units)?,
            offset_range: (0.0, 0.0),
            offset_mean: 0.0,
            weighted: columns.iter().any(|column| column.role == Role::Weight),
            weight_max: target.largest_class_weight(),
            tier: tier(plan)?,
            folds: Folds::new(plan.seed, plan.folds),
            dataset,
            stream,
            model,
            company,
            statistics,
            space,
            target,
            joint,
            against,
            grain_rows,
            grains,
            own_grains,
            threads,
            every_thread: plan.every_thread,
            shares,
        })
    }

    /// Margins that a row has in all.
    pub fn margins_of_row(&self) -> usize {
        self.joint.max(self.against)
    }

    /// What is predicted: of classes that are learnt one against all others, one of these; of several labels any number.
    pub fn task(&self) -> Task {
        let task = self.model.task();
        if self.target.labels.is_some() { task.of_labels(self.against) } else { task.against(self.against) }
    }

    /// Number of coordinates of a solver.
    pub fn coordinates(&self) -> usize {
        self.joint * self.space.coordinates()
    }

    /// A solver's point in stored space, margin after margin.
    pub fn to_stored(&self, point: &[f64], round: impl Fn(f64) -> f64) -> Vec<Stored> {
        point.chunks_exact(self.space.coordinates().max(1)).map(|own| self.space.to_stored(own, &round)).collect()
    }

    /// Reads what is added to the margins of some rows; nothing where the dataset has no such column.
    pub fn read_offset<R: Real + Default>(
        &self,
        kernels: &Kernels<R>,
        grain: &Grain<'_>,
        rows: &Range<usize>,
        out: &mut Vec<R>,
    ) {
        out.clear();
        let Some((offset, scale)) = self.offset else { return };
        out.resize(rows.len(), R::default());
        target::read(kernels, grain.offset.as_ref(), rows.clone(), out);
        out.iter_mut().for_each(|value| *value = R::from_f64(offset + scale * value.to_f64()));
    }

    /// True when rows do not all weigh 1.
    pub fn has_weights(&self) -> bool {
        self.weighted || self.target.weighs_classes()
    }

    /// Number in the split of a grain's first row.
    pub fn first_row(&self, grain: usize) -> u64 {
        self.dataset.grains(Split::Train)[grain].first_row
    }

    /// The power of the deviance that the model minimises, where it does. Then the margin is a logarithm, and what a row adds
    /// grows as its exponential.
    pub fn deviance(&self) -> Option<f64> {
        match self.model.task() {
            Task::Deviance(power) => Some(power),
            _ => None,
        }
    }

    /// Size of the terms of a deviance: what labels would cost at best, and e^z for a mean, or 1 for an amount over its mean.
    pub fn terms(&self, moments: &Moments) -> f64 {
        match self.deviance() {
            Some(power) => moments.saturated.abs() + if power < 2.0 { moments.mean.abs() } else { 1.0 },
            None => 0.0,
        }
    }

    /// The least loss of a row with that label: see [`crate::models::Moments::saturated`].
    pub fn saturated(&self, label: f64) -> f64 {
        self.model.least_loss(label)
    }

    /// The shape to choose a solver by.
    pub fn shape(&self, any_l1: bool) -> Shape {
        let nonzero: u64 = self.statistics.nonzero.iter().sum();
        Shape {
            rows: self.statistics.rows,
            entries_per_row: nonzero as f64 / (self.statistics.rows as f64).max(1.0),
            parameters: self.space.mean.len(),
            any_l1,
        }
    }

    /// The blocks of a row as a Gram matrix sees them.
    pub fn gram_shapes(&self) -> Vec<GramShape> {
        let columns = &self.dataset.manifest().columns;
        let blocks = self.stream.layout().blocks.iter();
        blocks
            .map(|block| match block.columns.first().map(|&number| &columns[number].kind) {
                Some(kind) if kind.codes().is_some() || kind.is_crossed() => GramShape::Codes(block.parameters),
                Some(kind) if kind.is_sparse() => GramShape::Sparse(block.parameters),
                _ => GramShape::Dense(block.parameters),
            })
            .collect()
    }

    /// Stored numbers of a row, on average.
    pub fn numbers_of_row(&self) -> f64 {
        let blocks = self.stream.layout().blocks.iter().zip(self.gram_shapes());
        blocks
            .map(|(block, shape)| match shape {
                GramShape::Dense(parameters) => parameters as f64,
                GramShape::Codes(_) => 1.0,
                GramShape::Sparse(_) => {
                    let nonzero =
                        &self.statistics.nonzero[block.first_parameter..block.first_parameter + block.parameters];
                    nonzero.iter().sum::<u64>() as f64 / (self.statistics.rows as f64).max(1.0)
                }
            })
            .sum()
    }
}

/// True when some number of a row is `f64`, or the loss has a kink, of which solvers see less than the rounding of a margin in
/// `f32`, or solvers see a deviance, which may be as small beside its terms.
fn is_wide(dataset: &Dataset, model: &dyn Model, plan: &TrainPlan) -> bool {
    let by_passes = plan.online.as_ref().is_none_or(|online| online.then.is_some());
    model.kink().is_some()
        || (matches!(model.task(), Task::Deviance(_)) && by_passes)
        || dataset.manifest().columns.iter().any(|column| {
            column.kind.scalar_dtype() == Some(DType::F64)
                || matches!(column.kind, Kind::Vector { dtype: DType::F64, .. })
        })
}

/// How a stored offset becomes part of a margin in the units of the label as the model sees it.
///
/// # Errors
/// [`Error::Training`] where it would change nothing.
fn offset(columns: &[Column], model: &dyn Model, units: (f64, f64)) -> Result<Option<(f64, f64)>> {
    let Some(column) = columns.iter().find(|column| column.role == Role::Offset) else { return Ok(None) };
    if model.is_joint() {
        return Err(Error::training(format!(
            "the offset '{}' adds the same to the margins of all classes, which changes nothing in model '{}'. Ingest the data \
             without --offset, or use --model logistic --multiclass ovr",
            column.name,
            model.name()
        )));
    }
    Ok(match column.kind {
        Kind::Numeric { offset, scale, .. } => Some((offset / units.1, scale / units.1)),
        _ => Some((0.0, 1.0 / units.1)),
    })
}

/// The instruction set that the plan names, or the best.
///
/// # Errors
/// [`Error::Usage`] when it is not to be had.
pub(super) fn tier(plan: &TrainPlan) -> Result<Tier> {
    let Some(name) = &plan.tier else {
        return Tier::chosen().map_err(|e| Error::usage(e.to_string()));
    };
    match Tier::from_name(name) {
        Some(tier) if tier.is_available() => Ok(tier),
        _ => {
            let known: Vec<&str> = Tier::available().into_iter().map(Tier::name).collect();
            Err(Error::usage(format!(
                "tier '{name}' is not to be had here. Tiers of this machine: {}",
                known.join(", ")
            )))
        }
    }
}

/// How grains are cut: a function of the columns and of whether a row has `joint` margins.
fn cut(dataset: &Dataset, joint: usize) -> Cut {
    let kinds = || {
        let columns = dataset.manifest().columns.iter();
        columns.filter(|column| column.role == Role::Feature).map(|column| &column.kind)
    };
    let bytes = kinds()
        .map(|kind| match kind {
            Kind::Numeric { dtype, .. } | Kind::Labels { dtype, .. } => dtype.bytes(),
            Kind::Vector { dtype, width } => dtype.bytes() * width,
            Kind::Categorical { .. } | Kind::Hashed { .. } | Kind::Bucketized { .. } => {
                kind.codes().map_or(4, |(bytes, _)| usize::from(bytes))
            }
            Kind::Indicator { .. } => 1,
            Kind::Crossed { .. } => 0,
            // The rows of a sparse column have no fixed size; some hundred entries are meant.
            Kind::Sparse { .. } | Kind::Text { .. } => 512,
        })
        .sum();
    let numbers = kinds()
        .map(|kind| match kind {
            Kind::Numeric { .. } => Some(1),
            Kind::Vector { width, .. } => Some(*width),
            _ => None,
        })
        .sum::<Option<usize>>();
    match (joint > 1, numbers) {
        (true, _) => Cut::joint(bytes),
        (false, Some(numbers)) => Cut::dense(bytes, numbers),
        (false, None) => Cut::scattered(bytes),
    }
}
