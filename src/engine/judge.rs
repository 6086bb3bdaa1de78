//! The last pass of a cross-validation: every model that was trained without a fold is judged on that fold's rows.
//!
//! Margins of all models are computed in the arithmetic type of the run, and each row counts for those models alone that never
//! saw it. Losses and the sums of metrics are added in `f64` over a grain, then exactly over grains (see `exact`), so that
//! figures do not depend on threads or ranks either.

use std::time::Instant;

use gristmill_io::Error as IoError;
use gristmill_kernels::Real;

use super::drive::Training;
use super::folds::Folds;
use super::held_out::{Judge, Judged, Verdict, Worker};
use super::pass::scan;
use super::reduce::reduce;
use super::validation::{HeldOut, Validation};
use crate::error::{Error, Result};
use crate::metrics::Figure;
use crate::optim::Sample;
use crate::train::PointReport;

impl<R: Real + Default> Training<'_, R> {
    /// The validation, where folds were asked for; none when the training is to stop.
    ///
    /// # Errors
    /// When the pass fails.
    pub(super) fn judge(&mut self) -> Result<Option<Option<Validation>>> {
        let Some(folds) = self.setup.folds else { return Ok(Some(None)) };
        let left_out: Vec<usize> = (0..self.tasks.len()).filter(|&task| self.tasks[task].left_out.is_some()).collect();
        // The tasks of a model: one, or one a class that is told from all others.
        let left_out: Vec<&[usize]> = left_out.chunks(self.setup.against.max(1)).collect();
        let mut verdicts = Vec::with_capacity(left_out.len());
        for tasks in left_out.chunks(self.setup.shares.together) {
            let judged = |&model: &&[usize]| {
                let mut at = Vec::new();
                for task in model.iter().map(|&task| &self.tasks[task]) {
                    at.extend(self.setup.to_stored(&task.outcome()?.point, self.rounding(task)));
                }
                Some(Judged { at, fold: self.tasks[*model.first()?].left_out? })
            };
            let judged: Vec<Judged> = tasks.iter().filter_map(judged).collect();
            self.stand();
            match self.judge_pass(folds, &judged, tasks) {
                Err(Error::Data(IoError::Interrupted)) => return Ok(None),
                found => verdicts.extend(found?),
            }
        }
        Ok(Some(Some(self.validation(folds, &left_out, verdicts))))
    }

    fn judge_pass(&mut self, folds: Folds, judged: &[Judged], models: &[&[usize]]) -> Result<Vec<Verdict>> {
        let totals = &self.known.all;
        let centre = self.setup.target.units.0 + self.setup.target.units.1 * totals.label / totals.weight;
        let judge = Judge::<R>::new(self.setup, folds, judged, centre);
        let mut workers: Vec<Worker<R>> = (0..self.setup.threads).map(|_| judge.worker()).collect();
        let began = Instant::now();
        let scanned = scan(self.setup, &mut workers, 1, |worker, number, grain| judge.grain(worker, number, grain));
        let sums = workers.iter_mut().map(|worker| &mut worker.cells);
        let (reduced, sum) = reduce(self.setup, began, scanned, sums)?;
        let verdicts = judge.verdicts(sum).map_err(|error| self.of_all(error))?;
        let report = |(verdict, model): (&Verdict, &&[usize])| PointReport {
            configuration: self.tasks[model[0]].configuration,
            left_out: self.tasks[model[0]].left_out,
            against: None,
            collected: "figures".into(),
            objective: verdict.loss,
            gradient_norm: 0.0,
            held_out: None,
        };
        let reports = verdicts.iter().zip(models).map(report).collect();
        let multiply_adds = (judged.len() * self.setup.margins_of_row()) as f64 * self.setup.numbers_of_row();
        self.tell(reports, multiply_adds, Sample::ALL, &reduced);
        Ok(verdicts)
    }

    fn validation(&self, folds: Folds, left_out: &[&[usize]], verdicts: Vec<Verdict>) -> Validation {
        let mut all = left_out.iter().zip(verdicts);
        let configurations = self.plan.path().into_iter().map(|strengths| {
            let own: Vec<(&&[usize], Verdict)> = all.by_ref().take(folds.count() as usize).collect();
            let ended =
                |task: &usize| self.tasks[*task].outcome().is_some_and(|outcome| outcome.converged != Some(false));
            let unconverged = own.iter().filter(|(model, _)| !model.iter().all(ended)).count();
            let losses = own.iter().map(|(_, verdict)| verdict.loss).collect();
            let figures: Vec<Vec<Figure>> = own.into_iter().map(|(_, verdict)| verdict.figures).collect();
            HeldOut::new(strengths, losses, &figures, unconverged)
        });
        let configurations = configurations.collect();
        Validation::new(self.known.folds.iter().map(|fold| fold.inside.rows).collect(), configurations)
    }
}
