use std::{
    net::{IpAddr, Ipv4Addr},
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
    thread,
};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::*;

/// A job of the tests: what it does, and what it does instead when it is refused.
struct Job {
    run: Box<dyn FnOnce() + Send>,
    refused: Option<Box<dyn FnOnce() -> Option<Job> + Send>>,
}

impl Job {
    fn new(run: impl FnOnce() + Send + 'static) -> Self {
        Self { run: Box::new(run), refused: None }
    }
}

impl Work for Job {
    fn is_refusable(&self) -> bool {
        self.refused.is_some()
    }

    fn run(self) {
        (self.run)();
    }

    fn refuse(self) -> Option<Self> {
        self.refused.and_then(|refused| refused())
    }
}

const SECONDS: Duration = Duration::from_secs(20);

fn size(min_threads: usize, max_threads: usize) -> Size {
    Size { min_threads, ..Size::up_to(max_threads, "test", 20_000) }
}

fn pool(least: usize, most: usize, idle: Duration) -> (Pool<Job>, PoolThreads<Job>) {
    Pool::new(Size { idle, ..size(least, most) }, Arc::default())
}

fn submit(pool: &Pool<Job>, job: impl FnOnce() + Send + 'static) {
    submit_for(pool, Device::Local, job);
}

fn submit_for(pool: &Pool<Job>, device: Device, job: impl FnOnce() + Send + 'static) {
    let submitted = pool.submit(device, Job::new(job), Instant::now());
    assert!(submitted.is_ok(), "the queue is full");
}

fn device(number: u32) -> Device {
    Device::Client(IpAddr::V4(Ipv4Addr::from_bits(number)))
}

fn threads(pool: &Pool<Job>) -> usize {
    pool.0.0.state().threads
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
            // It ends when a word is said to it, or when the gate opens.
            let _said = wait.recv();
        }
    }

    fn wait_entered(&self) {
        self.entered.recv_timeout(SECONDS).unwrap();
    }

    /// Lets one job end.
    fn release_one(&self) {
        self.open.as_ref().unwrap().send_timeout((), SECONDS).unwrap();
    }

    fn open(&mut self) {
        self.open = None;
    }
}

/// The pool starts its least number of threads with the first job.
#[test]
fn pool_starts_no_thread_before_first_job() {
    let (pool, running) = pool(2, 4, IDLE);
    assert_eq!(threads(&pool), 0);
    let mut gate = Gate::new();
    submit(&pool, gate.job());
    gate.wait_entered();
    assert_eq!(threads(&pool), 2);
    gate.open();
    drop(pool);
    running.join();
}

/// While jobs of two devices wait, neither gets more than half of the threads.
#[test]
fn pool_gives_no_device_more_than_half_its_threads() {
    let (pool, running) = pool(1, 6, IDLE);
    let (mut greedy, mut modest) = (Gate::new(), Gate::new());
    // Both queue more jobs than there are threads before any of them begins.
    let (begin, wait) = bounded::<()>(0);
    for _ in 0..6 {
        let wait = wait.clone();
        submit(&pool, move || assert!(wait.recv().is_err()));
    }
    wait_for("the threads are not at work", || pool.0.0.state().tasks.len() == 0);
    (0..40).for_each(|_| submit_for(&pool, device(1), greedy.job()));
    (0..40).for_each(|_| submit_for(&pool, device(2), modest.job()));
    drop(begin);
    for gate in [&greedy, &modest] {
        (0..3).for_each(|_| gate.wait_entered());
    }
    let more = |gate: &Gate| gate.entered.recv_timeout(Duration::from_millis(50)).is_ok();
    assert!(!more(&greedy) && !more(&modest), "a seventh job runs");
    // The thread that a device gives up comes back to it, also when it is the other one's turn.
    for _ in 0..3 {
        for (gate, other) in [(&modest, &greedy), (&greedy, &modest)] {
            for _ in 0..2 {
                gate.release_one();
                gate.wait_entered();
                assert!(!more(other), "it has four threads of six");
            }
        }
    }
    // Without jobs of the other device that wait, a device gets all threads.
    modest.open();
    (0..31).for_each(|_| modest.wait_entered());
    (0..3).for_each(|_| greedy.wait_entered());
    greedy.open();
    drop(pool);
    running.join();
}

/// A device that comes while another one has all threads gets the next one that becomes free.
#[test]
fn pool_serves_new_device_before_longer_queue() {
    let (pool, running) = pool(1, 4, IDLE);
    let (mut first, mut second) = (Gate::new(), Gate::new());
    (0..100).for_each(|_| submit_for(&pool, device(1), first.job()));
    (0..4).for_each(|_| first.wait_entered());
    submit_for(&pool, device(2), second.job());
    first.release_one();
    second.wait_entered();
    assert!(first.entered.try_recv().is_err(), "the longer queue was served first");
    first.open();
    second.open();
    drop(pool);
    running.join();
}

/// A job that has waited too long is refused while all threads are at work, and what remains to be
/// done for it is done later.
#[test]
fn pool_refuses_late_job_while_all_threads_work() {
    let size = Size { max_wait: Some(Duration::from_millis(50)), ..size(1, 2) };
    assert_eq!(Size::up_to(2, "test", 9).max_wait, Some(Duration::from_secs(10)));
    let (pool, running) = Pool::new(size, Arc::default());
    let mut gate = Gate::new();
    for _ in 0..2 {
        submit(&pool, gate.job());
        gate.wait_entered();
    }
    let (tell, told) = bounded(100);
    let job = |name: &'static str| {
        let (run, refused, rest) = (tell.clone(), tell.clone(), tell.clone());
        let mut job = Job::new(move || run.send(("ran", name)).unwrap());
        job.refused = Some(Box::new(move || {
            refused.send(("refused", name)).unwrap();
            Some(Job::new(move || rest.send(("rest", name)).unwrap()))
        }));
        job
    };
    // By their own clocks, so long ago that they are late at once, and so late that they never are.
    let now = Instant::now();
    let mut unbounded = job("unbounded");
    unbounded.refused = None;
    for (job, when) in [
        (job("first"), now),
        (unbounded, now),
        (job("second"), now),
        (job("patient"), now + Duration::from_secs(3600)),
    ] {
        assert!(pool.submit(device(1), job, when).is_ok());
    }
    assert_eq!(told.recv_timeout(SECONDS), Ok(("refused", "first")));
    assert_eq!(told.recv_timeout(SECONDS), Ok(("refused", "second")));
    assert!(told.recv_timeout(Duration::from_millis(50)).is_err(), "a third thread works");
    assert_eq!(threads(&pool), 2, "the timer is none of those that take jobs");
    gate.open();
    let mut then: Vec<_> = (0..4).map(|_| told.recv_timeout(SECONDS).unwrap()).collect();
    then.sort_unstable();
    let expected =
        [("ran", "patient"), ("ran", "unbounded"), ("rest", "first"), ("rest", "second")];
    assert_eq!(then, expected);
    drop(pool);
    running.join();
}

/// A thread that takes a job too late refuses it.
#[test]
fn pool_thread_refuses_job_that_it_takes_late() {
    let (pool, running) = pool(1, 1, IDLE);
    let (tell, told) = bounded(2);
    let (run, refused) = (tell.clone(), tell);
    let mut job = Job::new(move || run.send("ran").unwrap());
    job.refused = Some(Box::new(move || {
        refused.send("refused").unwrap();
        None
    }));
    let long_ago = Instant::now().checked_sub(Duration::from_secs(10)).unwrap();
    assert!(pool.submit(device(1), job, long_ago).is_ok());
    assert_eq!(told.recv_timeout(SECONDS), Ok("refused"));
    drop(pool);
    running.join();
}

/// A pool that is dropped while its timer waits ends at once.
#[test]
fn pool_timer_ends_with_pool() {
    let (pool, running) = pool(1, 1, IDLE);
    let mut gate = Gate::new();
    submit(&pool, gate.job());
    gate.wait_entered();
    let mut job = Job::new(|| ());
    job.refused = Some(Box::new(|| None));
    let far = Instant::now() + Duration::from_secs(3600);
    assert!(pool.submit(device(1), job, far).is_ok());
    assert!(pool.0.0.state().timed);
    gate.open();
    drop(pool);
    let joining = Instant::now();
    running.join();
    assert!(joining.elapsed() < SECONDS, "it waited for the deadline of the job");
}

/// The pool adds a thread for each blocked job, up to its maximum.
#[test]
fn pool_adds_thread_per_blocked_job_up_to_maximum() {
    let (pool, running) = pool(1, 4, IDLE);
    pool.start().unwrap();
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
        let handles = pool.0.0.state().handles.len();
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

/// A full queue, and a full queue of a device, return the job, and the metrics count threads and
/// queued jobs.
#[test]
fn pool_full_queue_returns_job_and_metrics_count_threads() {
    let metrics = Arc::new(PoolMetrics::default());
    let size = Size { max_queued: 3, max_queued_of_device: 2, ..size(1, 2) };
    let (pool, running) = Pool::new(size, Arc::clone(&metrics));
    let mut gate = Gate::new();
    for _ in 0..2 {
        submit(&pool, gate.job());
        gate.wait_entered();
    }
    (0..2).for_each(|_| submit(&pool, || ()));
    assert!(pool.submit(Device::Local, Job::new(|| ()), Instant::now()).is_err());
    submit_for(&pool, device(1), || ());
    assert!(pool.submit(device(2), Job::new(|| ()), Instant::now()).is_err());
    let shown = format!("{metrics:?}");
    assert_eq!(shown, "PoolMetrics { threads: 2, queued: 3 }");
    gate.open();
    drop(pool);
    running.join();
    assert_eq!(format!("{metrics:?}"), "PoolMetrics { threads: 0, queued: 0 }");
}
