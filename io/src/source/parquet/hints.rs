//! The Arrow schema that writers leave in a Parquet file (stage 1), as far as it can be followed.
//!
//! It says that a column was a dictionary. The `parquet` crate decodes dictionaries of texts and of most numbers; those of booleans,
//! decimals and (where they are 96-bit integers) timestamps are decoded as plain columns here, and [`crate::source::flatten`] makes
//! them dictionaries again. Keys are wide: a row group may have more levels than the narrow keys of its pieces could count.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema};

use crate::source::flatten::wide;

/// The schema to decode with; none: the one that the file hints at.
pub fn decoded(hinted: &Schema) -> Option<Schema> {
    let fields = replaced(hinted.fields(), &|key, values| match values {
        DataType::Boolean | DataType::Timestamp(..) => values.clone(),
        values if values.is_decimal() => values.clone(),
        values => DataType::Dictionary(Box::new(wide(key)), Box::new(values.clone())),
    });
    (fields != *hinted.fields()).then(|| Schema::new_with_metadata(fields, hinted.metadata().clone()))
}

/// The schema of the columns handed on: arrow has no dictionaries of booleans to cast to, their levels are texts.
pub fn handed_on(hinted: &Schema) -> Schema {
    let fields = replaced(hinted.fields(), &|key, values| {
        let values = if *values == DataType::Boolean { DataType::Utf8 } else { values.clone() };
        DataType::Dictionary(Box::new(wide(key)), Box::new(values))
    });
    Schema::new_with_metadata(fields, hinted.metadata().clone())
}

/// A part of what is decoded, with the types that `whole` has in the same places.
pub fn with_types_of(part: &Fields, whole: &Fields) -> Fields {
    let typed = |field: &FieldRef| match (whole.find(field.name()).map(|(_, own)| own.data_type()), field.data_type()) {
        (Some(DataType::Struct(own)), DataType::Struct(part)) => {
            of_type(field, DataType::Struct(with_types_of(part, own)))
        }
        (Some(own @ DataType::Dictionary(..)), _) => of_type(field, own.clone()),
        _ => Arc::clone(field),
    };
    part.iter().map(typed).collect()
}

/// The fields with other types, by keys and values, in the places of dictionaries, in structs too.
fn replaced(fields: &Fields, other: &dyn Fn(&DataType, &DataType) -> DataType) -> Fields {
    let typed = |field: &FieldRef| match field.data_type() {
        DataType::Dictionary(key, values) => of_type(field, other(key, values)),
        DataType::Struct(inner) => of_type(field, DataType::Struct(replaced(inner, other))),
        _ => Arc::clone(field),
    };
    fields.iter().map(typed).collect()
}

fn of_type(field: &Field, data_type: DataType) -> FieldRef {
    Arc::new(field.clone().with_data_type(data_type))
}
