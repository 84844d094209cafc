//! A worker of a batch: one connection on which small files are read, sealed, sent and recorded.
//!
//! A worker has one put in flight. With more, a put that the server has not begun and one that it
//! will begin after others would be indistinguishable when the connection breaks. If the first of
//! them were put again, it could be committed after the second.
//!
//! A worker never retries; it reports unfinished files to the thread that started it.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_channel::Sender;
use zput_proto::{
    digest::Digest,
    message::{ClaimedSlice, HeaderSlice, Kind, RemoteError, Request, Response, Version},
    name::ObjectKey,
};
use zput_seal::{
    blob::{footer::Provenance, open::Seen},
    keys::{KeyFile, VaultMacKey, WriterKey},
};

use super::{
    super::{
        attempt::new_sealer,
        commit::InDoubtCommit,
        context::PutContext,
        options::{PutOptions, PutReceipt},
    },
    files::{NamedFile, SMALL_BYTES},
};
use crate::{
    connection::{Connection, ConnectionError},
    error::Error,
    io::{
        progress::Silent,
        source::{FileSource, Source as _},
    },
    limits::PART_BYTES,
    random,
    retry::is_retryable,
    session::{RollbackWarning, Session},
    state::{journal::Journals, rollback::RollbackGuard},
};

/// Requests of one put, and so answers to it: Begin, two slices, Commit.
const REQUESTS: usize = 4;

/// What the workers of a batch share.
pub(super) struct Queue<'a> {
    files: &'a [NamedFile],
    /// Indices into `files`, in order, of the files for workers.
    indices: Vec<usize>,
    /// Position in `indices` of the next file to take.
    next: AtomicUsize,
    options: &'a PutOptions,
    key_file: KeyFile,
    mac_key: VaultMacKey,
    writer: WriterKey,
    guard: RollbackGuard,
    warning: RollbackWarning,
    journals: Journals,
    may_retry: bool,
}

/// A message of a worker to the calling thread.
pub(super) enum WorkerEvent {
    /// The result of the file with this index.
    FileDone(usize, Outcome),
    /// The worker sends nothing more.
    Exited,
}

/// The result of a file.
pub(super) enum Outcome {
    Done(Result<PutReceipt, Error>),
    /// The calling thread has to put the file.
    Deferred(Box<DeferredFile>),
}

/// What a worker knows of a file that it did not finish.
#[derive(Default)]
pub(super) struct DeferredFile {
    /// Set if the file's commit is in doubt.
    pub(super) in_doubt: Option<Interrupted>,
    /// The opened file; opening a pipe twice would lose bytes.
    pub(super) source: Option<FileSource>,
}

/// A commit that was in flight when its connection broke.
pub(super) struct Interrupted {
    pub(super) commit: Box<InDoubtCommit>,
    /// How the connection ended; `None` if a put has already waited because of it.
    pub(super) error: Option<ConnectionError>,
}

/// A sealed file.
struct SealedFile {
    key: ObjectKey,
    /// The only part, and the footer.
    slices: [(Vec<u8>, Digest); 2],
    commit: Box<InDoubtCommit>,
}

impl<'a> Queue<'a> {
    /// A queue of the files at `indices`, to be put with the keys and settings of `client`.
    pub(super) fn new(
        files: &'a [NamedFile],
        indices: Vec<usize>,
        options: &'a PutOptions,
        client: &Session,
    ) -> Self {
        let key_file = client.key_file().clone();
        Self {
            files,
            indices,
            next: AtomicUsize::new(0),
            options,
            mac_key: key_file.vault_secret().mac_key(),
            writer: key_file.device_seed().writer_key(),
            key_file,
            guard: client.rollback_guard().clone(),
            warning: client.rollback_warning(),
            journals: client.journals().clone(),
            may_retry: client.retries() > 0,
        }
    }

    /// Number of files that no worker has taken.
    pub(super) fn remaining(&self) -> usize {
        self.indices.len().saturating_sub(self.next.load(Ordering::Relaxed))
    }

    /// Removes files up to `index` from the queue. Called only while no worker runs.
    pub(super) fn skip(&self, index: usize) {
        let behind = self.indices.partition_point(|queued| *queued <= index);
        self.next.fetch_max(behind, Ordering::Relaxed);
    }

    /// Whether failed puts may be retried.
    pub(super) fn may_retry(&self) -> bool {
        self.may_retry
    }

    fn take(&self) -> Option<(usize, &NamedFile)> {
        let place = self.next.fetch_add(1, Ordering::Relaxed);
        let index = *self.indices.get(place)?;
        Some((index, self.files.get(index)?))
    }

    /// Reads and seals a file. Returns the opened source if a worker cannot put it.
    fn seal(
        &self,
        NamedFile { name, path }: &NamedFile,
    ) -> Result<Result<SealedFile, FileSource>, Error> {
        let mut source = FileSource::open(path)?;
        if source.length().is_none_or(|length| length > SMALL_BYTES) {
            return Ok(Err(source));
        }
        let key = self.key_file.object_key(name);
        if self.journals.lock_existing(&key).is_ok_and(|journal| journal.is_some()) {
            return Ok(Err(source));
        }
        let mut plaintext = Vec::new();
        source.read_part(&mut plaintext, PART_BYTES)?;
        source.finish()?;
        let server_generation = Cell::new(0);
        let context = PutContext {
            name,
            key: key.clone(),
            options: self.options,
            progress: &Silent,
            server_generation,
        };
        let mut sealer = new_sealer(&self.key_file, &self.guard, &context, source.attributes())?;
        let (generation, header) = (sealer.generation(), HeaderSlice::of(sealer.header().to_vec()));
        let mut part = Vec::new();
        sealer.seal_part(&plaintext, &mut random::os_rng(), &mut part)?;
        let provenance = Provenance::Vault { mac_key: &self.mac_key, writer: &self.writer };
        let footer = sealer.finish(provenance, &mut random::os_rng())?;
        let seen = Seen { generation, transcript: footer.transcript };
        let slices = [part, footer.bytes].map(|bytes| {
            let digest = Digest::of(&bytes);
            (bytes, digest)
        });
        let claimed = |(bytes, digest): &(Vec<u8>, Digest)| {
            // A part of at most 256 KiB plus its authentication tags; the footer is shorter.
            ClaimedSlice { length: bytes.len() as u32, digest: *digest }
        };
        let claims = slices.iter().map(claimed).collect();
        let commit = InDoubtCommit { header, slices: claims, seen, length: footer.total_length };
        Ok(Ok(SealedFile { key, slices, commit: Box::new(commit) }))
    }
}

/// A worker and its connection.
pub(super) struct Worker<'a> {
    queue: &'a Queue<'a>,
    connection: Connection,
    results: ResultSender,
    /// The connection has ended.
    is_closed: bool,
}

/// Sends results, and [`WorkerEvent::Exited`] when it is dropped, also by a panic.
struct ResultSender(Sender<WorkerEvent>);

/// A version that the server has made durable and the rollback guard has not recorded.
struct StoredFile {
    index: usize,
    key: ObjectKey,
    version: Version,
    seen: Seen,
    length: u64,
}

impl<'a> Worker<'a> {
    pub(super) fn new(
        queue: &'a Queue<'a>,
        connection: Connection,
        sender: Sender<WorkerEvent>,
    ) -> Self {
        Self { queue, connection, results: ResultSender(sender), is_closed: false }
    }

    /// Puts files until the queue is empty or the connection ends.
    pub(super) fn run(mut self) {
        // Take no file before the server has answered once.
        if self.connection.call(&Request::Ping).is_err() {
            return;
        }
        let mut stored = None;
        while !self.is_closed
            && let Some((index, file)) = self.queue.take()
        {
            let SealedFile { key, slices, commit } = match self.queue.seal(file) {
                Ok(Ok(blob)) => blob,
                Ok(Err(source)) => {
                    let deferred = DeferredFile { source: Some(source), in_doubt: None };
                    self.report(index, Outcome::Deferred(Box::new(deferred)));
                    continue;
                }
                Err(error) => {
                    self.report(index, Outcome::Done(Err(error)));
                    continue;
                }
            };
            // From here on the file may be stored, whatever happens to the connection.
            let sent = self.send(&key, &commit.header, slices);
            // Record the previous file while the server commits this one.
            self.record(stored.take());
            match sent.and_then(|()| self.receive_answers()) {
                Ok(version) => {
                    let InDoubtCommit { seen, length, .. } = *commit;
                    stored = Some(StoredFile { index, key, version, seen, length });
                }
                Err(error) => self.report_failure(index, commit, error),
            }
        }
        self.record(stored);
        if !self.is_closed {
            self.connection.close();
        }
    }

    fn send(
        &mut self,
        key: &ObjectKey,
        header: &HeaderSlice,
        slices: [(Vec<u8>, Digest); 2],
    ) -> Result<(), ConnectionError> {
        let (condition, header) = (self.queue.options.condition, Some(header.clone()));
        let begin = Request::Begin { key: key.clone(), kind: Kind::Sealed, condition, header };
        let connection = &mut self.connection;
        let sent = connection.send(&begin).and_then(|()| {
            for (bytes, digest) in &slices {
                connection.send_slice(bytes, *digest)?;
            }
            connection.send(&Request::Commit)?;
            connection.flush()
        });
        sent.map_err(|error| {
            self.is_closed = true;
            // The server may have sent the reason before it closed.
            self.connection.refusal().unwrap_or(error)
        })
    }

    /// Receives the answers to one put.
    fn receive_answers(&mut self) -> Result<Version, ConnectionError> {
        let mut refusal = None;
        for number in 1..=REQUESTS {
            match self.connection.receive() {
                // Later errors follow from the first refusal.
                Ok(Response::Error(error)) => drop(refusal.get_or_insert(error)),
                Ok(Response::Committed { version }) if refusal.is_none() && number == REQUESTS => {
                    return Ok(version);
                }
                Ok(Response::Begun | Response::SliceHeld) if number < REQUESTS => {}
                Ok(_) => break,
                Err(error) => {
                    self.is_closed = true;
                    return Err(refusal.map_or(error, |error| self.refused(error)));
                }
            }
        }
        match refusal {
            Some(error) => Err(self.refused(error)),
            None => {
                self.is_closed = true;
                Err(self.connection.unexpected("something else than the upload"))
            }
        }
    }

    fn refused(&self, error: RemoteError) -> ConnectionError {
        ConnectionError::Refused { remote: Box::new(self.connection.remote().clone()), error }
    }

    fn report_failure(&self, index: usize, commit: Box<InDoubtCommit>, error: ConnectionError) {
        let outcome = match error {
            ConnectionError::Refused { .. } => {
                let error = Error::from(error);
                // A blob that was overtaken is sealed again with a later generation.
                let is_overtaken = matches!(error, Error::Overtaken { .. });
                if is_overtaken || (self.queue.may_retry && is_retryable(&error)) {
                    Outcome::Deferred(Box::default())
                } else {
                    Outcome::Done(Err(error))
                }
            }
            _ => {
                let in_doubt = Some(Interrupted { commit, error: Some(error) });
                Outcome::Deferred(Box::new(DeferredFile { in_doubt, source: None }))
            }
        };
        self.report(index, outcome);
    }

    /// Records a stored file in the rollback guard, then reports it.
    fn record(&self, stored: Option<StoredFile>) {
        let Some(StoredFile { index, key, version, seen, length }) = stored else { return };
        let recorded = self.queue.guard.advance(&key, &seen);
        let recorded = self.queue.warning.warn_once(version, recorded);
        let receipt = PutReceipt { key, version, generation: Some(seen.generation), length };
        let recorded = recorded.map(|()| receipt);
        let put = recorded.map_err(|source| Error::NotRecorded { version, source });
        self.report(index, Outcome::Done(put));
    }

    fn report(&self, index: usize, outcome: Outcome) {
        // The receiver lives until the last worker has exited.
        let _disconnected = self.results.0.send(WorkerEvent::FileDone(index, outcome));
    }
}

impl Drop for ResultSender {
    fn drop(&mut self) {
        // The receiver lives until the last worker has exited.
        let _disconnected = self.0.send(WorkerEvent::Exited);
    }
}
