//! Charters of format 2 that hold, with any bytes in what they seal.

use rand::{SeedableRng, rngs::StdRng};
use zput_proto::vault::{CharterFields, CharterTag, Epoch, HeldCharter, StateFields, Succession};
use zput_seal::keys::root::RootSecret;

/// The roots of the golden files: 00 to 1F, and 20 to 3F.
pub(crate) fn root(index: u8) -> RootSecret {
    RootSecret::from_bytes(std::array::from_fn(|at| 32 * index + at as u8))
}

/// A random source for salts, the same each time.
pub(crate) fn rng() -> StdRng {
    StdRng::from_seed([7; 32])
}

/// The public part of a charter of this epoch, in a vault whose last root has this index: 0 or 1.
pub(crate) fn public_part(epoch: usize, last_root: u8) -> CharterFields {
    let (first, next) = (root(0).signer(), root(1).signer());
    let succession = || {
        let to_sign = Succession::to_sign(&first.vault_id(), 1, &next.public_key());
        let signature = first.sign(&to_sign);
        Succession { key: next.public_key(), signature, until: Epoch::new(0) }
    };
    let state = StateFields {
        has_clear_names: false,
        past: vec![CharterTag::from_bytes([3; 16]); epoch],
        first_root: first.public_key(),
        later_roots: (0..last_root).map(|_| succession()).collect(),
        revoked: [].into(),
        kept: [].into(),
        extensions: Vec::new(),
    };
    CharterFields { serial: 1, issued: 1, state }
}

/// The plaintext of a sealed part of this charter: its hash, and any bytes behind it.
pub(crate) fn plaintext(fields: &CharterFields, rest: &[u8]) -> Vec<u8> {
    let Ok(hash) = fields.public_hash() else {
        panic!("the state of a fuzzed charter is refused");
    };
    [&hash, rest].concat()
}

/// The charter with these sealed parts; `None` when they are too long.
pub(crate) fn charter(
    fields: &CharterFields,
    members: &[u8],
    owner: &[u8],
    by: &RootSecret,
) -> Option<HeldCharter> {
    let to_sign = fields.to_sign(members, owner).ok()?;
    fields.signed(members, owner, &by.signer().sign(&to_sign)).ok()
}
