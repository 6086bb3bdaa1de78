//! Which files a source is made of (stage 1): files, folders, patterns and the standard input become one sorted list.
//!
//! A folder is read recursively, in the order of the paths; hidden files, and the bookkeeping files that other systems leave
//! (`_SUCCESS`, `_metadata`, `.crc`, ...) are skipped, and so are files with a foreign extension where some file has a
//! known one. The standard input is copied to an unnamed file once, because ingest reads every source twice.
//!
//! All reads of a file go through [`Positioned`], which never moves a shared seek position, so threads may read one open
//! file at once.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use super::SourceOptions;
use super::{detect, partitions};
use crate::error::{Error, Result};
use crate::memory;
use crate::watch::Cancel;

/// A file that rows come from.
#[derive(Clone, Debug)]
pub struct SourceFile {
    /// Where it is; `-` for the standard input.
    pub path: PathBuf,
    /// Its length when it was listed.
    pub bytes: u64,
    /// Keys and values of the folders around it that stand for columns; none: a value that is missing.
    pub partition: Vec<(String, Option<String>)>,
    /// The copy of the standard input.
    spool: Option<Arc<File>>,
}

impl SourceFile {
    /// The file at `path`.
    ///
    /// # Errors
    /// [`Error::Io`] when there is none, or it is no regular file.
    pub fn at(path: &Path) -> Result<SourceFile> {
        let metadata = std::fs::metadata(path).map_err(|error| Error::io(path, "cannot open", error))?;
        if !metadata.is_file() {
            return Err(Error::data(path, "is neither a regular file nor a folder")
                .help("Pipe it in instead and write '-' for the standard input"));
        }
        Ok(SourceFile { path: path.to_path_buf(), bytes: metadata.len(), partition: Vec::new(), spool: None })
    }

    /// The file at `path`, with the columns that folders between `root` and it stand for.
    fn below(root: &Path, path: &Path) -> Result<SourceFile> {
        Ok(SourceFile { partition: partitions::between(root, path), ..SourceFile::at(path)? })
    }

    /// Open it for reading at any position.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be opened (any more).
    pub fn open(&self) -> Result<Positioned> {
        let file = match &self.spool {
            Some(file) => Arc::clone(file),
            None => Arc::new(File::open(&self.path).map_err(|error| Error::io(&self.path, "cannot open", error))?),
        };
        let length = file.metadata().map_err(|error| Error::io(&self.path, "cannot read the length of", error))?.len();
        Ok(Positioned { file, position: 0, length })
    }

    /// Its first `count` bytes, or all of them.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn head(&self, count: u64) -> Result<Vec<u8>> {
        let mut head = Vec::new();
        self.open()?.take(count).read_to_end(&mut head).map_err(|error| Error::io(&self.path, "cannot read", error))?;
        Ok(head)
    }
}

/// An open file with a position of its own.
#[derive(Clone, Debug)]
pub struct Positioned {
    file: Arc<File>,
    position: u64,
    length: u64,
}

impl Positioned {
    /// The length when it was opened.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The same file from `position` on.
    pub fn from(&self, position: u64) -> Positioned {
        Positioned { file: Arc::clone(&self.file), position, length: self.length }
    }

    /// Fill `to` with what stands at `position`.
    ///
    /// # Errors
    /// The system's, or an unexpected end of file.
    pub fn read_exact_at(&self, to: &mut [u8], position: u64) -> std::io::Result<()> {
        self.file.read_exact_at(to, position)
    }

    /// The `length` bytes at `position`, fewer if the file ends before. The buffer is not filled with zeros first.
    ///
    /// # Errors
    /// The system's.
    pub fn bytes_at(&self, position: u64, length: usize) -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(length);
        while bytes.len() < length {
            let at = position + bytes.len() as u64;
            match rustix::io::pread(&*self.file, rustix::buffer::spare_capacity(&mut bytes), at) {
                Ok(0) => break,
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        // A vector may have room for more than was asked for.
        bytes.truncate(length);
        Ok(bytes)
    }
}

impl Read for Positioned {
    fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
        let count = self.file.read_at(to, self.position)?;
        self.position += count as u64;
        Ok(count)
    }
}

impl Seek for Positioned {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        let target = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(delta) => self.length.checked_add_signed(delta),
            SeekFrom::Current(delta) => self.position.checked_add_signed(delta),
        };
        self.position = target.ok_or(std::io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

/// The files that `specs` (files, folders, patterns, `-`) stand for, in the order given; those of a folder or pattern
/// sorted by path.
///
/// # Errors
/// [`Error::Usage`] for no or senseless specs, [`Error`] when something cannot be read or holds no data file.
pub fn list(specs: &[String], options: &SourceOptions) -> Result<Vec<SourceFile>> {
    if specs.is_empty() {
        return Err(Error::Usage(
            "no source given: name files, folders, patterns, or '-' for the standard input".into(),
        ));
    }
    if specs.iter().filter(|spec| *spec == "-").count() > 1 {
        return Err(Error::Usage("the standard input ('-') is given more than once".into()));
    }
    let mut files = Vec::new();
    // A file by its place on the disk, whatever names and links lead there.
    let mut known: BTreeMap<(u64, u64), (PathBuf, usize)> = BTreeMap::new();
    for (number, spec) in specs.iter().enumerate() {
        let path = Path::new(spec);
        let found = if spec == "-" {
            vec![spool(std::io::stdin(), options)?]
        } else if path.is_dir() {
            refuse_own(path)?;
            folder(path, path, options)?
        } else if path.exists() {
            vec![SourceFile::at(path)?]
        } else if spec.contains("://") {
            return Err(Error::data(spec, "is an address, and only files are read")
                .help("Copy the data here first, or pipe them in and write '-' for the standard input"));
        } else if !spec.contains(['*', '?', '[']) {
            let absent = |error: Error| match spec.contains(',') {
                true => Error::data(spec, "no such file").help("Set several files apart by blanks, not by commas"),
                false => error,
            };
            vec![SourceFile::at(path).map_err(absent)?]
        } else {
            pattern(spec, options)?
        };
        for file in found.iter().filter(|file| file.spool.is_none()) {
            let Ok(about) = std::fs::metadata(&file.path) else { continue };
            let before = known.insert((about.dev(), about.ino()), (file.path.clone(), number));
            let Some((path, other)) = before else { continue };
            let name = file.path.display();
            return Err(Error::Usage(if other == number {
                format!(
                    "{} and {name} are one file, and its rows would be read twice. Name the files one by one, or remove one of the links",
                    path.display()
                )
            } else {
                format!(
                    "{name} is given twice, by '{}' and by '{spec}', and its rows would be read twice. Name it once",
                    specs[other]
                )
            }));
        }
        files.extend(found);
    }
    Ok(files)
}

/// How soon a request to stop is noticed while a stream is copied.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Copy a stream to a file that has no name, so that nothing is left behind however the program ends.
fn spool(mut from: impl Read + Send + 'static, options: &SourceOptions) -> Result<SourceFile> {
    let name = format!(".gristmill-stdin-{}", std::process::id());
    let path = options.scratch.join(name);
    let doing = if options.scratch == memory::scratch_folder() {
        "cannot copy the standard input to this folder (TMPDIR names another)"
    } else {
        "cannot copy the standard input to this folder"
    };
    let failed = |error| Error::io(&options.scratch, doing, error);
    let file = File::options().read(true).write(true).create_new(true).open(&path).map_err(failed)?;
    std::fs::remove_file(&path).map_err(|error| Error::io(&path, "cannot unlink", error))?;
    let file = Arc::new(file);
    let (to, (done, copied)) = (Arc::clone(&file), mpsc::channel());
    // A thread of its own: nothing ends a read from a terminal or a pipe that stays silent, and the process need not wait for it.
    std::thread::spawn(move || done.send(std::io::copy(&mut from, &mut &*to)));
    let bytes = loop {
        match copied.recv_timeout(LOOK_INTERVAL) {
            Ok(copied) => break copied,
            Err(RecvTimeoutError::Timeout) => options.cancel.check()?,
            Err(RecvTimeoutError::Disconnected) => break Err(std::io::Error::other("the copying thread died")),
        }
    };
    let bytes = bytes.map_err(failed)?;
    if bytes == 0 {
        return Err(Error::data("-", "the standard input is empty").help("Pipe data in, or name files"));
    }
    Ok(SourceFile { path: PathBuf::from("-"), bytes, partition: Vec::new(), spool: Some(file) })
}

fn pattern(spec: &str, options: &SourceOptions) -> Result<Vec<SourceFile>> {
    let matches = glob::glob(spec).map_err(|error| Error::Usage(format!("pattern '{spec}': {error}")))?;
    // Matches come without the dot that a pattern may begin with.
    let fixed = Path::new(spec.trim_start_matches("./")).components();
    let fixed = fixed.take_while(|part| !part.as_os_str().to_string_lossy().contains(['*', '?', '[']));
    let root: PathBuf = fixed.collect();
    let mut files = Vec::new();
    for path in matches {
        let path = path.map_err(|error| {
            let path = error.path().to_owned();
            Error::io(path, "cannot read", error.into())
        })?;
        if path.is_dir() {
            files.extend(folder(&path, &root, options)?);
        } else if !is_bookkeeping(&path) {
            files.push(SourceFile::below(&root, &path)?);
        }
    }
    if files.is_empty() {
        return Err(Error::data(spec, "no file matches this pattern"));
    }
    Ok(files)
}

fn folder(path: &Path, root: &Path, options: &SourceOptions) -> Result<Vec<SourceFile>> {
    let mut walk = Walk { above: Vec::new(), paths: Vec::new(), cancel: &options.cancel };
    walk.enter(path)?;
    let mut paths = walk.paths;
    paths.sort();
    if paths.iter().any(|path| detect::by_extension(path).is_some()) {
        paths.retain(|path| detect::by_extension(path).is_some());
    }
    if paths.is_empty() {
        return Err(Error::data(path, "the folder holds no data file")
            .help("Hidden files and files whose names begin with '_' are skipped; name them one by one to read them"));
    }
    paths.iter().map(|path| SourceFile::below(root, path)).collect()
}

/// A folder with these is a dataset, or a run: no source, though it may lie in the folder of the sources.
const OWN_FILES: [[&str; 2]; 2] = [["manifest.json", "statistics.arrow"], ["config.toml", "metrics.jsonl"]];

/// An error where a folder that is given is no source, but was made of one.
fn refuse_own(folder: &Path) -> Result<()> {
    let name = folder.display();
    if OWN_FILES[0].iter().all(|own| folder.join(own).is_file()) {
        return Err(Error::Usage(format!(
            "{name} is a dataset already: give it to train, predict or evaluate as it is, alone, or name source files"
        )));
    }
    if is_own(folder) {
        return Err(Error::Usage(format!("{name} is the folder of a training: name source files")));
    }
    Ok(())
}

/// Whether a folder holds what this program makes. A run that was interrupted has checkpoints and no metrics yet.
fn is_own(folder: &Path) -> bool {
    let has = |name: &str| folder.join(name).is_file();
    let is_checkpoint = |name: &str| name.starts_with("checkpoint-") && name.ends_with(".jsonl");
    let entries = || std::fs::read_dir(folder).into_iter().flatten().flatten();
    OWN_FILES.iter().any(|names| names.iter().all(|name| has(name)))
        || has("config.toml") && entries().any(|entry| entry.file_name().to_str().is_some_and(is_checkpoint))
}

/// A way through a folder and those in it.
struct Walk<'a> {
    /// The folders that lead here, by their places on the disk.
    above: Vec<(u64, u64)>,
    paths: Vec<PathBuf>,
    cancel: &'a Cancel,
}

impl Walk<'_> {
    fn enter(&mut self, folder: &Path) -> Result<()> {
        self.cancel.check()?;
        let failed = |error| Error::io(folder, "cannot list", error);
        let about = std::fs::metadata(folder).map_err(failed)?;
        let place = (about.dev(), about.ino());
        if self.above.contains(&place) {
            return Err(Error::data(folder, "is a folder that this one lies in, and reading it would never end")
                .help("A link leads back to a folder above it. Remove the link, or name the files one by one"));
        }
        self.above.push(place);
        for entry in std::fs::read_dir(folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if is_bookkeeping(&path) {
                continue;
            }
            if !path.is_dir() {
                self.paths.push(path);
            } else if !is_own(&path) {
                self.enter(&path)?;
            }
        }
        self.above.pop();
        Ok(())
    }
}

fn is_bookkeeping(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with(['.', '_']) || name.ends_with(".crc")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(files: &[SourceFile], below: &Path) -> Vec<String> {
        files.iter().map(|file| file.path.strip_prefix(below).unwrap().display().to_string()).collect()
    }

    fn specs(paths: &[&Path]) -> Vec<String> {
        paths.iter().map(|path| path.display().to_string()).collect()
    }

    fn touch(folder: &Path, names: &[&str]) {
        for name in names {
            let path = folder.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x\n1\n").unwrap();
        }
    }

    #[test]
    fn a_folder_is_read_recursively_sorted_and_without_bookkeeping() {
        let folder = tempfile::tempdir().unwrap();
        touch(
            folder.path(),
            &["b/2.csv", "b/1.csv", "a.csv", "_SUCCESS", ".hidden.csv", "a.csv.crc", ".git/x.csv", "readme.md"],
        );
        let files = list(&specs(&[folder.path()]), &SourceOptions::default()).unwrap();
        assert_eq!(names(&files, folder.path()), ["a.csv", "b/1.csv", "b/2.csv"]);
        assert_eq!(files[0].bytes, 4);
    }

    #[test]
    fn datasets_and_runs_are_no_sources() {
        let folder = tempfile::tempdir().unwrap();
        let ours = ["data/manifest.json", "data/statistics.arrow", "data/train-00000.arrow", "run/config.toml"];
        touch(folder.path(), &ours);
        touch(folder.path(), &["a.csv", "other/manifest.json", "other/b.csv", "run/metrics.jsonl", "run/l1-0/c.csv"]);
        touch(folder.path(), &["cut/config.toml", "cut/checkpoint-000007.jsonl"]);
        let files = list(&specs(&[folder.path()]), &SourceOptions::default()).unwrap();
        assert_eq!(names(&files, folder.path()), ["a.csv", "other/b.csv", "other/manifest.json"]);
        for (given, what) in [("data", "data is a dataset already"), ("run", "run is the folder of a training")] {
            let error = list(&specs(&[&folder.path().join(given)]), &SourceOptions::default()).unwrap_err();
            assert!(error.to_string().contains(what), "{error}");
        }
    }

    #[test]
    fn files_without_extension_count_when_no_other_has_a_known_one() {
        let folder = tempfile::tempdir().unwrap();
        touch(folder.path(), &["part-00001", "part-00000", "_temporary/part-00009"]);
        let files = list(&specs(&[folder.path()]), &SourceOptions::default()).unwrap();
        assert_eq!(names(&files, folder.path()), ["part-00000", "part-00001"]);
    }

    #[test]
    fn patterns_are_expanded_and_must_match() {
        let folder = tempfile::tempdir().unwrap();
        touch(folder.path(), &["1.csv", "2.csv", "3.parquet"]);
        let files = list(&specs(&[&folder.path().join("*.csv")]), &SourceOptions::default()).unwrap();
        assert_eq!(names(&files, folder.path()), ["1.csv", "2.csv"]);
        let error = list(&specs(&[&folder.path().join("*.txt")]), &SourceOptions::default()).unwrap_err().to_string();
        assert!(error.contains("*.txt: no file matches this pattern"), "{error}");
    }

    #[test]
    fn a_file_given_twice_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        touch(folder.path(), &["1.csv", "2.csv", "b/3.csv"]);
        let at = |name: &str| folder.path().join(name);
        for again in [&at("1.csv"), &at("./b/../1.csv"), &at("?.csv"), &folder.path().to_path_buf()] {
            let error = list(&specs(&[&at("1.csv"), again]), &SourceOptions::default()).unwrap_err().to_string();
            assert!(error.contains("1.csv is given twice, by '") && error.contains("Name it once"), "{error}");
        }
        assert_eq!(list(&specs(&[&at("?.csv"), &at("b")]), &SourceOptions::default()).unwrap().len(), 3);
        std::os::unix::fs::symlink("3.csv", at("b/link.csv")).unwrap();
        std::fs::hard_link(at("1.csv"), at("4.csv")).unwrap();
        for (given, names) in [("b", "b/3.csv and "), ("?.csv", "1.csv and "), ("[0-9].csv", "1.csv and ")] {
            let error = list(&specs(&[&at(given)]), &SourceOptions::default()).unwrap_err().to_string();
            assert!(error.contains(names) && error.contains("are one file"), "{error}");
        }
        assert_eq!(list(&specs(&[&at("b/3.csv"), &at("1.csv")]), &SourceOptions::default()).unwrap().len(), 2);
    }

    #[test]
    fn what_is_not_there_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error =
            list(&specs(&[&folder.path().join("gone.csv")]), &SourceOptions::default()).unwrap_err().to_string();
        assert!(error.contains("gone.csv: cannot open: No such file"), "{error}");
        for (spec, part) in [("s3://bucket/*.parquet", "is an address"), ("a.csv,b.csv", "apart by blanks")] {
            let error = list(&[spec.into()], &SourceOptions::default()).unwrap_err().to_string();
            assert!(error.contains(spec) && error.contains(part), "{error}");
        }
        let error = list(&specs(&[folder.path()]), &SourceOptions::default()).unwrap_err().to_string();
        assert!(error.contains("holds no data file"), "{error}");
        assert!(matches!(list(&[], &SourceOptions::default()), Err(Error::Usage(_))));
        assert!(matches!(list(&["-".into(), "-".into()], &SourceOptions::default()), Err(Error::Usage(_))));
    }

    #[test]
    fn a_link_to_a_folder_above_is_an_error_and_no_hang() {
        let folder = tempfile::tempdir().unwrap();
        touch(folder.path(), &["a.csv", "sub/b.csv"]);
        // Two links double the folders at every depth.
        for links in [["loop", "other"], ["sub/loop", "sub/other"]] {
            links.iter().for_each(|link| std::os::unix::fs::symlink(folder.path(), folder.path().join(link)).unwrap());
            let error = list(&specs(&[folder.path()]), &SourceOptions::default()).unwrap_err().to_string();
            assert!(links.iter().any(|link| error.contains(&format!("/{link}: "))), "{error}");
            assert!(error.contains("A link leads back to a folder above it"), "{error}");
            links.iter().for_each(|link| std::fs::remove_file(folder.path().join(link)).unwrap());
        }
        let options = SourceOptions::default();
        options.cancel.request();
        assert!(matches!(list(&specs(&[folder.path()]), &options), Err(Error::Interrupted)));
    }

    #[test]
    fn a_spooled_stream_can_be_opened_again_and_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let options = SourceOptions { scratch: folder.path().to_path_buf(), ..SourceOptions::default() };
        let file = spool(&b"a,b\n1,2\n"[..], &options).unwrap();
        for _ in 0..2 {
            assert_eq!(file.head(100).unwrap(), b"a,b\n1,2\n");
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        let error = spool(&b""[..], &options).unwrap_err().to_string();
        assert!(error.contains("the standard input is empty"), "{error}");
    }

    #[test]
    fn a_silent_stream_is_given_up_when_asked_to() {
        let options = SourceOptions::default();
        options.cancel.request();
        let (silent, _held) = std::io::pipe().unwrap();
        assert!(matches!(spool(silent, &options), Err(Error::Interrupted)));
    }
}
