//! The target: what a stored label means to a model, and what rows weigh.
//!
//! A regression reads the stored label as it is; its real value is offset + scale * stored, so the whole problem is solved
//! in stored units u = (y - offset) / scale and its answer is scaled back: the loss by scale^2, weights by scale. The
//! penalty goes the other way: with c = scale * w, scale^2 (f + l1 / scale |w| + l2 / 2 w^2) is the objective in real units.
//!
//! A mean that is positive has a logarithm for its margin, which no offset survives: such a model reads real labels, turned from
//! stored ones row by row.
//!
//! A classifier reads the number of the class, from 0, in rising order of stored values: of two classes 0 and 1. Against all
//! others, a class of several is 1 and they are 0. Of several labels each is 1 where the row has it, and 0 elsewhere.

use std::ops::Range;

use gristmill_io::dataset::Dataset;
use gristmill_io::encode::affine::Affine;
use gristmill_io::encode::store::shortest;
use gristmill_io::manifest::{Column, Kind};
use gristmill_io::statistics::{LabelStatistics, Statistics};
use gristmill_kernels::tile::Values;
use gristmill_kernels::{Kernels, Real, vectorised};

use super::domain;
use crate::error::{Error, Result};
use crate::metrics::multilabel::has;
use crate::models::Model;
use crate::plan::{ClassWeight, Strengths, TrainPlan};

/// What labels and weights mean.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// Largest |label| as the model sees it.
    pub largest: f64,
    /// Least label as the model sees it.
    pub least: f64,
    /// Real value of a stored label where the model sees real ones: offset and scale.
    pub real: Option<(f64, f64)>,
    /// Names, stored values and weights of the classes.
    pub classes: Option<Classes>,
    /// Names of several labels; the model sees a whole number, of which bit k is label k.
    pub labels: Option<Vec<String>>,
    /// Real value of a label as the model sees it, of a regression: offset and scale.
    pub units: (f64, f64),
}

/// The classes, two or more, by number.
#[derive(Clone, Debug, PartialEq)]
pub struct Classes {
    /// As the source names them.
    pub names: Vec<String>,
    /// As they are stored, rising.
    pub stored: Vec<f64>,
    /// Training rows of each.
    pub rows: Vec<u64>,
    /// Weight of each.
    pub weight: Vec<f64>,
}

impl Classes {
    /// How many.
    pub fn count(&self) -> usize {
        self.names.len()
    }

    /// True where every stored label is the number of its class.
    fn are_numbers(&self) -> bool {
        self.stored.iter().enumerate().all(|(number, stored)| *stored == number as f64)
    }

    /// Number of the class that is stored so.
    fn number(&self, stored: f64) -> usize {
        match self.stored[..] {
            [_, greater] => usize::from(stored == greater),
            _ => self.stored.partition_point(|known| *known < stored).min(self.stored.len() - 1),
        }
    }
}

impl Target {
    /// The target of `model` in `dataset`.
    ///
    /// # Errors
    /// [`Error::Training`] when the labels do not fit the model; [`Error::Usage`] when a class weight names no class.
    pub fn new(dataset: &Dataset, statistics: &Statistics, model: &dyn Model, plan: &TrainPlan) -> Result<Target> {
        let missing = || {
            let folder = dataset.folder().display();
            Error::usage(format!(
                "{folder}: the dataset has no label to learn. Ingest its sources again with --label COLUMN"
            ))
        };
        let column = &dataset.manifest().columns[dataset.label().ok_or_else(missing)?];
        let label = statistics.label.as_ref().ok_or_else(missing)?;
        if statistics.rows == 0 {
            return Err(Error::training("the dataset has no training rows. Ingest more data, or hold out fewer rows"));
        }
        if let Some(names) = column.kind.labels() {
            return several_labels(names, model, plan);
        }
        if model.is_classifier() {
            let several = model.is_joint() || plan.multiclass.is_some();
            let classes = classes(dataset, column, label, several, &plan.class_weight)?;
            let largest = (classes.count() - 1) as f64;
            return Ok(Target {
                largest,
                least: 0.0,
                real: None,
                classes: Some(classes),
                labels: None,
                units: (0.0, 1.0),
            });
        }
        let units = match column.kind {
            Kind::Numeric { offset, scale, .. } => (offset, scale),
            _ => {
                let name = &column.name;
                return Err(Error::training(format!(
                    "the label '{name}' is categorical, model '{}' needs a number. Use --model logistic for two classes, \
                     softmax for several, or ingest the label as numeric",
                    model.name()
                )));
            }
        };
        if model.reads_real() {
            let ends = [label.min, label.max].map(|stored| units.0 + units.1 * stored);
            let least = ends[0].min(ends[1]);
            if !domain::allows(model.task(), least) {
                return Err(domain::complaint(dataset, column, units, model)?);
            }
            let largest = ends[0].abs().max(ends[1].abs());
            return Ok(Target { largest, least, real: Some(units), classes: None, labels: None, units: (0.0, 1.0) });
        }
        let largest = label.min.abs().max(label.max.abs());
        Ok(Target { largest, least: label.min, real: None, classes: None, labels: None, units })
    }

    /// The strengths of a configuration in stored units of the label.
    pub fn strengths(&self, real: Strengths) -> Strengths {
        Strengths { l1: real.l1 / self.units.1.abs(), ..real }
    }

    /// Factor from an objective in stored units of the label to real ones.
    pub fn loss_unit(&self) -> f64 {
        self.units.1 * self.units.1
    }

    /// Mean and sum of squared deviations of the labels as the model sees them.
    pub fn moments(&self, label: &LabelStatistics) -> (f64, f64) {
        let (offset, scale) = self.real.unwrap_or((0.0, 1.0));
        (offset + scale * label.mean, scale * scale * label.m2)
    }

    /// Largest factor that a class puts on a row's weight.
    pub fn largest_class_weight(&self) -> f64 {
        self.classes.as_ref().map_or(1.0, |classes| classes.weight.iter().copied().fold(0.0, f64::max))
    }

    /// True when rows weigh differently by class.
    pub fn weighs_classes(&self) -> bool {
        self.classes.as_ref().is_some_and(|classes| classes.weight.iter().any(|weight| *weight != 1.0))
    }

    /// Labels of several, else classes of several, by number.
    pub fn names(&self) -> Option<&[String]> {
        self.labels.as_deref().or(self.classes.as_ref().map(|classes| classes.names.as_slice()))
    }

    /// True when a row with that target has that label, of several labels, or else is of that class.
    pub fn holds(&self, y: f64, number: usize) -> bool {
        if self.labels.is_some() { has(y, number) } else { y == number as f64 }
    }

    /// The targets of a model that tells a class from all others, or rows that have a label from those that have not.
    pub fn turn<R: Real>(&self, number: u16, y: &[R], to: &mut [R]) {
        if self.labels.is_some() {
            // A bit by floors of exact quotients, which registers hold many of; a conversion to integers they do not.
            let shift = 0.5f64.powi(i32::from(number));
            let bit = |y: f64| {
                let above = (y * shift).floor();
                above - 2.0 * (above * 0.5).floor()
            };
            return vectorised(|| to.iter_mut().zip(y).for_each(|(to, y)| *to = R::from_f64(bit(y.to_f64()))));
        }
        let class = R::from_f64(f64::from(number));
        let one = |yes: bool| if yes { R::ONE } else { R::from_f64(0.0) };
        to.iter_mut().zip(y).for_each(|(to, y)| *to = one(*y == class));
    }

    /// Reads the labels of some rows as the loss takes them, and counts the class in the weights of these rows: [`read`] and [`Target::apply`].
    pub fn read_labels<R: Real>(
        &self,
        kernels: &Kernels<R>,
        labels: Option<&Values<'_>>,
        rows: Range<usize>,
        y: &mut [R],
        weight: Option<&mut [R]>,
    ) {
        read(kernels, labels, rows.clone(), y);
        // Bytes are looked at in a quarter of the time that their numbers take.
        let bytes = match labels {
            Some(Values::U8(labels)) => Some(&labels[rows]),
            _ => None,
        };
        self.apply_to(y, bytes, weight);
    }

    /// Turns stored labels into what the loss takes, and the weights of rows (1 each where the dataset has none: the
    /// caller fills them) into those with the class counted.
    pub fn apply<R: Real>(&self, y: &mut [R], weight: Option<&mut [R]>) {
        self.apply_to(y, None, weight);
    }

    /// [`Target::apply`] to labels which may be stored as bytes.
    fn apply_to<R: Real>(&self, y: &mut [R], bytes: Option<&[u8]>, weight: Option<&mut [R]>) {
        if let Some((offset, scale)) = self.real.filter(|units| *units != (0.0, 1.0)) {
            y.iter_mut().for_each(|y| *y = R::from_f64(offset + scale * y.to_f64()));
        }
        let Some(classes) = &self.classes else { return };
        // Labels that are their numbers stay as they are, but for those that no training row has. All are looked at, whatever is found,
        // so that registers hold many of them.
        let count = classes.count();
        let all_known = vectorised(|| match (bytes, R::singles(y)) {
            (Some(bytes), _) => usize::from(bytes.iter().fold(0, |most, byte| (*byte).max(most))) < count,
            (None, Some(y)) => are_below(y, count as f32, f32::floor),
            (None, None) => are_below(y, R::from_f64(count as f64), |y| R::from_f64(y.to_f64().floor())),
        });
        if !(classes.are_numbers() && all_known) {
            y.iter_mut().for_each(|y| *y = R::from_f64(classes.number(y.to_f64()) as f64));
        }
        if let Some(weight) = weight {
            for (w, y) in weight.iter_mut().zip(&*y) {
                *w = R::from_f64(w.to_f64() * classes.weight[y.to_f64() as usize]);
            }
        }
    }
}

/// True where all are whole numbers from 0 to below `count`.
#[inline(always)]
fn are_below<R: Real>(y: &[R], count: R, floor: impl Fn(R) -> R) -> bool {
    let zero = R::from_f64(0.0);
    y.iter().fold(true, |all, &y| all & (y >= zero) & (y < count) & (y == floor(y)))
}

/// Several labels, each of which a model of two classes learns.
fn several_labels(names: &[String], model: &dyn Model, plan: &TrainPlan) -> Result<Target> {
    let listed = names.join("', '");
    if !model.is_classifier() || model.is_joint() {
        return Err(Error::training(format!(
            "the dataset has several labels, '{listed}', and model '{}' learns one. Use --model logistic, squared-hinge or hinge, \
             or ingest the data with one --label",
            model.name()
        )));
    }
    if plan.multiclass.is_some() {
        return Err(Error::usage(format!(
            "multiclass is set, but the dataset has several labels, '{listed}', and each has a model of its own. Leave it out"
        )));
    }
    if plan.class_weight != ClassWeight::None {
        return Err(Error::usage(format!(
            "class-weight is set, but the dataset has several labels, '{listed}', of which each row has any number. Leave it out, or \
             ingest the data with one --label"
        )));
    }
    let largest = ((1u64 << names.len()) - 1) as f64;
    let labels = Some(names.to_vec());
    Ok(Target { largest, least: 0.0, real: None, classes: None, labels, units: (0.0, 1.0) })
}

/// 2^53: the whole numbers below are exact in `f64`.
const EXACT_MAX: f64 = (1u64 << 53) as f64;

fn classes(
    dataset: &Dataset,
    column: &Column,
    label: &LabelStatistics,
    several: bool,
    weights: &ClassWeight,
) -> Result<Classes> {
    let name = &column.name;
    let found: Vec<(f64, u64)> = match &label.distinct {
        Some(distinct) => distinct.iter().copied().filter(|(_, rows)| *rows > 0).collect(),
        None => {
            return Err(Error::training(format!(
                "the label '{name}' has more than {} distinct values, too many for classes. \
                 Use --model linear for a number, or another label",
                gristmill_io::statistics::DISTINCT_MAX
            )));
        }
    };
    let named = |value: f64| class_name(dataset, column, value);
    if let Kind::Numeric { offset, scale, .. } = column.kind
        && let Some((stored, _)) = found.iter().find(|(stored, _)| (offset + scale * stored).abs() >= EXACT_MAX)
    {
        return Err(Error::training(format!(
            "the label '{name}' has classes such as {}, beyond which not every whole number is a number of 64 bits: some may have \
             become one. Read them as text: ingest the label with --categorical {name}",
            named(*stored)?
        )));
    }
    if found.len() < 2 || (found.len() > 2 && !several) {
        let values: Vec<String> = found.iter().take(5).map(|(value, _)| named(*value)).collect::<Result<_>>()?;
        let hint = if found.len() < 2 {
            "Check the label column, and what filtered the rows before ingest"
        } else {
            "Use --model softmax or --multiclass ovr for several classes, or --model linear for a number"
        };
        return Err(Error::training(format!(
            "the label '{name}' has {} distinct value{} in the training rows ({}{}), {} needed. {hint}",
            found.len(),
            if found.len() == 1 { "" } else { "s" },
            values.join(", "),
            if found.len() > 5 { ", ..." } else { "" },
            if several { "at least two are" } else { "two are" },
        )));
    }
    let names = found.iter().map(|(value, _)| named(*value)).collect::<Result<Vec<String>>>()?;
    let (stored, rows): (Vec<f64>, Vec<u64>) = found.into_iter().unzip();
    let weight = class_weights(&names, &rows, weights)?;
    Ok(Classes { names, stored, rows, weight })
}

fn class_weights(names: &[String], rows: &[u64], weights: &ClassWeight) -> Result<Vec<f64>> {
    match weights {
        ClassWeight::None => Ok(vec![1.0; names.len()]),
        ClassWeight::Balanced => {
            let all = rows.iter().sum::<u64>() as f64;
            Ok(rows.iter().map(|own| all / (rows.len() as f64 * *own as f64)).collect())
        }
        ClassWeight::Map(map) => {
            if let Some(unknown) = map.keys().find(|key| !names.contains(key)) {
                return Err(Error::usage(format!(
                    "class-weight names a class '{unknown}'; the classes are '{}'",
                    names.join("', '")
                )));
            }
            Ok(names.iter().map(|name| map.get(name).copied().unwrap_or(1.0)).collect())
        }
    }
}

/// A class as its source has it.
fn class_name(dataset: &Dataset, column: &Column, stored: f64) -> Result<String> {
    match &column.kind {
        Kind::Numeric { dtype, offset, scale, .. } => {
            let affine = Affine { dtype: *dtype, offset: *offset, scale: *scale, exact: false };
            Ok(shortest(&affine, stored).to_string())
        }
        Kind::Categorical { missing_code, unseen_code, .. } => {
            let code = stored as u32;
            let number = dataset.label().unwrap_or_default();
            let dictionary = dataset.dictionary(number)?;
            let special = [(missing_code, "missing"), (unseen_code, "unseen")];
            let level = dictionary.levels.get(code as usize).cloned();
            let special = special.iter().find(|(known, _)| **known == Some(code)).map(|(_, name)| (*name).to_string());
            Ok(level.or(special).unwrap_or_else(|| format!("level {code}")))
        }
        _ => Ok(format!("{stored}")),
    }
}

/// Reads labels or weights of some rows into the arithmetic type.
pub fn read<R: Real>(kernels: &Kernels<R>, values: Option<&Values<'_>>, rows: Range<usize>, out: &mut [R]) {
    match values {
        Some(values) => kernels.convert(values, rows, out),
        None => out.fill(R::ONE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Floors find the bits that shifts do, up to the most labels.
    #[test]
    fn a_label_is_its_bit() {
        let labels = Some(vec![String::new(); 53]);
        let target = Target { largest: 0.0, least: 0.0, real: None, classes: None, labels, units: (0.0, 1.0) };
        let held: Vec<u64> =
            (0..400u64).map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 11).chain([0, 1, (1 << 53) - 1]).collect();
        let y: Vec<f64> = held.iter().map(|&held| held as f64).collect();
        let mut found = vec![0.0; y.len()];
        for label in 0..53u16 {
            target.turn(label, &y, &mut found);
            for (held, (y, found)) in held.iter().zip(y.iter().zip(&found)) {
                let bit = held >> label & 1;
                assert_eq!((*found, target.holds(*y, usize::from(label))), (bit as f64, bit == 1), "{held} {label}");
            }
        }
        let y = held.iter().map(|&held| (held & 0xff_ffff) as f32).collect::<Vec<f32>>();
        let mut found = vec![0.0f32; y.len()];
        for label in 0..24u16 {
            target.turn(label, &y, &mut found);
            assert!(held.iter().zip(&found).all(|(held, found)| (held >> label & 1) as f32 == *found), "{label}");
        }
    }

    /// Labels that are bytes become what the same numbers in `f32` become, those of a class that no training row has among them.
    #[test]
    fn bytes_are_the_classes_that_numbers_are() {
        let kernels = Kernels::<f32>::new(gristmill_kernels::Tier::Portable);
        for stored in [[0.0, 1.0], [0.0, 3.0]] {
            let (names, rows, weight) = (vec![String::new(); 2], vec![1; 2], vec![0.5, 2.0]);
            let classes = Some(Classes { names, stored: stored.to_vec(), rows, weight });
            let target = Target { largest: 1.0, least: 0.0, real: None, classes, labels: None, units: (0.0, 1.0) };
            for most in [2, 4, 256_usize] {
                let bytes: Vec<u8> = (0..300).map(|i| (i * 7 % most) as u8).collect();
                let singles: Vec<f32> = bytes.iter().map(|&byte| f32::from(byte)).collect();
                let read = |labels: Values<'_>| {
                    let (mut y, mut weight) = (vec![0.0; 290], vec![1.0; 290]);
                    target.read_labels(&kernels, Some(&labels), 5..295, &mut y, Some(&mut weight));
                    assert!(y.iter().all(|y| *y == 0.0 || *y == 1.0), "{stored:?} {most}");
                    (y, weight)
                };
                assert_eq!(read(Values::U8(&bytes)), read(Values::F32(&singles)), "{stored:?} {most}");
            }
        }
    }
}
