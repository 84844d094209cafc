//! Certificates and charters, against golden files that an independent script made from the format
//! page (`tests/interop/golden-v2.mjs`), and against the attacks of `docs/next/DECISIONS.md`.

mod attacks;
mod golden;
mod line;
mod refused;
mod rules;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use ed25519_dalek::{Signer, SigningKey};

use super::*;
use crate::keys::{Algorithm, DevicePublicKey, Signature, SigningPublicKey};

/// The folder of the golden files.
fn data() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../seal/tests/data")
}

/// A golden file, such as `charter-v2/1.charter`.
fn golden(name: &str) -> Vec<u8> {
    fs::read(data().join(name)).unwrap()
}

fn golden_certificate(name: &str) -> Certificate {
    Certificate::parse(&golden(&format!("certificate-v2/{name}.certificate"))).unwrap()
}

fn golden_charter(name: &str) -> HeldCharter {
    HeldCharter::parse(&golden(&format!("charter-v2/{name}.charter")), &golden_vault()).unwrap()
}

/// The id of the golden vault.
fn golden_vault() -> VaultId {
    VaultId::from_bytes(bytes("11ae3cb1d9b042cf821611153d03105f5a9e46d6ea1440d07198e5ab76ff63be"))
}

fn bytes<const N: usize>(hex: &str) -> [u8; N] {
    hex::decode(hex).unwrap().try_into().unwrap()
}

/// A root, a device or a writer of a test, by a number of its own.
#[derive(Clone)]
struct Pair(SigningKey);

impl Pair {
    fn of(number: u8) -> Self {
        Self(SigningKey::from_bytes(&[number; 32]))
    }

    fn public(&self) -> SigningPublicKey {
        let key = self.0.verifying_key();
        SigningPublicKey::parse(Algorithm::Ed25519, key.as_bytes()).unwrap()
    }

    fn device(&self) -> DevicePublicKey {
        DevicePublicKey::from_bytes(self.0.verifying_key().to_bytes())
    }

    fn sign(&self, message: &[u8]) -> Signature {
        Signature::parse(Algorithm::Ed25519, &self.0.sign(message).to_bytes()).unwrap()
    }

    /// The certificate with these fields, signed by this root.
    fn certify(&self, fields: &CertificateFields) -> Certificate {
        fields.signed(&self.sign(&fields.to_sign().unwrap())).unwrap()
    }

    /// The charter with this state, signed by this root; its sealed parts are opaque here.
    fn charter(&self, serial: u64, state: &StateFields) -> HeldCharter {
        self.try_charter(serial, state).unwrap()
    }

    fn try_charter(&self, serial: u64, state: &StateFields) -> Result<HeldCharter, CharterError> {
        let fields = CharterFields { serial, issued: 1, state: state.clone() };
        let signature = self.sign(&fields.to_sign(b"members", b"owner")?);
        fields.signed(b"members", b"owner", &signature)
    }

    /// The next root of the vault, which this one signs.
    fn succession(&self, vault: &VaultId, index: u8, next: &Pair, until: u32) -> Succession {
        let key = next.public();
        let signature = self.sign(&Succession::to_sign(vault, index, &key));
        Succession { key, signature, until: Epoch::new(until) }
    }
}

/// Epoch 0 of the vault of this root.
fn first_state(root: &Pair) -> StateFields {
    StateFields {
        has_clear_names: false,
        past: Vec::new(),
        first_root: root.public(),
        later_roots: Vec::new(),
        revoked: BTreeMap::new(),
        kept: BTreeSet::new(),
        extensions: Vec::new(),
    }
}

/// The beginning of the epoch after that of `state`.
fn next_epoch(state: &State) -> StateFields {
    let mut fields = state.fields().clone();
    fields.past.push(*state.tag());
    fields
}

/// A certificate of root 0 with all scopes, for a device with a writer key of its own.
fn all_scopes(vault: &VaultId, device: u8) -> CertificateFields {
    CertificateFields {
        root: 0,
        vault: *vault,
        scopes: Scopes::ALL,
        not_after: 0,
        prefix: PrefixTag::EVERY_NAME,
        device: Pair::of(device).device(),
        writer: Some(Pair::of(device ^ 0x80).public()),
        extensions: Vec::new(),
    }
}

fn order(epoch: u32, generation: u64) -> Order {
    Order::new(Epoch::new(epoch), generation).unwrap()
}

/// Whether the certificate holds and counts for a blob.
fn counts(certificate: &Certificate, state: &State, order: Order) -> Result<(), CertificateError> {
    certificate.holds_under(state)?.counts(order).map(|_| ())
}

/// Whether its device may enter a vault, at 1,000 s after 1970.
fn enters(certificate: &Certificate, state: &State) -> Result<Scopes, CertificateError> {
    certificate.holds_under(state)?.may_enter(&certificate.fields().device, 1000)
}
