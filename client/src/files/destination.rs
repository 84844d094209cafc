//! Follows a path link by link, to a name or to a descriptor.
//!
//! The kernel follows links without telling the way. Here each link is read: a chain that passes
//! through a process's directory of descriptors (proc(5): `/proc/PID/fd`, `/dev/fd`, `/dev/stdout`)
//! ends at that descriptor, which is written directly. Every other chain ends at a name, beside
//! which a new file can be created.

use std::{
    fs::{self, File, Metadata, OpenOptions},
    io::{self, Seek as _, SeekFrom},
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{OFlags, PROC_SUPER_MAGIC, statfs},
    io::Errno,
    process::{Pid, PidfdFlags, PidfdGetfdFlags, geteuid, getpid, pidfd_getfd, pidfd_open},
};

use super::{
    path::{LINKS_MAX, directory_of},
    standard_streams::{self, BlockingStream},
};

/// Permission bit of a directory in which every user may create names.
const WORLD_WRITABLE: u32 = 0o002;

/// The end of a path.
#[derive(Debug)]
pub(crate) enum Destination {
    /// A name that is not a link; it may not exist yet.
    Name(PathBuf),
    /// An open descriptor.
    Descriptor(Descriptor),
}

/// A descriptor of this process, or of another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Descriptor {
    /// The other process; `None` for this one.
    process: Option<Pid>,
    number: i32,
    /// The link to the file behind the descriptor.
    path: PathBuf,
}

/// Follows `path` to its end.
///
/// # Errors
/// For a link that another user placed in a world-writable directory, for too many links, and those
/// of the file system.
pub(crate) fn resolve(path: &Path) -> io::Result<Destination> {
    let mut at = path.to_owned();
    for _ in 0..LINKS_MAX {
        if let Some(descriptor) = Descriptor::from_path(&at) {
            return Ok(Destination::Descriptor(descriptor));
        }
        let metadata = match fs::symlink_metadata(&at) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => break,
            Err(error) => return Err(error),
        };
        if !metadata.is_symlink() {
            return Ok(Destination::Name(at));
        }
        refuse_planted(&at, &metadata)?;
        at = directory_of(&at).join(fs::read_link(&at)?);
    }
    match fs::symlink_metadata(&at) {
        Ok(_) => Err(Errno::LOOP.into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Destination::Name(at)),
        Err(error) => Err(error),
    }
}

/// The name at the end of `path`, where a file is replaced.
///
/// # Errors
/// As of [`resolve`], and for a descriptor.
pub(crate) fn resolve_name(path: &Path) -> io::Result<PathBuf> {
    match resolve(path)? {
        Destination::Name(name) => Ok(name),
        Destination::Descriptor(_) => {
            Err(io::Error::new(io::ErrorKind::InvalidInput, "it is a descriptor and no file"))
        }
    }
}

/// The open file behind the inherited descriptor `number` of this process, for reading.
///
/// # Errors
/// When it is not open, or this process opened it itself.
pub fn open_inherited(number: u16) -> io::Result<File> {
    Descriptor::own(number.into()).for_reading()
}

/// Whether another user may have placed `path` there to trick this one: its directory is
/// world-writable, and the file's owner is neither this user, nor root, nor the directory's owner.
/// The kernel's `fs.protected_symlinks` and related settings (proc_sys_fs(5)) have this rule for
/// links that it follows and files that it creates itself.
pub(crate) fn is_planted(path: &Path, metadata: &Metadata) -> io::Result<bool> {
    let directory = fs::metadata(directory_of(path))?;
    let known = [0, geteuid().as_raw(), directory.uid()];
    Ok(directory.mode() & WORLD_WRITABLE != 0 && !known.contains(&metadata.uid()))
}

fn refuse_planted(link: &Path, metadata: &Metadata) -> io::Result<()> {
    if !is_planted(link, metadata)? {
        return Ok(());
    }
    let owner = metadata.uid();
    let text = format!(
        "{} is a link of another user (uid {owner}) in a directory that everybody may write to",
        link.display()
    );
    Err(io::Error::new(io::ErrorKind::PermissionDenied, text))
}

impl Descriptor {
    /// The descriptor of this process with this number.
    pub(crate) fn own(number: i32) -> Self {
        Self { process: None, number, path: PathBuf::from(format!("/proc/self/fd/{number}")) }
    }

    /// The descriptor that `path` names, if it names one.
    fn from_path(path: &Path) -> Option<Self> {
        let of = |process, number| Some(Self { process, number, ..Self::own(number) });
        match path.to_str() {
            Some("/dev/stdout") if fs::symlink_metadata(path).is_err() => return of(None, 1),
            Some("/dev/stderr") if fs::symlink_metadata(path).is_err() => return of(None, 2),
            _ => {}
        }
        let number = path.file_name()?.to_str()?.parse::<u16>().ok().map(i32::from)?;
        match fs::canonicalize(directory_of(path)) {
            Ok(directory) if directory.ends_with("fd") && is_proc(&directory) => {
                let process = directory.parent()?;
                // `/proc/PID/fd`, or `/proc/PID/task/TID/fd`: the threads of a process share one
                // table.
                let process = match process.parent() {
                    Some(task) if task.ends_with("task") => task.parent()?,
                    _ => process,
                };
                let own =
                    process.parent().and_then(|proc| fs::canonicalize(proc.join("self")).ok());
                if own.as_deref() == Some(process) {
                    return of(None, number);
                }
                let process = Pid::from_raw(process.file_name()?.to_str()?.parse().ok()?)?;
                let path = directory.join(number.to_string());
                Some(Self { process: Some(process), number, path })
            }
            // Without /proc, or in a minimal /dev, these names have their usual meaning.
            Err(_)
                if ["/dev/fd", "/proc/self/fd"]
                    .map(Path::new)
                    .map(Some)
                    .contains(&path.parent()) =>
            {
                of(None, number)
            }
            _ => None,
        }
    }

    /// Whether it is this process's stdout.
    pub(crate) fn is_stdout(&self) -> bool {
        (self.process.is_none(), self.number) == (true, 1)
    }

    /// A duplicate that shares position and flags, so that output continues where the owner's would
    /// have.
    ///
    /// # Errors
    /// When it is not open, or this process may not access it.
    pub(crate) fn duplicate(&self) -> io::Result<File> {
        let closed = || io::Error::from(Errno::BADF);
        let flags = self.flags();
        if self.process.is_none() {
            match self.number {
                0 => return standard_streams::stdin().map(BlockingStream::into_file),
                1 => return standard_streams::stdout().map(BlockingStream::into_file),
                2 => return standard_streams::stderr().map(BlockingStream::into_file),
                _ => self.refuse_close_on_exec()?,
            }
        }
        match self.duplicate_by_pidfd() {
            Ok(fd) => Ok(fd.into()),
            Err(Errno::BADF) => Err(closed()),
            // Not permitted, or unknown to this kernel: open the same file again instead.
            Err(_) => self.reopen(flags.unwrap_or(OFlags::WRONLY)),
        }
    }

    /// The same for reading, for a descriptor of this process.
    ///
    /// # Errors
    /// As of [`duplicate`](Self::duplicate).
    pub(crate) fn for_reading(&self) -> io::Result<File> {
        if self.number == 0 {
            return standard_streams::stdin().map(BlockingStream::into_file);
        }
        self.refuse_close_on_exec()?;
        self.duplicate_by_pidfd().map(File::from).or_else(|_| File::open(&self.path))
    }

    /// Refuses a descriptor that is closed on exec: this process opened it itself, and did not
    /// inherit it.
    fn refuse_close_on_exec(&self) -> io::Result<()> {
        let is_own = self.flags().is_some_and(|flags| flags.contains(OFlags::CLOEXEC));
        if is_own { Err(Errno::BADF.into()) } else { Ok(()) }
    }

    fn duplicate_by_pidfd(&self) -> rustix::io::Result<OwnedFd> {
        let process = pidfd_open(self.process.unwrap_or_else(getpid), PidfdFlags::empty())?;
        // The pidfd gets the lowest free number, which may be the one that was asked for.
        if self.process.is_none() && process.as_raw_fd() == self.number {
            return Err(Errno::BADF);
        }
        pidfd_getfd(process, self.number, PidfdGetfdFlags::empty())
    }

    fn reopen(&self, flags: OFlags) -> io::Result<File> {
        let kept = (flags & (OFlags::APPEND | OFlags::NONBLOCK)) | OFlags::NOCTTY;
        let mut options = OpenOptions::new();
        options.write(true).custom_flags(kept.bits().cast_signed());
        let mut file = options.open(&self.path)?;
        if file.metadata()?.is_file()
            && !flags.contains(OFlags::APPEND)
            && let Some(position) = self.fdinfo("pos:").and_then(|text| text.parse().ok())
        {
            file.seek(SeekFrom::Start(position))?;
        }
        Ok(file)
    }

    /// proc(5), `/proc/PID/fdinfo`: flags of the open file, and whether the descriptor is closed on
    /// exec.
    fn flags(&self) -> Option<OFlags> {
        let bits = u32::from_str_radix(&self.fdinfo("flags:")?, 8).ok()?;
        Some(OFlags::from_bits_retain(bits))
    }

    fn fdinfo(&self, field: &str) -> Option<String> {
        let process = directory_of(directory_of(&self.path));
        let text = fs::read_to_string(process.join("fdinfo").join(self.number.to_string())).ok()?;
        text.lines().find_map(|line| line.strip_prefix(field)).map(|text| text.trim().to_owned())
    }

    /// Whether the descriptor belongs to another process.
    pub(crate) fn is_of_another_process(&self) -> bool {
        self.process.is_some()
    }
}

fn is_proc(directory: &Path) -> bool {
    statfs(directory).is_ok_and(|found| found.f_type == PROC_SUPER_MAGIC)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, chown, symlink};

    use super::*;

    fn found(path: &Path) -> String {
        match resolve(path) {
            Ok(Destination::Name(name)) => format!("name {}", name.display()),
            Ok(Destination::Descriptor(Descriptor { process, number, .. })) => {
                format!("descriptor {number} of {process:?}")
            }
            Err(error) => format!("error {error}"),
        }
    }

    /// A path through /dev/fd or /proc/PID/fd resolves to that descriptor, also by links.
    #[test]
    fn resolve_finds_descriptor_behind_dev_fd_and_proc_paths() {
        let dir = tempfile::tempdir().unwrap();
        let link = |name: &str, to: &str| {
            symlink(to, dir.path().join(name)).unwrap();
            dir.path().join(name)
        };
        let chained = link("first", "/dev/fd/9");
        let chained = link("second", chained.to_str().unwrap());
        let own = format!("/proc/{}/fd/7", std::process::id());
        let thread = format!("/proc/{0}/task/{0}/fd/7", std::process::id());
        for (path, number) in [
            (Path::new("/dev/stdout"), 1),
            (Path::new("/dev/stderr"), 2),
            (Path::new("/dev/fd/5"), 5),
            (Path::new("/proc/self/fd/6"), 6),
            (Path::new("/proc/thread-self/fd/6"), 6),
            (Path::new(&own), 7),
            (Path::new(&thread), 7),
            (Path::new("/proc/../proc/self/fd/8"), 8),
            (&chained, 9),
        ] {
            assert_eq!(found(path), format!("descriptor {number} of None"), "{}", path.display());
        }
        assert_eq!(found(Path::new("/proc/1/fd/3")), "descriptor 3 of Some(Pid(1))");
        for other in ["/proc/self/fdinfo/1", "/dev/null", "/proc/self/fd", "/dev/fdx/1"] {
            assert_eq!(found(Path::new(other)), format!("name {other}"));
        }
    }

    /// A chain of links resolves to its last name, and a loop is an error.
    #[test]
    fn resolve_follows_links_to_a_name() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        symlink("file", at("first")).unwrap();
        symlink("./first", at("second")).unwrap();
        symlink("round", at("round")).unwrap();
        let expected = format!("name {}", at("file").display());
        assert_eq!(found(&at("second")), expected);
        fs::write(at("file"), "").unwrap();
        assert_eq!(found(&at("second")), expected);
        assert!(
            found(&at("round")).starts_with("error Too many levels"),
            "{}",
            found(&at("round"))
        );
    }

    /// Another user's link in a sticky world-writable directory is not followed.
    #[test]
    fn resolve_refuses_planted_link_in_sticky_directory() {
        if !geteuid().is_root() {
            return zput_skip::because("only root can make another user's link");
        }
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        symlink("file", &link).unwrap();
        std::os::unix::fs::lchown(&link, Some(54_321), None).unwrap();
        assert!(found(&link).starts_with("name "));
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o1777)).unwrap();
        assert!(found(&link).contains("is a link of another user (uid 54321)"));
        chown(dir.path(), Some(54_321), None).unwrap();
        assert!(found(&link).starts_with("name "));
    }
}
