//! One attempt at a put: other threads read and seal, this one uploads and commits.

use std::sync::Arc;

use zput_proto::{digest::Digest, message::HeaderSlice};
use zput_seal::{
    blob::{
        footer::Provenance,
        header::Header,
        open::Seen,
        seal::{SealOptions, Sealer},
    },
    keys::KeyFile,
};

use super::{
    commit::{Committed, InDoubtCommit},
    context::{PutContext, generation_after},
    options::PutReceipt,
    pipeline::{self, PlaintextPart, SealJob, SealedPiece, Stage},
    upload::{Upload, abort},
};
use crate::{
    connection::ConnectionError,
    error::Error,
    io::{
        attributes::Attributes,
        source::{Source, SourceError},
    },
    limits::{PART_BYTES, SLICE_BYTES},
    random,
    retry::{ErrorClass, RetryState, classify},
    session::Session,
    state::{
        journal::{Journal, ResumeKey},
        rollback::RollbackGuard,
    },
};

/// An attempt that failed.
pub(super) struct FailedAttempt {
    pub(super) error: Error,
    /// Set once Commit was sent: the blob may be stored although the answer was lost.
    pub(super) in_doubt: Option<Box<InDoubtCommit>>,
    /// The header of an upload that the server may keep open.
    pub(super) open_upload: Option<Box<HeaderSlice>>,
    /// The next attempt has less left to send than this one had.
    pub(super) made_progress: bool,
    /// The server received Begin and did not refuse it, so it may hold some of the upload.
    pub(super) reached_server: bool,
    /// The attempt was to begin a new upload and the server knows nothing of it, so its journal is
    /// useless.
    pub(super) is_unknown_to_server: bool,
}

impl<E: Into<Error>> From<E> for FailedAttempt {
    fn from(error: E) -> Self {
        let error = error.into();
        Self {
            error,
            in_doubt: None,
            open_upload: None,
            made_progress: false,
            reached_server: false,
            is_unknown_to_server: false,
        }
    }
}

impl FailedAttempt {
    /// Records that Begin with this header was sent. The server keeps no upload that it refused to
    /// begin.
    pub(super) fn after_begin(mut self, header: &HeaderSlice) -> Self {
        self.reached_server = true;
        match &self.error {
            Error::Connection(
                ConnectionError::Refused { .. } | ConnectionError::NotMounted { .. },
            ) if classify(&self.error) != ErrorClass::Corruption => self,
            Error::Connection(_) => Self { open_upload: Some(Box::new(header.clone())), ..self },
            _ => self,
        }
    }
}

/// Whether the error is an answer of the server, as opposed to a broken connection.
fn is_refusal(error: &Error) -> bool {
    matches!(
        error,
        Error::Overtaken { .. }
            | Error::Connection(
                ConnectionError::Refused { .. } | ConnectionError::NotMounted { .. }
            )
    )
}

/// The output of the sealing thread.
pub(super) type SealStage = Stage<Result<SealedPiece, Error>>;

impl Session {
    /// Puts `source`, a regular file, from its start. With a journal, each sealed part is recorded
    /// before it is sent.
    pub(super) fn attempt(
        &mut self,
        context: &PutContext<'_>,
        source: Box<dyn Source>,
        journal: Option<(&Arc<Journal>, &ResumeKey)>,
    ) -> Result<PutReceipt, FailedAttempt> {
        context.progress.begin(source.length());
        let sealer =
            new_sealer(self.key_file(), self.rollback_guard(), context, source.attributes())?;
        let writer = journal
            .map(|(journal, subject)| journal.start(subject, sealer.file_key(), sealer.header()));
        let is_large = writer.is_some();
        let stage = self.start_sealing(SealJob::new(sealer).with_journal(writer), source)?;
        let sent = self.begin_and_send(context, &stage, is_large);
        stage.join();
        Ok(self.record_commit(context, &sent?)?)
    }

    fn begin_and_send(
        &mut self,
        context: &PutContext<'_>,
        stage: &SealStage,
        is_large: bool,
    ) -> Result<Committed, FailedAttempt> {
        // The sealer emits the header once the first part was read, so no connection is made for a
        // source that cannot be read.
        let header = receive_header(stage)?;
        let guard = self.rollback_guard().clone();
        let begin = Some(header.clone());
        let connection = self.connection()?;
        let mut upload = Upload::begin(connection, &context.key, begin, context.options.condition)
            .map_err(|error| FailedAttempt { reached_server: true, ..error.into() })?;
        if is_large {
            // Wait for the answer to Begin before megabytes are sent that the server would refuse.
            upload.wait_until_open().map_err(|error| {
                let is_refused = is_refusal(&error);
                FailedAttempt {
                    reached_server: !is_refused,
                    ..FailedAttempt::from(error).after_begin(&header)
                }
            })?;
        }
        let sent = send_and_commit(upload, stage, context, &guard, header.clone());
        sent.map_err(|failed| failed.after_begin(&header))
    }

    /// Opens an upload, retrying temporary failures, and waits until the server has answered.
    pub(super) fn begin_with_retries(
        &mut self,
        context: &PutContext<'_>,
        header: Option<&HeaderSlice>,
    ) -> Result<(), Error> {
        let (mut retries, condition) = (RetryState::default(), context.options.condition);
        loop {
            let opened = self.connection().and_then(|connection| {
                Upload::begin(connection, &context.key, header.cloned(), condition)?
                    .wait_until_open()
            });
            let Err(error) = opened else { return Ok(()) };
            self.recover(&error, abort);
            if matches!(error, Error::Overtaken { .. }) {
                // A header of this generation will be refused again.
                return Err(error);
            }
            self.pause(&mut retries, Some(context.name.as_str()), error)?;
        }
    }

    /// Starts the threads that read and seal.
    pub(super) fn start_sealing(
        &self,
        sealing: SealJob,
        source: Box<dyn Source>,
    ) -> Result<SealStage, Error> {
        let read = pipeline::spawn_reader(source, PART_BYTES).map_err(Error::Thread)?;
        self.seal(sealing, read)
    }

    pub(super) fn seal(
        &self,
        sealing: SealJob,
        read: Stage<Result<PlaintextPart, SourceError>>,
    ) -> Result<SealStage, Error> {
        let mac_key = self.key_file().vault_secret().mac_key();
        let writer = self.key_file().device_seed().writer_key();
        pipeline::spawn_sealer(sealing, read, move |sealer| {
            let provenance = Provenance::Vault { mac_key: &mac_key, writer: &writer };
            Ok(sealer.finish(provenance, &mut random::os_rng())?)
        })
        .map_err(Error::Thread)
    }

    /// Records the committed version in the rollback guard and builds the receipt.
    pub(super) fn record_commit(
        &self,
        context: &PutContext<'_>,
        committed: &Committed,
    ) -> Result<PutReceipt, Error> {
        self.set_circuit_open(false);
        let Committed { version, seen, length } = *committed;
        self.rollback_warning()
            .warn_once(version, self.rollback_guard().advance(&context.key, &seen))
            .map_err(|source| Error::NotRecorded { version, source })?;
        let generation = Some(seen.generation);
        Ok(PutReceipt { key: context.key.clone(), version, generation, length })
    }
}

/// Creates the sealer of a new blob, with a generation above every one known for this key.
pub(super) fn new_sealer(
    key_file: &KeyFile,
    guard: &RollbackGuard,
    context: &PutContext<'_>,
    attributes: Attributes,
) -> Result<Sealer, Error> {
    let newest = guard.newest(&context.key)?;
    let generation = generation_after(guard.now_ns(), newest, context.server_generation.get())?;
    let metadata = attributes.to_metadata(context.name.clone());
    let mut options = SealOptions::new(generation, metadata);
    options.suite = context.options.suite;
    options.object_key = Some(context.key.clone());
    options.sha256 = context.options.sha256;
    Ok(Sealer::new(options, &key_file.recipients, &mut random::os_rng())?)
}

/// Receives the header, which is always the first piece.
fn receive_header(stage: &SealStage) -> Result<HeaderSlice, Error> {
    match stage.pieces.recv().map_err(|_| Error::Incomplete)?? {
        SealedPiece::Header(header) => Ok(HeaderSlice::of(header)),
        SealedPiece::Part { .. } | SealedPiece::Footer(_) => Err(Error::Incomplete),
    }
}

/// Uploads the sealed pieces and commits. Checks once more that no newer generation was seen
/// meanwhile.
pub(super) fn send_and_commit(
    mut upload: Upload<'_>,
    stage: &SealStage,
    context: &PutContext<'_>,
    guard: &RollbackGuard,
    header: HeaderSlice,
) -> Result<Committed, FailedAttempt> {
    let generation = Header::parse(&header.bytes).map_err(Error::from)?.generation();
    loop {
        match upload.next_piece(&stage.pieces)?? {
            SealedPiece::Header(_) => return Err(Error::Incomplete.into()),
            SealedPiece::Part { ciphertext, digest, plaintext_bytes } => {
                upload.send_slice_with_progress(
                    &ciphertext,
                    digest,
                    plaintext_bytes,
                    context.progress,
                )?;
                // The send fails once the sealer has taken its last buffer.
                let _disconnected = stage.recycled.send(ciphertext);
            }
            SealedPiece::Footer(footer) => {
                for piece in footer.bytes.chunks(SLICE_BYTES) {
                    upload.send_slice(piece, Digest::of(piece))?;
                }
                if let Some(Seen { generation: newest, .. }) = guard.newest(&context.key)?
                    && newest >= generation
                {
                    return Err(Error::Overtaken { newest }.into());
                }
                let seen = Seen { generation, transcript: footer.transcript };
                let (slices, length) = (upload.take_slices(), footer.total_length);
                return match upload.commit() {
                    Ok(version) => Ok(Committed { version, seen, length }),
                    Err(error @ Error::Overtaken { .. }) => Err(error.into()),
                    Err(error) => {
                        let in_doubt = InDoubtCommit { header, slices, seen, length };
                        Err(FailedAttempt { in_doubt: Some(Box::new(in_doubt)), ..error.into() })
                    }
                };
            }
        }
    }
}
