use std::{
    fs::File,
    io::{self, Write as _},
    os::{
        fd::AsFd as _,
        unix::{fs::MetadataExt as _, process::CommandExt as _},
    },
    process::Command,
};

use rustix::net::sockopt;
use zput_skip as skip;

use self::pair::Pair;
use super::*;

mod pair;

/// Tells a process of these tests that it runs one of them, alone.
const CHILD: &str = "ZPUT_ENGINES_OWN_PROCESS";

const KIB: usize = 1024;

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n % 251) as u8 ^ (n / 4096) as u8).collect()
}

fn file(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

fn resources() -> EngineResources {
    EngineResources::new(Pipes::default())
}

/// Steps until the socket takes no more. Returns how many bytes it took.
fn fill(
    engine_state: &mut SendEngine,
    resources: &mut EngineResources,
    pair: &Pair,
    file: &File,
    range: std::ops::Range<u64>,
) -> u64 {
    let mut at = range.start;
    while at < range.end {
        let count = usize::try_from(range.end - at).unwrap();
        match engine_state.step(resources, pair.socket(), file.as_fd(), at, count) {
            Ok(0) => panic!("the file does not end at {at}"),
            Ok(n) => at += n as u64,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
            Err(e) => panic!("{e}"),
        }
    }
    at - range.start
}

/// Moves `range` by steps of at most the `counts`, in turn, to a peer that takes `gulp` bytes when
/// the socket is full. Returns what the peer got.
fn pump(
    engine: Engine,
    resources: &mut EngineResources,
    pair: &mut Pair,
    file: &File,
    range: std::ops::Range<usize>,
    counts: &[usize],
    gulp: usize,
) -> Vec<u8> {
    let mut engine_state = SendEngine::new(engine);
    let (mut at, mut got) = (range.start, Vec::new());
    let mut counts = counts.iter().cycle();
    while at < range.end {
        let count = (range.end - at).min(*counts.next().unwrap());
        match engine_state.step(resources, pair.socket(), file.as_fd(), at as u64, count) {
            Ok(0) => panic!("{engine}: the file does not end at {at}"),
            Ok(n) => {
                assert!(n <= count, "{engine}: {n} of {count} bytes");
                at += n;
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                let empty = got.len() == at - range.start;
                assert!(!empty, "{engine}: the peer has all that was sent, and the socket is full");
                pair.take(gulp, &mut got);
            }
            Err(e) => panic!("{engine}: {e}"),
        }
    }
    pair.take_until(range.len(), &mut got);
    got
}

/// Every engine sends any range in any step size over TCP and Unix sockets.
#[test]
fn send_engine_delivers_any_range_in_any_step_size() {
    let bytes = pattern(1_500_000);
    let file = file(&bytes);
    let ranges = [0..1_500_000, 0..1, 4_095..4_097, 12_345..1_234_567, 1_499_999..1_500_000];
    let counts: [&[usize]; 4] =
        [&[usize::MAX / 2], &[512 * KIB], &[1, 70_001, 4096], &[300_000, 7]];
    for engine in Engine::ALL {
        for pair in [Pair::unix, Pair::tcp] {
            let mut resources = resources();
            let mut pair = pair();
            for range in &ranges {
                for (counts, gulp) in counts.iter().zip([64 * KIB, 5_000, 100_000, 9_999]) {
                    let got =
                        pump(engine, &mut resources, &mut pair, &file, range.clone(), counts, gulp);
                    assert!(got == bytes[range.clone()], "{engine}: {range:?} by {counts:?}");
                }
            }
            // Nothing stays in a pipe, and one was enough.
            let pipes = if engine == Engine::Splice { (1, 1) } else { (0, 0) };
            assert_eq!(resources.pipes.count(), pipes, "{engine}");
        }
    }
}

/// An engine returns WouldBlock on a full socket and resumes where it stopped.
#[test]
fn send_engine_returns_would_block_and_resumes_at_offset() {
    let bytes = pattern(8 << 20);
    let file = file(&bytes);
    for engine in Engine::ALL {
        for pair in [Pair::unix, Pair::tcp] {
            let (mut resources, mut pair) = (resources(), pair());
            let mut engine_state = SendEngine::new(engine);
            let sent = fill(&mut engine_state, &mut resources, &pair, &file, 5..8 << 20);
            assert!(sent > 0 && sent < 8 << 20, "{engine}: {sent}");
            let mut again = || {
                engine_state
                    .step(&mut resources, pair.ours.as_fd(), file.as_fd(), 5 + sent, 1000)
                    .unwrap_err()
            };
            assert_eq!(again().kind(), io::ErrorKind::WouldBlock, "{engine}");
            assert_eq!(again().kind(), io::ErrorKind::WouldBlock, "{engine}");
            let mut got = Vec::new();
            let sent = usize::try_from(sent).unwrap();
            pair.take_until(sent, &mut got);
            assert!(got == bytes[5..5 + sent], "{engine}");
            let at = 5 + sent as u64;
            let more =
                engine_state.step(&mut resources, pair.socket(), file.as_fd(), at, 1000).unwrap();
            assert!((1..=1000).contains(&more), "{engine}: {more}");
            pair.take_until(sent + more, &mut got);
            assert!(got == bytes[5..5 + sent + more], "{engine}");
        }
    }
}

/// An engine's step returns 0 at and beyond the end of the file.
#[test]
fn send_engine_returns_zero_at_end_of_file() {
    let file = file(b"0123456789");
    for engine in Engine::ALL {
        let (mut resources, mut pair) = (resources(), Pair::unix());
        let mut engine_state = SendEngine::new(engine);
        let mut step = |at, count| {
            engine_state.step(&mut resources, pair.ours.as_fd(), file.as_fd(), at, count)
        };
        assert_eq!(step(7, 100).unwrap(), 3, "{engine}");
        assert_eq!(step(10, 100).unwrap(), 0, "{engine}");
        assert_eq!(step(1 << 40, 100).unwrap(), 0, "{engine}");
        let mut got = Vec::new();
        pair.take_until(3, &mut got);
        assert_eq!(got, b"789", "{engine}");
    }
}

/// The peer takes all it gets; the transfer continues until it ends, which it must.
fn send_to_end(
    engine: Engine,
    engine_state: &mut SendEngine,
    resources: &mut EngineResources,
    pair: &mut Pair,
    file: &File,
    mut at: u64,
) -> u64 {
    let mut waited = 0;
    loop {
        match engine_state.step(resources, pair.socket(), file.as_fd(), at, 512 * KIB) {
            Ok(0) => return at,
            Ok(n) => at += n as u64,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                // The kernel may take its time to find that the peer has read.
                waited += 1;
                assert!(waited < 100_000, "{engine}: blocked at {at} though the peer reads");
                pair.take(512 * KIB, &mut Vec::new());
            }
            Err(_) => return at,
        }
    }
}

/// An engine ends at the new end of a file that is truncated during the transfer.
#[test]
fn send_engine_ends_at_new_end_of_truncated_file() {
    const LENGTH: u64 = 4 << 20;
    let bytes = pattern(4 << 20);
    for engine in Engine::ALL {
        for pair in [Pair::unix, Pair::tcp] {
            // To nothing; within what has been sent; at a page's border and inside of a page behind
            // it.
            for cut in [0, 1, 8_192, 10_000, 3_145_728, 3_145_729, 3_149_823, LENGTH - 1] {
                let file = file(&bytes);
                let (mut resources, mut pair) = (resources(), pair());
                let mut engine_state = SendEngine::new(engine);
                let sent = fill(&mut engine_state, &mut resources, &pair, &file, 0..LENGTH);
                assert!(sent < 3 << 20, "{engine}: the socket takes {sent} bytes");
                file.set_len(cut).unwrap();
                let end =
                    send_to_end(engine, &mut engine_state, &mut resources, &mut pair, &file, sent);
                // What was in a pipe when the file shrank is sent still.
                let lost = if engine == Engine::Splice { crate::sys::pipe::PIPE_BYTES } else { 0 };
                let most = cut.max(sent + lost as u64);
                assert!(end <= most, "{engine}: sent {end} of {cut} bytes, {sent} before");
                assert!(end >= cut, "{engine}: ended at {end}, before {cut}");
                if engine == Engine::Splice {
                    assert!(end > sent, "what a pipe held was dropped");
                }
                drop(engine_state);
                let (free, open) = resources.pipes.count();
                assert_eq!(free, open, "{engine}: a pipe is lost");
            }
        }
    }
}

/// In a mapped window, or between two steps.
#[test]
fn send_engine_survives_truncation_within_mapped_window() {
    for engine in Engine::ALL {
        for cut in [0u64, 4_096, 5_000, 450_560, 450_561] {
            let file = file(&pattern(524_288));
            let (mut resources, mut pair) = (resources(), Pair::unix());
            let mut engine_state = SendEngine::new(engine);
            // A window of all of it, of which one byte is to be sent.
            sockopt::set_socket_send_buffer_size(pair.socket(), 4 * KIB).unwrap();
            let first =
                engine_state.step(&mut resources, pair.socket(), file.as_fd(), 0, 524_288).unwrap();
            file.set_len(cut).unwrap();
            let at = first as u64;
            let end = send_to_end(engine, &mut engine_state, &mut resources, &mut pair, &file, at);
            assert!(at < 524_288, "{engine}: the socket takes all at once");
            if engine == Engine::Splice {
                assert_eq!(end, 524_288, "all of it was in the pipe");
            } else {
                assert!(end <= cut.max(at), "{engine}: sent {end} of {cut} bytes, {at} before");
            }
        }
    }
}

/// An engine returns EPIPE when the peer has closed, and closes its pipe.
#[test]
fn send_engine_returns_broken_pipe_for_closed_peer() {
    let file = file(&pattern(1 << 20));
    for engine in Engine::ALL {
        let (mut resources, pair) = (resources(), Pair::unix());
        let Pair { ours, theirs } = pair;
        drop(theirs);
        let mut engine_state = SendEngine::new(engine);
        let failure = engine_state
            .step(&mut resources, ours.as_fd(), file.as_fd(), 0, 512 * KIB)
            .unwrap_err();
        assert_eq!(failure.kind(), io::ErrorKind::BrokenPipe, "{engine}");
        // A pipe that had bytes in it is closed.
        assert_eq!(resources.pipes.count(), (0, 0), "{engine}");
    }
}

/// A splice transfer that is dropped leaves no bytes in a pipe for the next transfer.
#[test]
fn splice_aborted_transfer_leaves_no_bytes_in_reused_pipe() {
    let bytes = pattern(4 << 20);
    let file = file(&bytes);
    let mut resources = resources();
    for _ in 0..100 {
        let pair = Pair::unix();
        let mut engine_state = SendEngine::new(Engine::Splice);
        fill(&mut engine_state, &mut resources, &pair, &file, 0..4 << 20);
        assert_eq!(resources.pipes.count(), (0, 1), "bytes are under way");
        drop(engine_state);
        assert_eq!(resources.pipes.count(), (0, 0));
    }
    let got = pump(
        Engine::Splice,
        &mut resources,
        &mut Pair::unix(),
        &file,
        9..99_999,
        &[512 * KIB],
        4096,
    );
    assert!(got == bytes[9..99_999]);
}

/// A step at another offset sends the bytes of that offset, not those read ahead.
#[test]
fn send_engine_step_at_other_offset_sends_that_offset() {
    let bytes = pattern(4 << 20);
    let file = file(&bytes);
    for engine in Engine::ALL {
        let (mut resources, mut pair) = (resources(), Pair::unix());
        let mut engine_state = SendEngine::new(engine);
        let sent = fill(&mut engine_state, &mut resources, &pair, &file, 0..4 << 20);
        let mut got = Vec::new();
        pair.take_until(usize::try_from(sent).unwrap(), &mut got);
        got.clear();
        let n =
            engine_state.step(&mut resources, pair.socket(), file.as_fd(), 3_000_001, 100).unwrap();
        pair.take_until(n, &mut got);
        assert!(got == bytes[3_000_001..3_000_001 + n], "{engine}");
    }
}

/// The splice engine uses sendfile when it may hold no pipe.
#[test]
fn splice_without_pipe_falls_back_to_sendfile() {
    let bytes = pattern(1_500_000);
    let file = file(&bytes);
    let mut resources = EngineResources::new(Pipes::new(0));
    let mut pair = Pair::tcp();
    let range = 1..1_500_000;
    let got =
        pump(Engine::Splice, &mut resources, &mut pair, &file, range.clone(), &[512 * KIB], 50_000);
    assert!(got == bytes[range]);
    assert_eq!(resources.pipes.count(), (0, 0));
}

/// Pipes lends at most its bound, and retries a refused pipe only after 256 requests.
#[test]
fn pipes_are_bounded_and_back_off_after_refusal() {
    let pipes = Pipes::new(2);
    let first = pipes.lend().unwrap();
    let second = pipes.lend().unwrap();
    assert!(pipes.lend().is_none(), "two are the bound");
    drop(first);
    assert_eq!(pipes.count(), (1, 2));
    drop(second);
    assert_eq!(pipes.count(), (2, 2));

    let pipes = Pipes::new(2);
    let refuse = || Err(io::Error::from_raw_os_error(libc::EPERM));
    assert!(pipes.lend_with(refuse).is_none());
    for n in 0..256 {
        assert!(pipes.lend_with(|| panic!("asked again after {n}")).is_none());
    }
    let lent = pipes.lend().unwrap();
    assert_eq!(lent.held(), 0);
    assert_eq!(pipes.count(), (0, 1));
}

/// Runs `body`, which is all of the test with this name, in a process of its own, as `user` if one
/// is given.
fn in_child(test: &str, user: Option<u32>, body: fn()) {
    if std::env::var_os(CHILD).is_some() {
        return body();
    }
    if user.is_some() && !rustix::process::geteuid().is_root() {
        return skip::because("only root can become another user");
    }
    let mut command = Command::new("/proc/self/exe");
    command.args(["--exact", &format!("transfer::engines::tests::{test}")]).env(CHILD, "1");
    if let Some(user) = user {
        command.uid(user).env("TMPDIR", "/tmp");
    }
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Engines leave no descriptor and no mapping behind after finished or dropped transfers.
#[test]
fn send_engine_leaks_no_descriptor_or_mapping() {
    in_child("send_engine_leaks_no_descriptor_or_mapping", None, check_no_leaks);
}

fn check_no_leaks() {
    let bytes = pattern(4 << 20);
    let file = file(&bytes);
    let inode = format!(" {} ", file.metadata().unwrap().ino());
    let before = descriptors();
    for engine in Engine::ALL {
        let mut resources = resources();
        for n in 0..100 {
            let mut pair = Pair::unix();
            let mut engine_state = SendEngine::new(engine);
            let sent = fill(&mut engine_state, &mut resources, &pair, &file, 0..4 << 20);
            if n % 2 == 0 {
                let mut got = Vec::new();
                pair.take_until(usize::try_from(sent).unwrap(), &mut got);
                send_to_end(engine, &mut engine_state, &mut resources, &mut pair, &file, sent);
            }
        }
        // A transfer that has sent all its bytes holds no descriptor.
        let pair = Pair::unix();
        let mut engine_state = SendEngine::new(engine);
        assert_eq!(fill(&mut engine_state, &mut resources, &pair, &file, 1..4096), 4095);
        let pipes = if engine == Engine::Splice { 2 } else { 0 };
        drop(pair);
        assert!(descriptors() <= before + pipes, "{engine}: {before} → {}", descriptors());
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        assert!(!maps.contains(&inode), "{engine}: a window is mmap still");
    }
    assert_eq!(descriptors(), before);
}

/// pipe(7): "users cannot increase the capacity of a pipe" beyond pipe-user-pages-soft, all
/// together.
#[test]
fn splice_falls_back_to_sendfile_at_kernel_pipe_limit() {
    in_child("splice_falls_back_to_sendfile_at_kernel_pipe_limit", Some(65_533), check_pipe_limit);
}

fn check_pipe_limit() {
    let soft = std::fs::read_to_string("/proc/sys/fs/pipe-user-pages-soft").unwrap();
    let most = soft.trim().parse::<usize>().unwrap() / 256;
    let mut resources = EngineResources::new(Pipes::new(most + 100));
    let mut taken = Vec::new();
    while let Some(pipe) = resources.pipes.lend() {
        taken.push(pipe);
    }
    assert!(taken.len() <= most, "{} pipes of {most}", taken.len());
    let descriptors_then = descriptors();
    let bytes = pattern(1_500_000);
    let file = file(&bytes);
    let mut pair = Pair::tcp();
    let got =
        pump(Engine::Splice, &mut resources, &mut pair, &file, 0..1_500_000, &[4 * KIB], 50_000);
    assert!(got == bytes);
    drop((file, pair));
    assert_eq!(descriptors(), descriptors_then, "a refused pipe is closed");
}

/// Each engine prints and parses its name, and other names are rejected.
#[test]
fn engine_name_parses_and_prints() {
    for (engine, name) in [
        (Engine::Sendfile, "sendfile"),
        (Engine::Splice, "splice"),
        (Engine::Mmap, "mmap"),
        (Engine::Copy, "copy"),
    ] {
        assert_eq!(engine.to_string(), name);
        assert_eq!(name.parse(), Ok(engine));
        assert_eq!(<Engine as ValueEnum>::from_str(name, false), Ok(engine));
    }
    assert!("Sendfile".parse::<Engine>().is_err());
    assert!("".parse::<Engine>().is_err());
}
