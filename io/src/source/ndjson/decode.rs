//! NDJSON text into columns (stage 1): serde_json walks each line once and puts values straight into columns; nothing is kept
//! of a line in between. Numbers are correctly rounded.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanBuilder, Date32Builder, Float64Builder, Int64Builder, ListBuilder, StringBuilder,
    TimestampMicrosecondBuilder,
};
use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::shape::{Kind, Node, Object, wanted};
use crate::source::SourceOptions;
use crate::source::csv::infer;
use crate::source::options::TextType;

/// What is wrong with a line.
#[derive(Debug)]
pub struct Fault {
    /// Lines before it in the text.
    pub lines_before: u64,
    /// The column, where one is known.
    pub column: Option<String>,
    /// What was found and what was expected.
    pub message: String,
    /// What to do.
    pub help: String,
}

/// The rows of a text as columns.
///
/// # Errors
/// [`Fault`] with the line.
pub fn decode(
    text: &[u8],
    root: &Object,
    columns: &[(String, Kind)],
    options: &SourceOptions,
) -> Result<(Vec<ArrayRef>, usize), Fault> {
    let mut rows = Rows {
        columns,
        options,
        sinks: columns.iter().map(|column| Sink::new(column.1)).collect(),
        first_kept: columns.iter().position(|column| column.1 == Kind::Verbatim).unwrap_or(columns.len()),
        row: 0,
        within: None,
        fault: None,
    };
    for (lines_before, line) in lines(text).enumerate() {
        if line.trim_ascii().is_empty() {
            continue;
        }
        rows.line(line, root).map_err(|(column, message, help)| Fault {
            lines_before: lines_before as u64,
            column,
            message,
            help,
        })?;
    }
    let count = rows.row;
    Ok((rows.sinks.into_iter().map(Sink::finish).collect(), count))
}

/// The lines of a text, without their line feeds.
pub fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.strip_suffix(b"\n").unwrap_or(text).split(|&byte| byte == b'\n')
}

/// Column, message, help.
type Trouble = (Option<String>, String, String);

/// The rows so far.
struct Rows<'a> {
    columns: &'a [(String, Kind)],
    options: &'a SourceOptions,
    sinks: Vec<Sink>,
    /// The first of the columns that are handed on as they stand.
    first_kept: usize,
    row: usize,
    /// The column whose value is being read.
    within: Option<usize>,
    /// Why the walk was given up, in our words.
    fault: Option<Trouble>,
}

impl Rows<'_> {
    fn line(&mut self, line: &[u8], root: &Object) -> Result<(), Trouble> {
        let mut json = serde_json::Deserializer::from_slice(line);
        let walked = ObjectSeed { object: root, rows: self }.deserialize(&mut json).and_then(|()| json.end());
        if let Err(error) = walked {
            let column = self.within.map(|column| self.columns[column].0.clone());
            return Err(self.fault.take().unwrap_or_else(|| syntax(line, column, &error)));
        }
        self.row += 1;
        self.sinks.iter_mut().for_each(|sink| sink.fill(self.row));
        Ok(())
    }

    #[cold]
    fn fail<E: serde::de::Error>(&mut self, column: Option<String>, message: String, help: String) -> E {
        self.fault = Some((column, message, help));
        E::custom("")
    }

    #[cold]
    fn misfit<E: serde::de::Error>(&mut self, column: usize, found: &str) -> E {
        let (name, kind) = &self.columns[column];
        let found: String = found.chars().take(60).collect();
        let number = fast_float2::parse::<f64, _>(&found).is_ok();
        let message = format!("expected {}, found {found}", kind.expected());
        let help = match kind {
            Kind::Scalar(TextType::Text) if self.is_given(column) => {
                format!("Mend it, or leave it out with --ignore {name}")
            }
            Kind::Scalar(_) if self.is_given(column) => {
                format!("Mend it, or read the column as text with --categorical {name}")
            }
            Kind::Scalar(_) if number => format!(
                "The type was inferred from the first lines: pass --numeric {name} to read decimal numbers, --categorical {name} to read text"
            ),
            Kind::Scalar(_) => format!(
                "The type was inferred from the first lines: pass --categorical {name} to read text, or --ignore {name}"
            ),
            _ => format!("Leave it out with --ignore {name}"),
        };
        self.fail(Some(name.clone()), message, help)
    }

    /// True where the type was not inferred.
    fn is_given(&self, column: usize) -> bool {
        self.options.types.contains_key(&self.columns[column].0)
    }

    /// Hand on a value as it stands.
    fn keep<E: serde::de::Error>(&mut self, kept: usize, value: &RawValue) -> Result<(), E> {
        self.claim(self.first_kept + kept)?;
        self.write(self.first_kept + kept, value)
    }

    /// Append a value to a column of text: a text without its quotes, anything else as it is written, because a number of many digits is
    /// another one when it has been a number of 64 bits on the way.
    fn write<E: serde::de::Error>(&mut self, column: usize, value: &RawValue) -> Result<(), E> {
        let json = value.get();
        let found = match json.as_bytes().first() {
            Some(b'[') => "an array",
            Some(b'{') => "an object",
            _ => "",
        };
        if !found.is_empty() && self.columns[column].1 != Kind::Verbatim {
            return Err(self.misfit(column, found));
        }
        let Sink::Text(builder) = &mut self.sinks[column] else { return Ok(()) };
        match json.strip_prefix('"').and_then(|json| json.strip_suffix('"')) {
            Some(plain) if !plain.contains('\\') => builder.append_value(plain),
            Some(_) => builder.append_value(serde_json::from_str::<Cow<'_, str>>(json).map_err(E::custom)?),
            None if json == "null" => builder.append_null(),
            None => builder.append_value(json),
        }
        Ok(())
    }

    /// Make room for one more value of a column, which must not have one in this row.
    fn claim<E: serde::de::Error>(&mut self, column: usize) -> Result<(), E> {
        if self.sinks[column].len() > self.row {
            let name = self.columns[column].0.clone();
            return Err(self.fail(
                Some(name),
                "the key stands twice in this object".into(),
                "Drop one of the two".into(),
            ));
        }
        Ok(())
    }
}

/// What is wrong with a line that cannot be read; in the value of `column`, unless the line just ends there.
fn syntax(line: &[u8], column: Option<String>, error: &serde_json::Error) -> Trouble {
    let mut message = error.to_string();
    if let Some(at) = message.find(" at line ") {
        message.truncate(at);
    }
    if let Some(name) = column.filter(|_| !error.is_eof()) {
        let help = format!("Mend it, or leave the column out with --ignore {name}");
        return (
            Some(name),
            format!("the value cannot be read, at byte {} of the line: {message}", error.column()),
            help,
        );
    }
    let help = match line.trim_ascii().first() {
        Some(b'[') => "Each line holds one object: split the array, for example with jq -c '.[]'",
        _ => "Each line holds one object, complete in itself",
    };
    (None, format!("not valid JSON at byte {} of the line: {message}", error.column()), help.into())
}

/// Takes the value at a node.
struct ValueSeed<'a, 'r, 'o> {
    node: &'a Node,
    rows: &'r mut Rows<'o>,
}

impl<'de> DeserializeSeed<'de> for ValueSeed<'_, '_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        match self.node {
            Node::Skip => json.deserialize_ignored_any(IgnoredAny).map(|_| ()),
            Node::Object(object) => json.deserialize_any(ObjectVisitor { object, rows: self.rows }),
            Node::Column(column) => {
                self.rows.claim(*column)?;
                if matches!(self.rows.sinks[*column], Sink::Text(_)) {
                    return self.rows.write(*column, <&RawValue>::deserialize(json)?);
                }
                self.rows.within = Some(*column);
                json.deserialize_any(ColumnVisitor { column: *column, rows: self.rows })?;
                self.rows.within = None;
                Ok(())
            }
            Node::Kept(kept, node) => {
                let value = <&RawValue>::deserialize(json)?;
                self.rows.keep(*kept, value)?;
                let mut again = serde_json::Deserializer::from_str(value.get());
                ValueSeed { node, rows: self.rows }.deserialize(&mut again).map_err(D::Error::custom)
            }
        }
    }
}

/// Takes an object, and nothing else.
struct ObjectSeed<'a, 'r, 'o> {
    object: &'a Object,
    rows: &'r mut Rows<'o>,
}

impl<'de> DeserializeSeed<'de> for ObjectSeed<'_, '_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_map(ObjectVisitor { object: self.object, rows: self.rows })
    }
}

struct ObjectVisitor<'a, 'r, 'o> {
    object: &'a Object,
    rows: &'r mut Rows<'o>,
}

impl<'de> Visitor<'de> for ObjectVisitor<'_, '_, '_> {
    type Value = ();

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("an object")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        // Most writers keep the order of the keys: the next key is tried before the table is asked.
        let mut guess = 0;
        while let Some(found) = map.next_key_seed(KeySeed { object: self.object, guess })? {
            match found {
                Ok(number) => {
                    guess = number + 1;
                    map.next_value_seed(ValueSeed { node: &self.object.children[number], rows: self.rows })?;
                }
                Err(key) => {
                    let name = format!("{}{key}", self.object.prefix);
                    if wanted(self.rows.options, &name) {
                        let message = "a key that the first lines do not have".to_owned();
                        let help = format!("Pass --ignore {name}, or put a line that has it first");
                        return Err(self.rows.fail(Some(name), message, help));
                    }
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

/// Finds the number of a key, or gives back the key.
struct KeySeed<'a> {
    object: &'a Object,
    guess: usize,
}

impl<'de> DeserializeSeed<'de> for KeySeed<'_> {
    type Value = Result<usize, String>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_str(self)
    }
}

impl Visitor<'_> for KeySeed<'_> {
    type Value = Result<usize, String>;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        if self.object.keys.get(self.guess).is_some_and(|guess| guess == key) {
            return Ok(Ok(self.guess));
        }
        Ok(self.object.by_key.get(key).copied().ok_or_else(|| key.to_owned()))
    }
}

/// Puts a value into a column.
struct ColumnVisitor<'r, 'o> {
    column: usize,
    rows: &'r mut Rows<'o>,
}

impl<'de> Visitor<'de> for ColumnVisitor<'_, '_> {
    type Value = ();

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.rows.sinks[self.column].null();
        Ok(())
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<(), E> {
        match &mut self.rows.sinks[self.column] {
            Sink::Boolean(builder) => builder.append_value(value),
            Sink::Number(builder) => builder.append_value(f64::from(u8::from(value))),
            _ => return Err(self.rows.misfit(self.column, if value { "true" } else { "false" })),
        }
        Ok(())
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<(), E> {
        match &mut self.rows.sinks[self.column] {
            Sink::Integer(builder) => builder.append_value(value),
            Sink::Float(builder) | Sink::Number(builder) => builder.append_value(value as f64),
            _ => return Err(self.rows.misfit(self.column, &value.to_string())),
        }
        Ok(())
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<(), E> {
        match i64::try_from(value) {
            Ok(value) => self.visit_i64(value),
            Err(_) => self.visit_f64(value as f64),
        }
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<(), E> {
        match &mut self.rows.sinks[self.column] {
            Sink::Float(builder) | Sink::Number(builder) => builder.append_value(value),
            _ => return Err(self.rows.misfit(self.column, &value.to_string())),
        }
        Ok(())
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<(), E> {
        let is_given = self.rows.is_given(self.column);
        let taken = match &mut self.rows.sinks[self.column] {
            Sink::Float(builder) if is_given => {
                infer::number(value.trim().as_bytes()).map(|number| builder.append_value(number)).is_some()
            }
            Sink::Number(builder) => {
                infer::number(value.trim().as_bytes()).map(|number| builder.append_value(number)).is_some()
            }
            Sink::Date(builder) => infer::date(value.as_bytes()).map(|date| builder.append_value(date)).is_some(),
            Sink::Timestamp(builder) => {
                infer::timestamp(value.as_bytes()).map(|time| builder.append_value(time)).is_some()
            }
            _ => false,
        };
        if taken { Ok(()) } else { Err(self.rows.misfit(self.column, &format!("'{value}'"))) }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        if !matches!(self.rows.sinks[self.column], Sink::Numbers(_)) {
            return Err(self.rows.misfit(self.column, "an array"));
        }
        loop {
            let item = match items.next_element::<Option<Item>>() {
                Ok(Some(item)) => item.map(|item| item.0),
                Ok(None) => break,
                Err(error) => {
                    let name = self.rows.columns[self.column].0.clone();
                    let message = format!("expected an array of numbers: {error}");
                    let _: A::Error =
                        self.rows.fail(Some(name.clone()), message, format!("Leave it out with --ignore {name}"));
                    return Err(A::Error::custom(""));
                }
            };
            if let Sink::Numbers(builder) = &mut self.rows.sinks[self.column] {
                builder.values().append_option(item);
            }
        }
        if let Sink::Numbers(builder) = &mut self.rows.sinks[self.column] {
            builder.append(true);
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<(), A::Error> {
        Err(self.rows.misfit(self.column, "an object"))
    }
}

/// An item of an array of numbers; `true` and `false` are 1 and 0.
struct Item(f64);

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Item, D::Error> {
        json.deserialize_any(ItemVisitor)
    }
}

struct ItemVisitor;

impl Visitor<'_> for ItemVisitor {
    type Value = Item;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("a number")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Item, E> {
        Ok(Item(f64::from(u8::from(value))))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Item, E> {
        Ok(Item(value as f64))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Item, E> {
        Ok(Item(value as f64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Item, E> {
        Ok(Item(value))
    }
}

/// Where the values of a column gather.
enum Sink {
    Boolean(BooleanBuilder),
    Integer(Int64Builder),
    Float(Float64Builder),
    Number(Float64Builder),
    Date(Date32Builder),
    Timestamp(TimestampMicrosecondBuilder),
    Text(StringBuilder),
    Numbers(ListBuilder<Float64Builder>),
}

/// Do the same with the builder of any kind of column.
macro_rules! with_builder {
    ($sink:expr, $builder:ident => $do:expr) => {
        match $sink {
            Sink::Boolean($builder) => $do,
            Sink::Integer($builder) => $do,
            Sink::Float($builder) => $do,
            Sink::Number($builder) => $do,
            Sink::Date($builder) => $do,
            Sink::Timestamp($builder) => $do,
            Sink::Text($builder) => $do,
            Sink::Numbers($builder) => $do,
        }
    };
}

impl Sink {
    fn new(kind: Kind) -> Sink {
        match kind {
            Kind::Scalar(TextType::Boolean) => Sink::Boolean(BooleanBuilder::new()),
            Kind::Scalar(TextType::Integer) => Sink::Integer(Int64Builder::new()),
            Kind::Scalar(TextType::Date) => Sink::Date(Date32Builder::new()),
            Kind::Scalar(TextType::Timestamp) => Sink::Timestamp(TimestampMicrosecondBuilder::new()),
            Kind::Scalar(TextType::Number) => Sink::Number(Float64Builder::new()),
            Kind::Scalar(TextType::Text) | Kind::Verbatim => Sink::Text(StringBuilder::new()),
            Kind::Numbers => Sink::Numbers(ListBuilder::new(Float64Builder::new())),
            Kind::Scalar(TextType::Float) | Kind::Unreadable => Sink::Float(Float64Builder::new()),
        }
    }

    fn len(&self) -> usize {
        use arrow::array::ArrayBuilder;
        with_builder!(self, builder => builder.len())
    }

    fn null(&mut self) {
        match self {
            Sink::Numbers(builder) => builder.append(false),
            Sink::Boolean(builder) => builder.append_null(),
            Sink::Integer(builder) => builder.append_null(),
            Sink::Float(builder) | Sink::Number(builder) => builder.append_null(),
            Sink::Date(builder) => builder.append_null(),
            Sink::Timestamp(builder) => builder.append_null(),
            Sink::Text(builder) => builder.append_null(),
        }
    }

    /// A row without a value of this column has none.
    fn fill(&mut self, rows: usize) {
        if self.len() < rows {
            self.null();
        }
    }

    fn finish(self) -> ArrayRef {
        with_builder!(self, builder => {
            let mut builder = builder;
            Arc::new(builder.finish())
        })
    }
}
