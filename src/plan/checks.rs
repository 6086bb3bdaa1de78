//! What a setting may be: each check takes what was typed and gives what is meant, or an error that names the key, what was found and
//! what is allowed.

use gristmill_io::crossed;

use super::{FOLDS_MAX, OneOrMany};
use crate::error::{Error, Result};
use crate::models::ModelName;

/// Crosses and their bits.
pub fn crosses(cross: Vec<String>, bits: Option<u32>) -> Result<(Vec<String>, Option<u32>)> {
    if cross.is_empty() {
        return match bits {
            Some(bits) => Err(Error::usage(format!(
                "cross-bits is {bits}, and there is no cross. Leave it out, or add --cross a*b"
            ))),
            None => Ok((cross, None)),
        };
    }
    let bits = bits.unwrap_or(crossed::BITS);
    crossed::check_wanted(&cross, bits).map_err(|error| Error::usage(error.to_string()))?;
    Ok((cross, Some(bits)))
}

/// Strengths of a penalty: numbers, each once.
pub fn strengths(key: &str, given: Option<OneOrMany>) -> Result<Vec<f64>> {
    let values = match given {
        None => return Ok(vec![0.0]),
        Some(OneOrMany::One(value)) => vec![value],
        Some(OneOrMany::Many(values)) => values,
    };
    if values.is_empty() {
        return Err(Error::usage(format!("{key} is an empty list; give at least one strength (0 for no penalty)")));
    }
    if let Some(twice) = values.iter().enumerate().find(|(place, value)| values[..*place].contains(value)) {
        return Err(Error::usage(format!("{key} lists {} twice; name each strength once", twice.1)));
    }
    match values.iter().find(|value| !(value.is_finite() && **value >= 0.0)) {
        Some(bad) => Err(Error::usage(format!("{key} is {bad}; a strength is a finite number, 0 or greater"))),
        None => Ok(values),
    }
}

/// A number of folds.
pub fn folds(given: u32) -> Result<u32> {
    if given == 0 || (2..=FOLDS_MAX).contains(&given) {
        return Ok(given);
    }
    Err(Error::usage(format!(
        "folds is {given}; from 2 to {FOLDS_MAX} folds are possible, or 0 for no cross-validation"
    )))
}

/// A setting that only model `of` has, in range.
pub fn own(
    key: &str,
    of: &str,
    model: ModelName,
    given: Option<f64>,
    allowed: impl Fn(f64) -> std::result::Result<(), String>,
) -> Result<Option<f64>> {
    let Some(value) = given else { return Ok(None) };
    if model.to_string() != of {
        return Err(Error::usage(format!(
            "{key} is set, but the model is '{model}'. Leave it out, or use --model {of}"
        )));
    }
    allowed(value).map(|()| Some(value)).map_err(|what| Error::usage(format!("{key} is {value}; {what}")))
}

/// A number greater than 0.
pub fn positive(value: f64) -> std::result::Result<(), String> {
    if value.is_finite() && value > 0.0 { Ok(()) } else { Err("it is a finite number, greater than 0".into()) }
}

/// A power of a variance.
pub fn power(value: f64) -> std::result::Result<(), String> {
    if (1.0..=2.0).contains(&value) { Ok(()) } else { Err("it is a number from 1 (Poisson) to 2 (gamma)".into()) }
}

/// A number between 0 and 1.
pub fn share(value: f64) -> std::result::Result<(), String> {
    if value > 0.0 && value < 1.0 { Ok(()) } else { Err("it is a number between 0 and 1, such as 0.9".into()) }
}

/// A relative gap of the objective.
pub fn within(key: &str, value: f64) -> Result<f64> {
    if value > 0.0 && value < 1.0 {
        return Ok(value);
    }
    Err(Error::usage(format!(
        "{key} is {value}; it is a relative gap of the objective, greater than 0 and less than 1"
    )))
}
