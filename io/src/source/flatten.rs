//! Nested columns become plain ones (stage 1): a field `b` of a struct `a` is the column `a.b`, missing where `a` is.
//!
//! Lists of numbers stay lists (vector columns later on), and so does a sparse vector,
//! `List<Struct<index: UInt32, value: Float32>>`. Any other nesting is an error, unless the column is not read.
//! A column that is only handed on ([`SourceOptions::verbatim`]) keeps its type, whatever it is.
//! Rare types are turned into common ones on the way: binary text and string views into strings, columns without a type
//! into numbers that are all missing.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, make_array};
use arrow::buffer::NullBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use arrow::error::ArrowError;

use super::common::{common, widened};
use super::{SourceOptions, check_names};
use crate::error::{Error, Result};

/// Structs nested deeper than this are an error.
const DEPTH_MAX: usize = 32;

/// A column after flattening.
#[derive(Clone, Debug)]
struct Column {
    name: String,
    /// Child numbers from the root to it.
    path: Vec<usize>,
    /// Primitive leaves below it, counted through the whole schema (Parquet counts so).
    leaves: Range<usize>,
    from: DataType,
    to: Option<DataType>,
}

/// How the batches of a schema become flat.
#[derive(Clone, Debug)]
pub struct Flat {
    /// The schema of flat batches.
    pub schema: SchemaRef,
    columns: Vec<Column>,
}

impl Flat {
    /// For the columns of `schema` that `options` want.
    ///
    /// # Errors
    /// For a nesting or type that cannot be read, two columns of one name, no column left, or a name that is not there.
    pub fn plan(path: &Path, schema: &Schema, options: &SourceOptions) -> Result<Flat> {
        let all = all_columns(path, schema, options)?;
        check_names(options, &all.iter().map(|column| column.name.clone()).collect::<Vec<_>>())?;
        Flat::select(path, schema, options)
    }

    /// As [`Flat::plan`], for a part of a schema: names that are not in it are no error.
    ///
    /// # Errors
    /// As there.
    pub fn select(path: &Path, schema: &Schema, options: &SourceOptions) -> Result<Flat> {
        let mut columns = all_columns(path, schema, options)?;
        columns.retain(|column| wanted(options, &column.name) || options.keeps(&column.name));
        let fields = columns.iter().map(|column| field(path, column, options)).collect::<Result<Vec<Field>>>()?;
        if fields.is_empty() {
            return Err(Error::data(path, "no column is left to read").help("Check --ignore"));
        }
        Ok(Flat { schema: Arc::new(Schema::new(fields)), columns })
    }

    /// Numbers of the primitive leaves that are read.
    pub fn leaves(&self) -> impl Iterator<Item = usize> + '_ {
        self.columns.iter().flat_map(|column| column.leaves.clone())
    }

    /// The number of the only primitive leaf of a column; none: it has several.
    pub fn leaf(&self, column: usize) -> Option<usize> {
        let leaves = &self.columns.get(column)?.leaves;
        (leaves.len() == 1).then_some(leaves.start)
    }

    /// True for a column that has another type in the file.
    pub fn converts(&self, column: usize) -> bool {
        self.columns[column].from != *self.schema.field(column).data_type()
    }

    /// Numbers of the root columns that are read, each once.
    pub fn roots(&self) -> Vec<usize> {
        let roots: BTreeSet<usize> = self.columns.iter().map(|column| column.path[0]).collect();
        roots.into_iter().collect()
    }

    /// A batch of the schema that this was planned for, flat.
    ///
    /// # Errors
    /// For values that are not text where text is expected.
    pub fn flatten(&self, path: &Path, batch: &RecordBatch) -> Result<RecordBatch> {
        let columns = self.columns.iter().zip(self.schema.fields()).map(|(column, field)| {
            let array = descend(batch, &column.path)
                .map_err(|error| Error::data(path, error.to_string()).column(&column.name))?;
            if array.data_type() == field.data_type() {
                return Ok(array);
            }
            read_as(&array, field.data_type()).map_err(|error| {
                let help = match is_binary(&column.from) {
                    true => format!("Leave the column out with --ignore {}", column.name),
                    false => one_type(&column.name),
                };
                Error::data(path, format!("{} cannot be read as {}: {error}", column.from, field.data_type()))
                    .column(&column.name)
                    .help(help)
            })
        });
        let columns = columns.collect::<Result<Vec<ArrayRef>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
            .map_err(|error| Error::data(path, error.to_string()))
    }

    /// Takes in another file of the source, which needs the same columns; true: some type is another now, that of all files so far.
    ///
    /// # Errors
    /// With both files, the column, and both types where there is none for both.
    pub fn join(&mut self, path: &Path, other: &Flat, first_path: &Path) -> Result<bool> {
        let differs = |name: &str, message: String, help: String| Error::data(path, message).column(name).help(help);
        let mut fields = Vec::with_capacity(self.columns.len());
        for (column, own) in self.columns.iter_mut().zip(self.schema.fields()) {
            let name = own.name();
            let Some((at, found)) = other.schema.column_with_name(name) else {
                let message = format!("the column is missing, but {} has it", first_path.display());
                return Err(differs(name, message, super::SAME_COLUMNS.into()));
            };
            let (from, found) = (&other.columns[at].from, found.data_type());
            let shared = match (&column.from, from) {
                // Without a type there is no value.
                (_, DataType::Null) => Some(own.data_type().clone()),
                (DataType::Null, _) => Some(found.clone()),
                _ => common(own.data_type(), found),
            };
            let shared = shared.ok_or_else(|| {
                let message = format!("the type is {found}, but in {} it is {}", first_path.display(), own.data_type());
                differs(name, message, one_type(name))
            })?;
            if column.from == DataType::Null {
                column.from = from.clone();
            }
            fields.push(own.as_ref().clone().with_data_type(shared));
        }
        let strange = other.schema.fields().iter().find(|field| self.schema.field_with_name(field.name()).is_err());
        if let Some(field) = strange {
            let message = format!("the column is not in {}", first_path.display());
            return Err(differs(field.name(), message, super::SAME_COLUMNS.into()));
        }
        let is_wider = fields.iter().zip(self.schema.fields()).any(|(shared, own)| *shared != **own);
        self.schema = Arc::new(Schema::new(fields));
        Ok(is_wider)
    }

    /// An error when a file has columns that cannot be read as `first`, what all files have in common, says.
    ///
    /// # Errors
    /// As [`Flat::join`].
    pub fn same_as(&self, path: &Path, first: &Flat, first_path: &Path) -> Result<()> {
        match first.clone().join(path, self, first_path)? {
            false => Ok(()),
            true => Err(Error::data(path, "a column has another type than when the file was opened")),
        }
    }

    /// The same plan with its columns in the order of `first`, which has the same columns.
    #[must_use]
    pub fn in_order_of(mut self, first: &Flat) -> Flat {
        let position = |column: &Column| first.columns.iter().position(|other| other.name == column.name);
        self.columns.sort_by_key(position);
        self.schema = Arc::clone(&first.schema);
        self
    }
}

/// What to do about files with different types.
fn one_type(column: &str) -> String {
    format!(
        "Write all files with one type for it (CAST in SQL, cast in pyarrow, astype in pandas), or leave the column out with --ignore {column}"
    )
}

/// The array in another type.
fn read_as(array: &ArrayRef, to: &DataType) -> std::result::Result<ArrayRef, ArrowError> {
    if !is_binary(array.data_type()) {
        return widened(array, to);
    }
    // Only bytes that some row has need to be text, not those of missing rows and behind the last one.
    let array = match array.data_type() {
        // Arrow knows no way from here to text but by bytes of any length.
        DataType::FixedSizeBinary(_) => cast(array, &DataType::Binary)?,
        _ => Arc::clone(array),
    };
    let text = cast(&array, to)?;
    if text.logical_null_count() > array.logical_null_count() {
        return Err(ArrowError::CastError("it holds bytes that are not UTF-8".into()));
    }
    Ok(text)
}

fn is_binary(data_type: &DataType) -> bool {
    use DataType as T;
    match data_type {
        T::Binary | T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_) => true,
        T::Dictionary(_, values) => is_binary(values),
        T::RunEndEncoded(_, values) => is_binary(values.data_type()),
        _ => false,
    }
}

fn all_columns(path: &Path, schema: &Schema, options: &SourceOptions) -> Result<Vec<Column>> {
    let mut all = Vec::new();
    let mut leaf = 0;
    for (number, field) in schema.fields().iter().enumerate() {
        collect(field, field.name(), &[number], &mut leaf, &mut all)
            .map_err(|message| Error::data(path, message).column(field.name()))?;
    }
    let mut names = BTreeSet::new();
    let matters =
        |name: &str| !options.settled || options.columns.is_some() && wanted(options, name) || options.keeps(name);
    match all.iter().find(|column| !names.insert(&column.name) && matters(&column.name)) {
        Some(twice) => {
            Err(Error::data(path, "two columns have this name").column(&twice.name).help("Rename one of them"))
        }
        None => Ok(all),
    }
}

fn field(path: &Path, column: &Column, options: &SourceOptions) -> Result<Field> {
    let is_read = wanted(options, &column.name);
    match &column.to {
        Some(to) if is_read => Ok(Field::new(&column.name, to.clone(), true)),
        _ if !is_read || options.any_type => Ok(Field::new(&column.name, column.from.clone(), true)),
        _ => Err(Error::data(path, format!("the type {} cannot be read as numbers or categories", column.from))
            .column(&column.name)
            .help(format!("Leave the column out with --ignore {}", column.name))),
    }
}

/// A struct's name given by the user stands for all of its fields.
fn wanted(options: &SourceOptions, name: &str) -> bool {
    let covers =
        |given: &String| name == given || name.strip_prefix(given.as_str()).is_some_and(|rest| rest.starts_with('.'));
    !options.ignore.iter().any(covers) && options.columns.as_ref().is_none_or(|columns| columns.iter().any(covers))
}

fn collect(
    field: &FieldRef,
    name: &str,
    path: &[usize],
    leaf: &mut usize,
    into: &mut Vec<Column>,
) -> std::result::Result<(), String> {
    if let DataType::Struct(children) = field.data_type()
        && !children.is_empty()
    {
        if path.len() > DEPTH_MAX {
            return Err(format!("structs are nested deeper than {DEPTH_MAX}"));
        }
        for (number, child) in children.iter().enumerate() {
            let path = [path, &[number]].concat();
            collect(child, &format!("{name}.{}", child.name()), &path, leaf, into)?;
        }
        return Ok(());
    }
    let first = *leaf;
    *leaf += leaf_count(field.data_type());
    into.push(Column {
        name: name.to_owned(),
        path: path.to_vec(),
        leaves: first..*leaf,
        from: match field.data_type() {
            DataType::Dictionary(key, values) => DataType::Dictionary(Box::new(wide(key)), values.clone()),
            other => other.clone(),
        },
        to: readable(field.data_type()),
    });
    Ok(())
}

fn leaf_count(data_type: &DataType) -> usize {
    match data_type {
        DataType::Struct(children) => children.iter().map(|child| leaf_count(child.data_type())).sum(),
        DataType::List(child)
        | DataType::LargeList(child)
        | DataType::FixedSizeList(child, _)
        | DataType::ListView(child)
        | DataType::LargeListView(child)
        | DataType::Map(child, _) => leaf_count(child.data_type()),
        _ => 1,
    }
}

/// The type that a column of `data_type` is handed on with; none when it cannot be read.
fn readable(data_type: &DataType) -> Option<DataType> {
    use DataType as T;
    match data_type {
        T::Null => Some(T::Float64),
        T::Binary | T::BinaryView | T::FixedSizeBinary(_) | T::Utf8View => Some(T::Utf8),
        T::LargeBinary => Some(T::LargeUtf8),
        T::Utf8 | T::LargeUtf8 | T::Boolean => Some(data_type.clone()),
        T::Date32 | T::Date64 | T::Timestamp(..) | T::Time32(_) | T::Time64(_) | T::Duration(_) => {
            Some(data_type.clone())
        }
        T::Dictionary(key, value) => match readable(value)? {
            value if value.is_nested() => None,
            value => Some(T::Dictionary(Box::new(wide(key)), Box::new(value))),
        },
        T::RunEndEncoded(_, values) => readable(values.data_type()).filter(|values| !values.is_nested()),
        T::List(child) | T::LargeList(child) | T::FixedSizeList(child, _) => {
            (is_number(child.data_type()) || is_sparse(data_type)).then(|| data_type.clone())
        }
        T::ListView(child) | T::LargeListView(child) => {
            is_number(child.data_type()).then(|| T::LargeList(Arc::clone(child)))
        }
        _ if is_number(data_type) => Some(data_type.clone()),
        _ => None,
    }
}

/// The type of keys that all files share: writers take the narrowest for the levels that they have at hand.
pub(super) fn wide(key: &DataType) -> DataType {
    use DataType as T;
    match key {
        T::Int8 | T::Int16 | T::UInt8 | T::UInt16 => T::Int32,
        key => key.clone(),
    }
}

fn is_number(data_type: &DataType) -> bool {
    data_type.is_numeric() || *data_type == DataType::Boolean
}

/// True for `List<Struct<index: UInt32, value: Float32>>`.
fn is_sparse(data_type: &DataType) -> bool {
    let DataType::List(child) = data_type else { return false };
    let DataType::Struct(fields) = child.data_type() else { return false };
    let found: Vec<(&str, &DataType)> = fields.iter().map(|field| (field.name().as_str(), field.data_type())).collect();
    found == [("index", &DataType::UInt32), ("value", &DataType::Float32)]
}

/// The array at `path`, missing where a struct around it is.
fn descend(batch: &RecordBatch, path: &[usize]) -> std::result::Result<ArrayRef, ArrowError> {
    let mut array = Arc::clone(batch.column(path[0]));
    let mut nulls: Option<NullBuffer> = None;
    for &child in &path[1..] {
        nulls = NullBuffer::union(nulls.as_ref(), array.nulls());
        array = Arc::clone(array.as_struct().column(child));
    }
    // Runs have no room for what is missing outside of them.
    if let (Some(_), DataType::RunEndEncoded(_, values)) = (&nulls, array.data_type()) {
        array = cast(&array, values.data_type())?;
    }
    match nulls {
        Some(outer) if outer.null_count() > 0 && *array.data_type() != DataType::Null => {
            let all = NullBuffer::union(Some(&outer), array.nulls());
            array.to_data().into_builder().nulls(all).build().map(make_array)
        }
        _ => Ok(array),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{BinaryArray, Float32Array, Int32Array, NullArray, StructArray};
    use arrow::datatypes::{Float64Type, Int32Type};

    fn nested() -> RecordBatch {
        let b: ArrayRef = Arc::new(Int32Array::from(vec![Some(1), None, Some(3)]));
        let c: ArrayRef = Arc::new(Float32Array::from(vec![1.5, 2.5, 3.5]));
        let fields: Vec<Field> =
            vec![Field::new("b", DataType::Int32, true), Field::new("c", DataType::Float32, false)];
        let a = StructArray::new(fields.into(), vec![b, c], Some(NullBuffer::from(vec![true, true, false])));
        let d: ArrayRef = Arc::new(BinaryArray::from(vec![&b"x"[..], b"y", b"z"]));
        let e: ArrayRef = Arc::new(NullArray::new(3));
        RecordBatch::try_from_iter([("a", Arc::new(a) as ArrayRef), ("d", d), ("e", e)]).unwrap()
    }

    fn plan(batch: &RecordBatch, options: &SourceOptions) -> Result<Flat> {
        Flat::plan(Path::new("x"), &batch.schema(), options)
    }

    #[test]
    fn struct_fields_become_columns_missing_where_the_struct_is() {
        let batch = nested();
        let flat = plan(&batch, &SourceOptions::default()).unwrap();
        let out = flat.flatten(Path::new("x"), &batch).unwrap();
        let names: Vec<String> = out.schema().fields().iter().map(|field| field.name().clone()).collect();
        assert_eq!(names, ["a.b", "a.c", "d", "e"]);
        let b: Vec<Option<i32>> = out.column(0).as_primitive::<Int32Type>().iter().collect();
        assert_eq!(b, [Some(1), None, None]);
        assert!(out.column(1).is_null(2) && out.column(1).is_valid(1));
        assert_eq!(out.column(2).as_string::<i32>().value(1), "y");
        assert_eq!(out.column(3).as_primitive::<Float64Type>().null_count(), 3);
        assert_eq!(flat.leaves().collect::<Vec<_>>(), [0, 1, 2, 3]);
    }

    #[test]
    fn rare_layouts_are_read_as_what_they_stand_for() {
        use arrow::array::{FixedSizeBinaryArray, Int16Array, ListViewArray, RunArray, StringArray};
        use arrow::datatypes::Int16Type;
        let fixed: ArrayRef = Arc::new(FixedSizeBinaryArray::try_from_iter([b"ab", b"cd", b"ab"].into_iter()).unwrap());
        let ends = Int16Array::from(vec![2, 3]);
        let runs: ArrayRef =
            Arc::new(RunArray::<Int16Type>::try_new(&ends, &StringArray::from(vec!["p", "q"])).unwrap());
        let rows = [[1, 2], [3, 4], [5, 6]].map(|row| Some(row.map(Some)));
        let views: ArrayRef = Arc::new(ListViewArray::from_iter_primitive::<Int32Type, _, _>(rows));
        let batch = RecordBatch::try_from_iter([("fixed", fixed), ("runs", runs), ("views", views)]).unwrap();
        let out = plan(&batch, &SourceOptions::default()).unwrap().flatten(Path::new("x"), &batch.slice(1, 2)).unwrap();
        let texts = |column: usize| -> Vec<Option<&str>> { out.column(column).as_string::<i32>().iter().collect() };
        assert_eq!((texts(0), texts(1)), (vec![Some("cd"), Some("ab")], vec![Some("p"), Some("q")]));
        assert_eq!(out.column(2).as_list::<i64>().value(0).as_primitive::<Int32Type>().values().as_ref(), [3, 4]);
        let bytes: ArrayRef = Arc::new(FixedSizeBinaryArray::try_from_iter([b"\xff\xfe"].into_iter()).unwrap());
        let batch = RecordBatch::try_from_iter([("id", bytes)]).unwrap();
        let refused = plan(&batch, &SourceOptions::default()).unwrap().flatten(Path::new("x"), &batch);
        let error = refused.unwrap_err().to_string();
        assert!(
            error.contains("column 'id': FixedSizeBinary(2) cannot be read as Utf8: Cast error: it holds bytes")
                && error.contains("--ignore id")
        );
    }

    #[test]
    fn runs_inside_a_struct_are_missing_where_it_is() {
        use arrow::array::{Int16Array, RunArray};
        use arrow::datatypes::Int16Type;
        let (ends, values) = (Int16Array::from(vec![2, 4]), Float32Array::from(vec![1.5, 2.5]));
        let runs: ArrayRef = Arc::new(RunArray::<Int16Type>::try_new(&ends, &values).unwrap().slice(1, 3));
        let fields = vec![Field::new("b", runs.data_type().clone(), true)];
        let a = StructArray::new(fields.into(), vec![runs], Some(NullBuffer::from(vec![true, false, true])));
        let batch = RecordBatch::try_from_iter([("a", Arc::new(a) as ArrayRef)]).unwrap();
        let kept = SourceOptions { verbatim: vec!["a.b".into()], ..SourceOptions::default() };
        for options in [SourceOptions::default(), kept] {
            let out = plan(&batch, &options).unwrap().flatten(Path::new("x"), &batch).unwrap();
            let plain = cast(out.column(0), &DataType::Float32).unwrap();
            let found: Vec<Option<f32>> = plain.as_primitive::<arrow::datatypes::Float32Type>().iter().collect();
            assert_eq!(found, [Some(1.5), None, Some(2.5)]);
        }
    }

    #[test]
    fn bytes_that_no_row_has_need_not_be_text() {
        use arrow::array::LargeBinaryArray;
        use arrow::buffer::{Buffer, OffsetBuffer};
        let bytes = |nulls: Vec<bool>| -> ArrayRef {
            // The last character of the buffer is cut off, and belongs to no row.
            let values = Buffer::from("aé\u{65e5}".as_bytes()).slice_with_length(0, 5);
            let offsets = OffsetBuffer::new(vec![0i64, 1, 3, 3 + i64::from(!nulls[2])].into());
            Arc::new(LargeBinaryArray::new(offsets, values, Some(NullBuffer::from(nulls))))
        };
        for nulls in [vec![true, true, true], vec![true, true, false]] {
            let batch = RecordBatch::try_from_iter([("b", bytes(nulls.clone()))]).unwrap();
            let out = plan(&batch, &SourceOptions::default()).unwrap().flatten(Path::new("x"), &batch).unwrap();
            let found: Vec<Option<&str>> = out.column(0).as_string::<i64>().iter().collect();
            assert_eq!(found, [Some("a"), Some("é"), nulls[2].then_some("")]);
        }
    }

    #[test]
    fn narrow_keys_become_wide() {
        use arrow::array::{DictionaryArray, Int8Array, StringArray};
        let values: ArrayRef = Arc::new(StringArray::from(vec!["a", "b"]));
        let coded: ArrayRef = Arc::new(DictionaryArray::new(Int8Array::from(vec![Some(1), None, Some(0)]), values));
        let batch = RecordBatch::try_from_iter_with_nullable([("c", coded, true)]).unwrap();
        let flat = plan(&batch, &SourceOptions::default()).unwrap();
        assert_eq!(*flat.schema.field(0).data_type(), "Dictionary(Int32, Utf8)".parse::<DataType>().unwrap());
        let kept = SourceOptions { columns: Some(Vec::new()), verbatim: vec!["c".into()], ..SourceOptions::default() };
        assert_eq!(plan(&batch, &kept).unwrap().schema, flat.schema);
        let texts = cast(flat.flatten(Path::new("x"), &batch).unwrap().column(0), &DataType::Utf8).unwrap();
        assert_eq!(texts.as_string::<i32>().iter().collect::<Vec<_>>(), [Some("b"), None, Some("a")]);
    }

    #[test]
    fn columns_are_projected_by_flat_name_or_struct() {
        let batch = nested();
        let options = SourceOptions { ignore: vec!["a.b".into(), "d".into()], ..SourceOptions::default() };
        let flat = plan(&batch, &options).unwrap();
        assert_eq!((flat.leaves().collect::<Vec<_>>(), flat.roots()), (vec![1, 3], vec![0, 2]));
        let options = SourceOptions { columns: Some(vec!["a".into()]), ..SourceOptions::default() };
        assert_eq!(plan(&batch, &options).unwrap().schema.fields().len(), 2);
        let options = SourceOptions { columns: Some(vec!["a.x".into()]), ..SourceOptions::default() };
        assert!(plan(&batch, &options).unwrap_err().to_string().contains("there is no column 'a.x'"));
    }

    #[test]
    fn an_unreadable_type_is_an_error_unless_ignored() {
        let inner = Field::new("item", DataType::List(Arc::new(Field::new("item", DataType::Int8, true))), true);
        let schema = Schema::new(vec![
            Field::new("deep", DataType::List(Arc::new(inner)), true),
            Field::new("x", DataType::Int8, true),
        ]);
        let error = Flat::plan(Path::new("f"), &schema, &SourceOptions::default()).unwrap_err().to_string();
        assert!(error.starts_with("f, column 'deep': the type") && error.contains("--ignore deep"), "{error}");
        let any = SourceOptions { any_type: true, ..SourceOptions::default() };
        assert_eq!(Flat::plan(Path::new("f"), &schema, &any).unwrap().schema.fields(), schema.fields());
        let options = SourceOptions { ignore: vec!["deep".into()], ..SourceOptions::default() };
        assert!(Flat::plan(Path::new("f"), &schema, &options).is_ok());
        let x = || Some(vec!["x".into()]);
        let options = SourceOptions { columns: x(), ..SourceOptions::default() };
        assert_eq!(Flat::plan(Path::new("f"), &schema, &options).unwrap().roots(), [1]);
        let options = SourceOptions { columns: x(), verbatim: vec!["deep".into()], ..SourceOptions::default() };
        assert_eq!(Flat::plan(Path::new("f"), &schema, &options).unwrap().schema.fields(), schema.fields());
    }

    #[test]
    fn two_columns_of_one_name_are_an_error() {
        let schema = Schema::new(vec![
            Field::new("a.b", DataType::Int8, true),
            Field::new("a", DataType::Struct(vec![Field::new("b", DataType::Int8, true)].into()), true),
        ]);
        let error = Flat::plan(Path::new("f"), &schema, &SourceOptions::default()).unwrap_err().to_string();
        assert!(error.contains("column 'a.b': two columns have this name"), "{error}");
        let twice = ["x", "z", "z"].map(|name| Field::new(name, DataType::Int8, true));
        let schema = Schema::new(twice.to_vec());
        let read = |columns: &[&str], kept: &[&str]| {
            let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
            let (columns, verbatim) = (Some(owned(columns)), owned(kept));
            let options = SourceOptions { columns, verbatim, settled: true, ..SourceOptions::default() };
            Flat::plan(Path::new("f"), &schema, &options).map(|flat| flat.leaves().collect::<Vec<_>>())
        };
        assert_eq!(read(&["x"], &[]).unwrap(), [0]);
        assert!(read(&["x", "z"], &[]).is_err() && read(&["x"], &["z"]).is_err());
    }
}
