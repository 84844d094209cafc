//! What is known of one blob, vouched for, without opening a part of it.

use zput_common::{
    blob::metadata::Metadata,
    keys::WriterPublicKey,
    name::{BlobName, ObjectKey},
    proto::message::Version,
};

use crate::{
    client::Client,
    error::ClientError,
    get::{Found, GetOptions, Wanted},
};

/// What is known of a blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    /// What the server knows it by.
    pub key: ObjectKey,
    /// Which version: when the server committed it, in ns since 1970.
    pub version: Version,
    /// The blob's generation.
    pub generation: u64,
    /// Bytes of plaintext.
    pub length: u64,
    /// Bytes of the stored object.
    pub stored: u64,
    /// What the file is, by its author's word.
    pub metadata: Metadata,
    /// Who signed it.
    pub writer: Option<WriterPublicKey>,
    /// How many recipients can open it.
    pub recipients: usize,
    /// SHA-256 of the plaintext, where its writer noted it.
    pub sha256: Option<[u8; 32]>,
}

impl Client {
    /// What is known of the blob called `name`. The range of `options` does not matter.
    ///
    /// # Errors
    /// As a get would.
    pub fn stat(&mut self, name: &BlobName, options: &GetOptions) -> Result<Stat, ClientError> {
        let key = self.key_file().object_key(name);
        let wanted = Wanted {
            key: &key,
            version: options.version,
            allow_rollback: options.allow_rollback,
            body: false,
        };
        let found = self.retrying(Some(name.as_str()), |client| {
            let found = client.find(&wanted);
            client.after(found)
        });
        let Found { info, recipients, trusted, .. } = found?;
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
