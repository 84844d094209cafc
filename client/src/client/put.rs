//! A put that is being described.

use std::fmt;

use zput_proto::{message::Condition, name::BlobName};
use zput_seal::aead::Suite;

use crate::{
    error::Error,
    io::progress::{Progress, Silent},
    put::{PutOptions, PutReceipt, Resume},
    session::Session,
    source::PutSource,
};

/// A put; [`send`](Self::send) does it.
#[must_use = "a put is done by `send`"]
pub struct Put<'a> {
    session: &'a mut Session,
    name: Result<BlobName, Error>,
    source: PutSource,
    options: PutOptions,
    progress: &'a dyn Progress,
}

impl<'a> Put<'a> {
    pub(super) fn new(session: &'a mut Session, name: &str, source: PutSource) -> Self {
        let name = BlobName::parse(name).map_err(Error::from);
        Self { session, name, source, options: PutOptions::default(), progress: &Silent }
    }

    /// Stores only if the current version meets `condition` when the server commits; otherwise the
    /// error [says so](Error::already_exists).
    pub fn condition(mut self, condition: Condition) -> Self {
        self.options.condition = condition;
        self
    }

    /// Whether the blob records the SHA-256 of the plaintext.
    pub fn sha256(mut self, sha256: bool) -> Self {
        self.options.sha256 = sha256;
        self
    }

    /// The cipher suite that seals the blob.
    pub fn suite(mut self, suite: Suite) -> Self {
        self.options.suite = suite;
        self
    }

    /// What to do about an interrupted put of the same file.
    pub fn resume(mut self, resume: Resume) -> Self {
        self.options.resume = resume;
        self
    }

    /// Reports each part that was stored to `progress`, in bytes of plaintext.
    pub fn progress(mut self, progress: &'a dyn Progress) -> Self {
        self.progress = progress;
        self
    }

    /// Reads, seals and stores. When this returns, the version is on the server's disk.
    ///
    /// # Errors
    /// When the source cannot be read or changed meanwhile, the server refuses, or the connection
    /// fails for good. Nothing is visible on the server then, unless the error says otherwise.
    pub fn send(self) -> Result<PutReceipt, Error> {
        self.session.put(&self.name?, self.source.open()?, &self.options, self.progress)
    }
}

impl fmt::Debug for Put<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Put").field("name", &self.name).finish_non_exhaustive()
    }
}
