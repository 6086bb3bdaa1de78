//! Files that differ in columns which are left out anyway (stage 2): they are opened without these.
//!
//! Opened with all of their columns such files are an error, which is where this begins: every file is looked at by itself, and
//! what the patterns of `--ignore` name in any of them is not read in all of them. Only files that say in a head of their own
//! which columns they have can be read so. Those of text are opened without a look at any head but the first, so that here they are
//! looked at in any case.

use crate::error::{Error, Result};
use crate::roles::{Resolved, Roles};
use crate::source::{self, NamedBy, Source, SourceFile, SourceOptions};

/// The source of `files`, and the columns that were left out to open it, where they differ in these alone.
///
/// # Errors
/// As [`source::open_files`]; where the files differ in other columns, with both files and the column.
pub fn open(files: &[SourceFile], reading: &SourceOptions, roles: &Roles) -> Result<(Box<dyn Source>, Vec<String>)> {
    let opened = source::open_files(files, reading);
    if files.len() < 2 || roles.ignored().is_empty() {
        return opened.map(|source| (source, Vec::new()));
    }
    let names = |file: &SourceFile| source::names(std::slice::from_ref(file), reading);
    let format = source::detect::format_of(files, reading)?;
    let refused = match opened {
        Ok(source) if !(format.is_text && format.named_by == NamedBy::Head) => return Ok((source, Vec::new())),
        Ok(source) => {
            let first = names(&files[0])?;
            let differ = files[1..].iter().map(|file| Ok(names(file)? != first)).collect::<Result<Vec<bool>>>()?;
            if !differ.contains(&true) {
                return Ok((source, Vec::new()));
            }
            None
        }
        Err(refused) => Some(refused),
    };
    let (mut kept, mut ignored): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    for (number, file) in files.iter().enumerate() {
        let names = names(file)?;
        for name in &names {
            if roles.ignores(name) {
                ignored.extend((!ignored.contains(name)).then(|| name.clone()));
            } else if number == 0 {
                kept.push(name.clone());
            } else if !kept.contains(name) {
                return Err(another(file, name, format!("the column is not in {}", files[0].path.display())));
            }
        }
        if let Some(name) = kept.iter().find(|name| !names.contains(name)) {
            return Err(another(file, name, format!("the column is missing, but {} has it", files[0].path.display())));
        }
    }
    if let Some(refused) = refused.filter(|_| ignored.is_empty()) {
        return Err(refused);
    }
    let reading = SourceOptions { columns: Some(kept), ..reading.clone() };
    Ok((source::open_files(files, &reading)?, ignored))
}

fn another(file: &SourceFile, name: &str, message: String) -> Error {
    Error::data(&file.path, message).column(name).help(source::SAME_COLUMNS)
}

/// Notes what was left out to open the source; patterns have been held against it then.
///
/// # Errors
/// [`Error::Usage`] for a pattern of `--ignore` that names no column of any file.
pub fn note(ignored: Vec<String>, roles: &Roles, plan: &mut Resolved) -> Result<()> {
    let names: Vec<&str> = ignored.iter().map(String::as_str).collect();
    roles.check_ignored(&names)?;
    plan.ignored.extend(ignored);
    Ok(())
}
