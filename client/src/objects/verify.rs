//! Verification of a blob: all of it is fetched and opened, and nothing is kept.

use sha2::{Digest as _, Sha256};
use zput_proto::name::BlobName;
use zput_seal::blob::open::Trusted;

use crate::{
    error::Error,
    get::{GetOptions, GetReceipt},
    io::{
        progress::Progress,
        sink::{Sink, SinkError},
    },
    session::Session,
};

impl Session {
    /// Gets the blob called `name` and verifies all of it, including the SHA-256 that its writer
    /// stated. The range in `options` is ignored.
    ///
    /// # Errors
    /// As of [`get`](Self::get), and [`Error::Sha256`].
    pub fn verify(
        &mut self,
        name: &BlobName,
        options: &GetOptions,
        progress: &dyn Progress,
    ) -> Result<GetReceipt, Error> {
        let mut sink = VerifyingSink { sha256: None };
        let options = GetOptions { range: None, ..*options };
        let receipt = self.get(name, &options, &mut sink, progress)?;
        let found = sink.sha256.map(|hash| <[u8; 32]>::from(hash.finalize()));
        if found == receipt.sha256 { Ok(receipt) } else { Err(Error::Sha256) }
    }
}

/// Hashes the plaintext if the writer stated a SHA-256, and keeps nothing else.
struct VerifyingSink {
    sha256: Option<Sha256>,
}

impl Sink for VerifyingSink {
    fn begin(&mut self, blob: &Trusted) -> Result<u64, SinkError> {
        self.sha256 = blob.sha256().map(|_| Sha256::new());
        Ok(0)
    }

    fn write(&mut self, plaintext: &[u8]) -> Result<(), SinkError> {
        if let Some(hash) = &mut self.sha256 {
            hash.update(plaintext);
        }
        Ok(())
    }
}
