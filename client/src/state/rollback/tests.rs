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

#[test]
fn the_record_only_moves_up() {
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

#[test]
fn one_generation_has_one_transcript() {
    let dir = tempfile::tempdir().unwrap();
    let guard = guard(dir.path());
    guard.advance(&key(), &seen(5, 1)).unwrap();
    guard.advance(&key(), &seen(5, 1)).unwrap();
    assert!(matches!(guard.advance(&key(), &seen(5, 2)), Err(RollbackError::Conflict)));
}

#[test]
fn what_is_far_ahead_of_the_clock_is_not_noted() {
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

#[test]
fn a_decision_moves_it_down() {
    let dir = tempfile::tempdir().unwrap();
    let first = guard(dir.path());
    first.advance(&key(), &seen(5, 1)).unwrap();
    first.accept(&key(), &seen(3, 1)).unwrap();
    assert_eq!((generation(&first), generation(&guard(dir.path()))), (Some(3), Some(3)));
}

#[test]
fn the_file_is_as_documented() {
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

#[test]
fn many_names_are_one_file() {
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

#[test]
fn rows_that_no_longer_count_go() {
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

#[test]
fn what_a_crash_has_not_written_counts_for_nothing() {
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

#[test]
fn what_cannot_be_understood_is_an_error_and_not_nothing() {
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

#[test]
fn threads_that_note_the_same_keys_only_move_them_up() {
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

#[test]
fn no_update_is_lost_between_processes() {
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
