//! A put of what can be read only once: a pipe, a command's output.
//!
//! It has no journal. But what the server has not said to hold is still in memory, and the server keeps what it holds of an
//! upload whose connection ends (PROTOCOL 5, "Resume"): so another connection goes on where the first one ended. What is
//! sent again is the same ciphertext; nothing is sealed twice.

use std::collections::VecDeque;

use zput_common::{
    blob::{header::Header, open::Seen},
    digest::Digest,
    limits::CLAIM_MAX_SLICES,
    proto::message::{ClaimedSlice, HeaderSlice},
};

use super::{
    PutReceipt, Target,
    attempt::{Committed, Failed, SealedStage, new_sealer},
};
use crate::{
    client::Client,
    error::ClientError,
    notice::Event,
    retry::{Tries, may_pass},
    seal::{self, Sealed, Sealing},
    send::{Resumed, SLICE_BYTES, Upload, abort},
    source::Source,
};

/// Sealed parts that are in memory at once: one is sealed, while two are on their way and not answered. With two parts of
/// plaintext that makes 80 MiB.
const SEALED_BUFFERS: usize = 3;

/// What was sealed of a stream, and how far it has come.
struct Stream {
    header: HeaderSlice,
    stage: SealedStage,
    /// All slices behind the header that were sent.
    slices: Vec<ClaimedSlice>,
    /// The bytes of the last of them, which the server has not said to hold.
    kept: VecDeque<Vec<u8>>,
    end: Option<End>,
    /// Whether a commit was sent.
    is_committed: bool,
}

/// What the footer says.
#[derive(Clone, Copy)]
struct End {
    seen: Seen,
    /// Bytes of plaintext.
    length: u64,
}

impl Stream {
    /// How many of the slices the server has said to hold.
    fn held(&self) -> usize {
        self.slices.len() - self.kept.len()
    }

    /// The server holds so many of the slices.
    fn release(&mut self, held: usize) {
        while self.held() < held
            && let Some(buffer) = self.kept.pop_front()
        {
            // The sealer may have had its last buffer.
            let _kept = self.stage.emptied.send(buffer);
        }
    }

    /// One more slice, which is to be sent.
    fn keep(&mut self, bytes: Vec<u8>, digest: Digest) {
        // A slice has at most 16 MiB and a little.
        self.slices.push(ClaimedSlice { length: bytes.len() as u32, digest });
        self.kept.push_back(bytes);
    }

    /// Sends what is kept, but for the `first` ones, which were sent.
    fn send_kept(&self, upload: &mut Upload<'_>, first: usize) -> Result<(), ClientError> {
        let slices = self.slices.iter().skip(self.held());
        for (bytes, slice) in self.kept.iter().zip(slices).skip(first) {
            upload.slice(bytes, slice.digest)?;
        }
        Ok(())
    }

    /// What the user is told: a stream cannot be read again.
    fn lost(&self, error: ClientError) -> ClientError {
        match error {
            error if self.is_committed && may_pass(&error) => {
                ClientError::Unanswered(Box::new(error))
            }
            error @ ClientError::Damaged { .. } => ClientError::StreamLost(Box::new(error)),
            error if may_pass(&error) => ClientError::StreamLost(Box::new(error)),
            error => error,
        }
    }
}

impl Client {
    /// Puts `source`, which can be read only once.
    pub(super) fn put_once(
        &mut self,
        target: &Target<'_>,
        source: Box<dyn Source>,
    ) -> Result<PutReceipt, ClientError> {
        let mut stream = self.begin_stream(target, source)?;
        let (mut tries, mut is_open, mut most_held) = (Tries::default(), true, 0);
        loop {
            let error = match self.send_stream(target, &mut stream, is_open) {
                Ok(committed) => return self.stored(target, &committed),
                Err(error) => error,
            };
            is_open = false;
            if stream.held() > most_held {
                most_held = stream.held();
                tries.progressed();
            }
            let can_go_on = may_pass(&error) && !matches!(error, ClientError::Overtaken { .. });
            let paused = if can_go_on {
                self.hang_up();
                self.pause(&mut tries, Some(target.name.as_str()), error)
            } else {
                self.recover(&error, abort);
                Err(error)
            };
            if let Err(error) = paused {
                let failed = Failed::from(error).having_begun(&stream.header);
                self.forget_begun(target, failed.begun);
                return Err(stream.lost(failed.error));
            }
        }
    }

    /// Begins to seal it, once the server has taken its header. Nobody is called before the stream could be read, and nothing
    /// is sealed before the server says that it is the newest.
    fn begin_stream(
        &mut self,
        target: &Target<'_>,
        source: Box<dyn Source>,
    ) -> Result<Stream, ClientError> {
        target.progress.begin(source.length());
        let attributes = source.attributes();
        let mut read = seal::read(source, seal::PART_BYTES).map_err(ClientError::Thread)?;
        read.begins()?;
        let (sealer, header) = loop {
            let sealer = new_sealer(self.key_file(), self.record(), target, attributes)?;
            let header = HeaderSlice::of(sealer.header().to_vec());
            match self.open_patiently(target, Some(&header)) {
                Err(error) if target.takes_note(&error) => {}
                opened => {
                    opened?;
                    break (sealer, header);
                }
            }
        };
        let sealing = Sealing::new(sealer).behind_header(SEALED_BUFFERS);
        let stage = self.seal(sealing, read)?;
        let (slices, kept) = (Vec::new(), VecDeque::new());
        Ok(Stream { header, stage, slices, kept, end: None, is_committed: false })
    }

    /// Sends what is in memory and what follows, and commits it.
    fn send_stream(
        &mut self,
        target: &Target<'_>,
        stream: &mut Stream,
        is_open: bool,
    ) -> Result<Committed, ClientError> {
        if !is_open && let Some(committed) = self.reopen(target, stream)? {
            return Ok(committed);
        }
        let record = self.record().clone();
        let mut upload = Upload::opened(self.connection()?);
        let held_before = stream.held();
        let sent = stream.send_all(&mut upload, held_before, target);
        stream.release(held_before + upload.held());
        sent?;
        let Some(End { seen, length }) = stream.end else { return Err(ClientError::Incomplete) };
        if let Some(Seen { generation: there, .. }) = record.newest(&target.key)?
            && there >= seen.generation
        {
            return Err(ClientError::Overtaken { there });
        }
        stream.is_committed = true;
        let version = upload.commit()?;
        Ok(Committed { version, seen, length })
    }

    /// Opens the upload again, and hears how much of it is there. Gives what it became, if it was committed.
    fn reopen(
        &mut self,
        target: &Target<'_>,
        stream: &mut Stream,
    ) -> Result<Option<Committed>, ClientError> {
        match self.resume(target, stream.header.clone())? {
            Resumed::Committed(version) => {
                let Some(End { seen, length }) = stream.end else {
                    let what = "that it committed what it never was told to";
                    return Err(self.connection()?.unexpected(what).into());
                };
                self.tell(&target.notice(Event::WasStored(version)));
                return Ok(Some(Committed { version, seen, length }));
            }
            // It was too little to be kept. All of it may be here.
            Resumed::Nothing if stream.held() == 0 => {
                let (header, condition) = (Some(stream.header.clone()), target.options.condition);
                Upload::begin(self.connection()?, &target.key, header, condition)?.hear_begun()?;
            }
            Resumed::Nothing => return Err(ClientError::NotStored),
            Resumed::Open => {
                let mut upload = Upload::opened(self.connection()?);
                let mut held = 0;
                for slices in stream.slices.chunks(CLAIM_MAX_SLICES) {
                    let now = upload.claim(slices)?;
                    held += now;
                    if now < slices.len() {
                        break;
                    }
                }
                if held < stream.held() {
                    return Err(ClientError::NotStored);
                }
                stream.release(held);
            }
        }
        Ok(None)
    }
}

impl Stream {
    /// Sends all that the server does not hold, to the footer.
    fn send_all(
        &mut self,
        upload: &mut Upload<'_>,
        held_before: usize,
        target: &Target<'_>,
    ) -> Result<(), ClientError> {
        self.send_kept(upload, 0)?;
        while self.end.is_none() {
            self.release(held_before + upload.held());
            // The sealer has no buffer but those that the server has to say something about.
            while self.stage.pieces.is_empty() && self.kept.len() >= SEALED_BUFFERS {
                upload.hear()?;
                self.release(held_before + upload.held());
            }
            match upload.next_piece(&self.stage.pieces)?? {
                Sealed::Header(_) => return Err(ClientError::Incomplete),
                Sealed::Part { ciphertext, digest, plaintext_bytes } => {
                    target.progress.advance(plaintext_bytes);
                    self.keep(ciphertext, digest);
                    self.send_kept(upload, self.kept.len() - 1)?;
                }
                Sealed::Footer(footer) => {
                    let generation = Header::parse(&self.header.bytes)?.generation();
                    let seen = Seen { generation, transcript: footer.transcript };
                    // From now on all that there is was sent, or is here to be sent.
                    self.end = Some(End { seen, length: footer.total_length });
                    let first = self.kept.len();
                    for piece in footer.bytes.chunks(SLICE_BYTES) {
                        self.keep(piece.to_vec(), Digest::of(piece));
                    }
                    self.send_kept(upload, first)?;
                }
            }
        }
        Ok(())
    }
}
