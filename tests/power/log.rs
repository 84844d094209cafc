//! What the disk was told, in order: the format of Linux'
//! Documentation/admin-guide/device-mapper/log-writes.rst, which QEMU's blklogwrites writes too.

use std::{fs::File, os::unix::fs::FileExt as _, path::Path};

/// "jsfwshr", the first word of a log.
const MAGIC: u64 = 0x006a_7366_7773_6872;
/// Bit 0 of an entry's flags: what was written before is on the platter.
const FLUSH: u64 = 1;
/// Bit 2: the sectors hold nothing any more.
const DISCARD: u64 = 4;

/// A log, read as far as it was written.
pub(crate) struct Log {
    file: File,
    sector_bytes: u64,
    /// Where the next entry begins.
    at: u64,
    left: u64,
}

/// One thing that the disk was told.
pub(crate) struct Entry {
    /// From which byte.
    pub(crate) offset: u64,
    /// What; nothing for a flush alone.
    pub(crate) bytes: Vec<u8>,
    pub(crate) is_flush: bool,
}

/// How many entries a log has by now.
pub(crate) fn entries(path: &Path) -> u64 {
    let mut head = [0; 24];
    File::open(path).unwrap().read_exact_at(&mut head, 0).unwrap();
    word(&head, 2)
}

/// The `n`th little-endian word of 8 bytes.
fn word(bytes: &[u8], n: usize) -> u64 {
    u64::from_le_bytes(bytes[8 * n..8 * n + 8].try_into().unwrap())
}

impl Log {
    pub(crate) fn open(path: &Path) -> Self {
        let file = File::open(path).unwrap();
        let mut head = [0; 28];
        file.read_exact_at(&mut head, 0).unwrap();
        assert_eq!((word(&head, 0), word(&head, 1)), (MAGIC, 1), "this is no log of writes");
        let sector_bytes = u64::from(u32::from_le_bytes(head[24..].try_into().unwrap()));
        Self { file, sector_bytes, at: sector_bytes, left: word(&head, 2) }
    }
}

impl Iterator for Log {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        self.left = self.left.checked_sub(1)?;
        let mut head = [0; 32];
        self.file.read_exact_at(&mut head, self.at).unwrap();
        let [sector, sectors, flags] = [0, 1, 2].map(|n| word(&head, n));
        self.at += self.sector_bytes;
        let mut bytes = vec![0; (sectors * self.sector_bytes) as usize];
        if flags & DISCARD == 0 {
            self.file.read_exact_at(&mut bytes, self.at).unwrap();
            self.at += bytes.len() as u64;
        }
        let offset = sector * self.sector_bytes;
        Some(Entry { offset, bytes, is_flush: flags & FLUSH != 0 })
    }
}
