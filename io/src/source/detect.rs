//! Which format a file has (stage 1): what the user says, else its extension, else its first bytes.
//!
//! A compressing extension (`.gz`, `.zst`) is looked through. A file whose first bytes are those of a binary format is
//! never read as text, whatever its name says.

use std::path::Path;

use super::files::SourceFile;
use super::text::stream::{Compression, plain_head};
use super::{FORMATS, Format, SourceOptions};
use crate::error::{Error, Result};

/// Bytes looked at to tell a format by its content.
const HEAD_BYTES: usize = 64 << 10;

/// The format that a name stands for in the registry.
///
/// # Errors
/// [`Error::Usage`] with the names that exist.
pub fn by_name(name: &str) -> Result<&'static Format> {
    FORMATS.iter().find(|format| format.name == name || format.extensions.contains(&name)).ok_or_else(|| {
        let names: Vec<&str> = FORMATS.iter().map(|format| format.name).collect();
        Error::Usage(format!("unknown format '{name}': expected one of {}", names.join(", ")))
    })
}

/// The format that an extension stands for, a compressing extension looked through.
pub fn by_extension(path: &Path) -> Option<&'static Format> {
    let name = path.file_name()?.to_string_lossy().to_ascii_lowercase();
    let name = [".gz", ".zst", ".zstd"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(&name);
    let extension = name.rsplit_once('.')?.1;
    FORMATS.iter().find(|format| format.extensions.contains(&extension))
}

/// The one format of all `files`.
///
/// # Errors
/// [`Error`] when a format cannot be told, or two files differ in it.
pub fn format_of(files: &[SourceFile], options: &SourceOptions) -> Result<&'static Format> {
    if let Some(name) = &options.format {
        return by_name(name);
    }
    let mut first: Option<(&SourceFile, &'static Format)> = None;
    for file in files {
        let format = of_file(file)?;
        match first {
            None => first = Some((file, format)),
            Some((other, expected)) if expected.name != format.name => {
                return Err(Error::data(
                    &file.path,
                    format!("is {}, but {} is {}", format.title, other.path.display(), expected.title),
                )
                .help("Give files of one format at a time, for example by a pattern such as 'folder/*.csv'"));
            }
            Some(_) => {}
        }
    }
    first.map(|(_, format)| format).ok_or_else(|| Error::Usage("no source file given".into()))
}

/// First bytes of what is often met and not read.
const FOREIGN: &[(&[u8], &str)] = &[
    (b"\xfd7zXZ\0", "compressed by xz"),
    (b"\x04\x22\x4d\x18", "compressed by lz4"),
    (b"PK\x03\x04", "a zip archive or a table of Excel"),
    (b"FEA1\0", "Feather of version 1"),
    (b"\x89HDF\r\n", "HDF5"),
    (b"Obj\x01", "Avro"),
];

/// What a file is by its first bytes that is not read.
fn foreign(head: &[u8]) -> Option<&'static str> {
    let is_bzip2 = head.starts_with(b"BZh") && head.get(4..10) == Some(b"1AY&SY");
    let known = FOREIGN.iter().find(|(magic, _)| head.starts_with(magic)).map(|(_, what)| *what);
    known.or(is_bzip2.then_some("compressed by bzip2"))
}

fn of_file(file: &SourceFile) -> Result<&'static Format> {
    let head = file.head(HEAD_BYTES as u64)?;
    if let Some(what) = foreign(&head) {
        return Err(Error::data(&file.path, format!("the file is {what}, which is not read"))
            .help("Write it as Parquet or Arrow, or as text that is plain or compressed by gzip or zstd"));
    }
    let named = by_extension(&file.path);
    let magic = by_magic(&head);
    match (named, magic) {
        (Some(named), Some(magic)) if named.is_text && !magic.is_text => {
            Err(Error::data(&file.path, format!("is named as {}, but its content is {}", named.title, magic.title))
                .help(format!("Rename it, or pass --format {}", magic.name)))
        }
        (Some(named), _) => Ok(named),
        (None, Some(magic)) => Ok(magic),
        (None, None) => {
            let head =
                plain_head(&head, HEAD_BYTES).map_err(|error| Error::io(&file.path, "cannot decompress", error))?;
            by_content(&head).ok_or_else(|| {
                let names: Vec<&str> = FORMATS.iter().map(|format| format.name).collect();
                Error::data(&file.path, "the format can be told neither by the extension nor by the content")
                    .help(format!("Pass --format with one of {}", names.join(", ")))
            })
        }
    }
}

/// A binary format by the first bytes of a file.
pub fn by_magic(head: &[u8]) -> Option<&'static Format> {
    FORMATS.iter().find(|format| format.magic.iter().any(|magic| head.starts_with(magic)))
}

/// A text format by the first bytes of a file.
pub fn by_content(head: &[u8]) -> Option<&'static Format> {
    if Compression::of(head).is_some() || head.contains(&0) {
        return None;
    }
    let line =
        head.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii).find(|line| !line.is_empty() && line[0] != b'#')?;
    let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
    let name = if line.starts_with(b"{") {
        "ndjson"
    } else if is_libsvm(line) {
        "libsvm"
    } else {
        "csv"
    };
    FORMATS.iter().find(|format| format.name == name)
}

/// True for `label index:value ...` with at least one pair and nothing else before a comment.
fn is_libsvm(line: &[u8]) -> bool {
    let is_number = |text: &[u8]| fast_float2::parse::<f64, _>(text).is_ok();
    let mut words = line
        .split(|&byte| byte == b'#')
        .next()
        .unwrap_or_default()
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty());
    let Some(label) = words.next() else { return false };
    let mut pairs = 0;
    let all = words.all(|word| {
        pairs += 1;
        let mut parts = word.splitn(2, |&byte| byte == b':');
        let index = parts.next().unwrap_or_default();
        let value = parts.next().unwrap_or_default();
        (index == b"qid" || (!index.is_empty() && index.iter().all(u8::is_ascii_digit))) && is_number(value)
    });
    is_number(label) && all && pairs > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extensions_are_told_through_compression_and_case() {
        for (name, expected) in [
            ("a.parquet", "parquet"),
            ("a.PQ", "parquet"),
            ("b.csv.gz", "csv"),
            ("b.tsv.zst", "csv"),
            ("c.jsonl.gz", "ndjson"),
            ("d.svm", "libsvm"),
            ("e.feather", "arrow"),
            ("e.arrows", "arrow"),
        ] {
            assert_eq!(by_extension(Path::new(name)).map(|format| format.name), Some(expected), "{name}");
        }
        assert!(by_extension(Path::new("part-00000")).is_none());
        assert!(by_extension(Path::new("notes.md")).is_none());
    }

    #[test]
    fn content_tells_text_formats() {
        for (text, expected) in [
            ("{\"a\":1}\n", Some("ndjson")),
            ("\n  {\"a\":1}\n", Some("ndjson")),
            ("1 1:2 3:4.5\n", Some("libsvm")),
            ("# made by hand\n-1 qid:3 1:2 # x\n", Some("libsvm")),
            ("a,b\n1,2\n", Some("csv")),
            ("1\n2\n", Some("csv")),
            ("12:30 11:15\n", Some("csv")),
            ("a\0b", None),
            ("", None),
        ] {
            assert_eq!(by_content(text.as_bytes()).map(|format| format.name), expected, "{text:?}");
        }
    }

    #[test]
    fn what_is_not_read_is_told_by_its_name() {
        let folder = tempfile::tempdir().unwrap();
        for (name, head, what) in [
            ("a.csv.bz2", &b"BZh91AY&SY\x01\x02"[..], "bzip2"),
            ("a.csv.xz", b"\xfd7zXZ\0\0", "xz"),
            ("a.xlsx", b"PK\x03\x04rest", "Excel"),
            ("a.feather", b"FEA1\0\0\0\0rest", "Feather of version 1"),
        ] {
            let path = folder.path().join(name);
            std::fs::write(&path, head).unwrap();
            let opened = crate::source::open(&[path.display().to_string()], &SourceOptions::default());
            let error = opened.err().unwrap().to_string();
            assert!(error.contains(what) && error.contains("Write it as Parquet"), "{error}");
        }
        assert_eq!(foreign(b"FEA1,FEA2\n1,2\n"), None);
        assert_eq!(foreign(b"BZh9,x\n1,2\n"), None);
    }

    #[test]
    fn an_unknown_name_lists_those_that_exist() {
        let error = by_name("xml").map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("parquet") && error.contains("libsvm"), "{error}");
    }
}
