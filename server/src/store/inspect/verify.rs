//! One file against its record, every byte of it.

use std::{
    fs::File,
    ops::ControlFlow,
    os::{fd::AsFd as _, unix::fs::FileExt as _},
};

use zput_common::digest::Hasher;

use super::{
    scrub::ReadFrom,
    walk::{Named, Spot},
};
use crate::{
    store::{
        Store,
        error::{Doing, OfFile as _, Rot, StoreError},
        layout::{ObjectName, Shelf},
        object::Object,
        record::SliceTable,
        shard::open_file,
    },
    sys::{fs, residency::Residency},
};

/// Bytes that are read and hashed at once. They stay in a core's cache: by 512 KiB a scrub has half of BLAKE3's speed, by 128 KiB 0.7 of it.
const BLOCK_BYTES: usize = 128 * 1024;

/// What came of looking at a file.
#[derive(Debug)]
pub(super) enum Verified {
    /// It is what its record says, and where it belongs.
    Whole(Object),
    /// It is not. This is its object's record, where that holds.
    Rotten(Rot, Option<Object>),
    /// It has gone, or was never there.
    Gone,
    /// Somebody wanted to stop.
    Stopped,
}

/// How a file is read.
pub(super) struct Reader<'a> {
    /// From where.
    pub(super) from: ReadFrom,
    /// So many bytes were read; whether to go on.
    pub(super) read: &'a mut dyn FnMut(u64) -> ControlFlow<()>,
    /// [`BLOCK_BYTES`] of memory.
    pub(super) block: &'a mut Vec<u8>,
}

impl Store {
    /// Opens the file at `spot` and holds its record against its name; its bytes are not looked at.
    pub(super) fn look_at(
        &self,
        spot: &Spot,
        named: Named,
        from: ReadFrom,
    ) -> Result<Verified, StoreError> {
        let opened = |file: File| {
            if from == ReadFrom::Disk {
                self.syncs().evict(&file)?;
            }
            Object::read(file)
        };
        let path = spot.path();
        let file = open_file(self.root(), &path, &path);
        match file.and_then(|file| file.map(opened).transpose()).of_file(&path) {
            Ok(Some(object)) if belongs(&object, named) => Ok(Verified::Whole(object)),
            Ok(Some(object)) => Ok(Verified::Rotten(Rot::Misplaced, Some(object))),
            Ok(None) => Ok(Verified::Gone),
            Err(StoreError::Corrupt(rot)) => Ok(Verified::Rotten(rot, None)),
            Err(error) => Err(error),
        }
    }

    /// The same, and holds the record against the framing of its payload.
    pub(super) fn look_closely(
        &self,
        spot: &Spot,
        named: Named,
        from: ReadFrom,
    ) -> Result<Verified, StoreError> {
        match self.look_at(spot, named, from)? {
            Verified::Whole(object) => framed(object).of_file(&spot.path()),
            other => Ok(other),
        }
    }

    /// The same, and reads all of it.
    pub(super) fn verify(
        &self,
        spot: &Spot,
        named: Named,
        reader: &mut Reader<'_>,
    ) -> Result<Verified, StoreError> {
        let object = match self.look_at(spot, named, reader.from)? {
            Verified::Whole(object) => object,
            other => return Ok(other),
        };
        match payload(&object, reader).of_file(&spot.path()) {
            Ok(ControlFlow::Continue(())) => framed(object).of_file(&spot.path()),
            Ok(ControlFlow::Break(())) => Ok(Verified::Stopped),
            Err(StoreError::Corrupt(rot)) => Ok(Verified::Rotten(rot, Some(object))),
            Err(error) => Err(error),
        }
    }
}

impl Store {
    /// Whether another file with another record claims to be the version of the whole file at `spot`. Of two such files one is
    /// found so: that on the later shelf. (Two with equal records are one version: a crash leaves two names of one file, and
    /// a copy of the store that keeps no hard links makes two files of it.)
    pub(super) fn has_twin(
        &self,
        spot: &Spot,
        named: Named,
        object: &Object,
    ) -> Result<bool, StoreError> {
        let (Named::Current(name) | Named::Version(name, _)) = named;
        for shelf in Shelf::ALL.into_iter().take(spot.shelf() as usize) {
            let path = match shelf {
                Shelf::Objects => name.current_path(),
                Shelf::History | Shelf::Trash => {
                    format!("{}/{}", spot.shard().on(shelf), name.version_file(object.version()))
                }
            };
            let file = open_file(self.root(), &path, &path);
            // What is wrong with that one is told when it is looked at itself.
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
fn framed(object: Object) -> Result<Verified, StoreError> {
    match object.framed_header() {
        Ok(_) => Ok(Verified::Whole(object)),
        Err(StoreError::Corrupt(rot)) => Ok(Verified::Rotten(rot, Some(object))),
        Err(error) => Err(error),
    }
}

fn belongs(object: &Object, named: Named) -> bool {
    let is = |name| ObjectName::of(object.key()) == name;
    match named {
        Named::Current(name) => is(name),
        Named::Version(name, version) => is(name) && object.version() == version,
    }
}

/// Every slice against its digest.
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
            return Err(Rot::Slice(index).into());
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// Fills `block`, and leaves the page cache as it was: what nobody had asked for is dropped again.
fn read(file: &File, residency: &Residency, at: u64, block: &mut [u8]) -> Result<(), StoreError> {
    let bytes = block.len() as u64;
    let was_there = residency.is_resident(file.as_fd(), at, bytes).doing("look at an object")?;
    file.read_exact_at(block, at).doing("read an object")?;
    if !was_there {
        fs::drop_cached(file, at, bytes);
    }
    Ok(())
}
