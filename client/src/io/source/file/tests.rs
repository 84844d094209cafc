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

#[test]
fn a_file_comes_in_parts_and_the_last_is_short() {
    let (_dir, path) = eight_bytes();
    let mut source = FileSource::open(&path).unwrap();
    assert_eq!(source.length(), Some(8));
    assert_eq!(read_all(&mut source, 4), [&b"abcd"[..], b"efgh", b""]);
    source.finish().unwrap();
    let mut source = FileSource::open(&path).unwrap();
    assert_eq!(read_all(&mut source, 3), [&b"abc"[..], b"def", b"gh"]);
}

#[test]
fn a_file_that_only_grows_is_what_it_was_when_it_was_opened() {
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

#[test]
fn a_file_that_is_rewritten_cut_short_or_touched_is_not_stood_by() {
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
fn a_file_that_grew_and_was_rewritten_is_found_out_though_its_time_was_set_back() {
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
fn a_file_that_grew_and_was_rewritten_behind_its_first_part_is_found_out() {
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
fn a_file_that_was_replaced_or_removed_meanwhile_is_what_it_was() {
    let replaced = |path: &Path| {
        let other = path.with_extension("other");
        fs::write(&other, b"another text, and longer").unwrap();
        fs::rename(other, path).unwrap();
    };
    assert_eq!(read_while(replaced).unwrap(), b"abcdefgh");
    assert_eq!(read_while(|path| fs::remove_file(path).unwrap()).unwrap(), b"abcdefgh");
}

#[test]
fn a_file_cut_short_and_restored_in_size_is_not_stood_by() {
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

#[test]
fn a_file_is_read_again_from_its_start_and_goes_on_growing() {
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

#[test]
fn files_of_the_kernel_are_what_is_read_from_them() {
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

#[test]
fn a_pipe_gives_all_that_its_writer_gave_and_an_empty_one_is_an_error() {
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

#[test]
fn an_empty_file_and_an_empty_device_were_meant() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    fs::write(&path, b"").unwrap();
    for path in [path.as_path(), Path::new("/dev/null")] {
        let mut source = FileSource::open(path).unwrap();
        assert_eq!(read_all(&mut source, 4), [b""]);
        source.finish().unwrap();
    }
}

#[test]
fn directories_and_sockets_are_no_sources() {
    let error = FileSource::open(Path::new("/")).unwrap_err();
    assert!(matches!(error, SourceError::Directory(_)), "{error}");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let _socket = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let error = FileSource::open(&path).unwrap_err();
    let SourceError::Read { path: at, source } = error else { panic!("{error}") };
    assert_eq!((at, source.to_string().as_str()), (path, "it is a socket"));
}

#[test]
fn buffers_are_used_again_and_never_give_more_than_a_part() {
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
