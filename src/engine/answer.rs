//! What training hands back: points of solver space as models, counts, and warnings with the names of columns.

use std::time::Instant;

use gristmill_kernels::ops::gram::Shape as GramShape;

use super::names;
use super::setup::Setup;
use super::space::Stored;
use super::tasks::Task;
use super::validation::Validation;
use super::weights::{Known, Totals};
use crate::error::{Error, Result};
use crate::optim::{Outcome, cholesky};
use crate::plan::Strengths;
use crate::train::{Fitted, PassReport, Trained};

/// Most columns that a warning names.
const NAMED_MAX: usize = 8;

/// What is counted and said while training runs.
#[derive(Default)]
pub struct Answer {
    /// Rows read.
    pub rows_read: u64,
    /// Bytes read.
    pub bytes_read: u64,
    /// Full sentences.
    pub warnings: Vec<String>,
    history: Vec<PassReport>,
}

/// Refuses targets that say nothing, among all rows or outside a fold, and folds without rows.
///
/// # Errors
/// [`Error::Training`].
pub fn check_known(setup: &Setup<'_>, known: &Known) -> Result<()> {
    check_totals(setup, &known.all, "the training rows", "Check the weight column and the class weights")?;
    for (number, fold) in known.folds.iter().enumerate() {
        if fold.inside.rows == 0 {
            let (rows, folds) = (known.all.rows, known.folds.len());
            return Err(Error::training(format!(
                "fold {number} of {folds} holds none of the {rows} training rows. Use fewer --folds"
            )));
        }
        check_totals(setup, &fold.outside, &format!("the rows outside fold {number}"), "Use fewer --folds")?;
    }
    Ok(())
}

fn check_totals(setup: &Setup<'_>, totals: &Totals, rows: &str, what_to_do: &str) -> Result<()> {
    // Put so that NaN is refused.
    let weighs = totals.weight > 0.0;
    if !weighs {
        return Err(Error::training(format!(
            "the weights of {rows} sum to 0: there is nothing to learn from. {what_to_do}"
        )));
    }
    let has_mean = totals.label > 0.0;
    if setup.deviance().is_some() && !has_mean {
        return Err(Error::training(format!(
            "the labels of {rows} that weigh something are all 0, and model '{}' learns the logarithm of their mean. Check the \
             label column, and the weights",
            setup.model.name()
        )));
    }
    if let Some(names) = &setup.target.labels {
        let of_label = names.iter().zip(&totals.classes);
        if let Some((name, own)) = of_label.into_iter().find(|(_, own)| !(**own > 0.0 && **own < totals.weight)) {
            let value = u8::from(*own > 0.0);
            return Err(Error::training(format!(
                "the label '{name}' is {value} in {rows} that weigh something: there is nothing to tell apart. {what_to_do}, or ingest \
                 the data without this label"
            )));
        }
        return Ok(());
    }
    if setup.margins_of_row() > 1 {
        let names = setup.target.classes.iter().flat_map(|classes| &classes.names);
        if let Some((name, _)) = names.zip(&totals.classes).find(|(_, weight)| **weight <= 0.0) {
            return Err(Error::training(format!(
                "no weight of {rows} lies on rows of class '{name}': it cannot be learnt. {what_to_do}, or leave its rows out"
            )));
        }
        return Ok(());
    }
    if setup.model.is_classifier() && !(totals.label > 0.0 && totals.label < totals.weight) {
        return Err(Error::training(format!(
            "all weight of {rows} lies on the rows of one class: there is nothing to tell apart. {what_to_do}"
        )));
    }
    Ok(())
}

/// A model can be used and kept as JSON when its numbers are finite.
pub fn check_finite(setup: &Setup<'_>, model: &Fitted) -> Result<()> {
    // What a loss counts as where rows are beyond all bounds of its sums.
    if model.loss == f64::MAX {
        return Err(Error::training(
            "the training diverged: where it ended, rows are too far off for a loss. Use a smaller --learning-rate, or another start",
        ));
    }
    let parameters = setup.space.mean.len().max(1);
    let is_not = |numbers: &[f64]| numbers.iter().position(|number| !number.is_finite());
    let what = match is_not(&model.weights).or_else(|| is_not(&model.coefficients)) {
        Some(j) => {
            format!("of {}", names::parameter(setup.dataset, setup.stream.layout(), j % parameters))
        }
        None if is_not(&model.intercepts).or_else(|| is_not(&model.real_intercepts)).is_some() => {
            "of the intercept".into()
        }
        None if model.objective.is_finite() && model.loss.is_finite() => return Ok(()),
        None => "of the objective".into(),
    };
    Err(Error::training(format!(
        "the model cannot be kept: the number {what} is not finite: values of a column are beyond what f64 can square, or \
         too small. Expected magnitudes from 1e-150 to 1e150: scale the column, or leave it out with --ignore"
    )))
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
            let listed = Answer::list(setup, &constant);
            answer.warnings.push(format!("Constant in the training rows, coefficient 0: {listed}."));
        }
        // The levels of a category are together a column of ones.
        let has_levels = setup.gram_shapes().iter().any(|shape| matches!(shape, GramShape::Codes(_)));
        if setup.space.far.len() + usize::from(has_levels) > 1 && !setup.space.far.is_empty() {
            let from = if has_levels { " from categories" } else { "" };
            answer.warnings.push(format!(
                "Without an intercept these columns cannot be told apart well{from}, as they vary little beside their distance from 0, and the \
                 answer may be far from the best: {}. Leave --intercept false out, or subtract a constant from them in the source.",
                Answer::list(setup, &setup.space.far)
            ));
        }
        answer
    }

    /// Takes over the passes of a training that was interrupted.
    pub fn resume(&mut self, history: Vec<PassReport>, rows_read: u64, bytes_read: u64) {
        (self.history, self.rows_read, self.bytes_read) = (history, rows_read, bytes_read);
    }

    /// Counts a pass.
    pub fn count(&mut self, report: PassReport) {
        self.rows_read += report.rows;
        self.bytes_read += report.bytes;
        self.history.push(report);
    }

    /// Passes so far, full and sampled.
    pub fn passes(&self) -> u32 {
        self.history.len() as u32
    }

    /// The passes in order.
    pub fn history(&self) -> &[PassReport] {
        &self.history
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
        // A column that is dependent in one class is so in all.
        let n = setup.space.coordinates().max(1);
        let mut dependent: Vec<usize> = outcome.dependent.iter().map(|&j| j % n).filter(|&j| !told(j)).collect();
        dependent.sort_unstable();
        dependent.dedup();
        if !dependent.is_empty() {
            let given = match outcome.reason == cholesky::LEFT_OUT {
                true => "those without these columns",
                false => "those of smallest norm",
            };
            let warning = format!(
                "Combinations of other columns: {}. Many coefficients fit equally well; {given} are given. Drop the columns, \
                 or add --l2.",
                Answer::list(setup, &dependent)
            );
            if !self.warnings.contains(&warning) {
                self.warnings.push(warning);
            }
        }
    }

    /// Says when models of folds did not converge: what they were judged by may be better than it looks.
    pub fn warn_of_folds(&mut self, validation: Option<&Validation>) {
        for held_out in validation.iter().flat_map(|validation| &validation.configurations) {
            if held_out.unconverged > 0 {
                let Strengths { l1, l2, .. } = held_out.strengths;
                self.warnings.push(format!(
                    "With l1 {l1} and l2 {l2}, {} of {} models of folds did not converge.",
                    held_out.unconverged,
                    held_out.loss.folds.len()
                ));
            }
        }
    }

    fn list(setup: &Setup<'_>, parameters: &[usize]) -> String {
        let name = |&j: &usize| names::parameter(setup.dataset, setup.stream.layout(), j);
        let mut listed: Vec<String> = parameters.iter().take(NAMED_MAX).map(name).collect();
        if parameters.len() > NAMED_MAX {
            listed.push(format!("and {} more", parameters.len() - NAMED_MAX));
        }
        listed.join(", ")
    }

    /// The whole answer.
    pub fn trained(
        self,
        setup: &Setup<'_>,
        models: Vec<Fitted>,
        validation: Option<Validation>,
        clock: &Clock,
        arithmetic: &str,
    ) -> Trained {
        let mut solvers: Vec<&str> = models.iter().map(|fitted| fitted.solver.as_str()).collect();
        solvers.sort_unstable();
        solvers.dedup();
        Trained {
            solver: solvers.join(" and "),
            models,
            classes: setup.target.names().map(<[String]>::to_vec),
            label: setup.statistics.label.clone(),
            validation,
            tier: setup.tier.name().into(),
            warnings: self.warnings,
            rows: setup.statistics.rows,
            passes: self.history.iter().filter(|pass| pass.share == 1.0).count() as u32,
            history: self.history,
            rows_read: self.rows_read,
            bytes_read: self.bytes_read,
            seconds: clock.began.elapsed().as_secs_f64(),
            opening_seconds: clock.opening_seconds,
            checkpointing_seconds: clock.checkpointing_seconds,
            arithmetic: arithmetic.into(),
            way: setup.stream.way().clone(),
        }
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

/// A model in real units of the label, from where its solver ended; of classes that are each told from all others, from where the
/// solvers of all of them did: objective and loss are the sums of theirs. None while some are on their way.
pub fn fitted(setup: &Setup<'_>, tasks: &[&Task], solver: &str, round: impl Fn(f64) -> f64) -> Option<Fitted> {
    let outcomes: Vec<&Outcome> = tasks.iter().map(|task| task.outcome()).collect::<Option<_>>()?;
    let worst = outcomes.iter().find(|outcome| !outcome.has_converged()).or(outcomes.first())?;
    let (offset, scale) = setup.target.units;
    let unit = setup.target.loss_unit();
    let sum = |part: fn(&Outcome) -> f64| outcomes.iter().map(|outcome| part(outcome)).sum::<f64>();
    let squares: Option<f64> = outcomes.iter().map(|outcome| Some(outcome.gradient_norm?.powi(2))).sum();
    let mut fitted = Fitted {
        strengths: tasks.first()?.strengths,
        coefficients: Vec::new(),
        real_intercepts: Vec::new(),
        objective: sum(|outcome| outcome.objective) * unit,
        loss: sum(|outcome| outcome.loss) * unit,
        gradient_norm: match outcomes[..] {
            [only] => only.gradient_norm,
            _ => squares.map(f64::sqrt),
        }
        .map(|norm| norm * scale.abs()),
        passes: tasks.iter().map(|task| task.passes).max().unwrap_or(0),
        converged: worst.converged,
        reason: worst.reason.clone(),
        solver: solver.into(),
        weights: Vec::new(),
        intercepts: Vec::new(),
    };
    for stored in outcomes.iter().flat_map(|outcome| setup.to_stored(&outcome.point, &round)) {
        let weights: Vec<f64> = stored.weights.iter().map(|w| w * scale).collect();
        let stored = Stored { weights, intercept: offset + scale * stored.intercept };
        let (coefficients, real_intercept) = setup.space.to_real(&stored);
        fitted.coefficients.extend(coefficients);
        fitted.real_intercepts.push(real_intercept);
        fitted.weights.extend(stored.weights);
        fitted.intercepts.push(stored.intercept);
    }
    Some(fitted)
}
