//! Crashes and errors at every step: what is found afterwards is the old state or the new one.

use super::*;

fn fail(step: Step, after: u32, kill: bool) {
    FAULT.set(Some((step, after, kill)));
}

/// What a new process would see: faults and death of the old one are over.
fn restart() {
    FAULT.set(None);
    DEAD.set(false);
}

/// Whether the file system of temporary folders exchanges names; when not, or not to, the tests play one that does not.
fn set_exchange(wanted: bool) -> bool {
    let scratch = tempfile::tempdir().unwrap();
    let (one, other) = (scratch.path().join("one"), scratch.path().join("other"));
    fs::write(&one, "").unwrap();
    fs::create_dir(&other).unwrap();
    PLAIN.set(!wanted);
    let can = exchange(&one, &other).is_ok();
    assert_eq!(can, one.is_dir());
    can
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

const FILE_STEPS: [Step; 5] = [Step::Create, Step::Write, Step::SyncFile, Step::Rename, Step::SyncFolder];

#[test]
fn a_file_is_old_or_new_whatever_step_fails() {
    for kill in [false, true] {
        for step in FILE_STEPS {
            let scratch = tempfile::tempdir().unwrap();
            let path = scratch.path().join("model.json");
            write_bytes(&path, b"old").unwrap();
            fail(step, 0, kill);
            let error = write_bytes(&path, b"new").unwrap_err();
            restart();
            let content = fs::read(&path).unwrap();
            assert_eq!(content == b"new", step == Step::SyncFolder, "{step:?}: {content:?}");
            assert!(error.to_string().contains("model.json") || step == Step::SyncFolder, "{error}");
            write_bytes(&path, b"newer").unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"newer");
            assert_eq!(names(scratch.path()), ["model.json"], "{step:?} left something");
        }
    }
}

fn fill(staging: &Staging, content: &str) {
    fs::write(staging.folder().join("a"), content).unwrap();
    fs::create_dir(staging.folder().join("sub")).unwrap();
    fs::write(staging.folder().join("sub/b"), content).unwrap();
}

fn write_folder(output: &Path, content: &str) -> Result<()> {
    let staging = Staging::create(output, Replace::if_forced(true, |_| true))?;
    fill(&staging, content);
    staging.commit()
}

fn content(output: &Path) -> (String, String) {
    (fs::read_to_string(output.join("a")).unwrap(), fs::read_to_string(output.join("sub/b")).unwrap())
}

#[test]
fn a_folder_is_old_or_new_whatever_step_fails() {
    let before =
        [(Step::Create, 0), (Step::SyncFile, 0), (Step::SyncFile, 1), (Step::SyncFolder, 0), (Step::SyncFolder, 1)];
    let after = [(Step::SyncFolder, 2), (Step::RemoveOld, 0)];
    for (kill, wanted) in [(false, false), (true, false), (false, true), (true, true)] {
        let exchanges = set_exchange(wanted);
        let between: &[(Step, u32)] = match (exchanges, kill) {
            (false, _) => &[(Step::MoveAside, 0), (Step::Rename, 0)],
            (true, true) => &[(Step::Exchange, 0)],
            (true, false) => &[],
        };
        let steps: Vec<(Step, u32)> = [&before[..], between, &after[..]].concat();
        for (number, &(step, after)) in steps.iter().enumerate() {
            let scratch = tempfile::tempdir().unwrap();
            let output = scratch.path().join("data");
            write_folder(&output, "old").unwrap();
            fail(step, after, kill);
            assert!(write_folder(&output, "new").is_err(), "{step:?}");
            restart();
            assert!(
                output.exists() || (!exchanges && kill && step == Step::Rename),
                "{step:?}: no output has its name"
            );
            // The next run for the same output first recovers, then finds the output there and refuses.
            let refused = Staging::create(&output, Replace::if_forced(false, |_| true)).unwrap_err();
            assert!(refused.to_string().contains("--force"), "{refused}");
            let expected = if number + 2 >= steps.len() { "new" } else { "old" };
            assert_eq!(content(&output), (expected.to_string(), expected.to_string()), "{step:?} {after} {kill}");
            assert_eq!(names(scratch.path()), ["data"], "{step:?} {after} {kill}");
            write_folder(&output, "newest").unwrap();
            assert_eq!(content(&output).0, "newest");
        }
    }
}

#[test]
fn dropping_leaves_nothing() {
    let scratch = tempfile::tempdir().unwrap();
    let staging = Staging::create(&scratch.path().join("data"), Replace::if_forced(false, |_| true)).unwrap();
    fill(&staging, "x");
    drop(staging);
    assert!(names(scratch.path()).is_empty());
}

#[test]
fn two_writers_of_one_output_do_not_mix() {
    let scratch = tempfile::tempdir().unwrap();
    let output = scratch.path().join("data");
    let first = Staging::create(&output, Replace::if_forced(false, |_| true)).unwrap();
    let second = Staging::create(&output, Replace::if_forced(true, |_| true)).unwrap_err();
    assert!(matches!(&second, Error::Usage(_)) && second.to_string().contains("another process"), "{second}");
    fill(&first, "x");
    first.commit().unwrap();
    assert_eq!(content(&output).0, "x");
}

#[test]
fn an_output_that_appears_meanwhile_is_kept() {
    let scratch = tempfile::tempdir().unwrap();
    let output = scratch.path().join("data");
    let staging = Staging::create(&output, Replace::if_forced(false, |_| true)).unwrap();
    fs::write(&output, "somebody else's").unwrap();
    assert!(matches!(staging.commit().unwrap_err(), Error::Usage(_)));
    assert_eq!(fs::read_to_string(&output).unwrap(), "somebody else's");
    assert_eq!(names(scratch.path()), ["data"]);
}

#[test]
fn relative_and_odd_outputs() {
    assert!(Staging::create(Path::new("/"), Replace::if_forced(false, |_| true)).is_err());
    assert!(write_bytes(Path::new(".."), b"").is_err());
    assert_eq!(parts(Path::new("name")).unwrap().0, Path::new("."));
}

#[test]
fn what_is_not_ours_stays() {
    let scratch = tempfile::tempdir().unwrap();
    let output = scratch.path().join("data");
    let ours = Replace::if_forced(true, |folder| folder.join("mark").is_file());
    assert!(ours.check(&output).is_ok());
    fs::create_dir(&output).unwrap();
    assert!(ours.check(&output).is_ok(), "an empty folder");
    let unforced = |is_own| Replace::if_forced(false, is_own).check(&output).expect_err("exists").to_string();
    assert!(unforced(|_| true).contains("Add --force"));
    fs::write(output.join("thesis"), "precious").unwrap();
    assert!(unforced(|_| false).contains("does not replace it"), "advice that helps");
    let refused = Staging::create(&output, ours).unwrap_err().to_string();
    assert!(refused.contains("does not replace it"), "{refused}");
    assert_eq!(fs::read_to_string(output.join("thesis")).unwrap(), "precious");
    fs::write(output.join("mark"), "").unwrap();
    assert!(ours.check(&output).is_ok());
    assert!(check_apart(&output.join("thesis"), &output).is_err() && check_apart(&output, &output).is_err());
    assert!(check_apart(scratch.path(), &output).is_ok() && check_apart(&output, &scratch.path().join("new")).is_ok());
    let file = scratch.path().join("file");
    fs::write(&file, "precious").unwrap();
    assert!(ours.check(&file).is_err() && check_output(&file, true).is_ok() && check_output(&output, true).is_err());
    assert!(check_output(Path::new("/dev/null"), true).is_err(), "a rename would replace it");
    assert_eq!(names(scratch.path()), ["data", "file"]);
}

#[test]
fn an_output_is_claimed_by_one_at_a_time() {
    let scratch = tempfile::tempdir().unwrap();
    let output = scratch.path().join("new/run");
    let claim = Claim::of(&output).unwrap();
    let error = Claim::of(&output).unwrap_err().to_string();
    assert!(error.contains("another process is writing") && error.contains("new/run."), "{error}");
    drop(claim);
    assert!(names(&scratch.path().join("new")).is_empty());
    // What a killed process left is nobody's.
    fs::write(scratch.path().join("new/.run.lock"), "").unwrap();
    drop(Claim::of(&output).unwrap());
    assert!(names(&scratch.path().join("new")).is_empty());
    fs::write(scratch.path().join("file"), "").unwrap();
    assert!(matches!(Claim::of(&scratch.path().join("file/run")), Err(Error::Io { .. })));
}

#[test]
fn an_output_that_was_moved_aside_is_put_back_on_request() {
    let scratch = tempfile::tempdir().unwrap();
    let output = scratch.path().join("run");
    put_back(&output).unwrap();
    write_folder(&output, "old").unwrap();
    set_exchange(false);
    fail(Step::Rename, 0, true);
    write_folder(&output, "new").unwrap_err();
    restart();
    assert!(!output.exists());
    put_back(&output).unwrap();
    assert_eq!(content(&output), ("old".into(), "old".into()));
    assert_eq!(names(scratch.path()), ["run"]);
}

#[test]
fn a_link_stays_and_what_it_leads_to_is_replaced() {
    let scratch = tempfile::tempdir().unwrap();
    let at = |name: &str| scratch.path().join(name);
    fs::create_dir(at("disk")).unwrap();
    for (link, to) in [("run", "disk/run"), ("file", "disk/file"), ("again", "run")] {
        std::os::unix::fs::symlink(to, at(link)).unwrap();
    }
    // First there is nothing where the links lead, then what was written before.
    for content_of in ["old", "new"] {
        check_output(&at("file"), content_of == "new").unwrap();
        write_output_bytes(&at("file"), content_of.as_bytes()).unwrap();
        write_folder(&at("run"), content_of).unwrap();
        assert_eq!(fs::read_to_string(at("disk/file")).unwrap(), content_of);
        assert_eq!(content(&at("disk/run")).0, content_of);
    }
    write_folder(&at("again"), "newest").unwrap();
    assert_eq!(content(&at("disk/run")).0, "newest");
    for link in ["run", "file", "again"] {
        assert!(fs::symlink_metadata(at(link)).unwrap().is_symlink(), "{link}");
    }
    let refused = Replace::if_forced(false, |_| true);
    assert!(refused.check(&at("run")).is_err() && check_output(&at("file"), false).is_err());
    // One output, whatever name it is called by.
    let claim = Claim::of(&at("again")).unwrap();
    assert!(Claim::of(&at("disk/run")).unwrap_err().to_string().contains("another process"));
    drop(claim);
    std::os::unix::fs::symlink("ring", at("ring")).unwrap();
    assert!(matches!(write_bytes(&at("ring"), b""), Err(Error::Usage(_))));
    assert_eq!(names(&at("disk")), ["file", "run"]);
}

#[test]
fn processes_that_race_for_an_output_are_told_of_each_other() {
    let scratch = tempfile::tempdir().unwrap();
    let output = scratch.path().join("data");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..200 {
                    match write_folder(&output, "x") {
                        Ok(()) => {}
                        Err(Error::Usage(message)) => assert!(message.contains("another process"), "{message}"),
                        Err(other) => panic!("{other}"),
                    }
                }
            });
        }
    });
    assert_eq!(content(&output).0, "x");
    assert_eq!(names(scratch.path()), ["data"]);
}
