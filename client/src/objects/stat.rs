//! Facts about one blob, authenticated without opening a part.

use zput_proto::{
    keys::WriterPublicKey,
    message::Version,
    name::{BlobName, ObjectKey},
};
use zput_seal::blob::metadata::Metadata;

use crate::{
    error::Error,
    get::{BlobHead, GetOptions, HeadRequest},
    session::Session,
};

/// Facts about a blob.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stat {
    /// The object key.
    pub key: ObjectKey,
    /// The version: its commit time in ns since 1970.
    pub version: Version,
    /// The blob's generation.
    pub generation: u64,
    /// Length of the plaintext in bytes.
    pub length: u64,
    /// Length of the stored object in bytes.
    pub stored: u64,
    /// Name, time and mode as the writer stated them.
    pub metadata: Metadata,
    /// The key that signed the blob; `None` if it is not signed.
    pub writer: Option<WriterPublicKey>,
    /// Number of recipients that can open it.
    pub recipients: usize,
    /// SHA-256 of the plaintext, if the writer stated it.
    pub sha256: Option<[u8; 32]>,
}

impl Session {
    /// Fetches the facts about the blob called `name`. The range in `options` is ignored.
    ///
    /// # Errors
    /// As of [`get`](Self::get), except for those of parts.
    pub fn stat(&mut self, name: &BlobName, options: &GetOptions) -> Result<Stat, Error> {
        let key = self.key_file().object_key(name);
        let head = self.fetch_head_with_retries(name, &key, options)?;
        Ok(Stat::of(key, &head))
    }

    /// Fetches and verifies header and footer of the blob called `name`.
    pub(crate) fn fetch_head_with_retries(
        &mut self,
        name: &BlobName,
        key: &ObjectKey,
        options: &GetOptions,
    ) -> Result<BlobHead, Error> {
        let request = HeadRequest {
            key,
            version: options.version,
            allow_rollback: options.allow_rollback,
            body: false,
        };
        self.with_retries(Some(name.as_str()), |session| {
            let head = session.fetch_head(&request);
            session.drop_on_error(head)
        })
    }
}

impl Stat {
    /// What the head of an object says.
    pub(crate) fn of(key: ObjectKey, head: &BlobHead) -> Self {
        let BlobHead { info, recipients, trusted, .. } = head;
        Self {
            version: info.version,
            generation: trusted.seen().generation,
            length: trusted.layout().total_length(),
            stored: info.length,
            metadata: trusted.metadata().clone(),
            writer: trusted.writer(),
            recipients: *recipients,
            sha256: trusted.sha256(),
            key,
        }
    }
}
