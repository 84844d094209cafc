//! Interrupted uploads: which are kept, and for how long.

use std::time::{Duration, UNIX_EPOCH};

use zput_proto::message::ErrorCode;

use super::*;
use crate::store::{Upload, Writer};

use super::resume::{
    LAST, PART, WRITER, add, begun, begun_by, claimed, finish, part, resume, staged_file,
};

/// Interrupted uploads of less than a mebibyte, and plain ones, are not kept.
#[test]
fn upload_below_one_mebibyte_or_plain_is_not_kept() {
    let home = Home::new();
    let short = vec![1; 1_048_375];
    drop(begun(&home, &[&short]));
    assert_eq!(home.staged(), 0);
    // Bytes of a slice that has not ended do not count.
    let mut upload = begun(&home, &[&short]);
    upload.start_slice(1_000_000, Digest::of(b"")).unwrap();
    upload.write(&part(2)).unwrap();
    drop(upload);
    assert_eq!(home.staged(), 0);
    drop(begun(&home, &[&short, b"x"]));
    assert_eq!(home.staged(), 1);
    // Nor do bytes that were cut off below it when it is resumed.
    let mut upload = resume(&home).unwrap();
    assert_eq!(upload.claim(&[claimed(b"other")]).unwrap(), 0);
    drop(upload);
    assert_eq!(home.staged(), 0);

    let plain = home.store.begin(&key("doc"), Kind::Plain, Condition::Any, Some(WRITER));
    let mut plain = plain.unwrap();
    add(&mut plain, &part(1));
    add(&mut plain, &part(2));
    drop(plain);
    assert_eq!(home.staged(), 0);
}

/// A slice that was cut off is not part of the kept upload.
#[test]
fn kept_upload_excludes_interrupted_slice() {
    let home = Home::new();
    let (one, two, three) = (part(1), part(2), part(3));
    let mut upload = begun(&home, &[&one, &two]);
    upload.start_slice(524_872, Digest::of(&three)).unwrap();
    upload.write(&three[..100_000]).unwrap();
    drop(upload);
    let mut upload = resume(&home).unwrap();
    let all = [&one, &two, &three].map(|part| claimed(part));
    assert_eq!(upload.claim(&all).unwrap(), 2);
    add(&mut upload, &three);
    finish(&home, upload, &[&one, &two, &three]);
}

/// An aborted upload and one whose commit failed leave no file.
#[test]
fn upload_aborted_or_failed_is_not_kept() {
    let home = Home::new();
    let (one, two) = (part(1), part(2));
    begun(&home, &[&one, &two]).abort();
    assert_eq!(home.staged(), 0, "abort");

    assert_eq!(begun(&home, &[&one, &two]).commit().unwrap_err().code(), ErrorCode::Malformed);
    assert_eq!(home.staged(), 0, "a commit that fails");

    drop(begun(&home, &[&one, &two]));
    resume(&home).unwrap().abort();
    assert_eq!(home.staged(), 0, "abort of what was resumed");
}

/// A bit was changed on the line: the slices before it are kept.
#[test]
fn slice_with_wrong_digest_keeps_earlier_slices() {
    let home = Home::new();
    let (one, two, three) = (part(1), part(2), part(3));
    let mut upload = begun(&home, &[&one, &two]);
    upload.start_slice(PART as u32, Digest::of(&three)).unwrap();
    upload.write(&[4; PART]).unwrap();
    assert_eq!(upload.end_slice().unwrap_err().code(), ErrorCode::Digest);
    // This upload is over: later data was sealed to follow the damaged slice.
    let after = upload.start_slice(1, Digest::of(b"x")).unwrap_err();
    assert_eq!(after.code(), ErrorCode::State);
    assert_eq!(upload.commit().unwrap_err().code(), ErrorCode::State);
    assert_eq!(fs::metadata(staged_file(&home)).unwrap().len(), 200 + 2 * PART as u64);

    let mut upload = resume(&home).unwrap();
    let all = [claimed(&one), claimed(&two), claimed(&three)];
    assert_eq!(upload.claim(&all).unwrap(), 2);
    add(&mut upload, &three);
    finish(&home, upload, &[&one, &two, &three]);
}

/// A second upload with the same header replaces the kept one unless it is in use.
#[test]
fn upload_with_same_header_replaces_unused_kept_one() {
    let home = Home::new();
    let (one, two, three) = (part(1), part(2), part(3));
    let first = begun(&home, &[&one, &two]);
    let second = begun(&home, &[&three, &three]);
    assert_eq!(home.staged(), 2);
    drop(second);
    assert_eq!(home.staged(), 1, "the name was taken, so it could not be found again");
    drop(first);
    drop(begun(&home, &[&three, &two]));
    assert_eq!(home.staged(), 1);
    let mut upload = resume(&home).unwrap();
    assert_eq!(upload.claim(&[claimed(&three), claimed(&two)]).unwrap(), 2);
    finish(&home, upload, &[&three, &two]);
}

/// A kept upload expires after 72 hours or the configured time unless it is in use.
#[test]
fn kept_upload_expires_after_72_hours_or_configured_time() {
    const SECOND: u64 = 1_000_000_000;
    let home = Home::new();
    let (one, two) = (part(1), part(2));
    drop(begun(&home, &[&one, &two]));
    let cut_off = UNIX_EPOCH + Duration::from_secs(10_000);
    let file = fs::OpenOptions::new().write(true).open(staged_file(&home)).unwrap();
    file.set_modified(cut_off).unwrap();
    // A clock that went back makes nothing expire.
    home.set_time(9_000 * SECOND);
    assert_eq!(home.store.expire_uploads().unwrap(), 0);
    // 72 hours.
    home.set_time(269_200 * SECOND - 1);
    assert_eq!(home.store.expire_uploads().unwrap(), 0);
    home.set_time(269_200 * SECOND);
    let upload = resume(&home).unwrap();
    assert_eq!(home.store.expire_uploads().unwrap(), 0, "somebody works on it");
    drop(upload);
    assert_eq!(home.store.expire_uploads().unwrap(), 1);
    assert_eq!(home.staged(), 0);

    drop(begun(&home, &[&one, &two]));
    let file = fs::OpenOptions::new().write(true).open(staged_file(&home)).unwrap();
    file.set_modified(cut_off).unwrap();
    home.store.keep_uploads(Duration::from_secs(60));
    home.set_time(10_059 * SECOND);
    assert_eq!(home.store.expire_uploads().unwrap(), 0);
    home.set_time(10_060 * SECOND);
    assert_eq!(home.store.expire_uploads().unwrap(), 1);
}

/// With a keep time of zero no interrupted upload is kept.
#[test]
fn keep_uploads_zero_keeps_none() {
    let home = Home::new();
    let (one, two) = (part(1), part(2));
    drop(begun(&home, &[&one, &two]));
    home.store.keep_uploads(Duration::ZERO);
    drop(begun_by(&home, Writer::default(), &[&one, &two]));
    assert_eq!(home.staged(), 1);
    assert_eq!(home.store.expire_uploads().unwrap(), 1);
    assert_eq!(home.staged(), 0);
}

/// Resumes the upload whose commit was refused, which has all its slices, and commits it.
fn resume_and_commit(home: &Home, parts: &[&[u8]]) {
    let mut upload = resume(home).unwrap();
    let footer = zput_framed::footer(parts, PART_SIZE_LOG2);
    let slices: Vec<_> = parts.iter().copied().chain([&footer[..]]).map(claimed).collect();
    assert_eq!(upload.claim(&slices).unwrap() as usize, slices.len());
    drop(upload);
    let mut upload = resume(home).unwrap();
    assert_eq!(upload.claim(&slices[..parts.len()]).unwrap() as usize, parts.len());
    finish(home, upload, parts);
}

/// An upload of two parts with its last one, which lacks only the footer.
fn begun_whole(home: &Home) -> Upload {
    let (one, two) = (part(1), part(2));
    let mut upload = begun(home, &[&one, &two, &LAST]);
    add(&mut upload, &zput_framed::footer(&[&one, &two, &LAST], PART_SIZE_LOG2));
    upload
}

/// PROTOCOL 5: "After a `Busy` that answers a Commit the slices held so far are kept", also where
/// the commit has its lock and finds no file of instants.
#[test]
fn upload_is_kept_when_commit_finds_clock_lost() {
    let home = Home::new();
    home.put("doc", b"old");
    let upload = begun_whole(&home);
    fs::remove_file(home.path().join("clock")).unwrap();
    let refused = upload.commit().unwrap_err();
    assert!(matches!(refused, StoreError::ClockLost), "{refused:?}");
    assert_eq!(refused.code(), ErrorCode::Busy);
    resume_and_commit(&home, &[&part(1), &part(2), &LAST]);
    assert_eq!(home.states("doc").len(), 2);
}

/// The same while another process has the file. The next upload notices it before it begins.
#[test]
fn upload_is_kept_when_commit_finds_clock_in_use() {
    let home = Home::new();
    home.put("doc", b"old");
    let upload = begun_whole(&home);
    let clock = fs::File::open(home.path().join("clock")).unwrap();
    clock.lock().unwrap();
    for refused in [
        upload.commit().unwrap_err(),
        home.store.begin(&key("b"), Kind::Plain, Condition::Any, None).map(drop).unwrap_err(),
    ] {
        assert!(matches!(refused, StoreError::ClockInUse), "{refused:?}");
        assert_eq!(refused.code(), ErrorCode::Busy);
    }
    drop(clock);
    resume_and_commit(&home, &[&part(1), &part(2), &LAST]);
}

/// Any other refusal removes the upload at once.
#[test]
fn upload_is_removed_when_commit_is_refused_for_good() {
    let home = Home::new();
    let upload = begun_whole(&home);
    fs::write(home.path().join("suspect.toml"), "").unwrap();
    assert_eq!(upload.commit().unwrap_err().code(), ErrorCode::Suspect);
    assert_eq!(home.staged(), 0);
}
