//! The generations that a sealed object may have (PROTOCOL 5, "Generations").
//!
//! A reader takes a generation that is lower than one it has seen, or the same generation of
//! another blob, for a rollback (FORMAT 9, step 6). Honest machines whose clocks differ must never
//! cause that, so each object that becomes current has a generation above the current version's and
//! above that of the newest version that was replaced or deleted. A generation further ahead of
//! this server's clock than clocks may differ is refused: all later ones would have to be higher
//! still.

use zput_proto::{envelope, name::ObjectKey};

use super::{
    Store,
    error::{FormatViolation, StoreError},
    object::Object,
};

/// How far a generation may be ahead of the server's clock: a day, more than a clock in a wrong
/// time zone is off.
const AHEAD_MAX_NS: u64 = 24 * 60 * 60 * 1_000_000_000;

/// Whether an object with this header may become current where the versions `before` were current.
///
/// # Errors
/// [`StoreError::Older`] when one of `before` is another blob with as high a generation;
/// [`StoreError::Ahead`].
pub(super) fn check(now_ns: u64, header: &[u8], before: &[&Object]) -> Result<(), StoreError> {
    let generation = envelope::generation(header).map_err(FormatViolation::from)?;
    // Version numbers are times of this server's clock, which may have been set back since.
    let clock_ns = before.iter().map(|object| object.version().0).fold(now_ns, u64::max);
    let most = clock_ns.saturating_add(AHEAD_MAX_NS);
    let (mut highest, mut conflicting) = (0, None);
    for object in before {
        // A header that cannot be parsed, or an unsealed object, does not prevent its replacement.
        let Some(there) = object.read_header()? else { continue };
        let Ok(existing) = envelope::generation(&there) else { continue };
        // Readers do not remember a generation beyond all clocks, so the new one need not exceed
        // it.
        if existing > most {
            continue;
        }
        highest = highest.max(existing);
        if existing > generation || (existing == generation && there != header) {
            conflicting = conflicting.max(Some(existing));
        }
    }
    if let Some(there) = conflicting {
        return Err(StoreError::Older { there });
    }
    // A generation that was accepted once can be followed, even if the clock was set back since.
    if generation > most.max(highest.saturating_add(1)) {
        return Err(StoreError::Ahead { clock_ns });
    }
    Ok(())
}

/// Refuses an object whose generation cannot be accepted, before the client sends it. This waits
/// for no lock; a conflict that it misses is found by the commit.
///
/// # Errors
/// Those of [`check`].
pub(super) fn check_early(store: &Store, key: &ObjectKey, header: &[u8]) -> Result<(), StoreError> {
    let now_ns = store.clock().now_ns();
    match store.lookup(key, None) {
        Ok(current) => check(now_ns, header, &[&current]),
        Err(_) => check(now_ns, header, &[]),
    }
}
