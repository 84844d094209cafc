//! A scrub: every byte of every file, or of a share of them, against its record.

use std::{
    ops::ControlFlow,
    str::FromStr,
    time::{Duration, Instant},
};

use super::{
    Damage, Watcher,
    quarantine::Aside,
    state::{self, LastScrub, State, Tally},
    verify::{Reader, Verified},
    walk::Spot,
};
use crate::store::{
    Store,
    error::{Rot, StoreError},
    layout::Shard,
};

/// How often it is written down how far a scrub has come.
const KEPT_EVERY: Duration = Duration::from_secs(10);

/// Shards of a store.
const SHARDS: u32 = 256;

/// From where files are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReadFrom {
    /// As everybody reads them: what is in memory is taken for what is on the disk.
    #[default]
    PageCache,
    /// From the disk: what is in memory is synced and dropped first.
    Disk,
}

/// How much of a store one run looks at: one `n`th.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share(u32);

impl Share {
    /// All of it.
    pub const ALL: Self = Self(1);

    fn shards(self) -> usize {
        SHARDS.div_ceil(self.0) as usize
    }
}

impl FromStr for Share {
    type Err = &'static str;

    /// Reads `1/30`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix("1/").and_then(|n| n.parse().ok()) {
            Some(n) if (1..=SHARDS).contains(&n) => Ok(Self(n)),
            _ => Err("write a share such as 1/30, of at least 1/256"),
        }
    }
}

/// How to scrub.
#[derive(Clone, Copy, Debug)]
pub struct ScrubOptions {
    /// How much.
    pub share: Share,
    /// From where.
    pub from: ReadFrom,
}

/// What a run came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScrubReport {
    /// Files that were looked at.
    pub files: u64,
    /// Bytes of payload that were read of those that are whole.
    pub bytes: u64,
    /// What was found, in the order it was.
    pub damaged: Vec<Damage>,
    /// The pass that ended with this run, if one did.
    pub pass: Option<LastScrub>,
    /// Whether the watcher stopped it.
    pub stopped: bool,
    /// Whether nothing could be written down or set aside, because the store is read-only: the next run begins where this one
    /// did.
    pub read_only: bool,
}

impl Store {
    /// Holds every file, or the next share of them, against its record. What is rotten is set aside; nothing is repaired. A run begins
    /// where the last one ended or was stopped, and stops at the end of a pass over the store.
    ///
    /// # Errors
    /// When the store's directories cannot be read, or what was found cannot be set aside or written down. A file that cannot be
    /// read is damage, and no error.
    pub fn scrub(
        &self,
        options: ScrubOptions,
        watcher: &mut dyn Watcher,
    ) -> Result<ScrubReport, StoreError> {
        let state = self.scrub_state()?;
        let mut run = Run {
            store: self,
            from: options.from,
            watcher,
            block: Vec::new(),
            state,
            kept: Instant::now(),
            report: ScrubReport { read_only: self.is_read_only(), ..ScrubReport::default() },
        };
        let first = run.state.after.as_ref().map_or(0, |spot| spot.shard().0);
        for shard in Shard::all().skip(first.into()).take(options.share.shards()) {
            if run.shard(shard)?.is_break() {
                run.report.stopped = true;
                self.keep_scrub_state(&run.state)?;
                return Ok(run.report);
            }
        }
        run.end(usize::from(first) + options.share.shards())
    }
}

struct Run<'a> {
    store: &'a Store,
    from: ReadFrom,
    watcher: &'a mut dyn Watcher,
    block: Vec<u8>,
    state: State,
    kept: Instant,
    report: ScrubReport,
}

impl Run<'_> {
    fn shard(&mut self, shard: Shard) -> Result<ControlFlow<()>, StoreError> {
        let spots = match self.store.spots(shard, self.state.after.as_ref()) {
            Err(error) if error.is_of_one_file() => {
                self.count(0, 1);
                self.found(Damage::of_shard(shard, &error));
                return Ok(ControlFlow::Continue(()));
            }
            spots => spots?,
        };
        for spot in spots {
            if self.file(&spot)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
            self.state.after = Some(spot);
            if self.kept.elapsed() >= KEPT_EVERY {
                self.store.keep_scrub_state(&self.state)?;
                self.kept = Instant::now();
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn file(&mut self, spot: &Spot) -> Result<ControlFlow<()>, StoreError> {
        let Some(named) = spot.named() else {
            // Whoever put it there may want it; a check tells of it.
            return Ok(ControlFlow::Continue(()));
        };
        let watcher = &mut *self.watcher;
        let mut read = |bytes| watcher.read(bytes);
        let mut reader = Reader { from: self.from, read: &mut read, block: &mut self.block };
        let (what, key) = match self.store.verify(spot, named, &mut reader) {
            Ok(Verified::Stopped) => return Ok(ControlFlow::Break(())),
            Ok(Verified::Gone) => return Ok(ControlFlow::Continue(())),
            Ok(Verified::Whole(object)) => {
                let is_twin = self.store.has_twin(spot, named, &object)?;
                self.count(object.info().length, u64::from(is_twin));
                if is_twin {
                    // Nobody knows which of the two is meant, so both stay.
                    self.found(Damage {
                        file: spot.path(),
                        key: Some(object.key().to_string()),
                        what: Rot::Twins.to_string(),
                        quarantined: None,
                    });
                }
                return Ok(ControlFlow::Continue(()));
            }
            Ok(Verified::Rotten(rot, object)) => {
                (Ok(rot), object.map(|object| object.key().to_string()))
            }
            Err(error) => (Err(error), None),
        };
        let quarantined = match what {
            // Somebody may have replaced it meanwhile, or a second look finds it whole.
            Ok(_) => match self.store.set_aside(spot, named)? {
                Aside::Moved(path) => Some(path),
                Aside::Stays => None,
                Aside::Unfounded => return Ok(ControlFlow::Continue(())),
            },
            // A cable may be loose: what cannot be read stays where it is.
            Err(_) => None,
        };
        let what = what.map_or_else(|error| error.to_string(), |rot| rot.to_string());
        self.count(0, 1);
        self.found(Damage { file: spot.path(), key, what, quarantined });
        Ok(ControlFlow::Continue(()))
    }

    fn found(&mut self, damage: Damage) {
        self.watcher.found(&damage);
        self.report.damaged.push(damage);
    }

    fn count(&mut self, bytes: u64, damaged: u64) {
        self.report.files += 1;
        self.report.bytes += bytes;
        let Tally { files, bytes: read, damaged: rotten } = &mut self.state.so_far;
        *files += 1;
        *read += bytes;
        *rotten += damaged;
    }

    /// The run did what it had to do, up to the shard `next`.
    fn end(mut self, next: usize) -> Result<ScrubReport, StoreError> {
        if next >= SHARDS as usize {
            let Tally { files, bytes, damaged } = self.state.so_far;
            let finished = state::seconds(self.store);
            let pass = LastScrub { finished, files, bytes, damaged };
            self.report.pass = Some(pass);
            self.state = State { after: None, so_far: Tally::default(), last: Some(pass) };
        } else {
            // Not behind the last file of the share, which may lie shards before its end.
            self.state.after = Some(Spot::before(Shard(next as u8)));
        }
        self.store.keep_scrub_state(&self.state)?;
        Ok(self.report)
    }
}
