//! What a server checks of headers and footers (FORMAT 14).

use super::super::check::*;
use super::world::*;
use super::*;
use crate::digest::Digest;
use crate::envelope::{PartSize, Suite, TooManyParts};
use crate::keys::AlgorithmError;
use crate::vault::{CertificateError, CharterTag, Epoch, Order};

const LAPTOP: u8 = 20;

/// Every golden blob can be committed by its device under its charter, and by nobody's connection.
#[test]
fn golden_blobs_pass_what_a_server_checks() {
    for blob in BLOBS.map(Golden::read) {
        let core = &blob.header.fields().core;
        let folder = match blob.name {
            "clear" => "blob-v2/clear",
            "root-1" => "charter-v2/4-theft",
            _ => "charter-v2/1",
        };
        let of_vault = core.vault.map(|of| charter(folder, &of.id));
        let certificate = blob.tail.fields().certificate.as_ref();
        let nameless = key("bare");
        let key = core.key.as_ref().unwrap_or(&nameless);
        let id = <[u8; 16]>::try_from(key.as_bytes());
        let object = match (core.shape.content, &id) {
            (Content::Pack, Ok(id)) => Object::Pack(id),
            _ => Object::Key(key),
        };
        let vaults = match (&of_vault, certificate) {
            (Some(charter), Some(certificate)) => {
                let held = certificate.holds_under(charter.state()).unwrap();
                vec![Entered::Device(held), Entered::Anonymous(charter.state())]
            }
            _ => vec![Entered::NoVault],
        };
        for vault in vaults {
            let asked = Asked { vault, object, keeps_packs: true, before: None, now: NOW };
            // A bare blob that was sealed for no key belongs to no server.
            let expected = if blob.name == "bare" {
                Err(CheckError::OtherKey)
            } else {
                Ok(HeaderVerdict::Good)
            };
            assert_eq!(header(&blob.header, &asked), expected, "{}", blob.name);
            let slices = blob.slices();
            let checked = footer(&blob.header, blob.front_bytes(), &blob.tail, slices, vault, NOW);
            let checked = checked.unwrap();
            assert_eq!(checked.transcript().as_bytes()[..], blob.value("transcript"));
            assert_eq!(checked.front().as_bytes(), blob.front_bytes());
            assert_eq!(checked.layout(), blob.layout());
        }
    }
}

/// "`vault` is that of the request's address …; the key, and whether it is a pack's, are those of
/// the request"; attacks 7, 50 and 62.
#[test]
fn header_is_of_the_address() {
    let (world, other) = (World::new(), World::of(2, |_| {}));
    let certificate = world.certificate(LAPTOP, |_| {});
    let theirs = other.certificate(LAPTOP, |_| {});
    let (a, b) = (key("a"), key("b"));
    let (own, bare) = (world.header(|_| {}), world.bare_header(|_| {}));
    let asked = world.asked(&certificate, &a);
    assert_eq!(header(&own, &asked), Ok(HeaderVerdict::Good));
    let in_other = other.asked(&theirs, &a);
    assert_eq!(header(&own, &in_other), Err(CheckError::OtherVault));
    let anonymous = Asked { vault: Entered::Anonymous(other.state()), ..asked };
    assert_eq!(header(&own, &anonymous), Err(CheckError::OtherVault));
    assert_eq!(header(&own, &asked_of_no_vault(&a)), Err(CheckError::OtherVault));
    assert_eq!(header(&bare, &asked), Err(CheckError::OtherVault));
    assert_eq!(header(&bare, &asked_of_no_vault(&a)), Ok(HeaderVerdict::Good));

    assert_eq!(header(&own, &world.asked(&certificate, &b)), Err(CheckError::OtherKey));
    let keyless = world.header(|it| it.core.key = None);
    assert_eq!(header(&keyless, &asked), Err(CheckError::OtherKey));

    // A pack under a clear key of 16 bytes, and a file under a pack's id.
    let id = [7; 16];
    let by_key = crate::name::ObjectKey::new(id).unwrap();
    let pack = world.header(|it| {
        it.core.shape.content = Content::Pack;
        it.core.order = order(EPOCH, 0);
        it.core.key = Some(by_key.clone());
        it.core.metadata = Vec::new();
    });
    let file = world.header(|it| it.core.key = Some(by_key.clone()));
    let packs = |object| Asked { object, keeps_packs: true, ..asked };
    assert_eq!(header(&pack, &packs(Object::Pack(&id))), Ok(HeaderVerdict::Good));
    assert_eq!(header(&pack, &packs(Object::Key(&by_key))), Err(CheckError::NoPack));
    assert_eq!(header(&file, &packs(Object::Pack(&id))), Err(CheckError::NoPack));
    assert_eq!(header(&file, &packs(Object::Key(&by_key))), Ok(HeaderVerdict::Good));
    assert_eq!(header(&pack, &packs(Object::Pack(&[8; 16]))), Err(CheckError::OtherKey));
    // A pack has no order, so none is in its way.
    let stored = Asked { before: Some(order(EPOCH, NOW)), ..packs(Object::Pack(&id)) };
    assert_eq!(header(&pack, &stored), Ok(HeaderVerdict::Good));

    // "it is 1 or 2 only at a server that keeps packs"
    let none = |object| Asked { object, ..asked };
    let refused = Err(CheckError::Content(Content::Pack));
    assert_eq!(header(&pack, &none(Object::Pack(&id))), refused);
    let folder = world.header(|it| it.core.shape.content = Content::Folder);
    let refused = Err(CheckError::Content(Content::Folder));
    assert_eq!(header(&folder, &none(Object::Key(&a))), refused);
    assert_eq!(header(&folder, &packs(Object::Key(&a))), Ok(HeaderVerdict::Good));
}

/// "`epoch`, `charter_tag` and `stanza_epoch` are those in force, else `Stale`"; attack 60.
#[test]
fn header_of_another_epoch_or_tag_is_stale() {
    let world = World::new();
    let certificate = world.certificate(LAPTOP, |_| {});
    let a = key("a");
    let asked = world.asked(&certificate, &a);
    let verdict = |change: fn(&mut HeaderFields)| {
        let changed = world.header(change);
        let anonymous = Asked { vault: Entered::Anonymous(world.state()), ..asked };
        assert_eq!(header(&changed, &asked), header(&changed, &anonymous));
        header(&changed, &asked)
    };
    assert_eq!(verdict(|_| {}), Ok(HeaderVerdict::Good));
    assert_eq!(verdict(|it| it.core.order = order(1, NOW)), Ok(HeaderVerdict::Stale));
    let later = verdict(|it| {
        it.core.order = order(3, NOW);
        it.stanza_epoch = Epoch::new(3);
    });
    assert_eq!(later, Ok(HeaderVerdict::Stale));
    assert_eq!(verdict(|it| it.stanza_epoch = Epoch::new(3)), Ok(HeaderVerdict::Stale));
    let tagged = verdict(|it| {
        let of = it.core.vault.as_mut().unwrap();
        of.charter_tag = CharterTag::from_bytes([10; 16]);
    });
    assert_eq!(tagged, Ok(HeaderVerdict::Stale));
}

/// "the order is above that of the current version …, else `Older`"; attacks 24 and 25.
#[test]
fn header_of_no_higher_order_is_older() {
    let world = World::new();
    let certificate = world.certificate(LAPTOP, |_| {});
    let a = key("a");
    let own = world.header(|_| {});
    let verdict = |before| {
        header(&own, &Asked { before: Some(before), ..world.asked(&certificate, &a) }).unwrap()
    };
    assert_eq!(verdict(order(EPOCH, NOW - 1)), HeaderVerdict::Good);
    assert_eq!(verdict(order(EPOCH, NOW)), HeaderVerdict::Older);
    assert_eq!(verdict(order(EPOCH, NOW + 1)), HeaderVerdict::Older);
    // A number beyond all clocks does not outlive its epoch; attack 23.
    assert_eq!(verdict(order(EPOCH - 1, (1 << 63) - 1)), HeaderVerdict::Good);
    assert_eq!(verdict(order(EPOCH + 1, 0)), HeaderVerdict::Older);

    let bare = world.bare_header(|_| {});
    let verdict = |before| header(&bare, &Asked { before, ..asked_of_no_vault(&a) }).unwrap();
    assert_eq!(verdict(Some(order(0, NOW - 1))), HeaderVerdict::Good);
    assert_eq!(verdict(Some(order(0, NOW))), HeaderVerdict::Older);
    assert_eq!(verdict(None), HeaderVerdict::Good);
}

/// "the generation is at most the server's clock and 24 hours, or one more than that of such a
/// version of the same epoch, else `Future`"; attacks 23 and 64.
#[test]
fn header_ahead_of_the_clock_is_future() {
    let world = World::new();
    let certificate = world.certificate(LAPTOP, |_| {});
    let a = key("a");
    let verdict = |generation, before: Option<Order>| {
        let own = world.header(|it| it.core.order = order(EPOCH, generation));
        header(&own, &Asked { before, ..world.asked(&certificate, &a) }).unwrap()
    };
    assert_eq!(verdict(NOW + DAY, None), HeaderVerdict::Good);
    assert_eq!(verdict(NOW + DAY + 1, None), HeaderVerdict::Future);
    let bomb = (1 << 63) - 2;
    assert_eq!(verdict(bomb, None), HeaderVerdict::Future);
    assert_eq!(verdict(bomb + 1, Some(order(EPOCH, bomb))), HeaderVerdict::Good);
    assert_eq!(verdict(bomb + 1, Some(order(EPOCH, bomb - 1))), HeaderVerdict::Future);
    // One more than the number of an earlier epoch is a number like others.
    assert_eq!(verdict(bomb + 1, Some(order(EPOCH - 1, bomb))), HeaderVerdict::Future);
    assert_eq!(verdict(bomb, Some(order(EPOCH, bomb))), HeaderVerdict::Older);
    let bare = |generation| {
        let bare = world.bare_header(|it| it.core.order = order(0, generation));
        header(&bare, &asked_of_no_vault(&a)).unwrap()
    };
    assert_eq!(bare(NOW + DAY), HeaderVerdict::Good);
    assert_eq!(bare(NOW + DAY + 1), HeaderVerdict::Future);
    // A clock at the end of time holds back nobody.
    let own = world.header(|it| it.core.order = order(EPOCH, bomb));
    let late = Asked { now: u64::MAX, ..world.asked(&certificate, &a) };
    assert_eq!(header(&own, &late), Ok(HeaderVerdict::Good));
}

/// "it has the put bit, and the generation keeps to its `not_after`"; attack 59.
#[test]
fn header_keeps_to_the_end_of_the_certificate() {
    let world = World::new();
    let end = NOW / 1_000_000_000;
    let certificate = world.certificate(LAPTOP, |it| it.not_after = end);
    let a = key("a");
    let late = Asked { now: NOW + DAY, ..world.asked(&certificate, &a) };
    let verdict =
        |generation| header(&world.header(|it| it.core.order = order(EPOCH, generation)), &late);
    assert_eq!(verdict(NOW + DAY), Ok(HeaderVerdict::Good));
    let expired = Err(CheckError::Certificate(CertificateError::Expired(end)));
    assert_eq!(verdict(NOW + DAY + 1), expired);
    // A header of another epoch is made anew in any case.
    let stale = world.header(|it| it.core.order = order(1, NOW + DAY + 1));
    assert_eq!(header(&stale, &late), Ok(HeaderVerdict::Stale));
    let reader = world.certificate(LAPTOP, |it| {
        it.scopes = crate::vault::Scopes::GET;
        it.writer = None;
    });
    let refused = Err(CheckError::Certificate(CertificateError::NoPut));
    assert_eq!(header(&world.header(|_| {}), &world.asked(&reader, &a)), refused);
}

/// A put of the blob of [`World`]: what the footer's check says of it, with the connection of the
/// laptop.
struct Put {
    world: World,
    header: Header,
    front: Vec<u8>,
    tail: Tail,
    slices: Vec<(u32, Digest)>,
    now: u64,
}

impl Put {
    fn new() -> Self {
        let world = World::new();
        let header = world.header(|_| {});
        let certificate = world.certificate(LAPTOP, |_| {});
        let tail = tail(&header, Some(&certificate), LAPTOP, |_| {});
        Self { world, header, front: front(), tail, slices: slices(), now: NOW }
    }

    fn check(&self) -> Result<(), CheckError> {
        let certificate = self.world.certificate(LAPTOP, |_| {});
        let vault = Entered::Device(self.world.held(&certificate));
        self.check_in(vault)
    }

    fn check_in(&self, vault: Entered<'_>) -> Result<(), CheckError> {
        let slices = self.slices.iter().copied();
        footer(&self.header, &self.front, &self.tail, slices, vault, self.now).map(|_| ())
    }

    fn with_tail(tail: impl FnOnce(&World, &Header) -> Tail) -> Result<(), CheckError> {
        let put = Self::new();
        Self { tail: tail(&put.world, &put.header), ..put }.check()
    }
}

/// "the certificate is the connection's, byte for byte"; attacks 1, 4 and 14.
#[test]
fn footer_has_the_certificate_of_the_connection() {
    assert_eq!(Put::new().check(), Ok(()));
    let certified = |device, change: fn(&mut crate::vault::CertificateFields)| {
        Put::with_tail(|world, header| {
            let certificate = world.certificate(device, change);
            tail(header, Some(&certificate), device, |_| {})
        })
    };
    assert_eq!(certified(LAPTOP, |_| {}), Ok(()));
    assert_eq!(certified(21, |_| {}), Err(CheckError::OtherCertificate));
    // Another one of the same device.
    let extended = certified(LAPTOP, |it| it.not_after = 1 << 32);
    assert_eq!(extended, Err(CheckError::OtherCertificate));

    // A bare tail under a vault's header, and the other way round.
    let bare = Put::with_tail(|_, header| tail(header, None, LAPTOP, |_| {}));
    assert_eq!(bare, Err(CheckError::Bare));
    let put = Put::new();
    let header = put.world.bare_header(|_| {});
    let sealed = tail(&header, put.tail.fields().certificate.as_ref(), LAPTOP, |_| {});
    let put = Put { header, tail: sealed, ..put };
    assert_eq!(put.check_in(Entered::NoVault), Err(CheckError::Bare));
    assert_eq!(put.check(), Err(CheckError::OtherVault));
    let tail = tail(&put.header, None, LAPTOP, |_| {});
    let put = Put { tail, ..put };
    assert_eq!(put.check_in(Entered::NoVault), Ok(()));
    assert_eq!(Put::new().check_in(Entered::NoVault), Err(CheckError::OtherVault));
}

/// "the certificate is any that counts under the charter for this header"; attack 11.
#[test]
fn footer_of_anonymous_peer_has_certificate_that_counts() {
    let checked = |put: Put| put.check_in(Entered::Anonymous(put.world.state()));
    assert_eq!(checked(Put::new()), Ok(()));
    let certified = |certificate: crate::vault::Certificate, device| {
        let put = Put::new();
        let tail = tail(&put.header, Some(&certificate), device, |_| {});
        checked(Put { tail, ..put })
    };
    let world = World::new();
    assert_eq!(certified(world.certificate(21, |_| {}), 21), Ok(()));
    // The prefix is compared by readers.
    let prefix = |it: &mut crate::vault::CertificateFields| {
        it.prefix = crate::vault::PrefixTag::from_bytes([9; 32]);
    };
    assert_eq!(certified(world.certificate(21, prefix), 21), Ok(()));
    let expired = certified(world.certificate(21, |it| it.not_after = 1), 21);
    assert_eq!(expired, Err(CheckError::Certificate(CertificateError::Expired(1))));
    // A thief of a certificate's device that dates its blobs back into the life of the certificate:
    // the clock of the server decides too, without a day more.
    let end = NOW / 1_000_000_000 + 5;
    let ended = |now| {
        let put = Put { now, ..Put::new() };
        let certificate = put.world.certificate(21, |it| it.not_after = end);
        let tail = tail(&put.header, Some(&certificate), 21, |_| {});
        checked(Put { tail, ..put })
    };
    assert_eq!(ended(NOW + 5_999_999_999), Ok(()));
    let refused = Err(CheckError::Certificate(CertificateError::Expired(end)));
    assert_eq!(ended(NOW + 6_000_000_000), refused);
    let other = World::of(2, |_| {});
    let foreign = CertificateError::OtherVault(*other.state().vault());
    let foreign = Err(CheckError::Certificate(foreign));
    assert_eq!(certified(other.certificate(LAPTOP, |_| {}), LAPTOP), foreign);
    // One that another root signed.
    let vault = *world.state().vault();
    let forged = other.certificate(LAPTOP, |it| it.vault = vault);
    let forged = certified(forged, LAPTOP);
    let signature = CertificateError::Signature(AlgorithmError::Signature);
    assert_eq!(forged, Err(CheckError::Certificate(signature)));
    // One whose device is shut out.
    let revoking = World::of(1, |it| {
        it.revoked.insert(device_key(LAPTOP), Epoch::new(EPOCH));
    });
    let header = revoking.header(|_| {});
    let tail = tail(&header, Some(&revoking.certificate(LAPTOP, |_| {})), LAPTOP, |_| {});
    let revoked = checked(Put { world: revoking, header, tail, ..Put::new() });
    assert_eq!(revoked, Err(CheckError::Certificate(CertificateError::Revoked)));
}

/// "the signature holds over the transcript of this header and this tail"; attacks 8 and 15.
#[test]
fn footer_is_signed_by_its_writer() {
    let put = Put::new();
    let refused = Err(CheckError::Signature(AlgorithmError::Signature));
    let by_another = Put::with_tail(|world, header| {
        tail(header, Some(&world.certificate(LAPTOP, |_| {})), 21, |_| {})
    });
    assert_eq!(by_another, refused);
    // The tail of another header: another order, another key.
    let later = put.world.header(|it| it.core.order = order(EPOCH, NOW + 1));
    assert_eq!(Put { header: later, ..Put::new() }.check(), refused);
    let renamed = put.world.header(|it| it.core.key = Some(key("b")));
    assert_eq!(Put { header: renamed, ..Put::new() }.check(), refused);
    // Other stanzas need no other signature.
    let for_others = put.world.header(|it| {
        it.stanzas.push(crate::envelope::Stanza::new("other", vec![], vec![]).unwrap());
    });
    assert_eq!(Put { header: for_others, ..Put::new() }.check(), Ok(()));
}

/// "`body_digest` is that of suite, part size, content, lengths, digests, facts and references"
#[test]
fn footer_has_the_digest_of_its_body() {
    let wrong = |change: fn(&mut TailFields)| {
        Put::with_tail(|world, header| {
            tail(header, Some(&world.certificate(LAPTOP, |_| {})), LAPTOP, change)
        })
    };
    let refused = Err(CheckError::BodyDigest);
    assert_eq!(wrong(|it| it.body_digest = BodyDigest::from_bytes([7; 32])), refused);
    // As many parts, of another length.
    assert_eq!(wrong(|it| it.total_length = TOTAL + 1), refused);
    // Another front of the same length.
    let mut put = Put::new();
    put.front[70] ^= 1;
    assert_eq!(put.check(), refused);
    // A header of another suite, whose tail has the digest of the first one.
    let put = Put::new();
    let header = put.world.header(|it| it.core.shape.suite = Suite::ChaCha20Poly1305);
    let own = put.tail.fields().body_digest;
    let certificate = put.world.certificate(LAPTOP, |_| {});
    let tail = tail(&header, Some(&certificate), LAPTOP, |it| it.body_digest = own);
    assert_eq!(Put { header, tail, ..put }.check(), refused);

    let digest = wrong(|it| it.total_length = 65_536 * 262_144);
    assert_eq!(digest, Err(CheckError::TooManyParts(TooManyParts(65_536 * 262_144))));
    let parts = wrong(|it| it.total_length = 3 * 65_536);
    assert!(matches!(parts, Err(CheckError::Front(_))), "{parts:?}");
}

/// "it is the front that came as slices and the tail that came in a frame, … and fills its length"
#[test]
fn footer_fills_its_length() {
    let put = Put::new();
    let (stated, found) = (150, 149);
    let cut = Put { front: put.front[..149].to_vec(), ..Put::new() };
    assert_eq!(cut.check(), Err(CheckError::FrontLength { stated, found }));
    let longer = Put { front: [&put.front[..], b"\0"].concat(), ..Put::new() };
    assert_eq!(longer.check(), Err(CheckError::FrontLength { stated, found: 151 }));
    // Where both agree, the fields have to fill the front.
    let seal = put.tail.vault();
    let tail = put.tail.fields().sealed(put.tail.file_mac(), seal, 151).unwrap();
    let longer = Put { tail, ..longer };
    assert_eq!(longer.check(), Err(CheckError::Front(FrontError::Trailing(1))));
}

/// "each part is one slice; what follows these slices is the front and nothing else"
#[test]
fn footer_is_of_the_slices_that_came() {
    let sliced = |change: fn(&mut Vec<(u32, Digest)>)| {
        let mut put = Put::new();
        change(&mut put.slices);
        put.check().map_err(|error| match error {
            CheckError::Slices(error) => error,
            other => panic!("{other}"),
        })
    };
    use SlicesError::*;
    let whole = |slices: &mut Vec<(u32, Digest)>| {
        slices.truncate(2);
        slices.push((150, Digest::of(&front())));
    };
    assert_eq!(sliced(whole), Ok(()));
    assert_eq!(sliced(Vec::clear), Err(Missing { part: 0 }));
    assert_eq!(sliced(|it| it.truncate(1)), Err(Missing { part: 1 }));
    let length = |part, sealed, length| Err(PartLength { part, sealed, length });
    assert_eq!(sliced(|it| it[0].0 += 1), length(0, 65_672, 65_673));
    assert_eq!(sliced(|it| it[1].0 -= 1), length(1, 82, 81));
    assert_eq!(sliced(|it| it.swap(0, 1)), length(0, 65_672, 82));
    assert_eq!(sliced(|it| it[0].1 = part_digest(1)), Err(PartDigest { part: 0 }));
    assert_eq!(sliced(|it| it[1].1 = part_digest(0)), Err(PartDigest { part: 1 }));
    assert_eq!(sliced(|it| it[2].1 = part_digest(0)), Err(FrontDigest { offset: 0 }));
    assert_eq!(sliced(|it| it[3].1 = part_digest(0)), Err(FrontDigest { offset: 50 }));
    assert_eq!(sliced(|it| it.truncate(2)), Err(FrontLength { front: 150 }));
    assert_eq!(sliced(|it| it.truncate(3)), Err(FrontLength { front: 150 }));
    assert_eq!(sliced(|it| it[3].0 += 1), Err(FrontLength { front: 150 }));
    assert_eq!(sliced(|it| it.push((1, Digest::of(b"x")))), Err(FrontLength { front: 150 }));
    // A part in two slices.
    let in_two = sliced(|it| {
        it[0].0 = 65_536;
        it.insert(1, (136, part_digest(0)));
    });
    assert_eq!(in_two, length(0, 65_672, 65_536));
    assert_eq!(PartSize::MIN.sealed_bytes(), 65_672);
}
