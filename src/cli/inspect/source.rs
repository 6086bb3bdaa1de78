//! A source file: its columns as they come.

use std::path::Path;

use gristmill_io::source::{self, SourceFile, SourceOptions};
use serde_json::json;

use crate::cli::Session;
use crate::error::Result;
use crate::report::{Table, number};

/// Show its schema.
///
/// # Errors
/// When the file cannot be read as a source.
pub fn show(path: &Path, session: &Session) -> Result<()> {
    let report = &session.report;
    let options = SourceOptions { cancel: session.cancel.clone(), ..SourceOptions::default() };
    // A pattern or an address is for a shell: here it is the name of something that is there.
    let source = match path.is_dir() {
        true => source::open(&[path.display().to_string()], &options)?,
        false => source::open_files(&[SourceFile::at(path)?], &options)?,
    };
    let schema = source.schema();
    let columns: Vec<(String, String)> =
        schema.fields().iter().map(|field| (field.name().clone(), field.data_type().to_string())).collect();
    let columns_json: Vec<_> = columns.iter().map(|(name, kind)| json!({ "name": name, "type": kind })).collect();
    report.json(&json!({
        "kind": "source", "path": path.display().to_string(), "rows": source.rows(), "bytes": source.bytes(), "columns": columns_json,
    }))?;
    let mut table = Table::with_head(&["column", "type"]);
    columns.into_iter().for_each(|(name, kind)| table.line([name, kind]));
    let rows = source.rows().map_or("rows not known before reading".into(), |rows| number::several(rows, "row"));
    let bytes = source.bytes().map_or(String::new(), |bytes| format!(", {}", number::bytes(bytes)));
    report.text(&format!("{}  {rows}{bytes}\n\n{}", report.bold(&path.display().to_string()), table.text(2)))
}
