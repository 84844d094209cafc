//! What docs/STORE.md promises, on real file systems.

mod accounts;
mod bounded;
mod child;
mod committed;
mod concurrency;
mod copies;
mod crash;
mod damage;
mod framing;
mod fsync_failed;
mod full;
mod generations;
mod group_commit;
mod inspect;
mod instants;
mod kept;
mod list;
mod model;
mod opening;
mod order;
mod readers;
mod removed;
mod resume;
mod root_user;
mod takeover;
mod uploads;

use std::{
    fs,
    os::unix::fs::{DirBuilderExt as _, FileExt as _},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;
use zput_proto::{
    digest::Digest,
    message::{Condition, Kind, Version, VersionInfo, VersionState},
    name::ObjectKey,
};

use super::{
    Clock, Object, Page, Store, StoreError,
    layout::ObjectName,
    record::{SliceTable, Trailer},
};

/// A store in a temporary directory, with a settable clock.
struct Home {
    store: Store,
    time: Arc<AtomicU64>,
    dir: TempDir,
}

impl Home {
    /// In [`memory`], because opening a store syncs.
    fn new() -> Self {
        Self::within(&memory())
    }

    /// On the file system of temporary files, where an fsync takes its real time.
    fn on_disk() -> Self {
        Self::within(&std::env::temp_dir())
    }

    fn within(parent: &Path) -> Self {
        let dir = tempfile::tempdir_in(parent).unwrap();
        let time = Arc::new(AtomicU64::new(1000));
        let store = open(&dir.path().join("store"), &time).unwrap();
        Self { store, time, dir }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    fn reopen(&mut self) {
        self.store = open(&self.path(), &self.time).unwrap();
    }

    fn set_time(&self, ns: u64) {
        self.time.store(ns, Ordering::Relaxed);
    }

    /// `objects/ab/<H>` of a key. The directory is there.
    fn object_path(&self, key: &str) -> PathBuf {
        self.place(&ObjectName::for_key(&self::key(key)).current_path())
    }

    /// `<area>/ab/<H>.<version>`, spelled out. The directory is there.
    fn area_path(&self, area: &str, key: &str, version: u64) -> PathBuf {
        let name = ObjectName::for_key(&self::key(key)).to_string();
        self.place(&format!("{area}/{}/{name}.{version:020}", &name[..2]))
    }

    /// A place in the store, in a directory that is made if need be.
    fn place(&self, path: &str) -> PathBuf {
        let path = self.path().join(path);
        let mut maker = fs::DirBuilder::new();
        maker.recursive(true).mode(0o700).create(path.parent().unwrap()).unwrap();
        path
    }

    /// The file whose lock orders the writers of a key's shard, opened once more, or made.
    fn lock_file(&self, key: &str) -> fs::File {
        let path = self.path().join(ObjectName::for_key(&self::key(key)).shard().lock_file());
        let mut options = fs::OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).open(path).unwrap()
    }

    fn put(&self, key: &str, body: &[u8]) -> u64 {
        put(&self.store, key, body, Condition::Any).unwrap()
    }

    fn body(&self, key: &str) -> Option<Vec<u8>> {
        get(&self.store, key, None)
    }

    fn states(&self, key: &str) -> Vec<(u64, VersionState)> {
        match self.store.versions(&self::key(key), None, 1000) {
            Ok((versions, None, _)) => versions.iter().map(|v| (v.version.0, v.state)).collect(),
            Err(StoreError::NotFound) => Vec::new(),
            other => panic!("{other:?}"),
        }
    }

    fn staged(&self) -> usize {
        names_in(&self.path().join("staging")).len()
    }
}

/// Waits until a thread has found a lock of the store taken, and tries again.
#[track_caller]
fn wait_for_lock_waiter(store: &Store, is_over: impl Fn() -> bool) {
    let begun = Instant::now();
    while store.fsync().lock_waiters.load(Ordering::SeqCst) == 0 {
        assert!(!is_over(), "it did not wait");
        assert!(begun.elapsed() < Duration::from_secs(60), "it never waited for the lock");
        thread::sleep(Duration::from_millis(1));
    }
}

/// A file system in memory, if there is one.
fn memory() -> PathBuf {
    let shm = PathBuf::from("/dev/shm");
    if shm.is_dir() { shm } else { std::env::temp_dir() }
}

fn open(path: &Path, time: &Arc<AtomicU64>) -> Result<Store, StoreError> {
    let time = Arc::clone(time);
    Store::open(path, Clock::new(move || time.load(Ordering::Relaxed)))
}

fn key(text: &str) -> ObjectKey {
    ObjectKey::new(text).unwrap()
}

fn names_in(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<_> =
        entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Puts a plain object in slices of 1,000 bytes.
fn put(store: &Store, key: &str, body: &[u8], condition: Condition) -> Result<u64, StoreError> {
    // Several slices, but not more than the limit for small ones.
    let slices = body.chunks(1000.max(body.len() / 32));
    put_slices(store, key, Kind::Plain, condition, slices).map(|version| version.0)
}

fn put_slices<'a>(
    store: &Store,
    key: &str,
    kind: Kind,
    condition: Condition,
    slices: impl Iterator<Item = &'a [u8]>,
) -> Result<Version, StoreError> {
    let mut upload = store.begin(&self::key(key), kind, condition, None)?;
    for slice in slices {
        upload.start_slice(slice.len() as u32, Digest::of(slice))?;
        upload.write(slice)?;
        upload.end_slice()?;
    }
    upload.commit()
}

/// Rewrites a file's record with changed fields.
fn record_anew(path: &Path, change: impl FnOnce(&mut Trailer)) {
    let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut trailer = Trailer::read(&file).unwrap();
    let table = SliceTable::read(&file, &trailer).unwrap().into_bytes();
    change(&mut trailer);
    let behind = trailer.payload_length + table.len() as u64;
    file.set_len(behind).unwrap();
    file.write_all_at(&trailer.encode(), behind).unwrap();
}

fn read(object: &Object) -> Vec<u8> {
    let mut bytes = vec![0; object.info().length as usize];
    object.file().read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

fn get(store: &Store, key: &str, version: Option<u64>) -> Option<Vec<u8>> {
    match store.lookup(&self::key(key), version.map(Version)) {
        Ok(object) => Some(read(&object)),
        Err(StoreError::NotFound) => None,
        Err(error) => panic!("{error:?}"),
    }
}

/// A header, a body and a footer with the framing of a sealed blob (FORMAT 3 to 7). The body is its
/// one part; an empty one stands for a part without plaintext.
fn sealed(key: &str, body: &[u8]) -> [Vec<u8>; 3] {
    let body = if body.is_empty() { vec![4; 72] } else { body.to_vec() };
    let footer = zput_framed::footer(&[&body], PART_SIZE_LOG2);
    [zput_framed::header(key.as_bytes(), 200, PART_SIZE_LOG2, 7, [7; 32]), body, footer]
}

/// Of [`sealed`]: a full part is sealed to 524,872 bytes.
const PART_SIZE_LOG2: u8 = 19;
