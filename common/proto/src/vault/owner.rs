//! The owner rule: which device may replace what another one wrote (FORMAT 14).

use super::certificate::Certificate;
use super::id::PrefixTag;
use super::order::Epoch;
use super::state::State;

/// Whether a device with the certificate `own` and without the scope `replace` may replace a
/// version that was written in an epoch under another certificate; both are `current`.
///
/// Both certificates were found to hold under a charter of this vault; `state` is the one in force.
///
/// FORMAT 14: it "replaces a version only if that version's certificate has the same device, or the
/// same prefix tag, which is not zeros; or if that certificate does not count any more, because the
/// charter in force revokes its device or has left its root (section 12), at the version's epoch".
#[must_use]
pub fn may_replace(own: &Certificate, current: (&Certificate, Epoch), state: &State) -> bool {
    let (theirs, epoch) = current;
    let has_same_device = own.fields().device == theirs.fields().device;
    let has_same_prefix = own.fields().prefix == theirs.fields().prefix
        && own.fields().prefix != PrefixTag::EVERY_NAME;
    has_same_device || has_same_prefix || theirs.check_standing(state, epoch).is_err()
}
