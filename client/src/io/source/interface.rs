//! What gives plaintext.

use std::{
    io::{self, Read},
    path::PathBuf,
};

use zput_proto::digest::Digest;

use super::error::SourceError;
use crate::{io::attributes::Attributes, state::FileIdentity};

/// Provides plaintext, in order.
pub trait Source: Send {
    /// Clears `part` and fills it with the next `part_size` bytes; with fewer only at the end.
    ///
    /// # Errors
    /// When the source cannot be read.
    fn read_part(&mut self, part: &mut Vec<u8>, part_size: usize) -> Result<(), SourceError>;

    /// Confirms after the last part that what was read is consistent.
    ///
    /// # Errors
    /// [`SourceError::Changed`], [`SourceError::Failed`] or [`SourceError::Empty`].
    fn finish(&mut self) -> Result<(), SourceError>;

    /// The length in bytes if it is known in advance. Only a hint: the source may give more or
    /// less.
    fn length(&self) -> Option<u64>;

    /// The attributes that the blob's metadata record.
    fn attributes(&self) -> Attributes;

    /// BLAKE3 of the part that was read last; `None` if the source does not compute it.
    fn part_digest(&self) -> Option<Digest> {
        None
    }

    /// The same source from its start; `None` if it can be read only once.
    ///
    /// # Errors
    /// When it cannot be opened again.
    fn reopen(&self) -> Result<Option<Box<dyn Source>>, SourceError> {
        Ok(None)
    }

    /// The file's identity, for resuming; `None` if the source is not a regular file.
    fn identity(&self) -> Option<FileIdentity> {
        None
    }
}

impl Source for Box<dyn Source> {
    fn read_part(&mut self, part: &mut Vec<u8>, part_size: usize) -> Result<(), SourceError> {
        (**self).read_part(part, part_size)
    }

    fn finish(&mut self) -> Result<(), SourceError> {
        (**self).finish()
    }

    fn length(&self) -> Option<u64> {
        (**self).length()
    }

    fn attributes(&self) -> Attributes {
        (**self).attributes()
    }

    fn part_digest(&self) -> Option<Digest> {
        (**self).part_digest()
    }

    fn reopen(&self) -> Result<Option<Box<dyn Source>>, SourceError> {
        (**self).reopen()
    }

    fn identity(&self) -> Option<FileIdentity> {
        (**self).identity()
    }
}

/// Bytes in memory.
impl Source for io::Cursor<Vec<u8>> {
    fn read_part(&mut self, part: &mut Vec<u8>, part_size: usize) -> Result<(), SourceError> {
        part.clear();
        self.by_ref()
            .take(part_size as u64)
            .read_to_end(part)
            .map_err(|error| SourceError::Read { path: PathBuf::from("memory"), source: error })?;
        Ok(())
    }

    fn finish(&mut self) -> Result<(), SourceError> {
        Ok(())
    }

    fn length(&self) -> Option<u64> {
        Some(self.get_ref().len() as u64)
    }

    fn attributes(&self) -> Attributes {
        Attributes::of_stream()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The parts of `source`, up to the first short one.
    pub(in crate::io::source) fn read_all(
        source: &mut dyn Source,
        part_size: usize,
    ) -> Vec<Vec<u8>> {
        let mut parts = Vec::new();
        let mut part = Vec::new();
        loop {
            source.read_part(&mut part, part_size).unwrap();
            parts.push(part.clone());
            if part.len() < part_size {
                return parts;
            }
        }
    }
}
