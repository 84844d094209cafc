//! System calls on a tree of files that others create and change: reading, never writing.
//!
//! Every path is resolved by openat2(2) from the descriptor of the tree's root.

use std::{
    ffi::OsStr,
    fs::File,
    io,
    mem::MaybeUninit,
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RawDir, ResolveFlags, Stat};

use super::fs::EntryKind;

/// openat2(2): no component may be a symbolic link or a magic link, or lead above the directory.
/// File systems that are mounted inside the tree belong to it.
const RESOLVE_BELOW: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

/// Bytes of the buffer of getdents64(2): some 2,000 short names. It must hold at least one entry,
/// whose name has at most 255 bytes.
const ENTRIES_BYTES: usize = 65_536;

/// Seconds and nanoseconds since 1970, as a file system keeps them.
pub(crate) type Time = (i64, u32);

/// The metadata that tells one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileState {
    /// The device and inode numbers.
    pub(crate) inode: (u64, u64),
    /// The file's type.
    pub(crate) kind: EntryKind,
    /// The length in bytes.
    pub(crate) length: u64,
    /// When its bytes, or the entries of a directory, were last changed. The file's owner can set
    /// this.
    pub(crate) modified: Time,
    /// When it was last changed in any way, its names included. Only the kernel sets this.
    pub(crate) changed: Time,
}

impl From<Stat> for FileState {
    fn from(stat: Stat) -> Self {
        let nanoseconds = |ns| u32::try_from(ns).unwrap_or(0);
        Self {
            inode: (stat.st_dev, stat.st_ino),
            kind: FileType::from_raw_mode(stat.st_mode).into(),
            length: u64::try_from(stat.st_size).unwrap_or(0),
            modified: (stat.st_mtime, nanoseconds(stat.st_mtime_nsec)),
            changed: (stat.st_ctime, nanoseconds(stat.st_ctime_nsec)),
        }
    }
}

/// Opens a file that the operator named, for reading. Links in its path are the operator's own.
/// With `O_NONBLOCK` and `O_NOCTTY` a pipe does not block, and a terminal does not become the
/// controlling one.
pub(crate) fn open_named(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(CWD, path, flags, Mode::empty())?.into())
}

/// The state of what is at a path that the operator named, at the end of all links.
pub(crate) fn stat_path(path: &Path) -> io::Result<FileState> {
    Ok(rustix::fs::statat(CWD, path, AtFlags::empty())?.into())
}

/// As [`stat_path`], if the kernel has all names on the way in memory; otherwise `EAGAIN`.
pub(crate) fn stat_path_cached(path: &Path) -> io::Result<FileState> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    stat(rustix::fs::openat2(CWD, path, flags, Mode::empty(), ResolveFlags::CACHED)?)
}

/// Opens a directory that the operator named only to identify it (`O_PATH`).
pub(crate) fn open_dir_path(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(CWD, path, flags, Mode::empty())?)
}

/// Opens the parent of a directory only to identify it; the root's parent is the root.
pub(crate) fn parent(dir: impl AsFd) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(dir, "..", flags, Mode::empty())?)
}

/// Whether a file of `length` bytes has that many: files of /proc claim 0 bytes and have some,
/// those of /sys claim 4096 and have fewer.
pub(crate) fn has_stated_size(file: impl AsFd, length: u64) -> io::Result<bool> {
    let mut byte = [0];
    let read = rustix::io::pread(file, &mut byte, length.saturating_sub(1))?;
    Ok((read == 1) == (length > 0))
}

/// Whether a file belongs to another user than this process's, and only its owner may read it.
pub(crate) fn is_private_to_other_user(file: impl AsFd) -> io::Result<bool> {
    let stat = rustix::fs::fstat(file)?;
    let others = Mode::RGRP | Mode::ROTH;
    let is_mine = stat.st_uid == rustix::process::geteuid().as_raw();
    Ok(!is_mine && !Mode::from_raw_mode(stat.st_mode).intersects(others))
}

/// Finds a file in the tree without opening it (`O_PATH`), so that neither the other end of a pipe
/// nor a device's driver notices.
pub(crate) fn open_path(root: impl AsFd, path: &str) -> io::Result<OwnedFd> {
    open_below(root, path, OFlags::PATH)
}

/// As [`open_path`], if the kernel has all names on the way in memory; otherwise `EAGAIN`.
pub(crate) fn open_path_cached(root: impl AsFd, path: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let resolve = RESOLVE_BELOW | ResolveFlags::CACHED;
    Ok(rustix::fs::openat2(root, path, flags, Mode::empty(), resolve)?)
}

/// Opens a file in the tree for reading. With `O_NONBLOCK` the open does not block if the file has
/// been replaced by a pipe.
pub(crate) fn open_read(root: impl AsFd, path: &str) -> io::Result<File> {
    open_below(root, path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY).map(File::from)
}

/// Opens a directory in the tree to read its entries; `.` is the root.
pub(crate) fn open_dir(root: impl AsFd, path: &str) -> io::Result<OwnedFd> {
    open_below(root, path, OFlags::RDONLY | OFlags::DIRECTORY)
}

fn open_below(root: impl AsFd, path: &str, flags: OFlags) -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), RESOLVE_BELOW)?)
}

/// The state of an open file or directory.
pub(crate) fn stat(file: impl AsFd) -> io::Result<FileState> {
    Ok(rustix::fs::fstat(file)?.into())
}

/// The state of the entry `name` of a directory; of a link, the link's own.
pub(crate) fn stat_at(dir: impl AsFd, name: &str) -> io::Result<FileState> {
    Ok(rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?.into())
}

/// Calls `visit` for every entry of a directory except `.` and `..`, in the file system's own
/// order.
///
/// `dir` must have been opened for this call, which uses up its position. Entries that are added or
/// removed meanwhile may be seen or not; all others are seen (readdir(3p)).
pub(crate) fn for_each_entry(
    dir: impl AsFd,
    mut visit: impl FnMut(&[u8], EntryKind),
) -> io::Result<()> {
    let mut buffer = vec![MaybeUninit::uninit(); ENTRIES_BYTES];
    let mut entries = RawDir::new(dir.as_fd(), &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if matches!(name, b"." | b"..") {
            continue;
        }
        match entry.file_type() {
            // Some file systems do not tell the type (readdir(3): DT_UNKNOWN).
            FileType::Unknown => match kind_by_stat(dir.as_fd(), name) {
                Ok(kind) => visit(name, kind),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            },
            kind => visit(name, kind.into()),
        }
    }
    Ok(())
}

fn kind_by_stat(dir: impl AsFd, name: &[u8]) -> io::Result<EntryKind> {
    let stat = rustix::fs::statat(dir, OsStr::from_bytes(name), AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(FileType::from_raw_mode(stat.st_mode).into())
}

#[cfg(test)]
mod tests {
    use std::{fs, sync::mpsc, thread, time::Duration};

    use super::*;
    use crate::sys::fs::open_root;

    /// Runs `f` on a thread of its own and fails when it takes longer than ten seconds.
    fn within_ten_seconds<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, wait) = mpsc::channel();
        thread::spawn(move || done.send(f()));
        wait.recv_timeout(Duration::from_secs(10)).expect("it blocks")
    }

    /// Opening a pipe in a tree returns at once with its kind.
    #[test]
    fn tree_open_of_pipe_does_not_block() {
        let tree = tempfile::tempdir().unwrap();
        let root = open_root(tree.path()).unwrap();
        rustix::fs::mkfifoat(&root, "pipe", Mode::RWXU).unwrap();
        let path = tree.path().join("pipe");
        assert_eq!(
            within_ten_seconds(move || stat(open_read(root, "pipe").unwrap()).unwrap().kind),
            EntryKind::Other
        );
        assert_eq!(
            within_ten_seconds(move || stat(open_named(&path).unwrap()).unwrap().kind),
            EntryKind::Other
        );
    }

    /// The walk for_each_entry visits each of 5,000 entries once, with its kind.
    #[test]
    fn for_each_entry_visits_every_entry_once_with_kind() {
        let tree = tempfile::tempdir().unwrap();
        for i in 0..5000 {
            fs::write(tree.path().join(format!("{i:0>200}")), "").unwrap();
        }
        fs::create_dir(tree.path().join("dir")).unwrap();
        std::os::unix::fs::symlink("dir", tree.path().join("link")).unwrap();
        let root = open_root(tree.path()).unwrap();
        let (mut files, mut others) = (Vec::new(), Vec::new());
        for_each_entry(&root, |name, kind| {
            let name = String::from_utf8(name.to_vec()).unwrap();
            if kind == EntryKind::File { files.push(name) } else { others.push((name, kind)) }
        })
        .unwrap();
        files.sort();
        others.sort_by(|a, b| a.0.cmp(&b.0));
        assert!(files.iter().eq(&(0..5000).map(|i| format!("{i:0>200}")).collect::<Vec<_>>()));
        assert_eq!(
            others,
            [("dir".to_owned(), EntryKind::Directory), ("link".to_owned(), EntryKind::Other)]
        );
        assert_eq!(kind_by_stat(&root, b"dir").unwrap(), EntryKind::Directory);
        assert_eq!(kind_by_stat(&root, b"link").unwrap(), EntryKind::Other);
        assert_eq!(kind_by_stat(&root, b"gone").unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
