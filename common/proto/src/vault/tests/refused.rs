//! Each refused golden file has one fault, and is refused for it.

use super::*;
use crate::keys::AlgorithmError;
use crate::tagged::TaggedError;

/// The files of a folder, by their names without ending.
fn names(folder: &str) -> BTreeSet<String> {
    let files = fs::read_dir(data().join(folder)).unwrap();
    files.map(|file| file.unwrap().path().file_stem().unwrap().to_str().unwrap().into()).collect()
}

/// What is wrong with each refused certificate, for a program that has charter 1.
const CERTIFICATES: [(&str, CertificateError); 26] = {
    use CertificateError::*;
    [
        ("too-long", TooLong(8193)),
        ("cut", Cut),
        ("version-1", UnknownVersion(1)),
        ("version-3", UnknownVersion(3)),
        ("not-after-2-33", NotAfter(8_589_934_592)),
        ("writer-small-order", Writer(AlgorithmError::SmallOrder)),
        ("writer-not-canonical", Writer(AlgorithmError::NotCanonical)),
        ("writer-algorithm-2", Writer(AlgorithmError::UnknownAlgorithm(2))),
        ("writer-algorithm-255", Writer(AlgorithmError::UnknownAlgorithm(255))),
        ("writer-without-put", WriterWithoutPut),
        ("put-without-writer", WriterWithoutPut),
        ("extension-critical", Extensions(TaggedError::Critical(0x85))),
        ("extension-order", Extensions(TaggedError::Order(5))),
        ("extension-twice", Extensions(TaggedError::Order(5))),
        ("extension-cut", Extensions(TaggedError::Cut)),
        ("extensions-beyond-end", Cut),
        ("signature-4097", SignatureLength(4097)),
        ("other-vault", OtherVault(OTHER_VAULT)),
        ("root-of-no-charter", NoSuchRoot(1)),
        ("signature-flipped", Signature(AlgorithmError::Signature)),
        ("signature-63", Signature(AlgorithmError::SignatureLength(63))),
        ("signature-65", Signature(AlgorithmError::SignatureLength(65))),
        ("signature-none", Signature(AlgorithmError::SignatureLength(0))),
        ("signature-above-l", Signature(AlgorithmError::Signature)),
        ("signature-other-root", Signature(AlgorithmError::Signature)),
        ("signature-other-label", Signature(AlgorithmError::Signature)),
    ]
};

/// The id of the vault of the third root of the script.
const OTHER_VAULT: VaultId = VaultId::from_bytes([
    0x34, 0xba, 0x0e, 0x28, 0x36, 0x8b, 0x99, 0x81, 0x19, 0x6d, 0x31, 0xd0, 0xa2, 0x94, 0xf5, 0x93,
    0xa3, 0x19, 0x2c, 0xd6, 0x6e, 0xf2, 0x5e, 0x3d, 0x21, 0x9b, 0x47, 0x02, 0xbb, 0xff, 0x45, 0xb2,
]);

/// How many of them are refused before a charter is looked at.
const UNPARSED: usize = 17;

#[test]
fn refused_certificates_are_refused_for_their_one_fault() {
    let charter = golden_charter("1");
    for (at, (name, expected)) in CERTIFICATES.into_iter().enumerate() {
        let bytes = golden(&format!("certificate-v2/refused/{name}.certificate"));
        match Certificate::parse(&bytes) {
            Err(error) => assert_eq!((error, at < UNPARSED), (expected, true), "{name}"),
            Ok(certificate) => {
                let error = certificate.holds_under(charter.state()).map(|_| ());
                assert_eq!((error, at < UNPARSED), (Err(expected), false), "{name}");
            }
        }
    }
    let expected = CERTIFICATES.map(|(name, _)| name.to_owned());
    assert_eq!(names("certificate-v2/refused"), BTreeSet::from(expected));
}

/// What is wrong with each refused charter.
const CHARTERS: [(&str, CharterError); 46] = {
    use CharterError::*;
    use StateError as S;
    [
        ("too-long", TooLong(114_689)),
        ("cut", State(S::Cut)),
        ("magic", NotACharter),
        ("version-1", UnknownVersion(1)),
        ("version-3", UnknownVersion(3)),
        ("serial-0", NoSerial),
        ("flags-2", State(S::Flags(2))),
        ("flags-80", State(S::Flags(0x80))),
        ("epoch-1024", State(S::Epoch(1024))),
        ("root-count-0", State(S::RootCount(0))),
        ("root-count-17", State(S::RootCount(17))),
        ("root-algorithm-0", root(0, AlgorithmError::UnknownAlgorithm(0))),
        ("root-algorithm-2", root(0, AlgorithmError::UnknownAlgorithm(2))),
        ("root-small-order", root(0, AlgorithmError::SmallOrder)),
        ("root-not-canonical", root(0, AlgorithmError::NotCanonical)),
        ("root-no-point", root(0, AlgorithmError::NotCanonical)),
        ("later-root-small-order", root(1, AlgorithmError::SmallOrder)),
        ("vault-of-other-root", State(S::VaultId(OTHER_VAULT))),
        ("other-vault", OtherVault(OTHER_VAULT)),
        ("succession-flipped", root(1, AlgorithmError::Signature)),
        ("succession-of-other-index", root(1, AlgorithmError::Signature)),
        ("succession-of-other-vault", root(1, AlgorithmError::Signature)),
        ("succession-by-itself", root(1, AlgorithmError::Signature)),
        ("succession-by-root-before-last", root(2, AlgorithmError::Signature)),
        ("until-of-root-beyond-epoch", UNTIL_1_IN_0),
        ("until-of-device-beyond-epoch", UNTIL_1_IN_0),
        ("revoked-2049", State(S::RevokedCount(2049))),
        ("revoked-order", State(S::RevokedOrder)),
        ("revoked-twice", State(S::RevokedOrder)),
        ("kept-4097", State(S::KeptCount(4097))),
        ("kept-order", State(S::KeptOrder)),
        ("kept-twice", State(S::KeptOrder)),
        ("extension-critical", State(S::Extensions(TaggedError::Critical(0x85)))),
        ("extension-order", State(S::Extensions(TaggedError::Order(5)))),
        ("extension-twice", State(S::Extensions(TaggedError::Order(5)))),
        ("extension-cut", State(S::Extensions(TaggedError::Cut))),
        ("extensions-beyond-end", State(S::Cut)),
        ("members-beyond-end", Cut),
        ("owner-beyond-end", Cut),
        ("signature-flipped", Signature(AlgorithmError::Signature)),
        ("signature-63", Signature(AlgorithmError::SignatureLength(63))),
        ("signature-65", Signature(AlgorithmError::SignatureLength(65))),
        ("signature-none", Signature(AlgorithmError::SignatureLength(0))),
        ("signature-above-l", Signature(AlgorithmError::Signature)),
        ("signature-other-label", Signature(AlgorithmError::Signature)),
        ("signature-of-first-root", Signature(AlgorithmError::Signature)),
    ]
};

const UNTIL_1_IN_0: CharterError =
    CharterError::State(StateError::Until { until: Epoch::new(1), epoch: Epoch::new(0) });

const fn root(index: usize, why: AlgorithmError) -> CharterError {
    CharterError::State(StateError::Root { index, why })
}

#[test]
fn refused_charters_are_refused_for_their_one_fault() {
    for (name, expected) in CHARTERS {
        let bytes = golden(&format!("charter-v2/refused/{name}.charter"));
        let error = HeldCharter::parse(&bytes, &golden_vault()).map(|_| ());
        assert_eq!(error, Err(expected), "{name}");
    }
    let expected = CHARTERS.map(|(name, _)| name.to_owned());
    assert_eq!(names("charter-v2/refused"), BTreeSet::from(expected));
}

/// A charter holds for the vault that was asked for, and for no other one.
#[test]
fn charter_of_another_vault_holds_there() {
    let bytes = golden("charter-v2/refused/other-vault.charter");
    assert!(HeldCharter::parse(&bytes, &OTHER_VAULT).is_ok());
    let own = golden("charter-v2/1.charter");
    let error = HeldCharter::parse(&own, &OTHER_VAULT).map(|_| ());
    assert_eq!(error, Err(CharterError::OtherVault(golden_vault())));
}

/// No byte of a charter can be changed, and none can be missing or too many.
#[test]
fn charter_with_any_byte_changed_cut_or_added_is_refused() {
    let golden = golden("charter-v2/4-theft.charter");
    let holds = |bytes: &[u8]| HeldCharter::parse(bytes, &golden_vault()).is_ok();
    assert!(holds(&golden));
    // Each byte of the public part, and some of the sealed ones.
    for at in (0..400).chain((400..golden.len()).step_by(17)).chain(golden.len() - 64..golden.len())
    {
        let mut changed = golden.clone();
        changed[at] ^= 1 << (at % 8);
        assert!(!holds(&changed), "byte {at}");
    }
    for length in 0..golden.len() {
        assert!(!holds(&golden[..length]), "{length} bytes");
    }
    assert!(!holds(&[&golden[..], b"\0"].concat()));
}

/// What cannot be parsed cannot be written.
#[test]
fn state_that_breaks_a_rule_is_not_encoded() {
    let root = Pair::of(1);
    let vault = VaultId::of(&root.public());
    let first = first_state(&root);
    let error = |fields: StateFields| fields.encode().map(|_| ());
    assert_eq!(error(first.clone()), Ok(()));

    let past = vec![CharterTag::from_bytes([0; 16]); 1024];
    let past = StateFields { past, ..first.clone() };
    assert_eq!(error(past), Err(StateError::Epoch(1024)));
    let stranger = Pair::of(2).succession(&vault, 1, &Pair::of(2), 0);
    let stranger = StateFields { later_roots: vec![stranger], ..first.clone() };
    let why = AlgorithmError::Signature;
    assert_eq!(error(stranger), Err(StateError::Root { index: 1, why }));
    let extensions = StateFields { extensions: vec![0x80, 0, 0], ..first.clone() };
    let critical = StateError::Extensions(TaggedError::Critical(0x80));
    assert_eq!(error(extensions), Err(critical));
    let long = StateFields { extensions: vec![0; 65_536], ..first.clone() };
    assert_eq!(error(long), Err(StateError::ExtensionsLength(65_536)));
    let devices = (0..=65_535_u32).map(|number| {
        let mut device = [0; 32];
        device[..4].copy_from_slice(&number.to_be_bytes());
        (DevicePublicKey::from_bytes(device), Epoch::new(0))
    });
    let revoked = StateFields { revoked: devices.collect(), ..first };
    assert_eq!(error(revoked), Err(StateError::RevokedCount(65_536)));
}
