use std::{
    fs::File,
    os::unix::fs::PermissionsExt,
    path::Path,
    time::{Duration, SystemTime},
};

use super::*;

fn journals(dir: &Path) -> Journals {
    Journals(StateFiles::new(dir.join("state/puts/vault")))
}

fn key() -> ObjectKey {
    ObjectKey::new("k").unwrap()
}

fn resume_key() -> ResumeKey {
    let source =
        FileIdentity { device: 1, inode: 2, size: 3, mtime_s: -4, mtime_ns: 5, mode: 0o640 };
    ResumeKey { source, sha256: true, recipients: Digest::from_bytes([6; 32]) }
}

fn file_key() -> FileKey {
    FileKey::from_bytes([0x77; 16])
}

fn part(byte: u8) -> JournaledPart {
    let digests = SealedPart {
        plaintext: Digest::from_bytes([byte; 32]),
        ciphertext: Digest::from_bytes([byte + 1; 32]),
    };
    JournaledPart { length: 16_793_672, digests }
}

fn transcript() -> Transcript {
    Transcript::from_bytes([9; 64])
}

/// The path of a journal that holds two parts and a footer.
fn written(dir: &Path) -> PathBuf {
    let journal = journals(dir).lock(&key()).unwrap().unwrap();
    assert!(journal.entry().unwrap().is_none());
    let writer = journal.start(&resume_key(), &file_key(), b"the header");
    writer.append_part(0, &part(10));
    writer.append_part(1, &part(20));
    writer.append_footer(2, 33_554_439, &transcript());
    // SHA-256("k").
    let name = "8254c329a92850f6d539dd376f4816ee2764517da5e0235514af433164480d7a";
    dir.join("state/puts/vault").join(name)
}

fn entry(dir: &Path) -> Option<JournalEntry> {
    journals(dir).lock(&key()).unwrap().unwrap().entry().unwrap()
}

/// Number of parts, and whether there is a footer.
fn rows(dir: &Path) -> Option<(usize, bool)> {
    entry(dir).map(|entry| (entry.parts.len(), entry.transcript.is_some()))
}

/// A journal entry reads back its key, header, parts and footer, in a 0600 file.
#[test]
fn journal_entry_reads_back_what_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = written(dir.path());
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    // 145 around a header of 10 bytes, and three rows of 105.
    assert_eq!(fs::metadata(&path).unwrap().len(), 470);
    let entry = entry(dir.path()).unwrap();
    assert_eq!(entry.resume_key, resume_key());
    assert_eq!(entry.file_key, file_key());
    assert_eq!(entry.header, b"the header");
    assert_eq!(entry.parts, [part(10), part(20)]);
    assert_eq!(entry.transcript, Some(transcript()));
}

/// A resumed journal is cut to the parts that are held and continues after them.
#[test]
fn journal_resume_truncates_and_appends() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path());
    let journal = journals(dir.path()).lock(&key()).unwrap().unwrap();
    let writer = journal.resume(&journal.entry().unwrap().unwrap());
    writer.truncate(1);
    assert_eq!(journal.entry().unwrap().unwrap().parts, [part(10)]);
    writer.append_part(1, &part(30));
    let entry = journal.entry().unwrap().unwrap();
    assert_eq!((entry.parts, entry.transcript), (vec![part(10), part(30)], None));
}

/// A journal ends at its first torn, changed, swapped or foreign row.
#[test]
fn journal_ends_at_the_first_torn_row() {
    let dir = tempfile::tempdir().unwrap();
    let path = written(dir.path());
    let sound = fs::read(&path).unwrap();
    for (length, expected) in [
        (470, Some((2, true))),
        (469, Some((2, false))),
        (365, Some((2, false))),
        (364, Some((1, false))),
        (155, Some((0, false))),
        (154, None),
        (19, None),
        (0, None),
    ] {
        fs::write(&path, &sound[..length]).unwrap();
        assert_eq!(rows(dir.path()), expected, "{length} bytes");
    }
    // A byte of the first row, of the second, of the footer's, and each of the head.
    for (at, expected) in [(160, (0, false)), (300, (1, false)), (469, (2, false))] {
        let mut torn = sound.clone();
        torn[at] ^= 1;
        fs::write(&path, &torn).unwrap();
        assert_eq!(rows(dir.path()), Some(expected), "byte {at}");
    }
    for at in 0..155 {
        let mut torn = sound.clone();
        torn[at] ^= 1;
        fs::write(&path, &torn).unwrap();
        assert_eq!(rows(dir.path()), None, "byte {at}");
    }
    // Rows in another order, or of another journal.
    let mut swapped = sound[..155].to_vec();
    swapped.extend_from_slice(&sound[260..365]);
    swapped.extend_from_slice(&sound[155..260]);
    fs::write(&path, &swapped).unwrap();
    assert_eq!(rows(dir.path()), Some((0, false)));
    let journal = journals(dir.path()).lock(&key()).unwrap().unwrap();
    journal.start(&resume_key(), &file_key(), b"other head");
    let head = fs::read(&path).unwrap();
    assert_eq!(head.len(), 155);
    fs::write(&path, [&head, &sound[155..]].concat()).unwrap();
    let entry = journal.entry().unwrap().unwrap();
    assert_eq!((entry.parts.len(), entry.transcript), (0, None));
}

/// A journal is locked by one put at a time; other keys are independent.
#[test]
fn journal_lock_is_exclusive() {
    let dir = tempfile::tempdir().unwrap();
    let journals = journals(dir.path());
    assert!(journals.lock_existing(&key()).unwrap().is_none());
    let first = journals.lock(&key()).unwrap().unwrap();
    assert!(journals.lock(&key()).unwrap().is_none());
    assert!(journals.lock_existing(&key()).unwrap().is_none());
    assert!(journals.lock(&ObjectKey::new("other").unwrap()).unwrap().is_some());
    drop(first);
    assert!(journals.lock_existing(&key()).unwrap().is_some());
}

/// Discarding or restarting a journal overwrites its file key on the disk.
#[test]
fn journal_discard_erases_the_file_key() {
    let dir = tempfile::tempdir().unwrap();
    let path = written(dir.path());
    let before = File::open(&path).unwrap();
    journals(dir.path()).lock(&key()).unwrap().unwrap().discard().unwrap();
    assert!(!path.exists());
    // A process that still has the file open, or a scan of its blocks, finds no key.
    let mut left = vec![0; 470];
    before.read_exact_at(&mut left, 0).unwrap();
    assert!(!left.windows(16).any(|window| window == [0x77; 16]));
    // Starting over leaves no earlier key behind either.
    let path = written(dir.path());
    let journal = journals(dir.path()).lock(&key()).unwrap().unwrap();
    journal.start(&resume_key(), &FileKey::from_bytes([0x11; 16]), b"");
    let left = fs::read(&path).unwrap();
    assert!(!left.windows(16).any(|window| window == [0x77; 16]));
}

/// A journal that is over 30 days old and unlocked is removed by a later put.
#[test]
fn abandoned_journal_is_removed_by_a_later_put() {
    let dir = tempfile::tempdir().unwrap();
    let path = written(dir.path());
    let other = ObjectKey::new("other").unwrap();
    let days = |days: u64| {
        let then = SystemTime::now() - Duration::from_secs(days * 86_400);
        File::options().write(true).open(&path).unwrap().set_modified(then).unwrap();
    };
    days(29);
    drop(journals(dir.path()).lock(&other).unwrap());
    assert!(path.exists());
    days(31);
    // Not while another put holds its lock.
    let held = journals(dir.path()).lock_existing(&key()).unwrap();
    drop(journals(dir.path()).lock(&other).unwrap());
    assert!(path.exists());
    drop(held);
    drop(journals(dir.path()).lock(&other).unwrap());
    assert!(!path.exists());
}

/// A journal file of another format or of excessive length counts as none.
#[test]
fn journal_of_another_format_is_ignored() {
    let dir = tempfile::tempdir().unwrap();
    let path = written(dir.path());
    fs::write(&path, "zput/v2/journal\n").unwrap();
    assert!(entry(dir.path()).is_none());
    // Longer than any journal, so it is not read into memory.
    File::options().write(true).open(&path).unwrap().set_len(1 << 40).unwrap();
    assert!(entry(dir.path()).is_none());
}
