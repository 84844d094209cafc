//! Servers in this process, requests, and objects.

use std::path::Path;

use zput_proto::{
    keys::{DevicePublicKey, DeviceTlsKey},
    message::{Condition, ErrorCode, HeaderSlice, Kind, Request, Response, Section},
    name::ObjectKey,
};
use zput_server::{
    ServerOptions,
    mounts::{MountPoint, Policy},
};
use zput_testkit::StoreServer;

/// A server that allows anonymous peers all operations, unless `change` changes that.
pub(crate) fn serve(change: impl FnOnce(&mut ServerOptions)) -> StoreServer {
    StoreServer::start(StoreServer::EVERYTHING, change)
}

/// A server with other mounts besides its store.
pub(crate) fn serve_mounts(
    policy: Policy,
    others: impl IntoIterator<Item = MountPoint>,
) -> StoreServer {
    StoreServer::start_in(tempfile::tempdir().unwrap(), policy, others, |_| {})
}

pub(crate) fn public(seed: &DeviceTlsKey) -> DevicePublicKey {
    seed.public_key()
}

pub(crate) fn seed(byte: u8) -> DeviceTlsKey {
    DeviceTlsKey::from_bytes([byte; 32])
}

pub(crate) fn count(dir: &Path) -> usize {
    std::fs::read_dir(dir).unwrap().count()
}

pub(crate) fn key(name: &str) -> ObjectKey {
    ObjectKey::new(name).unwrap()
}

/// Of a plain object, or of a sealed one with a header as of [`sealed`].
pub(crate) fn begin(name: &str, kind: Kind) -> Request {
    let [header, ..] = sealed(name, 0);
    let header = (kind == Kind::Sealed).then(|| HeaderSlice::of(header));
    Request::Begin { key: key(name), kind, condition: Condition::Any, header }
}

pub(crate) fn get(name: &str, sections: &[Section], kind: Kind) -> Request {
    Request::Get { key: key(name), version: None, sections: sections.to_vec(), kind }
}

/// The code of an error answer.
pub(crate) fn code(response: &Response) -> Option<ErrorCode> {
    match response {
        Response::Error(error) => error.known(),
        _ => None,
    }
}

/// Bytes that repeat nowhere within a gigabyte: a counter in every eight.
pub(crate) fn bytes(length: usize) -> Vec<u8> {
    let mixed = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
    (0..length as u64 / 8 + 1).flat_map(mixed).take(length).collect()
}

/// Header, body and footer of an object with the framing of a sealed one (FORMAT 3 to 7), of one
/// part of `body` bytes; 0 stands for one of no plaintext. The server can read no more of it than
/// this.
pub(crate) fn sealed(name: &str, body: usize) -> [Vec<u8>; 3] {
    let body = bytes(body.max(72));
    let header = zput_framed::header(name.as_bytes(), 300, PART_SIZE_LOG2, 7, [7; 32]);
    let footer = zput_framed::footer(&[&body], PART_SIZE_LOG2);
    [header, body, footer]
}

/// Of [`sealed`]: a full part is sealed to 524,872 bytes.
pub(crate) const PART_SIZE_LOG2: u8 = 19;
