//! What is larger than any buffer: it comes back byte for byte, and neither side's memory grows
//! with it.
//!
//! A child's peak counts the pages of the process that started it (execve(2) carries the mark
//! over), so nothing else runs in this binary and nothing here holds what it sends.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    fs::File,
    io::{self, BufReader},
    os::unix::fs::{FileExt, MetadataExt},
    path::Path,
    process::{Child, Command, Stdio},
    time::Instant,
};

use wait4::{ResUse, Wait4};
use zput_tests::{Machine, Pattern, Same, ServerProcess};

const GIB: u64 = 1 << 30;
/// What each process may have at its peak, whatever the length.
const MEMORY_MAX_BYTES: u64 = 96 << 20;

fn spawned(mut command: Command) -> Child {
    command.spawn().unwrap_or_else(|e| panic!("{command:?} does not start: {e}"))
}

fn is_modest(what: &str, used: &ResUse) {
    assert!(used.status.success(), "{what}: {}", used.status);
    let peak = used.rusage.maxrss;
    println!("{what}: {:.1} MiB at its peak", peak as f64 / 1048576.0);
    assert!(peak < MEMORY_MAX_BYTES, "{what} had {peak} bytes at its peak");
}

/// Runs a put whose stdin is `pattern`.
fn put_from_stdin(home: &Machine, name: &str, mut pattern: Pattern) -> ResUse {
    let mut put = home.command("zput");
    put.args(["--name", name, "-"]).stdin(Stdio::piped());
    let mut child = spawned(put);
    let mut stdin = child.stdin.take().unwrap();
    io::copy(&mut pattern, &mut stdin).unwrap();
    drop(stdin);
    child.wait4().unwrap()
}

/// Runs a get to stdout, and compares what comes.
fn get_to_stdout(home: &Machine, name: &str, pattern: Pattern) -> (Same, ResUse) {
    let mut get = home.command("zget");
    get.args(["-o", "-", name]).stdout(Stdio::piped());
    let mut child = spawned(get);
    let stdout = child.stdout.take().unwrap();
    let same = pattern.compare(stdout).unwrap();
    (same, child.wait4().unwrap())
}

/// A put and a get of 1 GiB over TLS keep client and server below 96 MiB.
#[test]
fn one_gib_over_tls_takes_96_mib_on_either_side() {
    let home = Machine::new();
    let server = ServerProcess::start(&home.path().join("store"), &[]);
    server.admit(&home);
    let mut file = File::create(home.file("large")).unwrap();
    io::copy(&mut Pattern::new(1, GIB), &mut file).unwrap();

    let mut put = home.command("zput");
    put.arg("large");
    is_modest("zput", &spawned(put).wait4().unwrap());
    std::fs::remove_file(home.file("large")).unwrap();
    let mut get = home.command("zget");
    get.arg("large");
    is_modest("zget", &spawned(get).wait4().unwrap());
    let got = File::open(home.file("large")).unwrap();
    assert_eq!(Pattern::new(1, GIB).compare(got).unwrap(), Same::All(GIB));

    let peak = server.peak_memory();
    println!("zserve: {:.1} MiB at its peak", peak as f64 / 1048576.0);
    assert!(peak < MEMORY_MAX_BYTES, "zserve had {peak} bytes at its peak");
}

/// A put of 4 large and 96 small files keeps client and server below 96 MiB.
#[test]
fn zput_of_large_and_small_files_takes_96_mib_on_either_side() {
    let home = Machine::new();
    let server = ServerProcess::start(&home.path().join("store"), &[]);
    server.admit(&home);
    let mut put = home.command("zput");
    for n in 0..100_u64 {
        let length = if n % 33 == 0 { GIB / 4 } else { 256 << 10 };
        let name = format!("file{n}");
        let mut file = File::create(home.file(&name)).unwrap();
        io::copy(&mut Pattern::new(n, length), &mut file).unwrap();
        put.arg(name);
    }
    is_modest("zput of 4 large and 96 small files", &spawned(put).wait4().unwrap());
    let peak = server.peak_memory();
    println!("zserve: {:.1} MiB at its peak", peak as f64 / 1048576.0);
    assert!(peak < MEMORY_MAX_BYTES, "zserve had {peak} bytes at its peak");
}

/// A put and a get of 1 GiB with an embedded store keep the program below 96 MiB.
#[test]
fn embedded_store_takes_96_mib_for_one_gib() {
    let home = Machine::new();
    is_modest("zput with its store", &put_from_stdin(&home, "large", Pattern::new(2, GIB)));
    let (same, used) = get_to_stdout(&home, "large", Pattern::new(2, GIB));
    is_modest("zget with its store", &used);
    assert_eq!(same, Same::All(GIB));
}

/// Offsets that something may overflow at, each with a mark in a file of zeros.
const MARKS: [u64; 7] =
    [0, (1 << 31) - 4, (1 << 32) - 4, 5_000_000_001, 3 << 32, (1 << 34) + 16_777_213, 20 * GIB - 8];

fn sparse_file(path: &Path) -> File {
    let file = File::create_new(path).unwrap();
    file.set_len(20 * GIB).unwrap();
    for (n, offset) in MARKS.into_iter().enumerate() {
        file.write_all_at(format!("mark {n:3}").as_bytes(), offset).unwrap();
    }
    assert!(file.metadata().unwrap().blocks() < 1000, "the file system has no sparse files");
    file
}

/// A put and a get of 20 GiB over TLS keep client and server below 96 MiB.
#[test]
#[ignore = "its store takes 20 GiB of disk, and it takes minutes"]
fn twenty_gib_over_tls_take_96_mib_on_either_side() {
    let home = Machine::new();
    let server = ServerProcess::start(&home.path().join("store"), &[]);
    server.admit(&home);
    drop(sparse_file(&home.file("huge")));

    let started = Instant::now();
    let mut put = home.command("zput");
    put.arg("huge");
    is_modest("zput", &spawned(put).wait4().unwrap());
    println!("put: {:.1} s", started.elapsed().as_secs_f64());

    let started = Instant::now();
    let mut get = home.command("zget");
    get.args(["-o", "-", "huge"]).stdout(Stdio::piped());
    let mut child = spawned(get);
    let mut got = BufReader::with_capacity(1 << 18, child.stdout.take().unwrap());
    // `cmp` streams both, and says where they part.
    let mut cmp = Command::new("cmp");
    cmp.arg("-").arg(home.file("huge")).stdin(Stdio::piped());
    let mut cmp = spawned(cmp);
    let mut into = cmp.stdin.take().unwrap();
    let length = io::copy(&mut got, &mut into).unwrap();
    drop(into);
    assert_eq!(length, 20 * GIB);
    assert_eq!(cmp.wait().unwrap().code(), Some(0));
    is_modest("zget", &child.wait4().unwrap());
    println!("get: {:.1} s", started.elapsed().as_secs_f64());

    let last = home.run("zget", ["-o", "-", "--range", "21474836472-", "huge"]).ok();
    assert_eq!(last.text(), "mark   6");
    let peak = server.peak_memory();
    println!("zserve: {:.1} MiB at its peak", peak as f64 / 1048576.0);
    assert!(peak < MEMORY_MAX_BYTES, "zserve had {peak} bytes at its peak");
}
