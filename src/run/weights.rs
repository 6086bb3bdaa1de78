//! The numbers of a model: `model.safetensors`.
//!
//! Four little-endian f64 tensors: `weights` (as many as parameters) and `intercept` (one) on stored values, `coefficients`
//! (as many as parameters) and `real_intercept` (one) in the units of the source columns. Where a row has a margin a class, as
//! many of each as there are classes: matrices of classes x parameters, and vectors of classes. Every reader of safetensors opens it.
//! The reader here trusts nothing: names, types, shapes and finiteness are checked.

use std::collections::BTreeMap;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};

/// The numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Weights {
    /// Weight of each parameter on stored values, margin after margin.
    pub weights: Vec<f64>,
    /// Of each margin: margin = intercept + sum of weight * stored value.
    pub intercepts: Vec<f64>,
    /// Coefficient of each parameter in the units of the source columns, margin after margin.
    pub coefficients: Vec<f64>,
    /// Intercepts that go with the coefficients.
    pub real_intercepts: Vec<f64>,
}

impl Weights {
    /// The file's bytes.
    ///
    /// # Errors
    /// A message when the format cannot hold them.
    pub fn to_bytes(&self) -> Result<Vec<u8>, String> {
        let parts: [(&str, &[f64]); 4] = [
            ("coefficients", &self.coefficients),
            ("intercept", &self.intercepts),
            ("real_intercept", &self.real_intercepts),
            ("weights", &self.weights),
        ];
        let bytes: Vec<Vec<u8>> = parts.iter().map(|(_, values)| little_endian(values)).collect();
        let mut tensors = BTreeMap::new();
        let margins = self.intercepts.len();
        for ((name, values), bytes) in parts.iter().zip(&bytes) {
            let is_matrix = margins > 1 && !name.ends_with("intercept");
            let shape = if is_matrix { vec![margins, values.len() / margins] } else { vec![values.len()] };
            let view = TensorView::new(Dtype::F64, shape, bytes).map_err(|error| error.to_string())?;
            tensors.insert(*name, view);
        }
        safetensors::serialize(tensors, None).map_err(|error| error.to_string())
    }

    /// The numbers in a file's bytes, for a model of so many parameters and margins.
    ///
    /// # Errors
    /// A message that says what was found and what was expected.
    pub fn from_bytes(bytes: &[u8], parameters: usize, margins: usize) -> Result<Weights, String> {
        let tensors = SafeTensors::deserialize(bytes).map_err(|error| format!("no safetensors file: {error}"))?;
        let read = |name: &str, expected: &[usize]| -> Result<Vec<f64>, String> {
            let view = tensors.tensor(name).map_err(|_| format!("tensor '{name}' is missing"))?;
            if view.dtype() != Dtype::F64 || view.shape() != expected {
                let (dtype, shape) = (view.dtype(), view.shape());
                return Err(format!("tensor '{name}' is {dtype:?} {shape:?}; F64 {expected:?} was expected"));
            }
            let values = numbers(view.data());
            match values.iter().position(|value| !value.is_finite()) {
                Some(at) => Err(format!("tensor '{name}' holds {} at {at}; numbers must be finite", values[at])),
                None => Ok(values),
            }
        };
        let matrix = if margins > 1 { vec![margins, parameters] } else { vec![parameters] };
        Ok(Weights {
            weights: read("weights", &matrix)?,
            intercepts: read("intercept", &[margins])?,
            coefficients: read("coefficients", &matrix)?,
            real_intercepts: read("real_intercept", &[margins])?,
        })
    }
}

fn little_endian(values: &[f64]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn numbers(bytes: &[u8]) -> Vec<f64> {
    let (chunks, _) = bytes.as_chunks::<8>();
    chunks.iter().map(|chunk| f64::from_le_bytes(*chunk)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weights() -> Weights {
        Weights {
            weights: vec![1.5, -0.0, 1e-300],
            intercepts: vec![0.1],
            coefficients: vec![3.0, 0.0, 2.0],
            real_intercepts: vec![-7.0],
        }
    }

    #[test]
    fn numbers_survive_bit_by_bit() {
        let bytes = weights().to_bytes().expect("serialises");
        let back = Weights::from_bytes(&bytes, 3, 1).expect("reads");
        assert_eq!(back, weights());
        assert_eq!(back.weights[1].to_bits(), (-0.0f64).to_bits());
        assert_eq!(bytes, back.to_bytes().expect("serialises"));
    }

    #[test]
    fn several_margins_are_matrices() {
        let two = Weights {
            weights: vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
            intercepts: vec![0.5, -0.5],
            coefficients: vec![0.0; 6],
            real_intercepts: vec![1.0, 2.0],
        };
        let bytes = two.to_bytes().expect("serialises");
        assert_eq!(Weights::from_bytes(&bytes, 3, 2).expect("reads"), two);
        assert!(Weights::from_bytes(&bytes, 6, 1).expect_err("one margin").contains("[2, 3]; F64 [6] was expected"));
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let bytes = weights().to_bytes().expect("serialises");
        assert!(Weights::from_bytes(&bytes, 4, 1).expect_err("wrong length").contains("F64 [4] was expected"));
        let infinite = Weights { intercepts: vec![f64::INFINITY], ..weights() }.to_bytes().expect("serialises");
        assert!(Weights::from_bytes(&infinite, 3, 1).expect_err("not finite").contains("intercept"));
    }

    /// Whatever byte is changed and wherever the file is cut, there is an answer and never a panic.
    #[test]
    fn damaged_files_never_panic() {
        let bytes = weights().to_bytes().expect("serialises");
        for length in 0..bytes.len() {
            assert!(Weights::from_bytes(&bytes[..length], 3, 1).is_err(), "cut at {length}");
        }
        for at in 0..bytes.len() {
            for flip in [1, 0x80, 0xff] {
                let mut damaged = bytes.clone();
                damaged[at] ^= flip;
                let _ = Weights::from_bytes(&damaged, 3, 1);
            }
        }
    }
}
