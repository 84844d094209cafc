//! A check: every name and every record of a store, and every payload too when the disk is in
//! doubt.

use std::ops::ControlFlow;

use super::{
    Damage, Observer,
    file_ref::{FileRef, ParsedName},
    quarantine::Quarantined,
    verify::{Reader, Verified},
};
use crate::{
    store::{
        Store, directories,
        error::{Context, Corruption, StoreError},
        fsync::ReadFrom,
        layout::{Area, CLIENTS, INVITES, STAGING, Shard, TEMPORARY_PREFIX},
        object::Object,
    },
    sys::fs,
};

/// The result of a check.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Number of current versions.
    pub current: u64,
    /// Number of replaced versions.
    pub history: u64,
    /// Number of deleted versions.
    pub trash: u64,
    /// Bytes of payload of all versions.
    pub bytes: u64,
    /// The damage that was found, in the order of discovery.
    pub damaged: Vec<Damage>,
    /// Files that belong to no object.
    pub leftovers: Leftovers,
    /// Whether the observer stopped the check.
    pub stopped: bool,
}

/// Numbers of files that belong to no object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leftovers {
    /// Uploads in progress, or kept to be resumed.
    pub uploads: u64,
    /// Bytes of these uploads.
    pub upload_bytes: u64,
    /// Temporary files of interrupted writes; the next start removes them.
    pub temporary: u64,
    /// Files in quarantine.
    pub quarantined: u64,
}

/// What a check reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Depth {
    /// Names, records and framing. Nothing is changed.
    Records,
    /// All bytes, read from the disk. Corrupt files are quarantined, as by a scrub.
    Bytes,
}

impl Store {
    /// Compares every file's name, its record and the framing of its payload, without reading the
    /// payload; reads the small files; and counts files that belong to no object. The directories
    /// were checked when the store was opened.
    ///
    /// # Errors
    /// When the store fails. A file or directory that cannot be read is damage and not an error.
    pub fn check(&self, watcher: &mut dyn Observer) -> Result<CheckReport, StoreError> {
        self.check_to(Depth::Records, watcher)
    }

    /// Runs a check of this depth.
    pub(super) fn check_to(
        &self,
        depth: Depth,
        watcher: &mut dyn Observer,
    ) -> Result<CheckReport, StoreError> {
        let report = CheckReport { leftovers: self.count_leftovers()?, ..CheckReport::default() };
        let reserved = self.reserved();
        let mut run = Run { store: self, depth, watcher, block: Vec::new(), reserved, report };
        let from = if depth == Depth::Bytes { ReadFrom::Disk } else { ReadFrom::PageCache };
        for damage in self.corrupt_small_files(from)? {
            run.on_damage(damage);
        }
        for shard in Shard::all() {
            if run.shard(shard)?.is_break() {
                run.report.stopped = true;
                break;
            }
        }
        Ok(run.report)
    }

    /// No version has a number above this one.
    fn reserved(&self) -> u64 {
        let clock = self.read_clock(ReadFrom::PageCache).ok().flatten().flatten();
        // What is missing or damaged says nothing, and is reported by itself.
        clock.map_or(u64::MAX, |clock| clock.last.max(clock.reserved))
    }

    fn count_leftovers(&self) -> Result<Leftovers, StoreError> {
        let mut found = Leftovers::default();
        let each = |dir: &str, count: &mut dyn FnMut(&str, u64)| -> Result<(), StoreError> {
            let Some(fd) = directories::open(self.fsync(), dir)? else { return Ok(()) };
            for name in fs::names(&fd).context_read("read a directory", dir)? {
                let name = name.context_read("read a directory", dir)?;
                // The file may have been removed by now; it then counts with 0 bytes.
                let length = fs::stat_at(&fd, &name).map_or(0, |identity| identity.length);
                count(&name, length);
            }
            Ok(())
        };
        each(STAGING, &mut |_, length| {
            found.uploads += 1;
            found.upload_bytes += length;
        })?;
        found.quarantined = self.count_quarantined()?;
        for dir in [".", CLIENTS, INVITES] {
            each(dir, &mut |name, _| {
                found.temporary += u64::from(name.starts_with(TEMPORARY_PREFIX));
            })?;
        }
        Ok(found)
    }
}

struct Run<'a> {
    store: &'a Store,
    depth: Depth,
    watcher: &'a mut dyn Observer,
    block: Vec<u8>,
    /// [`Store::reserved`], as it was when it mattered last.
    reserved: u64,
    report: CheckReport,
}

impl Run<'_> {
    fn shard(&mut self, shard: Shard) -> Result<ControlFlow<()>, StoreError> {
        let (files, are_all) = match self.store.files(shard, None) {
            Err(error) if error.is_unreadable_file() => {
                self.on_damage(Damage::of_shard(shard, &error));
                return Ok(ControlFlow::Continue(()));
            }
            files => files?,
        };
        if !are_all && self.depth == Depth::Bytes {
            return Err(StoreError::Changing);
        }
        for file_ref in files {
            if self.watcher.on_read(0).is_break() || self.file(&file_ref)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn file(&mut self, file_ref: &FileRef) -> Result<ControlFlow<()>, StoreError> {
        let damage =
            |key, what, quarantined| Damage { file: file_ref.path(), key, what, quarantined };
        let Some(parsed) = file_ref.parse_name() else {
            self.on_damage(damage(None, "no file that a store makes".to_owned(), None));
            return Ok(ControlFlow::Continue(()));
        };
        match self.verify(file_ref, parsed) {
            Ok(Verified::Intact(object)) => {
                self.count(file_ref, &object);
                if self.is_beyond_clock(&object) {
                    let what = "its number is above those that the store's clock has reserved: \
                                remove the file \"clock\", and the next put makes it anew";
                    self.on_damage(damage(Some(object.key().to_string()), what.to_owned(), None));
                }
                if self.store.has_duplicate(file_ref, parsed, &object)? {
                    let what = Corruption::DuplicateVersion.to_string();
                    self.on_damage(damage(Some(object.key().to_string()), what, None));
                }
            }
            Ok(Verified::Corrupt(rot, object)) => {
                let key = object.map(|object| object.key().to_string());
                let quarantined = match self.depth {
                    Depth::Records => None,
                    Depth::Bytes => match self.quarantine(file_ref, parsed)? {
                        Quarantined::Moved(path) => Some(path),
                        Quarantined::LeftInPlace => None,
                        Quarantined::NotCorrupt => return Ok(ControlFlow::Continue(())),
                        Quarantined::Stopped => return Ok(ControlFlow::Break(())),
                    },
                };
                self.on_damage(damage(key, rot.to_string(), quarantined));
            }
            Ok(Verified::Missing) => {}
            Ok(Verified::Stopped) => return Ok(ControlFlow::Break(())),
            Err(error) => self.on_damage(damage(None, error.to_string(), None)),
        }
        Ok(ControlFlow::Continue(()))
    }

    fn verify(&mut self, file_ref: &FileRef, parsed: ParsedName) -> Result<Verified, StoreError> {
        match self.depth {
            Depth::Records => self.store.check_framing(file_ref, parsed, ReadFrom::PageCache),
            Depth::Bytes => {
                self.read_from_disk(|store, reader| store.verify(file_ref, parsed, reader))
            }
        }
    }

    fn quarantine(
        &mut self,
        file_ref: &FileRef,
        parsed: ParsedName,
    ) -> Result<Quarantined, StoreError> {
        self.read_from_disk(|store, reader| store.quarantine(file_ref, parsed, reader))
    }

    /// Calls `read` with a reader that tells the observer of this run.
    fn read_from_disk<T>(&mut self, read: impl FnOnce(&Store, &mut Reader<'_>) -> T) -> T {
        let watcher = &mut *self.watcher;
        let mut on_read = |bytes| watcher.on_read(bytes);
        let (from, block) = (ReadFrom::Disk, &mut self.block);
        read(self.store, &mut Reader { from, read: &mut on_read, block })
    }

    fn is_beyond_clock(&mut self, object: &Object) -> bool {
        let is_beyond = |reserved: u64| object.version().0 > reserved;
        if is_beyond(self.reserved) {
            // It may have been put since.
            self.reserved = self.store.reserved();
        }
        is_beyond(self.reserved)
    }

    /// Counts an intact version.
    fn count(&mut self, file_ref: &FileRef, object: &Object) {
        let count = match file_ref.area() {
            Area::Objects => &mut self.report.current,
            Area::History => &mut self.report.history,
            Area::Trash => &mut self.report.trash,
        };
        *count += 1;
        self.report.bytes += object.info().length;
    }

    fn on_damage(&mut self, damage: Damage) {
        self.watcher.on_damage(&damage);
        self.report.damaged.push(damage);
    }
}
