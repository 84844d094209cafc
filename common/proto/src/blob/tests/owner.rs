//! The owner rule, as a server asks it of devices and of peers without a key (FORMAT 14).

use super::super::check::*;
use super::world::*;
use crate::vault::{Certificate, Epoch, PrefixTag, Scopes};

const OWN: u8 = 20;
const OTHER: u8 = 21;

/// Without `replace` a device replaces its own versions, those of its prefix, and those whose
/// certificates do not count any more; attacks 10, 45, 61 and 66.
#[test]
fn device_without_replace_replaces_its_own() {
    let world = World::new();
    let put = |device| world.certificate(device, |it| it.scopes = Scopes::PUT);
    let (own, other) = (put(OWN), put(OTHER));
    let all = world.certificate(OWN, |_| {});
    let asked = |connection: &Certificate, granted, current: Option<&Certificate>| {
        let vault = Entered::Device(world.held(connection));
        let current = current.map(|it| (it, Epoch::new(EPOCH)));
        // The tail of a change of stanzas is another device's; the connection's certificate is
        // asked in both.
        let of = |change| may_replace(vault, &other, granted, change, current);
        assert_eq!(of(Change::Anew), of(Change::Stanzas));
        of(Change::Anew)
    };
    assert!(asked(&own, Scopes::ALL, None));
    assert!(asked(&own, Scopes::ALL, Some(&own)));
    assert!(!asked(&own, Scopes::ALL, Some(&other)));
    assert!(asked(&all, Scopes::ALL, Some(&other)));
    // The ceiling takes the scope away.
    assert!(!asked(&all, Scopes::PUT, Some(&other)));
    assert!(asked(&all, Scopes::PUT, Some(&own)));

    let prefixed = |device, prefix| {
        world.certificate(device, |it| {
            it.scopes = Scopes::PUT;
            it.prefix = PrefixTag::from_bytes([prefix; 32]);
        })
    };
    assert!(asked(&prefixed(OWN, 1), Scopes::PUT, Some(&prefixed(OTHER, 1))));
    assert!(!asked(&prefixed(OWN, 1), Scopes::PUT, Some(&prefixed(OTHER, 2))));

    let revoking = World::of(1, |it| {
        it.revoked.insert(device_key(OTHER), Epoch::new(1));
    });
    let vault = Entered::Device(revoking.held(&own));
    let replaces = |epoch| {
        let current = Some((&other, Epoch::new(epoch)));
        may_replace(vault, &own, Scopes::PUT, Change::Anew, current)
    };
    assert!(replaces(EPOCH) && replaces(1));
    // What a retired device wrote before stays protected.
    assert!(!replaces(0));
}

/// A peer without a key is asked for the certificate of its tail, and has `replace` only of the
/// mount; attack 63.
#[test]
fn anonymous_peer_replaces_by_the_certificate_of_its_tail() {
    let world = World::new();
    let vault = Entered::Anonymous(world.state());
    let put = |device| world.certificate(device, |it| it.scopes = Scopes::PUT);
    let (own, other, all) = (put(OWN), put(OTHER), world.certificate(OWN, |_| {}));
    let current = Some((&other, Epoch::new(EPOCH)));
    let replaces = |tail, granted, change| may_replace(vault, tail, granted, change, current);
    assert!(!replaces(&own, Scopes::ALL, Change::Anew));
    assert!(!replaces(&all, Scopes::PUT, Change::Anew));
    assert!(replaces(&all, Scopes::ALL, Change::Anew));
    assert!(replaces(&other, Scopes::PUT, Change::Anew));
    // "a change of stanzas alone needs that the mount gives it"
    assert!(!replaces(&other, Scopes::PUT, Change::Stanzas));
    assert!(replaces(&other, Scopes::ALL, Change::Stanzas));
    assert!(!replaces(&own, Scopes::ALL, Change::Stanzas));
    assert!(!may_replace(vault, &own, Scopes::PUT, Change::Stanzas, None));
    assert!(may_replace(vault, &own, Scopes::PUT, Change::Anew, None));
    // "an object of no vault has no owner"
    assert!(may_replace(Entered::NoVault, &own, Scopes::NONE, Change::Stanzas, current));
}
