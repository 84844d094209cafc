//! Interrupted uploads: for which writer they go on, and how much of them counts.

use std::time::{Duration, Instant};

use zput_proto::{
    keys::DevicePublicKey,
    message::{ClaimedSlice, ErrorCode, HeaderSlice},
};

use super::{child::Child, *};
use crate::store::{Upload, Writer, layout};

pub(super) const WRITER: DevicePublicKey = DevicePublicKey::from_bytes([0xd5; 32]);

/// Bytes of a full part of 512 KiB, sealed: half of the minimum that is kept.
pub(super) const PART: usize = 524_872;

/// A full part; different for each `fill`.
pub(super) fn part(fill: u8) -> Vec<u8> {
    vec![fill; PART]
}

/// The short last part of a blob, without plaintext.
pub(super) const LAST: [u8; 72] = [4; 72];

pub(super) fn claimed(bytes: &[u8]) -> ClaimedSlice {
    ClaimedSlice { length: bytes.len() as u32, digest: Digest::of(bytes) }
}

pub(super) fn add(upload: &mut Upload, slice: &[u8]) {
    upload.start_slice(slice.len() as u32, Digest::of(slice)).unwrap();
    upload.write(slice).unwrap();
    upload.end_slice().unwrap();
}

/// An upload of "doc" with these parts after its header.
pub(super) fn begun(home: &Home, parts: &[&[u8]]) -> Upload {
    begun_by(home, Some(WRITER), parts)
}

pub(super) fn begun_by(home: &Home, writer: impl Into<Writer>, parts: &[&[u8]]) -> Upload {
    let [header, ..] = sealed("doc", b"");
    let upload = home.store.begin(&key("doc"), Kind::Sealed, Condition::Any, writer);
    let mut upload = upload.unwrap();
    upload.write_header(&header, Digest::of(&header)).unwrap();
    parts.iter().for_each(|part| add(&mut upload, part));
    upload
}

pub(super) fn resume(home: &Home) -> Result<Upload, StoreError> {
    let [header, ..] = sealed("doc", b"");
    let header = HeaderSlice::of(header);
    home.store.resume(&key("doc"), Condition::Any, Some(WRITER), &header)
}

fn refused(result: Result<Upload, StoreError>) -> ErrorCode {
    result.map(|_| ()).unwrap_err().code()
}

fn staged_names(home: &Home) -> Vec<String> {
    names_in(&home.path().join("staging"))
}

/// The one file in staging.
pub(super) fn staged_file(home: &Home) -> PathBuf {
    let names = staged_names(home);
    let [name] = &names[..] else { panic!("{names:?}") };
    home.path().join("staging").join(name)
}

/// Commits `upload`, which consists of these parts, and compares the object with them.
pub(super) fn finish(home: &Home, mut upload: Upload, parts: &[&[u8]]) {
    let [header, ..] = sealed("doc", b"");
    let mut parts = parts.to_vec();
    if parts.last().is_some_and(|part| part.len() == PART) {
        add(&mut upload, &LAST);
        parts.push(&LAST);
    }
    let footer = zput_framed::footer(&parts, PART_SIZE_LOG2);
    add(&mut upload, &footer);
    upload.commit().unwrap();
    let body = parts.concat();
    let payload = (header.len() + body.len() + footer.len()) as u64;
    assert!(home.body("doc") == Some([header, body, footer].concat()));
    // Its record is valid, and lists these slices.
    let file = fs::metadata(home.object_path("doc")).unwrap().len();
    assert_eq!(file, payload + 36 * (2 + parts.len() as u64) + 3 + 136);
    assert_eq!(home.staged(), 0);
}

/// BLAKE3 of "zput/v1/staging", the writer and the digest, computed by another implementation.
#[test]
fn resume_name_matches_documented_digest() {
    let digest = Digest::from_bytes(std::array::from_fn(|i| i as u8));
    let name = layout::resume_name(Some(&WRITER), &digest);
    assert_eq!(name, "70afdf28dda1c8d2529c50d7678561ccdb09fad1b7ea6c9b6cf4a9658a2d981b");
    let name = layout::resume_name(None, &digest);
    assert_eq!(name, "40024ba530911f834f0c64b1609cee6c0c1346c4b946a5eef1af14b71334ee8b");
}

/// An interrupted upload is resumed after a restart with the slices it had.
#[test]
fn resume_continues_interrupted_upload_after_restart() {
    let mut home = Home::new();
    let (one, two, three) = (part(1), part(2), part(3));
    drop(begun(&home, &[&one, &two]));
    assert_eq!(staged_names(&home).len(), 1);
    // The store after a restart.
    home.reopen();
    let mut upload = resume(&home).unwrap();
    assert_eq!(upload.length(), 200);
    assert_eq!(upload.claim(&[claimed(&one)]).unwrap(), 1);
    assert_eq!(upload.claim(&[claimed(&two)]).unwrap(), 1);
    assert_eq!(upload.length(), 1_049_944);
    add(&mut upload, &three);
    finish(&home, upload, &[&one, &two, &three]);
    assert_eq!(refused(resume(&home)), ErrorCode::NotFound);
}

/// A resumed upload that is interrupted again can be resumed once more.
#[test]
fn resume_works_again_after_each_interruption() {
    let home = Home::new();
    let (one, two, three) = (part(1), part(2), part(3));
    drop(begun(&home, &[&one, &two]));
    // Before a claim, between two, and after more was added.
    drop(resume(&home).unwrap());
    let mut upload = resume(&home).unwrap();
    assert_eq!(upload.claim(&[claimed(&one)]).unwrap(), 1);
    drop(upload);
    let mut upload = resume(&home).unwrap();
    assert_eq!(upload.claim(&[claimed(&one), claimed(&two)]).unwrap(), 2);
    add(&mut upload, &three);
    drop(upload);
    let mut upload = resume(&home).unwrap();
    let all = [&one, &two, &three].map(|part| claimed(part));
    assert_eq!(upload.claim(&all).unwrap(), 3);
    finish(&home, upload, &[&one, &two, &three]);
}

/// A claim counts the leading slices that match, and the rest of the file is dropped.
#[test]
fn claim_counts_only_matching_leading_slices() {
    let (one, two, three) = (part(1), part(2), part(3));
    let shorter = ClaimedSlice { length: 524_871, ..claimed(&three) };
    let cases: [(&str, Vec<ClaimedSlice>, u32); 5] = [
        ("all", vec![claimed(&one), claimed(&two), claimed(&three)], 3),
        ("another first", vec![claimed(&two), claimed(&two)], 0),
        ("another second", vec![claimed(&one), claimed(&three), claimed(&three)], 1),
        ("a shorter third", vec![claimed(&one), claimed(&two), shorter], 2),
        ("beyond the end", vec![claimed(&one), claimed(&two), claimed(&three), claimed(b"x")], 3),
    ];
    for (case, claims, held) in cases {
        let home = Home::new();
        drop(begun(&home, &[&one, &two, &three]));
        let mut upload = resume(&home).unwrap();
        assert_eq!(upload.claim(&claims).unwrap(), held, "{case}");
        let length = 200 + 524_872 * u64::from(held);
        assert_eq!(upload.length(), length, "{case}");
        if claims.len() as u32 > held {
            // The rest is discarded, and nothing more can be claimed.
            assert_eq!(fs::metadata(staged_file(&home)).unwrap().len(), length, "{case}");
            assert_eq!(upload.claim(&[claimed(&one)]).unwrap(), 0, "{case}");
        }
        let parts = [&one[..], &two, &three];
        parts[held as usize..].iter().for_each(|part| add(&mut upload, part));
        finish(&home, upload, &parts);
    }
}

/// After a new slice nothing can be claimed, and a claim within a slice is malformed.
#[test]
fn claim_after_new_slice_holds_nothing() {
    let home = Home::new();
    let (one, two) = (part(1), part(2));
    let mut fresh = begun(&home, &[&one, &two]);
    assert_eq!(fresh.claim(&[claimed(&one)]).unwrap(), 0);
    drop(fresh);
    let mut upload = resume(&home).unwrap();
    assert_eq!(upload.claim(&[claimed(&one)]).unwrap(), 1);
    let other = [9; 90];
    add(&mut upload, &other);
    // It is where the second part was; longer claims must not reach behind it.
    assert_eq!(fs::metadata(staged_file(&home)).unwrap().len(), 525_162);
    assert_eq!(upload.claim(&[claimed(&two)]).unwrap(), 0);
    finish(&home, upload, &[&one, &other]);
    // Within a slice nothing can be claimed at all.
    let mut upload = begun(&home, &[]);
    upload.start_slice(1, Digest::of(b"x")).unwrap();
    assert_eq!(upload.claim(&[claimed(b"x")]).unwrap_err().code(), ErrorCode::Malformed);
    assert_eq!(home.staged(), 0);
}

/// Slices that were not claimed are not in the object: neither the client's nor a record.
#[test]
fn commit_contains_only_header_and_claimed_slices() {
    let home = Home::new();
    let (one, two) = (part(1), part(2));
    drop(begun(&home, &[&one, &two]));
    // The state left by a commit that was killed before the rename.
    let file = fs::OpenOptions::new().append(true).open(staged_file(&home)).unwrap();
    std::io::Write::write_all(&mut &file, &[7; 300]).unwrap();
    let mut upload = resume(&home).unwrap();
    assert_eq!(upload.claim(&[claimed(&one), claimed(&two), claimed(&[8; 300])]).unwrap(), 2);
    finish(&home, upload, &[&one, &two]);

    // The footer was there as well.
    let [header, ..] = sealed("doc", b"");
    let footer = zput_framed::footer(&[&one, &two, &LAST], PART_SIZE_LOG2);
    drop(begun(&home, &[&one, &two, &LAST, &footer]));
    let file = fs::OpenOptions::new().append(true).open(staged_file(&home)).unwrap();
    std::io::Write::write_all(&mut &file, &[7; 3000]).unwrap();
    let mut upload = resume(&home).unwrap();
    assert_eq!(upload.claim(&[&one[..], &two, &LAST, &footer].map(claimed)).unwrap(), 4);
    upload.commit().unwrap();
    assert!(home.body("doc") == Some([&header[..], &one, &two, &LAST, &footer].concat()));

    drop(begun(&home, &[&one, &two]));
    assert_eq!(resume(&home).unwrap().commit().unwrap_err().code(), ErrorCode::Malformed);
    assert_eq!(home.staged(), 0);
}

/// A claim of more slices than an upload may have is malformed.
#[test]
fn claim_is_bounded_like_upload_slices() {
    let home = Home::new();
    drop(begun(&home, &[&part(1), &part(1)]));
    let mut upload = resume(&home).unwrap();
    // PROTOCOL 9: 64 of any length; the header is one.
    let claims = vec![claimed(&[1]); 64];
    assert_eq!(upload.claim(&claims[..63]).unwrap(), 63);
    assert_eq!(upload.claim(&claims[63..]).unwrap_err().code(), ErrorCode::Malformed);
    assert_eq!(home.staged(), 0);
}

/// Each claim may read a gigabyte: they may not take all threads that wait for the disk.
#[test]
fn claims_beyond_bound_are_busy_and_lose_nothing() {
    let home = Home::new();
    let one = part(1);
    drop(begun(&home, &[&one, &one]));
    let mut upload = resume(&home).unwrap();
    let others: Vec<_> = (0..16).map(|_| home.store.0.claims.try_acquire().unwrap()).collect();
    assert_eq!(upload.claim(&[claimed(&one)]).unwrap_err().code(), ErrorCode::Busy);
    drop((others, upload));
    assert_eq!(resume(&home).unwrap().claim(&[claimed(&one)]).unwrap(), 1);
}

/// A kept upload is found only with its writer, its key and its header.
#[test]
fn resume_requires_same_writer_key_and_header() {
    let home = Home::new();
    let (one, two) = (part(1), part(2));
    drop(begun(&home, &[&one, &two]));
    let [header, ..] = sealed("doc", b"");
    let mut other = header.clone();
    other[199] ^= 1;
    let ask = |name, writer, header: &[u8]| {
        let header = HeaderSlice::of(header.to_vec());
        home.store.resume(&key(name), Condition::Any, writer, &header).map(|_| ())
    };
    let code = |result: Result<(), StoreError>| result.unwrap_err().code();
    assert_eq!(code(ask("doc", None, &header)), ErrorCode::NotFound);
    let other_device = DevicePublicKey::from_bytes([0xd6; 32]);
    assert_eq!(code(ask("doc", Some(other_device), &header)), ErrorCode::NotFound);
    assert_eq!(code(ask("doc", Some(WRITER), &other)), ErrorCode::NotFound);
    assert_eq!(code(ask("cod", Some(WRITER), &header)), ErrorCode::Malformed);
    assert_eq!(code(ask("doc", Some(WRITER), &header[..199])), ErrorCode::Malformed);
    let wrong = HeaderSlice { bytes: header.clone(), digest: Digest::of(b"") };
    let wrong = home.store.resume(&key("doc"), Condition::Any, Some(WRITER), &wrong);
    assert_eq!(refused(wrong), ErrorCode::Digest);
    ask("doc", Some(WRITER), &header).unwrap();

    // All anonymous uploads have one writer.
    drop(begun_by(&home, Writer::default(), &[&one, &two]));
    ask("doc", None, &header).unwrap();
    assert_eq!(home.staged(), 2);
}

/// A resumed upload's condition is checked at the resume and at the commit.
#[test]
fn resume_checks_condition_at_resume_and_commit() {
    let home = Home::new();
    let (one, two) = (part(1), part(2));
    drop(begun(&home, &[&one, &two]));
    let version = home.put("doc", b"meanwhile");
    let header = HeaderSlice::of(sealed("doc", b"")[0].clone());
    let resume =
        |condition| home.store.resume(&key("doc"), condition, Some(WRITER), &header).unwrap_err();
    assert!(matches!(resume(Condition::Absent), StoreError::Exists(Some(Version(1000)))));
    let condition = Condition::Version(Version(version));
    let mut upload = home.store.resume(&key("doc"), condition, Some(WRITER), &header).unwrap();
    assert_eq!(upload.claim(&[claimed(&one), claimed(&two)]).unwrap(), 2);
    home.put("doc", b"and again");
    add(&mut upload, &LAST);
    add(&mut upload, &zput_framed::footer(&[&one, &two, &LAST], PART_SIZE_LOG2));
    assert!(matches!(upload.commit(), Err(StoreError::Exists(Some(Version(1001))))));
}

/// Resuming an upload that a connection or process works on is Busy.
#[test]
fn resume_of_upload_in_use_is_busy() {
    let home = Home::new();
    let (one, two) = (part(1), part(2));
    let upload = begun(&home, &[&one, &two]);
    assert_eq!(refused(resume(&home)), ErrorCode::Busy);
    drop(upload);
    let upload = resume(&home).unwrap();
    assert_eq!(refused(resume(&home)), ErrorCode::Busy);
    // Another process with the store open neither removes nor resumes it.
    let other = open(&home.path(), &home.time).unwrap();
    assert_eq!(home.staged(), 1);
    let header = HeaderSlice::of(sealed("doc", b"")[0].clone());
    let again = other.resume(&key("doc"), Condition::Any, Some(WRITER), &header);
    assert_eq!(refused(again), ErrorCode::Busy);
    drop(upload);
    assert_eq!(home.staged(), 1);
}

/// After a power cut a file may be shorter, or have zeros in it.
#[test]
fn resume_of_torn_file_keeps_intact_beginning() {
    let (one, two) = (part(1), part(2));
    let home = Home::new();
    drop(begun(&home, &[&one, &two]));
    let file = fs::OpenOptions::new().write(true).open(staged_file(&home)).unwrap();
    file.set_len(600_000).unwrap();
    file.set_len(1_049_944).unwrap();
    let mut upload = resume(&home).unwrap();
    assert_eq!(upload.claim(&[claimed(&one), claimed(&two)]).unwrap(), 1);
    add(&mut upload, &two);
    finish(&home, upload, &[&one, &two]);
    for length in [0, 199] {
        drop(begun(&home, &[&one, &two]));
        let file = fs::OpenOptions::new().write(true).open(staged_file(&home)).unwrap();
        file.set_len(length).unwrap();
        // As long as before, but with zeros where the header was.
        file.set_len(1_049_944 * (length / 199)).unwrap();
        assert_eq!(refused(resume(&home)), ErrorCode::NotFound, "{length}");
        assert_eq!(home.staged(), 0, "{length}");
    }
}

/// A file system may bring back the old name when only the new one's directory was synced. Writing
/// to that name would change an acknowledged version.
#[test]
fn resume_refuses_staging_name_of_committed_version() {
    let mut home = Home::new();
    let (one, two) = (part(1), part(2));
    drop(begun(&home, &[&one, &two]));
    let name = staged_file(&home);
    let mut upload = resume(&home).unwrap();
    assert_eq!(upload.claim(&[claimed(&one), claimed(&two)]).unwrap(), 2);
    finish(&home, upload, &[&one, &two]);
    let object = fs::read(home.object_path("doc")).unwrap();
    for by_start in [false, true] {
        fs::hard_link(home.object_path("doc"), &name).unwrap();
        if by_start {
            home.reopen();
        } else {
            assert_eq!(refused(resume(&home)), ErrorCode::NotFound);
        }
        assert_eq!(home.staged(), 0, "{by_start}");
        assert!(fs::read(home.object_path("doc")).unwrap() == object, "{by_start}");
    }
}

/// Begins, resumes, replaces and removes one upload concurrently: what is committed is complete.
#[test]
fn resume_and_expiry_concurrently_commit_whole_uploads() {
    let home = Home::new();
    // The year 2096: every upload without a lock has expired.
    home.set_time(4_000_000_000_000_000_000);
    let [header, ..] = sealed("doc", b"");
    let (soon, at_last) = (Duration::from_secs(10), Duration::from_secs(120));
    let begun_at = Instant::now();
    let committed = AtomicU64::new(0);
    let goes_on = || match committed.load(Ordering::Relaxed) {
        0 => begun_at.elapsed() < at_last,
        some => some < 150 && begun_at.elapsed() < soon,
    };
    let again = |n: u8| {
        let one = part(n);
        let footer = zput_framed::footer(&[&one, &one, &LAST], PART_SIZE_LOG2);
        while goes_on() {
            drop(begun(&home, &[&one, &one]));
            let mut upload = match resume(&home) {
                Ok(upload) => upload,
                Err(error) => {
                    assert!(matches!(error.code(), ErrorCode::Busy | ErrorCode::NotFound));
                    continue;
                }
            };
            if upload.claim(&[claimed(&one), claimed(&one)]).unwrap() == 2 {
                add(&mut upload, &LAST);
                add(&mut upload, &footer);
                upload.commit().unwrap();
                let object = home.body("doc").unwrap();
                let whole = object.len() == 200 + 2 * PART + 72 + 151 && object.ends_with(&footer);
                assert!(whole && object.starts_with(&header));
                committed.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    std::thread::scope(|scope| {
        (1..5).for_each(|n| _ = scope.spawn(move || again(n)));
        scope.spawn(|| {
            while goes_on() {
                home.store.expire_uploads().unwrap();
            }
        });
    });
    assert!(committed.load(Ordering::Relaxed) > 0);
    for (version, _) in home.states("doc") {
        let object = home.store.lookup(&key("doc"), Some(Version(version))).unwrap();
        let bytes = read(&object);
        assert!(bytes[200..1_049_944].iter().all(|byte| *byte == bytes[200]));
    }
}

/// An upload of a killed process is resumed with the slices it had.
#[test]
fn resume_after_killed_process_has_its_slices() {
    let mut home = Home::new();
    let mut child = Child::start("upload sealed", &home.path());
    assert_eq!(child.line(), "uploading");
    assert_eq!(refused(resume(&home)), ErrorCode::Busy);
    child.kill();
    home.reopen();
    let (one, two, three) = (part(1), part(2), part(3));
    let mut upload = resume(&home).unwrap();
    let all = [&one, &two, &three].map(|part| claimed(part));
    assert_eq!(upload.claim(&all).unwrap(), 2);
    add(&mut upload, &three);
    finish(&home, upload, &[&one, &two, &three]);
}

/// The role of the process that is killed.
pub(super) fn upload_sealed(store: &Store) -> Upload {
    let [header, ..] = sealed("doc", b"");
    let upload = store.begin(&key("doc"), Kind::Sealed, Condition::Any, Some(WRITER));
    let mut upload = upload.unwrap();
    upload.write_header(&header, Digest::of(&header)).unwrap();
    add(&mut upload, &part(1));
    add(&mut upload, &part(2));
    upload.start_slice(524_872, Digest::of(&part(3))).unwrap();
    upload.write(&[3; 1000]).unwrap();
    upload
}
