//! What is counted while shards are written (stage 2): moments of every column, distinct labels, worst errors.

use std::collections::HashMap;

use gristmill_kernels::dtype::Element;
use gristmill_kernels::tile::Values;

use super::decide::Decision;
use super::moments::Moments;
use crate::encode::column::Stored;
use crate::manifest::{Column, Kind, Layout, Role};
use crate::statistics::{DISTINCT_MAX, LabelStatistics, Statistics};

/// Of one grain: what can be computed apart from other grains.
#[derive(Debug)]
pub struct GrainTally {
    /// By stored column: one entry, or one an element; none for codes and sparse rows.
    moments: Vec<Vec<Moments>>,
    labels: Option<HashMap<u64, u64>>,
    rows: u64,
}

/// Of a column of a grain.
#[derive(Debug)]
pub struct ColumnTally {
    moments: Vec<Moments>,
    /// Of a label; none inside: too many values.
    labels: Option<Option<HashMap<u64, u64>>>,
}

impl ColumnTally {
    /// Of a stored column with `rows` rows.
    pub fn of(stored: &Stored, decision: &Decision, rows: u64) -> ColumnTally {
        let is_label = decision.column.role == Role::Label;
        let moments = match (&decision.column.kind, stored) {
            // Features' codes are counted by the survey; those of a label are numbers like any other.
            (Kind::Categorical { .. }, stored) if is_label => {
                stored.values().map(|values| vec![Moments::of(values)]).unwrap_or_default()
            }
            (Kind::Bucketized { .. }, stored) => flags(stored, decision.column.kind.parameters(), rows),
            (_, Stored::Numbers(_, None) | Stored::Lent(_)) => stored.values().map(Moments::of).into_iter().collect(),
            (_, Stored::Numbers(numbers, Some(width))) => Moments::of_vectors(numbers.values(), *width),
            _ => Vec::new(),
        };
        ColumnTally { moments, labels: is_label.then(|| stored.values().and_then(distinct)) }
    }
}

/// Of a shard, or of all of them.
#[derive(Debug)]
pub struct Tally {
    /// By stored column, as of a grain; sparse rows have theirs here.
    pub moments: Vec<Vec<Moments>>,
    /// Rows by value of the label (its bits); none: too many values.
    pub labels: Option<HashMap<u64, u64>>,
    /// Rows in all.
    pub rows: u64,
}

impl GrainTally {
    /// Of `rows` rows whose columns are yet to come.
    pub fn new(rows: usize) -> GrainTally {
        GrainTally { moments: Vec::new(), labels: Some(HashMap::new()), rows: rows as u64 }
    }

    /// Of stored columns.
    pub fn of(stored: &[Stored], decisions: &[Decision], rows: usize) -> GrainTally {
        let mut tally = GrainTally::new(rows);
        let columns = stored.iter().zip(decisions);
        columns.for_each(|(stored, decision)| tally.add(ColumnTally::of(stored, decision, tally.rows)));
        tally
    }

    /// The next column.
    pub fn add(&mut self, column: ColumnTally) {
        if let Some(labels) = column.labels {
            self.labels = labels;
        }
        self.moments.push(column.moments);
    }
}

/// How many rows have each level.
fn flags(stored: &Stored, levels: usize, rows: u64) -> Vec<Moments> {
    let mut counts = vec![0u64; levels];
    match stored {
        Stored::Codes8(codes) => codes.iter().for_each(|&code| counts[usize::from(code)] += 1),
        Stored::Codes16(codes) => codes.iter().for_each(|&code| counts[usize::from(code)] += 1),
        Stored::Codes32(codes) => codes.iter().for_each(|&code| counts[code as usize] += 1),
        _ => {}
    }
    counts.into_iter().map(|ones| Moments::of_flag(ones, rows)).collect()
}

/// Distinct values with their counts; none: too many.
fn distinct(values: Values<'_>) -> Option<HashMap<u64, u64>> {
    fn of<T: Element>(values: &[T]) -> Option<HashMap<u64, u64>> {
        let mut counts = HashMap::new();
        let mut last = (f64::NAN, 0);
        for x in values {
            // Adding zero makes -0 and 0 one value. Runs of one value need one look-up.
            let x = x.to_f64() + 0.0;
            if x == last.0 {
                last.1 += 1;
                continue;
            }
            if last.1 > 0 {
                *counts.entry(last.0.to_bits()).or_insert(0) += last.1;
            }
            last = (x, 1);
            if counts.len() > DISTINCT_MAX {
                return None;
            }
        }
        if last.1 > 0 {
            *counts.entry(last.0.to_bits()).or_insert(0) += last.1;
        }
        Some(counts).filter(|counts| counts.len() <= DISTINCT_MAX)
    }
    match values {
        Values::F64(values) => of(values),
        Values::F32(values) => of(values),
        Values::F16(values) => of(values),
        Values::U16(values) => of(values),
        // Classes in no order: a table is some ten times as fast as a map.
        Values::U8(values) => {
            let mut counts = [0u64; 256];
            values.iter().for_each(|&x| counts[usize::from(x)] += 1);
            let seen = (0u8..=255).zip(counts).filter(|(_, count)| *count > 0);
            let counts: HashMap<u64, u64> = seen.map(|(x, count)| (f64::from(x).to_bits(), count)).collect();
            Some(counts).filter(|counts| counts.len() <= DISTINCT_MAX)
        }
    }
}

impl Tally {
    /// Of no rows.
    pub fn new(decisions: &[Decision]) -> Tally {
        let moments = decisions.iter().map(|decision| match decision.column.kind {
            Kind::Vector { width, .. } | Kind::Sparse { width, .. } => vec![Moments::default(); width],
            Kind::Hashed { .. } => Vec::new(),
            Kind::Bucketized { .. } | Kind::Text { .. } => vec![Moments::default(); decision.column.kind.parameters()],
            Kind::Categorical { .. } if decision.column.role != Role::Label => Vec::new(),
            _ => vec![Moments::default()],
        });
        Tally { moments: moments.collect(), labels: Some(HashMap::new()), rows: 0 }
    }

    /// The next grain; sparse entries are counted here, in order, so that no grain needs room for a million elements.
    pub fn add(&mut self, grain: GrainTally, stored: &[Stored]) {
        for ((sum, next), stored) in self.moments.iter_mut().zip(grain.moments).zip(stored) {
            sum.iter_mut().zip(&next).for_each(|(sum, next)| sum.merge(next));
            if let Stored::Sparse { indices, values, .. } = stored {
                indices.iter().zip(values).for_each(|(&index, &value)| sum[index as usize].push(f64::from(value)));
            }
        }
        self.count_labels(grain.labels);
        self.rows += grain.rows;
    }

    /// The next shard.
    pub fn merge(&mut self, next: Tally) {
        for (sum, next) in self.moments.iter_mut().zip(next.moments) {
            sum.iter_mut().zip(&next).for_each(|(sum, next)| sum.merge(next));
        }
        self.count_labels(next.labels);
        self.rows += next.rows;
    }

    fn count_labels(&mut self, next: Option<HashMap<u64, u64>>) {
        self.labels = match (self.labels.take(), next) {
            (Some(mut sum), Some(next)) => {
                next.into_iter().for_each(|(value, count)| *sum.entry(value).or_insert(0) += count);
                Some(sum).filter(|sum| sum.len() <= DISTINCT_MAX)
            }
            _ => None,
        };
    }

    /// As the dataset keeps them.
    pub fn statistics(mut self, decisions: &[Decision]) -> Statistics {
        let columns: Vec<Column> = decisions.iter().map(|decision| decision.column.clone()).collect();
        let mut statistics = Statistics { rows: self.rows, ..Statistics::default() };
        for &number in Layout::of(&columns, |_| true).blocks.iter().flat_map(|block| &block.columns) {
            if let Kind::Bucketized { .. } = columns[number].kind {
                // Whole numbers of rows have added up exactly; what follows from them is found anew.
                let levels = self.moments[number].iter();
                levels.for_each(|level| push(&mut statistics, &Moments::of_flag(level.nonzero, self.rows)));
            } else if columns[number].kind.codes().is_some() {
                let counts = &decisions[number].code_counts;
                counts.iter().for_each(|&ones| push(&mut statistics, &Moments::of_flag(ones, self.rows)));
            } else {
                for moments in &mut self.moments[number] {
                    moments.fill_with_zeros(self.rows);
                    push(&mut statistics, moments);
                }
            }
        }
        let label = columns.iter().position(|column| column.role == Role::Label);
        statistics.label = label.and_then(|number| self.moments[number].first()).map(|moments| LabelStatistics {
            rows: self.rows,
            mean: moments.mean,
            m2: moments.m2,
            min: moments.min,
            max: moments.max,
            distinct: self.labels.as_ref().map(|labels| {
                let mut pairs: Vec<(f64, u64)> =
                    labels.iter().map(|(&bits, &count)| (f64::from_bits(bits), count)).collect();
                pairs.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
                pairs
            }),
        });
        statistics
    }
}

fn push(statistics: &mut Statistics, moments: &Moments) {
    statistics.mean.push(moments.mean);
    statistics.m2.push(moments.m2);
    statistics.min.push(moments.min);
    statistics.max.push(moments.max);
    statistics.nonzero.push(moments.nonzero);
}
