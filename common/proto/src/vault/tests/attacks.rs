//! The attacks of `docs/next/DECISIONS.md`, section 5, by their numbers, as far as they are about
//! certificates and charters alone.

use super::*;
use crate::keys::AlgorithmError;

/// The points of small order.
const SMALL_ORDER: [&str; 8] = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
];

fn follows(new: &HeldCharter, known: &HeldCharter) -> Follows {
    new.follows(known, Recipients::Unread)
}

/// The vault of `root`, in epoch 0.
fn founded(root: &Pair) -> (VaultId, HeldCharter) {
    (VaultId::of(&root.public()), root.charter(1, &first_state(root)))
}

/// 6: a certificate is edited.
#[test]
fn attack_6_edited_certificate_does_not_hold() {
    let charter = golden_charter("1");
    let holds = |bytes: &[u8]| {
        Certificate::parse(bytes).is_ok_and(|edited| edited.holds_under(charter.state()).is_ok())
    };
    for name in ["get", "put-prefix", "skipped-extension"] {
        let golden = golden(&format!("certificate-v2/{name}.certificate"));
        assert!(holds(&golden), "{name}");
        for (at, bit) in (0..golden.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
            let mut edited = golden.clone();
            edited[at] ^= 1 << bit;
            assert!(!holds(&edited), "{name}, byte {at}, bit {bit}");
        }
        for length in 0..golden.len() {
            assert!(!holds(&golden[..length]), "{name}, {length} bytes");
        }
        assert!(!holds(&[&golden[..], b"\0"].concat()), "{name}");
    }
}

/// 12: a vault is founded by another root than its own.
#[test]
fn attack_12_charter_of_another_root_is_none_of_the_vault() {
    let (vault, _) = founded(&Pair::of(1));
    let (foreign_id, foreign) = founded(&Pair::of(2));
    let error = HeldCharter::parse(foreign.as_bytes(), &vault).map(|_| ());
    assert_eq!(error, Err(CharterError::OtherVault(foreign_id)));
    // With the vault's id in it, signed by the foreign root.
    let mut bytes = foreign.as_bytes().to_vec();
    bytes[27..59].copy_from_slice(vault.as_bytes());
    let signed = bytes.len() - 64;
    let message = [b"zput/v2/charter\0", &bytes[..signed]].concat();
    bytes[signed..].copy_from_slice(Pair::of(2).sign(&message).as_bytes());
    let error = HeldCharter::parse(&bytes, &vault).map(|_| ());
    assert_eq!(error, Err(CharterError::State(StateError::VaultId(vault))));
}

/// 20: two states of one epoch.
#[test]
fn attack_20_two_states_of_one_epoch_are_a_fork_in_both_orders() {
    let root = Pair::of(1);
    let (_, first) = founded(&root);
    let revoking = |device| {
        let mut state = next_epoch(first.state());
        state.revoked.insert(Pair::of(device).device(), Epoch::new(1));
        state
    };
    for (serial, other_serial) in [(2, 2), (2, 3), (3, 2)] {
        let (one, other) =
            (root.charter(serial, &revoking(5)), root.charter(other_serial, &revoking(6)));
        assert_eq!(follows(&one, &other), Follows::Fork);
        assert_eq!(follows(&other, &one), Follows::Fork);
        // What comes after one of them is a fork of the other one as well.
        let after = root.charter(9, &next_epoch(other.state()));
        assert_eq!(follows(&after, &one), Follows::Fork);
        assert_eq!(follows(&one, &after), Follows::Fork);
    }
    // Two owners that make the same change at once have written one state.
    let (one, other) = (root.charter(2, &revoking(5)), root.charter(3, &revoking(5)));
    assert_eq!(follows(&other, &one), Follows::Newer);
    assert_eq!(follows(&one, &other), Follows::Older);
}

/// A charter of the known epoch with a great serial, by an owner at the same time or by a thief,
/// is no wall before the next epoch.
#[test]
fn charter_serial_ends_with_its_epoch() {
    let root = Pair::of(1);
    let (_, first) = founded(&root);
    // One owner notes three laptops, another one revokes a device, neither knowing of the other.
    for serial in [4, u64::MAX] {
        let noted = root.charter(serial, first.state().fields());
        let revoking = root.charter(1, &next_epoch(first.state()));
        assert_eq!(follows(&noted, &first), Follows::Newer);
        assert_eq!(follows(&revoking, &first), Follows::Newer);
        assert_eq!(follows(&revoking, &noted), Follows::Newer, "serial {serial}");
        assert_eq!(follows(&noted, &revoking), Follows::Older, "serial {serial}");
    }
}

/// 21: an old charter, or one signed by an old root.
#[test]
fn attack_21_old_charter_and_charter_of_old_root_are_not_taken() {
    let (old, new) = (Pair::of(1), Pair::of(2));
    let (vault, first) = founded(&old);
    let reissued = old.charter(2, first.state().fields());
    let second = old.charter(1, &next_epoch(first.state()));
    let mut state = next_epoch(second.state());
    state.later_roots = vec![old.succession(&vault, 1, &new, 2)];
    let third = new.charter(1, &state);
    let line = [first, reissued, second, third.clone()];
    for (at, known) in line.iter().enumerate() {
        for (other, delivered) in line.iter().enumerate() {
            let expected = match other.cmp(&at) {
                std::cmp::Ordering::Less => Follows::Older,
                std::cmp::Ordering::Equal => Follows::Same,
                std::cmp::Ordering::Greater => Follows::Newer,
            };
            assert_eq!(follows(delivered, known), expected, "{other} to one who knows {at}");
        }
    }
    // The old root signs a charter of the new root's state.
    let error = old.try_charter(5, &next_epoch(third.state())).map(|_| ());
    assert_eq!(error, Err(CharterError::Signature(AlgorithmError::Signature)));
    // It leaves itself out, and says all that the line has said.
    let mut state = next_epoch(third.state());
    state.later_roots.clear();
    assert_eq!(follows(&old.charter(9, &state), &third), Follows::Fork);
    // 58: it makes another successor, later than the owner did.
    state.later_roots = vec![old.succession(&vault, 1, &Pair::of(3), 0)];
    assert_eq!(follows(&Pair::of(3).charter(9, &state), &third), Follows::Fork);
    // When an older root counts may change with a new epoch: the root is found to be stolen.
    let mut state = next_epoch(third.state());
    state.later_roots[0].until = Epoch::new(0);
    assert_eq!(follows(&new.charter(5, &state), &third), Follows::Newer);
}

/// A vault whose root 0 was stolen, and which went on with root 1; the certificate of device 5 is
/// kept.
struct Stolen {
    old: Pair,
    vault: VaultId,
    kept: Certificate,
    charter: HeldCharter,
}

fn stolen() -> Stolen {
    let (old, new) = (Pair::of(1), Pair::of(2));
    let (vault, first) = founded(&old);
    let kept = old.certify(&all_scopes(&vault, 5));
    let mut state = next_epoch(first.state());
    state.later_roots = vec![old.succession(&vault, 1, &new, 0)];
    state.kept = BTreeSet::from([kept.digest()]);
    Stolen { old, vault, kept, charter: new.charter(2, &state) }
}

/// 38: the thief of an old root signs a certificate that looks like a kept one.
#[test]
fn attack_38_certificate_like_a_kept_one_does_not_count() {
    let Stolen { old, vault, kept, charter } = stolen();
    for epoch in [0, 1] {
        assert_eq!(counts(&kept, charter.state(), order(epoch, 7)), Ok(()));
    }
    let writer = Some(Pair::of(66).public());
    let forged = old.certify(&CertificateFields { writer, ..all_scopes(&vault, 5) });
    assert!(forged.holds_under(charter.state()).is_ok(), "the root has signed it");
    for epoch in [0, 1] {
        let verdict = counts(&forged, charter.state(), order(epoch, 7));
        assert_eq!(verdict, Err(CertificateError::RootLeft));
    }
    assert_eq!(enters(&forged, charter.state()), Err(CertificateError::RootLeft));
    assert_eq!(enters(&kept, charter.state()), Ok(Scopes::ALL));
}

/// 39: the older certificate of a revoked device.
#[test]
fn attack_39_revoked_device_is_shut_out_with_all_its_certificates() {
    let root = Pair::of(1);
    let (vault, first) = founded(&root);
    let older = root.certify(&all_scopes(&vault, 5));
    let renewed = CertificateFields { not_after: 2_000_000_000, ..all_scopes(&vault, 5) };
    let renewed = root.certify(&renewed);
    let mut state = next_epoch(first.state());
    state.revoked.insert(Pair::of(5).device(), Epoch::new(1));
    let charter = root.charter(2, &state);
    for certificate in [older, renewed] {
        assert_eq!(counts(&certificate, first.state(), order(1, 7)), Ok(()));
        let verdict = counts(&certificate, charter.state(), order(1, 7));
        assert_eq!(verdict, Err(CertificateError::Revoked));
        assert_eq!(enters(&certificate, charter.state()), Err(CertificateError::Revoked));
    }
}

/// 40: the thief of a root dates back below the succession.
#[test]
fn attack_40_thief_of_root_cannot_date_back() {
    let Stolen { old, vault, charter, .. } = stolen();
    let forged = old.certify(&all_scopes(&vault, 66));
    for epoch in [0, 1, 2] {
        let verdict = counts(&forged, charter.state(), order(epoch, 7));
        assert_eq!(verdict, Err(CertificateError::RootLeft), "epoch {epoch}");
    }
}

/// 44: a branch without a revocation overtakes.
#[test]
fn attack_44_branch_without_revocation_is_a_fork_however_long() {
    let root = Pair::of(1);
    let (_, first) = founded(&root);
    let mut revoking = next_epoch(first.state());
    revoking.revoked.insert(Pair::of(5).device(), Epoch::new(1));
    let revoking = root.charter(2, &revoking);
    // A second owner was kept apart, and rotates twice.
    let once = root.charter(2, &next_epoch(first.state()));
    let twice = root.charter(3, &next_epoch(once.state()));
    assert_eq!(follows(&twice, &first), Follows::Newer);
    assert_eq!(follows(&twice, &revoking), Follows::Fork);
    assert_eq!(follows(&revoking, &twice), Follows::Fork);
    // It says in its past what the owner has done, and not in the epoch before.
    let mut mended = next_epoch(twice.state());
    mended.past[1] = *revoking.state().tag();
    let mended = root.charter(4, &mended);
    assert_eq!(follows(&mended, &twice), Follows::Fork);
    // It has the known tag at its place, and another past before it.
    let third = root.charter(3, &next_epoch(revoking.state()));
    let mut torn = next_epoch(third.state());
    torn.past[0] = *twice.state().tag();
    assert_eq!(follows(&root.charter(4, &torn), &third), Follows::Fork);
}

/// 48: a later scope bit makes a fleet blind.
#[test]
fn attack_48_later_scope_bit_grants_nothing_and_blinds_nobody() {
    let charter = golden_charter("1");
    let certificate = golden_certificate("later-scope");
    assert_eq!(certificate.as_bytes()[34..36], [0, 0x21]);
    assert_eq!(counts(&certificate, charter.state(), order(0, 7)), Ok(()));
    assert_eq!(enters(&certificate, charter.state()), Ok(Scopes::PUT));
}

/// 49: a key of small order, in each field of a certificate and a charter that is a key.
#[test]
fn attack_49_key_of_small_order_is_refused_in_each_field() {
    let root = Pair::of(1);
    let (vault, known) = founded(&root);
    let certificate = golden("certificate-v2/all-scopes.certificate");
    let charter = golden("charter-v2/4-planned.charter");
    // Behind 26 bytes of charter: flags, vault, epoch 2, two tags, a count, root 0, root 1.
    let first = 26 + 1 + 32 + 4 + 32 + 1;
    for text in SMALL_ORDER {
        let key: [u8; 32] = bytes(text);
        let edit = |bytes: &[u8], at: usize| {
            let mut edited = bytes.to_vec();
            assert_eq!(edited.len(), bytes.len());
            edited[at..at + 32].copy_from_slice(&key);
            edited
        };
        let why = AlgorithmError::SmallOrder;
        let error = |bytes: &[u8]| Certificate::parse(bytes).map(|_| ());
        let device = DevicePublicKey::from_bytes(key);
        let everybodys = root.certify(&CertificateFields { device, ..all_scopes(&vault, 5) });
        assert_eq!(enters(&everybodys, known.state()), Err(CertificateError::Device(why)));
        assert_eq!(error(&edit(&certificate, 109)), Err(CertificateError::Writer(why)));
        let error = |bytes: &[u8]| HeldCharter::parse(bytes, &golden_vault()).map(|_| ());
        let of_root = |index| Err(CharterError::State(StateError::Root { index, why }));
        assert_eq!(error(&edit(&charter, first + 1)), of_root(0));
        assert_eq!(error(&edit(&charter, first + 34)), of_root(1));
    }
}

/// 52: clear names are switched on by a later charter.
#[test]
fn attack_52_charter_that_switches_clear_names_does_not_follow() {
    let root = Pair::of(1);
    for clear in [false, true] {
        let state = StateFields { has_clear_names: clear, ..first_state(&root) };
        let first = root.charter(1, &state);
        let switched = StateFields { has_clear_names: !clear, ..next_epoch(first.state()) };
        assert_eq!(follows(&root.charter(2, &switched), &first), Follows::Fork);
        let switched = StateFields { has_clear_names: !clear, ..state };
        assert_eq!(follows(&root.charter(2, &switched), &first), Follows::Fork);
        let same = root.charter(2, &next_epoch(first.state()));
        assert_eq!(follows(&same, &first), Follows::Newer);
    }
}

/// 53: recipients change inside an epoch.
#[test]
fn attack_53_other_recipients_in_one_epoch_are_a_fork() {
    let root = Pair::of(1);
    let (_, first) = founded(&root);
    let reissued = root.charter(2, first.state().fields());
    let next = root.charter(3, &next_epoch(first.state()));
    for (recipients, expected) in [
        (Recipients::Unread, Follows::Newer),
        (Recipients::Same, Follows::Newer),
        (Recipients::Changed, Follows::Fork),
    ] {
        assert_eq!(reissued.follows(&first, recipients), expected);
        // A new epoch may have others.
        assert_eq!(next.follows(&reissued, recipients), Follows::Newer);
    }
    assert_eq!(first.follows(&reissued, Recipients::Changed), Follows::Fork);
}

/// 61: a put-only host overwrites a retired colleague's versions. 45: those of a revoked host are
/// free.
#[test]
fn attack_61_retired_device_keeps_its_versions_and_revoked_one_does_not() {
    let root = Pair::of(1);
    let (vault, first) = founded(&root);
    let [own, retired, revoked] = [5, 6, 7].map(|device| root.certify(&all_scopes(&vault, device)));
    let mut state = next_epoch(first.state());
    state.revoked.insert(Pair::of(6).device(), Epoch::new(1));
    state.revoked.insert(Pair::of(7).device(), Epoch::new(0));
    let charter = root.charter(2, &state);
    let may = |theirs, epoch| may_replace(&own, (theirs, Epoch::new(epoch)), charter.state());
    assert!(!may(&retired, 0), "it wrote while it counted");
    assert!(may(&retired, 1));
    assert!(may(&revoked, 0));
    assert!(!may_replace(&own, (&revoked, Epoch::new(0)), first.state()), "it counted then");
}
