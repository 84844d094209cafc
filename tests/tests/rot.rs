//! Promise 5 where a disk rots: any byte of an object's file or of its record is another one, or
//! the file ends early.
//!
//! Two read it: the client, which has to open what the server gives, and the store when it copies
//! an old version and verifies it on the way. What a client accepts is what was put, to the byte,
//! or it is nothing.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    fs,
    io::Cursor,
    path::{Path, PathBuf},
};

use tempfile::TempDir;
use zput::{
    Silent,
    cli::{Directories, GetOptions, PutOptions, Session},
};
use zput_cli::ExitCode;
use zput_proto::{
    keys::Remote,
    message::{ErrorCode, Version},
    name::{BlobName, ObjectKey},
};
use zput_seal::{age::Identity, keys::KeyFile};
use zput_server::store::{Clock, Store};
use zput_tests::Pattern;

/// Bytes of plaintext: four chunks and a last one.
const LENGTH: u64 = 65_536;

/// A store with one object of two versions, each of them the same 64 KiB, and a client of it.
struct Rotting {
    client: Session,
    store: Store,
    key: ObjectKey,
    name: BlobName,
    old: Version,
    dir: TempDir,
}

impl Rotting {
    fn new() -> Self {
        let shm = Path::new("/dev/shm");
        let parent = if shm.is_dir() { shm.to_owned() } else { std::env::temp_dir() };
        let dir = tempfile::tempdir_in(parent).unwrap();
        let path = dir.path().join("store");
        let store = Store::open(&path, Clock::system()).unwrap();
        let identity = Identity::generate_x25519(&mut rand::rng());
        let mut key_file = KeyFile::from_identity(identity, &mut rand::rng());
        key_file.remote = Some(Remote::Embedded(path.to_str().unwrap().to_owned()));
        let [config, data, state] = ["c", "d", "s"].map(|name| dir.path().join(name));
        let directories = Directories { config, data, state };
        let name = BlobName::parse("rots").unwrap();
        let key = key_file.object_key(&name);
        let mut client = Session::new(key_file, &directories).unwrap();
        let mut put = || {
            let source = Cursor::new(Pattern::bytes(1, LENGTH));
            client.put(&name, source, &PutOptions::default(), &Silent).unwrap().version
        };
        let (old, _) = (put(), put());
        Self { client, store, key, name, old, dir }
    }

    /// The one file on a shelf.
    fn file(&self, shelf: &str) -> PathBuf {
        let shards = fs::read_dir(self.dir.path().join("store").join(shelf)).unwrap();
        let mut files = shards.flat_map(|shard| fs::read_dir(shard.unwrap().path()).unwrap());
        let file = files.next().unwrap().unwrap().path();
        assert!(files.next().is_none());
        file
    }

    /// Puts other bytes in place of a file, as another file: a server that has it open is to
    /// notice.
    fn replace(&self, file: &Path, bytes: &[u8]) {
        let beside = self.dir.path().join("beside");
        fs::write(&beside, bytes).unwrap();
        fs::rename(beside, file).unwrap();
    }

    /// What the client gets: all of it, or an exit code and what reached the sink before.
    fn get(&mut self) -> (Result<(), u8>, Vec<u8>) {
        let mut sink = Vec::new();
        let got = self.client.get(&self.name, &GetOptions::default(), &mut sink, &Silent);
        (got.map(drop).map_err(|error| ExitCode::from(error.kind()) as u8), sink)
    }

    /// The store copies its old version, and verifies it on the way.
    fn copy(&self) -> Result<Version, ErrorCode> {
        self.store.restore(&self.key, self.old).map_err(|error| error.code())
    }
}

/// The object with a byte changed, for each of the offsets, and cut off there.
fn rotten(whole: &[u8], at: usize) -> [(String, Vec<u8>); 2] {
    let mut flipped = whole.to_vec();
    // One bit, not always the same one.
    flipped[at] ^= 1 << (at % 8);
    [(format!("byte {at} flipped"), flipped), (format!("cut at {at}"), whole[..at].to_vec())]
}

/// Each `step`th offset, and all of those near either end, where header, footer and record are.
fn offsets(length: usize, step: usize) -> impl Iterator<Item = usize> {
    (0..length).filter(move |at| at % step == 0 || *at < 700 || length - at <= 900)
}

fn a_client_accepts_nothing_rotten(step: usize) {
    let mut rotting = Rotting::new();
    let plaintext = Pattern::bytes(1, LENGTH);
    let file = rotting.file("objects");
    let whole = fs::read(&file).unwrap();
    assert_eq!(rotting.get(), (Ok(()), plaintext.clone()));
    let (mut refused, mut right) = (0, 0);
    // STORE, the record: three slices, a key of 64 bytes, 136.
    let rows = whole.len() - 136 - 64 - 3 * 36..whole.len() - 136 - 64;
    for at in offsets(whole.len(), step) {
        for (what, bytes) in rotten(&whole, at) {
            rotting.replace(&file, &bytes);
            let (got, sink) = rotting.get();
            match got {
                // The digests of the slices are the server's own, and no get reads them.
                Ok(()) => {
                    assert!(rows.contains(&at) && bytes.len() == whole.len(), "{what}: accepted");
                    assert!(sink == plaintext, "{what}: other bytes were accepted");
                    right += 1;
                }
                Err(_) => {
                    assert!(plaintext.starts_with(&sink), "{what}: forged bytes came out");
                    refused += 1;
                }
            }
        }
    }
    rotting.replace(&file, &whole);
    assert_eq!(rotting.get(), (Ok(()), plaintext));
    println!("{refused} refused; {right} accepted, whose payload was whole; 0 wrong ones accepted");
    assert_eq!(right, rows.len());
}

fn a_copy_accepts_nothing_rotten(step: usize) {
    let rotting = Rotting::new();
    let file = rotting.file("history");
    let whole = fs::read(&file).unwrap();
    let mut refused = 0;
    for at in offsets(whole.len(), step) {
        for (what, bytes) in rotten(&whole, at) {
            rotting.replace(&file, &bytes);
            assert_eq!(rotting.copy(), Err(ErrorCode::Unreadable), "{what}");
            refused += 1;
        }
    }
    rotting.replace(&file, &whole);
    rotting.copy().unwrap();
    println!("{refused} refused, 0 accepted");
}

/// Promise 5.
#[test]
fn get_returns_no_wrong_byte_of_object_corrupt_at_sampled_offsets() {
    a_client_accepts_nothing_rotten(97);
}

/// A restore refuses a version corrupted or cut at every 97th byte.
#[test]
fn restore_refuses_version_corrupt_at_sampled_offsets() {
    a_copy_accepts_nothing_rotten(97);
}

/// By hand: `cargo test -p zput-tests --test rot -- --ignored --nocapture`
#[test]
#[ignore = "it takes minutes"]
fn get_returns_no_wrong_byte_of_object_corrupt_at_any_offset() {
    a_client_accepts_nothing_rotten(1);
}

/// By hand, as above.
#[test]
#[ignore = "it takes minutes"]
fn restore_refuses_version_corrupt_at_any_offset() {
    a_copy_accepts_nothing_rotten(1);
}
