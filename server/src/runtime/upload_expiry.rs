//! The thread that has a pool remove the interrupted uploads which were not resumed in time: at the
//! start, and every hour.

use std::{
    fmt, io,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use tracing::error;

use crate::{
    jobs::{Device, Job, Pools},
    mounts::Mounts,
    store::Store,
    sys::threads,
};

/// How often the stores are searched for expired uploads.
pub(crate) const INTERVAL: Duration = Duration::from_secs(60 * 60);

/// A handle to the thread.
#[derive(Clone)]
pub(crate) struct UploadExpiryHandle {
    commands: Sender<Command>,
    keep: Duration,
}

/// The thread. Dropping this value ends it.
pub(crate) struct UploadExpiry {
    handle: UploadExpiryHandle,
    thread: Option<JoinHandle<()>>,
}

enum Command {
    /// The stores to search from now on, beginning at once.
    SetStores(Vec<Store>),
    Stop,
}

impl UploadExpiry {
    /// Starts the thread for the stores of `mounts`, which keep uploads for `keep`. The thread
    /// has them searched by `pools` once every `every`.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub(crate) fn start(
        mounts: &Mounts,
        keep: Duration,
        every: Duration,
        pools: &Pools,
    ) -> io::Result<Self> {
        let (commands, received) = bounded(1);
        let pools = pools.clone();
        let run = move || run(&received, every, &pools);
        let thread = threads::spawn("upload-expiry", run)?;
        let handle = UploadExpiryHandle { commands, keep };
        handle.set_stores(mounts);
        Ok(Self { handle, thread: Some(thread) })
    }

    /// A handle to the thread.
    pub(crate) fn handle(&self) -> UploadExpiryHandle {
        self.handle.clone()
    }
}

impl Drop for UploadExpiry {
    fn drop(&mut self) {
        // Sending fails only if the thread has ended.
        let _stopped = self.handle.commands.send(Command::Stop);
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            error!("the thread that removes expired uploads has panicked");
        }
    }
}

impl UploadExpiryHandle {
    /// Sets the stores to search from now on: those of `mounts`, and no others.
    pub(crate) fn set_stores(&self, mounts: &Mounts) {
        let stores: Vec<Store> = mounts.stores().cloned().collect();
        stores.iter().for_each(|store| store.keep_uploads(self.keep));
        if self.commands.send(Command::SetStores(stores)).is_err() {
            error!("the thread that removes expired uploads is gone");
        }
    }
}

impl fmt::Debug for UploadExpiryHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UploadExpiryHandle").field("keep", &self.keep).finish_non_exhaustive()
    }
}

fn run(received: &Receiver<Command>, every: Duration, pools: &Pools) {
    let mut stores = Vec::new();
    loop {
        match received.recv_timeout(every) {
            Ok(Command::SetStores(others)) => stores = others,
            Err(RecvTimeoutError::Timeout) => {}
            Ok(Command::Stop) | Err(RecvTimeoutError::Disconnected) => return,
        }
        for store in &stores {
            pools.discard(Job::Expire(store.clone()), Device::Local, Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path, thread, time::SystemTime};

    use zput_proto::{
        digest::Digest,
        message::{Condition, Kind},
        name::ObjectKey,
    };

    use super::*;
    use crate::{mounts::Policy, store::Clock};

    /// Leaves an interrupted upload in the store of `dir`, last modified `seconds_ago`.
    fn leave_upload(store: &Store, dir: &Path, seconds_ago: u64) {
        let header = zput_framed::header(b"k", 300, 24, 1, [7; 32]);
        let key = ObjectKey::new("k").unwrap();
        let mut upload = store.begin(&key, Kind::Sealed, Condition::Any, None).unwrap();
        upload.write_header(&header, Digest::of(&header)).unwrap();
        let part = vec![1; 1_048_576];
        upload.start_slice(1_048_576, Digest::of(&part)).unwrap();
        upload.write(&part).unwrap();
        upload.end_slice().unwrap();
        drop(upload);
        let [file] = &staged_files(dir)[..] else { panic!("{:?}", staged_files(dir)) };
        let file = fs::File::options().write(true).open(file).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(seconds_ago)).unwrap();
    }

    fn staged_files(dir: &Path) -> Vec<std::path::PathBuf> {
        let files = fs::read_dir(dir.join("staging")).unwrap();
        files.map(|file| file.unwrap().path()).collect()
    }

    /// UploadExpiry removes expired uploads of served stores at its start and periodically.
    #[test]
    fn upload_expiry_removes_old_uploads_of_served_stores() {
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let [one, two] =
            dirs.each_ref().map(|dir| Store::open(dir.path(), Clock::system()).unwrap());
        let mounts = |store: &Store| Mounts::of_store(store.clone(), Policy::PRIVATE);
        let gone = |dir: &Path| {
            for _ in 0..1000 {
                if staged_files(dir).is_empty() {
                    return true;
                }
                thread::sleep(Duration::from_millis(10));
            }
            false
        };
        leave_upload(&one, dirs[0].path(), 60);
        let (keep, every) = (Duration::from_secs(30), Duration::from_millis(50));
        let pools = Pools::for_test();
        let expiry = UploadExpiry::start(&mounts(&one), keep, every, &pools).unwrap();
        assert!(gone(dirs[0].path()), "at the start");
        leave_upload(&one, dirs[0].path(), 60);
        assert!(gone(dirs[0].path()), "later");
        // Other mounts are served: their uploads expire, and those of a store that is no longer
        // served are kept.
        leave_upload(&two, dirs[1].path(), 60);
        expiry.handle().set_stores(&mounts(&two));
        assert!(gone(dirs[1].path()), "of other mounts");
        leave_upload(&one, dirs[0].path(), 60);
        thread::sleep(Duration::from_millis(300));
        assert_eq!(staged_files(dirs[0].path()).len(), 1);
        // A recent upload stays.
        leave_upload(&two, dirs[1].path(), 10);
        thread::sleep(Duration::from_millis(300));
        assert_eq!(staged_files(dirs[1].path()).len(), 1);
    }
}
