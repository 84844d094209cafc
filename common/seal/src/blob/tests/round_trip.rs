//! Every length, suite, engine and split comes back as it was.

use proptest::prelude::*;
use zput_proto::digest::Digest;

use super::*;
use crate::blob::seal::SealError;

/// A blob opens to its plaintext for all boundary lengths, suites and engines.
#[test]
fn blob_opens_to_plaintext_of_every_length() {
    let mut world = World::new("round trip");
    for suite in Suite::ALL {
        for &sealing in Engine::ALL {
            for length in [
                0,
                1,
                16_383,
                16_384,
                16_385,
                PART - 1,
                PART,
                PART + 1,
                2 * PART - 1,
                2 * PART,
                3 * PART + 20_000,
            ] {
                let plaintext = plaintext(length);
                let blob =
                    world.seal(SealOptions { suite, engine: sealing, ..options() }, &plaintext);
                assert_eq!(blob.parts.len(), length / PART + 1);
                assert_eq!(blob.footer.total_length, length as u64);
                assert_eq!(world.open(&blob.bytes()), Ok(plaintext), "{suite} {length}");
            }
        }
    }
}

/// A trusted blob shows the metadata, generation, writer and SHA-256 that were sealed in.
#[test]
fn blob_opens_to_its_metadata_generation_and_writer() {
    let mut world = World::new("contents");
    let blob = world.seal(SealOptions { sha256: true, ..options() }, b"abc");
    let trusted = world.trusted(&blob.header, &blob.footer.bytes).unwrap();
    assert_eq!(*trusted.metadata(), metadata());
    assert_eq!(trusted.seen().generation, 1_700_000_000_000_000_000);
    assert_eq!(trusted.seen().transcript, blob.footer.transcript);
    assert_eq!(trusted.writer(), Some(world.writer.public_key()));
    assert_eq!(trusted.layout().total_length(), 3);
    // FIPS 180-4, the example "abc".
    let sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(trusted.sha256().map(hex::encode).as_deref(), Some(sha256));
    let plain = world.seal(options(), b"abc");
    assert_eq!(world.trusted(&plain.header, &plain.footer.bytes).unwrap().sha256(), None);
}

/// The SHA-256 fact of a blob of 16 parts is that of the whole plaintext.
#[test]
fn blob_sha256_covers_all_parts() {
    let mut world = World::new("sha256");
    let blob = world.seal(SealOptions { sha256: true, ..options() }, &vec![b'a'; 1_000_000]);
    let trusted = world.trusted(&blob.header, &blob.footer.bytes).unwrap();
    // FIPS 180-4, a million times "a".
    let sha256 = "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0";
    assert_eq!(trusted.sha256().map(hex::encode).as_deref(), Some(sha256));
}

/// Each of three recipients opens the blob, with either AEAD engine.
#[test]
fn blob_opens_for_each_recipient_with_either_engine() {
    let mut world = World::new("recipients");
    let second = World::new("another");
    let hybrid = Identity::generate_hybrid(&mut world.rng);
    let recipients =
        [&world.identity, &second.identity, &hybrid].map(|identity| identity.to_recipient());
    let sealer = Sealer::new(options(), &recipients, &mut world.rng).unwrap();
    let blob = seal_with(sealer, b"for three", Provenance::Bare, &mut world.rng);
    let vouching = Vouching { vault: None, writers: &[], bare: BarePolicy::Accept };
    for identity in [world.identity, second.identity, hybrid] {
        for &engine in Engine::ALL {
            let trusted = Header::parse(&blob.header)
                .unwrap()
                .unwrap_file_key(std::slice::from_ref(&identity))
                .unwrap()
                .authenticate(engine)
                .unwrap()
                .for_key(Asked::Any)
                .unwrap()
                .vouched_by(&blob.footer.bytes, &vouching)
                .unwrap()
                .not_older_than(None)
                .unwrap();
            let mut part = trusted.open_part(0, Vec::new()).unwrap();
            part.push(&blob.parts[0]).unwrap();
            assert_eq!(part.finish().unwrap()[..], *b"for three");
        }
    }
}

/// The digest that sealing a part returns is that of its sealed bytes.
#[test]
fn seal_part_returns_the_digest_of_the_sealed_bytes() {
    let mut world = World::new("digest");
    let mut sealer = world.sealer(options());
    let mut sealed = b"left over".to_vec();
    for length in [PART, PART, 5] {
        let digest = sealer.seal_part(&plaintext(length), &mut world.rng, &mut sealed).unwrap();
        assert_eq!(digest, Digest::of(&sealed));
    }
    assert_eq!(sealed.len(), 77);
    assert_eq!(sealer.parts(), 3);
}

/// The sealer refuses too long parts, parts after the last and 0 or 33 recipients.
#[test]
fn sealer_refuses_invalid_parts_and_recipient_counts() {
    let mut world = World::new("refusals");
    let mut sealed = Vec::new();
    let mut sealer = world.sealer(options());
    let too_long = sealer.seal_part(&plaintext(PART + 1), &mut world.rng, &mut sealed);
    assert_eq!(too_long, Err(SealError::PartTooLong(PART + 1)));
    sealer.seal_part(&plaintext(PART), &mut world.rng, &mut sealed).unwrap();
    let unfinished = sealer.finish(Provenance::Bare, &mut world.rng);
    assert_eq!(unfinished.unwrap_err(), SealError::NoLast);

    let mut sealer = world.sealer(options());
    sealer.seal_part(b"", &mut world.rng, &mut sealed).unwrap();
    let after = sealer.seal_part(b"", &mut world.rng, &mut sealed);
    assert_eq!(after, Err(SealError::AfterLast));

    let recipient = world.identity.to_recipient();
    for count in [0, 33] {
        let recipients = vec![recipient.clone(); count];
        let refused = Sealer::new(options(), &recipients, &mut world.rng);
        assert_eq!(refused.unwrap_err(), SealError::Recipients(count));
    }
    // The longest header there is: 32 hybrid recipients, the longest key, the longest name.
    let hybrid = Identity::generate_hybrid(&mut world.rng).to_recipient();
    let name = BlobName::parse(&"n".repeat(1024)).unwrap();
    let largest = SealOptions {
        object_key: Some(ObjectKey::new([7; 1024]).unwrap()),
        metadata: Metadata { name, ..metadata() },
        ..options()
    };
    let sealer = Sealer::new(largest, &vec![hybrid; 32], &mut world.rng).unwrap();
    assert!(sealer.header().len() <= 65_536, "{}", sealer.header().len());
}

/// The same part sealed twice has two different salts.
#[test]
fn sealer_uses_a_fresh_salt_for_each_part() {
    let mut world = World::new("salts");
    let (mut first, mut second) = (world.sealer(options()), Vec::new());
    let mut sealed = Vec::new();
    first.seal_part(&plaintext(PART), &mut world.rng, &mut sealed).unwrap();
    first.seal_part(&plaintext(PART), &mut world.rng, &mut second).unwrap();
    assert_ne!(sealed[..24], second[..24]);
}

/// The Debug texts of sealing and opening states show no keys and no plaintext.
#[test]
fn blob_state_debug_hides_keys_and_plaintext() {
    let mut world = World::new("debug");
    let blob = world.seal(options(), b"");
    let sealer = world.sealer(options());
    assert_eq!(format!("{sealer:?}"), "Sealer { parts: 0, total_length: 0, .. }");
    let unwrapped = Header::parse(&blob.header)
        .unwrap()
        .unwrap_file_key(std::slice::from_ref(&world.identity))
        .unwrap();
    assert!(format!("{unwrapped:?}").ends_with("keys: DerivedKeys(..) }"), "{unwrapped:?}");
    let trusted = world.trusted(&blob.header, &blob.footer.bytes).unwrap();
    let text = format!("{trusted:?}");
    assert!(text.starts_with("Trusted(Vouched { contents: Contents { object_key: "), "{text}");
    assert!(!text.contains("keys"), "{text}");
    let mut part = trusted.open_part(0, Vec::new()).unwrap();
    part.push(&blob.parts[0]).unwrap();
    let text = format!("{part:?}");
    assert!(
        text.starts_with("PartOpening { reader: PartReader { part: 0, received: 72, .. }"),
        "{text}"
    );
    assert_eq!(format!("{:?}", part.finish().unwrap()), "OpenedPart(0 bytes)");
}

/// The states of sealing and opening a blob are Send and Sync.
#[test]
fn blob_states_are_send_and_sync() {
    fn shared<T: Send + Sync>() {}
    shared::<Trusted>();
    shared::<crate::blob::part::PartOpening>();
    shared::<crate::blob::pipe::PipeOpener>();
    shared::<Sealer>();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    /// A part opens to the same plaintext however its bytes are split.
    #[test]
    fn part_opening_returns_the_same_for_any_split(
        length in 0..PART * 4,
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let mut world = World::new("splits");
        let plaintext = plaintext(length);
        let part_size = PartSize::from_log2(18).unwrap();
        let blob = world.seal(SealOptions { part_size, ..options() }, &plaintext);
        let sealed = &blob.parts[0];
        let trusted = world.trusted(&blob.header, &blob.footer.bytes).unwrap();
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(sealed.len() + 1)).collect();
        cuts.extend([0, sealed.len()]);
        cuts.sort_unstable();
        let mut part = trusted.open_part(0, vec![0xaa; 100]).unwrap();
        for piece in cuts.windows(2) {
            part.push(&sealed[piece[0]..piece[1]]).unwrap();
        }
        prop_assert_eq!(&part.finish().unwrap()[..], &plaintext[..]);
    }
}
