//! Small TOML files, which are read whole, and written beside their target and renamed.

use std::{
    fs::File,
    io::{ErrorKind, Read as _},
    os::{fd::BorrowedFd, unix::fs::FileExt},
    time::{Duration, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;
use zput_proto::message::Scopes;

use super::{
    error::{Context, StoreError},
    fsync::{Fsync, ReadFrom},
    layout::{FORMAT, TEMPORARY_PREFIX},
    staging::Staged,
};
use crate::sys::fs;

/// Longest small file that is read.
const SMALL_FILE_MAX_BYTES: u64 = 64 * 1024;

/// Reads a file's text; `None` if there is no file. A file that is too long or not UTF-8 is an
/// error (`InvalidData`). `path` is the file's path from the store's directory, for messages.
pub(super) fn read(
    dir: BorrowedFd<'_>,
    name: &str,
    path: &str,
) -> Result<Option<Zeroizing<String>>, StoreError> {
    let file = match fs::open_read(dir, name) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        file => file.context_read("open a file", path)?,
    };
    text(file).map(Some).context_read("read a file", path)
}

/// As [`read`], optionally from the disk instead of the page cache.
pub(super) fn read_from(
    fsync: &Fsync,
    dir: BorrowedFd<'_>,
    name: &str,
    path: &str,
    from: ReadFrom,
) -> Result<Option<Zeroizing<String>>, StoreError> {
    if from == ReadFrom::Disk {
        match fs::open_read(dir, name) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            file => fsync.evict(file.context_read("open a file", path)?)?,
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

/// Writes a file, replacing an existing one. The file is durable when this returns. `dir` is `path`
/// from the store's directory.
pub(super) fn write(
    fsync: &Fsync,
    dir: BorrowedFd<'_>,
    path: &str,
    name: &str,
    text: &str,
) -> Result<(), StoreError> {
    let mut staged = Staged::create(&dir, path, TEMPORARY_PREFIX)?;
    staged.file().write_all_at(text.as_bytes(), 0).context_file("write a file", name)?;
    fsync.data(staged.file(), "sync a file")?;
    staged.rename_into_place(dir, name)?;
    fsync.dir(dir)
}

/// Parses the text of a file. The error says what is wrong and in which line.
pub(super) fn parse_toml<T: for<'de> Deserialize<'de>>(text: &str) -> Result<T, String> {
    toml::from_str(text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start));
        match before {
            Some(before) => {
                let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
                format!("line {line}: {}", error.message())
            }
            None => error.message().to_owned(),
        }
    })
}

/// The text of a file with these values.
pub(super) fn to_toml(values: &impl Serialize) -> Result<String, String> {
    toml::to_string(values).map_err(|error| error.to_string())
}

/// Checks that the format of a file is the one that this version writes.
pub(super) fn check_format(format: u64) -> Result<(), String> {
    if format == FORMAT { Ok(()) } else { Err(format!("format {format}")) }
}

/// Parses the names of scopes.
pub(super) fn parse_scopes(names: &[String]) -> Result<Scopes, String> {
    names.iter().try_fold(Scopes::NONE, |scopes, name| match Scopes::named(name) {
        Some(scope) => Ok(scopes.and(scope)),
        None => Err(format!("no scope is called {name:?}")),
    })
}

/// A time in nanoseconds since 1970 as RFC 3339, in UTC, to the second.
pub(super) fn rfc3339(ns: u64) -> String {
    // A u64 of ns ends in the year 2554.
    let time = UNIX_EPOCH + Duration::from_nanos(ns);
    humantime::format_rfc3339_seconds(time).to_string()
}
