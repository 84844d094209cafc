//! Messages against golden frames that an independent script made from the protocol's page
//! (`tests/interop/messages-v2.mjs`).

mod answers;
mod head;
mod refused;
mod requests;
mod rules;

use super::*;
use crate::{
    digest::Digest,
    hello_v2::tests::golden,
    limits::FRAME_MAX_BYTES,
    name::ObjectKey,
    vault::{Epoch, VaultId},
};
use frame::{FrameError, FrameReader};

/// Reads a whole frame, and nothing behind it.
fn read<M: Message>(bytes: &[u8]) -> Result<Option<M>, FrameError> {
    let mut rest = bytes;
    let message = FrameReader::new(FRAME_MAX_BYTES).read(&mut rest);
    assert!(message.is_err() || rest.is_empty());
    message
}

/// Whether the golden frames of `what` are these messages, which are written as the same bytes, and
/// the numbers of their variants are those below `numbers`.
fn check_golden<M: Message + PartialEq + std::fmt::Debug>(
    what: &str,
    numbers: u8,
    messages: Vec<(&str, M)>,
) {
    let (mut golden, mut wrong) = (golden(what), Vec::new());
    let mut seen = std::collections::BTreeSet::new();
    for (name, message) in messages {
        let bytes = golden.remove(name).unwrap_or_else(|| panic!("there is no {what} {name}"));
        let written = frame::encode(&message, FRAME_MAX_BYTES);
        let is_read = read(&bytes);
        if written.as_ref() != Ok(&bytes) || is_read != Ok(Some(message)) {
            wrong.push((name, is_read));
        }
        seen.insert(bytes[4]);
    }
    assert_eq!(wrong, []);
    assert_eq!(golden.into_keys().collect::<Vec<_>>(), [""; 0], "{what}: not looked at");
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), (0..numbers).collect::<Vec<_>>());
}

/// 32 bytes that count up from `first`.
fn run(first: u8) -> [u8; 32] {
    std::array::from_fn(|at| first + at as u8)
}

const ID: [u8; 16] = [
    0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf,
];
const UPLOAD: UploadId = UploadId::from_bytes(ID);

fn vault() -> VaultId {
    VaultId::from_bytes(run(0))
}

fn other_vault() -> VaultId {
    VaultId::from_bytes(run(0x20))
}

/// An object of the golden vault.
fn address(key: &[u8]) -> Address {
    Address::of_key(Some(vault()), ObjectKey::new(key).unwrap())
}

fn order(epoch: u32, generation: u64) -> Order {
    Order::new(Epoch::new(epoch), generation).unwrap()
}

fn head() -> Head {
    Head { header: b"header".to_vec(), tail: b"tail".to_vec() }
}

fn longest_head() -> Head {
    Head { header: vec![b'h'; 65_536], tail: vec![b't'; 16_384] }
}

/// A digest as hex digits.
fn digest(hex: &str) -> Digest {
    Digest::from_bytes(hex::decode(hex).unwrap().try_into().unwrap())
}

/// BLAKE3 of `tailheader`, by the script and its library.
fn digest_of_tail_and_header() -> Digest {
    digest("a7adba7c87cc59a3653446757429f0a0b6a6c92ae2b7f9ab6406ff5c7778f465")
}

fn info(version: u64, body_length: u64, lengths: [u32; 3]) -> Info {
    let [front_length, header_length, tail_length] = lengths;
    let version = Version(version);
    Info { version, kind: Kind::Sealed, body_length, front_length, header_length, tail_length }
}

fn plain(version: u64, body_length: u64) -> Info {
    Info { kind: Kind::Plain, ..info(version, body_length, [0; 3]) }
}
