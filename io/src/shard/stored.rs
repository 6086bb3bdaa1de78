//! A stored column of a grain: typed views of its buffers, and the checks that make them safe to compute with.
//!
//! Kernels index tables by code and by element number, so [`Stored::check`] comes before the first kernel: codes below
//! the number of levels, indices strictly increasing and below the width, labels finite, weights finite and not negative.
//! Cost: one read of those columns (they are about to be read anyway); dense features are not looked at.

use arrow::buffer::{Buffer, ScalarBuffer};
use arrow::datatypes::ArrowNativeType;
use gristmill_kernels::dtype::{DType, Element, f16};
use gristmill_kernels::tile::{Codes, Values};

use super::message::Piece;
use crate::manifest::{Column, Kind, Role};

/// The values of one column in one grain. Cloning shares them.
#[derive(Clone, Debug)]
pub enum Stored {
    /// Numbers (scalars, or the elements of vectors row by row).
    F64(ScalarBuffer<f64>),
    /// Numbers.
    F32(ScalarBuffer<f32>),
    /// Numbers.
    F16(ScalarBuffer<f16>),
    /// Numbers or codes.
    U16(ScalarBuffer<u16>),
    /// Numbers, codes or indicators.
    U8(ScalarBuffer<u8>),
    /// Codes.
    U32(ScalarBuffer<u32>),
    /// Sparse vectors.
    Sparse {
        /// Where each row's entries begin and end.
        offsets: ScalarBuffer<i32>,
        /// Element numbers.
        indices: ScalarBuffer<u32>,
        /// Values beside them.
        values: ScalarBuffer<f32>,
    },
}

/// A value that is not allowed: row inside the grain (from 0) and what is wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// Row inside the grain, from 0.
    pub row: usize,
    /// What was found and expected.
    pub message: String,
}

impl Stored {
    /// View the pieces of a column, `find` giving the bytes of a range of the file. None when bytes are missing or
    /// not aligned (which [`super::message`] has excluded for whole files).
    pub fn view(kind: &Kind, pieces: &[Piece], find: impl Fn(&Piece) -> Option<Buffer>) -> Option<Stored> {
        let number = |dtype: DType, piece: &Piece| {
            Some(match dtype {
                DType::F64 => Stored::F64(typed(find(piece)?)?),
                DType::F32 => Stored::F32(typed(find(piece)?)?),
                DType::F16 => Stored::F16(typed(find(piece)?)?),
                DType::U16 => Stored::U16(typed(find(piece)?)?),
                DType::U8 => Stored::U8(typed(find(piece)?)?),
            })
        };
        if let (Some((bytes, _)), [piece]) = (kind.codes(), pieces) {
            return match bytes {
                1 => number(DType::U8, piece),
                2 => number(DType::U16, piece),
                _ => Some(Stored::U32(typed(find(piece)?)?)),
            };
        }
        match (kind, pieces) {
            (Kind::Numeric { dtype, .. } | Kind::Labels { dtype, .. } | Kind::Vector { dtype, .. }, [piece]) => {
                number(*dtype, piece)
            }
            (Kind::Indicator { .. }, [piece]) => number(DType::U8, piece),
            (Kind::Sparse { .. } | Kind::Text { .. }, [offsets, indices, values]) => Some(Stored::Sparse {
                offsets: typed(find(offsets)?)?,
                indices: typed(find(indices)?)?,
                values: typed(find(values)?)?,
            }),
            _ => None,
        }
    }

    /// The numbers, for a kernel.
    pub fn values(&self) -> Option<Values<'_>> {
        match self {
            Stored::F64(values) => Some(Values::F64(values)),
            Stored::F32(values) => Some(Values::F32(values)),
            Stored::F16(values) => Some(Values::F16(values)),
            Stored::U16(values) => Some(Values::U16(values)),
            Stored::U8(values) => Some(Values::U8(values)),
            Stored::U32(_) | Stored::Sparse { .. } => None,
        }
    }

    /// The codes, for a kernel.
    pub fn codes(&self) -> Option<Codes<'_>> {
        match self {
            Stored::U8(codes) => Some(Codes::U8(codes)),
            Stored::U16(codes) => Some(Codes::U16(codes)),
            Stored::U32(codes) => Some(Codes::U32(codes)),
            _ => None,
        }
    }

    /// Check what kernels rely on.
    ///
    /// # Errors
    /// The first value that is not allowed.
    pub fn check(&self, column: &Column) -> Result<(), Fault> {
        match (&column.kind, self) {
            (kind, codes) if let Some((_, levels)) = kind.codes() => match codes {
                Stored::U8(codes) => check_codes(codes, levels),
                Stored::U16(codes) => check_codes(codes, levels),
                Stored::U32(codes) => check_codes(codes, levels),
                _ => Ok(()),
            },
            (kind, Stored::Sparse { offsets, indices, .. }) if kind.is_sparse() => {
                check_sparse(offsets, indices, kind.parameters())
            }
            _ if column.role == Role::Feature => Ok(()),
            _ => self.check_numbers(column.role),
        }
    }

    /// Check that every number is finite (and not negative in a weight), dense features included: for `verify`.
    ///
    /// # Errors
    /// The first value that is not allowed.
    pub fn check_numbers(&self, role: Role) -> Result<(), Fault> {
        match self {
            Stored::F64(values) => check_finite(values, role),
            Stored::F32(values) => check_finite(values, role),
            Stored::F16(values) => check_finite(values, role),
            Stored::Sparse { offsets, values, .. } => check_finite(values, role).map_err(|fault| {
                // The row whose entries end after this one.
                let row = offsets.partition_point(|&offset| offset.as_usize() <= fault.row).saturating_sub(1);
                Fault { row, ..fault }
            }),
            Stored::U16(_) | Stored::U8(_) | Stored::U32(_) => Ok(()),
        }
    }
}

/// The buffer as numbers; none when it is not aligned or ends inside one.
fn typed<T: ArrowNativeType>(bytes: Buffer) -> Option<ScalarBuffer<T>> {
    let size = size_of::<T>();
    let aligned = bytes.as_ptr().align_offset(align_of::<T>()) == 0;
    (aligned && bytes.len().is_multiple_of(size)).then(|| {
        let count = bytes.len() / size;
        ScalarBuffer::new(bytes, 0, count)
    })
}

/// Codes lie below `levels`. The maximum first: that loop is vectorised, and almost always all there is to do.
fn check_codes<T: Copy + Ord + Into<u32>>(codes: &[T], levels: usize) -> Result<(), Fault> {
    let fits = |code: T| (code.into() as usize) < levels;
    match codes.iter().copied().max() {
        Some(max) if !fits(max) => {
            let row = codes.iter().position(|&code| !fits(code)).unwrap_or_default();
            let code: u32 = codes[row].into();
            Err(Fault { row, message: format!("code {code} was found, expected one below {levels}") })
        }
        _ => Ok(()),
    }
}

fn check_sparse(offsets: &[i32], indices: &[u32], width: usize) -> Result<(), Fault> {
    let fault = |row: usize, message: String| Err(Fault { row, message });
    if offsets.first() != Some(&0) || offsets.last().map(|&last| i64::from(last)) != i64::try_from(indices.len()).ok() {
        return fault(0, format!("the offsets do not run from 0 to the number of entries, {}", indices.len()));
    }
    for (row, pair) in offsets.windows(2).enumerate() {
        // Offsets that never fall and end at the number of entries are all inside; checked before slicing.
        let (Ok(start), Ok(end)) = (usize::try_from(pair[0]), usize::try_from(pair[1])) else {
            return fault(row, format!("offset {} is negative", pair[0].min(pair[1])));
        };
        let Some(entries) = indices.get(start..end) else {
            return fault(row, format!("entries {start} to {end} were found, expected a rising range"));
        };
        if let Some(pair) = entries.windows(2).find(|pair| pair[0] >= pair[1]) {
            return fault(row, format!("index {} follows {}, expected strictly increasing indices", pair[1], pair[0]));
        }
        if let Some(&last) = entries.last().filter(|&&last| last as usize >= width) {
            return fault(row, format!("index {last} was found, expected one below {width}"));
        }
    }
    Ok(())
}

fn check_finite<T: Element>(values: &[T], role: Role) -> Result<(), Fault> {
    let allowed = |value: f64| value.is_finite() && (role != Role::Weight || value >= 0.0);
    // Without a way out of the loop it is vectorised; the search comes only when there is something to find.
    if values.iter().fold(true, |all, &value| all & allowed(value.to_f64())) {
        return Ok(());
    }
    match values.iter().position(|&value| !allowed(value.to_f64())) {
        None => Ok(()),
        Some(row) => {
            let expected =
                if role == Role::Weight { "a finite number that is not negative" } else { "a finite number" };
            Err(Fault { row, message: format!("{} was found, expected {expected}", values[row].to_f64()) })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_must_be_below_levels() {
        assert_eq!(check_codes(&[0u8, 2, 1], 3), Ok(()));
        assert_eq!(check_codes::<u8>(&[], 0), Ok(()));
        assert_eq!(check_codes(&[0u16, 3, 1], 3).unwrap_err().row, 1);
        assert_eq!(check_codes(&[u32::MAX], 3).unwrap_err().row, 0);
    }

    #[test]
    fn sparse_rows_must_rise() {
        assert_eq!(check_sparse(&[0, 2, 2, 3], &[0, 4, 2], 5), Ok(()));
        assert_eq!(check_sparse(&[0], &[], 5), Ok(()));
        for (offsets, indices, row) in [
            (&[1, 2][..], &[0u32, 1][..], 0),
            (&[0, 1], &[0, 1], 0),
            (&[0, 2], &[1, 1], 0),
            (&[0, 1, 3], &[0, 3, 2], 1),
            (&[0, 1, 2], &[0, 5], 1),
            (&[0, 3, 2], &[0, 1], 0),
            (&[0, -1, 2], &[0, 1], 0),
            (&[], &[], 0),
        ] {
            assert_eq!(
                check_sparse(offsets, indices, 5).map_err(|fault| fault.row),
                Err(row),
                "{offsets:?} {indices:?}"
            );
        }
    }

    #[test]
    fn labels_and_weights_must_be_finite() {
        assert_eq!(check_finite(&[1.0f32, -1.0], Role::Label), Ok(()));
        assert_eq!(check_finite(&[1.0f32, f32::NAN], Role::Label).unwrap_err().row, 1);
        assert_eq!(check_finite(&[f64::INFINITY], Role::Weight).unwrap_err().row, 0);
        assert_eq!(check_finite(&[0.0, -0.5], Role::Weight).unwrap_err().row, 1);
        assert_eq!(check_finite(&[f16::NEG_INFINITY], Role::Feature).unwrap_err().row, 0);
    }
}
