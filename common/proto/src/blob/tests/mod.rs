//! Headers, fronts and tails against golden files that an independent script made from the format
//! page (`tests/interop/blob-v2.mjs`), and what a server checks of them.

mod address;
mod check;
mod golden;
mod lengths;
mod owner;
mod refused;
mod reseal;
mod world;

use std::fs;
use std::path::PathBuf;

use super::*;
use crate::envelope::Layout;
use crate::vault::{HeldCharter, VaultId};

/// The folder of the golden files.
fn data() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../seal/tests/data")
}

/// The blobs that the script made.
const BLOBS: [&str; 7] =
    ["file", "clear", "bare", "root-1", "pack", "folder-whole", "folder-partial"];

/// A golden blob, taken apart.
struct Golden {
    name: &'static str,
    bytes: Vec<u8>,
    header: Header,
    tail: Tail,
}

impl Golden {
    fn read(name: &'static str) -> Self {
        let bytes = fs::read(data().join(format!("blob-v2/{name}.zput"))).unwrap();
        let length = header_length(&bytes).unwrap() as usize;
        let header = Header::parse(&bytes[..length]).unwrap();
        let tail = Tail::parse_end(&bytes).unwrap();
        Self { name, bytes, header, tail }
    }

    fn layout(&self) -> Layout {
        let part_size = self.header.fields().core.shape.part_size;
        Layout::new(self.header.length(), part_size, self.tail.fields().total_length).unwrap()
    }

    /// The front's bytes, from the end of the parts to the tail.
    fn front_bytes(&self) -> &[u8] {
        let end = self.bytes.len() - self.tail.as_bytes().len();
        &self.bytes[self.layout().footer_offset() as usize..end]
    }

    fn front(&self) -> Front<'_> {
        let content = self.header.fields().core.shape.content;
        Front::parse(self.front_bytes(), self.layout().parts(), content).unwrap()
    }

    /// The slices by which a client would send it: each part, and the front in one.
    fn slices(&self) -> Vec<(u32, crate::digest::Digest)> {
        let (mut at, layout) = (self.header.length() as usize, self.layout());
        let mut slices = Vec::new();
        let parts = (0..layout.parts()).map(|part| layout.sealed_part_len(part).unwrap() as usize);
        for length in parts.chain([self.front_bytes().len()]) {
            let slice = &self.bytes[at..at + length];
            slices.push((length as u32, crate::digest::Digest::of(slice)));
            at += length;
        }
        slices
    }

    /// A value that the script computed.
    fn value(&self, what: &str) -> Vec<u8> {
        let text = fs::read_to_string(data().join("transcript-v2.txt")).unwrap();
        let start = format!("{}.{what}: ", self.name);
        let mut values = text.lines().filter_map(|line| line.strip_prefix(&start));
        let value = values.next().unwrap_or_else(|| panic!("there is no {start}"));
        assert_eq!(values.next(), None);
        hex::decode(value).unwrap()
    }
}

/// A golden charter, such as `charter-v2/1`, which holds for `vault`.
fn charter(name: &str, vault: &VaultId) -> HeldCharter {
    HeldCharter::parse(&fs::read(data().join(format!("{name}.charter"))).unwrap(), vault).unwrap()
}
