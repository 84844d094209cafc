//! What a draft refuses, and what it makes of a charter.

use super::*;
use zput_proto::vault::{CertificateError, CharterError, Follows, Recipients, StateError};

const ISSUED: u64 = 1_800_000_000;

fn first(root: &RootSecret) -> CharterDraft {
    CharterDraft::first(root, false, ISSUED)
}

fn next(charter: &HeldCharter, root: &RootSecret) -> CharterDraft {
    CharterDraft::next(charter, root, ISSUED).unwrap()
}

fn owner(charter: &HeldCharter, root: &RootSecret) -> Owner {
    Owner::open(charter, &root.owner_key()).unwrap()
}

fn members(charter: &HeldCharter, root: &RootSecret) -> Members {
    Members::open(charter, &owner(charter, root).member_secret().charter_key()).unwrap()
}

fn seal(draft: CharterDraft) -> HeldCharter {
    draft.seal(&mut rng()).unwrap()
}

/// A charter of epoch 0 of a new root, with an owner, a member and two readers.
fn founded() -> (RootSecret, HeldCharter) {
    let root = RootSecret::generate(&mut rng());
    let mut draft = first(&root);
    let roles = [(1, Role::Owner), (40, Role::Member), (80, Role::Get), (120, Role::Put)];
    for (first, role) in roles {
        draft.note(certify(&root, 0, draft.vault(), first, role), role, "x").unwrap();
    }
    let charter = seal(draft);
    (root, charter)
}

/// The first charter says what FORMAT 13 says of it; names are clear where that was asked for.
#[test]
fn draft_of_first_charter_has_serial_1_and_epoch_0() {
    for is_clear in [false, true] {
        let root = golden_root(0);
        let charter = seal(CharterDraft::first(&root, is_clear, ISSUED));
        assert_eq!((charter.serial(), charter.issued()), (1, ISSUED));
        assert_eq!(charter.state().vault(), &golden_vault());
        assert_eq!(charter.state().epoch(), Epoch::new(0));
        assert_eq!(charter.state().fields().has_clear_names, is_clear);
        assert_eq!(owner(&charter, &root).member_secret(), &golden_member_secret());
        assert_eq!(HeldCharter::parse(charter.as_bytes(), &golden_vault()).unwrap(), charter);
    }
}

/// FORMAT 13: "They differ in serial, issued, envelopes and what the owner notes of certificates".
#[test]
fn draft_that_only_notes_stays_in_its_epoch() {
    let (root, known) = founded();
    let mut draft = next(&known, &root);
    draft.note(certify(&root, 0, draft.vault(), 160, Role::Get), Role::Get, "new").unwrap();
    draft.seal_also_for(&[]).unwrap();
    let charter = seal(draft);
    assert_eq!((charter.serial(), charter.state()), (2, known.state()));
    let (now, before) = (members(&charter, &root), members(&known, &root));
    assert_eq!(now.recipients_since(&before), Recipients::Same);
    assert_eq!((before.envelopes(), now.envelopes()), (2, 3));
    assert_eq!(charter.follows(&known, now.recipients_since(&before)), Follows::Newer);
}

/// A draft of the same epoch keeps what a later program has added; one of the next epoch does not.
#[test]
fn draft_keeps_extensions_in_their_epoch() {
    let root = golden_root(0);
    let known = golden_charter("members-v2/skipped-extension");
    let extensions = |draft: CharterDraft| {
        let charter = seal(draft);
        (open_members(&charter).extensions, owner(&charter, &root).extensions)
    };
    let later = b"\x05\x00\x05later".to_vec();
    assert_eq!(extensions(next(&known, &root)), (later.clone(), later.clone()));
    let mut draft = next(&known, &root);
    assert_eq!(draft.begin_epoch(), Epoch::new(2));
    assert_eq!(extensions(draft), (Vec::new(), Vec::new()));
    // The same of a state.
    let known = golden_charter("charter-v2/skipped-extension");
    assert_eq!(seal(next(&known, &root)).state().fields().extensions, later);
    let mut draft = next(&known, &root);
    draft.begin_epoch();
    assert_eq!(seal(draft).state().fields().extensions, b"");
}

/// However many changes, a draft begins one epoch.
#[test]
fn draft_begins_one_epoch_for_all_its_changes() {
    let (root, known) = founded();
    let mut draft = next(&known, &root);
    assert_eq!(draft.epoch(), Epoch::new(0));
    draft.revoke(device(40), Epoch::new(1)).unwrap();
    draft.revoke(device(80), Epoch::new(0)).unwrap();
    draft.seal_also_for(&[golden_secret(0).identity().to_recipient()]).unwrap();
    assert_eq!(draft.begin_epoch(), Epoch::new(1));
    let charter = seal(draft);
    assert_eq!(charter.serial(), 1);
    let state = charter.state().fields();
    assert_eq!(state.past, [*known.state().tag()]);
    let revoked = [(device(40), Epoch::new(1)), (device(80), Epoch::new(0))];
    assert_eq!(state.revoked, revoked.into());
    assert_eq!(members(&charter, &root).envelopes(), 0);
    assert_eq!(members(&charter, &root).recipients().len(), 2);
    assert_eq!(charter.follows(&known, Recipients::Unread), Follows::Newer);
    // What the owner notes stays: it says which certificates can be kept.
    assert_eq!(owner(&charter, &root).issued().len(), 4);
}

/// FORMAT 13: "Every change of the state is a new epoch, one above the last, and so is every change
/// of the recipients." Each change by itself begins one, and other recipients of one epoch would be
/// a fork.
#[test]
fn draft_begins_epoch_for_each_kind_of_change() {
    let (root, known) = founded();
    let other = golden_secret(0).identity().to_recipient();
    let changes: [&dyn Fn(&mut CharterDraft); 4] = [
        &|draft| draft.seal_also_for(std::slice::from_ref(&other)).unwrap(),
        &|draft| draft.revoke(device(40), Epoch::new(1)).unwrap(),
        &|draft| draft.succeed(&golden_root(1), Handover::Planned, &[].into()).unwrap(),
        &|draft| draft.succeed(&golden_root(1), Handover::Theft, &[].into()).unwrap(),
    ];
    for (number, change) in changes.iter().enumerate() {
        let mut draft = next(&known, &root);
        change(&mut draft);
        let charter = seal(draft);
        assert_eq!(charter.state().epoch(), Epoch::new(1), "{number}");
        let last = if number < 2 { &root } else { &golden_root(1) };
        let changed = members(&charter, last).recipients_since(&members(&known, &root));
        assert_eq!(charter.follows(&known, changed), Follows::Newer, "{number}");
    }
}

/// Two owners of one root that begin one epoch with different changes make two secrets: a device
/// that only the one state lets in opens nothing that is sealed under the other. Where the changes
/// are the same, so is the secret.
#[test]
fn draft_of_another_state_has_another_secret() {
    let (root, known) = founded();
    let revoking = |out: &[u8]| {
        let mut draft = next(&known, &root);
        for out in out {
            draft.revoke(device(*out), Epoch::new(1)).unwrap();
        }
        seal(draft)
    };
    let [one, other] = [&[40], &[80]].map(|out| revoking(out));
    let secret = |charter: &HeldCharter, first| {
        members(charter, &root).epoch_secret(&wrap_key(&root, first))
    };
    let none = Err(EpochError::NoEnvelope(Epoch::new(1)));
    assert_eq!((secret(&one, 40), secret(&other, 80)), (none.clone(), none));
    let theirs = secret(&other, 40).unwrap();
    assert_ne!(secret(&one, 80).unwrap(), theirs);
    // The device that the one state shuts out has that state's recipient from no other one.
    let refused = members(&one, &root).epochs(theirs);
    assert_eq!(refused, Err(EpochError::OtherRecipient(Epoch::new(1))));
    assert_eq!(secret(&revoking(&[40]), 80), secret(&one, 80));
    assert_ne!(secret(&revoking(&[40, 120]), 80), secret(&one, 80));
}

/// Two certificates of one device and root are one key file, with one envelope.
#[test]
fn draft_seals_one_envelope_for_each_wrap_key() {
    let (root, known) = founded();
    let mut draft = next(&known, &root);
    let mut fields = certify(&root, 0, draft.vault(), 80, Role::Get).fields().clone();
    fields.not_after = 1_900_000_000;
    draft.note(issue(&fields, &root.signer()).unwrap(), Role::Get, "renewed").unwrap();
    let charter = seal(draft);
    assert_eq!(owner(&charter, &root).issued().len(), 5);
    assert_eq!(members(&charter, &root).envelopes(), 2);
}

/// Only the last root drafts a vault's next charter, and a root is one once.
#[test]
fn draft_refuses_root_that_is_not_last_or_again() {
    let (root, known) = founded();
    let other = RootSecret::generate(&mut rng());
    let drafted = CharterDraft::next(&known, &other, ISSUED).map(|_| ());
    assert_eq!(drafted, Err(DraftError::NotLastRoot));
    let mut draft = next(&known, &root);
    let again = draft.succeed(&root, Handover::Planned, &BTreeSet::new());
    assert_eq!(again, Err(DraftError::RootAgain));
    draft.succeed(&other, Handover::Planned, &BTreeSet::new()).unwrap();
    for before in [&root, &other] {
        let again = draft.succeed(before, Handover::Theft, &BTreeSet::new());
        assert_eq!(again, Err(DraftError::RootAgain));
    }
    let charter = seal(draft);
    let drafted = CharterDraft::next(&charter, &root, ISSUED).map(|_| ());
    assert_eq!(drafted, Err(DraftError::NotLastRoot));
    assert!(CharterDraft::next(&charter, &other, ISSUED).is_ok());
}

/// A seventeenth root, an epoch behind the last, and a date in the future of the vault are refused.
#[test]
fn draft_refuses_what_breaks_a_rule_of_states() {
    let root = RootSecret::generate(&mut rng());
    let mut draft = first(&root);
    for _ in 0..16 {
        let next = RootSecret::generate(&mut rng());
        draft.succeed(&next, Handover::Planned, &BTreeSet::new()).unwrap();
    }
    let error = draft.seal(&mut rng()).map(|_| ());
    assert_eq!(error, Err(CharterError::State(StateError::RootCount(17)).into()));

    let root = golden_root(1);
    let mut draft = next(&golden_charter("members-v2/last-epoch"), &root);
    draft.begin_epoch();
    let error = draft.seal(&mut rng()).map(|_| ());
    assert_eq!(error, Err(CharterError::State(StateError::Epoch(1024)).into()));

    let (root, known) = founded();
    let mut draft = next(&known, &root);
    draft.revoke(device(40), Epoch::new(2)).unwrap();
    let (until, epoch) = (Epoch::new(2), Epoch::new(1));
    let error = draft.seal(&mut rng()).map(|_| ());
    assert_eq!(error, Err(CharterError::State(StateError::Until { until, epoch }).into()));

    let many = vec![golden_secret(0).identity().to_recipient(); 31];
    let error = first(&root).seal_also_for(&many);
    assert_eq!(error, Err(DraftError::Members(MembersError::FurtherCount(31))));
}

/// FORMAT 13: "A device of role owner has the root: it is shut out by a new root, not by `revoked`
/// alone."
#[test]
fn draft_revokes_owner_with_new_root_only() {
    let (root, known) = founded();
    let mut draft = next(&known, &root);
    let error = draft.revoke(device(1), Epoch::new(1));
    assert_eq!(error, Err(DraftError::HasRoot(device(1))));
    assert_eq!(draft.epoch(), Epoch::new(0));
    let next_root = RootSecret::generate(&mut rng());
    draft.succeed(&next_root, Handover::Theft, &BTreeSet::new()).unwrap();
    draft.revoke(device(1), Epoch::new(0)).unwrap();
    let charter = seal(draft);
    assert_eq!(charter.state().fields().revoked, [(device(1), Epoch::new(0))].into());
}

/// A vault of three roots, each succession planned, with a reader of each of the two older ones
/// whose certificates are kept; its further recipient; and the digests of the two.
fn succeeded() -> ([RootSecret; 3], HeldCharter, [CertificateDigest; 2]) {
    let roots = [(); 3].map(|()| RootSecret::generate(&mut rng()));
    let mut draft = first(&roots[0]);
    let [one, two] = [(0, 40), (1, 80)]
        .map(|(index, first)| certify(&roots[index], index as u8, draft.vault(), first, Role::Get));
    let kept = [one.digest(), two.digest()];
    draft.note(one, Role::Get, "").unwrap();
    let mut draft = next(&seal(draft), &roots[0]);
    draft.succeed(&roots[1], Handover::Planned, &[kept[0]].into()).unwrap();
    draft.note(two, Role::Get, "").unwrap();
    draft.seal_also_for(&[golden_secret(0).identity().to_recipient()]).unwrap();
    let mut draft = next(&seal(draft), &roots[1]);
    draft.succeed(&roots[2], Handover::Planned, &kept.into()).unwrap();
    let charter = seal(draft);
    assert_eq!(members(&charter, &roots[2]).envelopes(), 2);
    assert_eq!(members(&charter, &roots[2]).recipients().len(), 2);
    (roots, charter, kept)
}

/// The thief of root 1 has read the wrap root of root 0 in the owner's part; the thief of root 0
/// has not that of root 1, whose readers go on if they are named.
#[test]
fn draft_distrust_drops_wrap_roots_of_roots_before() {
    let (roots, known, kept) = succeeded();
    let left = |root| {
        let mut draft = next(&known, &roots[2]);
        draft.distrust(root, &kept.into()).unwrap();
        let charter = seal(draft);
        let untils = charter.state().fields().later_roots.iter().map(|root| root.until.number());
        // Root 0 counted below epoch 1, root 1 below epoch 2.
        assert_eq!(untils.collect::<Vec<_>>(), if root == 0 { [0, 2] } else { [0, 0] });
        let held: Vec<_> = owner(&charter, &roots[2]).wrap_roots().keys().copied().collect();
        (held, members(&charter, &roots[2]).envelopes())
    };
    assert_eq!(left(0), (vec![1], 1));
    assert_eq!(left(1), (vec![], 0));
}

/// What the thief of a root can have planted while it was the last one: a certificate that is kept,
/// a recipient for whom every blob is sealed. A theft and a distrust take over neither.
#[test]
fn draft_after_theft_takes_over_nothing_planted() {
    let (roots, known, [planted, named]) = succeeded();
    let last = RootSecret::generate(&mut rng());
    let changes: [&dyn Fn(&mut CharterDraft); 3] = [
        &|draft| draft.distrust(0, &[named].into()).unwrap(),
        &|draft| draft.distrust(1, &[named].into()).unwrap(),
        &|draft| draft.succeed(&last, Handover::Theft, &[named].into()).unwrap(),
    ];
    assert!(known.state().fields().kept.contains(&planted));
    for (at, change) in changes.into_iter().enumerate() {
        let last = if at == 2 { &last } else { &roots[2] };
        let mut draft = next(&known, &roots[2]);
        change(&mut draft);
        let charter = seal(draft.clone());
        assert_eq!(charter.state().fields().kept, [named].into(), "{at}");
        assert_eq!(members(&charter, last).recipients().len(), 1, "{at}");
        // What the owner names anew is sealed for.
        draft.seal_also_for(&[golden_secret(1).identity().to_recipient()]).unwrap();
        assert_eq!(members(&seal(draft), last).recipients().len(), 2, "{at}");
    }
}

/// A device of role owner whose root is not the last one any more still has what follows from it:
/// it is shut out when nothing does.
#[test]
fn draft_revokes_owner_of_older_root_when_nothing_follows_from_it() {
    let refused = Err(DraftError::HasRoot(device(1)));
    let (root, known) = founded();
    let later = [(); 2].map(|()| RootSecret::generate(&mut rng()));
    let mut draft = next(&known, &root);
    draft.succeed(&later[0], Handover::Planned, &BTreeSet::new()).unwrap();
    assert_eq!(draft.revoke(device(1), Epoch::new(0)), refused, "its certificates count below 1");
    let planned = seal(draft);
    assert_eq!(next(&planned, &later[0]).revoke(device(1), Epoch::new(0)), refused);
    let mut draft = next(&planned, &later[0]);
    draft.distrust(0, &BTreeSet::new()).unwrap();
    assert_eq!(draft.revoke(device(1), Epoch::new(0)), Ok(()));

    // In epoch 0 no certificate of the older root counts, and its wrap root is there.
    let mut draft = first(&root);
    draft.note(certify(&root, 0, draft.vault(), 1, Role::Owner), Role::Owner, "").unwrap();
    draft.succeed(&later[0], Handover::Planned, &BTreeSet::new()).unwrap();
    assert_eq!(draft.revoke(device(1), Epoch::new(0)), refused);
    // One that has root 1 has read that wrap root, as long as it is held.
    draft.note(certify(&later[0], 1, draft.vault(), 2, Role::Owner), Role::Owner, "").unwrap();
    draft.succeed(&later[1], Handover::Planned, &BTreeSet::new()).unwrap();
    let has_root = Err(DraftError::HasRoot(device(2)));
    assert_eq!(draft.revoke(device(2), Epoch::new(0)), has_root);
    draft.distrust(0, &BTreeSet::new()).unwrap();
    assert_eq!(draft.revoke(device(1), Epoch::new(0)), Ok(()));
    assert_eq!(draft.revoke(device(2), Epoch::new(0)), has_root);
    draft.distrust(1, &BTreeSet::new()).unwrap();
    assert_eq!(draft.revoke(device(2), Epoch::new(0)), Ok(()));
}

/// A second revocation gives nothing back.
#[test]
fn draft_keeps_lesser_until_of_two_revocations() {
    let (root, known) = founded();
    let mut draft = next(&known, &root);
    draft.revoke(device(40), Epoch::new(0)).unwrap();
    draft.revoke(device(80), Epoch::new(1)).unwrap();
    let mut draft = next(&seal(draft), &root);
    draft.revoke(device(40), Epoch::new(2)).unwrap();
    draft.revoke(device(80), Epoch::new(0)).unwrap();
    let revoked = [(device(40), Epoch::new(0)), (device(80), Epoch::new(0))];
    assert_eq!(seal(draft).state().fields().revoked, revoked.into());
}

/// What is noted fits its role, is of no device that is shut out, can be shown, and holds.
#[test]
fn draft_notes_only_certificates_that_hold_and_fit() {
    let (root, known) = founded();
    let vault = *known.state().vault();
    let mut draft = next(&known, &root);
    draft.revoke(device(40), Epoch::new(1)).unwrap();
    let reading = certify(&root, 0, vault, 80, Role::Get);
    let writing = certify(&root, 0, vault, 160, Role::Member);
    for role in [Role::Owner, Role::Member, Role::Put] {
        assert_eq!(draft.note(reading.clone(), role, ""), Err(DraftError::Role(role)));
    }
    for role in [Role::Get, Role::List] {
        assert_eq!(draft.note(writing.clone(), role, ""), Err(DraftError::Role(role)));
    }
    let revoked = certify(&root, 0, vault, 40, Role::Member);
    let error = draft.note(revoked, Role::Member, "");
    assert_eq!(error, Err(DraftError::Revoked(device(40))));
    for label in ["\u{1b}[2J", &"l".repeat(65)] {
        assert_eq!(draft.note(writing.clone(), Role::Member, label), Err(DraftError::Label));
    }
    assert_eq!(draft.owner().issued().len(), 4);
    // A reader is not left out by another note of it; its label may change.
    let error = draft.note(reading.clone(), Role::List, "");
    assert_eq!(error, Err(DraftError::OtherRole(reading.digest())));
    draft.note(reading.clone(), Role::Get, "another label").unwrap();
    let label = |issued: &Issued| issued.label == "another label";
    assert_eq!(draft.owner().issued().values().filter(|issued| label(issued)).count(), 1);

    let other = RootSecret::generate(&mut rng());
    let foreign = other.signer().vault_id();
    for (certificate, expected) in [
        (certify(&other, 0, foreign, 160, Role::Member), CertificateError::OtherVault(foreign)),
        (certify(&root, 1, vault, 160, Role::Member), CertificateError::NoSuchRoot(1)),
    ] {
        let mut draft = next(&known, &root);
        draft.note(certificate, Role::Member, "").unwrap();
        let error = draft.seal(&mut rng()).map(|_| ());
        assert_eq!(error, Err(DraftError::Certificate(expected)));
    }
    let mut draft = next(&known, &root);
    draft.note(certify(&other, 0, vault, 160, Role::Member), Role::Member, "").unwrap();
    let error = draft.seal(&mut rng()).map(|_| ());
    assert!(matches!(error, Err(DraftError::Certificate(CertificateError::Signature(_)))));
}

/// Only certificates that were issued can be kept.
#[test]
fn draft_keeps_only_noted_certificates() {
    let (root, known) = founded();
    let next_root = RootSecret::generate(&mut rng());
    let unknown = CertificateDigest::from_bytes([7; 16]);
    let mut draft = next(&known, &root);
    let error = draft.succeed(&next_root, Handover::Theft, &[unknown].into());
    assert_eq!(error, Err(DraftError::NotNoted(unknown)));
    assert_eq!(draft.epoch(), Epoch::new(0));
    let good = certify(&root, 0, draft.vault(), 80, Role::Get).digest();
    draft.succeed(&next_root, Handover::Theft, &[good].into()).unwrap();
    let error = draft.distrust(0, &[unknown].into());
    assert_eq!(error, Err(DraftError::NotNoted(unknown)));
    let charter = seal(draft);
    assert_eq!(charter.state().fields().kept, [good].into());
    assert_eq!(charter.state().fields().later_roots[0].until, Epoch::new(0));
}

/// A succession that was planned leaves the older root's past and key files; distrust takes both.
#[test]
fn draft_distrusts_older_root_afterwards() {
    let (root, known) = founded();
    let next_root = RootSecret::generate(&mut rng());
    let mut draft = next(&known, &root);
    let good = certify(&root, 0, *known.state().vault(), 80, Role::Get).digest();
    draft.succeed(&next_root, Handover::Planned, &[good].into()).unwrap();
    assert_eq!(draft.root_index(), 1);
    let planned = seal(draft);
    assert_eq!(planned.state().fields().later_roots[0].until, Epoch::new(1));
    assert_eq!(owner(&planned, &next_root).wrap_roots(), &[(0, root.wrap_root())].into());
    // Of two readers the one goes on whose certificate is kept.
    assert_eq!(members(&planned, &next_root).envelopes(), 1);
    assert!(members(&planned, &next_root).epoch_secret(&wrap_key(&root, 80)).is_ok());

    let mut draft = next(&planned, &next_root);
    for index in [1, 2, 255] {
        let error = draft.distrust(index, &BTreeSet::new());
        assert_eq!(error, Err(DraftError::NotOlderRoot(index)));
    }
    draft.distrust(0, &[good].into()).unwrap();
    let charter = seal(draft);
    let state = charter.state();
    assert_eq!((state.epoch(), &state.fields().kept), (Epoch::new(2), &[good].into()));
    assert_eq!(state.fields().later_roots[0].until, Epoch::new(0));
    assert!(owner(&charter, &next_root).wrap_roots().is_empty());
    let secret = members(&charter, &next_root).epoch_secret(&wrap_key(&root, 80));
    assert_eq!(secret, Err(EpochError::NoEnvelope(Epoch::new(2))));
    assert_eq!(charter.follows(&planned, Recipients::Unread), Follows::Newer);
}

/// A vault that is full says so: its charter would be too long.
#[test]
fn draft_refuses_charter_that_is_too_long() {
    let root = golden_root(0);
    let mut draft = first(&root);
    let mut fields = certify(&root, 0, draft.vault(), 80, Role::List).fields().clone();
    for date in 1..=1000 {
        fields.not_after = date;
        let certificate = issue(&fields, &root.signer()).unwrap();
        draft.note(certificate, Role::List, &"l".repeat(64)).unwrap();
    }
    let error = draft.seal(&mut rng()).map(|_| ());
    assert!(matches!(error, Err(DraftError::Charter(CharterError::TooLong(_)))), "{error:?}");
}

/// The Debug texts of what an owner works with show no secret, in no notation.
#[test]
fn draft_debug_shows_no_secret() {
    let root = golden_root(1);
    let charter = golden_charter("charter-v2/4-planned");
    let draft = next(&charter, &root);
    let epochs = members(&charter, &root).epochs(golden_secret(2)).unwrap();
    let view = VaultView::of_owner(charter.clone(), &root).unwrap();
    let owner = owner(&charter, &root);
    let shown = format!("{draft:?} {epochs:?} {view:?} {owner:?}");
    assert!(shown.contains("WrapRoot([secret])") && shown.contains("NameKey([secret])"));
    // Public keys and ids are no secrets; everything else of 32 bytes in the file is.
    let is_public = |name: &str| {
        ["V", "device", "writer"].contains(&name)
            || name.ends_with(".public")
            || name.ends_with("_tag")
            || name.starts_with("state_hash")
    };
    for (name, secret) in GoldenFile::derive().keys() {
        if !is_public(name) {
            let decimal = format!("{secret:?}");
            assert!(!shown.contains(&hex::encode(secret)), "{name}");
            assert!(!shown.contains(decimal.trim_matches(['[', ']'])), "{name}");
        }
    }
}
