//! The columns of NDJSON (stage 1), inferred from the first lines: nested objects are flattened as `a.b`, arrays of numbers
//! become lists, texts that all are dates or timestamps become those.

use std::collections::{BTreeMap, HashMap};

use arrow::datatypes::{DataType, Field};
use std::sync::Arc;

use super::value::Json;
use crate::source::SourceOptions;
use crate::source::csv::decode::data_type;
use crate::source::csv::infer;
use crate::source::options::TextType;

/// The type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A plain value.
    Scalar(TextType),
    /// An array of numbers, or of `true` and `false`.
    Numbers,
    /// An array of something else, or a place that holds objects in one line and values in another.
    Unreadable,
    /// Anything, handed on as it stands: a text without its quotes, anything else as JSON.
    Verbatim,
}

impl Kind {
    /// What a value of this kind looks like, for messages.
    pub fn expected(self) -> &'static str {
        match self {
            Kind::Scalar(TextType::Text) => "a text",
            Kind::Scalar(kind) => kind.expected(),
            Kind::Numbers => "an array of numbers",
            Kind::Unreadable => "one kind of value in all lines, or arrays of numbers",
            Kind::Verbatim => "anything",
        }
    }

    /// As an Arrow type.
    pub fn data_type(self) -> DataType {
        match self {
            Kind::Scalar(kind) => data_type(kind),
            Kind::Numbers => DataType::List(Arc::new(Field::new("item", DataType::Float64, true))),
            Kind::Unreadable => DataType::Null,
            Kind::Verbatim => DataType::Utf8,
        }
    }

    fn join(self, other: Kind) -> Kind {
        match (self, other) {
            (a, b) if a == b => a,
            (Kind::Scalar(a), Kind::Scalar(b)) => Kind::Scalar(infer::widen(a, b)),
            _ => Kind::Unreadable,
        }
    }
}

/// A place in the objects.
#[derive(Clone, Debug)]
pub enum Node {
    /// Not read, whatever is there.
    Skip,
    /// A column, by number.
    Column(usize),
    /// An object.
    Object(Object),
    /// Handed on as it stands, as the column of that number among those of [`Kind::Verbatim`], beside what else is made of it.
    Kept(usize, Box<Node>),
}

/// The keys of an object.
#[derive(Clone, Debug, Default)]
pub struct Object {
    /// What is at each key, in the order in which keys were first seen.
    pub children: Vec<Node>,
    /// Their numbers.
    pub by_key: HashMap<String, usize>,
    /// The same keys in order.
    pub keys: Vec<String>,
    /// The name of this object with a dot behind it; empty for the line itself.
    pub prefix: String,
}

/// What was seen at one place so far.
#[derive(Default)]
struct Seen {
    kind: Option<Kind>,
    keys: Vec<String>,
    children: BTreeMap<String, Seen>,
}

/// Gathers what the lines of a sample hold.
#[derive(Default)]
pub struct Inference {
    root: Seen,
}

impl Inference {
    /// Take the object of a line into account.
    pub fn add(&mut self, object: &[(String, Json)]) {
        self.root.object(object);
    }

    /// The tree of keys, and names and kinds of the columns: those that are read, and behind them those that are handed on as they stand.
    pub fn shape(&self, options: &SourceOptions) -> (Object, Vec<(String, Kind)>) {
        let (mut columns, mut kept) = (Vec::new(), Vec::new());
        let mut root = self.root.build(String::new(), options, &mut columns, &mut kept);
        if options.settled {
            let has = |columns: &[(String, Kind)], name: &str| columns.iter().any(|column| column.0 == name);
            for name in options.columns.iter().flatten() {
                if !has(&columns, name) {
                    root.insert(name, Node::Column(columns.len()));
                    columns.push((name.clone(), Kind::Scalar(given(options, name).unwrap_or(TextType::Float))));
                }
            }
            let absent: Vec<&String> = options.verbatim.iter().filter(|name| !has(&kept, name)).collect();
            kept.extend(absent.into_iter().map(|name| (name.clone(), Kind::Verbatim)));
        }
        columns.append(&mut kept);
        (root, columns)
    }

    /// The names of all places, read or not.
    pub fn names(&self) -> Vec<String> {
        let mut names = Vec::new();
        self.root.names("", &mut names);
        names
    }
}

impl Seen {
    fn object(&mut self, object: &[(String, Json)]) {
        for (key, value) in object {
            if !self.children.contains_key(key) {
                self.keys.push(key.clone());
            }
            self.children.entry(key.clone()).or_default().value(value);
        }
    }

    fn value(&mut self, value: &Json) {
        let is_number = |item: &Json| matches!(item, Json::Integer(_) | Json::Float(_) | Json::Bool(_) | Json::Null);
        let kind = match value {
            Json::Null => return,
            Json::Object(object) => return self.object(object),
            Json::Bool(_) => Kind::Scalar(TextType::Boolean),
            Json::Integer(_) => Kind::Scalar(TextType::Integer),
            Json::Float(_) => Kind::Scalar(TextType::Float),
            Json::Text(text) => Kind::Scalar(match infer::type_of(text.as_bytes()) {
                kind @ (TextType::Date | TextType::Timestamp) => kind,
                _ => TextType::Text,
            }),
            Json::Array(items) if items.iter().all(is_number) => Kind::Numbers,
            Json::Array(_) => Kind::Unreadable,
        };
        self.kind = Some(self.kind.map_or(kind, |before| before.join(kind)));
    }

    /// An object in some lines and a value in others is unreadable; nothing but null counts as a number.
    fn kind(&self) -> Kind {
        match self.kind {
            Some(_) if !self.children.is_empty() => Kind::Unreadable,
            Some(kind) => kind,
            None => Kind::Scalar(TextType::Float),
        }
    }

    fn build(
        &self,
        prefix: String,
        options: &SourceOptions,
        columns: &mut Vec<(String, Kind)>,
        kept: &mut Vec<(String, Kind)>,
    ) -> Object {
        let mut object = Object { keys: self.keys.clone(), ..Object::default() };
        for (number, key) in self.keys.iter().enumerate() {
            let name = format!("{prefix}{key}");
            let child = &self.children[key];
            let before = columns.len() + kept.len();
            let node = if covered(&options.ignore, &name) {
                Node::Skip
            } else if child.kind.is_none() && !child.children.is_empty() {
                let inside = child.build(format!("{name}."), options, columns, kept);
                // Where nothing of it is read, it may as well be something else in later lines.
                let is_read = columns.len() + kept.len() > before || options.columns.is_none();
                if is_read { Node::Object(inside) } else { Node::Skip }
            } else {
                let mut node = Node::Skip;
                if wanted(options, &name) {
                    node = Node::Column(columns.len());
                    columns.push((name.clone(), given(options, &name).map_or(child.kind(), Kind::Scalar)));
                }
                if options.keeps(&name) {
                    node = Node::Kept(kept.len(), Box::new(node));
                    kept.push((name, Kind::Verbatim));
                }
                node
            };
            object.by_key.insert(key.clone(), number);
            object.children.push(node);
        }
        object.prefix = prefix;
        object
    }

    fn names(&self, prefix: &str, into: &mut Vec<String>) {
        for key in &self.keys {
            let child = &self.children[key];
            if child.kind.is_none() && !child.children.is_empty() {
                child.names(&format!("{prefix}{key}."), into);
            } else {
                into.push(format!("{prefix}{key}"));
            }
        }
    }
}

impl Object {
    /// Put a node where the keys of `name`, with dots between, lead to; what is there already stays.
    fn insert(&mut self, name: &str, node: Node) {
        let (key, rest) = name.split_once('.').map_or((name, None), |(key, rest)| (key, Some(rest)));
        let number = *self.by_key.entry(key.to_owned()).or_insert_with(|| {
            self.keys.push(key.to_owned());
            self.children.push(Node::Skip);
            self.children.len() - 1
        });
        let child = &mut self.children[number];
        match (&mut *child, rest) {
            (Node::Object(object), Some(rest)) => object.insert(rest, node),
            (Node::Skip, Some(rest)) => {
                let mut object = Object { prefix: format!("{}{key}.", self.prefix), ..Object::default() };
                object.insert(rest, node);
                *child = Node::Object(object);
            }
            (Node::Skip | Node::Object(_), None) => *child = node,
            _ => {}
        }
    }
}

fn given(options: &SourceOptions, name: &str) -> Option<TextType> {
    options.types.get(name).copied()
}

/// True when the column, or an object around it, is to be read.
pub fn wanted(options: &SourceOptions, name: &str) -> bool {
    !covered(&options.ignore, name) && options.columns.as_ref().is_none_or(|columns| covered(columns, name))
}

fn covered(given: &[String], name: &str) -> bool {
    given
        .iter()
        .any(|given| name == given || name.strip_prefix(given.as_str()).is_some_and(|rest| rest.starts_with('.')))
}
