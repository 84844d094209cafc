//! What each role sees of a vault.

use super::*;
use crate::age::Identity;
use zput_proto::vault::Recipients;

/// The seed of the identity of this epoch, as hex digits.
fn identity(view: &VaultView, epoch: u32) -> Option<String> {
    match view.identity(Epoch::new(epoch))? {
        Identity::MlKem768X25519(seed) => Some(hex::encode(seed.as_bytes())),
        Identity::X25519(_) => panic!("epoch {epoch}"),
    }
}

fn golden_identity(epoch: u32) -> Option<String> {
    Some(GoldenFile::derive().text(&format!("identity_{epoch}")).to_owned())
}

fn reader(name: &str) -> Result<VaultView, ViewError> {
    let key = wrap_key(&golden_root(0), READER);
    VaultView::of_reader(golden_charter(name), &golden_member_secret(), &key)
}

/// Owner and reader have the identities of all epochs, names and MAC keys of the vault.
#[test]
fn view_has_what_opening_needs() {
    let golden = GoldenFile::derive();
    let charter = golden_charter("charter-v2/4-planned");
    let owner = VaultView::of_owner(charter.clone(), &golden_root(1)).unwrap();
    for view in [owner, reader("charter-v2/4-planned").unwrap()] {
        assert_eq!((view.id(), view.charter()), (&golden_vault(), &charter));
        for epoch in 0..3 {
            assert_eq!(identity(&view, epoch), golden_identity(epoch), "{epoch}");
        }
        assert_eq!(view.identity(Epoch::new(3)), None);
        assert_eq!(view.identity(Epoch::new(u32::MAX)), None);
        let recipients = view.recipients();
        assert_eq!(recipients.len(), 2);
        assert_eq!(recipients[0], golden_secret(2).identity().to_recipient());
        let name = golden.bytes("utf8.name");
        let key = view.names().object_key(&name).unwrap();
        assert_eq!(key.as_bytes(), golden.text("utf8.object_key.text").as_bytes());
        let tag = PrefixTag::from_bytes(golden.array("utf8.prefix_tag"));
        assert_eq!(view.names().prefix_tags(&name).collect::<Vec<_>>(), [tag]);
        assert_eq!(view.names().prefix_tag(&golden.bytes("utf8.prefix")), tag);
        let mac = golden.array("vault_mac");
        assert_eq!(view.mac_key().verify(&golden.array("transcript"), &mac), Ok(()));
    }
    // An owner whose root is not the last one is none.
    let old = VaultView::of_owner(charter, &golden_root(0)).map(|_| ());
    assert!(matches!(old, Err(ViewError::Owner(OwnerError::Sealed(_)))));
}

/// A clear name is its own object key, up to 1,024 bytes.
#[test]
fn view_of_clear_names_has_names_as_keys() {
    let root = golden_root(0);
    let charter = CharterDraft::first(&root, true, 1).seal(&mut rng()).unwrap();
    let view = VaultView::of_owner(charter, &root).unwrap();
    for name in [&b"a/b"[..], b"\xff/x", &[b'n'; 1024]] {
        assert_eq!(view.names().object_key(name).unwrap().as_bytes(), name);
    }
    assert!(view.names().object_key(&[b'n'; 1025]).is_err());
    assert!(view.names().object_key(b"").is_err());
    // Where names are sealed, all lengths lead to keys of one length.
    let sealed = reader("charter-v2/2").unwrap();
    assert_eq!(sealed.names().object_key(&[b'n'; 4095]).unwrap().as_bytes().len(), 64);
}

/// FORMAT 13: "A charter without an envelope for the key file leaves it with the epochs that it
/// had".
#[test]
fn view_of_reader_left_out_keeps_earlier_epochs_only() {
    let before = reader("charter-v2/3").unwrap();
    let left = Err(ViewError::Epoch(EpochError::NoEnvelope(Epoch::new(2))));
    assert_eq!(reader("charter-v2/4-theft").map(|_| ()), left);
    let writer =
        |name| VaultView::of_writer(golden_charter(name), &golden_member_secret()).unwrap();
    let view = writer("charter-v2/4-theft");
    assert_eq!(identity(&view, 0), None);
    let view = view.with_identities_of(&before);
    assert_eq!((identity(&view, 0), identity(&view, 1)), (golden_identity(0), golden_identity(1)));
    assert_eq!(identity(&view, 2), None);
    // Not those of a fork, and not instead of its own.
    let fork = writer("charter-v2/3-fork").with_identities_of(&before);
    assert_eq!(identity(&fork, 0), None);
    let own = reader("charter-v2/4-planned").unwrap().with_identities_of(&before);
    assert_eq!(identity(&own, 2), golden_identity(2));
}

/// The member secret of another vault opens nothing.
#[test]
fn view_refuses_member_secret_of_another_vault() {
    let other = MemberSecret::from_bytes([7; 32]);
    let view = VaultView::of_writer(golden_charter("charter-v2/1"), &other).map(|_| ());
    assert!(matches!(view, Err(ViewError::Members(MembersError::Sealed(_)))));
}

/// A charter with the last serial of its epoch is followed by one of the next epoch, and by no
/// other one.
#[test]
fn draft_behind_last_serial_begins_epoch() {
    let root = golden_root(0);
    let mut fields = CharterFields {
        serial: u64::MAX,
        issued: 1,
        state: golden_charter("charter-v2/1").state().fields().clone(),
    };
    let charter = |fields: &CharterFields| {
        let golden = golden_charter("charter-v2/1");
        let hash = fields.public_hash().unwrap();
        let key = golden_member_secret().charter_key();
        let members = open_members(&golden).seal(&hash, &key, &mut rng()).unwrap();
        let owner = Owner::open(&golden, &root.owner_key()).unwrap();
        let owner = owner.seal(&hash, &root.owner_key(), &mut rng()).unwrap();
        let signature = root.signer().sign(&fields.to_sign(&members, &owner).unwrap());
        fields.signed(&members, &owner, &signature).unwrap()
    };
    let last = charter(&fields);
    let draft = || CharterDraft::next(&last, &root, 2).unwrap();
    assert_eq!(draft().seal(&mut rng()).map(|_| ()), Err(DraftError::LastSerial));
    let mut rotated = draft();
    rotated.begin_epoch();
    let rotated = rotated.seal(&mut rng()).unwrap();
    assert_eq!((rotated.serial(), rotated.state().epoch()), (1, Epoch::new(1)));
    fields.serial = u64::MAX - 1;
    let next = CharterDraft::next(&charter(&fields), &root, 2).unwrap();
    assert_eq!(next.seal(&mut rng()).unwrap().serial(), u64::MAX);
}

/// Recipients of one epoch are compared as they stand, since they have one order.
#[test]
fn members_compare_recipients_as_they_stand() {
    let known = open_members(&golden_charter("charter-v2/3"));
    let change = |change: &dyn Fn(&mut Members)| {
        let mut members = known.clone();
        change(&mut members);
        (members.recipients_since(&known), known.recipients_since(&members))
    };
    let (same, changed) = (Recipients::Same, Recipients::Changed);
    let other = golden_secret(0).identity().to_recipient();
    assert_eq!(change(&|_| {}), (same, same));
    assert_eq!(change(&|members| members.recipients.swap(0, 1)), (changed, changed));
    assert_eq!(change(&|members| members.recipients.truncate(1)), (changed, changed));
    assert_eq!(change(&|members| members.recipients.push(other.clone())), (changed, changed));
    assert_eq!(change(&|members| members.recipients[0] = other.clone()), (changed, changed));
    assert_eq!(change(&|members| members.recipients[1] = other.clone()), (changed, changed));
}

/// However an owner names the further recipients, they are written in one order and once, and are
/// the same ones to the next charter.
#[test]
fn draft_writes_further_recipients_in_one_order() {
    let root = golden_root(0);
    let hybrids = [0, 1].map(|epoch| golden_secret(epoch).identity().to_recipient());
    let x25519 = open_members(&golden_charter("charter-v2/3")).recipients[1].clone();
    let [one, two] = hybrids;
    let named = [
        vec![one.clone(), x25519.clone(), two.clone()],
        vec![two.clone(), two.clone(), x25519.clone(), one.clone(), x25519.clone()],
    ];
    let sealed = named.clone().map(|named| {
        let mut draft = CharterDraft::first(&root, false, 1);
        draft.seal_also_for(&named).unwrap();
        let charter = draft.seal(&mut rng()).unwrap();
        // Type 1 stands before type 2.
        let recipients = open_members(&charter).recipients;
        assert_eq!((recipients.len(), &recipients[1]), (4, &x25519));
        (charter, recipients)
    });
    assert_eq!(sealed[0].1, sealed[1].1);
    let mut draft = CharterDraft::next(&sealed[0].0, &root, 2).unwrap();
    draft.seal_also_for(&named[1]).unwrap();
    assert_eq!(draft.epoch(), Epoch::new(0));
}
