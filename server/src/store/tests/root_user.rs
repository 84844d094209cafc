//! Root in the store of another user.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};

use zput_proto::{keys::DevicePublicKey, message::Scopes};
use zput_skip as skip;

use super::*;
use crate::store::{Fraction, ReadFrom, ScrubOptions};

/// A user and group ID that need not exist on the machine.
const USER: u32 = 54_321;
const GROUP: u32 = 54_322;

/// The users and groups that own `path` and everything below it.
fn owners(path: &Path) -> Vec<(u32, u32)> {
    let mut found = vec![path.to_owned()];
    let mut owners = Vec::new();
    while let Some(path) = found.pop() {
        let metadata = fs::symlink_metadata(&path).unwrap();
        if metadata.is_dir() {
            found.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        owners.push((metadata.uid(), metadata.gid()));
    }
    owners.sort_unstable();
    owners.dedup();
    owners
}

/// Everything that root makes in another user's store belongs to the store's owner.
#[test]
fn root_gives_new_store_files_to_store_owner() {
    if !rustix::process::geteuid().is_root() {
        return skip::because("only root makes files that it gives away");
    }
    // 2770: a directory that a group shares passes its group on.
    for mode in [0o700, 0o2770] {
        let dir = tempfile::tempdir_in(memory()).unwrap();
        let path = dir.path().join("users");
        fs::create_dir(&path).unwrap();
        chown(&path, Some(USER), Some(GROUP)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        // Directories above the store, too.
        let path = path.join("srv/store");
        let store = Store::open(&path, Clock::system()).unwrap();
        let mine = [(USER, GROUP)];
        assert_eq!(owners(&dir.path().join("users")), mine, "{mode:o}: made");
        let first = put(&store, "a", b"1", Condition::Any).unwrap();
        put(&store, "a", b"2", Condition::Any).unwrap();
        put(&store, "b", b"3", Condition::Any).unwrap();
        assert_eq!(owners(&path), mine, "{mode:o}: put and replaced");
        store.restore(&key("a"), Version(first)).unwrap();
        store.delete(&key("b"), Condition::Any).unwrap();
        let upload = store.begin(&key("c"), Kind::Plain, Condition::Any, None).unwrap();
        assert_eq!(owners(&path), mine, "{mode:o}: restored, deleted, uploading");
        drop(upload);
        let secret = store.create_invite(Scopes::GET, std::time::Duration::from_secs(60)).unwrap();
        assert_eq!(owners(&path), mine, "{mode:o}: invited");
        store.redeem_invite(&secret, &DevicePublicKey::from_bytes([7; 32]), "x").unwrap();
        assert_eq!(owners(&path), mine, "{mode:o}: joined");
        let all = ScrubOptions { fraction: Fraction::ALL, from: ReadFrom::PageCache };
        store.scrub(all, &mut ()).unwrap();
        assert_eq!(owners(&path), mine, "{mode:o}: scrubbed");
        store.fsync().record_failure("sync a test file", &std::io::Error::from_raw_os_error(5));
        assert_eq!(owners(&path), mine, "{mode:o}: suspected");
        store.clear_suspect(&mut ()).unwrap();
        for missing in ["quarantine", "trash", "history", "locks"] {
            fs::remove_dir_all(path.join(missing)).unwrap();
        }
        fs::remove_file(path.join("clock")).unwrap();
        let store = Store::open(&path, Clock::system()).unwrap();
        put(&store, "a", b"4", Condition::Any).unwrap();
        assert_eq!(owners(&path), mine, "{mode:o}: made again");
    }
}

/// A file of another user, which this one cannot open, does no harm.
#[test]
fn store_opens_with_temporary_file_that_cannot_be_removed() {
    let mut home = Home::new();
    home.put("a", b"1");
    for left in [".tmp-1", "clients/.tmp-2", "staging/3"] {
        let path = home.path().join(left);
        std::os::unix::fs::symlink("/nowhere", &path).unwrap();
    }
    home.reopen();
    assert_eq!(home.body("a"), Some(b"1".to_vec()));
}
