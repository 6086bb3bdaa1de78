//! What training hands back: points of solver space as models, counts, and warnings with the names of columns.

use std::time::Instant;

use super::names;
use super::setup::Setup;
use super::space::Stored;
use super::weights::Totals;
use crate::error::{Error, Result};
use crate::optim::Outcome;
use crate::plan::{SolverName, Strengths};
use crate::train::{Fitted, PassReport, Trained};

/// Most columns that a warning names.
const NAMED_MAX: usize = 8;

/// What is counted and said while training runs.
#[derive(Default)]
pub struct Answer {
    /// Passes, full and sampled.
    pub passes: u32,
    /// Passes over all rows.
    pub full_passes: u32,
    /// Rows read.
    pub rows_read: u64,
    /// Bytes read.
    pub bytes_read: u64,
    /// Full sentences.
    pub warnings: Vec<String>,
    names: Vec<String>,
}

/// Refuses targets that say nothing.
///
/// # Errors
/// [`Error::Training`].
pub fn check_totals(setup: &Setup<'_>, totals: &Totals) -> Result<()> {
    // Put so that NaN is refused.
    let weighs = totals.weight > 0.0;
    if !weighs {
        return Err(Error::training(
            "the weights of the training rows sum to 0: there is nothing to learn from. Check the weight column and the \
             class weights",
        ));
    }
    if setup.model.is_classifier() && !(totals.label > 0.0 && totals.label < totals.weight) {
        return Err(Error::training(
            "all weight lies on the rows of one class: there is nothing to tell apart. Check the weight column and the \
             class weights",
        ));
    }
    Ok(())
}

impl Answer {
    /// With a word on columns that cannot matter.
    pub fn new(setup: &Setup<'_>) -> Answer {
        let mut answer = Answer::default();
        let shapes = setup.gram_shapes();
        let blocks = setup.stream.layout().blocks.iter().zip(&shapes);
        let dense = blocks.filter(|(_, shape)| matches!(shape, gristmill_kernels::ops::gram::Shape::Dense(_)));
        let constant: Vec<usize> = dense
            .flat_map(|(block, _)| block.first_parameter..block.first_parameter + block.parameters)
            .filter(|&j| setup.space.inverse[j] == 0.0)
            .collect();
        if !constant.is_empty() {
            let listed = answer.list(setup, &constant);
            answer.warnings.push(format!("Constant in the training rows, coefficient 0: {listed}."));
        }
        answer
    }

    /// Counts a pass.
    pub fn count(&mut self, report: &PassReport, full: bool) {
        self.passes += 1;
        self.full_passes += u32::from(full);
        self.rows_read += report.rows;
        self.bytes_read += report.bytes;
    }

    /// Takes over what a solver has to say.
    pub fn warn(&mut self, setup: &Setup<'_>, outcome: &Outcome) {
        for warning in &outcome.warnings {
            if !self.warnings.contains(warning) {
                self.warnings.push(warning.clone());
            }
        }
        // The levels of a category always sum to the intercept, and a constant column was named before.
        let shapes = setup.gram_shapes();
        let is_level = |j: usize| {
            let blocks = setup.stream.layout().blocks.iter().zip(&shapes);
            blocks.into_iter().any(|(block, shape)| {
                matches!(shape, gristmill_kernels::ops::gram::Shape::Codes(_))
                    && (block.first_parameter..block.first_parameter + block.parameters).contains(&j)
            })
        };
        let told = |j: usize| setup.space.inverse.get(j).is_none_or(|&inverse| inverse == 0.0) || is_level(j);
        let dependent: Vec<usize> = outcome.dependent.iter().copied().filter(|&j| !told(j)).collect();
        if !dependent.is_empty() {
            let warning = format!(
                "Combinations of other columns: {}. Many coefficients fit equally well; those of smallest norm are given. \
                 Drop the columns, or add --l2.",
                self.list(setup, &dependent)
            );
            if !self.warnings.contains(&warning) {
                self.warnings.push(warning);
            }
        }
    }

    fn list(&mut self, setup: &Setup<'_>, parameters: &[usize]) -> String {
        if self.names.is_empty() {
            // Without names a warning is still worth its numbers.
            self.names = names::parameters(setup.dataset, setup.stream.layout()).unwrap_or_default();
        }
        let name = |j: &usize| self.names.get(*j).map_or_else(|| format!("parameter {j}"), |name| format!("'{name}'"));
        let mut listed: Vec<String> = parameters.iter().take(NAMED_MAX).map(name).collect();
        if parameters.len() > NAMED_MAX {
            listed.push(format!("and {} more", parameters.len() - NAMED_MAX));
        }
        listed.join(", ")
    }

    /// The whole answer.
    ///
    /// # Errors
    /// When a dictionary cannot be read.
    pub fn trained(
        self,
        setup: &Setup<'_>,
        models: Vec<Fitted>,
        solver: SolverName,
        clock: &Clock,
        arithmetic: &str,
    ) -> Result<Trained> {
        let names =
            if self.names.is_empty() { names::parameters(setup.dataset, setup.stream.layout())? } else { self.names };
        Ok(Trained {
            models,
            names,
            classes: setup.target.classes.as_ref().map(|classes| classes.names.clone()),
            solver: solver.name().into(),
            tier: setup.tier.name().into(),
            warnings: self.warnings,
            rows: setup.statistics.rows,
            passes: self.full_passes,
            rows_read: self.rows_read,
            bytes_read: self.bytes_read,
            seconds: clock.began.elapsed().as_secs_f64(),
            opening_seconds: clock.opening_seconds,
            checkpointing_seconds: clock.checkpointing_seconds,
            arithmetic: arithmetic.into(),
            way: setup.stream.way().clone(),
        })
    }
}

/// Where time outside of passes went.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// When the training began.
    pub began: Instant,
    /// Until the first pass could be made.
    pub opening_seconds: f64,
    /// Copies for checkpoints.
    pub checkpointing_seconds: f64,
}

/// A solver's point as a model, in real units of the label.
pub fn fitted(
    setup: &Setup<'_>,
    strengths: Strengths,
    outcome: Outcome,
    history: Vec<PassReport>,
    round: impl Fn(f64) -> f64,
) -> Fitted {
    let stored = setup.space.to_stored(&outcome.point, round);
    let (offset, scale) = setup.target.units;
    let weights: Vec<f64> = stored.weights.iter().map(|w| w * scale).collect();
    let stored = Stored { weights, intercept: offset + scale * stored.intercept };
    let (coefficients, real_intercept) = setup.space.to_real(&stored);
    let unit = setup.target.loss_unit();
    Fitted {
        strengths,
        coefficients,
        real_intercept,
        objective: outcome.objective * unit,
        loss: outcome.loss * unit,
        gradient_norm: outcome.gradient_norm * scale.abs(),
        passes: history.iter().filter(|pass| pass.share == 1.0).count() as u32,
        converged: outcome.converged,
        reason: outcome.reason,
        history,
        weights: stored.weights,
        intercept: stored.intercept,
    }
}
