//! Kept columns with dictionaries, also inside of lists and structs, in an Arrow file: a file has one dictionary a column, which may
//! grow but not change, and each batch of a source may come with its own. Levels get numbers as they come up; a batch brings those that
//! are new.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayData, ArrayRef, AsArray, RecordBatch, UInt64Array, make_array};
use arrow::compute::{CastOptions, cast_with_options, concat, take};
use arrow::datatypes::{DataType, FieldRef, SchemaRef};
use arrow::error::ArrowError;
use arrow::row::{OwnedRow, RowConverter, SortField};

/// The dictionaries of a file, a place for each of its columns.
pub struct Dictionaries {
    columns: Vec<Place>,
}

/// Where dictionaries are in the type of a column.
enum Place {
    Nowhere,
    Here(Box<Growing>),
    /// In what is inside of lists, structs and maps: a place for each child.
    Inside(Vec<Place>),
}

/// The dictionary of a column so far.
struct Growing {
    converter: RowConverter,
    numbers: HashMap<OwnedRow, u64>,
    levels: Option<ArrayRef>,
}

impl Dictionaries {
    /// For a file with these columns.
    ///
    /// # Errors
    /// When levels have a type that cannot be compared.
    pub fn new(schema: &SchemaRef) -> Result<Dictionaries, ArrowError> {
        let columns = schema.fields().iter().map(|field| Place::of(field.data_type()));
        Ok(Dictionaries { columns: columns.collect::<Result<_, ArrowError>>()? })
    }

    /// The batch with the dictionaries of the file.
    ///
    /// # Errors
    /// When a column has more levels than its keys can count.
    pub fn unified(&mut self, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let columns = self.columns.iter_mut().zip(batch.columns()).map(|(place, column)| place.unified(column));
        RecordBatch::try_new(batch.schema(), columns.collect::<Result<_, ArrowError>>()?)
    }
}

impl Place {
    fn of(data_type: &DataType) -> Result<Place, ArrowError> {
        use DataType as T;
        let children: Vec<&FieldRef> = match data_type {
            T::Dictionary(_, levels) => {
                let converter = RowConverter::new(vec![SortField::new(levels.as_ref().clone())])?;
                return Ok(Place::Here(Box::new(Growing { converter, numbers: HashMap::new(), levels: None })));
            }
            T::List(child) | T::LargeList(child) | T::ListView(child) | T::LargeListView(child) => vec![child],
            T::FixedSizeList(child, _) | T::Map(child, _) => vec![child],
            T::Struct(fields) => fields.iter().collect(),
            _ => Vec::new(),
        };
        let places = children.into_iter().map(|child| Place::of(child.data_type()));
        let places = places.collect::<Result<Vec<Place>, ArrowError>>()?;
        let is_plain = places.iter().all(|place| matches!(place, Place::Nowhere));
        Ok(if is_plain { Place::Nowhere } else { Place::Inside(places) })
    }

    fn unified(&mut self, array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
        match self {
            Place::Nowhere => Ok(Arc::clone(array)),
            Place::Here(growing) => growing.unified(array),
            Place::Inside(places) => {
                let data = array.to_data();
                let children = places.iter_mut().zip(data.child_data());
                let children = children.map(|(place, child)| Ok(place.unified(&make_array(child.clone()))?.to_data()));
                let children = children.collect::<Result<Vec<ArrayData>, ArrowError>>()?;
                Ok(make_array(data.into_builder().child_data(children).build()?))
            }
        }
    }
}

impl Growing {
    fn unified(&mut self, column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
        let own = column.as_any_dictionary();
        let rows = self.converter.convert_columns(&[Arc::clone(own.values())])?;
        let (mut numbers, mut added) = (Vec::with_capacity(rows.num_rows()), Vec::new());
        for (at, row) in rows.iter().enumerate() {
            let next = self.numbers.len() as u64;
            numbers.push(*self.numbers.entry(row.owned()).or_insert_with(|| {
                added.push(at as u64);
                next
            }));
        }
        let levels = match self.levels.take() {
            Some(levels) if added.is_empty() => levels,
            known => {
                let new = take(own.values().as_ref(), &UInt64Array::from(added), None)?;
                known.map_or(Ok(Arc::clone(&new)), |known| concat(&[known.as_ref(), new.as_ref()]))?
            }
        };
        self.levels = Some(Arc::clone(&levels));
        // Keys of missing rows may be any number, and all rows may be missing.
        let held = if numbers.is_empty() { vec![0; own.len()] } else { own.normalized_keys() };
        let keys = held.into_iter().map(|key| numbers.get(key).copied().unwrap_or_default()).collect::<Vec<u64>>();
        let keys = UInt64Array::new(keys.into(), own.keys().nulls().cloned());
        let strict = CastOptions { safe: false, ..CastOptions::default() };
        let keys = cast_with_options(&keys, own.keys().data_type(), &strict)?;
        let data = keys.into_data().into_builder().data_type(column.data_type().clone());
        Ok(make_array(data.add_child_data(levels.to_data()).build()?))
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{DictionaryArray, ListArray, StructArray};
    use arrow::buffer::OffsetBuffer;
    use arrow::datatypes::{Field, Int8Type, Int32Type};
    use arrow::ipc::reader::FileReader;
    use arrow::ipc::writer::{DictionaryHandling, FileWriter, IpcWriteOptions};

    use super::*;

    fn texts(column: &ArrayRef) -> Vec<Option<String>> {
        let plain = arrow::compute::cast(column, &DataType::Utf8).expect("texts");
        plain.as_string::<i32>().iter().map(|text| text.map(str::to_string)).collect()
    }

    #[test]
    fn a_dictionary_grows_and_rows_keep_their_texts() {
        let batches: [Vec<Option<&str>>; 4] =
            [vec![Some("b"), None, Some("a")], vec![Some("c"), Some("a"), None], vec![None, None], vec![Some("b")]];
        let column = |rows: &Vec<Option<&str>>| {
            let column: DictionaryArray<Int32Type> = rows.iter().copied().collect();
            RecordBatch::try_from_iter_with_nullable([("t", Arc::new(column) as ArrayRef, true)]).expect("a batch")
        };
        let mut file = Dictionaries::new(&column(&batches[0]).schema()).expect("texts compare");
        let mut known: Vec<Option<String>> = Vec::new();
        for rows in &batches {
            let batch = file.unified(&column(rows)).expect("fits");
            let expected: Vec<Option<String>> = rows.iter().map(|text| text.map(str::to_string)).collect();
            assert_eq!(texts(batch.column(0)), expected);
            let levels = texts(batch.column(0).as_any_dictionary().values());
            assert_eq!(levels[..known.len()], known);
            known = levels;
        }
        assert_eq!(known.len(), 3);
    }

    #[test]
    fn dictionaries_inside_lists_and_structs_grow_in_a_file() {
        let batch = |levels: [&str; 2]| {
            let coded: DictionaryArray<Int32Type> = levels.into_iter().map(Some).collect();
            let coded: ArrayRef = Arc::new(coded);
            let item = Arc::new(Field::new("item", coded.data_type().clone(), true));
            let lists = ListArray::new(Arc::clone(&item), OffsetBuffer::from_lengths([0, 2]), Arc::clone(&coded), None);
            let structs = StructArray::new(vec![item].into(), vec![coded], None);
            RecordBatch::try_from_iter([("l", Arc::new(lists) as ArrayRef), ("s", Arc::new(structs))]).expect("a batch")
        };
        // The second batch is a part of a longer one.
        let batches = [batch(["b", "a"]), batch(["c", "a"]).slice(1, 1)];
        let options = IpcWriteOptions::default().with_dictionary_handling(DictionaryHandling::Delta);
        let mut file = Vec::new();
        let mut writer = FileWriter::try_new_with_options(&mut file, &batches[0].schema(), options).expect("begins");
        let mut dictionaries = Dictionaries::new(&batches[0].schema()).expect("texts compare");
        for batch in &batches {
            writer.write(&dictionaries.unified(batch).expect("fits")).expect("writes");
        }
        writer.finish().expect("ends");
        let found = FileReader::try_new(std::io::Cursor::new(&file), None).expect("opens");
        let found: Vec<RecordBatch> = found.collect::<Result<_, _>>().expect("reads");
        let inside = |batch: &RecordBatch| -> Vec<Vec<Option<String>>> {
            let lists = batch.column(0).as_list::<i32>();
            let rows = (0..lists.len()).map(|row| texts(&lists.value(row)));
            rows.chain([texts(batch.column(1).as_struct().column(0))]).collect()
        };
        for (found, expected) in found.iter().zip(&batches) {
            assert_eq!(inside(found), inside(expected));
        }
        assert_eq!(inside(&found[1]), [vec![Some("c".into()), Some("a".into())], vec![Some("a".into())]]);
    }

    #[test]
    fn more_levels_than_keys_are_an_error() {
        let part = |from: usize| {
            let texts: Vec<String> = (from..from + 100).map(|level| level.to_string()).collect();
            let column: DictionaryArray<Int8Type> = texts.iter().map(|text| Some(text.as_str())).collect();
            RecordBatch::try_from_iter([("t", Arc::new(column) as ArrayRef)]).expect("a batch")
        };
        let mut file = Dictionaries::new(&part(0).schema()).expect("texts compare");
        assert!(file.unified(&part(0)).is_ok() && file.unified(&part(0)).is_ok() && file.unified(&part(50)).is_err());
    }
}
