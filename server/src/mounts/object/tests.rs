use std::fs;

use tempfile::TempDir;

use super::*;
use crate::limits::Semaphore;
use crate::{
    mounts::DirMount,
    store::{Clock, Store},
};

/// FORMAT 3 and 7, as far as a server looks: 200 bytes of header, 5,000 between, 150 of footer.
fn framed() -> Vec<u8> {
    let mut bytes = vec![3; 5350];
    bytes[..14].copy_from_slice(b"\x8Azput\r\n\x1A\x00\x01\x00\x00\x00\xC8");
    bytes[5338..].copy_from_slice(b"\x00\x00\x00\x96\x8Azputend");
    bytes
}

fn permit() -> Permit {
    Semaphore::new(1).try_acquire().unwrap()
}

/// `bytes` as a file of a tree, open.
fn opened(bytes: &[u8]) -> OpenObject {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("f"), bytes).unwrap();
    let mount = DirMount::open(dir.path(), Clock::system()).unwrap();
    OpenObject::found(mount.find("f").unwrap(), permit()).unwrap()
}

/// OpenObject splits a sealed file into header, body, footer and ranges by its framing.
#[test]
fn open_object_splits_sealed_file_into_sections() {
    let object = opened(&framed());
    let info = object.info();
    assert_eq!((info.kind, info.length), (Kind::Sealed, 5350));
    assert_eq!((info.header_length, info.footer_length), (200, 150));
    assert_eq!(object.header().unwrap(), &framed()[..200]);
    assert_eq!(object.section(Section::Body), Ok(200..5200));
    assert_eq!(object.section(Section::Footer), Ok(5200..5350));
    let range = |offset, length| object.section(Section::Range { offset, length });
    assert_eq!(range(5000, 350), Ok(5000..5350));
    assert_eq!(range(5350, 0), Ok(5350..5350));
    assert_eq!(range(200, 1), Ok(200..201));
    let outside = [(5000, 351), (5351, 0), (u64::MAX, 1), (201, u64::MAX), (0, 5350), (199, 2)];
    for (offset, length) in outside {
        assert_eq!(range(offset, length), Err(OutOfRange), "{offset} {length}");
    }
    for section in [Section::Header, Section::All] {
        assert_eq!(object.section(section), Err(OutOfRange), "{section:?}");
    }
}

/// OpenObject of a plain file has only its whole and its ranges.
#[test]
fn open_object_of_plain_file_has_no_header_or_footer() {
    let object = opened(b"abc");
    assert_eq!((object.info().kind, object.info().length), (Kind::Plain, 3));
    assert_eq!(object.header(), None);
    for section in [Section::Header, Section::Body, Section::Footer] {
        assert_eq!(object.section(section), Err(OutOfRange), "{section:?}");
    }
    assert_eq!(object.section(Section::All), Ok(0..3));
    assert_eq!(object.section(Section::Range { offset: 0, length: 3 }), Ok(0..3));
}

/// A file with only part of a blob's framing is served as plain.
#[test]
fn open_object_with_incomplete_framing_is_plain() {
    let whole = framed();
    let mut no_footer = whole.clone();
    no_footer[5349] = 0;
    let mut no_header = whole.clone();
    no_header[0] = 0;
    let mut too_long = whole.clone();
    // A header of 65,536 bytes in a file of 5,350.
    too_long[10..14].copy_from_slice(&[0, 1, 0, 0]);
    for bytes in [&whole[..5349], &whole[..13], &no_footer, &no_header, &too_long] {
        assert_eq!(opened(bytes).info().kind, Kind::Plain);
    }
}

/// Two stanzas of age's post-quantum kind fit, a vault of thirty does not.
#[test]
fn open_object_with_header_over_4096_bytes_is_not_cached() {
    assert!(opened(&framed()).is_cacheable());
    let mut long = vec![3; 20_000];
    long[..14].copy_from_slice(b"\x8Azput\r\n\x1A\x00\x01\x00\x00\x10\x01");
    long[19_988..].copy_from_slice(b"\x00\x00\x00\x96\x8Azputend");
    let object = opened(&long);
    assert_eq!(object.info().header_length, 4097);
    assert!(!object.is_cacheable());
}

/// OpenObject reads the sections of an archive member from its offset.
#[test]
fn open_object_of_archive_member_starts_at_its_offset() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("f"), [&[9; 700][..], &framed(), &[9; 100]].concat()).unwrap();
    let mut found = DirMount::open(dir.path(), Clock::system()).unwrap().find("f").unwrap();
    (found.offset, found.length) = (700, 5350);
    let object = OpenObject::found(found, permit()).unwrap();
    assert_eq!(object.info().kind, Kind::Sealed);
    assert_eq!(object.header().unwrap(), &framed()[..200]);
    assert_eq!(object.in_file(&(200..5200)), 900..5900);
}

fn store() -> (TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Clock::system()).unwrap();
    (dir, store)
}

/// A stored version's etag is its number, and only the current version is cached.
#[test]
fn open_object_of_stored_version_has_version_as_etag() {
    use zput_proto::{digest::Digest, message::Condition, name::ObjectKey};
    let (_dir, store) = store();
    let key = ObjectKey::new("k").unwrap();
    let mut upload = store.begin(&key, Kind::Plain, Condition::Any, None).unwrap();
    upload.start_slice(3, Digest::of(b"abc")).unwrap();
    upload.write(b"abc").unwrap();
    upload.end_slice().unwrap();
    let Version(version) = upload.commit().unwrap();
    let (object, current_file) = store.open_current(&key).unwrap();
    let object = OpenObject::stored(object, Some(current_file), permit()).unwrap();
    assert_eq!(u64::from_str_radix(object.etag(), 16), Ok(version));
    assert!(object.is_cacheable());
    let Origin::Current(current_file) = object.origin() else { panic!("{object:?}") };
    assert!(store.is_current(current_file));
    store.delete(&key, Condition::Any).unwrap();
    assert!(!store.is_current(current_file));
    let earlier = store.lookup(&key, Some(Version(version))).unwrap();
    assert!(!OpenObject::stored(earlier, None, permit()).unwrap().is_cacheable());
}
