//! What docs/MOUNTS.md promises of a tree.

mod find;
mod list;
mod swap;

use std::{
    fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use tempfile::TempDir;

use super::*;

/// A tree in a temporary directory, and a mount of it with a settable clock.
struct Home {
    mount: DirMount,
    time: Arc<AtomicU64>,
    /// How often the clock was read: once for each directory that was read.
    reads: Arc<AtomicUsize>,
    dir: TempDir,
}

/// A time at which no directory has changed recently: the year 2100.
const LATER_NS: u64 = 4_102_444_800_000_000_000;

impl Home {
    fn new() -> Self {
        Self::within(WINDOW_BYTES, CACHE_BYTES)
    }

    fn within(window_bytes: usize, cache_bytes: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("tree");
        fs::create_dir(&root).unwrap();
        let time = Arc::new(AtomicU64::new(LATER_NS));
        let reads = Arc::new(AtomicUsize::new(0));
        let clock = {
            let (time, reads) = (time.clone(), reads.clone());
            Clock::new(move || {
                reads.fetch_add(1, Ordering::SeqCst);
                time.load(Ordering::SeqCst)
            })
        };
        let mount = DirMount::open_within(&root, clock, window_bytes, cache_bytes).unwrap();
        Self { mount, time, reads, dir }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join("tree").join(path)
    }

    /// Makes a file, which contains its own path, and its parent directories.
    fn file(&self, path: &str) {
        let at = self.path(path);
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        fs::write(at, path).unwrap();
    }

    fn dir(&self, path: &str) {
        fs::create_dir_all(self.path(path)).unwrap();
    }

    /// The paths on all pages of `limit`.
    fn list(&self, limit: u32) -> Vec<String> {
        self.pages(limit).into_iter().flatten().collect()
    }

    fn pages(&self, limit: u32) -> Vec<Vec<String>> {
        let (mut pages, mut after) = (Vec::new(), None::<Vec<u8>>);
        loop {
            let page = self.mount.list(after.as_deref(), limit).unwrap();
            assert!(page.entries.len() <= limit as usize);
            pages.push(page.entries.into_iter().map(|listed| listed.path).collect());
            assert!(page.next.as_ref().is_none_or(|next| next.len() <= 1024));
            assert!(page.next.is_none() || page.next > after, "the cursor does not move on");
            after = page.next;
            if after.is_none() {
                return pages;
            }
        }
    }
}
