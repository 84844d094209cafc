//! The files that are served, on a disk.

use std::{
    fs::{self, File},
    io::ErrorKind,
    path::{Path, PathBuf},
};

use rustix::fs::{Advice, fadvise, fstatfs, fstatvfs};
use tempfile::TempDir;
use zput_tests::{Machine, measure::random_file};

use crate::Failure;

/// What both sides serve under this path.
pub(crate) const FILES: &str = "files";

/// statfs(2): what a file system in memory says it is.
const TMPFS_MAGIC: i64 = 0x0102_1994;

/// A directory, removed when dropped.
pub(crate) struct Ground {
    root: TempDir,
}

impl Ground {
    /// In `directory`, or where the build puts what it needs for itself.
    pub(crate) fn new(directory: Option<&Path>) -> Result<Self, Failure> {
        let directory = directory.unwrap_or(Path::new(env!("CARGO_TARGET_TMPDIR")));
        fs::create_dir_all(directory)?;
        if fstatfs(File::open(directory)?)?.f_type as i64 == TMPFS_MAGIC {
            println!("{} is in memory: nothing in it is ever cold", directory.display());
        }
        let root = tempfile::tempdir_in(directory)?;
        fs::create_dir(root.path().join(FILES))?;
        Ok(Self { root })
    }

    pub(crate) fn path(&self) -> &Path {
        self.root.path()
    }

    /// Where the served file `name` is.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.root.path().join(FILES).join(name)
    }

    /// What a client of either side asks for to get it.
    pub(crate) fn target(name: &str) -> String {
        format!("/{FILES}/{name}")
    }

    /// Makes a file of random bytes unless it is there.
    pub(crate) fn random(&self, name: &str, length: u64) -> Result<(), Failure> {
        let path = self.file(name);
        match fs::metadata(&path) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(random_file(&path, length)?),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes a sealed blob of `length` bytes of plaintext, to the recipients of `home`.
    pub(crate) fn sealed(&self, name: &str, length: u64, home: &Machine) -> Result<(), Failure> {
        let plain = self.root.path().join("plain");
        random_file(&plain, length)?;
        let (plain_path, path) = (plain.as_os_str(), self.file(name));
        let sealed = home.run("zblob seal", [plain_path, "-o".as_ref(), path.as_os_str()]);
        fs::remove_file(&plain)?;
        if sealed.code != Some(0) {
            return Err(format!("zblob seal: {}", sealed.stderr).into());
        }
        Ok(())
    }

    /// Bytes that the disk has room for.
    pub(crate) fn room(&self) -> Result<u64, Failure> {
        let disk = fstatvfs(File::open(self.root.path())?)?;
        Ok(disk.f_bavail * disk.f_frsize)
    }

    /// Takes a file out of the page cache, but for what is on its way through a socket.
    pub(crate) fn cool(&self, name: &str) -> Result<(), Failure> {
        Ok(fadvise(File::open(self.file(name))?, 0, None, Advice::DontNeed)?)
    }
}
