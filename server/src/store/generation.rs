//! Which generation a sealed object may have (PROTOCOL 5, "Generations").
//!
//! A reader takes a generation that is lower than one it has seen, or the same of another blob, for a rollback
//! (FORMAT 9, step 6). So that honest machines whose clocks differ never cause that, each object that becomes current
//! is above what was current before it: above the current version, and above the newest of those that were
//! replaced or deleted. What lies further ahead of this server's clock than clocks differ is refused: everybody
//! after it would have to go beyond it.

use zput_common::{blob::envelope, name::ObjectKey};

use super::{
    Store,
    error::{Flaw, StoreError},
    object::Object,
};

/// How far a generation may lie ahead of the server's clock: a day, more than a clock in a wrong time zone is off.
const AHEAD_MAX_NS: u64 = 24 * 60 * 60 * 1_000_000_000;

/// Whether an object with this header may become current where these versions were.
///
/// # Errors
/// [`StoreError::Older`] when one of `before` has as high a generation and is another blob; [`StoreError::Ahead`].
pub(super) fn check(now_ns: u64, header: &[u8], before: &[&Object]) -> Result<(), StoreError> {
    let generation = envelope::generation(header).map_err(Flaw::from)?;
    // Versions are times of this server's clock, which may have been set back since.
    let clock_ns = before.iter().map(|object| object.version().0).fold(now_ns, u64::max);
    let most = clock_ns.saturating_add(AHEAD_MAX_NS);
    let (mut highest, mut in_the_way) = (0, None);
    for object in before {
        // A header that says nothing, or is of an unsealed object, keeps nobody from replacing it.
        let Some(there) = object.read_header()? else { continue };
        let Ok(its) = envelope::generation(&there) else { continue };
        // Readers do not remember what is beyond all clocks, so nothing has to be above it.
        if its > most {
            continue;
        }
        highest = highest.max(its);
        if its > generation || (its == generation && there != header) {
            in_the_way = in_the_way.max(Some(its));
        }
    }
    if let Some(there) = in_the_way {
        return Err(StoreError::Older { there });
    }
    // What was taken once can be followed, also when the clock was set back since.
    if generation > most.max(highest.saturating_add(1)) {
        return Err(StoreError::Ahead { clock_ns });
    }
    Ok(())
}

/// Spares a client the sending of an object whose generation cannot be taken. No lock is waited for: what this
/// overlooks, the commit finds.
///
/// # Errors
/// As of [`check`].
pub(super) fn refuse_hopeless(
    store: &Store,
    key: &ObjectKey,
    header: &[u8],
) -> Result<(), StoreError> {
    let now_ns = store.clock().now_ns();
    match store.lookup(key, None) {
        Ok(current) => check(now_ns, header, &[&current]),
        Err(_) => check(now_ns, header, &[]),
    }
}
