//! One version of an object, open for reading.

use std::{
    fs::File,
    os::{fd::BorrowedFd, unix::fs::FileExt},
    sync::Arc,
};

use zput_proto::{
    envelope::{self, Envelope, HEADER_MAGIC, TAIL_BYTES},
    message::{Info, Kind, Version},
    name::ObjectKey,
};

use super::{
    error::{Context, Corruption, StoreError, WithFile as _},
    layout::ObjectName,
    record::Trailer,
};
use crate::sys::fs;

/// One version of an object. It stays readable as long as this value lives, whatever happens to its
/// name: the bytes of a version never change.
#[derive(Clone, Debug)]
pub struct Object {
    file: Arc<File>,
    trailer: Arc<Trailer>,
}

impl Object {
    /// Reads the record of `file`, which must be that of a version of the object `key`.
    pub(super) fn read_as(file: File, key: &ObjectKey) -> Result<Self, StoreError> {
        let object = Self::read(file)?;
        if object.key() != key {
            return Err(Corruption::Misplaced.into());
        }
        Ok(object)
    }

    /// Reads the record of `file`, which may be a version of any object.
    pub(super) fn read(file: File) -> Result<Self, StoreError> {
        let trailer = Arc::new(Trailer::read(&file)?);
        Ok(Self { file: Arc::new(file), trailer })
    }

    /// The key under which the object is stored.
    #[must_use]
    pub fn key(&self) -> &ObjectKey {
        &self.trailer.key
    }

    /// The metadata that peers are sent.
    #[must_use]
    pub fn info(&self) -> Info {
        self.trailer.info()
    }

    /// The number of the version: its commit time in nanoseconds since 1970.
    #[must_use]
    pub fn version(&self) -> Version {
        self.trailer.version
    }

    /// The open file. The object is its first [`Info::length`] bytes; the record follows.
    #[must_use]
    pub fn file(&self) -> &Arc<File> {
        &self.file
    }

    /// The open file, without its record.
    #[must_use]
    pub(crate) fn into_file(self) -> Arc<File> {
        self.file
    }

    pub(super) fn trailer(&self) -> &Trailer {
        &self.trailer
    }

    /// The header of a sealed object, at most 64 KiB; `None` for a plain one.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read_header(&self) -> Result<Option<Vec<u8>>, StoreError> {
        match self.trailer.kind {
            Kind::Plain => Ok(None),
            Kind::Sealed => {
                let mut header = vec![0; self.trailer.header_length as usize];
                self.file.read_exact_at(&mut header, 0).context("read an object's header")?;
                Ok(Some(header))
            }
        }
    }

    /// The same, after comparing the record with the payload: its kind, the lengths of header and
    /// footer, and the key that the header names.
    ///
    /// # Errors
    /// [`Corruption::Envelope`]; when the file cannot be read.
    pub(crate) fn checked_header(&self) -> Result<Option<Vec<u8>>, StoreError> {
        let Trailer { kind, payload_length: length, header_length, footer_length, .. } =
            *self.trailer;
        let read = |begin: u64, bytes: usize| -> Result<Vec<u8>, StoreError> {
            let mut read = vec![0; bytes];
            self.file.read_exact_at(&mut read, begin).context("read an object")?;
            Ok(read)
        };
        if kind == Kind::Plain {
            let begins = read(0, length.min(HEADER_MAGIC.len() as u64) as usize)?;
            let is_plain = begins != HEADER_MAGIC;
            return if is_plain { Ok(None) } else { Err(Corruption::Envelope.into()) };
        }
        let around = u64::from(header_length) + u64::from(footer_length);
        if around > length || u64::from(footer_length) < TAIL_BYTES as u64 {
            return Err(Corruption::Envelope.into());
        }
        let header = read(0, header_length as usize)?;
        let tail = read(length - TAIL_BYTES as u64, TAIL_BYTES)?;
        let fits = Envelope::new(&header, &tail, length)
            == Ok(Envelope { header_length, footer_length })
            && envelope::object_key(&header).is_ok_and(|key| key == self.key().as_bytes());
        if fits { Ok(Some(header)) } else { Err(Corruption::Envelope.into()) }
    }

    /// Names the path of the object's current version in an error.
    pub(crate) fn with_path<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        result.with_file(&ObjectName::for_key(self.key()).current_path())
    }
}

/// Opens an object's file for reading, if it exists: `name` in `dir`, which is `path` from the
/// store's directory.
pub(super) fn open_object(
    dir: BorrowedFd<'_>,
    name: &str,
    path: &str,
    key: &ObjectKey,
) -> Result<Option<Object>, StoreError> {
    open_file(dir, name, path)?.map(|file| Object::read_as(file, key)).transpose().with_file(path)
}

/// Opens a file for reading, if it exists. A symbolic link is not followed: it is
/// [`Corruption::NotAFile`].
pub(super) fn open_file(
    dir: BorrowedFd<'_>,
    name: &str,
    path: &str,
) -> Result<Option<File>, StoreError> {
    use rustix::io::Errno;
    match fs::open_read(dir, name) {
        Ok(file) => Ok(Some(file)),
        Err(error) => match Errno::from_io_error(&error) {
            Some(Errno::NOENT) => Ok(None),
            Some(Errno::LOOP | Errno::XDEV | Errno::NXIO) => Err(Corruption::NotAFile.into()),
            _ => Err(error).context_read("open an object", path),
        },
    }
}
