//! Encoded rows, as prediction reads them: the stored columns and the kernel's view of them.

use std::sync::Arc;

use gristmill_kernels::dtype::DType;
use gristmill_kernels::tile::{Block, Columns, Grain, Values};

use super::column::Stored;
use super::store::Numbers;
use crate::crossed::Crossing;
use crate::manifest::Layout;

/// Rows encoded as training encoded them.
#[derive(Clone, Debug)]
pub struct EncodedGrain {
    pub(super) rows: usize,
    /// Stored columns by number in the manifest; none: not asked for.
    pub(super) columns: Vec<Option<Stored>>,
    pub(super) layout: Layout,
    /// Crossed columns, by number.
    pub(super) crosses: Arc<[Option<Crossing>]>,
    pub(super) label: Option<usize>,
    pub(super) weight: Option<usize>,
    pub(super) offset: Option<usize>,
}

impl EncodedGrain {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The kernel's view: blocks in layout order.
    pub fn grain(&self) -> Grain<'_> {
        let values = |column: Option<usize>| column.and_then(|i| self.columns[i].as_ref()).and_then(Stored::values);
        Grain {
            rows: self.rows,
            blocks: self
                .layout
                .blocks
                .iter()
                .filter_map(|block| self.block(&block.columns, block.parameters))
                .collect(),
            label: values(self.label),
            weight: values(self.weight),
            offset: values(self.offset),
        }
    }

    fn block(&self, columns: &[usize], parameters: usize) -> Option<Block<'_>> {
        let stored = |&i: &usize| self.columns[i].as_ref();
        if let Some(cross) = columns.first().and_then(|&number| self.crosses[number].as_ref()) {
            return cross.block(|number| stored(&number)?.codes());
        }
        match columns.first().and_then(stored)?.block(parameters) {
            Some(block) => Some(block),
            None => {
                let numbers = columns.iter().filter_map(stored).filter_map(|column| match column {
                    Stored::Numbers(numbers, None) => Some(numbers),
                    _ => None,
                });
                Some(Block::Columns(group(&numbers.collect::<Vec<_>>())))
            }
        }
    }
}

/// Columns of one storage type, side by side.
fn group<'a>(columns: &[&'a Numbers]) -> Columns<'a> {
    macro_rules! all {
        ($variant:ident) => {
            Columns::$variant(
                columns
                    .iter()
                    .filter_map(|numbers| match numbers.values() {
                        Values::$variant(values) => Some(values),
                        _ => None,
                    })
                    .collect(),
            )
        };
    }
    match columns.first().map_or(DType::F32, |numbers| numbers.values().dtype()) {
        DType::F64 => all!(F64),
        DType::F32 => all!(F32),
        DType::F16 => all!(F16),
        DType::U16 => all!(U16),
        DType::U8 => all!(U8),
    }
}
