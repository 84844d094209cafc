//! A program that runs out of memory. The only test program in its file, because the allocator is
//! the whole program's.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    env,
    ffi::OsStr,
    fs,
    hint::black_box,
    iter,
    os::unix::process::ExitStatusExt as _,
    path::Path,
    process::{Command, Output, Stdio},
    thread,
    time::Duration,
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use zput::cleanup::{ChildGuard, FileGuard};
use zput_cli::{ephemeral_state, signals};
use zput_os::memory::{self, Allocator};

#[global_allocator]
static ALLOCATOR: Allocator = Allocator("zput");

/// Tells a second run of this program what to do, and where.
const ROLE: &str = "ZPUT_TEST_ROLE";
const DIRECTORY: &str = "ZPUT_TEST_DIRECTORY";

/// Address space that is left when the limit is set, in bytes.
const LEFT_BYTES: u64 = 64 * 1024 * 1024;

/// Interval between two checks.
const MOMENT: Duration = Duration::from_millis(10);

const SENTENCE: &str = "zput: not enough memory (raise its limit: ulimit -v, LimitAS=)\n";

/// Runs the test `name` again, as a program in `directory` that acts as `role`.
fn run(name: &str, role: &str, directory: &Path) -> Output {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", name, "--nocapture", "--test-threads", "1"]);
    command.env(ROLE, role).env(DIRECTORY, directory).env("TMPDIR", directory);
    let mut program = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // It prints less than a pipe holds.
    let ended = iter::repeat_with(|| {
        thread::sleep(MOMENT);
        program.try_wait().unwrap().is_some()
    });
    if !ended.take(6000).any(|ended| ended) {
        program.kill().unwrap();
        panic!("{role}: it does not end");
    }
    program.wait_with_output().unwrap()
}

/// The role and the directory, if this is that program.
fn role() -> Option<(String, String)> {
    Some((env::var(ROLE).ok()?, env::var(DIRECTORY).ok()?))
}

/// Limits the address space to its current size plus [`LEFT_BYTES`].
fn limit() {
    // proc(5): pages of 4 KiB or more; the first number is the whole address space.
    let statm = fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = statm.split(' ').next().unwrap().parse().unwrap();
    let size = pages * rustix::param::page_size() as u64 + LEFT_BYTES;
    let maximum = getrlimit(Resource::As).maximum;
    setrlimit(Resource::As, Rlimit { current: Some(size), maximum }).unwrap();
    memory::init();
}

/// Allocates in small pieces and keeps them.
fn use_up() -> ! {
    for _ in 0..4_000_000 {
        let _kept: &mut [u8] = black_box(vec![1_u8; 100].leak());
    }
    panic!("400 MB had room in 64 MiB")
}

/// Work in progress: a file, one that is kept, a child process, ephemeral state.
fn work(directory: &Path, then: impl FnOnce()) -> ! {
    signals::watch_signals("zput").unwrap();
    ephemeral_state::create().unwrap();
    let (file, _guard) = FileGuard::create(directory).unwrap();
    let (_kept, kept) = FileGuard::create(directory).unwrap();
    kept.keep(Some("zput: something stays".to_owned()));
    // The process that it starts prints its id and inherits none of this program's outputs.
    let script = "exec >&- 2>&-; sleep 1000 & echo $! > started.new; mv started.new started; wait";
    let mut shell = Command::new("sh");
    shell.args(["-c", script]).current_dir(directory);
    let (_child, _child_guard) = ChildGuard::spawn(&mut shell).unwrap();
    while !directory.join("started").exists() {
        thread::sleep(MOMENT);
    }
    fs::write(file.path(), "half of it").unwrap();
    limit();
    then();
    panic!("there was memory enough");
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).unwrap()
}

/// Whatever the program was doing when memory ran out, it ends as by a signal, with exit code 1.
#[test]
fn out_of_memory_ends_the_program_after_cleanup() {
    if let Some((role, directory)) = role() {
        work(directory.as_ref(), || match role.as_str() {
            "small" => use_up(),
            // More than there ever is, allocated by code that does not expect failure.
            "large" => drop(black_box(vec![1_u8; 1 << 40])),
            "threads" => thread::scope(|scope| {
                let users = [(); 3].map(|()| scope.spawn(|| use_up()));
                users.into_iter().for_each(|user| drop(user.join()));
            }),
            // Mostly while the lock of the cleanup is held.
            "files" => thread::scope(|scope| {
                let _user = scope.spawn(|| use_up());
                loop {
                    drop(FileGuard::create(directory.as_ref()).unwrap());
                }
            }),
            role => panic!("{role} is no role"),
        });
    }
    for role in ["small", "large", "threads", "files"] {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path();
        let ended = run("out_of_memory_ends_the_program_after_cleanup", role, directory);
        let stderr = text(&ended.stderr);
        assert_eq!(
            (ended.status.code(), ended.status.signal()),
            (Some(1), None),
            "{role}: {stderr}"
        );
        assert_eq!(stderr, format!("{SENTENCE}zput: something stays\n"), "{role}");
        let started = fs::read_to_string(directory.join("started")).unwrap();
        let stat = format!("/proc/{}/stat", started.trim());
        // The parent is gone, and init may take a while to reap it.
        let is_gone = iter::repeat_with(|| {
            thread::sleep(MOMENT);
            fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z "))
        });
        assert!(
            is_gone.take(3000).any(|gone| gone),
            "{role}: a descendant of the child still runs"
        );
        let mut left = names(directory);
        left.retain(|name| name != "started");
        assert_eq!(left.len(), 1, "{role}: {left:?}");
        assert!(Path::new(&left[0]).extension() == Some(OsStr::new("tmp")), "{role}: {left:?}");
    }
}

/// Before there is a thread to end it, there is nothing to remove.
#[test]
fn out_of_memory_at_start_prints_a_sentence() {
    if role().is_some() {
        limit();
        use_up();
    }
    let directory = tempfile::tempdir().unwrap();
    let ended = run("out_of_memory_at_start_prints_a_sentence", "start", directory.path());
    assert_eq!((ended.status.code(), text(&ended.stderr)), (Some(1), SENTENCE));
}

/// A fallible buffer fails, and the program continues.
#[test]
fn out_of_memory_for_a_fallible_buffer_is_an_error() {
    let mut buffer = vec![7_u8; 3];
    assert!(zput_proto::fallible::reserve(&mut buffer, 1 << 56).is_err());
    assert_eq!(buffer, [7; 3]);
    assert!(!memory::has_room(1 << 56));
    assert!(memory::has_room(1 << 20));
}

/// A thread is refused although its stack would fit, if nothing is left for its first allocations.
#[test]
fn out_of_memory_for_a_thread_is_an_error() {
    if role().is_some() {
        limit();
        let mut threads = Vec::new();
        let refused = loop {
            match zput_os::threads::spawn("t", thread::park) {
                Ok(thread) => threads.push(thread),
                Err(error) => break error,
            }
        };
        // Each takes 2 MiB, and 6 MiB were free when the last one started.
        println!("{} threads: {refused}; {}", threads.len(), memory::has_room(2 << 20));
        std::process::exit(0);
    }
    let directory = tempfile::tempdir().unwrap();
    let ended = run("out_of_memory_for_a_thread_is_an_error", "threads", directory.path());
    assert_eq!(ended.status.code(), Some(0), "{}", text(&ended.stderr));
    let said = text(&ended.stdout).lines().find(|line| line.contains("threads: ")).unwrap();
    let (_, said) = said.split_once("threads: ").unwrap();
    assert_eq!(said, "not enough memory (raise its limit: ulimit -v, LimitAS=); true");
}
