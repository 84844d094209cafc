//! What a failed sync leaves behind: `suspect.toml`, and a store that takes no writes (STORE, "Suspicion").
//!
//! When write-back fails the kernel drops the pages and calls them clean: whoever reads them before they are evicted
//! is told what the disk does not hold, and a second sync says that all is well. So nothing is put on top of such a volume
//! until somebody has read it from the disk.

use std::{
    io::{self, ErrorKind},
    os::{fd::OwnedFd, unix::fs::FileExt},
    sync::atomic::Ordering::Relaxed,
    time::SystemTime,
};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{
    FORMAT, Store,
    accounts::date,
    error::{Doing, StoreError},
    inspect::Sound,
    layout::{LOCKS, SUSPECT_FILE, TEMPORARY_PREFIX, VERIFYING_FILE},
    small_file,
    staging::Staged,
    sync::Syncs,
};
use crate::sys::fs;

const COMMENT: &str = "\
# A sync of this store failed, so the disk may not hold what was written. Nothing is written until
# \"zserve check --clear-suspect\" has read all of it from the disk.
";

/// What is known of the sync that failed first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suspicion {
    /// When, to the second; absent where it could not be written down, or cannot be read.
    pub since: Option<SystemTime>,
    /// What was being done.
    pub doing: String,
}

#[derive(Serialize, Deserialize)]
struct SuspectFile {
    format: u64,
    since: String,
    doing: String,
}

impl Store {
    /// Why this store takes no writes; absent when it takes them.
    ///
    /// # Errors
    /// When that cannot be found out.
    pub fn suspicion(&self) -> Result<Option<Suspicion>, StoreError> {
        // In the order in which the name changes when somebody begins to verify.
        let newer = mark(self, SUSPECT_FILE)?;
        let first = mark(self, VERIFYING_FILE)?;
        let Some(text) = first.or(newer) else {
            let unmarked = || Suspicion { since: None, doing: "sync something".to_owned() };
            return Ok((self.syncs().unmarked.load(Relaxed) > 0).then(unmarked));
        };
        // Whatever is in it, its name says enough.
        let read: Option<SuspectFile> = toml::from_str(&text).ok();
        let since = read.as_ref().and_then(|file| humantime::parse_rfc3339(&file.since).ok());
        let doing =
            read.map_or_else(|| "do what its file does not say".to_owned(), |file| file.doing);
        Ok(Some(Suspicion { since, doing }))
    }

    /// Whether the store takes no writes.
    pub(crate) fn is_suspect(&self) -> Result<bool, StoreError> {
        self.syncs().is_suspect()
    }

    /// Fails with [`StoreError::Suspect`] while the store takes no writes.
    pub(super) fn check_trusted(&self) -> Result<(), StoreError> {
        self.syncs().check_trusted()
    }

    /// Begins to look into the suspicion; none when there is nothing to look into. The store stays suspect.
    pub(super) fn inquire(&self) -> Result<Option<Inquiry<'_>>, StoreError> {
        if let Some(why) = self.syncs().why_read_only() {
            return Err(StoreError::ReadOnly(why));
        }
        let alone = fs::open_dir(self.root(), LOCKS).doing_to("open a directory", LOCKS)?;
        if !fs::try_lock(&alone).doing("lock a directory")? {
            return Err(StoreError::Verifying);
        }
        let unmarked = self.syncs().unmarked.load(Relaxed);
        if !self.is_suspect()? {
            return Ok(None);
        }
        // The other name may be there already, from somebody who did not come to an end.
        match fs::link(self.root(), SUSPECT_FILE, self.root(), VERIFYING_FILE) {
            Err(error)
                if matches!(error.kind(), ErrorKind::AlreadyExists | ErrorKind::NotFound) => {}
            linked => linked.doing_to("name a file", VERIFYING_FILE)?,
        }
        // At every moment one of the two is durable.
        self.syncs().dir(self.root())?;
        unlink(self, SUSPECT_FILE)?;
        Ok(Some(Inquiry { store: self, unmarked, _alone: alone }))
    }
}

/// A suspicion that somebody looks into, under a name of its own: a sync that fails meanwhile, in whatever process, makes
/// a [`SUSPECT_FILE`] anew, which nobody takes away who has not begun after it.
#[derive(Debug)]
pub(super) struct Inquiry<'a> {
    store: &'a Store,
    /// What this process knows and could not write down.
    unmarked: u64,
    _alone: OwnedFd,
}

impl Inquiry<'_> {
    /// Takes the suspicion back, of a store that is sound. Whether it takes writes now: not if a sync failed meanwhile.
    ///
    /// # Errors
    /// When that cannot be made durable, which makes the store suspect again.
    pub(super) fn dismiss(self, _sound: Sound) -> Result<bool, StoreError> {
        unlink(self.store, VERIFYING_FILE)?;
        // Another number is that of a failure meanwhile, and stays.
        let _ = self.store.syncs().unmarked.compare_exchange(self.unmarked, 0, Relaxed, Relaxed);
        self.store.syncs().dir(self.store.root())?;
        Ok(!self.store.is_suspect()?)
    }
}

/// The text of a mark, if it is there; nothing of one that cannot be read: that it is there says enough.
fn mark(store: &Store, name: &str) -> Result<Option<Zeroizing<String>>, StoreError> {
    match small_file::read(store.root(), name, name) {
        Err(error) if error.is_of_one_file() => Ok(Some(Zeroizing::default())),
        read => read,
    }
}

/// Takes a name away, if it is there.
fn unlink(store: &Store, name: &str) -> Result<(), StoreError> {
    match fs::unlink(store.root(), name) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed.doing_to("clear a suspicion", name),
    }
}

impl Syncs {
    /// Fails with [`StoreError::Suspect`] while the store takes no writes. It is looked for each time: another process may have
    /// found out, or may have cleared it. With [`StoreError::ReadOnly`] where nothing can be written at all, and with
    /// [`StoreError::Displaced`] where it would be written to where nobody finds it.
    pub(super) fn check_trusted(&self) -> Result<(), StoreError> {
        if let Some(why) = self.why_read_only() {
            return Err(StoreError::ReadOnly(why));
        }
        self.check_root()?;
        if self.is_suspect()? { Err(StoreError::Suspect) } else { Ok(()) }
    }

    fn is_suspect(&self) -> Result<bool, StoreError> {
        if self.unmarked.load(Relaxed) > 0 {
            return Ok(true);
        }
        // In the order in which the name changes when somebody begins to verify.
        for name in [SUSPECT_FILE, VERIFYING_FILE] {
            match fs::identity_at(self.root(), name) {
                Ok(_) => return Ok(true),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error).doing_to("look for a suspicion", name),
            }
        }
        Ok(false)
    }

    /// A sync has failed: the store takes no more writes, after a restart neither.
    pub(super) fn suspect(&self, doing: &'static str, why: &io::Error) {
        tracing::error!(
            doing,
            %why,
            "a sync failed: the store takes no writes until \"zserve check --clear-suspect\" has read it from the disk"
        );
        if let Err(failure) = self.mark(doing) {
            self.unmarked.fetch_add(1, Relaxed);
            tracing::error!(%failure, "that the store is suspect is known to this process alone");
        }
    }

    /// Writes it down, as durably as such a disk can. The first one stays.
    fn mark(&self, doing: &'static str) -> Result<(), StoreError> {
        let since = date(self.clock().now_ns());
        let file = SuspectFile { format: FORMAT, since, doing: doing.to_owned() };
        let text = toml::to_string(&file).map_err(|_| StoreError::Damaged(SUSPECT_FILE))?;
        let staged = Staged::create(&self.root(), ".", TEMPORARY_PREFIX)?;
        let text = format!("{COMMENT}{text}");
        staged.file().write_all_at(text.as_bytes(), 0).doing("write a file")?;
        let synced = fs::sync_data(staged.file());
        match fs::link(self.root(), staged.name(), self.root(), SUSPECT_FILE) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            linked => linked.doing_to("name a file", SUSPECT_FILE)?,
        }
        // The name alone is enough for this machine until it goes down.
        if let Err(failure) = synced.and_then(|()| fs::sync_dir(self.root())) {
            tracing::error!(%failure, "that the store is suspect may not outlive a power cut");
        }
        Ok(())
    }
}
