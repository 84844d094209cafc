//! The same blobs from a pipe: any split gives the same, and what the footer does not hold fails at
//! the end.

use proptest::prelude::*;
use zput_proto::envelope::{EnvelopeError, TooManyParts};

use super::*;
use crate::blob::footer::FooterError;
use crate::blob::part::PartError;
use crate::blob::pipe::PipeOpener;
use crate::chunked::ChunkError;

/// Reads `rest`, an object without its header, in pieces of `step` bytes. Also returns what came
/// before an error.
fn read(
    world: &World,
    header: &[u8],
    rest: &[u8],
    step: usize,
) -> (Vec<u8>, Result<Trusted, OpenError>) {
    let mut pipe = world.named(header).unwrap().from_pipe();
    let mut plaintext = Vec::new();
    for mut piece in rest.chunks(step) {
        loop {
            match pipe.push(&mut piece) {
                Ok(Some(part)) => plaintext.extend_from_slice(part),
                Ok(None) => break,
                Err(error) => return (plaintext, Err(error)),
            }
        }
        assert!(piece.is_empty());
    }
    let end = pipe.finish(&world.vouching(), None).map(|end| {
        plaintext.extend_from_slice(&end.rest);
        end.trusted
    });
    (plaintext, end)
}

/// A blob without its header.
fn behind_header(blob: &Blob) -> Vec<u8> {
    [&blob.parts.concat()[..], &blob.footer.bytes].concat()
}

/// The pipe opener returns the plaintext for all boundary lengths and read sizes.
#[test]
fn pipe_opener_returns_plaintext_of_every_length() {
    let mut world = World::new("pipe lengths");
    for length in [
        0,
        1,
        16_384,
        PART - 1,
        PART,
        PART + 1,
        // Where a second part and the footer are about as long as the longest footer.
        PART + 800,
        PART + 900,
        PART + 1_000,
        PART + 1_200,
        2 * PART - 1,
        2 * PART,
        3 * PART + 20_000,
    ] {
        let long = plaintext(length);
        for bare in [false, true] {
            let sha256 = length % 2 == 1;
            let options = SealOptions { sha256, ..options() };
            let blob =
                if bare { world.seal_bare(options, &long) } else { world.seal(options, &long) };
            for step in [1000, 65_672, 1 << 20] {
                let mut pipe = world.named(&blob.header).unwrap().from_pipe();
                let mut opened = Vec::new();
                for mut piece in behind_header(&blob).chunks(step) {
                    while let Some(part) = pipe.push(&mut piece).unwrap() {
                        opened.extend_from_slice(part);
                    }
                }
                let vouching = Vouching { bare: BarePolicy::Accept, ..world.vouching() };
                let end = pipe.finish(&vouching, None).unwrap();
                opened.extend_from_slice(&end.rest);
                assert_eq!(opened, long, "{length} in steps of {step}");
                assert_eq!(end.trusted.seen().transcript, blob.footer.transcript);
            }
        }
    }
}

/// The pipe opener releases a full part once the input is too long for it to be the last.
#[test]
fn pipe_opener_releases_full_parts_before_the_end() {
    let mut world = World::new("flow");
    let long = plaintext(4 * PART);
    let blob = world.seal(options(), &long);
    let mut pipe = world.named(&blob.header).unwrap().from_pipe();
    let mut input = &behind_header(&blob)[..65_672 + 1207 + 32];
    let last_byte = input.split_off_last().unwrap();
    assert_eq!(pipe.push(&mut input), Ok(None), "it could still be the last part");
    let mut last_byte = std::slice::from_ref(last_byte);
    assert_eq!(pipe.push(&mut last_byte), Ok(Some(&long[..PART])), "now it cannot be");
}

/// FORMAT 9: "The reader holds back one part and the longest footer that could follow it."
#[test]
fn pipe_opener_memory_is_bounded() {
    let mut world = World::new("memory");
    let long = plaintext(40 * PART);
    let blob = world.seal(options(), &long);
    let object = behind_header(&blob);
    let bound = 65_672 + 1207 + 32 * 41 + 65_536 + PART + 64 * 32;
    for step in [10_000, object.len()] {
        let mut pipe: PipeOpener = world.named(&blob.header).unwrap().from_pipe();
        let mut parts = 0;
        for mut piece in object.chunks(step) {
            while pipe.push(&mut piece).unwrap().is_some() {
                parts += 1;
                assert!(pipe.memory_bytes() <= bound, "{}", pipe.memory_bytes());
            }
        }
        assert_eq!(parts, 39);
        assert!(pipe.memory_bytes() <= bound, "{}", pipe.memory_bytes());
    }
}

/// The pipe opener fails for a blob cut at any sampled length, last 300 bytes included.
#[test]
fn pipe_opener_refuses_every_truncation() {
    let mut world = World::new("pipe cuts");
    let long = plaintext(PART + 3000);
    let blob = world.seal(options(), &long);
    let object = behind_header(&blob);
    for length in (0..object.len()).step_by(997).chain(object.len() - 300..object.len()) {
        let (plaintext, result) = read(&world, &blob.header, &object[..length], 30_000);
        let error = result.unwrap_err();
        assert!(matches!(error, OpenError::Footer(FooterError::Envelope(_))), "{length}: {error}");
        assert!(plaintext.is_empty() || plaintext == long[..PART]);
    }
    let empty = FooterError::Envelope(EnvelopeError::Truncated);
    assert_eq!(read(&world, &blob.header, b"", 1).1.unwrap_err(), OpenError::Footer(empty));
}

/// The pipe opener fails for a flip in any footer byte and releases only the full part.
#[test]
fn pipe_opener_refuses_every_flipped_footer_byte() {
    let mut world = World::new("pipe footer");
    let long = plaintext(PART + 3000);
    let blob = world.seal(SealOptions { sha256: true, ..options() }, &long);
    let object = behind_header(&blob);
    let footer = object.len() - blob.footer.bytes.len();
    let mut flipped = object.clone();
    for at in footer..object.len() {
        flipped[at] ^= 0x04;
        let (plaintext, result) = read(&world, &blob.header, &flipped, object.len());
        assert!(result.is_err(), "byte {at}");
        assert_eq!(plaintext, long[..PART], "what flowed before the footer came, and no more");
        flipped[at] ^= 0x04;
    }
    assert_eq!(read(&world, &blob.header, &flipped, object.len()).0, long);
}

/// The pipe opener fails at a changed part before it releases any of it, and stays failed.
#[test]
fn pipe_opener_releases_nothing_of_a_changed_part() {
    let mut world = World::new("pipe part");
    let blob = world.seal(options(), &plaintext(2 * PART));
    let mut object = behind_header(&blob);
    object[65_672 + 20_000] ^= 1;
    let (plaintext, result) = read(&world, &blob.header, &object, 1 << 20);
    let error = ChunkError::ChunkCorrupt { chunk: 1 };
    assert_eq!(result.unwrap_err(), PartError::Chunk { part: 1, source: error }.into());
    assert_eq!(plaintext.len(), PART);

    let mut pipe = world.named(&blob.header).unwrap().from_pipe();
    object[0] ^= 1;
    let error = ChunkError::CommitmentMismatch;
    let expected = OpenError::from(PartError::Chunk { part: 0, source: error });
    assert_eq!(pipe.push(&mut &object[..]).unwrap_err(), expected);
    assert_eq!(pipe.push(&mut &[][..]).unwrap_err(), expected, "once and for all");
    assert_eq!(pipe.finish(&world.vouching(), None).unwrap_err(), expected);
}

/// A part that fits its place and the file key, but was not the one that the footer lists.
#[test]
fn pipe_opener_refuses_part_of_another_upload() {
    let world = World::new("pipe splice");
    let recipients = [world.identity.to_recipient()];
    let provenance = Provenance::Vault { mac_key: &world.mac_key, writer: &world.writer };
    let long = plaintext(2 * PART + 5);
    let [mut first, second] = ["one", "two"].map(|salts| {
        let mut rng = SeededRng::new("attempt");
        let sealer = Sealer::new(options(), &recipients, &mut rng).unwrap();
        seal_with(sealer, &long, provenance, &mut SeededRng::new(salts))
    });
    for part in 0..3 {
        let own = std::mem::replace(&mut first.parts[part], second.parts[part].clone());
        let (_, result) = read(&world, &first.header, &behind_header(&first), 10_000);
        let part_number = part as u64;
        let expected = PartError::DigestMismatch { part: part_number };
        assert_eq!(result.unwrap_err(), expected.into());
        first.parts[part] = own;
    }
    assert_eq!(read(&world, &first.header, &behind_header(&first), 10_000).0, long);
}

/// The pipe opener refuses a blob with a part missing, extended, appended or doubled.
#[test]
fn pipe_opener_refuses_missing_and_surplus_parts() {
    let mut world = World::new("pipe parts");
    let blob = world.seal(options(), &plaintext(2 * PART + 5));
    let read = |blob: &Blob| {
        let (_, result) = read(&world, &blob.header, &behind_header(blob), 10_000);
        result.unwrap_err()
    };
    let mut short = blob.clone();
    short.parts.pop();
    assert_eq!(read(&short), PartError::Truncated { part: 2 }.into());
    let mut stuffed = blob.clone();
    stuffed.parts[2].push(0);
    assert_eq!(read(&stuffed), PartError::TooLong { part: 2 }.into());
    let mut surplus = blob.clone();
    surplus.parts.push(surplus.parts[2].clone());
    assert_eq!(read(&surplus), PartError::TooLong { part: 2 }.into());
    let mut twice = blob.clone();
    twice.parts.insert(1, twice.parts[0].clone());
    let error = ChunkError::CommitmentMismatch;
    assert_eq!(read(&twice), PartError::Chunk { part: 1, source: error }.into());
}

/// A member of the vault, who has the file key, vouches for a footer in which the full part that
/// has flowed is the last one.
#[test]
fn pipe_opener_refuses_footer_that_ends_before_a_released_part() {
    let mut world = World::new("pipe shorter");
    let blob = world.seal(options(), &plaintext(PART + 5000));
    let total_length = 5_u64.to_be_bytes();
    let digest = Digest::of(&blob.parts[0]);
    let footer = world.forge_footer(&blob.header, &total_length, &[digest]);
    let object = [&blob.parts.concat()[..], &footer].concat();
    let (plaintext, result) = read(&world, &blob.header, &object, 10_000);
    assert_eq!(plaintext.len(), PART);
    assert_eq!(result.unwrap_err(), PartError::NoSuchPart { part: 1, parts: 1 }.into());
}

/// FORMAT 6: "At most 262,144 parts". The last possible one cannot be full.
#[test]
fn pipe_opener_refuses_more_than_262144_parts() {
    let mut world = World::new("pipe bound");
    let header = world.seal(options(), b"").header;
    let endless = vec![0; 9 << 20];
    let mut pipe = world.named(&header).unwrap().from_pipe();
    pipe.pretend_released(262_143);
    let expected = FooterError::TooManyParts(TooManyParts(262_144 * 65_536));
    assert_eq!(pipe.push(&mut &endless[..]), Err(OpenError::Footer(expected)));
}

/// Finishing a pipe refuses another vault, a bare blob and an older generation.
#[test]
fn pipe_opener_finish_checks_provenance_and_rollback() {
    let mut world = World::new("pipe trust");
    let other = World::new("pipe other");
    let blob = world.seal(options(), b"x");
    let bare = world.seal_bare(options(), b"x");
    let finish = |blob: &Blob, vouching: &Vouching<'_>, seen: Option<&Seen>| {
        let mut pipe = world.named(&blob.header).unwrap().from_pipe();
        assert_eq!(pipe.push(&mut &behind_header(blob)[..]), Ok(None));
        pipe.finish(vouching, seen).map(|end| end.rest)
    };
    assert_eq!(finish(&blob, &world.vouching(), None), Ok(b"x".to_vec()));
    assert_eq!(finish(&blob, &other.vouching(), None), Err(OpenError::VaultMac));
    assert_eq!(finish(&bare, &world.vouching(), None), Err(OpenError::Bare));
    let generation = options().generation + 1;
    let seen = Seen { generation, transcript: blob.footer.transcript };
    let rollback = OpenError::Rollback { seen: generation, found: generation - 1 };
    assert_eq!(finish(&blob, &world.vouching(), Some(&seen)), Err(rollback));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    /// The pipe opener returns the same plaintext however the input is split.
    #[test]
    fn pipe_opener_returns_the_same_for_any_split(
        length in 0..PART * 3,
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let mut world = World::new("pipe splits");
        let long = plaintext(length);
        let blob = world.seal(options(), &long);
        let object = behind_header(&blob);
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(object.len() + 1)).collect();
        cuts.extend([0, object.len()]);
        cuts.sort_unstable();
        let mut pipe = world.named(&blob.header).unwrap().from_pipe();
        let mut opened = Vec::new();
        for cut in cuts.windows(2) {
            let mut piece = &object[cut[0]..cut[1]];
            while let Some(part) = pipe.push(&mut piece).unwrap() {
                opened.extend_from_slice(part);
            }
        }
        opened.extend_from_slice(&pipe.finish(&world.vouching(), None).unwrap().rest);
        prop_assert_eq!(opened, long);
    }
}
