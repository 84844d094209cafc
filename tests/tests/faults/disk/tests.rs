use rand::{SeedableRng as _, rngs::StdRng};

use super::*;

fn dice(seed: u64) -> StdRng {
    StdRng::seed_from_u64(seed)
}

fn content(disk: &Disk, name: &str) -> Option<Vec<u8>> {
    let inode = disk.lookup(ROOT, name).ok()?;
    match disk.node(inode).unwrap() {
        Node::File(file) => Some(file.now.clone()),
        Node::Directory(_) => None,
    }
}

/// What the cuts of many seeds leave of a disk, each once.
fn outcomes<T: Ord>(disk: &Disk, look: impl Fn(&Disk) -> T) -> Vec<T> {
    let mut all: Vec<T> = (0..400).map(|seed| look(&disk.after_cut(&mut dice(seed)).0)).collect();
    all.sort();
    all.dedup();
    all
}

/// The model disk keeps a file whose data and name were synced after every cut.
#[test]
fn disk_keeps_synced_file_and_name_after_every_cut() {
    let mut disk = Disk::default();
    let file = disk.make_file(ROOT, "a").unwrap();
    disk.write(file, 0, b"whole").unwrap();
    disk.sync_file(file).unwrap();
    disk.sync_directory(ROOT).unwrap();
    assert_eq!(outcomes(&disk, |left| content(left, "a")), [Some(b"whole".to_vec())]);
}

/// A cut may lose a name that was not synced, and data that was not synced may be zeros.
#[test]
fn disk_cut_may_lose_unsynced_name_or_leave_a_hole() {
    let mut disk = Disk::default();
    let file = disk.make_file(ROOT, "a").unwrap();
    disk.write(file, 0, b"whole").unwrap();
    disk.sync_file(file).unwrap();
    assert_eq!(outcomes(&disk, |left| content(left, "a")), [None, Some(b"whole".to_vec())]);

    let mut disk = Disk::default();
    let file = disk.make_file(ROOT, "a").unwrap();
    disk.write(file, 0, b"whole").unwrap();
    disk.sync_directory(ROOT).unwrap();
    let holes = [Vec::new(), vec![0; 5], b"whole".to_vec()].map(Some);
    assert_eq!(outcomes(&disk, |left| content(left, "a")), holes);
}

/// A cut may lose either half of a rename, and a replaced entry is the old or the new one.
#[test]
fn disk_cut_may_lose_either_half_of_a_rename() {
    let mut disk = Disk::default();
    let from = disk.make_directory(ROOT, "from", 0o700).unwrap();
    let to = disk.make_directory(ROOT, "to", 0o700).unwrap();
    for (directory, name) in [(to, "new"), (from, "old")] {
        let file = disk.make_file(directory, name).unwrap();
        disk.write(file, 0, name.as_bytes()).unwrap();
        disk.sync_file(file).unwrap();
    }
    for directory in [ROOT, from, to] {
        disk.sync_directory(directory).unwrap();
    }
    disk.rename(from, "old", to, "new").unwrap();
    let look = |left: &Disk| {
        let target = left.lookup(to, "new").unwrap();
        let Ok(Node::File(file)) = left.node(target) else { panic!("{target}") };
        (left.lookup(from, "old").is_ok(), file.now.clone(), file.names)
    };
    let (old, new) = (b"old".to_vec(), b"new".to_vec());
    assert_eq!(
        outcomes(&disk, look),
        [(false, new.clone(), 1), (false, old.clone(), 1), (true, new, 1), (true, old, 2)]
    );
}

/// A cut may lose unsynced writes in any order and tear them at sector borders.
#[test]
fn disk_cut_loses_writes_in_any_order_and_tears_them_at_sectors() {
    let mut disk = Disk::default();
    let file = disk.make_file(ROOT, "a").unwrap();
    disk.sync_directory(ROOT).unwrap();
    disk.write(file, 0, &[1; 1000]).unwrap();
    disk.write(file, 1000, &[2; 24]).unwrap();
    let look = |left: &Disk| {
        let content = content(left, "a").unwrap();
        [0, 511, 512, 999, 1000, 1023].map(|at| content.get(at).copied().unwrap_or(0))
    };
    let found = outcomes(&disk, look);
    for expected in [
        [0, 0, 0, 0, 2, 2],
        [1, 1, 0, 0, 2, 2],
        [0, 0, 1, 1, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [1, 1, 1, 1, 2, 2],
        [0; 6],
    ] {
        assert!(found.contains(&expected), "{expected:?} is not in {found:?}");
    }
    assert!(found.iter().all(|f| f[0] == f[1] && f[2] == f[3] && f[4] == f[5]), "{found:?}");
}

/// Data of a failed sync is not written by a later sync that succeeds.
#[test]
fn disk_never_writes_data_of_failed_sync() {
    let mut disk = Disk::default();
    let file = disk.make_file(ROOT, "a").unwrap();
    disk.sync_directory(ROOT).unwrap();
    disk.write(file, 0, b"lost").unwrap();
    disk.fail(Fault { deed: Deed::SyncFile, nth: 1, errno: Errno::EIO });
    assert!(disk.sync_file(file).is_err() && disk.struck);
    disk.sync_file(file).unwrap();
    assert_eq!(content(&disk, "a"), Some(b"lost".to_vec()));
    assert_eq!(outcomes(&disk, |left| content(left, "a")), [Some(Vec::new())]);
}

/// The model disk dies at the operation that was set, and what was not synced may be gone.
#[test]
fn disk_cut_comes_at_set_operation() {
    let mut disk = Disk::default();
    disk.cut_after(3);
    let file = disk.make_file(ROOT, "a").unwrap();
    disk.write(file, 0, b"1").unwrap();
    assert!(disk.sync_file(file).is_err());
    assert!(disk.is_dead() && disk.lookup(ROOT, "a").is_err());
    // It was not synced.
    assert!(outcomes(&disk, |left| content(left, "a")).contains(&None));
}

/// A full model disk refuses writes and frees the blocks of an unlinked file once closed.
#[test]
fn disk_at_capacity_refuses_writes_and_frees_closed_files() {
    let mut disk = Disk { capacity: Some(2), ..Disk::default() };
    let file = disk.make_file(ROOT, "a").unwrap();
    disk.write(file, 0, &[1; 8192]).unwrap();
    assert!(disk.write(file, 8192, b"1").is_err());
    assert_eq!(disk.used(), 2);
    disk.unlink(ROOT, "a").unwrap();
    assert_eq!(disk.used(), 2);
    disk.close(file);
    assert_eq!(disk.used(), 0);
}
