//! Each refused golden charter holds and has one fault in what is sealed, and is refused for it.

use super::*;
use crate::chunked::ChunkError;
use zput_proto::tagged::TaggedError;

/// The files of a folder, by their names without ending.
fn names(folder: &str) -> BTreeSet<String> {
    let files = fs::read_dir(data().join(folder)).unwrap();
    files.map(|file| file.unwrap().path().file_stem().unwrap().to_str().unwrap().into()).collect()
}

#[test]
fn refused_members_are_refused_for_their_one_fault() {
    use MembersError::*;
    let expected = [
        ("other-key", Sealed(ChunkError::CommitmentMismatch)),
        ("other-context", Sealed(ChunkError::CommitmentMismatch)),
        ("public-hash", OtherCharter),
        ("cut", Cut),
        ("excess", Excess(1)),
        ("recipient-above-q", Recipient),
        ("further-31", FurtherCount(31)),
        ("further-type-0", FurtherType(0)),
        ("further-type-3", FurtherType(3)),
        ("further-low-order", Further(1)),
        ("further-hybrid-above-q", Further(0)),
        ("further-order", FurtherOrder),
        ("further-order-of-types", FurtherOrder),
        ("further-twice", FurtherOrder),
        ("further-beyond-end", FurtherType(0)),
        ("history-of-epoch-0", HistoryLength(0)),
        ("history-of-epoch-2", HistoryLength(136)),
        ("history-beyond-end", HistoryLength(0xffff_ffff)),
        ("envelopes-beyond-end", Cut),
        ("extension-critical", Extensions(TaggedError::Critical(0x85))),
        ("extension-order", Extensions(TaggedError::Order(5))),
    ];
    for (name, error) in expected {
        let charter = golden_charter(&format!("members-v2/refused/{name}"));
        let key = golden_member_secret().charter_key();
        assert_eq!(Members::open(&charter, &key), Err(error), "{name}");
        assert!(Owner::open(&charter, &golden_root(0).owner_key()).is_ok(), "{name}");
        assert!(CharterDraft::next(&charter, &golden_root(0), 0).is_err(), "{name}");
    }
    assert_eq!(names("members-v2/refused"), expected.map(|(name, _)| name.to_owned()).into());
}

/// These open, and give the reader no secret of epoch 1, or none of epoch 0.
#[test]
fn refused_epochs_are_refused_for_their_one_fault() {
    use EpochError::*;
    let last = Epoch::new(1);
    let corrupt = ChunkError::ChunkCorrupt { chunk: 0 };
    let expected = [
        ("no-envelope", NoEnvelope(last)),
        ("envelope-of-other-epoch", NoEnvelope(last)),
        ("envelope-without-epoch", NoEnvelope(last)),
        ("envelope-of-other-root", NoEnvelope(last)),
        ("envelope-flipped", Envelope(corrupt)),
        ("secret-of-other-recipient", OtherRecipient(last)),
        ("recipient-of-other-secret", OtherRecipient(last)),
        ("history-other-key", History(ChunkError::CommitmentMismatch)),
        ("history-other-context", History(ChunkError::CommitmentMismatch)),
        ("history-flipped", History(corrupt)),
    ];
    for (name, error) in expected {
        let charter = golden_charter(&format!("members-v2/refused-epochs/{name}"));
        let members = open_members(&charter);
        let secret = members.epoch_secret(&wrap_key(&golden_root(0), READER));
        let epochs = secret.and_then(|secret| members.epochs(secret));
        assert_eq!(epochs, Err(error), "{name}");
        let view = VaultView::of_reader(
            charter,
            &golden_member_secret(),
            &wrap_key(&golden_root(0), READER),
        );
        assert_eq!(view.map(|_| ()), Err(ViewError::Epoch(error)), "{name}");
    }
    let files = names("members-v2/refused-epochs");
    assert_eq!(files, expected.map(|(name, _)| name.to_owned()).into());
}

#[test]
fn refused_owners_are_refused_for_their_one_fault() {
    use OwnerError::*;
    let expected = [
        ("other-key", Sealed(ChunkError::CommitmentMismatch)),
        ("other-context", Sealed(ChunkError::CommitmentMismatch)),
        ("public-hash", OtherCharter),
        ("cut", Cut),
        ("excess", Excess(1)),
        ("wrap-root-of-last-root", WrapRoot(1)),
        ("wrap-root-twice", WrapRootOrder),
        ("wrap-root-of-only-root", WrapRoot(0)),
        ("wrap-roots-beyond-end", Cut),
        ("issued-order", IssuedOrder),
        ("issued-twice", IssuedOrder),
        ("issued-beyond-end", Cut),
        ("issued-root-1", IssuedRoot(1)),
        ("role-5", Role(5)),
        ("label-65", Label),
        ("label-control", Label),
        ("label-not-utf8", Label),
        ("extension-critical", Extensions(TaggedError::Critical(0x85))),
        ("extension-twice", Extensions(TaggedError::Order(5))),
    ];
    for (name, error) in expected {
        let charter = golden_charter(&format!("owner-v2/refused/{name}"));
        let root = golden_root(charter.state().fields().later_roots.len());
        assert_eq!(Owner::open(&charter, &root.owner_key()), Err(error), "{name}");
        let _members = open_members(&charter);
        let draft = CharterDraft::next(&charter, &root, 0).map(|_| ());
        assert_eq!(draft, Err(DraftError::Owner(error)), "{name}");
        let view = VaultView::of_owner(charter, &root).map(|_| ());
        assert_eq!(view, Err(ViewError::Owner(error)), "{name}");
    }
    assert_eq!(names("owner-v2/refused"), expected.map(|(name, _)| name.to_owned()).into());
}

/// Every cut of what is sealed, every longer one, and every changed byte are refused.
#[test]
fn sealed_parts_cut_longer_or_changed_are_refused() {
    let root = golden_root(0);
    let golden = golden_charter("charter-v2/2");
    let key = golden_member_secret().charter_key();
    let (members, owner) = (golden.members(), golden.owner());
    let opens = |members: &[u8], owner: &[u8]| {
        let charter = signed(&golden, members, owner, &root);
        let opened = Members::open(&charter, &key);
        (opened.is_ok(), Owner::open(&charter, &root.owner_key()).is_ok())
    };
    assert_eq!(opens(members, owner), (true, true));
    // The plaintexts, so that each field is met and not the tag alone.
    let plain = key.open(b"members", members).unwrap();
    let plain_owner = root.owner_key().open(b"owner", owner).unwrap();
    let ends = (0..plain.len()).step_by(7).chain(plain.len() - 300..plain.len());
    for length in ends {
        let cut = key.seal(b"members", &plain[..length], &mut rng()).unwrap();
        let length = length.min(plain_owner.len() - 1);
        let cut_owner = root.owner_key().seal(b"owner", &plain_owner[..length], &mut rng());
        assert_eq!(opens(&cut, &cut_owner.unwrap()), (false, false), "{length}");
    }
    for at in [0, 23, 24, 55, 56, members.len() - 17, members.len() - 1] {
        let changed = |bytes: &[u8]| {
            let mut bytes = bytes.to_vec();
            let at = at.min(bytes.len() - 1);
            bytes[at] ^= 1;
            bytes
        };
        assert_eq!(opens(&changed(members), &changed(owner)), (false, false), "{at}");
    }
    assert_eq!(opens(&[members, b"\0"].concat(), &[owner, b"\0"].concat()), (false, false));
    assert_eq!(opens(b"", b""), (false, false));
}
