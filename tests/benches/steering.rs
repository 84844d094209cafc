//! Whether it pays to serve each name by one worker only: what a hand-over of a request costs,
//! against what it saves.
//!
//! On TCP a connection is at a worker before its first request names anything. To steer a name,
//! that worker would hand the request to the name's own and be handed the open file back: two
//! messages, each of which wakes a thread that sleeps in epoll. What it saves is that a file is
//! opened and looked at by one worker rather than by all, once per `revalidate_after`.
//!
//! `cargo bench -p zput-tests --bench steering`
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a benchmark that cannot go on has failed"
)]

use std::{
    fs::{self, File},
    hint::black_box,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, Sender, bounded};
use mio::{Events, Poll, Token, Waker};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};

/// Of which the median is told.
const RUNS: usize = 9;
/// In each run.
const TIMES: u32 = 20_000;

/// One end of a conversation: what arrives wakes an epoll, as a worker's inbox does.
struct End {
    poll: Poll,
    messages: Receiver<u32>,
    to: Sender<u32>,
    wake: Arc<Waker>,
}

impl End {
    fn say(&self, message: u32) {
        self.to.send(message).expect("the other end is there");
        self.wake.wake().unwrap();
    }

    fn hear(&mut self, events: &mut Events) -> u32 {
        loop {
            if let Ok(message) = self.messages.try_recv() {
                return message;
            }
            self.poll.poll(events, None).unwrap();
        }
    }
}

fn ends() -> (End, End) {
    let polls = [Poll::new().unwrap(), Poll::new().unwrap()];
    let [first, second] =
        [&polls[0], &polls[1]].map(|poll| Arc::new(Waker::new(poll.registry(), Token(0)).unwrap()));
    let (to_first, of_first) = bounded(8);
    let (to_second, of_second) = bounded(8);
    let [poll, other] = polls;
    (
        End { poll, messages: of_first, to: to_second, wake: second },
        End { poll: other, messages: of_second, to: to_first, wake: first },
    )
}

/// There and back, each time.
fn handing_over() -> Duration {
    let (mut here, mut there) = ends();
    let other = thread::spawn(move || {
        let mut events = Events::with_capacity(8);
        loop {
            match there.hear(&mut events) {
                u32::MAX => return,
                message => there.say(message),
            }
        }
    });
    let mut events = Events::with_capacity(8);
    let began = Instant::now();
    for n in 0..TIMES {
        here.say(n);
        assert_eq!(here.hear(&mut events), n);
    }
    let took = began.elapsed() / TIMES;
    here.say(u32::MAX);
    other.join().unwrap();
    took
}

/// Opening a file by a path of three components, looking at it, and closing it.
fn opening(root: &File) -> Duration {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    each(|| {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = rustix::fs::openat2(root, "a/b/f", flags, Mode::empty(), resolve).unwrap();
        black_box(rustix::fs::fstat(&file).unwrap());
    })
}

/// Looking whether a name still stands for the same file.
fn looking(root: &File) -> Duration {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::CACHED;
    each(|| {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let file = rustix::fs::openat2(root, "a/b/f", flags, Mode::empty(), resolve).unwrap();
        black_box(rustix::fs::fstat(&file).unwrap());
    })
}

fn each(mut f: impl FnMut()) -> Duration {
    let began = Instant::now();
    (0..TIMES).for_each(|_| f());
    began.elapsed() / TIMES
}

fn main() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("a/b")).unwrap();
    fs::write(dir.path().join("a/b/f"), "text").unwrap();
    let root =
        File::from(rustix::fs::openat(CWD, dir.path(), OFlags::RDONLY, Mode::empty()).unwrap());
    let (mut over, mut open, mut look) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..RUNS {
        over.push(handing_over());
        open.push(opening(&root));
        look.push(looking(&root));
    }
    let [over, open, look] = [over, open, look].map(|mut all| {
        all.sort_unstable();
        all[RUNS / 2]
    });
    println!(
        "a hand-over and back: {over:?}; opening a file: {open:?}; looking at its name: {look:?}"
    );
    let ratio = over.as_secs_f64() / open.as_secs_f64();
    println!("a hand-over costs {ratio:.1} times what it saves, and each request pays it");
}
