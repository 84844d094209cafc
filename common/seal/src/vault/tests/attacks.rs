//! The attacks of `docs/next/DECISIONS.md`, section 5, by their numbers, as far as they are about
//! what charters seal.

use std::time::{Duration, Instant};

use super::*;
use crate::aead::{Engine, Suite};
use crate::chunked::{self, ChunkError, InputKey};
use zput_proto::vault::CharterError;

/// Whether one of these secrets is the key of an envelope, of the history or of a part of the
/// charter, with any context that the page has.
fn opened_by(charter: &HeldCharter, members: &Members, secret: &[u8; 32]) -> Vec<&'static str> {
    let envelopes = members.envelopes.iter().map(|envelope| ("envelope", &envelope[..]));
    let parts = [
        ("history", &members.history[..]),
        ("members", charter.members()),
        ("owner", charter.owner()),
    ];
    let mut contexts: Vec<Vec<u8>> = ["history", "members", "owner"].map(Into::into).into();
    for epoch in 0..=members.epoch().number() {
        contexts.push([&b"envelope"[..], &epoch.to_be_bytes()].concat());
    }
    let (suite, engine) = (Suite::ChaCha20Poly1305, Engine::RustCrypto);
    let opens = |message: &[u8]| {
        contexts.iter().any(|context| {
            let key = InputKey::from_bytes(*secret);
            let opened = chunked::open(suite, engine, &key, context, message);
            assert!(matches!(opened, Ok(_) | Err(ChunkError::CommitmentMismatch)));
            opened.is_ok()
        })
    };
    let all = envelopes.chain(parts).filter(|(_, message)| opens(message));
    all.map(|(name, _)| name).collect()
}

/// The secrets of a key file of this device under root 0 that has M and a wrap key, and all that
/// follows from them and from the secret of epoch 0, by name.
fn key_file(first: u8) -> Vec<(String, [u8; 32])> {
    let golden = GoldenFile::derive();
    let rows = ["M", "name_key", "mac_key", "charter_key", "E_0", "identity_0", "history_key_0"];
    let mut secrets: Vec<_> = rows.map(|row| (row.to_owned(), golden.array(row))).into();
    let seed = seed(first);
    secrets.push(("device_seed".into(), *seed.as_bytes()));
    secrets.push(("tls_seed".into(), *seed.tls_key().as_bytes()));
    secrets.push(("wrap_key".into(), *wrap_key(&golden_root(0), first).as_bytes()));
    secrets
}

/// 17: one who left reads new blobs.
#[test]
fn attack_17_no_secret_of_revoked_key_file_opens_next_epoch() {
    let (before, after) = (golden_charter("charter-v2/2"), golden_charter("charter-v2/3"));
    let host = wrap_key(&golden_root(0), HOST);
    assert_eq!(open_members(&before).epoch_secret(&host), Ok(golden_secret(0)));
    let members = open_members(&after);
    assert_eq!(members.epoch_secret(&host), Err(EpochError::NoEnvelope(Epoch::new(1))));
    // The old secret is not that of the new epoch, whoever it is taken from.
    let old = members.epochs(golden_secret(0));
    assert_eq!(old, Err(EpochError::OtherRecipient(Epoch::new(1))));
    for (name, secret) in key_file(HOST) {
        let opened = opened_by(&after, &members, &secret);
        // Whoever was a member once can read who the recipients are (attack 56).
        let expected: &[&str] = if name == "charter_key" { &["members"] } else { &[] };
        assert_eq!(opened, expected, "{name}");
        let derived = RootSecret::from_bytes(secret).epoch(Epoch::new(1), after.state().digest());
        assert_ne!(derived, golden_secret(1), "{name}");
        assert_ne!(&secret, golden_secret(1).as_bytes(), "{name}");
    }
    // The colleague who stayed opens it by a secret of the same kind.
    let reader = *wrap_key(&golden_root(0), READER).as_bytes();
    assert_eq!(opened_by(&after, &members, &reader), ["envelope"]);

    // And the same in a vault that the crate made.
    let root = RootSecret::generate(&mut rng());
    let mut draft = CharterDraft::first(&root, false, 1);
    for (first, role) in [(HOST, Role::Member), (READER, Role::Get)] {
        draft.note(certify(&root, 0, draft.vault(), first, role), role, "").unwrap();
    }
    let first = draft.seal(&mut rng()).unwrap();
    let mut draft = CharterDraft::next(&first, &root, 2).unwrap();
    draft.revoke(device(HOST), Epoch::new(0)).unwrap();
    let second = draft.seal(&mut rng()).unwrap();
    let key = Owner::open(&second, &root.owner_key()).unwrap().member_secret().charter_key();
    let members = Members::open(&second, &key).unwrap();
    let left = members.epoch_secret(&wrap_key(&root, HOST));
    assert_eq!(left, Err(EpochError::NoEnvelope(Epoch::new(1))));
    assert!(members.epoch_secret(&wrap_key(&root, READER)).is_ok());
}

/// 22: the members' part of another charter.
#[test]
fn attack_22_members_of_another_charter_are_refused() {
    let (golden, other) = (golden_charter("charter-v2/3"), golden_charter("charter-v2/3-fork"));
    let key = golden_member_secret().charter_key();
    assert_eq!(golden.members().len(), other.members().len());
    // Swapped by a server, it is no charter.
    let at = golden.as_bytes().windows(4).position(|four| four == &golden.members()[..4]).unwrap();
    let mut swapped = golden.as_bytes().to_vec();
    swapped[at..at + other.members().len()].copy_from_slice(other.members());
    let parsed = HeldCharter::parse(&swapped, &golden_vault());
    assert!(matches!(parsed, Err(CharterError::Signature(_))));
    // Swapped before the owner signed, it is refused by each reader, and by the owner.
    let swapped = signed(&golden, other.members(), golden.owner(), &golden_root(0));
    assert_eq!(Members::open(&swapped, &key), Err(MembersError::OtherCharter));
    let draft = CharterDraft::next(&swapped, &golden_root(0), 0).map(|_| ());
    assert_eq!(draft, Err(DraftError::Members(MembersError::OtherCharter)));
    let swapped = signed(&golden, golden.members(), other.owner(), &golden_root(0));
    let owner = Owner::open(&swapped, &golden_root(0).owner_key());
    assert_eq!(owner, Err(OwnerError::OtherCharter));
    // Of the charter before, in the same epoch or the one before.
    for name in ["charter-v2/1", "charter-v2/2"] {
        let swapped =
            signed(&golden, golden_charter(name).members(), golden.owner(), &golden_root(0));
        assert_eq!(Members::open(&swapped, &key), Err(MembersError::OtherCharter), "{name}");
    }
}

/// 22: a member plants a recipient of its own, an envelope of another epoch, or one of its own
/// secret.
#[test]
fn attack_22_planted_recipients_and_envelopes_are_refused() {
    let golden = golden_charter("charter-v2/3");
    let key = golden_member_secret().charter_key();
    let reader = wrap_key(&golden_root(0), READER);
    let planted = EpochSecret::from_bytes([0x5a; 32]);
    let resealed = |change: &dyn Fn(&mut Members)| {
        let mut members = open_members(&golden);
        change(&mut members);
        let members = members.seal(&golden.public_hash(), &key, &mut rng()).unwrap();
        open_members(&signed(&golden, &members, golden.owner(), &golden_root(0)))
    };
    let envelope = |epoch, secret: &EpochSecret| {
        super::super::members::seal_envelope(&reader, Epoch::new(epoch), secret, &mut rng())
            .unwrap()
    };
    assert_eq!(resealed(&|_| {}).epoch_secret(&reader), Ok(golden_secret(1)));
    // Blobs would be sealed for the member alone: the other readers say so.
    let with_recipient =
        resealed(&|members| members.recipients[0] = planted.identity().to_recipient());
    let other = Err(EpochError::OtherRecipient(Epoch::new(1)));
    assert_eq!(with_recipient.epoch_secret(&reader), other);
    assert_eq!(with_recipient.epochs(golden_secret(1)).map(|_| golden_secret(1)), other);
    // A secret that the member knows, in the place of the epoch's.
    let with_secret = resealed(&|members| members.envelopes = vec![envelope(1, &planted)]);
    assert_eq!(with_secret.epoch_secret(&reader), other);
    // An envelope of the epoch before, whatever is in it.
    for secret in [golden_secret(0), golden_secret(1)] {
        let with_old = resealed(&|members| members.envelopes = vec![envelope(0, &secret)]);
        let none = Err(EpochError::NoEnvelope(Epoch::new(1)));
        assert_eq!(with_old.epoch_secret(&reader), none);
    }
}

/// 41: the thief of a root reads later epochs by wrap keys.
#[test]
fn attack_41_no_secret_of_stolen_root_opens_later_epoch() {
    let root = golden_root(0);
    let mut stolen: Vec<_> = [LAPTOP, HOST, READER].into_iter().flat_map(key_file).collect();
    let golden = GoldenFile::derive();
    let rows = [
        "root_0",
        "root_sign_0",
        "owner_key_0",
        "kit_key_0",
        "wrap_root_0",
        "E_1",
        "identity_1",
        "history_key_1",
    ];
    stolen.extend(rows.map(|row| (row.to_owned(), golden.array(row))));
    for first in [LAPTOP, HOST, READER] {
        stolen.push(("a wrap key".into(), *wrap_key(&root, first).as_bytes()));
    }
    let names = ["1", "3", "3-fork", "4-planned", "4-theft"];
    for state in names.map(|name| golden_charter(&format!("charter-v2/{name}"))) {
        for epoch in 0..4 {
            let secret = root.epoch(Epoch::new(epoch), state.state().digest());
            stolen.push(("an epoch".into(), *secret.as_bytes()));
        }
    }
    // After a planned succession the reader of root 0 goes on, and so would its thief.
    let planned = golden_charter("charter-v2/4-planned");
    let members = open_members(&planned);
    let opens = |(_, secret): &&(String, [u8; 32])| {
        opened_by(&planned, &members, secret).contains(&"envelope")
    };
    assert!(stolen.iter().any(|secret| opens(&secret)));

    let theft = golden_charter("charter-v2/4-theft");
    let members = open_members(&theft);
    assert_eq!(members.envelopes(), 1);
    for (name, secret) in &stolen {
        let expected: &[&str] = if name == "charter_key" { &["members"] } else { &[] };
        assert_eq!(opened_by(&theft, &members, secret), expected, "{name}");
        assert_ne!(secret, golden_secret("2_theft").as_bytes(), "{name}");
    }
    let owner = Owner::open(&theft, &golden_root(1).owner_key()).unwrap();
    assert!(owner.wrap_roots().is_empty());
    let reader = members.epoch_secret(&wrap_key(&golden_root(1), READER));
    assert_eq!(reader, Ok(golden_secret("2_theft")));
}

/// 41: after a theft the wrap roots of all older roots go, since the thief has read the owner's
/// part too; and stay away in all later charters.
#[test]
fn attack_41_wrap_roots_before_theft_are_gone_for_ever() {
    let roots: Vec<_> = (0..3).map(|_| RootSecret::generate(&mut rng())).collect();
    let mut draft = CharterDraft::first(&roots[0], false, 1);
    let certificate = certify(&roots[0], 0, draft.vault(), READER, Role::Get);
    let keep = BTreeSet::from([certificate.digest()]);
    draft.note(certificate, Role::Get, "").unwrap();
    draft.succeed(&roots[1], Handover::Planned, &keep).unwrap();
    let mut charter = draft.seal(&mut rng()).unwrap();
    let vault = *charter.state().vault();
    let key = roots[0].member_secret(&vault).unwrap().charter_key();
    let reads = |charter: &HeldCharter| {
        Members::open(charter, &key).unwrap().epoch_secret(&wrap_key(&roots[0], READER)).is_ok()
    };
    assert!(reads(&charter));
    let mut draft = CharterDraft::next(&charter, &roots[1], 2).unwrap();
    draft.succeed(&roots[2], Handover::Theft, &keep).unwrap();
    charter = draft.seal(&mut rng()).unwrap();
    assert!(!reads(&charter));
    for _ in 0..2 {
        let mut draft = CharterDraft::next(&charter, &roots[2], 3).unwrap();
        draft.begin_epoch();
        charter = draft.seal(&mut rng()).unwrap();
        assert!(!reads(&charter));
    }
}

/// 55: a hostile charter of 112 KiB with 1,000 envelopes.
#[test]
fn attack_55_thousand_foreign_envelopes_are_tried_in_no_time() {
    const LIMIT: Duration = Duration::from_secs(1);
    let golden = golden_charter("charter-v2/3");
    let key = golden_member_secret().charter_key();
    let stranger = WrapKey::from_bytes([0x77; 32]);
    let seal = super::super::members::seal_envelope;
    let envelope = seal(&stranger, Epoch::new(1), &golden_secret(1), &mut rng()).unwrap();
    let mut members = open_members(&golden);
    members.envelopes = vec![envelope; 1050];
    let members = members.seal(&golden.public_hash(), &key, &mut rng()).unwrap();
    let hostile = signed(&golden, &members, golden.owner(), &golden_root(0));
    assert!((110_000..=114_688).contains(&hostile.as_bytes().len()));

    // Whom no root has signed for, nobody looks into.
    let mut unsigned = hostile.as_bytes().to_vec();
    *unsigned.last_mut().unwrap() ^= 1;
    let parsed = HeldCharter::parse(&unsigned, &golden_vault());
    assert!(matches!(parsed, Err(CharterError::Signature(_))));

    let start = Instant::now();
    let members = Members::open(&hostile, &key).unwrap();
    let secret = members.epoch_secret(&wrap_key(&golden_root(0), READER));
    let took = start.elapsed();
    assert_eq!(secret, Err(EpochError::NoEnvelope(Epoch::new(1))));
    assert!(took < LIMIT, "{took:?}");
    // More than fit are no charter, however they are counted.
    let mut members = members;
    members.envelopes = vec![envelope; 1100];
    let members = members.seal(&golden.public_hash(), &key, &mut rng()).unwrap();
    let fields = CharterFields { serial: 1, issued: 1, state: golden.state().fields().clone() };
    let signature = golden_root(0).signer().sign(&fields.to_sign(&members, b"").unwrap());
    let sealed = fields.signed(&members, b"", &signature).map(|_| ());
    assert!(matches!(sealed, Err(CharterError::TooLong(_))));
}

/// A device of role owner can sign certificates that count below the `until` of its root, also
/// where another program has taken the wrap root away and left the `until`.
#[test]
fn draft_revokes_no_owner_whose_root_counts_in_earlier_epochs() {
    let (golden, root) = (golden_charter("charter-v2/4-planned"), golden_root(1));
    let mut owner = Owner::open(&golden, &root.owner_key()).unwrap();
    owner.wrap_roots.clear();
    owner.issued.retain(|_, issued| issued.root == 0);
    let owner = owner.seal(&golden.public_hash(), &root.owner_key(), &mut rng()).unwrap();
    let known = signed(&golden, golden.members(), &owner, &root);
    let mut draft = CharterDraft::next(&known, &root, 1).unwrap();
    let refused = Err(DraftError::HasRoot(device(LAPTOP)));
    assert_eq!(draft.revoke(device(LAPTOP), Epoch::new(0)), refused);
    draft.distrust(0, &BTreeSet::new()).unwrap();
    assert_eq!(draft.revoke(device(LAPTOP), Epoch::new(0)), Ok(()));
}
