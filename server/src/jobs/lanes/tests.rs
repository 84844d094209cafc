use std::net::{IpAddr, Ipv4Addr};

use super::*;

/// A device for each letter.
fn device(name: char) -> Device {
    Device::Client(IpAddr::V4(Ipv4Addr::from_bits(u32::from(name))))
}

/// Lanes of a pool with so many threads, with a job of its device for each letter.
fn lanes(threads: usize, jobs: &str) -> Lanes<char> {
    let mut lanes = Lanes::new(LaneBounds { threads, queued: 100, queued_of_device: 90 });
    jobs.chars().for_each(|job| lanes.push(device(job), job, None).unwrap());
    lanes
}

/// The jobs that are running, in the order in which they were taken.
#[derive(Default)]
struct Running(Vec<Taken<char>>);

impl Running {
    fn take(&mut self, lanes: &mut Lanes<char>) -> Option<char> {
        let taken = lanes.take(Instant::now())?;
        let job = taken.job;
        self.0.push(taken);
        Some(job)
    }

    /// Takes jobs until no thread is free or nothing may run.
    fn fill(&mut self, lanes: &mut Lanes<char>) -> String {
        let mut taken = String::new();
        while self.0.len() < lanes.bounds.threads
            && let Some(job) = self.take(lanes)
        {
            taken.push(job);
        }
        taken
    }

    /// Ends the oldest job with this letter.
    fn end(&mut self, job: char, lanes: &mut Lanes<char>) {
        let at = self.0.iter().position(|taken| taken.job == job).unwrap();
        lanes.finish(self.0.remove(at).lane);
    }
}

/// Lanes serves devices in turn, and the jobs of each in their order.
#[test]
fn lanes_serve_devices_in_turn() {
    let mut lanes = lanes(100, "aaaabbc");
    assert_eq!(lanes.len(), 7);
    assert_eq!(Running::default().fill(&mut lanes), "abcabaa");
    assert_eq!(lanes.len(), 0);
    let mut lanes = Lanes::new(LaneBounds { threads: 9, queued: 9, queued_of_device: 9 });
    for (name, number) in [('a', 1), ('a', 2), ('b', 3), ('a', 4)] {
        lanes.push(device(name), number, None).unwrap();
    }
    let order: Vec<_> = (0..4).filter_map(|_| lanes.take(Instant::now())).collect();
    assert_eq!(order.iter().map(|taken| taken.job).collect::<Vec<_>>(), [1, 3, 2, 4]);
}

/// No device gets more than half of the threads while another one waits.
#[test]
fn lanes_give_no_device_more_than_half_while_another_waits() {
    let mut lanes = lanes(8, "aaaaaaaaaabbbbbbbbbb");
    let mut running = Running::default();
    assert_eq!(running.fill(&mut lanes), "abababab");
    // One more of `a` would be its fifth, although `a` is the one whose turn it is.
    running.end('b', &mut lanes);
    assert_eq!(running.fill(&mut lanes), "b");
    running.end('a', &mut lanes);
    assert_eq!(running.fill(&mut lanes), "a");
    // A third device gets the thread that becomes free, at its turn.
    lanes.push(device('c'), 'c', None).unwrap();
    running.end('b', &mut lanes);
    assert_eq!(running.fill(&mut lanes), "b", "the turn of b was before");
    running.end('b', &mut lanes);
    assert_eq!(running.fill(&mut lanes), "c");
}

/// A device that is alone gets all threads, and gives back those that become free beyond its half.
#[test]
fn lanes_give_all_threads_to_device_that_is_alone() {
    let mut lanes = lanes(4, "aaaaaaaa");
    let mut running = Running::default();
    assert_eq!(running.fill(&mut lanes), "aaaa");
    (0..4).for_each(|_| lanes.push(device('b'), 'b', None).unwrap());
    for expected in ["b", "b", "a"] {
        running.end('a', &mut lanes);
        assert_eq!(running.fill(&mut lanes), expected, "{} jobs run", running.0.len());
    }
    running.end('b', &mut lanes);
    assert_eq!(running.fill(&mut lanes), "b");
}

/// With an odd number of threads a device's half is rounded up, so that no thread is idle.
#[test]
fn lanes_leave_no_thread_idle_while_jobs_wait() {
    for threads in 1..8 {
        for jobs in ["aaaaaaaaaaaaaaaa", "aaaaaaaabbbbbbbb", "aaaaaaaaaaaabbcd"] {
            let (mut lanes, mut running) = (lanes(threads, jobs), Running::default());
            let mut taken = running.fill(&mut lanes).len();
            while taken < jobs.len() {
                assert_eq!(running.0.len(), threads.min(jobs.len()), "{threads} threads, {jobs}");
                let oldest = running.0[0].job;
                running.end(oldest, &mut lanes);
                taken += running.fill(&mut lanes).len();
            }
        }
    }
}

/// A full queue, and a device's full queue, return the job.
#[test]
fn lanes_are_bounded_by_device_and_over_all() {
    let mut lanes = Lanes::new(LaneBounds { threads: 2, queued: 5, queued_of_device: 3 });
    let mut push = |name| lanes.push(device(name), name, None);
    assert_eq!(['a', 'a', 'a', 'a'].map(&mut push), [Ok(()), Ok(()), Ok(()), Err('a')]);
    assert_eq!(['b', 'b', 'b', 'c'].map(&mut push), [Ok(()), Ok(()), Err('b'), Err('c')]);
    assert!(lanes.take(Instant::now()).is_some());
    assert_eq!(lanes.push(device('a'), 'a', None), Ok(()), "there is room again");
}

/// A job that has waited for 10 s is late, whether a thread takes it or nothing does.
#[test]
fn lanes_job_is_late_after_10_s() {
    assert_eq!(WAIT_MAX, Duration::from_secs(10));
    let start = Instant::now();
    let at = |ms| start + Duration::from_millis(ms);
    let mut lanes = lanes(4, "");
    let mut push = |name, ms: Option<u64>| {
        lanes.push(device(name), name, ms.map(|ms| at(ms) + WAIT_MAX)).unwrap();
    };
    push('a', Some(0));
    push('a', Some(2000));
    push('a', None);
    push('b', Some(1000));
    push('b', Some(3000));
    assert!(lanes.has_deadlines());
    assert_eq!(lanes.next_deadline(), Some(at(10_000)));
    assert_eq!(lanes.remove_late(at(9_999)), []);
    assert_eq!(lanes.remove_late(at(10_000)), [(device('a'), 'a')]);
    assert_eq!(lanes.next_deadline(), Some(at(11_000)));
    let taken = lanes.take(at(11_999)).unwrap();
    assert_eq!((taken.job, taken.is_late), ('a', false));
    let taken = lanes.take(at(11_999)).unwrap();
    assert_eq!((taken.job, taken.is_late), ('b', true));
    // What has no deadline stays.
    assert_eq!(lanes.remove_late(at(1_000_000)), [(device('b'), 'b')]);
    assert_eq!((lanes.len(), lanes.has_deadlines(), lanes.next_deadline()), (1, false, None));
    let taken = lanes.take(at(1_000_000)).unwrap();
    assert_eq!((taken.job, taken.is_late), ('a', false));
    assert!(lanes.take(at(1_000_000)).is_none());
}

/// Late jobs are removed from the beginning, the middle and the end of a lane, and the order of
/// the others stays.
#[test]
fn lanes_keep_order_of_jobs_beside_removed_ones() {
    let start = Instant::now();
    for late in 0..32_u32 {
        let mut lanes = Lanes::new(LaneBounds { threads: 9, queued: 9, queued_of_device: 9 });
        let is_late = |job: &u32| late >> job & 1 == 1;
        let push = |lanes: &mut Lanes<u32>, job: u32| {
            lanes.push(device('a'), job, is_late(&job).then_some(start)).unwrap();
        };
        (0..5).for_each(|job| push(&mut lanes, job));
        let removed = lanes.remove_late(start).into_iter().map(|(_, job)| job);
        assert!(removed.eq((0..5).filter(|job| is_late(job))), "{late:05b}");
        push(&mut lanes, 7);
        let mut left = Vec::new();
        while let Some(taken) = lanes.take(start) {
            left.push(taken.job);
        }
        let expected: Vec<_> = (0..5).filter(|job| !is_late(job)).chain([7]).collect();
        assert_eq!(left, expected, "{late:05b}");
    }
}

/// The lanes of devices that have no jobs any more are used again, and a warm queue allocates
/// nothing.
#[test]
fn lanes_allocate_nothing_when_warm() {
    let mut lanes = lanes(4, "");
    let mut round = |first: u32| {
        let mut running = [None, None, None, None];
        for number in 0..20_u32 {
            let device = Device::Client(Ipv4Addr::from_bits(first + number / 3).into());
            lanes.push(device, 'x', Some(Instant::now())).unwrap();
        }
        let mut turn = 0;
        while let Some(taken) = lanes.take(Instant::now()) {
            if let Some(before) = running[turn % 4].replace(taken.lane) {
                lanes.finish(before);
            }
            turn += 1;
        }
        running.into_iter().flatten().for_each(|lane| lanes.finish(lane));
    };
    (0..50).for_each(|n| round(100 * n));
    let counted = allocation_counter::measure(|| (50..100).for_each(|n| round(100 * n)));
    assert_eq!(counted.count_total, 0);
    assert!(lanes.of_device.is_empty() && lanes.lanes.len() <= 8, "{}", lanes.lanes.len());
}
