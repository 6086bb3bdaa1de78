//! Between the passes (stage 2): from what the survey found to how every column is stored.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::DataType;
use gristmill_kernels::dtype::DType;

use super::moments::Moments;
use super::options::{Impute, IngestOptions};
use super::summary::ColumnSummary;
use super::survey::Found;
use crate::dictionary::Dictionary;
use crate::encode::affine::Affine;
use crate::encode::buckets::Buckets;
use crate::encode::column::Encoder;
use crate::encode::hashing::Hashing;
use crate::encode::labels;
use crate::encode::levels::Levels;
use crate::encode::store::round_trip;
use crate::encode::words::Words;
use crate::error::{Error, Result};
use crate::manifest::{Column, FileEntry, Kind, READ_AS, Role};
use crate::roles::{Planned, Resolved, Shape, unknown, value_type};

/// Squares of stored numbers must stay finite.
const MAGNITUDE_MAX: f64 = 1e150;
/// All integers up to this are numbers of `f64`.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

/// A stored column and what makes it.
#[derive(Debug)]
pub struct Decision {
    /// As the manifest shows it; dictionary and worst error are filled in later.
    pub column: Column,
    /// What makes it.
    pub encoder: Encoder,
    /// The column of the plan that it is made from.
    pub raw: usize,
    /// Levels, for a categorical column.
    pub levels: Option<Dictionary>,
    /// Training rows of every code: levels, missing, unseen.
    pub code_counts: Vec<u64>,
    /// Bytes of a row.
    pub row_bytes: f64,
}

/// How every column is stored.
#[derive(Debug, Default)]
pub struct Decided {
    /// Stored columns.
    pub stored: Vec<Decision>,
    /// Columns left out because training rows have no value at all.
    pub empty: Vec<String>,
}

/// Decide; `edges` are those between buckets, by number of the column.
///
/// # Errors
/// [`Error::Usage`] for names that are not there and values that a type cannot hold.
pub fn decide(
    options: &IngestOptions,
    plan: &Resolved,
    found: &Found,
    edges: &BTreeMap<usize, Vec<f64>>,
    index_base: Option<&str>,
    memory: u64,
) -> Result<Decided> {
    let names: Vec<&str> = plan.columns.iter().map(|column| column.name.as_str()).collect();
    for (flag, name) in options.dtypes.keys().map(|n| ("dtype", n)).chain(options.imputes.keys().map(|n| ("impute", n)))
    {
        if !names.contains(&name.as_str()) {
            return Err(unknown(&names, name, flag));
        }
    }
    let mut decided = Decided::default();
    for (number, column) in plan.columns.iter().enumerate() {
        let seen = &found.summary.columns[number];
        if column.role == Role::Feature
            && !matches!(column.shape, Shape::Sparse | Shape::Text { .. })
            && seen.train.count == 0
        {
            decided.empty.push(column.name.clone());
            continue;
        }
        let case = Case { options, column, seen, number };
        match column.shape {
            Shape::Numeric if edges.contains_key(&number) => decided.stored.push(case.bucketized(&edges[&number])),
            Shape::Numeric => {
                decided.stored.push(case.numeric()?);
                let missing = column.role == Role::Feature && seen.train.missing > 0;
                if options.indicator && missing {
                    decided.stored.push(case.indicator(&names));
                }
            }
            Shape::Labels => decided.stored.push(case.labels()),
            Shape::Hashed { bits } => decided.stored.push(case.hashed(found, bits)),
            Shape::Categorical => decided.stored.push(case.categorical(found)?),
            Shape::Vector => decided.stored.push(case.vector()?),
            Shape::Text { bits, ngrams } => decided.stored.push(case.text(found, Words { bits, ngrams })),
            Shape::Sparse => decided.stored.push(case.sparse(found, index_base, memory)?),
        }
    }
    if !decided.stored.iter().any(|decision| decision.column.role == Role::Feature) {
        return Err(Error::Usage("no column is left to learn from: none has a value in any training row".into()));
    }
    Ok(decided)
}

struct Case<'a> {
    options: &'a IngestOptions,
    column: &'a Planned,
    seen: &'a ColumnSummary,
    number: usize,
}

impl Case<'_> {
    fn refuse<T>(&self, message: impl std::fmt::Display) -> Result<T> {
        Err(Error::Usage(format!("column '{}': {message}", self.column.name)))
    }

    /// The storage type to aim at: the column's own, else the common one, which labels and small integers do not heed.
    fn wanted(&self) -> Option<DType> {
        let own = self.options.dtypes.get(&self.column.name).copied();
        own.or(match (self.options.dtype, self.column.role) {
            (Some(dtype @ (DType::F64 | DType::F32)), _) | (Some(dtype), Role::Feature) => Some(dtype),
            _ => None,
        })
    }

    fn decision(&self, kind: Kind, encoder: Encoder, row_bytes: f64) -> Decision {
        Decision {
            column: Column {
                name: self.column.name.clone(),
                role: self.column.role,
                kind,
                source_type: match (&self.column.source_type, &self.column.read_as) {
                    (found, Some(read)) => format!("{found}{READ_AS}{read}"),
                    (found, None) => found.to_string(),
                },
                missing: self.seen.train.missing + self.seen.test.missing,
            },
            encoder,
            raw: self.number,
            levels: None,
            code_counts: Vec::new(),
            row_bytes,
        }
    }

    fn numeric(&self) -> Result<Decision> {
        let all = self.seen.all();
        if all.magnitude() > MAGNITUDE_MAX {
            return self.refuse(format!(
                "found values between {:e} and {:e}, expected magnitudes up to {MAGNITUDE_MAX:e}. Rescale it in the source",
                all.min, all.max
            ));
        }
        let impute = self.imputed()?;
        let has_missing = all.missing > 0;
        let fraction = has_missing && impute.is_some_and(|value| !seen_with(&all, value).integral);
        let range = impute.filter(|_| has_missing).map_or(all, |value| seen_with(&all, value));
        let own = self.options.dtypes.contains_key(&self.column.name);
        let affine = match (self.column.role, self.wanted()) {
            (Role::Weight, wanted) => Affine::of_weight(&all, wanted),
            // A common storage type is for reals; integers that fit are exact in less.
            (_, wanted) if !own => match Affine::choose(&range, None, fraction) {
                small if matches!(small.dtype, DType::U8 | DType::U16) => small,
                _ if self.column.role == Role::Label => {
                    let affine = Affine::of_label(&all, wanted);
                    let are_lost = self.seen.few.are_lost(&affine, all.count);
                    if are_lost { Affine::of_label(&all, Some(DType::F64)) } else { affine }
                }
                _ => Affine::choose(&range, wanted.or(Some(DType::F32)), fraction),
            },
            (_, wanted) => Affine::choose(&range, wanted, fraction),
        };
        if affine.dtype == DType::F32 && affine.is_plain() && all.magnitude() > f64::from(f32::MAX) {
            return self.refuse("found values beyond the range of f32. Store the column as f64");
        }
        // Rows have what storage makes of it. Where none is missing it is kept for rows to come, which are encoded as reals.
        let impute = impute.map(|value| if has_missing { round_trip(&affine, value) } else { value });
        let Affine { dtype, offset, scale, .. } = affine;
        // Larger integers are rounded when they are read, before anything compares what is stored with them.
        let rounds = matches!(value_type(&self.column.source_type), DataType::Int64 | DataType::UInt64);
        let magnitude = all.magnitude();
        let worst_error = if rounds && magnitude > WHOLE_MAX { (magnitude.next_up() - magnitude) / 2.0 } else { 0.0 };
        let kind = Kind::Numeric { dtype, offset, scale, impute, worst_error };
        Ok(self.decision(kind, Encoder::Numeric { affine, impute }, dtype.bytes() as f64))
    }

    /// What stands for a missing number; labels and weights have no stand-in.
    fn imputed(&self) -> Result<Option<f64>> {
        if self.column.role != Role::Feature {
            return Ok(None);
        }
        let how = self.options.imputes.get(&self.column.name).unwrap_or(&self.options.impute);
        Ok(match how {
            // Rounding of the sum must not make a constant column one of two values, a hair apart.
            Impute::Mean => Some(self.seen.train.mean_within()),
            Impute::Zero => Some(0.0),
            Impute::Constant(value) if value.abs() <= MAGNITUDE_MAX => Some(*value),
            Impute::Constant(value) => return self.refuse(format!("cannot impute {value}")),
            Impute::Refuse => {
                let missing = self.seen.all().missing;
                if missing > 0 {
                    return self.refuse(format!(
                        "{missing} rows have no value. Choose what stands for them with --impute mean, zero or a number"
                    ));
                }
                None
            }
        })
    }

    fn labels(&self) -> Decision {
        let dtype = labels::dtype(self.column.labels.len());
        let names = self.column.labels.iter().map(|(name, _)| name.clone()).collect();
        let encoder = Encoder::Numeric { affine: Affine::plain(dtype, true), impute: None };
        self.decision(Kind::Labels { names, dtype }, encoder, dtype.bytes() as f64)
    }

    fn indicator(&self, names: &[&str]) -> Decision {
        let mut name = format!("{}_missing", self.column.name);
        while names.contains(&name.as_str()) {
            name.push('_');
        }
        let kind = Kind::Indicator { of: self.column.name.clone() };
        let mut decision = self.decision(kind, Encoder::Indicator(DType::U8), 1.0);
        decision.column.name = name;
        decision.column.missing = 0;
        decision
    }

    fn categorical(&self, found: &Found) -> Result<Decision> {
        let Some(table) = &found.tables[self.number] else { return self.refuse("has no table of levels") };
        let counts = &found.counts[self.number];
        let missing = self.seen.train.missing;
        let levels = match self.column.role {
            Role::Label => Levels::of_label(table, counts, value_type(&self.column.source_type).is_numeric()),
            _ => Levels::of_feature(table, counts, self.options.min_count, missing > 0),
        };
        if self.column.role == Role::Label && levels.code_bytes() == 4 {
            return self.refuse(format!("has {} classes, expected at most 65536", levels.texts.len()));
        }
        let mut code_counts = levels.counts.clone();
        code_counts.resize(levels.parameters(), 0);
        if let (Some(missing_code), Some(unseen)) = (levels.missing_code, levels.unseen_code) {
            let listed: u64 = levels.counts.iter().sum();
            code_counts[unseen as usize] = found.summary.train_rows - listed - missing;
            code_counts[missing_code as usize] += missing;
        }
        let kind = Kind::Categorical {
            code_bytes: levels.code_bytes(),
            levels: levels.parameters(),
            dictionary: FileEntry { file: String::new(), bytes: 0, xxh3: String::new() },
            missing_code: levels.missing_code,
            unseen_code: levels.unseen_code,
        };
        let encoder = Encoder::Codes {
            bytes: levels.code_bytes(),
            codes: Arc::from(levels.codes.as_slice()),
            missing: levels.missing_code,
            unseen: levels.unseen_code,
        };
        let mut decision = self.decision(kind, encoder, f64::from(levels.code_bytes()));
        decision.levels = Some(Dictionary { levels: levels.texts, counts: levels.counts });
        decision.code_counts = code_counts;
        Ok(decision)
    }

    fn hashed(&self, found: &Found, bits: u8) -> Decision {
        let hashing = Hashing::new(&self.column.name, bits);
        let mut code_counts = found.counts[self.number].clone();
        code_counts.resize(1 << bits, 0);
        code_counts[hashing.missing() as usize] += self.seen.train.missing;
        let kind = Kind::Hashed { bits };
        let bytes = kind.codes().map_or(4, |(bytes, _)| bytes);
        Decision { code_counts, ..self.decision(kind, hashing.encoder(), f64::from(bytes)) }
    }

    fn bucketized(&self, edges: &[f64]) -> Decision {
        let kind = Kind::Bucketized { edges: edges.to_vec() };
        let bytes = kind.codes().map_or(4, |(bytes, _)| bytes);
        self.decision(kind, Encoder::Edges(Buckets::new(edges)), f64::from(bytes))
    }

    fn vector(&self) -> Result<Decision> {
        let all = self.seen.all();
        let width = self.seen.width.map_or(0, |(width, _)| width);
        if width == 0 {
            return self.refuse("its vectors are empty. Leave it out with --ignore");
        }
        let affine = Affine::of_vector(&all, self.wanted());
        let own = self.options.dtypes.get(&self.column.name).copied();
        let limit = match affine.dtype {
            DType::F64 if own == Some(DType::F32) => -1.0,
            DType::F64 => MAGNITUDE_MAX,
            DType::F32 => f64::from(f32::MAX),
            DType::F16 => 65_504.0,
            DType::U16 | DType::U8 if affine.exact => f64::MAX,
            DType::U16 | DType::U8 => -1.0,
        };
        if all.magnitude() > limit {
            return self.refuse(format!(
                "found vector elements between {:e} and {:e}, which {} cannot hold or square. Choose a wider --dtype",
                all.min,
                all.max,
                own.unwrap_or(affine.dtype).name()
            ));
        }
        let bytes = (width * affine.dtype.bytes()) as f64;
        let kind = Kind::Vector { dtype: affine.dtype, width };
        Ok(self.decision(kind, Encoder::Vector { affine, width }, bytes))
    }

    /// `index_base` is what the source says of its indices: `0`, `1`, `auto`, or nothing (0).
    fn sparse(&self, found: &Found, index_base: Option<&str>, memory: u64) -> Result<Decision> {
        let one_based = match index_base {
            Some("1") => true,
            Some("auto") => !self.seen.has_index_zero,
            _ => false,
        };
        let base = u32::from(one_based);
        let width = self.seen.sparse_width.saturating_sub(base as usize);
        if width == 0 {
            return self.refuse("its sparse vectors have no entry at all");
        }
        let threads = self.options.workers() as u64;
        let needed = (width as u64).saturating_mul(size_of::<Moments>() as u64 * (threads + 1));
        if needed > memory / 2 {
            return self.refuse(format!(
                "indices up to {} take {} MB of statistics, more than half of --memory. Check the source for a stray index, \
                 or raise --memory",
                self.seen.sparse_width - 1,
                needed / 1_000_000
            ));
        }
        let bytes = self.sparse_bytes(found);
        Ok(self.decision(Kind::Sparse { width, one_based }, Encoder::Sparse { width, base }, bytes))
    }

    /// Bytes of a row's entries, in the mean.
    fn sparse_bytes(&self, found: &Found) -> f64 {
        let rows = (found.summary.train_rows + found.summary.test_rows).max(1);
        4.0 + 8.0 * self.seen.entries as f64 / rows as f64
    }

    fn text(&self, found: &Found, words: Words) -> Decision {
        let kind = Kind::Text { bits: words.bits, ngrams: words.ngrams };
        let width = kind.parameters();
        self.decision(kind, Encoder::Sparse { width, base: 0 }, self.sparse_bytes(found))
    }
}

/// The summary with one more value.
fn seen_with(seen: &crate::encode::summary::Summary, value: f64) -> crate::encode::summary::Summary {
    let one = crate::encode::summary::Summary {
        count: 1,
        missing: 0,
        mean: value,
        min: value,
        max: value,
        integral: value.fract() == 0.0 && value.abs() < 1e15,
        // An imputed number may be rounded: it is nobody's measurement.
        single: true,
    };
    let mut all = *seen;
    all.merge(&one);
    all
}
