//! System calls on the files and directories of a store.
//!
//! Only [`open_root`] and [`stat_root`] take a path from the current directory or the root:
//! everything else is named relative to a directory's descriptor, through openat2(2), which the
//! kernel resolves without following links.

use std::{
    fs::File,
    io,
    num::NonZeroU64,
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{
        Access, Advice, AtFlags, CWD, Dir, FileType, FlockOperation, Mode, OFlags, RenameFlags,
        ResolveFlags, Timespec, Timestamps, UTIME_OMIT,
    },
    process::{Gid, Uid},
};

/// The mode of every file that is created (STORE: "Directories are 0700, files 0600").
pub(crate) const FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR);
/// The mode of every directory.
pub(crate) const DIR_MODE: Mode = Mode::RWXU;
/// The mode of a directory whose name may not be durable yet: with the sticky bit.
pub(crate) const UNSETTLED_DIR_MODE: Mode = DIR_MODE.union(Mode::SVTX);

/// openat2(2): no component may be a symbolic link or a magic link, lead above the directory, or
/// lead onto another mount (a rename or link to there would fail with `EXDEV`, at the worst
/// moment).
const RESOLVE_INSIDE: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_XDEV);

/// The type of a directory entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EntryKind {
    /// A regular file (`S_IFREG`).
    File,
    /// A directory (`S_IFDIR`).
    Directory,
    /// A link, a pipe, a socket or a device, none of which a store makes.
    Other,
}

impl From<FileType> for EntryKind {
    fn from(kind: FileType) -> Self {
        match kind {
            FileType::RegularFile => Self::File,
            FileType::Directory => Self::Directory,
            _ => Self::Other,
        }
    }
}

/// The metadata of a file, and which file it is (stat(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileStat {
    /// The device and inode numbers: equal for two names of one file.
    pub(crate) inode: (u64, u64),
    /// The file's type.
    pub(crate) kind: EntryKind,
    /// The length in bytes.
    pub(crate) length: u64,
    /// Whether the file still has a name.
    pub(crate) named: bool,
    /// Whether it has more than one name.
    pub(crate) linked: bool,
    /// When its bytes last changed, in nanoseconds since 1970; 0 for earlier times.
    pub(crate) modified_ns: u64,
    /// When its bytes, its names or its metadata last changed, as `modified_ns`.
    pub(crate) changed_ns: u64,
    /// The user ID of its owner.
    pub(crate) owner: u32,
    /// The permission bits, without the type.
    pub(crate) mode: Mode,
}

impl From<rustix::fs::Stat> for FileStat {
    fn from(stat: rustix::fs::Stat) -> Self {
        Self {
            inode: (stat.st_dev, stat.st_ino),
            kind: FileType::from_raw_mode(stat.st_mode).into(),
            length: u64::try_from(stat.st_size).unwrap_or(0),
            named: stat.st_nlink > 0,
            linked: stat.st_nlink > 1,
            modified_ns: ns_since_1970(stat.st_mtime, stat.st_mtime_nsec),
            changed_ns: ns_since_1970(stat.st_ctime, stat.st_ctime_nsec),
            owner: stat.st_uid,
            mode: Mode::from_raw_mode(stat.st_mode),
        }
    }
}

fn ns_since_1970(seconds: i64, ns: impl TryInto<u64>) -> u64 {
    let seconds = u64::try_from(seconds).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(ns.try_into().unwrap_or(0))
}

/// Opens the directory that the operator named. Links in its path are the operator's own.
pub(crate) fn open_root(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(CWD, path, flags, Mode::empty())?)
}

/// The metadata of what is at the path that the operator named; links in the path are followed.
pub(crate) fn stat_root(path: &Path) -> io::Result<FileStat> {
    Ok(rustix::fs::statat(CWD, path, AtFlags::empty())?.into())
}

/// Opens a directory inside `dir`.
pub(crate) fn open_dir(dir: impl AsFd, name: &str) -> io::Result<OwnedFd> {
    open_inside(dir, name, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
}

/// Opens a file inside `dir` for reading. With `O_NONBLOCK` a pipe that was planted there does not
/// block the open; it has no effect on a regular file.
pub(crate) fn open_read(dir: impl AsFd, name: &str) -> io::Result<File> {
    open_inside(dir, name, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty()).map(File::from)
}

/// Creates a file inside `dir` that did not exist (`O_EXCL`), for reading and writing. A file that
/// root creates is given to the owner of `dir`.
pub(crate) fn create(dir: impl AsFd, name: &str) -> io::Result<File> {
    let file = open_inside(&dir, name, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL, FILE_MODE)?;
    if let Err(error) = give_to_owner(&dir, &file) {
        // No other user could open the file, and its name would be taken.
        let _ = unlink(&dir, name);
        return Err(error);
    }
    Ok(file.into())
}

/// Opens a file inside `dir` for reading and writing.
pub(crate) fn open_write(dir: impl AsFd, name: &str) -> io::Result<File> {
    open_inside(dir, name, OFlags::RDWR | OFlags::NONBLOCK, Mode::empty()).map(File::from)
}

/// Opens a file inside `dir` to lock it. flock(2) needs no particular access, except on NFS, where
/// an exclusive lock needs write access; where nothing may be written, reading has to do.
pub(crate) fn open_lock(dir: impl AsFd, name: &str) -> io::Result<File> {
    match open_write(&dir, name) {
        Err(error) if is_write_denied(&error) => open_read(dir, name),
        opened => opened,
    }
}

/// Whether a call was refused because nothing may be written there.
pub(crate) fn is_write_denied(error: &io::Error) -> bool {
    use rustix::io::Errno;
    matches!(Errno::from_io_error(error), Some(Errno::ACCESS | Errno::PERM | Errno::ROFS))
}

/// Gives what root has just made in `dir` to the owner of `dir`: a server that runs as another user
/// could neither read nor replace root's files. Only root's files can have another owner than the
/// process.
fn give_to_owner(dir: impl AsFd, made: impl AsFd) -> io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let (above, its) = (rustix::fs::fstat(dir)?, rustix::fs::fstat(&made)?);
    if above.st_uid == its.st_uid {
        return Ok(());
    }
    let (user, group) = (Uid::from_raw(above.st_uid), Gid::from_raw(above.st_gid));
    rustix::fs::fchown(made, Some(user), Some(group)).map_err(|error| {
        let why = io::Error::from(error);
        let text = format!("root may not give it to user {}: run this as that user", above.st_uid);
        io::Error::new(why.kind(), format!("{text} ({why})"))
    })
}

fn open_inside(dir: impl AsFd, name: &str, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat2(dir, name, flags | OFlags::CLOEXEC, mode, RESOLVE_INSIDE)?)
}

/// Makes a directory inside `dir`; an existing one is accepted. A directory that root makes is
/// given to the owner of `dir`. Returns whether it was made.
pub(crate) fn make_dir(dir: impl AsFd, name: &str, mode: Mode) -> io::Result<bool> {
    match rustix::fs::mkdirat(&dir, name, mode) {
        Ok(()) => {
            give_to_owner(&dir, open_dir(&dir, name)?)?;
            Ok(true)
        }
        Err(rustix::io::Errno::EXIST) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Sets the mode of an open file or directory.
pub(crate) fn set_open_mode(file: impl AsFd, mode: Mode) -> io::Result<()> {
    Ok(rustix::fs::fchmod(file, mode)?)
}

/// Sets the mode of a file or directory in `dir`. A link is not followed.
pub(crate) fn set_mode(dir: impl AsFd, name: &str, mode: Mode) -> io::Result<()> {
    let found = match open_inside(&dir, name, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty()) {
        Ok(file) => return Ok(rustix::fs::fchmod(file, mode)?),
        Err(error) => error,
    };
    // The owner may not read it yet, so there is no descriptor for fchmod(2). Root can always open
    // it.
    if found.kind() == io::ErrorKind::PermissionDenied && !rustix::process::geteuid().is_root() {
        return Ok(rustix::fs::chmodat(dir, name, mode, AtFlags::empty())?);
    }
    Err(found)
}

/// Checks that entries can be made in `dir`: fails with `EACCES`, or with `EROFS` even for root.
pub(crate) fn check_writable(dir: impl AsFd) -> io::Result<()> {
    check_access(dir, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK)
}

/// Checks that the contents of `dir` can be listed and opened.
pub(crate) fn check_readable(dir: impl AsFd) -> io::Result<()> {
    check_access(dir, Access::READ_OK | Access::EXEC_OK)
}

fn check_access(dir: impl AsFd, access: Access) -> io::Result<()> {
    Ok(rustix::fs::accessat(dir, ".", access, AtFlags::empty())?)
}

/// The names in `dir` except `.` and `..`, in the file system's own order. A store makes no names
/// that are not UTF-8; they are left out.
pub(crate) fn names(dir: impl AsFd) -> io::Result<impl Iterator<Item = io::Result<String>>> {
    Ok(Dir::read_from(dir)?.filter_map(|entry| match entry {
        Ok(entry) => match entry.file_name().to_str() {
            Ok("." | "..") | Err(_) => None,
            Ok(name) => Some(Ok(name.to_owned())),
        },
        Err(error) => Some(Err(error.into())),
    }))
}

/// The metadata of an open file.
pub(crate) fn stat(file: impl AsFd) -> io::Result<FileStat> {
    Ok(rustix::fs::fstat(file)?.into())
}

/// The metadata of the entry `name` of `dir`; of a link, the link's own.
pub(crate) fn stat_at(dir: impl AsFd, name: &str) -> io::Result<FileStat> {
    Ok(rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?.into())
}

/// Sets the modification time of an open file, in nanoseconds since 1970. A file system may keep
/// whole seconds only.
pub(crate) fn set_modified(file: impl AsFd, ns: u64) -> io::Result<()> {
    const NS_PER_SECOND: u64 = 1_000_000_000;
    // The quotient is below 2^35, and the rest below 2^30.
    let time = |seconds: u64, ns: u64| Timespec { tv_sec: seconds as _, tv_nsec: ns as _ };
    Ok(rustix::fs::futimens(
        file,
        &Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT as _ },
            last_modification: time(ns / NS_PER_SECOND, ns % NS_PER_SECOND),
        },
    )?)
}

/// fdatasync(2): the data, and of the metadata the size and what else is needed to read it back.
///
/// Never called again after an error: the kernel marks the pages clean when their write-back fails
/// and reports the error once per open file description, so a second call would report success.
pub(crate) fn sync_data(file: impl AsFd) -> io::Result<()> {
    Ok(rustix::fs::fdatasync(file)?)
}

/// fsync(2) of a directory: the entries that were made, renamed or removed in it.
pub(crate) fn sync_dir(dir: impl AsFd) -> io::Result<()> {
    Ok(rustix::fs::fsync(dir)?)
}

/// Asks the kernel to start writing a range of `file` back, and does not wait for it.
///
/// sync_file_range(2) is meant for this, but has no safe wrapper. Linux answers
/// `POSIX_FADV_DONTNEED` (mm/fadvise.c) by starting the same asynchronous write-back of the range
/// and then dropping those of its pages that are clean already, which right after a write are next
/// to none. It reports no errors: they stay with the file until the next [`sync_data`].
pub(crate) fn start_write_back(file: impl AsFd, offset: u64, length: u64) {
    drop_cached(file, offset, length);
}

/// Asks the kernel to drop those pages of a range of `file` from its cache that are on the disk.
pub(crate) fn drop_cached(file: impl AsFd, offset: u64, length: u64) {
    if let Some(length) = NonZeroU64::new(length) {
        // This is advice: a file system that ignores it only loses speed.
        let _ = rustix::fs::fadvise(file, offset, Some(length), Advice::DontNeed);
    }
}

/// flock(2) `LOCK_EX`, waiting. The lock belongs to the open file description: closing the file, or
/// the end of the process in any way, releases it; two opens in one process exclude each other.
pub(crate) fn lock(file: impl AsFd) -> io::Result<()> {
    let exclusive = FlockOperation::LockExclusive;
    Ok(rustix::io::retry_on_intr(|| rustix::fs::flock(file.as_fd(), exclusive))?)
}

/// flock(2) `LOCK_EX | LOCK_NB`. Returns whether the lock was free.
pub(crate) fn try_lock(file: impl AsFd) -> io::Result<bool> {
    match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// flock(2) `LOCK_UN`, which also releases the lock of descriptors inherited by other processes.
pub(crate) fn unlock(file: impl AsFd) -> io::Result<()> {
    Ok(rustix::fs::flock(file, FlockOperation::Unlock)?)
}

/// linkat(2): a second name for the same file; of a link the link itself is linked. Never replaces.
pub(crate) fn link(
    from: impl AsFd,
    old_name: &str,
    to: impl AsFd,
    new_name: &str,
) -> io::Result<()> {
    Ok(rustix::fs::linkat(from, old_name, to, new_name, AtFlags::empty())?)
}

/// renameat(2): atomically replaces what has the new name.
pub(crate) fn rename(
    from: impl AsFd,
    old_name: &str,
    to: impl AsFd,
    new_name: &str,
) -> io::Result<()> {
    Ok(rustix::fs::renameat(from, old_name, to, new_name)?)
}

/// renameat2(2) with `RENAME_NOREPLACE` within a directory: `AlreadyExists` where the new name is
/// taken, `InvalidInput` where the file system has no such rename.
pub(crate) fn rename_new(dir: impl AsFd, old_name: &str, new_name: &str) -> io::Result<()> {
    let flags = RenameFlags::NOREPLACE;
    Ok(rustix::fs::renameat_with(&dir, old_name, &dir, new_name, flags)?)
}

/// unlinkat(2) of a file; of a link, the link itself.
pub(crate) fn unlink(dir: impl AsFd, name: &str) -> io::Result<()> {
    Ok(rustix::fs::unlinkat(dir, name, AtFlags::empty())?)
}
