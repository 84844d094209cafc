//! A put: source → seal → send → commit.
//!
//! ```text
//! read ──plaintext──▶ seal ──ciphertext, digest──▶ this thread ──slices──▶ server
//!      ◀───buffers───   │  ◀────────buffers───────              ◀─answers─
//!                       ▼
//!                    journal   of a file of several parts: what it takes to go on after an interruption
//! ```
//!
//! Two plaintext and two sealed buffers of one part each are alive, whatever the length. Everything is
//! sent without waiting, up to a window, so a small put is one flight. Nothing is committed unless the
//! source stood by what was read from it.
//!
//! What can be read again is put again after a temporary failure: where a journal knows how far it was, from there.
//! What can be read only once goes on where it was, as long as the server has it or it is still in memory.

mod attempt;
#[path = "batch/worker.rs"]
mod lane;
#[path = "in_doubt.rs"]
mod lost;
#[path = "batch/mod.rs"]
mod many;
mod resume;
mod stream;
mod unsealed;

use std::{
    cell::Cell,
    time::{SystemTime, UNIX_EPOCH},
};

use zput_common::{
    aead::Suite,
    blob::open::Seen,
    keys::Role,
    name::{BlobName, ObjectKey},
    proto::message::{Condition, HeaderSlice, Version},
};

use self::attempt::Failed;
pub use self::many::{JOBS, JOBS_MAX, NamedFile, SMALL_BYTES};
pub(crate) use crate::seal::PART_BYTES;
use crate::{
    client::Client,
    error::ClientError,
    journal::JournalError,
    notice::{Event, Notice},
    progress::Progress,
    retry::Tries,
    send::abort,
    source::Source,
};

/// How a blob is put.
#[derive(Clone, Debug)]
pub struct PutOptions {
    /// Which cipher seals it.
    pub suite: Suite,
    /// What must hold of the version that is there.
    pub condition: Condition,
    /// Whether the SHA-256 of the plaintext is noted in the blob.
    pub sha256: bool,
    /// Stored as it is, sealed to nobody; only on plaintext connections.
    pub unsealed: bool,
    /// What becomes of an interrupted put of this name.
    pub resume: Resume,
    /// Whether a path of several that turns out to be a pipe may give no byte. Other sources know it
    /// themselves.
    pub allow_empty: bool,
}

/// What becomes of an interrupted put of the same file under the same name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Resume {
    /// It is gone on with, if there is one.
    #[default]
    Auto,
    /// It is gone on with; that there is none is an error.
    Insist,
    /// It is given up.
    Never,
}

impl Default for PutOptions {
    fn default() -> Self {
        Self {
            suite: Suite::default(),
            condition: Condition::Any,
            sha256: false,
            unsealed: false,
            resume: Resume::default(),
            allow_empty: false,
        }
    }
}

/// What a put came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutReceipt {
    /// The object.
    pub key: ObjectKey,
    /// Its new version.
    pub version: Version,
    /// The blob's generation; none for an unsealed object.
    pub generation: Option<u64>,
    /// Bytes of plaintext.
    pub length: u64,
}

/// What every attempt has in common.
struct Target<'a> {
    name: &'a BlobName,
    key: ObjectKey,
    options: &'a PutOptions,
    progress: &'a dyn Progress,
    /// The highest generation that the server has said is there; 0 while it has said nothing.
    there: Cell<u64>,
}

impl Client {
    /// Puts what `source` gives under `name`.
    ///
    /// # Errors
    /// When the source does not stand by what was read, the server refuses, or the connection ends.
    /// After an error before the commit the server has nothing that anybody sees; a connection that ends during the
    /// commit leaves the whole blob or nothing.
    pub fn put(
        &mut self,
        name: &BlobName,
        source: impl Source + 'static,
        options: &PutOptions,
        progress: &dyn Progress,
    ) -> Result<PutReceipt, ClientError> {
        let key = self.key_file().object_key(name);
        let target = Target { name, key, options, progress, there: Cell::new(0) };
        let put = if options.unsealed {
            self.put_unsealed(&target, Box::new(source))
        } else {
            self.put_sealed(&target, Box::new(source))
        };
        progress.end();
        put.map_err(|error| error.dated(self.record().now_ns()))
    }

    fn put_sealed(
        &mut self,
        target: &Target<'_>,
        source: Box<dyn Source>,
    ) -> Result<PutReceipt, ClientError> {
        if self.key_file().role() == Role::Get {
            return Err(ClientError::CannotPut(Role::Get));
        }
        let insists = target.options.resume == Resume::Insist;
        let has_parts = source.length().is_some_and(|length| length >= PART_BYTES as u64);
        if source.identity().is_some() && has_parts {
            return match self.journals().lock(&target.key) {
                Ok(Some(journal)) => self.put_journaled(target, &*source, &journal),
                // Another put of this name has it. This one starts over if it is interrupted.
                Ok(None) if insists => Err(ClientError::PutUnderWay),
                Ok(None) => self.put_without(target, source),
                Err(error) if insists => Err(error.into()),
                Err(error) => {
                    self.warn_of_journal(target, error);
                    self.put_without(target, source)
                }
            };
        }
        if insists {
            return Err(ClientError::NothingToResume(None));
        }
        // What was begun under this name was something else.
        // One that cannot be used is no matter of this put.
        if let Ok(Some(journal)) = self.journals().lock_existing(&target.key) {
            self.retrying(Some(target.name.as_str()), |client| match journal.entry()? {
                Some(entry) => {
                    let header = HeaderSlice::of(entry.header);
                    client.give_up(target, header).inspect_err(|_| client.hang_up())
                }
                None => Ok(()),
            })?;
            drop(journal.discard());
        }
        self.put_without(target, source)
    }

    /// A put does not need its journal; unless the user wants none anyhow, it is said what that means.
    fn warn_of_journal(&self, target: &Target<'_>, error: JournalError) {
        if target.options.resume != Resume::Never {
            let error = &ClientError::from(error);
            self.tell(&target.notice(Event::NoJournal { error }));
        }
    }

    /// Puts without a journal: what can be read again, from its start each time.
    fn put_without(
        &mut self,
        target: &Target<'_>,
        source: Box<dyn Source>,
    ) -> Result<PutReceipt, ClientError> {
        if source.identity().is_none() {
            return self.put_once(target, source);
        }
        self.until_stored(target, |client| {
            let again = source.again()?.ok_or(ClientError::Incomplete)?;
            let attempt = client.attempt(target, again, None);
            attempt.inspect_err(|failed| client.recover(&failed.error, abort))
        })
    }

    /// Attempts until one succeeds, or fails for good.
    fn until_stored(
        &mut self,
        target: &Target<'_>,
        mut attempt: impl FnMut(&mut Self) -> Result<PutReceipt, Failed>,
    ) -> Result<PutReceipt, ClientError> {
        let (mut tries, mut sealed_again) = (Tries::default(), 0);
        loop {
            let Failed { error, lost, begun, progressed, .. } = match attempt(self) {
                Ok(receipt) => return Ok(receipt),
                Err(failed) => failed,
            };
            if target.takes_note(&error) && sealed_again < SEALED_AGAIN_MAX {
                // Nobody has to be waited for: sealed above what is there it is the newest.
                sealed_again += 1;
                self.forget_begun(target, begun);
                continue;
            }
            if progressed {
                tries.progressed();
            }
            match lost {
                Some(lost) => {
                    if let Some(committed) = self.settle(target, &lost, &mut tries, Some(error))? {
                        return self.stored(target, &committed);
                    }
                    self.forget_begun(target, begun);
                }
                None => {
                    let paused = self.pause(&mut tries, Some(target.name.as_str()), error);
                    self.forget_begun(target, begun);
                    paused?;
                }
            }
        }
    }

    /// Nobody comes back to an upload that has no journal: the server need not keep it. It goes by itself some day where
    /// that cannot be said.
    fn forget_begun(&mut self, target: &Target<'_>, begun: Option<Box<HeaderSlice>>) {
        if let Some(header) = begun
            && self.give_up(target, *header).is_err()
        {
            self.hang_up();
        }
    }
}

impl<'a> Target<'a> {
    /// Takes note of the generation that a put has to be above. Whether there was news.
    fn takes_note(&self, error: &ClientError) -> bool {
        match error {
            ClientError::Overtaken { there } => self.there.replace(*there) < *there,
            _ => false,
        }
    }

    fn notice(&self, event: Event<'a>) -> Notice<'a> {
        Notice { thing: Some(self.name.as_str()), event }
    }
}

/// How often a put that was overtaken is sealed again at once: each time another one of its name was faster.
const SEALED_AGAIN_MAX: u32 = 3;

/// FORMAT 3: the writer's clock in ns since 1970, or one more than the newest generation it knows for this
/// key, whichever is greater: by its own record, or since the server has said what is `there`.
pub(crate) fn generation_after(
    now: u64,
    newest: Option<Seen>,
    there: u64,
) -> Result<u64, ClientError> {
    let known = newest.map_or(there, |seen| seen.generation.max(there));
    // FORMAT 3: 2^64-1 is none, since nothing could follow it.
    let above = known.checked_add(1).filter(|above| *above < u64::MAX);
    let above = above.ok_or(ClientError::NoLaterGeneration)?;
    Ok(now.max(above))
}

pub(crate) fn now_ns() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use zput_common::blob::transcript::Transcript;

    use super::*;

    #[test]
    fn the_generation_is_above_the_newest_even_when_the_clock_went_back() {
        let seen = |generation| {
            Some(Seen { generation, transcript: Transcript::from_bytes([0; Transcript::BYTES]) })
        };
        let after = |newest, there| generation_after(100, newest, there).ok();
        assert_eq!(after(None, 0), Some(100));
        assert_eq!(after(seen(50), 0), Some(100));
        assert_eq!(after(seen(100), 0), Some(101));
        assert_eq!(after(seen(500), 0), Some(501));
        // What the server says of what is there.
        assert_eq!(after(None, 99), Some(100));
        assert_eq!(after(None, 100), Some(101));
        assert_eq!(after(seen(500), 600), Some(601));
        assert_eq!(after(seen(600), 500), Some(601));
        // Nothing is above the last one.
        assert_eq!(after(seen(u64::MAX), 0), None);
        assert_eq!(after(None, u64::MAX), None);
    }
}
