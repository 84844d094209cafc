//! Facts about one blob, authenticated without opening a part.

use zput_common::{
    blob::metadata::Metadata,
    keys::WriterPublicKey,
    name::{BlobName, ObjectKey},
    proto::message::Version,
};

use crate::{
    client::Client,
    error::ClientError,
    get::{BlobHead, GetOptions, HeadRequest},
};

/// Facts about a blob.
#[derive(Clone, Debug, PartialEq, Eq)]
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

impl Client {
    /// Fetches the facts about the blob called `name`. The range in `options` is ignored.
    ///
    /// # Errors
    /// As of [`get`](Self::get), except for those of parts.
    pub fn stat(&mut self, name: &BlobName, options: &GetOptions) -> Result<Stat, ClientError> {
        let key = self.key_file().object_key(name);
        let request = HeadRequest {
            key: &key,
            version: options.version,
            allow_rollback: options.allow_rollback,
            body: false,
        };
        let head = self.with_retries(Some(name.as_str()), |client| {
            let head = client.fetch_head(&request);
            client.drop_on_error(head)
        });
        let BlobHead { info, recipients, trusted, .. } = head?;
        Ok(Stat {
            version: info.version,
            generation: trusted.seen().generation,
            length: trusted.layout().total_length(),
            stored: info.length,
            metadata: trusted.metadata().clone(),
            writer: trusted.writer(),
            recipients,
            sha256: trusted.sha256(),
            key,
        })
    }
}
