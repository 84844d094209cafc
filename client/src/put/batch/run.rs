//! Runs a batch: starts the workers, waits for their results, and puts what they leave.

use std::{
    cell::Cell,
    collections::BTreeMap,
    mem,
    sync::atomic::{AtomicU64, Ordering},
    thread::{self, Scope},
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, Sender, unbounded};
use zput_os::threads;
use zput_proto::keys::Remote;
use zput_seal::keys::Role;

use super::{
    super::{
        context::PutContext,
        options::{PutOptions, PutReceipt, Resume},
    },
    files::{JOBS_MAX, NamedFile, length, select_small},
    worker::{DeferredFile, Interrupted, Outcome, Queue, Worker, WorkerEvent},
};
use crate::{
    connection::Connection,
    error::Error,
    io::{
        progress::{Progress, Silent},
        source::FileSource,
    },
    retry::RetryState,
    session::Session,
};

/// Workers for an embedded store, which has only a few threads for all of its connections.
const EMBEDDED_JOBS: usize = 3;
/// One worker is started for this many files: a handshake costs as much as a few puts.
const FILES_PER_WORKER: usize = 4;

/// The result of one file of a batch.
#[derive(Debug)]
#[non_exhaustive]
pub struct BatchItem<'a> {
    /// The file that was put, or was not.
    pub file: &'a NamedFile,
    /// The version that the file became, or why it was not put.
    pub result: Result<PutReceipt, Error>,
}

impl Session {
    /// Puts `files`, up to `jobs` small ones (256 KiB at most) concurrently ([`JOBS_MAX`] at most,
    /// three for an embedded store); with 1, one after the other. `done` is called with the
    /// result of each file, in the order of `files`, whatever the results of the others.
    /// `progress` covers all of them.
    ///
    /// If a name occurs twice, the later file is put after the earlier one. Each file has its own
    /// retries. Once one has used them up, the others get a single try each until one of them is
    /// stored.
    pub fn put_batch(
        &mut self,
        files: &[NamedFile],
        options: &PutOptions,
        jobs: usize,
        progress: &dyn Progress,
        mut done: impl FnMut(BatchItem<'_>),
    ) {
        let lengths: Vec<Option<u64>> = files.iter().map(length).collect();
        progress.begin(lengths.iter().copied().sum());
        let max_workers = match self.remote() {
            Remote::Embedded(_) => EMBEDDED_JOBS,
            Remote::Tcp { .. } | Remote::Unix(_) => JOBS_MAX,
        };
        let is_batch = jobs > 1 && self.can_batch(options);
        let small = if is_batch { select_small(files, &lengths) } else { Vec::new() };
        let queue = Queue::new(files, small, options, self);
        thread::scope(|scope| {
            let mut workers = Workers::new(scope, &queue, jobs.min(max_workers));
            workers.spawn_workers(self);
            let mut idle_since = Instant::now();
            for (index, file) in files.iter().enumerate() {
                let put = match workers.outcome(index) {
                    Outcome::Done(put) => {
                        let put = put
                            .map_err(|error| error.with_local_time(self.rollback_guard().now_ns()));
                        progress.advance(put.as_ref().map_or(0, |receipt| receipt.length));
                        put
                    }
                    Outcome::Deferred(mut deferred) => {
                        deferred.in_doubt =
                            deferred.in_doubt.map(|in_doubt| workers.wait_once(in_doubt));
                        self.close_if_idle(idle_since.elapsed());
                        let put = self.put_deferred(file, options, *deferred, progress);
                        idle_since = Instant::now();
                        if put.is_ok() {
                            workers.spawn_workers(self);
                        }
                        put
                    }
                };
                progress.files(index + 1, files.len());
                done(BatchItem { file, result: put });
            }
        });
        progress.end();
    }

    /// Closes the connection if it was idle for more than half of the server's idle limit: the
    /// server may be about to close it.
    fn close_if_idle(&mut self, idle: Duration) {
        self.close_if_stale(|connection| idle > connection.idle_limit() / 2);
    }

    /// Whether workers can put these files: they only put sealed blobs from their start.
    fn can_batch(&self, options: &PutOptions) -> bool {
        let starts_over = options.resume != Resume::Insist;
        !options.unsealed && starts_over && self.key_file().role() != Role::Get
    }

    /// Puts a file that no worker has finished.
    fn put_deferred(
        &mut self,
        NamedFile { name, path }: &NamedFile,
        options: &PutOptions,
        DeferredFile { in_doubt, source }: DeferredFile,
        progress: &dyn Progress,
    ) -> Result<PutReceipt, Error> {
        if let Some(Interrupted { commit, error }) = in_doubt {
            let key = self.key_file().object_key(name);
            let server_generation = Cell::new(0);
            let context = PutContext { name, key, options, progress: &Silent, server_generation };
            let error = error.map(Error::from);
            let resolved = self.resolve(&context, &commit, &mut RetryState::default(), error)?;
            if let Some(committed) = resolved {
                progress.advance(committed.length);
                return self.record_commit(&context, &committed);
            }
        }
        let source = match source {
            Some(source) => source,
            None => FileSource::open(path)?,
        };
        let source = source.allow_empty(options.allow_empty);
        self.put(name, source, options, &FileProgress::new(progress))
    }
}

/// The running workers, and the results that they have sent.
struct Workers<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    queue: &'env Queue<'env>,
    /// The highest number of workers.
    max_workers: usize,
    /// The number of running workers.
    running: usize,
    sender: Sender<WorkerEvent>,
    events: Receiver<WorkerEvent>,
    /// Results of files whose turn to be reported has not come.
    outcomes: BTreeMap<usize, Outcome>,
    /// Whether a put has already waited because the connections of these workers broke.
    has_waited: bool,
}

impl<'scope, 'env> Workers<'scope, 'env> {
    fn new(
        scope: &'scope Scope<'scope, 'env>,
        queue: &'env Queue<'env>,
        max_workers: usize,
    ) -> Self {
        let (sender, events) = unbounded();
        let outcomes = BTreeMap::new();
        Self { scope, queue, max_workers, running: 0, sender, events, outcomes, has_waited: false }
    }

    /// Starts workers until there are enough for the queue. If the server refuses a connection,
    /// fewer start; without any worker the ordinary put reports why.
    fn spawn_workers(&mut self, client: &mut Session) {
        if self.running == 0 {
            self.has_waited = false;
        }
        let wanted = self.queue.remaining().div_ceil(FILES_PER_WORKER).min(self.max_workers);
        for _ in self.running..wanted {
            // The first workers may have emptied the queue already.
            if self.queue.remaining() == 0 {
                break;
            }
            let Ok(connection) = client.connect() else { break };
            if !self.open(connection) {
                break;
            }
        }
    }

    fn open(&mut self, connection: Connection) -> bool {
        let worker = Worker::new(self.queue, connection, self.sender.clone());
        let spawned = threads::spawn_scoped(self.scope, "batch", move || worker.run());
        // A worker whose thread could not start still sends [`WorkerEvent::Exited`], because its
        // sender is dropped.
        self.running += 1;
        spawned.is_ok()
    }

    /// Waits for the result of a file. A file that no worker takes is deferred, which is known once
    /// all workers have exited.
    fn outcome(&mut self, index: usize) -> Outcome {
        while self.running > 0 && !self.outcomes.contains_key(&index) {
            match self.events.recv() {
                Ok(WorkerEvent::FileDone(index, outcome)) => {
                    drop(self.outcomes.insert(index, outcome))
                }
                // A worker sends this after all of its results.
                Ok(WorkerEvent::Exited) | Err(_) => self.running -= 1,
            }
        }
        self.outcomes.remove(&index).unwrap_or_else(|| {
            self.queue.skip(index);
            Outcome::Deferred(Box::default())
        })
    }

    /// Lets only the first of the commits that broke with the same connections wait before the
    /// server is asked. Without retries each keeps its error, so that it fails.
    fn wait_once(&mut self, in_doubt: Interrupted) -> Interrupted {
        let has_waited = mem::replace(&mut self.has_waited, true);
        let error = in_doubt.error.filter(|_| !has_waited || !self.queue.may_retry());
        Interrupted { error, ..in_doubt }
    }
}

/// The share of one file in the progress of the batch. Bytes that are sent again are not counted
/// twice.
struct FileProgress<'a> {
    batch: &'a dyn Progress,
    /// Bytes of the current attempt.
    at: AtomicU64,
    /// Bytes of the attempt that came furthest.
    counted: AtomicU64,
}

impl<'a> FileProgress<'a> {
    const fn new(batch: &'a dyn Progress) -> Self {
        Self { batch, at: AtomicU64::new(0), counted: AtomicU64::new(0) }
    }

    /// The part of `bytes` that no earlier attempt has reached.
    fn new_bytes(&self, bytes: u64) -> u64 {
        let at = self.at.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let counted = self.counted.fetch_max(at, Ordering::Relaxed);
        at.saturating_sub(counted)
    }
}

impl Progress for FileProgress<'_> {
    fn begin(&self, _total: Option<u64>) {
        self.at.store(0, Ordering::Relaxed);
    }

    fn held(&self, bytes: u64) {
        self.batch.held(self.new_bytes(bytes));
    }

    fn advance(&self, bytes: u64) {
        self.batch.advance(self.new_bytes(bytes));
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

    /// Bytes that a second attempt sends again do not advance the progress again.
    #[test]
    fn file_progress_counts_resent_bytes_once() {
        let sum = Sum::default();
        let progress = FileProgress::new(&sum);
        for attempt in [&[10, 20][..], &[10], &[10, 20, 30]] {
            progress.begin(Some(60));
            attempt.iter().for_each(|bytes| progress.advance(*bytes));
            progress.end();
        }
        assert_eq!(sum.0.load(Ordering::Relaxed), 60);
    }
}
