//! Uploads whose connection was lost: a newer connection of the same writer takes them over
//! (PROTOCOL 5, "Resume"), no other one does, and the older one cannot change them any more.

use std::sync::atomic::AtomicUsize;

use zput_proto::{
    keys::DevicePublicKey,
    message::{ErrorCode, HeaderSlice},
};

use super::{
    resume::{LAST, PART, WRITER, add, begun_by, claimed, finish, part, staged_file},
    *,
};
use crate::store::{Upload, Writer, lease::RevokeTimeouts};

/// A store whose take-overs do not wait until the older connection is quiet.
fn home_without_quiet_wait() -> Home {
    let mut home = Home::new();
    Arc::get_mut(&mut home.store.0).unwrap().take_over_timeouts = RevokeTimeouts {
        quiet: Duration::ZERO,
        quiet_wait_max: Duration::ZERO,
        call_wait_max: Duration::from_secs(1),
    };
    home
}

/// The connection with this number, of the test's device.
fn writer(connection: u64) -> Writer {
    Writer { device: Some(WRITER), connection }
}

fn header() -> HeaderSlice {
    HeaderSlice::of(sealed("doc", b"")[0].clone())
}

fn resume(home: &Home, writer: Writer) -> Result<Upload, StoreError> {
    home.store.resume(&key("doc"), Condition::Any, writer, &header())
}

fn begin(home: &Home, writer: Writer) -> Result<Upload, StoreError> {
    let mut upload = home.store.begin(&key("doc"), Kind::Sealed, Condition::Any, writer)?;
    let HeaderSlice { bytes, digest } = header();
    upload.write_header(&bytes, digest)?;
    Ok(upload)
}

fn footer(parts: &[&[u8]]) -> Vec<u8> {
    zput_framed::footer(parts, PART_SIZE_LOG2)
}

/// Every call of the older connection fails: PROTOCOL 5, "`State`".
#[track_caller]
fn is_over(mut upload: Upload, bytes: &[u8]) {
    let state = |result: Result<(), StoreError>| {
        let error = result.unwrap_err();
        assert!(matches!(error, StoreError::TakenOver), "{error:?}");
        assert_eq!(error.code(), ErrorCode::State);
    };
    state(upload.write(bytes));
    state(upload.end_slice());
    state(upload.start_slice(bytes.len() as u32, Digest::of(bytes)));
    state(upload.claim(&[claimed(bytes)]).map(drop));
    assert_eq!(upload.length(), 0);
    state(upload.commit().map(drop));
}

/// A newer connection takes over the slices of the older one, which can write no more.
#[test]
fn takeover_continues_slices_of_older_connection() {
    let home = home_without_quiet_wait();
    let (one, two, three) = (part(1), part(2), part(3));
    let mut older = begun_by(&home, writer(1), &[&one, &two]);
    // The line went silent in the middle of a slice.
    older.start_slice(PART as u32, Digest::of(&three)).unwrap();
    older.write(&three[..100_000]).unwrap();
    let file = staged_file(&home);

    let mut newer = resume(&home, writer(2)).unwrap();
    assert_eq!(staged_file(&home), file, "it is the same file");
    let there = fs::read(&file).unwrap();
    // The rest of the slice was in the kernel, and arrives now.
    is_over(older, &three[100_000..]);
    assert!(fs::read(&file).unwrap() == there, "the older connection has written to it");

    let all = [claimed(&one), claimed(&two), claimed(&three)];
    assert_eq!(newer.claim(&all).unwrap(), 2);
    add(&mut newer, &three);
    finish(&home, newer, &[&one, &two, &three]);
}

/// As with every end of an upload: an Abort, and the end of the connection.
#[test]
fn takeover_survives_end_of_older_connection() {
    let home = home_without_quiet_wait();
    let (one, two) = (part(1), part(2));
    for end in [Upload::abort, drop::<Upload>] {
        let older = begun_by(&home, writer(1), &[&one, &two]);
        let mut newer = resume(&home, writer(2)).unwrap();
        end(older);
        assert_eq!(newer.claim(&[claimed(&one), claimed(&two)]).unwrap(), 2);
        finish(&home, newer, &[&one, &two]);
    }
}

/// An upload too small to be kept at the end of a connection can be taken over as well.
#[test]
fn takeover_works_for_upload_too_small_to_be_kept() {
    let home = home_without_quiet_wait();
    let older = begun_by(&home, writer(3), &[&[7; 90]]);
    let mut newer = resume(&home, writer(7)).unwrap();
    assert_eq!(newer.claim(&[claimed(&[7; 90])]).unwrap(), 1);
    is_over(older, &[7; 90]);
    // Once more: the third connection takes it from the second.
    let mut newest = resume(&home, writer(8)).unwrap();
    is_over(newer, &[7; 90]);
    assert_eq!(newest.claim(&[claimed(&[7; 90])]).unwrap(), 1);
    finish(&home, newest, &[&[7; 90]]);
}

/// Another writer, an older connection or a forged header takes nothing over.
#[test]
fn takeover_requires_same_writer_newer_connection_and_header() {
    let home = home_without_quiet_wait();
    let (one, two) = (part(1), part(2));
    let other_device = DevicePublicKey::from_bytes([0xd6; 32]);
    for (writer, others) in [
        (writer(5), [Some(other_device), None]),
        (Writer { device: None, connection: 5 }, [Some(other_device), Some(WRITER)]),
    ] {
        let mut upload = begun_by(&home, writer, &[&one, &two]);
        for device in others {
            let other = Writer { device, connection: 9 };
            // Other writers get the answer that there is no upload.
            assert!(matches!(resume(&home, other), Err(StoreError::NotFound)), "{other:?}");
            drop(begin(&home, other).unwrap());
        }
        // Nor does an older connection of the same device, or a caller without a number.
        for connection in [0, 4, 5] {
            let older = Writer { connection, ..writer };
            assert!(matches!(resume(&home, older), Err(StoreError::InUse)), "{connection}");
            assert_eq!(StoreError::InUse.code(), ErrorCode::Busy);
        }
        for connection in [0, 4] {
            let older = Writer { connection, ..writer };
            assert!(matches!(begin(&home, older), Err(StoreError::InUse)), "{connection}");
        }
        // Nor a client that names its digest and does not know its header.
        let HeaderSlice { mut bytes, digest } = header();
        bytes[199] ^= 1;
        let forged = HeaderSlice { bytes, digest };
        let newer = Writer { connection: 9, ..writer };
        let resumed = home.store.resume(&key("doc"), Condition::Any, newer, &forged);
        assert!(matches!(resumed, Err(StoreError::Digest)));
        let begun = home.store.begin(&key("doc"), Kind::Sealed, Condition::Any, newer);
        let written = begun.unwrap().write_header(&forged.bytes, forged.digest);
        assert!(matches!(written, Err(StoreError::Digest)));

        add(&mut upload, &LAST);
        add(&mut upload, &footer(&[&one, &two, &LAST]));
        upload.commit().unwrap();
        assert_eq!(home.staged(), 0);
        forget(&home);
    }
}

/// Removes the versions of "doc".
fn forget(home: &Home) {
    fs::remove_file(home.object_path("doc")).unwrap();
}

/// PROTOCOL 5: a Begin with its header ends the older connection's upload as the end of that
/// connection would.
#[test]
fn begin_of_newer_connection_ends_older_upload() {
    let home = home_without_quiet_wait();
    let (one, two, three) = (part(1), part(2), part(3));
    let older = begun_by(&home, writer(1), &[&one, &two]);
    let mut newer = begin(&home, writer(2)).unwrap();
    is_over(older, &three);
    // The older upload's file stays until the newer one can be resumed itself.
    assert_eq!(home.staged(), 2);
    add(&mut newer, &three);
    add(&mut newer, &two);
    assert_eq!(home.staged(), 1);
    drop(newer);
    let mut again = resume(&home, writer(3)).unwrap();
    assert_eq!(again.claim(&[claimed(&three), claimed(&two)]).unwrap(), 2);
    finish(&home, again, &[&three, &two]);
}

/// Calls of the older connection that arrive after the newer one's begin nothing.
#[test]
fn begin_of_older_connection_arriving_late_is_in_use() {
    let home = home_without_quiet_wait();
    let (one, two) = (part(1), part(2));
    let newer = begun_by(&home, writer(2), &[&one]);
    assert!(matches!(begin(&home, writer(1)), Err(StoreError::InUse)));
    assert_eq!(home.staged(), 1);
    drop(newer);
    let mut newer = begun_by(&home, writer(3), &[&one, &two]);
    add(&mut newer, &LAST);
    add(&mut newer, &footer(&[&one, &two, &LAST]));
    newer.commit().unwrap();
}

/// A refused resume takes nothing from the older connection.
#[test]
fn resume_refused_by_condition_takes_nothing_over() {
    let home = home_without_quiet_wait();
    let (one, two) = (part(1), part(2));
    home.put("doc", b"before");
    let mut older = begun_by(&home, writer(1), &[&one]);
    let absent = home.store.resume(&key("doc"), Condition::Absent, writer(2), &header());
    assert!(matches!(absent, Err(StoreError::Exists(_))));
    add(&mut older, &two);
    add(&mut older, &LAST);
    add(&mut older, &footer(&[&one, &two, &LAST]));
    older.commit().unwrap();
}

/// The upload's descriptor counts once, whichever connection has it.
#[test]
fn takeover_counts_as_one_upload_towards_limit() {
    let home = home_without_quiet_wait();
    let _others: Vec<_> = (1..1024).map(|_| home.store.0.uploads.try_acquire().unwrap()).collect();
    let older = begun_by(&home, writer(1), &[&[7; 90]]);
    assert!(home.store.0.uploads.try_acquire().is_none());
    let newer = resume(&home, writer(2)).unwrap();
    assert!(home.store.0.uploads.try_acquire().is_none());
    drop(newer);
    assert!(home.store.0.uploads.try_acquire().is_some());
    drop(older);
    assert_eq!(home.store.0.uploads.count(), 1023);
}

/// A take-over at any moment keeps what was acknowledged, and from then on only the newer
/// connection writes to the file.
#[test]
fn takeover_keeps_acknowledged_slices_and_stops_older_writes() {
    let home = home_without_quiet_wait();
    let small = vec![5; 60_000];
    for round in 0..40 {
        let mut older = begun_by(&home, writer(1), &[&part(1), &part(2)]);
        let acknowledged = AtomicUsize::new(2);
        std::thread::scope(|scope| {
            let working = scope.spawn(|| {
                loop {
                    // A worker's buffers, one job after the other.
                    let slice = (|| {
                        older.start_slice(small.len() as u32, Digest::of(&small))?;
                        small.chunks(7_000).try_for_each(|piece| older.write(piece))?;
                        older.end_slice()
                    })();
                    match slice {
                        Ok(()) if acknowledged.fetch_add(1, Ordering::SeqCst) < 60 => {}
                        Ok(()) => return None,
                        Err(error) => return Some(error),
                    }
                }
            });
            while acknowledged.load(Ordering::SeqCst) < round {
                std::thread::yield_now();
            }
            let mut newer = resume(&home, writer(2)).unwrap();
            let file = staged_file(&home);
            let there = fs::read(&file).unwrap();
            // The last result of the older connection.
            let error = working.join().unwrap();
            assert!(error.is_none_or(|error| matches!(error, StoreError::TakenOver)));
            assert!(fs::read(&file).unwrap() == there, "the older connection has written to it");
            let acknowledged = acknowledged.load(Ordering::SeqCst);
            let claims: Vec<_> = [&part(1), &part(2)]
                .into_iter()
                .chain(std::iter::repeat_n(&small, acknowledged - 2))
                .map(|slice| claimed(slice))
                .collect();
            let held = newer.claim(&claims).unwrap();
            assert_eq!(held as usize, acknowledged);
            newer.abort();
        });
        assert_eq!(home.staged(), 0);
    }
}

/// A commit and a newer connection that takes the upload over: one of them gets it, and the blob is
/// stored once.
#[test]
fn commit_racing_takeover_is_done_once() {
    let home = home_without_quiet_wait();
    let (one, two) = (part(1), part(2));
    let slices = [&one[..], &two, &LAST, &footer(&[&one, &two, &LAST])];
    let (mut committed, mut taken) = (0, 0);
    for round in 0..60 {
        let older = begun_by(&home, writer(1), &slices);
        let (old, new) = std::thread::scope(|scope| {
            let old = scope.spawn(|| {
                (0..round % 30 * 40).for_each(|_| std::hint::spin_loop());
                older.commit()
            });
            let new = resume(&home, writer(2)).and_then(|mut newer| {
                assert_eq!(newer.claim(&slices.map(claimed)).unwrap(), 4);
                newer.commit()
            });
            (old.join().unwrap(), new)
        });
        match (old, new) {
            (Ok(version), Err(StoreError::InUse | StoreError::NotFound)) => {
                committed += 1;
                // The newer connection's client finds the version by its header (PROTOCOL 5).
                let found = home.store.committed(&key("doc"), Some(WRITER), &header());
                assert_eq!(found.unwrap(), Some(version));
            }
            (Err(StoreError::TakenOver), Ok(_)) => taken += 1,
            other => panic!("{other:?}"),
        }
        assert_eq!((home.states("doc").len(), home.staged()), (1, 0));
        forget(&home);
    }
    assert_eq!(committed + taken, 60);
}

/// Data that had arrived on the older connection is written first, as long as that connection
/// keeps writing.
#[test]
fn takeover_waits_for_older_connection_at_work() {
    let home = Home::new();
    let small = vec![5; 60_000];
    let whole = (0..10).any(|_| {
        let mut older = begun_by(&home, writer(1), &[&part(1), &part(2)]);
        let (begun_at, acknowledged) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            let working = scope.spawn(|| {
                for _ in 0..40 {
                    older.start_slice(small.len() as u32, Digest::of(&small))?;
                    older.write(&small)?;
                    older.end_slice()?;
                    acknowledged.fetch_add(1, Ordering::SeqCst);
                    std::thread::sleep(Duration::from_millis(2));
                }
                Ok::<_, StoreError>(())
            });
            begun_at.store(acknowledged.load(Ordering::SeqCst), Ordering::SeqCst);
            let mut newer = resume(&home, writer(2)).unwrap();
            let claims: Vec<_> = [&part(1), &part(2)]
                .into_iter()
                .chain(std::iter::repeat_n(&small, 40))
                .map(|slice| claimed(slice))
                .collect();
            let held = newer.claim(&claims).unwrap();
            newer.abort();
            // On a busy machine it may have been quiet for too long.
            let all = working.join().unwrap().is_ok() && held == 42;
            all && begun_at.load(Ordering::SeqCst) < 40
        })
    });
    assert!(whole, "it was never let finish");
}
