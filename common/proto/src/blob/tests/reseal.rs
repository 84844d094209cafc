//! What a server checks of a new header and tail over an old body (FORMAT 15).

use super::super::check::*;
use super::world::*;
use super::*;
use crate::envelope::{PartSize, Stanza, Suite};
use crate::keys::AlgorithmError;
use crate::vault::{Certificate, CertificateError, Epoch};

const LAPTOP: u8 = 20;
const HOST: u8 = 21;

/// A version by another device, of the epoch before, and the laptop's connection.
struct Base {
    world: World,
    own: Certificate,
    header: Header,
    tail: Tail,
}

impl Base {
    fn new() -> Self {
        let world = World::new();
        let host = world.certificate(HOST, |_| {});
        let header = world.header(|it| {
            it.core.order = order(EPOCH - 1, NOW - 1);
            it.stanza_epoch = Epoch::new(EPOCH - 1);
        });
        let tail = tail(&header, Some(&host), HOST, |_| {});
        let own = world.certificate(LAPTOP, |_| {});
        Self { world, own, header, tail }
    }

    /// The verdict about a reseal under the key `name`, over this base as the current version.
    fn check(
        &self,
        header: &Header,
        tail: &Tail,
        name: &str,
    ) -> Result<(HeaderVerdict, Change), CheckError> {
        let (key, before) = (key(name), Some(self.header.fields().core.order));
        let asked = Asked { before, ..self.world.asked(&self.own, &key) };
        reseal((&self.header, &self.tail), (header, tail), &asked, Some(&self.tail))
    }

    /// The laptop's new header, and its tail over the old body.
    fn anew(
        &self,
        change: impl FnOnce(&mut HeaderFields),
        change_tail: impl FnOnce(&mut TailFields),
    ) -> (Header, Tail) {
        let header = self.world.header(change);
        let tail = tail(&header, Some(&self.own), LAPTOP, change_tail);
        (header, tail)
    }

    /// The base's header with another stanza, for the recipient of this epoch.
    fn for_others(&self, epoch: u32) -> Header {
        let mut fields = self.header.fields().clone();
        fields.stanza_epoch = Epoch::new(epoch);
        fields.stanzas.push(Stanza::new("other", vec![], vec![]).unwrap());
        fields.with_mac(&[9; 32]).unwrap()
    }
}

/// A rename: a new key and order, signed by the device that asks.
#[test]
fn reseal_under_another_name_is_checked_as_a_commit() {
    let base = Base::new();
    let good = Ok((HeaderVerdict::Good, Change::Anew));
    let (header, tail) = base.anew(|it| it.core.key = Some(key("b")), |_| {});
    assert_eq!(base.check(&header, &tail, "b"), good);
    assert_eq!(base.check(&header, &tail, "a"), Err(CheckError::OtherKey));
    // Under its own name, which is to adopt it.
    let (header, tail) = base.anew(|_| {}, |_| {});
    assert_eq!(base.check(&header, &tail, "a"), good);

    // The certificate is the connection's, and its device signed.
    let host = base.world.certificate(HOST, |_| {});
    let by_host = super::world::tail(&header, Some(&host), HOST, |_| {});
    assert_eq!(base.check(&header, &by_host, "a"), Err(CheckError::OtherCertificate));
    let unsigned = super::world::tail(&header, Some(&base.own), HOST, |_| {});
    let refused = Err(CheckError::Signature(AlgorithmError::Signature));
    assert_eq!(base.check(&header, &unsigned, "a"), refused);
    let bare = super::world::tail(&header, None, LAPTOP, |_| {});
    assert_eq!(base.check(&header, &bare, "a"), Err(CheckError::Bare));

    // The verdicts of a header.
    let verdict = |change: fn(&mut HeaderFields)| {
        let (header, tail) = base.anew(change, |_| {});
        base.check(&header, &tail, "a").map(|(verdict, _)| verdict)
    };
    let stale = verdict(|it| it.core.order = order(EPOCH - 1, NOW));
    assert_eq!(stale, Ok(HeaderVerdict::Stale));
    // Nothing further is asked: the next header gets another tail.
    let stale_header = base.world.header(|it| it.core.order = order(EPOCH - 1, NOW));
    let unsigned = super::world::tail(&stale_header, Some(&base.own), HOST, |_| {});
    let stale = Ok((HeaderVerdict::Stale, Change::Anew));
    assert_eq!(base.check(&stale_header, &unsigned, "a"), stale);
    assert_eq!(verdict(|it| it.stanza_epoch = Epoch::new(3)), Ok(HeaderVerdict::Stale));
    let future = verdict(|it| it.core.order = order(EPOCH, NOW + DAY + 1));
    assert_eq!(future, Ok(HeaderVerdict::Future));
    let (header, tail) = base.anew(|_| {}, |_| {});
    let a = key("a");
    let asked = Asked { before: Some(order(EPOCH, NOW)), ..base.world.asked(&base.own, &a) };
    let older = reseal((&base.header, &base.tail), (&header, &tail), &asked, None);
    assert_eq!(older, Ok((HeaderVerdict::Older, Change::Anew)));
    // Not even the very tail of the current version makes an equal order good in it.
    let older = reseal((&base.header, &base.tail), (&header, &tail), &asked, Some(&tail));
    assert_eq!(older, Ok((HeaderVerdict::Older, Change::Anew)));

    let expiring = base.world.certificate(LAPTOP, |it| it.not_after = 1);
    let tail = super::world::tail(&header, Some(&expiring), LAPTOP, |_| {});
    let asked = base.world.asked(&expiring, &a);
    let expired = reseal((&base.header, &base.tail), (&header, &tail), &asked, None);
    let expected = Err(CheckError::Certificate(CertificateError::Expired(1)));
    assert_eq!(expired, expected);
}

/// "suite, part size, content, `total_length` and `body_digest` are the base's"
#[test]
fn reseal_keeps_the_body_of_its_base() {
    let base = Base::new();
    let own = base.tail.fields().body_digest;
    let changed = |change: fn(&mut HeaderFields), change_tail: fn(&mut TailFields)| {
        let (header, tail) = base.anew(change, |it| {
            it.body_digest = own;
            change_tail(it);
        });
        let (a, before) = (key("a"), None);
        let asked = Asked { keeps_packs: true, before, ..base.world.asked(&base.own, &a) };
        reseal((&base.header, &base.tail), (&header, &tail), &asked, None)
    };
    assert_eq!(changed(|_| {}, |_| {}), Ok((HeaderVerdict::Good, Change::Anew)));
    let refused = Err(CheckError::OtherBody);
    let suite = |it: &mut HeaderFields| it.core.shape.suite = Suite::ChaCha20Poly1305;
    assert_eq!(changed(suite, |_| {}), refused);
    let part_size = |it: &mut HeaderFields| it.core.shape.part_size = PartSize::MAX;
    assert_eq!(changed(part_size, |_| {}), refused);
    assert_eq!(changed(|it| it.core.shape.content = Content::Folder, |_| {}), refused);
    assert_eq!(changed(|_| {}, |it| it.total_length += 1), refused);
    let digest = |it: &mut TailFields| it.body_digest = BodyDigest::from_bytes([7; 32]);
    assert_eq!(changed(|_| {}, digest), refused);

    let (header, tail) = base.anew(|_| {}, |_| {});
    let longer = tail.fields().sealed(tail.file_mac(), tail.vault(), 151).unwrap();
    let refused = Err(CheckError::FrontLength { stated: 151, found: 150 });
    assert_eq!(base.check(&header, &longer, "a"), refused);
}

/// A change of stanzas keeps epoch, order, tail and signature of the base; attacks 46 and 65.
#[test]
fn reseal_of_stanzas_keeps_the_tail() {
    let base = Base::new();
    let others = base.for_others(EPOCH);
    let good = Ok((HeaderVerdict::Good, Change::Stanzas));
    assert_eq!(base.check(&others, &base.tail, "a"), good);
    let stale = Ok((HeaderVerdict::Stale, Change::Stanzas));
    assert_eq!(base.check(&base.for_others(EPOCH - 1), &base.tail, "a"), stale);
    assert_eq!(base.check(&base.for_others(EPOCH + 1), &base.tail, "a"), stale);
    assert_eq!(base.check(&others, &base.tail, "b"), Err(CheckError::OtherKey));

    // The same transcript, and another MAC, signature or length.
    let seal = base.tail.vault().unwrap();
    let fields = base.tail.fields();
    let file_mac = fields.sealed(&[9; 32], Some(seal), 150).unwrap();
    assert_eq!(base.check(&others, &file_mac, "a"), Err(CheckError::OtherTail));
    let other = VaultSeal { mac: [9; 32], ..seal.clone() };
    let vault_mac = fields.sealed(base.tail.file_mac(), Some(&other), 150).unwrap();
    assert_eq!(base.check(&others, &vault_mac, "a"), Err(CheckError::OtherTail));

    // An ended version does not become current over another one by new stanzas.
    let (_, current) = base.anew(|_| {}, |_| {});
    let a = key("a");
    let before = Some(order(EPOCH, NOW));
    let asked = Asked { before, ..base.world.asked(&base.own, &a) };
    let (from, new) = ((&base.header, &base.tail), (&others, &base.tail));
    let older = Ok((HeaderVerdict::Older, Change::Stanzas));
    assert_eq!(reseal(from, new, &asked, Some(&current)), older);
    assert_eq!(reseal(from, new, &asked, None), older);
    let asked = Asked { before: Some(base.header.fields().core.order), ..asked };
    assert_eq!(reseal(from, new, &asked, None), older);
    let free = Asked { before: None, ..asked };
    assert_eq!(reseal(from, new, &free, None), good);
    // Nor may it be ahead of the clock, unless it is the current one.
    let early = Asked { now: NOW - DAY - 2, ..free };
    let future = Ok((HeaderVerdict::Future, Change::Stanzas));
    assert_eq!(reseal(from, new, &early, None), future);
    assert_eq!(reseal(from, new, &early, Some(&base.tail)), good);
}

/// A bare blob has no epoch and no device, so its stanzas can be changed by anybody who may put.
#[test]
fn reseal_of_bare_blob_has_no_epoch() {
    let world = World::new();
    let header = world.bare_header(|_| {});
    let stanza = || Stanza::new("other", vec![], vec![]).unwrap();
    let others = world.bare_header(|it| it.stanzas.push(stanza()));
    let tail = tail(&header, None, LAPTOP, |_| {});
    let a = key("a");
    let asked = Asked { before: Some(order(0, NOW)), ..asked_of_no_vault(&a) };
    let base = (&header, &tail);
    let good = Ok((HeaderVerdict::Good, Change::Stanzas));
    assert_eq!(reseal(base, (&others, &tail), &asked, Some(&tail)), good);
    let later = world.bare_header(|it| it.core.order = order(0, NOW + 1));
    let anew = super::world::tail(&later, None, LAPTOP, |_| {});
    let good = Ok((HeaderVerdict::Good, Change::Anew));
    assert_eq!(reseal(base, (&later, &anew), &asked, Some(&tail)), good);
}
