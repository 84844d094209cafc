//! The rules of FORMAT 12 and 14 at their edges.

use super::*;

/// A vault of two roots in epoch 3: root 0 counts below epoch 2, one of its certificates is kept,
/// and device 9 is revoked from epoch 1 on.
struct Vault {
    roots: [Pair; 2],
    id: VaultId,
    state: StateFields,
}

impl Vault {
    fn new() -> Self {
        let roots = [Pair::of(1), Pair::of(2)];
        let id = VaultId::of(&roots[0].public());
        let mut state = first_state(&roots[0]);
        state.past = (0..3).map(|epoch| CharterTag::from_bytes([epoch; 16])).collect();
        state.later_roots = vec![roots[0].succession(&id, 1, &roots[1], 2)];
        state.revoked = BTreeMap::from([(Pair::of(9).device(), Epoch::new(1))]);
        Self { roots, id, state }
    }

    fn charter(&self) -> HeldCharter {
        self.roots[1].charter(1, &self.state)
    }

    /// A certificate of root 0 or 1.
    fn certify(&self, root: u8, fields: CertificateFields) -> Certificate {
        self.roots[usize::from(root)].certify(&CertificateFields { root, ..fields })
    }

    fn all_scopes(&self, root: u8, device: u8) -> Certificate {
        self.certify(root, all_scopes(&self.id, device))
    }
}

/// "`not_after` is 0, or the blob's generation is at most `(not_after + 86,400) × 10⁹`".
#[test]
fn certificate_counts_for_a_day_behind_its_end() {
    let vault = Vault::new();
    let charter = vault.charter();
    let ending = |not_after| {
        let fields = CertificateFields { not_after, ..all_scopes(&vault.id, 5) };
        vault.certify(1, fields)
    };
    let certificate = ending(1000);
    let last = 87_400_000_000_000;
    assert_eq!(counts(&certificate, charter.state(), order(3, last)), Ok(()));
    let expired = Err(CertificateError::Expired(1000));
    assert_eq!(counts(&certificate, charter.state(), order(3, last + 1)), expired);
    let for_ever = order(3, (1 << 63) - 1);
    assert_eq!(counts(&ending(0), charter.state(), for_ever), Ok(()));
    let at_the_end = ending((1 << 33) - 1);
    assert_eq!(counts(&at_the_end, charter.state(), order(3, 8_590_020_991_000_000_000)), Ok(()));
    assert!(counts(&at_the_end, charter.state(), order(3, 8_590_020_991_000_000_001)).is_err());
}

/// "the server's clock is not beyond `not_after`": there is no day more.
#[test]
fn device_enters_until_its_certificate_ends() {
    let vault = Vault::new();
    let charter = vault.charter();
    let fields = CertificateFields { not_after: 1000, ..all_scopes(&vault.id, 5) };
    let certificate = vault.certify(1, fields);
    let held = certificate.holds_under(charter.state()).unwrap();
    let device = Pair::of(5).device();
    assert_eq!(held.may_enter(&device, 1000), Ok(Scopes::ALL));
    assert_eq!(held.may_enter(&device, 1001), Err(CertificateError::Expired(1000)));
    // Attack 4: with a colleague's certificate.
    let other = Pair::of(6).device();
    assert_eq!(held.may_enter(&other, 1000), Err(CertificateError::OtherDevice));
    let certificate = vault.all_scopes(1, 5);
    let held = certificate.holds_under(charter.state()).unwrap();
    assert_eq!(held.may_enter(&device, u64::MAX), Ok(Scopes::ALL));
}

/// "the blob's `epoch` is below that root's `until`".
#[test]
fn certificate_of_older_root_counts_below_its_until() {
    let vault = Vault::new();
    let charter = vault.charter();
    let older = vault.all_scopes(0, 5);
    for (epoch, expected) in [(0, true), (1, true), (2, false), (3, false), (9, false)] {
        let verdict = counts(&older, charter.state(), order(epoch, 7));
        let left = Err(CertificateError::RootLeft);
        assert_eq!(verdict, if expected { Ok(()) } else { left }, "epoch {epoch}");
        assert_eq!(counts(&vault.all_scopes(1, 5), charter.state(), order(epoch, 7)), Ok(()));
    }
    assert_eq!(enters(&older, charter.state()), Err(CertificateError::RootLeft));
    assert_eq!(enters(&vault.all_scopes(1, 5), charter.state()), Ok(Scopes::ALL));
}

/// "its device is not among the charter's `revoked`, or the blob's `epoch` is below the `until`
/// there"; a server lets none of them in.
#[test]
fn revoked_device_counts_below_its_until_and_enters_nowhere() {
    let vault = Vault::new();
    let charter = vault.charter();
    let revoked = vault.all_scopes(1, 9);
    assert_eq!(counts(&revoked, charter.state(), order(0, 7)), Ok(()));
    for epoch in [1, 2, 3] {
        let verdict = counts(&revoked, charter.state(), order(epoch, 7));
        assert_eq!(verdict, Err(CertificateError::Revoked), "epoch {epoch}");
    }
    assert_eq!(enters(&revoked, charter.state()), Err(CertificateError::Revoked));
    // Also one that is revoked from this epoch on, and no blob of which has been shut out.
    let mut late = Vault::new();
    late.state.revoked.insert(Pair::of(5).device(), Epoch::new(3));
    let charter = late.charter();
    let retired = late.all_scopes(1, 5);
    assert_eq!(counts(&retired, charter.state(), order(2, 7)), Ok(()));
    assert_eq!(enters(&retired, charter.state()), Err(CertificateError::Revoked));
}

/// A kept certificate counts in every epoch and enters; one whose digest differs in one bit of any
/// byte does not.
#[test]
fn kept_certificate_is_known_by_all_16_bytes_of_its_digest() {
    let mut vault = Vault::new();
    let older = vault.all_scopes(0, 5);
    vault.state.kept = BTreeSet::from([older.digest()]);
    let charter = vault.charter();
    assert_eq!(counts(&older, charter.state(), order(3, 7)), Ok(()));
    assert_eq!(enters(&older, charter.state()), Ok(Scopes::ALL));
    for at in 0..16 {
        let mut near = *older.digest().as_bytes();
        near[at] ^= 0x10;
        vault.state.kept = BTreeSet::from([CertificateDigest::from_bytes(near)]);
        let charter = vault.charter();
        let verdict = counts(&older, charter.state(), order(3, 7));
        assert_eq!(verdict, Err(CertificateError::RootLeft), "byte {at}");
    }
    // Being kept is no pardon.
    vault.state.kept = BTreeSet::from([older.digest()]);
    vault.state.revoked.insert(Pair::of(5).device(), Epoch::new(0));
    let verdict = counts(&older, vault.charter().state(), order(0, 7));
    assert_eq!(verdict, Err(CertificateError::Revoked));
}

/// A device that may not put vouches for nothing, and may enter.
#[test]
fn certificate_without_put_counts_for_no_blob() {
    let vault = Vault::new();
    let charter = vault.charter();
    let scopes = Scopes::from_bits(30);
    let reading = CertificateFields { scopes, writer: None, ..all_scopes(&vault.id, 5) };
    let reading = vault.certify(1, reading);
    assert_eq!(counts(&reading, charter.state(), order(3, 7)), Err(CertificateError::NoPut));
    assert_eq!(enters(&reading, charter.state()), Ok(scopes));
}

/// "`prefix_tag` is zeros, or the tag of a prefix of the blob's name".
#[test]
fn counting_certificate_allows_names_below_its_prefix() {
    let vault = Vault::new();
    let charter = vault.charter();
    let tag = |byte| PrefixTag::from_bytes([byte; 32]);
    let below = |prefix| {
        let fields = CertificateFields { prefix, ..all_scopes(&vault.id, 5) };
        vault.certify(1, fields)
    };
    let allows = |certificate: &Certificate, prefixes: &[PrefixTag]| {
        let held = certificate.holds_under(charter.state()).unwrap();
        let counts = held.counts(order(3, 7)).unwrap();
        assert_eq!(counts.writer(), &Pair::of(5 ^ 0x80).public());
        assert_eq!(counts.certificate(), certificate);
        counts.allows_name(prefixes)
    };
    let everywhere = below(PrefixTag::EVERY_NAME);
    assert!(allows(&everywhere, &[]));
    assert!(allows(&everywhere, &[tag(1)]));
    let one = below(tag(1));
    assert!(allows(&one, &[tag(1)]));
    assert!(allows(&one, &[tag(2), tag(1)]));
    assert!(!allows(&one, &[tag(2)]));
    assert!(!allows(&one, &[]), "a name at the top has no prefix");
}

/// The owner rule, case by case: same device, same prefix, or a version that does not count.
#[test]
fn owner_rule_has_three_cases() {
    let vault = Vault::new();
    let charter = vault.charter();
    let prefixed = |root, device, prefix| {
        let prefix = PrefixTag::from_bytes([prefix; 32]);
        vault.certify(root, CertificateFields { prefix, ..all_scopes(&vault.id, device) })
    };
    let may = |own: &Certificate, theirs: &Certificate, epoch| {
        may_replace(own, (theirs, Epoch::new(epoch)), charter.state())
    };
    // The same device, with a certificate that was renewed; neither has a prefix.
    assert!(may(&prefixed(1, 5, 0), &prefixed(1, 5, 0), 3));
    assert!(may(&prefixed(1, 5, 1), &prefixed(1, 5, 2), 3));
    // Another one with the same prefix, another prefix, and none.
    assert!(may(&prefixed(1, 5, 1), &prefixed(1, 6, 1), 3));
    assert!(!may(&prefixed(1, 5, 1), &prefixed(1, 6, 2), 3));
    assert!(!may(&prefixed(1, 5, 0), &prefixed(1, 6, 0), 3), "zeros are no prefix");
    assert!(!may(&prefixed(1, 5, 1), &prefixed(1, 6, 0), 3));
    assert!(!may(&prefixed(1, 5, 0), &prefixed(1, 6, 1), 3));
    // Device 9 is revoked from epoch 1 on.
    assert!(!may(&prefixed(1, 5, 0), &prefixed(1, 9, 0), 0));
    assert!(may(&prefixed(1, 5, 0), &prefixed(1, 9, 0), 1));
    // Root 0 counts below epoch 2.
    assert!(!may(&prefixed(1, 5, 0), &prefixed(0, 6, 0), 1));
    assert!(may(&prefixed(1, 5, 0), &prefixed(0, 6, 0), 2));
    // A root that this charter does not know has not been left.
    let later = CertificateFields { root: 2, ..all_scopes(&vault.id, 6) };
    let later = Pair::of(3).certify(&later);
    assert!(!may(&prefixed(1, 5, 0), &later, 3));
}

/// A kept certificate keeps what it protects.
#[test]
fn owner_rule_protects_versions_of_kept_certificates() {
    let mut vault = Vault::new();
    let kept = vault.all_scopes(0, 6);
    vault.state.kept = BTreeSet::from([kept.digest()]);
    let charter = vault.charter();
    let own = vault.all_scopes(1, 5);
    assert!(!may_replace(&own, (&kept, Epoch::new(3)), charter.state()));
    let not_kept = vault.all_scopes(0, 7);
    assert!(may_replace(&own, (&not_kept, Epoch::new(3)), charter.state()));
}
