//! Every byte flipped, every length cut, bytes appended: a typed error, and no plaintext.

use zput_proto::envelope::EnvelopeError;

use super::*;
use crate::blob::footer::FooterError;
use crate::blob::header::HeaderError;
use crate::blob::part::PartError;
use crate::chunked::ChunkError;

/// What a flipped bit at `at` of a header with a key of 14 bytes and one X25519 stanza must end in.
fn is_expected_of_header(at: usize, metadata_start: usize, error: &OpenError) -> bool {
    use HeaderError::{Stanza, Stanzas};
    use OpenError::{Footer, Header, HeaderMac, NoIdentityMatches};
    match at {
        // Magic, version, length; a wrong length can also make the rest end without a footer.
        0..8 => *error == Header(HeaderError::Envelope(EnvelopeError::NotABlob)),
        8..10 => matches!(error, Header(HeaderError::Envelope(EnvelopeError::UnknownVersion(_)))),
        10..14 => matches!(error, Header(_) | Footer(FooterError::Envelope(_))),
        // Suite 1 becomes 0, 3 or more; the part size another one or out of bounds.
        14 => matches!(error, Header(HeaderError::UnknownSuite(_))),
        15 => matches!(error, Header(HeaderError::PartSize(_)) | HeaderMac),
        16..56 => *error == HeaderMac,
        56..58 => matches!(error, Header(_)),
        58..72 => *error == HeaderMac,
        72..74 => matches!(error, Header(_)),
        _ if at < metadata_start => {
            matches!(error, Header(Stanzas(_) | Stanza(_)) | NoIdentityMatches)
        }
        _ if at < metadata_start + 2 => matches!(error, Header(_)),
        _ => *error == HeaderMac,
    }
}

/// The same for the footer of a vault's blob of two parts without facts.
fn is_expected_of_footer(at: usize, error: &OpenError) -> bool {
    use OpenError::{FileMac, Footer, Signature, VaultMac};
    match at {
        // Another total length of as many parts is one that the file MAC refuses.
        0..8 => matches!(error, Footer(_) | FileMac),
        8..72 => *error == FileMac,
        72..75 => matches!(error, Footer(_)),
        75..107 => *error == FileMac,
        107..139 => *error == VaultMac,
        139..235 => matches!(error, Signature(_)),
        235..247 => matches!(error, Footer(_)),
        _ => false,
    }
}

/// A flip in any byte of header or footer is refused with the error of that field.
#[test]
fn blob_with_any_header_or_footer_byte_flipped_is_refused() {
    let mut world = World::new("flips");
    let blob = world.seal(options(), &plaintext(PART + 100));
    let object = blob.bytes();
    let header_end = blob.header.len();
    let footer_start = object.len() - blob.footer.bytes.len();
    assert_eq!(blob.footer.bytes.len(), 247);
    let stanzas = usize::from(u16::from_be_bytes([blob.header[72], blob.header[73]]));
    let mut flipped = object.clone();
    for at in (0..header_end).chain(footer_start..object.len()) {
        for mask in [0x01, 0x02, 0x80] {
            flipped[at] ^= mask;
            let error = world.open(&flipped).unwrap_err();
            let is_expected = if at < header_end {
                is_expected_of_header(at, 74 + stanzas, &error)
            } else {
                is_expected_of_footer(at - footer_start, &error)
            };
            assert!(is_expected, "byte {at} ^ {mask:#x}: {error:?}");
            flipped[at] ^= mask;
        }
    }
    assert_eq!(flipped, object);
    // The one suite that could pass for another: its keys are others.
    flipped[14] = 2;
    assert_eq!(world.open(&flipped), Err(OpenError::HeaderMac));
}

/// A flip in any byte of a part is refused with the error of that chunk.
#[test]
fn part_with_any_byte_flipped_is_refused() {
    let mut world = World::new("part flips");
    let blob = world.seal(options(), &plaintext(PART + 100));
    let trusted = world.trusted(&blob.header, &blob.footer.bytes).unwrap();
    for (part, sealed) in (0..).zip(&blob.parts) {
        let mut flipped = sealed.clone();
        for at in 0..sealed.len() {
            flipped[at] ^= 0x10;
            let mut opening = trusted.open_part(part, Vec::new()).unwrap();
            let expected = if at < 56 {
                ChunkError::CommitmentMismatch
            } else {
                ChunkError::ChunkCorrupt { chunk: (at as u64 - 56) / 16_400 }
            };
            let pushed = opening.push(&flipped);
            let expected = PartError::Chunk { part, source: expected };
            // A short last chunk is only known to be one at the end.
            if let Err(error) = pushed {
                assert_eq!(error, expected, "byte {at}");
            }
            assert_eq!(opening.finish().unwrap_err(), expected, "byte {at}");
            flipped[at] ^= 0x10;
        }
        assert_eq!(flipped, *sealed);
    }
}

/// A blob cut at any length, and a part cut at sampled lengths, is refused.
#[test]
fn blob_or_part_cut_at_any_length_is_refused() {
    let mut world = World::new("cuts");
    let blob = world.seal(options(), &plaintext(PART + 100));
    let object = blob.bytes();
    for length in 0..object.len() {
        let error = world.open(&object[..length]).unwrap_err();
        assert!(
            matches!(error, OpenError::Header(_) | OpenError::Footer(_)),
            "{length}: {error:?}"
        );
    }
    let trusted = world.trusted(&blob.header, &blob.footer.bytes).unwrap();
    for (part, sealed) in (0..).zip(&blob.parts) {
        for length in (0..sealed.len()).step_by(7).chain([sealed.len() - 1]) {
            let mut opening = trusted.open_part(part, Vec::new()).unwrap();
            opening.push(&sealed[..length]).unwrap();
            assert_eq!(opening.finish().unwrap_err(), PartError::Truncated { part }, "{length}");
        }
    }
}

/// Bytes appended to a blob or to its last part, and a second footer, are refused.
#[test]
fn blob_with_appended_bytes_is_refused() {
    let mut world = World::new("appended");
    let blob = world.seal(options(), &plaintext(PART + 100));
    for extra in [1, 12, 72, 20_000] {
        let mut appended = blob.bytes();
        appended.resize(appended.len() + extra, 0);
        let error = world.open(&appended).unwrap_err();
        let expected = FooterError::Envelope(EnvelopeError::NoFooter);
        assert_eq!(error, OpenError::Footer(expected));

        let mut stuffed = blob.clone();
        stuffed.parts[1].extend(vec![0; extra]);
        assert_eq!(world.open(&stuffed.bytes()), Err(PartError::TooLong { part: 1 }.into()));
    }
    // A second footer after the first is the one that is found; it does not say where the payload
    // ends.
    let doubled = [&blob.bytes()[..], &blob.footer.bytes].concat();
    assert_eq!(world.open(&doubled), Err(PartError::TooLong { part: 1 }.into()));
}

/// A part that failed to open returns the same error to every later call.
#[test]
fn part_opening_stays_failed_after_an_error() {
    let mut world = World::new("sticky");
    let blob = world.seal(options(), &plaintext(PART + 100));
    let trusted = world.trusted(&blob.header, &blob.footer.bytes).unwrap();
    let mut opening = trusted.open_part(1, Vec::new()).unwrap();
    opening.push(&blob.parts[1]).unwrap();
    assert_eq!(opening.push(&[0]), Err(PartError::TooLong { part: 1 }));
    assert_eq!(opening.push(&[]), Err(PartError::TooLong { part: 1 }));
    assert_eq!(opening.finish().unwrap_err(), PartError::TooLong { part: 1 });
}
