//! Small TOML files: read whole, written beside their place and renamed.

use std::{
    fs::File,
    io::{ErrorKind, Read as _},
    os::{fd::BorrowedFd, unix::fs::FileExt},
};

use zeroize::Zeroizing;

use super::{
    error::{Doing, StoreError},
    inspect::ReadFrom,
    layout::TEMPORARY_PREFIX,
    staging::Staged,
    sync::Syncs,
};
use crate::sys::fs;

/// Longest of these files.
const SMALL_FILE_MAX_BYTES: u64 = 64 * 1024;

/// The text of a file, if it is there; nothing of one that is too long or not UTF-8 (`InvalidData`). `path` is what it is
/// called from the store's directory, for people.
pub(super) fn read(
    dir: BorrowedFd<'_>,
    name: &str,
    path: &str,
) -> Result<Option<Zeroizing<String>>, StoreError> {
    let file = match fs::open_read(dir, name) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        file => file.reading("open a file", path)?,
    };
    text(file).map(Some).reading("read a file", path)
}

/// The same; from the disk if that is asked for.
pub(super) fn read_from(
    syncs: &Syncs,
    dir: BorrowedFd<'_>,
    name: &str,
    path: &str,
    from: ReadFrom,
) -> Result<Option<Zeroizing<String>>, StoreError> {
    if from == ReadFrom::Disk {
        match fs::open_read(dir, name) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            file => syncs.evict(file.reading("open a file", path)?)?,
        }
    }
    read(dir, name, path)
}

fn text(file: File) -> std::io::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::new());
    let length = file.take(SMALL_FILE_MAX_BYTES + 1).read_to_string(&mut text)?;
    if length as u64 > SMALL_FILE_MAX_BYTES {
        return Err(ErrorKind::InvalidData.into());
    }
    Ok(text)
}

/// Writes a file, in place of what is there; when this returns, it is durable. `dir` is `path` from the store's own.
pub(super) fn write(
    syncs: &Syncs,
    dir: BorrowedFd<'_>,
    path: &str,
    name: &str,
    text: &str,
) -> Result<(), StoreError> {
    let staged = Staged::create(&dir, path, TEMPORARY_PREFIX)?;
    staged.file().write_all_at(text.as_bytes(), 0).doing_to("write a file", name)?;
    syncs.data(staged.file(), "sync a file")?;
    staged.place(dir, name)?;
    syncs.dir(dir)
}
