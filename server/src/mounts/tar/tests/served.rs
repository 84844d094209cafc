//! An archive on disk: found, listed, replaced, changed.

use std::time::{Duration, Instant};

use zput_proto::message::ErrorCode;

use super::*;

/// TarMount::find returns a member as a range of the archive's bytes, or NotFound.
#[test]
fn tar_mount_finds_member_as_range_of_archive() {
    let home = Home::new(
        &Build::new().file(b"a", b"hello").file(b"d/b", b"world!").file(b"empty", b"").end(),
    );
    let mount = home.open().unwrap();
    let found = mount.find("d/b").unwrap();
    assert_eq!((found.offset, found.length), (1536, 6));
    assert_eq!(bytes(&found), b"world!");
    assert_eq!(found.modified, FileTime { seconds: 1_700_000_000, nanoseconds: 0 });
    assert_eq!(bytes(&mount.find("a").unwrap()), b"hello");
    assert_eq!(mount.find("empty").unwrap().length, 0);
    assert_eq!(mount.find("d/b").unwrap().fingerprint, found.fingerprint);
    assert_ne!(mount.find("a").unwrap().fingerprint, found.fingerprint);
    for path in ["b", "d", "A", "d/b/c"] {
        assert!(matches!(mount.find(path), Err(MountError::NotFound)), "{path}");
    }
    for path in ["", "/a", "../a", "d//b", "a\0", "a/"] {
        let error = mount.find(path).unwrap_err();
        assert!(matches!(error, MountError::Path(_)), "{path}");
        assert_eq!(error.code(), ErrorCode::NotFound);
    }
}

/// TarMount::list returns the sorted members at any page size and from any cursor.
#[test]
fn tar_list_pages_are_sorted_members() {
    let mut build = Build::new();
    for i in 0..2500 {
        build = build.file(format!("{:04}", (i * 7919) % 2500).as_bytes(), b"");
    }
    let home = Home::new(&build.end());
    let mount = home.open().unwrap();
    for limit in [1, 7, 1000, u32::MAX] {
        let (mut all, mut after) = (Vec::new(), None::<Vec<u8>>);
        loop {
            let page = mount.list(after.as_deref(), limit).unwrap();
            assert!(page.entries.len() <= limit.min(1000) as usize);
            for listed in page.entries {
                assert_eq!(listed.fingerprint, mount.find(&listed.path).unwrap().fingerprint);
                all.push(listed.path);
            }
            assert!(page.next.is_none() || page.next > after, "the cursor does not move on");
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(all, (0..2500).map(|i| format!("{i:04}")).collect::<Vec<_>>());
    }
    let first = |cursor: &[u8]| {
        mount.list(Some(cursor), 1).unwrap().entries.into_iter().next().map(|l| l.path)
    };
    assert_eq!(first(b"0100").as_deref(), Some("0101"));
    assert_eq!(first(b"0100\xff").as_deref(), Some("0101"));
    assert_eq!(first(b"00").as_deref(), Some("0000"));
    assert_eq!(first(&[0xff; 1024]), None);
    assert!(matches!(mount.list(Some(&[0; 1025]), 1), Err(MountError::Cursor)));
}

/// A page of long names in an archive fits into one protocol frame.
#[test]
fn tar_list_page_fits_into_frame() {
    let mut build = Build::new();
    for i in 0..300 {
        let name = [format!("{i:04}").as_bytes(), &[b'x'; 1020], b"\0"].concat();
        build = build.extension(b'L', &name).file(b"x", b"");
    }
    let home = Home::new(&build.end());
    let page = home.open().unwrap().list(None, 1000).unwrap();
    // 1,024 bytes and 38 each, in 131,072 less 1,031.
    assert_eq!(page.entries.len(), 122);
    assert_eq!(page.next.unwrap(), page.entries[121].path.as_bytes());
}

/// TarMount serves a replaced archive after reindex, and keeps the old one if refused.
#[test]
fn tar_mount_serves_replaced_archive_after_reindex() {
    let home = Home::new(&Build::new().file(b"a", b"old").end());
    let mount = home.open().unwrap();
    let old = mount.find("a").unwrap();
    let new = home.dir.path().join("new.tar");
    fs::write(&new, Build::new().file(b"a", b"new").file(b"b", b"").end()).unwrap();
    fs::rename(&new, home.path()).unwrap();
    assert_eq!(bytes(&mount.find("a").unwrap()), b"old");
    assert_eq!(mount.find("a").unwrap().fingerprint, old.fingerprint);
    assert_eq!(mount.reindex().unwrap(), 2);
    let found = mount.find("a").unwrap();
    assert_eq!(bytes(&found), b"new");
    assert_ne!(found.fingerprint, old.fingerprint);
    assert_eq!(bytes(&old), b"old");

    // An archive that is refused changes nothing.
    fs::write(&new, Build::new().file(b"../a", b"bad").end()).unwrap();
    fs::rename(&new, home.path()).unwrap();
    assert!(matches!(mount.reindex(), Err(MountError::Archive(_))));
    assert_eq!(bytes(&mount.find("a").unwrap()), b"new");
    fs::remove_file(home.path()).unwrap();
    assert!(matches!(mount.reindex(), Err(MountError::Io { .. })));
    assert_eq!(bytes(&mount.find("a").unwrap()), b"new");
}

/// TarMount refuses an archive that was written to until it is indexed again.
#[test]
fn tar_mount_refuses_archive_changed_in_place() {
    let archive = Build::new().file(b"a", b"hello").end();
    let home = Home::new(&archive);
    let mount = home.open().unwrap();
    let changed = |what: &str| {
        for error in [mount.find("a").unwrap_err(), mount.list(None, 1).unwrap_err()] {
            assert!(matches!(error, MountError::ArchiveChanged), "{what}: {error}");
            assert_eq!(error.code(), ErrorCode::Internal);
        }
        mount.reindex().unwrap();
        assert_eq!(bytes(&mount.find("a").unwrap()), b"hello", "{what}");
    };
    let file = fs::File::options().write(true).open(home.path()).unwrap();
    file.set_len(archive.len() as u64 + 512).unwrap();
    // If both writes were in one tick of the clock, only the length differs.
    let before = fs::metadata(home.path()).unwrap().modified().unwrap();
    changed("longer");
    file.set_modified(before + Duration::from_nanos(1)).unwrap();
    changed("written");
    // Another name or mode does not change the bytes.
    fs::hard_link(home.path(), home.dir.path().join("link")).unwrap();
    assert_eq!(bytes(&mount.find("a").unwrap()), b"hello");
}

/// As `mv new.tar archive.tar` does.
#[test]
fn tar_mount_serves_archive_renamed_over_its_path() {
    let home = Home::new(&Build::new().file(b"a", b"first").end());
    let mount = home.open().unwrap().check_every(Duration::ZERO);
    let first = mount.find("a").unwrap();
    assert!(mount.is_unchanged("a", first.fingerprint));
    let renamed = |archive: &[u8]| {
        fs::write(home.dir.path().join("new"), archive).unwrap();
        fs::rename(home.dir.path().join("new"), home.path()).unwrap();
    };
    renamed(&Build::new().file(b"a", b"another").end());
    assert!(!mount.is_unchanged("a", first.fingerprint), "what is kept open is opened again");
    assert_eq!(bytes(&mount.find("a").unwrap()), b"another");
    // An archive that cannot be indexed changes nothing, and is tried once.
    renamed(b"no archive");
    assert_eq!(bytes(&mount.find("a").unwrap()), b"another");
    let second = mount.find("a").unwrap();
    assert!(mount.is_unchanged("a", second.fingerprint));
    fs::remove_file(home.path()).unwrap();
    assert_eq!(bytes(&mount.find("a").unwrap()), b"another");
    renamed(&Build::new().file(b"a", b"third").end());
    assert_eq!(mount.list(None, 10).unwrap().entries[0].length, 5);
    assert_eq!(bytes(&mount.find("a").unwrap()), b"third");
}

/// TarMount::open refuses pipes, directories, missing and empty files.
#[test]
fn tar_mount_archive_must_be_regular_file() {
    let home = Home::new(b"");
    let open = |name: &str| TarMount::open(&home.dir.path().join(name), None);
    rustix::fs::mkfifoat(rustix::fs::CWD, home.dir.path().join("pipe"), rustix::fs::Mode::RWXU)
        .unwrap();
    assert!(matches!(open("pipe"), Err(MountError::NotAnArchiveFile)));
    assert!(matches!(open("."), Err(MountError::NotAnArchiveFile)));
    assert!(matches!(open("nothing"), Err(MountError::Io { .. })));
    assert_eq!(
        home.open().unwrap_err().to_string(),
        "the archive is refused: at byte 0: the archive ends without its end mark: it is cut off, \
         or still being written"
    );
}

/// Members beyond 4 GiB, in a sparse file.
#[test]
fn tar_mount_serves_members_beyond_4_gib() {
    let home = Home::new(b"");
    let large: u64 = 5 << 30;
    let header =
        Build::new().file(b"first", b"1").header(Build::block(b"large", b'0', large)).cut();
    let rest = Build::new().file(b"last", b"hello").end();
    let file = fs::File::options().write(true).open(home.path()).unwrap();
    file.write_all_at(&header, 0).unwrap();
    file.write_all_at(&rest, 1536 + large).unwrap();
    let mount = home.open().unwrap();
    let found = mount.find("last").unwrap();
    assert_eq!(found.offset, 5_368_711_168);
    assert_eq!(bytes(&found), b"hello");
    assert_eq!(mount.find("large").unwrap().length, 5_368_709_120);

    // 10 GiB, which do not fit into octal digits: as GNU tar and others write it.
    let huge: u64 = 10 << 30;
    let header = Build::new().extension(b'x', b"20 size=10737418240\n").file(b"huge", b"").cut();
    file.write_all_at(&header, 0).unwrap();
    file.write_all_at(&rest, 1536 + huge).unwrap();
    let mount = home.open().unwrap();
    assert_eq!(mount.find("huge").unwrap().length, 10_737_418_240);
    assert_eq!(mount.find("last").unwrap().offset, 10_737_420_288);
}

/// By hand: `cargo test --release -p zput-server -- --ignored --nocapture an_archive_of_100_000`.
#[test]
#[ignore = "measures"]
fn tar_index_of_an_archive_of_100_000_members_is_small() {
    let mut build = Build::new();
    for i in 0..100_000 {
        build = build.file(format!("usr/share/things/of/kind/{i:06}.dat").as_bytes(), b"hello");
    }
    let home = Home::new(&build.end());
    let start = Instant::now();
    let mount = home.open().unwrap();
    println!("indexed in {:?}", start.elapsed());
    let index = &mount.current().index;
    println!("{} members, {} bytes", index.len(), index.memory_bytes());
    // 32 bytes and a name of 35.
    assert_eq!(index.memory_bytes(), 6_700_000);
    let start = Instant::now();
    for i in 0..100_000 {
        mount.find(&format!("usr/share/things/of/kind/{i:06}.dat")).unwrap();
    }
    println!("found all in {:?}", start.elapsed());
}
