//! Which generations may follow which (PROTOCOL 5, "Generations").

use zput_proto::{keys::DevicePublicKey, message::HeaderSlice};

use super::*;
use crate::store::Upload;

const WRITER: DevicePublicKey = DevicePublicKey::from_bytes([0xd5; 32]);
const DAY_NS: u64 = 86_400_000_000_000;

/// The header of "doc" with this generation; `blob` distinguishes blobs.
fn header(generation: u64, blob: u8) -> Vec<u8> {
    let [mut header, ..] = sealed("doc", b"");
    header[48..56].copy_from_slice(&generation.to_be_bytes());
    header[199] = blob;
    header
}

fn begin(home: &Home, generation: u64, blob: u8) -> Result<Upload, StoreError> {
    let header = header(generation, blob);
    let upload = home.store.begin(&key("doc"), Kind::Sealed, Condition::Any, Some(WRITER));
    let mut upload = upload.unwrap();
    upload.write_header(&header, Digest::of(&header))?;
    Ok(upload)
}

/// With a part, so that the upload is kept.
fn filled(home: &Home, generation: u64, blob: u8) -> Result<Upload, StoreError> {
    let mut upload = begin(home, generation, blob)?;
    let parts = [&[3; 524_872][..], &[3; 524_872], &[4; 72]];
    let footer = zput_framed::footer(&parts, PART_SIZE_LOG2);
    for slice in parts.into_iter().chain([&footer[..]]) {
        upload.start_slice(slice.len() as u32, Digest::of(slice)).unwrap();
        upload.write(slice).unwrap();
        upload.end_slice().unwrap();
    }
    Ok(upload)
}

fn commit(home: &Home, generation: u64, blob: u8) -> Result<Version, StoreError> {
    filled(home, generation, blob)?.commit()
}

/// The generation that the error names as the conflicting one.
fn conflicting<T: std::fmt::Debug>(result: Result<T, StoreError>) -> u64 {
    match result {
        Err(error @ StoreError::Older { there }) => {
            assert_eq!((error.code() as u8, error.number()), (15, there));
            there
        }
        other => panic!("{other:?}"),
    }
}

/// FORMAT 9, step 6: a reader that has seen one of them would refuse the other.
#[test]
fn generation_admits_one_blob() {
    let home = Home::new();
    let (first, second) = (filled(&home, 9, 1).unwrap(), filled(&home, 9, 2).unwrap());
    let version = first.commit().unwrap();
    assert_eq!(conflicting(second.commit()), 9);
    assert_eq!(home.store.open_current(&key("doc")).unwrap().0.version(), version);
    // The same upload again is the same blob.
    commit(&home, 9, 1).unwrap();
    commit(&home, 10, 2).unwrap();
}

/// An upload of an old generation is refused at its begin and at its resume.
#[test]
fn generation_too_old_is_refused_before_upload() {
    let home = Home::new();
    drop(filled(&home, 8, 1).unwrap());
    assert_eq!(home.staged(), 1);
    commit(&home, 9, 2).unwrap();
    assert_eq!(conflicting(begin(&home, 9, 3)), 9);
    assert_eq!(conflicting(begin(&home, 0, 3)), 9);
    // A kept upload that can no longer be committed is removed.
    let resume = |generation, blob| {
        let header = HeaderSlice::of(header(generation, blob));
        home.store.resume(&key("doc"), Condition::Any, Some(WRITER), &header)
    };
    assert_eq!(conflicting(resume(8, 1)), 9);
    assert!(matches!(resume(8, 1), Err(StoreError::NotFound)));
    assert_eq!(home.staged(), 0);
}

/// Readers also remember versions that were deleted or replaced.
#[test]
fn generation_must_exceed_deleted_and_restored_versions() {
    let home = Home::new();
    let first = commit(&home, 5, 1).unwrap();
    commit(&home, 9, 2).unwrap();
    home.store.delete(&key("doc"), Condition::Any).unwrap();
    assert_eq!(conflicting(filled(&home, 8, 3).unwrap().commit()), 9);
    // A restored version becomes current whatever its generation.
    home.store.restore(&key("doc"), first).unwrap();
    assert_eq!(conflicting(filled(&home, 9, 3).unwrap().commit()), 9);
    commit(&home, 10, 3).unwrap();
    // An unsealed object has no generation.
    home.put("doc", b"plain");
    assert_eq!(conflicting(filled(&home, 10, 4).unwrap().commit()), 10);
    commit(&home, 11, 4).unwrap();
}

/// A generation more than a day ahead of clock and versions is refused.
#[test]
fn generation_over_one_day_ahead_of_clock_is_refused() {
    let home = Home::new();
    let now = 1_700_000_000_000_000_000;
    home.set_time(now);
    commit(&home, now + DAY_NS, 1).unwrap();
    for generation in [now + DAY_NS + 2, 4_070_908_800_000_000_000, u64::MAX - 1] {
        let error = begin(&home, generation, 2).unwrap_err();
        assert!(matches!(error, StoreError::Ahead { clock_ns } if clock_ns <= now + 1), "{error}");
        assert_eq!((error.code() as u8, error.number() / DAY_NS), (18, now / DAY_NS));
    }
    assert_eq!(home.staged(), 0);
    // A clock that was set back does not prevent the next put: the versions tell of a later time.
    home.set_time(0);
    commit(&home, now + DAY_NS + 1, 2).unwrap();
}

/// For example a version that was copied from another store. Readers do not remember it.
#[test]
fn generation_beyond_clock_on_disk_does_not_block_puts() {
    let home = Home::new();
    let far = 1_000 * DAY_NS;
    home.set_time(far);
    commit(&home, far + 1, 1).unwrap();
    // A restore copies the version, whatever its generation.
    let file = home.object_path("doc");
    let mut bytes = fs::read(&file).unwrap();
    bytes[48..56].copy_from_slice(&u64::MAX.to_be_bytes());
    fs::write(&file, bytes).unwrap();
    commit(&home, far + 2, 2).unwrap();
}
