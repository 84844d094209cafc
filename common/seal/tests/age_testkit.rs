//! The age project's own vectors against our stanzas, recipients and identities.
//!
//! The vectors are whole age files, so this file holds a reader of age's header and of a payload of
//! one chunk: c2sp.org/age, "Header" and "Payload". Only the stanzas and what unwraps them is ours.

#![expect(clippy::unwrap_used, reason = "a test file: what it reads is fixed")]

use std::fs;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use chacha20poly1305::aead::{Aead, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Nonce};
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use zput_proto::envelope::Stanza;
use zput_seal::age::{FileKey, Identity, unwrap_file_key};

/// What a vector expects, and what reading it came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    HeaderFailure,
    NoMatch,
    MacFailure,
    PayloadFailure,
    Success,
}

struct Vector {
    name: String,
    expect: Verdict,
    identities: Vec<Identity>,
    file_key: Vec<u8>,
    payload_sha256: Option<String>,
    age_file: Vec<u8>,
}

fn vectors() -> Vec<Vector> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/age-testkit");
    let mut vectors = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name != "README.md" {
            vectors.push(vector(name, &fs::read(path).unwrap()));
        }
    }
    vectors.sort_by(|a, b| a.name.cmp(&b.name));
    vectors
}

fn vector(name: String, bytes: &[u8]) -> Vector {
    let end = bytes.windows(2).position(|two| two == b"\n\n").unwrap();
    let mut vector = Vector {
        name,
        expect: Verdict::Success,
        identities: Vec::new(),
        file_key: Vec::new(),
        payload_sha256: None,
        age_file: bytes[end + 2..].to_vec(),
    };
    for line in str::from_utf8(&bytes[..end]).unwrap().lines() {
        match line.split_once(": ").unwrap() {
            ("expect", "success") => vector.expect = Verdict::Success,
            ("expect", "no match") => vector.expect = Verdict::NoMatch,
            ("expect", "HMAC failure") => vector.expect = Verdict::MacFailure,
            ("expect", "header failure") => vector.expect = Verdict::HeaderFailure,
            ("identity", text) => vector.identities.push(text.parse().unwrap()),
            ("file key", hex) => vector.file_key = hex::decode(hex).unwrap(),
            ("payload", hex) => vector.payload_sha256 = Some(hex.to_owned()),
            ("compressed", "zlib") => {
                let inflated = miniz_oxide::inflate::decompress_to_vec_zlib(&vector.age_file);
                vector.age_file = inflated.unwrap();
            }
            ("comment", _) => {}
            other => panic!("{}: unknown line {other:?}", vector.name),
        }
    }
    vector
}

/// An age file taken apart.
struct AgeFile<'a> {
    stanzas_text: &'a [u8],
    stanzas: Vec<Stanza>,
    /// "the whole header up to and including the `---` mark"
    covered: &'a [u8],
    mac: Vec<u8>,
    nonce: &'a [u8],
    payload: &'a [u8],
}

/// ```text
/// header = v1-line 1*stanza end
/// end    = "--- " 43base64char LF
/// ```
fn take_apart(file: &[u8]) -> Option<AgeFile<'_>> {
    let first = b"age-encryption.org/v1\n";
    let body = file.strip_prefix(first)?;
    let stanzas_length = body.windows(4).position(|four| four == b"\n---")? + 1;
    let (stanzas_text, end) = body.split_at(stanzas_length);
    let covered = &file[..first.len() + stanzas_length + 3];
    let line_length = end.iter().position(|&byte| byte == b'\n')?;
    let mac = end[..line_length].strip_prefix(b"--- ")?;
    let mac = STANDARD_NO_PAD.decode(mac).ok().filter(|mac| mac.len() == 32)?;
    let (nonce, payload) = end[line_length + 1..].split_at_checked(16)?;
    let stanzas = Stanza::parse_all(stanzas_text).ok()?;
    Some(AgeFile { stanzas_text, stanzas, covered, mac, nonce, payload })
}

fn derive(file_key: &FileKey, salt: &[u8], info: &[u8]) -> [u8; 32] {
    let mut key = [0; 32];
    Hkdf::<Sha256>::new(Some(salt), file_key.as_bytes()).expand(info, &mut key).unwrap();
    key
}

/// Reads a vector's file as far as it goes; the payload's SHA-256 when it goes all the way.
fn read(vector: &Vector) -> (Verdict, Option<String>) {
    let Some(file) = take_apart(&vector.age_file) else { return (Verdict::HeaderFailure, None) };
    let file_key = match unwrap_file_key(&file.stanzas, &vector.identities) {
        Err(_) => return (Verdict::HeaderFailure, None),
        Ok(None) => return (Verdict::NoMatch, None),
        Ok(Some(file_key)) => file_key,
    };
    assert_eq!(file_key.as_bytes().as_slice(), vector.file_key, "{}", vector.name);
    let mut mac =
        <Hmac<Sha256> as KeyInit>::new_from_slice(&derive(&file_key, b"", b"header")).unwrap();
    mac.update(file.covered);
    if mac.verify_slice(&file.mac).is_err() {
        return (Verdict::MacFailure, None);
    }
    // One chunk, and so the final one: its nonce is eleven zeros and 0x01.
    assert!(file.payload.len() <= 65_536 + 16, "{}", vector.name);
    let cipher =
        ChaCha20Poly1305::new_from_slice(&derive(&file_key, file.nonce, b"payload")).unwrap();
    let nonce = Nonce::from([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    match cipher.decrypt(&nonce, file.payload) {
        Ok(plaintext) => (Verdict::Success, Some(hex::encode(Sha256::digest(plaintext)))),
        Err(_) => (Verdict::PayloadFailure, None),
    }
}

/// Every vector of the age test kit gives the verdict and payload that it expects.
#[test]
fn age_testkit_vectors_give_their_expected_verdict() {
    let vectors = vectors();
    let count = |verdict| vectors.iter().filter(|vector| vector.expect == verdict).count();
    assert_eq!(count(Verdict::Success), 10);
    assert_eq!(count(Verdict::NoMatch), 8);
    assert_eq!(count(Verdict::MacFailure), 1);
    assert_eq!(count(Verdict::HeaderFailure), 38);
    assert_eq!(vectors.len(), 57);
    let wrong: Vec<_> = vectors
        .iter()
        .map(|vector| (vector, read(vector)))
        .filter(|(vector, came)| *came != (vector.expect, vector.payload_sha256.clone()))
        .map(|(vector, came)| {
            format!("{}: expected {:?}, came to {came:?}", vector.name, vector.expect)
        })
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// CCTV: "any vector that's not a `header failure` can be used to test round-trips of header
/// decode/encode".
#[test]
fn age_testkit_stanzas_round_trip() {
    let mut stanzas = 0;
    for vector in vectors().iter().filter(|vector| vector.expect != Verdict::HeaderFailure) {
        let file = take_apart(&vector.age_file).unwrap();
        let mut written = Vec::new();
        for stanza in &file.stanzas {
            stanza.encode(&mut written);
            stanzas += 1;
        }
        assert_eq!(written, file.stanzas_text, "{}", vector.name);
    }
    assert_eq!(stanzas, 30);
}
