use std::{fs, thread};

use super::*;

/// A record with a clock that no generation is ahead of.
fn guard(dir: &Path) -> RollbackGuard {
    guard_at(dir, u64::MAX)
}

fn guard_at(dir: &Path, now: u64) -> RollbackGuard {
    RollbackGuard::in_directory(dir.join("state/seen/vault"), Clock::new(move || now))
}

fn seen(generation: u64, byte: u8) -> Seen {
    Seen { generation, transcript: Transcript::from_bytes([byte; 64]) }
}

fn key() -> ObjectKey {
    numbered(0)
}

fn numbered(number: u64) -> ObjectKey {
    ObjectKey::new(format!("k{number}")).unwrap()
}

fn generation(guard: &RollbackGuard) -> Option<u64> {
    guard.newest(&key()).unwrap().map(|seen| seen.generation)
}

/// The rollback record of a key only advances to higher generations.
#[test]
fn rollback_guard_record_only_advances() {
    let dir = tempfile::tempdir().unwrap();
    let guard = guard(dir.path());
    assert_eq!(generation(&guard), None);
    guard.advance(&key(), &seen(5, 1)).unwrap();
    guard.advance(&key(), &seen(4, 2)).unwrap();
    assert_eq!(generation(&guard), Some(5));
    guard.advance(&key(), &seen(u64::MAX, 2)).unwrap();
    assert_eq!(generation(&guard), Some(u64::MAX));
    assert_eq!(*guard.newest(&key()).unwrap().unwrap().transcript.as_bytes(), [2; 64]);
    assert_eq!(guard.newest(&numbered(1)).unwrap(), None);
}

/// A second transcript of a recorded generation is a conflict.
#[test]
fn rollback_guard_refuses_two_transcripts_of_one_generation() {
    let dir = tempfile::tempdir().unwrap();
    let guard = guard(dir.path());
    guard.advance(&key(), &seen(5, 1)).unwrap();
    guard.advance(&key(), &seen(5, 1)).unwrap();
    assert!(matches!(guard.advance(&key(), &seen(5, 2)), Err(RollbackError::Conflict)));
}

/// A generation over a day ahead of the clock is not recorded; a recorded one counts.
#[test]
fn rollback_guard_ignores_generations_a_day_ahead() {
    let dir = tempfile::tempdir().unwrap();
    let (now, day) = (1_800_000_000_000_000_000, 86_400_000_000_000);
    let guard = guard_at(dir.path(), now);
    for far in [now + day + 1, 4_070_908_800_000_000_000, u64::MAX] {
        guard.advance(&key(), &seen(far, 1)).unwrap();
        assert_eq!(generation(&guard), None, "{far}");
    }
    guard.advance(&key(), &seen(now + day, 1)).unwrap();
    assert_eq!(generation(&guard), Some(now + day));
    // A recorded generation counts, also after the machine's clock was set back.
    let guard = guard_at(dir.path(), 0);
    guard.advance(&key(), &seen(now + day + 1, 2)).unwrap();
    assert_eq!(generation(&guard), Some(now + day));
}

/// Accepting an older generation lowers the record.
#[test]
fn rollback_guard_accept_lowers_the_record() {
    let dir = tempfile::tempdir().unwrap();
    let first = guard(dir.path());
    first.advance(&key(), &seen(5, 1)).unwrap();
    first.accept(&key(), &seen(3, 1)).unwrap();
    assert_eq!((generation(&first), generation(&guard(dir.path()))), (Some(3), Some(3)));
}

/// The rollback record has the documented bytes and mode 0600.
#[test]
fn rollback_record_has_the_documented_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let guard = guard(dir.path());
    guard.advance(&ObjectKey::new("k").unwrap(), &seen(5, 0xab)).unwrap();
    let bytes = fs::read(guard.directory.join("record")).unwrap();
    assert_eq!(bytes.len(), 256);
    assert_eq!(bytes[..14], *b"zput/v1/seen\n\0");
    // SHA-256("k").
    let id = "8254c329a92850f6d539dd376f4816ee2764517da5e0235514af433164480d7a";
    assert_eq!(hex::encode(&bytes[128..160]), id);
    assert_eq!(bytes[160..168], [0, 0, 0, 0, 0, 0, 0, 5]);
    assert_eq!(bytes[168..232], [0xab; 64]);
    let metadata = fs::metadata(guard.directory.join("record")).unwrap();
    assert_eq!(metadata.mode() & 0o777, 0o600);
}

/// The records of 300 keys are in one file beside the lock.
#[test]
fn rollback_guard_keeps_many_keys_in_one_file() {
    let dir = tempfile::tempdir().unwrap();
    let writer = guard(dir.path());
    for number in 0..300 {
        writer.advance(&numbered(number), &seen(number + 1, 1)).unwrap();
    }
    // The lock, and the record.
    assert_eq!(fs::read_dir(&writer.directory).unwrap().count(), 2);
    let reader = guard(dir.path());
    for number in 0..300 {
        assert_eq!(reader.newest(&numbered(number)).unwrap(), Some(seen(number + 1, 1)));
    }
}

/// Outdated rows are removed, so the record file stays small.
#[test]
fn rollback_record_is_compacted() {
    let dir = tempfile::tempdir().unwrap();
    let (first, other) = (guard(dir.path()), guard(dir.path()));
    for generation in 1..=3000 {
        // Alternate, so that each finds that the file was replaced.
        let guard = if generation % 7 == 0 { &other } else { &first };
        guard.advance(&numbered(generation % 3), &seen(generation, 1)).unwrap();
    }
    let length = fs::metadata(first.path()).unwrap().len();
    assert!(length <= 1025 * 128, "{length}");
    for guard in [&first, &other] {
        for number in 0..3 {
            let newest = guard.newest(&numbered(number)).unwrap().unwrap();
            assert!((2998..=3000).contains(&newest.generation), "{newest:?}");
        }
    }
}

/// Rows that a crash has torn or left as zeros are ignored, and later rows count.
#[test]
fn rollback_record_ignores_rows_torn_by_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    guard(dir.path()).advance(&key(), &seen(5, 1)).unwrap();
    let path = guard(dir.path()).path();
    let sound = fs::read(&path).unwrap();
    for torn in [&[0; 256][..], &[0; 60], &[7; 100]] {
        fs::write(&path, [&sound, torn].concat()).unwrap();
        assert_eq!(generation(&guard(dir.path())), Some(5));
        let guard = guard(dir.path());
        guard.advance(&numbered(1), &seen(6, 1)).unwrap();
        assert_eq!(guard.newest(&numbered(1)).unwrap(), Some(seen(6, 1)));
    }
    // A row after one that was never written: of two rows in flight, only the later one reached the
    // disk.
    let row = encode(&id(&numbered(2)), &seen(7, 1));
    fs::write(&path, [&sound, &[0; 128][..], &row].concat()).unwrap();
    let guard = guard(dir.path());
    assert_eq!(guard.newest(&numbered(2)).unwrap(), Some(seen(7, 1)));
    guard.advance(&numbered(3), &seen(8, 1)).unwrap();
    assert_eq!(guard.newest(&numbered(2)).unwrap(), Some(seen(7, 1)));
}

/// A damaged record is an error and stays as it is; a removed record counts as none.
#[test]
fn rollback_guard_refuses_a_damaged_record() {
    let dir = tempfile::tempdir().unwrap();
    guard(dir.path()).advance(&numbered(1), &seen(4, 1)).unwrap();
    guard(dir.path()).advance(&key(), &seen(5, 1)).unwrap();
    let path = guard(dir.path()).path();
    let sound = fs::read(&path).unwrap();
    let flipped = |at: usize| {
        let mut bytes = sound.clone();
        bytes[at] ^= 1;
        bytes
    };
    let damaged = [3, 127, 130, 165, 200, 250, 256, 383].map(flipped);
    for bytes in damaged.into_iter().chain([Vec::new(), sound[..60].to_vec()]) {
        fs::write(&path, &bytes).unwrap();
        for _ in 0..2 {
            let guard = guard(dir.path());
            assert!(matches!(guard.newest(&key()), Err(RollbackError::Unreadable(_))));
            assert!(matches!(guard.newest(&key()), Err(RollbackError::Unreadable(_))));
            assert!(guard.advance(&key(), &seen(9, 1)).is_err());
        }
        assert_eq!(fs::read(&path).unwrap(), bytes, "it is left as it is");
    }
    fs::write(&path, &sound).unwrap();
    assert_eq!(generation(&guard(dir.path())), Some(5));
    // A removed record counts as none: the user decided so.
    let guard = guard(dir.path());
    assert_eq!(generation(&guard), Some(5));
    fs::remove_file(&path).unwrap();
    assert_eq!(generation(&guard), None);
}

/// Threads that record the same keys at once leave the highest generation of each.
#[test]
fn rollback_guard_only_advances_under_concurrent_threads() {
    let dir = tempfile::tempdir().unwrap();
    let guard = guard(dir.path());
    thread::scope(|scope| {
        for worker in 0..4u64 {
            let guard = &guard;
            scope.spawn(move || {
                for turn in 0..80 {
                    // Each thread has its own order.
                    let (key, generation) =
                        (numbered((turn + worker) % 8), 1 + worker + turn / 8 * 4);
                    guard.advance(&key, &seen(generation, 1)).unwrap();
                    let newest = guard.newest(&key).unwrap().unwrap();
                    assert!(newest.generation >= generation);
                }
            });
        }
    });
    for n in 0..8 {
        assert_eq!(guard.newest(&numbered(n)).unwrap(), Some(seen(40, 1)));
    }
    // The record and the lock, and no temporary file.
    assert_eq!(fs::read_dir(&guard.directory).unwrap().count(), 2);
}

/// Several guards on one record file, as in several processes, lose no update.
#[test]
fn rollback_guards_sharing_a_record_lose_no_update() {
    let dir = tempfile::tempdir().unwrap();
    thread::scope(|scope| {
        for worker in 0..4u64 {
            let guard = guard(dir.path());
            scope.spawn(move || {
                for i in 0..25 {
                    let mine = 1 + worker + 4 * i;
                    guard.advance(&key(), &seen(mine, 1)).unwrap();
                    guard.advance(&numbered(1 + mine), &seen(mine, 1)).unwrap();
                    assert!(generation(&guard) >= Some(mine));
                }
            });
        }
    });
    let guard = guard(dir.path());
    assert_eq!(generation(&guard), Some(100));
    for mine in 1..=100 {
        assert_eq!(guard.newest(&numbered(1 + mine)).unwrap(), Some(seen(mine, 1)));
    }
}
