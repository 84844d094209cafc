//! Calls on a tree of files that somebody else makes and changes: looking, never writing.
//!
//! Every path is walked by openat2(2) from the descriptor of the tree's root.

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

/// openat2(2): no component may be a symbolic link or a magic link, or lead above the directory. What is
/// mounted inside the tree is a part of it.
const BELOW: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

/// What getdents64(2) fills at a time: some 2,000 short names. It must hold at least one entry, and a name
/// has at most 255 bytes.
const ENTRIES_BYTES: usize = 65_536;

/// Seconds and nanoseconds since 1970, as a file system keeps them.
pub(crate) type Time = (i64, u32);

/// What tells one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct State {
    /// The device and the inode.
    pub(crate) inode: (u64, u64),
    /// What it is.
    pub(crate) kind: EntryKind,
    /// Bytes.
    pub(crate) length: u64,
    /// When its bytes, or the entries of a directory, were last changed. Anybody who owns it can set this.
    pub(crate) modified: Time,
    /// When it was last changed in any way, its names included. Only the kernel sets this.
    pub(crate) changed: Time,
}

impl From<Stat> for State {
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

/// Opens a file that the operator named, to read. Links in its path are the operator's own; `O_NONBLOCK`
/// and `O_NOCTTY`: whatever it is instead of a file, it does not block and takes no terminal.
pub(crate) fn open_named(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(CWD, path, flags, Mode::empty())?.into())
}

/// What is at a path that the operator named, at the end of all links.
pub(crate) fn state_of(path: &Path) -> io::Result<State> {
    Ok(rustix::fs::statat(CWD, path, AtFlags::empty())?.into())
}

/// As [`state_of`], where the kernel has all names on the way in its memory; `EAGAIN` where it has not.
pub(crate) fn state_in_memory(path: &Path) -> io::Result<State> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    state(rustix::fs::openat2(CWD, path, flags, Mode::empty(), ResolveFlags::CACHED)?)
}

/// Finds a directory that the operator named, without opening it (`O_PATH`): only to look which one it is.
pub(crate) fn look_at_dir(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(CWD, path, flags, Mode::empty())?)
}

/// The directory that this one is in; of a root, itself. Only to look which one it is.
pub(crate) fn above(dir: impl AsFd) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(dir, "..", flags, Mode::empty())?)
}

/// Whether a file of `length` bytes has so many: those of /proc say 0 and have some, those of /sys say 4096 and have fewer.
pub(crate) fn has_its_size(file: impl AsFd, length: u64) -> io::Result<bool> {
    let mut byte = [0];
    let read = rustix::io::pread(file, &mut byte, length.saturating_sub(1))?;
    Ok((read == 1) == (length > 0))
}

/// Whether nobody but its owner may read a file, and that is another user than this process's.
pub(crate) fn is_another_users_alone(file: impl AsFd) -> io::Result<bool> {
    let stat = rustix::fs::fstat(file)?;
    let others = Mode::RGRP | Mode::ROTH;
    let is_mine = stat.st_uid == rustix::process::geteuid().as_raw();
    Ok(!is_mine && !Mode::from_raw_mode(stat.st_mode).intersects(others))
}

/// Finds what has a name in the tree without opening it (`O_PATH`): nobody at the other end of a pipe, and
/// no driver of a device, notices.
pub(crate) fn look(root: impl AsFd, path: &str) -> io::Result<OwnedFd> {
    below(root, path, OFlags::PATH)
}

/// As [`look`], where the kernel has all names on the way in its memory; `EAGAIN` where it has not.
pub(crate) fn look_in_memory(root: impl AsFd, path: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let resolve = BELOW | ResolveFlags::CACHED;
    Ok(rustix::fs::openat2(root, path, flags, Mode::empty(), resolve)?)
}

/// Opens a file in the tree to read. `O_NONBLOCK`: should it be a pipe by now, the open does not hang.
pub(crate) fn open_read(root: impl AsFd, path: &str) -> io::Result<File> {
    below(root, path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY).map(File::from)
}

/// Opens a directory in the tree to read its entries; `.` is the root.
pub(crate) fn open_dir(root: impl AsFd, path: &str) -> io::Result<OwnedFd> {
    below(root, path, OFlags::RDONLY | OFlags::DIRECTORY)
}

fn below(root: impl AsFd, path: &str, flags: OFlags) -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), BELOW)?)
}

/// The state of an open file or directory.
pub(crate) fn state(file: impl AsFd) -> io::Result<State> {
    Ok(rustix::fs::fstat(file)?.into())
}

/// The state of the entry `name` of a directory; of a link, the link's own.
pub(crate) fn state_at(dir: impl AsFd, name: &str) -> io::Result<State> {
    Ok(rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?.into())
}

/// Hands every entry of a directory but `.` and `..` to `visit`, in the file system's own order.
///
/// `dir` must have been opened for this: its position is used up. Entries that come or go meanwhile may be
/// seen or not; those that do neither are seen (readdir(3p)).
pub(crate) fn each_entry(
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
            // Some file systems do not say (readdir(3): DT_UNKNOWN).
            FileType::Unknown => match unsaid_kind(dir.as_fd(), name) {
                Ok(kind) => visit(name, kind),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            },
            kind => visit(name, kind.into()),
        }
    }
    Ok(())
}

fn unsaid_kind(dir: impl AsFd, name: &[u8]) -> io::Result<EntryKind> {
    let stat = rustix::fs::statat(dir, OsStr::from_bytes(name), AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(FileType::from_raw_mode(stat.st_mode).into())
}

#[cfg(test)]
mod tests {
    use std::{fs, sync::mpsc, thread, time::Duration};

    use super::*;
    use crate::sys::fs::open_root;

    /// Runs `f` on a thread of its own and fails when it takes longer than ten seconds.
    fn soon<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, wait) = mpsc::channel();
        thread::spawn(move || done.send(f()));
        wait.recv_timeout(Duration::from_secs(10)).expect("it blocks")
    }

    #[test]
    fn a_pipe_blocks_no_open() {
        let tree = tempfile::tempdir().unwrap();
        let root = open_root(tree.path()).unwrap();
        rustix::fs::mkfifoat(&root, "pipe", Mode::RWXU).unwrap();
        let path = tree.path().join("pipe");
        assert_eq!(
            soon(move || state(open_read(root, "pipe").unwrap()).unwrap().kind),
            EntryKind::Other
        );
        assert_eq!(soon(move || state(open_named(&path).unwrap()).unwrap().kind), EntryKind::Other);
    }

    #[test]
    fn every_entry_is_seen_once_and_with_its_kind() {
        let tree = tempfile::tempdir().unwrap();
        for i in 0..5000 {
            fs::write(tree.path().join(format!("{i:0>200}")), "").unwrap();
        }
        fs::create_dir(tree.path().join("dir")).unwrap();
        std::os::unix::fs::symlink("dir", tree.path().join("link")).unwrap();
        let root = open_root(tree.path()).unwrap();
        let (mut files, mut others) = (Vec::new(), Vec::new());
        each_entry(&root, |name, kind| {
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
        assert_eq!(unsaid_kind(&root, b"dir").unwrap(), EntryKind::Directory);
        assert_eq!(unsaid_kind(&root, b"link").unwrap(), EntryKind::Other);
        assert_eq!(unsaid_kind(&root, b"gone").unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
