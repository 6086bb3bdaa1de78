//! Names of some parameters, for warnings: only theirs are made, since hashed columns have millions.

use gristmill_io::dataset::Dataset;
use gristmill_io::manifest::{Kind, Layout};

use crate::run::names::{Dictionaries, name};

/// The name of parameter `j` of `layout`; its number where the dictionary of its column cannot be read.
pub fn parameter(dataset: &Dataset, layout: &Layout, j: usize) -> String {
    let columns = &dataset.manifest().columns;
    let mut first = 0;
    for &number in layout.blocks.iter().flat_map(|block| &block.columns) {
        let end = first + columns[number].kind.parameters();
        if j < end {
            let mut dictionaries: Dictionaries = vec![Vec::new(); columns.len()];
            if let (Kind::Categorical { .. }, Ok(read)) = (&columns[number].kind, dataset.dictionary(number)) {
                dictionaries[number] = read.levels;
            }
            return format!("'{}'", name(columns, &dictionaries, number, j - first));
        }
        first = end;
    }
    format!("parameter {j}")
}
