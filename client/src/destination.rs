//! What a path leads to, link by link.
//!
//! The kernel follows links by itself, and tells nobody on which way. Here each is looked at: a chain that passes through a
//! process's directory of descriptors (proc(5): `/proc/PID/fd`, `/dev/fd`, `/dev/stdout`) ends at that descriptor, which is
//! written as it is; every other chain ends at a name, beside which a new file can be made.

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

use crate::{
    atomic::directory_of,
    standard_streams::{self, Stream},
};

/// Links that are followed one after the other; path_resolution(7): the kernel follows as many.
pub(crate) const LINKS_MAX: usize = 40;

/// Permission bits of a directory in which everybody may make names.
const EVERYBODY_WRITES: u32 = 0o002;

/// Where a path ends.
#[derive(Debug)]
pub(crate) enum Destination {
    /// At a name that is no link; something has it, or nothing yet.
    Name(PathBuf),
    /// At an open descriptor.
    Descriptor(Descriptor),
}

/// A descriptor of this process, or of another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Descriptor {
    /// None is this process.
    process: Option<Pid>,
    number: i32,
    /// The link that leads to what it is of.
    path: PathBuf,
}

/// Where `path` ends.
///
/// # Errors
/// For a link that is another user's and lies where everybody may make one, for too many links, and those of the file
/// system.
pub(crate) fn destination(path: &Path) -> io::Result<Destination> {
    let mut at = path.to_owned();
    for _ in 0..LINKS_MAX {
        if let Some(descriptor) = Descriptor::at(&at) {
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

/// The name at which `path` ends; a file that is to be replaced is replaced there.
///
/// # Errors
/// As of [`destination`], and for a descriptor.
pub(crate) fn name(path: &Path) -> io::Result<PathBuf> {
    match destination(path)? {
        Destination::Name(name) => Ok(name),
        Destination::Descriptor(_) => {
            Err(io::Error::new(io::ErrorKind::InvalidInput, "it is a descriptor and no file"))
        }
    }
}

/// Whether another user may have put what has the name `path` there, for this one to come by: everybody may make names in its
/// directory, and neither this user, nor root, nor the directory's owner has made this one. The rule of
/// `fs.protected_symlinks` and its like (proc_sys_fs(5)), which guard only what the kernel follows and makes.
pub(crate) fn is_planted(path: &Path, metadata: &Metadata) -> io::Result<bool> {
    let directory = fs::metadata(directory_of(path))?;
    let known = [0, geteuid().as_raw(), directory.uid()];
    Ok(directory.mode() & EVERYBODY_WRITES != 0 && !known.contains(&metadata.uid()))
}

fn refuse_planted(link: &Path, metadata: &Metadata) -> io::Result<()> {
    if !is_planted(link, metadata)? {
        return Ok(());
    }
    let owner = metadata.uid();
    let text = format!(
        "{} is a link of another user (number {owner}) in a directory that everybody may write to",
        link.display()
    );
    Err(io::Error::new(io::ErrorKind::PermissionDenied, text))
}

impl Descriptor {
    /// The descriptor of this process with this number.
    pub(crate) fn own(number: i32) -> Self {
        Self { process: None, number, path: PathBuf::from(format!("/proc/self/fd/{number}")) }
    }

    /// The descriptor that `path` stands for, if it is one of those names.
    fn at(path: &Path) -> Option<Self> {
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
                // `/proc/PID/fd`, or `/proc/PID/task/TID/fd`: threads of one process have one table.
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
            // Without /proc, and in a /dev of nothing but devices, the names mean what they mean elsewhere.
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

    /// Whether it is this process's standard output.
    pub(crate) fn is_stdout(&self) -> bool {
        (self.process.is_none(), self.number) == (true, 1)
    }

    /// The descriptor itself once more, with its position and its flags: what is written goes to where the next thing that
    /// its owner writes would have gone.
    ///
    /// # Errors
    /// When it is not open, or this process may not have it.
    pub(crate) fn duplicate(&self) -> io::Result<File> {
        let closed = || io::Error::from(Errno::BADF);
        let flags = self.flags();
        if self.process.is_none() {
            match self.number {
                0 => return standard_streams::stdin().map(Stream::into_file),
                1 => return standard_streams::stdout().map(Stream::into_file),
                2 => return standard_streams::stderr().map(Stream::into_file),
                _ => self.refuse_own()?,
            }
        }
        match self.taken() {
            Ok(fd) => Ok(fd.into()),
            Err(Errno::BADF) => Err(closed()),
            // Not allowed, or not known to the kernel: another description of the same file, as near as that comes.
            Err(_) => self.opened_again(flags.unwrap_or(OFlags::WRONLY)),
        }
    }

    /// The same for reading; a descriptor of this process.
    ///
    /// # Errors
    /// As of [`duplicate`](Self::duplicate).
    pub(crate) fn for_reading(&self) -> io::Result<File> {
        if self.number == 0 {
            return standard_streams::stdin().map(Stream::into_file);
        }
        self.refuse_own()?;
        self.taken().map(File::from).or_else(|_| File::open(&self.path))
    }

    /// What is closed when a program is started was given to this one by nobody: it is this program's own.
    fn refuse_own(&self) -> io::Result<()> {
        let is_own = self.flags().is_some_and(|flags| flags.contains(OFlags::CLOEXEC));
        if is_own { Err(Errno::BADF.into()) } else { Ok(()) }
    }

    fn taken(&self) -> rustix::io::Result<OwnedFd> {
        let process = pidfd_open(self.process.unwrap_or_else(getpid), PidfdFlags::empty())?;
        // It has the lowest number that is free, which may be the one that was asked for.
        if self.process.is_none() && process.as_raw_fd() == self.number {
            return Err(Errno::BADF);
        }
        pidfd_getfd(process, self.number, PidfdGetfdFlags::empty())
    }

    fn opened_again(&self, flags: OFlags) -> io::Result<File> {
        let kept = (flags & (OFlags::APPEND | OFlags::NONBLOCK)) | OFlags::NOCTTY;
        let mut options = OpenOptions::new();
        options.write(true).custom_flags(kept.bits().cast_signed());
        let mut file = options.open(&self.path)?;
        if file.metadata()?.is_file()
            && !flags.contains(OFlags::APPEND)
            && let Some(position) = self.info("pos:").and_then(|text| text.parse().ok())
        {
            file.seek(SeekFrom::Start(position))?;
        }
        Ok(file)
    }

    /// proc(5), `/proc/PID/fdinfo`: the flags of the open file, and whether it is closed by execve(2).
    fn flags(&self) -> Option<OFlags> {
        let bits = u32::from_str_radix(&self.info("flags:")?, 8).ok()?;
        Some(OFlags::from_bits_retain(bits))
    }

    fn info(&self, field: &str) -> Option<String> {
        let process = directory_of(directory_of(&self.path));
        let text = fs::read_to_string(process.join("fdinfo").join(self.number.to_string())).ok()?;
        text.lines().find_map(|line| line.strip_prefix(field)).map(|text| text.trim().to_owned())
    }

    /// Whose process it is, if it is another one's.
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
        match destination(path) {
            Ok(Destination::Name(name)) => format!("name {}", name.display()),
            Ok(Destination::Descriptor(Descriptor { process, number, .. })) => {
                format!("descriptor {number} of {process:?}")
            }
            Err(error) => format!("error {error}"),
        }
    }

    #[test]
    fn what_passes_through_the_descriptors_of_a_process_is_one() {
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

    #[test]
    fn links_are_followed_to_a_name() {
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

    #[test]
    fn a_link_that_another_user_planted_is_not_followed() {
        if !geteuid().is_root() {
            return zput_skip::because("only root can make another user's link");
        }
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        symlink("file", &link).unwrap();
        std::os::unix::fs::lchown(&link, Some(54_321), None).unwrap();
        assert!(found(&link).starts_with("name "));
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o1777)).unwrap();
        assert!(found(&link).contains("is a link of another user (number 54321)"));
        chown(dir.path(), Some(54_321), None).unwrap();
        assert!(found(&link).starts_with("name "));
    }
}
