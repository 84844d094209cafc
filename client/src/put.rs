//! A put: source → seal → send → commit.
//!
//! ```text
//! read ──plaintext──▶ seal ──ciphertext, digest──▶ this thread ──slices──▶ server
//!      ◀───buffers───      ◀────────buffers───────              ◀─answers─
//! ```
//!
//! Two plaintext and two sealed buffers of one part each are alive, whatever the length. Everything is
//! sent without waiting, up to a window, so a small put is one flight. Nothing is committed unless the
//! source stood by what was read from it.

use std::time::{SystemTime, UNIX_EPOCH};

use zput_common::{
    aead::{Engine, Suite},
    blob::{
        footer::Provenance,
        layout::PartSize,
        metadata::Metadata,
        open::Seen,
        seal::{SealOptions, Sealer},
    },
    digest::Digest,
    keys::Role,
    name::{BlobName, ObjectKey},
    proto::message::{Condition, HeaderSlice, Version},
};

use crate::{
    client::Client,
    error::ClientError,
    progress::Progress,
    seal::{self, Part, Sealed},
    send::{SLICE_BYTES, Upload, abort},
    source::Source,
};

/// How a blob is put.
#[derive(Clone, Debug)]
pub struct PutOptions {
    /// Which cipher seals it.
    pub suite: Suite,
    /// What must hold of the version that is there.
    pub condition: Condition,
    /// Whether the SHA-256 of the plaintext is noted in the blob.
    pub sha256: bool,
    /// Stored as it is, sealed to nobody; only on plaintext connections.
    pub unsealed: bool,
}

impl Default for PutOptions {
    fn default() -> Self {
        Self { suite: Suite::default(), condition: Condition::Any, sha256: false, unsealed: false }
    }
}

/// What a put came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutReceipt {
    /// The object.
    pub key: ObjectKey,
    /// Its new version.
    pub version: Version,
    /// The blob's generation; none for an unsealed object.
    pub generation: Option<u64>,
    /// Bytes of plaintext.
    pub length: u64,
}

impl Client {
    /// Puts what `source` gives under `name`.
    ///
    /// # Errors
    /// When the source does not stand by what was read, the server refuses, or the connection ends.
    /// After an error before the commit the server has nothing; a connection that ends during the
    /// commit leaves the whole blob or nothing.
    pub fn put(
        &mut self,
        name: &BlobName,
        source: impl Source + 'static,
        options: &PutOptions,
        progress: &dyn Progress,
    ) -> Result<PutReceipt, ClientError> {
        progress.begin(source.length());
        let put = if options.unsealed {
            self.put_unsealed(name, source, options, progress)
        } else {
            self.put_sealed(name, source, options, progress)
        };
        progress.end();
        if let Err(error) = &put {
            self.recover(error, abort);
        }
        put
    }

    fn put_sealed(
        &mut self,
        name: &BlobName,
        source: impl Source + 'static,
        options: &PutOptions,
        progress: &dyn Progress,
    ) -> Result<PutReceipt, ClientError> {
        if self.key_file().role() == Role::Get {
            return Err(ClientError::CannotPut(Role::Get));
        }
        let key = self.key_file().object_key(name);
        let newest = self.record().newest(&key)?;
        let generation = generation_after(now_ns(), newest);
        let attributes = source.attributes();
        let seal_options = SealOptions {
            suite: options.suite,
            engine: Engine::default(),
            part_size: PartSize::MAX,
            object_key: Some(key.clone()),
            generation,
            metadata: Metadata {
                name: name.clone(),
                mtime_s: attributes.mtime_s,
                mtime_ns: attributes.mtime_ns,
                mode: attributes.mode & 0o777,
            },
            sha256: options.sha256,
        };
        let sealer = Sealer::new(seal_options, &self.key_file().recipients, &mut rand::rng())?;
        let mac_key = self.key_file().vault_secret().mac_key();
        let writer = self.key_file().device_seed().writer_key();
        let read = seal::read(source, seal::PART_BYTES).map_err(ClientError::Thread)?;
        let stage = seal::seal(sealer, read, move |sealer| {
            let provenance = Provenance::Vault { mac_key: &mac_key, writer: &writer };
            Ok(sealer.finish(provenance, &mut rand::rng())?)
        })
        .map_err(ClientError::Thread)?;

        let record = self.record().clone();
        // The header is there only once the source could be read; only then is anybody called.
        let first = stage.pieces.recv().map_err(|_| ClientError::Incomplete)?;
        let Sealed::Header(header) = first? else { return Err(ClientError::Incomplete) };
        let connection = self.connection()?;
        let header = Some(HeaderSlice::of(header));
        let mut upload = Upload::begin(connection, &key, header, options.condition)?;
        loop {
            match upload.next_piece(&stage.pieces)?? {
                Sealed::Header(_) => return Err(ClientError::Incomplete),
                Sealed::Part { ciphertext, digest, plaintext_bytes } => {
                    upload.slice(&ciphertext, digest)?;
                    progress.advance(plaintext_bytes);
                    // The sealer may have had its last buffer.
                    let _kept = stage.emptied.send(ciphertext);
                }
                Sealed::Footer(footer) => {
                    for piece in footer.bytes.chunks(SLICE_BYTES) {
                        upload.slice(piece, Digest::of(piece))?;
                    }
                    let newest = record.newest(&key)?;
                    if newest.is_some_and(|seen| seen.generation >= generation) {
                        return Err(ClientError::Overtaken);
                    }
                    let version = upload.commit()?;
                    let seen = Seen { generation, transcript: footer.transcript };
                    record
                        .advance(&key, &seen)
                        .map_err(|error| ClientError::Unrecorded { version, error })?;
                    let length = footer.total_length;
                    return Ok(PutReceipt { key, version, generation: Some(generation), length });
                }
            }
        }
    }

    fn put_unsealed(
        &mut self,
        name: &BlobName,
        source: impl Source + 'static,
        options: &PutOptions,
        progress: &dyn Progress,
    ) -> Result<PutReceipt, ClientError> {
        self.refuse_unsealed_over_tls()?;
        let key = self.key_file().object_key(name);
        let stage = seal::read(source, SLICE_BYTES).map_err(ClientError::Thread)?;
        let mut part = stage.pieces.recv().map_err(|_| ClientError::Incomplete)??;
        let connection = self.connection()?;
        let mut upload = Upload::begin(connection, &key, None, options.condition)?;
        let mut length = 0;
        loop {
            let Part { plaintext, is_last } = part;
            if !plaintext.is_empty() {
                upload.slice(&plaintext, Digest::of(&plaintext))?;
            }
            length += plaintext.len() as u64;
            progress.advance(plaintext.len() as u64);
            if is_last {
                let version = upload.commit()?;
                return Ok(PutReceipt { key, version, generation: None, length });
            }
            // The reader may have had its last buffer.
            let _kept = stage.emptied.send(plaintext);
            part = upload.next_piece(&stage.pieces)??;
        }
    }
}

/// FORMAT 3: the writer's clock in ns since 1970, or one more than the newest generation it knows for this
/// key, whichever is greater.
fn generation_after(now: u64, newest: Option<Seen>) -> u64 {
    newest.map_or(now, |seen| now.max(seen.generation.saturating_add(1)))
}

pub(crate) fn now_ns() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use zput_common::blob::transcript::Transcript;

    use super::*;

    #[test]
    fn the_generation_is_above_the_newest_even_when_the_clock_went_back() {
        let seen = |generation| {
            Some(Seen { generation, transcript: Transcript::from_bytes([0; Transcript::BYTES]) })
        };
        assert_eq!(generation_after(100, None), 100);
        assert_eq!(generation_after(100, seen(50)), 100);
        assert_eq!(generation_after(100, seen(100)), 101);
        assert_eq!(generation_after(100, seen(500)), 501);
    }
}
