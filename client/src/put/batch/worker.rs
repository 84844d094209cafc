//! One of several lanes: a connection, and small files that are read, sealed, sent and noted on it.
//!
//! One put is on its way at a time. More would be possible; but when the connection ended, a put that the server has not
//! begun and one that it will begin yet, behind others, would look alike. Put again, the first could come last.
//!
//! Nothing is tried again here: whoever opened the lane is told what it could not see to.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_channel::Sender;
use zput_common::{
    blob::{footer::Provenance, open::Seen},
    digest::Digest,
    keys::{KeyFile, VaultMacKey, WriterKey},
    name::ObjectKey,
    proto::message::{ClaimedSlice, HeaderSlice, Kind, RemoteError, Request, Response, Version},
};

use super::{
    PutOptions, PutReceipt, Target,
    attempt::new_sealer,
    lost::LostCommit,
    many::{NamedFile, SMALL_BYTES},
};
use crate::{
    client::{Client, RecordWarning},
    connection::{Connection, ConnectionError},
    error::ClientError,
    journal::Journals,
    progress::Silent,
    random,
    retry::may_pass,
    seal::PART_BYTES,
    seen::Record,
    source::{FileSource, Source as _},
};

/// Requests of a put.
const REQUESTS: usize = 4;

/// What the lanes share.
pub(super) struct Work<'a> {
    files: &'a [NamedFile],
    /// The numbers of those that are for lanes, in order.
    queue: Vec<usize>,
    /// Which one of the queue is next.
    next: AtomicUsize,
    options: &'a PutOptions,
    key_file: KeyFile,
    mac_key: VaultMacKey,
    writer: WriterKey,
    record: Record,
    warning: RecordWarning,
    journals: Journals,
    is_patient: bool,
}

/// What a lane says.
pub(super) enum Told {
    /// Of a file.
    Ended(usize, Outcome),
    /// There is nothing more to come of it.
    Over,
}

/// What became of a file.
pub(super) enum Outcome {
    Done(Result<PutReceipt, ClientError>),
    /// It has to go the ordinary way.
    Left(Box<Leftover>),
}

/// What a lane knows of a file that it leaves.
#[derive(Default)]
pub(super) struct Leftover {
    /// It may have been stored.
    pub(super) lost: Option<Lost>,
    /// It was opened, and is not opened again.
    pub(super) source: Option<FileSource>,
}

/// A commit that was on its way when its connection ended.
pub(super) struct Lost {
    pub(super) commit: Box<LostCommit>,
    /// How it ended.
    pub(super) error: Option<ConnectionError>,
}

/// A sealed file.
struct Blob {
    key: ObjectKey,
    /// The part, and the footer.
    slices: [(Vec<u8>, Digest); 2],
    commit: Box<LostCommit>,
}

impl<'a> Work<'a> {
    /// Those of `files` that are in `queue`, as `client` would put them.
    pub(super) fn new(
        files: &'a [NamedFile],
        queue: Vec<usize>,
        options: &'a PutOptions,
        client: &Client,
    ) -> Self {
        let key_file = client.key_file().clone();
        Self {
            files,
            queue,
            next: AtomicUsize::new(0),
            options,
            mac_key: key_file.vault_secret().mac_key(),
            writer: key_file.device_seed().writer_key(),
            key_file,
            record: client.record().clone(),
            warning: client.record_warning(),
            journals: client.journals().clone(),
            is_patient: client.retries() > 0,
        }
    }

    /// How many nobody has taken.
    pub(super) fn waiting(&self) -> usize {
        self.queue.len().saturating_sub(self.next.load(Ordering::Relaxed))
    }

    /// Lanes take only files behind `index` from now on. Called while no lane runs.
    pub(super) fn skip(&self, index: usize) {
        let behind = self.queue.partition_point(|queued| *queued <= index);
        self.next.fetch_max(behind, Ordering::Relaxed);
    }

    /// Whether something that failed may be tried again.
    pub(super) fn is_patient(&self) -> bool {
        self.is_patient
    }

    fn take(&self) -> Option<(usize, &NamedFile)> {
        let place = self.next.fetch_add(1, Ordering::Relaxed);
        let index = *self.queue.get(place)?;
        Some((index, self.files.get(index)?))
    }

    /// The source where it has to go the ordinary way.
    fn seal(
        &self,
        NamedFile { name, path }: &NamedFile,
    ) -> Result<Result<Blob, FileSource>, ClientError> {
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
        let there = Cell::new(0);
        let target =
            Target { name, key: key.clone(), options: self.options, progress: &Silent, there };
        let mut sealer = new_sealer(&self.key_file, &self.record, &target, source.attributes())?;
        let (generation, header) = (sealer.generation(), HeaderSlice::of(sealer.header().to_vec()));
        let mut part = Vec::new();
        sealer.seal_part(&plaintext, &mut random::system(), &mut part)?;
        let provenance = Provenance::Vault { mac_key: &self.mac_key, writer: &self.writer };
        let footer = sealer.finish(provenance, &mut random::system())?;
        let seen = Seen { generation, transcript: footer.transcript };
        let slices = [part, footer.bytes].map(|bytes| {
            let digest = Digest::of(&bytes);
            (bytes, digest)
        });
        let claimed = |(bytes, digest): &(Vec<u8>, Digest)| {
            // The part has 256 KiB and a little, and its footer less.
            ClaimedSlice { length: bytes.len() as u32, digest: *digest }
        };
        let claims = slices.iter().map(claimed).collect();
        let commit = LostCommit { header, slices: claims, seen, length: footer.total_length };
        Ok(Ok(Blob { key, slices, commit: Box::new(commit) }))
    }
}

/// A connection on which small files are put.
pub(super) struct Lane<'a> {
    work: &'a Work<'a>,
    connection: Connection,
    voice: Voice,
    /// Nothing more can be asked.
    is_over: bool,
}

/// Tells whoever opened the lane; also that it is over, however that came about.
struct Voice(Sender<Told>);

/// What the server has made durable, and this machine has not noted.
struct Stored {
    index: usize,
    key: ObjectKey,
    version: Version,
    seen: Seen,
    length: u64,
}

impl<'a> Lane<'a> {
    pub(super) fn new(work: &'a Work<'a>, connection: Connection, tell: Sender<Told>) -> Self {
        Self { work, connection, voice: Voice(tell), is_over: false }
    }

    /// Puts files until there are no more, or the connection ends.
    pub(super) fn run(mut self) {
        // Nothing is taken on before the server has answered.
        if self.connection.ask(&Request::Ping).is_err() {
            return;
        }
        let mut stored = None;
        while !self.is_over
            && let Some((index, file)) = self.work.take()
        {
            let Blob { key, slices, commit } = match self.work.seal(file) {
                Ok(Ok(blob)) => blob,
                Ok(Err(source)) => {
                    let left = Leftover { source: Some(source), lost: None };
                    self.ended(index, Outcome::Left(Box::new(left)));
                    continue;
                }
                Err(error) => {
                    self.ended(index, Outcome::Done(Err(error)));
                    continue;
                }
            };
            // From now on it may be stored, whatever becomes of the connection.
            let sent = self.send(&key, &commit.header, slices);
            // While the server is at work.
            self.note(stored.take());
            match sent.and_then(|()| self.hear()) {
                Ok(version) => {
                    let LostCommit { seen, length, .. } = *commit;
                    stored = Some(Stored { index, key, version, seen, length });
                }
                Err(error) => self.failed(index, commit, error),
            }
        }
        self.note(stored);
        if !self.is_over {
            self.connection.close();
        }
    }

    fn send(
        &mut self,
        key: &ObjectKey,
        header: &HeaderSlice,
        slices: [(Vec<u8>, Digest); 2],
    ) -> Result<(), ConnectionError> {
        let (condition, header) = (self.work.options.condition, Some(header.clone()));
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
            self.is_over = true;
            // The server may have said why.
            self.connection.refusal().unwrap_or(error)
        })
    }

    /// Hears what became of it.
    fn hear(&mut self) -> Result<Version, ConnectionError> {
        let mut refusal = None;
        for number in 1..=REQUESTS {
            match self.connection.receive() {
                // What is behind the first refusal follows from it.
                Ok(Response::Error(error)) => drop(refusal.get_or_insert(error)),
                Ok(Response::Committed { version }) if refusal.is_none() && number == REQUESTS => {
                    return Ok(version);
                }
                Ok(Response::Begun | Response::SliceHeld) if number < REQUESTS => {}
                Ok(_) => break,
                Err(error) => {
                    self.is_over = true;
                    return Err(refusal.map_or(error, |error| self.refused(error)));
                }
            }
        }
        match refusal {
            Some(error) => Err(self.refused(error)),
            None => {
                self.is_over = true;
                Err(self.connection.unexpected("something else than the upload"))
            }
        }
    }

    fn refused(&self, error: RemoteError) -> ConnectionError {
        ConnectionError::Refused { remote: Box::new(self.connection.remote().clone()), error }
    }

    fn failed(&self, index: usize, commit: Box<LostCommit>, error: ConnectionError) {
        let outcome = match error {
            ConnectionError::Refused { .. } => {
                let error = ClientError::from(error);
                // What was overtaken is sealed again, above what is there.
                let is_overtaken = matches!(error, ClientError::Overtaken { .. });
                if is_overtaken || (self.work.is_patient && may_pass(&error)) {
                    Outcome::Left(Box::default())
                } else {
                    Outcome::Done(Err(error))
                }
            }
            _ => {
                let lost = Some(Lost { commit, error: Some(error) });
                Outcome::Left(Box::new(Leftover { lost, source: None }))
            }
        };
        self.ended(index, outcome);
    }

    /// This machine takes note of what is stored; then whoever waits is told.
    fn note(&self, stored: Option<Stored>) {
        let Some(Stored { index, key, version, seen, length }) = stored else { return };
        let noted = self.work.record.advance(&key, &seen);
        let noted = self.work.warning.of(version, noted);
        let receipt = PutReceipt { key, version, generation: Some(seen.generation), length };
        let noted = noted.map(|()| receipt);
        let put = noted.map_err(|error| ClientError::Unrecorded { version, error });
        self.ended(index, Outcome::Done(put));
    }

    fn ended(&self, index: usize, outcome: Outcome) {
        // Whoever listens does so until the last lane is over.
        let _heard = self.voice.0.send(Told::Ended(index, outcome));
    }
}

impl Drop for Voice {
    fn drop(&mut self) {
        // As above.
        let _heard = self.0.send(Told::Over);
    }
}
