use std::{
    fs::File,
    io::{Read as _, Seek as _, Write as _},
    os::{fd::AsFd as _, unix::process::CommandExt as _},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use zput_skip::{self as skip, or_skip};

use super::*;
use crate::sys::fs::{drop_cached, sync_data};

const WINDOW: u64 = 512 * 1024;

/// A file where this test was built, which is on a disk; TMPDIR may be in memory.
fn disk() -> File {
    let program = std::env::current_exe().unwrap();
    tempfile::tempfile_in(program.parent().unwrap()).unwrap()
}

/// A file of four windows on a disk, written back.
fn written() -> File {
    let mut file = disk();
    file.write_all(&vec![7; 4 * 512 * 1024]).unwrap();
    sync_data(&file).unwrap();
    file
}

/// Drops all pages of `file`. Pages that are being read at this moment stay, so this is repeated.
fn evict(file: &File) {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        drop_cached(file, 0, 8 * WINDOW);
        match cached_pages(file.as_fd(), 0, 8 * WINDOW) {
            Ok(0) => return,
            Ok(_) => assert!(Instant::now() < until, "the pages stay"),
            Err(e) => panic!("cachestat: {e}"),
        }
    }
}

/// Whether the kernel has cachestat(2), which came with 6.5.
fn has_cachestat() -> Result<(), &'static str> {
    match cached_pages(disk().as_fd(), 0, 1) {
        Err(Errno::NOSYS) => Err("the kernel has no cachestat(2)"),
        _ => Ok(()),
    }
}

/// A window is resident after a write or load, and not after it was evicted.
#[test]
fn residency_follows_eviction_and_load() {
    or_skip!(has_cachestat());
    for probe in [Probe::Unknown, Probe::Samples] {
        let file = written();
        let residency = Residency(AtomicU8::new(probe as u8));
        let is = |at| residency.is_resident(file.as_fd(), at, WINDOW).unwrap();
        assert!(is(0) && is(WINDOW), "{probe:?}: just written");
        evict(&file);
        assert!(!is(WINDOW), "{probe:?}");
        evict(&file);
        assert_eq!(load(file.as_fd(), 0, WINDOW, WINDOW).unwrap(), WINDOW);
        assert!(is(0), "{probe:?}: just loaded");
        assert_eq!(
            residency.probe(),
            if probe == Probe::Unknown { Probe::Cachestat } else { probe }
        );
    }
}

/// A window with one cached page is not resident, but that page alone is.
#[test]
fn residency_of_one_cached_page_is_not_whole_window() {
    or_skip!(has_cachestat());
    let file = written();
    evict(&file);
    // Without readahead, a read loads only its own page.
    rustix::fs::fadvise(&file, 0, None, Advice::Random).unwrap();
    rustix::io::pread(&file, &mut [0], WINDOW - 1).unwrap();
    let cached = cached_pages(file.as_fd(), 0, WINDOW).unwrap();
    assert!(cached > 0 && cached < pages_of(0, WINDOW - 1), "{cached}");
    let residency = Residency::default();
    assert!(!residency.is_resident(file.as_fd(), 0, WINDOW).unwrap());
    assert!(residency.is_resident(file.as_fd(), WINDOW - 1, 1).unwrap());
    let mut got = [0; 2];
    assert_eq!(residency.read(file.as_fd(), WINDOW - 1, &mut got[..1]).unwrap(), Some(1));
    assert_eq!(got, [7, 0]);
    evict(&file);
    assert_eq!(residency.read(file.as_fd(), 0, &mut got).unwrap(), None);
}

/// A window with only its first and last page cached is not resident.
#[test]
fn residency_of_both_ends_is_not_whole_window() {
    or_skip!(has_cachestat());
    for probe in [Probe::Unknown, Probe::Samples] {
        let file = written();
        evict(&file);
        rustix::fs::fadvise(&file, 0, None, Advice::Random).unwrap();
        rustix::io::pread(&file, &mut [0], 0).unwrap();
        rustix::io::pread(&file, &mut [0], WINDOW - 1).unwrap();
        let residency = Residency(AtomicU8::new(probe as u8));
        assert!(!residency.is_resident(file.as_fd(), 0, WINDOW).unwrap(), "{probe:?}");
    }
}

/// cachestat(2) counts pages from when their read is queued. Whether a read is in progress here
/// depends on the disk; if one is, its pages must not count as resident.
#[test]
fn residency_excludes_pages_still_being_read() {
    or_skip!(has_cachestat());
    const WINDOWS: u64 = 16;
    let mut file = disk();
    file.write_all(&vec![7; WINDOWS as usize * 512 * 1024]).unwrap();
    sync_data(&file).unwrap();
    for _ in 0..10 {
        evict(&file);
        rustix::fs::fadvise(&file, 0, None, Advice::WillNeed).unwrap();
        for at in (0..WINDOWS).rev().map(|n| n * WINDOW) {
            let residency = Residency::default();
            let is = residency.is_resident(file.as_fd(), at, WINDOW).unwrap();
            let comes_at_once = residency.is_byte_resident(file.as_fd(), at + WINDOW - 1).unwrap();
            assert!(!is || comes_at_once, "the last page of the window at {at} is not there");
        }
    }
}

/// The read stops short before a missing page, which is not the end of the file.
#[test]
fn residency_read_returns_all_or_nothing() {
    or_skip!(has_cachestat());
    let file = written();
    evict(&file);
    rustix::fs::fadvise(&file, 0, None, Advice::Random).unwrap();
    rustix::io::pread(&file, &mut [0], 0).unwrap();
    assert!(cached_pages(file.as_fd(), 0, WINDOW).unwrap() < pages_of(0, WINDOW - 1));
    let mut buffer = vec![0; 512 * 1024];
    // The first attempt makes the kernel start reading, so a fast disk may have it all for the
    // second.
    if let Some(n) = Residency::default().read(file.as_fd(), 0, &mut buffer).unwrap() {
        assert_eq!(n, 524_288);
        assert_eq!(buffer, [7; 524_288]);
    }
}

/// A window that reaches beyond the end is resident when the file's own pages are.
#[test]
fn residency_of_window_beyond_end_of_file_follows_file() {
    let mut small = disk();
    small.write_all(&[1; 10_000]).unwrap();
    for probe in [Probe::Unknown, Probe::Samples] {
        let residency = Residency(AtomicU8::new(probe as u8));
        let is = |at, count| residency.is_resident(small.as_fd(), at, count).unwrap();
        assert!(is(0, WINDOW), "{probe:?}: from its begin");
        assert!(is(9_999, WINDOW), "{probe:?}: from its last byte");
        assert!(is(8_192, 4_096), "{probe:?}: within its last page");
        assert!(is(10_000, WINDOW), "{probe:?}: nothing is there to wait for");
        assert!(is(1 << 40, WINDOW), "{probe:?}: nothing is there to wait for");
        assert!(is(0, 0), "{probe:?}: nothing was asked for");
        assert!(is(1 << 62, u64::MAX), "{probe:?}: the sum exceeds 64 bits");
    }
    let mut buffer = [0; 20_000];
    assert_eq!(Residency::default().read(small.as_fd(), 1, &mut buffer).unwrap(), Some(9_999));
    assert_eq!(Residency::default().read(small.as_fd(), 10_000, &mut buffer).unwrap(), Some(0));
    or_skip!(has_cachestat());
    sync_data(&small).unwrap();
    evict(&small);
    assert!(!Residency::default().is_resident(small.as_fd(), 0, WINDOW).unwrap());
    evict(&small);
    assert_eq!(load(small.as_fd(), 9_000, WINDOW, WINDOW).unwrap(), 1_000);
    assert_eq!(load(small.as_fd(), 10_000, WINDOW, WINDOW).unwrap(), 0);
}

/// Files on a memory file system are always resident.
#[test]
fn residency_of_memory_file_system_is_always_true() {
    let file = tempfile::tempfile_in("/dev/shm");
    let mut file = or_skip!(file.map_err(|error| format!("nothing is made in /dev/shm: {error}")));
    if rustix::fs::fstatfs(&file).unwrap().f_type as u32 != MEMORY_FILE_SYSTEMS[0] {
        return skip::because("/dev/shm is not in memory");
    }
    file.write_all(b"0123456789").unwrap();
    let residency = Residency::default();
    assert!(residency.is_resident(file.as_fd(), 0, 10).unwrap());
    assert_eq!(residency.probe(), Probe::AlwaysResident);
    let mut buffer = [0; 4];
    assert_eq!(residency.read(file.as_fd(), 3, &mut buffer).unwrap(), Some(4));
    assert_eq!(&buffer, b"3456");
    assert_eq!(residency.read(file.as_fd(), 8, &mut buffer).unwrap(), Some(2));
}

/// Files of procfs are not in the page cache: they stand for a file system that refuses.
#[test]
fn residency_of_unsupported_file_system_is_never_true() {
    let residency = Residency(AtomicU8::new(Probe::NeverResident as u8));
    let file = written();
    assert!(!residency.is_resident(file.as_fd(), 0, WINDOW).unwrap());
    assert_eq!(residency.read(file.as_fd(), 0, &mut [0]).unwrap(), None);
    let proc = File::open("/proc/self/status").unwrap();
    let residency = Residency::default();
    assert_eq!(residency.read(proc.as_fd(), 0, &mut [0]).unwrap(), None);
    assert_eq!(residency.probe(), Probe::NeverResident);
}

/// The child process of another user probes the residency of its standard input.
#[test]
#[ignore = "not a test: the process of another user that the next test starts"]
fn residency_child_probes_its_stdin() {
    let file = io::stdin();
    let residency = Residency::default();
    assert!(residency.is_resident(file.as_fd(), 0, WINDOW).unwrap());
    println!("{:?}", residency.probe());
}

/// Linux 6.14: cachestat(2) needs ownership of the file or write access.
#[test]
fn residency_without_cachestat_permission_samples_pages() {
    if !rustix::process::geteuid().is_root() {
        return skip::because("only root can become another user");
    }
    // The child inherits a read-only descriptor of a file that is not its own.
    let dir = tempfile::tempdir_in(std::env::current_exe().unwrap().parent().unwrap()).unwrap();
    let path = dir.path().join("file");
    std::fs::write(&path, vec![7; 512 * 1024]).unwrap();
    let file = File::open(&path).unwrap();
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut output = tempfile::tempfile().unwrap();
    let test = "sys::residency::tests::residency_child_probes_its_stdin";
    let status = Command::new(Path::new("/proc/self/exe"))
        .args(["--exact", test, "--ignored", "--nocapture"])
        .uid(65_534)
        .stdin(Stdio::from(file))
        .stdout(Stdio::from(output.try_clone().unwrap()))
        .status()
        .unwrap();
    assert!(status.success(), "{status}");
    let mut said = String::new();
    output.rewind().unwrap();
    output.read_to_string(&mut said).unwrap();
    let mut version = kernel.split(['.', '-']).map(|n| n.parse::<u32>().unwrap_or(0));
    let version = (version.next().unwrap(), version.next().unwrap());
    let anybody_may_count = ((6, 5)..(6, 14)).contains(&version);
    let expected = if anybody_may_count { "Cachestat" } else { "Samples" };
    assert!(said.contains(expected), "{version:?}: {said}");
}
