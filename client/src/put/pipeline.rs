//! The first two stages of a put, each on its own thread: reading and sealing.
//!
//! Each stage sends either its next piece or the reason why there is none, so no status has to be
//! queried afterwards. A reader that may be blocked on a slow pipe is not joined: its thread ends
//! with the process.

use std::{io, thread::JoinHandle};

use crossbeam_channel::{Receiver, Sender, bounded};
use zput_os::threads;
use zput_proto::digest::Digest;
use zput_seal::{
    blob::seal::{SealedFooter, SealedPart, Sealer},
    chunked::sealed_len,
};

use crate::{
    error::Error,
    io::source::{Source, SourceError},
    memory::reserve,
    random,
    state::journal::{JournalWriter, JournaledPart},
};

/// Buffers between two stages: one is filled while the other is emptied.
const BUFFERS: usize = 2;

/// The output of a stage, and the channel that returns its buffers.
pub(crate) struct Stage<T> {
    /// The pieces, in order.
    pub(crate) pieces: Receiver<T>,
    /// Returns an emptied buffer to the stage.
    pub(crate) recycled: Sender<Vec<u8>>,
    /// A piece that was received before its turn.
    peeked: Option<T>,
    thread: JoinHandle<()>,
}

impl<T, E> Stage<Result<T, E>> {
    /// Waits for the first piece and keeps it for the receiver.
    ///
    /// # Errors
    /// The error that the stage sent instead of a piece.
    pub(crate) fn wait_first(&mut self) -> Result<(), Error>
    where
        E: Into<Error>,
    {
        let first = self.pieces.recv().map_err(|_| Error::Incomplete)?;
        self.peeked = Some(Ok(first.map_err(Into::into)?));
        Ok(())
    }
}

impl<T> Stage<T> {
    /// The next piece; `None` after the last one.
    fn next(&mut self) -> Option<T> {
        self.peeked.take().or_else(|| self.pieces.recv().ok())
    }

    /// Waits until the stage's thread has dropped everything. Only for sources that do not block.
    pub(crate) fn join(self) {
        drop((self.pieces, self.recycled, self.peeked));
        // A panic was reported when it happened.
        let _panicked = self.thread.join();
    }
}

/// A part of the plaintext.
pub(crate) struct PlaintextPart {
    pub(crate) plaintext: Vec<u8>,
    /// BLAKE3 of the plaintext, if the source has computed it.
    pub(crate) digest: Option<Digest>,
    /// Whether this is the last part, after which the source has confirmed that it did not change.
    pub(crate) is_last: bool,
}

/// A piece of the sealed object.
pub(crate) enum SealedPiece {
    /// The header, sent once the first part was read.
    Header(Vec<u8>),
    /// A sealed part, its BLAKE3 digest, and the bytes of plaintext in it.
    Part { ciphertext: Vec<u8>, digest: Digest, plaintext_bytes: u64 },
    /// The footer, after the last part.
    Footer(SealedFooter),
}

/// How a blob is sealed.
pub(crate) struct SealJob {
    pub(crate) sealer: Sealer,
    /// Parts of a resumed upload. The server has its header, so the header is not sent.
    pub(crate) resumed: Option<ResumedParts>,
    /// Records each part before it is sent.
    pub(crate) journal: Option<JournalWriter>,
    /// Whether the header is the first piece.
    with_header: bool,
    /// Number of buffers for sealed parts.
    buffers: usize,
}

impl SealJob {
    /// A blob from its beginning, without a journal.
    pub(crate) fn new(sealer: Sealer) -> Self {
        Self { sealer, resumed: None, journal: None, with_header: true, buffers: BUFFERS }
    }

    /// The same, with a journal if there is one.
    pub(crate) fn with_journal(self, journal: Option<JournalWriter>) -> Self {
        Self { journal, ..self }
    }

    /// The same for a blob whose header was sent already, with this many buffers for sealed parts.
    pub(crate) fn after_header(self, buffers: usize) -> Self {
        Self { with_header: false, buffers, ..self }
    }

    /// A resumed blob, of which some parts were sealed before.
    pub(crate) fn resume(
        sealer: Sealer,
        resumed: ResumedParts,
        journal: Option<JournalWriter>,
    ) -> Self {
        Self { sealer, resumed: Some(resumed), journal, with_header: false, buffers: BUFFERS }
    }
}

/// What is known of the parts that the server holds.
#[derive(Clone, Copy, Debug)]
pub(crate) enum HeldParts {
    /// The server holds at least this many of the first parts.
    AtLeast(usize),
    /// The server holds no more than the count sent last. The parts after it are sealed again.
    Final,
}

/// Parts that were sealed by an earlier put.
pub(crate) struct ResumedParts {
    pub(crate) parts: Vec<SealedPart>,
    /// The server's counts. If the channel closes before [`HeldParts::Final`], the count is unknown
    /// and sealing stops.
    pub(crate) held: Receiver<HeldParts>,
    /// Number of parts known to be held so far; starts at 0.
    pub(crate) known: usize,
}

/// Reads `source` in parts of `part_bytes`. The last part is shorter and is sent after the source
/// has confirmed that it did not change.
pub(crate) fn spawn_reader(
    mut source: impl Source + 'static,
    part_bytes: usize,
) -> io::Result<Stage<Result<PlaintextPart, SourceError>>> {
    spawn_stage("read", BUFFERS, move |pieces, buffers| {
        for mut plaintext in buffers {
            let read = source.read_part(&mut plaintext, part_bytes).and_then(|()| {
                let is_last = plaintext.len() < part_bytes;
                if is_last {
                    source.finish()?;
                }
                Ok(PlaintextPart { plaintext, digest: source.part_digest(), is_last })
            });
            let is_done = read.as_ref().map_or(true, |part| part.is_last);
            if pieces.send(read).is_err() || is_done {
                return;
            }
        }
    })
}

/// Seals the parts that `read` sends; `finish` makes the footer.
pub(crate) fn spawn_sealer(
    sealing: SealJob,
    mut read: Stage<Result<PlaintextPart, SourceError>>,
    finish: impl FnOnce(Sealer) -> Result<SealedFooter, Error> + Send + 'static,
) -> io::Result<Stage<Result<SealedPiece, Error>>> {
    spawn_stage("seal", sealing.buffers, move |pieces, buffers| {
        match seal_all(sealing, &mut read, &pieces, &buffers, finish) {
            // The source has ended, so the reader does not block. Joining it frees its buffers
            // before the next put.
            Ok(()) => read.join(),
            // The receiver may be gone.
            Err(StopReason::Error(error)) => drop(pieces.send(Err(error))),
            Err(StopReason::Disconnected) => {}
        }
    })
}

/// Why sealing stopped.
enum StopReason {
    Error(Error),
    /// The receiver is gone, or the reader has sent its own error.
    Disconnected,
}

impl<E: Into<Error>> From<E> for StopReason {
    fn from(error: E) -> Self {
        Self::Error(error.into())
    }
}

fn seal_all(
    SealJob { mut sealer, mut resumed, journal, mut with_header, .. }: SealJob,
    read: &mut Stage<Result<PlaintextPart, SourceError>>,
    pieces: &Sender<Result<SealedPiece, Error>>,
    buffers: &Receiver<Vec<u8>>,
    finish: impl FnOnce(Sealer) -> Result<SealedFooter, Error>,
) -> Result<(), StopReason> {
    let send_piece = |piece| pieces.send(Ok(piece)).map_err(|_| StopReason::Disconnected);
    loop {
        let PlaintextPart { plaintext, digest: known, is_last } =
            read.next().ok_or(StopReason::Disconnected)??;
        if std::mem::take(&mut with_header) {
            send_piece(SealedPiece::Header(sealer.header().to_vec()))?;
        }
        let index = sealer.parts();
        match resumed.as_mut().map_or(Ok(None), |resumed| resumed.next(index))? {
            Some(part) => sealer.adopt_part(&plaintext, &part)?,
            None => {
                if resumed.take().is_some()
                    && let Some(journal) = &journal
                {
                    journal.truncate(index);
                }
                let mut ciphertext = buffers.recv().map_err(|_| StopReason::Disconnected)?;
                reserve(&mut ciphertext, sealed_len(plaintext.len() as u64))?;
                let digest =
                    sealer.seal_part(&plaintext, &mut random::os_rng(), &mut ciphertext)?;
                if let Some(journal) = &journal {
                    let of_plaintext = || known.unwrap_or_else(|| Digest::of(&plaintext));
                    let digests = SealedPart { plaintext: of_plaintext(), ciphertext: digest };
                    let length = ciphertext.len() as u64;
                    journal.append_part(index, &JournaledPart { length, digests });
                }
                let plaintext_bytes = plaintext.len() as u64;
                send_piece(SealedPiece::Part { ciphertext, digest, plaintext_bytes })?;
            }
        }
        // The send fails once the reader has taken its last buffer.
        let _disconnected = read.recycled.send(plaintext);
        if is_last {
            let parts = sealer.parts();
            let footer = finish(sealer)?;
            if let Some(journal) = &journal {
                journal.append_footer(parts, footer.total_length, &footer.transcript);
            }
            return send_piece(SealedPiece::Footer(footer));
        }
    }
}

impl ResumedParts {
    /// The recorded part `index` if the server holds it, `None` if it has to be sealed. Waits until
    /// that is known.
    fn next(&mut self, index: u64) -> Result<Option<SealedPart>, StopReason> {
        let found = usize::try_from(index).ok().and_then(|i| Some((i, *self.parts.get(i)?)));
        let Some((index, part)) = found else { return Ok(None) };
        while index >= self.known {
            match self.held.recv() {
                Ok(HeldParts::AtLeast(count)) => self.known = count,
                Ok(HeldParts::Final) => return Ok(None),
                Err(_) => return Err(StopReason::Disconnected),
            }
        }
        Ok(Some(part))
    }
}

/// Runs `work` on a new thread with the sender for its pieces and the receiver of returned buffers.
fn spawn_stage<T: Send + 'static>(
    name: &str,
    buffers: usize,
    work: impl FnOnce(Sender<T>, Receiver<Vec<u8>>) + Send + 'static,
) -> io::Result<Stage<T>> {
    let (pieces_in, pieces) = bounded(1);
    let (recycled, to_fill) = bounded(buffers);
    for _ in 0..buffers {
        // The channel has capacity for exactly this many.
        let _has_capacity = recycled.try_send(Vec::new());
    }
    let thread = threads::spawn(name, move || work(pieces_in, to_fill))?;
    Ok(Stage { pieces, recycled, peeked: None, thread })
}
