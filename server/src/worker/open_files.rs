//! The open files of one worker, by what they are called.
//!
//! An object that was got is kept open, so the next get of it costs no walk through directories and no wait for the
//! pool. Each worker has its own, so nothing is locked. What is being sent is held by its transfer as well, so it is never
//! closed under it; of what is idle at most `keep` are kept, in the order they came, except that who was asked for
//! since is passed over once. What nobody asked for in [`IDLE`] is closed: a deleted file gives its space back.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    mounts::{MountId, MountPoint, Mounts},
    opened::Opened,
};

/// How long an object is kept open that nobody asks for.
const IDLE: Duration = Duration::from_secs(60);

/// How often idle ones are looked for.
const SWEEP: Duration = Duration::from_secs(10);

/// Open objects of one worker.
#[derive(Debug)]
pub(crate) struct Files {
    mounts: Vec<(MountId, OfMount)>,
    /// All entries, and some that are gone, in the order in which they may be closed.
    order: VecDeque<Turn>,
    /// Entries in all mounts.
    count: usize,
    keep: usize,
    /// Counts entries, so that each is one and no other.
    made: u64,
    next_sweep: Option<Instant>,
}

/// Those of one mount, by key.
type OfMount = HashMap<Arc<[u8]>, Entry>;

#[derive(Debug)]
struct Entry {
    opened: Arc<Opened>,
    number: u64,
    /// When its name was looked at; `None` when it has to be before it is served again.
    checked: Option<Instant>,
    asked: Instant,
    /// Somebody asked for it since its last turn.
    again: bool,
}

/// An entry's place in the order.
#[derive(Debug)]
struct Turn {
    mount: MountId,
    key: Arc<[u8]>,
    number: u64,
}

/// Turns that are looked at for one that can be closed, when there is no room: where these are all in use, the newcomer is
/// not kept.
const TURNS_TRIED: usize = 16;

impl Files {
    /// None yet, and never more than `keep` idle ones.
    pub(crate) fn new(keep: usize) -> Self {
        Self {
            mounts: Vec::new(),
            order: VecDeque::new(),
            count: 0,
            keep,
            made: 0,
            next_sweep: None,
        }
    }

    /// The object that `key` of `mount` stands for, if it is open. One whose name stands for something else by now
    /// is closed.
    pub(crate) fn get(
        &mut self,
        mount: &MountPoint,
        key: &[u8],
        now: Instant,
    ) -> Option<Arc<Opened>> {
        let entry = self.of(mount.id())?.get_mut(key)?;
        let validity = mount.stat_validity();
        if entry.checked.is_none_or(|at| now.saturating_duration_since(at) >= validity) {
            if !mount.is_still(key, &entry.opened) {
                self.forget(mount.id(), key);
                return None;
            }
            entry.checked = Some(now);
        }
        entry.asked = now;
        entry.again = true;
        Some(Arc::clone(&entry.opened))
    }

    /// Keeps an object that was opened just now.
    pub(crate) fn keep(
        &mut self,
        mount: &MountPoint,
        key: &[u8],
        opened: &Arc<Opened>,
        now: Instant,
    ) {
        if self.keep == 0 || !opened.is_worth_keeping() {
            return;
        }
        self.forget(mount.id(), key);
        if self.count >= self.keep && !self.close_one() {
            return;
        }
        self.made += 1;
        let (key, number): (Arc<[u8]>, _) = (key.into(), self.made);
        self.order.push_back(Turn { mount: mount.id(), key: Arc::clone(&key), number });
        let opened = Arc::clone(opened);
        let entry = Entry { opened, number, checked: Some(now), asked: now, again: false };
        if self.of(mount.id()).is_none() {
            self.mounts.push((mount.id(), HashMap::new()));
        }
        if let Some(of_mount) = self.of(mount.id()) {
            of_mount.insert(key, entry);
            self.count += 1;
        }
        self.next_sweep.get_or_insert(now + SWEEP);
    }

    /// What `key` stood for is not asked for any more.
    pub(crate) fn forget(&mut self, mount: MountId, key: &[u8]) {
        if self.of(mount).and_then(|entries| entries.remove(key)).is_some() {
            self.count -= 1;
        }
        // Turns of entries that are gone take no more room than those of the others.
        if self.order.len() > 2 * self.count + TURNS_TRIED {
            let order = std::mem::take(&mut self.order);
            self.order = order.into_iter().filter(|turn| self.has(turn)).collect();
        }
    }

    /// Closes what belongs to none of `mounts`.
    pub(crate) fn only_of(&mut self, mounts: &Mounts) {
        self.mounts.retain(|(id, _)| mounts.iter().any(|point| point.id() == *id));
        self.count = self.mounts.iter().map(|(_, entries)| entries.len()).sum();
    }

    /// Each name is looked at before it is served again, however long it may be believed: an operator has said that things
    /// have changed.
    pub(crate) fn look_again(&mut self) {
        for entry in self.mounts.iter_mut().flat_map(|(_, entries)| entries.values_mut()) {
            entry.checked = None;
        }
    }

    /// Closes what nobody has asked for in a while.
    pub(crate) fn sweep(&mut self, now: Instant) {
        if self.next_sweep.is_none_or(|next| now < next) {
            return;
        }
        for (_, entries) in &mut self.mounts {
            entries.retain(|_, entry| {
                Arc::strong_count(&entry.opened) > 1
                    || now.saturating_duration_since(entry.asked) < IDLE
            });
        }
        self.count = self.mounts.iter().map(|(_, entries)| entries.len()).sum();
        if self.count == 0 {
            self.order.clear();
        }
        self.next_sweep = (self.count > 0).then(|| now + SWEEP);
    }

    /// When to sweep.
    pub(crate) const fn next_sweep(&self) -> Option<Instant> {
        self.next_sweep
    }

    /// How many are kept.
    pub(crate) const fn count(&self) -> usize {
        self.count
    }

    /// Closes the first one in the order that is idle. Returns whether there was one among the first few.
    fn close_one(&mut self) -> bool {
        let mut tried = 0;
        while tried < TURNS_TRIED
            && let Some(turn) = self.order.pop_front()
        {
            let Some(entry) = self
                .of(turn.mount)
                .and_then(|entries| entries.get_mut(&turn.key))
                .filter(|entry| entry.number == turn.number)
            else {
                continue;
            };
            if Arc::strong_count(&entry.opened) == 1 && !std::mem::take(&mut entry.again) {
                self.forget(turn.mount, &turn.key);
                return true;
            }
            self.order.push_back(turn);
            tried += 1;
        }
        false
    }

    fn has(&self, turn: &Turn) -> bool {
        let entries = self.mounts.iter().find(|(id, _)| *id == turn.mount).map(|(_, all)| all);
        let entry = entries.and_then(|entries| entries.get(&turn.key));
        entry.is_some_and(|entry| entry.number == turn.number)
    }

    fn of(&mut self, mount: MountId) -> Option<&mut OfMount> {
        self.mounts.iter_mut().find(|(id, _)| *id == mount).map(|(_, entries)| entries)
    }
}

#[cfg(test)]
#[path = "open_files/tests.rs"]
mod tests;
