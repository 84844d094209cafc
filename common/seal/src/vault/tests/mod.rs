//! Charters with their sealed parts, against golden files that an independent script made from the
//! format page (`tests/interop/golden-v2.mjs`), and against the attacks of
//! `docs/next/DECISIONS.md`.

mod attacks;
mod draft;
mod golden;
mod line;
mod refused;
mod view;

use std::collections::BTreeSet;
use std::fmt::Display;
use std::fs;
use std::path::PathBuf;

use rand::{rand_core::UnwrapErr, rngs::SysRng};
use zput_proto::keys::DevicePublicKey;
use zput_proto::vault::{
    Certificate, CertificateDigest, CertificateFields, CharterFields, Epoch, HeldCharter,
    PrefixTag, Scopes, VaultId,
};

use super::*;
use crate::keys::device_v2::DeviceSeed;
use crate::keys::epoch::EpochSecret;
use crate::keys::member::MemberSecret;
use crate::keys::root::RootSecret;
use crate::keys::wrap::WrapKey;
use crate::tests::GoldenFile;

/// The folder of the golden files.
fn data() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data")
}

/// A golden charter, such as `charter-v2/1`.
fn golden_charter(name: &str) -> HeldCharter {
    let bytes = fs::read(data().join(name).with_extension("charter")).unwrap();
    HeldCharter::parse(&bytes, &golden_vault()).unwrap()
}

/// A golden certificate of `certificate-v2`.
fn golden_certificate(name: &str) -> Certificate {
    let file = data().join("certificate-v2").join(name).with_extension("certificate");
    Certificate::parse(&fs::read(file).unwrap()).unwrap()
}

fn golden_vault() -> VaultId {
    VaultId::from_bytes(GoldenFile::derive().array("V"))
}

fn golden_root(index: usize) -> RootSecret {
    RootSecret::from_bytes(GoldenFile::derive().array(&format!("root_{index}")))
}

fn golden_member_secret() -> MemberSecret {
    MemberSecret::from_bytes(GoldenFile::derive().array("M"))
}

/// The secret of an epoch, and of which of its states where the script has more than one: 0 and 1
/// of root 0, 2 and 1023 of root 1.
fn golden_secret(epoch: impl Display) -> EpochSecret {
    EpochSecret::from_bytes(GoldenFile::derive().array(&format!("E_{epoch}")))
}

/// The device seeds of the script: counting up from this byte.
const LAPTOP: u8 = 0x40;
const HOST: u8 = 0x60;
const READER: u8 = 0xa0;

fn seed(first: u8) -> DeviceSeed {
    DeviceSeed::from_bytes(std::array::from_fn(|at| first + at as u8))
}

fn device(first: u8) -> DevicePublicKey {
    seed(first).device()
}

/// The wrap key of a device whose certificate is of this root.
fn wrap_key(root: &RootSecret, first: u8) -> WrapKey {
    WrapKey::of(&root.wrap_root(), &device(first))
}

/// A certificate that a root of this index signs: for all, to read, or to put.
fn certify(root: &RootSecret, index: u8, vault: VaultId, first: u8, role: Role) -> Certificate {
    let reads = matches!(role, Role::Get | Role::List);
    let scopes = match role {
        Role::Owner | Role::Member => Scopes::ALL,
        Role::Get => Scopes::GET.and(Scopes::LIST),
        Role::Put => Scopes::PUT,
        Role::List => Scopes::LIST,
    };
    let fields = CertificateFields {
        root: index,
        vault,
        scopes,
        not_after: 0,
        prefix: PrefixTag::EVERY_NAME,
        device: seed(first).device(),
        writer: (!reads).then(|| seed(first).writer()),
        extensions: Vec::new(),
    };
    issue(&fields, &root.signer()).unwrap()
}

fn open_members(charter: &HeldCharter) -> Members {
    Members::open(charter, &golden_member_secret().charter_key()).unwrap()
}

/// The charter with the public part and the sealed parts of other charters, signed by `root`.
fn signed(fields: &HeldCharter, members: &[u8], owner: &[u8], root: &RootSecret) -> HeldCharter {
    let fields = CharterFields {
        serial: fields.serial(),
        issued: fields.issued(),
        state: fields.state().fields().clone(),
    };
    let signature = root.signer().sign(&fields.to_sign(members, owner).unwrap());
    fields.signed(members, owner, &signature).unwrap()
}

fn rng() -> UnwrapErr<SysRng> {
    UnwrapErr(SysRng)
}
