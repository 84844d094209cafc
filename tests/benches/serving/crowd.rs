//! Many connections at once.

use std::thread;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::Failure;

/// Threads that connect. A TLS handshake keeps one busy on both sides.
const THREADS: usize = 4;
/// Descriptors of a server, and of this process, that are none of the crowd: objects, uploads, and
/// a thousand more.
const RESERVED: u64 = 1024 + 1024 + 1000;

/// `wanted`, or as many as the limit of descriptors lets a server have: it says so where that is
/// fewer. Raises this process's own limit, which the servers inherit.
pub(crate) fn size(wanted: usize) -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_ok();
    let limit = if raised { maximum } else { current };
    let Some(limit) = limit else { return wanted };
    let room = usize::try_from(limit.saturating_sub(RESERVED)).unwrap_or(wanted);
    if room < wanted {
        println!("{room} connections instead of {wanted}: there are {limit} descriptors\n");
    }
    wanted.min(room)
}

/// What `connect` makes of each number below `count`, on a few threads.
pub(crate) fn gather<T: Send>(
    count: usize,
    connect: impl Fn(usize) -> Result<T, Failure> + Sync,
) -> Result<Vec<T>, Failure> {
    let share = |first: usize| {
        let numbers = (first..count).step_by(THREADS);
        numbers.map(&connect).collect::<Result<Vec<T>, _>>().map_err(|e| e.to_string())
    };
    let share = &share;
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|at| scope.spawn(move || share(at))).collect();
        let mut all = Vec::with_capacity(count);
        for thread in threads {
            all.extend(thread.join().map_err(|_| "a thread of the crowd panicked")??);
        }
        Ok(all)
    })
}

/// What `act` of all `actors` at once comes to, each on a thread of its own.
pub(crate) fn each<T: Send>(
    actors: &mut [T],
    act: impl Fn(&mut T) -> Result<u64, Failure> + Sync,
) -> Result<u64, Failure> {
    let act = &act;
    thread::scope(|scope| {
        let begin = |actor| scope.spawn(move || act(actor).map_err(|e| e.to_string()));
        let threads: Vec<_> = actors.iter_mut().map(begin).collect();
        let mut sum = 0;
        for thread in threads {
            sum += thread.join().map_err(|_| "a thread of the crowd panicked")??;
        }
        Ok(sum)
    })
}
