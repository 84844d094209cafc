//! The first two stages of a put, each on a thread of its own: what reads and what seals.
//!
//! Each stage hands on either its next piece or the reason why there is none; nobody has to be asked
//! afterwards. The threads are not waited for: one that is stuck in the read of a slow pipe ends with
//! the process.

use std::{io, thread};

use crossbeam_channel::{Receiver, Sender, bounded};
use zput_common::{
    blob::seal::{SealedFooter, Sealer},
    digest::Digest,
};

use crate::{
    error::ClientError,
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
}

/// A part of the plaintext.
pub(crate) struct Part {
    pub(crate) plaintext: Vec<u8>,
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

/// Reads `source` part by part; the last is short and comes when the source stood by all of it.
pub(crate) fn read(
    mut source: impl Source + 'static,
    part_bytes: usize,
) -> io::Result<Stage<Result<Part, SourceError>>> {
    let (stage, pieces, buffers) = stage();
    thread::Builder::new().name("read".into()).spawn(move || {
        for mut plaintext in buffers {
            let read = source.read_part(&mut plaintext, part_bytes).and_then(|()| {
                let is_last = plaintext.len() < part_bytes;
                if is_last {
                    source.finish()?;
                }
                Ok(Part { plaintext, is_last })
            });
            let is_over = read.as_ref().map_or(true, |part| part.is_last);
            if pieces.send(read).is_err() || is_over {
                return;
            }
        }
    })?;
    Ok(stage)
}

/// Seals what `read` gives; `finish` makes the footer.
pub(crate) fn seal(
    mut sealer: Sealer,
    read: Stage<Result<Part, SourceError>>,
    finish: impl FnOnce(Sealer) -> Result<SealedFooter, ClientError> + Send + 'static,
) -> io::Result<Stage<Result<Sealed, ClientError>>> {
    let (stage, pieces, buffers) = stage();
    thread::Builder::new().name("seal".into()).spawn(move || {
        let mut is_first = true;
        for mut ciphertext in buffers {
            // A reader that ends without its last part has said why before.
            let Ok(part) = read.pieces.recv() else { return };
            let is_last = part.as_ref().is_ok_and(|part| part.is_last);
            if std::mem::take(&mut is_first) && part.is_ok() {
                let header = Sealed::Header(sealer.header().to_vec());
                if pieces.send(Ok(header)).is_err() {
                    return;
                }
            }
            let sealed = part.map_err(ClientError::from).and_then(|Part { plaintext, .. }| {
                let digest = sealer.seal_part(&plaintext, &mut rand::rng(), &mut ciphertext)?;
                let plaintext_bytes = plaintext.len() as u64;
                // The reader may have had its last buffer.
                let _kept = read.emptied.send(plaintext);
                Ok(Sealed::Part { ciphertext, digest, plaintext_bytes })
            });
            let failed = sealed.is_err();
            if pieces.send(sealed).is_err() || failed {
                return;
            }
            if is_last {
                // Nobody may be there to hear of it.
                let _heard = pieces.send(finish(sealer).map(Sealed::Footer));
                return;
            }
        }
    })?;
    Ok(stage)
}

fn stage<T>() -> (Stage<T>, Sender<T>, Receiver<Vec<u8>>) {
    let (pieces_in, pieces) = bounded(1);
    let (emptied, buffers) = bounded(BUFFERS);
    for _ in 0..BUFFERS {
        // There is room for exactly as many.
        let _fits = emptied.try_send(Vec::new());
    }
    (Stage { pieces, emptied }, pieces_in, buffers)
}
