//! How models do on held-out rows while they learn: the mean loss over the test split, for early stopping.
//!
//! One scan over the split for all models; a grain's losses are added in `f64`, grains exactly, so that the figure does not
//! depend on threads or ranks. Early stopping (Prechelt, "Early stopping, but when?", 1998): a model whose loss has not come below its
//! best for `patience` epochs stops, and is what it was at its best.

use gristmill_io::manifest::Split;
use gristmill_io::tiles::{Pick, StreamOptions, TileStream};
use gristmill_io::watch::{Cancel, Silent};
use gristmill_kernels::ops::softmax::Softmax;
use gristmill_kernels::tile::{Grain, parts};
use gristmill_kernels::{Kernels, LossSums, Real};
use serde::{Deserialize, Serialize};

use super::state::Bytes;
use crate::engine::exact;
use crate::engine::group::{Blocks, Group};
use crate::engine::setup::Setup;
use crate::engine::space::Stored;
use crate::engine::target;
use crate::error::{Error, Result};
use crate::plan::TrainPlan;
use crate::ranks;
use crate::sharing;

/// The best that a model was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Best {
    /// Its held-out loss.
    pub loss: f64,
    /// After how many epochs.
    pub epoch: u32,
    /// Epochs since then.
    pub waited: u32,
    /// Mean loss of that epoch, each batch before it was learnt from.
    #[serde(default)]
    pub progressive: f64,
    /// Its point, eight bytes a coordinate.
    pub point: Bytes,
}

impl Best {
    /// Of a model after an epoch.
    pub fn new(loss: f64, epoch: u32, progressive: f64, point: &[f64]) -> Best {
        let bytes = point.iter().flat_map(|number| number.to_le_bytes()).collect();
        Best { loss, epoch, waited: 0, progressive, point: Bytes(bytes) }
    }

    /// The point.
    pub fn point(&self) -> Vec<f64> {
        self.point.0.as_chunks::<8>().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect()
    }
}

/// The held-out rows.
pub struct HeldOut<'a> {
    setup: &'a Setup<'a>,
    stream: TileStream<'a>,
}

/// Buffers of a worker.
#[derive(Default)]
struct Worker<R> {
    z: Vec<R>,
    y: Vec<R>,
    weight: Vec<R>,
    against: Vec<R>,
    offset: Vec<R>,
    sums: Vec<LossSums>,
    cells: Vec<i64>,
}

impl<'a> HeldOut<'a> {
    /// Those of a dataset, of which every rank judges its part. All ranks come here together.
    ///
    /// # Errors
    /// [`Error::Usage`] when there are none, or a rank has too little memory for its part.
    pub fn new(setup: &'a Setup<'a>, plan: &TrainPlan) -> Result<HeldOut<'a>> {
        let comm = setup.company.comm;
        let own_grains = sharing::own_grains(comm, setup.dataset, Split::Test)?;
        let stream = ranks::agree(comm, HeldOut::stream(setup, plan, own_grains))?;
        Ok(HeldOut { setup, stream })
    }

    /// The grains of this rank.
    fn stream(setup: &Setup<'a>, plan: &TrainPlan, own_grains: Vec<usize>) -> Result<TileStream<'a>> {
        if setup.dataset.grains(Split::Test).is_empty() {
            return Err(Error::usage(
                "patience needs held-out rows, and the dataset has none. Ingest it with --test-share 0.1, or leave --patience out",
            ));
        }
        let mut options = StreamOptions::new(Split::Test);
        options.grains = Some(own_grains);
        options.threads = setup.threads;
        // Beside the open grains of the training: it is read through, not kept.
        options.budget_bytes = setup.shares.open_bytes;
        options.io = plan.io;
        Ok(setup.dataset.stream(options)?)
    }

    /// The mean loss of models, each with the points of the margins of a row that make one loss, and those of classes against all
    /// others with their class; in stored units.
    ///
    /// # Errors
    /// When rows cannot be read, weigh nothing, or a loss is not finite.
    pub fn losses<R: Real>(&self, models: &[(Vec<Stored>, Option<u16>)]) -> Result<Vec<f64>> {
        let (setup, blocks) = (self.setup, Blocks::of(self.stream.layout(), &self.setup.dataset.manifest().columns));
        let joint = setup.joint;
        let points: Vec<&Stored> = models.iter().flat_map(|(points, _)| points).collect();
        let groups = Group::<R>::all(&points, &blocks, joint);
        let kernels = Kernels::<R>::new(setup.tier);
        let most = setup.cut.run * Group::most(&groups);
        let worker = || Worker {
            z: vec![R::default(); most],
            y: vec![R::default(); setup.cut.run],
            weight: vec![R::default(); setup.cut.run],
            against: vec![R::default(); setup.cut.run],
            offset: Vec::new(),
            sums: vec![LossSums::default(); models.len()],
            cells: vec![0; models.len() * 2 * exact::CELLS],
        };
        let mut workers: Vec<Worker<R>> = (0..setup.threads).map(|_| worker()).collect();
        let visit = |worker: &mut Worker<R>, _: usize, grain: &Grain<'_>| {
            worker.sums.fill(LossSums::default());
            for rows in parts(&(0..grain.rows), setup.cut.run) {
                let n = rows.len();
                let (y, weight) = (&mut worker.y[..n], &mut worker.weight[..n]);
                target::read(&kernels, grain.weight.as_ref(), rows.clone(), weight);
                setup.target.read_labels(&kernels, grain.label.as_ref(), rows.clone(), y, Some(weight));
                setup.read_offset(&kernels, grain, &rows, &mut worker.offset);
                for group in &groups {
                    let z = &mut worker.z[..group.points.len() * n];
                    group.margins(&kernels, &blocks, (grain, &rows), &worker.offset, z);
                    for (z, point) in z.chunks_exact_mut(n * joint).zip(group.points.clone().step_by(joint)) {
                        let model = point / joint;
                        let targets = match models[model].1 {
                            None => &worker.y[..n],
                            Some(class) => {
                                setup.target.turn(class, &worker.y[..n], &mut worker.against);
                                &worker.against[..n]
                            }
                        };
                        let weight = &worker.weight[..n];
                        let mut found = if setup.model.is_joint() {
                            let mut residuals = vec![0.0; joint];
                            let rows = Softmax { z, y: targets, weight: Some(weight), residuals: &mut residuals };
                            let found = kernels.softmax(rows);
                            LossSums { loss: found.loss, weight: found.weight, ..LossSums::default() }
                        } else {
                            kernels.loss(setup.model.loss(), z, targets, Some(weight), None, None)
                        };
                        let least = targets.iter().zip(weight);
                        found.loss -= least.map(|(y, w)| w.to_f64() * setup.saturated(y.to_f64())).sum::<f64>();
                        worker.sums[model] += found;
                    }
                }
            }
            for (sums, cells) in worker.sums.iter().zip(worker.cells.chunks_exact_mut(2 * exact::CELLS)) {
                let (loss, weight) = cells.split_at_mut(exact::CELLS);
                exact::add(sums.loss, loss)?;
                exact::add(sums.weight, weight)?;
            }
            Ok::<(), Error>(())
        };
        // To its end: the other ranks wait for this one's sums.
        self.stream.scan(&mut workers, Pick::All, &Cancel::new(), &Silent, visit)?;
        let mut all = vec![0i64; models.len() * 2 * exact::CELLS];
        for worker in &workers {
            all.iter_mut().zip(&worker.cells).for_each(|(sum, cell)| *sum += cell);
        }
        setup.company.comm.all_reduce_vec(&mut all)?;
        let mean = |cells: &[i64]| {
            let (loss, weight) = cells.split_at(exact::CELLS);
            let weight = exact::value(weight);
            if weight > 0.0 {
                return Ok(exact::value(loss) / weight);
            }
            let nothing = "the held-out rows weigh nothing: leave --patience out, or hold out other rows";
            Err(ranks::of_all(setup.company.comm, Error::training(nothing)))
        };
        all.chunks_exact(2 * exact::CELLS).map(mean).collect()
    }
}
