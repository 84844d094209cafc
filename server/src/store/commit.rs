//! The commit: an upload becomes the current version, durably (STORE, "Put" 3 to 8).

use std::{mem, ops::Range, os::unix::fs::FileExt, time::Instant};

use zput_proto::{
    envelope::{Envelope, FooterFields, HEADER_MAGIC, PREFIX_BYTES, TAIL_BYTES},
    message::{Condition, ErrorCode, Kind, Version},
    name::ObjectKey,
};

use super::{
    error::{Context, FormatViolation, StoreError},
    generation,
    in_flight::Received,
    layout::{Area, ObjectName},
    lock::{LOCK_WAIT_MAX, Lock, LockName},
    object::Object,
    open_store::Store,
    record::Trailer,
    shard::LockedShard,
    shard_dirs::{LOOKS, ShardDirs},
    survey::Survey,
    upload::{Target, Upload, check_header},
};

/// An object of at most this many bytes is synced together with its record, while the shard is
/// locked.
const SYNCED_WITH_RECORD_MAX_BYTES: u64 = 1024 * 1024;

/// A commit that lacks nothing but the lock of its object's shard. Dropping it keeps the upload if
/// it can be resumed: a commit that does not get its lock in time may be tried again.
#[derive(Debug)]
pub(crate) struct PendingCommit {
    store: Store,
    target: Target,
    received: Received,
    envelope: Envelope,
    header: Option<Vec<u8>>,
    /// Whether it is a copy of an earlier version, whose generation may be lower than the current
    /// one's.
    is_copy: bool,
    /// What was found without the lock.
    survey: Survey,
    /// The looks without the lock that are left.
    looks: Range<usize>,
    /// When it waits no longer.
    until: Instant,
}

/// What became of a commit that had its lock.
pub(crate) enum CommitStep {
    /// The version is durable.
    Committed(Version),
    /// Another writer made a change before. The commit has looked again and needs the lock again.
    Again(Box<PendingCommit>),
}

impl Upload {
    /// Makes the object the current version. The version is durable when this returns it.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when the condition does not hold, [`StoreError::Older`] and
    /// [`StoreError::Ahead`] for its generation, [`StoreError::Malformed`] when a sealed object's
    /// header, key or footer length do not fit; [`StoreError::Suspect`]. After [`StoreError::Io`]
    /// the whole object may be there or not, never a part of it. After an error with the code Busy
    /// the upload is kept as if its connection had ended: [`StoreError::Locked`],
    /// [`StoreError::ClockInUse`], [`StoreError::ClockLost`], and a lack of descriptors or memory.
    pub fn commit(self) -> Result<Version, StoreError> {
        self.prepare_commit()?.commit_blocking()
    }

    /// Does what a commit does before it has the lock.
    ///
    /// # Errors
    /// Those of [`Self::commit`].
    pub(crate) fn prepare_commit(self) -> Result<Box<PendingCommit>, StoreError> {
        self.prepare(false)
    }

    /// Prepares to commit a copy of an earlier version.
    pub(super) fn prepare_copy(self) -> Result<Box<PendingCommit>, StoreError> {
        self.prepare(true)
    }

    fn prepare(self, is_copy: bool) -> Result<Box<PendingCommit>, StoreError> {
        let (store, target, mut received) = self.into_received()?;
        let prepared = (|| {
            let (envelope, header) = check_payload(&target, &received)?;
            if !is_small(&received) {
                // The expensive fsync comes before the lock, so other writers do not wait for it.
                store.fsync().data(received.staged.file(), "sync an upload")?;
            }
            store.reserve_instants()?;
            // The first use of a directory waits for syncs, and they come before the lock.
            let name = ObjectName::for_key(&target.key);
            store.fsync().check_writable()?;
            drop(ShardDirs::open_or_make(store.fsync(), name.shard())?);
            let mut looks = LOOKS;
            looks.next();
            let survey = Survey::of(store.fsync(), name)?;
            Ok((envelope, header, looks, survey))
        })();
        match prepared {
            Ok((envelope, header, looks, survey)) => Ok(Box::new(PendingCommit {
                store,
                target,
                received,
                envelope,
                header,
                is_copy,
                survey,
                looks,
                until: Instant::now() + LOCK_WAIT_MAX,
            })),
            Err(error) => {
                received.end_for(&error);
                Err(error)
            }
        }
    }
}

impl Received {
    /// Removes the upload after an error of its commit, unless the commit may be tried again.
    fn end_for(&mut self, error: &StoreError) {
        if error.code() != ErrorCode::Busy {
            self.staged.remove_on_drop();
        }
    }
}

impl PendingCommit {
    /// The key of its object.
    pub(crate) const fn key(&self) -> &ObjectKey {
        &self.target.key
    }

    /// Its store.
    pub(crate) const fn store(&self) -> &Store {
        &self.store
    }

    /// When it waits for its lock no longer.
    pub(crate) const fn until(&self) -> Instant {
        self.until
    }

    /// Removes the upload with the commit.
    pub(crate) fn remove_on_drop(&mut self) {
        self.received.staged.remove_on_drop();
    }

    /// Commits, waiting for the lock.
    ///
    /// # Errors
    /// Those of [`Upload::commit`].
    pub(super) fn commit_blocking(self: Box<Self>) -> Result<Version, StoreError> {
        let mut commit = self;
        loop {
            let name = LockName::of_object(commit.key());
            let lock = Lock::acquire_blocking(commit.store.fsync(), name, commit.until)?;
            match commit.commit_with(lock)? {
                CommitStep::Committed(version) => return Ok(version),
                CommitStep::Again(again) => commit = again,
            }
        }
    }

    /// Commits with the lock of the object's shard.
    ///
    /// # Errors
    /// Those of [`Upload::commit`], after which the upload is gone or, after Busy, kept.
    pub(crate) fn commit_with(mut self: Box<Self>, lock: Lock) -> Result<CommitStep, StoreError> {
        let step = match self.look(lock) {
            Ok(Some(look)) => self.finish(look).map(CommitStep::Committed),
            Ok(None) => return Ok(CommitStep::Again(self)),
            Err(error) => Err(error),
        };
        step.inspect_err(|error| self.received.end_for(error))
    }

    /// Looks under the lock whether the object may be committed. `None` when what was found before
    /// may not hold any more: then this has looked again, without the lock.
    fn look(&mut self, lock: Lock) -> Result<Option<LockedLook>, StoreError> {
        let name = ObjectName::for_key(&self.target.key);
        let shard = LockedShard::for_write(self.store.fsync(), name, lock)?;
        let current = shard.current(&self.target.key)?;
        check_condition(self.target.condition, &shard, current.as_ref())?;
        let newest_noncurrent = if self.survey.holds(&shard, name)? {
            mem::replace(&mut self.survey.newest, Ok(None))
        } else if self.looks.next().is_some() {
            drop(shard);
            self.survey = Survey::of(self.store.fsync(), name)?;
            return Ok(None);
        } else {
            // Other writers were faster each time.
            shard.newest_noncurrent(name)
        };
        Ok(Some(LockedLook { shard, current, newest_noncurrent: newest_noncurrent? }))
    }

    /// Makes the object the current version. What it has appended to the upload when it fails is
    /// not claimed, if the upload is resumed.
    fn finish(&mut self, look: LockedLook) -> Result<Version, StoreError> {
        let Self { store, target, received, envelope, header, is_copy, .. } = self;
        let LockedLook { shard, current, newest_noncurrent } = look;
        let now_ns = store.clock().now_ns();
        if let Some(header) = header.take().filter(|_| !*is_copy) {
            // An old version that is corrupt has no generation to compare with.
            let noncurrent = newest_noncurrent.and_then(|(version, area)| {
                shard.noncurrent(area, &target.key, version).ok().flatten()
            });
            let before: Vec<&Object> = current.iter().chain(&noncurrent).collect();
            generation::check(now_ns, &header, &before)?;
        }
        let version = store.next_instant(current.as_ref().map(Object::version))?;

        let is_small = is_small(received);
        let Received { staged, table, length, .. } = received;
        let (table, length) = (mem::take(table), *length);
        let name = ObjectName::for_key(&target.key);
        let trailer = Trailer {
            key: target.key.clone(),
            kind: target.kind,
            version,
            payload_length: length,
            header_length: envelope.header_length,
            footer_length: envelope.footer_length,
            client: target.client,
            slice_count: table.count(),
            slices_digest: table.digest(),
        };
        let mut record = table.into_bytes();
        record.extend_from_slice(&trailer.encode());
        staged.file().write_all_at(&record, length).context("write a record")?;
        store
            .fsync()
            .data(staged.file(), if is_small { "sync an upload" } else { "sync a record" })?;

        if let Some(current) = &current {
            shard.link_current_to(Area::History, current)?;
            // Before the rename removes the old name: no file system promises an order between two
            // directories, and after a power cut an acknowledged version must have at least one
            // name.
            shard.sync(Area::History)?;
            shard.unlink_from_trash(current)?;
            shard.before_replace()?;
        }
        staged.rename_into_place(shard.dir_for_write(Area::Objects)?, &name.to_string())?;
        // The next writer of this shard need not wait for this fsync and may share it. A caller
        // that acts on this version otherwise makes the version's name durable first.
        store.fsync().dir_before_ack(shard.unlock(Area::Objects)?)?;
        Ok(version)
    }
}

/// What a commit found under the lock.
struct LockedLook {
    shard: LockedShard,
    current: Option<Object>,
    newest_noncurrent: Option<(Version, Area)>,
}

/// Whether the object is synced once, together with its record.
fn is_small(received: &Received) -> bool {
    received.length <= SYNCED_WITH_RECORD_MAX_BYTES
}

/// Refuses an object whose condition already does not hold, before the client sends it.
pub(super) fn check_early(store: &Store, target: &Target) -> Result<(), StoreError> {
    if target.condition == Condition::Any {
        return Ok(());
    }
    let dirs = ShardDirs::open(store.fsync(), ObjectName::for_key(&target.key).shard())?;
    check_condition(target.condition, &dirs, dirs.current(&target.key)?.as_ref())
}

/// Checks that `condition` holds for the current version.
///
/// "Already there" acknowledges a version just as "committed" does. The process that renamed the
/// current version into place may have been killed before it made the name durable, so the name is
/// made durable here first.
pub(super) fn check_condition(
    condition: Condition,
    shard: &ShardDirs,
    current: Option<&Object>,
) -> Result<(), StoreError> {
    let current = current.map(Object::version);
    if condition_holds(condition, current) {
        return Ok(());
    }
    shard.sync(Area::Objects)?;
    Err(StoreError::Exists(current))
}

/// Whether `condition` holds where `current` is the current version.
pub(super) fn condition_holds(condition: Condition, current: Option<Version>) -> bool {
    match condition {
        Condition::Any => true,
        Condition::Absent => current.is_none(),
        Condition::Version(wanted) => current == Some(wanted),
    }
}

/// Checks the payload as far as a server can (PROTOCOL 5, "What a server checks") and returns its
/// header. A plain object has an envelope of zeros and no header.
fn check_payload(
    target: &Target,
    received: &Received,
) -> Result<(Envelope, Option<Vec<u8>>), StoreError> {
    let prefix = read(received, 0, PREFIX_BYTES as u64)?;
    if target.kind == Kind::Plain {
        return if prefix.starts_with(&HEADER_MAGIC) {
            Err(FormatViolation::PlainLooksSealed.into())
        } else {
            Ok((Envelope { header_length: 0, footer_length: 0 }, None))
        };
    }
    let tail_begin = received.length.saturating_sub(TAIL_BYTES as u64);
    let tail = read(received, tail_begin, received.length)?;
    let envelope = Envelope::new(&prefix, &tail, received.length).map_err(FormatViolation::from)?;
    let header = read(received, 0, envelope.header_length.into())?;
    check_blob(&header, target, &envelope, received)?;
    Ok((envelope, Some(header)))
}

/// Checks that the slices are the parts of a blob with this header, followed by its footer, so that
/// no object becomes current that every reader would refuse for a reason visible without a key. The
/// payload is not read again: the digests of the slices are compared with those in the footer.
fn check_blob(
    header: &[u8],
    target: &Target,
    envelope: &Envelope,
    received: &Received,
) -> Result<(), StoreError> {
    let header = check_header(header, &target.key)?;
    let footer_begin = received.length - u64::from(envelope.footer_length);
    let footer = read(received, footer_begin, received.length)?;
    let footer = FooterFields::parse(&footer, &header).map_err(FormatViolation::from)?;
    Ok(footer.check_slices(received.table.rows()).map_err(FormatViolation::from)?)
}

/// The bytes from `begin` to `end`, as far as the upload has them. At most a footer: 8 MiB of
/// digests and a few bytes more.
fn read(received: &Received, begin: u64, end: u64) -> Result<Vec<u8>, StoreError> {
    let end = end.min(received.length);
    let mut bytes = vec![0; (end - begin) as usize];
    received.staged.file().read_exact_at(&mut bytes, begin).context("read an upload")?;
    Ok(bytes)
}
