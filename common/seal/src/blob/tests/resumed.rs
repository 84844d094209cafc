//! A blob that is begun by one sealer and ended by another.

use super::super::seal::{SealError, SealedPart};
use super::*;
use crate::age::FileKey;

/// What a journal would hold of a sealer's first `plain` parts.
struct Begun {
    header: Vec<u8>,
    file_key: FileKey,
    parts: Vec<Vec<u8>>,
    journal: Vec<SealedPart>,
}

fn begin(world: &mut World, options: SealOptions, parts: &[&[u8]]) -> Begun {
    let mut sealer = world.sealer(options);
    let mut begun = Begun {
        header: sealer.header().to_vec(),
        file_key: sealer.file_key().clone(),
        parts: Vec::new(),
        journal: Vec::new(),
    };
    for plain in parts {
        let mut sealed = Vec::new();
        let ciphertext = sealer.seal_part(plain, &mut world.rng, &mut sealed).unwrap();
        begun.journal.push(SealedPart { plaintext: Digest::of(plain), ciphertext });
        begun.parts.push(sealed);
    }
    begun
}

fn resumed(begun: &Begun, sha256: bool) -> Sealer {
    Sealer::resume(&begun.header, begun.file_key.clone(), Engine::default(), sha256).unwrap()
}

/// A resumed sealer adopts the held parts and completes a blob with the right SHA-256.
#[test]
fn sealer_resume_completes_an_interrupted_blob() {
    let plain = vec![b'a'; 1_000_000];
    let parts: Vec<&[u8]> = plain.chunks(PART).collect();
    for held in [0, 1, 7, 15, 16] {
        let mut world = World::new("resumed");
        let options = SealOptions { sha256: true, ..options() };
        let mut begun = begin(&mut world, options, &parts[..held]);
        let mut sealer = resumed(&begun, true);
        for (plain, sealed) in parts.iter().zip(&begun.journal) {
            sealer.adopt_part(plain, sealed).unwrap();
        }
        for plain in &parts[held..] {
            let mut sealed = Vec::new();
            sealer.seal_part(plain, &mut world.rng, &mut sealed).unwrap();
            begun.parts.push(sealed);
        }
        let provenance = Provenance::Vault { mac_key: &world.mac_key, writer: &world.writer };
        let footer = sealer.finish(provenance, &mut world.rng).unwrap();
        let blob = Blob { header: begun.header, parts: begun.parts, footer };
        let trusted = world.trusted(&blob.header, &blob.footer.bytes).unwrap();
        assert!(world.open(&blob.bytes()).unwrap() == plain, "{held} parts were held");
        // FIPS 180-4, a million times "a".
        let sha256 = "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0";
        assert_eq!(trusted.sha256().map(hex::encode).as_deref(), Some(sha256), "{held}");
    }
}

/// A part that is sealed again after a resume gets a fresh salt and another digest.
#[test]
fn sealer_resume_uses_a_fresh_salt_for_a_resealed_part() {
    let mut world = World::new("again");
    let plain = plaintext(PART);
    let begun = begin(&mut world, options(), &[&plain, &plain]);
    let mut sealer = resumed(&begun, false);
    sealer.adopt_part(&plain, &begun.journal[0]).unwrap();
    let mut again = Vec::new();
    let digest = sealer.seal_part(&plain, &mut world.rng, &mut again).unwrap();
    assert_ne!(again[..24], begun.parts[1][..24]);
    assert_ne!(digest, begun.journal[1].ciphertext);
}

/// A resumed sealer does not adopt a part whose plaintext changed, nor one after the last.
#[test]
fn sealer_resume_refuses_to_adopt_changed_plaintext() {
    let mut world = World::new("changed");
    let plain = plaintext(PART);
    let begun = begin(&mut world, options(), &[&plain, &plain, b"end"]);
    let mut sealer = resumed(&begun, false);
    sealer.adopt_part(&plain, &begun.journal[0]).unwrap();
    let mut changed = plain.clone();
    changed[PART - 1] ^= 1;
    for other in [&changed[..], &plain[..PART - 1], b""] {
        let refused = sealer.adopt_part(other, &begun.journal[1]);
        assert_eq!(refused, Err(SealError::AnotherPart { part: 1 }));
    }
    assert_eq!(sealer.parts(), 1);
    sealer.adopt_part(&plain, &begun.journal[1]).unwrap();
    sealer.adopt_part(b"end", &begun.journal[2]).unwrap();
    // What was the last is the last.
    assert_eq!(sealer.adopt_part(b"end", &begun.journal[2]), Err(SealError::AfterLast));
    let sealed = sealer.seal_part(b"", &mut world.rng, &mut Vec::new());
    assert_eq!(sealed, Err(SealError::AfterLast));
}

/// Resuming fails with another file key, a changed header or a cut one.
#[test]
fn sealer_resume_requires_the_file_key_of_the_header() {
    let mut world = World::new("keys");
    let begun = begin(&mut world, options(), &[]);
    let resume = |header: &[u8], key| {
        Sealer::resume(header, FileKey::from_bytes(key), Engine::default(), false).map(drop)
    };
    assert_eq!(resume(&begun.header, *begun.file_key.as_bytes()), Ok(()));
    assert_eq!(resume(&begun.header, [7; 16]), Err(SealError::AnotherFileKey));
    // The generation, and the first byte of the MAC.
    for at in [48, begun.header.len() - 32] {
        let mut changed = begun.header.clone();
        changed[at] ^= 1;
        let refused = resume(&changed, *begun.file_key.as_bytes());
        assert_eq!(refused, Err(SealError::AnotherFileKey), "{at}");
    }
    let cut = resume(&begun.header[1..], *begun.file_key.as_bytes());
    assert!(matches!(cut, Err(SealError::Header(_))));
}
