//! The record at the end of every object file (STORE, "The record").
//!
//! ```text
//! file = payload || slices || trailer
//! ```

use std::{fs::File, os::unix::fs::FileExt};

use zput_proto::{
    cursor::Cursor,
    digest::Digest,
    keys::DevicePublicKey,
    message::{Info, Kind, Version},
    name::ObjectKey,
};

use super::error::{Context, Corruption, StoreError};
use crate::sys::fs::{self, EntryKind};

/// The first bytes of a trailer (STORE, "The record"): `\x8Azputrec`.
const MAGIC: [u8; 8] = *b"\x8azputrec";
const RECORD_FORMAT: u8 = 1;
/// Bytes of a trailer without its key.
const FIXED_BYTES: usize = 136;
/// Bytes of the longest trailer.
const TRAILER_MAX_BYTES: usize = zput_proto::limits::OBJECT_KEY_MAX_BYTES + FIXED_BYTES;

/// The writer's key in the record of an object that no device wrote.
const ANONYMOUS: [u8; 32] = [0; 32];

/// Bytes of one row of the table of slices: `length[4] || BLAKE3-256[32]`.
pub(super) const SLICE_ROW_BYTES: usize = 36;

/// The metadata of one version of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trailer {
    pub(super) key: ObjectKey,
    pub(super) kind: Kind,
    pub(super) version: Version,
    pub(super) payload_length: u64,
    /// 0 for a plain object.
    pub(super) header_length: u32,
    /// 0 for a plain object.
    pub(super) footer_length: u32,
    /// The device that wrote the version; `None` for an anonymous one.
    pub(super) client: Option<DevicePublicKey>,
    pub(super) slice_count: u32,
    pub(super) slices_digest: Digest,
}

impl Trailer {
    /// The trailer's bytes, as they end a file.
    pub(super) fn encode(&self) -> Vec<u8> {
        let key = self.key.as_bytes();
        let mut out = Vec::with_capacity(key.len() + FIXED_BYTES);
        out.extend_from_slice(key);
        out.push(RECORD_FORMAT);
        out.push(match self.kind {
            Kind::Sealed => 0,
            Kind::Plain => 1,
        });
        out.extend_from_slice(&self.version.0.to_be_bytes());
        out.extend_from_slice(&self.payload_length.to_be_bytes());
        out.extend_from_slice(&self.header_length.to_be_bytes());
        out.extend_from_slice(&self.footer_length.to_be_bytes());
        out.extend_from_slice(
            self.client.as_ref().map_or(&ANONYMOUS[..], |client| client.as_bytes()),
        );
        out.extend_from_slice(&self.slice_count.to_be_bytes());
        out.extend_from_slice(self.slices_digest.as_bytes());
        // An `ObjectKey` has at most 1,024 bytes.
        out.extend_from_slice(&(key.len() as u16).to_be_bytes());
        out.extend_from_slice(Digest::of(&out).as_bytes());
        out.extend_from_slice(&MAGIC);
        out
    }

    /// Reads the trailer of `file` and checks it against its digest and the file's length. The
    /// payload and the table of slices are not read.
    pub(super) fn read(file: &File) -> Result<Self, StoreError> {
        let identity = fs::stat(file).context("look at an object")?;
        if identity.kind != EntryKind::File {
            return Err(Corruption::NotAFile.into());
        }
        let file_length = identity.length;
        let mut tail = [0; TRAILER_MAX_BYTES];
        let tail_length = file_length.min(TRAILER_MAX_BYTES as u64);
        let tail = &mut tail[..tail_length as usize];
        file.read_exact_at(tail, file_length - tail_length).context("read an object's record")?;
        let trailer = Self::parse(tail)?;
        if trailer.file_length() != Some(file_length) {
            return Err(Corruption::Length.into());
        }
        Ok(trailer)
    }

    /// Parses the trailer at the end of `tail`.
    fn parse(tail: &[u8]) -> Result<Self, Corruption> {
        let (rest, magic) = tail.split_last_chunk::<8>().ok_or(Corruption::Short)?;
        if *magic != MAGIC {
            return Err(Corruption::Magic);
        }
        let (rest, digest) = rest.split_last_chunk::<32>().ok_or(Corruption::Short)?;
        let (_, key_length) = rest.split_last_chunk::<2>().ok_or(Corruption::Short)?;
        let key_length = usize::from(u16::from_be_bytes(*key_length));
        // The digest covers the trailer up to the digest.
        let covered = key_length + FIXED_BYTES - MAGIC.len() - Digest::BYTES;
        let begin = rest.len().checked_sub(covered).ok_or(Corruption::Short)?;
        let covered = &rest[begin..];
        if Digest::of(covered).as_bytes() != digest {
            return Err(Corruption::TrailerDigest);
        }
        let (key, fields) = covered.split_at(key_length);
        let fields = Fields::read(fields).ok_or(Corruption::Short)?;
        if fields.format != RECORD_FORMAT {
            return Err(Corruption::Field);
        }
        let kind = match fields.kind {
            0 => Kind::Sealed,
            1 => Kind::Plain,
            _ => return Err(Corruption::Field),
        };
        // STORE: "0 for a plain object".
        if kind == Kind::Plain && (fields.header_length, fields.footer_length) != (0, 0) {
            return Err(Corruption::Field);
        }
        Ok(Self {
            key: ObjectKey::new(key).map_err(|_| Corruption::Field)?,
            kind,
            version: Version(fields.version),
            payload_length: fields.payload_length,
            header_length: fields.header_length,
            footer_length: fields.footer_length,
            client: Some(fields.client)
                .filter(|client| *client != ANONYMOUS)
                .map(DevicePublicKey::from_bytes),
            slice_count: fields.slice_count,
            slices_digest: Digest::from_bytes(fields.slices_digest),
        })
    }

    /// STORE: "`payload_length + 36 × slice_count + key_length + 136`"; `None` when that exceeds a
    /// u64.
    fn file_length(&self) -> Option<u64> {
        self.payload_length
            .checked_add(SLICE_ROW_BYTES as u64 * u64::from(self.slice_count))?
            .checked_add((self.key.as_bytes().len() + FIXED_BYTES) as u64)
    }

    /// The metadata that peers are sent.
    pub(super) fn info(&self) -> Info {
        Info {
            version: self.version,
            kind: self.kind,
            length: self.payload_length,
            header_length: self.header_length,
            footer_length: self.footer_length,
        }
    }
}

/// A trailer's fields after its key, before their values are checked.
struct Fields {
    format: u8,
    kind: u8,
    version: u64,
    payload_length: u64,
    header_length: u32,
    footer_length: u32,
    client: [u8; 32],
    slice_count: u32,
    slices_digest: [u8; 32],
}

impl Fields {
    fn read(bytes: &[u8]) -> Option<Self> {
        let mut cursor = Cursor::new(bytes);
        Some(Self {
            format: cursor.u8()?,
            kind: cursor.u8()?,
            version: cursor.u64()?,
            payload_length: cursor.u64()?,
            header_length: cursor.u32()?,
            footer_length: cursor.u32()?,
            client: cursor.array()?,
            slice_count: cursor.u32()?,
            slices_digest: cursor.array()?,
        })
    }
}

/// The table of slices, as it is on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SliceTable(Vec<u8>);

impl SliceTable {
    /// Reads the table of the file that ends with `trailer`, and checks it against its digest.
    pub(super) fn read(file: &File, trailer: &Trailer) -> Result<Self, StoreError> {
        let mut rows = vec![0; SLICE_ROW_BYTES * trailer.slice_count as usize];
        file.read_exact_at(&mut rows, trailer.payload_length).context("read an object's record")?;
        let table = Self(rows);
        let total = table.rows().map(|(length, _)| u64::from(length)).sum::<u64>();
        // No slice is empty (PROTOCOL 5), so a payload has one table only for its slices.
        let is_cut_well = table.rows().all(|(length, _)| length > 0);
        if table.digest() != trailer.slices_digest
            || total != trailer.payload_length
            || !is_cut_well
        {
            return Err(Corruption::SliceTable.into());
        }
        Ok(table)
    }

    /// Appends the row of a slice: its length in bytes and its digest.
    pub(super) fn push(&mut self, length: u32, digest: &Digest) {
        self.0.extend_from_slice(&length.to_be_bytes());
        self.0.extend_from_slice(digest.as_bytes());
    }

    /// Number of slices.
    pub(super) fn count(&self) -> u32 {
        // At most `upload::SLICES_MAX` are pushed, and the count of a table that was read was a
        // u32.
        (self.0.len() / SLICE_ROW_BYTES) as u32
    }

    /// Length and digest of each slice.
    pub(super) fn rows(&self) -> impl Iterator<Item = (u32, Digest)> {
        self.0.as_chunks::<SLICE_ROW_BYTES>().0.iter().map(|row| {
            let mut length = [0; 4];
            let mut digest = [0; 32];
            length.copy_from_slice(&row[..4]);
            digest.copy_from_slice(&row[4..]);
            (u32::from_be_bytes(length), Digest::from_bytes(digest))
        })
    }

    /// The digest of the whole table.
    pub(super) fn digest(&self) -> Digest {
        Digest::of(&self.0)
    }

    /// The table's bytes.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

#[cfg(test)]
mod tests;
