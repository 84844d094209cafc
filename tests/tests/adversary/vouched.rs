//! A server that serves whole blobs, but old ones, those of another name, or those of others.

use zput_proto::{
    digest::Digest,
    keys::WriterPublicKey,
    message::{Kind, Response, Version},
    name::ObjectKey,
};
use zput_seal::keys::{KeyFile, ModePolicy, Role};
use zput_tests::hostile::{
    Answer, Forgery, Stored,
    forge::{Pieces, SMALL_PART_BYTES, Voucher},
};

use crate::victim::{FILE, NAME, Victim, member, write_key_file};

use crate::served::{SMALL, three_parts};

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
        (Some(Voucher { claimed: own.claimed, ..ours.clone() }), "is not valid"),
        // A point of small order, which every signature fits in a lenient verifier.
        (
            Some(Voucher { claimed: WriterPublicKey::from_bytes([0; 32]), ..ours.clone() }),
            "is not valid",
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
        (Voucher { claimed: ours.claimed, ..theirs }, "is not valid"),
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
        victim.home.write("blob", victim.honest(SMALL).seal());
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
