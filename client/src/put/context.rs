//! What all attempts of one put share.

use std::cell::Cell;

use zput_proto::name::{BlobName, ObjectKey};
use zput_seal::blob::open::Seen;

use super::options::PutOptions;
use crate::{
    error::Error,
    event::{Event, Notice},
    io::progress::Progress,
};

/// What all attempts of one put share.
pub(super) struct PutContext<'a> {
    pub(super) name: &'a BlobName,
    pub(super) key: ObjectKey,
    pub(super) options: &'a PutOptions,
    pub(super) progress: &'a dyn Progress,
    /// The highest generation that the server has reported under this name; 0 before it reported
    /// one.
    pub(super) server_generation: Cell<u64>,
}

impl<'a> PutContext<'a> {
    /// Records the generation that the next attempt has to exceed. Returns whether it is higher
    /// than the one known before.
    pub(super) fn learn_generation(&self, error: &Error) -> bool {
        match error {
            Error::Overtaken { newest } => self.server_generation.replace(*newest) < *newest,
            _ => false,
        }
    }

    pub(super) fn notice(&self, event: Event<'a>) -> Notice<'a> {
        Notice { thing: Some(self.name.as_str()), event }
    }
}

/// FORMAT 3: the writer's clock in ns since 1970, or one more than the newest generation that it
/// knows for this key, whichever is greater. `newest` comes from the rollback guard,
/// `server_generation` from the server; 0 if the server has reported none.
///
/// # Errors
/// [`Error::NoLaterGeneration`] if the known generation is 2^64-2 or higher.
pub(crate) fn generation_after(
    now: u64,
    newest: Option<Seen>,
    server_generation: u64,
) -> Result<u64, Error> {
    let known = newest.map_or(server_generation, |seen| seen.generation.max(server_generation));
    // FORMAT 3: 2^64-1 is not a generation, because nothing could follow it.
    let above = known.checked_add(1).filter(|above| *above < u64::MAX);
    let above = above.ok_or(Error::NoLaterGeneration)?;
    Ok(now.max(above))
}

#[cfg(test)]
mod tests {
    use zput_seal::blob::transcript::Transcript;

    use super::*;

    /// A put's generation is above the newest one seen or reported, whatever the clock says.
    #[test]
    fn generation_after_is_above_the_newest_despite_clock() {
        let seen = |generation| {
            Some(Seen { generation, transcript: Transcript::from_bytes([0; Transcript::BYTES]) })
        };
        let after =
            |newest, server_generation| generation_after(100, newest, server_generation).ok();
        assert_eq!(after(None, 0), Some(100));
        assert_eq!(after(seen(50), 0), Some(100));
        assert_eq!(after(seen(100), 0), Some(101));
        assert_eq!(after(seen(500), 0), Some(501));
        // Generations that the server reported.
        assert_eq!(after(None, 99), Some(100));
        assert_eq!(after(None, 100), Some(101));
        assert_eq!(after(seen(500), 600), Some(601));
        assert_eq!(after(seen(600), 500), Some(601));
        // No generation exceeds the last one.
        assert_eq!(after(seen(u64::MAX), 0), None);
        assert_eq!(after(None, u64::MAX), None);
    }
}
