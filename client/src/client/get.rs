//! A blob that was found and verified up to its parts, which are still to come.

use std::{
    fmt,
    io::Write,
    ops::{Bound, RangeBounds},
    path::Path,
};

use zput_proto::{
    message::Version,
    name::{BlobName, ObjectKey},
};

use crate::{
    error::Error,
    event::{Event, Notice},
    files::install::IfExists,
    get::{BlobHead, ByteRange, GetOptions, GetReceipt},
    io::{
        attributes::Attributes,
        progress::{Progress, Silent},
        sink::{Output, WriterSink},
    },
    objects::stat::Stat,
    session::Session,
    state::partial::PartialDownloads,
};

/// A blob whose header and footer were fetched and verified. Each part is verified before any of it
/// is written.
#[must_use = "the blob's contents are got by `save_to`, `read_to_vec` or `write_to`"]
pub struct Get<'a> {
    session: &'a mut Session,
    partial_downloads: &'a PartialDownloads,
    name: BlobName,
    head: BlobHead,
    stat: Stat,
    range: Option<ByteRange>,
    if_exists: IfExists,
    progress: &'a dyn Progress,
}

impl<'a> Get<'a> {
    pub(super) fn new(
        session: &'a mut Session,
        partial_downloads: &'a PartialDownloads,
        name: BlobName,
        key: ObjectKey,
        head: BlobHead,
    ) -> Self {
        let stat = Stat::of(key, &head);
        let (range, if_exists, progress) = (None, IfExists::Keep, &Silent);
        Self { session, partial_downloads, name, head, stat, range, if_exists, progress }
    }

    /// The version that was found: its commit time in ns since 1970.
    #[must_use]
    pub fn version(&self) -> Version {
        self.stat.version
    }

    /// Length of the whole plaintext in bytes.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.stat.length
    }

    /// What is known of the blob.
    #[must_use]
    pub fn stat(&self) -> &Stat {
        &self.stat
    }

    /// Only these bytes of the plaintext; what ends after its end ends there. Only the parts that
    /// contain them are fetched.
    pub fn range(mut self, range: impl RangeBounds<u64>) -> Self {
        let start = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(start) => start.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(end) => end.checked_add(1),
            Bound::Excluded(end) => Some(*end),
            Bound::Unbounded => None,
        };
        self.range = Some(ByteRange { start, end });
        self
    }

    /// Lets [`save_to`](Self::save_to) replace a file that exists.
    pub fn replace(mut self) -> Self {
        self.if_exists = IfExists::Replace;
        self
    }

    /// Reports each part that was verified and written to `progress`.
    pub fn progress(mut self, progress: &'a dyn Progress) -> Self {
        self.progress = progress;
        self
    }

    /// Saves to the file at `path`, which appears complete and synced or not at all. It gets the
    /// mode and the time of the file that was put, unless this is a range; what cannot be set is
    /// told by [`Event::AttributeNotSet`]. Until then the bytes are in a temporary file beside it;
    /// a get that is interrupted after a whole part of 16 MiB is resumed by the next one to the
    /// same path.
    ///
    /// # Errors
    /// When the file exists, unless [`replace`](Self::replace) was called; when it cannot be
    /// written; and when a part cannot be fetched or is not as it was sealed.
    pub fn save_to(self, path: impl AsRef<Path>) -> Result<GetReceipt, Error> {
        let path = path.as_ref();
        let mut output = match self.range {
            Some(_) => Output::at(path, self.if_exists)?,
            None => {
                let note = String::new();
                Output::resumable(path, self.if_exists, self.partial_downloads, note)?
            }
        };
        let options = self.options();
        let receipt = self.session.get_after_head(
            &self.name,
            &options,
            self.head,
            &mut output,
            self.progress,
        )?;
        let attributes = options.range.is_none().then(|| Attributes::from(&receipt.metadata));
        // An attribute that cannot be set does not make the contents wrong.
        for warning in &output.commit(attributes)? {
            let thing = Some(self.name.as_str());
            self.session.notify(&Notice { thing, event: Event::AttributeNotSet { warning } });
        }
        Ok(receipt)
    }

    /// Reads into memory.
    ///
    /// # Errors
    /// When a part cannot be fetched or is not as it was sealed.
    pub fn read_to_vec(self) -> Result<Vec<u8>, Error> {
        let (options, mut bytes) = (self.options(), Vec::new());
        self.session.get_after_head(&self.name, &options, self.head, &mut bytes, self.progress)?;
        Ok(bytes)
    }

    /// Writes each part to `writer` as soon as it is verified, and flushes it at the end. What was
    /// written before an error is genuine but incomplete.
    ///
    /// # Errors
    /// When it cannot be written, and when a part cannot be fetched or is not as it was sealed.
    pub fn write_to(self, writer: &mut (dyn Write + Send)) -> Result<GetReceipt, Error> {
        let (options, mut sink) = (self.options(), WriterSink::new(writer));
        let receipt = self.session.get_after_head(
            &self.name,
            &options,
            self.head,
            &mut sink,
            self.progress,
        )?;
        sink.finish()?;
        Ok(receipt)
    }

    fn options(&self) -> GetOptions {
        let version = Some(self.stat.version);
        GetOptions { version, range: self.range, allow_rollback: false }
    }
}

impl fmt::Debug for Get<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Get").field("name", &self.name).field("stat", &self.stat).finish()
    }
}
