//! What the script sealed is read, and the crate seals the same bytes.

use super::*;
use crate::age::Recipient;
use crate::tests::FixedRng;

/// The script's further recipient: X25519(C0 C1 … DF, 9), as text of `age`.
const FURTHER: &str = "age1mskv5v0gusammywl7lj8tn9rx3ltg7qs04dawedt5jhy5vxrt4zqpcu8z9";

/// Who of the readers reads: the root of the certificate, and the device.
type Reading = &'static [(usize, u8)];

/// Recipients, readers and epochs of each golden charter are those of the script.
#[test]
fn golden_members_say_what_the_script_put_in() {
    let readers = [(0, LAPTOP), (0, HOST), (0, READER), (1, HOST), (1, READER)];
    // Name, epochs, and whether there is the further recipient.
    let expected: [(&str, &[&str], bool, Reading); 7] = [
        ("charter-v2/1", &["0"], false, &[]),
        ("charter-v2/2", &["0"], false, &[(0, HOST), (0, READER)]),
        ("charter-v2/3", &["0", "1"], true, &[(0, READER)]),
        ("charter-v2/3-fork", &["0", "1_fork"], true, &[(0, HOST)]),
        ("charter-v2/4-planned", &["0", "1", "2"], true, &[(0, READER)]),
        ("charter-v2/4-theft", &["0", "1", "2_theft"], false, &[(1, READER)]),
        ("charter-v2/skipped-extension", &["0_extension"], false, &[]),
    ];
    for (name, epochs, has_further, reading) in expected {
        let last = epochs.len() as u32 - 1;
        let all: Vec<_> = epochs.iter().map(golden_secret).collect();
        let members = open_members(&golden_charter(name));
        assert_eq!((members.epoch(), members.envelopes()), (Epoch::new(last), reading.len()));
        let further: Vec<_> = members.recipients()[1..].iter().map(Recipient::to_string).collect();
        assert_eq!(further, if has_further { vec![FURTHER] } else { vec![] }, "{name}");
        for (root, first) in readers {
            let secret = members.epoch_secret(&wrap_key(&golden_root(root), first));
            if reading.contains(&(root, first)) {
                assert_eq!(secret.as_ref(), Ok(all.last().unwrap()), "{name}");
            } else {
                assert_eq!(secret, Err(EpochError::NoEnvelope(Epoch::new(last))), "{name}");
            }
        }
        let epochs = members.epochs(all.last().unwrap().clone()).unwrap();
        assert_eq!(epochs.iter().cloned().collect::<Vec<_>>(), all, "{name}");
        assert_eq!(epochs.of(Epoch::new(last)), all.last(), "{name}");
        assert_eq!(epochs.of(Epoch::new(last + 1)), None, "{name}");
    }
}

/// The last epoch that a vault can have: a history of three chunks, thirty further recipients.
#[test]
fn golden_members_of_last_epoch_give_all_1024_secrets() {
    let members = open_members(&golden_charter("members-v2/last-epoch"));
    assert_eq!(members.recipients().len(), 31);
    let hybrid = |at: &usize| matches!(members.recipients()[*at], Recipient::MlKem768X25519(_));
    assert_eq!((0..31).filter(hybrid).collect::<Vec<_>>(), [0, 28, 29, 30]);
    let secret = members.epoch_secret(&wrap_key(&golden_root(0), HOST)).unwrap();
    assert_eq!(secret, golden_secret(1023));
    let epochs = members.epochs(secret).unwrap();
    assert_eq!(epochs.iter().count(), 1024);
    for known in [0, 1, 2, 1023] {
        assert_eq!(epochs.of(Epoch::new(known)), Some(&golden_secret(known)), "{known}");
    }
}

/// An envelope is found behind those of other epochs and devices.
#[test]
fn golden_envelope_is_found_behind_others() {
    let members = open_members(&golden_charter("members-v2/envelopes-of-others"));
    assert_eq!(members.envelopes(), 3);
    let secret = members.epoch_secret(&wrap_key(&golden_root(0), READER));
    assert_eq!(secret, Ok(golden_secret(1)));
}

/// Extensions that are not critical are skipped in both parts.
#[test]
fn golden_sealed_parts_skip_extensions() {
    let charter = golden_charter("members-v2/skipped-extension");
    assert_eq!(open_members(&charter).extensions, b"\x05\x00\x05later");
    let owner = Owner::open(&charter, &golden_root(0).owner_key()).unwrap();
    assert_eq!(owner.extensions, b"\x05\x00\x05later");
}

/// Device, first bytes of the digest, root, role and label of what is noted in charter 2, in the
/// order of the file.
const NOTED: [(&str, &str, u8, Role, &str); 4] = [
    ("51f70cb5e7f4f127", "c1742fc872aa1ec1", 0, Role::Get, "Grüße"),
    ("bcd891b1ebf24f14", "673f48c6f2f4602b", 0, Role::Put, "host"),
    ("bcd891b1ebf24f14", "7b9b421e8d817243", 0, Role::Member, "host"),
    ("df6f75f1c9c40636", "efedb3a5ab2a6512", 0, Role::Owner, "laptop"),
];

type Noted = (String, String, u8, Role, String);

fn noted(owner: &Owner) -> Vec<Noted> {
    let issued = owner.issued().iter();
    let half = |bytes: &[u8]| hex::encode(&bytes[..8]);
    let noted = issued.map(|((device, digest), Issued { root, role, label })| {
        (half(device.as_bytes()), half(digest.as_bytes()), *root, *role, label.clone())
    });
    noted.collect()
}

/// What the owner notes is what the script noted, under the last root's key alone.
#[test]
fn golden_owners_say_what_the_script_put_in() {
    let expected = NOTED.map(|(device, digest, root, role, label)| {
        (device.to_owned(), digest.to_owned(), root, role, label.to_owned())
    });
    let open = |name, root| Owner::open(&golden_charter(name), &golden_root(root).owner_key());
    for name in ["charter-v2/2", "charter-v2/3", "charter-v2/3-fork"] {
        let owner = open(name, 0).unwrap();
        assert_eq!(owner.member_secret(), &golden_member_secret(), "{name}");
        assert!(owner.wrap_roots().is_empty(), "{name}");
        assert_eq!(noted(&owner), expected, "{name}");
    }
    assert_eq!(noted(&open("charter-v2/1", 0).unwrap()), expected[3..]);
    let planned = open("charter-v2/4-planned", 1).unwrap();
    assert_eq!(planned.wrap_roots().iter().next(), Some((&0, &golden_root(0).wrap_root())));
    assert_eq!((planned.wrap_roots().len(), noted(&planned).len()), (1, 5));
    let theft = open("charter-v2/4-theft", 1).unwrap();
    assert_eq!((theft.wrap_roots().len(), noted(&theft).len()), (0, 6));
    assert_eq!(theft.issued().values().filter(|issued| issued.root == 1).count(), 2);
}

/// All older roots of a vault of sixteen still have their wrap roots.
#[test]
fn golden_owner_of_16_roots_has_15_wrap_roots() {
    // sha256sum of 00 00 00 0F.
    let last = "9246be1e9ba9f5de5baf766a256eb725e9a7551fb93d7faa793c938e0f41de35";
    let root = RootSecret::from_bytes(hex::decode(last).unwrap().try_into().unwrap());
    let owner = Owner::open(&golden_charter("charter-v2/16-roots"), &root.owner_key()).unwrap();
    assert_eq!(owner.wrap_roots().keys().copied().collect::<Vec<_>>(), Vec::from_iter(0..15));
}

/// The salts of a golden charter in the order in which the crate draws them.
fn salts(charter: &HeldCharter) -> FixedRng {
    let members = open_members(charter);
    let envelopes = members.envelopes.iter().map(|envelope| &envelope[..]);
    let messages = [&members.history[..]].into_iter().chain(envelopes);
    let messages = messages.chain([charter.members(), charter.owner()]);
    FixedRng::new(messages.flat_map(|message| message.iter().take(24).copied()).collect::<Vec<_>>())
}

/// `draft`, with the salts of the golden charter of this name, is that charter byte for byte.
fn assert_seals(draft: CharterDraft, name: &str) -> HeldCharter {
    let golden = golden_charter(name);
    let sealed = draft.seal(&mut salts(&golden)).unwrap();
    assert_eq!(hex::encode(sealed.as_bytes()), hex::encode(golden.as_bytes()), "{name}");
    sealed
}

/// The whole line of golden charters, drafted and sealed to the script's bytes.
#[test]
fn golden_charters_are_sealed_byte_for_byte() {
    const ISSUED: u64 = 1_800_000_000;
    let [old, new] = [0, 1].map(golden_root);
    let [owner, put, get] = ["all-scopes", "put-prefix", "get"].map(golden_certificate);
    let mut draft = CharterDraft::first(&old, false, ISSUED);
    draft.note(owner.clone(), Role::Owner, "laptop").unwrap();
    let first = assert_seals(draft, "charter-v2/1");

    let mut draft = CharterDraft::next(&first, &old, ISSUED).unwrap();
    draft.note(put, Role::Put, "host").unwrap();
    let member = certify(&old, 0, golden_vault(), HOST, Role::Member);
    draft.note(member, Role::Member, "host").unwrap();
    draft.note(get.clone(), Role::Get, "Grüße").unwrap();
    let second = assert_seals(draft, "charter-v2/2");

    let [third, _] = [(HOST, "charter-v2/3"), (READER, "charter-v2/3-fork")].map(|(out, name)| {
        let mut draft = CharterDraft::next(&second, &old, ISSUED).unwrap();
        draft.seal_also_for(&[FURTHER.parse().unwrap()]).unwrap();
        draft.revoke(device(out), Epoch::new(1)).unwrap();
        assert_seals(draft, name)
    });

    let mut draft = CharterDraft::next(&third, &old, ISSUED).unwrap();
    draft.succeed(&new, Handover::Planned, &[get.digest()].into()).unwrap();
    draft.note(golden_certificate("root-1"), Role::Owner, "laptop").unwrap();
    let _planned = assert_seals(draft, "charter-v2/4-planned");

    let mut draft = CharterDraft::next(&third, &old, ISSUED).unwrap();
    draft.succeed(&new, Handover::Theft, &[owner.digest(), get.digest()].into()).unwrap();
    draft.note(golden_certificate("root-1"), Role::Owner, "laptop").unwrap();
    let again = certify(&new, 1, golden_vault(), READER, Role::Get);
    draft.note(again, Role::Get, "Grüße").unwrap();
    let _theft = assert_seals(draft, "charter-v2/4-theft");
}
