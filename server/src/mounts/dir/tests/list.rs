//! Listings are complete and sorted, and read each directory as often as they must.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    os::unix::{ffi::OsStrExt, fs::symlink},
    sync::atomic::AtomicBool,
    thread,
    time::Instant,
};

use proptest::prelude::*;

use super::*;

/// DirMount::list returns paths in byte order at any page size.
#[test]
fn dir_list_is_in_byte_order() {
    let home = Home::new();
    for path in ["a/y/z", "a0", "a.txt", "a/x", "a-b", "b", "A", "a/y-", "é", "\u{1}"] {
        home.file(path);
    }
    home.dir("empty/empty");
    let order = ["\u{1}", "A", "a-b", "a.txt", "a/x", "a/y-", "a/y/z", "a0", "b", "é"];
    for limit in [1, 2, 3, 4, 1000] {
        assert_eq!(home.list(limit), order, "{limit}");
    }
    assert_eq!(home.list(0x7fff_ffff), order);
}

/// A listing cursor is a position: it need not name a file, and leads nowhere else.
#[test]
fn dir_list_cursor_need_not_name_existing_file() {
    let home = Home::new();
    for path in ["a", "b/c", "b/d", "c"] {
        home.file(path);
    }
    let after = |cursor: &[u8]| {
        let page = home.mount.list(Some(cursor), 10).unwrap();
        assert_eq!(page.next, None);
        page.entries.into_iter().map(|listed| listed.path).collect::<Vec<_>>()
    };
    assert_eq!(after(b""), ["a", "b/c", "b/d", "c"]);
    assert_eq!(after(b"a"), ["b/c", "b/d", "c"]);
    assert_eq!(after(b"a/x"), ["b/c", "b/d", "c"]);
    assert_eq!(after(b"b"), ["b/c", "b/d", "c"]);
    assert_eq!(after(b"b/"), ["b/c", "b/d", "c"]);
    assert_eq!(after(b"b/c"), ["b/d", "c"]);
    assert_eq!(after(b"b/c/d"), ["b/d", "c"]);
    assert_eq!(after(b"b/cc"), ["b/d", "c"]);
    assert_eq!(after(b"b//"), ["b/c", "b/d", "c"]);
    assert_eq!(after(b"b/../c"), ["b/c", "b/d", "c"]);
    assert_eq!(after(b"../"), ["a", "b/c", "b/d", "c"]);
    assert_eq!(after(b"/etc/passwd"), ["a", "b/c", "b/d", "c"]);
    assert_eq!(after(b"b0"), ["c"]);
    assert_eq!(after(b"b\xff\xff"), ["c"]);
    assert_eq!(after(b"c"), [""; 0]);
    assert_eq!(after(b"\0"), ["a", "b/c", "b/d", "c"]);
    assert_eq!(after(&[0xff; 1024]), [""; 0]);
    assert!(matches!(home.mount.list(Some(&[b'a'; 1025]), 10), Err(MountError::Cursor)));
}

/// DirMount::list leaves out links, pipes and names that are not UTF-8.
#[test]
fn dir_list_omits_links_pipes_and_names_not_utf8() {
    let home = Home::new();
    home.file("file");
    home.file("dir/file");
    symlink("file", home.path("link")).unwrap();
    symlink("dir", home.path("link-to-dir")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, home.path("pipe"), rustix::fs::Mode::RWXU).unwrap();
    fs::write(home.path("").join(OsStr::from_bytes(b"caf\xe9")), "").unwrap();
    fs::create_dir(home.path("").join(OsStr::from_bytes(b"dir\xff"))).unwrap();
    fs::write(home.path("").join(OsStr::from_bytes(b"dir\xff/file")), "").unwrap();
    assert_eq!(home.list(1), ["dir/file", "file"]);
    assert!(home.mount.logged.name_not_utf8.load(Ordering::SeqCst));
    assert!(!home.mount.logged.path_too_long.load(Ordering::SeqCst));
}

/// A path of 1,024 bytes is a key, one of 1,025 is not.
#[test]
fn dir_list_omits_path_over_1024_bytes() {
    let home = Home::new();
    let component = "x".repeat(255);
    // Four components and their slashes have 1,024 bytes; with a file in the last one there are
    // more.
    let dir = home.path(&[component.as_str(); 3].join("/"));
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("y".repeat(256 - 1)), "").unwrap();
    fs::create_dir(dir.join("z".repeat(254))).unwrap();
    let deepest = dir.join("z".repeat(254));
    fs::write(deepest.join("f"), "").unwrap();
    let too_deep = deepest.join("d");
    fs::create_dir(&too_deep).unwrap();
    assert_eq!(home.list(10).iter().map(String::len).collect::<Vec<_>>(), [1023, 1024]);
    assert!(home.mount.logged.path_too_long.load(Ordering::SeqCst));
    assert_eq!(home.list(1).len(), 2);
    fs::write(deepest.join("gg"), "").unwrap();
    assert_eq!(home.list(10).len(), 2);
    let longest = home.list(10).pop().unwrap();
    assert!(home.mount.find(&longest).is_ok());
}

/// A page of a tree of empty directories ends too, and the next one makes progress.
#[test]
fn dir_list_counts_directories_towards_page() {
    let home = Home::new();
    for i in 0..30 {
        home.dir(&format!("{i:02}/a/b"));
    }
    home.file("99");
    let pages = home.pages(10);
    // 90 directories and a file.
    assert_eq!(pages.len(), 10);
    assert_eq!(pages.concat(), ["99"]);
    assert_eq!(home.pages(1).len(), 91);
}

/// A page of long paths in a tree fits into one protocol frame.
#[test]
fn dir_list_page_fits_into_frame() {
    let home = Home::new();
    let dir = [&"x".repeat(255)[..]; 3].join("/");
    for i in 0..300 {
        home.file(&format!("{dir}/{i:0>200}"));
    }
    let pages = home.pages(1000);
    assert_eq!(pages.concat().len(), 300);
    assert!(pages.len() > 2);
    for page in pages {
        let bytes = page.iter().map(|path| path.len() + 38).sum::<usize>();
        assert!(bytes <= 131_072 - 1031, "{bytes}");
    }
}

/// A directory of 20,000 files is read once and listed whole over many pages.
#[test]
fn dir_list_reads_large_directory_once() {
    let home = Home::new();
    let names: Vec<String> = (0..20_000).map(|i| format!("{:05}", (i * 7919) % 20_000)).collect();
    for name in &names {
        fs::write(home.path(name), "").unwrap();
    }
    let all: Vec<String> = (0..20_000).map(|i| format!("{i:05}")).collect();
    assert_eq!(home.list(1000), all);
    assert_eq!(home.reads.load(Ordering::SeqCst), 1);
    assert_eq!(home.list(333), all);
    assert_eq!(home.reads.load(Ordering::SeqCst), 1);
}

/// More names than fit into memory are read a part at a time.
#[test]
fn dir_list_is_complete_in_several_windows() {
    // 3,000 names of 5 bytes and their spans of 8.
    let home = Home::within(39_000, 78_000);
    for i in 0..20_000 {
        fs::write(home.path(&format!("{:05}", (i * 7919) % 20_000)), "").unwrap();
    }
    let all: Vec<String> = (0..20_000).map(|i| format!("{i:05}")).collect();
    assert_eq!(home.list(300), all);
    let reads = home.reads.load(Ordering::SeqCst);
    // A window ends up between half full and full; the last one may be too small to be cached.
    assert!((7..=18).contains(&reads), "{reads}");
    assert!(home.mount.cache.bytes() <= 78_000);
}

/// A listing is complete even when each window holds a single name.
#[test]
fn dir_list_advances_with_window_of_one_name() {
    let home = Home::within(1, 1);
    for i in 0..50 {
        home.file(&format!("{}/{i}", i % 7));
    }
    let mut all: Vec<String> = (0..50).map(|i| format!("{}/{i}", i % 7)).collect();
    all.sort();
    assert_eq!(home.list(3), all);
}

/// The cache is bounded, and the most recently used windows stay.
#[test]
fn dir_name_cache_is_bounded() {
    let home = Home::within(WINDOW_BYTES, 50_000);
    for i in 0..2000 {
        home.file(&format!("{}/{i:05}", i % 2));
    }
    // 13,000 bytes each: below the cache's minimum.
    home.list(1000);
    assert_eq!(home.mount.cache.bytes(), 0);
    for i in 0..10_000 {
        home.file(&format!("{}/{i:05}", i % 5));
    }
    // Five of 26,000 bytes.
    home.list(1000);
    assert_eq!(home.mount.cache.bytes(), 26_000);
    let home = Home::within(WINDOW_BYTES, CACHE_BYTES);
    for i in 0..10_000 {
        home.file(&format!("{}/{i:05}", i % 5));
    }
    home.list(1000);
    assert_eq!(home.mount.cache.bytes(), 130_000);
}

/// The next page of a listing shows files that were added or removed meanwhile.
#[test]
fn dir_list_next_page_sees_changed_directory() {
    let home = Home::new();
    for i in 0..3000 {
        fs::write(home.path(&format!("{i:05}")), "").unwrap();
    }
    let first = home.mount.list(None, 1000).unwrap();
    assert!(home.mount.cache.bytes() > 0);
    fs::remove_file(home.path("02999")).unwrap();
    home.file("00500x");
    home.file("02000x");
    let mut paths = Vec::new();
    let mut next = first.next;
    while let Some(after) = next {
        let page = home.mount.list(Some(&after), 1000).unwrap();
        paths.extend(page.entries.into_iter().map(|listed| listed.path));
        next = page.next;
    }
    assert_eq!(paths.len(), 2000);
    assert!(paths.contains(&"02000x".to_owned()));
    assert!(!paths.contains(&"02999".to_owned()));
    // The names of the directory's earlier state are not kept.
    assert!(home.mount.cache.bytes() < 50_000, "{}", home.mount.cache.bytes());
}

/// A change in the same tick of the clock leaves the times unchanged.
#[test]
fn dir_list_does_not_cache_directory_changed_just_now() {
    let home = Home::new();
    for i in 0..3000 {
        fs::write(home.path(&format!("{i:05}")), "").unwrap();
    }
    let state = tree::stat(&*home.mount.current()).unwrap();
    let changed = state.changed.0 as u64 * 1_000_000_000 + u64::from(state.changed.1);
    home.time.store(changed + 2_999_999_999, Ordering::SeqCst);
    home.list(1000);
    assert_eq!((home.reads.load(Ordering::SeqCst), home.mount.cache.bytes()), (3, 0));
    home.time.store(changed + 3_000_000_000, Ordering::SeqCst);
    home.list(1000);
    assert_eq!(home.reads.load(Ordering::SeqCst), 4);
    assert!(home.mount.cache.bytes() > 0);
}

/// A file that exists before the first page and still after the last one is on exactly one page.
#[test]
fn dir_list_has_each_lasting_file_once_under_changes() {
    let home = Home::within(20_000, 40_000);
    home.time.store(0, Ordering::SeqCst);
    let mut stays = BTreeSet::new();
    for i in 0..2000 {
        let path = format!("{}/{i:04}", i % 3);
        home.file(&path);
        stays.insert(path);
    }
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut i = 0;
            while !done.load(Ordering::SeqCst) {
                let path = home.path(&format!("{}/{:04}-", i % 3, (i * 37) % 2000));
                fs::write(&path, "").unwrap();
                if i % 2 == 0 {
                    fs::rename(&path, home.path(&format!("{}/x{}", i % 3, i % 50))).unwrap();
                } else {
                    fs::remove_file(&path).unwrap();
                }
                i += 1;
            }
        });
        for limit in [50, 100, 1000] {
            let listed = home.list(limit);
            let once: BTreeSet<String> = listed.iter().cloned().collect();
            assert_eq!(once.len(), listed.len(), "a path is listed twice");
            assert!(listed.is_sorted());
            let missing: Vec<_> = stays.difference(&once).collect();
            assert!(missing.is_empty(), "{missing:?}");
        }
        done.store(true, Ordering::SeqCst);
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The pages of any tree, of any size and through windows of any size, contain its sorted
    /// paths.
    #[test]
    fn dir_list_pages_equal_sorted_paths_of_any_tree(
        paths in prop::collection::vec(
            prop::collection::vec(
                prop::sample::select(vec!["a", "b", "a-", "a.b", "a0", "ab", "é", "~"]),
                1..5,
            ),
            0..40,
        ),
        limit in 1_u32..20,
        window in 1_usize..400,
    ) {
        let home = Home::within(window, 2 * window);
        let mut all = BTreeSet::new();
        for components in &paths {
            let path = components.join("/");
            let at = home.path(&path);
            if fs::create_dir_all(at.parent().unwrap()).is_ok() && !at.is_dir() {
                fs::write(&at, "").unwrap();
                all.insert(path);
            }
        }
        prop_assert_eq!(home.list(limit), all.into_iter().collect::<Vec<_>>());
    }
}

/// By hand: `cargo test --release -p zput-server -- --ignored --nocapture a_million`; a million
/// files, in pages of 1,000.
#[test]
#[ignore = "makes a million files: a minute, and a gigabyte where temporary files are"]
fn dir_list_of_a_million_entries_is_complete() {
    let home = Home::new();
    let start = Instant::now();
    for i in 0..1_000_000_u64 {
        fs::File::create(home.path(&format!("{:016x}.dat", i.wrapping_mul(0x9e37_79b9_7f4a_7c15))))
            .unwrap();
    }
    println!("made in {:?}", start.elapsed());
    let before = resident_kb();
    let start = Instant::now();
    let (mut count, mut pages, mut after, mut slowest) = (0, 0, None::<Vec<u8>>, start.elapsed());
    let mut last = String::new();
    loop {
        let began = Instant::now();
        let page = home.mount.list(after.as_deref(), 1000).unwrap();
        slowest = slowest.max(began.elapsed());
        count += page.entries.len();
        pages += 1;
        for listed in page.entries {
            assert!(last < listed.path);
            last = listed.path;
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    println!("{count} files on {pages} pages in {:?}, the slowest {slowest:?}", start.elapsed());
    println!("cache {} bytes", home.mount.cache.bytes());
    println!("resident {before} kB before, {} kB after, at most {}", resident_kb(), peak_kb());
    assert_eq!(count, 1_000_000);
    assert_eq!(home.reads.load(Ordering::SeqCst), 1);
}

fn status_kb(field: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn resident_kb() -> u64 {
    status_kb("VmRSS:")
}

fn peak_kb() -> u64 {
    status_kb("VmHWM:")
}
