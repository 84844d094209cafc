//! An object that is open for reading, from a mount of any kind.

use std::{
    fs::File,
    io,
    ops::Range,
    os::unix::fs::FileExt,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use zput_proto::{
    envelope::{Envelope, PREFIX_BYTES, TAIL_BYTES},
    message::{Info, Kind, Section, Version},
};

use crate::{
    limits::Permit,
    mounts::{Fingerprint, FoundFile},
    store::{CurrentFile, Object, StoreError},
    sys::residency::Residency,
};

/// Maximum bytes of a header that an open object keeps in memory: the header of a blob for two
/// post-quantum recipients, and more than any with classical recipients. Objects with longer
/// headers are opened anew for each get.
const HEADER_KEPT_BYTES: u32 = 4096;

/// An open object. Its contents stay the same as long as this value lives, whatever happens to its
/// name.
#[derive(Debug)]
pub(crate) struct OpenObject {
    file: Arc<File>,
    /// Offset of the object in the file.
    base: u64,
    info: Info,
    header: Option<Box<[u8]>>,
    etag: String,
    modified: Option<SystemTime>,
    origin: Origin,
    residency: Residency,
    _permit: Permit,
}

/// How to check whether the object's name still leads to it.
#[derive(Clone, Debug)]
pub(crate) enum Origin {
    /// The current version in a store: the identity of its file.
    Current(CurrentFile),
    /// A version that was requested by its number.
    Version,
    /// A file of a tree, or a member of an archive.
    Mounted(Fingerprint),
}

/// Sections that lie outside of the object, or that this kind of object does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OutOfRange;

impl OpenObject {
    /// A version in a store. `current_file` is the identity of its file, unless it was requested by
    /// its number.
    ///
    /// # Errors
    /// When its header cannot be read.
    pub(crate) fn stored(
        object: Object,
        current_file: Option<CurrentFile>,
        permit: Permit,
    ) -> Result<Self, StoreError> {
        let info = object.info();
        let Version(version) = info.version;
        Ok(Self {
            header: object.with_path(object.checked_header())?.map(Vec::into_boxed_slice),
            base: 0,
            etag: format!("{version:x}"),
            modified: UNIX_EPOCH.checked_add(Duration::from_nanos(version)),
            origin: current_file.map_or(Origin::Version, Origin::Current),
            info,
            file: object.into_file(),
            residency: Residency::default(),
            _permit: permit,
        })
    }

    /// A file of a tree, or a member of an archive. It is a sealed object if it begins like one.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn found(found: FoundFile, permit: Permit) -> io::Result<Self> {
        let FoundFile { file, offset: base, length, modified, fingerprint } = found;
        let (info, header) = sniff(&file, base, length, fingerprint.version())?;
        Ok(Self {
            base,
            info,
            header,
            etag: fingerprint.etag(),
            modified: modified.time(),
            origin: Origin::Mounted(fingerprint),
            file,
            residency: Residency::default(),
            _permit: permit,
        })
    }

    /// The object's description for peers.
    pub(crate) const fn info(&self) -> Info {
        self.info
    }

    /// The file that it is in.
    pub(crate) const fn file(&self) -> &Arc<File> {
        &self.file
    }

    /// How to check whether its bytes are in memory.
    pub(crate) const fn residency(&self) -> &Residency {
        &self.residency
    }

    /// The header of a sealed object.
    pub(crate) fn header(&self) -> Option<&[u8]> {
        self.header.as_deref()
    }

    /// A strong entity tag without quotes: it changes whenever the bytes do.
    pub(crate) fn etag(&self) -> &str {
        &self.etag
    }

    /// Time of the last change of its bytes.
    pub(crate) const fn modified(&self) -> Option<SystemTime> {
        self.modified
    }

    /// How to check whether the object's name still leads to it.
    pub(crate) const fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Whether the cache may keep it open: its header is small, and its name alone leads to it.
    pub(crate) const fn is_cacheable(&self) -> bool {
        self.info.header_length <= HEADER_KEPT_BYTES && !matches!(self.origin, Origin::Version)
    }

    /// The range of the file for a range of the object.
    pub(crate) const fn in_file(&self, range: &Range<u64>) -> Range<u64> {
        self.base + range.start..self.base + range.end
    }

    /// The range of the object for a section of a Get. No section has the header of a sealed
    /// object: it contains the object's name, and sections travel outside of TLS.
    ///
    /// # Errors
    /// When the section ends outside of the object or contains the header, and for the footer and
    /// the body of a plain object (PROTOCOL 5).
    pub(crate) fn section(&self, section: Section) -> Result<Range<u64>, OutOfRange> {
        let Info { kind, length, header_length, footer_length, .. } = self.info;
        let body = u64::from(header_length)..length.saturating_sub(footer_length.into());
        match (kind, section) {
            (Kind::Plain, Section::All) => Ok(0..length),
            (_, Section::Range { offset, length: wanted }) => match offset.checked_add(wanted) {
                Some(end) if offset >= body.start && end <= length => Ok(offset..end),
                _ => Err(OutOfRange),
            },
            (Kind::Plain, _) | (Kind::Sealed, Section::All | Section::Header) => Err(OutOfRange),
            (Kind::Sealed, Section::Body) => Ok(body),
            (Kind::Sealed, Section::Footer) => Ok(body.end..length),
        }
    }
}

/// Reads what the bytes `base..base + length` of `file` are: a sealed blob, with its header, or a
/// plain file.
pub(crate) fn sniff(
    file: &File,
    base: u64,
    length: u64,
    version: Version,
) -> io::Result<(Info, Option<Box<[u8]>>)> {
    let plain = Info { version, kind: Kind::Plain, length, header_length: 0, footer_length: 0 };
    if length < (PREFIX_BYTES + TAIL_BYTES) as u64 {
        return Ok((plain, None));
    }
    let (mut prefix, mut tail) = ([0; PREFIX_BYTES], [0; TAIL_BYTES]);
    file.read_exact_at(&mut prefix, base)?;
    file.read_exact_at(&mut tail, base + length - TAIL_BYTES as u64)?;
    // A damaged blob is served as plain bytes; a reader that asks for a blob is told that it is
    // none.
    let Ok(envelope) = Envelope::new(&prefix, &tail, length) else { return Ok((plain, None)) };
    let Envelope { header_length, footer_length } = envelope;
    let mut header = vec![0; header_length as usize];
    file.read_exact_at(&mut header, base)?;
    let info = Info { kind: Kind::Sealed, header_length, footer_length, ..plain };
    Ok((info, Some(header.into_boxed_slice())))
}

#[cfg(test)]
mod tests;
