//! The order of trust: what each step refuses, and from which attacker.

use zput_proto::envelope::EnvelopeError;
use zput_proto::limits::FACTS_MAX_BYTES;

use super::*;
use crate::blob::footer::FooterError;
use crate::blob::header::HeaderError;
use crate::blob::part::PartError;
use crate::chunked::ChunkError;

/// Two sealers that drew the same file key, as an attacker can make who was given it as a reader.
fn accomplices(world: &World) -> (Sealer, Sealer) {
    let recipients = [world.identity.to_recipient()];
    let new = || Sealer::new(options(), &recipients, &mut SeededRng::new("attempt")).unwrap();
    let sealers = (new(), new());
    assert_eq!(sealers.0.header(), sealers.1.header());
    sealers
}

/// A blob opens only with an identity of one of its recipients.
#[test]
fn blob_does_not_open_with_a_foreign_identity() {
    let mut world = World::new("stranger");
    let blob = world.seal(options(), b"secret");
    let stranger = Identity::generate_x25519(&mut world.rng);
    let header = || Header::parse(&blob.header).unwrap();
    let refused = header().unwrap_file_key(std::slice::from_ref(&stranger)).unwrap_err();
    assert_eq!(refused, OpenError::NoIdentityMatches);
    assert_eq!(header().unwrap_file_key(&[]).unwrap_err(), OpenError::NoIdentityMatches);
    assert!(header().unwrap_file_key(&[stranger, world.identity.clone()]).is_ok());
}

/// The header of a blob under another object key, or under none, is refused.
#[test]
fn blob_of_another_object_key_is_refused() {
    let mut world = World::new("another object");
    let authenticated = |world: &World, blob: &Blob| {
        Header::parse(&blob.header)
            .unwrap()
            .unwrap_file_key(std::slice::from_ref(&world.identity))
            .unwrap()
            .authenticate(Engine::default())
            .unwrap()
    };
    let blob = world.seal(options(), b"");
    let other = ObjectKey::new("images/other.img").unwrap();
    let refused = authenticated(&world, &blob).for_key(Asked::Key(&other)).unwrap_err();
    assert_eq!(refused, OpenError::WrongObject { found: Some(key()) });
    let shorter = ObjectKey::new("images/app.im").unwrap();
    assert!(authenticated(&world, &blob).for_key(Asked::Key(&shorter)).is_err());
    assert!(authenticated(&world, &blob).for_key(Asked::Key(&key())).is_ok());
    assert!(authenticated(&world, &blob).for_key(Asked::Any).is_ok());

    let keyless = world.seal(SealOptions { object_key: None, ..options() }, b"");
    let refused = authenticated(&world, &keyless).for_key(Asked::Key(&key())).unwrap_err();
    assert_eq!(refused, OpenError::WrongObject { found: None });
    assert!(authenticated(&world, &keyless).for_key(Asked::Any).is_ok());
}

/// An attacker with the file key can make parts and a footer that fit the header, but not the
/// vault's MAC.
#[test]
fn footer_forged_with_the_file_key_is_refused() {
    let mut world = World::new("forger");
    let (genuine, forger) = accomplices(&world);
    let provenance = Provenance::Vault { mac_key: &world.mac_key, writer: &world.writer };
    let genuine = seal_with(genuine, b"pay 1", provenance, &mut world.rng);
    assert_eq!(world.open(&genuine.bytes()), Ok(b"pay 1".to_vec()));

    let other = World::new("another vault");
    let provenance = Provenance::Vault { mac_key: &other.mac_key, writer: &world.writer };
    let mut forged = seal_with(forger, b"pay 9", provenance, &mut world.rng);
    assert_eq!(world.open(&forged.bytes()), Err(OpenError::VaultMac));

    // The genuine vault MAC, writer and signature after the forged digests and file MAC.
    let split = forged.footer.bytes.len() - 32 - 32 - 64 - 12;
    forged.footer.bytes.truncate(split);
    forged.footer.bytes.extend_from_slice(&genuine.footer.bytes[split..]);
    assert_eq!(world.open(&forged.bytes()), Err(OpenError::VaultMac));

    let (_, forger) = accomplices(&world);
    let forged = seal_with(forger, b"pay 9", Provenance::Bare, &mut world.rng);
    assert_eq!(world.open(&forged.bytes()), Err(OpenError::Bare));
}

/// One fleet machine holds the vault's secret; its readers pin the publisher.
#[test]
fn vault_member_cannot_sign_for_a_pinned_writer() {
    let mut world = World::new("publisher");
    let member = World::new("captured").writer;
    let publisher = world.writer.public_key();
    let pinned = |world: &World, object: &[u8]| {
        let vouching = Vouching { writers: &[publisher], ..world.vouching() };
        world.open_with(object, &vouching, None)
    };
    let genuine = world.seal(options(), b"image");
    assert_eq!(pinned(&world, &genuine.bytes()), Ok(b"image".to_vec()));

    let sealer = world.sealer(options());
    let provenance = Provenance::Vault { mac_key: &world.mac_key, writer: &member };
    let mut forged = seal_with(sealer, b"image", provenance, &mut world.rng);
    let refused = Err(OpenError::UnpinnedWriter(member.public_key()));
    assert_eq!(pinned(&world, &forged.bytes()), refused);
    assert_eq!(world.open(&forged.bytes()), Ok(b"image".to_vec()), "any member will do unpinned");

    // The publisher's name over the member's signature.
    let writer = forged.footer.bytes.len() - 12 - 64 - 32;
    forged.footer.bytes[writer..writer + 32].copy_from_slice(publisher.as_bytes());
    let refused = Err(OpenError::Signature(publisher));
    assert_eq!(pinned(&world, &forged.bytes()), refused);
    assert_eq!(world.open(&forged.bytes()), refused);
}

/// A bare blob opens only under a policy that accepts it, and never with pinned writers.
#[test]
fn bare_blob_opens_only_when_accepted() {
    let mut world = World::new("bare");
    let blob = world.seal_bare(options(), b"for anybody").bytes();
    assert_eq!(world.open(&blob), Err(OpenError::Bare));
    let accept = Vouching { bare: BarePolicy::Accept, ..world.vouching() };
    assert_eq!(world.open_with(&blob, &accept, None), Ok(b"for anybody".to_vec()));
    let writers = [world.writer.public_key()];
    let pinned = Vouching { writers: &writers, ..accept };
    assert_eq!(world.open_with(&blob, &pinned, None), Err(OpenError::Bare));
}

/// A reader without the vault's key treats a vault's blob as bare, except for pinned writers.
#[test]
fn vault_blob_without_vault_key_is_treated_as_bare() {
    let mut world = World::new("no vault key");
    let blob = world.seal(options(), b"x");
    let publisher = [world.writer.public_key()];
    let stranger = [World::new("stranger").writer.public_key()];
    let named = || world.named(&blob.header).unwrap();
    let footer = &blob.footer.bytes;
    let refuse = Vouching { vault: None, writers: &[], bare: BarePolicy::Refuse };
    assert_eq!(named().vouched_by(footer, &refuse).unwrap_err(), OpenError::NoVaultKey);
    let accept = Vouching { bare: BarePolicy::Accept, ..refuse };
    let writer = |vouching| {
        let vouched = named().vouched_by(footer, vouching)?;
        Ok::<_, OpenError>(vouched.not_older_than(None)?.writer())
    };
    assert_eq!(writer(&accept), Ok(None), "a signature of nobody we know");
    let pinned = Vouching { writers: &publisher, ..accept };
    assert_eq!(writer(&pinned), Ok(Some(publisher[0])));
    let pinned = Vouching { writers: &stranger, ..accept };
    assert_eq!(writer(&pinned), Err(OpenError::UnpinnedWriter(publisher[0])));
    // Accepting bare blobs does not make a vault's blob pass that the vault does not vouch for.
    let other = World::new("other vault");
    let wrong = Vouching { vault: Some(&other.mac_key), ..accept };
    assert_eq!(writer(&wrong), Err(OpenError::VaultMac));
}

/// A blob older than the one seen is a rollback; another of that generation equivocates.
#[test]
fn blob_older_than_seen_is_refused_as_rollback() {
    let mut world = World::new("rollback");
    let at = |generation| SealOptions { generation, ..options() };
    let old = world.seal(at(1), b"old").bytes();
    let new = world.seal(at(2), b"new");
    let seen = world.trusted(&new.header, &new.footer.bytes).unwrap().seen();
    assert_eq!(seen, Seen { generation: 2, transcript: new.footer.transcript });
    let open = |object: &[u8]| world.open_with(object, &world.vouching(), Some(&seen));
    assert_eq!(open(&old), Err(OpenError::Rollback { seen: 2, found: 1 }));
    assert_eq!(open(&new.bytes()), Ok(b"new".to_vec()));
    assert_eq!(world.open(&old), Ok(b"old".to_vec()), "nothing seen, nothing refused");

    let mut world = World::new("rollback");
    let same_generation = world.seal(at(2), b"new").bytes();
    let newer = world.seal(at(3), b"newer").bytes();
    let open = |object: &[u8]| world.open_with(object, &world.vouching(), Some(&seen));
    assert_eq!(open(&same_generation), Err(OpenError::Equivocation { generation: 2 }));
    assert_eq!(open(&newer), Ok(b"newer".to_vec()));
}

/// A footer of another upload of the same plaintext fails the file MAC.
#[test]
fn footer_of_another_upload_is_refused() {
    let mut world = World::new("footers");
    let mut first = world.seal(options(), b"same");
    let second = world.seal(options(), b"same");
    first.footer = second.footer;
    assert_eq!(world.open(&first.bytes()), Err(OpenError::FileMac));
}

/// A part that was sealed for this very place, under this very key, but is not in the footer.
#[test]
fn parts_of_two_uploads_under_one_file_key_do_not_mix() {
    let mut world = World::new("splice");
    let (first, second) = accomplices(&world);
    let long = plaintext(PART + 10);
    let provenance = Provenance::Vault { mac_key: &world.mac_key, writer: &world.writer };
    let mut first = seal_with(first, &long, provenance, &mut world.rng);
    let second = seal_with(second, &long, provenance, &mut world.rng);
    for part in [0, 1] {
        let own = std::mem::replace(&mut first.parts[part], second.parts[part].clone());
        let refused = PartError::DigestMismatch { part: part as u64 };
        assert_eq!(world.open(&first.bytes()), Err(refused.into()));
        first.parts[part] = own;
    }
    assert_eq!(world.open(&first.bytes()), Ok(long));
}

/// Parts that are swapped, doubled, dropped or taken from another blob are refused.
#[test]
fn blob_parts_cannot_be_moved() {
    let mut world = World::new("moved");
    let long = plaintext(3 * PART + 10);
    let blob = world.seal(options(), &long);
    let elsewhere = |part| -> Result<Vec<u8>, OpenError> {
        Err(PartError::Chunk { part, source: ChunkError::CommitmentMismatch }.into())
    };
    let mut swapped = blob.clone();
    swapped.parts.swap(1, 2);
    assert_eq!(world.open(&swapped.bytes()), elsewhere(1));
    let mut duplicated = blob.clone();
    duplicated.parts[1] = duplicated.parts[0].clone();
    assert_eq!(world.open(&duplicated.bytes()), elsewhere(1));
    let mut inserted = blob.clone();
    inserted.parts.insert(0, inserted.parts[0].clone());
    assert_eq!(world.open(&inserted.bytes()), elsewhere(1));
    let mut dropped = blob.clone();
    dropped.parts.remove(0);
    assert_eq!(world.open(&dropped.bytes()), elsewhere(0));
    let mut shortened = blob.clone();
    shortened.parts.pop();
    assert_eq!(world.open(&shortened.bytes()), Err(PartError::Truncated { part: 3 }.into()));
    let other = world.seal(options(), &long);
    let mut foreign = blob;
    foreign.parts[2] = other.parts[2].clone();
    assert_eq!(world.open(&foreign.bytes()), elsewhere(2));
}

/// Opening a part that the blob does not have is refused.
#[test]
fn open_part_refuses_part_number_past_the_end() {
    let mut world = World::new("no such part");
    let blob = world.seal(options(), b"");
    let trusted = world.trusted(&blob.header, &blob.footer.bytes).unwrap();
    for part in [1, u64::MAX] {
        let refused = trusted.open_part(part, Vec::new()).unwrap_err();
        assert_eq!(refused, PartError::NoSuchPart { part, parts: 1 });
    }
}

/// Parsing refuses headers with a bad suite, part size, field length or generation.
#[test]
fn header_parse_refuses_malformed_headers() {
    let mut world = World::new("malformed headers");
    let header = world.seal(options(), b"").header;
    let with = |at: usize, bytes: &[u8]| {
        let mut header = header.clone();
        header[at..at + bytes.len()].copy_from_slice(bytes);
        Header::parse(&header).unwrap_err()
    };
    let length = header.len();
    assert_eq!(with(14, &[0]), HeaderError::UnknownSuite(0));
    assert_eq!(with(14, &[3]), HeaderError::UnknownSuite(3));
    assert_eq!(with(15, &[15]), HeaderError::PartSize(15));
    assert_eq!(with(15, &[25]), HeaderError::PartSize(25));
    assert_eq!(with(9, &[2]), HeaderError::Envelope(EnvelopeError::UnknownVersion(2)));
    // The object key is 14 bytes long; the stanzas' length follows it.
    assert_eq!(with(57, &[13]), HeaderError::Fields);
    assert_eq!(with(72, &[0, 0]), HeaderError::Fields);
    assert_eq!(with(72, &[0xff, 0xff]), HeaderError::Fields);
    assert_eq!(
        with(74, b"=>"),
        HeaderError::Stanzas(zput_proto::envelope::StanzaError::Mark { stanza: 0 })
    );
    assert_eq!(with(48, &[0xff; 8]), HeaderError::LastGeneration);
    assert!(
        Header::parse(&{
            let mut header = header.clone();
            header[48..56].copy_from_slice(&(u64::MAX - 1).to_be_bytes());
            header
        })
        .is_ok()
    );
    let longer = [&header[..], &[0]].concat();
    let expected = HeaderError::Length { stated: length as u32, found: length + 1 };
    assert_eq!(Header::parse(&longer).unwrap_err(), expected);
    let stated = length as u32 + 1;
    let mut bytes = longer;
    bytes[10..14].copy_from_slice(&stated.to_be_bytes());
    assert_eq!(Header::parse(&bytes).unwrap_err(), HeaderError::Fields, "one encoding");
}

/// Parsing refuses footers with bad lengths, facts, provenance or too many parts.
#[test]
fn footer_parse_refuses_malformed_footers() {
    let mut world = World::new("malformed footers");
    let blob = world.seal(options(), b"abc");
    let footer = &blob.footer.bytes;
    assert_eq!(footer.len(), 8 + 32 + 2 + 1 + 32 + 32 + 32 + 64 + 4 + 8);
    let parse = |footer: &[u8]| {
        let refused = world.named(&blob.header).unwrap().vouched_by(footer, &world.vouching());
        match refused.unwrap_err() {
            OpenError::Footer(error) => error,
            other => panic!("{other}"),
        }
    };
    let with = |at: usize, bytes: &[u8]| {
        let mut footer = footer.clone();
        footer[at..at + bytes.len()].copy_from_slice(bytes);
        parse(&footer)
    };
    let too_many = 262_144 * PART as u64;
    assert!(matches!(with(0, &too_many.to_be_bytes()), FooterError::TooManyParts(_)));
    // One part fewer, and 8 MiB of digests that are not here.
    assert_eq!(with(0, &(too_many - 1).to_be_bytes()), FooterError::Fields);
    // One part more: its digest would be the bytes after the only one.
    let one_more = with(0, &(PART as u64).to_be_bytes());
    assert!(matches!(one_more, FooterError::Facts(_) | FooterError::Fields), "{one_more}");
    assert_eq!(FACTS_MAX_BYTES, 1024);
    assert_eq!(with(40, &1025_u16.to_be_bytes()), FooterError::Facts(1025));
    assert_eq!(with(40, &1024_u16.to_be_bytes()), FooterError::Fields);
    // An empty list of facts would be a second way to write none: 72 bytes, and one byte is no
    // fact.
    for length in [1, 72, 73] {
        assert_eq!(with(40, &u16::to_be_bytes(length)), FooterError::Facts(length));
    }
    for provenance in [0, 3, 255] {
        assert_eq!(with(42, &[provenance]), FooterError::UnknownProvenance(provenance));
    }
    assert_eq!(with(42, &[2]), FooterError::Fields, "a vault's fields behind a bare blob's");
    let longer = [&[0], &footer[..]].concat();
    assert_eq!(parse(&longer), FooterError::Length { stated: 215, found: 216 });
    assert_eq!(parse(&footer[1..]), FooterError::Length { stated: 215, found: 214 });
    assert_eq!(parse(b""), FooterError::Envelope(EnvelopeError::Truncated));
    assert_eq!(parse(&footer[..214]), FooterError::Envelope(EnvelopeError::NoFooter));
}
