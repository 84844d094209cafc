//! The golden files say what the script put into them, and are what the crate would write.

use super::*;
use crate::keys::{AlgorithmError, SignatureLabel};

const LAPTOP: &str = "df6f75f1c9c40636c4279ba32f70c2da687ede6f1be9731f987a4041bbb6e681";
const LAPTOP_WRITER: &str = "2c5ca6473a3170ce45e3a833b65dd5641d0784a6238e8ab04ef6a3f831736a7e";
const HOST: &str = "bcd891b1ebf24f149ca13a2db655d02a062c1bb882e93ffedc4e0c9ac4ea5ee5";
const HOST_WRITER: &str = "6741a5d47648358bf414d5f91779277360681c7c10f6788f180fb6a3a32c36dd";
const READER: &str = "51f70cb5e7f4f127a24b8d8096f3a5227667bbdf0d4e4c7baaee9b9170f12456";
const ROOTS: [&str; 2] = [
    "9e0ead2aa82a5586885428ce130b1a3adebe5bb346282023ef7e444e7d87f997",
    "fdc6f728d09f20386fdfb679ca47ec636620acbabce25672d2ede4f54681fb8c",
];

fn public(hex: &str) -> SigningPublicKey {
    SigningPublicKey::parse(Algorithm::Ed25519, &hex::decode(hex).unwrap()).unwrap()
}

fn device(hex: &str) -> DevicePublicKey {
    DevicePublicKey::from_bytes(bytes(hex))
}

fn digest(hex: &str) -> CertificateDigest {
    CertificateDigest::from_bytes(bytes(hex))
}

fn tag(hex: &str) -> CharterTag {
    CharterTag::from_bytes(bytes(hex))
}

/// The fields of each golden certificate, its length and its digest.
fn certificates() -> [(&'static str, CertificateFields, usize, &'static str); 6] {
    let all = CertificateFields {
        root: 0,
        vault: golden_vault(),
        scopes: Scopes::ALL,
        not_after: 0,
        prefix: PrefixTag::EVERY_NAME,
        device: device(LAPTOP),
        writer: Some(public(LAPTOP_WRITER)),
        extensions: Vec::new(),
    };
    let prefix = bytes("30b39275da09c1284cbf6fb2c9fb9d23f97101f64f9513530dc217680544de84");
    [
        ("all-scopes", all.clone(), 207, "efedb3a5ab2a651233c4c7fa41c5969c"),
        (
            "put-prefix",
            CertificateFields {
                scopes: Scopes::PUT,
                not_after: 1_900_000_000,
                prefix: PrefixTag::from_bytes(prefix),
                device: device(HOST),
                writer: Some(public(HOST_WRITER)),
                ..all.clone()
            },
            207,
            "673f48c6f2f4602b41f24a0e76c5635c",
        ),
        (
            "get",
            CertificateFields {
                scopes: Scopes::GET.and(Scopes::LIST),
                device: device(READER),
                writer: None,
                ..all.clone()
            },
            175,
            "c1742fc872aa1ec155c3340c91f49875",
        ),
        (
            "later-scope",
            CertificateFields { scopes: Scopes::PUT, ..all.clone() },
            207,
            "6421d07c881a325b353f348167d4813b",
        ),
        (
            "skipped-extension",
            CertificateFields { extensions: b"\x05\x00\x05later".to_vec(), ..all.clone() },
            215,
            "7c45e1207fd26725d0f9b5c261292137",
        ),
        ("root-1", CertificateFields { root: 1, ..all }, 207, "b8ae13acedac59350e8026286728fff1"),
    ]
}

#[test]
fn golden_certificates_say_what_the_script_put_in() {
    let charter = golden_charter("4-planned");
    for (name, fields, length, expected_digest) in certificates() {
        let certificate = golden_certificate(name);
        assert_eq!(certificate.fields(), &fields, "{name}");
        assert_eq!(certificate.as_bytes().len(), length, "{name}");
        assert_eq!(certificate.digest(), digest(expected_digest), "{name}");
        let held = certificate.holds_under(charter.state());
        assert_eq!(held.map(|held| held.certificate()), Ok(&certificate), "{name}");
    }
    let files = fs::read_dir(data().join("certificate-v2")).unwrap();
    assert_eq!(
        files.filter(|file| file.as_ref().unwrap().path().is_file()).count(),
        6 + KEYLESS.len()
    );
}

/// Certificates of devices that are no keys, as those of a later algorithm are.
const KEYLESS: [(&str, AlgorithmError); 3] = [
    ("device-small-order", AlgorithmError::SmallOrder),
    ("device-not-canonical", AlgorithmError::NotCanonical),
    ("device-no-point", AlgorithmError::NotCanonical),
];

/// FORMAT 12: a reader of today takes a blob with such a certificate, and no server lets the device
/// in.
#[test]
fn golden_certificate_of_device_without_key_counts_and_does_not_enter() {
    let charter = golden_charter("1");
    for (name, why) in KEYLESS {
        let certificate = golden_certificate(name);
        assert_eq!(counts(&certificate, charter.state(), order(0, 7)), Ok(()), "{name}");
        let entered = enters(&certificate, charter.state());
        assert_eq!(entered, Err(CertificateError::Device(why)), "{name}");
    }
}

/// The crate writes the bytes that the script signed.
#[test]
fn golden_certificates_are_written_byte_for_byte() {
    for (name, fields, length, _) in certificates() {
        // A bit that is not known is kept by who reads it and is not written.
        if name == "later-scope" {
            continue;
        }
        let golden = golden(&format!("certificate-v2/{name}.certificate"));
        let (signed, signature) = golden.split_at(length - 64);
        let expected = [b"zput/v2/certificate\0", signed].concat();
        assert_eq!(fields.to_sign().unwrap(), expected, "{name}");
        let signature = Signature::parse(Algorithm::Ed25519, signature).unwrap();
        assert_eq!(fields.signed(&signature).unwrap().as_bytes(), golden, "{name}");
    }
}

const TAG_0: &str = "5759898bd92a42032ddcadb077055748";
const TAG_1: &str = "82253f8610a37a898f935a43d8cc16db";
const TAG_1_FORK: &str = "a49c8bcd2e9f2440df88e30b4d28b798";
const TAG_2_PLANNED: &str = "0c96b4e5aa64d2add38f07c7b9f63f59";
const TAG_2_THEFT: &str = "587d90cc19b328f2b765ab264c06b7b8";

#[test]
fn golden_charters_say_what_the_script_put_in() {
    // Name, serial, tags up to the charter's own, length of members and of owner.
    let expected: [(&str, u64, &[&str], usize, usize); 6] = [
        ("1", 1, &[TAG_0], 1329, 198),
        ("2", 2, &[TAG_0], 1537, 366),
        ("3", 1, &[TAG_0, TAG_1], 1570, 366),
        ("3-fork", 1, &[TAG_0, TAG_1_FORK], 1570, 366),
        ("4-planned", 1, &[TAG_0, TAG_1, TAG_2_PLANNED], 1602, 456),
        ("4-theft", 1, &[TAG_0, TAG_1, TAG_2_THEFT], 1569, 481),
    ];
    for (name, serial, tags, members, owner) in expected {
        let charter = golden_charter(name);
        let state = charter.state();
        assert_eq!((charter.serial(), charter.issued()), (serial, 1_800_000_000), "{name}");
        assert_eq!(state.vault(), &golden_vault(), "{name}");
        assert_eq!(state.epoch(), Epoch::new(tags.len() as u32 - 1), "{name}");
        for (epoch, expected) in (0..).zip(tags) {
            assert_eq!(state.tag_of(Epoch::new(epoch)), Some(&tag(expected)), "{name}");
        }
        assert_eq!(state.tag_of(Epoch::new(tags.len() as u32)), None, "{name}");
        // What is in them, `zput-seal` reads.
        assert_eq!((charter.members().len(), charter.owner().len()), (members, owner), "{name}");
        assert!(!state.fields().has_clear_names);
        assert_eq!(state.root(0), Some(&public(ROOTS[0])), "{name}");
    }
}

#[test]
fn golden_charters_have_the_roots_and_devices_of_the_script() {
    let revoked =
        |hex, until| BTreeMap::from([(DevicePublicKey::from_bytes(bytes(hex)), Epoch::new(until))]);
    let one = golden_charter("2");
    assert_eq!(one.state().last_root(), &public(ROOTS[0]));
    assert_eq!(one.state().root(1), None);
    assert_eq!(one.state().fields().revoked, BTreeMap::new());
    assert_eq!(golden_charter("3").state().fields().revoked, revoked(HOST, 1));
    assert_eq!(golden_charter("3-fork").state().fields().revoked, revoked(READER, 1));

    let planned = golden_charter("4-planned");
    assert_eq!(planned.state().last_root(), &public(ROOTS[1]));
    assert_eq!(planned.state().root(1), Some(&public(ROOTS[1])));
    assert_eq!(planned.state().root(2), None);
    assert_eq!(planned.state().fields().later_roots[0].until, Epoch::new(2));
    let kept = BTreeSet::from([digest("c1742fc872aa1ec155c3340c91f49875")]);
    assert_eq!(planned.state().fields().kept, kept);
    let theft = golden_charter("4-theft");
    assert_eq!(theft.state().fields().later_roots[0].until, Epoch::new(0));
    let kept = ["c1742fc872aa1ec155c3340c91f49875", "efedb3a5ab2a651233c4c7fa41c5969c"].map(digest);
    assert_eq!(theft.state().fields().kept, BTreeSet::from(kept));

    assert_eq!(golden_charter("16-roots").state().fields().later_roots.len(), 15);
    let skipped = golden_charter("skipped-extension");
    assert_eq!(skipped.state().fields().extensions, b"\x05\x00\x05later");
}

/// The crate writes the bytes that the script signed, and hashes what both sealed parts repeat.
#[test]
fn golden_charters_are_written_byte_for_byte() {
    for name in ["1", "2", "3", "3-fork", "4-planned", "4-theft", "16-roots", "skipped-extension"] {
        let golden = golden(&format!("charter-v2/{name}.charter"));
        let charter = golden_charter(name);
        let fields = CharterFields {
            serial: charter.serial(),
            issued: charter.issued(),
            state: charter.state().fields().clone(),
        };
        let (signed, signature) = golden.split_at(golden.len() - 64);
        let (members, owner) = (charter.members(), charter.owner());
        let expected = SignatureLabel::Charter.input(&[signed]);
        assert_eq!(fields.to_sign(members, owner).unwrap(), expected, "{name}");
        let signature = Signature::parse(Algorithm::Ed25519, signature).unwrap();
        assert_eq!(fields.signed(members, owner, &signature).as_ref(), Ok(&charter), "{name}");
        assert_eq!(charter.as_bytes(), golden, "{name}");
        assert_eq!(fields.public_hash().unwrap(), charter.public_hash(), "{name}");
    }
    // sha256sum of the first 103 bytes of the file: magic to the end of the state.
    let expected = "2a0e9ffd39953c00fbb71e32e8dc094b8baba21b97cda816151086d7ae90e8de";
    assert_eq!(hex::encode(golden_charter("1").public_hash()), expected);
}

/// How each golden charter stands to each other one.
#[test]
fn golden_charters_follow_along_their_line() {
    let names = ["1", "2", "3", "3-fork", "4-planned", "4-theft"];
    let table = [
        // known:   1    2    3    3'   4    4'
        ("1", ["=", "<", "<", "<", "<", "<"]),
        ("2", [">", "=", "<", "<", "<", "<"]),
        ("3", [">", ">", "=", "fork", "<", "<"]),
        ("3-fork", [">", ">", "fork", "=", "fork", "fork"]),
        ("4-planned", [">", ">", ">", "fork", "=", "fork"]),
        ("4-theft", [">", ">", ">", "fork", "fork", "="]),
    ];
    for (new, row) in table {
        for (known, expected) in names.into_iter().zip(row) {
            let follows = golden_charter(new).follows(&golden_charter(known), Recipients::Unread);
            let word = match follows {
                Follows::Same => "=",
                Follows::Newer => ">",
                Follows::Older => "<",
                Follows::Fork => "fork",
            };
            assert_eq!(word, expected, "{new} to one who knows {known}");
        }
    }
}
