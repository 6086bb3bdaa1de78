//! Names of parameters, as people read them: `column`, `column=level`, `column[element]`.

use gristmill_io::dataset::Dataset;
use gristmill_io::manifest::{Kind, Layout};

use crate::error::Result;

/// The name of every parameter of `layout`, in order.
///
/// # Errors
/// When a dictionary cannot be read.
pub fn parameters(dataset: &Dataset, layout: &Layout) -> Result<Vec<String>> {
    let columns = &dataset.manifest().columns;
    let mut names = Vec::with_capacity(layout.parameters);
    for &number in layout.blocks.iter().flat_map(|block| &block.columns) {
        let name = &columns[number].name;
        match &columns[number].kind {
            Kind::Numeric { .. } | Kind::Indicator { .. } => names.push(name.clone()),
            Kind::Vector { width, .. } => names.extend((0..*width).map(|element| format!("{name}[{element}]"))),
            Kind::Sparse { width, one_based } => {
                let first = usize::from(*one_based);
                names.extend((first..width + first).map(|element| format!("{name}[{element}]")));
            }
            Kind::Categorical { levels, missing_code, unseen_code, .. } => {
                let dictionary = dataset.dictionary(number)?;
                for code in 0..*levels {
                    let special = |known: &Option<u32>| *known == Some(code as u32);
                    let level = match dictionary.levels.get(code) {
                        Some(level) => level.as_str(),
                        None if special(missing_code) => "(missing)",
                        None if special(unseen_code) => "(unseen)",
                        None => "(unknown)",
                    };
                    names.push(format!("{name}={level}"));
                }
            }
        }
    }
    Ok(names)
}
