//! The work of requests on the disk, as jobs for the pool.
//!
//! A job owns all it needs, blocks as long as the disk does, and returns a value. It waits for no
//! lock: one that needs a lock returns what is left of it. Jobs know nothing of sockets.

use std::{any::Any, fmt, io, sync::Arc, time::Instant};

use tracing::{info, warn};
use zput_proto::{
    digest::Digest,
    keys::{DevicePublicKey, InviteSecret},
    message::{ClaimedSlice, Condition, ErrorCode, HeaderSlice, Kind, Response, Scopes, Version},
    name::ObjectKey,
};

use super::{buffers::Buffer, error::JobError, window::Window};
use crate::{
    limits::Semaphore,
    mounts::{MountPoint, OpenError, OpenObject},
    store::{
        CommitStep, InFlightGuard, LOCK_WAIT_MAX, Lock, LockName, Page, PendingCommit, RestoreStep,
        ResumeStep, Store, StoreError, TakeOver, Upload, Writer,
    },
};

/// Work for a pool thread.
pub(crate) enum Job {
    /// Look up the scopes of a device.
    Account(Store, DevicePublicKey),
    /// Redeem an invite: give a device its scopes.
    Join { home: Store, device: DevicePublicKey, secret: InviteSecret, label: String },
    /// Open an object to be sent.
    Open { mount: Arc<MountPoint>, key: ObjectKey, version: Option<Version>, files: Semaphore },
    /// Load bytes of an open object into memory.
    Load(Window),
    /// Read the metadata of an object.
    Stat { mount: Arc<MountPoint>, key: ObjectKey, version: Option<Version> },
    /// One page of a listing.
    List { mount: Arc<MountPoint>, after: Option<Vec<u8>>, limit: u32, headers: bool },
    /// One page of an object's versions.
    Versions { mount: Arc<MountPoint>, key: ObjectKey, after: Option<Version>, limit: u32 },
    /// Move the current version to the trash.
    Delete { store: Store, key: ObjectKey, condition: Condition },
    /// Make a version from the trash or the history current.
    Restore { store: Store, key: ObjectKey, version: Version },
    /// Begin an upload: check its condition and create its staging file.
    Begin {
        store: Store,
        key: ObjectKey,
        kind: Kind,
        condition: Condition,
        header: Option<HeaderSlice>,
        writer: Writer,
        /// Registers the upload by its header, if it has one, until the upload itself is
        /// registered.
        expected: Option<InFlightGuard>,
    },
    /// Resume an interrupted upload, or take over one that an older connection still has.
    Resume {
        store: Store,
        key: ObjectKey,
        condition: Condition,
        header: HeaderSlice,
        writer: Writer,
    },
    /// Check which of these slices a resumed upload has.
    Claim(Box<Upload>, Vec<ClaimedSlice>),
    /// Hash and write received bytes.
    Append(Append),
    /// Make an upload durable and current.
    Commit(Box<Upload>),
    /// The rest of it, or of a restore, with the lock.
    FinishCommit(Box<PendingCommit>),
    /// The rest of a Resume, once an older connection's lease has come free.
    TakeOver(Box<TakeOver>, InDoubt),
    /// The end of a Resume that found no upload: look, with the lock, whether it was committed.
    FindCommitted(InDoubt, StoreError),
    /// Remove an upload and its staging file.
    Abort(Box<Upload>),
    /// Drop what an upload holds whose connection has ended. It is kept if it can be resumed.
    Release(Box<dyn Any + Send>),
    /// Remove the interrupted uploads of a store that were not resumed in time.
    Expire(Store),
}

/// Received bytes of one slice, in order.
pub(crate) struct Append {
    /// The upload that they belong to.
    pub(crate) upload: Box<Upload>,
    /// Length and digest of the slice, with its first bytes only.
    pub(crate) start: Option<(u32, Digest)>,
    /// The received bytes; the last buffer may be partly filled.
    pub(crate) buffers: Vec<Buffer>,
    /// Whether the slice ends with these bytes, so that its digest has to be compared.
    pub(crate) end: bool,
}

/// An upload of which the client does not know whether it was committed.
pub(crate) struct InDoubt {
    store: Store,
    key: ObjectKey,
    device: Option<DevicePublicKey>,
    header: HeaderSlice,
}

/// How far a run of a job came.
pub(crate) enum Step {
    /// To its end.
    Done(Done),
    /// It waits for a lock of this store, until this time at most. Then the job runs with the lock.
    AwaitLock(Store, LockName, Instant, Job),
    /// It waits until the job [is ready](Job::is_ready).
    AwaitLease(Job),
}

/// The result of a job.
pub(crate) enum Done {
    /// The response to the request.
    Answer(Response),
    /// The request failed with this error.
    Refused(JobError),
    /// The scopes of a device; `None` for a device without an account.
    Account(Result<Option<Scopes>, JobError>),
    /// The scopes that an invite gave to a device.
    Joined(Result<Scopes, JobError>),
    /// An object to be sent.
    Opened(Result<OpenObject, JobError>),
    /// The window that was to be loaded, and whether it is in memory.
    Loaded(Window, io::Result<()>),
    /// An upload has begun.
    Begun(Box<Upload>),
    /// The number of claimed slices that the upload has, from the first one on.
    Claimed(Box<Upload>, u32),
    /// Bytes were written. The buffers are free again.
    Appended {
        /// The upload, unless writing failed.
        upload: Result<Box<Upload>, JobError>,
        /// Whether the slice has ended.
        end: bool,
        /// The buffers that held the bytes.
        buffers: Vec<Buffer>,
    },
    /// The job has ended, and nothing waits for it.
    Finished,
    /// The job panicked, and what it held was dropped.
    Panicked {
        /// Number of buffers that were lost with it.
        buffers: usize,
    },
}

impl Job {
    /// Number of buffers that the job holds.
    pub(crate) fn buffers(&self) -> usize {
        if let Self::Append(append) = self { append.buffers.len() } else { 0 }
    }

    /// Runs the job, with the lock that it has waited for. Blocks.
    pub(crate) fn run(self, lock: Option<Lock>) -> Step {
        Step::Done(match self {
            Self::Account(home, device) => {
                Done::Account(home.scopes_of(&device).map_err(|e| JobError::of(e.into())))
            }
            Self::Join { home, device, secret, label } => {
                let joined = match lock {
                    Some(lock) => home.redeem_invite_with(lock, &secret, &device, &label),
                    None => match home.redeemed_before(&secret, &device, &label) {
                        Ok(None) => {
                            let job = Self::Join { home: home.clone(), device, secret, label };
                            return await_lock(home, LockName::Accounts, job);
                        }
                        Ok(Some(scopes)) => Ok(scopes),
                        Err(error) => Err(error),
                    },
                };
                Done::Joined(joined.map_err(|e| JobError::of(e.into())))
            }
            Self::Open { mount, key, version, files } => {
                Done::Opened(mount.open(&key, version, &files).map_err(JobError::about(&key)))
            }
            Self::Load(window) => {
                let loaded = window.load();
                Done::Loaded(window, loaded)
            }
            Self::Stat { mount, key, version } => {
                answer_of(&key, mount.stat(&key, version).map(|info| Response::Stat { info }))
            }
            Self::List { mount, after, limit, headers } => {
                answer(mount.list(after.as_deref(), limit, headers).map(
                    |Page { entries, next, unreadable }| Response::Page {
                        entries,
                        next,
                        unreadable,
                    },
                ))
            }
            Self::Versions { mount, key, after, limit } => answer_of(
                &key,
                mount.versions(&key, after, limit).map(|(versions, next, unreadable)| {
                    Response::Versions { versions, next, unreadable }
                }),
            ),
            Self::Delete { store, key, condition } => {
                let Some(lock) = lock else {
                    let (home, name) = (store.clone(), LockName::of_object(&key));
                    return await_lock(home, name, Self::Delete { store, key, condition });
                };
                let deleted = store.delete_with(lock, &key, condition);
                answer_of(&key, deleted.map(|version| Response::Deleted { version }))
            }
            Self::Restore { store, key, version } => {
                let Some(lock) = lock else {
                    let (home, name) = (store.clone(), LockName::of_object(&key));
                    return await_lock(home, name, Self::Restore { store, key, version });
                };
                match store.restore_with(lock, &key, version) {
                    Ok(RestoreStep::Copied(copy)) => return await_commit(copy),
                    Ok(RestoreStep::Restored(version)) => {
                        Done::Answer(Response::Committed { version })
                    }
                    Err(e) => Done::Refused(JobError::about(&key)(e.into())),
                }
            }
            Self::Begin { store, key, kind, condition, header, writer, expected } => {
                let begun = store.begin(&key, kind, condition, writer).and_then(|mut upload| {
                    if let Some(HeaderSlice { bytes, digest }) = header {
                        upload.write_header(&bytes, digest)?;
                    }
                    Ok(upload)
                });
                drop(expected);
                opened(&key, begun)
            }
            Self::Resume { store, key, condition, header, writer } => {
                let device = writer.device;
                let resumed = store.begin_resume(&key, condition, writer, &header);
                let in_doubt = InDoubt { store, key, device, header };
                return match resumed {
                    Ok(ResumeStep::Waits(take_over)) => {
                        Step::AwaitLease(Self::TakeOver(take_over, in_doubt))
                    }
                    Ok(ResumeStep::Resumed(upload)) => Step::Done(Done::Begun(upload)),
                    Err(error) => in_doubt.resumed(Err(error)),
                };
            }
            Self::TakeOver(take_over, in_doubt) => return in_doubt.resumed(take_over.finish()),
            Self::FindCommitted(in_doubt, error) => {
                let Some(lock) = lock else { return in_doubt.await_lock(error) };
                let InDoubt { store, key, device, header } = in_doubt;
                match store.committed_with(lock, &key, device, &header) {
                    Ok(Some(version)) => Done::Answer(Response::Committed { version }),
                    Ok(None) => opened(&key, Err(error)),
                    Err(e) => Done::Refused(JobError::about(&key)(e.into())),
                }
            }
            Self::Claim(mut upload, slices) => match upload.claim(&slices) {
                Ok(held) => Done::Claimed(upload, held),
                Err(e) => Done::Refused(JobError::of(e.into())),
            },
            Self::Append(append) => append.run(),
            Self::Commit(upload) => {
                let key = upload.key().clone();
                match upload.prepare_commit() {
                    Ok(commit) => return await_commit(commit),
                    Err(e) => Done::Refused(JobError::about(&key)(e.into())),
                }
            }
            Self::FinishCommit(commit) => {
                let Some(lock) = lock else { return await_commit(commit) };
                let key = commit.key().clone();
                match commit.commit_with(lock) {
                    Ok(CommitStep::Committed(version)) => {
                        Done::Answer(Response::Committed { version })
                    }
                    Ok(CommitStep::Again(commit)) => return await_commit(commit),
                    Err(e) => Done::Refused(JobError::about(&key)(e.into())),
                }
            }
            Self::Abort(upload) => {
                upload.abort();
                Done::Answer(Response::Aborted)
            }
            Self::Release(held) => {
                drop(held);
                Done::Finished
            }
            Self::Expire(store) => {
                match store.expire_uploads() {
                    Ok(0) => {}
                    Ok(removed) => info!(removed, "removed expired uploads"),
                    Err(failure) => warn!(error = %failure, "cannot remove expired uploads"),
                }
                Done::Finished
            }
        })
    }

    /// Whether the lease that the job waits for has come free. It is asked again and again.
    pub(crate) fn is_ready(&mut self, now: Instant) -> bool {
        match self {
            Self::TakeOver(take_over, _) => take_over.is_ready(now),
            _ => true,
        }
    }

    /// Does not do the job, because it has waited too long or cannot be queued. Returns its result,
    /// and what has to be done all the same.
    pub(crate) fn refuse(self, why: JobError) -> (Done, Option<Self>) {
        match self {
            Self::Account(..) => (Done::Account(Err(why)), None),
            Self::Join { .. } => (Done::Joined(Err(why)), None),
            Self::Open { .. } => (Done::Opened(Err(why)), None),
            Self::Load(window) => {
                let refused = io::Error::new(io::ErrorKind::ResourceBusy, "no thread is free");
                (Done::Loaded(window, Err(refused)), None)
            }
            Self::Stat { .. }
            | Self::List { .. }
            | Self::Versions { .. }
            | Self::Delete { .. }
            | Self::Restore { .. }
            | Self::Begin { .. }
            | Self::Resume { .. }
            | Self::FindCommitted(..) => (Done::Refused(why), None),
            // As if the connection had ended: the upload is kept if it can be resumed.
            Self::Claim(upload, _) | Self::Commit(upload) => {
                (Done::Refused(why), Some(Self::Release(upload)))
            }
            Self::FinishCommit(mut commit) => {
                if why.code != ErrorCode::Busy {
                    commit.remove_on_drop();
                }
                (Done::Refused(why), Some(Self::Release(commit)))
            }
            Self::TakeOver(take_over, _) => (Done::Refused(why), Some(Self::Release(take_over))),
            Self::Append(Append { upload, end, buffers, .. }) => {
                (Done::Appended { upload: Err(why), end, buffers }, Some(Self::Release(upload)))
            }
            Self::Abort(_) => (Done::Refused(why), Some(self)),
            Self::Release(_) | Self::Expire(_) => (Done::Finished, Some(self)),
        }
    }
}

impl InDoubt {
    /// The end of a Resume, unless the upload may have been committed: then there is no staging
    /// file any more, and `Exists` or `Older` is caused by the upload's own version.
    fn resumed(self, resumed: Result<Upload, StoreError>) -> Step {
        match resumed {
            Err(e @ (StoreError::NotFound | StoreError::Exists(_) | StoreError::Older { .. })) => {
                self.await_lock(e)
            }
            resumed => Step::Done(opened(&self.key, resumed)),
        }
    }

    fn await_lock(self, error: StoreError) -> Step {
        let (home, name) = (self.store.clone(), LockName::of_object(&self.key));
        await_lock(home, name, Job::FindCommitted(self, error))
    }
}

/// A job that waits for a lock from now on.
fn await_lock(store: Store, name: LockName, job: Job) -> Step {
    Step::AwaitLock(store, name, Instant::now() + LOCK_WAIT_MAX, job)
}

/// A commit that waits for its lock, for the first time or again: in all as long as any job.
fn await_commit(commit: Box<PendingCommit>) -> Step {
    let (store, name) = (commit.store().clone(), LockName::of_object(commit.key()));
    Step::AwaitLock(store, name, commit.until(), Job::FinishCommit(commit))
}

impl Append {
    fn run(self) -> Done {
        let Self { mut upload, start, buffers, end } = self;
        let written = (|| {
            if let Some((length, digest)) = start {
                upload.start_slice(length, digest)?;
            }
            for buffer in &buffers {
                upload.write(buffer.filled())?;
            }
            if end { upload.end_slice() } else { Ok(()) }
        })();
        let upload = match written {
            Ok(()) => Ok(upload),
            // Dropping the upload removes its staging file, which is work for the disk and so done
            // here.
            Err(e) => Err(JobError::of(e.into())),
        };
        Done::Appended { upload, end, buffers }
    }
}

fn opened(key: &ObjectKey, upload: Result<Upload, StoreError>) -> Done {
    match upload {
        Ok(upload) => Done::Begun(Box::new(upload)),
        Err(e) => Done::Refused(JobError::about(key)(e.into())),
    }
}

fn answer_of<E: Into<OpenError>>(key: &ObjectKey, result: Result<Response, E>) -> Done {
    result.map_or_else(|e| Done::Refused(JobError::about(key)(e.into())), Done::Answer)
}

fn answer<E: Into<OpenError>>(result: Result<Response, E>) -> Done {
    result.map_or_else(|e| Done::Refused(JobError::of(e.into())), Done::Answer)
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Account(..) => "Account",
            Self::Join { .. } => "Join",
            Self::Open { .. } => "Open",
            Self::Load(_) => "Load",
            Self::Stat { .. } => "Stat",
            Self::List { .. } => "List",
            Self::Versions { .. } => "Versions",
            Self::Delete { .. } => "Delete",
            Self::Restore { .. } => "Restore",
            Self::Begin { .. } => "Begin",
            Self::Resume { .. } => "Resume",
            Self::Claim(..) => "Claim",
            Self::Append(_) => "Append",
            Self::Commit(_) => "Commit",
            Self::FinishCommit(_) => "FinishCommit",
            Self::TakeOver(..) => "TakeOver",
            Self::FindCommitted(..) => "FindCommitted",
            Self::Abort(_) => "Abort",
            Self::Release(_) => "Release",
            Self::Expire(_) => "Expire",
        })
    }
}
