//! A worker's cache of open objects, by mount and key.
//!
//! An object that was served stays open, so the next get of it needs no walk through directories
//! and no job in the pool. Each worker has its own cache, so there is no lock. A transfer holds a
//! reference too, so an object is never closed while it is being sent. Of idle objects at most
//! `keep` stay open; they are evicted in the order of insertion, except that an object that was
//! used since it was queued is queued once more (the clock algorithm). Objects unused for [`IDLE`]
//! are closed, so that a deleted file gives its space back.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use crate::mounts::{MountId, MountPoint, Mounts, OpenObject};

/// How long an unused object stays open.
const IDLE: Duration = Duration::from_secs(60);

/// Interval between searches for unused objects.
const SWEEP: Duration = Duration::from_secs(10);

/// The open objects of all mounts that one worker serves.
#[derive(Debug)]
pub(crate) struct OpenFileCache {
    mounts: Vec<(MountId, MountEntries)>,
    /// Entries in the order of eviction, with some that were removed meanwhile.
    order: VecDeque<Place>,
    /// Number of entries over all mounts.
    count: usize,
    keep: usize,
    /// Number of the last entry: tells an entry from an earlier one with the same key.
    last_number: u64,
    next_sweep: Option<Instant>,
}

/// The entries of one mount, by key.
type MountEntries = HashMap<Arc<[u8]>, Entry>;

#[derive(Debug)]
struct Entry {
    opened: Arc<OpenObject>,
    number: u64,
    /// When the name was last checked; `None` when it must be checked before the next use.
    checked: Option<Instant>,
    used_at: Instant,
    /// The reference bit of the clock algorithm: the entry was used since it was queued last.
    referenced: bool,
}

/// An entry's place in the order of eviction.
#[derive(Debug)]
struct Place {
    mount: MountId,
    key: Arc<[u8]>,
    number: u64,
}

/// Maximum entries considered for one eviction. Where all of these are in use, the new object is
/// not kept.
const EVICTION_TRIES: usize = 16;

impl OpenFileCache {
    /// An empty cache that keeps at most `keep` idle objects open.
    pub(crate) fn new(keep: usize) -> Self {
        Self {
            mounts: Vec::new(),
            order: VecDeque::new(),
            count: 0,
            keep,
            last_number: 0,
            next_sweep: None,
        }
    }

    /// The open object of `key` in `mount`. An object whose name leads to another file by now is
    /// closed instead.
    pub(crate) fn get(
        &mut self,
        mount: &MountPoint,
        key: &[u8],
        now: Instant,
    ) -> Option<Arc<OpenObject>> {
        let entry = self.entries_of(mount.id())?.get_mut(key)?;
        let validity = mount.revalidate_after();
        if entry.checked.is_none_or(|at| now.saturating_duration_since(at) >= validity) {
            if !mount.is_unchanged(key, &entry.opened) {
                self.remove(mount.id(), key);
                return None;
            }
            entry.checked = Some(now);
        }
        entry.used_at = now;
        entry.referenced = true;
        Some(Arc::clone(&entry.opened))
    }

    /// Keeps an object that was opened just now.
    pub(crate) fn insert(
        &mut self,
        mount: &MountPoint,
        key: &[u8],
        opened: &Arc<OpenObject>,
        now: Instant,
    ) {
        if self.keep == 0 || !opened.is_cacheable() {
            return;
        }
        self.remove(mount.id(), key);
        if self.count >= self.keep && !self.evict_one() {
            return;
        }
        self.last_number += 1;
        let (key, number): (Arc<[u8]>, _) = (key.into(), self.last_number);
        self.order.push_back(Place { mount: mount.id(), key: Arc::clone(&key), number });
        let opened = Arc::clone(opened);
        let entry = Entry { opened, number, checked: Some(now), used_at: now, referenced: false };
        if self.entries_of(mount.id()).is_none() {
            self.mounts.push((mount.id(), HashMap::new()));
        }
        if let Some(of_mount) = self.entries_of(mount.id()) {
            of_mount.insert(key, entry);
            self.count += 1;
        }
        self.next_sweep.get_or_insert(now + SWEEP);
    }

    /// Removes the entry of `key`.
    pub(crate) fn remove(&mut self, mount: MountId, key: &[u8]) {
        if self.entries_of(mount).and_then(|entries| entries.remove(key)).is_some() {
            self.count -= 1;
        }
        // Removed entries must not outgrow the others in the order of eviction.
        if self.order.len() > 2 * self.count + EVICTION_TRIES {
            let order = std::mem::take(&mut self.order);
            self.order = order.into_iter().filter(|place| self.contains(place)).collect();
        }
    }

    /// Removes the entries of mounts that are not in `mounts`.
    pub(crate) fn retain_mounts(&mut self, mounts: &Mounts) {
        self.mounts.retain(|(id, _)| mounts.iter().any(|point| point.id() == *id));
        self.count = self.mounts.iter().map(|(_, entries)| entries.len()).sum();
    }

    /// Makes every name be checked before its next use, however long a mount's validity is: a
    /// reload means that things have changed.
    pub(crate) fn revalidate_all(&mut self) {
        for entry in self.mounts.iter_mut().flat_map(|(_, entries)| entries.values_mut()) {
            entry.checked = None;
        }
    }

    /// Closes objects that were not used for [`IDLE`].
    pub(crate) fn sweep(&mut self, now: Instant) {
        if self.next_sweep.is_none_or(|next| now < next) {
            return;
        }
        for (_, entries) in &mut self.mounts {
            entries.retain(|_, entry| {
                Arc::strong_count(&entry.opened) > 1
                    || now.saturating_duration_since(entry.used_at) < IDLE
            });
        }
        self.count = self.mounts.iter().map(|(_, entries)| entries.len()).sum();
        if self.count == 0 {
            self.order.clear();
        }
        self.next_sweep = (self.count > 0).then(|| now + SWEEP);
    }

    /// When to call [`Self::sweep`] next.
    pub(crate) const fn next_sweep(&self) -> Option<Instant> {
        self.next_sweep
    }

    /// Number of open objects, those in use included.
    pub(crate) const fn count(&self) -> usize {
        self.count
    }

    /// Evicts the first idle entry in the order. Returns whether there was one among the first few.
    fn evict_one(&mut self) -> bool {
        let mut tried = 0;
        while tried < EVICTION_TRIES
            && let Some(place) = self.order.pop_front()
        {
            let Some(entry) = self
                .entries_of(place.mount)
                .and_then(|entries| entries.get_mut(&place.key))
                .filter(|entry| entry.number == place.number)
            else {
                continue;
            };
            if Arc::strong_count(&entry.opened) == 1 && !std::mem::take(&mut entry.referenced) {
                self.remove(place.mount, &place.key);
                return true;
            }
            self.order.push_back(place);
            tried += 1;
        }
        false
    }

    fn contains(&self, place: &Place) -> bool {
        let entries = self.mounts.iter().find(|(id, _)| *id == place.mount).map(|(_, all)| all);
        let entry = entries.and_then(|entries| entries.get(&place.key));
        entry.is_some_and(|entry| entry.number == place.number)
    }

    fn entries_of(&mut self, mount: MountId) -> Option<&mut MountEntries> {
        self.mounts.iter_mut().find(|(id, _)| *id == mount).map(|(_, entries)| entries)
    }
}

#[cfg(test)]
mod tests;
