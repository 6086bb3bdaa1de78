//! Names of parameters: `column`, `column=level`, `column#hashed level`, `column[element]`, in the order of the layout. A combination of
//! levels is named `column=level * column=level`, one that is hashed `column*column#level`.
//!
//! The levels `missing` and `unseen` of a categorical column are named `column (missing)` and `column (unseen)`, so
//! that they cannot be taken for a level that happens to be called that. Where a column is called as a level of another, or two levels
//! come to one name, the column keeps it and a level gets `_` behind its own.

use std::collections::HashSet;

use gristmill_io::manifest::{Column, Kind, Layout, Role};

/// Levels of the categorical columns, by column number; empty for other columns.
pub type Dictionaries = Vec<Vec<String>>;

/// A parameter's name.
pub fn name(columns: &[Column], dictionaries: &Dictionaries, column: usize, element: usize) -> String {
    let Column { name, kind, .. } = &columns[column];
    match kind {
        Kind::Numeric { .. } | Kind::Labels { .. } | Kind::Indicator { .. } => name.clone(),
        Kind::Vector { .. } => format!("{name}[{element}]"),
        Kind::Sparse { one_based, .. } => format!("{name}[{}]", element + usize::from(*one_based)),
        Kind::Hashed { .. } | Kind::Text { .. } => format!("{name}#{element}"),
        Kind::Bucketized { edges } => {
            match (element.checked_sub(1).and_then(|below| edges.get(below)), edges.get(element)) {
                _ if element > edges.len() => format!("{name} (missing)"),
                (None, None) => format!("{name} (present)"),
                (None, Some(to)) => format!("{name} < {to}"),
                (Some(from), None) => format!("{from} <= {name}"),
                (Some(from), Some(to)) => format!("{from} <= {name} < {to}"),
            }
        }
        Kind::Crossed { of, hash_bits: None, .. } => combination(columns, dictionaries, of, element),
        Kind::Crossed { .. } => format!("{name}#{element}"),
        Kind::Categorical { missing_code, unseen_code, .. } => {
            let code = Some(element as u32);
            match dictionaries.get(column).and_then(|levels| levels.get(element)) {
                Some(level) => format!("{name}={level}"),
                // One level for both where training missed none: what is learnt of it is learnt of rare values.
                None if *unseen_code == code => format!("{name} (unseen)"),
                None if *missing_code == code => format!("{name} (missing)"),
                None => format!("{name}={element}"),
            }
        }
    }
}

/// The levels that combine to level `element` of a cross: the last part's change first.
fn combination(columns: &[Column], dictionaries: &Dictionaries, of: &[String], mut element: usize) -> String {
    let mut names = Vec::new();
    for part in of.iter().rev() {
        let Some(number) = columns.iter().position(|column| column.name == *part) else { continue };
        let levels = columns[number].kind.parameters().max(1);
        names.push(name(columns, dictionaries, number, element % levels));
        element /= levels;
    }
    names.reverse();
    names.join(" * ")
}

/// Names that parameters have.
#[derive(Debug)]
pub struct Taken(HashSet<String>);

impl Taken {
    /// Those of the columns that are parameters themselves.
    pub fn new(columns: &[Column]) -> Taken {
        Taken(columns.iter().filter(|column| is_own(column)).map(|column| column.name.clone()).collect())
    }

    /// A name that no other parameter has, for one of `column`.
    pub fn free(&mut self, mut name: String, column: &Column) -> String {
        while !is_own(column) && self.0.contains(&name) {
            name.push('_');
        }
        self.0.insert(name.clone());
        name
    }
}

/// True for a feature that is one parameter of its own name.
fn is_own(column: &Column) -> bool {
    column.role == Role::Feature && matches!(column.kind, Kind::Numeric { .. } | Kind::Indicator { .. })
}

/// Every parameter's column and element, in layout order.
pub fn places(columns: &[Column]) -> Vec<(usize, usize)> {
    let layout = Layout::of(columns, |column| column.role == Role::Feature);
    let mut places = Vec::with_capacity(layout.parameters);
    for column in layout.blocks.iter().flat_map(|block| &block.columns) {
        places.extend((0..columns[*column].kind.parameters()).map(|element| (*column, element)));
    }
    places
}
