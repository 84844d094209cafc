use std::{
    fs,
    io::Write as _,
    time::{Duration, UNIX_EPOCH},
};

use super::*;
use crate::io::source::interface::tests::read_all;

/// A directory with a file `f` of eight bytes and a modification time in 1970.
fn eight_bytes() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    fs::write(&path, b"abcdefgh").unwrap();
    write(&path).set_modified(UNIX_EPOCH + Duration::from_secs(5)).unwrap();
    (dir, path)
}

fn write(path: &Path) -> File {
    File::options().write(true).open(path).unwrap()
}

fn append(path: &Path, bytes: &[u8]) {
    fs::OpenOptions::new().append(true).open(path).unwrap().write_all(bytes).unwrap();
}

/// Reads a file of eight bytes, calling `meanwhile` after the first four.
fn read_while(meanwhile: impl FnOnce(&Path)) -> Result<Vec<u8>, SourceError> {
    let (_dir, path) = eight_bytes();
    let mut source = FileSource::open(&path).unwrap();
    let mut part = Vec::new();
    source.read_part(&mut part, 4).unwrap();
    let mut read = part.clone();
    meanwhile(&path);
    read.extend(read_all(&mut source, 4).concat());
    source.finish().map(|()| read)
}

/// A file source gives full parts and a short last part, which may be empty.
#[test]
fn file_source_reads_parts_with_a_short_last_one() {
    let (_dir, path) = eight_bytes();
    let mut source = FileSource::open(&path).unwrap();
    assert_eq!(source.length(), Some(8));
    assert_eq!(read_all(&mut source, 4), [&b"abcd"[..], b"efgh", b""]);
    source.finish().unwrap();
    let mut source = FileSource::open(&path).unwrap();
    assert_eq!(read_all(&mut source, 3), [&b"abc"[..], b"def", b"gh"]);
}

/// A file that only grows while it is read is stored as it was when opened.
#[test]
fn file_source_ignores_bytes_appended_after_open() {
    assert_eq!(read_while(|path| append(path, b"i")).unwrap(), b"abcdefgh");
    assert_eq!(read_while(|path| append(path, &[7; 100])).unwrap(), b"abcdefgh");
    // The same for a file that is empty at first and grows before it is read.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    fs::write(&path, b"").unwrap();
    write(&path).set_modified(UNIX_EPOCH).unwrap();
    let mut source = FileSource::open(&path).unwrap();
    append(&path, b"later");
    assert_eq!(read_all(&mut source, 4), [b""]);
    source.finish().unwrap();
}

/// A file that is rewritten, truncated or touched while it is read is an error.
#[test]
fn file_source_detects_rewrite_truncation_and_touch() {
    let is_refused = |meanwhile: &dyn Fn(&Path)| {
        assert!(matches!(read_while(meanwhile), Err(SourceError::Changed(_))));
    };
    is_refused(&|path| write(path).write_all_at(b"X", 1).unwrap());
    is_refused(&|path| write(path).write_all_at(b"X", 6).unwrap());
    // It grows, and bytes that were read are overwritten.
    is_refused(&|path| {
        append(path, b"ijkl");
        write(path).write_all_at(b"X", 1).unwrap();
    });
    is_refused(&|path| fs::write(path, b"another text, and longer").unwrap());
    is_refused(&|path| write(path).set_len(0).unwrap());
    is_refused(&|path| write(path).set_len(6).unwrap());
    is_refused(&|path| write(path).set_modified(UNIX_EPOCH).unwrap());
}

/// A program sets the modification time back, as if nothing was written; the size differs.
#[test]
fn file_source_detects_rewrite_of_grown_file_with_reset_mtime() {
    let rewritten = |path: &Path| {
        let before = fs::metadata(path).unwrap().modified().unwrap();
        append(path, b"i");
        let file = write(path);
        file.write_all_at(b"X", 1).unwrap();
        file.set_modified(before).unwrap();
    };
    assert!(matches!(read_while(rewritten), Err(SourceError::Changed(_))));
}

/// Every part is read again.
#[test]
fn file_source_detects_rewrite_of_any_part_of_grown_file() {
    for at in [0, 3, 4, 7] {
        let (_dir, path) = eight_bytes();
        let mut source = FileSource::open(&path).unwrap();
        assert_eq!(read_all(&mut source, 4).concat(), b"abcdefgh");
        append(&path, b"i");
        source.finish().unwrap();
        write(&path).write_all_at(b"X", at).unwrap();
        assert!(matches!(source.finish(), Err(SourceError::Changed(_))), "{at}");
    }
}

/// Another file has the name by then.
#[test]
fn file_source_reads_the_open_file_after_rename_or_unlink() {
    let replaced = |path: &Path| {
        let other = path.with_extension("other");
        fs::write(&other, b"another text, and longer").unwrap();
        fs::rename(other, path).unwrap();
    };
    assert_eq!(read_while(replaced).unwrap(), b"abcdefgh");
    assert_eq!(read_while(|path| fs::remove_file(path).unwrap()).unwrap(), b"abcdefgh");
}

/// A file that was truncated and restored in size and time while it was read is an error.
#[test]
fn file_source_detects_truncation_with_restored_size() {
    let (_dir, path) = eight_bytes();
    let mut source = FileSource::open(&path).unwrap();
    let mtime = fs::metadata(&path).unwrap().modified().unwrap();
    let file = write(&path);
    file.set_len(4).unwrap();
    let mut part = Vec::new();
    source.read_part(&mut part, 100).unwrap();
    assert_eq!(part, b"abcd");
    file.set_len(8).unwrap();
    file.set_modified(mtime).unwrap();
    assert!(matches!(source.finish(), Err(SourceError::Changed(_))));
}

/// A reopened source reads the same file from its start, also after a rename and growth.
#[test]
fn file_source_reopens_the_same_file_from_its_start() {
    let (_dir, path) = eight_bytes();
    let mut first = FileSource::open(&path).unwrap();
    let mut part = Vec::new();
    first.read_part(&mut part, 4).unwrap();
    // Another file has the name by now.
    fs::rename(&path, path.with_extension("old")).unwrap();
    fs::write(&path, b"another").unwrap();
    append(&path.with_extension("old"), b"more");
    let mut again = first.reopen().unwrap().unwrap();
    assert_eq!(again.identity(), first.identity());
    assert_eq!(read_all(&mut *again, 4).concat(), b"abcdefgh");
    again.finish().unwrap();
    first.read_part(&mut part, 4).unwrap();
    assert_eq!(part, b"efgh");
}

/// Files of proc and sysfs are read to their end, whatever size they state.
#[test]
fn file_source_reads_proc_and_sysfs_files_to_their_end() {
    // proc(5): files of size 0; sysfs: files of size 4096 with a few bytes.
    for path in ["/proc/version", "/proc/self/limits", "/proc/self/mountinfo"] {
        let mut source = FileSource::open(Path::new(path)).unwrap();
        assert_eq!(source.length(), None, "{path}");
        assert_eq!(read_all(&mut source, 7).concat(), fs::read(path).unwrap(), "{path}");
        source.finish().unwrap();
    }
    let path = Path::new("/sys/kernel/mm/transparent_hugepage/enabled");
    if !path.exists() {
        return zput_skip::because(format!("there is no {}", path.display()));
    }
    let mut source = FileSource::open(path).unwrap();
    assert_eq!(source.length(), Some(4096));
    assert_eq!(read_all(&mut source, 100).concat(), fs::read(path).unwrap());
    source.finish().unwrap();
}

/// A pipe is read to its end, and an empty one is an error unless allowed.
#[test]
fn file_source_reads_a_pipe_and_refuses_an_empty_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RWXU).unwrap();
    let read = |written: &'static [u8], may_be_empty: bool| {
        std::thread::scope(|scope| {
            scope.spawn(|| File::options().write(true).open(&path).unwrap().write_all(written));
            let mut source = FileSource::open(&path).unwrap().allow_empty(may_be_empty);
            assert!(source.identity().is_none() && source.reopen().unwrap().is_none());
            let read = read_all(&mut source, 4).concat();
            source.finish().map(|()| read)
        })
    };
    assert_eq!(read(b"from a pipe", false).unwrap(), b"from a pipe");
    assert!(matches!(read(b"", false), Err(SourceError::Empty(_))));
    assert_eq!(read(b"", true).unwrap(), b"");
}

/// An empty file and /dev/null are sources of no bytes.
#[test]
fn file_source_accepts_empty_file_and_dev_null() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    fs::write(&path, b"").unwrap();
    for path in [path.as_path(), Path::new("/dev/null")] {
        let mut source = FileSource::open(path).unwrap();
        assert_eq!(read_all(&mut source, 4), [b""]);
        source.finish().unwrap();
    }
}

/// Opening a directory or a socket as a source is an error that says so.
#[test]
fn file_source_refuses_directories_and_sockets() {
    let error = FileSource::open(Path::new("/")).unwrap_err();
    assert!(matches!(error, SourceError::Directory(_)), "{error}");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let _socket = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let error = FileSource::open(&path).unwrap_err();
    let SourceError::Read { path: at, source } = error else { panic!("{error}") };
    assert_eq!((at, source.to_string().as_str()), (path, "it is a socket"));
}

/// A source reuses the caller's buffer and never fills it beyond one part.
#[test]
fn file_source_reuses_buffers_and_never_exceeds_a_part() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    fs::write(&path, vec![7; 10_000]).unwrap();
    let mut source = FileSource::open(&path).unwrap();
    let mut part = Vec::new();
    source.read_part(&mut part, 4096).unwrap();
    let (address, capacity) = (part.as_ptr(), part.capacity());
    source.read_part(&mut part, 4096).unwrap();
    assert_eq!((part.as_ptr(), part.capacity()), (address, capacity));
    source.read_part(&mut part, 4096).unwrap();
    assert_eq!(part.len(), 10_000 - 8192);

    // A buffer with more capacity than was asked for.
    let mut source = FileSource::open(&path).unwrap();
    source.read_part(&mut part, 100).unwrap();
    assert_eq!(part.len(), 100);
    let (mut ahead, file) = (Vec::new(), File::open(&path).unwrap());
    let mut lengths = Vec::new();
    while lengths.last() != Some(&0) {
        read_stream(&file, &mut ahead, &mut part, 3000).unwrap();
        lengths.push(part.len());
    }
    assert_eq!(lengths, [3000, 3000, 3000, 1000, 0]);
}
