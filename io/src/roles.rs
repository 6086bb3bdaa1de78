//! Roles: what each column of the source is for, as inferred and as the user says (stage 2).
//!
//! Inferred: numbers, booleans, decimals, dates and times are numeric; strings and dictionaries are categorical; lists
//! of numbers are vectors; lists of (index, value) pairs are sparse vectors. The label, when none is named, is the column
//! called `label`, `target` or `y` (the first of these that exists, in any case); libsvm's first field is called
//! `label`. Names may be patterns with `*` and `?`.

use std::collections::HashSet;
use std::path::Path;

use arrow::datatypes::{DataType, Schema};
use serde::{Deserialize, Serialize};

use crate::encode::labels::LABELS_MAX;
use crate::error::{Error, Result};
use crate::manifest::Role;

/// Roles given by the user; a name stands in at most one place.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Roles {
    /// The target; none: inferred by name. Several, each a column of 0 and 1, are set apart by commas.
    pub label: Option<String>,
    /// The sample weight.
    pub weight: Option<String>,
    /// What is added to the margin.
    pub offset: Option<String>,
    /// Columns to leave out.
    pub ignore: Vec<String>,
    /// Columns to read as numbers.
    pub numeric: Vec<String>,
    /// Columns to read as categories.
    pub categorical: Vec<String>,
    /// List columns to read as vectors.
    pub vector: Vec<String>,
    /// Columns of text whose words are hashed.
    pub text: Vec<String>,
    /// Roles of less weight: a key that is given here beats theirs, and so does what is said here of a column that their patterns name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beaten: Option<Box<Roles>>,
}

/// Text as it is hashed when nobody says otherwise: single words into as many elements as Vowpal Wabbit and Spark's `HashingTF` have.
const TEXT: Shape = Shape::Text { bits: 18, ngrams: (1, 1) };

/// What kind of values a column holds, before it is known how they will be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// One number a row.
    Numeric,
    /// Several labels a row, each from a column of its own (see `encode::labels`).
    Labels,
    /// One level a row.
    Categorical,
    /// One level a row, found by hashing.
    Hashed {
        /// Binary logarithm of the number of levels.
        bits: u8,
    },
    /// A text a row, whose words are hashed.
    Text {
        /// Binary logarithm of the number of elements.
        bits: u8,
        /// Fewest and most words of an n-gram.
        ngrams: (u8, u8),
    },
    /// The same number of numbers in every row.
    Vector,
    /// (index, value) pairs.
    Sparse,
}

/// A column of the source that is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// Its name.
    pub name: String,
    /// Its number in the schema of the source.
    pub index: usize,
    /// What it is for.
    pub role: Role,
    /// What it holds.
    pub shape: Shape,
    /// Its type in the source.
    pub source_type: DataType,
    /// The type that it is read as, where that is another: digits that are text.
    pub read_as: Option<DataType>,
    /// Of several labels their columns, by name and by number in the schema; else none.
    pub labels: Vec<(String, usize)>,
}

/// Roles of every column of one schema.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved {
    /// Columns that are kept, in the order of the source.
    pub columns: Vec<Planned>,
    /// Names of those that are not.
    pub ignored: Vec<String>,
    /// Number in the schema of the column that says which rows are held out.
    pub split: Option<usize>,
}

impl Roles {
    /// Roles from a TOML file.
    ///
    /// # Errors
    /// When the file cannot be read, is not TOML, or has an unknown key.
    pub fn read(path: &Path) -> Result<Roles> {
        let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, "cannot read", e))?;
        toml::from_str(&text).map_err(|e| {
            Error::Usage(format!(
                "{}: {}. Keys are label, weight, offset, ignore, numeric, categorical, vector, text",
                path.display(),
                e.to_string().trim_end()
            ))
        })
    }

    /// The patterns of columns to leave out.
    pub fn ignored(&self) -> &[String] {
        match &self.beaten {
            Some(beaten) if self.ignore.is_empty() => &beaten.ignore,
            _ => &self.ignore,
        }
    }

    /// True when some pattern leaves that column out.
    pub fn ignores(&self, name: &str) -> bool {
        self.ignored().iter().any(|pattern| matches(pattern, name))
    }

    /// An error for a pattern of columns to leave out that names none of these.
    ///
    /// # Errors
    /// [`Error::Usage`].
    pub fn check_ignored(&self, names: &[&str]) -> Result<()> {
        find_all(names, self.ignored(), "ignore").map(drop)
    }

    /// The same roles, of a source whose columns to leave out are gone.
    #[must_use]
    pub fn without_ignored(mut self) -> Roles {
        self.ignore.clear();
        if let Some(beaten) = &mut self.beaten {
            beaten.ignore.clear();
        }
        self
    }

    /// These roles where they say something, else `beaten`.
    #[must_use]
    pub fn over(self, beaten: Roles) -> Roles {
        Roles { beaten: (beaten != Roles::default()).then(|| Box::new(beaten)), ..self }
    }

    /// One set of roles, each pattern of those that are beaten replaced by the columns that nothing else is said of.
    fn merged(&self, names: &[&str], split_column: Option<&str>) -> Result<Option<Roles>> {
        let Some(beaten) = &self.beaten else { return Ok(None) };
        let one = |own: &Option<String>, theirs: &Option<String>| own.clone().or_else(|| theirs.clone());
        let (label, weight, offset) =
            (one(&self.label, &beaten.label), one(&self.weight, &beaten.weight), one(&self.offset, &beaten.offset));
        let single = [&self.label, &self.weight, &self.offset].map(|given| given.as_deref());
        let lists = [&self.ignore, &self.numeric, &self.categorical, &self.vector, &self.text];
        let said = |name: &str| {
            lists.iter().any(|list| list.iter().any(|pattern| matches(pattern, name)))
                || single.iter().flatten().any(|given| *given == name || given.split(',').any(|one| one.trim() == name))
                || split_column == Some(name)
        };
        let many = |own: &[String], theirs: &[String], flag: &str| -> Result<Vec<String>> {
            if !own.is_empty() {
                return Ok(own.to_vec());
            }
            find_all(names, theirs, flag)?;
            let named = |name: &&&str| theirs.iter().any(|pattern| matches(pattern, name)) && !said(name);
            Ok(names.iter().filter(named).map(ToString::to_string).collect())
        };
        Ok(Some(Roles {
            ignore: many(&self.ignore, &beaten.ignore, "ignore")?,
            numeric: many(&self.numeric, &beaten.numeric, "numeric")?,
            categorical: many(&self.categorical, &beaten.categorical, "categorical")?,
            vector: many(&self.vector, &beaten.vector, "vector")?,
            text: many(&self.text, &beaten.text, "text")?,
            beaten: None,
            label,
            weight,
            offset,
        }))
    }

    /// The role of every column of `schema`; `split_column` is kept out of the features.
    ///
    /// # Errors
    /// Duplicate column names, unknown names, contradictory roles, types that have no meaning as numbers.
    pub fn resolve(&self, schema: &Schema, split_column: Option<&str>) -> Result<Resolved> {
        let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        refuse_duplicates(&names)?;
        if let Some(merged) = self.merged(&names, split_column)? {
            return merged.resolve(schema, split_column);
        }
        let labels = match &self.label {
            Some(name) => named_labels(&names, name)?,
            None => self.inferred_label(&names, split_column).into_iter().collect(),
        };
        let weight = self.weight.as_deref().map(|name| find(&names, name, "weight")).transpose()?;
        let offset = self.offset.as_deref().map(|name| find(&names, name, "offset")).transpose()?;
        let split = split_column.map(|name| find(&names, name, "split-column")).transpose()?;
        let ignore = find_all(&names, &self.ignore, "ignore")?;
        let forced = [
            (Shape::Numeric, "numeric", find_all(&names, &self.numeric, "numeric")?),
            (Shape::Categorical, "categorical", find_all(&names, &self.categorical, "categorical")?),
            (Shape::Vector, "vector", find_all(&names, &self.vector, "vector")?),
            (TEXT, "text", find_all(&names, &self.text, "text")?),
        ];
        let single = [weight, offset, split].map(|given| given.into_iter().collect());
        let [weights, offsets, splits]: [Vec<usize>; 3] = single;
        refuse_contradictions(&names, [&labels, &weights, &offsets, &splits], &ignore, &forced)?;

        let mut resolved = Resolved { columns: Vec::new(), ignored: Vec::new(), split };
        for (index, field) in schema.fields().iter().enumerate() {
            if ignore.contains(&index) || Some(index) == split {
                resolved.ignored.push(field.name().clone());
                continue;
            }
            if labels.len() > 1 && labels.contains(&index) {
                if labels.iter().all(|label| *label >= index) {
                    resolved.columns.push(several(schema, &labels, &forced)?);
                }
                continue;
            }
            let role = match index {
                _ if labels.contains(&index) => Role::Label,
                _ if Some(index) == weight => Role::Weight,
                _ if Some(index) == offset => Role::Offset,
                _ => Role::Feature,
            };
            let wanted = forced.iter().find(|(_, _, columns)| columns.contains(&index)).map(|&(shape, ..)| shape);
            let shape = shape(field.name(), field.data_type(), role, wanted)?;
            let source_type = field.data_type().clone();
            let name = field.name().clone();
            resolved.columns.push(Planned { name, index, role, shape, source_type, read_as: None, labels: Vec::new() });
        }
        if !resolved.columns.iter().any(|column| column.role == Role::Feature) {
            let help = match ignore.is_empty() {
                true => "A training needs a column that is no label, weight, offset or split",
                false => "Name fewer under --ignore",
            };
            return Err(Error::Usage(format!(
                "no column is left to learn from: the source has {}. {help}",
                listed(&names)
            )));
        }
        Ok(resolved)
    }

    fn inferred_label(&self, names: &[&str], split_column: Option<&str>) -> Option<usize> {
        let taken = |name: &str| {
            self.weight.as_deref() == Some(name)
                || self.offset.as_deref() == Some(name)
                || split_column == Some(name)
                || self.ignore.iter().chain(&self.vector).any(|pattern| matches(pattern, name))
        };
        ["label", "target", "y"]
            .iter()
            .find_map(|usual| names.iter().position(|name| name.eq_ignore_ascii_case(usual) && !taken(name)))
    }
}

impl Resolved {
    /// True when that column is kept and holds a number a row.
    pub fn is_numeric(&self, name: &str) -> bool {
        self.columns.iter().any(|column| match column.shape {
            Shape::Numeric => column.name == name,
            Shape::Labels => column.labels.iter().any(|(label, _)| label == name),
            _ => false,
        })
    }

    /// The same columns in a source that was opened again with fewer of them.
    ///
    /// # Errors
    /// [`Error::Usage`] when one of them is gone.
    pub fn follow(&mut self, before: &Schema, after: &Schema) -> Result<()> {
        let gone = |name: &str| {
            Error::Usage(format!("column '{name}' was there when the source was opened first, and is gone"))
        };
        for column in &mut self.columns {
            let first = column.labels.first().map_or(&column.name, |(name, _)| name);
            column.index = after.index_of(first).map_err(|_| gone(first))?;
            let found = after.field(column.index).data_type();
            column.read_as = (*found != column.source_type).then(|| found.clone());
            for (name, index) in &mut column.labels {
                *index = after.index_of(name).map_err(|_| gone(name))?;
            }
        }
        if let Some(split) = &mut self.split {
            let name = before.field(*split).name();
            *split = after.index_of(name).map_err(|_| gone(name))?;
        }
        Ok(())
    }
}

/// What a column of that type holds when nobody says otherwise; none: it has no meaning as a number.
pub fn inferred(source_type: &DataType) -> Option<Shape> {
    match source_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Dictionary(..) => {
            Some(Shape::Categorical)
        }
        DataType::RunEndEncoded(_, values) => inferred(values.data_type()),
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => match item.data_type() {
            DataType::Struct(fields)
                if fields.len() == 2
                    && fields[0].data_type().is_integer()
                    && is_number(fields[1].data_type())
                    && !matches!(source_type, DataType::FixedSizeList(..)) =>
            {
                Some(Shape::Sparse)
            }
            item if is_number(item) => Some(Shape::Vector),
            _ => None,
        },
        other if is_number(other) => Some(Shape::Numeric),
        _ => None,
    }
}

/// True for types whose values are read as one number.
pub fn is_number(data_type: &DataType) -> bool {
    data_type.is_numeric()
        || matches!(
            data_type,
            DataType::Null
                | DataType::Boolean
                | DataType::Date32
                | DataType::Date64
                | DataType::Timestamp(..)
                | DataType::Time32(_)
                | DataType::Time64(_)
                | DataType::Duration(_)
        )
}

pub(crate) fn is_text(data_type: &DataType) -> bool {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Dictionary(_, values) => is_text(values),
        DataType::RunEndEncoded(_, values) => is_text(values.data_type()),
        _ => false,
    }
}

/// The innermost value type of encoded columns.
pub(crate) fn value_type(data_type: &DataType) -> &DataType {
    match data_type {
        DataType::Dictionary(_, values) => value_type(values),
        DataType::RunEndEncoded(_, values) => value_type(values.data_type()),
        other => other,
    }
}

fn shape(name: &str, source_type: &DataType, role: Role, wanted: Option<Shape>) -> Result<Shape> {
    let refuse = |message: String| Err(Error::Usage(format!("column '{name}': {message}")));
    let plain = value_type(source_type);
    let shape = match wanted {
        Some(Shape::Numeric) if !(is_number(plain) || is_text(plain)) => {
            return refuse(format!("cannot be read as a number, its type is {source_type}"));
        }
        Some(Shape::Categorical)
            if !(is_number(plain) || is_text(plain) || matches!(plain, DataType::Binary | DataType::LargeBinary)) =>
        {
            return refuse(format!("cannot be read as categories, its type is {source_type}"));
        }
        Some(Shape::Text { .. }) if !(is_number(plain) || is_text(plain)) => {
            return refuse(format!("cannot be read as text, its type is {source_type}"));
        }
        Some(Shape::Vector) if !matches!(inferred(source_type), Some(Shape::Vector | Shape::Sparse)) => {
            return refuse(format!("is not a list of numbers, its type is {source_type}"));
        }
        Some(Shape::Vector) | None => match inferred(source_type) {
            Some(shape) => shape,
            None => {
                return refuse(format!(
                    "type {source_type} has no meaning as a number or category. Leave it out with --ignore {name}"
                ));
            }
        },
        Some(shape) => shape,
    };
    match (role, shape) {
        (Role::Label, Shape::Vector | Shape::Sparse | Shape::Text { .. }) => {
            refuse(format!("a label is one number or one class a row, the type of this column is {source_type}"))
        }
        (Role::Weight | Role::Offset, Shape::Categorical) if wanted.is_none() && is_number(plain) => Ok(Shape::Numeric),
        (Role::Weight | Role::Offset, Shape::Categorical | Shape::Vector | Shape::Sparse | Shape::Text { .. }) => {
            let what = if role == Role::Weight { "a weight" } else { "an offset" };
            refuse(format!("{what} is one number a row, the type of this column is {source_type}"))
        }
        _ => Ok(shape),
    }
}

/// Numbers of the label columns: the one of that name, or several whose names are set apart by commas.
fn named_labels(names: &[&str], given: &str) -> Result<Vec<usize>> {
    if names.contains(&given) || !given.contains(',') {
        return Ok(vec![find(names, given, "label")?]);
    }
    let mut labels = Vec::new();
    for name in given.split(',').map(str::trim) {
        let label = find(names, name, "label")?;
        if labels.contains(&label) {
            return Err(Error::Usage(format!("--label: column '{name}' is named twice. Name each label once")));
        }
        labels.push(label);
    }
    if labels.len() > LABELS_MAX {
        return Err(Error::Usage(format!(
            "--label: found {} labels, at most {LABELS_MAX} are learnt together. Make a dataset for each part of them",
            labels.len()
        )));
    }
    Ok(labels)
}

/// The column that several labels become.
fn several(schema: &Schema, labels: &[usize], forced: &[(Shape, &'static str, HashSet<usize>)]) -> Result<Planned> {
    let (mut named, mut names) = (Vec::new(), Vec::new());
    for &index in labels {
        let field = schema.field(index);
        if let Some((_, flag, _)) = forced.iter().find(|(of, _, all)| *of != Shape::Numeric && all.contains(&index)) {
            return Err(Error::Usage(format!(
                "column '{}' is one of several labels, a column of 0 and 1, and is given as {flag}. Choose one",
                field.name()
            )));
        }
        shape(field.name(), field.data_type(), Role::Label, Some(Shape::Numeric))?;
        named.push((field.name().clone(), index));
        names.push(field.name().as_str());
    }
    let first = schema.field(labels[0]);
    Ok(Planned {
        name: names.join(","),
        index: labels[0],
        role: Role::Label,
        shape: Shape::Labels,
        source_type: first.data_type().clone(),
        read_as: None,
        labels: named,
    })
}

fn refuse_duplicates(names: &[&str]) -> Result<()> {
    let mut seen = HashSet::new();
    match names.iter().find(|name| !seen.insert(**name)) {
        None => Ok(()),
        Some(name) => {
            let places: Vec<String> =
                (0..names.len()).filter(|&i| names[i] == *name).map(|i| (i + 1).to_string()).collect();
            Err(Error::Usage(format!(
                "the source has more than one column named '{name}' (columns {}). Rename them: a column is known by its name",
                places.join(", ")
            )))
        }
    }
}

fn refuse_contradictions(
    names: &[&str],
    single: [&[usize]; 4],
    ignore: &HashSet<usize>,
    forced: &[(Shape, &'static str, HashSet<usize>)],
) -> Result<()> {
    for (index, name) in names.iter().enumerate() {
        let mut said = Vec::new();
        let flags = single.iter().zip(["label", "weight", "offset", "split-column"]);
        said.extend(flags.filter(|(given, _)| given.contains(&index)).map(|(_, flag)| flag));
        said.extend(ignore.contains(&index).then_some("ignore"));
        if let [first, second, ..] = said[..] {
            return Err(Error::Usage(format!("column '{name}' is given as {first} and as {second}. Choose one")));
        }
        let shapes: Vec<&str> =
            forced.iter().filter(|(_, _, all)| all.contains(&index)).map(|&(_, flag, _)| flag).collect();
        if let [first, second, ..] = shapes[..] {
            return Err(Error::Usage(format!("column '{name}' is given as {first} and as {second}. Choose one")));
        }
    }
    Ok(())
}

fn matches(pattern: &str, name: &str) -> bool {
    pattern == name
        || (pattern.contains(['*', '?']) && glob::Pattern::new(pattern).is_ok_and(|pattern| pattern.matches(name)))
}

fn find(names: &[&str], wanted: &str, flag: &str) -> Result<usize> {
    names.iter().position(|name| *name == wanted).ok_or_else(|| unknown(names, wanted, flag))
}

fn find_all(names: &[&str], wanted: &[String], flag: &str) -> Result<HashSet<usize>> {
    let mut found = HashSet::new();
    for pattern in wanted {
        let before = found.len();
        found.extend((0..names.len()).filter(|&i| matches(pattern, names[i])));
        if found.len() == before && !names.iter().any(|name| matches(pattern, name)) {
            return Err(unknown(names, pattern, flag));
        }
    }
    Ok(found)
}

/// The error for a column that is not there, with its fields or the nearest name.
pub fn unknown(names: &[&str], wanted: &str, flag: &str) -> Error {
    let is_field = |name: &&&str| name.strip_prefix(wanted).is_some_and(|rest| rest.starts_with('.'));
    let fields: Vec<&str> = names.iter().filter(is_field).copied().collect();
    if !fields.is_empty() {
        let message = format!("--{flag}: '{wanted}' is no column but has some: {}. Name them", listed(&fields));
        let several = ["ignore", "numeric", "categorical", "vector", "text"].contains(&flag);
        return Error::Usage(if several { format!("{message}, or all with '{wanted}.*'") } else { message });
    }
    let nearest = names
        .iter()
        .map(|name| (strsim::jaro_winkler(&name.to_lowercase(), &wanted.to_lowercase()), name))
        .filter(|(likeness, _)| *likeness > 0.7)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    let hint = match nearest {
        Some((_, name)) => format!("did you mean '{name}'?"),
        None => format!("the source has {}", listed(names)),
    };
    Error::Usage(format!("--{flag}: the source has no column '{wanted}'; {hint}"))
}

/// Names for a message.
pub(crate) fn listed(names: &[&str]) -> String {
    let shown: Vec<String> = names.iter().take(20).map(|name| format!("'{name}'")).collect();
    let more = if names.len() > 20 { format!(" and {} more", names.len() - 20) } else { String::new() };
    format!("{}{more}", shown.join(", "))
}

#[cfg(test)]
mod tests;
