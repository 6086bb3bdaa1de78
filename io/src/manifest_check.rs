//! Is a manifest one that everything behind it can rely on? Its fingerprint, and the checks made when it is opened.

use std::collections::HashSet;
use std::path::{Component, Path};

use crate::encode::labels::{self, LABELS_MAX};
use crate::manifest::{BUCKETS_MAX, Column, HASH_BITS_MAX, Kind, Manifest, NGRAM_MAX, Role, ShardEntry, Split};

type Checked = Result<(), String>;

/// Columns and codes are numbered with 32 bits, elements of a row with 31.
const WIDTH_MAX: usize = i32::MAX as usize;

impl Manifest {
    /// XXH3-128 of the columns and of every checksum, hexadecimal.
    pub fn fingerprint_of_content(&self) -> String {
        let content = (self.format, self.grain_rows, &self.columns, &self.shards, &self.statistics);
        // Plain data with string keys: writing it as JSON cannot fail.
        let json = serde_json::to_vec(&content).unwrap_or_default();
        format!("{:032x}", twox_hash::XxHash3_128::oneshot(&json))
    }

    /// The shards of a split.
    pub fn shards_of(&self, split: Split) -> impl Iterator<Item = &ShardEntry> {
        self.shards.iter().filter(move |shard| shard.split == split)
    }

    /// Number of rows of a split.
    pub fn rows(&self, split: Split) -> u64 {
        self.shards_of(split).map(|shard| shard.rows).sum()
    }

    /// Number of the column with that role, where there is one.
    pub fn column_with(&self, role: Role) -> Option<usize> {
        self.columns.iter().position(|column| column.role == role)
    }

    /// Check all that follows from the manifest alone.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn check(&self) -> Checked {
        if self.grain_rows == 0 || self.grain_rows > 1 << 24 {
            return Err(format!("grains of {} rows are not possible", self.grain_rows));
        }
        let mut names = HashSet::new();
        for column in &self.columns {
            check_column(column).map_err(|message| format!("column '{}': {message}", column.name))?;
            if !names.insert(&column.name) {
                return Err(format!("column '{}' is listed twice", column.name));
            }
        }
        for role in [Role::Label, Role::Weight, Role::Offset] {
            if self.columns.iter().filter(|column| column.role == role).count() > 1 {
                return Err(format!("more than one column has the role {role:?}"));
            }
        }
        [Split::Train, Split::Test].into_iter().try_for_each(|split| self.check_shards(split))?;
        let mut files = HashSet::new();
        for file in self.files() {
            let plain = matches!(Path::new(&file.file).components().collect::<Vec<_>>()[..], [Component::Normal(_)]);
            if !plain || !files.insert(&file.file) {
                return Err(format!("'{}' is no name of a file of its own inside the folder", file.file));
            }
        }
        if self.fingerprint != self.fingerprint_of_content() {
            return Err("its fingerprint does not match its content: it was edited or damaged".to_string());
        }
        Ok(())
    }

    /// All files of the dataset but the manifest: shards, dictionaries, statistics.
    pub fn files(&self) -> impl Iterator<Item = &crate::manifest::FileEntry> {
        let dictionaries = self.columns.iter().filter_map(|column| match &column.kind {
            Kind::Categorical { dictionary, .. } => Some(dictionary),
            _ => None,
        });
        self.shards.iter().map(|shard| &shard.file).chain(dictionaries).chain([&self.statistics])
    }

    /// Grains are numbered without looking into the shards, so all but the last of a split must be full.
    fn check_shards(&self, split: Split) -> Checked {
        let shards: Vec<&ShardEntry> = self.shards_of(split).collect();
        for (number, shard) in shards.iter().enumerate() {
            let full = (shard.grains as u64).checked_mul(self.grain_rows as u64).ok_or("a shard's rows overflow")?;
            let fits = if number + 1 == shards.len() {
                shard.rows <= full && full - shard.rows < self.grain_rows as u64
            } else {
                shard.rows == full
            };
            if !fits || shard.grains == 0 || full > 1 << 56 {
                return Err(format!("{} cannot hold {} rows in {} grains", shard.file.file, shard.rows, shard.grains));
            }
        }
        Ok(())
    }
}

fn check_column(column: &Column) -> Checked {
    if column.kind.is_crossed() {
        return Err("a crossed column is never stored".to_string());
    }
    column.kind.check()?;
    check_role(column)
}

impl Kind {
    /// Check that its parts fit each other.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn check(&self) -> Checked {
        match self {
            Kind::Numeric { offset, scale, impute, .. } => {
                let finite = offset.is_finite() && scale.is_finite() && impute.is_none_or(f64::is_finite);
                if !finite || *scale == 0.0 {
                    return Err(format!("offset {offset}, scale {scale} and imputed {impute:?} are not possible"));
                }
            }
            Kind::Labels { names, dtype } => {
                let distinct: HashSet<&String> = names.iter().collect();
                if !(2..=LABELS_MAX).contains(&names.len()) || distinct.len() < names.len() {
                    return Err(format!("{} labels are not possible, or two have one name", names.len()));
                }
                if *dtype != labels::dtype(names.len()) {
                    return Err(format!("{} labels are not stored as {}", names.len(), dtype.name()));
                }
            }
            // Against its parts: see [`crate::crossed::Crossing`].
            Kind::Indicator { .. } | Kind::Crossed { .. } => {}
            Kind::Categorical { code_bytes, levels, missing_code, unseen_code, .. } => {
                let most = match code_bytes {
                    1 => 1 << 8,
                    2 => 1 << 16,
                    4 => 1 << 32,
                    _ => return Err(format!("codes of {code_bytes} bytes are not possible")),
                };
                if *levels as u64 > most {
                    return Err(format!("{levels} levels do not fit codes of {code_bytes} bytes"));
                }
                let mut special = missing_code.iter().chain(unseen_code);
                if special.any(|&code| code as usize >= *levels) {
                    return Err(format!("a special code is not below the number of levels, {levels}"));
                }
            }
            Kind::Text { ngrams: (fewest, most), .. } if *fewest < 1 || fewest > most || *most > NGRAM_MAX => {
                return Err(format!("n-grams of {fewest} to {most} words are not possible"));
            }
            Kind::Hashed { bits } | Kind::Text { bits, .. } => {
                if !(1..=HASH_BITS_MAX).contains(bits) {
                    return Err(format!("a hash of {bits} bits is not possible"));
                }
            }
            Kind::Bucketized { edges } => {
                let rising =
                    edges.windows(2).all(|pair| pair[0] < pair[1]) && edges.iter().all(|edge| edge.is_finite());
                if !rising || edges.len() >= BUCKETS_MAX {
                    return Err(format!("its {} edges of buckets are not rising, not finite or too many", edges.len()));
                }
            }
            Kind::Vector { width, .. } | Kind::Sparse { width, .. } => {
                if *width > WIDTH_MAX {
                    return Err(format!("a width of {width} is not possible"));
                }
            }
        }
        Ok(())
    }
}

fn check_role(column: &Column) -> Checked {
    let scalar = column.kind.scalar_dtype().is_some();
    let class = matches!(column.kind, Kind::Categorical { code_bytes: 1 | 2, .. });
    match column.role {
        role if role != Role::Label && column.kind.labels().is_some() => {
            Err("several labels in one column are no feature, weight or offset".to_string())
        }
        Role::Label if !scalar && !class => {
            Err("a label is a number or a category of at most 65,536 levels".to_string())
        }
        Role::Weight if !scalar => Err("a weight is a number".to_string()),
        Role::Offset if !scalar => Err("an offset is a number".to_string()),
        _ => Ok(()),
    }
}
