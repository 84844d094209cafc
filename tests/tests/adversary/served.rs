//! A server that serves other bytes than were put.

use zput_proto::{
    digest::Digest,
    keys::WriterPublicKey,
    message::{Kind, Response, Version},
    name::ObjectKey,
};
use zput_seal::keys::{KeyFile, ModePolicy, Role};
use zput_tests::hostile::{
    Answer, Forgery, Payload, Stored,
    forge::{Pieces, SMALL_PART_BYTES, Voucher},
};

use crate::victim::{FILE, NAME, Victim, member, write_key_file};

const SMALL: &[u8] = b"the quick brown fox jumps over the lazy dog";

/// Two full parts and a short one.
fn three_parts() -> Vec<u8> {
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

/// SECURITY: "The object key is in the authenticated header."
#[test]
fn get_refuses_blob_sealed_for_another_object_key() {
    let victim = Victim::new(ModePolicy::Tls);
    let honest = victim.honest(SMALL);
    let name = zput_proto::name::BlobName::parse("another").unwrap();
    let other = Forgery::honest(&victim.member, &victim.member.object_key(&name), "another", b"B");
    // Genuine, of this vault, of another name, even if its author gave both the same.
    let same_name = Forgery::honest(&victim.member, &other_key(&other), NAME, b"B");
    let for_no_key = Forgery { object_key: Vec::new(), ..honest.clone() };
    let longer = [victim.key.as_bytes(), b"0"].concat();
    let for_longer = Forgery { object_key: longer, ..honest.clone() };
    for forgery in [&other, &same_name, &for_no_key, &for_longer] {
        victim.serve(forgery.seal());
        let said = victim.refuses(8, b"");
        assert!(said.contains("sealed for another object"), "{said}");
    }
    victim.serve(honest.seal());
    victim.accepts(SMALL);
}

fn other_key(forgery: &Forgery) -> ObjectKey {
    ObjectKey::new(forgery.object_key.clone()).unwrap()
}

/// A get refuses an older generation unless --at or --allow-rollback asks for it.
#[test]
fn rollback_guard_refuses_older_version_unless_requested() {
    let victim = Victim::new(ModePolicy::Tls);
    let old = Forgery { generation: 100, ..victim.honest(b"the old one") };
    let new = Forgery { generation: 200, ..victim.honest(b"the new one") };
    let (old_blob, new_pieces) = (old.seal(), new.pieces());
    let new_blob = new_pieces.join();
    victim.server.shelf().put(&victim.key, old_blob.clone());
    victim.accepts(b"the old one");
    victim.server.shelf().put(&victim.key, new_blob.clone());
    victim.accepts(b"the new one");

    // Rolled back, by itself and as a newer version of the server's counting.
    victim.serve_next(old_blob.clone());
    let rolled_back = || {
        let said = victim.refuses(8, b"");
        assert!(said.contains("generation") && said.contains("--allow-rollback"), "{said}");
    };
    rolled_back();
    victim.server.shelf().put(&victim.key, new_blob.clone());
    victim.server.shelf().put(&victim.key, old_blob.clone());
    rolled_back();
    // One less than the newest.
    victim.serve_next(Forgery { generation: 199, ..victim.honest(b"nearly") }.seal());
    rolled_back();
    // The same generation with other content: somebody put twice in one nanosecond, or lies.
    victim.serve_next(Forgery { generation: 200, ..victim.honest(b"equal") }.seal());
    rolled_back();
    // With other recipients, the same version is the same version.
    let more = vec![new.recipients[0].clone(), member().recipients[0].clone()];
    let shared = Forgery { recipients: more, ..new.clone() }.for_others(&new_pieces);
    assert!(shared.header.len() > new_pieces.header.len());
    victim.serve_next(shared.join());
    victim.accepts(b"the new one");

    // An old one that is asked for by its number is not a lie, and changes nothing.
    victim.serve_next(new_blob.clone());
    let mut shelf = victim.server.shelf();
    shelf.place(&victim.key, Stored::new(2, old_blob.clone()));
    shelf.place(&victim.key, Stored::new(3, new_blob.clone()));
    drop(shelf);
    let ran = victim.run("zget", &["-o", "-", "--at", "2", NAME]).ok();
    assert_eq!(ran.text(), "the old one");
    victim.accepts(b"the new one");

    // The user decides otherwise; from then on the old one is the newest.
    victim.serve_next(old_blob.clone());
    rolled_back();
    let ran = victim.run("zget", &["-o", "-", "--allow-rollback", NAME]).ok();
    assert_eq!(ran.text(), "the old one");
    victim.accepts(b"the old one");
    victim.serve_next(new_blob.clone());
    victim.accepts(b"the new one");
}

/// "--at" asks for a version of the server's counting; another number in its answer is a lie.
#[test]
fn zget_at_refuses_another_version_number() {
    let victim = Victim::new(ModePolicy::Tls);
    victim.server.shelf().put(&victim.key, victim.honest(SMALL).seal());
    victim.server.lie(|_, answer| match answer.response {
        Response::Object { mut info, header, payload } => {
            info.version = Version(2);
            Answer { response: Response::Object { info, header, payload }, ..answer }
        }
        _ => answer,
    });
    let ran = victim.run("zget", &["--at", "1", NAME]).ended(8);
    assert!(ran.stdout.is_empty());
    assert!(victim.files().is_empty());
}

/// A get refuses a blob without the vault's MAC and a valid writer's signature.
#[test]
fn get_refuses_blob_the_vault_does_not_vouch_for() {
    let victim = Victim::new(ModePolicy::Tls);
    let honest = victim.honest(SMALL);
    let outsider = member();
    let own = Voucher::of(&outsider);
    let ours = Voucher::of(&victim.member);
    let vault = "the vault does not vouch for the blob";
    let attacks = [
        // Recipients are public: whoever knows them can seal to them.
        (Some(own.clone()), vault),
        (None, "no vault authenticates the blob"),
        // An outsider who says that our writer signed.
        (Some(Voucher { claimed: ours.claimed, ..own.clone() }), vault),
        // The server has seen our writer's signatures, and does not know the vault's secret.
        (Some(Voucher { vault: own.vault.clone(), ..ours.clone() }), vault),
        // A member, whose own signature is not another's.
        (Some(Voucher { claimed: own.claimed, ..ours.clone() }), "does not hold"),
        // A point of small order, which every signature fits in a lenient verifier.
        (
            Some(Voucher { claimed: WriterPublicKey::from_bytes([0; 32]), ..ours.clone() }),
            "does not hold",
        ),
    ];
    for (voucher, reason) in attacks {
        victim.serve(Forgery { voucher, ..honest.clone() }.seal());
        let said = victim.refuses(8, b"");
        assert!(said.contains(reason), "{said}");
    }
    victim.serve(honest.seal());
    victim.accepts(SMALL);
}

/// A get-only key file pins its exporter: other members' blobs are not taken.
#[test]
fn get_only_key_file_refuses_blob_of_another_reader() {
    let victim = Victim::new(ModePolicy::Tls);
    let reader = victim.member.export(Role::Get, &mut rand::rng()).unwrap();
    let captured = victim.member.export(Role::Get, &mut rand::rng()).unwrap();
    victim.install(&reader);
    victim.serve(victim.honest(SMALL).seal());
    victim.accepts(SMALL);
    let theirs = Voucher::of(&captured);
    let ours = Voucher::of(&victim.member);
    for (voucher, reason) in [
        (theirs.clone(), "is not one of those that are pinned"),
        (Voucher { claimed: ours.claimed, ..theirs }, "does not hold"),
    ] {
        let forged = Forgery { voucher: Some(voucher), ..victim.honest(b"forged") };
        victim.serve(forged.seal());
        let said = victim.refuses(8, b"");
        assert!(said.contains(reason), "{said}");
    }
    // To a member that pins nobody, any member's word is good.
    victim.install(&victim.member);
    let voucher = Some(Voucher::of(&captured));
    victim.serve(Forgery { voucher, ..victim.honest(b"by another member") }.seal());
    victim.accepts(b"by another member");
}

/// SECURITY: "a reader who has the file key rewrites a blob together with the server".
#[test]
fn file_key_holder_cannot_rewrite_blob() {
    let victim = Victim::new(ModePolicy::Tls);
    let plaintext = three_parts();
    let honest = victim.honest(&plaintext);
    let genuine = honest.pieces();
    let mut changed = plaintext.clone();
    changed[5] ^= 1;
    // With the same header, and a footer that lists the new part: all that the file key allows.
    let rewritten = Forgery { plaintext: changed, ..honest.clone() };
    let outsider = Voucher::of(&member());
    for (voucher, reason) in [
        (None, "no vault authenticates the blob"),
        (Some(outsider), "the vault does not vouch for the blob"),
    ] {
        let forged = Forgery { voucher, ..rewritten.clone() };
        let footer = forged.footer_of(&genuine.header, &forged.parts());
        let blob = Pieces { parts: forged.parts(), footer, ..genuine.clone() };
        victim.serve(blob.join());
        let said = victim.refuses(8, b"");
        assert!(said.contains(reason), "{said}");
    }
    // The vault's own word, which is of other parts.
    victim.serve(Pieces { parts: rewritten.parts(), ..genuine.clone() }.join());
    let said = victim.refuses(8, b"");
    assert!(said.contains("part 0 is not the one that the footer vouches for"), "{said}");
    // The new part's digest in the old footer, its MACs untouched.
    let part = honest.part(0, &[9; SMALL_PART_BYTES]);
    let mut blob = genuine.clone();
    blob.footer[8..40].copy_from_slice(Digest::of(&part).as_bytes());
    blob.parts[0] = part;
    victim.serve(blob.join());
    let said = victim.refuses(8, b"");
    assert!(said.contains("the footer is not the one that was sealed"), "{said}");
    victim.serve(genuine.join());
    victim.accepts(&plaintext);
}

/// A get refuses an unsealed object, whatever kind the server claims.
#[test]
fn get_refuses_unsealed_object_as_sealed() {
    for mode in [ModePolicy::Tls, ModePolicy::Plaintext] {
        let victim = Victim::new(mode);
        victim.serve(SMALL.to_vec());
        // An honest refusal: it is of the other kind.
        victim.refuses(1, b"");
        // Whatever the server says that it is.
        let claims = [Kind::Sealed, Kind::Plain];
        for kind in claims {
            for (header, footer) in [(0, 0), (10, 10), (43, 0), (0, 43), (20, 23)] {
                let mut stored = Stored::new(1, SMALL.to_vec());
                stored.info.kind = Kind::Sealed;
                stored.info.header_length = header;
                stored.info.footer_length = footer;
                victim.serve_stored(stored);
                victim.server.lie(move |_, answer| match answer.response {
                    Response::Object { mut info, header, payload } => {
                        info.kind = kind;
                        Answer { response: Response::Object { info, header, payload }, ..answer }
                    }
                    _ => answer,
                });
                victim.refuses(8, b"");
            }
        }
        victim.server.repent();
        // And where an unsealed one is asked for, it has no place on a tls connection.
        victim.serve(SMALL.to_vec());
        let ran = victim.run("zget", &["--plaintext", "-o", "-", NAME]);
        match mode {
            ModePolicy::Tls => {
                assert_eq!(ran.code, Some(2), "{}", ran.stderr);
                assert!(ran.stdout.is_empty());
            }
            ModePolicy::Plaintext => assert!(ran.ok().stdout == SMALL),
        }
    }
}

/// A key file that cannot open opens nothing, whoever asks.
#[test]
fn put_only_key_file_opens_nothing() {
    let victim = Victim::new(ModePolicy::Tls);
    let backup = victim.member.export(Role::Put, &mut rand::rng()).unwrap();
    victim.install(&backup);
    victim.serve(victim.honest(SMALL).seal());
    victim.refuses(7, b"");
    for (command, args) in
        [("zblob ls", &[][..]), ("zblob stat", &[NAME]), ("zblob open", &["blob", "-o", "opened"])]
    {
        victim.home.write("blob", &victim.honest(SMALL).seal());
        let ran = victim.run(command, args);
        assert_eq!(ran.code, Some(7), "{command}: {}", ran.stderr);
        assert!(ran.stdout.is_empty(), "{command}");
    }
    assert!(!victim.files().contains("opened"));
    // Nor can it be made to.
    assert!(backup.identity().is_none());
    assert!(backup.export(Role::Full, &mut rand::rng()).is_err());
    assert!(backup.export(Role::Get, &mut rand::rng()).is_err());
}

/// What one vault's key file opens, another's does not.
#[test]
fn key_file_of_another_vault_opens_nothing() {
    let victim = Victim::new(ModePolicy::Tls);
    let mut stranger: KeyFile = member();
    stranger.remote = Some(victim.server.remote());
    stranger.server_key = Some(victim.server.key());
    let blob = victim.honest(SMALL).seal();
    victim.serve(blob.clone());
    write_key_file(&victim.home.path().join("victim.zkey"), &stranger);
    victim.refuses(4, b"");
    let key = stranger.object_key(&victim.name);
    let under_their_key = Forgery::honest(&victim.member, &key, NAME, SMALL);
    victim.server.shelf().replace(&key, Stored::new(1, under_their_key.seal()));
    victim.refuses(7, b"");
    assert!(!victim.files().contains(FILE));
}
