//! Verification of one file against its record, byte by byte.

use std::{
    fs::File,
    ops::ControlFlow,
    os::{fd::AsFd as _, unix::fs::FileExt as _},
};

use zput_proto::digest::Hasher;

use super::file_ref::{FileRef, ParsedName};
use crate::{
    store::{
        Store,
        error::{Context, Corruption, StoreError, WithFile as _},
        fsync::ReadFrom,
        layout::{Area, ObjectName},
        object::{Object, open_file},
        record::SliceTable,
    },
    sys::{fs, residency::Residency},
};

/// Bytes that are read and hashed at once. They stay in a core's cache: with 512 KiB a scrub has
/// half of BLAKE3's speed, with 128 KiB 0.7 of it.
const BLOCK_BYTES: usize = 128 * 1024;

/// The result of looking at a file.
#[derive(Debug)]
pub(super) enum Verified {
    /// The file is what its record says, and is in its place.
    Intact(Object),
    /// It is not. The object is the file's record, where that could be read.
    Corrupt(Corruption, Option<Object>),
    /// The file is gone, or was never there.
    Missing,
    /// The observer stopped the verification.
    Stopped,
}

/// How a file is read.
pub(super) struct Reader<'a> {
    /// From the page cache or from the disk.
    pub(super) from: ReadFrom,
    /// Called with the bytes read since the last call; returns whether to continue.
    pub(super) read: &'a mut dyn FnMut(u64) -> ControlFlow<()>,
    /// A buffer, resized to at most [`BLOCK_BYTES`].
    pub(super) block: &'a mut Vec<u8>,
}

impl Store {
    /// Opens the file at `file_ref` and compares its record with its name. The payload is not read.
    pub(super) fn check_record(
        &self,
        file_ref: &FileRef,
        parsed: ParsedName,
        from: ReadFrom,
    ) -> Result<Verified, StoreError> {
        let opened = |file: File| {
            if from == ReadFrom::Disk {
                self.fsync().evict(&file)?;
            }
            Object::read(file)
        };
        let path = file_ref.path();
        let file = open_file(self.root(), &path, &path);
        match file.and_then(|file| file.map(opened).transpose()).with_file(&path) {
            Ok(Some(object)) if has_name_of(&object, parsed) => Ok(Verified::Intact(object)),
            Ok(Some(object)) => Ok(Verified::Corrupt(Corruption::Misplaced, Some(object))),
            Ok(None) => Ok(Verified::Missing),
            Err(StoreError::Corrupt(rot)) => Ok(Verified::Corrupt(rot, None)),
            Err(error) => Err(error),
        }
    }

    /// As [`Self::check_record`], and compares the record with the framing of the payload.
    pub(super) fn check_framing(
        &self,
        file_ref: &FileRef,
        parsed: ParsedName,
        from: ReadFrom,
    ) -> Result<Verified, StoreError> {
        match self.check_record(file_ref, parsed, from)? {
            Verified::Intact(object) => check_framed(object).with_file(&file_ref.path()),
            other => Ok(other),
        }
    }

    /// As [`Self::check_framing`], and reads the whole payload.
    pub(super) fn verify(
        &self,
        file_ref: &FileRef,
        parsed: ParsedName,
        reader: &mut Reader<'_>,
    ) -> Result<Verified, StoreError> {
        let object = match self.check_record(file_ref, parsed, reader.from)? {
            Verified::Intact(object) => object,
            other => return Ok(other),
        };
        match payload(&object, reader).with_file(&file_ref.path()) {
            Ok(ControlFlow::Continue(())) => check_framed(object).with_file(&file_ref.path()),
            Ok(ControlFlow::Break(())) => Ok(Verified::Stopped),
            Err(StoreError::Corrupt(rot)) => Ok(Verified::Corrupt(rot, Some(object))),
            Err(error) => Err(error),
        }
    }
}

impl Store {
    /// Whether another file with another record claims to be the version of the intact file at
    /// `file_ref`. Of two such files only the one in the later area reports it. (Two files with
    /// equal records are one version: a crash leaves two names of one file, and a copy of the store
    /// without hard links makes two files of it.)
    pub(super) fn has_duplicate(
        &self,
        file_ref: &FileRef,
        parsed: ParsedName,
        object: &Object,
    ) -> Result<bool, StoreError> {
        let (ParsedName::Current(name) | ParsedName::Version(name, _)) = parsed;
        for area in Area::ALL.into_iter().take(file_ref.area() as usize) {
            let path = match area {
                Area::Objects => name.current_path(),
                Area::History | Area::Trash => {
                    format!(
                        "{}/{}",
                        file_ref.shard().dir_in(area),
                        name.version_file(object.version())
                    )
                }
            };
            let file = open_file(self.root(), &path, &path);
            // Damage of the other file is reported when that file itself is inspected.
            let Ok(Some(other)) = file.and_then(|file| file.map(Object::read).transpose()) else {
                continue;
            };
            let (one, other) = (object.trailer(), other.trailer());
            if one.version == other.version && one != other {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Whether the payload is framed as the record says.
fn check_framed(object: Object) -> Result<Verified, StoreError> {
    match object.checked_header() {
        Ok(_) => Ok(Verified::Intact(object)),
        Err(StoreError::Corrupt(rot)) => Ok(Verified::Corrupt(rot, Some(object))),
        Err(error) => Err(error),
    }
}

fn has_name_of(object: &Object, parsed: ParsedName) -> bool {
    let is = |name| ObjectName::for_key(object.key()) == name;
    match parsed {
        ParsedName::Current(name) => is(name),
        ParsedName::Version(name, version) => is(name) && object.version() == version,
    }
}

/// Compares every slice with its digest.
fn payload(object: &Object, reader: &mut Reader<'_>) -> Result<ControlFlow<()>, StoreError> {
    let file = object.file();
    let table = SliceTable::read(file, object.trailer())?;
    let residency = Residency::default();
    let mut at = 0;
    for (index, (length, digest)) in (0..).zip(table.rows()) {
        let end = at + u64::from(length);
        let mut hasher = Hasher::new();
        while at < end {
            let bytes = (end - at).min(BLOCK_BYTES as u64);
            reader.block.resize(bytes as usize, 0);
            let block = &mut reader.block[..];
            read(file, &residency, at, block)?;
            hasher.update(block);
            at += bytes;
            if (reader.read)(bytes).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        if hasher.finish() != digest {
            return Err(Corruption::Slice(index).into());
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// Fills `block` and leaves the page cache as it was: pages that were not cached before are dropped
/// again.
fn read(file: &File, residency: &Residency, at: u64, block: &mut [u8]) -> Result<(), StoreError> {
    let bytes = block.len() as u64;
    let was_there = residency.is_resident(file.as_fd(), at, bytes).context("look at an object")?;
    file.read_exact_at(block, at).context("read an object")?;
    if !was_there {
        fs::drop_cached(file, at, bytes);
    }
    Ok(())
}
