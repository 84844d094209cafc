use std::{
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
    thread,
    time::Instant,
};

use super::*;

type Job = Box<dyn FnOnce() + Send>;

const SECONDS: Duration = Duration::from_secs(20);

fn pool(least: usize, most: usize, idle: Duration) -> (Pool<Job>, PoolThreads<Job>) {
    let size =
        Size { name: "test", min_threads: least, max_threads: most, max_queued: 20_000, idle };
    Pool::start(size, Arc::default(), |job: Job| job()).unwrap()
}

fn submit(pool: &Pool<Job>, job: impl FnOnce() + Send + 'static) {
    assert!(pool.submit(Box::new(job)).is_ok(), "the queue is full");
}

fn threads(pool: &Pool<Job>) -> usize {
    pool.shared.state().threads
}

fn wait_for(what: &str, mut is: impl FnMut() -> bool) {
    let until = Instant::now() + SECONDS;
    while !is() {
        assert!(Instant::now() < until, "{what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Jobs that block until they are released.
struct Gate {
    entered: Receiver<()>,
    enter: Sender<()>,
    open: Option<Sender<()>>,
    wait: Receiver<()>,
}

impl Gate {
    fn new() -> Self {
        let (enter, entered) = bounded(1000);
        let (open, wait) = bounded(0);
        Self { entered, enter, open: Some(open), wait }
    }

    fn job(&self) -> impl FnOnce() + Send + 'static {
        let (enter, wait) = (self.enter.clone(), self.wait.clone());
        move || {
            enter.send(()).unwrap();
            assert!(wait.recv().is_err(), "it opens by being dropped");
        }
    }

    fn wait_entered(&self) {
        self.entered.recv_timeout(SECONDS).unwrap();
    }

    fn open(&mut self) {
        self.open = None;
    }
}

/// The pool adds a thread for each blocked job, up to its maximum.
#[test]
fn pool_adds_thread_per_blocked_job_up_to_maximum() {
    let (pool, running) = pool(1, 4, IDLE);
    assert_eq!(threads(&pool), 1);
    let mut gate = Gate::new();
    for n in 1..=4 {
        submit(&pool, gate.job());
        gate.wait_entered();
        assert_eq!(threads(&pool), n);
    }
    for _ in 0..50 {
        submit(&pool, gate.job());
    }
    let fifth = gate.entered.recv_timeout(Duration::from_millis(100));
    assert!(fifth.is_err(), "a fifth job runs");
    assert_eq!(threads(&pool), 4);
    gate.open();
    (0..50).for_each(|_| gate.wait_entered());
    drop(pool);
    running.join();
}

/// No job waits in the pool while a thread can be added.
#[test]
fn pool_starts_job_while_thread_can_be_added() {
    for _ in 0..300 {
        let (pool, running) = pool(1, 3, IDLE);
        let mut gate = Gate::new();
        // No time between them: the first may be taken while the second comes.
        submit(&pool, gate.job());
        submit(&pool, gate.job());
        submit(&pool, gate.job());
        (0..3).for_each(|_| gate.wait_entered());
        gate.open();
        drop(pool);
        running.join();
    }
}

/// The pool runs 10,000 jobs of four senders on no more threads than its maximum.
#[test]
fn pool_runs_10_000_jobs_of_four_senders_within_thread_limit() {
    let (pool, running) = pool(1, 5, Duration::from_millis(1));
    let [now, peak, done] = [(); 3].map(|()| Arc::new(AtomicUsize::new(0)));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for n in 0..2_500 {
                    let (now, peak, done) =
                        (Arc::clone(&now), Arc::clone(&peak), Arc::clone(&done));
                    submit(&pool, move || {
                        peak.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
                        if n % 100 == 0 {
                            thread::sleep(Duration::from_micros(300));
                        }
                        now.fetch_sub(1, SeqCst);
                        done.fetch_add(1, SeqCst);
                    });
                    if n % 500 == 0 {
                        // Some threads end meanwhile.
                        thread::sleep(Duration::from_millis(5));
                    }
                    assert!(threads(&pool) <= 5);
                }
            });
        }
    });
    drop(pool);
    running.join();
    assert_eq!(done.load(SeqCst), 10_000);
    assert!((2..=5).contains(&peak.load(SeqCst)), "{peak:?} jobs at once");
}

/// The pool ends idle threads down to its minimum and adds them again under load.
#[test]
fn pool_ends_idle_threads_and_adds_them_again() {
    let (pool, running) = pool(2, 6, Duration::from_millis(20));
    for round in 0..3 {
        let mut gate = Gate::new();
        (0..6).for_each(|_| submit(&pool, gate.job()));
        (0..6).for_each(|_| gate.wait_entered());
        assert_eq!(threads(&pool), 6, "round {round}");
        let handles = pool.shared.state().handles.len();
        assert_eq!(handles, 6, "round {round}: ended threads are kept");
        gate.open();
        wait_for("the threads stay", || threads(&pool) == 2);
        thread::sleep(Duration::from_millis(60));
        assert_eq!(threads(&pool), 2, "fewer than the least");
    }
    drop(pool);
    running.join();
}

/// The pool finishes all queued jobs before join returns.
#[test]
fn pool_finishes_queued_jobs_before_join_returns() {
    let (pool, running) = pool(1, 3, IDLE);
    let done = Arc::new(AtomicUsize::new(0));
    for _ in 0..500 {
        let done = Arc::clone(&done);
        submit(&pool, move || {
            thread::sleep(Duration::from_micros(50));
            done.fetch_add(1, SeqCst);
        });
    }
    drop(pool);
    running.join();
    assert_eq!(done.load(SeqCst), 500);
}

/// A job that panics ends no pool thread.
#[test]
fn pool_thread_survives_panic_of_job() {
    let (pool, running) = pool(1, 1, IDLE);
    let (done, finished) = bounded(1);
    submit(&pool, || panic!("in a test job"));
    submit(&pool, move || done.send(()).unwrap());
    finished.recv_timeout(SECONDS).unwrap();
    assert_eq!(threads(&pool), 1);
    drop(pool);
    running.join();
}

/// A full queue returns the job, and the metrics count threads and queued jobs.
#[test]
fn pool_full_queue_returns_job_and_metrics_count_threads() {
    let metrics = Arc::new(PoolMetrics::default());
    let size = Size { name: "test", min_threads: 1, max_threads: 2, max_queued: 3, idle: IDLE };
    let (pool, running) = Pool::start(size, Arc::clone(&metrics), |job: Job| job()).unwrap();
    let mut gate = Gate::new();
    for _ in 0..2 {
        submit(&pool, gate.job());
        gate.wait_entered();
    }
    (0..3).for_each(|_| submit(&pool, || ()));
    assert!(pool.submit(Box::new(|| ())).is_err());
    let shown = format!("{metrics:?}");
    assert_eq!(shown, "PoolMetrics { threads: 2, queued: 3 }");
    gate.open();
    drop(pool);
    running.join();
    assert_eq!(format!("{metrics:?}"), "PoolMetrics { threads: 0, queued: 0 }");
}
