//! Puts that share an fsync (STORE, "Put" 8).

use std::time::Instant;

use zput_skip::or_skip;

use super::{order::trace, *};

/// Number of concurrent puts.
const MANY: usize = 8;

/// [`MANY`] keys of one shard.
fn keys_of_one_shard() -> Vec<String> {
    let keys = (0..).map(|n| n.to_string());
    let first = ObjectName::for_key(&key("0")).shard();
    keys.filter(|name| ObjectName::for_key(&key(name)).shard() == first).take(MANY).collect()
}

/// Puts all of them concurrently and returns how many were acknowledged. This is a child's role.
pub(super) fn put_all_in_one_shard(store: &Store) -> usize {
    std::thread::scope(|scope| {
        let put = |name: &String| put(store, name, b"new", Condition::Any).is_ok();
        let puts = keys_of_one_shard().into_iter().map(|name| scope.spawn(move || put(&name)));
        let puts: Vec<_> = puts.collect();
        puts.into_iter().map(|put| put.join().unwrap()).filter(|put| *put).count()
    })
}

/// Eight puts to one directory share two to four fsyncs of it.
#[test]
fn group_commit_puts_of_one_directory_share_fsync() {
    let home = Home::new();
    let inject = "inject=fsync:delay_enter=300000";
    let traced = or_skip!(trace(&[inject], "put one shard", &home));
    assert_eq!(traced.output, "ok 8");
    let count = |call: &str| traced.calls.iter().filter(|made| *made == call).count();
    assert_eq!(count("renameat staging/* -> objects/ab/H"), MANY);
    // The first put has an fsync of its own. While it runs, the others come to wait for the next
    // one.
    let fsync = count("fsync objects/ab");
    assert!((2..=4).contains(&fsync), "{fsync}");
    // All acknowledgements follow the last fsync.
    assert!(traced.calls.last().unwrap().starts_with("fsync objects/ab"), "{:?}", traced.calls);
    for name in keys_of_one_shard() {
        assert_eq!(home.body(&name), Some(b"new".to_vec()));
    }
}

/// A failed shared fsync fails every put and makes the store suspect.
#[test]
fn group_commit_failed_fsync_fails_every_put() {
    let home = Home::new();
    let expressions = ["inject=fsync:delay_enter=300000:error=EIO"];
    let traced = or_skip!(trace(&expressions, "put one shard", &home));
    assert_eq!(traced.output, "ok 0");
    assert!(home.store.fsync_failure().unwrap().is_some());
}

/// Whichever put sees the failure first, none is acknowledged from then on.
#[test]
fn store_suspect_acknowledges_no_put_or_delete_in_progress() {
    for (role, area) in [("put", "objects"), ("delete", "trash")] {
        let home = Home::new();
        home.put("a", b"old");
        if role == "put" {
            home.store.delete(&key("a"), Condition::Any).unwrap();
        }
        let marker = home.path().join("suspect.toml");
        let shard = home.path().join(area).join(ObjectName::for_key(&key("a")).shard().to_string());
        let marking = std::thread::spawn(move || {
            let begun = Instant::now();
            while names_in(&shard).is_empty() && begun.elapsed().as_secs() < 10 {
                std::thread::yield_now();
            }
            fs::write(marker, "").unwrap();
        });
        // The name exists, and its fsync is in progress.
        let traced = trace(&["inject=fsync:delay_enter=2000000"], role, &home);
        marking.join().unwrap();
        let traced = or_skip!(traced);
        assert_eq!(traced.output.split(':').next(), Some("Suspect"), "{role}");
    }
}
