//! The members' part of a charter: what opens ends where it says, a shorter and a longer one are
//! refused, and the only secret that it gives is that of its recipient.
//!
//! The first byte chooses epoch 0 or 1; the others stand behind the hash.

use zput_proto::vault::{Epoch, HeldCharter};
use zput_seal::{
    keys::{device_v2::DeviceSeed, member::MemberSecret, wrap::WrapKey},
    vault::{Members, VaultView, ViewError},
};

use super::golden_v2::HELD;
use super::sealed_v2::{charter, plaintext, public_part, rng, root};

pub(crate) fn run(input: &[u8]) {
    let Some((choice, fields)) = input.split_first() else {
        return;
    };
    let epoch = choice & 1;
    let Some((members, view)) = open(epoch, fields) else {
        return;
    };
    assert!(open(epoch, &fields[..fields.len() - 1]).is_none(), "a cut one opens");
    assert!(open(epoch, &[fields, b"\0"].concat()).is_none(), "a longer one opens");
    assert!((1..=31).contains(&members.recipients().len()));
    assert!(members.envelopes() * 104 < fields.len());
    if let Ok(secret) = members.epoch_secret(&wrap_key()) {
        assert_eq!(members.recipients()[0], secret.identity().to_recipient());
        // The inputs were sealed for the states of the golden charters.
        let epoch = Epoch::new(epoch.into());
        let is_golden =
            |charter: &HeldCharter| secret == root(0).epoch(epoch, charter.state().digest());
        assert!(HELD.iter().any(is_golden), "a planted secret opens");
    }
    if let Ok(view) = view {
        assert!(view.identity(Epoch::new(epoch.into())).is_some());
        assert!(view.identity(Epoch::new(2)).is_none());
    }
}

fn open(epoch: u8, fields: &[u8]) -> Option<(Members, Result<VaultView, ViewError>)> {
    let public = public_part(epoch.into(), 0);
    let secret = member_secret()?;
    let key = secret.charter_key();
    let sealed = key.seal(b"members", &plaintext(&public, fields), &mut rng()).ok()?;
    let charter = charter(&public, &sealed, b"", &root(0))?;
    let members = Members::open(&charter, &key).ok()?;
    let view = VaultView::of_reader(charter, &secret, &wrap_key());
    Some((members, view))
}

fn member_secret() -> Option<MemberSecret> {
    root(0).member_secret(&root(0).signer().vault_id()).ok()
}

/// That of the golden reader.
fn wrap_key() -> WrapKey {
    let seed = DeviceSeed::from_bytes(std::array::from_fn(|at| 0xa0 + at as u8));
    WrapKey::of(&root(0).wrap_root(), &seed.device())
}
