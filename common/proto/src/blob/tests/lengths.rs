//! Bounds of FORMAT 3, 7 and 18: what is at them is taken, and what is beyond them refused.

use super::*;
use crate::digest::Digest;
use crate::envelope::{PartSize, Stanza};
use crate::limits::FRONT_MAX_BYTES;
use crate::name::ObjectKey;
use crate::vault::{Epoch, Order};

/// A header that is bare and has nothing of a length of its own but what it must have.
fn shortest() -> HeaderFields {
    let part_size = PartSize::MAX;
    HeaderFields {
        core: Core {
            shape: BodyShape { suite: Default::default(), part_size, content: Content::File },
            vault: None,
            order: Order::new(Epoch::new(0), 0).unwrap(),
            header_salt: [1; 32],
            key: None,
            content_key: [2; 104],
            metadata: vec![3; 76],
            extensions: Vec::new(),
        },
        stanza_epoch: Epoch::new(0),
        stanzas: vec![Stanza::new("X", vec![], vec![]).unwrap()],
    }
}

fn length(fields: &HeaderFields) -> Result<u32, HeaderError> {
    fields.with_mac(&[4; 32]).map(|header| header.length())
}

/// "1 to 32 recipient stanzas", "76 to 49,272", "0 to 1,024", "at most 65,536 bytes".
#[test]
fn header_has_257_bytes_and_its_variable_fields() {
    let shortest = shortest();
    // `-> X`, LF, LF
    assert_eq!(length(&shortest), Ok(257 + 76 + 6));
    let with = |change: fn(&mut HeaderFields)| {
        let mut fields = shortest.clone();
        change(&mut fields);
        length(&fields)
    };
    assert_eq!(with(|it| it.core.metadata = vec![0; 75]), Err(HeaderError::Metadata(75)));
    assert_eq!(with(|it| it.core.metadata = vec![0; 49_272]), Ok(257 + 49_272 + 6));
    let beyond = Err(HeaderError::Metadata(49_273));
    assert_eq!(with(|it| it.core.metadata = vec![0; 49_273]), beyond);
    // A message of one full chunk and an empty one, and what is too short for that.
    assert_eq!(with(|it| it.core.metadata = vec![0; 56 + 16_400 + 16]), Ok(257 + 16_472 + 6));
    let no_message = Err(HeaderError::Metadata(16_471));
    assert_eq!(with(|it| it.core.metadata = vec![0; 56 + 16_400 + 15]), no_message);
    assert_eq!(with(|it| it.core.metadata = vec![0; 56 + 16_399]), Ok(257 + 16_455 + 6));
    assert_eq!(with(|it| it.core.key = ObjectKey::new(vec![0; 1024]).ok()), Ok(257 + 1024 + 82));
    let stanza = || Stanza::new("X", vec![], vec![]).unwrap();
    let stanzas = |count| (0..count).map(|_| stanza()).collect::<Vec<_>>();
    let of = |count| length(&HeaderFields { stanzas: stanzas(count), ..shortest.clone() });
    assert_eq!(of(32), Ok(257 + 76 + 32 * 6));
    assert_eq!(of(33), Err(HeaderError::Stanzas(crate::envelope::StanzaError::TooMany)));
    assert_eq!(of(0), Err(HeaderError::Stanzas(crate::envelope::StanzaError::None)));

    // Extensions of one skipped field, so that the header has 65,536 bytes, or one more.
    let extended = |bytes: usize| {
        let value = bytes - 257 - 76 - 6 - 3;
        let extensions = [&[5, (value >> 8) as u8, value as u8][..], &vec![0; value]].concat();
        let core = Core { extensions, ..shortest.core.clone() };
        length(&HeaderFields { core, ..shortest.clone() })
    };
    assert_eq!(extended(65_536), Ok(65_536));
    assert_eq!(extended(65_537), Err(HeaderError::FieldLength(65_537)));
    let long = Err(HeaderError::FieldLength(65_536));
    assert_eq!(with(|it| it.core.extensions = vec![0; 65_536]), long);
}

/// "below 2⁶³", "16 to 24", and a stanza epoch that is not below the epoch.
#[test]
fn header_takes_numbers_up_to_their_bounds() {
    let header = |epoch, generation, stanza_epoch, part_size| {
        let mut fields = shortest();
        let charter_tag = crate::vault::CharterTag::from_bytes([0; 16]);
        fields.core.vault = Some(OfVault { id: VaultId::from_bytes([9; 32]), charter_tag });
        fields.core.order = Order::new(Epoch::new(epoch), generation).unwrap();
        fields.stanza_epoch = Epoch::new(stanza_epoch);
        fields.core.shape.part_size = PartSize::from_log2(part_size).unwrap();
        fields.with_mac(&[4; 32]).map(|header| header.fields().clone() == fields)
    };
    assert_eq!(header(0, (1 << 63) - 1, 0, 16), Ok(true));
    assert_eq!(header(u32::MAX, 0, u32::MAX, 24), Ok(true));
    assert_eq!(header(7, 0, 8, 24), Ok(true));
    let (stanzas, epoch) = (Epoch::new(7), Epoch::new(8));
    assert_eq!(header(8, 0, 7, 24), Err(HeaderError::StanzaEpoch { stanzas, epoch }));
}

/// A tail has 88 bytes if bare, 391 with a certificate, and at most 12,408.
#[test]
fn tail_end_takes_lengths_up_to_their_bounds() {
    let end = |tail: u16, footer: u32| {
        let bytes = [&tail.to_be_bytes()[..], &footer.to_be_bytes(), b"\x8Azputend"].concat();
        TailEnd::parse(&bytes).map(|end| end.front_length())
    };
    assert_eq!(end(87, 87 + 38), Err(TailError::TailLength(87)));
    assert_eq!(end(88, 88 + 38), Ok(38));
    assert_eq!(end(391, 391 + 38), Ok(38));
    assert_eq!(end(12_408, 12_408 + 38), Ok(38));
    assert_eq!(end(12_409, 12_409 + 38), Err(TailError::TailLength(12_409)));
    assert_eq!(end(88, 88 + 37), Err(TailError::FooterLength(125)));
    assert_eq!(end(88, 87), Err(TailError::FooterLength(87)));
    assert_eq!(end(88, 88 + 25_150_470), Ok(25_150_470));
    assert_eq!(end(88, 88 + 25_150_471), Err(TailError::FooterLength(25_150_559)));
    assert_eq!(end(88, u32::MAX), Err(TailError::FooterLength(u32::MAX)));
}

/// The longest total length is that of the largest parts, without its last byte.
#[test]
fn tail_takes_total_length_below_2_42() {
    let tail = |total_length| {
        let body_digest = BodyDigest::from_bytes([1; 32]);
        let fields = TailFields { total_length, body_digest, certificate: None };
        fields.sealed(&[2; 32], None, 38).map(|tail| tail.as_bytes().len())
    };
    assert_eq!(tail((1 << 42) - 1), Ok(88));
    assert_eq!(tail(1 << 42), Err(TailError::TooManyParts(crate::envelope::TooManyParts(1 << 42))));
}

/// A writer that leaves out a vault's seal, or adds one to a bare blob, gets no tail.
#[test]
fn tail_is_not_sealed_by_half() {
    let blob = Golden::read("file");
    let fields = blob.tail.fields();
    let bare = TailFields { certificate: None, ..fields.clone() };
    let sealed = |fields: &TailFields, vault| fields.sealed(&[2; 32], vault, 144).map(|_| ());
    assert_eq!(sealed(fields, None), Err(TailError::Unsealed));
    assert_eq!(sealed(&bare, blob.tail.vault()), Err(TailError::Unsealed));
    assert_eq!(sealed(&bare, None), Ok(()));
}

/// "0 (no facts), or 74 to 1,024", and at most 25,150,470 bytes in all.
#[test]
fn front_takes_lengths_up_to_their_bounds() {
    let digest = [Digest::from_bytes([1; 32])];
    let front = |facts: usize| Front::encode(&digest, &vec![2; facts], None).map(|it| it.len());
    assert_eq!(front(0), Ok(38));
    assert_eq!(front(73), Err(FrontError::Facts(73)));
    assert_eq!(front(74), Ok(38 + 74));
    assert_eq!(front(1024), Ok(38 + 1024));
    assert_eq!(front(1025), Err(FrontError::Facts(1025)));
    assert_eq!(Front::encode(&[], b"", None), Err(FrontError::Parts(0)));
    assert_eq!(FRONT_MAX_BYTES, 262_144 * 32 + 2 + 1024 + 4 + 16_760_832);
    let long = vec![0; 25_150_471];
    let error = Front::parse(&long, 1, Content::File).map(|_| ());
    assert_eq!(error, Err(FrontError::TooLong(25_150_471)));
}

/// "`count` is at most 65,536", "`parts`, at least 1", and no more bytes than a front has for them.
#[test]
fn references_take_counts_up_to_their_bounds() {
    let packs = |count: u32| {
        let pack = |number: u32| {
            let id = (u128::from(number) << 64).to_be_bytes();
            Reference { id, parts: 262_144, needed: Needed::All }
        };
        References::encode(&(0..count).map(pack).collect::<Vec<_>>()).map(|it| it.len())
    };
    assert_eq!(packs(0), Ok(4));
    assert_eq!(packs(65_536), Ok(4 + 65_536 * 21));
    assert_eq!(packs(65_537), Err(ReferencesError::Count(65_537)));
    let long = vec![0; 16_760_833];
    assert_eq!(References::parse(&long), Err(ReferencesError::TooLong(16_760_833)));
    let part = |parts, needed| References::encode(&[Reference { id: [1; 16], parts, needed }]);
    // One part is needed whole or not at all.
    let index = 0;
    assert_eq!(part(1, Needed::Bits(&[1])), Err(ReferencesError::AllNeeded { index }));
    assert_eq!(part(8, Needed::Bits(&[0xff])), Err(ReferencesError::AllNeeded { index }));
    assert_eq!(part(8, Needed::Bits(&[0x7f])).unwrap().len(), 4 + 22);
    assert_eq!(part(8, Needed::Bits(&[0x80])).unwrap().len(), 4 + 22);
    assert_eq!(part(7, Needed::Bits(&[0x80])), Err(ReferencesError::SpareBits { index }));
    assert_eq!(part(8, Needed::Bits(&[1, 0])), Err(ReferencesError::Trailing(1)));
    assert_eq!(part(9, Needed::Bits(&[1])), Err(ReferencesError::Cut));
}
