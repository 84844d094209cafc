//! A blob under another generation: its parts stay as they are.

use super::*;

const LATER: u64 = 1_700_000_000_000_000_001;

/// A blob of three parts with a fact, and the same under a later generation.
fn pair() -> (World, Blob, Blob) {
    let mut world = World::new("resealed");
    let before = world.seal(SealOptions { sha256: true, ..options() }, &plaintext(2 * PART + 5));
    let trusted = world.trusted(&before.header, &before.footer.bytes).unwrap();
    let provenance = Provenance::Vault { mac_key: &world.mac_key, writer: &world.writer };
    let resealed = trusted.reseal(LATER, provenance, &mut world.rng).unwrap();
    let after =
        Blob { header: resealed.header, parts: before.parts.clone(), footer: resealed.footer };
    (world, before, after)
}

/// Reseal gives a blob a later generation and keeps plaintext, metadata and SHA-256.
#[test]
fn reseal_changes_only_the_generation() {
    let (world, before, after) = pair();
    assert!(world.open(&after.bytes()).unwrap() == plaintext(2 * PART + 5));
    let opened = world.trusted(&after.header, &after.footer.bytes).unwrap();
    let seen = world.trusted(&before.header, &before.footer.bytes).unwrap();
    assert_eq!(opened.seen().generation, LATER);
    assert_eq!(opened.metadata(), seen.metadata());
    assert_eq!(opened.sha256(), seen.sha256());
    assert!(opened.sha256().is_some());
    assert_eq!(after.header.len(), before.header.len());
    assert_eq!(after.footer.bytes.len(), before.footer.bytes.len());
    // A reader that has seen the one before takes the later one, and not the other way round.
    let newer = world.open_with(&after.bytes(), &world.vouching(), Some(&seen.seen()));
    assert!(newer.is_ok());
    let older = world.open_with(&before.bytes(), &world.vouching(), Some(&opened.seen()));
    assert_eq!(older, Err(OpenError::Rollback { seen: LATER, found: LATER - 1 }));
}

/// The header and footer of a resealed blob do not open with those of the old one.
#[test]
fn reseal_header_and_footer_fit_only_each_other() {
    let (world, before, after) = pair();
    let mixed = Blob { footer: before.footer.clone(), ..after.clone() };
    assert_eq!(world.open(&mixed.bytes()), Err(OpenError::FileMac));
    let mixed = Blob { footer: after.footer, ..before };
    assert_eq!(world.open(&mixed.bytes()), Err(OpenError::FileMac));
}

/// Reseal refuses the generation 2^64 - 1.
#[test]
fn reseal_refuses_invalid_generation() {
    let (mut world, before, _) = pair();
    let trusted = world.trusted(&before.header, &before.footer.bytes).unwrap();
    let provenance = Provenance::Vault { mac_key: &world.mac_key, writer: &world.writer };
    assert!(trusted.reseal(u64::MAX, provenance, &mut world.rng).is_err());
}
