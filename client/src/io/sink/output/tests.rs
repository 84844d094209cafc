use std::{fs, os::unix::fs::MetadataExt};

use super::*;

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// An output file appears under its name only at commit, with mode and time.
#[test]
fn output_file_appears_only_when_committed() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("out");
    let mut output = Output::at(&target, IfExists::Keep).unwrap();
    output.write(b"hello ").unwrap();
    output.write(b"world").unwrap();
    assert!(!target.exists());
    let attributes = Attributes { mode: 0o4751, mtime_s: 1_000_000_000, mtime_ns: 5 };
    output.commit(Some(attributes)).unwrap();
    assert_eq!(fs::read(&target).unwrap(), b"hello world");
    let metadata = fs::metadata(&target).unwrap();
    assert_eq!(metadata.mode() & 0o7777, 0o751);
    assert_eq!((metadata.mtime(), metadata.mtime_nsec()), (1_000_000_000, 5));
    assert_eq!(names(dir.path()), ["out"]);
}

/// An output file gets a modification time before 1970.
#[test]
fn output_file_keeps_mtime_before_1970() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("out");
    let attributes = Attributes { mode: 0o600, mtime_s: -2, mtime_ns: 500_000_000 };
    Output::at(&target, IfExists::Keep).unwrap().commit(Some(attributes)).unwrap();
    let metadata = fs::metadata(&target).unwrap();
    assert_eq!((metadata.mtime(), metadata.mtime_nsec()), (-2, 500_000_000));
}

/// An output that is dropped before commit leaves no file.
#[test]
fn output_dropped_without_commit_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut output = Output::at(&dir.path().join("out"), IfExists::Keep).unwrap();
    output.write(b"half").unwrap();
    assert_eq!(names(dir.path()).len(), 1);
    drop(output);
    assert_eq!(names(dir.path()), [""; 0]);
}

/// An existing file is refused as output unless replacing it is forced.
#[test]
fn output_refuses_existing_file_unless_forced() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("out");
    fs::write(&target, "old").unwrap();
    assert!(matches!(Output::at(&target, IfExists::Keep), Err(SinkError::Exists(_))));
    let mut output = Output::at(&target, IfExists::Replace).unwrap();
    output.write(b"new").unwrap();
    output.commit(None).unwrap();
    assert_eq!(fs::read(&target).unwrap(), b"new");
}

/// Commit refuses to replace a file that appeared after the output was opened.
#[test]
fn output_commit_keeps_file_that_appeared_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("out");
    let output = Output::at(&target, IfExists::Keep).unwrap();
    fs::write(&target, "other's").unwrap();
    assert!(matches!(output.commit(None), Err(SinkError::Exists(_))));
    assert_eq!(fs::read(&target).unwrap(), b"other's");
    assert_eq!(names(dir.path()), ["out"]);
}

/// A dangling link counts as existing, and a forced output creates its target.
#[test]
fn output_follows_dangling_link_only_when_forced() {
    let dir = tempfile::tempdir().unwrap();
    let (link, elsewhere) = (dir.path().join("link"), dir.path().join("elsewhere"));
    std::os::unix::fs::symlink(&elsewhere, &link).unwrap();
    assert!(matches!(Output::at(&link, IfExists::Keep), Err(SinkError::Exists(_))));
    Output::at(&link, IfExists::Replace).unwrap().commit(None).unwrap();
    assert!(elsewhere.is_file());
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
}

/// A device is written directly and stays a device.
#[test]
fn output_writes_devices_directly() {
    let mut output = Output::at(Path::new("/dev/null"), IfExists::Keep).unwrap();
    assert!(matches!(output, Output::Stream(_)));
    output.write(b"x").unwrap();
    output.commit(None).unwrap();
    assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
}

/// An error for lack of space is recognized as a full disk.
#[test]
fn output_error_tells_a_full_disk() {
    let mut output = Output::at(Path::new("/dev/full"), IfExists::Keep).unwrap();
    let error = output.write(b"x").unwrap_err();
    assert!(error.is_full(), "{error}");
}

/// A directory is refused as output, also when forced.
#[test]
fn output_refuses_a_directory() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(Output::at(dir.path(), IfExists::Replace), Err(SinkError::Directory(_))));
}
