//! Before the survey (stage 2): what flags about single columns make of their shapes, and which columns they may name.

use std::collections::BTreeMap;

use super::options::IngestOptions;
use crate::error::{Error, Result};
use crate::manifest::Role;
use crate::roles::{Planned, Resolved, Shape, is_number, is_text, unknown, value_type};

impl Resolved {
    /// Gives categorical features hashed levels: 2^`all` where it is given, or as `own` says for a column; `own` speaks of texts as well.
    ///
    /// # Errors
    /// [`Error::Usage`] for a name in `own` that is no categorical feature.
    pub fn hash(&mut self, all: Option<u8>, own: &BTreeMap<String, u8>) -> Result<()> {
        for column in &mut self.columns {
            if let (Shape::Text { bits, .. }, Some(own)) = (&mut column.shape, own.get(&column.name)) {
                *bits = *own;
            }
        }
        let names: Vec<&str> = self.columns.iter().map(|column| column.name.as_str()).collect();
        for name in own.keys() {
            let Some(column) = self.columns.iter().find(|column| column.name == *name) else {
                return Err(match self.ignored.contains(name) {
                    true => Error::Usage(format!("--hash-bits {name}: the column is left out")),
                    false => unknown(&names, name, "hash-bits"),
                });
            };
            if !matches!((column.role, column.shape), (Role::Feature, Shape::Categorical | Shape::Text { .. })) {
                let what = if column.role == Role::Feature { "no category" } else { "no feature" };
                let help = if what == "no category" && is_number(value_type(&column.source_type)) {
                    format!(". Read it as one with --categorical {name}")
                } else {
                    String::new()
                };
                return Err(Error::Usage(format!(
                    "--hash-bits {name}: the column is {what}, only categories and texts are hashed{help}"
                )));
            }
        }
        let mut any = false;
        for column in &mut self.columns {
            if (column.role, column.shape) == (Role::Feature, Shape::Categorical)
                && let Some(bits) = own.get(&column.name).copied().or(all)
            {
                column.shape = Shape::Hashed { bits };
                any = true;
            }
        }
        if all.is_some() && !any {
            return Err(Error::Usage("--hash-bits: the source has no categorical feature to hash".into()));
        }
        Ok(())
    }

    /// Says how many words the n-grams of text columns have.
    ///
    /// # Errors
    /// [`Error::Usage`] when there is no such column.
    pub fn set_ngrams(&mut self, wanted: (u8, u8)) -> Result<()> {
        let mut any = false;
        for column in &mut self.columns {
            if let Shape::Text { ngrams, .. } = &mut column.shape {
                (*ngrams, any) = (wanted, true);
            }
        }
        if any { Ok(()) } else { Err(Error::Usage("--ngrams: no column is text. Name one with --text".into())) }
    }

    /// Check that storage types and stand-ins for missing values are given to columns which have such.
    ///
    /// # Errors
    /// [`Error::Usage`] for the first that has none. Names that are not there are found later.
    pub fn check_rules(&self, options: &IngestOptions) -> Result<()> {
        for column in &self.columns {
            let Planned { name, role, shape, .. } = column;
            let what = match shape {
                Shape::Numeric => "",
                Shape::Categorical | Shape::Hashed { .. } => "is a category",
                Shape::Text { .. } => "is a text",
                Shape::Labels => "is made of several labels",
                Shape::Vector => "is a vector",
                Shape::Sparse => "is a sparse vector",
            };
            if options.dtypes.contains_key(name) && !matches!(shape, Shape::Numeric | Shape::Vector) {
                return Err(Error::Usage(format!(
                    "--dtype {name}: the column {what}, only numbers and vectors have a type"
                )));
            }
            if !options.imputes.contains_key(name) {
                continue;
            }
            let what = match role {
                Role::Feature => what,
                Role::Label => "is the label",
                Role::Weight => "is the weight",
                Role::Offset => "is the offset",
            };
            if !what.is_empty() {
                let help =
                    if *role == Role::Label { ". Leave rows without one out with --drop-missing-label" } else { "" };
                return Err(Error::Usage(format!(
                    "--impute {name}: the column {what}, only missing numbers of features are replaced{help}"
                )));
            }
        }
        Ok(())
    }

    /// Check that columns which are to become buckets are numeric features.
    ///
    /// # Errors
    /// [`Error::Usage`] for the first that is not.
    pub fn check_buckets<'a>(&self, wanted: impl Iterator<Item = &'a String>) -> Result<()> {
        let names: Vec<&str> = self.columns.iter().map(|column| column.name.as_str()).collect();
        for name in wanted {
            let refuse = |what: &str| Err(Error::Usage(format!("--bucketize {name}: the column is {what}")));
            match self.columns.iter().find(|column| column.name == *name) {
                None if self.ignored.contains(name) => return refuse("left out"),
                None => return Err(unknown(&names, name, "bucketize")),
                Some(column) if column.role != Role::Feature => return refuse("no feature"),
                Some(column) if column.shape != Shape::Numeric => {
                    let help = if is_text(&column.source_type) {
                        format!(". Read it as one with --numeric {name}")
                    } else {
                        String::new()
                    };
                    return refuse(&format!("no number, only numbers have buckets{help}"));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }
}
