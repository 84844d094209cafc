//! One attempt at a put: what is sealed on other threads is sent, and committed.

use std::sync::Arc;

use zput_common::{
    aead::Engine,
    blob::{
        footer::Provenance,
        header::Header,
        layout::PartSize,
        metadata::Metadata,
        open::Seen,
        seal::{SealOptions, Sealer},
    },
    digest::Digest,
    keys::KeyFile,
    proto::message::{HeaderSlice, Version},
};

use super::{PutReceipt, Target, generation_after, lost::LostCommit};
use crate::{
    client::Client,
    connection::ConnectionError,
    error::ClientError,
    journal::{Journal, Subject},
    random,
    retry::{Prospect, Tries, prospect},
    seal::{self, Part, Sealed, Sealing, Stage},
    seen::Record,
    send::{SLICE_BYTES, Upload, abort},
    sink::Attributes,
    source::{Source, SourceError},
};

/// An attempt that did not come to its end.
pub(super) struct Failed {
    pub(super) error: ClientError,
    /// The commit was sent.
    pub(super) lost: Option<Box<LostCommit>>,
    /// The header of an upload that the server may keep.
    pub(super) begun: Option<Box<HeaderSlice>>,
    /// The next attempt has less to do.
    pub(super) progressed: bool,
    /// The server has heard of the upload, and has not refused to begin it: it may hold some of it.
    pub(super) is_begun: bool,
    /// It was to begin a blob, and the server has nothing of it: what the journal has of it is of no use.
    pub(super) is_unheard: bool,
}

impl<E: Into<ClientError>> From<E> for Failed {
    fn from(error: E) -> Self {
        let error = error.into();
        Self {
            error,
            lost: None,
            begun: None,
            progressed: false,
            is_begun: false,
            is_unheard: false,
        }
    }
}

impl Failed {
    /// Behind a Begin with this header. What the server has refused it does not keep.
    pub(super) fn having_begun(mut self, header: &HeaderSlice) -> Self {
        self.is_begun = true;
        match &self.error {
            ClientError::Connection(
                ConnectionError::Refused { .. } | ConnectionError::NotMounted { .. },
            ) if prospect(&self.error) != Prospect::Damage => self,
            ClientError::Connection(_) => Self { begun: Some(Box::new(header.clone())), ..self },
            _ => self,
        }
    }
}

/// Whether it is the server's answer.
fn is_refusal(error: &ClientError) -> bool {
    matches!(
        error,
        ClientError::Overtaken { .. }
            | ClientError::Connection(
                ConnectionError::Refused { .. } | ConnectionError::NotMounted { .. }
            )
    )
}

/// A blob that is being sealed.
pub(super) type SealedStage = Stage<Result<Sealed, ClientError>>;

/// What the server made durable.
pub(super) struct Committed {
    pub(super) version: Version,
    pub(super) seen: Seen,
    /// Bytes of plaintext.
    pub(super) length: u64,
}

impl Client {
    /// Puts `source`, which is a file, from its start; with a journal, if there is one.
    pub(super) fn attempt(
        &mut self,
        target: &Target<'_>,
        source: Box<dyn Source>,
        journal: Option<(&Arc<Journal>, &Subject)>,
    ) -> Result<PutReceipt, Failed> {
        target.progress.begin(source.length());
        let sealer = new_sealer(self.key_file(), self.record(), target, source.attributes())?;
        let rows = journal
            .map(|(journal, subject)| journal.begin(subject, sealer.file_key(), sealer.header()));
        let is_large = rows.is_some();
        let stage = self.start(Sealing::new(sealer).noted_in(rows), source)?;
        let sent = self.begin_and_send(target, &stage, is_large);
        stage.join();
        Ok(self.stored(target, &sent?)?)
    }

    fn begin_and_send(
        &mut self,
        target: &Target<'_>,
        stage: &SealedStage,
        is_large: bool,
    ) -> Result<Committed, Failed> {
        // The header is there only once the source could be read; only then is anybody called.
        let header = header(stage)?;
        let record = self.record().clone();
        let begin = Some(header.clone());
        let connection = self.connection()?;
        let mut upload = Upload::begin(connection, &target.key, begin, target.options.condition)
            .map_err(|error| Failed { is_begun: true, ..error.into() })?;
        if is_large {
            // Megabytes are not sent into a door that may be closed.
            upload.hear_begun().map_err(|error| {
                let is_refused = is_refusal(&error);
                Failed { is_begun: !is_refused, ..Failed::from(error).having_begun(&header) }
            })?;
        }
        let sent = send(upload, stage, target, &record, header.clone());
        sent.map_err(|failed| failed.having_begun(&header))
    }

    /// Opens an upload, and waits until it is open.
    pub(super) fn open_patiently(
        &mut self,
        target: &Target<'_>,
        header: Option<&HeaderSlice>,
    ) -> Result<(), ClientError> {
        let (mut tries, condition) = (Tries::default(), target.options.condition);
        loop {
            let begun = self.connection().and_then(|connection| {
                Upload::begin(connection, &target.key, header.cloned(), condition)?.hear_begun()
            });
            let Err(error) = begun else { return Ok(()) };
            self.recover(&error, abort);
            if matches!(error, ClientError::Overtaken { .. }) {
                // This header will never do.
                return Err(error);
            }
            self.pause(&mut tries, Some(target.name.as_str()), error)?;
        }
    }

    /// Begins to read and to seal.
    pub(super) fn start(
        &self,
        sealing: Sealing,
        source: Box<dyn Source>,
    ) -> Result<SealedStage, ClientError> {
        let read = seal::read(source, seal::PART_BYTES).map_err(ClientError::Thread)?;
        self.seal(sealing, read)
    }

    pub(super) fn seal(
        &self,
        sealing: Sealing,
        read: Stage<Result<Part, SourceError>>,
    ) -> Result<SealedStage, ClientError> {
        let mac_key = self.key_file().vault_secret().mac_key();
        let writer = self.key_file().device_seed().writer_key();
        seal::seal(sealing, read, move |sealer| {
            let provenance = Provenance::Vault { mac_key: &mac_key, writer: &writer };
            Ok(sealer.finish(provenance, &mut random::system())?)
        })
        .map_err(ClientError::Thread)
    }

    /// It is stored: this machine takes note of it.
    pub(super) fn stored(
        &self,
        target: &Target<'_>,
        committed: &Committed,
    ) -> Result<PutReceipt, ClientError> {
        self.set_hopeless(false);
        let Committed { version, seen, length } = *committed;
        self.record_warning()
            .of(version, self.record().advance(&target.key, &seen))
            .map_err(|error| ClientError::Unrecorded { version, error })?;
        let generation = Some(seen.generation);
        Ok(PutReceipt { key: target.key.clone(), version, generation, length })
    }
}

/// A new blob.
pub(super) fn new_sealer(
    key_file: &KeyFile,
    record: &Record,
    target: &Target<'_>,
    attributes: Attributes,
) -> Result<Sealer, ClientError> {
    let newest = record.newest(&target.key)?;
    let options = SealOptions {
        suite: target.options.suite,
        engine: Engine::default(),
        part_size: PartSize::MAX,
        object_key: Some(target.key.clone()),
        generation: generation_after(record.now_ns(), newest, target.there.get())?,
        metadata: Metadata {
            name: target.name.clone(),
            mtime_s: attributes.mtime_s,
            mtime_ns: attributes.mtime_ns,
            mode: attributes.mode & 0o777,
        },
        sha256: target.options.sha256,
    };
    Ok(Sealer::new(options, &key_file.recipients, &mut random::system())?)
}

/// The header, which comes first.
fn header(stage: &SealedStage) -> Result<HeaderSlice, ClientError> {
    match stage.pieces.recv().map_err(|_| ClientError::Incomplete)?? {
        Sealed::Header(header) => Ok(HeaderSlice::of(header)),
        Sealed::Part { .. } | Sealed::Footer(_) => Err(ClientError::Incomplete),
    }
}

/// Sends what is sealed, and commits it.
pub(super) fn send(
    mut upload: Upload<'_>,
    stage: &SealedStage,
    target: &Target<'_>,
    record: &Record,
    header: HeaderSlice,
) -> Result<Committed, Failed> {
    let generation = Header::parse(&header.bytes).map_err(ClientError::from)?.generation();
    loop {
        match upload.next_piece(&stage.pieces)?? {
            Sealed::Header(_) => return Err(ClientError::Incomplete.into()),
            Sealed::Part { ciphertext, digest, plaintext_bytes } => {
                upload.slice_of(&ciphertext, digest, plaintext_bytes, target.progress)?;
                // The sealer may have had its last buffer.
                let _kept = stage.emptied.send(ciphertext);
            }
            Sealed::Footer(footer) => {
                for piece in footer.bytes.chunks(SLICE_BYTES) {
                    upload.slice(piece, Digest::of(piece))?;
                }
                if let Some(Seen { generation: there, .. }) = record.newest(&target.key)?
                    && there >= generation
                {
                    return Err(ClientError::Overtaken { there }.into());
                }
                let seen = Seen { generation, transcript: footer.transcript };
                let (slices, length) = (upload.slices(), footer.total_length);
                return match upload.commit() {
                    Ok(version) => Ok(Committed { version, seen, length }),
                    Err(error @ ClientError::Overtaken { .. }) => Err(error.into()),
                    Err(error) => {
                        let lost = LostCommit { header, slices, seen, length };
                        Err(Failed { lost: Some(Box::new(lost)), ..error.into() })
                    }
                };
            }
        }
    }
}
