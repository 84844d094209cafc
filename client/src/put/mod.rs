//! A put: source → seal → upload → commit.
//!
//! ```text
//! read ──plaintext──▶ seal ──ciphertext, digest──▶ calling thread ──slices──▶ server
//!      ◀───buffers───   │  ◀────────buffers───────                ◀─answers─
//!                       ▼
//!                    journal   for a file of several parts: what a later put needs to resume
//! ```
//!
//! At most two plaintext and two sealed buffers of one part each (16 MiB) are allocated, whatever
//! the file's length. Requests are sent without waiting for answers, up to a window, so a small put
//! is one round trip. The client sends Commit only after the source has confirmed that it did not
//! change while it was read.
//!
//! A file is put again after a temporary failure, from where its journal ends if it has one. A
//! stream, which can be read only once, resumes from the sealed parts that are still in memory, as
//! long as the server keeps the upload.

mod attempt;
mod batch;
mod in_doubt;
pub(crate) mod pipeline;
mod resume;
mod stream;
mod unsealed;
pub(crate) mod upload;

use std::cell::Cell;

use zput_common::{
    aead::Suite,
    blob::open::Seen,
    keys::Role,
    name::{BlobName, ObjectKey},
    proto::message::{Condition, HeaderSlice, Version},
};

use self::attempt::FailedAttempt;
pub use self::batch::{JOBS, JOBS_MAX, NamedFile, SMALL_BYTES};
pub(crate) use self::pipeline::PART_BYTES;
use crate::{
    client::Client,
    error::ClientError,
    notice::{Event, Notice},
    progress::Progress,
    put::upload::abort,
    retry::RetryState,
    source::Source,
    state::journal::JournalError,
};

/// Options of a put.
#[derive(Clone, Debug)]
pub struct PutOptions {
    /// The cipher suite that seals the blob.
    pub suite: Suite,
    /// What the server requires of the current version before it commits.
    pub condition: Condition,
    /// Whether the blob records the SHA-256 of the plaintext.
    pub sha256: bool,
    /// Store the bytes unsealed. Only plaintext connections allow it.
    pub unsealed: bool,
    /// What to do about an interrupted put of this name.
    pub resume: Resume,
    /// Whether a pipe among several paths may give no byte. A source passed to [`Client::put`]
    /// carries this setting itself.
    pub allow_empty: bool,
}

/// What to do about an interrupted put of the same file under the same name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Resume {
    /// Resume it if there is one.
    #[default]
    Auto,
    /// Resume it, or fail with [`ClientError::NothingToResume`].
    Insist,
    /// Abandon it and start over.
    Never,
}

impl Default for PutOptions {
    fn default() -> Self {
        Self {
            suite: Suite::default(),
            condition: Condition::Any,
            sha256: false,
            unsealed: false,
            resume: Resume::default(),
            allow_empty: false,
        }
    }
}

/// The result of a put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutReceipt {
    /// The object key that the name maps to.
    pub key: ObjectKey,
    /// The version that the commit created.
    pub version: Version,
    /// The blob's generation; `None` for an unsealed object.
    pub generation: Option<u64>,
    /// Length of the plaintext in bytes.
    pub length: u64,
}

/// What all attempts of one put share.
struct PutContext<'a> {
    name: &'a BlobName,
    key: ObjectKey,
    options: &'a PutOptions,
    progress: &'a dyn Progress,
    /// The highest generation that the server has reported under this name; 0 before it reported
    /// one.
    server_generation: Cell<u64>,
}

impl Client {
    /// Puts the contents of `source` under `name`.
    ///
    /// # Errors
    /// When the source changed while it was read, the server refuses, or the connection fails for
    /// good. An error before the commit leaves nothing visible on the server. If the connection
    /// ends during the commit, the whole blob is stored or nothing is.
    pub fn put(
        &mut self,
        name: &BlobName,
        source: impl Source + 'static,
        options: &PutOptions,
        progress: &dyn Progress,
    ) -> Result<PutReceipt, ClientError> {
        let key = self.key_file().object_key(name);
        let context = PutContext { name, key, options, progress, server_generation: Cell::new(0) };
        let put = if options.unsealed {
            self.put_unsealed(&context, Box::new(source))
        } else {
            self.put_sealed(&context, Box::new(source))
        };
        progress.end();
        put.map_err(|error| error.with_local_time(self.rollback_guard().now_ns()))
    }

    fn put_sealed(
        &mut self,
        context: &PutContext<'_>,
        source: Box<dyn Source>,
    ) -> Result<PutReceipt, ClientError> {
        if self.key_file().role() == Role::Get {
            return Err(ClientError::CannotPut(Role::Get));
        }
        let must_resume = context.options.resume == Resume::Insist;
        let has_parts = source.length().is_some_and(|length| length >= PART_BYTES as u64);
        if source.identity().is_some() && has_parts {
            return match self.journals().lock(&context.key) {
                Ok(Some(journal)) => self.put_journaled(context, &*source, &journal),
                // Another put of this name holds the journal. This one starts over if it is
                // interrupted.
                Ok(None) if must_resume => Err(ClientError::PutUnderWay),
                Ok(None) => self.put_without_journal(context, source),
                Err(error) if must_resume => Err(error.into()),
                Err(error) => {
                    self.warn_no_journal(context, error);
                    self.put_without_journal(context, source)
                }
            };
        }
        if must_resume {
            return Err(ClientError::NothingToResume(None));
        }
        // An interrupted put of this name was of another file: abandon its upload. A journal that
        // cannot be read does not fail this put.
        if let Ok(Some(journal)) = self.journals().lock_existing(&context.key) {
            self.with_retries(Some(context.name.as_str()), |client| match journal.entry()? {
                Some(entry) => {
                    let header = HeaderSlice::of(entry.header);
                    client.abandon_upload(context, header).inspect_err(|_| client.drop_connection())
                }
                None => Ok(()),
            })?;
            drop(journal.discard());
        }
        self.put_without_journal(context, source)
    }

    /// Reports that the put cannot be resumed, unless the caller asked for no resuming. The put
    /// itself does not need its journal.
    fn warn_no_journal(&self, context: &PutContext<'_>, error: JournalError) {
        if context.options.resume != Resume::Never {
            let error = &ClientError::from(error);
            self.notify(&context.notice(Event::JournalUnavailable { error }));
        }
    }

    /// Puts without a journal. After a failure a source that can be reopened is read from its start
    /// again.
    fn put_without_journal(
        &mut self,
        context: &PutContext<'_>,
        source: Box<dyn Source>,
    ) -> Result<PutReceipt, ClientError> {
        if source.identity().is_none() {
            return self.put_stream(context, source);
        }
        self.retry_until_stored(context, |client| {
            let reopened = source.reopen()?.ok_or(ClientError::Incomplete)?;
            let attempt = client.attempt(context, reopened, None);
            attempt.inspect_err(|failed| client.recover(&failed.error, abort))
        })
    }

    /// Repeats `attempt` until it succeeds, fails for good or has used up its retries.
    fn retry_until_stored(
        &mut self,
        context: &PutContext<'_>,
        mut attempt: impl FnMut(&mut Self) -> Result<PutReceipt, FailedAttempt>,
    ) -> Result<PutReceipt, ClientError> {
        let (mut retries, mut resealed) = (RetryState::default(), 0);
        loop {
            let FailedAttempt { error, in_doubt, open_upload, made_progress, .. } =
                match attempt(self) {
                    Ok(receipt) => return Ok(receipt),
                    Err(failed) => failed,
                };
            if context.learn_generation(&error) && resealed < RESEALS_MAX {
                // Sealed above the server's generation the blob is the newest, so there is nothing
                // to wait for.
                resealed += 1;
                self.discard_upload(context, open_upload);
                continue;
            }
            if made_progress {
                retries.progressed();
            }
            match in_doubt {
                Some(in_doubt) => {
                    if let Some(committed) =
                        self.resolve(context, &in_doubt, &mut retries, Some(error))?
                    {
                        return self.record_commit(context, &committed);
                    }
                    self.discard_upload(context, open_upload);
                }
                None => {
                    let paused = self.pause(&mut retries, Some(context.name.as_str()), error);
                    self.discard_upload(context, open_upload);
                    paused?;
                }
            }
        }
    }

    /// Tells the server that no put will resume this upload. If that fails the server removes the
    /// upload when it expires.
    fn discard_upload(&mut self, context: &PutContext<'_>, open_upload: Option<Box<HeaderSlice>>) {
        if let Some(header) = open_upload
            && self.abandon_upload(context, *header).is_err()
        {
            self.drop_connection();
        }
    }
}

impl<'a> PutContext<'a> {
    /// Records the generation that the next attempt has to exceed. Returns whether it is higher
    /// than the one known before.
    fn learn_generation(&self, error: &ClientError) -> bool {
        match error {
            ClientError::Overtaken { newest } => self.server_generation.replace(*newest) < *newest,
            _ => false,
        }
    }

    fn notice(&self, event: Event<'a>) -> Notice<'a> {
        Notice { thing: Some(self.name.as_str()), event }
    }
}

/// How often one put is sealed again at once because another put of its name was committed first.
const RESEALS_MAX: u32 = 3;

/// FORMAT 3: the writer's clock in ns since 1970, or one more than the newest generation that it
/// knows for this key, whichever is greater. `newest` comes from the rollback guard,
/// `server_generation` from the server; 0 if the server has reported none.
///
/// # Errors
/// [`ClientError::NoLaterGeneration`] if the known generation is 2^64-2 or higher.
pub(crate) fn generation_after(
    now: u64,
    newest: Option<Seen>,
    server_generation: u64,
) -> Result<u64, ClientError> {
    let known = newest.map_or(server_generation, |seen| seen.generation.max(server_generation));
    // FORMAT 3: 2^64-1 is not a generation, because nothing could follow it.
    let above = known.checked_add(1).filter(|above| *above < u64::MAX);
    let above = above.ok_or(ClientError::NoLaterGeneration)?;
    Ok(now.max(above))
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
        let after =
            |newest, server_generation| generation_after(100, newest, server_generation).ok();
        assert_eq!(after(None, 0), Some(100));
        assert_eq!(after(seen(50), 0), Some(100));
        assert_eq!(after(seen(100), 0), Some(101));
        assert_eq!(after(seen(500), 0), Some(501));
        // Generations that the server reported.
        assert_eq!(after(None, 99), Some(100));
        assert_eq!(after(None, 100), Some(101));
        assert_eq!(after(seen(500), 600), Some(601));
        assert_eq!(after(seen(600), 500), Some(601));
        // No generation exceeds the last one.
        assert_eq!(after(seen(u64::MAX), 0), None);
        assert_eq!(after(None, u64::MAX), None);
    }
}
