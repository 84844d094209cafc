//! The commit: an upload becomes the current version, durably (STORE, "Put" 3 to 8).

use std::os::unix::fs::FileExt;

use zput_proto::{
    envelope::{Envelope, FooterFields, HEADER_MAGIC, PREFIX_BYTES, TAIL_BYTES},
    message::{Condition, Kind, Version},
};

use super::{
    error::{Context, FormatViolation, StoreError},
    generation,
    in_flight::Received,
    layout::{Area, ObjectName},
    object::Object,
    open_store::Store,
    record::Trailer,
    shard_dirs::ShardDirs,
    survey,
    upload::{Target, Upload, check_header},
};

/// An object of at most this many bytes is synced together with its record, while the shard is
/// locked.
const SYNCED_WITH_RECORD_MAX_BYTES: u64 = 1024 * 1024;

impl Upload {
    /// Makes the object the current version. The version is durable when this returns it.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when the condition does not hold, [`StoreError::Older`] and
    /// [`StoreError::Ahead`] for its generation, [`StoreError::Malformed`] when a sealed object's
    /// header, key or footer length do not fit; [`StoreError::Suspect`]. After [`StoreError::Io`]
    /// the whole object may be there or not, never a part of it.
    pub fn commit(self) -> Result<Version, StoreError> {
        self.commit_checked(generation::check)
    }

    /// Commits a copy of an earlier version, whose generation may be lower than the current one's.
    pub(super) fn commit_copy(self) -> Result<Version, StoreError> {
        self.commit_checked(|_, _, _| Ok(()))
    }

    fn commit_checked(
        self,
        check_generation: impl FnOnce(u64, &[u8], &[&Object]) -> Result<(), StoreError>,
    ) -> Result<Version, StoreError> {
        let (store, target, received) = self.into_received()?;
        let (envelope, header) = check_payload(&target, &received)?;
        let is_small = received.length <= SYNCED_WITH_RECORD_MAX_BYTES;
        if !is_small {
            // The expensive fsync comes before this thread takes the shard's lock, so other writers
            // do not wait for it.
            store.fsync().data(received.staged.file(), "sync an upload")?;
        }

        let name = ObjectName::for_key(&target.key);
        let (shard, current, newest_noncurrent) =
            survey::lock_for_commit(store.fsync(), &target.key, |shard| {
                let current = shard.current(&target.key)?;
                check_condition(target.condition, shard, current.as_ref())?;
                Ok(current)
            })?;
        let now_ns = store.clock().now_ns();
        let newest_noncurrent = newest_noncurrent?;
        if let Some(header) = header {
            // An old version that is corrupt has no generation to compare with.
            let noncurrent = newest_noncurrent.and_then(|(version, area)| {
                shard.noncurrent(area, &target.key, version).ok().flatten()
            });
            let before: Vec<&Object> = current.iter().chain(&noncurrent).collect();
            check_generation(now_ns, &header, &before)?;
        }
        let newest = newest_noncurrent
            .map(|(version, _)| version)
            .max(current.as_ref().map(Object::version));
        let version = next_version(now_ns, newest)?;

        let Received { staged, table, length, .. } = received;
        let trailer = Trailer {
            key: target.key,
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

/// STORE: "max(clock, newest version of this key in objects, history and trash + 1)". The current
/// version need not be the newest: it may have been restored from the trash.
fn next_version(now_ns: u64, newest: Option<Version>) -> Result<Version, StoreError> {
    match newest {
        None => Ok(Version(now_ns)),
        Some(newest) => match newest.0.checked_add(1) {
            Some(above) => Ok(Version(now_ns.max(above))),
            None => Err(StoreError::VersionsExhausted(newest)),
        },
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
