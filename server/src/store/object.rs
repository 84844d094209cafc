//! One version of an object, open to be read.

use std::{fs::File, os::unix::fs::FileExt, sync::Arc};

use zput_common::{
    blob::envelope::{self, Envelope, HEADER_MAGIC, TAIL_BYTES},
    name::ObjectKey,
    proto::message::{Info, Kind, Version},
};

use super::{
    error::{Doing, OfFile as _, Rot, StoreError},
    layout::ObjectName,
    record::Trailer,
};

/// One version of an object. It stays readable as long as this value lives, whatever happens to its name:
/// the bytes of a version never change.
#[derive(Clone, Debug)]
pub struct Object {
    file: Arc<File>,
    trailer: Arc<Trailer>,
}

impl Object {
    /// Takes `file` for a version of the object `key`, if its record says so.
    pub(super) fn of(file: File, key: &ObjectKey) -> Result<Self, StoreError> {
        let object = Self::read(file)?;
        if object.key() != key {
            return Err(Rot::Misplaced.into());
        }
        Ok(object)
    }

    /// Takes `file` for a version of whichever object its record names.
    pub(super) fn read(file: File) -> Result<Self, StoreError> {
        let trailer = Arc::new(Trailer::read(&file)?);
        Ok(Self { file: Arc::new(file), trailer })
    }

    /// Its key.
    #[must_use]
    pub fn key(&self) -> &ObjectKey {
        &self.trailer.key
    }

    /// What peers are told of it.
    #[must_use]
    pub fn info(&self) -> Info {
        self.trailer.info()
    }

    /// Which version it is.
    #[must_use]
    pub fn version(&self) -> Version {
        self.trailer.version
    }

    /// The open file. The object is its first [`Info::length`] bytes; what follows is the server's own.
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
                self.file.read_exact_at(&mut header, 0).doing("read an object's header")?;
                Ok(Some(header))
            }
        }
    }

    /// The same, once the record was held against what it says of the payload: its kind, the lengths of header and footer,
    /// and the key that the header names.
    ///
    /// # Errors
    /// [`Rot::Envelope`]; when the file cannot be read.
    pub(crate) fn framed_header(&self) -> Result<Option<Vec<u8>>, StoreError> {
        let Trailer { kind, payload_length: length, header_length, footer_length, .. } =
            *self.trailer;
        let read = |begin: u64, bytes: usize| -> Result<Vec<u8>, StoreError> {
            let mut read = vec![0; bytes];
            self.file.read_exact_at(&mut read, begin).doing("read an object")?;
            Ok(read)
        };
        if kind == Kind::Plain {
            let begins = read(0, length.min(HEADER_MAGIC.len() as u64) as usize)?;
            let is_plain = begins != HEADER_MAGIC;
            return if is_plain { Ok(None) } else { Err(Rot::Envelope.into()) };
        }
        let around = u64::from(header_length) + u64::from(footer_length);
        if around > length || u64::from(footer_length) < TAIL_BYTES as u64 {
            return Err(Rot::Envelope.into());
        }
        let header = read(0, header_length as usize)?;
        let tail = read(length - TAIL_BYTES as u64, TAIL_BYTES)?;
        let fits = Envelope::new(&header, &tail, length)
            == Ok(Envelope { header_length, footer_length })
            && envelope::object_key(&header).is_ok_and(|key| key == self.key().as_bytes());
        if fits { Ok(Some(header)) } else { Err(Rot::Envelope.into()) }
    }

    /// What can be said of an error with this object: the file that a store has for its current version.
    pub(crate) fn blamed<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        result.of_file(&ObjectName::of(self.key()).current_path())
    }
}
