//! Durable writes: what is on disk is either the old state or the new one, whenever the process dies.
//!
//! The only caller of `rename` in the project. Two shapes, and [`Claim`], which keeps two long jobs from making one output:
//! - [`write_file`]: one file. Written under a temporary name in the same folder, synced, renamed, folder synced.
//! - [`Staging`]: a folder. Filled under `.NAME.partial` beside the output ([`write_staged`]); [`Staging::commit`] syncs every file and
//!   folder, gives it the name of the output, in exchange with an old one, and removes that. Dropped
//!   without commit, it removes itself; what a killed process left behind is removed by the next run for that output.
//!
//! Assumed of the file system: rename within a folder is atomic, and a synced folder keeps its entries. Where it exchanges no
//! names (NFS, for one) an old output is moved aside (`.NAME.old`) before the new one is renamed: a process that
//! dies between the two renames leaves the old output, complete, under that name; the next run puts it back.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, Result};

/// A step of a durable write, named for fault injection in tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Creating the temporary file or staging folder.
    Create,
    /// Writing the content.
    Write,
    /// Syncing a file.
    SyncFile,
    /// Syncing a folder.
    SyncFolder,
    /// Exchanging the names of the old output and the new one.
    Exchange,
    /// Moving the old output aside, where names cannot be exchanged.
    MoveAside,
    /// Renaming into place.
    Rename,
    /// Removing the old output.
    RemoveOld,
}

#[cfg(test)]
thread_local! {
    /// The step at which writes of this thread fail, how many times it passes before, and whether the "process dies"
    /// there (nothing is cleaned up) or only gets an error.
    static FAULT: std::cell::Cell<Option<(Step, u32, bool)>> = const { std::cell::Cell::new(None) };
    static DEAD: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
    /// Whether the file system exchanges no names.
    static PLAIN: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Tests make a step fail here; otherwise nothing.
#[cfg(test)]
fn pass(step: Step) -> std::io::Result<()> {
    if DEAD.get() {
        return Err(std::io::Error::other("dead"));
    }
    match FAULT.get() {
        Some((at, 0, kill)) if at == step => {
            DEAD.set(kill);
            FAULT.set(None);
            Err(std::io::Error::from_raw_os_error(rustix::io::Errno::NOSPC.raw_os_error()))
        }
        Some((at, count, kill)) if at == step => {
            FAULT.set(Some((at, count - 1, kill)));
            Ok(())
        }
        _ => Ok(()),
    }
}

#[cfg(not(test))]
fn pass(_step: Step) -> std::io::Result<()> {
    Ok(())
}

/// True when a test plays a process that died: cleaning up must not run.
fn dead() -> bool {
    #[cfg(test)]
    return DEAD.get();
    #[cfg(not(test))]
    false
}

/// Write a file so that it holds either what it held before or all that `write` wrote.
///
/// # Errors
/// Of `write`, or [`Error::Io`]; the file is then as it was.
pub fn write_file<T, E: From<Error>>(
    path: &Path,
    write: impl FnOnce(&mut File) -> std::result::Result<T, E>,
) -> std::result::Result<T, E> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let (folder, name) = parts(path)?;
    sweep(&folder, &name);
    let unique = format!("tmp-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
    let temporary = folder.join(hidden(&name, &unique));
    let outcome = write_temporary(&temporary, &folder.join(&name), &folder, write);
    if outcome.is_err() && !dead() {
        // Best effort: the error that brought us here is the one to report.
        let _ = fs::remove_file(&temporary);
    }
    outcome
}

fn write_temporary<T, E: From<Error>>(
    temporary: &Path,
    path: &Path,
    folder: &Path,
    write: impl FnOnce(&mut File) -> std::result::Result<T, E>,
) -> std::result::Result<T, E> {
    let mut file =
        pass(Step::Create).and_then(|()| File::create(temporary)).map_err(|e| Error::io(path, "cannot create", e))?;
    // Tells the next run that this file is in use; a file system without locks loses only that.
    let _ = rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive);
    let value = write(&mut file)?;
    pass(Step::Write).and_then(|()| file.flush()).map_err(|e| Error::io(path, "cannot write", e))?;
    pass(Step::SyncFile).and_then(|()| file.sync_all()).map_err(|e| Error::io(path, "cannot write to the disk", e))?;
    pass(Step::Rename)
        .and_then(|()| fs::rename(temporary, path))
        .map_err(|e| Error::io(path, "cannot put the new file in place", e))?;
    sync_folder(folder)?;
    Ok(value)
}

/// [`write_file`] of one that a user names: folders that are not there are made.
///
/// # Errors
/// Of `write`, or [`Error::Io`]; the file is then as it was.
pub fn write_output<T, E: From<Error>>(
    path: &Path,
    write: impl FnOnce(&mut File) -> std::result::Result<T, E>,
) -> std::result::Result<T, E> {
    create_folders(&parts(path)?.0)?;
    write_file(path, write)
}

/// [`write_output`] of bytes at hand.
///
/// # Errors
/// [`Error::Io`]; the file is then as it was.
pub fn write_output_bytes(path: &Path, bytes: &[u8]) -> Result<()> {
    create_folders(&parts(path)?.0)?;
    write_bytes(path, bytes)
}

/// [`write_file`] of bytes at hand.
///
/// # Errors
/// [`Error::Io`]; the file is then as it was.
pub fn write_bytes(path: &Path, bytes: &[u8]) -> Result<()> {
    write_file(path, |file| file.write_all(bytes).map_err(|e| Error::io(path, "cannot write", e)))
}

/// Write a file inside a staging folder: nothing is synced, [`Staging::commit`] does that once for all files.
///
/// # Errors
/// [`Error::Io`].
pub fn write_staged(path: &Path, bytes: &[u8]) -> Result<()> {
    pass(Step::Write).and_then(|()| fs::write(path, bytes)).map_err(|e| Error::io(path, "cannot write", e))
}

/// Which folder that exists a new one may take the place of: none, or, where forced, one of its own kind or an empty one. What somebody else keeps
/// is never removed.
#[derive(Clone, Copy, Debug)]
pub struct Replace {
    force: bool,
    is_own: fn(&Path) -> bool,
}

impl Replace {
    /// Where `--force` was given, one for which `is_own` holds.
    pub fn if_forced(force: bool, is_own: fn(&Path) -> bool) -> Replace {
        Replace { force, is_own }
    }

    /// Whether a new folder may become `output`.
    ///
    /// # Errors
    /// [`Error::Usage`] where something is there that is to stay.
    pub fn check(self, output: &Path) -> Result<()> {
        let is_empty = || fs::read_dir(output).is_ok_and(|mut entries| entries.next().is_none());
        if fs::metadata(output).is_err() || (self.is_own)(output) || is_empty() {
            return if self.force { Ok(()) } else { check_output(output, false) };
        }
        let message = format!(
            "{} exists already and is not what this command writes, so --force does not replace it. Name another output, or remove it yourself",
            output.display()
        );
        Err(Error::Usage(message))
    }
}

/// An error when `file`, which is read, lies in `output` or is it: it would be gone once that is replaced.
///
/// # Errors
/// [`Error::Usage`].
pub fn check_apart(file: &Path, output: &Path) -> Result<()> {
    let (Ok(inner), Ok(outer)) = (fs::canonicalize(file), fs::canonicalize(output)) else { return Ok(()) };
    if !inner.starts_with(outer) {
        return Ok(());
    }
    let message = format!(
        "{} is read, and would be gone when {} is replaced. Name another output",
        file.display(),
        output.display()
    );
    Err(Error::Usage(message))
}

/// A folder in the making.
#[derive(Debug)]
pub struct Staging {
    output: PathBuf,
    parent: PathBuf,
    folder: PathBuf,
    old: PathBuf,
    replace: Replace,
    committed: bool,
    /// Held while this process is alive, so that no other takes the folder for a leftover.
    _lock: File,
}

/// Attempts to make a staging folder: others that want the same name are soon done, what is no folder of theirs stays.
const ATTEMPTS_MAX: u32 = 1_000;

impl Staging {
    /// A staging folder for `output`, which must not exist unless it may be replaced.
    ///
    /// # Errors
    /// [`Error::Usage`] when the output exists or another process is writing it, [`Error::Io`] when the folder cannot
    /// be made.
    pub fn create(output: &Path, replace: Replace) -> Result<Staging> {
        let (parent, name) = parts(output)?;
        create_folders(&parent)?;
        let (folder, old) = (parent.join(hidden(&name, "partial")), parent.join(hidden(&name, "old")));
        let output = parent.join(&name);
        let mut attempt = 0;
        loop {
            attempt += 1;
            recover(&output, &folder, &old)?;
            replace.check(&output)?;
            match pass(Step::Create).and_then(|()| fs::create_dir(&folder)) {
                // Another process was faster: it has locked the folder, or is about to.
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists && attempt < ATTEMPTS_MAX => continue,
                created => created.map_err(|e| Error::io(&folder, "cannot create the folder", e))?,
            }
            // Another process may have taken it for a leftover before it was locked.
            if let Some(lock) = lock_leftover(&folder, &output)? {
                return Ok(Staging { output, parent, folder, old, replace, committed: false, _lock: lock });
            }
        }
    }

    /// Where to write.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where it will be.
    pub fn output(&self) -> &Path {
        &self.output
    }

    /// Make it the output.
    ///
    /// # Errors
    /// [`Error::Io`]; the output is then as it was, and the staging removed.
    pub fn commit(mut self) -> Result<()> {
        sync_tree(&self.folder)?;
        self.replace.check(&self.output)?;
        let replaces = fs::symlink_metadata(&self.output).is_ok();
        // Whatever keeps names from being exchanged, what cannot be renamed either is told by the renames.
        if replaces && exchange(&self.folder, &self.output).is_ok() {
            self.old.clone_from(&self.folder);
            return self.finish(replaces);
        }
        if replaces {
            pass(Step::MoveAside)
                .and_then(|()| fs::rename(&self.output, &self.old))
                .map_err(|e| Error::io(&self.output, "cannot move the old output aside", e))?;
        }
        if let Err(e) = pass(Step::Rename).and_then(|()| fs::rename(&self.folder, &self.output)) {
            if replaces && !dead() {
                fs::rename(&self.old, &self.output)
                    .map_err(|e| Error::io(&self.old, "cannot put the old output back", e))?;
            }
            return Err(Error::io(&self.output, "cannot put the new output in place", e));
        }
        self.finish(replaces)
    }

    /// What is left to do once the new output has its name.
    fn finish(mut self, replaces: bool) -> Result<()> {
        self.committed = true;
        sync_folder(&self.parent)?;
        if !replaces {
            return Ok(());
        }
        match lock_leftover(&self.old, &self.output) {
            Ok(Some(_lock)) => pass(Step::RemoveOld)
                .and_then(|()| remove(&self.old))
                .map_err(|e| Error::io(&self.old, "cannot remove the old output", e)),
            // Another process has removed it, and may have the name for a folder of its own by now.
            Ok(None) | Err(Error::Usage(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if !self.committed && !dead() {
            // Best effort: a leftover is removed by the next run for the same output.
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

/// An error when the file `output` exists, unless `force`; a folder of that name always stays, and so does a device or pipe, which a
/// rename would replace by a file.
///
/// # Errors
/// [`Error::Usage`], that names `--force` where that helps.
pub fn check_output(output: &Path, force: bool) -> Result<()> {
    if force && output.is_dir() {
        let message = format!("{} is a folder, where a file is to be written. Name another output", output.display());
        return Err(Error::Usage(message));
    }
    if force && fs::metadata(output).is_ok_and(|about| !about.is_file()) {
        let message =
            format!("{} is a device or a pipe, where a file is to be written. Name another output", output.display());
        return Err(Error::Usage(message));
    }
    if !force && fs::metadata(output).is_ok() {
        let message = format!("{} exists already. Add --force to replace it, or name another output", output.display());
        return Err(Error::Usage(message));
    }
    Ok(())
}

/// Puts an old output back that a process moved aside which died before the new one had its place; nothing where there is none.
///
/// # Errors
/// [`Error::Usage`] when another process is writing the output, [`Error::Io`].
pub fn put_back(output: &Path) -> Result<()> {
    let (parent, name) = parts(output)?;
    recover(&parent.join(&name), &parent.join(hidden(&name, "partial")), &parent.join(hidden(&name, "old")))
}

/// Clean up after a process that died while it wrote `output`: put an old output that was moved aside back when nothing
/// took its place, and remove the rest. A live process holds a lock on its staging folder.
fn recover(output: &Path, partial: &Path, old: &Path) -> Result<()> {
    if let Some(_lock) = lock_leftover(partial, output)? {
        remove(partial).map_err(|e| Error::io(partial, "cannot remove the leftover of an earlier run", e))?;
    }
    if fs::symlink_metadata(old).is_err() {
        return Ok(());
    }
    if fs::symlink_metadata(output).is_err() {
        match fs::rename(old, output) {
            // Another process has put it back.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
            renamed => renamed.map_err(|e| Error::io(output, "cannot put the old output back", e)),
        }
    } else {
        remove(old).map_err(|e| Error::io(old, "cannot remove the leftover of an earlier run", e))
    }
}

/// An output that this process alone makes, until this is dropped: a long job learns at its start that another is making it, or that it
/// cannot be written, and not at its end. The lock of an empty file `.NAME.lock` beside it; a file system without locks holds off nobody.
#[derive(Debug)]
pub struct Claim {
    path: PathBuf,
    _lock: File,
}

impl Claim {
    /// Claims `output`, which need not exist.
    ///
    /// # Errors
    /// [`Error::Usage`] when another process has it, [`Error::Io`] when nothing can be written beside it.
    pub fn of(output: &Path) -> Result<Claim> {
        let (parent, name) = parts(output)?;
        create_folders(&parent)?;
        let path = parent.join(hidden(&name, "lock"));
        loop {
            let file = File::options().create(true).truncate(false).write(true).open(&path);
            let file = file.map_err(|e| Error::io(&path, "cannot create the lock of the output", e))?;
            lock(&file, output)?;
            // Who had it before removes the file, perhaps after it was opened here: then nobody else would find this lock.
            if is_at(&file, &path) {
                return Ok(Claim { path, _lock: file });
            }
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // Best effort: an empty file that nobody locks holds off nobody.
        let _ = fs::remove_file(&self.path);
    }
}

/// The lock of a leftover of `output`, or none when there is no leftover.
fn lock_leftover(partial: &Path, output: &Path) -> Result<Option<File>> {
    loop {
        match File::open(partial) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::io(partial, "cannot open the leftover of an earlier run", e)),
            Ok(file) => {
                lock(&file, output)?;
                // Its process may have removed or renamed it before this one had the lock, and another made a new one.
                if is_at(&file, partial) {
                    return Ok(Some(file));
                }
            }
        }
    }
}

/// Whether what is open is what has this name now.
fn is_at(file: &File, path: &Path) -> bool {
    let place = |about: fs::Metadata| (about.dev(), about.ino());
    fs::metadata(path).is_ok_and(|there| file.metadata().is_ok_and(|own| place(own) == place(there)))
}

/// Locks an open file or folder; `what` is what another process is writing that has the lock.
fn lock(file: &File, what: &Path) -> Result<()> {
    match rustix::fs::flock(file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let message = format!("another process is writing {}. Wait for it, or name another output", what.display());
            Err(Error::Usage(message))
        }
        // A file system without locks: one that is not in use is all we can assume.
        _ => Ok(()),
    }
}

/// Remove temporary files that killed processes left for `name`; those in use are locked. Best effort.
fn sweep(folder: &Path, name: &OsStr) {
    let prefix = hidden(name, "tmp-");
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        if entry.file_name().as_encoded_bytes().starts_with(prefix.as_encoded_bytes())
            && let Ok(Some(_lock)) = lock_leftover(&entry.path(), &entry.path())
        {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Threads that sync the files of a folder: a file system commits what they ask for together.
const SYNCING: usize = 16;

/// Sync every file and folder below `folder`, and itself.
fn sync_tree(folder: &Path) -> Result<()> {
    let (mut files, mut folders) = (Vec::new(), vec![folder.to_path_buf()]);
    let mut at = 0;
    while let Some(folder) = folders.get(at).cloned() {
        for entry in fs::read_dir(&folder).map_err(|e| Error::io(&folder, "cannot list the folder", e))? {
            let path = entry.map_err(|e| Error::io(&folder, "cannot list the folder", e))?.path();
            let kind = fs::symlink_metadata(&path).map_err(|e| Error::io(&path, "cannot look at", e))?.file_type();
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() {
                files.push(path);
            }
        }
        at += 1;
    }
    // All at once: none has its name yet, and a file system commits what it is asked for together.
    sync_each(&[(&files, Step::SyncFile), (&folders, Step::SyncFolder)])
}

/// Have the disk hold these files, wherever they will be.
///
/// # Errors
/// [`Error::Io`].
pub fn sync_files(files: &[PathBuf]) -> Result<()> {
    sync_each(&[(files, Step::SyncFile)])
}

/// Sync files and folders, several at a time.
fn sync_each(lots: &[(&[PathBuf], Step)]) -> Result<()> {
    let mut all = Vec::new();
    for (paths, step) in lots {
        for path in *paths {
            pass(*step).map_err(|e| Error::io(path, "cannot write to the disk", e))?;
            all.push(path);
        }
    }
    let paths = &all[..];
    let sync = |path: &&PathBuf| {
        let synced = File::open(path).and_then(|file| file.sync_all());
        synced.map_err(|e| Error::io(path, "cannot write to the disk", e))
    };
    let each = paths.len().div_ceil(SYNCING).max(1);
    std::thread::scope(|scope| {
        let mut chunks = paths.chunks(each);
        // The caller's thread has its share as well.
        let own = chunks.next().unwrap_or_default();
        let threads: Vec<_> = chunks.map(|paths| scope.spawn(move || paths.iter().try_for_each(sync))).collect();
        let mut synced = own.iter().try_for_each(sync);
        for thread in threads {
            synced = synced.and(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        synced
    })
}

/// Creates a folder and those above it that are not there; they are on the disk when this returns.
fn create_folders(folder: &Path) -> Result<()> {
    let is_missing = |above: &&Path| !above.as_os_str().is_empty() && !above.exists();
    let missing: Vec<&Path> = folder.ancestors().take_while(is_missing).collect();
    fs::create_dir_all(folder).map_err(|e| Error::io(folder, "cannot create the folder", e))?;
    for above in missing.iter().filter_map(|made| made.parent()) {
        sync_folder(if above.as_os_str().is_empty() { Path::new(".") } else { above })?;
    }
    Ok(())
}

fn sync_folder(folder: &Path) -> Result<()> {
    pass(Step::SyncFolder)
        .and_then(|()| File::open(folder))
        .and_then(|file| file.sync_all())
        .map_err(|e| Error::io(folder, "cannot write the folder to the disk", e))
}

/// Exchanges the names of two things in one step, where the file system can.
fn exchange(one: &Path, other: &Path) -> std::io::Result<()> {
    #[cfg(test)]
    if PLAIN.get() {
        return Err(std::io::Error::from(std::io::ErrorKind::Unsupported));
    }
    pass(Step::Exchange)?;
    let here = rustix::fs::CWD;
    Ok(rustix::fs::renameat_with(here, one, here, other, rustix::fs::RenameFlags::EXCHANGE)?)
}

/// Remove a file, or a folder and all in it. Another process may do the same.
fn remove(path: &Path) -> std::io::Result<()> {
    let is_folder = fs::symlink_metadata(path).map(|about| about.is_dir());
    match is_folder.and_then(|is_folder| if is_folder { fs::remove_dir_all(path) } else { fs::remove_file(path) }) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// A chain of more links than this leads nowhere, as on Linux.
const LINKS_MAX: usize = 40;

/// Folder and name of an output; of a link those of what it leads to, for that is to be replaced and the link to stay.
fn parts(path: &Path) -> Result<(PathBuf, OsString)> {
    let mut at = path.to_path_buf();
    for _ in 0..LINKS_MAX {
        let name = at.file_name().ok_or_else(|| Error::Usage(format!("{} is no name of an output", path.display())))?;
        let folder = match at.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        match fs::read_link(folder.join(name)) {
            Ok(to) => at = folder.join(to),
            Err(_) => return Ok((folder.to_path_buf(), name.to_os_string())),
        }
    }
    Err(Error::Usage(format!("{} is a link that leads nowhere. Name another output", path.display())))
}

/// `.NAME.suffix`
fn hidden(name: &OsStr, suffix: &str) -> OsString {
    let mut hidden = OsString::from(".");
    hidden.push(name);
    hidden.push(".");
    hidden.push(suffix);
    hidden
}

#[cfg(test)]
#[path = "durable_tests.rs"]
mod tests;
