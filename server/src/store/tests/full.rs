//! Promise 7: a full disk fails puts cleanly, frees their space, and blocks no other request.

use std::{process::Command, thread, time::Duration};

use zput_proto::message::ErrorCode;
use zput_skip::or_skip;

use super::{child::Child, *};

/// A tmpfs of its own, unmounted when dropped.
struct Mounted(PathBuf);

impl Mounted {
    /// `None` where mount(8) is not allowed.
    fn new(parent: &Path, options: &str) -> Option<Self> {
        let path = parent.join("mounted");
        fs::create_dir(&path).unwrap();
        let output =
            Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(&path).output();
        output.is_ok_and(|output| output.status.success()).then_some(Self(path))
    }

    fn free_bytes(&self) -> u64 {
        let stat = rustix::fs::statvfs(&self.0).unwrap();
        stat.f_bfree * stat.f_frsize
    }

    /// Whether this much is free, now or in a moment: a process that another test starts holds this
    /// one's descriptors from its fork to its exec, and with them the space of a file that was just
    /// removed.
    fn has_free(&self, bytes: u64) -> bool {
        (0..500).any(|_| {
            let there = self.free_bytes() == bytes;
            if !there {
                thread::sleep(Duration::from_millis(10));
            }
            there
        })
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

/// A full disk fails puts and frees their space; gets, deletes and restores work.
#[test]
fn store_on_full_disk_fails_puts_only() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Mounted::new(dir.path(), "size=8m").ok_or("mount(8) is not allowed here");
    let disk = or_skip!(disk);
    let store = Store::open(&disk.0.join("store"), Clock::system()).unwrap();
    let mebibyte = vec![7; 1 << 20];
    let versions: Vec<u64> =
        (0..3).map(|_| put(&store, "a", &mebibyte, Condition::Any).unwrap()).collect();
    let free = disk.free_bytes();

    let mut upload = store.begin(&key("b"), Kind::Plain, Condition::Any, None).unwrap();
    let error = (0..8)
        .try_for_each(|_| {
            upload.start_slice(1 << 20, Digest::of(&mebibyte))?;
            upload.write(&mebibyte)?;
            upload.end_slice()
        })
        .unwrap_err();
    assert_eq!(error.code(), ErrorCode::Full, "{error}");
    // The caller still has the upload, but its space is free.
    assert!(disk.has_free(free));
    assert_eq!(upload.commit().unwrap_err().code(), ErrorCode::State);

    // Filled to the last byte by another upload: gets, deletes and restores still work.
    let mut upload = store.begin(&key("b"), Kind::Plain, Condition::Any, None).unwrap();
    while disk.free_bytes() >= 1 << 20 {
        upload.start_slice(1 << 20, Digest::of(&mebibyte)).unwrap();
        upload.write(&mebibyte).unwrap();
        upload.end_slice().unwrap();
    }
    let rest = vec![7; disk.free_bytes() as usize];
    upload.start_slice(rest.len() as u32, Digest::of(&rest)).unwrap();
    upload.write(&rest).unwrap();
    upload.end_slice().unwrap();
    assert_eq!(disk.free_bytes(), 0);
    let object = store.lookup(&key("a"), None).unwrap();
    assert_eq!(read(&object), mebibyte);
    assert_eq!(put(&store, "c", b"1", Condition::Any).unwrap_err().code(), ErrorCode::Full);
    assert_eq!(store.delete(&key("a"), Condition::Any).unwrap().0, versions[2]);
    assert_eq!(store.restore(&key("a"), Version(versions[2])).unwrap().0, versions[2]);
    drop(upload);
    assert!(disk.has_free(free));
    put(&store, "c", b"1", Condition::Any).unwrap();
}

/// The same with a limit on the length of files, which every user can set: the write beyond it
/// fails.
#[test]
fn put_beyond_file_size_limit_fails_with_full() {
    let home = Home::new();
    home.put("a", b"old");
    // 4 blocks of 512 bytes (POSIX sh). A process that does not ignore SIGXFSZ is killed by it.
    let limited = ["sh", "-c", "trap '' XFSZ; ulimit -f 4; exec \"$@\"", "sh"];
    let mut child = Child::start_under(&limited, "put", &home.path()).unwrap();
    assert_eq!(child.line(), "ready");
    let said = child.line();
    child.finish();
    assert_eq!(said.split(':').next(), Some("Full"), "{said}");
    assert_eq!(home.staged(), 0);
    assert_eq!(home.body("a"), Some(b"old".to_vec()));
    assert_eq!(home.states("a").len(), 1);
}
