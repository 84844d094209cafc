//! Each refused golden file has one fault, and is refused for it.

use std::collections::BTreeSet;

use super::*;
use crate::envelope::{HYBRID, ShapeError, StanzaError, TooManyParts, X25519};
use crate::tagged::TaggedError;
use crate::vault::{CertificateError, Epoch};

/// The refused files of a kind, by their names without ending.
fn names(ending: &str) -> BTreeSet<String> {
    let files = fs::read_dir(data().join("blob-v2/refused")).unwrap();
    let paths = files.map(|file| file.unwrap().path());
    let of_kind = paths.filter(|path| path.extension().unwrap() == ending);
    of_kind.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
}

fn refused(name: &str) -> Vec<u8> {
    fs::read(data().join("blob-v2/refused").join(name)).unwrap()
}

/// What is wrong with each refused header.
fn headers() -> Vec<(&'static str, HeaderError)> {
    use HeaderError::*;
    let stanza = 0;
    let arguments = |arguments| Shape(ShapeError::Arguments { stanza, kind: X25519, arguments });
    let share = |kind| Shape(ShapeError::Share { stanza, kind });
    let low_order = |stanza, kind| Shape(ShapeError::LowOrder { stanza, kind });
    vec![
        ("cut", Truncated),
        ("magic", NotABlob),
        ("version-1", UnknownVersion(1)),
        ("version-3", UnknownVersion(3)),
        ("length-256", HeaderLength(256)),
        ("length-65537", HeaderLength(65_537)),
        // 257, a key of 64, metadata of 115 and a stanza of 98 bytes.
        ("length-one-more", Length { stated: 535, found: 534 }),
        ("byte-behind", Fields),
        ("key-beyond-end", Fields),
        ("metadata-beyond-end", Fields),
        ("extensions-beyond-end", Fields),
        ("stanzas-beyond-end", Fields),
        ("suite-0", UnknownSuite(0)),
        ("suite-3", UnknownSuite(3)),
        ("part-size-15", PartSize(15)),
        ("part-size-25", PartSize(25)),
        ("content-3", UnknownContent(3)),
        ("bare-epoch", Bare("epoch")),
        ("bare-charter-tag", Bare("charter tag")),
        ("bare-content", Bare("content")),
        ("bare-stanza-epoch", Bare("epoch of the stanzas")),
        ("generation-2-63", Generation(1 << 63)),
        ("pack-generation", Pack("generation")),
        ("pack-id-none", Pack("length of its id")),
        ("pack-id-15", Pack("length of its id")),
        ("pack-id-17", Pack("length of its id")),
        ("pack-metadata", Pack("metadata")),
        ("key-1025", KeyLength(1025)),
        ("metadata-none", Metadata(0)),
        ("metadata-75", Metadata(75)),
        ("metadata-49273", Metadata(49_273)),
        ("metadata-no-message", Metadata(16_471)),
        ("extension-critical", Extensions(TaggedError::Critical(0x85))),
        ("extension-order", Extensions(TaggedError::Order(5))),
        ("extension-twice", Extensions(TaggedError::Order(5))),
        ("extension-cut", Extensions(TaggedError::Cut)),
        ("stanza-epoch-below", StanzaEpoch { stanzas: Epoch::new(0), epoch: Epoch::new(1) }),
        ("stanzas-none", Stanzas(StanzaError::None)),
        ("stanzas-33", Stanzas(StanzaError::TooMany)),
        ("stanza-mark", Stanzas(StanzaError::Mark { stanza })),
        ("stanza-cut", Stanzas(StanzaError::Truncated { stanza })),
        ("stanza-argument-empty", Stanzas(StanzaError::Argument { stanza })),
        ("stanza-argument-not-visible", Stanzas(StanzaError::Argument { stanza })),
        ("stanza-long-line", Stanzas(StanzaError::LongLine { stanza })),
        ("stanza-padded", Stanzas(StanzaError::Base64 { stanza })),
        ("stanza-not-canonical", Stanzas(StanzaError::Base64 { stanza })),
        ("stanza-two-shares", arguments(2)),
        ("stanza-no-share", arguments(0)),
        ("stanza-share-31", share(X25519)),
        ("stanza-share-not-canonical", share(X25519)),
        ("stanza-body-31", Shape(ShapeError::BodyLength { stanza, kind: X25519, length: 31 })),
        ("stanza-low-order", low_order(0, X25519)),
        ("stanza-low-order-masked", low_order(0, X25519)),
        ("stanza-low-order-behind-ours", low_order(1, X25519)),
        ("stanza-hybrid-1119", share(HYBRID)),
        ("stanza-hybrid-low-order", low_order(0, HYBRID)),
    ]
}

#[test]
fn refused_headers_are_refused_for_their_one_fault() {
    let expected = headers();
    for (name, error) in &expected {
        let bytes = refused(&format!("{name}.header"));
        assert_eq!(Header::parse(&bytes).map(|_| ()), Err(error.clone()), "{name}");
    }
    assert_eq!(names("header"), expected.iter().map(|(name, _)| (*name).to_owned()).collect());
}

/// What is wrong with each refused tail.
const TAILS: [(&str, TailError); 22] = {
    use TailError::*;
    [
        ("cut", Truncated),
        ("magic", NoFooter),
        ("byte-behind", NoFooter),
        ("tail-length-87", TailLength(87)),
        ("tail-length-12409", TailLength(12_409)),
        ("tail-length-one-less", Length { stated: 390, found: 391 }),
        ("tail-length-one-more", Length { stated: 392, found: 391 }),
        ("footer-length-of-tail", FooterLength(391)),
        ("footer-length-front-37", FooterLength(428)),
        ("footer-length-front-25150471", FooterLength(25_150_862)),
        ("total-length-2-42", TooManyParts(TOO_LONG)),
        ("certificate-by-digest", ReservedCertificate(0x8020)),
        ("certificate-reserved-bit", ReservedCertificate(0x80cf)),
        ("certificate-beyond-end", Fields),
        ("certificate-8193", Certificate(CertificateError::TooLong(8193))),
        ("certificate-refused", Certificate(CertificateError::UnknownVersion(3))),
        ("certificate-without-writer", NoWriter),
        ("certificate-none", Fields),
        ("seal-none", Fields),
        ("signature-63", Fields),
        ("signature-65", Fields),
        ("bare-with-seal", Fields),
    ]
};

const TOO_LONG: TooManyParts = TooManyParts(1 << 42);

#[test]
fn refused_tails_are_refused_for_their_one_fault() {
    for (name, error) in TAILS {
        let bytes = refused(&format!("{name}.tail"));
        assert_eq!(Tail::parse(&bytes).map(|_| ()), Err(error), "{name}");
    }
    assert_eq!(names("tail"), TAILS.map(|(name, _)| name.to_owned()).into());
}

/// What is wrong with each refused front.
const FRONTS: [(&str, FrontError); 27] = {
    use FrontError::*;
    use ReferencesError as R;
    let (index, parts) = (0, 0);
    [
        ("file-digests-cut", Cut),
        ("file-facts-1", Facts(1)),
        ("file-facts-73", Facts(73)),
        ("file-facts-1025", Facts(1025)),
        ("file-facts-beyond-end", Cut),
        ("file-references", ReferencesLength { content: 0, length: 4 }),
        ("file-references-length-cut", Cut),
        ("file-byte-behind", Trailing(1)),
        // The second digest is read as what follows the first.
        ("file-digest-more", Facts(SECOND_DIGEST)),
        ("folder-references-none", ReferencesLength { content: 2, length: 0 }),
        ("folder-references-3", ReferencesLength { content: 2, length: 3 }),
        ("folder-references-16760833", ReferencesLength { content: 2, length: 16_760_833 }),
        ("folder-references-beyond-end", Cut),
        ("folder-byte-behind", Trailing(1)),
        ("folder-byte-behind-packs", References(R::Trailing(1))),
        ("folder-packs-65537", References(R::Count(65_537))),
        ("folder-packs-cut", References(R::Cut)),
        ("folder-packs-order", References(R::Order { index: 1 })),
        ("folder-packs-twice", References(R::Order { index: 1 })),
        ("folder-parts-0", References(R::Parts { index, parts })),
        ("folder-parts-262145", References(R::Parts { index, parts: 262_145 })),
        ("folder-whole-2", References(R::Whole { index, whole: 2 })),
        ("folder-bits-all", References(R::AllNeeded { index })),
        ("folder-bits-none", References(R::NoneNeeded { index })),
        ("folder-bits-spare", References(R::SpareBits { index })),
        ("folder-bits-spare-alone", References(R::SpareBits { index })),
        ("folder-bits-cut", References(R::Cut)),
    ]
};

/// The first two bytes of the digest of the part of `file`, by `transcript-v2.txt`.
const SECOND_DIGEST: u16 = 0x4327;

#[test]
fn refused_fronts_are_refused_for_their_one_fault() {
    for (name, error) in FRONTS {
        let bytes = refused(&format!("{name}.front"));
        let content = if name.starts_with("folder-") { Content::Folder } else { Content::File };
        assert_eq!(Front::parse(&bytes, 1, content).map(|_| ()), Err(error), "{name}");
    }
    assert_eq!(names("front"), FRONTS.map(|(name, _)| name.to_owned()).into());
}

/// FORMAT 7: a front has exactly the digests of its parts.
#[test]
fn front_has_the_digests_of_its_parts() {
    let clear = Golden::read("clear");
    let front = |parts| Front::parse(clear.front_bytes(), parts, Content::File).map(|_| ());
    assert_eq!(front(3), Ok(()));
    assert_eq!(front(4), Err(FrontError::Cut));
    assert!(front(2).is_err());
    assert_eq!(front(0), Err(FrontError::Parts(0)));
    assert_eq!(front(262_145), Err(FrontError::Parts(262_145)));
    assert_eq!(front(u64::MAX), Err(FrontError::Parts(u64::MAX)));
}

/// No cut and no byte more of a header, a tail or a front is taken for another one.
#[test]
fn cut_and_longer_pieces_are_refused() {
    for blob in BLOBS.map(Golden::read) {
        let (header, tail, front) =
            (blob.header.as_bytes(), blob.tail.as_bytes(), blob.front_bytes());
        let content = blob.header.fields().core.shape.content;
        let parts = blob.layout().parts();
        for length in 0..header.len() {
            assert!(Header::parse(&header[..length]).is_err(), "{} {length}", blob.name);
        }
        for length in 0..tail.len() {
            assert!(Tail::parse(&tail[..length]).is_err(), "{} {length}", blob.name);
            assert!(Tail::parse(&tail[tail.len() - length..]).is_err(), "{} {length}", blob.name);
            assert!(Tail::parse_end(&tail[..length]).is_err(), "{} {length}", blob.name);
        }
        for length in 0..front.len() {
            let cut = Front::parse(&front[..length], parts, content);
            assert!(cut.is_err(), "{} {length}", blob.name);
        }
        assert!(Header::parse(&[header, b"\0"].concat()).is_err());
        assert!(Tail::parse(&[b"\0", tail].concat()).is_err());
        assert!(Tail::parse(&[tail, b"\0"].concat()).is_err());
        assert!(Front::parse(&[front, b"\0"].concat(), parts, content).is_err());
    }
}
