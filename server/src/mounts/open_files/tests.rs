use std::{fs, path::Path};

use tempfile::TempDir;
use zput_proto::name::ObjectKey;

use super::*;
use crate::{
    limits::Semaphore,
    mounts::{DirMount, Policy, Source},
    store::Clock,
};

/// A tree, a cache, and a clock of its own.
struct CacheTest {
    dir: TempDir,
    mount: MountPoint,
    files: OpenFileCache,
    open: Semaphore,
    start: Instant,
}

impl CacheTest {
    fn new(keep: usize, validity: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mount = mount(dir.path(), validity);
        let files = OpenFileCache::new(keep);
        Self { dir, mount, files, open: Semaphore::new(100), start: Instant::now() }
    }

    fn write(&self, name: &str, text: &str) {
        let new = self.dir.path().join("new");
        fs::write(&new, text).unwrap();
        fs::rename(new, self.dir.path().join(name)).unwrap();
    }

    fn at(&self, seconds: u64) -> Instant {
        self.start + Duration::from_secs(seconds)
    }

    /// Opens an object and inserts it into the cache.
    fn open(&mut self, name: &str, seconds: u64) -> Arc<OpenObject> {
        let key = ObjectKey::new(name).unwrap();
        let opened = Arc::new(self.mount.open(&key, None, &self.open).unwrap());
        let now = self.at(seconds);
        self.files.insert(&self.mount, name.as_bytes(), &opened, now);
        opened
    }

    /// The length of what is open by this name.
    fn get(&mut self, name: &str, seconds: u64) -> Option<u64> {
        let now = self.at(seconds);
        self.files.get(&self.mount, name.as_bytes(), now).map(|object| object.info().length)
    }
}

fn mount(dir: &Path, validity: u64) -> MountPoint {
    let source = Source::Dir(DirMount::open(dir, Clock::system()).unwrap());
    let revalidate_after = Duration::from_secs(validity);
    MountPoint::new("", source, Policy { revalidate_after, ..Policy::PRIVATE })
}

/// The open-file cache trusts a name for its validity and then checks the file again.
#[test]
fn open_file_cache_revalidates_after_validity() {
    let mut bench = CacheTest::new(4, 5);
    bench.write("a", "1");
    assert_eq!(bench.get("a", 0), None);
    drop(bench.open("a", 0));
    bench.write("a", "22");
    assert_eq!(bench.get("a", 4), Some(1), "it was not looked at");
    assert_eq!(bench.get("a", 5), None, "a replaced file is noticed");
    assert_eq!(bench.open.count(), 0, "and closed");
    drop(bench.open("a", 6));
    assert_eq!(bench.get("a", 11), Some(2));
    fs::remove_file(bench.dir.path().join("a")).unwrap();
    assert_eq!(bench.get("a", 15), Some(2), "it was looked at at 11");
    assert_eq!(bench.get("a", 16), None, "so is one that is gone");
}

/// The call revalidate_all makes the open-file cache check every name at its next get.
#[test]
fn open_file_cache_revalidates_all_on_request() {
    let mut bench = CacheTest::new(4, 100);
    for name in ["a", "b"] {
        bench.write(name, "1");
        drop(bench.open(name, 0));
    }
    bench.write("a", "22");
    assert_eq!(bench.get("a", 1), Some(1), "it may be believed still");
    bench.files.revalidate_all();
    assert_eq!((bench.get("a", 2), bench.get("b", 2)), (None, Some(1)));
    bench.write("b", "22");
    assert_eq!(bench.get("b", 101), Some(1), "it was looked at at 2");
    assert_eq!(bench.get("b", 102), None);
}

/// With a validity of zero the open-file cache checks the file at each get.
#[test]
fn open_file_cache_without_validity_checks_each_get() {
    let mut bench = CacheTest::new(4, 0);
    bench.write("a", "1");
    drop(bench.open("a", 0));
    assert_eq!(bench.get("a", 0), Some(1));
    bench.write("a", "22");
    assert_eq!(bench.get("a", 0), None);
}

/// The full open-file cache closes the oldest idle file and none that is in use.
#[test]
fn open_file_cache_evicts_oldest_idle_file_and_none_in_use() {
    let mut bench = CacheTest::new(2, 100);
    for name in ["a", "b", "c", "d"] {
        bench.write(name, name);
    }
    let in_use = bench.open("a", 0);
    drop(bench.open("b", 0));
    drop(bench.open("c", 0));
    assert_eq!(bench.get("b", 1), None, "the first that was idle");
    assert_eq!((bench.get("a", 1), bench.get("c", 1)), (Some(1), Some(1)));
    // Both are used: each is queued once more, and then the one in use again.
    drop(bench.open("d", 2));
    assert_eq!(bench.get("c", 3), None);
    assert_eq!((bench.get("a", 3), bench.get("d", 3)), (Some(1), Some(1)));
    assert_eq!(bench.open.count(), 2);
    // All in use: the newcomer is not kept.
    let also_in_use = bench.files.get(&bench.mount, b"d", bench.start);
    drop(bench.open("b", 4));
    assert_eq!(bench.get("b", 4), None);
    drop((in_use, also_in_use));
}

/// The open-file cache's sweep closes files that are idle for a minute.
#[test]
fn open_file_cache_sweep_closes_idle_files() {
    let mut bench = CacheTest::new(4, 100);
    bench.write("a", "1");
    bench.write("b", "1");
    assert_eq!(bench.files.next_sweep(), None, "nothing to do, nothing to wake up for");
    let in_use = bench.open("a", 0);
    drop(bench.open("b", 0));
    bench.files.sweep(bench.at(59));
    assert_eq!(bench.open.count(), 2);
    assert_eq!(bench.files.next_sweep(), Some(bench.at(69)));
    bench.files.sweep(bench.at(69));
    assert_eq!(bench.open.count(), 1, "b is closed, a is being sent");
    drop(in_use);
    bench.files.sweep(bench.at(79));
    assert_eq!(bench.open.count(), 0);
    assert_eq!(bench.files.next_sweep(), None);
}

/// The open-file cache closes the files of a removed mount.
#[test]
fn open_file_cache_closes_files_of_removed_mount() {
    let mut bench = CacheTest::new(4, 100);
    bench.write("a", "1");
    drop(bench.open("a", 0));
    let other = mount(bench.dir.path(), 100);
    let now = bench.at(1);
    assert!(bench.files.get(&other, b"a", now).is_none(), "names are those of their mount");
    bench.files.retain_mounts(&Mounts::new([other]).unwrap());
    assert_eq!(bench.open.count(), 0);
}

/// A name that is replaced a thousand times leaves the eviction queue bounded.
#[test]
fn open_file_cache_queue_is_bounded_for_replaced_names() {
    let mut bench = CacheTest::new(4, 0);
    for round in 0..1000 {
        bench.write("a", "1");
        drop(bench.open("a", round));
    }
    assert!(bench.files.order.len() <= 2 * 4 + EVICTION_TRIES, "{}", bench.files.order.len());
    assert_eq!(bench.open.count(), 1);
}

/// An open-file cache of size zero keeps no file open.
#[test]
fn open_file_cache_of_zero_keeps_no_file() {
    let mut bench = CacheTest::new(0, 100);
    bench.write("a", "1");
    drop(bench.open("a", 0));
    assert_eq!(bench.get("a", 0), None);
    assert_eq!(bench.open.count(), 0);
}
