//! Many files: the small ones several at a time, on a few connections; behind them what is larger, one by one.
//!
//! A put of a small file is one flight (Begin, two slices, Commit), and then it waits: for the line, and for the server's
//! disk. A server does the puts of one connection one after the other, and can share its syncs among connections; so
//! there are several lanes, each with a connection and one put on its way.
//!
//! ```text
//! small files ──one by one──▶ lane: read, seal, send, note ──▶ server
//!                             lane: read, seal, send, note ──▶
//!                              ⋮    ──outcomes──▶ this thread ──in order──▶ whoever asked
//! ```
//!
//! This thread goes through the files in their order. It waits for what the lanes have, and puts the ordinary way what
//! they cannot see to: what is not small, what has a journal, and what was on its way when a connection ended. Of that
//! it asks first what became of it. What is large waits until the lanes are done, and then has the line, the cores and
//! the memory to itself, whatever the number of files.

use std::{
    cell::Cell,
    collections::{BTreeMap, HashSet},
    fs, mem,
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
    thread::{self, Scope},
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, Sender, unbounded};
use zput_common::{
    keys::{Remote, Role},
    name::BlobName,
};
use zput_server::threads;

use super::{
    PutOptions, PutReceipt, Resume, Target,
    lane::{Lane, Leftover, Lost, Outcome, Told, Work},
};
use crate::{
    client::Client,
    connection::Connection,
    error::ClientError,
    progress::{Progress, Silent},
    retry::Tries,
    source::FileSource,
};

/// How many small files are put at a time unless told otherwise: connections, and threads that seal.
pub const JOBS: usize = 8;
/// The most.
pub const JOBS_MAX: usize = 64;
/// Files of at most so many bytes are put beside others.
pub const SMALL_BYTES: u64 = 256 * 1024;

/// So many to a store in this process, which has a few threads for all of them.
const EMBEDDED_JOBS: usize = 3;
/// A lane is opened for so many files: a handshake costs as much as a few of them.
const FILES_PER_LANE: usize = 4;

/// A file, and the name that it is put under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedFile {
    /// What it is called.
    pub name: BlobName,
    /// Where it is.
    pub path: PathBuf,
}

impl Client {
    /// Puts `files`, up to `jobs` small ones ([`SMALL_BYTES`]) at a time ([`JOBS_MAX`] at most, three into an embedded
    /// store); with 1, one after the other. `done` hears how each ended, by its number, in the order of `files`, whatever
    /// the others came to. `progress` is of all of them.
    ///
    /// Where a name comes twice, the later file is put after the earlier one. Each file is tried again by itself. Once one
    /// has used up its retries, the others get a single try each, until one of them is stored.
    pub fn put_many(
        &mut self,
        files: &[NamedFile],
        options: &PutOptions,
        jobs: usize,
        progress: &dyn Progress,
        mut done: impl FnMut(usize, Result<PutReceipt, ClientError>),
    ) {
        let lengths: Vec<Option<u64>> = files.iter().map(length).collect();
        progress.begin(lengths.iter().copied().sum());
        let most = match self.remote() {
            Remote::Embedded(_) => EMBEDDED_JOBS,
            Remote::Tcp { .. } | Remote::Unix(_) => JOBS_MAX,
        };
        let may = jobs > 1 && self.can_use_lanes(options);
        let queue = if may { small(files, &lengths) } else { Vec::new() };
        let work = Work::new(files, queue, options, self);
        thread::scope(|scope| {
            let mut crew = Crew::new(scope, &work, jobs.min(most));
            crew.man(self);
            let mut rested = Instant::now();
            for (index, file) in files.iter().enumerate() {
                let put = match crew.outcome(index) {
                    Outcome::Done(put) => {
                        let put = put.map_err(|error| error.dated(self.record().now_ns()));
                        progress.advance(put.as_ref().map_or(0, |receipt| receipt.length));
                        put
                    }
                    Outcome::Left(mut left) => {
                        left.lost = left.lost.map(|lost| crew.once_waited(lost));
                        self.rested(rested.elapsed());
                        let put = self.put_alone(file, options, *left, progress);
                        rested = Instant::now();
                        if put.is_ok() {
                            crew.man(self);
                        }
                        put
                    }
                };
                progress.files(index + 1, files.len());
                done(index, put);
            }
        });
        progress.end();
    }

    /// The connection was not used for so long: one that the server may be about to close is not used again.
    fn rested(&mut self, rested: Duration) {
        self.retire(|connection| rested > connection.idle_limit() / 2);
    }

    /// Lanes put sealed blobs from their start.
    fn can_use_lanes(&self, options: &PutOptions) -> bool {
        let starts_over = options.resume != Resume::Insist;
        !options.unsealed && starts_over && self.key_file().role() != Role::Get
    }

    /// Puts a file that no lane has seen to.
    fn put_alone(
        &mut self,
        NamedFile { name, path }: &NamedFile,
        options: &PutOptions,
        Leftover { lost, source }: Leftover,
        progress: &dyn Progress,
    ) -> Result<PutReceipt, ClientError> {
        if let Some(Lost { commit, error }) = lost {
            let key = self.key_file().object_key(name);
            let there = Cell::new(0);
            let target = Target { name, key, options, progress: &Silent, there };
            let error = error.map(ClientError::from);
            let settled = self.settle(&target, &commit, &mut Tries::default(), error)?;
            if let Some(committed) = settled {
                progress.advance(committed.length);
                return self.stored(&target, &committed);
            }
        }
        let source = match source {
            Some(source) => source,
            None => FileSource::open(path)?,
        };
        let source = source.allow_empty(options.allow_empty);
        self.put(name, source, options, &Share::of(progress))
    }
}

/// Bytes of a regular file.
fn length(file: &NamedFile) -> Option<u64> {
    fs::metadata(&file.path).ok().filter(fs::Metadata::is_file).map(|metadata| metadata.len())
}

/// The numbers of the files that lanes take: small, and the first of their name. None where that is not several.
fn small(files: &[NamedFile], lengths: &[Option<u64>]) -> Vec<usize> {
    let mut names = HashSet::new();
    let mut small = Vec::new();
    for (index, (file, length)) in files.iter().zip(lengths).enumerate() {
        let is_first = names.insert(&file.name);
        if is_first && length.is_some_and(|length| length <= SMALL_BYTES) {
            small.push(index);
        }
    }
    if small.len() < 2 { Vec::new() } else { small }
}

/// The lanes, and what they have said.
struct Crew<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    work: &'env Work<'env>,
    /// Lanes that there may be.
    most: usize,
    /// Lanes that there are.
    working: usize,
    tell: Sender<Told>,
    told: Receiver<Told>,
    /// Whose turn has not come.
    early: BTreeMap<usize, Outcome>,
    /// Since there are these lanes, somebody has waited because of one that was cut off.
    has_waited: bool,
}

impl<'scope, 'env> Crew<'scope, 'env> {
    fn new(scope: &'scope Scope<'scope, 'env>, work: &'env Work<'env>, most: usize) -> Self {
        let (tell, told) = unbounded();
        let early = BTreeMap::new();
        Self { scope, work, most, working: 0, tell, told, early, has_waited: false }
    }

    /// Opens lanes until there are as many as there is work for. One that the server does not take is one less: where
    /// there is none at all, the ordinary way finds out why.
    fn man(&mut self, client: &mut Client) {
        if self.working == 0 {
            self.has_waited = false;
        }
        let wanted = self.work.waiting().div_ceil(FILES_PER_LANE).min(self.most);
        for _ in self.working..wanted {
            // The first ones work already.
            if self.work.waiting() == 0 {
                break;
            }
            let Ok(connection) = client.connect() else { break };
            if !self.open(connection) {
                break;
            }
        }
    }

    fn open(&mut self, connection: Connection) -> bool {
        let lane = Lane::new(self.work, connection, self.tell.clone());
        let spawned = threads::begin_scoped(self.scope, "lane", move || lane.run());
        // One that could not be started says that it is over, as the others do.
        self.working += 1;
        spawned.is_ok()
    }

    /// What became of a file in the lanes. Of one that they do not take nothing did; that is known once they are over.
    fn outcome(&mut self, index: usize) -> Outcome {
        while self.working > 0 && !self.early.contains_key(&index) {
            match self.told.recv() {
                Ok(Told::Ended(index, outcome)) => drop(self.early.insert(index, outcome)),
                // Behind all that it had to say.
                Ok(Told::Over) | Err(_) => self.working -= 1,
            }
        }
        self.early.remove(&index).unwrap_or_else(|| {
            self.work.skip(index);
            Outcome::Left(Box::default())
        })
    }

    /// Of what was lost together, only the first is a reason to wait; but each is one to give up.
    fn once_waited(&mut self, lost: Lost) -> Lost {
        let has_waited = mem::replace(&mut self.has_waited, true);
        let error = lost.error.filter(|_| !has_waited || !self.work.is_patient());
        Lost { error, ..lost }
    }
}

/// What one file adds to the progress of all: nothing twice, however often it is begun.
struct Share<'a> {
    whole: &'a dyn Progress,
    /// Bytes of the attempt.
    at: AtomicU64,
    /// Bytes of the one that came furthest.
    counted: AtomicU64,
}

impl<'a> Share<'a> {
    const fn of(whole: &'a dyn Progress) -> Self {
        Self { whole, at: AtomicU64::new(0), counted: AtomicU64::new(0) }
    }

    /// What of `bytes` more no attempt before has come to.
    fn news(&self, bytes: u64) -> u64 {
        let at = self.at.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let counted = self.counted.fetch_max(at, Ordering::Relaxed);
        at.saturating_sub(counted)
    }
}

impl Progress for Share<'_> {
    fn begin(&self, _total: Option<u64>) {
        self.at.store(0, Ordering::Relaxed);
    }

    fn held(&self, bytes: u64) {
        self.whole.held(self.news(bytes));
    }

    fn advance(&self, bytes: u64) {
        self.whole.advance(self.news(bytes));
    }

    fn end(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Sum(AtomicU64);

    impl Progress for Sum {
        fn begin(&self, _total: Option<u64>) {
            panic!("it is begun once, for all");
        }

        fn advance(&self, bytes: u64) {
            self.0.fetch_add(bytes, Ordering::Relaxed);
        }

        fn end(&self) {
            panic!("it ends once, for all");
        }
    }

    #[test]
    fn what_is_sent_again_counts_once() {
        let sum = Sum::default();
        let share = Share::of(&sum);
        for attempt in [&[10, 20][..], &[10], &[10, 20, 30]] {
            share.begin(Some(60));
            attempt.iter().for_each(|bytes| share.advance(*bytes));
            share.end();
        }
        assert_eq!(sum.0.load(Ordering::Relaxed), 60);
    }

    #[test]
    fn lanes_take_what_is_small_and_first_of_its_name() {
        let file =
            |name: &str| NamedFile { name: BlobName::parse(name).unwrap(), path: "/".into() };
        let files = ["a", "b", "c", "b", "d", "e"].map(file);
        let lengths = [Some(0), Some(262_144), Some(262_145), Some(1), None, Some(7)];
        assert_eq!(small(&files, &lengths), [0, 1, 5]);
        // A single one is put the ordinary way.
        assert_eq!(small(&files[..1], &lengths[..1]), [0; 0]);
        assert_eq!(small(&files[1..4], &lengths[1..4]), [0; 0]);
    }
}
