use std::{collections::BTreeSet, fs};

use tempfile::TempDir;
use zput_proto::message::{Kind, Version};

use super::*;
use crate::store::Clock;

fn mount() -> (TempDir, MountPoint) {
    let dir = tempfile::tempdir().unwrap();
    let source = Source::Dir(DirMount::open(dir.path(), Clock::system()).unwrap());
    (dir, MountPoint::new("", source, Policy::PRIVATE))
}

fn key(name: &str) -> ObjectKey {
    ObjectKey::new(name).unwrap()
}

/// The framing of a sealed blob (FORMAT 3 and 7) around a header of 60,000 bytes; the limit is
/// 65,536.
fn with_long_header() -> Vec<u8> {
    let mut bytes = vec![3; 65_150];
    bytes[..14].copy_from_slice(b"\x8Azput\r\n\x1A\x00\x01\x00\x00\xea\x60");
    bytes[65_138..].copy_from_slice(b"\x00\x00\x00\x96\x8Azputend");
    bytes
}

/// PROTOCOL 3: a frame has 131,072 bytes at most. Two of these headers fit into one, three do not.
#[test]
fn list_page_with_headers_fits_into_frame() {
    let (dir, mount) = mount();
    let names: BTreeSet<String> = (0..9).map(|n| format!("blob-{n}")).collect();
    for name in &names {
        fs::write(dir.path().join(name), with_long_header()).unwrap();
    }
    let (mut listed, mut after, mut pages) = (BTreeSet::new(), None::<Vec<u8>>, 0);
    loop {
        let StorePage { entries, next, .. } = mount.list(after.as_deref(), 1000, true).unwrap();
        assert!((1..=2).contains(&entries.len()), "{} entries", entries.len());
        for entry in entries {
            assert_eq!(entry.info.kind, Kind::Sealed);
            assert_eq!(entry.header.unwrap().len(), 60_000);
            assert!(listed.insert(entry.key.to_string()), "{} is listed twice", entry.key);
        }
        pages += 1;
        match next {
            Some(_) => after = next,
            None => break,
        }
    }
    assert_eq!((listed, pages), (names, 5));
    let StorePage { entries, next, .. } = mount.list(None, 1000, false).unwrap();
    assert_eq!((entries.len(), next), (9, None), "without headers all are on one page");
    assert!(entries.iter().all(|entry| entry.header.is_none()));
}

/// A file removed while its page is made is left out, and the cursor stays.
#[test]
fn list_page_omits_file_removed_meanwhile() {
    let (dir, mount) = mount();
    for name in ["a", "c"] {
        fs::write(dir.path().join(name), name).unwrap();
    }
    let Source::Dir(tree) = mount.source() else { panic!("{mount:?}") };
    let mut page = tree.list(None, 1000).unwrap();
    fs::remove_file(dir.path().join("a")).unwrap();
    page.next = Some(b"c".to_vec());
    let StorePage { entries, next, .. } = mount.entries(page, false).unwrap();
    let keys: Vec<_> = entries.into_iter().map(|entry| entry.key.to_string()).collect();
    assert_eq!((keys, next), (vec!["c".to_owned()], Some(b"c".to_vec())));
}

/// A file has one version; every other version is not found.
#[test]
fn dir_mount_open_of_other_version_is_not_found() {
    let (dir, mount) = mount();
    let files = Semaphore::new(8);
    fs::write(dir.path().join("f"), "first").unwrap();
    let first = mount.stat(&key("f"), None).unwrap().version;
    mount.open(&key("f"), Some(first), &files).unwrap();
    mount.stat(&key("f"), Some(first)).unwrap();
    let Version(number) = first;
    fs::write(dir.path().join("new"), "second").unwrap();
    fs::rename(dir.path().join("new"), dir.path().join("f")).unwrap();
    for other in [first, Version(number.wrapping_add(1)), Version(0)] {
        let opened = mount.open(&key("f"), Some(other), &files);
        assert!(matches!(opened, Err(OpenError::NoVersion)), "{opened:?}");
        assert_eq!(opened.unwrap_err().code(), ErrorCode::NotFound);
        assert!(matches!(mount.stat(&key("f"), Some(other)), Err(OpenError::NoVersion)));
    }
    let (versions, next, _) = mount.versions(&key("f"), None, 10).unwrap();
    assert_eq!((versions.len(), next), (1, None));
    assert_ne!(versions[0].version, first);
    let (versions, next, _) = mount.versions(&key("f"), Some(versions[0].version), 10).unwrap();
    assert_eq!((versions.len(), next), (0, None), "the page after the only one is empty");
}

/// Opening a file at the open-file limit is Busy, and a failed open takes no permit.
#[test]
fn mount_open_at_open_file_limit_is_busy() {
    let (dir, mount) = mount();
    fs::write(dir.path().join("f"), "text").unwrap();
    let files = Semaphore::new(1);
    let held = mount.open(&key("f"), None, &files).unwrap();
    let refused = mount.open(&key("f"), None, &files);
    assert!(refused.is_err_and(|error| error.code() == ErrorCode::Busy));
    drop(held);
    // A failed open does not count.
    assert!(mount.open(&key("none"), None, &files).is_err());
    mount.open(&key("f"), None, &files).unwrap();
}
