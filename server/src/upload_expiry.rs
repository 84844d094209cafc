//! The thread that removes uploads which nobody has resumed in time: at the start, and every hour.

use std::{fmt, io, thread::JoinHandle, time::Duration};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use tracing::{error, info, warn};

use crate::{mounts::Mounts, store::Store, sys::threads};

/// How often it looks.
pub(crate) const EVERY: Duration = Duration::from_secs(60 * 60);

/// The way to it.
#[derive(Clone)]
pub(crate) struct Sweeping {
    orders: Sender<Order>,
    keep: Duration,
}

/// The thread. Dropping it ends it.
pub(crate) struct Sweeper {
    sweeping: Sweeping,
    thread: Option<JoinHandle<()>>,
}

enum Order {
    /// These from now on, and at once.
    Sweep(Vec<Store>),
    Stop,
}

impl Sweeper {
    /// Starts the thread, for stores that keep uploads for so long.
    ///
    /// # Errors
    /// When it cannot be had.
    pub(crate) fn start(mounts: &Mounts, keep: Duration, every: Duration) -> io::Result<Self> {
        let (orders, incoming) = bounded(1);
        let run = move || sweep_on(&incoming, every);
        let thread = threads::begin("sweeper", run)?;
        let sweeping = Sweeping { orders, keep };
        sweeping.sweep(mounts);
        Ok(Self { sweeping, thread: Some(thread) })
    }

    /// The way to it.
    pub(crate) fn sweeping(&self) -> Sweeping {
        self.sweeping.clone()
    }
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        // Whom it does not reach has ended.
        let _told = self.sweeping.orders.send(Order::Stop);
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            error!("the thread that removes old uploads has panicked");
        }
    }
}

impl Sweeping {
    /// The stores of these are swept from now on, and those alone.
    pub(crate) fn sweep(&self, mounts: &Mounts) {
        let stores: Vec<Store> = mounts.stores().cloned().collect();
        stores.iter().for_each(|store| store.keep_uploads(self.keep));
        if self.orders.send(Order::Sweep(stores)).is_err() {
            error!("the thread that removes old uploads is gone");
        }
    }
}

impl fmt::Debug for Sweeping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sweeping").field("keep", &self.keep).finish_non_exhaustive()
    }
}

fn sweep_on(incoming: &Receiver<Order>, every: Duration) {
    let mut stores = Vec::new();
    loop {
        match incoming.recv_timeout(every) {
            Ok(Order::Sweep(others)) => stores = others,
            Err(RecvTimeoutError::Timeout) => {}
            Ok(Order::Stop) | Err(RecvTimeoutError::Disconnected) => return,
        }
        for store in &stores {
            match store.expire_uploads() {
                Ok(0) => {}
                Ok(removed) => info!(removed, "removed uploads that nobody resumed in time"),
                Err(failure) => warn!(%failure, "cannot remove old uploads"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path, thread, time::SystemTime};

    use zput_common::{
        digest::Digest,
        name::ObjectKey,
        proto::message::{Condition, Kind},
    };

    use super::*;
    use crate::{mounts::Policy, store::Clock};

    /// Leaves an upload in the store of `dir` that was cut off so long ago.
    fn cut_off(store: &Store, dir: &Path, seconds_ago: u64) {
        let header = zput_framed::header(b"k", 300, 24, 1, [7; 32]);
        let key = ObjectKey::new("k").unwrap();
        let mut upload = store.begin(&key, Kind::Sealed, Condition::Any, None).unwrap();
        upload.write_header(&header, Digest::of(&header)).unwrap();
        let part = vec![1; 1_048_576];
        upload.start_slice(1_048_576, Digest::of(&part)).unwrap();
        upload.write(&part).unwrap();
        upload.end_slice().unwrap();
        drop(upload);
        let [file] = &staged(dir)[..] else { panic!("{:?}", staged(dir)) };
        let file = fs::File::options().write(true).open(file).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(seconds_ago)).unwrap();
    }

    fn staged(dir: &Path) -> Vec<std::path::PathBuf> {
        let files = fs::read_dir(dir.join("staging")).unwrap();
        files.map(|file| file.unwrap().path()).collect()
    }

    #[test]
    fn uploads_go_at_the_start_and_whenever_it_looks_again() {
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let [one, two] =
            dirs.each_ref().map(|dir| Store::open(dir.path(), Clock::system()).unwrap());
        let mounts = |store: &Store| Mounts::of_store(store.clone(), Policy::PRIVATE);
        let gone = |dir: &Path| {
            for _ in 0..1000 {
                if staged(dir).is_empty() {
                    return true;
                }
                thread::sleep(Duration::from_millis(10));
            }
            false
        };
        cut_off(&one, dirs[0].path(), 60);
        let (keep, every) = (Duration::from_secs(30), Duration::from_millis(50));
        let sweeper = Sweeper::start(&mounts(&one), keep, every).unwrap();
        assert!(gone(dirs[0].path()), "at the start");
        cut_off(&one, dirs[0].path(), 60);
        assert!(gone(dirs[0].path()), "later");
        // Other mounts are served: theirs go, and what is not served any more is left alone.
        cut_off(&two, dirs[1].path(), 60);
        sweeper.sweeping().sweep(&mounts(&two));
        assert!(gone(dirs[1].path()), "of other mounts");
        cut_off(&one, dirs[0].path(), 60);
        thread::sleep(Duration::from_millis(300));
        assert_eq!(staged(dirs[0].path()).len(), 1);
        // What is young stays.
        cut_off(&two, dirs[1].path(), 10);
        thread::sleep(Duration::from_millis(300));
        assert_eq!(staged(dirs[1].path()).len(), 1);
    }
}
