//! The golden blobs say what the script put into them, and are what the crate would write.

use super::*;
use crate::digest::Digest;
use crate::envelope::{PartSize, Suite};
use crate::vault::{Epoch, Order};

fn bytes<const N: usize>(hex: &str) -> [u8; N] {
    hex::decode(hex).unwrap().try_into().unwrap()
}

/// The lengths of header, front and tail, and of the plaintext.
#[test]
fn golden_blobs_have_the_lengths_of_the_script() {
    let lengths = |name| {
        let blob = Golden::read(name);
        let (header, tail) = (blob.header.length(), blob.tail.as_bytes().len());
        let total = blob.tail.fields().total_length;
        (header, blob.layout().parts(), blob.front_bytes().len(), tail, total)
    };
    // Fields of 257; a sealed key of 64; metadata of (3 + 18) + (3 + 12) + (3 + 4), and 72; a
    // hybrid stanza of 1,557. Facts of 34, and 72.
    assert_eq!(lengths("file"), (257 + 64 + 115 + 1557, 1, 144, 391, 27));
    // A second stanza, of X25519: 98.
    assert_eq!(lengths("clear"), (257 + 16 + 113 + 1557 + 98, 3, 102, 391, 132_072));
    assert_eq!(lengths("bare"), (257 + 105 + 98, 1, 38, 88, 0));
    // DECISIONS: "1,984 + 429 bytes".
    assert_eq!(lengths("root-1"), (1984, 1, 38, 391, 27));
    assert_eq!(lengths("pack"), (257 + 16 + 1557, 2, 70, 391, 66_036));
    assert_eq!(lengths("folder-whole"), (257 + 64 + 103 + 1557, 1, 38 + 25, 391, 0));
    assert_eq!(
        lengths("folder-partial"),
        (257 + 64 + 103 + 1557, 1, 38 + 4 + 22 + 23 + 21, 391, 0)
    );
}

/// The vault of the golden charters.
const VAULT: &str = "11ae3cb1d9b042cf821611153d03105f5a9e46d6ea1440d07198e5ab76ff63be";
/// The tags of its epochs 0 and 2, the latter after a theft.
const TAG_0: &str = "5759898bd92a42032ddcadb077055748";
const TAG_2_THEFT: &str = "587d90cc19b328f2b765ab264c06b7b8";

#[test]
fn golden_headers_say_what_the_script_put_in() {
    let of_vault = |tag| {
        let charter_tag = crate::vault::CharterTag::from_bytes(bytes(tag));
        Some(OfVault { id: VaultId::from_bytes(bytes(VAULT)), charter_tag })
    };
    let order = |epoch, generation| Order::new(Epoch::new(epoch), generation).unwrap();
    let shape = |suite, log2, content| BodyShape {
        suite,
        part_size: PartSize::from_log2(log2).unwrap(),
        content,
    };
    let aes = Suite::Aes256Gcm;
    let first = 1_800_000_000_000_000_000;
    let expected = [
        ("file", shape(aes, 24, Content::File), of_vault(TAG_0), order(0, first + 123_456_789)),
        ("bare", shape(aes, 24, Content::File), None, order(0, first)),
        ("root-1", shape(aes, 24, Content::File), of_vault(TAG_2_THEFT), order(2, first + 3)),
        ("pack", shape(aes, 16, Content::Pack), of_vault(TAG_0), order(0, 0)),
        ("folder-whole", shape(aes, 16, Content::Folder), of_vault(TAG_0), order(0, first + 2)),
        ("folder-partial", shape(aes, 16, Content::Folder), of_vault(TAG_0), order(0, first + 2)),
    ];
    for (name, shape, vault, order) in expected {
        let Golden { header, .. } = Golden::read(name);
        let core = &header.fields().core;
        assert_eq!((core.shape, core.vault, core.order), (shape, vault, order), "{name}");
        assert_eq!(header.fields().stanza_epoch, order.epoch(), "{name}");
        assert_eq!(header.fields().stanzas.len(), 1, "{name}");
        assert_eq!(core.extensions, b"", "{name}");
    }
    let clear = Golden::read("clear");
    let core = &clear.header.fields().core;
    assert_eq!(core.shape, shape(Suite::ChaCha20Poly1305, 16, Content::File));
    assert_eq!(core.key.as_ref().unwrap().as_bytes(), b"data/three parts");
    let kinds = clear.header.fields().stanzas.iter().map(crate::envelope::Stanza::kind);
    assert_eq!(kinds.collect::<Vec<_>>(), ["mlkem768x25519", "X25519"]);
    let state = fs::read(data().join("blob-v2/clear.charter")).unwrap();
    assert_eq!(core.vault.unwrap().id.as_bytes(), &state[27..59]);

    let key = |name| Golden::read(name).header.fields().core.key.clone();
    // The object key of `Grüße/secret.bin`, from derive-v2.txt.
    let sealed = fs::read_to_string(data().join("derive-v2.txt")).unwrap();
    let sealed = sealed.lines().find_map(|line| line.strip_prefix("utf8.object_key.text: "));
    assert_eq!(key("file").unwrap().as_bytes(), sealed.unwrap().as_bytes());
    assert_eq!(key("bare"), None);
    assert_eq!(hex::encode(key("pack").unwrap().as_bytes()), "303132333435363738393a3b3c3d3e3f");
}

/// Body digest and transcript are those of the script, and of the bytes that it hashed.
#[test]
fn golden_body_digests_and_transcripts_are_those_of_the_script() {
    for blob in BLOBS.map(Golden::read) {
        let (name, tail) = (blob.name, blob.tail.fields());
        let shape = blob.header.fields().core.shape;
        let digest = BodyDigest::of(shape, tail.total_length, &blob.front());
        assert_eq!(digest.as_bytes()[..], blob.value("body_digest"), "{name}");
        assert_eq!(digest, tail.body_digest, "{name}");
        assert_eq!(digest.as_bytes(), Digest::of(&blob.value("body_input")).as_bytes(), "{name}");
        let transcript = Transcript::of(&blob.header, tail);
        assert_eq!(transcript.as_bytes()[..], blob.value("transcript"), "{name}");
        let signed = [b"zput/v2/writer\0", &blob.value("transcript")[..]].concat();
        assert_eq!(transcript.to_sign(), signed, "{name}");
    }
}

#[test]
fn golden_tails_say_what_the_script_put_in() {
    let certificate = fs::read(data().join("certificate-v2/all-scopes.certificate")).unwrap();
    for blob in BLOBS.map(Golden::read) {
        let (name, tail) = (blob.name, &blob.tail);
        assert_eq!(tail.file_mac()[..], blob.value("file_mac"), "{name}");
        assert_eq!(blob.header.mac().1, blob.value("header_mac"), "{name}");
        let written = tail.fields().certificate_bytes();
        match tail.vault() {
            None => assert_eq!((name, written), ("bare", &b""[..])),
            Some(seal) => {
                assert_eq!(seal.mac[..], blob.value("vault_mac"), "{name}");
                assert_eq!(seal.signature.as_bytes(), blob.value("signature"), "{name}");
                let own = fs::read(data().join("blob-v2/clear.certificate")).unwrap();
                assert_eq!(written, if name == "clear" { &own } else { &certificate }, "{name}");
            }
        }
        let end = tail.end();
        assert_eq!(usize::from(end.tail_length()), tail.as_bytes().len(), "{name}");
        assert_eq!(end.front_length() as usize, blob.front_bytes().len(), "{name}");
    }
}

#[test]
fn golden_folders_name_the_packs_of_the_script() {
    let reference = |first: u8, parts, needed| {
        let id = std::array::from_fn(|i| first + i as u8);
        Reference { id, parts, needed }
    };
    let whole = Golden::read("folder-whole");
    let packs: Vec<_> = whole.front().references().unwrap().iter().collect();
    assert_eq!(packs, [reference(0x30, 2, Needed::All)]);
    let partial = Golden::read("folder-partial");
    let packs: Vec<_> = partial.front().references().unwrap().iter().collect();
    let expected = [
        reference(0x30, 2, Needed::Bits(&[0b10])),
        reference(0x70, 9, Needed::Bits(&[0b1000_0001, 0b1])),
        reference(0x90, 16, Needed::All),
    ];
    assert_eq!(packs, expected);
    let needed =
        |pack: &Reference<'_>| (0..20).filter(|part| pack.needs(*part)).collect::<Vec<_>>();
    assert_eq!(needed(&packs[0]), [1]);
    assert_eq!(needed(&packs[1]), [0, 7, 8]);
    assert_eq!(needed(&packs[2]), (0..16).collect::<Vec<_>>());
    assert!(Golden::read("pack").front().references().is_none());
}

/// The crate writes the bytes that the script wrote.
#[test]
fn golden_blobs_are_written_byte_for_byte() {
    for blob in BLOBS.map(Golden::read) {
        let (name, header, tail) = (blob.name, &blob.header, &blob.tail);
        let length = header.as_bytes().len();
        assert_eq!(header.fields().to_mac().unwrap(), blob.bytes[..length - 32], "{name}");
        let mac = blob.value("header_mac").try_into().unwrap();
        assert_eq!(header.fields().with_mac(&mac).as_ref(), Ok(header), "{name}");
        assert_eq!(header.as_bytes(), &blob.bytes[..length], "{name}");
        assert_eq!(header.mac().0, &blob.bytes[..length - 32], "{name}");

        let front = blob.front();
        let digests: Vec<_> = front.digests().collect();
        let packs: Option<Vec<_>> = front.references().map(|packs| packs.iter().collect());
        let written = Front::encode(&digests, front.facts(), packs.as_deref()).unwrap();
        assert_eq!(written, blob.front_bytes(), "{name}");

        let front_length = blob.front_bytes().len() as u32;
        let written = tail.fields().sealed(tail.file_mac(), tail.vault(), front_length);
        assert_eq!(written.as_ref(), Ok(tail), "{name}");
        assert!(blob.bytes.ends_with(tail.as_bytes()), "{name}");
    }
}

/// The transcript covers header and tail but for what a change of recipients changes.
#[test]
fn transcript_covers_all_but_stanzas_and_header_mac() {
    let blob = Golden::read("file");
    let tail = blob.tail.fields();
    let transcript = |header: &Header, tail: &TailFields| Transcript::of(header, tail);
    let own = transcript(&blob.header, tail);
    let bytes = blob.header.as_bytes();
    // Where `stanza_epoch` begins: behind the core.
    let rest = 14 + blob.header.core().len();
    let mut parsed = 0;
    for at in 0..bytes.len() {
        let mut changed = bytes.to_vec();
        changed[at] ^= 1;
        let Ok(header) = Header::parse(&changed) else { continue };
        parsed += 1;
        let is_same = transcript(&header, tail) == own;
        assert_eq!(is_same, at >= rest, "byte {at}");
    }
    // Most of vault, epoch, salt, key, content key, metadata, of the stanza and all of the MAC.
    assert!(parsed > 300, "{parsed}");

    let longer = TailFields { total_length: tail.total_length + 1, ..tail.clone() };
    assert_ne!(transcript(&blob.header, &longer), own);
    let digest = TailFields { body_digest: BodyDigest::from_bytes([7; 32]), ..tail.clone() };
    assert_ne!(transcript(&blob.header, &digest), own);
    // Another device's certificate, of the same length.
    let other = fs::read(data().join("certificate-v2/later-scope.certificate")).unwrap();
    let other = crate::vault::Certificate::parse(&other).unwrap();
    let certificate = TailFields { certificate: Some(other), ..tail.clone() };
    assert_ne!(transcript(&blob.header, &certificate), own);
    let none = TailFields { certificate: None, ..tail.clone() };
    assert_ne!(transcript(&blob.header, &none), own);
}

/// Whatever byte of a header, a tail or a front is changed: what parses then is the only encoding
/// of what it says.
#[test]
fn changed_pieces_that_parse_are_written_byte_for_byte() {
    let mut parsed = [0; 3];
    let changed = |bytes: &[u8], at: usize, bit: u32| {
        let mut changed = bytes.to_vec();
        changed[at] ^= 1 << bit;
        changed
    };
    for blob in ["bare", "clear", "pack", "folder-partial"].map(Golden::read) {
        let (name, header, tail) = (blob.name, blob.header.as_bytes(), blob.tail.as_bytes());
        for (at, bit) in (0..header.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
            let bytes = changed(header, at, bit);
            let Ok(it) = Header::parse(&bytes) else { continue };
            let mac = it.mac().1.try_into().unwrap();
            assert_eq!(it.fields().with_mac(mac).unwrap().as_bytes(), bytes, "{name} {at}");
            parsed[0] += 1;
        }
        for (at, bit) in (0..tail.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
            let bytes = changed(tail, at, bit);
            let Ok(it) = Tail::parse(&bytes) else { continue };
            let front = it.end().front_length();
            let written = it.fields().sealed(it.file_mac(), it.vault(), front).unwrap();
            assert_eq!(written.as_bytes(), bytes, "{name} {at}");
            parsed[1] += 1;
        }
        let (front, content) = (blob.front_bytes(), blob.header.fields().core.shape.content);
        for (at, bit) in (0..front.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
            let bytes = changed(front, at, bit);
            let parts = blob.layout().parts();
            let Ok(it) = Front::parse(&bytes, parts, content) else { continue };
            let digests: Vec<_> = it.digests().collect();
            let packs: Option<Vec<_>> = it.references().map(|packs| packs.iter().collect());
            let written = Front::encode(&digests, it.facts(), packs.as_deref()).unwrap();
            assert_eq!(written, bytes, "{name} {at}");
            parsed[2] += 1;
        }
    }
    // Salts, keys, MACs and digests can be any.
    assert!(parsed.iter().all(|parsed| *parsed > 1000), "{parsed:?}");
}
