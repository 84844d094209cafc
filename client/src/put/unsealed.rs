//! A put of unsealed bytes. Without a header the server cannot tell one upload from another, so
//! nothing is retried once Commit was sent.

use zput_proto::digest::Digest;

use super::{
    context::PutContext,
    options::PutReceipt,
    pipeline::{self, PlaintextPart, Stage},
    upload::{Upload, abort},
};
use crate::{
    error::Error,
    io::source::{Source, SourceError},
    limits::SLICE_BYTES,
    retry::{RetryState, is_retryable},
    session::Session,
};

/// An attempt that failed.
struct FailedAttempt {
    error: Error,
    /// Whether Commit was sent, so that its outcome is unknown.
    commit_was_sent: bool,
}

impl<E: Into<Error>> From<E> for FailedAttempt {
    fn from(error: E) -> Self {
        Self { error: error.into(), commit_was_sent: false }
    }
}

impl Session {
    pub(super) fn put_unsealed(
        &mut self,
        context: &PutContext<'_>,
        source: Box<dyn Source>,
    ) -> Result<PutReceipt, Error> {
        self.refuse_unsealed_over_tls()?;
        if source.identity().is_none() {
            let pieces = PlaintextStream::read(context, source)?;
            self.begin_with_retries(context, None)?;
            let upload = Upload::attach(self.connection()?);
            return pieces.send(context, upload).map_err(|failed| {
                self.recover(&failed.error, abort);
                failed.into_stream_error()
            });
        }
        let mut retries = RetryState::default();
        loop {
            let reopened = source.reopen()?.ok_or(Error::Incomplete)?;
            let failed = match self.attempt_unsealed(context, reopened) {
                Ok(receipt) => return Ok(receipt),
                Err(failed) => failed,
            };
            self.recover(&failed.error, abort);
            if failed.commit_was_sent && is_retryable(&failed.error) {
                return Err(Error::OutcomeUnknown(Box::new(failed.error)));
            }
            self.pause(&mut retries, Some(context.name.as_str()), failed.error)?;
        }
    }

    fn attempt_unsealed(
        &mut self,
        context: &PutContext<'_>,
        source: Box<dyn Source>,
    ) -> Result<PutReceipt, FailedAttempt> {
        let pieces = PlaintextStream::read(context, source)?;
        let (connection, condition) = (self.connection()?, context.options.condition);
        let upload = Upload::begin(connection, &context.key, None, condition)?;
        pieces.send(context, upload)
    }
}

/// The plaintext as it is read.
struct PlaintextStream {
    first: PlaintextPart,
    stage: Stage<Result<PlaintextPart, SourceError>>,
}

impl PlaintextStream {
    /// Starts reading and waits for the first piece, so no connection is made for a source that
    /// cannot be read.
    fn read(context: &PutContext<'_>, source: Box<dyn Source>) -> Result<Self, Error> {
        context.progress.begin(source.length());
        let stage = pipeline::spawn_reader(source, SLICE_BYTES).map_err(Error::Thread)?;
        let first = stage.pieces.recv().map_err(|_| Error::Incomplete)??;
        Ok(Self { first, stage })
    }

    fn send(
        self,
        context: &PutContext<'_>,
        mut upload: Upload<'_>,
    ) -> Result<PutReceipt, FailedAttempt> {
        let Self { first: mut part, stage } = self;
        let mut length = 0;
        loop {
            let PlaintextPart { plaintext, digest, is_last } = part;
            let bytes = plaintext.len() as u64;
            if !plaintext.is_empty() {
                let digest = digest.unwrap_or_else(|| Digest::of(&plaintext));
                upload.send_slice_with_progress(&plaintext, digest, bytes, context.progress)?;
            }
            length += bytes;
            if is_last {
                let version = upload
                    .commit()
                    .map_err(|error| FailedAttempt { error, commit_was_sent: true })?;
                let key = context.key.clone();
                return Ok(PutReceipt { key, version, generation: None, length });
            }
            // The send fails once the reader has taken its last buffer.
            let _disconnected = stage.recycled.send(plaintext);
            part = upload.next_piece(&stage.pieces)??;
        }
    }
}

impl FailedAttempt {
    /// The error for the caller: a stream cannot be sent again.
    fn into_stream_error(self) -> Error {
        match self.error {
            error if !is_retryable(&error) => error,
            error if self.commit_was_sent => Error::OutcomeUnknown(Box::new(error)),
            error => Error::StreamLost(Box::new(error)),
        }
    }
}
