//! A put of a stream: a pipe or a command's output, which can be read only once.
//!
//! A stream has no journal. But sealed slices stay in memory until the server confirms them, and
//! the server keeps the upload when its connection ends (PROTOCOL 5, "Resume"), so a new connection
//! continues where the old one ended. Slices that are sent again are the same ciphertext; nothing
//! is sealed twice.

use std::collections::VecDeque;

use zput_proto::{
    digest::Digest,
    limits::CLAIM_MAX_SLICES,
    message::{ClaimedSlice, HeaderSlice},
};
use zput_seal::blob::{header::Header, open::Seen};

use super::{
    attempt::{FailedAttempt, SealStage, new_sealer},
    commit::Committed,
    context::PutContext,
    options::PutReceipt,
    pipeline::{self, SealJob, SealedPiece},
    upload::{ResumeAnswer, Upload, abort},
};
use crate::{
    error::Error,
    event::Event,
    io::source::Source,
    limits::{PART_BYTES, SLICE_BYTES},
    retry::{RetryState, is_retryable},
    session::Session,
};

/// Sealed parts in memory: one is being sealed while two are in flight. With two parts of plaintext
/// that makes 80 MiB.
const SEALED_BUFFERS: usize = 3;

/// The sealed slices of a stream, and how far they were sent.
struct StreamUpload {
    header: HeaderSlice,
    stage: SealStage,
    /// Every slice after the header that was sent.
    slices: Vec<ClaimedSlice>,
    /// The bytes of the last slices in `slices`, which the server has not confirmed.
    unconfirmed: VecDeque<Vec<u8>>,
    end: Option<StreamEnd>,
    /// Whether Commit was sent.
    commit_was_sent: bool,
}

/// What the footer states.
#[derive(Clone, Copy)]
struct StreamEnd {
    seen: Seen,
    /// Length of the plaintext in bytes.
    length: u64,
}

impl StreamUpload {
    /// Number of slices that the server has confirmed.
    fn held(&self) -> usize {
        self.slices.len() - self.unconfirmed.len()
    }

    /// Frees the buffers of the first `held` slices.
    fn confirm(&mut self, held: usize) {
        while self.held() < held
            && let Some(buffer) = self.unconfirmed.pop_front()
        {
            // The send fails once the sealer has taken its last buffer.
            let _disconnected = self.stage.recycled.send(buffer);
        }
    }

    /// Appends a slice that is to be sent.
    fn push(&mut self, bytes: Vec<u8>, digest: Digest) {
        // A slice is at most 16 MiB plus its authentication tags.
        self.slices.push(ClaimedSlice { length: bytes.len() as u32, digest });
        self.unconfirmed.push_back(bytes);
    }

    /// Sends the unconfirmed slices, except for the `first` ones, which are in flight on this
    /// connection.
    fn send_unconfirmed(&self, upload: &mut Upload<'_>, first: usize) -> Result<(), Error> {
        let slices = self.slices.iter().skip(self.held());
        for (bytes, slice) in self.unconfirmed.iter().zip(slices).skip(first) {
            upload.send_slice(bytes, slice.digest)?;
        }
        Ok(())
    }

    /// The error for the caller: a stream cannot be read again.
    fn user_error(&self, error: Error) -> Error {
        match error {
            error if self.commit_was_sent && is_retryable(&error) => {
                Error::OutcomeUnknown(Box::new(error))
            }
            error @ Error::Damaged { .. } => Error::StreamLost(Box::new(error)),
            error if is_retryable(&error) => Error::StreamLost(Box::new(error)),
            error => error,
        }
    }
}

impl Session {
    /// Puts `source`, which can be read only once.
    pub(super) fn put_stream(
        &mut self,
        context: &PutContext<'_>,
        source: Box<dyn Source>,
    ) -> Result<PutReceipt, Error> {
        let mut stream = self.start_stream(context, source)?;
        let (mut retries, mut is_open, mut most_held) = (RetryState::default(), true, 0);
        loop {
            let error = match self.send_stream(context, &mut stream, is_open) {
                Ok(committed) => return self.record_commit(context, &committed),
                Err(error) => error,
            };
            is_open = false;
            if stream.held() > most_held {
                most_held = stream.held();
                retries.progressed();
            }
            let can_resume = is_retryable(&error) && !matches!(error, Error::Overtaken { .. });
            let paused = if can_resume {
                self.drop_connection();
                self.pause(&mut retries, Some(context.name.as_str()), error)
            } else {
                self.recover(&error, abort);
                Err(error)
            };
            if let Err(error) = paused {
                let failed = FailedAttempt::from(error).after_begin(&stream.header);
                self.discard_upload(context, failed.open_upload);
                return Err(stream.user_error(failed.error));
            }
        }
    }

    /// Starts sealing once the server has accepted the header. No connection is made before the
    /// first part was read, and nothing is sealed before the server has confirmed that the
    /// generation is the newest.
    fn start_stream(
        &mut self,
        context: &PutContext<'_>,
        source: Box<dyn Source>,
    ) -> Result<StreamUpload, Error> {
        context.progress.begin(source.length());
        let attributes = source.attributes();
        let mut read = pipeline::spawn_reader(source, PART_BYTES).map_err(Error::Thread)?;
        read.wait_first()?;
        let (sealer, header) = loop {
            let sealer = new_sealer(self.key_file(), self.rollback_guard(), context, attributes)?;
            let header = HeaderSlice::of(sealer.header().to_vec());
            match self.begin_with_retries(context, Some(&header)) {
                Err(error) if context.learn_generation(&error) => {}
                opened => {
                    opened?;
                    break (sealer, header);
                }
            }
        };
        let sealing = SealJob::new(sealer).after_header(SEALED_BUFFERS);
        let stage = self.seal(sealing, read)?;
        let (slices, unconfirmed) = (Vec::new(), VecDeque::new());
        Ok(StreamUpload { header, stage, slices, unconfirmed, end: None, commit_was_sent: false })
    }

    /// Sends the unconfirmed slices and everything that follows, and commits.
    fn send_stream(
        &mut self,
        context: &PutContext<'_>,
        stream: &mut StreamUpload,
        is_open: bool,
    ) -> Result<Committed, Error> {
        if !is_open && let Some(committed) = self.reopen_upload(context, stream)? {
            return Ok(committed);
        }
        let guard = self.rollback_guard().clone();
        let mut upload = Upload::attach(self.connection()?);
        let held_before = stream.held();
        let sent = stream.send_all(&mut upload, held_before, context);
        stream.confirm(held_before + upload.held());
        sent?;
        let Some(StreamEnd { seen, length }) = stream.end else {
            return Err(Error::Incomplete);
        };
        if let Some(Seen { generation: newest, .. }) = guard.newest(&context.key)?
            && newest >= seen.generation
        {
            return Err(Error::Overtaken { newest });
        }
        stream.commit_was_sent = true;
        let version = upload.commit()?;
        Ok(Committed { version, seen, length })
    }

    /// Resumes the upload on a new connection and frees what the server holds. Returns the
    /// committed version if the upload was committed.
    fn reopen_upload(
        &mut self,
        context: &PutContext<'_>,
        stream: &mut StreamUpload,
    ) -> Result<Option<Committed>, Error> {
        match self.resume(context, stream.header.clone())? {
            ResumeAnswer::Committed(version) => {
                let Some(StreamEnd { seen, length }) = stream.end else {
                    let what = "that it committed what it never was told to";
                    return Err(self.connection()?.unexpected(what).into());
                };
                self.notify(&context.notice(Event::AlreadyStored(version)));
                return Ok(Some(Committed { version, seen, length }));
            }
            // The server held too little to keep the upload. If nothing was confirmed, all of it is
            // still in memory.
            ResumeAnswer::Nothing if stream.held() == 0 => {
                let (header, condition) = (Some(stream.header.clone()), context.options.condition);
                Upload::begin(self.connection()?, &context.key, header, condition)?
                    .wait_until_open()?;
            }
            ResumeAnswer::Nothing => return Err(Error::NotStored),
            ResumeAnswer::Open => {
                let mut upload = Upload::attach(self.connection()?);
                let mut held = 0;
                for slices in stream.slices.chunks(CLAIM_MAX_SLICES) {
                    let answered = upload.claim(slices)?;
                    held += answered;
                    if answered < slices.len() {
                        break;
                    }
                }
                if held < stream.held() {
                    return Err(Error::NotStored);
                }
                stream.confirm(held);
            }
        }
        Ok(None)
    }
}

impl StreamUpload {
    /// Sends everything that the server does not hold, up to the footer.
    fn send_all(
        &mut self,
        upload: &mut Upload<'_>,
        held_before: usize,
        context: &PutContext<'_>,
    ) -> Result<(), Error> {
        self.send_unconfirmed(upload, 0)?;
        while self.end.is_none() {
            self.confirm(held_before + upload.held());
            // All buffers of the sealer are waiting for confirmation.
            while self.stage.pieces.is_empty() && self.unconfirmed.len() >= SEALED_BUFFERS {
                upload.receive_answer()?;
                self.confirm(held_before + upload.held());
            }
            match upload.next_piece(&self.stage.pieces)?? {
                SealedPiece::Header(_) => return Err(Error::Incomplete),
                SealedPiece::Part { ciphertext, digest, plaintext_bytes } => {
                    context.progress.advance(plaintext_bytes);
                    self.push(ciphertext, digest);
                    self.send_unconfirmed(upload, self.unconfirmed.len() - 1)?;
                }
                SealedPiece::Footer(footer) => {
                    let generation = Header::parse(&self.header.bytes)?.generation();
                    let seen = Seen { generation, transcript: footer.transcript };
                    // From here on everything was sent or is in memory.
                    self.end = Some(StreamEnd { seen, length: footer.total_length });
                    let first = self.unconfirmed.len();
                    for piece in footer.bytes.chunks(SLICE_BYTES) {
                        self.push(piece.to_vec(), Digest::of(piece));
                    }
                    self.send_unconfirmed(upload, first)?;
                }
            }
        }
        Ok(())
    }
}
