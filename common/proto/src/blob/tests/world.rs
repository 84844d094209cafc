//! A vault of the tests, and blobs in it.

use std::collections::{BTreeMap, BTreeSet};

use ed25519_dalek::{Signer, SigningKey};

use super::super::check::{Asked, Entered, Object};
use super::*;
use crate::digest::Digest;
use crate::envelope::{PartSize, Stanza};
use crate::keys::{Algorithm, DevicePublicKey, Signature, SigningPublicKey};
use crate::name::ObjectKey;
use crate::vault::{
    Certificate, CertificateFields, CharterFields, CharterTag, Epoch, Held, Order, PrefixTag,
    Scopes, State, StateFields,
};

/// The server's clock.
pub(super) const NOW: u64 = 1_800_000_000_000_000_000;
/// A day, in ns.
pub(super) const DAY: u64 = 86_400_000_000_000;
/// The epoch in force.
pub(super) const EPOCH: u32 = 2;
/// Plaintext of two parts of 64 KiB, the second one of 10 bytes.
pub(super) const TOTAL: u64 = 65_546;

pub(super) fn order(epoch: u32, generation: u64) -> Order {
    Order::new(Epoch::new(epoch), generation).unwrap()
}

pub(super) fn key(name: &str) -> ObjectKey {
    ObjectKey::new(name).unwrap()
}

fn secret(number: u8) -> SigningKey {
    SigningKey::from_bytes(&[number; 32])
}

fn public(number: u8) -> SigningPublicKey {
    let key = secret(number).verifying_key();
    SigningPublicKey::parse(Algorithm::Ed25519, key.as_bytes()).unwrap()
}

fn sign(number: u8, bytes: &[u8]) -> Signature {
    Signature::parse(Algorithm::Ed25519, &secret(number).sign(bytes).to_bytes()).unwrap()
}

/// A vault in its third epoch. Root and devices are numbers, and a device's writer is another.
pub(super) struct World {
    root: u8,
    pub(super) charter: HeldCharter,
}

impl World {
    pub(super) fn new() -> Self {
        Self::of(1, |_| {})
    }

    /// The vault of another root, or with something else in its state.
    pub(super) fn of(root: u8, change: impl FnOnce(&mut StateFields)) -> Self {
        let mut state = StateFields {
            has_clear_names: true,
            past: vec![CharterTag::from_bytes([10; 16]), CharterTag::from_bytes([11; 16])],
            first_root: public(root),
            later_roots: Vec::new(),
            revoked: BTreeMap::new(),
            kept: BTreeSet::new(),
            extensions: Vec::new(),
        };
        change(&mut state);
        let fields = CharterFields { serial: 1, issued: 1, state };
        let signature = sign(root, &fields.to_sign(b"members", b"owner").unwrap());
        Self { root, charter: fields.signed(b"members", b"owner", &signature).unwrap() }
    }

    pub(super) fn state(&self) -> &State {
        self.charter.state()
    }

    /// A certificate of this device with all scopes, or changed.
    pub(super) fn certificate(
        &self,
        device: u8,
        change: impl FnOnce(&mut CertificateFields),
    ) -> Certificate {
        let mut fields = CertificateFields {
            root: 0,
            vault: *self.state().vault(),
            scopes: Scopes::ALL,
            not_after: 0,
            prefix: PrefixTag::EVERY_NAME,
            device: device_key(device),
            writer: Some(public(device ^ 0x80)),
            extensions: Vec::new(),
        };
        change(&mut fields);
        fields.signed(&sign(self.root, &fields.to_sign().unwrap())).unwrap()
    }

    /// A header for the key `a` in the epoch in force, by the clock of the server, or changed.
    pub(super) fn header(&self, change: impl FnOnce(&mut HeaderFields)) -> Header {
        let part_size = PartSize::MIN;
        let charter_tag = *self.state().tag();
        let mut fields = HeaderFields {
            core: Core {
                shape: BodyShape { suite: Default::default(), part_size, content: Content::File },
                vault: Some(OfVault { id: *self.state().vault(), charter_tag }),
                order: order(EPOCH, NOW),
                header_salt: [1; 32],
                key: Some(key("a")),
                content_key: [2; 104],
                metadata: vec![3; 80],
                extensions: Vec::new(),
            },
            stanza_epoch: Epoch::new(EPOCH),
            stanzas: vec![Stanza::new("new", vec![], vec![5]).unwrap()],
        };
        change(&mut fields);
        fields.with_mac(&[4; 32]).unwrap()
    }

    /// A header without a vault.
    pub(super) fn bare_header(&self, change: impl FnOnce(&mut HeaderFields)) -> Header {
        self.header(|it| {
            it.core.vault = None;
            it.core.order = order(0, NOW);
            it.stanza_epoch = Epoch::new(0);
            change(it);
        })
    }

    /// A request for the key `a` of the vault, which this certificate's device has entered.
    pub(super) fn asked<'a>(
        &'a self,
        certificate: &'a Certificate,
        key: &'a ObjectKey,
    ) -> Asked<'a> {
        Asked {
            vault: Entered::Device(self.held(certificate)),
            object: Object::Key(key),
            keeps_packs: false,
            before: None,
            now: NOW,
        }
    }

    pub(super) fn held<'a>(&'a self, certificate: &'a Certificate) -> Held<'a> {
        certificate.holds_under(self.state()).unwrap()
    }
}

pub(super) fn device_key(device: u8) -> DevicePublicKey {
    DevicePublicKey::from_bytes(secret(device).verifying_key().to_bytes())
}

/// A request for an address without a vault.
pub(super) fn asked_of_no_vault(key: &ObjectKey) -> Asked<'_> {
    let object = Object::Key(key);
    Asked { vault: Entered::NoVault, object, keeps_packs: false, before: None, now: NOW }
}

/// The digest of a sealed part: of no part's bytes, which no check looks at.
pub(super) fn part_digest(part: u8) -> Digest {
    Digest::from_bytes([part + 1; 32])
}

/// The front of a body of two parts.
pub(super) fn front() -> Vec<u8> {
    Front::encode(&[part_digest(0), part_digest(1)], &[6; 80], None).unwrap()
}

/// The slices of that body, the front in two of them: 65,672 bytes are a sealed part of 64 KiB, and
/// 82 one of 10 bytes.
pub(super) fn slices() -> Vec<(u32, Digest)> {
    let front = front();
    let (one, two) = front.split_at(50);
    let slice = |bytes: &[u8]| (bytes.len() as u32, Digest::of(bytes));
    vec![(65_672, part_digest(0)), (82, part_digest(1)), slice(one), slice(two)]
}

/// What a tail says of that body under this header.
pub(super) fn tail_fields(header: &Header, certificate: Option<&Certificate>) -> TailFields {
    let front = front();
    let parsed = Front::parse(&front, 2, Content::File).unwrap();
    TailFields {
        total_length: TOTAL,
        body_digest: BodyDigest::of(header.fields().core.shape, TOTAL, &parsed),
        certificate: certificate.cloned(),
    }
}

/// The tail of that body under this header, signed by the writer of this device, or changed before
/// that.
pub(super) fn tail(
    header: &Header,
    certificate: Option<&Certificate>,
    device: u8,
    change: impl FnOnce(&mut TailFields),
) -> Tail {
    let mut fields = tail_fields(header, certificate);
    change(&mut fields);
    let bytes = Transcript::of(header, &fields).to_sign();
    let seal = VaultSeal { mac: [8; 32], signature: sign(device ^ 0x80, &bytes) };
    let seal = certificate.map(|_| &seal);
    fields.sealed(&[7; 32], seal, front().len() as u32).unwrap()
}
