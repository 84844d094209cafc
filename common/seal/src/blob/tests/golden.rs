//! One blob, byte for byte: the format does not drift. And the same blob read field by field as
//! FORMAT.md says, with nothing of this crate but the age stanza's key.

use aes_gcm::aead::{Aead, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce};
use ed25519_dalek::{Signature, VerifyingKey};
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use sha2::{Digest as _, Sha256, Sha512};

use super::*;

/// Sealed by `seal` below; committed when the format was fixed.
const GOLDEN: &[u8] = include_bytes!("../../../tests/data/golden-v1.zput");
/// The identity that opens it.
const IDENTITY: &str = include_str!("../../../tests/data/golden-v1.identity");
/// The secret of the vault that vouches for it, in hex.
const VAULT: &str = include_str!("../../../tests/data/golden-v1.vault");

const PLAINTEXT: &[u8] = b"zero-copy, zero-knowledge\n";

/// Makes the golden blob again, from the bytes that BLAKE3 gives for `zput golden blob 1`.
fn seal() -> (World, Blob) {
    let mut world = World::new("zput golden blob 1");
    world.asked = world.vault.name_key().object_key(&metadata().name);
    let object_key = Some(world.asked.clone());
    let blob = world.seal(SealOptions { object_key, sha256: true, ..options() }, PLAINTEXT);
    (world, blob)
}

/// Sealing with the seeded random source gives the committed golden blob byte for byte.
#[test]
fn golden_blob_is_reproduced_byte_for_byte() {
    let (world, blob) = seal();
    assert_eq!(hex::encode(blob.bytes()), hex::encode(GOLDEN));
    assert_eq!(*world.identity.to_secret_string(), *IDENTITY.trim_end());
    assert_eq!(
        Digest::of(GOLDEN).to_string(),
        "9785c79476ea0bea894aff58b562c3d584dca9876446dbd7a66da317ebdb687f"
    );
    assert_eq!(GOLDEN.len(), 779);
}

/// The committed golden blob opens to its plaintext.
#[test]
fn golden_blob_opens() {
    let (world, _) = seal();
    assert_eq!(world.open(GOLDEN), Ok(PLAINTEXT.to_vec()));
}

/// Full parts, the other suite, no vault: as a digest.
#[test]
fn golden_bare_blob_of_three_parts_is_reproduced() {
    let mut world = World::new("zput golden blob 2");
    let suite = Suite::ChaCha20Poly1305;
    let options = SealOptions { suite, object_key: None, ..options() };
    let object = world.seal_bare(options, &plaintext(2 * PART + 1)).bytes();
    assert_eq!(
        Digest::of(&object).to_string(),
        "1133659245d7d885afeb08ecfe02d08cf04dfa5615afb83de5836c55dcee1b55"
    );
}

fn uint(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn hmac<'a>(key: &[u8], pieces: impl IntoIterator<Item = &'a [u8]>) -> [u8; 32] {
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key).unwrap();
    pieces.into_iter().for_each(|piece| mac.update(piece));
    mac.finalize().into_bytes().into()
}

/// A message of fewer than 16,384 bytes of plaintext: one chunk, whose nonce is the base nonce.
fn open_message(key: &[u8; 32], context: &[u8], message: &[u8]) -> Vec<u8> {
    let (salt, rest) = message.split_at(24);
    let (commitment, chunk) = rest.split_at(32);
    let label = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0";
    let mut okm = Vec::new();
    let mut block = Vec::new();
    for number in [1_u8, 2] {
        let mut mac = <Hmac<Sha512> as KeyInit>::new_from_slice(key).unwrap();
        for piece in [&block[..], label, salt, context, &[number]] {
            mac.update(piece);
        }
        block = mac.finalize().into_bytes().to_vec();
        okm.extend_from_slice(&block);
    }
    assert_eq!(commitment, &okm[44..76]);
    let nonce = Nonce::try_from(&okm[32..44]).unwrap();
    Aes256Gcm::new_from_slice(&okm[..32]).unwrap().decrypt(&nonce, chunk).unwrap()
}

/// Code independent of the crate reads every field of the golden blob as FORMAT says.
#[test]
fn golden_blob_matches_the_format_page_field_by_field() {
    let take = |at: &mut usize, length: usize| {
        *at += length;
        &GOLDEN[*at - length..*at]
    };

    // Section 3: the header.
    let mut at = 0;
    assert_eq!(take(&mut at, 8), [0x8a, 0x7a, 0x70, 0x75, 0x74, 0x0d, 0x0a, 0x1a]);
    assert_eq!(take(&mut at, 2), [0, 1], "version");
    let header_length = uint(take(&mut at, 4)) as usize;
    let fields = at;
    assert_eq!(take(&mut at, 1), [1], "suite");
    assert_eq!(take(&mut at, 1), [16], "part_size_log2");
    let header_salt = take(&mut at, 32);
    assert_eq!(uint(take(&mut at, 8)), 1_700_000_000_000_000_000, "generation");
    assert_eq!(take(&mut at, 2), [0, 64], "key_length");
    let object_key = take(&mut at, 64);
    let key_end = at;
    let stanzas_length = uint(take(&mut at, 2)) as usize;
    let stanzas = take(&mut at, stanzas_length);
    assert!(stanzas.starts_with(b"-> X25519 "));
    assert!(stanzas.ends_with(b"\n"));
    let metadata_start = at;
    let metadata_length = uint(take(&mut at, 2)) as usize;
    let metadata = take(&mut at, metadata_length);
    let metadata_end = at;
    let header_mac = take(&mut at, 32);
    assert_eq!(at, header_length);

    // Section 2: the keys.
    let identity: Identity = IDENTITY.trim_end().parse().unwrap();
    let stanzas = zput_proto::envelope::Stanza::parse_all(stanzas).unwrap();
    let file_key = age::unwrap_file_key(&stanzas, &[identity]).unwrap().unwrap();
    let key = |purpose: &str| {
        let mut key = [0; 32];
        let info = format!("zput/v1/AEAD_AES_256_GCM/{purpose}");
        Hkdf::<Sha512>::new(Some(header_salt), file_key.as_bytes())
            .expand(info.as_bytes(), &mut key)
            .unwrap();
        key
    };
    assert_eq!(hmac(&key("header-mac"), [&GOLDEN[..metadata_end]]), header_mac);

    // Section 5: the metadata.
    let expected =
        b"\x00\x0eimages/app.img\x00\x00\x00\x00\x65\x53\xf1\x00\x07\x5b\xcd\x15\x00\x00\x01\xa0";
    assert_eq!(open_message(&key("metadata"), b"metadata", metadata), expected);

    // Section 6: 26 bytes are one part of 56 + 26 + 16.
    let part = take(&mut at, 98);
    let context = b"part\x00\x00\x00\x00\x00\x00\x00\x00";
    assert_eq!(open_message(&key("payload"), context, part), PLAINTEXT);

    // Section 7: the footer.
    let footer_start = at;
    assert_eq!(uint(take(&mut at, 8)), 26, "total_length");
    assert_eq!(take(&mut at, 32), blake3::hash(part).as_bytes());
    assert_eq!(take(&mut at, 2), [0, 106], "facts_length");
    let facts = take(&mut at, 106);
    assert_eq!(take(&mut at, 1), [1], "provenance");
    let vouched_end = at;
    let file_mac = take(&mut at, 32);
    let vault_mac = take(&mut at, 32);
    let writer = take(&mut at, 32);
    let signature = take(&mut at, 64);
    assert_eq!(uint(take(&mut at, 4)) as usize, at + 8 - footer_start);
    assert_eq!(take(&mut at, 8), [0x8a, 0x7a, 0x70, 0x75, 0x74, 0x65, 0x6e, 0x64]);
    assert_eq!(at, GOLDEN.len());

    let mut transcript = Sha512::new();
    transcript.update(b"zput/v1/transcript");
    transcript.update(&GOLDEN[..10]);
    transcript.update(&GOLDEN[fields..key_end]);
    transcript.update(&GOLDEN[metadata_start..metadata_end]);
    transcript.update(&GOLDEN[footer_start..vouched_end]);
    let transcript: [u8; 64] = transcript.finalize().into();
    assert_eq!(hmac(&key("footer-mac"), [&b"zput/v1/file-mac"[..], &transcript]), file_mac);
    let vault_secret = hex::decode(VAULT.trim_end()).unwrap();
    let vault_key = |info: &[u8]| {
        let mut key = [0; 32];
        Hkdf::<Sha512>::new(Some(b""), &vault_secret).expand(info, &mut key).unwrap();
        key
    };
    assert_eq!(
        hmac(&vault_key(b"zput/v1/vault/mac"), [&b"zput/v1/vault-mac"[..], &transcript]),
        vault_mac
    );
    let writer = VerifyingKey::from_bytes(writer.try_into().unwrap()).unwrap();
    let signed = [&b"zput/v1/writer"[..], &transcript].concat();
    let signature = Signature::from_bytes(signature.try_into().unwrap());
    writer.verify_strict(&signed, &signature).unwrap();

    // Section 10: the object key of a sealed name.
    let name = hmac(&vault_key(b"zput/v1/vault/name"), [&b"images/app.img"[..]]);
    assert_eq!(object_key, hex::encode(name).as_bytes());

    // Section 8: the facts.
    let facts = open_message(&key("footer"), b"facts", facts);
    assert_eq!(facts[..2], [1, 32]);
    assert_eq!(facts[2..], Sha256::digest(PLAINTEXT)[..]);
}
