//! A server that serves other bytes than were put.

use zput_proto::message::Kind;
use zput_seal::keys::ModePolicy;
use zput_tests::hostile::{Answer, Forgery, Payload, Stored, forge::SMALL_PART_BYTES};

use crate::victim::{NAME, Victim};

pub(crate) const SMALL: &[u8] = b"the quick brown fox jumps over the lazy dog";

/// Two full parts and a short one.
pub(crate) fn three_parts() -> Vec<u8> {
    (0..2 * SMALL_PART_BYTES as u32 + 1000)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect()
}

/// Of a blob with a sealed key: where its recipient stanzas are (FORMAT 3).
fn stanzas(blob: &[u8]) -> std::ops::Range<usize> {
    let begin = 58 + 64 + 2;
    let length = usize::from(u16::from_be_bytes([blob[begin - 2], blob[begin - 1]]));
    begin..begin + length
}

/// A get refuses a blob with any one byte changed, and releases no byte of it.
#[test]
fn get_refuses_blob_with_any_flipped_byte() {
    let victim = Victim::new(ModePolicy::Plaintext);
    let blob = victim.honest(SMALL).seal();
    let stored = Stored::new(1, blob.clone());
    let stanzas = stanzas(&blob);
    victim.serve(blob.clone());
    assert_eq!(victim.exit(), (0, SMALL.to_vec()));
    for at in 0..blob.len() {
        for mask in [0x01, 0x20, 0x80] {
            let mut flipped = blob.clone();
            flipped[at] ^= mask;
            let redescribed = Stored::new(1, flipped.clone());
            for stored in [stored.with(flipped), redescribed] {
                if stored.info.kind == Kind::Plain {
                    continue;
                }
                victim.serve_stored(stored);
                let (exit, sink) = victim.exit();
                assert!(sink.is_empty(), "byte {at} ^ {mask:#x}");
                // A stanza that was changed is somebody else's: nothing tells that it was ours.
                if stanzas.contains(&at) {
                    assert!(matches!(exit, 7 | 8), "byte {at} ^ {mask:#x}: {exit}");
                } else {
                    assert_eq!(exit, 8, "byte {at} ^ {mask:#x}");
                }
            }
        }
    }
    victim.serve(blob);
    assert_eq!(victim.exit(), (0, SMALL.to_vec()));
}

/// A get refuses a blob that is cut at any byte, from either end.
#[test]
fn get_refuses_blob_cut_anywhere() {
    let victim = Victim::new(ModePolicy::Plaintext);
    let blob = victim.honest(SMALL).seal();
    let stored = Stored::new(1, blob.clone());
    for length in 0..blob.len() {
        // Described as it is.
        victim.serve_stored(stored.with(blob[..length].to_vec()));
        assert_eq!(victim.exit(), (8, Vec::new()), "{length} bytes");
        // Without its first bytes.
        victim.serve_stored(stored.with(blob[blob.len() - length..].to_vec()));
        assert_eq!(victim.exit(), (8, Vec::new()), "the last {length} bytes");
        // Described as if it were whole.
        victim.serve_stored(Stored { bytes: blob[..length].to_vec(), info: stored.info });
        assert_eq!(victim.exit(), (8, Vec::new()), "{length} bytes, said to be whole");
    }
    // Announced as a whole, and then the connection is cut.
    victim.serve(blob.clone());
    for length in 0..blob.len() - stored.info.header_length as usize {
        victim.server.lie(move |_, answer| {
            let bytes = answer.bytes()[..length].to_vec();
            Answer { payload: Payload::Bytes(bytes), ..answer }
        });
        assert_eq!(victim.exit(), (5, Vec::new()), "cut after {length} bytes");
    }
    victim.server.repent();
    assert_eq!(victim.exit(), (0, SMALL.to_vec()));
}

/// A get refuses a blob with bytes inserted at any place.
#[test]
fn get_refuses_blob_with_bytes_inserted_anywhere() {
    let victim = Victim::new(ModePolicy::Plaintext);
    let blob = victim.honest(SMALL).seal();
    let stored = Stored::new(1, blob.clone());
    for at in 0..=blob.len() {
        for added in [&b"\x00"[..], b"\xff\xff\xff\xff", &blob[blob.len() - 16..]] {
            let longer = [&blob[..at], added, &blob[at..]].concat();
            victim.serve_stored(stored.with(longer));
            let (exit, sink) = victim.exit();
            assert!(sink.is_empty(), "{} bytes at {at}", added.len());
            let is_in_stanzas = stanzas(&blob).contains(&at);
            assert!(exit == 8 || (exit == 7 && is_in_stanzas), "{added:?} at {at}: {exit}");
        }
    }
}

/// Whatever is done to whole parts, no byte of a wrong one is released.
#[test]
fn get_refuses_parts_moved_dropped_repeated_or_replaced() {
    let victim = Victim::new(ModePolicy::Plaintext);
    let plaintext = three_parts();
    let forgery = victim.honest(&plaintext);
    let honest = forgery.pieces();
    // A second attempt at the same name, of the same source; and one of a changed source.
    let again = Forgery { file_key: [7; 16], salt: [8; 32], ..forgery.clone() }.pieces();
    let other = Forgery { plaintext: vec![1; plaintext.len()], ..forgery.clone() }.pieces();
    // The holder of the file key seals the same part again, and another one.
    let resealed = forgery.part(0, &plaintext[..SMALL_PART_BYTES]);
    let rewritten = forgery.part(0, &[9; SMALL_PART_BYTES]);
    let longer = forgery.part(2, &[9; 1001]);
    let whole = forgery.part(2, &[9; SMALL_PART_BYTES]);

    let order = |parts: &[usize]| -> Vec<Vec<u8>> {
        parts.iter().map(|i| honest.parts[*i].clone()).collect()
    };
    let with = |at: usize, part: &[u8]| -> Vec<Vec<u8>> {
        let mut parts = honest.parts.clone();
        parts[at] = part.to_vec();
        parts
    };
    let mut attacks: Vec<(&str, Vec<Vec<u8>>)> = vec![
        ("0 and 1 change places", order(&[1, 0, 2])),
        ("1 and 2 change places", order(&[0, 2, 1])),
        ("the first is dropped", order(&[1, 2])),
        ("the second is dropped", order(&[0, 2])),
        ("the last is dropped", order(&[0, 1])),
        ("all are dropped", order(&[])),
        ("the first comes twice", order(&[0, 0, 1, 2])),
        ("the second comes twice", order(&[0, 1, 1, 2])),
        ("the last comes twice", order(&[0, 1, 2, 2])),
        ("the second is the first", order(&[0, 0, 2])),
        ("the first is of another attempt", with(0, &again.parts[0])),
        ("the last is of another attempt", with(2, &again.parts[2])),
        ("all are of another attempt", again.parts.clone()),
        ("the second is of a changed source", with(1, &other.parts[1])),
        ("the last is of a changed source", with(2, &other.parts[2])),
        ("the first was sealed again", with(0, &resealed)),
        ("the first was rewritten", with(0, &rewritten)),
        ("the last was made longer", with(2, &longer)),
        ("the last was made a full one", with(2, &whole)),
    ];
    for part in 0..3 {
        let sealed = &honest.parts[part];
        for (at, what) in [
            (0, "salt"),
            (24, "commitment"),
            (56, "first chunk"),
            (sealed.len() / 2, "middle"),
            (sealed.len() - 1, "last tag"),
        ] {
            let mut damaged = sealed.clone();
            damaged[at] ^= 1;
            attacks.push((what, with(part, &damaged)));
        }
        // The chunks inside a part.
        if part < 2 {
            let chunk = 16_400;
            let mut swapped = sealed.clone();
            swapped[56..56 + 2 * chunk].rotate_left(chunk);
            attacks.push(("chunks change places", with(part, &swapped)));
            let dropped = [&sealed[..56 + chunk], &sealed[56 + 2 * chunk..]].concat();
            attacks.push(("a chunk is dropped", with(part, &dropped)));
            let twice = [&sealed[..56 + chunk], &sealed[56..]].concat();
            attacks.push(("a chunk comes twice", with(part, &twice)));
            attacks.push(("a part is cut", with(part, &sealed[..sealed.len() - chunk])));
        }
    }
    let stored = Stored::new(1, honest.join());
    victim.serve_stored(stored.clone());
    assert!(victim.exit() == (0, plaintext.clone()));
    for (what, parts) in attacks {
        let mut attack = honest.clone();
        attack.parts = parts;
        // As long as it is, and as long as it should be.
        let exact = {
            let mut bytes = attack.join();
            bytes.resize(stored.bytes.len(), 0);
            let footer = bytes.len() - honest.footer.len();
            bytes[footer..].copy_from_slice(&honest.footer);
            bytes
        };
        for attack in [attack.join(), exact] {
            if attack == stored.bytes {
                continue;
            }
            victim.serve_stored(stored.with(attack));
            let (exit, sink) = victim.exit();
            assert_eq!(exit, 8, "{what}");
            assert!(plaintext.starts_with(&sink), "{what}: {} forged bytes", sink.len());
            assert_eq!(sink.len() % SMALL_PART_BYTES, 0, "{what}: a part was released in part");
        }
        if what == "the first was rewritten" {
            victim.refuses(8, &plaintext);
        }
        if what == "the last is of another attempt" {
            // What was verified stays, under a name that is not the file's, and nothing else of it.
            let _refused = victim.run("zget", &[NAME]).ended(8);
            let files = victim.files();
            let [partial] = &files.iter().collect::<Vec<_>>()[..] else { panic!("{files:?}") };
            assert!(partial.starts_with(".zput-"), "{partial}");
            let kept = victim.home.read(partial);
            assert!(!kept.is_empty() && plaintext.starts_with(&kept), "{} bytes", kept.len());
            std::fs::remove_file(victim.home.file(partial)).unwrap();
        }
    }
    for (what, header, footer) in [
        ("the header is of another attempt", &again.header, &honest.footer),
        ("the footer is of another attempt", &honest.header, &again.footer),
        ("the footer is of a changed source", &honest.header, &other.footer),
    ] {
        let bytes = [&header[..], &honest.parts.concat(), footer].concat();
        victim.serve(bytes);
        assert_eq!(victim.exit(), (8, Vec::new()), "{what}");
    }
    victim.serve(honest.join());
    victim.accepts(&plaintext);
}
