//! A put of bytes as they are, sealed to nobody: without a header there is nothing that tells it from another, so
//! once its commit was sent it is not tried again.

use zput_common::digest::Digest;

use super::{PutReceipt, Target};
use crate::{
    client::Client,
    error::ClientError,
    retry::{Tries, may_pass},
    seal::{self, Part, Stage},
    send::{SLICE_BYTES, Upload, abort},
    source::{Source, SourceError},
};

/// An attempt that did not come to its end.
struct Failed {
    error: ClientError,
    /// The commit was sent: what came of it is not known.
    is_committed: bool,
}

impl<E: Into<ClientError>> From<E> for Failed {
    fn from(error: E) -> Self {
        Self { error: error.into(), is_committed: false }
    }
}

impl Client {
    pub(super) fn put_unsealed(
        &mut self,
        target: &Target<'_>,
        source: Box<dyn Source>,
    ) -> Result<PutReceipt, ClientError> {
        self.refuse_unsealed_over_tls()?;
        if source.identity().is_none() {
            let pieces = Pieces::read(target, source)?;
            self.open_patiently(target, None)?;
            let upload = Upload::opened(self.connection()?);
            return pieces.send(target, upload).map_err(|failed| {
                self.recover(&failed.error, abort);
                failed.of_stream()
            });
        }
        let mut tries = Tries::default();
        loop {
            let again = source.again()?.ok_or(ClientError::Incomplete)?;
            let failed = match self.attempt_unsealed(target, again) {
                Ok(receipt) => return Ok(receipt),
                Err(failed) => failed,
            };
            self.recover(&failed.error, abort);
            if failed.is_committed && may_pass(&failed.error) {
                return Err(ClientError::Unanswered(Box::new(failed.error)));
            }
            self.pause(&mut tries, Some(target.name.as_str()), failed.error)?;
        }
    }

    fn attempt_unsealed(
        &mut self,
        target: &Target<'_>,
        source: Box<dyn Source>,
    ) -> Result<PutReceipt, Failed> {
        let pieces = Pieces::read(target, source)?;
        let (connection, condition) = (self.connection()?, target.options.condition);
        let upload = Upload::begin(connection, &target.key, None, condition)?;
        pieces.send(target, upload)
    }
}

/// The bytes as they are read.
struct Pieces {
    first: Part,
    stage: Stage<Result<Part, SourceError>>,
}

impl Pieces {
    /// Begins to read. The first piece is there before anybody is called.
    fn read(target: &Target<'_>, source: Box<dyn Source>) -> Result<Self, ClientError> {
        target.progress.begin(source.length());
        let stage = seal::read(source, SLICE_BYTES).map_err(ClientError::Thread)?;
        let first = stage.pieces.recv().map_err(|_| ClientError::Incomplete)??;
        Ok(Self { first, stage })
    }

    fn send(self, target: &Target<'_>, mut upload: Upload<'_>) -> Result<PutReceipt, Failed> {
        let Self { first: mut part, stage } = self;
        let mut length = 0;
        loop {
            let Part { plaintext, digest, is_last } = part;
            let bytes = plaintext.len() as u64;
            if !plaintext.is_empty() {
                let digest = digest.unwrap_or_else(|| Digest::of(&plaintext));
                upload.slice_of(&plaintext, digest, bytes, target.progress)?;
            }
            length += bytes;
            if is_last {
                let version =
                    upload.commit().map_err(|error| Failed { error, is_committed: true })?;
                let key = target.key.clone();
                return Ok(PutReceipt { key, version, generation: None, length });
            }
            // The reader may have had its last buffer.
            let _kept = stage.emptied.send(plaintext);
            part = upload.next_piece(&stage.pieces)??;
        }
    }
}

impl Failed {
    /// What the user is told: a stream cannot be sent again.
    fn of_stream(self) -> ClientError {
        match self.error {
            error if !may_pass(&error) => error,
            error if self.is_committed => ClientError::Unanswered(Box::new(error)),
            error => ClientError::StreamLost(Box::new(error)),
        }
    }
}
