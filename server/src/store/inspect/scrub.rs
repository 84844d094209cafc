//! A scrub: every byte of every file, or of a fraction of the files, against its record.

use std::{
    ops::ControlFlow,
    str::FromStr,
    time::{Duration, Instant},
};

use super::{
    Damage, Observer,
    file_ref::FileRef,
    quarantine::Quarantined,
    state::{self, LastScrub, PassCounts, State},
    verify::{Reader, Verified},
};
use crate::store::{
    Store,
    error::{Corruption, StoreError},
    fsync::ReadFrom,
    layout::Shard,
};

/// How often a scrub saves its position.
const SAVE_EVERY: Duration = Duration::from_secs(10);

/// Number of shards in a store.
const SHARDS: u32 = 256;

/// The fraction of a store that one run covers: one `n`th, with `n` from 1 to 256.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fraction(u32);

impl Fraction {
    /// The whole store.
    pub const ALL: Self = Self(1);

    fn shards(self) -> usize {
        SHARDS.div_ceil(self.0) as usize
    }
}

impl FromStr for Fraction {
    type Err = &'static str;

    /// Parses a fraction such as `1/30`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix("1/").and_then(|n| n.parse().ok()) {
            Some(n) if (1..=SHARDS).contains(&n) => Ok(Self(n)),
            _ => Err("write a fraction such as 1/30, of at least 1/256"),
        }
    }
}

/// Options of a scrub.
#[derive(Clone, Copy, Debug)]
pub struct ScrubOptions {
    /// How much of the store to read.
    pub fraction: Fraction,
    /// Where to read it from.
    pub from: ReadFrom,
}

/// The result of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScrubReport {
    /// Number of files that were read.
    pub files: u64,
    /// Bytes of payload of the intact ones.
    pub bytes: u64,
    /// The damage that was found, in the order of discovery.
    pub damaged: Vec<Damage>,
    /// The pass over the whole store that ended with this run, if one did.
    pub pass: Option<LastScrub>,
    /// Whether the observer stopped the run.
    pub stopped: bool,
    /// Whether the store is read-only. Nothing was quarantined then and the position was not saved:
    /// the next run begins where this one did.
    pub read_only: bool,
}

impl Store {
    /// Verifies every file, or the next fraction of them, against its record. Corrupt files are
    /// quarantined; nothing is repaired. A run begins where the last one ended or was stopped, and
    /// ends at the latest at the end of a pass over the store.
    ///
    /// # Errors
    /// When the store's directories cannot be read, or a file cannot be quarantined, or the
    /// position cannot be saved. A file that cannot be read is damage and not an error.
    pub fn scrub(
        &self,
        options: ScrubOptions,
        watcher: &mut dyn Observer,
    ) -> Result<ScrubReport, StoreError> {
        let state = self.scrub_state()?;
        let mut run = Run {
            store: self,
            from: options.from,
            watcher,
            block: Vec::new(),
            state,
            saved_at: Instant::now(),
            report: ScrubReport { read_only: self.is_read_only(), ..ScrubReport::default() },
        };
        let first = run.state.after.as_ref().map_or(0, |file_ref| file_ref.shard().0);
        for shard in Shard::all().skip(first.into()).take(options.fraction.shards()) {
            if run.shard(shard)?.is_break() {
                run.report.stopped = true;
                self.save_scrub_state(&run.state)?;
                return Ok(run.report);
            }
        }
        run.end(usize::from(first) + options.fraction.shards())
    }
}

struct Run<'a> {
    store: &'a Store,
    from: ReadFrom,
    watcher: &'a mut dyn Observer,
    block: Vec<u8>,
    state: State,
    saved_at: Instant,
    report: ScrubReport,
}

impl Run<'_> {
    fn shard(&mut self, shard: Shard) -> Result<ControlFlow<()>, StoreError> {
        let files = match self.store.files(shard, self.state.after.as_ref()) {
            Err(error) if error.is_unreadable_file() => {
                self.count(0, 1);
                self.on_damage(Damage::of_shard(shard, &error));
                return Ok(ControlFlow::Continue(()));
            }
            // What moved at each look is found by the next pass.
            files => files?.0,
        };
        for file_ref in files {
            if self.file(&file_ref)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
            self.state.after = Some(file_ref);
            if self.saved_at.elapsed() >= SAVE_EVERY {
                self.store.save_scrub_state(&self.state)?;
                self.saved_at = Instant::now();
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn file(&mut self, file_ref: &FileRef) -> Result<ControlFlow<()>, StoreError> {
        let Some(parsed) = file_ref.parse_name() else {
            // The operator may have put this file there; a check reports it.
            return Ok(ControlFlow::Continue(()));
        };
        let watcher = &mut *self.watcher;
        let mut read = |bytes| watcher.on_read(bytes);
        let mut reader = Reader { from: self.from, read: &mut read, block: &mut self.block };
        let (what, key) = match self.store.verify(file_ref, parsed, &mut reader) {
            Ok(Verified::Stopped) => return Ok(ControlFlow::Break(())),
            Ok(Verified::Missing) => return Ok(ControlFlow::Continue(())),
            Ok(Verified::Intact(object)) => {
                let is_duplicate = self.store.has_duplicate(file_ref, parsed, &object)?;
                self.count(object.info().length, u64::from(is_duplicate));
                if is_duplicate {
                    // Which of the two files is the right one cannot be told, so both stay.
                    self.on_damage(Damage {
                        file: file_ref.path(),
                        key: Some(object.key().to_string()),
                        what: Corruption::DuplicateVersion.to_string(),
                        quarantined: None,
                    });
                }
                return Ok(ControlFlow::Continue(()));
            }
            Ok(Verified::Corrupt(rot, object)) => {
                (Ok(rot), object.map(|object| object.key().to_string()))
            }
            Err(error) => (Err(error), None),
        };
        let quarantined = match what {
            // A writer may have replaced the file meanwhile, or the second look may find it intact.
            Ok(_) => match self.store.quarantine(file_ref, parsed, &mut reader)? {
                Quarantined::Stopped => return Ok(ControlFlow::Break(())),
                Quarantined::Moved(path) => Some(path),
                Quarantined::LeftInPlace => None,
                Quarantined::NotCorrupt => return Ok(ControlFlow::Continue(())),
            },
            // The cause may be a loose cable: a file that cannot be read stays in place.
            Err(_) => None,
        };
        let what = what.map_or_else(|error| error.to_string(), |rot| rot.to_string());
        self.count(0, 1);
        self.on_damage(Damage { file: file_ref.path(), key, what, quarantined });
        Ok(ControlFlow::Continue(()))
    }

    fn on_damage(&mut self, damage: Damage) {
        self.watcher.on_damage(&damage);
        self.report.damaged.push(damage);
    }

    fn count(&mut self, bytes: u64, damaged: u64) {
        self.report.files += 1;
        self.report.bytes += bytes;
        let PassCounts { files, bytes: read, damaged: corrupt } = &mut self.state.so_far;
        *files += 1;
        *read += bytes;
        *corrupt += damaged;
    }

    /// Ends a run that covered its fraction. `next` is the first shard that it did not cover.
    fn end(mut self, next: usize) -> Result<ScrubReport, StoreError> {
        if next >= SHARDS as usize {
            let PassCounts { files, bytes, damaged } = self.state.so_far;
            let finished = state::now_seconds(self.store);
            let pass = LastScrub { finished, files, bytes, damaged };
            self.report.pass = Some(pass);
            self.state = State { after: None, so_far: PassCounts::default(), last: Some(pass) };
        } else {
            // The next run begins at this shard, not behind the last file of this run, which may
            // lie some shards before its end.
            self.state.after = Some(FileRef::before(Shard(next as u8)));
        }
        self.store.save_scrub_state(&self.state)?;
        Ok(self.report)
    }
}
