//! A put of one source.

use std::cell::Cell;

use zput_proto::{message::HeaderSlice, name::BlobName};
use zput_seal::keys::Role;

use super::{
    attempt::FailedAttempt,
    context::PutContext,
    options::{PutOptions, PutReceipt, Resume},
    upload::abort,
};
use crate::{
    error::Error,
    event::Event,
    io::{progress::Progress, source::Source},
    limits::PART_BYTES,
    retry::RetryState,
    session::Session,
    state::journal::JournalError,
};

impl Session {
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
    ) -> Result<PutReceipt, Error> {
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
    ) -> Result<PutReceipt, Error> {
        if self.key_file().role() == Role::Get {
            return Err(Error::CannotPut(Role::Get));
        }
        let must_resume = context.options.resume == Resume::Insist;
        let has_parts = source.length().is_some_and(|length| length >= PART_BYTES as u64);
        if source.identity().is_some() && has_parts {
            return match self.journals().lock(&context.key) {
                Ok(Some(journal)) => self.put_journaled(context, &*source, &journal),
                // Another put of this name holds the journal. This one starts over if it is
                // interrupted.
                Ok(None) if must_resume => Err(Error::PutUnderWay),
                Ok(None) => self.put_without_journal(context, source),
                Err(error) if must_resume => Err(error.into()),
                Err(error) => {
                    self.warn_no_journal(context, error);
                    self.put_without_journal(context, source)
                }
            };
        }
        if must_resume {
            return Err(Error::NothingToResume(None));
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
    pub(super) fn warn_no_journal(&self, context: &PutContext<'_>, error: JournalError) {
        if context.options.resume != Resume::Never {
            let error = &Error::from(error);
            self.notify(&context.notice(Event::JournalUnavailable { error }));
        }
    }

    /// Puts without a journal. After a failure a source that can be reopened is read from its start
    /// again.
    fn put_without_journal(
        &mut self,
        context: &PutContext<'_>,
        source: Box<dyn Source>,
    ) -> Result<PutReceipt, Error> {
        if source.identity().is_none() {
            return self.put_stream(context, source);
        }
        self.retry_until_stored(context, |client| {
            let reopened = source.reopen()?.ok_or(Error::Incomplete)?;
            let attempt = client.attempt(context, reopened, None);
            attempt.inspect_err(|failed| client.recover(&failed.error, abort))
        })
    }

    /// Repeats `attempt` until it succeeds, fails for good or has used up its retries.
    pub(super) fn retry_until_stored(
        &mut self,
        context: &PutContext<'_>,
        mut attempt: impl FnMut(&mut Self) -> Result<PutReceipt, FailedAttempt>,
    ) -> Result<PutReceipt, Error> {
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
    pub(super) fn discard_upload(
        &mut self,
        context: &PutContext<'_>,
        open_upload: Option<Box<HeaderSlice>>,
    ) {
        if let Some(header) = open_upload
            && self.abandon_upload(context, *header).is_err()
        {
            self.drop_connection();
        }
    }
}

/// How often one put is sealed again at once because another put of its name was committed first.
const RESEALS_MAX: u32 = 3;
