//! Crossed columns: a level for each combination of the levels of categorical columns. They are listed behind the stored columns
//! of a dataset that is open, and in a model; no shard has them. Their codes are made row by row of those of their
//! parts ([`gristmill_kernels::ops::crossed`]).
//!
//! A cross has as many levels as its parts have combinations, where that is at most 2^bits; otherwise 2^bits of them, and
//! combinations are hashed. Missing and unseen values of a part are levels of the part, and combine like all others.

use gristmill_kernels::tile::{Block, Codes, Cross, Part};

use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::manifest::{Column, Kind, Role};

/// Bits of a cross where nobody says: as many as Vowpal Wabbit's table has.
pub const BITS: u32 = 18;
/// Most bits: codes and parameters are counted with 32, and a table of 2^30 takes 8 GiB.
pub const BITS_MAX: u32 = 30;
/// Between the parts of a cross.
const TIMES: char = '*';

/// The names that meet in a cross such as `a*b`.
///
/// # Errors
/// [`Error::Usage`] when there are fewer than two, or one twice.
pub fn parts(cross: &str) -> Result<Vec<&str>> {
    let names: Vec<&str> = cross.split(TIMES).map(str::trim).collect();
    if names.len() < 2 || names.iter().any(|name| name.is_empty()) {
        return Err(Error::Usage(format!(
            "cross is '{cross}'; two or more columns were expected, such as a*b or a*b*c"
        )));
    }
    match names.iter().enumerate().find(|(place, name)| names[..*place].contains(name)) {
        Some((_, twice)) => Err(Error::Usage(format!(
            "cross '{cross}' has column '{twice}' twice: a column crossed with itself says nothing more. Name it once"
        ))),
        None => Ok(names),
    }
}

/// Refuses crosses that are none, and two of the same columns.
///
/// # Errors
/// [`Error::Usage`].
pub fn check_wanted(wanted: &[String], bits: u32) -> Result<()> {
    if bits > BITS_MAX || bits == 0 {
        return Err(Error::Usage(format!("cross-bits is {bits}; from 1 to {BITS_MAX} bits are possible")));
    }
    let mut known: Vec<Vec<&str>> = Vec::new();
    for cross in wanted {
        let mut names = parts(cross)?;
        names.sort_unstable();
        if known.contains(&names) {
            return Err(Error::Usage(format!(
                "cross '{cross}' was named before, in this or another order. Name it once"
            )));
        }
        known.push(names);
    }
    Ok(())
}

/// The crossed column of each cross that is wanted.
///
/// # Errors
/// [`Error::Usage`] when a part is no categorical feature, or the name is taken.
pub fn columns(stored: &[Column], wanted: &[String], bits: u32) -> Result<Vec<Column>> {
    check_wanted(wanted, bits)?;
    wanted.iter().map(|cross| column(stored, &parts(cross)?, bits)).collect()
}

fn column(stored: &[Column], names: &[&str], bits: u32) -> Result<Column> {
    let name = names.join(&TIMES.to_string());
    if stored.iter().any(|column| column.name == name) {
        return Err(Error::Usage(format!(
            "the dataset has a column '{name}' already. Leave the cross of that name out"
        )));
    }
    let mut combinations = Some(1usize);
    for part in names {
        let levels = levels_of(stored, part).map_err(|what| Error::Usage(format!("cross '{name}': {what}")))?;
        combinations = combinations.and_then(|count| count.checked_mul(levels));
    }
    let (levels, hash_bits) = match combinations {
        Some(count) if count <= 1 << bits => (count, None),
        _ => (1 << bits, Some(bits)),
    };
    let of = names.iter().map(|name| (*name).to_string()).collect();
    let kind = Kind::Crossed { of, levels, hash_bits };
    Ok(Column { name, role: Role::Feature, kind, source_type: "crossed".into(), missing: 0 })
}

/// Levels of a feature that can be crossed.
fn levels_of(columns: &[Column], name: &str) -> std::result::Result<usize, String> {
    let Some(column) = columns.iter().find(|column| column.name == name) else {
        let can = columns.iter().filter(|column| column.role == Role::Feature && column.kind.codes().is_some());
        let can: Vec<&str> = can.map(|column| column.name.as_str()).take(20).collect();
        let can = if can.is_empty() { "none".to_string() } else { can.join(", ") };
        return Err(format!("there is no column '{name}'. Categorical columns: {can}"));
    };
    match (column.role, column.kind.codes(), &column.kind) {
        (Role::Feature, Some((_, levels)), _) => Ok(levels),
        (Role::Feature, None, Kind::Numeric { .. }) => Err(format!(
            "column '{name}' holds numbers, and only levels can be crossed. Ingest it as buckets (--bucketize {name}=10) or as a \
             category (--categorical {name})"
        )),
        (Role::Feature, ..) => Err(format!("column '{name}' has no levels of its own, and only levels can be crossed")),
        (role, ..) => Err(format!("column '{name}' is the {role:?}, and only features can be crossed").to_lowercase()),
    }
}

/// Where the codes of a crossed column come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crossing {
    /// Each part's number among the columns, and its levels.
    pub parts: Vec<(usize, usize)>,
    levels: usize,
    hash_bits: Option<u32>,
}

impl Crossing {
    /// Of column `number`; none where it is stored.
    ///
    /// # Errors
    /// [`Error::Usage`] when its parts and levels do not fit the columns.
    pub fn of(columns: &[Column], number: usize) -> Result<Option<Crossing>> {
        let Some(Column { name, kind: Kind::Crossed { of, levels, hash_bits }, .. }) = columns.get(number) else {
            return Ok(None);
        };
        let parts = of.iter().map(|part| {
            let levels = levels_of(columns, part).map_err(|what| Error::Usage(format!("cross '{name}': {what}")))?;
            let place = columns.iter().position(|column| column.name == *part);
            Ok((place.unwrap_or(columns.len()), levels))
        });
        let parts = parts.collect::<Result<Vec<_>>>()?;
        let combinations = parts.iter().try_fold(1usize, |count, (_, levels)| count.checked_mul(*levels));
        let fits = match hash_bits {
            Some(bits) => *bits <= BITS_MAX && *levels == 1 << bits,
            None => combinations == Some(*levels) && *levels <= 1 << BITS_MAX,
        };
        if !fits || parts.len() < 2 {
            return Err(Error::Usage(format!("cross '{name}': its {levels} levels do not fit those of its parts")));
        }
        Ok(Some(Crossing { parts, levels: *levels, hash_bits: *hash_bits }))
    }

    /// The block of a grain whose column `number` has the codes `codes(number)`.
    pub fn block<'a>(&self, codes: impl Fn(usize) -> Option<Codes<'a>>) -> Option<Block<'a>> {
        let part = |&(number, levels): &(usize, usize)| Some(Part { codes: codes(number)?, levels });
        let parts = self.parts.iter().map(part).collect::<Option<_>>()?;
        Some(Block::Crossed(Cross { parts, levels: self.levels, hash_bits: self.hash_bits }))
    }
}

impl Dataset {
    /// The same dataset with crossed columns behind its own.
    ///
    /// # Errors
    /// As for [`columns`].
    pub fn crossed(mut self, wanted: &[String], bits: u32) -> Result<Dataset> {
        let more = columns(&self.manifest.columns, wanted, bits)?;
        self.manifest.columns.extend(more);
        Ok(self)
    }

    /// The same dataset with the crossed columns of a model.
    ///
    /// # Errors
    /// [`Error::Usage`] when their parts do not fit.
    pub fn crossed_as(mut self, columns: &[Column]) -> Result<Dataset> {
        for column in columns.iter().filter(|column| column.kind.is_crossed()) {
            self.manifest.columns.push(column.clone());
            Crossing::of(&self.manifest.columns, self.manifest.columns.len() - 1)?;
        }
        Ok(self)
    }

    /// Numbers of the crossed columns.
    pub fn crosses(&self) -> impl Iterator<Item = usize> {
        let columns = self.manifest.columns.iter().enumerate();
        columns.filter(|(_, column)| column.kind.is_crossed()).map(|(number, _)| number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::{FileEntry, Layout};
    use gristmill_kernels::dtype::DType;

    fn stored() -> Vec<Column> {
        let column =
            |name: &str, role, kind| Column { name: name.into(), role, kind, source_type: "Utf8".into(), missing: 0 };
        let category = |levels| {
            let dictionary = FileEntry { file: "dictionary-0.arrow".into(), bytes: 0, xxh3: String::new() };
            Kind::Categorical { code_bytes: 2, levels, dictionary, missing_code: Some(0), unseen_code: None }
        };
        let number = Kind::Numeric { dtype: DType::F32, offset: 0.0, scale: 1.0, impute: None, worst_error: 0.0 };
        vec![
            column("shop", Role::Feature, category(300)),
            column("age", Role::Feature, number),
            column("city", Role::Feature, category(1_000)),
            column("words", Role::Feature, Kind::Sparse { width: 50, one_based: false }),
            column("y", Role::Label, category(2)),
        ]
    }

    fn refused(wanted: &[&str], bits: u32) -> String {
        let wanted: Vec<String> = wanted.iter().map(|cross| (*cross).to_string()).collect();
        columns(&stored(), &wanted, bits).unwrap_err().to_string()
    }

    #[test]
    fn levels_are_combinations_or_hashed() {
        let exact = columns(&stored(), &["shop*city".into()], 19).unwrap();
        assert!(matches!(&exact[0].kind, Kind::Crossed { levels: 300_000, hash_bits: None, .. }), "{exact:?}");
        let hashed = columns(&stored(), &["city * shop".into()], 18).unwrap();
        assert!(matches!(&hashed[0].kind, Kind::Crossed { levels: 262_144, hash_bits: Some(18), .. }), "{hashed:?}");
        assert_eq!(hashed[0].name, "city*shop");
        let all: Vec<Column> = stored().into_iter().chain(hashed).collect();
        let crossing = Crossing::of(&all, 5).unwrap().unwrap();
        assert_eq!(crossing.parts, [(2, 1_000), (0, 300)]);
        assert_eq!(Crossing::of(&all, 0).unwrap(), None);
        // Behind the stored categories, before sparse vectors.
        let order: Vec<usize> = Layout::of(&all, |_| true).blocks.iter().map(|block| block.columns[0]).collect();
        assert_eq!(order, [1, 0, 2, 5, 3]);
    }

    #[test]
    fn what_cannot_be_crossed_is_named() {
        for (wanted, words) in [
            (&["shop"][..], "two or more columns"),
            (&["shop*"], "two or more columns"),
            (&["shop*shop"], "'shop' twice"),
            (&["shop*city", "city*shop"], "named before"),
            (&["shop*town"], "no column 'town'. Categorical columns: shop, city"),
            (&["age*city"], "'age' holds numbers"),
            (&["words*city"], "no levels"),
            (&["y*city"], "is the label"),
        ] {
            let message = refused(wanted, 18);
            assert!(message.contains(words), "{message}");
        }
        assert!(refused(&["shop*city"], 31).contains("from 1 to 30 bits"));
    }

    #[test]
    fn a_cross_that_does_not_fit_its_parts_is_refused() {
        let mut all: Vec<Column> =
            stored().into_iter().chain(columns(&stored(), &["shop*city".into()], 19).unwrap()).collect();
        if let Kind::Crossed { levels, .. } = &mut all[5].kind {
            *levels += 1;
        }
        assert!(Crossing::of(&all, 5).unwrap_err().to_string().contains("do not fit"));
        all.remove(0);
        assert!(Crossing::of(&all, 4).unwrap_err().to_string().contains("no column 'shop'"));
    }
}
