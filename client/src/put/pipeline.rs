//! The first two stages of a put, each on a thread of its own: what reads and what seals.
//!
//! Each stage hands on either its next piece or the reason why there is none; nobody has to be asked
//! afterwards. The threads are not waited for where they may be stuck in the read of a slow pipe: those end
//! with the process.

use std::{io, thread::JoinHandle};

use crossbeam_channel::{Receiver, Sender, bounded};
use zput_common::{
    blob::seal::{SealedFooter, SealedPart, Sealer},
    chunked::sealed_len,
    digest::Digest,
};
use zput_server::threads;

use crate::{
    error::ClientError,
    journal::{JournaledPart, Rows},
    memory::reserve,
    random,
    source::{Source, SourceError},
};

/// Buffers between two stages: one is filled while the other is emptied.
const BUFFERS: usize = 2;

/// Plaintext bytes of a full part: [`PartSize::MAX`](zput_common::blob::layout::PartSize::MAX).
pub(crate) const PART_BYTES: usize = 16 * 1024 * 1024;

/// A stage's output, and the way back for its buffers.
pub(crate) struct Stage<T> {
    /// The pieces, in order.
    pub(crate) pieces: Receiver<T>,
    /// Where a buffer goes when it is empty again.
    pub(crate) emptied: Sender<Vec<u8>>,
    /// One that was looked at before its turn.
    early: Option<T>,
    thread: JoinHandle<()>,
}

impl<T, E> Stage<Result<T, E>> {
    /// Waits until there is a first piece.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) fn begins(&mut self) -> Result<(), ClientError>
    where
        E: Into<ClientError>,
    {
        let first = self.pieces.recv().map_err(|_| ClientError::Incomplete)?;
        self.early = Some(Ok(first.map_err(Into::into)?));
        Ok(())
    }
}

impl<T> Stage<T> {
    /// The next piece; none when there are no more.
    fn next(&mut self) -> Option<T> {
        self.early.take().or_else(|| self.pieces.recv().ok())
    }

    /// Waits until its thread has let go of everything. For sources that do not keep it waiting.
    pub(crate) fn join(self) {
        drop((self.pieces, self.emptied, self.early));
        // A panic was told of when it happened, and left nothing to be handed on.
        let _ended = self.thread.join();
    }
}

/// A part of the plaintext.
pub(crate) struct Part {
    pub(crate) plaintext: Vec<u8>,
    /// BLAKE3 of it, where the source has it.
    pub(crate) digest: Option<Digest>,
    /// The source stood by everything.
    pub(crate) is_last: bool,
}

/// A piece of the sealed object.
pub(crate) enum Sealed {
    /// The header, once the first part could be read.
    Header(Vec<u8>),
    /// A part and its digest; so many bytes of plaintext are in it.
    Part { ciphertext: Vec<u8>, digest: Digest, plaintext_bytes: u64 },
    /// Everything is sealed.
    Footer(SealedFooter),
}

/// What a blob is sealed with.
pub(crate) struct Sealing {
    pub(crate) sealer: Sealer,
    /// The parts that were sealed before; with them the header is there already, and not handed on.
    pub(crate) before: Option<Before>,
    /// Where each part is noted before it is handed on.
    pub(crate) journal: Option<Rows>,
    /// Whether the header is handed on first.
    with_header: bool,
    /// Buffers for what is sealed.
    buffers: usize,
}

impl Sealing {
    /// A blob from its beginning, without a journal.
    pub(crate) fn new(sealer: Sealer) -> Self {
        Self { sealer, before: None, journal: None, with_header: true, buffers: BUFFERS }
    }

    /// The same, with a journal, if there is one.
    pub(crate) fn noted_in(self, journal: Option<Rows>) -> Self {
        Self { journal, ..self }
    }

    /// The same, where the header is on its way already; with so many buffers for what is sealed.
    pub(crate) fn behind_header(self, buffers: usize) -> Self {
        Self { with_header: false, buffers, ..self }
    }

    /// A blob of which `before` was sealed.
    pub(crate) fn going_on(sealer: Sealer, before: Before, journal: Option<Rows>) -> Self {
        Self { sealer, before: Some(before), journal, with_header: false, buffers: BUFFERS }
    }
}

/// What is known of the parts that a server holds.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Held {
    /// So many of the first ones, at least.
    AtLeast(usize),
    /// No more than was said. Those behind are sealed again.
    NoMore,
}

/// Parts that were sealed before.
pub(crate) struct Before {
    pub(crate) parts: Vec<SealedPart>,
    /// How many of the first ones the server says it holds. Where it ends without a last word nobody knows, and nothing
    /// is sealed again.
    pub(crate) held: Receiver<Held>,
    /// As far as it is known by now; 0 at first.
    pub(crate) known: usize,
}

/// Reads `source` part by part; the last is short and comes when the source stood by all of it.
pub(crate) fn read(
    mut source: impl Source + 'static,
    part_bytes: usize,
) -> io::Result<Stage<Result<Part, SourceError>>> {
    stage("read", BUFFERS, move |pieces, buffers| {
        for mut plaintext in buffers {
            let read = source.read_part(&mut plaintext, part_bytes).and_then(|()| {
                let is_last = plaintext.len() < part_bytes;
                if is_last {
                    source.finish()?;
                }
                Ok(Part { plaintext, digest: source.part_digest(), is_last })
            });
            let is_over = read.as_ref().map_or(true, |part| part.is_last);
            if pieces.send(read).is_err() || is_over {
                return;
            }
        }
    })
}

/// Seals what `read` gives; `finish` makes the footer.
pub(crate) fn seal(
    sealing: Sealing,
    mut read: Stage<Result<Part, SourceError>>,
    finish: impl FnOnce(Sealer) -> Result<SealedFooter, ClientError> + Send + 'static,
) -> io::Result<Stage<Result<Sealed, ClientError>>> {
    stage("seal", sealing.buffers, move |pieces, buffers| {
        match seal_all(sealing, &mut read, &pieces, &buffers, finish) {
            // It gave its last part: it does not keep anybody waiting, nor its buffers from the next put.
            Ok(()) => read.join(),
            // Nobody may be there to hear of it.
            Err(Stopped::By(error)) => drop(pieces.send(Err(error))),
            Err(Stopped::Quietly) => {}
        }
    })
}

/// Why nothing more is sealed.
enum Stopped {
    By(ClientError),
    /// Whoever received the pieces gave up, or the reader has said why it gives none.
    Quietly,
}

impl<E: Into<ClientError>> From<E> for Stopped {
    fn from(error: E) -> Self {
        Self::By(error.into())
    }
}

fn seal_all(
    Sealing { mut sealer, mut before, journal, mut with_header, .. }: Sealing,
    read: &mut Stage<Result<Part, SourceError>>,
    pieces: &Sender<Result<Sealed, ClientError>>,
    buffers: &Receiver<Vec<u8>>,
    finish: impl FnOnce(Sealer) -> Result<SealedFooter, ClientError>,
) -> Result<(), Stopped> {
    let hand_on = |piece| pieces.send(Ok(piece)).map_err(|_| Stopped::Quietly);
    loop {
        let Part { plaintext, digest: known, is_last } = read.next().ok_or(Stopped::Quietly)??;
        if std::mem::take(&mut with_header) {
            hand_on(Sealed::Header(sealer.header().to_vec()))?;
        }
        let index = sealer.parts();
        match before.as_mut().map_or(Ok(None), |before| before.next(index))? {
            Some(part) => sealer.adopt_part(&plaintext, &part)?,
            None => {
                if before.take().is_some()
                    && let Some(journal) = &journal
                {
                    journal.cut(index);
                }
                let mut ciphertext = buffers.recv().map_err(|_| Stopped::Quietly)?;
                reserve(&mut ciphertext, sealed_len(plaintext.len() as u64))?;
                let digest =
                    sealer.seal_part(&plaintext, &mut random::system(), &mut ciphertext)?;
                if let Some(journal) = &journal {
                    let of_plaintext = || known.unwrap_or_else(|| Digest::of(&plaintext));
                    let digests = SealedPart { plaintext: of_plaintext(), ciphertext: digest };
                    let length = ciphertext.len() as u64;
                    journal.note_part(index, &JournaledPart { length, digests });
                }
                let plaintext_bytes = plaintext.len() as u64;
                hand_on(Sealed::Part { ciphertext, digest, plaintext_bytes })?;
            }
        }
        // The reader may have had its last buffer.
        let _kept = read.emptied.send(plaintext);
        if is_last {
            let parts = sealer.parts();
            let footer = finish(sealer)?;
            if let Some(journal) = &journal {
                journal.note_end(parts, footer.total_length, &footer.transcript);
            }
            return hand_on(Sealed::Footer(footer));
        }
    }
}

impl Before {
    /// Part `index`, if the server holds it. Waits until that is known.
    fn next(&mut self, index: u64) -> Result<Option<SealedPart>, Stopped> {
        let found = usize::try_from(index).ok().and_then(|i| Some((i, *self.parts.get(i)?)));
        let Some((index, part)) = found else { return Ok(None) };
        while index >= self.known {
            match self.held.recv() {
                Ok(Held::AtLeast(count)) => self.known = count,
                Ok(Held::NoMore) => return Ok(None),
                Err(_) => return Err(Stopped::Quietly),
            }
        }
        Ok(Some(part))
    }
}

/// Runs `work` on a thread of its own, with the way for its pieces and the buffers that come back.
fn stage<T: Send + 'static>(
    name: &str,
    buffers: usize,
    work: impl FnOnce(Sender<T>, Receiver<Vec<u8>>) + Send + 'static,
) -> io::Result<Stage<T>> {
    let (pieces_in, pieces) = bounded(1);
    let (emptied, empty) = bounded(buffers);
    for _ in 0..buffers {
        // There is room for exactly as many.
        let _fits = emptied.try_send(Vec::new());
    }
    let thread = threads::begin(name, move || work(pieces_in, empty))?;
    Ok(Stage { pieces, emptied, early: None, thread })
}
