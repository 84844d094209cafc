//! An object that is open to be read, whichever mount it is of.

use std::{
    fs::File,
    io,
    ops::Range,
    os::unix::fs::FileExt,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use zput_common::{
    blob::envelope::{Envelope, PREFIX_BYTES, TAIL_BYTES},
    proto::message::{Info, Kind, Section, Version},
};

use crate::{
    mounts::{Found, Identity},
    permits::Permit,
    store::{Object, Place, StoreError},
    sys::residency::Residency,
};

/// The longest header that an open object keeps in memory: that of a blob for two post-quantum recipients, and more than
/// any with classical ones. Objects with longer headers are opened again for each get.
const HEADER_KEPT_BYTES: u32 = 4096;

/// An object, open. It stays what it is as long as this value lives, whatever happens to its name.
#[derive(Debug)]
pub(crate) struct Opened {
    file: Arc<File>,
    /// Where the object begins in the file.
    base: u64,
    info: Info,
    header: Option<Box<[u8]>>,
    etag: String,
    modified: Option<SystemTime>,
    origin: Origin,
    residency: Residency,
    _permit: Permit,
}

/// What tells whether a name still stands for this object.
#[derive(Clone, Debug)]
pub(crate) enum Origin {
    /// The current version in a store: its file's place.
    Current(Place),
    /// A version that was asked for by its number.
    Version,
    /// A file of a tree, or a member of an archive.
    Mounted(Identity),
}

/// Sections that lie outside of an object, or that it does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OutOfRange;

impl Opened {
    /// A version in a store; with its place, unless it was asked for by its number.
    ///
    /// # Errors
    /// When its header cannot be read.
    pub(crate) fn stored(
        object: Object,
        place: Option<Place>,
        permit: Permit,
    ) -> Result<Self, StoreError> {
        let info = object.info();
        let Version(version) = info.version;
        Ok(Self {
            header: object.blamed(object.framed_header())?.map(Vec::into_boxed_slice),
            base: 0,
            etag: format!("{version:x}"),
            modified: UNIX_EPOCH.checked_add(Duration::from_nanos(version)),
            origin: place.map_or(Origin::Version, Origin::Current),
            info,
            file: object.into_file(),
            residency: Residency::default(),
            _permit: permit,
        })
    }

    /// A file of a tree, or a member of an archive. What has the framing of a sealed blob is one.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn found(found: Found, permit: Permit) -> io::Result<Self> {
        let Found { file, offset: base, length, modified, identity } = found;
        let (info, header) = look_at(&file, base, length, identity.version())?;
        Ok(Self {
            base,
            info,
            header,
            etag: identity.etag(),
            modified: modified.time(),
            origin: Origin::Mounted(identity),
            file,
            residency: Residency::default(),
            _permit: permit,
        })
    }

    /// What peers are told of it.
    pub(crate) const fn info(&self) -> Info {
        self.info
    }

    /// The file that it lies in.
    pub(crate) const fn file(&self) -> &Arc<File> {
        &self.file
    }

    /// How to tell whether its bytes are in memory.
    pub(crate) const fn residency(&self) -> &Residency {
        &self.residency
    }

    /// The header of a sealed object.
    pub(crate) fn header(&self) -> Option<&[u8]> {
        self.header.as_deref()
    }

    /// A strong entity tag without its quotes: it changes with the bytes.
    pub(crate) fn etag(&self) -> &str {
        &self.etag
    }

    /// When it got its bytes.
    pub(crate) const fn modified(&self) -> Option<SystemTime> {
        self.modified
    }

    /// What tells whether a name still stands for it.
    pub(crate) const fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Whether it is small enough to be kept open, and what its name alone stands for.
    pub(crate) const fn is_worth_keeping(&self) -> bool {
        self.info.header_length <= HEADER_KEPT_BYTES && !matches!(self.origin, Origin::Version)
    }

    /// Where bytes of the object are in its file.
    pub(crate) const fn in_file(&self, range: &Range<u64>) -> Range<u64> {
        self.base + range.start..self.base + range.end
    }

    /// The bytes of the object that a section of a Get stands for. The header of a sealed object is in none: it names
    /// the object, and these travel raw.
    ///
    /// # Errors
    /// For what ends beyond the object or would have a header, and for the footer and the body of a plain object
    /// (PROTOCOL 5).
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

/// What the bytes `base..base + length` of `file` are: a sealed blob by its framing, with its header, or plain bytes.
pub(crate) fn look_at(
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
    // What is damaged is served as the bytes that it is: readers that ask for a blob are told that it is none.
    let Ok(envelope) = Envelope::new(&prefix, &tail, length) else { return Ok((plain, None)) };
    let Envelope { header_length, footer_length } = envelope;
    let mut header = vec![0; header_length as usize];
    file.read_exact_at(&mut header, base)?;
    let info = Info { kind: Kind::Sealed, header_length, footer_length, ..plain };
    Ok((info, Some(header.into_boxed_slice())))
}

#[cfg(test)]
#[path = "object/tests.rs"]
mod tests;
