use std::{
    fs::{self, File},
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    sync::mpsc::{Receiver, Sender, channel},
    thread,
};

use tempfile::TempDir;
use zput_proto::name::ObjectKey;

use super::*;
use crate::store::Clock;

/// Longer than anything takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// What happened to a job, with its device's letter and its number.
#[derive(Debug)]
enum Event {
    GoesOn(char, Option<Lock>),
    Failed(char, ErrorCode),
    Ended(char),
}

struct Job {
    device: char,
    events: Sender<Event>,
    /// When the lease that it waits for comes free.
    ready_at: Instant,
}

impl Waiter for Job {
    fn device(&self) -> Device {
        Device::Client(IpAddr::V4(Ipv4Addr::from_bits(u32::from(self.device))))
    }

    fn is_ready(&mut self, now: Instant) -> bool {
        now >= self.ready_at
    }

    fn go_on(self, lock: Option<Lock>) {
        _ = self.events.send(Event::GoesOn(self.device, lock));
    }

    fn fail(self, why: JobError) {
        _ = self.events.send(Event::Failed(self.device, why.code));
    }

    fn end(self) {
        _ = self.events.send(Event::Ended(self.device));
    }
}

/// Queues for the locks of a store.
struct Bench {
    queues: LockQueues<Job>,
    metrics: Arc<LockMetrics>,
    store: Store,
    name: LockName,
    events: (Sender<Event>, Receiver<Event>),
    dir: TempDir,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), Clock::system()).unwrap();
        let metrics = Arc::new(LockMetrics::default());
        let queues = LockQueues::new(Arc::clone(&metrics));
        let name = LockName::of_object(&ObjectKey::new("k").unwrap());
        Self { queues, metrics, store, name, events: channel(), dir }
    }

    fn job(&self, device: char) -> Job {
        Job { device, events: self.events.0.clone(), ready_at: Instant::now() }
    }

    /// Lets a job of a device take the lock, or wait for it for so long.
    fn acquire(&self, device: char, wait: Duration) -> Option<Lock> {
        let until = Instant::now() + wait;
        let taken = self.queues.acquire(self.job(device), &self.store, self.name, until);
        taken.map(|(_, lock)| lock)
    }

    fn event(&self) -> Event {
        self.events.1.recv_timeout(PATIENCE).unwrap()
    }

    #[track_caller]
    fn assert_failed(&self, device: char) {
        let event = self.event();
        let Event::Failed(failed, ErrorCode::Busy) = event else { panic!("{event:?}") };
        assert_eq!(failed, device);
    }

    /// The job that goes on next, and its lock.
    #[track_caller]
    fn goes_on(&self) -> (char, Lock) {
        let event = self.event();
        let Event::GoesOn(device, Some(lock)) = event else { panic!("{event:?}") };
        (device, lock)
    }

    /// Jobs that wait.
    fn waiting(&self) -> String {
        format!("{:?}", self.metrics)
    }

    /// The lock's file. SHA-256 of "k" begins with 82.
    fn lock_file(&self) -> PathBuf {
        self.dir.path().join("locks/82")
    }

    /// The lock's file, opened as by another process, which makes it.
    fn other(&self) -> File {
        fs::create_dir_all(self.dir.path().join("locks")).unwrap();
        let mut options = File::options();
        options.write(true).create(true).truncate(false).open(self.lock_file()).unwrap()
    }
}

/// A lock goes from job to job, by turns of their devices and in each by age. 16 jobs of a device
/// may wait for a lock, and 64 in all.
#[test]
fn lock_queue_serves_devices_in_turn_and_is_bounded() {
    let bench = Bench::new();
    let mut lock = bench.acquire('x', PATIENCE).expect("it is free");
    for device in "aaaaaaaaaaaaaaaa".chars() {
        assert!(bench.acquire(device, PATIENCE).is_none());
    }
    assert!(bench.acquire('a', PATIENCE).is_none());
    bench.assert_failed('a');
    for device in "bbcbbbbbbbbbbbbbbb".chars() {
        assert!(bench.acquire(device, PATIENCE).is_none());
    }
    bench.assert_failed('b');
    for device in "ccccccccccccccccdddddddddddddddddd".chars() {
        assert!(bench.acquire(device, PATIENCE).is_none());
    }
    ['c', 'd', 'd'].into_iter().for_each(|device| bench.assert_failed(device));
    assert_eq!(bench.waiting(), "LockMetrics { for_locks: 64, for_leases: 0 }");
    assert!(bench.acquire('e', PATIENCE).is_none());
    bench.assert_failed('e');
    let mut order = String::new();
    for _ in 0..64 {
        drop(lock);
        let (device, next) = bench.goes_on();
        order.push(device);
        lock = next;
    }
    assert_eq!(order, "abcd".repeat(16));
    assert!(bench.events.1.try_recv().is_err(), "one job at a time has the lock");
    drop(lock);
    assert_eq!(bench.waiting(), "LockMetrics { for_locks: 0, for_leases: 0 }");
    assert!(bench.acquire('f', PATIENCE).is_some(), "it is free again");
    assert!(bench.queues.state().queues.is_empty());
}

/// A job waits no longer than it may, whether a job of this server has the lock or another process.
/// One that may wait longer gets the lock when it is released.
#[test]
fn lock_queue_ends_wait_after_its_time() {
    let bench = Bench::new();
    for is_elsewhere in [true, false] {
        let other = bench.other();
        let held = if is_elsewhere {
            other.lock().unwrap();
            None
        } else {
            Some(bench.acquire('x', PATIENCE).unwrap())
        };
        let begun = Instant::now();
        assert!(bench.acquire('a', Duration::from_millis(300)).is_none());
        assert!(bench.acquire('b', PATIENCE).is_none());
        bench.assert_failed('a');
        let waited = begun.elapsed();
        assert!(waited >= Duration::from_millis(300), "{waited:?}");
        assert!(waited < Duration::from_secs(5), "{waited:?}");
        drop((held, other));
        assert_eq!(bench.goes_on().0, 'b');
    }
}

/// While jobs of this server follow each other, another process gets the lock.
#[test]
fn lock_queue_leaves_lock_to_other_process() {
    let bench = Bench::new();
    let other = bench.other();
    let mut lock = bench.acquire('a', PATIENCE).unwrap();
    assert!(bench.acquire('b', PATIENCE).is_none());
    let other = thread::spawn(move || {
        let begun = Instant::now();
        while other.try_lock().is_err() {
            assert!(begun.elapsed() < PATIENCE, "it never gets the lock");
            thread::sleep(PAUSE_MAX);
        }
        (begun.elapsed(), other)
    });
    let mut handed_on = 0;
    while !other.is_finished() {
        // Another one waits at each moment.
        assert!(bench.acquire('a', PATIENCE).is_none());
        drop(lock);
        lock = match bench.events.1.recv_timeout(Duration::from_secs(5)) {
            Ok(Event::GoesOn(_, Some(lock))) => lock,
            Err(_) if other.is_finished() => break,
            event => panic!("{event:?}"),
        };
        handed_on += 1;
    }
    let (waited, other) = other.join().unwrap();
    assert!(handed_on > 0 && waited < Duration::from_secs(10), "{handed_on} jobs in {waited:?}");
    // Then it is this server's turn again.
    drop(other);
    bench.goes_on();
}

/// The lock of a file that was removed is not handed on: the next job has that of the new file.
#[test]
fn lock_queue_follows_replaced_lock_file() {
    let bench = Bench::new();
    let lock = bench.acquire('a', PATIENCE).unwrap();
    assert!(bench.acquire('b', PATIENCE).is_none());
    fs::remove_file(bench.lock_file()).unwrap();
    drop(lock);
    let (device, lock) = bench.goes_on();
    assert_eq!(device, 'b');
    let other = bench.other();
    assert!(other.try_lock().is_err(), "the job has the lock of no file");
    drop(lock);
    other.try_lock().unwrap();
}

/// The job of a closed connection stops waiting, and the others go on.
#[test]
fn lock_queue_ends_job_of_closed_connection() {
    let bench = Bench::new();
    let lock = bench.acquire('x', PATIENCE).unwrap();
    "abc".chars().for_each(|device| assert!(bench.acquire(device, PATIENCE).is_none()));
    let ready_at = Instant::now() + PATIENCE;
    "lb".chars().for_each(|device| bench.queues.await_lease(Job { ready_at, ..bench.job(device) }));
    bench.queues.cancel(|job| job.device == 'b');
    assert!(matches!(bench.event(), Event::Ended('b')));
    assert!(matches!(bench.event(), Event::Ended('b')));
    assert_eq!(bench.waiting(), "LockMetrics { for_locks: 2, for_leases: 1 }");
    drop(lock);
    let (device, lock) = bench.goes_on();
    assert_eq!(device, 'a');
    drop(lock);
    assert_eq!(bench.goes_on().0, 'c');
}

/// A server that stops ends all jobs that wait, and lets none wait any more.
#[test]
fn lock_queue_ends_all_jobs_when_closed() {
    let bench = Bench::new();
    let lock = bench.acquire('x', PATIENCE).unwrap();
    assert!(bench.acquire('a', PATIENCE).is_none());
    let ready_at = Instant::now() + PATIENCE;
    bench.queues.await_lease(Job { ready_at, ..bench.job('l') });
    bench.queues.close();
    bench.assert_failed('l');
    bench.assert_failed('a');
    assert!(bench.acquire('b', PATIENCE).is_none());
    bench.assert_failed('b');
    bench.queues.await_lease(bench.job('m'));
    bench.assert_failed('m');
    let begun = Instant::now();
    bench.queues.join();
    assert!(begun.elapsed() < IDLE, "the timer went on");
    drop(lock);
    assert!(bench.acquire('c', PATIENCE).is_some(), "what need not wait is done");
}

/// A job that waits for a lease goes on when it is ready, without a lock.
#[test]
fn lock_queue_asks_for_lease_until_job_is_ready() {
    let bench = Bench::new();
    let begun = Instant::now();
    let ready_at = begun + Duration::from_millis(200);
    bench.queues.await_lease(Job { ready_at, ..bench.job('l') });
    let event = bench.event();
    assert!(matches!(event, Event::GoesOn('l', None)), "{event:?}");
    assert!(Instant::now() >= ready_at && begun.elapsed() < Duration::from_secs(5));
}

/// A lock that cannot be opened fails the jobs that wait for it, one at each try.
#[test]
fn lock_queue_fails_jobs_whose_lock_cannot_be_opened() {
    let bench = Bench::new();
    let other = bench.other();
    other.lock().unwrap();
    "ab".chars().for_each(|device| assert!(bench.acquire(device, PATIENCE).is_none()));
    fs::remove_file(bench.lock_file()).unwrap();
    std::os::unix::fs::symlink("nowhere", bench.lock_file()).unwrap();
    for device in ['a', 'b'] {
        let event = bench.event();
        let Event::Failed(failed, ErrorCode::Unreadable) = event else { panic!("{event:?}") };
        assert_eq!(failed, device);
    }
}

/// A job whose time is over when its lock turns out not to open is answered too.
#[test]
fn lock_queue_fails_late_jobs_whose_lock_cannot_be_opened() {
    let bench = Bench::new();
    let lock = bench.acquire('x', PATIENCE).unwrap();
    // As if the time of `b` were over between the timer's look at the queue and its try. No timer
    // runs here that could end its wait.
    let mut state = bench.queues.state();
    let id = (bench.store.id(), bench.name);
    let jobs = &mut state.queues.get_mut(&id).unwrap().jobs;
    for (device, until) in [('b', Instant::now()), ('c', Instant::now() + PATIENCE)] {
        let job = bench.job(device);
        assert!(jobs.push(job.device(), job, Some(until)).is_ok());
    }
    drop(state);
    fs::remove_file(bench.lock_file()).unwrap();
    std::os::unix::fs::symlink("nowhere", bench.lock_file()).unwrap();
    bench.queues.try_for(id, &bench.store, PAUSE_MIN);
    bench.assert_failed('b');
    let event = bench.event();
    assert!(matches!(event, Event::Failed('c', ErrorCode::Unreadable)), "{event:?}");
    drop(lock);
}
